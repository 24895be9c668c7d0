"""One transition on a card: what moved, in which order, why it is believed, by which query."""

from __future__ import annotations

from devtrack.report._markup import Markup, element, foldable, joined, table
from devtrack.report._transition_queries import Found, FoundMove
from devtrack.report.formatting import interval_text, measured_text, number_text, step_text
from devtrack.report.summary import lag_text, order_text

_HEAD = ("metric", "site", "change ± se", "onset", "midpoint [interval]", "end", "lag in steps")
_TURN_HEAD = (*_HEAD[:2], "change of slope ± se", "onset", "turning point [interval]", *_HEAD[5:])
_COMPONENTS = ("rllc", "ablation")
_ALONE = "what counts successes, as an accuracy does, may step where the network changes smoothly"


def card(one: Found, *, num_series: int) -> Markup:
    """Return the card of a transition.

    A step of one metric among others may be the metric's own: what counts successes jumps where the
    network changes smoothly (Schaeffer et al. 2023, arXiv:2304.15004). The card says so.

    Args:
        one: The transition.
        num_series: Series that were judged.
    """
    when = interval_text(one.midpoint, one.low, one.high)
    kinds = {"step": "a level changes", "turn": "a slope changes sign"}
    facts = [
        ("kind", f"{one.kind}: {kinds[one.kind]}" if one.kind in kinds else one.kind),
        ("onset", step_text(one.onset)),
        ("midpoint", f"{when} ({one.level:.0%} interval)" if one.low == one.low else when),
        ("end", step_text(one.end)),
        ("evidence", f"{number_text(one.evidence)} ({one.method})"),
        ("nominal rate", f"{number_text(one.alpha)} per run"),
    ]
    if one.event:
        facts.append(("event", f"coincides with {one.event}: a mark of the recipe"))
    if len(one.moves) > 1:
        facts.append(("order", order_text(one.moves)))
    elif one.kind == "step" and num_series > 1:
        others = "the other series does not" if num_series == 2 else "no other series does"
        facts.append(("alone", f"{others}: {_ALONE}"))
    if parts := _components(one):
        facts.append(("components", parts))
    series = "1 series" if len(one.moves) == 1 else f"{len(one.moves)} series"
    head = _TURN_HEAD if one.kind == "turn" else _HEAD
    terms = (element("div", element("dt", name), element("dd", fact)) for name, fact in facts)
    return element(
        "article",
        element("h3", f"T{one.number} · {one.kind} of {series} at step {when}"),
        element("dl", *terms),
        table(
            head,
            [_row(one, move) for move in one.moves],
            numeric=frozenset({2, 3, 4, 5, 6}),
        ),
        element("pre", joined((f"{move.query};" for move in one.moves if move.query), by="\n")),
        id=f"T{one.number}",
    )


def _row(one: Found, move: FoundMove) -> tuple[str, ...]:
    return (
        foldable(move.metric),
        foldable(move.site),
        f"{move.direction} {measured_text(move.effect, move.effect_se)}",
        step_text(move.onset),
        interval_text(move.midpoint, move.low, move.high),
        step_text(move.end),
        lag_text(move, one.moves),
    )


def _components(one: Found) -> str:
    """Name the parts of the network that took part by refined LLC or ablation, the most first."""
    parts = [move for move in one.moves if move.metric.split("/")[0] in _COMPONENTS]
    parts.sort(key=lambda move: -abs(move.effect))
    return ", ".join(f"{move.site} ({move.metric} {number_text(move.effect)})" for move in parts)
