"""What the evidence for a change is worth: p-values from the run's own no-change fit.

The run is drawn again and again without any change: the fitted trend plus noise made of its own
residuals (whitened, shuffled over snapshots in one order for all series, so that heavy tails and
correlation between metrics stay, then coloured again). The largest evidence of each draw, over all
places and kinds, is what chance can do in this run.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from devtrack.changepoints.joint import BEND, STEP, evidence
from devtrack.changepoints.search import BEND_PENALTY, Candidate, Search

Array = npt.NDArray[np.floating]

DRAWS = 200
TAIL = 0.3  # share of the draws, the largest, that the exponential tail is fitted to
TAIL_PRIOR = 10  # draws' worth of belief that the tail falls like exp(-evidence)


class Chance(NamedTuple):
    """What a run without a change can show.

    Args:
        largest: Largest evidence of each draw, shape (draw,), ascending.
        threshold: Evidence that the share ``TAIL`` of the draws exceeds.
        scale: Mean excess over it.
        share: Per series, the gain that a template near a given place exceeds in 2 % of the draws.
    """

    largest: Array
    threshold: float
    scale: float
    share: Array

    def evidence_at(self, alpha: float) -> float:
        """Return the evidence that the share ``alpha`` of runs without a change exceeds."""
        if alpha >= TAIL:
            return float(np.quantile(self.largest, 1 - alpha))
        return float(self.threshold + self.scale * np.log(TAIL / alpha))

    def p_value(self, value: float) -> float:
        """Return the probability that a run without a change shows more than ``value``."""
        if value <= self.threshold:
            return float((np.sum(self.largest >= value) + 1) / (self.largest.size + 1))
        return float(TAIL * np.exp(-(value - self.threshold) / self.scale))


def chance(search: Search, found: list[Candidate], *, rng: np.random.Generator) -> Chance:
    """Draw the run without changes and record what the scan makes of it.

    Args:
        search: The run.
        found: The candidates: the residuals and the noise are taken from the fit with all of them.
        rng: The draws' source of randomness.
    """
    snapshots = 1 + max(int(c.index[-1]) for c in search.curves)
    order = rng.integers(0, snapshots, (snapshots, DRAWS))
    sums: dict[int, list[Array]] = {STEP: [], BEND: []}
    share = np.zeros(len(search.curves))
    for s, scanner in enumerate(search.scanners):
        y = _draw(search, found, s, order, rng)
        gains = scanner.gains(y, extra=search.trend(s, found))
        for kind, local in sums.items():
            local.append(search.windows.local(gains, kind))
        share[s] = np.quantile(sums[STEP][s], 0.98)
    largest = np.zeros(DRAWS)
    for kind, local in sums.items():
        total = evidence(local, search.witness) - (BEND_PENALTY if kind == BEND else 0.0)
        largest = np.maximum(largest, total.max(axis=0))
    largest = np.sort(largest)
    threshold = float(np.quantile(largest, 1 - TAIL))
    excess = largest[largest > threshold] - threshold
    scale = float((excess.sum() + TAIL_PRIOR) / (excess.size + TAIL_PRIOR))
    return Chance(largest, threshold, scale, share)


def _draw(
    search: Search,
    found: list[Candidate],
    s: int,
    order: npt.NDArray[np.int64],
    rng: np.random.Generator,
) -> Array:
    """Return draws of one series without changes, (point, draw)."""
    curve, scanner, changes = search.curves[s], search.scanners[s], search.extra(s, found)
    extra = np.hstack([changes, search.trend(s, found)])
    settings = scanner.settings(curve.y, extra=extra)
    odds = np.array([x.log_likelihood for x in settings])
    odds = np.exp(odds - odds.max())
    chosen = rng.choice(len(settings), DRAWS, p=odds / odds.sum())
    n = curve.u.size
    lookup = np.full(order.shape[0], -1)
    lookup[curve.index] = np.arange(n)
    row = lookup[order]
    row = np.where(row < 0, rng.integers(0, n, order.shape), row)[curve.index]
    design = scanner.design(extra)
    num_free = scanner.free.shape[1]
    smooth = np.delete(np.arange(design.shape[1]), np.s_[num_free : num_free + changes.shape[1]])
    out = np.empty((n, DRAWS))
    for k in np.unique(chosen):
        mine = np.flatnonzero(chosen == k)
        weights = scanner.smooth(curve.y, settings[k], extra=extra)
        residual = settings[k].whitener.whiten((curve.y - design @ weights) / curve.h)
        residual = (residual - residual.mean()) / residual.std() * settings[k].sigma
        noise = settings[k].whitener.colour(residual[row[:, mine]]) * curve.h[:, None]
        out[:, mine] = (design[:, smooth] @ weights[smooth])[:, None] + noise
    return out
