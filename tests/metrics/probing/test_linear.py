import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from torch import nn

from devtrack.errors import ConfigError, MetricError
from devtrack.metrics.metric import Subject
from devtrack.metrics.probing.linear import LinearProbe
from devtrack.records import Status


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = nn.Identity()
        self.unused = nn.Identity()

    def forward(self, x):
        return self.features(x)


def _subject(x, y, groups=None):
    batch = (x, y) if groups is None else (x, y, groups)
    return Subject(Net(), 0, [batch], lambda m, b: m(b[0]).mean(), torch.Generator())


def _values(subject, **options):
    options = {"site": "features", "labels": lambda b: b[1], "name": "p"} | options
    return {r.metric.rpartition("/")[2]: r for r in LinearProbe(**options).compute(subject)}


def _planted(count=400, signal=3.0, seed=0):
    rng = torch.Generator().manual_seed(seed)
    y = torch.randint(0, 2, (count,), generator=rng)
    x = torch.randn(count, 5, generator=rng)
    x[:, 0] += signal * y
    return x, y


def test_a_planted_direction_is_read_and_the_control_is_chance():
    rows = _values(_subject(*_planted()))
    # d' = 3: the best possible accuracy is Phi(1.5) = .933
    assert abs(rows["accuracy"].value - 0.933) < 3 * rows["accuracy"].se
    assert abs(rows["control_accuracy"].value - 0.5) < 3 * rows["control_accuracy"].se
    difference = rows["accuracy"].value - rows["control_accuracy"].value
    assert rows["selectivity"].value == pytest.approx(difference)


def test_without_signal_there_is_no_selectivity():
    rows = _values(_subject(*_planted(signal=0.0)))
    assert abs(rows["selectivity"].value) < 3 * rows["selectivity"].se


def test_it_is_the_logistic_regression_of_scikit_learn():
    x, y = _planted(signal=1.0)
    mask = np.zeros(400, dtype=bool)
    mask[np.random.default_rng(0).permutation(400)[:200]] = True
    scaler = StandardScaler().fit(x[mask])
    oracle = LogisticRegression(tol=1e-8, max_iter=10_000).fit(scaler.transform(x[mask]), y[mask])
    expected = oracle.score(scaler.transform(x[~mask]), y[~mask])
    assert _values(_subject(x, y))["accuracy"].value == pytest.approx(expected, abs=1 / 200)


def test_with_folds_every_row_is_scored_once_by_the_others():
    x, y = _planted(signal=1.0)
    fold = np.empty(400, dtype=int)
    fold[np.random.default_rng(0).permutation(400)] = np.arange(400) % 5
    right = 0
    for held_out in range(5):
        train = fold != held_out
        scaler = StandardScaler().fit(x[train])
        oracle = LogisticRegression(tol=1e-8, max_iter=10_000)
        oracle.fit(scaler.transform(x[train]), y[train])
        right += (oracle.predict(scaler.transform(x[~train])) == y[~train].numpy()).sum()
    row = _values(_subject(x, y), num_folds=5)["accuracy"]
    assert row.value == pytest.approx(right / 400, abs=1.5 / 400)
    assert row.attrs["n_test"] == 400


def test_groups_let_the_control_be_memorised():
    """Hewitt & Liang's point: with few word types, a probe learns any labels of theirs."""
    groups = torch.arange(400) % 4
    x = torch.nn.functional.one_hot(groups, 4).float()
    y = torch.randint(0, 2, (400,), generator=torch.Generator().manual_seed(0))
    rows = _values(_subject(x, y, groups), control_group=lambda b: b[2])
    assert rows["control_accuracy"].value == 1.0
    assert 0 < rows["control_accuracy"].se < 0.02


def test_positions_are_samples_of_their_own():
    x, y = _planted()
    rows = _values(_subject(x.reshape(40, 10, 5), y.reshape(40, 10)))
    assert rows["accuracy"].attrs["n_test"] == 200
    assert rows["accuracy"].value > 0.85


def test_the_score_is_the_same_each_time():
    subject = _subject(*_planted())
    assert _values(subject) == _values(subject)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"site": "feature"}, "site 'feature'.*Near ones: features"),
        ({"site": "unused"}, "the loss never calls this module"),
        ({"labels": lambda b: b[1][:3]}, r"labels of shape \(3,\).*one label per sample"),
        ({"labels": lambda b: torch.zeros_like(b[1])}, "at least 2 classes"),
    ],
)
def test_errors_say_given_allowed_next(options, message):
    with pytest.raises(MetricError, match=message):
        _values(_subject(*_planted()), **options)


def test_regularization_is_checked_at_the_door():
    with pytest.raises(ConfigError, match="regularization=0: must be positive.*Use"):
        LinearProbe(site="a", labels=lambda b: b, name="p", regularization=0)


def test_num_folds_is_checked_at_the_door():
    with pytest.raises(ConfigError, match="num_folds=1: must be at least 2.*Use num_folds=5"):
        LinearProbe(site="a", labels=lambda b: b, name="p", num_folds=1)


def _in_chunks(x, **options):
    """Options that cut 400 rows into 4 chunks."""
    return {"max_memory_gb": 1e-9 * 2 * 4 * x.shape[1] * 100} | options


