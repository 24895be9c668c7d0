"""Which candidates are believed: each must be worth it given the others, and all together too."""

from __future__ import annotations

import numpy as np

from devtrack.changepoints.calibrate import Chance, chance
from devtrack.changepoints.joint import BEND, STEP
from devtrack.changepoints.search import NEAR, Candidate, Search

CLEAR = 8.0  # evidence from which a candidate is taken out before the noise is judged


def believe(
    search: Search, found: list[Candidate], *, alpha: float, rng: np.random.Generator
) -> tuple[list[Candidate], Chance]:
    """Return the candidates that chance at the rate ``alpha`` does not explain, and what it can.

    What the noise is like must be judged without the changes that are really there and with those
    that are not; so it is judged twice, the second time without the changes believed at first.

    Args:
        search: The run.
        found: Candidates, as many as the search could find.
        alpha: Share of runs without a change in which one or more may be kept.
        rng: Source of randomness of the calibration.
    """
    clear = [c for i, c in enumerate(found) if search.weigh(found, i, fast=True) >= CLEAR]
    state = rng.bit_generator.state
    odds = chance(search, clear, rng=rng)
    kept = _prune(search, found, odds.evidence_at(alpha))
    if kept != clear:
        rng.bit_generator.state = state  # the same draws, or the two answers differ by chance
        odds = chance(search, kept, rng=rng)
        kept = _prune(search, found, odds.evidence_at(alpha))
    return kept, odds


def _prune(search: Search, found: list[Candidate], need: float) -> list[Candidate]:
    while found:
        worth = [search.weigh(found, i, fast=c.kind == BEND) for i, c in enumerate(found)]
        worst = int(np.argmin(worth))
        if worth[worst] >= need and _together(search, found, worth) >= need:
            return found
        found = search.polish(found[:worst] + found[worst + 1 :], rounds=1, reach=NEAR)
    return found


def _together(search: Search, found: list[Candidate], worth: list[float]) -> float:
    """Return the mean evidence per level change when they are added one after another.

    Two candidates that undo each other are each indispensable given the other, and worth nothing
    together.
    """
    steps = [i for i, c in enumerate(found) if c.kind == STEP]
    if not steps:
        return float("inf")
    given = [c for c in found if c.kind == BEND]
    total = 0.0
    for i in sorted(steps, key=lambda i: -worth[i]):
        total += search.evidence(found[i], given)
        given = [*given, found[i]]
    return total / len(steps)
