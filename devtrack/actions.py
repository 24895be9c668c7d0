"""What a monitor may do when it has something to say. Each action is configuration; it acts
through ``Controls``, the few things that a training lets an observer ask for.

``Log`` and ``Call`` leave the training as it is. ``Densify`` asks for more observations, which
leave no trace either. ``SaveCheckpoint`` writes a file. Only ``StopTraining`` changes the training.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

from devtrack.errors import ConfigError
from devtrack.rows import Event

_LOGGER = logging.getLogger("devtrack.monitor")


class Controls(NamedTuple):
    """What an action may ask of a training.

    Args:
        observe_at: Adds steps to the schedule; those already passed are ignored.
        save_checkpoint: Writes the full training state to a file.
        stop: Ends the training after the current step, as if it had come to its end.
        folder: Where files of this run belong.
    """

    observe_at: Callable[[Iterable[int]], None]
    save_checkpoint: Callable[[Path], None]
    stop: Callable[[], None]
    folder: Path


class Occasion(NamedTuple):
    """Why an action is carried out.

    Args:
        event: The alarm or violation.
        step: Step of the snapshot that showed it.
        previous_step: Step of the snapshot before; equal to ``step`` at the first.
    """

    event: Event
    step: int
    previous_step: int


@runtime_checkable
class Action(Protocol):
    """Something to do at an alarm or a violation."""

    def carry_out(self, occasion: Occasion, controls: Controls) -> None:
        """Do it; whatever is raised becomes an event and a warning, training goes on."""
        ...


@dataclass(frozen=True)
class Log:
    """Write a line to the logger ``devtrack.monitor``; the event is in the store in any case."""

    def carry_out(self, occasion: Occasion, controls: Controls) -> None:
        """Log at level warning."""
        _LOGGER.warning("step %d: %s", occasion.step, occasion.event.message)


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

    def carry_out(self, occasion: Occasion, controls: Controls) -> None:
        """Call it."""
        self.function(occasion.event, occasion.step)


@dataclass(frozen=True)
class Densify:
    """Observe more often from now on for a while, so that the change is resolved in time.

    Args:
        factor: How many observations take the place of one.
        snapshots: For how many of the present intervals between observations.
    """

    factor: int = 4
    snapshots: int = 10

    def __post_init__(self) -> None:
        for name, least in (("factor", 2), ("snapshots", 1)):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise ConfigError(
                    f"{name}={value!r}: must be an integer of at least {least}. "
                    f"Pass {name}={least} or more."
                )

    def steps(self, *, step: int, previous_step: int) -> list[int]:
        """Return the steps to observe after an occasion at ``step``, ascending.

        Example:
            >>> Densify(factor=4, snapshots=2).steps(step=100, previous_step=80)
            [105, 110, 115, 120, 125, 130, 135, 140]
        """
        gap = max(step - previous_step, 1)
        count = self.factor * self.snapshots
        return sorted({step + max(1, round(k * gap / self.factor)) for k in range(1, count + 1)})

    def carry_out(self, occasion: Occasion, controls: Controls) -> None:
        """Add the steps to the schedule."""
        controls.observe_at(self.steps(step=occasion.step, previous_step=occasion.previous_step))


@dataclass(frozen=True)
class SaveCheckpoint:
    """Save the full training state, to go back to this place or to fork from it.

    Args:
        folder: Where to; ``checkpoints`` in the run's folder of the store if None.
    """

    folder: str | None = None

    def carry_out(self, occasion: Occasion, controls: Controls) -> None:
        """Write ``<kind>-step=<step>.ckpt``."""
        folder = controls.folder / "checkpoints" if self.folder is None else Path(self.folder)
        folder.mkdir(parents=True, exist_ok=True)
        controls.save_checkpoint(folder / f"{occasion.event.kind}-step={occasion.step}.ckpt")


@dataclass(frozen=True)
class StopTraining:
    """End the training after this step."""

    def carry_out(self, occasion: Occasion, controls: Controls) -> None:
        """Ask the trainer to stop."""
        controls.stop()
