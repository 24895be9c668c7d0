"""The report of a run as one HTML page: one template, filled with what the store holds."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from devtrack import plots
from devtrack.report._quality import cost_accounts, event_lines, reason_lines, sampler_lines
from devtrack.report._svg import inline_svg
from devtrack.report._transition_card import transition_card
from devtrack.report.formatting import number_text
from devtrack.report.summary import summarize
from devtrack.store.quality import read_flagged, read_samplers, read_status_counts
from devtrack.store.readers import read_events, read_num_attempts, read_steps, read_transitions
from devtrack.transitions.coverage import Coverage, read_last_coverage

if TYPE_CHECKING:
    from jinja2 import Template

    from devtrack.records import RunInfo
    from devtrack.store import Store

_FOLDER = Path(__file__).parent
_SETTINGS = (
    "method",
    "n_beta",
    "localization",
    "lr",
    "num_chains",
    "num_draws",
    "num_burnin_steps",
    "num_steps_bw_draws",
    "num_batches",
    "samples_per_batch",
    "engine",
)


def render_report(store: Store, run: str | None = None, *, axis: str = "log") -> str:
    """Return the report of a run as one HTML page that needs no other file.

    Transitions are those of the run's latest analysis in the store.

    Args:
        store: The store that holds the run.
        run: Run id or name; the newest run if None.
        axis: Scale of the timeline's steps, ``"log"`` or ``"linear"``.

    Raises:
        UnknownRunError: The store does not hold ``run``.
        ConfigError: The run has no metrics yet, or a bad ``axis``.
    """
    info = store.run(run)
    picture = plots.timeline(store, info.run_id, axis=axis)
    found = read_transitions(store, info.run_id)
    steps = read_steps(store, [info.run_id])
    coverage = read_last_coverage(store, info.run_id)
    sentences = summarize(found, steps=steps, coverage=coverage)
    num_series = len(coverage.evaluated) if coverage else 0
    return _template().render(
        info=info,
        header=_header(info, steps, attempts=read_num_attempts(store, info.run_id)),
        sentences=sentences,
        picture=inline_svg(picture, label=f"Emergence timeline of run {info.name}. {sentences[0]}"),
        no_transitions=_no_transitions(coverage),
        alpha=number_text(found[0].alpha) if found else "",
        cards=[
            transition_card(number, one, num_series=num_series, run_id=info.run_id)
            for number, one in enumerate(found)
        ],
        **_quality(store, info.run_id),
    )


def _quality(store: Store, run_id: str) -> dict[str, Any]:
    counts = read_status_counts(store, run_id)
    ok, suspect, failed = (sum(column) for column in zip(*(one[2:] for one in counts)))
    samplers = read_samplers(store, run_id, settings=_SETTINGS)
    events = read_events(store, run_id)
    return {
        "counts": counts,
        "status_text": f"{ok + suspect + failed} numbers: {ok} ok, {suspect} suspect, {failed} "
        "failed. Only ok numbers took part in the search for transitions.",
        "reasons": reason_lines(read_flagged(store, run_id)),
        "samplers": sampler_lines(samplers),
        "sampler_changed": len(samplers) > len({(one.metric, one.site) for one in samplers}),
        "costs": cost_accounts(events),
        "events": event_lines(events),
    }


def _header(info: RunInfo, steps: Sequence[int], *, attempts: int) -> list[str]:
    facts = [
        f"run id {info.run_id}",
        f"begun {info.created_utc:%Y-%m-%d %H:%M:%S} UTC",
        f"{len(steps)} observed steps, the last of them {steps[-1]}",
    ]
    if attempts > 1:
        facts.append(f"{attempts} attempts: resumed {attempts - 1} times")
    if info.parent_run_id:
        facts.append(f"forked from {info.parent_run_id} at step {info.parent_step}")
    return facts


def _no_transitions(coverage: Coverage | None) -> str:
    if coverage is None:
        return "None was looked for."
    if coverage.evaluated:
        return "None was found."
    return "None could be found: no series was evaluated."


@cache
def _template() -> Template:
    """Return the page's template, with the style sheet in it."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=FileSystemLoader(_FOLDER), autoescape=True, undefined=StrictUndefined
    )
    environment.globals["style"] = Markup((_FOLDER / "page.css").read_text("utf-8"))
    environment.filters |= {"flat": _flat, "nested": _nested, "linked": _linked}
    return environment.get_template("template.html.j2")


def _flat(values: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Return the entries of a mapping that hold no mapping themselves."""
    pairs = values.items()
    return [(str(k), _code(v)) for k, v in pairs if not (isinstance(v, Mapping) and v)]


def _nested(values: Mapping[str, Any]) -> list[tuple[str, list[tuple[str, Any]]]]:
    """Return the entries of a mapping that hold a mapping, each with its pairs."""
    inner = ((str(k), v) for k, v in values.items() if isinstance(v, Mapping) and v)
    return [(name, [(str(k), _code(v)) for k, v in pairs.items()]) for name, pairs in inner]


def _code(value: Any) -> Any:
    from markupsafe import Markup

    return Markup("<code>{}</code>").format(value if isinstance(value, str) else json.dumps(value))


def _linked(sentences: Iterable[str]) -> list[tuple[str, str]]:
    """Split sentences that begin with the name of a transition, such as T3, into both parts."""
    found = []
    for sentence in sentences:
        begins = re.match(r"T\d+", sentence)
        link = begins[0] if begins else ""
        found.append((link, sentence.removeprefix(link)))
    return found
