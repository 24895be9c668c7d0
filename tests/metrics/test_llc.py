import json
from dataclasses import fields

import numpy as np
import pytest
import torch
from torch import nn

from devtrack.errors import ConfigError, DataError, MetricError
from devtrack.metrics.llc import LLC
from devtrack.metrics.metric import Metric, Subject
from devtrack.records import ChainTrace, Event, Row, Status
from devtrack.sampling import _discretization_bias
from devtrack.sampling.config import SamplerConfig
from devtrack.sampling.diagnostics import QualityWarning, WarningCode
from devtrack.sampling.estimator import estimate
from devtrack.sampling.kernels import kernel_class
from devtrack.tracking._evaluate import evaluate

QUICK = {"lr": 1e-3, "num_draws": 60, "num_burnin_steps": 20}


def _model():
    torch.manual_seed(0)
    return nn.Linear(5, 1).eval()


def _subject(*, batches=None, seed=0):
    """A linear regression at its exact solution: regular, so λ = 6/2 without localisation."""
    model = _model()
    torch.manual_seed(1)
    x = torch.randn(256, 5)
    with torch.no_grad():
        y = model(x)
    made = [(x[i : i + 64], y[i : i + 64]) for i in range(0, 256, 64)]
    chosen = made if batches is None else batches
    return Subject(model, 0, chosen, _loss, torch.Generator().manual_seed(seed))


def _loss(model, batch):
    return 0.5 * (model(batch[0]) - batch[1]).square().mean()


def _records(metric, subject=None):
    row, trace = metric.compute(subject or _subject())
    assert isinstance(row, Row) and isinstance(trace, ChainTrace)
    return row, trace


def test_it_is_a_metric():
    assert isinstance(LLC(), Metric)
    assert LLC().name == "llc"


def test_a_regular_model_has_half_its_parameters():
    config = {"n_beta": 1e4, "localization": 1.0, "lr": 1e-5}
    row, _ = _records(LLC(**config, num_chains=16, num_draws=800))
    # Whitened inputs would give 3; lr · nβ = 0.1 adds 3 %, the sample's curvature a little.
    assert row.value == pytest.approx(3.0, abs=0.1 + 3 * row.se)
    assert row.status is Status.OK, row.attrs["reasons"]


def test_full_data_estimates_agree_with_those_from_draws():
    at_draws, _ = _records(LLC(**QUICK))
    on_full_data, _ = _records(LLC(**QUICK, evaluate_on="full_data"))
    assert (
        on_full_data.attrs["evaluate_on"] == "full_data"
        and on_full_data.attrs["control_variate"] == "all"
    )
    # an exact solution: gradients hardly differ over batches, and both measure the same chains
    assert on_full_data.value == pytest.approx(at_draws.value, abs=3 * at_draws.se)
    assert on_full_data.value != at_draws.value


def test_the_trace_holds_burn_in_and_gives_the_value_without_it():
    metric = LLC(**QUICK)
    row, trace = _records(metric)
    assert trace.loss.shape == trace.baseline.shape == (4, 80)
    assert trace.num_burnin_steps == 20
    paired = (trace.loss - trace.baseline)[:, 20:]
    removed = row.attrs["step_bias_removed"]
    assert 0 < removed == row.attrs["step_bias"] < 0.1 * row.value
    assert row.value + removed == pytest.approx(row.attrs["n_beta"] * paired.mean())
    means = row.attrs["n_beta"] * paired.mean(axis=1)
    np.testing.assert_allclose(np.add(row.attrs["chain_values"], removed), means)


def test_an_unknown_step_bias_is_stored_as_null(monkeypatch):
    class Underived(kernel_class(LLC.method)):
        step_size_bias = "unknown"

    monkeypatch.setattr(_discretization_bias, "kernel_class", lambda method: Underived)
    row, trace = _records(LLC(**QUICK))
    assert row.attrs["step_bias"] is None
    assert row.attrs["step_bias_removed"] == 0
    paired = (trace.loss - trace.baseline)[:, 20:]
    assert row.value == pytest.approx(row.attrs["n_beta"] * paired.mean())


