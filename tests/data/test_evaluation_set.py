from collections import UserDict, namedtuple
from dataclasses import dataclass

import pytest
import torch
from torch.nn.utils.rnn import pack_sequence

from devtrack.data.evaluation_set import FILE, BatchInfo, EvaluationSet
from devtrack.model_state._object_graph import map_tensors, tensors_in

CPU = torch.device("cpu")


def batch(start, count=4):
    return {"x": torch.arange(start, start + count, dtype=torch.float32), "name": "train"}


def filled(wanted=8, **options):
    one = EvaluationSet(num_samples=wanted, max_bytes=1e6, **options)
    for start in range(0, 40, 4):
        one.add(batch(start), BatchInfo(4, batch_idx=start // 4))
    return one


def test_it_grows_to_its_samples_and_stays():
    one = filled(11)
    assert one.is_complete
    assert (one.num_samples, len(one.batches)) == (8, 2)  # whole batches, no more than asked for
    assert [one.infos[id(b)].batch_idx for b in one.batches] == [0, 1]
    assert one.take_events() == []


def test_what_training_does_to_a_batch_afterwards_does_not_reach_it():
    given, one = batch(0), EvaluationSet(num_samples=4, max_bytes=1e6)
    one.add(given, BatchInfo(4))
    given["x"].zero_()
    assert one.batches[0]["x"].tolist() == [0, 1, 2, 3]


def test_a_short_batch_is_left_out_unless_it_is_the_first():
    one = EvaluationSet(num_samples=100, max_bytes=1e6)
    assert one.add(batch(0, 2), BatchInfo(2))
    assert one.add(batch(2), BatchInfo(4))
    assert not one.add(batch(6, 1), BatchInfo(1))
    assert len(one.batches) == 2


@pytest.mark.parametrize(("size", "kept"), [(40.0, 2), (7.0, 1)])
def test_memory_ends_it_and_an_event_says_so(size, kept):
    one = EvaluationSet(num_samples=100, max_bytes=size)
    for start in range(0, 20, 4):
        one.add(batch(start), BatchInfo(4))
    assert len(one.batches) == kept
    (event,) = one.take_events()
    assert event.kind == "evaluation_set_cut"
    assert f"{4 * kept} of 100 samples" in event.message and "max_data_gb" in event.message


def test_a_set_that_ends_early_says_why():
    one = EvaluationSet(num_samples=100, max_bytes=1e6)
    one.add(batch(0), BatchInfo(4))
    one.complete("training ended")
    assert one.take_events()[0].message == (
        "the evaluation set has 4 of 100 samples in 1 batches: training ended"
    )


def test_a_batch_that_training_skips_is_taken_back():
    one = EvaluationSet(num_samples=4, max_bytes=1e6)
    one.add(batch(0), BatchInfo(4))
    one.drop_last()
    assert (one.batches, one.is_complete) == ([], False)
    one.add(batch(4), BatchInfo(4))
    assert one.is_complete


@dataclass
class Sample:
    x: torch.Tensor
    kind: str = "own"


Pair = namedtuple("Pair", ["left", "right"])


class Encoding(UserDict):
    """As Hugging Face's collators return."""


SHAPES = {
    "list": lambda: [torch.ones(2, 3), torch.zeros(2)],
    "dict": lambda: {"a": torch.ones(2), "b": {"c": torch.zeros(2)}, "text": ["x", "y"]},
    "user dict": lambda: Encoding({"ids": torch.ones(2), "labels": torch.zeros(2)}),
    "dataclass": lambda: Sample(torch.ones(2)),
    "named tuple": lambda: Pair(torch.ones(2), torch.zeros(2)),
    "ragged": lambda: [[torch.ones(1), torch.ones(3)], torch.zeros(2)],
    "sparse": lambda: (torch.eye(3).to_sparse(), torch.zeros(3)),
    "packed": lambda: (pack_sequence([torch.ones(3), torch.ones(2)]), torch.zeros(2)),
    "one tensor": lambda: torch.ones(2),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_batches_of_any_type_are_kept_and_read_back_whole(shape, tmp_path):
    given = SHAPES[shape]()
    one = EvaluationSet(num_samples=1, max_bytes=1e6)
    one.add(given, BatchInfo(2, batch_idx=3))
    assert one.save(tmp_path) == []
    again = EvaluationSet(num_samples=1, max_bytes=1e6)
    assert again.load(tmp_path, like=given, device=CPU) == []
    assert again.is_complete and again.is_saved
    (found,) = again.batches
    assert type(found) is type(given)
    assert again.infos[id(found)] == BatchInfo(2, 3)
    for left, right in zip(tensors_in(found), tensors_in(given), strict=True):
        assert left is not right
        assert torch.equal(left.to_dense(), right.to_dense())
    assert again.fingerprint() == one.fingerprint()


def test_types_that_training_does_not_use_are_not_read(tmp_path):
    one = EvaluationSet(num_samples=1, max_bytes=1e6)
    one.add(Sample(torch.ones(2)), BatchInfo(2))
    one.save(tmp_path)
    again = EvaluationSet(num_samples=1, max_bytes=1e6)
    (event,) = again.load(tmp_path, like=[torch.ones(2)], device=CPU)
    assert event.kind == "evalset_change" and "cannot be read" in event.message
    assert not again.is_complete


def test_a_damaged_file_begins_a_new_set(tmp_path):
    one = filled()
    one.save(tmp_path)
    (tmp_path / FILE).write_bytes(b"damaged")
    again = EvaluationSet(num_samples=1, max_bytes=1e6)
    assert [event.kind for event in again.load(tmp_path, like=batch(0), device=CPU)] == [
        "evalset_change"
    ]


@pytest.mark.parametrize("is_saved", [True, False])
def test_batches_that_were_written_to_are_brought_back(tmp_path, is_saved):
    one = filled()
    for kept in one.batches:
        kept["name"] = "train" if is_saved else (lambda: "not to be pickled")
    assert len(one.save(tmp_path)) == (0 if is_saved else 1)
    lent = one.lend(CPU)
    assert not one.renew()
    lent[1]["x"].mul_(2)
    assert one.renew()
    assert lent[1]["x"].tolist() == [4, 5, 6, 7]
    assert not one.renew()


def test_map_tensors_keeps_what_is_no_tensor():
    given = Sample(torch.ones(2), kind="a")
    found = map_tensors(lambda tensor: tensor * 2, given)
    assert (found.kind, found.x.tolist(), given.x.tolist()) == ("a", [2, 2], [1, 1])
