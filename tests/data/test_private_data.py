import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset, TensorDataset

from devtrack.data._fixed_batches import fixed_batches
from devtrack.data._private_data import DataWarning, can_be_copied, private_data

X = torch.arange(40.0).reshape(20, 2)


class Own(Dataset):
    def __init__(self):
        self.rng, self.reads, self.table = np.random.default_rng(0), [], X

    def __len__(self):
        return 20

    def __getitem__(self, index):
        self.reads.append(index)
        return self.table[index] + float(self.rng.normal())


@pytest.mark.parametrize("wrap", [lambda data: data, lambda data: DataLoader(data, batch_size=4)])
def test_reading_moves_nothing_of_the_original(wrap):
    data = Own()
    first = fixed_batches(wrap(data), num_samples=8)
    again = fixed_batches(wrap(data), num_samples=8)
    assert data.reads == []
    assert data.rng.normal() == np.random.default_rng(0).normal()
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))


def test_the_data_themselves_are_shared():
    data = Own()
    assert private_data(data).table is X
    assert private_data(TensorDataset(X)).tensors[0] is X


def test_what_cannot_be_copied_is_read_itself_and_that_is_said():
    data = Own()
    data.lines = (line for line in "ab")
    with pytest.warns(DataWarning, match=r"type Own cannot be copied.*Pass data="):
        fixed_batches(data, num_samples=4)
    assert len(data.reads) == 4
    assert not can_be_copied(DataLoader(data))
    assert can_be_copied(DataLoader(Own()))
