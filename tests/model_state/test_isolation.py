import random

import numpy as np
import pytest
import torch
from torch import nn

from devtrack.model_state.isolation import isolated


def _streams():
    return (
        random.getstate(),
        np.random.get_state()[1].tolist(),
        torch.random.get_rng_state().tolist(),
    )


def _settings():
    return (
        torch.is_grad_enabled(),
        torch.get_default_dtype(),
        torch.get_num_threads(),
        torch.get_float32_matmul_precision(),
        torch.are_deterministic_algorithms_enabled(),
        torch.is_autocast_enabled("cpu"),
        torch.backends.mha.get_fastpath_enabled(),
    )


def _vandalise():
    random.random()
    np.random.rand(3)
    torch.rand(3)
    torch.manual_seed(7)
    torch.set_grad_enabled(False)
    torch.set_default_dtype(torch.float64)
    torch.set_num_threads(torch.get_num_threads() + 1)
    torch.set_float32_matmul_precision("medium")
    torch.use_deterministic_algorithms(True)


@pytest.mark.parametrize("seed", [None, 3])
@pytest.mark.parametrize("raises", [False, True])
def test_everything_is_put_back(seed, raises):
    streams, settings = _streams(), _settings()
    try:
        with isolated(seed=seed):
            _vandalise()
            assert _settings() != settings
            if raises:
                raise RuntimeError
    except RuntimeError:
        assert raises
    assert _streams() == streams
    assert _settings() == settings


def test_a_seed_makes_the_block_repeatable():
    def draw():
        with isolated(seed=5):
            return random.random(), np.random.rand(), torch.rand(2).tolist()

    first = draw()
    torch.rand(9)
    assert draw() == first


def test_autocast_does_not_reach_inside():
    x = torch.ones(4, 4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        with isolated():
            assert (x @ x).dtype == torch.float32
        assert (x @ x).dtype == torch.bfloat16


def test_an_encoder_with_padding_is_the_same_function_without_gradients():
    """torch's fast path, taken without gradients only, sets padded positions to zero."""
    torch.manual_seed(0)
    encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), 2)
    encoder.eval()
    x, padding = torch.randn(3, 5, 8), torch.arange(5) >= torch.tensor([[5], [3], [2]])
    trained = encoder(x, src_key_padding_mask=padding)
    with isolated(), torch.no_grad():
        measured = encoder(x, src_key_padding_mask=padding)
    torch.testing.assert_close(measured, trained.detach())
