import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from devtrack.errors import ConfigError, MetricError
from devtrack.metrics.metric import Subject
from devtrack.metrics.representation.cka import CKA, gram_without_diagonal, unbiased_cka
from devtrack.records import Status


def _subject(count=200, seed=0, width=16):
    rng = torch.Generator().manual_seed(seed)
    model = nn.Sequential(nn.Linear(6, width, bias=False))
    x = torch.randn(count, 6, generator=rng)
    return Subject(model, 0, [x], lambda m, b: m(b).sum(), torch.Generator())


def _at(subject, step, weight):
    with torch.no_grad():
        subject.model[0].weight.copy_(weight)
    return replace(subject, step=step)


def _cka(x, y):
    return unbiased_cka(gram_without_diagonal(x.double()), gram_without_diagonal(y.double()))


def test_rotation_and_scale_do_not_matter():
    x = torch.randn(50, 8, generator=torch.Generator().manual_seed(0)).double()
    rotation = torch.linalg.qr(torch.randn(8, 8, dtype=torch.float64))[0]
    assert _cka(x, 3 * x @ rotation + 7) == pytest.approx(1.0, rel=1e-9)


def test_it_is_the_naive_u_statistic():
    rng = torch.Generator().manual_seed(0)
    x, y = torch.randn(7, 3, generator=rng).double(), torch.randn(7, 2, generator=rng).double()
    y[:, 0] += x[:, 0]

    def hsic(a, b):
        """U-statistic of order 4: the mean over distinct rows of an unbiased product."""
        terms = [
            float((a[i] - a[j]) @ (a[k] - a[m])) * float((b[i] - b[j]) @ (b[k] - b[m])) / 4
            for i, j, k, m in itertools.permutations(range(7), 4)
        ]
        return np.mean(terms)

    expected = hsic(x, y) / math.sqrt(hsic(x, x) * hsic(y, y))
    assert _cka(x, y) == pytest.approx(expected, rel=1e-9)


def test_independent_representations_are_at_zero_even_with_few_rows():
    """No-change's opposite: the plain estimator would give about .8 here."""
    found = []
    for seed in range(40):
        rng = torch.Generator().manual_seed(seed)
        found.append(_cka(torch.randn(20, 100, generator=rng), torch.randn(20, 100, generator=rng)))
    assert abs(np.mean(found)) < 3 * np.std(found) / math.sqrt(40)


def test_previous_follows_and_first_stays():
    subject = _subject()
    rng = torch.Generator().manual_seed(1)
    a, b = torch.randn(16, 6, generator=rng), torch.randn(16, 6, generator=rng)
    previous, first = CKA(sites=("0",)), CKA(sites=("0",), reference="first")
    seen = {}
    for step, weight in [(0, a), (10, b), (20, b)]:
        now = _at(subject, step, weight)
        seen[step] = [list(m.compute(now)) for m in (previous, first)]
    assert seen[0] == [[], []]
    (p10,), (f10,) = seen[10]
    (p20,), (f20,) = seen[20]
    assert p10.value == f10.value == f20.value < 0.95
    assert p20.value == pytest.approx(1.0, rel=1e-9)
    assert p20.se == pytest.approx(0.0, abs=1e-9)
    assert [r.attrs["reference_step"] for r in (p10, f10, p20, f20)] == [0, 0, 10, 0]
    assert (p10.metric, f10.metric, p10.site) == ("cka_previous", "cka_first", "0")
    assert all(r.status is Status.OK for r in (p10, f10, p20, f20))


def test_two_runs_do_not_share_a_memory():
    metric, one, other = CKA(sites=("0",)), _subject(), _subject()
    assert list(metric.compute(one)) == []
    assert list(metric.compute(other)) == []
    assert len(list(metric.compute(one))) == 1


def test_a_first_snapshot_after_step_0_is_flagged():
    subject = _subject()
    metric = CKA(sites=("0",), reference="first")
    assert list(metric.compute(_at(subject, 1000, torch.randn(16, 6)))) == []
    (row,) = metric.compute(_at(subject, 1010, torch.randn(16, 6)))
    assert row.status is Status.SUSPECT
    assert "step 1000, not 0" in row.attrs["reasons"][0]


def test_given_weights_are_the_reference_and_the_model_keeps_its_own():
    subject = _subject()
    then = {"0.weight": torch.randn(16, 6, generator=torch.Generator().manual_seed(2))}
    own = subject.model[0].weight.clone()
    metric = CKA(sites=("0",), reference=then)
    (row,) = metric.compute(subject)
    x = subject.batches[0]
    assert row.value == pytest.approx(_cka((x @ own.T).detach(), x @ then["0.weight"].T), rel=1e-5)
    assert torch.equal(subject.model[0].weight, own)
    assert "reference_step" not in row.attrs
    assert row.metric == "cka_reference"


def test_the_standard_error_is_that_of_repeated_samples():
    rng = torch.Generator().manual_seed(3)
    a, b = torch.randn(16, 6, generator=rng), torch.randn(16, 6, generator=rng)
    values, errors = [], []
    for seed in range(60):
        subject = _subject(seed=seed)
        metric = CKA(sites=("0",))
        list(metric.compute(_at(subject, 0, a)))
        (row,) = metric.compute(_at(subject, 1, b))
        values.append(row.value)
        errors.append(row.se)
    # as in test_representation: 9 % and 3 %, three of those
    assert np.sqrt(np.mean(np.square(errors))) == pytest.approx(np.std(values), rel=0.3)


def test_constant_activations_have_no_similarity():
    subject = _subject()
    metric = CKA(sites=("0",))
    list(metric.compute(_at(subject, 0, torch.zeros(16, 6))))
    (row,) = metric.compute(_at(subject, 1, torch.randn(16, 6)))
    assert row.status is Status.FAILED
    assert "do not vary enough" in row.attrs["error"]


def test_errors_say_given_allowed_next():
    with pytest.raises(ConfigError, match="reference='last': must be 'previous', 'first'"):
        CKA(sites=("0",), reference="last")
    with pytest.raises(MetricError, match="reference of 1 tensors does not fit.*state_dict"):
        list(CKA(sites=("0",), reference={"w": torch.ones(1)}).compute(_subject()))
