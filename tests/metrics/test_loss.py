import math

import numpy as np
import pytest
import torch
from torch import nn

from devtrack.metrics.loss import Loss
from devtrack.metrics.metric import Subject


def subject(batches, loss=lambda model, batch: ((model(batch[0]) - batch[1]) ** 2).mean()):
    model = nn.Linear(3, 1).double()
    return Subject(model, 0, batches, loss, torch.Generator())


def _data(count, seed=0):
    rng = torch.Generator().manual_seed(seed)
    options = {"generator": rng, "dtype": torch.float64}
    return torch.randn(count, 3, **options), torch.randn(count, 1, **options)


@pytest.mark.parametrize("num_batches", [1, 4])
def test_the_mean_is_that_of_the_whole(num_batches):
    x, y = _data(64)
    parts = list(zip(x.chunk(num_batches), y.chunk(num_batches), strict=True))
    s = subject(parts)
    (row,) = Loss().compute(s)
    assert row.value == pytest.approx(float(((s.model(x) - y) ** 2).mean().detach()), rel=1e-12)


def test_batches_of_the_run_weigh_equally_and_those_of_own_data_by_their_samples():
    """Most of the loss lies in a last batch of two samples."""
    values = torch.cat([torch.zeros(128), torch.full((2,), 100.0)])
    batches = list(values.split(64))
    s = subject(batches, loss=lambda model, batch: batch.mean())
    (run,), (own,) = Loss().compute(s), Loss(name="own", data=batches).compute(s)
    assert run.value == pytest.approx(100 / 3)
    assert own.value == pytest.approx(200 / 130)


def test_a_batch_is_never_cut():
    """A loss over pairs, a sum, and sequences with time first are those of the whole batch."""
    x = torch.randn(5, 32, 3, generator=torch.Generator().manual_seed(0))
    for loss in (
        lambda model, batch: torch.pdist(batch[0].flatten(1)).min(),
        lambda model, batch: batch[0].sum(),
        lambda model, batch: batch[0].cumsum(0)[-1].square().mean(),
    ):
        (row,) = Loss().compute(subject([(x,)], loss=loss))
        assert row.value == pytest.approx(float(loss(None, (x,))), rel=1e-6)
        assert math.isnan(row.se)


def test_the_standard_error_of_unequal_batches_is_that_of_repeated_samples():
    """Planted truth: groups of 4 to 64 samples, whose means spread by no common amount."""
    rng, values, errors = torch.Generator().manual_seed(0), [], []
    for _ in range(300):
        batches = list(torch.randn(146, generator=rng, dtype=torch.float64).split([64, 64, 16, 2]))
        s = subject([], loss=lambda model, batch: batch.mean())
        (row,) = Loss(data=batches).compute(s)
        values.append(row.value)
        errors.append(row.se)
    # as below: 300 draws know a spread to 4 %
    assert np.sqrt(np.mean(np.square(errors))) == pytest.approx(np.std(values), rel=0.12)


def test_the_standard_error_is_that_of_repeated_samples():
    """Planted truth: the spread of the loss over fresh data sets, within its own sampling error."""
    model = subject([]).model
    values, errors = [], []
    for seed in range(300):
        x, y = _data(64, seed)
        s = subject(list(zip(x.chunk(16), y.chunk(16), strict=True)))
        s.model.load_state_dict(model.state_dict())
        (row,) = Loss().compute(s)
        values.append(row.value)
        errors.append(row.se)
    # 300 draws: the spread is known to 1/sqrt(600) = 4 %; three of those
    assert np.sqrt(np.mean(np.square(errors))) == pytest.approx(np.std(values), rel=0.12)


def test_losses_per_sample_give_an_error_of_one_batch():
    x, y = _data(64)
    s = subject([(x, y)], loss=lambda model, batch: (model(batch[0]) - batch[1]).square()[:, 0])
    (row,) = Loss().compute(s)
    each = (s.model(x) - y).square()[:, 0].detach()
    assert row.value == pytest.approx(float(each.mean()))
    assert row.se == pytest.approx(float(each.std() / 8))


def test_a_single_sample_has_no_standard_error():
    (row,) = Loss().compute(subject([_data(1)]))
    assert math.isnan(row.se)


def test_own_data_are_chosen_once():
    s = subject([])
    loss = Loss(name="test_loss", data=_data(2000))
    (first,), (second,) = loss.compute(s), loss.compute(s)
    assert first == second
    assert len(s.batches_of(loss.data)[0][0]) == 1024
    assert s.batches_of(loss.data) is s.batches_of(loss.data)
