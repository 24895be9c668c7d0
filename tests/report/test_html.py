"""The report of a run: everything is in it, nothing breaks out of it, nothing is fetched."""

from __future__ import annotations

import re
from datetime import datetime
from html.parser import HTMLParser

import numpy as np
import pytest

from devtrack.errors import ConfigError, UnknownRunError
from devtrack.records import Event, Row, RunInfo, Status, TrainingProgress
from devtrack.report import render_report
from devtrack.store import open_store

STEPS = [0, *np.unique(np.geomspace(1, 2000, 40).round().astype(int)).tolist()]
NASTY = """<script>alert("1")</script> & 'x' --> $a_b ]]> </style></svg>"""
LLC = {
    **{"n_beta": 30.0, "localization": 300.0, "lr": 1e-3, "num_chains": 4, "method": "sgld"},
    **{"rhat": 1.02, "ess": 80.0, "gamma_ratio": 1.1, "step_bias_removed": 4.0},
}
VOID = {"meta", "br", "wbr"}


class Page(HTMLParser):
    """Reads a page; raises where an element is closed that is not the open one."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.open, self.tags, self.attributes, self.text = [], [], [], ""
        self.ids = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        self.ids += [value for name, value in attrs if name == "id"]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.text += f"{data} "


def lines(metric, **changes):
    known = {
        **{"transition": 0, "kind": "step", "onset": 150.0, "midpoint": 300.0, "end_step": 600.0},
        **{"midpoint_low": 260.0, "midpoint_high": 340.0, "interval_level": 0.9},
        **{"metric": metric, "site": "model", "direction": "down", "effect": -60.2},
        **{"effect_se": 3.1, "metric_onset": 150.0, "metric_midpoint": 300.0},
        **{"metric_end": 600.0, "metric_midpoint_low": 260.0, "metric_midpoint_high": 340.0},
        **{"evidence": 1.25e-7, "evidence_method": "p-value, bootstrap of the run"},
        **{"alpha": 0.05, "event": None, "query": f"SELECT '{metric}'"},
    }
    return {**known, **changes}


def written(path, name="grokking", *, rows=None, events=(), config=None):
    store = open_store(path, create=True)
    info = RunInfo("g-1", name, datetime(2026, 11, 21, 9, 30), config or {}, {"torch": "2.13"})
    with store.writer(info) as writer:
        for step in STEPS:
            made = [Row("llc", 80.0 - step / 100, 1.0, attrs=LLC), Row("loss", 4.0, 0.02)]
            writer.append(TrainingProgress(step), made if rows is None else rows(step))
        for step, event in events:
            writer.append(TrainingProgress(step), [event])
    return store


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    def rows(step):
        llc = Row("llc", 80.0 - step / 100, 1.0, attrs=LLC)
        if step in (1, 2, 3):
            reasons = [f"R-hat 1.{step} > 1.05: chains disagree"]
            llc = Row("llc", 70.0, 1.0, status=Status.SUSPECT, attrs={**LLC, "reasons": reasons})
        if step == 4:
            llc = Row("llc", float("nan"), status=Status.FAILED, attrs={"error": "boom"})
        return [llc, Row("loss", 4.0 - step / 1000, 0.02), Row("rllc", 5.0, 0.1, site="block.1")]

    cost = {"by_metric_s": {"loss": 0.25, "llc": 51.9}}
    store = written(
        tmp_path_factory.mktemp("report") / "runs",
        rows=rows,
        events=[
            (5, Event("lr_change", "learning rate 0.1 -> 0.01")),
            (9, Event("violation", "probe above 0.6")),
            (2000, Event("cost", "41 observations in 52.2 s", cost)),
        ],
        config={"seed": 7, "metrics": {"llc": {"class": "LLC"}}},
    )
    store.write_transitions(
        "g-1",
        [
            lines("llc"),
            lines("loss", metric_midpoint=420.0, effect_se=None, metric_midpoint_low=None),
            lines("rllc", site="block.1", effect=-2.5, metric_midpoint=310.0),
            lines("llc", transition=1, kind="turn", midpoint=900.0, event="lr_change"),
        ],
    )
    return Page(render_report(store, "grokking"))


def test_the_story_the_picture_and_a_card_each(page):
    assert (
        "3 of 3 series moved, in 1 transition and 1 change at an event of the configuration."
        in page.text
    )
    assert page.tags.count("svg") == 1
    assert page.tags.count("article") == 2
    assert {"T0", "T1"} <= set(page.ids)
    assert "T0 · step of 3 series at step 300 [260, 340]" in page.text


def test_the_card_of_a_turn_speaks_of_slopes(page):
    step, turn = page.text.split("T1 · turn of 1 series")
    assert "turn: a slope changes sign" in turn
    assert "change of slope ± se" in turn and "turning point [interval]" in turn
    assert "change of slope" not in step
    assert ", at its turning point at step 900" in step


def test_a_card_holds_what_the_rows_hold(page):
    card = page.text[page.text.index("T0 · step") : page.text.index("T1 · turn")]
    for part in (
        *("300 [260, 340] (90% interval)", "1.25e-07 (p-value, bootstrap of the run)"),
        *(
            "0.05 per run",
            "down -60.2 ± 3.1",
            "SELECT step, value, se FROM metrics WHERE run_id = 'g-1'",
        ),
        *("block.1 (rllc -2.5)", "their intervals do not tell"),
    ):
        assert part in " ".join(card.split()), part
    cells = re.search(r"loss\s+model\s+down -60.2\s+150\s+420\s+600\s+120\s", card)
    assert cells, "no se, no interval, and 120 steps behind the first"


def test_the_trust_section_counts_statuses_and_gives_reasons(page):
    text = " ".join(page.text.split())
    total = 3 * len(STEPS)
    assert f"{total} numbers: {total - 4} ok, 3 suspect, 1 failed." in text
    assert "llc model suspect 3 R-hat 1.1 > 1.05: chains disagree 1, 2, 3" in text, "one reason"
    assert "llc model failed 1 boom 4" in text
    assert "n_beta 30.0, localization 300.0, lr 0.001, num_chains 4" in text
    assert f"{len(STEPS) - 1}, steps 0 to 2000 1.02 80 1.1 to 1.1 6.2 %" in text, "4 of 60 + 4"
    assert "41 observations in 52.2 s metric seconds llc 51.90 loss 0.25" in text
    assert "5 lr_change learning rate 0.1 -> 0.01" in text
    assert "9 violation probe above 0.6" in text


def test_configuration_and_versions(page):
    text = " ".join(page.text.split())
    assert 'seed 7 metrics name value llc {"class": "LLC"}' in text
    assert "torch 2.13" in text


def test_nothing_that_a_user_wrote_is_markup_and_nothing_is_fetched(tmp_path):
    def rows(step):
        attrs = {**LLC, "method": NASTY, "reasons": [NASTY]}
        doubted = Row(NASTY, 1.0 + step, 0.1, site=NASTY, status=Status.SUSPECT, attrs=attrs)
        return [doubted if step == 1 else Row(NASTY, 1.0 + step, 0.1, site=NASTY), Row("b", step)]

    store = written(
        tmp_path / "runs",
        NASTY,
        rows=rows,
        events=[(5, Event(NASTY, NASTY)), (9, Event("cost", NASTY, {"by_metric_s": {NASTY: 1}}))],
        config={NASTY: NASTY, "metrics": {NASTY: {NASTY: NASTY}}},
    )
    nasty = lines(NASTY, site=NASTY, kind=NASTY, event=NASTY, direction=NASTY, query=NASTY)
    store.write_transitions("g-1", [{**nasty, "evidence_method": NASTY}])
    text = render_report(store)
    page = Page(text)
    assert "script" not in page.tags
    assert page.tags.count("style") <= 2, "the page's own, and the picture's"
    assert len(page.ids) == len(set(page.ids))
    assert page.text.count(NASTY) > 12, "it is all there, as text"
    assert "<!--" not in text
    assert "<metadata" not in text
    for name, value in page.attributes:
        assert not name.startswith("on"), name
        if not name.startswith("xmlns"):  # names of languages, never fetched
            assert "//" not in (value or "").replace(NASTY, ""), (name, value)
    assert not re.search(r"@import|url\(\s*['\"]?(?!#)", text)


def test_a_quiet_run_without_an_llc(tmp_path):
    store = written(tmp_path / "runs", rows=lambda step: [Row("loss", 4.0 + step % 2, 0.1)])
    assert "nobody has looked for transitions yet" in Page(render_report(store)).text
    store.write_transitions("g-1", [])
    text = Page(render_report(store)).text
    assert "no transition was found in 1 series." in text
    assert "None was measured in this run." in text
    assert "None: no change of the training configuration" in text
    assert "training goes on, or it broke off" in text
    assert "Why numbers are suspect" not in text


def test_a_run_whose_numbers_all_failed(tmp_path):
    failed = Row("llc", float("nan"), status=Status.FAILED, attrs={"error": "chains diverged"})
    store = written(tmp_path / "runs", rows=lambda step: [failed])
    store.write_transitions("g-1", [])
    text = " ".join(Page(render_report(store)).text.split())
    assert "no series could be evaluated: whether anything changed is not known." in text
    assert f"Not evaluated: fewer than 10 ok points: llc ({len(STEPS)} failed)." in text
    assert "None could be found: no series was evaluated." in text
    assert f"llc model failed {len(STEPS)} chains diverged" in text


def test_what_cannot_be_reported_is_refused(tmp_path):
    store = written(tmp_path / "runs")
    with pytest.raises(UnknownRunError):
        render_report(store, "groking")
    store.writer(RunInfo("b-2", "young", datetime(2026, 11, 20))).close()
    with pytest.raises(ConfigError, match="has no metrics yet"):
        render_report(store, "young")
