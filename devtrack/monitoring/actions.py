"""Actions that a monitor may take on an alarm or a violation.

``Log`` and ``Call`` leave the training as it is. ``Densify`` asks for more observations, which
leave no trace either. ``SaveCheckpoint`` writes a file. Only ``StopTraining`` changes the training.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

from devtrack._checks import require_int
from devtrack.errors import ConfigError
from devtrack.records import Event

_LOGGER = logging.getLogger("devtrack.monitoring")


class Controls(NamedTuple):
    """What an action may ask of a training.

    Args:
        observe_at: Adds steps to the schedule; those already passed are ignored.
        scheduled_steps: Returns, of the schedule as the user gave it, the step passed last and as
            many of the following as it is asked for.
        save_checkpoint: Writes the full training state to a file.
        stop: Ends the training after the current step, as if it had come to its end.
        folder: Where files of this run belong.
    """

    observe_at: Callable[[Iterable[int]], None]
    scheduled_steps: Callable[[int], Sequence[int]]
    save_checkpoint: Callable[[Path], None]
    stop: Callable[[], None]
    folder: Path


class Trigger(NamedTuple):
    """Why an action is carried out.

    Args:
        event: The alarm or violation.
        step: Step of the snapshot that showed it.
    """

    event: Event
    step: int


@runtime_checkable
class Action(Protocol):
    """Something to do at an alarm or a violation."""

    def __call__(self, trigger: Trigger, controls: Controls) -> None:
        """Do it; whatever is raised becomes an event and a warning, training goes on."""
        ...


@dataclass(frozen=True)
class Log:
    """Write a line to the logger ``devtrack.monitoring``; the event is in the store in any case."""

    def __call__(self, trigger: Trigger, controls: Controls) -> None:
        """Log at level warning."""
        _LOGGER.warning("step %d: %s", trigger.step, trigger.event.message)


@dataclass(frozen=True)
class Call:
    """Call a function with the event and the step.

    Args:
        function: Gets ``(event, step)`` inside the training loop, between two steps. Training
            waits for it; the random streams are put back afterwards.
    """

    function: Callable[[Event, int], Any]

    def __post_init__(self) -> None:
        if not callable(self.function):
            raise ConfigError(
                f"Call({self.function!r}): must be a function of (event, step). "
                "Pass the function itself, e.g. Call(notify)."
            )

    def __call__(self, trigger: Trigger, controls: Controls) -> None:
        """Call it."""
        self.function(trigger.event, trigger.step)


@dataclass(frozen=True)
class Densify:
    """Observe more often from now on for a while, so that the change is resolved in time.

    The intervals of the schedule itself are divided. Another alarm during the dense spell prolongs
    it and divides nothing again.

    Args:
        factor: How many observations take the place of one.
        snapshots: For how many intervals of the schedule, the present one included.
    """

    factor: int = 4
    snapshots: int = 10

    def __post_init__(self) -> None:
        require_int("factor", self.factor, at_least=2)
        require_int("snapshots", self.snapshots, at_least=1)

    def steps(self, own: Sequence[int], *, after: int) -> list[int]:
        """Return the steps to observe after an occasion, ascending.

        Args:
            own: Ends of the schedule's intervals, ascending.
            after: Step of the occasion.

        Example:
            >>> Densify(factor=4).steps([100, 120, 160], after=110)
            [115, 120, 130, 140, 150, 160]
        """
        parts = range(1, self.factor + 1)
        steps = {a + round((b - a) * k / self.factor) for a, b in pairwise(own) for k in parts}
        return sorted(step for step in steps if step > after)

    def __call__(self, trigger: Trigger, controls: Controls) -> None:
        """Add the steps to the schedule."""
        own = controls.scheduled_steps(self.snapshots)
        controls.observe_at(self.steps(own, after=trigger.step))


@dataclass(frozen=True)
class SaveCheckpoint:
    """Save the full training state, to go back to this place or to fork from it.

    Args:
        folder: Where to; ``checkpoints`` in the run's folder of the store if None.
    """

    folder: str | None = None

    def __post_init__(self) -> None:
        if self.folder is not None and not isinstance(self.folder, str | Path):
            raise ConfigError(
                f"folder={self.folder!r}: must be a path, or None. Use folder='checkpoints'."
            )

    def __call__(self, trigger: Trigger, controls: Controls) -> None:
        """Write ``<kind>-step=<step>.ckpt``."""
        folder = controls.folder / "checkpoints" if self.folder is None else Path(self.folder)
        folder.mkdir(parents=True, exist_ok=True)
        controls.save_checkpoint(folder / f"{trigger.event.kind}-step={trigger.step}.ckpt")


@dataclass(frozen=True)
class StopTraining:
    """End the training after this step."""

    def __call__(self, trigger: Trigger, controls: Controls) -> None:
        """Ask the trainer to stop."""
        controls.stop()