def test_attrs_say_how_it_was_measured_and_are_json():
    row, _ = _records(LLC(**QUICK))
    wanted = {
        *("rhat", "ess", "mcse", "gamma_ratio", "n_beta", "localization", "lr", "num_chains"),
        *("num_draws", "num_burnin_steps", "method", "engine", "reasons", "chain_values"),
    }
    assert wanted <= set(row.attrs)
    assert row.attrs["n_beta"] == pytest.approx(64 / np.log(64))
    assert json.loads(json.dumps(row.attrs, allow_nan=False)) == row.attrs


def test_pairing_removes_the_noise_of_the_batches():
    # Same chains, the baseline once per batch, once on average: the second is many times noisier.
    torch.manual_seed(2)
    noisy = [(torch.randn(16, 5), 3 * torch.randn(16, 1)) for _ in range(8)]
    _, trace = _records(LLC(**QUICK, n_beta=30.0, localization=100.0), _subject(batches=noisy))
    paired = (trace.loss - trace.baseline)[:, 20:]
    unpaired = (trace.loss - trace.baseline.mean())[:, 20:]
    assert paired.std() < unpaired.std() / 4


def test_failed_chains_make_a_failed_row_without_a_number():
    row, trace = _records(LLC(lr=1e6, num_draws=200))
    assert row.status is Status.FAILED
    assert np.isnan(row.value) and np.isnan(row.se)
    assert "4 of 4 chains non-finite" in row.attrs["error"]
    assert row.attrs["chain_values"] == [None] * 4
    assert np.isnan(trace.loss[:, -1]).all()
    json.dumps(row.attrs, allow_nan=False)


def test_own_data_and_own_loss_replace_those_of_the_run():
    torch.manual_seed(3)
    own = [(torch.randn(8, 5), torch.zeros(8, 1))]
    metric = LLC(**QUICK, data=own, loss=lambda m, b: m(b[0]).abs().mean() + 7)
    row, _ = _records(metric, _subject(batches=[]))
    assert row.attrs["samples_per_batch"] == 8
    assert row.attrs["anchor_loss"] > 7


def test_batch_size_cuts_the_batches():
    row, trace = _records(LLC(**QUICK, batch_size=30))  # 4 batches of 64: two parts of 30 each
    assert row.attrs["samples_per_batch"] == 30
    assert row.attrs["num_batches"] == 8
    assert row.attrs["n_beta"] == pytest.approx(30 / np.log(30))
    assert trace.loss.shape == (4, 80)


def test_batch_size_joins_batches_that_are_smaller():
    row, _ = _records(LLC(**QUICK, batch_size=100))  # 4 batches of 64: two of 100 in all
    assert row.attrs["samples_per_batch"] == 100
    assert row.attrs["num_batches"] == 2


def test_less_data_than_a_batch_is_an_error():
    with pytest.raises(DataError, match=r"batch_size=257: .* 256 .* in all. Use batch_size=256"):
        list(LLC(lr=1e-3, batch_size=257).compute(_subject()))


