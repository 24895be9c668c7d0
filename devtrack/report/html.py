"""The report of a run: sections in the order in which a reader asks."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from devtrack import plots
from devtrack.report._markup import Markup, element, joined, table
from devtrack.report._picture import inline_svg
from devtrack.report._quality_queries import (
    read_doubts,
    read_happenings,
    read_samplers,
    read_statuses,
)
from devtrack.report._quality_section import costs, doubts, events, samplers, statuses
from devtrack.report._transition_queries import Found, read_found
from devtrack.report._transition_section import card
from devtrack.report.formatting import number_text
from devtrack.report.summary import story
from devtrack.transitions.coverage import Judged, read_last_judged

if TYPE_CHECKING:
    from devtrack.records import RunInfo
    from devtrack.store import Store

_STYLE = Path(__file__).with_name("page.css")


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
    found = read_found(store, info.run_id)
    steps = [
        step
        for (step,) in store.sql(
            "SELECT DISTINCT step FROM metrics WHERE run_id = ? ORDER BY step", [info.run_id]
        ).fetchall()
    ]
    counts = read_statuses(store, info.run_id)
    happened = read_happenings(store, info.run_id)
    judged = read_last_judged(store, info.run_id)
    first, *others = story(found, steps=steps, judged=judged)
    label = f"Emergence timeline of run {info.name}. {first}"
    body = [
        _header(info, steps, attempts=_attempts(store, info.run_id)),
        _section("What changed, and when", element("p", element("b", first), " ", *_apart(others))),
        _section("Timeline", element("figure", inline_svg(picture, label=label))),
        _section("Transitions", *_cards(found, judged)),
        _section(
            "How far to trust it",
            statuses(counts),
            doubts(read_doubts(store, info.run_id)),
            samplers(read_samplers(store, info.run_id)),
            costs(happened),
            events(happened),
        ),
        _section("Configuration", *_tree(info.config)),
        _section("Versions", *_tree(info.versions)),
    ]
    title = f"{info.name}: devtrack report"
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("title", title),
        element("style", Markup(_STYLE.read_text("utf-8"))),
    )
    page = element("html", head, element("body", *body), lang="en")
    return f"<!DOCTYPE html>\n{page}\n"


def _attempts(store: Store, run_id: str) -> int:
    rows = store.sql("SELECT attempts FROM runs WHERE run_id = ?", [run_id]).fetchall()
    return rows[0][0] if rows else 0


def _header(info: RunInfo, steps: Sequence[int], *, attempts: int) -> Markup:
    facts = [
        f"run id {info.run_id}",
        f"begun {info.created_utc:%Y-%m-%d %H:%M:%S} UTC",
        f"{len(steps)} observed steps, the last of them {steps[-1]}",
    ]
    if attempts > 1:
        facts.append(f"{attempts} attempts: resumed {attempts - 1} times")
    if info.parent_run_id:
        facts.append(f"forked from {info.parent_run_id} at step {info.parent_step}")
    return element(
        "header", element("h1", f"Run {info.name!r}"), element("p", joined(facts, by=" · "))
    )


def _section(title: str, *children: str) -> Markup:
    return element("section", element("h2", title), *children)


def _apart(sentences: Sequence[str]) -> list[str]:
    """Return sentences with a space after each; one that begins with T3 links to its card."""
    parts: list[str] = []
    for sentence in sentences:
        if begins := re.match(r"T\d+", sentence):
            parts.append(element("a", begins[0], href=f"#{begins[0]}"))
            sentence = sentence.removeprefix(begins[0])
        parts.append(f"{sentence} ")
    return parts


def _cards(found: Sequence[Found], judged: Judged | None) -> list[Markup]:
    if not found:
        if judged is None:
            return [element("p", "None was looked for.")]
        none = "None was found." if judged.judged else "None could be found: nothing was judged."
        return [element("p", none)]
    rate = element(
        "p",
        f"Nominal false-alarm rate {number_text(found[0].alpha)} per run: the share of runs "
        "without any change in which one or more is reported. Onset, midpoint and end are the "
        "steps at which 5, 50 and 95 % of the change had happened; the midpoint of a turn is where "
        "its slope is zero.",
    )
    num_series = len(judged.judged) if judged else 0
    return [rate, *(card(one, num_series=num_series) for one in found)]


def _tree(facts: Any) -> list[Markup]:
    """Return a mapping as a table; what is nested in it as JSON."""
    if not facts:
        return [element("p", "None was recorded.")]
    rows = [
        (str(name), element("code", value if isinstance(value, str) else json.dumps(value)))
        for name, value in facts.items()
        if not (isinstance(value, dict) and value)
    ]
    made = [table(("name", "value"), rows)] if rows else []
    for name, value in facts.items():
        if isinstance(value, dict) and value:
            lines = [
                (str(key), element("code", inner if isinstance(inner, str) else json.dumps(inner)))
                for key, inner in value.items()
            ]
            made += [element("h3", str(name)), table(("name", "value"), lines)]
    return made
