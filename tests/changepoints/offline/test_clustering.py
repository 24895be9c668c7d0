"""Changes of several series that are one."""

import numpy as np
import pytest

from devtrack.changepoints._templates import KINK, STEP, Shape
from devtrack.changepoints.offline._clustering import (
    ChangeCluster,
    SeriesChange,
    add_comoving_series,
    cluster_evidence,
    joint_scan,
    link,
    merge,
    selected_changes,
    shapes_in,
)
from devtrack.changepoints.offline._significance import NullDistribution, simulate_null
from tests.changepoints.models import CONFIG, build_model, falls_at


def change(series, mid, *, width=0.05, glr=30.0, kind=STEP):
    return SeriesChange(series, Shape(kind, mid, width), glr)


def null_of(*models):
    return simulate_null(models, np.random.default_rng(0), CONFIG.significance)


@pytest.mark.parametrize("inside", [True, False])
def test_changes_within_reach_are_linked_to_the_loudest(inside):
    reach = CONFIG.significance.lag + CONFIG.clusters.join_per_width * 0.05
    other = change(1, 0.5 + reach * (0.95 if inside else 1.05), glr=20.0)
    clusters = link([change(0, 0.5), other], CONFIG)
    assert [len(c.parts) for c in clusters] == ([2] if inside else [1, 1])


def test_a_series_has_one_part_in_a_cluster_and_kinds_stay_apart():
    clusters = link([change(0, 0.5), change(0, 0.51), change(1, 0.5, kind=KINK)], CONFIG)
    assert [[p.series for p in c.parts] for c in clusters] == [[0], [0], [1]]


def test_a_change_goes_to_the_nearest_cluster():
    clusters = link([change(0, 0.50), change(1, 0.56), change(2, 0.54)], CONFIG)
    assert [[p.series for p in c.parts] for c in clusters] == [[0], [1, 2]]


def test_selected_changes_are_visible_ones_the_loudest_first():
    def rises(u):
        noise = 0.1 * np.random.default_rng(0).standard_normal(u.size)
        return 3.0 * (u > 0.3) + 1.0 * (u > 0.7) + noise

    model = build_model(rises)
    small, large = Shape(STEP, 0.7, 0.01), Shape(STEP, 0.3, 0.01)
    none = Shape(STEP, 0.5, 0.02)  # fitted, but far below the least share of the range
    found = selected_changes([model], [[small, none, large]])
    assert [p.shape for p in found] == [large, small]
    assert found[0].glr > found[1].glr > 20


def test_the_louder_of_a_series_two_parts_stays():
    """As in a transformer that learns bigrams: an early loud rise of one head, and a faint late one
    that had already joined the wide change of another head."""
    faint, loud = (
        SeriesChange(0, Shape(STEP, 0.55, 0.05), 20.0),
        SeriesChange(0, Shape(STEP, 0.5, 0.1), 100.0),
    )
    wide = SeriesChange(1, Shape(STEP, 0.54, 0.25), 150.0)
    (merged,) = merge(
        [ChangeCluster([wide, faint]), ChangeCluster([loud])],
        NullDistribution([], *3 * [np.linspace(0, 1, 80)], CONFIG.significance),
        CONFIG.clusters,
        alpha=0.05,
    )
    assert merged.parts == [wide, loud]


def test_a_bend_without_a_turning_point_is_merged_with_nothing():
    model = build_model(lambda u: np.maximum(u - 0.5, 0) * 5)
    step, bend = ChangeCluster([change(0, 0.5)]), ChangeCluster([change(0, 0.5, kind=KINK)])
    assert merge([step, bend], null_of(model), CONFIG.clusters, alpha=0.05) == [step, bend]


@pytest.mark.parametrize("off, joins", [(0.0, True), (0.025, True), (0.065, False)])
def test_company_is_kept_at_one_place(off, joins):
    """The window sees the flank of a fall beyond it, whose own best place is too far to join."""
    host, axis = falls_at(300)
    place = float(axis.fraction(300))
    steps = np.arange(10, 5_000)
    guest, _ = falls_at(int(steps[np.abs(axis.fraction(steps) - place - off).argmin()]), seed=1)
    cluster = ChangeCluster([SeriesChange(0, Shape(STEP, place, 0.1), 300.0)])
    add_comoving_series(
        simulate_null([host, guest], np.random.default_rng(0), CONFIG.significance), [cluster]
    )
    assert cluster.has(1) == joins


def test_many_small_changes_are_found_together():
    """Six series with a step of about 1.6 noise units at one place: none shows it by itself."""

    def small(seed):
        def rises(u):
            return 0.16 * (u > 0.5) + 0.1 * np.random.default_rng(seed).standard_normal(u.size)

        return rises

    models = [build_model(small(seed)) for seed in range(6)]
    null = null_of(*models)
    (found,) = joint_scan(null, [], alpha=0.05)
    assert len(found.parts) >= 3
    assert found.mid == pytest.approx(0.5, abs=0.03)
    assert null.p_value(cluster_evidence(found, null)) < 0.05
    assert shapes_in([found], found.parts[0].series) == [found.parts[0].shape]
    quiet = [build_model(lambda u, s=s: small(s)(u) - 0.16 * (u > 0.5)) for s in range(6)]
    assert joint_scan(null_of(*quiet), [], alpha=0.05) == []
