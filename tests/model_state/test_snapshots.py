import os

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from devtrack.errors import SnapshotError
from devtrack.model_state import snapshots


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(5, 3)
        self.head = nn.Linear(3, 5, bias=False)
        self.head.weight = self.embed.weight
        self.register_buffer("count", torch.tensor(7))


DTYPES = [torch.float32, torch.float64, torch.bfloat16, torch.int64, torch.bool]


@settings(max_examples=30, deadline=None)
@given(
    shapes=st.lists(st.lists(st.integers(0, 4), max_size=3), min_size=1, max_size=5),
    dtype=st.sampled_from(DTYPES),
)
def test_round_trip(tmp_path_factory, shapes, dtype):
    tensors = {f"t.{i}": torch.randn(shape).to(dtype) for i, shape in enumerate(shapes)}
    run_dir = tmp_path_factory.mktemp("run")
    record = snapshots.write(run_dir, tensors)
    back = snapshots.read(run_dir / record.path)
    assert back.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert back[name].dtype == dtype
        assert torch.equal(back[name], tensor)


def test_a_snapshot_is_frozen():
    module = nn.Linear(2, 2)
    tensors = snapshots.take(module)
    before = tensors["weight"].clone()
    with torch.no_grad():
        module.weight.add_(1)
    assert torch.equal(tensors["weight"], before)
    assert not tensors["weight"].requires_grad


def test_tied_weights_are_stored_once_and_come_back(tmp_path):
    module = Tied()
    tensors = snapshots.take(module)
    assert tensors["embed.weight"].data_ptr() == tensors["head.weight"].data_ptr()
    record = snapshots.write(tmp_path, tensors)
    untied = {name: tensor.clone() for name, tensor in tensors.items()}
    assert snapshots.content_hash(untied) == record.content_hash
    assert record.snapshot_bytes < snapshots.write(tmp_path / "other", untied).snapshot_bytes
    twin = Tied()
    snapshots.load_into(twin, snapshots.read(tmp_path / record.path))
    assert torch.equal(twin.head.weight, module.embed.weight)
    assert twin.head.weight is twin.embed.weight


def test_transposed_weights_keep_their_values(tmp_path):
    tensors = {"w": torch.arange(6.0).reshape(2, 3).T}
    record = snapshots.write(tmp_path, tensors)
    assert torch.equal(snapshots.read(tmp_path / record.path)["w"], tensors["w"])


def test_equal_weights_share_a_file(tmp_path):
    tensors = snapshots.take(nn.Linear(3, 3))
    first = snapshots.write(tmp_path, tensors)
    second = snapshots.write(tmp_path, dict(reversed(tensors.items())))
    assert first == second
    assert len(list((tmp_path / "snapshots").iterdir())) == 1


@pytest.mark.parametrize("change", ["name", "dtype", "shape", "value"])
def test_the_hash_sees_every_difference(change):
    tensors = {"a": torch.zeros(2, 3)}
    other = {
        "name": {"b": torch.zeros(2, 3)},
        "dtype": {"a": torch.zeros(2, 3, dtype=torch.int32)},
        "shape": {"a": torch.zeros(3, 2)},
        "value": {"a": torch.full((2, 3), -0.0)},
    }[change]
    assert snapshots.content_hash(tensors) != snapshots.content_hash(other)


def test_a_failed_write_leaves_nothing(tmp_path, monkeypatch):
    def full(fd):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(SnapshotError, match="cannot be written.*No space left.*snapshots=False"):
        snapshots.write(tmp_path, {"a": torch.zeros(3)})
    assert list((tmp_path / "snapshots").iterdir()) == []


def test_damage_is_found(tmp_path):
    record = snapshots.write(tmp_path, {"a": torch.zeros(300)})
    path = tmp_path / record.path
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(SnapshotError, match="not what its name says"):
        snapshots.read(path)
    path.write_bytes(data[:20])
    with pytest.raises(SnapshotError, match="damaged"):
        snapshots.read(path)
    with pytest.raises(SnapshotError, match="no such file"):
        snapshots.read(tmp_path / "nothing.safetensors")


def test_weights_of_another_model_are_refused():
    with pytest.raises(SnapshotError, match=r"needs \['bias'\] more"):
        snapshots.load_into(nn.Linear(2, 2), {"weight": torch.zeros(2, 2)})
    with pytest.raises(SnapshotError, match=r"shape \(3, 2\).*shape \(2, 2\)"):
        snapshots.load_into(nn.Linear(2, 2), {"weight": torch.zeros(3, 2), "bias": torch.zeros(2)})
