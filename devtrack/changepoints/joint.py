"""Evidence of several series for one change: each may take part, each may lag a little.

At a place p, series s brings G_s(p), the gain of its best template whose middle lies near p. The
evidence is the sum over series of log(1 + exp(G_s(p)/2 - PRICE)): the log odds of "takes part"
against "does not", where PRICE is what the freedom to choose a template and a lag is worth. A
series without anything to say adds almost nothing, so that more metrics bring more power and not
more alarms; what the sum is worth is left to the run's own bootstrap.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from devtrack.changepoints.templates import Bank

Array = npt.NDArray[np.floating]

PRICE = 3.5  # few series move, each clearly
LOW_PRICE, IDLE = 1.5, 0.6  # many move a little; IDLE is what an idle series then brings
LAG = 0.015  # series may lag by this fraction of the axis ...
LAG_PER_WIDTH = 0.3  # ... and by this fraction of the change's own width
STEP, BEND, WIDE = 0, 1, 2


class Windows:
    """Which templates speak for which place.

    Args:
        bank: The run's templates, laid out class by class over the places.
    """

    def __init__(self, bank: Bank) -> None:
        self.bank = bank
        self.widest = float(bank.width[bank.kind == STEP].max())
        size = bank.place.size
        starts = range(0, bank.kind.size, size)
        self._classes = [
            (int(bank.kind[i]), slice(i, i + size), LAG + LAG_PER_WIDTH * float(bank.width[i]))
            for i in starts
        ]

    def local(self, gain: Array, kind: int) -> Array:
        """Return the best gain near every place, shape (place,) or (place, draw).

        Args:
            gain: Gains of the templates, shape (template,) or (template, draw).
            kind: Kind of template that counts.
        """
        out = np.zeros((self.bank.place.size, *gain.shape[1:]))
        for k, rows, radius in self._classes:
            if k == kind:
                np.maximum(out, self._spread(gain[rows], radius), out=out)
        return out

    def best_near(self, gain: Array, kind: int, place: float) -> int:
        """Return the template of highest gain near a place, -1 if there is none."""
        bank = self.bank
        near = (bank.kind == kind) & (
            np.abs(bank.mid - place) <= LAG + LAG_PER_WIDTH * bank.width + 1e-9
        )
        if not near.any():
            return -1
        rows = np.flatnonzero(near)
        return int(rows[np.argmax(gain[rows])])

    def _spread(self, gain: Array, radius: float) -> Array:
        """Running maximum within ``radius`` of each place."""
        place, out = self.bank.place, gain.copy()
        for shift in range(1, place.size):
            near = place[shift:] - place[:-shift] <= radius + 1e-9
            if not near.any():
                break
            low, high = np.flatnonzero(near), np.flatnonzero(near) + shift
            out[low] = np.maximum(out[low], gain[high])
            out[high] = np.maximum(out[high], gain[low])
        return out


def evidence(local: list[Array], witness: list[bool]) -> Array:
    """Add the series' evidence; series that are no witnesses can at most double it.

    Args:
        local: Per series, the best gain near each place, shape (place,) or (place, draw).
        witness: Whether a series may carry a transition alone.
    """
    sums = []
    for price, idle in ((PRICE, 0.0), (LOW_PRICE, IDLE)):
        zero = np.zeros_like(local[0])
        odds = [np.logaddexp(0.0, 0.5 * g - price) - idle for g in local]
        strong = sum((o for o, w in zip(odds, witness) if w), zero)
        weak = sum((o for o, w in zip(odds, witness) if not w), zero)
        sums.append(strong + np.minimum(weak, np.maximum(strong, 0.0)))
    return np.maximum(*sums)
