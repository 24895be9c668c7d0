"""What a metric saw at an earlier snapshot of the same run.

It is kept with the run, in ``Subject.chosen``, and not in the metric, since one object may serve
two runs. It lives in memory: a training that is resumed starts anew.
"""

from __future__ import annotations

from typing import Any

from devtrack.metrics.metric import Metric, Subject


def recall(metric: Metric, subject: Subject) -> Any:
    """Return what ``metric`` remembered on this run, or None."""
    return subject.chosen.get(id(metric), (metric, None))[1]


def remember(metric: Metric, subject: Subject, value: Any) -> None:
    """Keep ``value`` for the run in place of what was there."""
    subject.chosen[id(metric)] = (metric, value)  # holds on to metric, so that its id stays its own


def doubts_about_first(step: int) -> list[str]:
    """Return why ``step`` may not be the first snapshot of the run; empty if it surely is."""
    if step == 0:
        return []
    return [f"the first snapshot seen was step {step}, not 0: the run was resumed, or began there"]
