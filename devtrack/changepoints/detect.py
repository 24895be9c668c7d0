"""The seam of the detector: series in, transitions out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from devtrack.changepoints.assemble import assemble
from devtrack.changepoints.believe import believe
from devtrack.changepoints.describe import describe
from devtrack.changepoints.series import RecipeEvent, Series, Transition
from devtrack.errors import ConfigError

SEED = 20261121  # of the calibration's draws: the same series give the same answer


def detect(
    series: Sequence[Series],
    *,
    alpha: float = 0.05,
    axis: str = "auto",
    events: Sequence[RecipeEvent] = (),
) -> list[Transition]:
    """Find the transitions of one run.

    A level change narrower than a quarter of the axis (and than 0.9 decades of steps), or a turning
    point, is a transition; relaxations, power laws and drifts are not. All series are judged
    together: those that change at one place, give or take a lag, are one transition.

    Args:
        series: All metrics of the run. One named ``lr`` or ``lr/...`` is the recipe: no witness,
            but what happens in step with it is put down to it.
        alpha: Share of runs without a change in which one or more may be reported.
        axis: ``"log"`` or ``"linear"`` steps; ``"auto"`` takes the one the snapshots are spaced on.
        events: What was done to the run; what they explain is not reported as a transition.

    Returns:
        The transitions by midpoint; none when the run is too short to tell (10 snapshots).

    Raises:
        ConfigError: ``alpha`` is no rate, or ``axis`` none of the three.
    """
    if not 0 < alpha < 1:
        raise ConfigError(f"alpha={alpha!r}: must lie between 0 and 1. Pass alpha=0.05.")
    assembled = assemble(series, axis=axis, events=events)
    if assembled is None:
        return []
    search, line = assembled
    found = search.run()
    if not found:
        return []
    found, odds = believe(search, found, alpha=alpha, rng=np.random.default_rng(SEED))
    return describe(search, found, odds, line, alpha=alpha)