def test_no_data_is_an_error():
    with pytest.raises(DataError, match="no data"):
        list(LLC().compute(_subject(batches=[])))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"num_chains": 1}, "num_chains=1: R-hat needs at least 2 chains. Use num_chains=4"),
        ({"lr": -1.0}, "lr=-1.0: must be a finite number above 0"),
        ({"lr": "auto"}, "lr='auto': must be a finite number above 0"),
        ({"n_beta": "30"}, "n_beta='30': must be a finite number at least 0"),
        ({"num_draws": 3}, "num_draws=3: R-hat needs at least 4 draws of each chain. Use num_d"),
        ({"target_se": 0.0}, "target_se=0.0: must be a finite number above 0"),
        ({"target_se": "0.5"}, "target_se='0.5': must be a finite number above 0"),
        ({"target_se": True}, "target_se=True: must be a finite number above 0"),
        ({"max_memory_gb": None}, "max_memory_gb=None: must be a finite number above 0"),
        ({"max_memory_gb": "2GB"}, "max_memory_gb='2GB': must be a finite number above 0"),
        ({"batch_size": 0}, "batch_size=0: must be an integer of at least 1. Use batch_size=64"),
        ({"batch_size": "64"}, "batch_size='64': must be an integer of at least 1"),
        ({"batch_size": 64.0}, "batch_size=64.0: must be an integer of at least 1"),
        ({"num_heads": "4", "sites": "a"}, "num_heads='4': must be an integer"),
        ({"num_heads": 2.5, "sites": "a"}, "num_heads=2.5: must be an integer"),
        ({"head_axes": {"w": 0}}, "head_axes={'w': 0}: must map ends of parameters' paths"),
        ({"engine": "vectorised"}, "engine='vectorised': must be 'auto', 'vectorized'"),
        ({"engine": "reference", "method": "lm_sgld"}, "engine='reference': devinterp knows"),
        ({"loss": "mse"}, "loss='mse': must be a function of (model, batch)"),
        ({"loss": nn.MSELoss()}, "loss=MSELoss(): must be a function of (model, batch)"),
        ({"data": 5}, "data=5: must be a DataLoader, a Dataset"),
        ({"data": "train"}, "data='train': must be a DataLoader, a Dataset"),
        ({"data": {}}, "data={}: must be a DataLoader, a Dataset"),
        ({"data": {"train": 5}}, "data={'train': 5}: must be a DataLoader, a Dataset"),
        ({"sites": 5}, "sites=5: must be a glob, or a list of globs"),
        ({"sites": [None]}, "sites=[None]: must be a glob"),
        ({"name": 5}, "name=5: must be a text"),
        ({"diagnostics": "some"}, "diagnostics='some': must be one of 'on', 'off'"),
    ],
    ids=str,
)
def test_a_wrong_setting_is_refused_at_construction(wrong, message):
    with pytest.raises(ConfigError) as caught:
        LLC(**wrong)
    assert message in str(caught.value)


def test_chains_stop_at_the_target_error_and_it_has_its_coverage():
    """On a regular quadratic the intervals cover the long-run mean as often as at fixed length."""
    size = {"method": "lm_sgld", "n_beta": 1e4, "localization": 1.0, "lr": 1e-4}
    metric = LLC(**size, num_chains=8, num_draws=4000, num_burnin_steps=50, target_se=0.11)
    rows = [_records(metric, _subject(seed=seed))[0] for seed in range(40)]
    values, errors = np.array([(row.value, row.se) for row in rows]).T
    taken = [row.attrs["num_draws_taken"] for row in rows]
    assert max(errors) <= 0.11
    assert 100 <= min(taken) < max(taken) < 200
    # 95 % of 40 is 38; fewer than 34 happen once in 300 times
    assert (abs(values - values.mean()) <= 1.96 * errors).sum() >= 34
    assert rows[0].attrs["num_draws"] == 4000
    trace = _records(metric)[1]
    assert trace.loss.shape == (8, 50 + taken[0])


@pytest.mark.parametrize(
    ("code", "taken"),
    [
        (WarningCode.NOT_EQUILIBRATED, 170),
        (WarningCode.HIGH_RHAT, 170),
        (WarningCode.STEP_BIAS, 100),
    ],
)
def test_chains_continue_while_more_draws_may_remove_a_warning(monkeypatch, code, taken):
    def with_warning(chains, config, *, checks):
        found = estimate(chains, config, checks=checks)
        warnings = (QualityWarning(code, "too early"),) if chains.loss.shape[1] < 180 else ()
        diagnosis = found.diagnosis._replace(se=0.1, ess=1e3, warnings=warnings)
        return found._replace(diagnosis=diagnosis)

    monkeypatch.setattr("devtrack.metrics.llc.estimate", with_warning)
    row, _ = _records(LLC(**{**QUICK, "num_draws": 400}, target_se=1.0))
    assert row.attrs["num_draws_taken"] == taken  # 20 of burn-in, checked after 100, 130 and 170


