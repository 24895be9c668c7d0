"""Score detected transitions against labels.

Rules:

* Distances are fractions of the axis of a run.
* Labels of the kinds ``step`` and ``critical`` are required. A detection of one of the kinds
  ``optional`` and ``slope`` is ignored. One of a kind ``nuisance_*`` is a false alarm.
* A detection may match a label if its midpoint is within ``MARGIN`` of the label's, or inside the
  labelled interval. Matching is one to one, of the largest number, then of the least distance. A
  second detection of the same transition is a false alarm.
* A quiet run has neither required nor optional labels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.optimize import linear_sum_assignment

from experiments.bench.labelled_runs import REQUIRED, Array, Benchmark, Label

MARGIN = 0.05  # of the axis
LATE = 0.15  # of the axis: an alarm so long after the end of a change is still of it
SNR_TIERS = {"snr<4": (0.0, 4.0), "snr 4-10": (4.0, 10.0), "snr>10": (10.0, np.inf)}
UNREACHABLE = 1e3  # cost of a pair that may not match; the axis is 1 long


class Matches(NamedTuple):
    """What became of the detections in one run.

    Attributes:
        place: Fraction of the axis, (detection,).
        verdict: ``matched``, ``ignored``, ``nuisance``, ``duplicate`` or ``false``, (detection,).
        label: The matched required label, or None.
    """

    place: Array
    verdict: list[str]
    label: list[Label | None]


class Score(NamedTuple):
    """The figures of one detector.

    Attributes:
        f1: Harmonic mean of precision and recall.
        recall_by_kind: Share of the required labels that are matched, by kind.
        recall_by_snr: The same, by the tiers of ``SNR_TIERS``.
        alarms_per_quiet_run: False alarms, by source of the runs and of all; NaN without such runs.
        nuisances: False alarms at effects of events.
        duplicates: False alarms that are second detections.
        count_exact: Share of the runs with as many detections as required labels.
        error_median: Distance of matched midpoints from the label's, a fraction of the axis.
        error_90: The 90 % quantile of this distance.
        jaccard: Mean similarity of the detected and the labelled sets of metrics.
    """

    f1: float
    recall_by_kind: dict[str, float]
    recall_by_snr: dict[str, float]
    alarms_per_quiet_run: dict[str, float]
    nuisances: int
    duplicates: int
    count_exact: float
    error_median: float
    error_90: float
    jaccard: float


class OnlineScore(NamedTuple):
    """The figures of one online detector; delays are counted in snapshots, NaN without any.

    Attributes:
        detected: Share of the required labels with an alarm.
        alarms_per_1000: False alarms per 1000 snapshots of quiet runs.
        delay_median: From the onset to the first alarm.
        delay_90: The 90 % quantile of this delay.
        midpoint_delay_median: From the midpoint to the first alarm.
    """

    detected: float
    alarms_per_1000: float
    delay_median: float
    delay_90: float
    midpoint_delay_median: float


def match(step: npt.ArrayLike, benchmark: Benchmark, run: str) -> Matches:
    """Match detections in one run to its labels.

    Args:
        step: Midpoints of the detections, (detection,).
        benchmark: The labels.
        run: Name of the run.
    """
    place = benchmark.position(run, step)  # (detection,)
    required = benchmark.required(run)
    label: list[Label | None] = [None] * place.size
    if place.size and required:
        cost = np.array([[_cost(u, wanted) for wanted in required] for u in place])
        for i, j in zip(*linear_sum_assignment(cost), strict=True):
            if cost[i, j] < UNREACHABLE:
                label[i] = required[j]
    others = {
        "ignored": benchmark.optional(run),
        "duplicate": required,
        "nuisance": benchmark.nuisances(run),
    }
    verdict = [
        "matched" if matched else _unmatched(u, others)
        for u, matched in zip(place, label, strict=True)
    ]
    return Matches(place, verdict, label)


def score(found: pd.DataFrame, benchmark: Benchmark) -> Score:
    """Return the figures of a detector.

    Args:
        found: One row per detection, with ``run``, ``step`` (of the midpoint) and ``metrics``
            (joined by ``|``). A run without rows is one in which nothing was detected.
        benchmark: The labels of all runs that count.
    """
    runs, matched = _evaluate(found, benchmark)
    missed = int(runs.required.sum()) - len(matched)
    false = int(runs.false.sum())
    required = [label for run in benchmark.runs.index for label in benchmark.required(run)]
    return Score(
        f1=2 * len(matched) / max(2 * len(matched) + false + missed, 1),
        recall_by_kind={
            kind: int((matched.kind == kind).sum()) / max(1, sum(q.kind == kind for q in required))
            for kind in REQUIRED
        },
        recall_by_snr={
            name: int(((matched.snr >= low) & (matched.snr < high)).sum())
            / max(1, sum(low <= q.snr < high for q in required))
            for name, (low, high) in SNR_TIERS.items()
        },
        alarms_per_quiet_run={
            "synthetic": _alarms_per_quiet_run(runs, ["synthetic"]),
            "real": _alarms_per_quiet_run(runs, ["real"]),
            "all": _alarms_per_quiet_run(runs, ["synthetic", "real"]),
        },
        nuisances=int(runs.nuisance.sum()),
        duplicates=int(runs.duplicate.sum()),
        count_exact=float((runs.counted == runs.required).mean()),
        error_median=float(matched.error.median()),
        error_90=float(matched.error.quantile(0.9)),
        jaccard=float(matched.jaccard.mean()),
    )


def score_online(
    alarms: Mapping[str, Sequence[int]], benchmark: Benchmark, runs: Sequence[str]
) -> OnlineScore:
    """Return the figures of an online detector.

    An alarm is of a change from ``MARGIN`` before its onset to ``LATE`` after its end, but not
    beyond the next onset. The first one gives the delay; further ones are not counted.

    Args:
        alarms: Steps of the snapshots at which an alarm was raised, by run.
        benchmark: The labels.
        runs: Names of the runs that count; a name may come more than once.
    """
    from_onset: list[int] = []
    from_midpoint: list[int] = []
    required = false = quiet_snapshots = 0
    for run in runs:
        grid = benchmark.position(run, benchmark.steps[run])
        raised = np.sort(benchmark.position(run, alarms[run]))
        free = np.ones(raised.size, bool)
        changes = sorted(benchmark.required(run), key=lambda label: label.onset)
        required += len(changes)
        for i, change in enumerate(changes):
            following = changes[i + 1].onset if i + 1 < len(changes) else np.inf
            last = max(min(change.end + LATE, following), change.end)
            own = np.flatnonzero((raised >= change.onset - MARGIN) & (raised <= last) & free)
            if own.size:
                free[own] = False
                seen = int((grid <= raised[own[0]]).sum())
                from_onset.append(seen - int((grid <= change.onset).sum()))
                from_midpoint.append(seen - int((grid <= change.midpoint).sum()))
        if benchmark.is_quiet(run):
            false += raised.size
            quiet_snapshots += grid.size
    has_any = bool(from_onset)
    return OnlineScore(
        detected=len(from_onset) / max(required, 1),
        alarms_per_1000=1000 * false / max(quiet_snapshots, 1),
        delay_median=float(np.median(from_onset)) if has_any else np.nan,
        delay_90=float(np.quantile(from_onset, 0.9)) if has_any else np.nan,
        midpoint_delay_median=float(np.median(from_midpoint)) if has_any else np.nan,
    )


def _alarms_per_quiet_run(runs: pd.DataFrame, sources: Sequence[str]) -> float:
    rows = zip(runs["false"], runs["quiet"], runs["source"], strict=True)
    false = [count for count, is_quiet, source in rows if is_quiet and source in sources]
    return float(np.mean(false)) if false else np.nan


def _can_match(place: float, label: Label) -> bool:
    return abs(place - label.midpoint) <= MARGIN or label.onset <= place <= label.end


def _cost(place: float, label: Label) -> float:
    return abs(place - label.midpoint) if _can_match(place, label) else UNREACHABLE


def _unmatched(place: float, others: Mapping[str, Sequence[Label]]) -> str:
    """Return the first verdict with a label that a detection could match."""
    near = (name for name, labels in others.items() if any(_can_match(place, q) for q in labels))
    return next(near, "false")


def _evaluate(found: pd.DataFrame, benchmark: Benchmark) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return one row of counts per run, and one per matched detection."""
    by_run = {str(run): rows for run, rows in found.groupby("run")}
    runs: list[dict[str, Any]] = []
    matched: list[dict[str, Any]] = []
    for run in benchmark.runs.index:
        rows: pd.DataFrame = by_run[run] if run in by_run else found.iloc[:0]
        place, verdict, labels = match(np.asarray(rows.step, float), benchmark, run)
        counted = len(verdict) - verdict.count("ignored")
        runs.append(
            {
                "source": benchmark.runs.at[run, "source"],
                "quiet": benchmark.is_quiet(run),
                "required": len(benchmark.required(run)),
                "counted": counted,
                "false": counted - verdict.count("matched"),
                "nuisance": verdict.count("nuisance"),
                "duplicate": verdict.count("duplicate"),
            }
        )
        for u, label, metrics in zip(place, labels, rows.metrics, strict=True):
            if label is not None:
                moved = set(metrics.split("|"))
                likeness = len(moved & label.metrics) / len(moved | label.metrics)
                error = abs(u - label.midpoint)
                matched.append(
                    {"kind": label.kind, "snr": label.snr, "error": error, "jaccard": likeness}
                )
    columns = ["kind", "snr", "error", "jaccard"]
    return pd.DataFrame(runs), pd.DataFrame(matched, columns=columns)
