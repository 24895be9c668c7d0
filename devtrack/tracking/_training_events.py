"""Events of the training configuration, so that no detector takes their effects for development."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from typing import Any

from devtrack.records import Event

NAMES_MAX = 20  # parameters that an event names


def optimizer_start(momenta: Sequence[float]) -> list[Event]:
    """Return the event that an optimizer with momentum starts from rest; none without momentum.

    Adam's bias correction takes its first step at full speed: its ``betas`` are no such momentum.

    Args:
        momenta: Of every parameter group, 0 where there is none.
    """
    momentum = max(momenta, default=0.0)
    if not 0 < momentum < 1:
        return []
    return [
        Event("optimizer_start", f"optimizer with momentum {momentum:g}", {"momentum": momentum})
    ]


def evalset_change(before: str | None, now: str) -> list[Event]:
    """Return the event that a resumed run is measured on other data; none if on the same.

    Args:
        before: Fingerprint of the data up to the checkpoint; None if there is none to compare with.
        now: Fingerprint of the data from there on.
    """
    if before in (None, now):
        return []
    message = "measured on other data from here on: not on those that it was up to the checkpoint"
    return [Event("evalset_change", message, {"from": before, "to": now})]


def parameters_changed(before: Collection[str] | None, now: Collection[str]) -> list[Event]:
    """Return the event that other parameters are trained than before; none if the same.

    λ̂ is of the weights that require grad: of others it is another quantity, and jumps.

    Args:
        before: Names of those that required grad; None if there is nothing to compare with.
        now: Names of those that do.
    """
    if before is None or set(before) == set(now):
        return []
    thawed = [name for name in now if name not in set(before)]
    frozen = [name for name in before if name not in set(now)]
    parts = [f"{len(thawed)} thawed"] * bool(thawed) + [f"{len(frozen)} frozen"] * bool(frozen)
    message = f"other parameters require grad from here on, {' and '.join(parts)}: λ̂ is of them"
    attrs = {
        "num_thawed": len(thawed),
        "num_frozen": len(frozen),
        "thawed": thawed[:NAMES_MAX],
        "frozen": frozen[:NAMES_MAX],
    }
    return [Event("parameters_changed", message, attrs)]


def reconfigured(metric: str, before: Any, now: Any) -> list[Event]:
    """Return the event that a resumed run's metric has other settings; none if the same.

    Args:
        metric: Its name.
        before: What it said of itself up to the checkpoint (``provenance.describe``); None if
            there is nothing to compare with.
        now: What it says.
    """
    before, now = (s if isinstance(s, dict) else {"class": s} for s in (before, now))
    # a setting that one devtrack has and another has not cannot be compared
    changed = [name for name in now if before.get("class") and name in before]
    changed = [name for name in changed if name not in ("every", "timeout_s")]  # not what, but when
    changed = [name for name in changed if before[name] != now[name]]
    if not changed:
        return []
    what = ", ".join(f"{name} {before[name]} -> {now[name]}" for name in changed)
    message = f"metric {metric!r} has other settings from here on: {what}"
    attrs = {
        "metric": metric,
        "from": {name: before[name] for name in changed},
        "to": {name: now[name] for name in changed},
    }
    return [Event("reconfigured", message, attrs)]


class LearningRateWatch:
    """Turns a stream of learning rates into events: jumps and the end of a warm-up.

    A jump is a change by a factor of at least ``jump`` that is also sudden: three times the change
    before it. Rates below 1 % of the peak do not count. A linear or cosine decay to zero changes by
    large factors at its end and is no jump.

    Args:
        jump: Ratio of two consecutive rates.
    """

    def __init__(self, *, jump: float = 1.5) -> None:
        self._jump = jump
        self._last: tuple[float, ...] = ()
        self._last_change: tuple[float, ...] = ()
        self._peak = 0.0
        self._warming_up = True
        self._rises = 0

    def update(self, rates: Sequence[float]) -> list[Event]:
        """Return the events between the previous optimizer step and this one.

        Args:
            rates: Learning rate of every parameter group, after the step; NaN where there is none.
        """
        now = tuple(0.0 if math.isnan(rate) else rate for rate in rates)  # none, so none to change
        before = self._last
        if now == before and not self._warming_up:  # asked after every step: most change nothing
            self._last_change = (0.0,) * len(now)
            return []
        self._last = now
        self._peak = max(self._peak, *now, 0.0)
        if len(before) != len(now):
            self._last_change = (0.0,) * len(now)
            return []
        change = tuple(n - b for b, n in zip(before, now, strict=True))
        last_change, self._last_change = self._last_change, change
        if self._warming_up and min(change, default=0.0) >= 0 and max(change, default=0.0) > 0:
            self._rises += 1
            return []
        return self._end_of_warmup(now) + self._jumps(before, now, last_change)

    def _end_of_warmup(self, now: tuple[float, ...]) -> list[Event]:
        ended = self._warming_up and self._rises > 1
        self._warming_up = False
        if not ended:
            return []
        return [Event("warmup_end", f"learning rate peaked at {self._peak:.3g}")]

    def _jumps(
        self, before: Sequence[float], now: Sequence[float], last_change: Sequence[float]
    ) -> list[Event]:
        events = []
        for group, (old, new, last) in enumerate(zip(before, now, last_change, strict=True)):
            low, high = sorted((abs(old), abs(new)))
            sudden = abs(new - old) > 3 * abs(last) and high >= 0.01 * self._peak
            if sudden and high >= self._jump * low:
                attrs = {"group": group, "from": old, "to": new}
                events.append(Event("lr_change", f"learning rate {old:.3g} -> {new:.3g}", attrs))
        return events
