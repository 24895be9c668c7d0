"""One generated run: curves recorded at the same snapshots, with labels and events.

Every curve is a smooth trend, plus transitions, plus effects of events, plus noise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from experiments.bench.generated_curves import (
    Array,
    Bend,
    Effect,
    Noise,
    Ranges,
    Rng,
    Steps,
    bent_line,
    draw_quality,
    error_profile,
    smooth_trend,
)
from experiments.bench.labelled_runs import Label

LOG_10 = np.log(10.0)
SITES = {
    "loss": ("model",),
    "llc": ("model",),
    "head_score": ("L0H0", "L0H1", "L1H0", "L1H1"),
    "probe_acc": ("layer0", "layer1", "layer2"),
    "test_acc": ("model",),
    "weight_norm": ("model", "mlp"),
}
"""The metrics, and the sites that one is drawn from. All but the loss rise in training."""


@dataclass
class GeneratedRun:
    """A run in the making.

    Attributes:
        name: Unique in a set.
        family: Name in ``FAMILIES`` of ``run_families.py``.
        axis: ``log`` or ``linear``.
        steps: Of the snapshots, (snapshot,).
        rng: Draws everything.
        ranges: What is drawn from.
        series: Values and standard errors by metric and site, each (snapshot,).
        labels: With places as fractions of the axis, and as steps in the end.
        events: Places, as those of labels, and kinds of what the tracker knows.
    """

    name: str
    family: str
    axis: str
    steps: Steps
    rng: Rng
    ranges: Ranges
    series: dict[tuple[str, str], tuple[Array, Array]] = field(default_factory=dict)
    labels: list[Label] = field(default_factory=list)
    events: list[tuple[float, str]] = field(default_factory=list)

    def step_of(self, u: float) -> float:
        """Return the training step at a fraction of the axis."""
        first, last = float(self.steps[0]), float(self.steps[-1])
        if self.axis == "linear":
            return first + u * (last - first)
        low, high = np.log1p(first), np.log1p(last)
        return float(np.expm1(low + u * (high - low)))

    def axis_fraction(self) -> Array:
        """Return the snapshots as fractions of the axis, (snapshot,)."""
        x = self.steps.astype(float)
        x = np.log1p(x) if self.axis == "log" else x
        return (x - x[0]) / (x[-1] - x[0])

    def draw_effects(self, count: int) -> list[Effect]:
        """Draw level changes that do not overlap: as many as ``count`` if there is room."""
        for size in range(count, -1, -1):
            widths = [self._draw_width() for _ in range(size)]
            midpoints = draw_places(self.rng, widths)
            if midpoints is not None:
                return [
                    Effect(float(m), w, str(self.rng.choice(self.ranges.shapes)), self.draw_snr())
                    for m, w in zip(midpoints, widths, strict=True)
                ]
        return []

    def draw_snr(self, limits: tuple[float, float] | None = None) -> float:
        """Draw the height of a level change in standard deviations of the noise."""
        return float(np.exp(self.rng.uniform(*np.log(limits or self.ranges.snr))))

    def add_label(
        self, effect: Effect, metrics: Sequence[str], *, kind: str = "step", snr: float
    ) -> None:
        """Label a level change."""
        onset, end = effect.interval
        self.labels.append(Label(onset, effect.midpoint, end, kind, snr, frozenset(metrics)))

    def add_metric(
        self,
        metric: str,
        effects: Sequence[Effect] = (),
        *,
        quality: str | None = None,
        trend: str | None = None,
        trend_height: float | None = None,
        bent: Array | None = None,
        event_effect: Array | None = None,
    ) -> None:
        """Append the curve of one metric.

        Args:
            metric: A name in ``SITES``.
            effects: Level changes.
            quality: Of the reported standard errors; drawn if None.
            trend: Kind of the smooth trend; drawn if None.
            trend_height: In standard deviations of the noise; drawn if None.
            bent: A curve that the trend stands back behind, (snapshot,), in the same unit.
            event_effect: Effects of events, (snapshot,), in the same unit.
        """
        rng, u = self.rng, self.axis_fraction()
        quality = quality or draw_quality(rng)
        site = str(rng.choice(SITES[metric]))
        sign = 1 if metric == "loss" else -1
        noise = Noise(rng, self.ranges, quality)
        relative_se = error_profile(rng, u)
        sd = noise.scale(relative_se)
        smooth = smooth_trend(rng, self.steps, trend or str(rng.choice(self.ranges.trends)))
        height = float(10 ** rng.uniform(0.3, 1.7)) * sd if trend_height is None else trend_height
        curve = sign * height * smooth
        for effect in effects:
            curve = curve - sign * effect.snr * sd * effect.rise(u)
        if bent is not None:
            curve = curve * 0.15 + bent * sd
        if event_effect is not None:
            curve = curve + event_effect * sd
        unit = float(10 ** rng.uniform(-3, 0.5))
        value = (curve + noise.draw(relative_se)) * unit
        se = noise.reported(relative_se) * unit
        offset = float(rng.uniform(1, 4)) * (np.ptp(curve) + 5) * unit
        if metric in ("loss", "llc", "weight_norm"):
            value = value - value.min() + 0.3 * offset
        elif metric.endswith("_acc"):  # accuracies stay between 0 and 1
            shrink = min(1.0, 0.8 / max(np.ptp(value), 1e-12))
            value, se = (value - value.min()) * shrink + 0.05, se * shrink
        self.series[metric, site] = (value, se)

    def add_accuracy(self, metric: str = "test_acc", effects: Sequence[Effect] = ()) -> list[float]:
        """Append a binomial accuracy and return the height of its level changes over the noise.

        Its standard error is zero where every answer is right, or wrong.
        """
        rng, u = self.rng, self.axis_fraction()
        questions = int(rng.choice([100, 250, 1000, 4000]))
        p = np.full(u.size, float(rng.choice([0.0, 0.01, 0.02, 0.1, 0.5])))
        drift = 1 - smooth_trend(rng, self.steps, "expmix")
        p = p + (rng.uniform(0, 0.06) if effects else rng.uniform(0.05, 0.4)) * drift
        room = 1 - p.max()
        top = rng.uniform(0.5, 1.0) if effects else 0.0
        snr = np.array([effect.snr for effect in effects])
        heights: list[float] = []
        for effect, share in zip(effects, snr / max(snr.sum(), 1e-9), strict=True):
            p = p + room * top * share * effect.rise(u)
            heights.append(float(room * top * share / np.sqrt(0.25 / questions)))
        value = rng.binomial(questions, np.clip(p, 0, 1)) / questions
        site = str(rng.choice(SITES[metric]))
        self.series[metric, site] = (value, np.sqrt(value * (1 - value) / questions))
        return heights

    def add_bends(self, metric: str, slope: float, bends: Sequence[Bend]) -> None:
        """Append a metric that consists of straight pieces, in standard deviations per axis."""
        self.add_metric(
            metric, trend_height=0.0, bent=bent_line(self.axis_fraction(), slope, bends)
        )

    def add_learning_rate(self, relative: Array) -> None:
        """Append the schedule that the tracker records."""
        self.series["lr", "schedule"] = (relative * 1e-3, np.zeros_like(relative))

    def _draw_width(self) -> float:
        width = float(np.exp(self.rng.uniform(*np.log(self.ranges.width))))
        if self.axis == "log":
            decades = (np.log1p(self.steps[-1]) - np.log1p(self.steps[0])) / LOG_10
            width = min(width, 0.9 / decades)
        return width


def draw_places(
    rng: Rng,
    widths: Sequence[float],
    *,
    limits: tuple[float, float] = (0.12, 0.88),
    gap: float = 0.06,
) -> Array | None:
    """Draw the places of intervals that are a gap apart; None if there seems to be no room."""
    for _ in range(2000):
        places = np.sort(rng.uniform(*limits, len(widths)))
        edges = [(m - w / 2, m + w / 2) for m, w in zip(places, widths, strict=True)]
        is_apart = all(b[0] - a[1] > gap for a, b in pairwise(edges))
        if is_apart and (not edges or (edges[0][0] > 0.04 and edges[-1][1] < 0.96)):
            return places
    return None
