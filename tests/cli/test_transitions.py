"""``devtrack transitions`` and ``devtrack timeline``."""

from __future__ import annotations

import csv
import io
import json
from datetime import datetime

import numpy as np
import pytest

from devtrack.cli.transitions import COLUMNS, transition_lines
from devtrack.records import Row, RunInfo, Status, TrainingProgress
from devtrack.series import Move, Transition
from devtrack.store import open_store

QUIET, GROKKING = "quiet-20261121-093000-aaaa", "grokking-20261121-094000-bbbb"


def move(metric, **changes):
    known = Move(metric, "model", "down", -59.73, 1.83, 150.2, 301.6, 610.4, 280.3, 330.9)
    return known._replace(**changes)


def transition(*moves, **changes):
    known = Transition(
        "step", 150.2, 301.6, 610.4, 280.3, 330.9, 0.95, 41.237, "log odds", 0.05, None, moves
    )
    return known._replace(**changes)


def test_a_transition_of_one_series_has_one_line():
    (line,) = transition_lines([transition(move("llc"), event="lr_change")])
    assert dict(zip((*COLUMNS, "event"), line, strict=True)) == {
        "T": "0",
        "kind": "step",
        "what moved": "llc",
        "change ± se": "down -59.7 ± 1.8",
        "from": "150",
        "mid [interval]": "302 [280, 331]",
        "to": "610",
        "evidence": "41.24",
        "event": "lr_change",
    }


def test_a_transition_of_several_series_has_a_line_for_each_and_one_for_all():
    lines = transition_lines(
        [transition(move("llc"), move("loss", site="head", midpoint_low=np.nan))]
    )
    assert [line[2] for line in lines] == ["2 series together", "  llc", "  loss@head"]
    assert [line[0] for line in lines] == ["0", "", ""]
    assert lines[2][5] == "302"


def test_sizes_beyond_a_million_are_read_and_not_counted():
    (line,) = transition_lines([transition(move("sum", effect=1.0934e9, effect_se=1.31e8))])
    assert line[3] == "down 1.09e+09 ± 1.3e+08"


def test_transitions_prints_what_moved_and_keeps_it(devtrack, store):
    code, out, err = devtrack("transitions", "--store", store, "grokking")
    assert code == 0
    assert {"llc", "loss"} <= set(out.split())
    assert "embed" not in out, "the weight norm stood still"
    assert "event" not in out, "there was none"
    assert "false-alarm rate per run: 0.05" in err
    midpoints = open_store(store).sql("SELECT DISTINCT midpoint FROM transitions").fetchall()
    assert [200 < midpoint < 500 for (midpoint,) in midpoints] == [True]  # planted at 10^2.5
    assert f"FROM transitions WHERE run_id = '{GROKKING}'" in err


def test_transitions_as_json_and_csv(devtrack, store):
    arguments = ("transitions", "--store", store, GROKKING)
    lines = json.loads(devtrack(*arguments, "--json")[1])
    assert {line["metric"] for line in lines} == {"llc", "loss"}
    assert {line["direction"] for line in lines} == {"down"}
    assert all(line["through_step"] == 2000 for line in lines)
    header = next(csv.reader(io.StringIO(devtrack(*arguments, "--csv")[1])))
    assert header == list(lines[0])


def test_a_run_without_transitions_exits_with_3(devtrack, store):
    code, out, err = devtrack("transitions", "--store", store, "quiet")
    assert (code, out) == (3, "")
    assert err.startswith(
        "devtrack: no transition in run 'quiet' at alpha 0.05, 3 series evaluated."
    )
    code, out, _ = devtrack("transitions", "--store", store, "quiet", "--json")
    assert (code, json.loads(out)) == (3, [])


def row(metric, value, status=Status.OK):
    return Row(metric, value, status=status)


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        (lambda s: [], "there are no numbers yet. Wait for more observations, or observe more "),
        (lambda s: [row("a", s)] * (s < 2), "fewer than 10 ok points: a (2 ok). Wait for more "),
        (lambda s: [row("a", 1.0)], "constant: a. Look at its timeline: devtrack timeline."),
        (
            lambda s: [row("a", np.nan, Status.FAILED), row("b", s, Status.SUSPECT)],
            "fewer than 10 ok points: a (20 failed), b (20 suspect). Why points are suspect or "
            "failed: devtrack report.",
        ),
    ],
)
def test_where_nothing_could_be_judged_it_does_not_say_that_nothing_happened(
    devtrack, tmp_path, rows, told
):
    opened = open_store(tmp_path / "runs", create=True)
    with opened.writer(RunInfo("r-1", "r", datetime(2026, 11, 21))) as writer:
        for step in range(20):
            writer.append(TrainingProgress(step), rows(step))
    code, out, err = devtrack("transitions", "r", "--store", opened.path)
    assert (code, out) == (3, "")
    assert err.startswith(f"devtrack: run 'r': no series could be evaluated; {told}")


