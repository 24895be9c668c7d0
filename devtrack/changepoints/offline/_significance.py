"""What the evidence for a change is worth: joint over series, measured on the run's own noise.

At a place p, series s brings G_s(p), the gain of its best template near p. The evidence is the sum
over series of log(1 + exp(G_s(p)/2 - penalty)): the log odds of "takes part" against "does not".
The penalty pays for the freedom to choose a template and a lag. A series without
anything to say adds almost nothing, so that more metrics bring more power and not more alarms.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.ndimage import maximum_filter1d

from devtrack.changepoints._templates import KINK, STEP, is_admissible
from devtrack.changepoints.config import SignificanceConfig
from devtrack.changepoints.offline._series_model import SeriesModel

Array = npt.NDArray[np.floating]


@dataclass(frozen=True, eq=False)
class NullDistribution:
    """What a run without a change can show.

    Args:
        models: The run's series.
        place: Places at which evidence is gathered, (place,).
        largest: Largest evidence of each draw, (draw,).
        marginal_quantile: Per series, the gain that ``company_quantile`` of draws and places stay
            below.
        config: What evidence is worth.
    """

    models: Sequence[SeriesModel]
    place: Array
    largest: Array
    marginal_quantile: Array
    config: SignificanceConfig

    def p_value(self, value: float) -> float:
        """Return the probability that a run without a change shows more than ``value``."""
        tail, prior = self.config.tail, self.config.tail_prior
        threshold = float(np.quantile(self.largest, 1 - tail))
        excess = self.largest[self.largest > threshold] - threshold
        scale = (excess.sum() + 2 * prior) / (excess.size + prior)
        if value > threshold:
            raw = float(tail * np.exp(-(value - threshold) / scale))
        else:
            raw = float((np.sum(self.largest >= value) + 1) / (self.largest.size + 1))
        return min(1.0, self.config.p_value_inflation * raw)

    def evidence(self, glr: Sequence[float], *, kind: int) -> float:
        """Return the evidence of one change.

        Args:
            glr: What each series gains by it; 0 for one that does not take part.
            kind: ``STEP`` or ``KINK``.
        """
        total = float(combine_evidence([np.array([g]) for g in glr], self.config)[0])
        return total - (self.config.kink_penalty if kind == KINK else 0.0)

    def scan_maximum(self, glr: Sequence[Array]) -> tuple[float, float]:
        """Return the largest joint evidence for a level change and its place.

        Args:
            glr: Per series, the gain of every template of its bank, (template,).
        """
        local = [
            _at(self.place, m, windowed_max(m, g[:, None], STEP, self.config))
            for m, g in zip(self.models, glr, strict=True)
        ]
        total = combine_evidence(local, self.config)[:, 0]
        best = int(np.argmax(total))
        return float(total[best]), float(self.place[best])


def simulate_null(
    models: Sequence[SeriesModel], rng: np.random.Generator, config: SignificanceConfig
) -> NullDistribution:
    """Draw the run without changes, series by series.

    Args:
        models: The run's series, their noise learned.
        rng: The draws' source of randomness.
        config: What evidence is worth.
    """
    place = max((m.bank.place for m in models), key=len)
    local: dict[int, list[Array]] = {STEP: [], KINK: []}
    marginal_quantile = np.zeros(len(models))
    for s, model in enumerate(models):
        glr = model.simulate_null_glr(rng, config.num_draws)
        glr[~is_admissible(model.bank.kind, model.bank.mid)] = 0.0
        for kind, of_kind in local.items():
            of_kind.append(_at(place, model, windowed_max(model, glr, kind, config)))
        company = windowed_max(model, glr, STEP, config)
        marginal_quantile[s] = np.quantile(company, config.company_quantile)
    steps, bends = (combine_evidence(local[kind], config).max(axis=0) for kind in (STEP, KINK))
    largest = np.maximum(steps, bends - config.kink_penalty)
    return NullDistribution(models, place, largest, marginal_quantile, config)


def combine_evidence(local: Sequence[Array], config: SignificanceConfig) -> Array:
    """Add the series' evidence.

    Args:
        local: Per series, gains of one shape, e.g. (place, draw).
        config: What evidence is worth.
    """
    glr_at = np.stack(local)  # (series, *shape)
    return np.maximum.reduce(
        [
            np.sum(np.logaddexp(0.0, 0.5 * glr_at - penalty) - idle, axis=0)
            for penalty, idle in config.penalties
        ]
    )


def windowed_max(model: SeriesModel, glr: Array, kind: int, config: SignificanceConfig) -> Array:
    """Return the best gain near every place, (place, draw), of gains (template, draw)."""
    bank = model.bank
    gap = float(np.median(np.diff(bank.place)))
    out = np.zeros((bank.place.size, glr.shape[1]))
    for rows in bank.classes():
        if bank.kind[rows.start] == kind:
            reach = config.lag + config.lag_per_width * float(bank.width[rows.start])
            radius = int(reach / gap)
            out = np.maximum(out, maximum_filter1d(glr[rows], 2 * radius + 1, axis=0))
    return out


def _at(place: Array, model: SeriesModel, local: Array) -> Array:
    """Read values at a series' own places off at common ones."""
    return local[np.abs(place[:, None] - model.bank.place[None, :]).argmin(axis=1)]
