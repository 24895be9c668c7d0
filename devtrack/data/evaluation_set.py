"""The evaluation set: the first batches that reach the training step, kept as training met them.

Nothing else reads the training's data. Iterating a loader a second time advances generators of data
sets and collators, and opens files in the wrong process. What reached the training step has
been collated, moved and changed by the user's hooks already, whatever its type.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any, NamedTuple

import torch

from devtrack.data._fixed_batches import fingerprint, num_rows
from devtrack.errors import DataError
from devtrack.model_state._object_graph import map_tensors, tensor_versions, tensors_in, walk
from devtrack.records import Event
from devtrack.store._atomic_files import make_dirs, write_atomically

FILE = "evaluation_set.pt"


class BatchInfo(NamedTuple):
    """What training knows of a batch beside its content.

    Attributes:
        num_samples: Samples in it.
        batch_idx, dataloader_idx: What the training step was called with.
    """

    num_samples: int
    batch_idx: int = 0
    dataloader_idx: int = 0


class EvaluationSet:
    """Fixed batches that grow to ``num_samples`` and then stay the same for the run.

    Args:
        num_samples: Samples to keep, in whole batches and at least one.
        max_bytes: Memory that the batches may take; the set is complete when the next batch would
            not fit, and ``events`` says so.
        keep_on_cpu: Keep the batches in the CPU's memory.

    Attributes:
        batches: The batches so far; nobody else holds their tensors.
        infos: What is known of each batch, by the id of its object.
        is_complete: Whether they will stay the same.
    """

    def __init__(self, *, num_samples: int, max_bytes: float, keep_on_cpu: bool = False) -> None:
        self.batches: list[Any] = []
        self.infos: dict[int, BatchInfo] = {}
        self.is_complete = False
        self._wanted = num_samples
        self._max_bytes = max_bytes
        self._on_cpu = keep_on_cpu
        self._events: list[Event] = []
        self._file: Path | None = None
        self._spare: list[Any] = []
        self._lent: list[Any] | None = None
        self._versions: tuple[int, ...] = ()

    @property
    def num_samples(self) -> int:
        """Samples in the set."""
        return sum(self.infos[id(batch)].num_samples for batch in self.batches)

    @property
    def is_saved(self) -> bool:
        """Whether the set can be brought back: from its file, or from a second copy."""
        return self._file is not None or bool(self._spare)

    def add(self, batch: Any, info: BatchInfo) -> bool:
        """Keep a copy of a batch that reaches the training step; say whether it was kept.

        A batch that is shorter than the first one is left out: the last one of an epoch.
        """
        first = next(iter(self.infos.values()), info)
        if self.is_complete or info.num_samples < first.num_samples:
            return False
        size, held = num_bytes(batch), sum(map(num_bytes, self.batches))
        if self.batches and held + size > self._max_bytes:
            self._cut(f"the next batch of {size / 1e9:.3g} GB would pass max_data_gb")
            return False
        self.batches.append(own_copy(batch, on_cpu=self._on_cpu))
        self.infos[id(self.batches[-1])] = info
        if size > self._max_bytes:
            self._cut(f"one batch of {size / 1e9:.3g} GB is more than max_data_gb")
        elif self.num_samples + info.num_samples > self._wanted:
            self.complete()
        return True

    def drop_last(self) -> None:
        """Take back the batch that was kept last: training skipped it."""
        self.infos.pop(id(self.batches.pop()))
        self.is_complete = False

    def complete(self, reason: str = "") -> None:
        """End the set with what is there.

        Args:
            reason: Why it ends before it has ``num_samples``; becomes an event.
        """
        if not self.is_complete:
            self.is_complete = True
            if reason and self.num_samples < self._wanted:
                self._cut(reason)

    def lend(self, device: torch.device) -> list[Any]:
        """Return the batches to measure on: copies on ``device`` of a set kept on the CPU."""
        if self._on_cpu and device.type != "cpu":
            self._lent = [map_tensors(lambda t: t.to(device), one) for one in self.batches]
            whose = zip(self._lent, self.batches, strict=True)
            self.infos.update((id(lent), self.infos[id(own)]) for lent, own in list(whose))
        else:
            self._lent = self.batches
        self._versions = tensor_versions(self._lent)
        return self._lent

    @property
    def is_lent(self) -> bool:
        """Whether the batches are measured on."""
        return self._lent is not None

    def take_events(self) -> list[Event]:
        """Return what is to be said of the set, once."""
        events, self._events = self._events, []
        return events

    def replace(self, batches: list[Any], infos: list[BatchInfo] | None = None) -> None:
        """Take these batches as the complete set, such as those of the user's own data."""
        self.batches = batches
        infos = [BatchInfo(samples_of(batch)) for batch in batches] if infos is None else infos
        self.infos.clear()  # the same mapping: others look batches up in it
        self.infos.update((id(b), info) for b, info in zip(batches, infos, strict=True))
        self.is_complete, self._lent = True, None

    def fingerprint(self) -> str:
        """Return 16 hex digits that tell this set from others."""
        return fingerprint(self.batches)

    def save(self, run_dir: Path) -> list[Event]:
        """Write the set to its run's folder, so that a resumed run is measured on it too.

        Returns:
            An event where that failed.
        """
        content = io.BytesIO()
        try:
            state = {
                "batches": self.batches,
                "infos": [tuple(info) for info in self.infos.values()],
            }
            torch.save(state, content)
            make_dirs(run_dir)
            write_atomically(run_dir / FILE, content.getvalue())
        except Exception as error:  # noqa: BLE001 - items of the user's own may refuse in any way
            self._spare = [own_copy(batch) for batch in self.batches]
            message = f"{error}: after a resume, the run will be measured on other data"
            return [Event("evaluation_set_failed", message)]
        self._file = run_dir / FILE
        return []

    def load(self, run_dir: Path, *, like: Any, device: torch.device) -> list[Event]:
        """Take the set that the run was measured on before a resume.

        Only tensors, numbers, text, plain containers and the types of the training's own batches
        are read back. A store may come from others, and unpickling anything else can run code.

        Args:
            run_dir: The run's folder.
            like: The first batch of this training.
            device: Where the batches are wanted.

        Returns:
            An event ``evalset_change`` where the set cannot be read, and a new one begins.
        """
        path = run_dir / FILE
        if not path.exists():
            return []  # no row was measured on any set yet
        where = torch.device("cpu") if self._on_cpu else device
        try:
            with torch.serialization.safe_globals(_kinds_in(like)):
                state = torch.load(path, map_location=where, weights_only=True)
            self.replace(state["batches"], [BatchInfo(*info) for info in state["infos"]])
        except Exception as error:  # noqa: BLE001 - missing, damaged, of another kind: each its own
            because = f"the evaluation set of the run cannot be read ({type(error).__name__})"
            return [Event("evalset_change", f"measured on other data from here on: {because}")]
        self._file = path
        return []

    def renew(self) -> bool:
        """Bring the batches back if something wrote to them; say whether it did."""
        if self._lent is None or tensor_versions(self._lent) == self._versions:
            return False
        whole = self.batches if self._lent is not self.batches else self._spare
        if not whole and self._file is not None:
            with torch.serialization.safe_globals(_kinds_in(self.batches)):
                whole = torch.load(self._file, weights_only=True)["batches"]
        for lent, own in zip(self._lent, whole, strict=False):
            for target, source in zip(tensors_in(lent), tensors_in(own), strict=True):
                with torch.no_grad():
                    target.copy_(source)
        self._versions = tensor_versions(self._lent)
        return True

    def _cut(self, reason: str) -> None:
        self.is_complete = True
        message = (
            f"the evaluation set has {self.num_samples} of {self._wanted} samples in "
            f"{len(self.batches)} batches: {reason}"
        )
        self._events.append(Event("evaluation_set_cut", message))


def _kinds_in(batch: Any) -> list[Any]:
    """Return the types that a batch is made of, beside the plain ones."""
    return [kind for kind in {type(x) for _, x in walk(batch)} if kind.__module__ != "builtins"]


def own_copy(batch: Any, *, on_cpu: bool = False) -> Any:
    """Return the batch with tensors that nobody else writes to."""

    def own(tensor: torch.Tensor) -> torch.Tensor:
        copied = tensor.detach().clone()
        return copied.cpu() if on_cpu else copied

    return map_tensors(own, batch)


def num_bytes(batch: Any) -> int:
    """Return the memory that the tensors of a batch take."""
    total = 0
    for tensor in tensors_in(batch):
        whole = tensor._values() if tensor.layout is torch.sparse_coo else tensor
        total += whole.numel() * whole.element_size()
    return total


def samples_of(batch: Any) -> int:
    """Return the number of samples in a batch by its first tensor; 1 if it does not tell."""
    try:
        return num_rows(batch)
    except DataError:
        return 1
