import pytest
from devinterp.utils import default_nbeta

from devtrack.errors import ConfigError, DataError
from devtrack.sampling.config import SamplerConfig


@pytest.mark.parametrize("samples", [2, 64, 1000])
def test_open_n_beta_is_devinterps(samples):
    assert SamplerConfig().n_beta_for(samples) == pytest.approx(default_nbeta(samples))


def test_given_n_beta_wins():
    assert SamplerConfig(n_beta=30.0).n_beta_for(1) == 30.0


def test_one_sample_leaves_n_beta_undefined():
    with pytest.raises(DataError, match=r"1 sample.*at least 2.*LLC.batch_size=64.*n_beta=30"):
        SamplerConfig().n_beta_for(1)


@pytest.mark.parametrize(
    "wrong",
    [
        {"lr": 0.0},
        {"lr": float("nan")},
        {"n_beta": -1.0},
        {"localization": -1.0},
        {"num_chains": 0},
        {"num_draws": 0},
        {"num_burnin_steps": -1},
        {"num_steps_bw_draws": 0},
        {"num_draws": 10.0},
        {"rmsprop_decay": 1.0},
        {"rmsprop_eps": 0.0},
        {"precision": "half"},
        {"evaluate_on": "the end"},
        {"method": "sgnht"},
    ],
    ids=str,
)
def test_wrong_number_is_named_with_what_is_allowed(wrong):
    name, value = next(iter(wrong.items()))
    with pytest.raises(ConfigError, match=rf"{name}={value!r}: must be .*Use "):
        SamplerConfig(**wrong)
