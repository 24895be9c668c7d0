import sysconfig
from pathlib import Path

import pytest
import torch

from experiments.library_text import library_tokens, windows, with_repeats


def seeded():
    return torch.Generator().manual_seed(0)


def test_tokens_are_those_of_the_first_files_and_shorten_them():
    tokens = library_tokens(300, num_files=3)
    paths = sorted(Path(sysconfig.get_paths()["stdlib"]).glob("*.py"))[:3]
    assert len(tokens) == 3
    for row, path in zip(tokens, paths, strict=True):
        assert row.min() >= 0 and row.max() < 300
        assert len(row) < path.stat().st_size
    assert len(torch.cat(tokens).unique()) > 200


def test_windows_are_pieces_of_the_text_from_the_first_token_to_the_last():
    found = windows(torch.arange(10), 500, 4, generator=seeded())
    assert torch.equal(found, found[:, :1] + torch.arange(4))
    assert found.min() == 0
    assert found.max() == 9


def test_a_repeated_piece_has_a_period_of_its_own_and_the_others_stay():
    pieces = torch.arange(64).repeat(400, 1)
    found = with_repeats(pieces, 0.25, generator=seeded())
    changed = (found != pieces).any(1)
    assert changed.double().mean().item() == pytest.approx(0.25, abs=0.07)  # 3 standard errors
    periods = found[changed].max(1).values + 1
    assert set(periods.tolist()) <= set(range(8, 33))
    assert len(periods.unique()) > 15
    for row, period in zip(found[changed], periods.tolist(), strict=True):
        assert row.tolist() == [place % period for place in range(64)]
    assert torch.equal(with_repeats(pieces, 0.0, generator=seeded()), pieces)
