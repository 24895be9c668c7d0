"""Batches of another size hold the same samples, as far as they go."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from devtrack.data._fixed_batches import num_rows
from devtrack.data._resizing import resize_batches
from devtrack.errors import DataError


@given(st.lists(st.integers(1, 9), min_size=1, max_size=5), st.integers(1, 20))
def test_parts_have_the_size_asked_for_and_hold_each_sample_once(counts, size):
    samples = torch.arange(sum(counts))
    batches = [{"x": part, "y": part[:, None] + 0.5} for part in samples.split(counts)]
    if size > len(samples):
        with pytest.raises(DataError, match=f"batch_size={size}: .* {len(samples)} samples in all"):
            resize_batches(batches, size)
        return
    parts = resize_batches(batches, size)
    assert all(num_rows(part) == size for part in parts)
    taken = torch.cat([part["x"] for part in parts]).tolist()
    assert len(set(taken)) == len(taken)
    lost = sum(count % size for count in counts) if max(counts) >= size else len(samples) % size
    assert len(taken) == len(samples) - lost
    assert all(torch.equal(part["y"][:, 0], part["x"] + 0.5) for part in parts)


def test_what_all_batches_share_stays_one():
    weight = torch.tensor(2.0)
    batches = [(torch.zeros(3, 2), weight, "mean"), (torch.ones(3, 2), weight.clone(), "mean")]
    ((x, kept, word),) = resize_batches(batches, 6)
    assert (len(x), float(kept), word) == (6, 2.0, "mean")


@pytest.mark.parametrize(
    ("other", "why"),
    [
        ((torch.ones(3, 4), 1), "Sizes of tensors must match"),
        ((torch.ones(3, 2), 2), "they differ in more than their samples"),
        ([torch.ones(3, 2), 1], "they are built differently"),
    ],
    ids=["shape", "content", "structure"],
)
def test_batches_that_cannot_be_joined_are_refused(other, why):
    with pytest.raises(DataError, match=rf"batch_size=6: .* at most 3 .*{why}.* Use batch_size=3"):
        resize_batches([(torch.zeros(3, 2), 1), other], 6)
