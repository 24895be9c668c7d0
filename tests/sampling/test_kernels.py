import torch

from devtrack.sampling.config import SamplerConfig
from devtrack.sampling.kernels import build_kernel

CONFIG = {"n_beta": 7.0, "localization": 3.0, "lr": 0.01}


def _arrays(seed=0):
    generator = torch.Generator().manual_seed(seed)
    shape = (2, 5)
    return [torch.randn(shape, generator=generator, dtype=torch.float64) for _ in range(4)]


def test_sgld_takes_the_step_of_its_formula():
    weights, anchor, gradient, noise = _arrays()
    expected = weights - 0.005 * (7 * gradient + 3 * (weights - anchor)) + 0.1 * noise
    kernel = build_kernel(SamplerConfig(**CONFIG), n_beta=7.0)
    kernel.apply(weights, weights - anchor, gradient.clone(), noise)
    torch.testing.assert_close(weights, expected)


def test_rmsprop_takes_the_steps_of_its_formula():
    # Naive twin, one element at a time, from the formula in the docstring.
    weights, anchor, _, _ = _arrays()
    config = SamplerConfig(method="rmsprop_sgld", **CONFIG)
    kernel = build_kernel(config, n_beta=7.0)
    twin = weights.clone()
    moment = torch.ones_like(weights)
    for step in range(1, 4):
        _, _, gradient, noise = _arrays(seed=step)
        for index in torch.cartesian_prod(torch.arange(2), torch.arange(5)):
            i = tuple(index.tolist())
            moment[i] = 0.99 * moment[i] + 0.01 * gradient[i] ** 2
            scale = 1 / ((moment[i] / (1 - 0.99**step)) ** 0.5 + 0.1)
            drift = 7 * gradient[i] + 3 * (twin[i] - anchor[i])
            twin[i] += -0.005 * scale * drift + (0.01 * scale) ** 0.5 * noise[i]
        kernel.apply(weights, weights - anchor, gradient.clone(), noise)
    torch.testing.assert_close(weights, twin)


def test_localization_zero_ignores_the_anchor():
    weights, anchor, gradient, noise = _arrays()
    kernel = build_kernel(SamplerConfig(n_beta=7.0, localization=0.0, lr=0.01), n_beta=7.0)
    other = weights.clone()
    kernel.apply(weights, weights - anchor, gradient.clone(), noise)
    kernel.apply(other, other - anchor + 100, gradient.clone(), noise)
    torch.testing.assert_close(weights, other)


def test_lm_sgld_averages_the_noise_of_two_steps():
    weights, anchor, first, noise = _arrays()
    _, _, second, later = _arrays(seed=1)
    kernel = build_kernel(SamplerConfig(method="lm_sgld", **CONFIG), n_beta=7.0)
    expected = weights - 0.005 * (7 * first + 3 * (weights - anchor)) + 0.05 * noise
    kernel.apply(weights, weights - anchor, first.clone(), noise.clone())
    torch.testing.assert_close(weights, expected)
    expected = weights - 0.005 * (7 * second + 3 * (weights - anchor)) + 0.05 * (noise + later)
    kernel.apply(weights, weights - anchor, second.clone(), later.clone())
    torch.testing.assert_close(weights, expected)


def test_lm_sgld_is_exact_on_a_quadratic_where_sgld_is_not():
    # εh = 1: SGLD's stationary variance is 1 / (h (1 − εh/4)) = 4/3, LM's 1. 20000 particles whose
    # sample variance has relative error √(2/20000) = 1 %, pooled over 20 steps.
    variances = {}
    for method in ("sgld", "lm_sgld"):
        config = SamplerConfig(method=method, n_beta=1.0, localization=0.0, lr=1.0)
        kernel = build_kernel(config, n_beta=1.0)
        generator = torch.Generator().manual_seed(0)
        x = torch.zeros(20000, 1, dtype=torch.float64)
        recorded = []
        for step in range(60):
            noise = torch.randn(x.shape, generator=generator, dtype=x.dtype)
            kernel.apply(x, x.clone(), x.clone(), noise)
            recorded += [float(x.var())] if step >= 40 else []
        variances[method] = sum(recorded) / len(recorded)
    assert abs(variances["lm_sgld"] - 1.0) < 0.02
    assert abs(variances["sgld"] - 4 / 3) < 0.03
