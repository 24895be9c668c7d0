"""Losses whose curvature, and whose value at zero weights, are known."""

import math

import pytest
import torch
from torch import nn

from devtrack.sampling.calibration._loss_landscape import (
    largest_curvature,
    mean_loss,
    zero_weight_loss,
)

CURVATURE = torch.linspace(0.5, 2, 10, dtype=torch.float64)


class Point(nn.Module):
    def __init__(self, values=None):
        super().__init__()
        values = torch.zeros(10, dtype=torch.float64) if values is None else values
        self.w = nn.Parameter(values)


def _height(model, _):
    return 0.5 * (CURVATURE * model.w.square()).sum()


def _curvature(model, loss, batches=None):
    generator = torch.Generator().manual_seed(0)
    return largest_curvature(model, loss, batches or [torch.zeros(2)], generator=generator)


def test_the_largest_curvature_of_a_quadratic_is_found_everywhere():
    assert _curvature(Point(), _height) == pytest.approx(2.0, rel=0.1)
    moved = Point(3 * torch.ones(10, dtype=torch.float64))
    assert _curvature(moved, _height) == pytest.approx(2.0, rel=0.1)
    assert _curvature(Point(), lambda m, b: 40 * _height(m, b)) == pytest.approx(80.0, rel=0.1)


def test_curvature_is_that_of_the_mean_over_batches():
    # two batches of opposite curvature: ½ w² (1 ± 3)
    def loss(model, batch):
        return batch[0] * 0.5 * model.w.square().sum()

    batches = [torch.tensor([4.0]), torch.tensor([-2.0])]
    assert _curvature(Point(), loss, batches) == pytest.approx(1.0, rel=1e-6)


def test_curvature_is_found_in_single_precision():
    torch.manual_seed(0)
    model = nn.Linear(20, 1)
    inputs = torch.randn(64, 20)
    exact = torch.linalg.eigvalsh(2 * inputs.T @ inputs / 64)[-1]  # of the weight's block

    def loss(model, batch):
        return model(batch).square().mean()

    assert _curvature(model, loss, [inputs]) == pytest.approx(float(exact), rel=0.15)


@pytest.mark.parametrize(
    "loss", [lambda m, _: m.w.sum(), lambda m, _: math.nan * m.w.sum()], ids=["slope", "NaN"]
)
def test_without_curvature_it_is_0(loss):
    assert _curvature(Point(), loss) == 0.0


def test_a_classifier_with_zero_weights_predicts_a_uniform_distribution():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 8), nn.LayerNorm(8), nn.ReLU(), nn.Linear(8, 5))
    batches = [(torch.randn(16, 6), torch.randint(5, (16,))) for _ in range(2)]

    def loss(model, batch):
        return nn.functional.cross_entropy(model(batch[0]), batch[1], reduction="none")

    assert zero_weight_loss(model, loss, batches) == pytest.approx(math.log(5))


def test_frozen_weights_are_not_zeroed():
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 1))
    model[0].requires_grad_(False)
    before = model[0].weight.clone()
    zero_weight_loss(model, lambda m, b: m(b).square().mean(), [torch.ones(4, 3)])
    assert torch.equal(model[0].weight, before)
    assert not model[1].weight.any()


def test_the_mean_loss_counts_every_batch_alike_and_draws_from_no_stream():
    before = torch.random.get_rng_state()
    model = Point()
    value = mean_loss(model, lambda _, b: b + 0 * torch.rand(1), [torch.ones(2), torch.zeros(4)])
    assert value == pytest.approx(0.5)
    assert torch.equal(before, torch.random.get_rng_state())
