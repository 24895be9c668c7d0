import pytest
import torch
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from devtrack.batches import fixed_batches, num_rows, rows
from devtrack.errors import DataError

X, Y = torch.arange(100.0).reshape(50, 2), torch.arange(50)


class Stream(IterableDataset):
    def __iter__(self):
        return iter(zip(X, Y, strict=True))


def _samples(batches):
    return torch.cat([y for _, y in batches]).tolist()


@pytest.mark.parametrize(
    "data",
    [
        DataLoader(TensorDataset(X, Y), batch_size=8, shuffle=True),
        TensorDataset(X, Y),
        (X, Y),
    ],
)
def test_the_same_seed_chooses_the_same_samples(data):
    first = fixed_batches(data, num_samples=24, batch_size=8, seed=3)
    again = fixed_batches(data, num_samples=24, batch_size=8, seed=3)
    other = fixed_batches(data, num_samples=24, batch_size=8, seed=4)
    assert [len(y) for _, y in first] == [8, 8, 8]
    assert len(set(_samples(first))) == 24
    assert _samples(first) == _samples(again) != _samples(other)
    for x, y in first:
        assert torch.equal(x, X[y])


def test_a_loader_is_not_consumed():
    loader = DataLoader(TensorDataset(X, Y), batch_size=8, shuffle=True)
    torch.manual_seed(0)
    expected = _samples(list(loader))
    torch.manual_seed(0)
    fixed_batches(loader, num_samples=16)
    assert _samples(list(loader)) == expected


def test_a_short_last_batch_is_dropped_unless_it_is_the_only_one():
    assert [len(y) for _, y in fixed_batches((X, Y), batch_size=20)] == [20, 20]
    assert [len(y) for _, y in fixed_batches((X, Y), batch_size=200)] == [50]
    assert [len(y) for _, y in fixed_batches((X, Y))] == [50]


def test_a_batch_larger_than_num_samples_is_still_one_batch():
    assert [len(y) for _, y in fixed_batches((X, Y), num_samples=10, batch_size=30)] == [30]


def test_collate_fn_is_the_loaders():
    loader = DataLoader(TensorDataset(X, Y), batch_size=5, collate_fn=lambda items: {"n": items})
    assert len(fixed_batches(loader, num_samples=5)[0]["n"]) == 5


def test_items_that_are_batches_already_are_not_batched_again():
    items = [(X[i : i + 10], Y[i : i + 10]) for i in range(0, 50, 10)]
    batches = fixed_batches(DataLoader(items, batch_size=None), num_samples=25)
    assert [len(y) for _, y in batches] == [10, 10]
    assert len(fixed_batches(DataLoader(items, batch_size=None), num_samples=5)) == 1


def test_streams_give_their_first_batches():
    loader = DataLoader(Stream(), batch_size=10)
    assert _samples(fixed_batches(loader, num_samples=20)) == list(range(20))


def test_lists_are_taken_as_they_are():
    batches = [(X[:3], Y[:3]), (X[3:5], Y[3:5])]
    assert fixed_batches(batches, num_samples=1) is not batches
    assert fixed_batches(batches, num_samples=1) == batches


def test_rows_picks_from_nested_batches():
    batch = {"x": X, "y": {"labels": Y}, "name": "train", "scale": torch.tensor(2.0)}
    part = rows(batch, slice(2, 4))
    assert num_rows(batch) == 50
    assert torch.equal(part["x"], X[2:4])
    assert torch.equal(part["y"]["labels"], Y[2:4])
    assert part["name"] == "train"
    assert part["scale"] == 2.0


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (42, "data of type int: must be .* Pass a list of batches"),
        ([], "0 batches: at least 1"),
        ((torch.zeros(0, 2),), "0 samples: at least 1"),
        ({"a": "text"}, "holds no tensor"),
    ],
)
def test_errors_say_given_allowed_next(data, message):
    with pytest.raises(DataError, match=message):
        fixed_batches(data)
