"""A snapshot that waits to be measured, with its weights on disk where memory is short."""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch
from torch import nn

from devtrack.records import Record, TrainingProgress


class HeldSnapshot:
    """A private copy of the module at one step.

    Args:
        copy: From ``private_copy``.
        progress: Where training stood.
        extra: Records to append with the snapshot's rows.

    Attributes:
        progress, extra: As given.
        logger_step: Where loggers put its numbers: on the axis of the training's own.
    """

    def __init__(self, copy: nn.Module, progress: TrainingProgress, extra: list[Record]) -> None:
        self.progress = progress
        self.extra = extra
        self.logger_step = progress.step
        self._copy = copy
        self._file: Path | None = None

    def num_bytes(self) -> int:
        """Return the memory that the copy's tensors take now."""
        return sum(tensor.numel() * tensor.element_size() for tensor in self._tensors())

    def spill(self, folder: Path) -> None:
        """Move the copy's tensors into a file.

        Args:
            folder: Where; it must exist.

        Raises:
            OSError: If the file cannot be written.
        """
        with tempfile.NamedTemporaryFile(dir=folder, suffix=".held", delete=False) as file:
            torch.save([tensor.detach() for tensor in self._tensors()], file)
        self._file = Path(file.name)
        for tensor in self._tensors():
            tensor.data = tensor.data.new_empty(0)

    def model(self) -> nn.Module:
        """Return the copy, with its tensors back in memory."""
        if self._file is not None:
            stored = torch.load(self._file, weights_only=True)
            for tensor, data in zip(self._tensors(), stored, strict=True):
                tensor.data = data
            self.discard()
        return self._copy

    def discard(self) -> None:
        """Remove the file, if there is one."""
        if self._file is not None:
            self._file.unlink(missing_ok=True)
            self._file = None

    def _tensors(self) -> list[torch.Tensor]:
        return [*self._copy.parameters(), *self._copy.buffers()]
