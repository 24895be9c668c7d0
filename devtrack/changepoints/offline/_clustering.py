"""Changes of single series put together: what moves at one place, give or take a lag, is one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from devtrack.changepoints._templates import KINK, STEP, Shape
from devtrack.changepoints.config import ClusterConfig, DetectorConfig
from devtrack.changepoints.offline._segmentation import occupied, refine
from devtrack.changepoints.offline._series_model import SeriesModel
from devtrack.changepoints.offline._shape_checks import is_visible, turning_point
from devtrack.changepoints.offline._significance import NullDistribution


class SeriesChange(NamedTuple):
    """One series' part in a change.

    Args:
        series: Number of the series.
        shape: Its own midpoint and width.
        glr: What it gains by the change.
    """

    series: int
    shape: Shape
    glr: float


@dataclass
class ChangeCluster:
    """Parts of several series that are one change, the loudest first.

    Attributes:
        parts: The change.
        nuisance: Further changes of those series nearby. They are no part of this change, but the
            fit of those series needs them.
    """

    parts: list[SeriesChange]
    nuisance: list[SeriesChange] = field(default_factory=list)

    @property
    def kind(self) -> int:
        """``STEP`` or ``KINK``."""
        return self.parts[0].shape.kind

    @property
    def mid(self) -> float:
        """Median midpoint."""
        return float(np.median([p.shape.mid for p in self.parts]))

    @property
    def width(self) -> float:
        """Median width."""
        return float(np.median([p.shape.width for p in self.parts]))

    def has(self, series: int) -> bool:
        """Say whether a series takes part."""
        return any(p.series == series for p in self.parts)


def selected_changes(
    models: Sequence[SeriesModel], selected: Sequence[list[Shape]]
) -> list[SeriesChange]:
    """Return the visible changes of every series with their gains, the loudest first."""
    parts = []
    for s, (model, shapes) in enumerate(zip(models, selected, strict=True)):
        fit = model.fit(shapes)
        pairs = zip(shapes, fit.effect, strict=True)
        visible = [shape for shape, effect in pairs if is_visible(model, fit, shape, effect)]
        parts += [SeriesChange(s, shape, _gain_on_grid(model, visible, shape)) for shape in visible]
    return sorted(parts, key=lambda p: -p.glr)


def link(parts: Sequence[SeriesChange], config: DetectorConfig) -> list[ChangeCluster]:
    """Put parts of different series that lie close together into clusters.

    Args:
        parts: The loudest first: it gathers the others around it.
        config: The detector's constants.
    """
    clusters: list[ChangeCluster] = []
    for part in parts:
        near = [c for c in clusters if c.kind == part.shape.kind and not c.has(part.series)]
        gaps = [abs(c.parts[0].shape.mid - part.shape.mid) for c in near]
        reach = [_join_reach(config, c.parts[0].shape.width, part.shape.width) for c in near]
        close = [(gap, i) for i, (gap, r) in enumerate(zip(gaps, reach, strict=True)) if gap <= r]
        if close:
            near[min(close)[1]].parts.append(part)
        else:
            clusters.append(ChangeCluster([part]))
    return clusters


def _join_reach(config: DetectorConfig, one: float, other: float) -> float:
    """Return how far apart midpoints of changes of two widths may lie."""
    return config.significance.lag + config.clusters.join_per_width * 0.5 * (one + other)


def merge(
    clusters: Sequence[ChangeCluster],
    null: NullDistribution,
    config: ClusterConfig,
    *,
    alpha: float,
) -> list[ChangeCluster]:
    """Make one of clusters of a kind that overlap; a series has one change at one place.

    If a series has two changes in the merged cluster, the one with the larger statistic stays. A
    change that lies too far from the stronger cluster becomes a nuisance term. A step and a turning
    point of the same series at the same location describe one change; in different series they are
    two changes. Kinks without a turning point are never merged.

    Args:
        clusters: The strongest first.
        null: The run and what chance can do in it.
        config: Which changes are one.
        alpha: The nominal rate, which a cluster that loses parts must still keep.
    """
    kinks = [c for c in clusters if c.kind == KINK and not _turns(c, clusters, null.models)]
    merged: list[ChangeCluster] = []
    for cluster in clusters:
        if any(cluster is kink for kink in kinks):
            continue
        near = [c for c in merged if abs(c.mid - cluster.mid) <= _reach(config, c, cluster)]
        other_word = [c for c in near if c.kind != cluster.kind]
        parts = [p for p in cluster.parts if not any(c.has(p.series) for c in other_word)]
        if not parts:
            continue
        own = ChangeCluster(parts, list(cluster.nuisance))
        home = next((c for c in near if c.kind == own.kind), None)
        if home is not None:
            _absorb(config, home, own)
        elif len(parts) == len(cluster.parts) or null.p_value(cluster_evidence(own, null)) <= alpha:
            merged.append(own)
    return [*merged, *kinks]


def _reach(config: ClusterConfig, one: ChangeCluster, other: ChangeCluster) -> float:
    reach = config.overlap + config.overlap_per_width * max(one.width, other.width)
    return reach + (config.overlap_of_kinds if one.kind != other.kind else 0.0)


def _absorb(config: ClusterConfig, home: ChangeCluster, cluster: ChangeCluster) -> None:
    reach = _reach(config, cluster, home)
    for part in cluster.parts:
        rival = next((p for p in home.parts if p.series == part.series), None)
        if abs(part.shape.mid - home.mid) > reach:
            home.nuisance.append(part)
        elif rival is None:
            home.parts.append(part)
        elif part.glr > rival.glr:
            home.parts[home.parts.index(rival)] = part
    home.nuisance += cluster.nuisance


def _turns(
    cluster: ChangeCluster, clusters: Sequence[ChangeCluster], models: Sequence[SeriesModel]
) -> bool:
    """Say whether a series of a cluster of bends has a turning point there."""
    return any(
        turning_point(models[p.series], shapes_in(clusters, p.series), p.shape) is not None
        for p in cluster.parts
    )


def shapes_in(clusters: Sequence[ChangeCluster], series: int) -> list[Shape]:
    """Return the shapes that one series has in all clusters."""
    return [p.shape for c in clusters for p in [*c.parts, *c.nuisance] if p.series == series]


def cluster_evidence(cluster: ChangeCluster, null: NullDistribution) -> float:
    """Return the evidence for a cluster."""
    glr = [0.0] * len(null.models)
    for part in cluster.parts:
        glr[part.series] = part.glr
    return null.evidence(glr, kind=cluster.kind)


def joint_scan(
    null: NullDistribution, clusters: Sequence[ChangeCluster], *, alpha: float
) -> list[ChangeCluster]:
    """Return further level changes that only all series together show.

    Args:
        null: The run and what chance can do in it.
        clusters: Clusters that are significant already.
        alpha: The nominal rate.
    """
    found: list[ChangeCluster] = []
    for _ in range(null.config.max_joint_changes):
        known = [*clusters, *found]
        glr_at = []
        for s, model in enumerate(null.models):
            shapes = shapes_in(known, s)
            glr_at.append(np.where(occupied(model, shapes), 0.0, model.glr_scan(shapes)))
        evidence, place = null.scan_maximum(glr_at)
        if null.p_value(evidence) > alpha:
            break
        parts = []
        for s, (model, glr) in enumerate(zip(null.models, glr_at, strict=True)):
            bank = model.bank
            reach = null.config.lag + null.config.lag_per_width * bank.width
            near = (bank.kind == STEP) & (np.abs(bank.mid - place) <= reach)
            best = int(np.argmax(np.where(near, glr, -1.0)))
            if near.any() and glr[best] >= null.config.min_joint_gain:
                parts.append(_refit(s, model, known, bank.shape(best)))
        if not parts:
            break
        found.append(ChangeCluster(sorted(parts, key=lambda p: -p.glr)))
    return found


def add_comoving_series(null: NullDistribution, clusters: Sequence[ChangeCluster]) -> None:
    """Add to every level change the series that move with it but did not select it themselves."""
    for cluster in clusters:
        if cluster.kind != STEP:
            continue
        mid, width = cluster.mid, cluster.width
        reach = null.config.lag + null.config.lag_per_width * width
        for s, model in enumerate(null.models):
            if cluster.has(s):
                continue
            bank, shapes = model.bank, shapes_in(clusters, s)
            alike = (bank.width <= 2.5 * width + 0.01) & (bank.width >= width / 3 - 0.01)
            near = (bank.kind == STEP) & (np.abs(bank.mid - mid) <= reach)
            glr = np.where(near & alike & ~occupied(model, shapes), model.glr_scan(shapes), -1.0)
            best = int(np.argmax(glr))
            if glr[best] < max(null.config.min_company_gain, null.marginal_quantile[s]):
                continue
            part = _refit(s, model, clusters, bank.shape(best))
            if abs(part.shape.mid - mid) <= _join_reach(model.config, width, part.shape.width):
                cluster.parts.append(part)


def _refit(
    s: int, model: SeriesModel, known: Sequence[ChangeCluster], shape: Shape
) -> SeriesChange:
    """Return a series' part at its own best place."""
    shapes = [*shapes_in(known, s), shape]
    shapes = refine(model, shapes, len(shapes) - 1)
    return SeriesChange(s, shapes[-1], float(model.glr_at(shapes[:-1], *shapes[-1])[0]))


def _gain_on_grid(model: SeriesModel, shapes: Sequence[Shape], shape: Shape) -> float:
    """Return the gain of the bank's best template near a change, as the draws are scanned.

    The places to both sides are near, however far apart the snapshots lie.
    """
    others = [other for other in shapes if other is not shape]
    bank = model.bank
    after = int(np.searchsorted(bank.place, shape.mid))
    around = bank.place[np.clip([after - 1, after], 0, bank.place.size - 1)]
    reach = max(0.015 + 0.25 * shape.width, float(np.abs(around - shape.mid).max()))
    near = (bank.kind == shape.kind) & (np.abs(bank.mid - shape.mid) <= reach)
    near &= (bank.width < 3 * shape.width + 0.01) & (bank.width > shape.width / 3 - 0.01)
    if not near.any():
        distance = np.abs(bank.mid - shape.mid) + 10.0 * (bank.kind != shape.kind)
        near[int(np.argmin(distance))] = True
    return float(model.glr_at(others, bank.kind[near], bank.mid[near], bank.width[near]).max())
