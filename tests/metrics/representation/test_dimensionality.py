import itertools

import numpy as np
import pytest
import torch
from torch import nn

from devtrack.errors import ConfigError
from devtrack.metrics.metric import Subject
from devtrack.metrics.representation.dimensionality import (
    Dimensionality,
    effective_rank,
    participation_ratio,
)
from devtrack.records import Status


def _rows(x, **options):
    model = nn.Sequential(nn.Identity())
    subject = Subject(model, 0, [x], lambda m, b: m(b).sum(), torch.Generator())
    found = list(Dimensionality(sites=("*",), **options).compute(subject))
    return {row.metric.rpartition("/")[2]: row for row in found}


def _gaussian(count, scales, seed=0):
    rng = torch.Generator().manual_seed(seed)
    return torch.randn(count, len(scales), generator=rng) * torch.tensor(scales).sqrt()


def test_a_cross_has_exactly_its_rank():
    """± each of three axes: the singular values are equal, so closed form says 3."""
    x = torch.cat([torch.eye(3, 5), -torch.eye(3, 5)]).repeat(20, 1)
    assert _rows(x)["effective_rank"].value == pytest.approx(3.0, rel=1e-9)


def test_effective_rank_is_the_naive_twin():
    x = _gaussian(40, [5.0, 1.0, 0.1])
    sigma = np.linalg.svd(x.double().numpy() - x.double().numpy().mean(0), compute_uv=False)
    p = sigma / sigma.sum()
    expected = np.exp(-(p * np.log(p)).sum())
    assert effective_rank(x.double()) == pytest.approx(expected, rel=1e-6)
    wide = x.double().T  # more units than rows takes the other Gram matrix
    sigma = np.linalg.svd((wide - wide.mean(0)).numpy(), compute_uv=False)[:-1]
    p = sigma / sigma.sum()
    assert effective_rank(wide) == pytest.approx(np.exp(-(p * np.log(p)).sum()), rel=1e-5)


def test_participation_ratio_is_the_naive_u_statistic():
    x = _gaussian(7, [3.0, 1.0, 0.5], seed=1).double()
    squared_trace, square = [], []
    for i, j, k, m in itertools.permutations(range(7), 4):
        a, b = x[i] - x[j], x[k] - x[m]
        squared_trace.append(float(a @ a) * float(b @ b) / 4)  # unbiased for (tr Σ)²
        square.append(float(a @ b) ** 2 / 4)  # unbiased for tr Σ²
    expected = np.mean(squared_trace) / np.mean(square)
    assert participation_ratio(x) == pytest.approx(expected, rel=1e-9)


def test_few_rows_in_many_dimensions_do_not_lower_the_participation_ratio():
    """Planted: 200 equal directions, seen through 50 rows; the plug-in value would be below 50."""
    found = [participation_ratio(_gaussian(50, [1.0] * 200, seed).double()) for seed in range(20)]
    assert np.median(found) == pytest.approx(200, rel=0.15)


def test_standard_errors_are_those_of_repeated_samples():
    rows = [_rows(_gaussian(400, [4.0, 1.0, 1.0, 0.2], seed)) for seed in range(60)]
    for kind in ("effective_rank", "participation_ratio"):
        spread = np.std([row[kind].value for row in rows])
        told = np.sqrt(np.mean([row[kind].se ** 2 for row in rows]))
        # spread known to 9 %, jackknife of 10 groups over 60 runs to 3 %; three of those
        assert told == pytest.approx(spread, rel=0.3)


def test_positions_of_a_sample_stay_together():
    """Every sample repeated 20 times says no more than once: the error must not shrink."""
    once = _gaussian(100, [4.0, 1.0, 0.2])
    repeated = once[:, None].expand(100, 20, 3)
    a, b = _rows(once)["effective_rank"], _rows(repeated)["effective_rank"]
    assert b.se == pytest.approx(a.se, rel=0.01)


def test_constant_activations_have_no_rank():
    for row in _rows(torch.ones(20, 4)).values():
        assert row.status is Status.FAILED
        assert "do not vary enough" in row.attrs["error"]


@pytest.mark.parametrize(("option", "value"), [("max_rows", 3), ("num_groups", 1)])
def test_settings_are_checked_at_the_door(option, value):
    with pytest.raises(ConfigError, match=f"{option}={value}: .*Use {option}="):
        Dimensionality(sites=("*",), **{option: value})
