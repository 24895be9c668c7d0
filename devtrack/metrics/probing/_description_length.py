"""How many bits labels take to send to somebody who has the activations: an online code."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from devtrack.metrics.probing._logistic import Array, AveragedLogistic, Labels

_FINEST = 10  # the first block is at least 2⁻¹⁰ of the first chunk, as in Voita & Titov
_SHORTEST = 16  # rows


class OnlineCode:
    """The online code of labels given activations: every block by a map fitted on those before it.

    The first chunk is cut into blocks that double in length. The first block costs log₂ K bits a
    row. Each further chunk is a block. Half a count per class is added to the map's probabilities.
    So no row costs more than log₂(2t + K) bits after t rows (Krichevsky & Trofimov 1981).

    Args:
        num_classes: K.
        inverse_penalty: C of scikit-learn's logistic regression.

    Source:
        Voita & Titov 2020 (arXiv:2003.12298), §2.2; Rissanen 1984.
    """

    def __init__(self, num_classes: int, inverse_penalty: float) -> None:
        self._num_classes = num_classes
        self._inverse_penalty = inverse_penalty
        self._seen: AveragedLogistic | None = None
        self._num_seen = 0
        self._bits: list[Array] = []
        self._cells: list[npt.NDArray[np.integer]] = []
        self._num_blocks = 0

    def add(self, x: Array, y: Labels, sample: Labels) -> None:
        """Send the labels of a chunk.

        Args:
            x: (row, unit), in the order in which the labels are sent.
            y: (row,).
            sample: (row,), the sample that a row belongs to.
        """
        if self._seen is None:
            self._seen = AveragedLogistic(1, self._num_classes)
            starts = _block_starts(len(x), self._num_classes)
            self._keep(np.full(starts[0], np.log2(self._num_classes)), sample[: starts[0]])
            for start, end in zip(starts, [*starts[1:], len(x)], strict=True):
                if start < end:
                    known = AveragedLogistic(1, self._num_classes)
                    known.add(x[:start].copy(), [y[:start]], self._inverse_penalty)
                    bits = self._bits_of(known, x[start:end], y[start:end], start)
                    self._keep(bits, sample[start:end])
        else:
            self._keep(self._bits_of(self._seen, x, y, self._num_seen), sample)
        self._seen.add(x.copy(), [y], self._inverse_penalty)
        self._num_seen += len(x)

    def bits_per_row(self) -> tuple[float, float]:
        """Return the length of the code over the number of rows, and its standard error.

        The error is of the sum over independent samples, blocks and maps as they are.
        """
        bits, cells = np.concatenate(self._bits), np.concatenate(self._cells)  # cells: (row, 2)
        cell, index = np.unique(cells, axis=0, return_inverse=True)
        sums, block = np.bincount(index, weights=bits), cell[:, 0]
        means = np.bincount(block, weights=sums) / np.bincount(block)
        freedom = len(cell) - self._num_blocks
        squares = float(np.square(sums - means[block]).sum())
        variance = squares * len(cell) / freedom if freedom else np.nan
        return float(bits.mean()), float(np.sqrt(variance)) / len(bits)

    def _bits_of(self, known: AveragedLogistic, x: Array, y: Labels, num_known: int) -> Array:
        logits = known.logits(x).astype(np.float64)
        logits -= logits.max(1, keepdims=True)
        share = np.exp(logits[np.arange(len(y)), y]) / np.exp(logits).sum(1)
        return -np.log2((num_known * share + 0.5) / (num_known + 0.5 * self._num_classes))

    def _keep(self, bits: Array, sample: Labels) -> None:
        self._bits.append(bits)
        self._cells.append(np.column_stack([np.full(len(sample), self._num_blocks), sample]))
        self._num_blocks += 1


def _block_starts(num_rows: int, num_classes: int) -> list[int]:
    """Return where the second and all further blocks of the first chunk start."""
    shortest = max(_SHORTEST, 2 * num_classes)
    halvings = max(0, min(_FINEST, int(np.log2(max(1, num_rows / shortest)))))
    return [num_rows >> halving for halving in range(halvings, 0, -1)] or [num_rows]
