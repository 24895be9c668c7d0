import numpy as np
import pytest
import torch

from devtrack.metrics.probing._moments import GroupedMoments


@pytest.mark.parametrize("offset", [0.0, 1e4])
def test_batch_by_batch_is_all_at_once(offset):
    rng = np.random.default_rng(0)
    x, y = (
        rng.normal(size=(90, 4)).astype(np.float32) + np.float32(offset),
        rng.normal(size=(90, 2)),
    )
    group = rng.integers(0, 3, size=90)
    moments = GroupedMoments(3)
    for start in (0, 20, 50):
        part = slice(start, {0: 20, 20: 50, 50: 90}[start])
        moments.add(torch.as_tensor(x[part]), y[part], group[part])
    for name, found in enumerate(moments.groups):
        own = group == name
        assert found.num_rows == own.sum()
        covariance = found.xx / found.num_rows - np.outer(found.x, found.x) / found.num_rows**2
        np.testing.assert_allclose(
            covariance, np.cov(x[own].T.astype(float), ddof=0), rtol=1e-6, atol=1e-9
        )
        centred = x[own].astype(float) - x[own].astype(float).mean(0)
        cross = found.xy / found.num_rows - np.outer(found.x, found.y) / found.num_rows**2
        np.testing.assert_allclose(cross, centred.T @ y[own] / own.sum(), atol=1e-9)


def test_plus_and_minus_undo_each_other():
    moments = GroupedMoments(2)
    rng = np.random.default_rng(0)
    moments.add(torch.randn(20, 3), rng.normal(size=(20, 1)), np.arange(20) % 2)
    a, b = moments.groups
    for found, expected in zip(a.plus(b).plus(b, -1.0), a, strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-9)
