"""The recipe's own changes, so that no detector takes them for development."""

from __future__ import annotations

from collections.abc import Sequence

from devtrack.rows import Event


class LearningRateWatch:
    """Turns a stream of learning rates into events: jumps and the end of a warm-up.

    Args:
        jump: Ratio between two consecutive steps from which on a change is a jump; smooth schedules
            (cosine, linear, exponential) stay far below it once training is under way.
    """

    def __init__(self, *, jump: float = 1.5) -> None:
        self._jump = jump
        self._last: tuple[float, ...] | None = None
        self._rising_since_start = True
        self._rises = 0

    def update(self, rates: Sequence[float]) -> list[Event]:
        """Return the events between the previous optimizer step and this one.

        Args:
            rates: Learning rate of every parameter group, after the step.
        """
        now, before = tuple(rates), self._last
        self._last = now
        if before is None or len(before) != len(now) or now == before:
            return self._end_of_warmup(now) if before == now else []
        if self._rising_since_start and all(b <= n for b, n in zip(before, now, strict=True)):
            self._rises += 1
            return []
        events = self._end_of_warmup(now)
        for group, (old, new) in enumerate(zip(before, now, strict=True)):
            if _ratio(old, new) >= self._jump:
                attrs = {"group": group, "from": old, "to": new}
                events.append(Event("lr_change", f"learning rate {old:.3g} -> {new:.3g}", attrs))
        return events

    def _end_of_warmup(self, now: tuple[float, ...]) -> list[Event]:
        ended = self._rising_since_start and self._rises > 1
        self._rising_since_start = False
        if not ended:
            return []
        return [Event("warmup_end", f"learning rate peaked at {max(now):.3g}", {"peak": max(now)})]


def _ratio(a: float, b: float) -> float:
    low, high = sorted((abs(a), abs(b)))
    return high / low if low > 0 else float("inf")
