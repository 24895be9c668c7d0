"""One transition of the report: which series moved, in which order, with what evidence."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, NamedTuple

from devtrack.report.formatting import interval_text, measured_text, number_text, step_text
from devtrack.report.summary import lag_text, order_text
from devtrack.series import Move, Transition
from devtrack.store.readers import series_query

if TYPE_CHECKING:
    from markupsafe import Markup

_HEAD = ("metric", "site", "change ± se", "onset", "midpoint [interval]", "end", "lag in steps")
_TURN_HEAD = (*_HEAD[:2], "change of slope ± se", "onset", "turning point [interval]", *_HEAD[5:])
_COMPONENT_METRICS = ("rllc", "ablation")
_KINDS = {"step": "a level changes", "turn": "a slope changes sign"}
_ALONE = "what counts successes, as an accuracy does, may step where the network changes smoothly"


class TransitionCard(NamedTuple):
    """The texts of one transition.

    Attributes:
        id: Name of the transition, e.g. ``"T0"``.
        title: Its heading.
        facts: Pairs of a name and a text.
        head: Names of the table's columns.
        rows: One row for each series that took part.
        queries: The SQL that reproduces each series.
    """

    id: str
    title: str
    facts: list[tuple[str, str]]
    head: tuple[str, ...]
    rows: list[tuple[str, ...]]
    queries: list[str]


def transition_card(
    number: int, one: Transition, *, num_series: int, run_id: str = ""
) -> TransitionCard:
    """Return the texts of a transition.

    A step of one metric among others may be the metric's own: a count of successes jumps where the
    network changes smoothly. The card says so.

    Args:
        number: Its number in the run.
        one: The transition.
        num_series: Series that were evaluated.
        run_id: The run, for the queries.

    Source:
        Schaeffer et al. 2023 (arXiv:2304.15004), on metrics that jump.
    """
    when = interval_text(one.midpoint, one.midpoint_low, one.midpoint_high)
    has_interval = math.isfinite(one.midpoint_low)
    facts = [
        ("kind", f"{one.kind}: {_KINDS[one.kind]}" if one.kind in _KINDS else one.kind),
        ("onset", step_text(one.onset)),
        ("midpoint", f"{when} ({one.interval_level:.0%} interval)" if has_interval else when),
        ("end", step_text(one.end)),
        ("evidence", f"{number_text(one.evidence)} ({one.evidence_method})"),
        ("nominal rate", f"{number_text(one.alpha)} per run"),
    ]
    if one.event:
        facts.append(("event", f"coincides with {one.event}, an event of the configuration"))
    if len(one.moves) > 1:
        facts.append(("order", order_text(one.moves)))
    elif one.kind == "step" and num_series > 1:
        others = "the other series does not" if num_series == 2 else "no other series does"
        facts.append(("alone", f"{others}: {_ALONE}"))
    if components := _components(one):
        facts.append(("components", components))
    series = "1 series" if len(one.moves) == 1 else f"{len(one.moves)} series"
    return TransitionCard(
        id=f"T{number}",
        title=f"T{number} · {one.kind} of {series} at step {when}",
        facts=facts,
        head=_TURN_HEAD if one.kind == "turn" else _HEAD,
        rows=[_row(one, move) for move in one.moves],
        queries=[f"{series_query(run_id, move.metric, move.site)};" for move in one.moves],
    )


def _row(one: Transition, move: Move) -> tuple[str, ...]:
    return (
        _foldable(move.metric),
        _foldable(move.site),
        f"{move.direction} {measured_text(move.effect, move.effect_se)}",
        step_text(move.onset),
        interval_text(move.midpoint, move.midpoint_low, move.midpoint_high),
        step_text(move.end),
        lag_text(move, one.moves),
    )


def _components(one: Transition) -> str:
    """Name the parts of the network that took part by refined LLC or ablation, largest first."""
    parts = [move for move in one.moves if move.metric.split("/")[0] in _COMPONENT_METRICS]
    parts.sort(key=lambda move: -abs(move.effect))
    return ", ".join(f"{move.site} ({move.metric} {number_text(move.effect)})" for move in parts)


def _foldable(name: str) -> Markup:
    """Return a name that a browser may fold after dots, slashes and underscores only."""
    from markupsafe import Markup

    return Markup("<wbr>").join(re.split(r"(?<=[/._])", name))
