"""Which steps to observe. A schedule knows integers only.

A schedule is *crossed*, not equalled. With gradient accumulation or several optimizers the step
counter stands still or jumps. An observation is due once, as soon as the counter has passed a
scheduled step (``due``).
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, takewhile
from typing import Protocol, runtime_checkable

import numpy as np

from devtrack._checks import require_int
from devtrack.errors import ConfigError


@runtime_checkable
class Schedule(Protocol):
    """A set of steps, ascending, possibly without end."""

    def steps(self, total: int | None) -> Iterator[int]:
        """Yield the scheduled steps in ascending order, without repeats.

        Args:
            total: Number of steps the training is planned for; None when it is not known.
        """
        ...


@dataclass(frozen=True)
class LogSpaced:
    """Steps at equal ratios: dense early, when structure forms fast, sparse late.

    The rate is fixed by ``num`` points between ``first`` and ``last``. Past ``last`` the same rate
    goes on, so that a prolonged training is still observed.

    Args:
        num: Points between ``first`` and ``last``, both included; small steps that round to the
            same integer are taken once, so that fewer may result.
        first: First step after 0.
        last: Last step; the training's planned total if None, and 10 000 if that is unknown too.
    """

    num: int = 100
    first: int = 1
    last: int | None = None

    def __post_init__(self) -> None:
        require_int("num", self.num, at_least=2)
        require_int("first", self.first, at_least=1)
        if self.last is not None:
            require_int("last", self.last, at_least=self.first + 1)

    def steps(self, total: int | None) -> Iterator[int]:
        """Yield round(first · ratio^k) without repeats, without end."""
        last = self.last or total or 10_000
        log_ratio = np.log(max(last, self.first + 1) / self.first) / (self.num - 1)
        previous, k = 0, 0
        while True:
            step = round(self.first * float(np.exp(log_ratio * k)))
            if step > previous:
                yield step
                previous = step
            k += 1


@dataclass(frozen=True)
class Every:
    """Every ``n``-th step.

    Args:
        n: Steps between two observations.
    """

    n: int

    def __post_init__(self) -> None:
        require_int("n", self.n, at_least=1)

    def steps(self, total: int | None) -> Iterator[int]:
        """Yield n, 2n, 3n, … without end."""
        step = self.n
        while True:
            yield step
            step += self.n


@dataclass(frozen=True)
class At:
    """The given steps.

    Args:
        at: Steps in any order.
    """

    at: tuple[int, ...]

    def __post_init__(self) -> None:
        if isinstance(self.at, str | bytes) or not isinstance(self.at, Iterable):
            raise ConfigError(f"at={self.at!r}: must be a list of steps. Use at=[10, 100].")
        for step in self.at:
            require_int("at", step, at_least=0)

    def steps(self, total: int | None) -> Iterator[int]:
        """Yield the given steps in ascending order."""
        yield from sorted(set(self.at))


@dataclass(frozen=True)
class Union:
    """Every step that any of the schedules names.

    Args:
        schedules: The schedules to merge.
    """

    schedules: tuple[Schedule, ...]

    def __post_init__(self) -> None:
        is_sequence = isinstance(self.schedules, Sequence) and len(self.schedules) > 0
        if not is_sequence or not all(isinstance(one, Schedule) for one in self.schedules):
            raise ConfigError(
                f"schedules={self.schedules!r}: must be a list of schedules. "
                "Use union(every(100), at([10, 20]))."
            )

    def steps(self, total: int | None) -> Iterator[int]:
        """Yield the merged steps in ascending order."""
        previous = -1
        for step in heapq.merge(*(schedule.steps(total) for schedule in self.schedules)):
            if step > previous:
                yield step
                previous = step


def log_spaced(num: int = 100, *, first: int = 1, last: int | None = None) -> LogSpaced:
    """Return ``num`` steps at equal ratios from ``first`` to ``last`` (see ``LogSpaced``).

    Example:
        >>> preview(log_spaced(5), total=1000)
        [1, 6, 32, 178, 1000]
    """
    return LogSpaced(num, first, last)


def every(n: int) -> Every:
    """Return every ``n``-th step.

    Example:
        >>> preview(every(250), total=1000)
        [250, 500, 750, 1000]
    """
    return Every(n)


def at(steps: Iterable[int]) -> At:
    """Return exactly these steps.

    Example:
        >>> preview(at([10, 3]), total=1000)
        [3, 10]
    """
    return At(tuple(steps))


def union(*schedules: Schedule) -> Union:
    """Return every step that any of ``schedules`` names.

    Example:
        >>> preview(union(every(400), at([5])), total=1000)
        [5, 400, 800]
    """
    return Union(schedules)


def preview(schedule: Schedule, *, total: int) -> list[int]:
    """Return the steps of ``schedule`` up to and including ``total``."""
    return list(takewhile(lambda step: step <= total, schedule.steps(total)))


class Cursor:
    """Walks along a schedule with the training.

    Args:
        schedule: The steps to cross.
        total: Planned number of steps, or None.
        start: Steps up to and including this one count as observed already (a resumed run).
    """

    def __init__(self, schedule: Schedule, *, total: int | None = None, start: int = -1) -> None:
        self._pending = schedule.steps(total)
        self._ahead: deque[int] = deque()  # steps of the schedule that were looked up early
        self._last, self._gap = 0, 1  # the schedule's step passed last, and how far it lay off
        self._added: list[int] = []
        self._passed = start
        self._pass(start)

    def due(self, step: int) -> bool:
        """Say whether a scheduled step was crossed since the last call, and move on.

        Example:
            >>> cursor = Cursor(every(10))
            >>> [step for step in (9, 10, 10, 25, 29, 31) if cursor.due(step)]
            [10, 25, 31]
        """
        ahead = self._look_ahead(1)
        crossed = bool(ahead and ahead[0] <= step) or bool(self._added and self._added[0] <= step)
        self._pass(step)
        return crossed

    def add(self, steps: Iterable[int]) -> None:
        """Observe these steps too; one that was passed already, or is scheduled, adds nothing.

        Example:
            >>> cursor = Cursor(every(10))
            >>> cursor.add([12, 14])
            >>> [step for step in range(9, 21) if cursor.due(step)]
            [10, 12, 14, 20]
        """
        for step in steps:
            if step > self._passed:
                heapq.heappush(self._added, step)

    def scheduled_steps(self, count: int) -> list[int]:
        """Return the schedule's step passed last and the ``count`` that follow, none of the added.

        A schedule that has come to its end goes on with its last gap.

        Example:
            >>> cursor = Cursor(at([10, 30]), start=12)
            >>> cursor.scheduled_steps(3)
            [10, 30, 50, 70]
        """
        steps = [self._last, *islice(self._look_ahead(count), count)]
        gap = steps[-1] - steps[-2] if len(steps) > 1 else self._gap
        return steps + [steps[-1] + gap * k for k in range(1, count - len(steps) + 2)]

    def _pass(self, step: int) -> None:
        self._passed = max(self._passed, step)
        while self._added and self._added[0] <= step:
            heapq.heappop(self._added)
        while self._look_ahead(1) and self._ahead[0] <= step:
            scheduled = self._ahead.popleft()
            self._last, self._gap = scheduled, max(scheduled - self._last, 1)

    def _look_ahead(self, count: int) -> deque[int]:
        while len(self._ahead) < count and (step := next(self._pending, None)) is not None:
            self._ahead.append(step)
        return self._ahead
