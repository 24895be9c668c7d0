import numpy as np
import pytest

from experiments.bench.gaussian import critical_points, log_step, slope_peaks, smooth

# stages of the two-layer language model of Hoogland et al. 2024: ends, and what the LLC gained
ENDS = np.array([0, 900, 6500, 8500, 17_000, 50_000])
GAINS = np.array([26.4, 22.5, -1.57, 8.62, 1.77])
STEP = np.arange(500) * 100


def staged(step):
    """A curve that stands still at every end of a stage, and is smooth in between."""
    level = np.r_[0.0, np.cumsum(GAINS)]
    x, ends = log_step(step), log_step(np.r_[STEP[1], ENDS])[1:]
    stage = np.clip(np.searchsorted(ends, x, side="right") - 1, 0, len(GAINS) - 1)
    r = (x - ends[stage]) / (ends[stage + 1] - ends[stage])
    return level[stage] + r * r * (3 - 2 * r) * GAINS[stage]


@pytest.mark.parametrize("noise", [0.1, 0.3, 0.6])
def test_the_published_stages_end_where_they_were_published_to(noise):
    """To 5 % of the log axis, a factor of 1.41: smoothing moves a plateau to its flatter side."""
    value = staged(STEP) + noise * np.random.default_rng(1).standard_normal(STEP.size)
    found = critical_points(STEP, value)
    assert len(found) == 4
    off = log_step([p.step for p in found]) - log_step(ENDS[1:5])
    assert np.max(np.abs(off)) < 0.05 * np.ptp(log_step(STEP))
    assert [p.kind for p in found[1:3]] == ["turn", "turn"]


def test_the_slope_is_the_derivative_by_log_step():
    step = np.unique(np.geomspace(1, 1e4, 80).astype(int))
    course = smooth(step, 3 * np.log(step) ** 2)
    inner = slice(25, -25)  # of 500 places; a process bends at its ends
    np.testing.assert_allclose(course.slope[inner], 6 * np.log(course.step[inner]), rtol=0.02)
    by_hand = np.gradient(course.value, np.log(course.step))
    np.testing.assert_allclose(course.slope[inner], by_hand[inner], atol=0.02)


def test_white_noise_has_no_peak_and_a_step_has_one():
    rng, x = np.random.default_rng(0), np.linspace(0, 1, 120)
    step = np.exp(2 + 6 * x)
    noise = rng.standard_normal(step.size)
    assert slope_peaks(step, noise) == []
    ((onset, middle, end),) = slope_peaks(step, 20 / (1 + np.exp(-(x - 0.5) * 40)) + noise)
    assert onset < middle < end
    assert np.log(middle) == pytest.approx(5.0, abs=0.1)


def test_points_that_are_not_finite_are_left_out():
    value = -((log_step(STEP) - 8) ** 2)
    holes = np.where(STEP % 700 == 0, np.nan, value)
    ((whole,), (torn,)) = critical_points(STEP, value), critical_points(STEP, holes)
    assert torn.kind == whole.kind == "turn"
    assert torn.step == pytest.approx(whole.step, rel=0.02)