def test_rows_that_do_not_fit_are_read_in_chunks():
    x, y = _planted(signal=1.0)
    whole = _values(_subject(x, y), num_folds=5)["accuracy"]
    batches = [(x[:130], y[:130]), (x[130:], y[130:])]
    parts = _values(replace(_subject(x, y), batches=batches), num_folds=5, **_in_chunks(x))[
        "accuracy"
    ]
    assert (whole.attrs["num_chunks"], parts.attrs["num_chunks"]) == (1, 4)
    assert parts.attrs["n_test"] == 400
    assert parts.value == pytest.approx(whole.value, abs=4 / 400)


def test_the_mean_of_the_chunks_maps_is_what_the_formula_says():
    """A naive twin: scikit-learn on each chunk, the maps averaged by hand."""
    x, y = _planted(signal=1.0)
    train = np.zeros(400, dtype=bool)
    train[np.random.default_rng(0).permutation(400)[:200]] = True
    weights = intercept = 0.0
    for chunk in np.array_split(np.arange(400), 4):
        rows = chunk[train[chunk]]
        scaler = StandardScaler().fit(x[rows])
        fit = LogisticRegression(C=1 / (1e-3 * len(rows)), tol=1e-8, max_iter=10_000)
        fit.fit(scaler.transform(x[rows]), y[rows])
        w = fit.coef_[0] / scaler.scale_
        weights = weights + w * len(rows) / 200
        intercept = intercept + (fit.intercept_[0] - w @ scaler.mean_) * len(rows) / 200
    guess = x[~train].numpy() @ weights + intercept > 0
    row = _values(_subject(x, y), **_in_chunks(x))["accuracy"]
    assert row.value == pytest.approx((guess == y[~train].numpy()).mean(), abs=1 / 200)


def test_three_classes_and_one_that_a_chunk_lacks():
    rng = torch.Generator().manual_seed(0)
    y = torch.randint(0, 3, (400,), generator=rng)
    y[:100][y[:100] == 2] = 0
    x = torch.randn(400, 3, generator=rng) + 4 * torch.nn.functional.one_hot(y, 3)
    rows = _values(_subject(x, y), **_in_chunks(x))
    assert rows["accuracy"].value > 0.95
    assert rows["accuracy"].status is Status.SUSPECT
    assert "1 of 3 classes are missing" in rows["accuracy"].attrs["reasons"][0]
    assert _values(_subject(x, y))["accuracy"].status is Status.OK


def test_large_means_and_silent_units_do_no_harm():
    x, y = _planted()
    plain = _values(_subject(x, y))["accuracy"].value
    x = torch.cat([x + 1e4, torch.full((400, 1), 7.0)], dim=1)
    assert _values(_subject(x, y))["accuracy"].value == pytest.approx(plain, abs=3 / 200)


def test_rows_of_one_sample_count_as_one():
    x, y = _planted(signal=1.0)
    alone = _values(_subject(x, y))["accuracy"]
    together = _values(
        _subject(x[:, None].expand(-1, 50, -1), y[:, None].expand(-1, 50)),
    )["accuracy"]
    assert together.attrs["n_test"] == 50 * alone.attrs["n_test"]
    assert together.se == pytest.approx(alone.se, rel=0.05)


def test_the_code_is_shorter_where_labels_can_be_read_off():
    rows = _values(_subject(*_planted()), description_length=True)
    assert rows["mdl_bits"].value + 3 * rows["mdl_bits"].se < 1.0
    assert rows["compression"].value == pytest.approx(1 / rows["mdl_bits"].value)
    blind = _values(_subject(*_planted(signal=0.0)), description_length=True)
    assert blind["compression"].value < 1.0 + 3 * blind["compression"].se


@pytest.mark.slow
def test_a_million_rows_of_1024_units_fit_in_2_gib():
    """In a process of its own, as the benchmark prints it."""
    answer = subprocess.run(
        [sys.executable, "-m", "experiments.bench.probe_memory", "--json"],
        capture_output=True,
        text=True,
        check=True,
    )
    found = json.loads(answer.stdout)
    assert found["num_rows"] >= 1_000_000
    assert found["num_units"] == 1024
    assert found["peak_mib"] < 2048


def test_measurements_and_ids_are_no_classes():
    x, y = _planted()
    with pytest.raises(MetricError, match=r"float32 with values such as .*RegressionProbe"):
        _values(_subject(x, x[:, 0]))
    with pytest.raises(MetricError, match="400 different values on 400 rows.*RegressionProbe"):
        _values(_subject(x, torch.arange(400)))
    whole = _values(_subject(x, y.float()))  # classes, whatever their dtype
    assert whole["accuracy"].value == _values(_subject(x, y))["accuracy"].value


def test_padding_is_no_class():
    x, y = _planted(600)
    padded = torch.arange(600) % 3 == 0
    rows = _values(_subject(x, torch.where(padded, -100, y)))
    assert rows["accuracy"].attrs["n_test"] == pytest.approx(200, abs=30)  # half of 400
    # d' = 3 again: the best possible accuracy is .933, and padding would add a third class
    assert abs(rows["accuracy"].value - 0.933) < 3 * rows["accuracy"].se
    assert abs(rows["control_accuracy"].value - 0.5) < 3 * rows["control_accuracy"].se
