import math

import numpy as np
import pytest
import torch

from experiments.polygons import Polygon, classify, critical_point, is_at, regular
from experiments.superposition import Superposition


@pytest.mark.parametrize(
    ("polygon", "loss"),  # the table of Chen et al. 2023 for six features, to five digits
    [
        (Polygon(4, 0, 6), 0.11111),
        (Polygon(4, 1, 6), 0.10417),
        (Polygon(5, 0, 6), 0.06874),
        (Polygon(5, 1, 6), 0.06180),
        (Polygon(6, 0, 6), 0.04819),
    ],
)
def test_losses_are_those_of_the_table(polygon, loss):
    assert polygon.loss == pytest.approx(loss, abs=6e-6)


@pytest.mark.parametrize(
    ("vertices", "length", "bias"),
    [(4, 1.0, 0.0), (5, 1.17046, -0.28230), (6, 1.32053, -0.61814), (7, 1.44839, -0.96691)],
)
def test_critical_points_are_those_of_the_table(vertices, length, bias):
    found = regular(vertices)
    assert (found.length, found.bias) == pytest.approx((length, bias), abs=4e-4)


def test_learning_coefficients_are_those_of_the_table():
    found = {p.name: p.llc for p in (Polygon(5, 0, 6), Polygon(5, 1, 6), Polygon(6, 0, 6))}
    assert found == {"5": 7.0, "5+": 8.5, "6": 8.5}
    assert Polygon(5, 0, 5).llc == 7.0
    assert Polygon(4, 1, 6).llc is None


@pytest.mark.parametrize("polygon", [Polygon(k, n, 6) for k in (4, 5, 6) for n in range(7 - k)])
def test_a_polygon_is_known_however_it_lies(polygon):
    w, b = critical_point(polygon)
    rng = np.random.default_rng(polygon.vertices)
    order, turn = rng.permutation(6), rng.uniform(0, 2 * math.pi)
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    w, b = rotation @ w[:, order], b[order]
    noisy = w + 0.02 * rng.normal(size=w.shape), b + 0.005 * rng.normal(size=6)
    assert classify(w, b) == classify(*noisy) == polygon


def test_the_exact_population_loss_at_a_polygon_is_its_own_and_no_gradient_is_left():
    for polygon in (Polygon(4, 2, 6), Polygon(5, 0, 6), Polygon(5, 1, 6), Polygon(6, 0, 6)):
        model = _at(*critical_point(polygon))
        loss = model.training_step(torch.eye(6).double(), 0)
        loss.backward()
        assert loss.item() == pytest.approx(polygon.loss, abs=1e-6)
        assert float(model.w.grad.abs().max()) < 1e-4 > float(model.b.grad.abs().max())
        assert is_at(polygon, loss.item())
        assert not is_at(polygon, 1.2 * loss.item())


def test_the_exact_population_loss_is_the_limit_of_a_grid():
    rng = np.random.default_rng(0)
    w, b = rng.normal(size=(2, 6)), 0.3 * rng.normal(size=6)
    sizes = (torch.arange(4000) + 0.5) / 4000
    x = (torch.eye(6).double()[:, None] * sizes[:, None]).flatten(0, 1)
    wt = torch.as_tensor(w)
    answers = torch.relu(x @ wt.T @ wt + torch.as_tensor(b))
    twin = float((answers - x).square().sum(-1).mean())
    loss = _at(w, b).training_step(torch.eye(6).double(), 0).item()
    assert loss == pytest.approx(twin, rel=1e-6)


def _at(w, b):
    model = Superposition()
    with torch.no_grad():
        model.w.copy_(torch.as_tensor(w))
        model.b.copy_(torch.as_tensor(b))
    return model
