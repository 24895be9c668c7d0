import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from devtrack.errors import ConfigError, MetricError
from devtrack.metrics.metric import Subject
from devtrack.metrics.probing.concept_direction import ConceptDirection
from devtrack.records import Status


def _subject(count=2000, seed=0, noise=0.5, positions=1):
    """Two units; the concept moves the first by 1. The layer turns the plane."""
    rng = torch.Generator().manual_seed(seed)
    has = torch.rand(count, positions, generator=rng) < 0.3
    x = noise * torch.randn(count, positions, 2, generator=rng)
    x[..., 0] += has
    if positions == 1:
        has, x = has[:, 0], x[:, 0]
    model = nn.Sequential(nn.Linear(2, 2))
    return Subject(model, 0, [(x, has)], lambda m, b: m(b[0]).sum(), torch.Generator())


def _at(subject, step, angle=0.0, scale=1.0):
    turn = torch.tensor([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    with torch.no_grad():
        subject.model[0].weight.copy_(scale * turn)
    return replace(subject, step=step)


def _metric(**options):
    return ConceptDirection(**{"site": "0", "labels": lambda b: b[1], "name": "c"} | options)


def test_a_planted_turn_is_its_cosine_and_the_length_its_norm():
    subject, metric = _subject(), _metric()
    (norm,) = metric.compute(_at(subject, 0))
    norm2, turned = metric.compute(_at(subject, 5, math.pi / 3, scale=2.0))
    _, stayed = metric.compute(_at(subject, 9, math.pi / 3))
    assert abs(norm.value - 1) < 3 * norm.se < 0.2
    assert norm2.value == pytest.approx(2 * norm.value, rel=1e-5)
    assert turned.value == pytest.approx(0.5, abs=1e-5)
    assert turned.se == pytest.approx(0.0, abs=1e-5)  # all turned alike, whatever the sample
    assert stayed.value == pytest.approx(1.0, abs=1e-6)  # no-change control
    assert [r.attrs["reference_step"] for r in (turned, stayed)] == [0, 5]
    assert turned.metric == "concept/c/cosine_previous"
    assert turned.attrs["split_half"] > 0.98


def test_it_is_the_naive_difference_of_means():
    subject = _subject(300, positions=4)
    (norm,) = _metric().compute(_at(subject, 0))
    x, has = subject.batches[0]
    out = subject.model[0](x).detach()
    expected = out[has].double().mean(0) - out[~has].double().mean(0)
    assert norm.value == pytest.approx(float(expected.norm()), rel=1e-6)
    assert norm.attrs["num_with"] == int(has.sum())


def test_batches_make_no_difference():
    subject = _at(_subject(300), 0)
    x, has = subject.batches[0]
    split = replace(subject, batches=[(x[:120], has[:120]), (x[120:], has[120:])])
    whole, parts = (next(iter(_metric().compute(s))) for s in (subject, split))
    assert parts.value == pytest.approx(whole.value, rel=1e-6)
    assert parts.se == pytest.approx(whole.se, rel=1e-6)


def test_errors_are_those_of_repeated_samples():
    """The second snapshot shears the plane, so that the cosine depends on the sample."""
    norms, found = [], []
    for seed in range(60):
        subject, metric = _subject(400, seed=seed), _metric()
        norms += metric.compute(_at(subject, 0))
        with torch.no_grad():
            subject.model[0].weight.copy_(torch.tensor([[1.0, 0.0], [3.0, 1.0]]))
        found.append(list(metric.compute(replace(subject, step=1)))[1])
    for rows in (norms, found):
        spread = np.std([row.value for row in rows])
        told = np.sqrt(np.mean([row.se**2 for row in rows]))
        # spread known to 9 %; three of those
        assert told == pytest.approx(spread, rel=0.3)


def test_first_stays_and_is_flagged_after_a_resume():
    subject, metric = _subject(), _metric(reference="first")
    list(metric.compute(_at(subject, 0)))
    list(metric.compute(_at(subject, 1, 1.0)))
    row = list(metric.compute(_at(subject, 2, 2.0)))[1]
    assert row.value == pytest.approx(math.cos(2.0), abs=1e-5)
    assert row.status is Status.OK
    resumed = replace(_subject(), cache={})
    list(metric.compute(_at(resumed, 100)))
    row = list(metric.compute(_at(resumed, 110)))[1]
    assert row.status is Status.SUSPECT
    assert "step 100, not 0" in row.attrs["reasons"][0]


def test_noise_alone_shows_in_split_half():
    rng = torch.Generator().manual_seed(0)
    subject = _subject()
    batch = (torch.randn(200, 50, generator=rng), torch.rand(200, generator=rng) < 0.5)
    model = nn.Sequential(nn.Identity())
    (row,) = _metric().compute(replace(subject, model=model, batches=[batch]))
    assert abs(row.attrs["split_half"]) < 3 / math.sqrt(50)


def test_a_direction_without_length_has_no_cosine():
    subject, metric = _subject(), _metric()
    with torch.no_grad():
        subject.model[0].bias.zero_()
    list(metric.compute(_at(subject, 0, scale=0.0)))
    row = list(metric.compute(_at(subject, 1)))[1]
    assert row.status is Status.FAILED


def test_errors_say_given_allowed_next():
    with pytest.raises(ConfigError, match="reference='last': must be 'previous' or 'first'"):
        _metric(reference="last")
    with pytest.raises(ConfigError, match="num_groups=2: must be at least 4"):
        _metric(num_groups=2)
    subject = _subject()
    with pytest.raises(MetricError, match="concept 'c' on 0 rows with it and 2000 without"):
        list(_metric(labels=lambda b: torch.zeros_like(b[1])).compute(subject))
    with pytest.raises(MetricError, match="site 'x': no module"):
        list(_metric(site="x").compute(subject))
