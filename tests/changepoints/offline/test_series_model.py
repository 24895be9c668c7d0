import numpy as np
import pytest

from devtrack.changepoints._templates import KINK, STEP, Shape, columns
from devtrack.changepoints._trend import RelaxationBasis, exponential_basis, fit_relaxations
from tests.changepoints.models import CONFIG, build_model


def noisy_step(u):
    rng = np.random.default_rng(0)
    return 1 / (1 + np.exp(-(u - 0.5) / 0.02)) + 0.1 * rng.standard_normal(u.size)


@pytest.mark.parametrize("phi", [0.0, 0.5])
@pytest.mark.parametrize("given", [[], [Shape(STEP, 0.5, 0.1)]])
def test_gains_are_those_of_the_slow_twin(phi, given):
    """Twice the log likelihood ratio, by one least-squares fit per template."""
    model = build_model(noisy_step)
    model.set_noise(model.noise, phi)
    curve = model.curve

    lag = np.abs(curve.index[:, None] - curve.index[None, :])
    root = np.linalg.cholesky(np.outer(model.noise, model.noise) * phi**lag)

    def white(a):
        return np.linalg.solve(root, a)

    def misfit(extra):
        own = [columns(curve.position, *s)[:, 0] for s in given]
        trend = fit_relaxations(
            RelaxationBasis.of(exponential_basis(curve.step, CONFIG.trend), white),
            curve.value,
            white,
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


def test_what_is_remembered_is_forgotten_with_the_noise():
    model, shape = build_model(noisy_step), Shape(STEP, 0.5, 0.1)
    before = model.cost([shape]), model.fit([shape]).misfit, float(model.glr_at([], *shape)[0])
    model.set_noise(2 * model.noise, 0.3)
    fresh = build_model(noisy_step)
    fresh.set_noise(2 * fresh.noise, 0.3)
    after = model.cost([shape]), model.fit([shape]).misfit, float(model.glr_at([], *shape)[0])
    assert after == (fresh.cost([shape]), fresh.fit([shape]).misfit, fresh.glr_at([], *shape)[0])
    assert all(a != b for a, b in zip(before, after))
    model.is_straight = True
    assert model.cost([shape]) != after[0]


def test_bends_near_an_end_of_a_line_gain_as_any():
    """Beside a line a bend at the start is 99.9 % line: a floor under what is left of a template,
    which a flexible trend needs, drove every early turn from its place."""
    model = build_model(lambda u: np.interp(u, [0, 0.1, 1], [0, 3, 0]))
    model.is_straight = True
    mids = np.linspace(0.06, 0.3, 13)
    glr = model.glr_at([], np.full(13, KINK), mids, np.full(13, 0.01))
    alone = [model.cost([]) - model.cost([Shape(KINK, mid, 0.01)]) for mid in mids]
    assert glr == pytest.approx(alone, rel=1e-4)
    assert mids[np.argmax(glr)] == pytest.approx(0.1, abs=0.02)


def test_the_scan_peaks_at_a_planted_step():
    model = build_model(noisy_step)
    best = model.bank.shape(int(np.argmax(model.glr_scan([]))))
    assert best.kind == STEP
    assert best.mid == pytest.approx(0.5, abs=0.02)


def test_the_fit_recovers_a_planted_effect():
    model = build_model(noisy_step)
    fit = model.fit([Shape(STEP, 0.5, 0.02 * 2 * np.log(19))])
    # two levels of ~38 points each with sd 0.1; the trend may take some of it
    assert fit.effect[0] * model.curve.scale == pytest.approx(1.0, abs=0.1)


def test_noise_alone_gains_like_chi_squared():
    model = build_model(lambda u: np.random.default_rng(1).standard_normal(u.size), se=1.0)
    glr = model.simulate_null_glr(np.random.default_rng(2), 2000)
    middle = np.flatnonzero((model.bank.kind == STEP) & (np.abs(model.bank.mid - 0.5) < 0.01))
    # one degree of freedom, the noise factor estimated from some 80 points: a few per cent above 1
    assert glr[middle].mean() == pytest.approx(1.0, abs=0.12)


def test_draws_are_as_wild_as_the_series():
    model = build_model(lambda u: np.random.default_rng(1).standard_normal(u.size), se=1.0)
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

    model = build_model(rises, se=1.0)
    shape = Shape(STEP, 0.5, 0.03 * 2 * np.log(19))
    beside = model.glr_at([], *shape)[0]
    assert beside > 0.6 * (model.cost([]) - model.cost([shape]))
