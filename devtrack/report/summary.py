"""What changed and when, in sentences made from the rows."""

from __future__ import annotations

import math
from collections.abc import Sequence

from devtrack.report.formatting import interval_text, measured_text, step_text
from devtrack.series import Move, Transition
from devtrack.transitions.coverage import Coverage

MAX_SENTENCES = 12  # transitions in the paragraph; all have a card
_MOST_MOVES = 3
_VERBS = {
    ("step", "up"): "rose by",
    ("step", "down"): "fell by",
    ("turn", "up"): "turned from falling to rising, its slope per length of the axis by",
    ("turn", "down"): "turned from rising to falling, its slope per length of the axis by",
}


def summarize(
    found: Sequence[Transition], *, steps: Sequence[int], coverage: Coverage | None
) -> list[str]:
    """Tell what a run did in sentences, the first of which stands for all.

    Args:
        found: The transitions, by number.
        steps: The observed steps, ascending; at least one.
        coverage: Which series were evaluated; None if nobody has looked for transitions.
    """
    over = (
        f"{len(steps)} observed steps, from {steps[0]} to {steps[-1]}"
        if len(steps) > 1
        else f"the one observed step, {steps[0]}"
    )
    if coverage is None:
        return [f"Over {over}, nobody has looked for transitions yet: devtrack transitions does."]
    others = [f"Not evaluated: {coverage.reasons_text}."] if coverage.excluded else []
    if not found and not coverage.evaluated:
        return [
            f"Over {over}, no series could be evaluated: whether anything changed is not known.",
            *others,
        ]
    num_series = len(coverage.evaluated)
    if not found:
        return [
            f"Over {over}, no transition was found in {_count(num_series, 'series', 'series')}.",
            *others,
            "That is no proof that nothing changed: a change smaller than the noise, or faster "
            "than the distance between two observations, leaves no trace.",
        ]
    moved = {(move.metric, move.site) for one in found for move in one.moves}
    own = sum(one.event is None for one in found)
    what = [_count(own, "transition")] if own else []
    if own < len(found):
        marks = _count(len(found) - own, "change")
        what.append(f"{marks} at an event of the configuration")
    sentences = [
        f"Over {over}, {len(moved)} of {_count(max(num_series, len(moved)), 'series', 'series')} "
        f"moved, in {' and '.join(what)}.",
        *others,
    ]
    sentences += [
        transition_sentence(number, one) for number, one in enumerate(found[:MAX_SENTENCES])
    ]
    if len(found) > MAX_SENTENCES:
        sentences.append(f"The other {len(found) - MAX_SENTENCES} are in the cards below.")
    return sentences


def transition_sentence(number: int, one: Transition) -> str:
    """Describe one transition in a sentence.

    Args:
        number: Its number in the run.
        one: The transition.

    Example:
        >>> move = Move("llc", "model", "down", -60.2, 3.1, 150, 300, 600, 260, 340)
        >>> facts = ("step", 150, 300, 600, 260, 340, 0.9, 1e-9, "p-value", 0.05, None)
        >>> transition_sentence(0, Transition(*facts, (move,)))
        'T0, half-way at step 300 [260, 340]: llc fell by 60.2 ± 3.1.'
    """
    when = interval_text(one.midpoint, one.midpoint_low, one.midpoint_high)
    loudest = sorted(one.moves, key=_loudness, reverse=True)[:_MOST_MOVES]
    shown = [moved_text(one.kind, move) for move in one.moves if move in loudest]
    more = len(one.moves) - len(shown)
    if more:
        shown.append(f"{more} more series moved too")
    place = "at its turning point" if one.kind == "turn" else "half-way"
    sentence = f"T{number}, {place} at step {when}: {', '.join(shown)}"
    if len(first := in_order(one.moves)) > 1:
        sentence += f"; {_and(first[0])} moved first"
    if one.event:
        sentence += (
            f"; it coincides with {one.event.replace('_', ' ')}, an event of the configuration"
        )
    return sentence + "."


def moved_text(kind: str, move: Move) -> str:
    """Say what one series did, e.g. ``llc rose by 5.9 ± 1.1``."""
    verb = _VERBS.get((kind, move.direction))
    if verb is None:
        return f"{_name(move)} changed by {measured_text(move.effect, move.effect_se)}"
    return f"{_name(move)} {verb} {measured_text(abs(move.effect), move.effect_se)}"


def order_text(moves: Sequence[Move]) -> str:
    """Say in which order series moved, as far as their intervals tell.

    Args:
        moves: At least two.
    """
    groups = in_order(moves)
    if len(groups) == 1:
        return "their intervals do not tell which moved first"
    return ", then ".join(_and(group) for group in groups)


def in_order(moves: Sequence[Move]) -> list[list[Move]]:
    """Part series into groups, each of which moved before the next by their intervals.

    Every interval of a group ends before the first of the next group begins; one series
    without an interval leaves the whole order open.
    """
    ordered = sorted(moves, key=lambda move: move.midpoint)
    groups = [ordered[:1]]
    known = all(math.isfinite(move.midpoint_low + move.midpoint_high) for move in moves)
    for place, move in enumerate(ordered[1:], start=1):
        earliest = min(other.midpoint_low for other in ordered[place:])
        if known and max(other.midpoint_high for other in ordered[:place]) < earliest:
            groups.append([])
        groups[-1].append(move)
    return groups


def _name(move: Move) -> str:
    return move.metric if move.site == "model" else f"{move.metric} at {move.site}"


def _and(moves: Sequence[Move]) -> str:
    *names, last = (_name(move) for move in moves)
    return f"{', '.join(names)} and {last}" if names else last


def lag_text(move: Move, moves: Sequence[Move]) -> str:
    """Return the steps by which a series lags behind the first of ``moves``."""
    return step_text(move.midpoint - min(other.midpoint for other in moves))


def _loudness(move: Move) -> float:
    """Return the size of a move in standard errors; 0 where none is known."""
    known = math.isfinite(move.effect) and move.effect_se > 0
    return abs(move.effect) / move.effect_se if known else 0.0


def _count(number: int, noun: str, plural: str | None = None) -> str:
    return f"{number} {noun if number == 1 else plural or noun + 's'}"
