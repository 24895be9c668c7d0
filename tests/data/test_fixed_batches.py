import itertools

import pytest
import torch
from lightning.fabric.utilities.distributed import DistributedSamplerWrapper
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    DistributedSampler,
    IterableDataset,
    RandomSampler,
    Sampler,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
)

from devtrack.data._fixed_batches import fingerprint, fixed_batches, num_rows, rows
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


class Endless(Sampler):
    """No length, and a place of its own that whoever asks moves on."""

    def __init__(self):
        self.steps = itertools.count()

    def __iter__(self):
        for step in self.steps:
            yield 3 * step % 50


class ByParity(Sampler):
    """Batches of a kind: even samples together, then odd ones."""

    def __iter__(self):
        yield from (list(range(start, start + 20, 2)) for start in (0, 20, 1, 21))

    def __len__(self):
        return 4


def _loader(**options):
    return DataLoader(TensorDataset(X, Y), **options)


def _only(indices, seed=0):
    """What a split into two loaders over one dataset makes."""
    own = torch.Generator().manual_seed(seed)
    return SubsetRandomSampler(list(indices), generator=own)


@pytest.mark.parametrize(
    "sampler",
    [
        _only(range(20)),
        RandomSampler(range(20)),
        WeightedRandomSampler([1.0] * 20 + [0.0] * 30, 200),
        DistributedSamplerWrapper(_only(range(20)), num_replicas=2, rank=0),
    ],
    ids=lambda sampler: type(sampler).__name__,
)
def test_no_sample_is_chosen_that_the_sampler_never_gives(sampler):
    chosen = _samples(fixed_batches(_loader(batch_size=5, sampler=sampler), num_samples=20))
    assert len(chosen) == 20
    assert max(chosen) < 20
    packed = BatchSampler(sampler, 5, drop_last=False)
    assert chosen == _samples(fixed_batches(_loader(batch_sampler=packed), num_samples=20))


def test_a_subset_is_chosen_from_without_replacement():
    loader = _loader(batch_size=5, sampler=_only(range(10, 40)))
    chosen = _samples(fixed_batches(loader))
    assert sorted(chosen) == list(range(10, 40))
    assert chosen != sorted(chosen)


def test_the_choice_is_by_the_seed_alone():
    """Wherever the sampler's own generator stands: a resumed training must find the same data."""
    one, other = (_loader(batch_size=5, sampler=_only(range(40), seed)) for seed in (0, 1))
    first = _samples(fixed_batches(one, num_samples=10))
    assert first == _samples(fixed_batches(other, num_samples=10))
    assert first != _samples(fixed_batches(one, num_samples=10, seed=1))


@pytest.mark.parametrize("make", [lambda: _only(range(40)), Endless], ids=["Subset", "Endless"])
def test_a_sampler_is_not_moved(make):
    torch.manual_seed(0)
    expected = list(itertools.islice(make(), 30))
    torch.manual_seed(0)
    sampler = make()
    fixed_batches(_loader(batch_size=5, sampler=sampler), num_samples=20)
    assert list(itertools.islice(sampler, 30)) == expected


def test_of_a_sampler_without_a_length_it_is_the_first_samples():
    chosen = _samples(fixed_batches(_loader(batch_size=5, sampler=Endless()), num_samples=10))
    assert sorted(chosen) == list(range(0, 30, 3))


def test_weights_are_kept():
    """Nine in ten draws are of the last ten samples; binomial, three standard deviations."""
    sampler = WeightedRandomSampler([0.1] * 40 + [3.6] * 10, 400)
    chosen = _samples(fixed_batches(_loader(batch_size=5, sampler=sampler), num_samples=400))
    assert sum(i >= 40 for i in chosen) / 400 == pytest.approx(0.9, abs=3 * 0.015)


@pytest.mark.parametrize("shuffle", [False, True])
def test_the_shares_of_all_processes_are_chosen_from(shuffle):
    data = TensorDataset(X, Y)
    sampler = DistributedSampler(data, num_replicas=2, rank=1, shuffle=shuffle)
    chosen = _samples(fixed_batches(DataLoader(data, batch_size=5, sampler=sampler)))
    assert sorted(chosen) == list(range(50))
    assert sampler.rank == 1


def test_batches_of_their_own_kind_stay_whole():
    batches = fixed_batches(_loader(batch_sampler=ByParity()), num_samples=30)
    assert [len(y) for _, y in batches] == [10, 10, 10]
    assert all(len({int(i) % 2 for i in y}) == 1 for _, y in batches)
    assert len(set(_samples(batches))) == 30


def test_a_sampler_may_give_the_indices_of_a_batch():
    """torch's way to let a dataset fetch many samples at once."""
    packed = BatchSampler(_only(range(20)), 5, drop_last=False)
    chosen = _samples(fixed_batches(_loader(sampler=packed, batch_size=None), num_samples=20))
    assert sorted(chosen) == list(range(20))


def test_a_sampler_that_cannot_be_copied_is_refused():
    class Iterator(Sampler):
        def __init__(self):
            self.order = (i for i in range(50))

        def __iter__(self):
            yield from self.order

    with pytest.raises(DataError, match="sampler of type Iterator: cannot be copied.*Pass data="):
        fixed_batches(_loader(batch_size=5, sampler=Iterator()))


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


def test_a_fingerprint_tells_batches_apart():
    batches = [
        [(X, Y)],
        [(X, Y), (X, Y)],
        [(X[:49], Y[:49])],
        [(X + 1e-5 * (Y == 7)[:, None], Y)],
        [(X.double(), Y)],
        [(X.bfloat16(), Y)],
        [(X.reshape(2, 50).T, Y)],
        [(X.reshape(25, 4), Y)],
        [(X, Y == 3)],
        [(X, torch.tensor(3 + 4j))],
        [(X, "text")],
        [(X, 5)],
        [],
    ]
    found = [fingerprint(one) for one in batches]
    assert len(set(found)) == len(batches)
    assert fingerprint([[X.T.contiguous().T, Y.clone()]]) == found[0]


def test_a_fingerprint_does_not_hang_on_where_an_object_lies():
    assert fingerprint([(X, object())]) == fingerprint([(X, object())])


def test_a_fingerprint_of_much_data_looks_all_over_it():
    much = torch.zeros(3, 2**20)
    marks = []
    for row in range(3):
        other = much.clone()
        other[row, :4] = 1
        marks.append(fingerprint([other]))
    assert len({fingerprint([much]), *marks}) == 4
