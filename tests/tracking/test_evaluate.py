import math

import pytest
import torch
from torch import nn

from devtrack.metrics.loss import Loss
from devtrack.model_state._private_copy import private_copy
from devtrack.records import NOT_FINITE, Row, Status
from devtrack.tracking._evaluate import evaluate


class Good:
    name = "good"

    def compute(self, subject):
        yield Row("good", subject.model.weight.sum())


class Vandal:
    """Spoils everything a metric can reach, then raises."""

    name = "vandal"

    def compute(self, subject):
        subject.model.train()
        with torch.no_grad():
            subject.model.weight.zero_()
        subject.model.weight.grad = torch.ones_like(subject.model.weight)
        torch.manual_seed(1)
        yield Row("vandal/before", 1.0)
        raise RuntimeError("boom")


class Yields:
    def __init__(self, record):
        self.name, self.record = "yields", record

    def compute(self, subject):
        yield self.record


class Random:
    name = "random"

    def compute(self, subject):
        yield Row("private", float(torch.rand((), generator=subject.generator)))
        yield Row("global", float(torch.rand(())))


MODULE = nn.Linear(2, 2)
nn.init.ones_(MODULE.weight)


def _run(metrics, *, step=1, seed=0):
    return evaluate(
        metrics,
        model=private_copy(MODULE),
        step=step,
        batches=[],
        loss=lambda model, batch: torch.tensor(0.0),
        seed=seed,
    )


def test_a_failing_metric_is_a_row_and_the_next_sees_nothing_of_it():
    state = torch.random.get_rng_state()
    records = _run([Vandal(), Good()]).records
    assert torch.equal(torch.random.get_rng_state(), state)
    assert [(r.metric, r.status) for r in records] == [
        ("vandal/before", "ok"),
        ("vandal", "failed"),
        ("good", "ok"),
    ]
    assert records[1].attrs["error"] == "RuntimeError: boom"
    assert math.isnan(records[1].value)
    assert records[2].value == 4.0


def test_each_metric_gets_eval_mode_without_gradients():
    seen = []

    class Look:
        name = "look"

        def compute(self, subject):
            seen.append((subject.model.training, subject.model.weight.grad))
            yield from ()

    _run([Vandal(), Look()])
    assert seen == [(False, None)]


def test_numbers_are_repeatable_and_independent_over_steps():
    first, again = _run([Random()]).records, _run([Random()]).records
    later, other = _run([Random()], step=2).records, _run([Random()], seed=1).records
    assert first == again
    for a, b, c in zip(first, later, other, strict=True):
        assert len({a.value, b.value, c.value}) == 3


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_number_that_is_none_is_failed(value):
    (row,) = _run([Yields(Row("x", value))]).records
    assert row.status is Status.FAILED
    assert math.isnan(row.value)
    assert str(value) in row.attrs["error"]
    assert row.attrs[NOT_FINITE] == str(value)


@pytest.mark.parametrize("se", [-0.1, -math.inf])
def test_a_negative_standard_error_is_no_number(se):
    """Stored as ok, it would keep every later analysis from reading the run."""
    (row,) = _run([Yields(Row("x", 1.0, se=se))]).records
    assert row.status is Status.FAILED
    assert math.isnan(row.value) and math.isnan(row.se)
    assert row.attrs["error"].startswith(f"se is {se}: a standard error must be 0 or more")


def test_a_standard_error_may_be_zero_or_unknown():
    for se in (0.0, math.nan):
        (row,) = _run([Yields(Row("x", 1.0, se=se))]).records
        assert row.status is Status.OK


def test_what_is_no_record_is_named():
    (row,) = _run([Yields(3.0)]).records
    assert row.status is Status.FAILED
    assert "yielded float: must yield Row" in row.attrs["error"]


def test_the_cost_is_told_per_metric():
    assert _run([Good(), Vandal()]).elapsed_s.keys() == {"good", "vandal"}


def test_a_loss_that_differentiates_is_measured():
    def slope(model, batch):
        x = batch[0].clone().requires_grad_()
        return torch.autograd.grad(model(x).sum(), x, create_graph=True)[0].square().mean()

    evaluation = evaluate(
        [Loss()],
        model=private_copy(MODULE),
        step=1,
        batches=[(torch.zeros(32, 2),)],
        loss=slope,
    )
    (row,) = evaluation.records
    assert (row.status, row.value) == (Status.OK, 4.0)  # each slope is a sum of two ones