def test_an_unreachable_target_takes_all_draws():
    row, _ = _records(LLC(**QUICK, target_se=1e-9))
    assert row.attrs["num_draws_taken"] == 60
    assert row.se > 1e-9


def test_failed_chains_stop_at_the_first_check():
    row, trace = _records(LLC(lr=1e6, num_draws=2000, target_se=0.1))
    assert row.status is Status.FAILED
    assert trace.loss.shape[1] == 100 + 100


def test_one_chain_works_without_diagnostics():
    row, _ = _records(LLC(**QUICK, num_chains=1, diagnostics="off"))
    assert np.isfinite(row.value)
    assert row.attrs["rhat"] is None or np.isfinite(row.attrs["rhat"])


def test_reference_engine_gives_the_same_row():
    row, _ = _records(LLC(**QUICK, method="sgld"))
    reference, _ = _records(LLC(**QUICK, method="sgld", engine="reference"))
    assert reference.attrs["engine"] == "reference"
    assert reference.value == pytest.approx(row.value, rel=1e-3)


def test_it_runs_under_evaluate():
    model = _model()
    subject = _subject()
    evaluation = evaluate(
        [LLC(**QUICK), LLC(**QUICK, name="llc_broken", loss=lambda m, b: b[0].sum())],
        model=model,
        step=3,
        batches=subject.batches,
        loss=_loss,
    )
    rows = {r.metric: r for r in evaluation.records if isinstance(r, Row)}
    assert rows["llc"].status is not Status.FAILED
    assert rows["llc_broken"].status is Status.FAILED
    assert "does not depend on the model's weights" in rows["llc_broken"].attrs["error"]


class TwoLayers(nn.Module):
    """x ↦ W2 W1 x at weights of known ranks, with identity covariance of the inputs."""

    def __init__(self):
        super().__init__()
        self.first = nn.Linear(6, 5, bias=False)
        self.second = nn.Linear(5, 4, bias=False)
        with torch.no_grad():
            self.first.weight.copy_(torch.eye(5, 6))
            self.second.weight.zero_()
            self.second.weight[:3, :3] = torch.eye(3)

    def forward(self, x):
        return self.second(self.first(x))


def _layers_subject():
    model = TwoLayers().double().eval()
    x = 6**0.5 * torch.eye(6).double()
    with torch.no_grad():
        y = model(x)

    def loss(model, batch):
        return 0.5 * (model(batch[0]) - batch[1]).square().sum(-1)

    return Subject(model, 0, [(x, y)], loss, torch.Generator().manual_seed(0))


def test_one_layer_with_the_others_fixed_is_a_regular_quadratic():
    """Exact: the Hessian in W1 is W2ᵀW2 ⊗ cov(x), in W2 it is I ⊗ cov(W1 x): λ = rank / 2."""
    metric = LLC(
        sites=("first", "second"),
        n_beta=1e4,
        localization=1.0,
        lr=1e-5,
        num_chains=16,
        num_draws=500,
    )
    rows = [r for r in metric.compute(_layers_subject()) if isinstance(r, Row)]
    assert [(r.metric, r.site) for r in rows] == [("rllc", "first"), ("rllc", "second")]
    assert [r.attrs["num_parameters"] for r in rows] == [30, 20]
    for row, rank in zip(rows, (3 * 6, 4 * 5), strict=True):
        # lr · nβ = 0.1 adds up to 3 %
        assert row.value == pytest.approx(rank / 2, rel=0.03, abs=3 * row.se)


