import numpy as np
import pytest

from devtrack.changepoints._preprocessing import prepare_series
from devtrack.changepoints._step_scale import choose_axis
from devtrack.changepoints._templates import KINK, STEP, Shape, columns, make_template_bank
from devtrack.changepoints._trend import exponential_basis, fit_relaxations
from devtrack.changepoints.config import DetectorConfig
from devtrack.changepoints.offline._segmentation import (
    merge_or_split,
    reestimate_noise,
    replace_ramps,
)
from devtrack.changepoints.offline._series_model import SeriesModel
from devtrack.changepoints.offline._shape_checks import turning_point
from devtrack.series import Series

CONFIG = DetectorConfig()


def build(values, *, se=0.1, steps=None):
    steps = np.unique(np.geomspace(1, 10_000, 80).astype(int)) if steps is None else steps
    axis = choose_axis(steps)
    y = values(axis.fraction(steps))
    series = Series("m", "model", steps, y, np.full(y.shape, se))
    curve = prepare_series(series, axis, steps.astype(float), CONFIG)
    return SeriesModel(
        curve,
        np.empty((curve.position.size, 0)),
        make_template_bank(curve.position, 0.2, CONFIG.templates),
        0.2,
        config=CONFIG,
    )


def noisy_step(u):
    rng = np.random.default_rng(0)
    return 1 / (1 + np.exp(-(u - 0.5) / 0.02)) + 0.1 * rng.standard_normal(u.size)


@pytest.mark.parametrize("phi", [0.0, 0.5])
@pytest.mark.parametrize("given", [[], [Shape(STEP, 0.5, 0.1)]])
def test_gains_are_those_of_the_slow_twin(phi, given):
    """Twice the log likelihood ratio, by one least-squares fit per template."""
    model = build(noisy_step)
    model.set_noise(model.noise, phi)
    curve = model.curve

    lag = np.abs(curve.index[:, None] - curve.index[None, :])
    root = np.linalg.cholesky(np.outer(model.noise, model.noise) * phi**lag)

    def misfit(extra):
        own = [columns(curve.position, *s)[:, 0] for s in given]
        trend = fit_relaxations(
            exponential_basis(curve.step, CONFIG.trend),
            curve.value,
            lambda a: np.linalg.solve(root, a),
            CONFIG.trend,
            extra=np.column_stack(own) if own else np.empty((curve.position.size, 0)),
        )
        x = np.column_stack([np.ones(curve.position.size), *own, trend.columns, *extra])
        sd = [1e6] * (1 + len(own)) + list(trend.sd) + [1e9] * len(extra)
        design = np.vstack([np.linalg.solve(root, x), np.diag(1 / np.array(sd))])
        target = np.append(np.linalg.solve(root, curve.value), np.zeros(len(sd)))
        rest = target - design @ np.linalg.lstsq(design, target, rcond=None)[0]
        return rest @ rest + model.prior_points

    shapes = [Shape(STEP, 0.3, 0.05), Shape(STEP, 0.52, 0.1), Shape(KINK, 0.7, 0.03)]
    kind, mid, width = (np.array(a) for a in zip(*shapes, strict=True))
    fast = model.glr_at(given, kind, mid, width)
    slow = [
        model.num_effective * np.log(misfit([]) / misfit([columns(curve.position, *s)[:, 0]]))
        for s in shapes
    ]
    assert fast == pytest.approx(slow, rel=1e-4, abs=1e-6)


def test_bends_near_an_end_of_a_line_gain_as_any():
    """Beside a line a bend at the start is 99.9 % line: a floor under what is left of a template,
    which a flexible trend needs, drove every early turn from its place."""
    model = build(lambda u: np.interp(u, [0, 0.1, 1], [0, 3, 0]))
    model.is_straight = True
    mids = np.linspace(0.06, 0.3, 13)
    glr = model.glr_at([], np.full(13, KINK), mids, np.full(13, 0.01))
    alone = [model.cost([]) - model.cost([Shape(KINK, mid, 0.01)]) for mid in mids]
    assert glr == pytest.approx(alone, rel=1e-4)
    assert mids[np.argmax(glr)] == pytest.approx(0.1, abs=0.02)


def test_the_scan_peaks_at_a_planted_step():
    model = build(noisy_step)
    best = model.bank.shape(int(np.argmax(model.glr_scan([]))))
    assert best.kind == STEP
    assert best.mid == pytest.approx(0.5, abs=0.02)


def test_the_fit_recovers_a_planted_effect():
    model = build(noisy_step)
    fit = model.fit([Shape(STEP, 0.5, 0.02 * 2 * np.log(19))])
    # two levels of ~38 points each with sd 0.1; the trend may take some of it
    assert fit.effect[0] * model.curve.scale == pytest.approx(1.0, abs=0.1)


def test_noise_alone_gains_like_chi_squared():
    model = build(lambda u: np.random.default_rng(1).standard_normal(u.size), se=1.0)
    glr = model.simulate_null_glr(np.random.default_rng(2), 2000)
    middle = np.flatnonzero((model.bank.kind == STEP) & (np.abs(model.bank.mid - 0.5) < 0.01))
    # one degree of freedom, the noise factor estimated from some 80 points: a few per cent above 1
    assert glr[middle].mean() == pytest.approx(1.0, abs=0.12)


