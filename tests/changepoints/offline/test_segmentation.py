"""Which changes one series shows by itself."""

import numpy as np
import pytest

from devtrack.changepoints._templates import KINK, STEP, Shape, columns
from devtrack.changepoints.offline._segmentation import (
    estimate_noise,
    merge_or_split,
    occupied,
    penalty_of,
    reestimate_noise,
    refine,
    replace_ramps,
    select_changes,
)
from tests.changepoints.models import CONFIG, build_model


def noisy(u, *, seed=0, sd=0.1):
    return sd * np.random.default_rng(seed).standard_normal(u.size)


def staircase(u, *mids):
    return sum(columns(u, STEP, mid, 0.03)[:, 0] for mid in mids)


@pytest.mark.parametrize("mids", [(), (0.5,), (0.3, 0.6)])
def test_the_planted_steps_are_selected(mids):
    model = build_model(lambda u: staircase(u, *mids) + noisy(u))
    found = sorted(s.mid for s in estimate_noise(model))
    assert found == pytest.approx(list(mids), abs=0.02)


def test_a_turning_point_is_one_bend_on_a_line():
    model = build_model(lambda u: 4 * np.abs(u - 0.5) + noisy(u))
    _, shapes, is_straight = select_changes(model)
    assert is_straight
    assert [s.kind for s in shapes] == [KINK]
    assert shapes[0].mid == pytest.approx(0.5, abs=0.03)


def test_a_set_of_changes_costs_its_misfit_and_the_penalty_of_each():
    model, selection = build_model(lambda u: staircase(u, 0.5) + noisy(u)), CONFIG.selection
    step, bend = Shape(STEP, 0.5, 0.03), Shape(KINK, 0.7, 0.03)
    shapes = [step, bend, bend._replace(mid=0.3)]
    price = 3 * selection.step_penalty + 2 * selection.kink_penalty + selection.first_kink_penalty
    assert penalty_of(model, shapes) == pytest.approx(model.cost(shapes) + price)
    model.jumps = [np.ones((model.curve.position.size, 1))]
    price += selection.jump_penalty
    assert penalty_of(model, shapes) == pytest.approx(model.cost(shapes) + price)


def test_a_change_moves_to_where_it_fits_best():
    model = build_model(lambda u: staircase(u, 0.5) + noisy(u, sd=0.02), se=0.02)
    (refined,) = refine(model, [Shape(STEP, 0.515, 0.04)], 0)
    assert refined.mid == pytest.approx(0.5, abs=0.005)
    assert refined.width == pytest.approx(0.03, abs=0.01)


def test_no_template_lies_on_a_change_that_the_series_has():
    model, selection = build_model(noisy), CONFIG.selection
    (width,) = {0.045}
    taken = occupied(model, [Shape(STEP, 0.5, width)])
    bank = model.bank
    least = selection.min_distance + selection.min_distance_per_width * (bank.width + width)
    inner = (bank.mid > 0.1) & (bank.mid < 0.9)
    assert (taken == (np.abs(bank.mid - 0.5) < least))[inner].all()


@pytest.mark.parametrize("apart, count", [(0.12, 2), (0.0, 1)])
def test_a_wide_change_is_two_only_where_the_curve_rests_between(apart, count):
    def rises(u):
        noise = 0.05 * np.random.default_rng(0).standard_normal(u.size)
        mids = (0.5 - apart / 2, 0.5 + apart / 2)
        return sum(1 / (1 + np.exp(-(u - mid) / 0.005)) for mid in mids) + noise

    model = build_model(rises, se=0.05)
    assert len(merge_or_split(model, [Shape(STEP, 0.5, 0.17 if apart else 0.06)])) == count
    two = [Shape(STEP, mid, 0.02) for mid in ((0.43, 0.57) if apart else (0.48, 0.52))]
    assert len(merge_or_split(model, two)) == count


def test_a_ramp_is_a_level_change():
    model = build_model(lambda u: 5 * np.clip((u - 0.3) / 0.12, 0, 1))
    bends = [Shape(KINK, 0.3, 0.01), Shape(KINK, 0.42, 0.01)]
    (step,) = replace_ramps(model, bends)
    assert step.kind == STEP
    assert step.mid == pytest.approx(0.36, abs=0.01)
    kinks = [Shape(KINK, 0.3, 0.01), Shape(KINK, 0.6, 0.01)]  # too far apart for a step
    model = build_model(lambda u: 5 * np.clip((u - 0.3) / 0.3, 0, 1))
    assert replace_ramps(model, kinks) == kinks


@pytest.mark.parametrize("phi", [0.0, 0.6])
def test_noise_is_learned_again_beside_what_is_believed(phi):
    rng = np.random.default_rng(0)
    step = Shape(STEP, 0.5, 0.01)

    def values(u):
        noise = rng.standard_normal(u.size)
        for i in range(1, u.size):
            noise[i] = phi * noise[i - 1] + np.sqrt(1 - phi**2) * noise[i]
        return 10 * columns(u, *step)[:, 0] + noise

    model = build_model(values, se=1.0)
    reestimate_noise(model, [step])
    assert model.phi == pytest.approx(phi, abs=0.2)
    beside = float(np.median(model.noise))
    assert beside == pytest.approx(1.0, abs=0.3)
    reestimate_noise(model, [])
    assert np.median(model.noise) > 1.3 * beside  # the step is noise now