def test_data_sets_have_rows_of_their_own():
    subject = _subject()
    data = {"near": list(subject.batches[:2]), "far": list(subject.batches[2:])}
    records = list(LLC(data=data, **QUICK).compute(subject))
    assert [r.metric for r in records] == ["rllc/near"] * 2 + ["rllc/far"] * 2
    assert [r.attrs["num_batches"] for r in records if isinstance(r, Row)] == [2, 2]


def test_all_data_sets_of_one_llc_share_one_n_beta_whatever_their_batches():
    whole = _subject().batches  # 4 of 64 samples
    part = [tuple(x[:10] for x in batch) for batch in whole[:1]]
    for data in ({"a": whole, "b": part}, {"a": [*part, *whole]}, {"a": [*whole, *part]}):
        rows = [r for r in LLC(data=data, **QUICK).compute(_subject()) if isinstance(r, Row)]
        assert [r.attrs["n_beta"] for r in rows] == [pytest.approx(64 / np.log(64))] * len(data)
        assert rows[0].attrs["samples_per_batch"] == 64


def test_refined_rows_need_sites_that_exist():
    with pytest.raises(MetricError, match="no module has this path"):
        list(LLC(sites="blocks.*", **QUICK).compute(_subject()))
    with pytest.raises(ConfigError, match="num_heads=2 with sites="):
        LLC(num_heads=2)


def test_an_open_step_size_is_found_reported_and_kept():
    subject = _subject()
    event, row, _ = LLC().compute(subject)
    assert isinstance(event, Event) and event.kind == "calibrated" and isinstance(row, Row)
    assert event.message == f"llc: lr {row.attrs['lr']:.2g} for this run"
    assert event.attrs["lr"] == row.attrs["lr"] == subject.state["llc"]["lr"]
    assert row.status is Status.OK, row.attrs["reasons"]
    json.dumps([event.attrs, subject.state], allow_nan=False)
    again = list(LLC().compute(subject))
    assert [type(record) for record in again] == [Row, ChainTrace]
    assert again[0].attrs["lr"] == row.attrs["lr"]


@pytest.mark.parametrize("lr", [None, 1e-3])
@pytest.mark.parametrize(
    "loss", [lambda m, b: _loss(m, b).item(), lambda b, m: _loss(m, b)], ids=["number", "swapped"]
)
def test_a_loss_of_the_wrong_kind_is_explained(loss, lr):
    with pytest.raises(MetricError, match="loss must return a tensor, as a function of .model, "):
        list(LLC(loss=loss, lr=lr).compute(_subject()))


def test_a_dict_of_tensors_that_fails_is_read_in_both_ways():
    x, y = _subject().batches[0]
    with pytest.raises(MetricError, match=r"\['train', 'test'\]: one data set.*lists of batches"):
        list(LLC(data={"train": x, "test": y}, lr=1e-3).compute(_subject()))


def test_a_loss_without_weights_is_named_as_such_without_a_step_size_too():
    with pytest.raises(MetricError, match="does not depend on the model's weights"):
        list(LLC(loss=lambda m, b: b[0].sum()).compute(_subject()))


def test_every_hyperparameter_of_the_sampler_is_one_of_the_metric():
    own = {"method", "lr"}  # the metric has another kernel by default, and may find its step size
    plain = SamplerConfig()
    shared = {field.name for field in fields(SamplerConfig)} - own
    assert {name: getattr(LLC(), name) for name in shared} == {
        name: getattr(plain, name) for name in shared
    }
    other = LLC(lr=0.02, num_chains=7, n_beta=3.0, rmsprop_eps=0.3, evaluate_on="full_data")
    wanted = SamplerConfig(
        method="lm_sgld",
        lr=0.02,
        num_chains=7,
        n_beta=3.0,
        rmsprop_eps=0.3,
        evaluate_on="full_data",
    )
    assert other.config == wanted
    assert LLC().config.lr == plain.lr