def test_draws_are_as_wild_as_the_series():
    model = build(lambda u: np.random.default_rng(1).standard_normal(u.size), se=1.0)
    tame = model.simulate_null_glr(np.random.default_rng(2), 500).max(axis=0)
    model.scatter = np.where(np.arange(80) % 20, 0.1, 4.5)
    wild = model.simulate_null_glr(np.random.default_rng(2), 500).max(axis=0)
    assert np.quantile(wild, 0.99) > 1.5 * np.quantile(tame, 0.99)


def test_a_change_does_not_pay_for_what_the_trend_had_made_of_it():
    """The gain beside the trend without the change is that of two fits, each with its own trend; a
    trend that is held near its first fit gives a third of it here."""
    rng = np.random.default_rng(4)

    def rises(u):
        return 6 / (1 + np.exp(-(u - 0.5) / 0.03)) + 4 * u + rng.standard_normal(u.size)

    model = build(rises, se=1.0)
    shape = Shape(STEP, 0.5, 0.03 * 2 * np.log(19))
    beside = model.glr_at([], *shape)[0]
    assert beside > 0.6 * (model.cost([]) - model.cost([shape]))


def test_the_trend_takes_what_a_mark_of_limited_size_cannot():
    step = np.arange(100.0)
    decays = exponential_basis(step, CONFIG.trend)
    values = 5.0 * decays[:, 4] + 0.01 * np.random.default_rng(0).standard_normal(step.size)
    ramp = decays[:, [4]]
    free = fit_relaxations(decays, values, lambda a: a, CONFIG.trend, extra=ramp)
    tied = fit_relaxations(
        decays, values, lambda a: a, CONFIG.trend, extra=ramp, extra_sd=np.array([0.1])
    )
    assert np.ptp(free.columns.sum(axis=1)) < 0.1 * np.ptp(values)
    assert np.ptp(tied.columns.sum(axis=1)) == pytest.approx(np.ptp(values), rel=0.05)


@pytest.mark.parametrize("apart, count", [(0.12, 2), (0.0, 1)])
def test_a_wide_change_is_two_only_where_the_curve_rests_between(apart, count):
    def rises(u):
        noise = 0.05 * np.random.default_rng(0).standard_normal(u.size)
        mids = (0.5 - apart / 2, 0.5 + apart / 2)
        return sum(1 / (1 + np.exp(-(u - mid) / 0.005)) for mid in mids) + noise

    model = build(rises, se=0.05)
    assert len(merge_or_split(model, [Shape(STEP, 0.5, 0.17 if apart else 0.06)])) == count
    two = [Shape(STEP, mid, 0.02) for mid in ((0.43, 0.57) if apart else (0.48, 0.52))]
    assert len(merge_or_split(model, two)) == count


def test_a_ramp_is_a_level_change():
    model = build(lambda u: 5 * np.clip((u - 0.3) / 0.12, 0, 1))
    bends = [Shape(KINK, 0.3, 0.01), Shape(KINK, 0.42, 0.01)]
    (step,) = replace_ramps(model, bends)
    assert step.kind == STEP
    assert step.mid == pytest.approx(0.36, abs=0.01)
    kinks = [Shape(KINK, 0.3, 0.01), Shape(KINK, 0.6, 0.01)]  # too far apart for a step
    model = build(lambda u: 5 * np.clip((u - 0.3) / 0.3, 0, 1))
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

    model = build(values, se=1.0)
    reestimate_noise(model, [step])
    assert model.phi == pytest.approx(phi, abs=0.2)
    beside = float(np.median(model.noise))
    assert beside == pytest.approx(1.0, abs=0.3)
    reestimate_noise(model, [])
    assert np.median(model.noise) > 1.3 * beside  # the step is noise now


def test_bends_of_one_sign_share_a_turn():
    """A wide turn told as two bends is one turn, between them; a detector that looked for it only
    up to the neighbouring bends, of whatever sign, found none."""
    model = build(lambda u: np.hypot(u - 0.5, 0.05), se=0.03)
    model.is_straight = True
    bends = [Shape(KINK, 0.46, 0.01), Shape(KINK, 0.55, 0.01)]
    tops = [turning_point(model, bends, kink) for kink in bends]
    (top,) = [top for top in tops if top is not None]
    assert 0.44 < model.curve.position[top] < 0.57


@pytest.mark.parametrize("height, turns", [(0.0, True), (4.0, False)])
def test_no_turn_where_the_curve_itself_goes_on(height, turns):
    """As in the demo: the trend under a wide rise fell from step 8 on, the rise did not turn."""
    rise = Shape(STEP, 0.45, 0.2)

    def rising(u):
        return height * columns(u, *rise)[:, 0] - 2 * np.hypot(u - 0.4, 0.01)

    model = build(rising, se=0.03)
    model.is_straight = True
    kink = Shape(KINK, 0.4, 0.01)
    assert (turning_point(model, [rise, kink], kink) is not None) == turns
