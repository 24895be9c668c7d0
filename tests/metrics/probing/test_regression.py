import subprocess
import sys

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge
from sklearn.preprocessing import StandardScaler
from torch import nn

from devtrack.errors import ConfigError, MetricError
from devtrack.metrics.metric import Subject
from devtrack.metrics.probing.regression import RegressionProbe, random_numbers
from devtrack.records import Status


def _subject(*batches):
    model = nn.Sequential(nn.Identity())
    return Subject(model, 0, list(batches), lambda m, b: m(b[0]).sum(), torch.Generator())


def _rows(*batches, **options):
    options = {"site": "0", "labels": lambda b: b[1], "name": "p"} | options
    found = RegressionProbe(**options).compute(_subject(*batches))
    return {row.metric.rpartition("/")[2]: row for row in found}


def _planted(count=400, noise=0.5, seed=0):
    rng = torch.Generator().manual_seed(seed)
    x = torch.randn(count, 6, generator=rng) * torch.tensor([9.0, 3.0, 1.0, 1.0, 0.1, 1.0]) + 5
    y = x[:, 2] + noise * torch.randn(count, generator=rng)
    return x, y


def test_a_planted_direction_is_read_and_the_control_is_not():
    rows = _rows(_planted())
    assert abs(rows["r_squared"].value - 1 / 1.25) < 3 * rows["r_squared"].se < 0.15
    assert abs(rows["control_r_squared"].value) < 0.1
    difference = rows["r_squared"].value - rows["control_r_squared"].value
    assert rows["selectivity"].value == pytest.approx(difference)


def test_without_signal_there_is_none():
    rng = torch.Generator().manual_seed(3)
    rows = _rows((torch.randn(400, 6, generator=rng), torch.randn(400, generator=rng)))
    assert abs(rows["selectivity"].value) < 3 * rows["selectivity"].se


@pytest.mark.parametrize("regularization", [1e-3, 0.5])
def test_it_is_the_cross_validated_ridge_of_scikit_learn(regularization):
    x, y = _planted()
    fold = np.random.default_rng(0).permutation(400) % 10
    residual = total = 0.0
    for held_out in range(10):
        train, test = fold != held_out, fold == held_out
        scaler = StandardScaler().fit(x[train])
        oracle = Ridge(alpha=regularization * train.sum())
        oracle.fit(scaler.transform(x[train]), y[train])
        residual += np.square(y[test].numpy() - oracle.predict(scaler.transform(x[test]))).sum()
        total += np.square(y[test].numpy() - y[train].numpy().mean()).sum()
    row = _rows((x, y), regularization=regularization)["r_squared"]
    assert row.value == pytest.approx(1 - residual / total, rel=1e-5)


def test_batches_and_positions_make_no_difference():
    x, y = _planted()
    whole = _rows((x, y))["r_squared"]
    parts = _rows((x[:150], y[:150]), (x[150:], y[150:]))["r_squared"]
    assert parts.value == pytest.approx(whole.value, rel=1e-6)
    positions = _rows((x.reshape(40, 10, 6), y.reshape(40, 10)))["r_squared"]
    assert positions.attrs["num_rows"] == 400
    assert positions.value == pytest.approx(whole.value, abs=3 * whole.se)


def test_the_error_is_that_of_repeated_samples():
    found = [_rows(_planted(seed=seed))["r_squared"] for seed in range(60)]
    spread = np.std([row.value for row in found])
    # spread known to 9 %; three of those
    assert np.sqrt(np.mean([row.se**2 for row in found])) == pytest.approx(spread, rel=0.3)


def test_groups_share_their_random_number():
    groups = torch.arange(400) % 4
    x = torch.nn.functional.one_hot(groups, 4).float()
    rows = _rows((x, torch.randn(400), groups), control_group=lambda b: b[2])
    assert rows["control_r_squared"].value > 0.99


def test_random_numbers_are_uniform_and_named():
    u = random_numbers(np.arange(10_000), 0)
    assert np.array_equal(u, random_numbers(np.arange(10_000), 0))
    assert abs(u.mean() - 0.5) < 3 * np.sqrt(1 / 12 / 10_000)
    assert abs(np.corrcoef(u[1:], u[:-1])[0, 1]) < 0.03
    assert abs(np.corrcoef(u, random_numbers(np.arange(10_000), 1))[0, 1]) < 0.03


def test_a_constant_target_and_a_silent_unit():
    x, y = _planted()
    row = _rows((x, torch.ones(400)))["r_squared"]
    assert row.status is Status.FAILED
    x[:, 0] = 0.1  # its mean in float32 is not exactly that
    assert _rows((x, y))["r_squared"].value == pytest.approx(0.8, abs=0.1)


def test_errors_say_given_allowed_next():
    with pytest.raises(ConfigError, match="regularization=0, num_folds=10: must be positive"):
        RegressionProbe(site="0", labels=lambda b: b, name="p", regularization=0)
    with pytest.raises(MetricError, match="5 rows in 10 folds: each must hold a sample"):
        _rows((torch.randn(5, 3), torch.randn(5)))
    with pytest.raises(MetricError, match="site 'x': no module"):
        _rows(_planted(), site="x")


@pytest.mark.slow
def test_a_million_rows_of_1024_units_fit_in_2_gib():
    """In a process of its own, batches made when they are asked for, as a stream would be."""
    code = """
import resource, torch
from torch import nn
from devtrack.metrics.metric import Subject
from devtrack.metrics.probing.regression import RegressionProbe
class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(1000, 1024)
    def forward(self, tokens):
        return self.embed(tokens)
batches = [torch.randint(1000, (16, 1024)) for _ in range(61)]
subject = Subject(Model(), 0, batches, lambda m, b: m(b).sum(), torch.Generator())
probe = RegressionProbe(site="embed", labels=lambda b: b.float(), name="p")
rows = list(probe.compute(subject))
print(rows[0].attrs["num_rows"], resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    num_rows, peak_mib = map(int, answer.stdout.split())
    assert num_rows == 61 * 16 * 1024
    assert peak_mib < 2048