def test_beside_what_was_found_stands_what_could_not_be_judged(devtrack, store):
    with open_store(store).writer(open_store(store).run("grokking")) as writer:
        writer.append(TrainingProgress(2000), [row("new", 1.0)])
    code, _, err = devtrack("transitions", "grokking", "--store", store)
    assert code == 0
    assert "\n3 of 4 series evaluated; fewer than 10 ok points: new (1 ok)\n" in err


@pytest.mark.parametrize("command", ["transitions", "timeline"])
def test_the_run_may_be_an_argument(devtrack, store, command):
    code, _, err = devtrack(command, "quiet", "--store", store)
    assert (code, "run 'quiet'" in err) == (3 if command == "transitions" else 0, True)
    code, _, err = devtrack(command, "quiet", "grokking", "--store", store)
    assert (code, "extra argument" in err and "grokking" in err) == (2, True)


def test_the_newest_run_is_the_default(devtrack, store):
    assert GROKKING in devtrack("transitions", "--store", store)[2]


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["transitions", "groking"], ["run 'groking'", "Did you mean 'grokking'"]),
        (["timeline", "groking"], ["run 'groking'", "Did you mean 'grokking'"]),
        (["transitions", "--metric", "lcl"], ["'lcl'", "llc", "loss"]),
        (["timeline", "--metric", "lcl"], ["'lcl'", "llc, loss, weight_norm", "Use one of these"]),
        (["timeline", "--site", "head.*"], ["sites='head.*'", "embed, model"]),
        (["transitions", "--alpha", "1.5"], ["alpha=1.5", "0.05"]),
        (["timeline", "--out", "picture.jpeg"], ["'picture.jpeg'", ".png, .pdf or .svg", "Try"]),
        (["timeline", "--out", "no/where.png"], ["no/where.png", "does not exist", "Create it"]),
    ],
)
def test_bad_input_is_one_line(devtrack, analysed, tmp_path, arguments, parts):
    code, out, err = devtrack(*arguments, "--store", analysed)
    assert (code, out) == (1, "")
    assert err.count("\n") == 1
    assert err.startswith("devtrack: ")
    for part in parts:
        assert part in err
    assert not list(tmp_path.glob("*.p*"))


def test_timeline_writes_the_picture_and_prints_its_path(devtrack, analysed, tmp_path):
    code, out, err = devtrack("timeline", "--store", analysed, "--dpi", "40")
    assert (code, out, err) == (0, "timeline.png\n", "")
    assert (tmp_path / "timeline.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("kind", "start"), [("pdf", b"%PDF"), ("svg", b"<?xml"), ("PNG", b"\x89PNG")]
)
def test_timeline_in_other_formats(devtrack, analysed, tmp_path, kind, start):
    target = tmp_path / f"picture.{kind}"
    arguments = ("timeline", "--store", analysed, "--out", target, "--axis", "linear")
    assert devtrack(*arguments, "--metric", "llc")[:2] == (0, f"{target}\n")
    assert target.read_bytes().startswith(start)


def test_timeline_finds_transitions_when_nobody_has(devtrack, store):
    code, _, err = devtrack("timeline", "--store", store, "grokking", "--dpi", "40")
    assert code == 0
    assert err == "devtrack: looking for transitions in run 'grokking'\n"
    count = "SELECT count(DISTINCT transition) FROM transitions"
    assert open_store(store).sql(count).fetchall() == [(1,)]
    assert devtrack("timeline", "--store", store, "grokking", "--dpi", "40")[2] == ""


def test_an_unknown_axis_is_wrong_usage(devtrack, pristine):
    code, out, err = devtrack("timeline", "--store", pristine, "--axis", "square")
    assert (code, out) == (2, "")
    assert "'log', 'linear'" in err
