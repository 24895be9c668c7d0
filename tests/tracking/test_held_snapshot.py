import torch
from torch import nn

from devtrack.records import TrainingProgress
from devtrack.tracking._held_snapshot import HeldSnapshot


def test_what_is_moved_to_disk_comes_back_as_it_was(tmp_path):
    model = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3), nn.Linear(3, 3))
    model[2].weight = model[0].weight
    model.note = ["kept"]
    before = {name: value.clone() for name, value in model.state_dict().items()}
    held = HeldSnapshot(model, TrainingProgress(3), [])
    full = held.num_bytes()
    held.spill(tmp_path)
    assert held.num_bytes() == 0 < full
    assert len(list(tmp_path.iterdir())) == 1
    back = held.model()
    assert all(torch.equal(value, before[name]) for name, value in back.state_dict().items())
    assert back[2].weight is back[0].weight
    assert back.note == ["kept"]
    assert list(tmp_path.iterdir()) == []


def test_a_snapshot_that_is_not_measured_leaves_no_file(tmp_path):
    held = HeldSnapshot(nn.Linear(2, 2), TrainingProgress(0), [])
    held.spill(tmp_path)
    held.discard()
    assert list(tmp_path.iterdir()) == []
