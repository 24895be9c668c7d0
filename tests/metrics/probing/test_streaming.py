import numpy as np
import pytest
import torch
from torch import nn

from devtrack.metrics.metric import Subject
from devtrack.metrics.probing._streaming import Chunks


class Counted(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = nn.Identity()
        self.num_calls = 0

    def forward(self, x):
        self.num_calls += 1
        return self.features(x)


def _chunks(*batches, max_chunk_bytes):
    model = Counted()
    subject = Subject(model, 0, [], lambda m, b: m(b).mean(), torch.Generator())
    chunks = Chunks(
        subject,
        list(batches),
        "features",
        lambda batch: batch[..., 0],
        num_rows=sum(batch[..., 0].numel() for batch in batches),
        max_chunk_bytes=max_chunk_bytes,
    )
    return model, chunks


@pytest.mark.parametrize("rows_at_once", [1, 3, 7, 20, 100])
def test_all_rows_come_once_in_order_and_no_chunk_is_too_large(rows_at_once):
    batches = torch.randn(6, 3), torch.randn(2, 5, 3), torch.randn(4, 3)
    _, chunks = _chunks(*batches, max_chunk_bytes=rows_at_once * 12)
    whole = torch.cat([batch.reshape(-1, 3) for batch in batches]).numpy()
    for _ in range(2):
        seen = [(part, x.copy()) for part, x in chunks]
        assert np.array_equal(np.concatenate([x for _, x in seen]), whole)
        assert np.array_equal(np.concatenate([whole[part] for part, _ in seen]), whole)
        lengths = [len(x) for _, x in seen]
        assert max(lengths) <= rows_at_once
        assert len(seen) == chunks.num_chunks == -(-20 // rows_at_once)


def test_one_chunk_is_kept_and_more_are_made_again():
    for max_chunk_bytes, num_calls in ((1000, 2), (100, 4)):
        model, chunks = _chunks(
            torch.randn(6, 3), torch.randn(4, 3), max_chunk_bytes=max_chunk_bytes
        )
        assert sum(len(x) for _, x in chunks) == sum(len(x) for _, x in chunks) == 10
        assert model.num_calls == num_calls
