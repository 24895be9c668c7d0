"""What is said of series that nobody could judge, beside what the detector does with them."""

from datetime import datetime

import numpy as np
import pytest

from devtrack.changepoints._preprocessing import MIN_POINTS
from devtrack.changepoints.config import DetectorConfig
from devtrack.changepoints.offline.detector import _models
from devtrack.records import Row, RunInfo, Status, TrainingProgress
from devtrack.store import open_store
from devtrack.store.readers import read_series
from devtrack.transitions.coverage import _TOO_FEW, Coverage, read_coverage, read_last_coverage
from devtrack.transitions.detection import find_transitions

NAN = float("nan")
STEPS = [0, *np.unique(np.geomspace(1, 2000, 30).round().astype(int)).tolist()]


def noise(step, size=1.0):
    return size * float(np.random.default_rng(step).standard_normal())


def few(step):
    """Nine points that are ok, of which one was measured twice."""
    status = Status.OK if step in STEPS[:9] else Status.SUSPECT
    return [Row("few", noise(step), status=status)] * (2 if step == 0 else 1)


SERIES = {
    "loss": lambda s: [Row("loss", noise(s), 0.1)],
    "ten": lambda s: [Row("ten", noise(s))] if s in STEPS[::2][:MIN_POINTS] else [],
    "few": few,
    "flat@head": lambda s: [Row("flat", 3.0, site="head")],
    "nearly flat": lambda s: [Row("nearly flat", 1.0 + noise(s, 1e-14))],
    "not quite": lambda s: [Row("not quite", 1.0 + noise(s, 1e-9))],
    "suspect": lambda s: [Row("suspect", noise(s), status=Status.SUSPECT)],
    "failed": lambda s: [Row("failed", NAN, status=Status.FAILED, attrs={"error": "x"})],
    "wrong": lambda s: [Row("wrong", noise(s), -1.0)],
    "late": lambda s: [Row("late", noise(s))] if s > 100_000 else [],
    "lr": lambda s: [Row("lr", 0.1)],
}


def written(path, *names, steps=STEPS):
    store = open_store(path / "runs", create=True)
    with store.writer(RunInfo("r1", "r1", datetime(2026, 1, 1))) as writer:
        for step in steps:
            writer.append(
                TrainingProgress(step), [row for name in names for row in SERIES[name](step)]
            )
    return store


@pytest.mark.filterwarnings("ignore:.*standard error:devtrack.store.StoreWarning")
@pytest.mark.parametrize("steps", [STEPS, [*STEPS[:10], *range(100_001, 100_012)]])
@pytest.mark.parametrize("axis", ["auto", "log", "linear"])
def test_it_says_of_every_series_what_the_detector_does(tmp_path, steps, axis):
    store = written(tmp_path, *SERIES, steps=steps)
    models, _ = _models(read_series(store, "r1"), DetectorConfig(), axis=axis, events=[], starts=[])
    at = lambda m: m.metric if m.site == "model" else f"{m.metric}@{m.site}"  # noqa: E731
    told = read_coverage(store, "r1", axis=axis)
    assert told.evaluated == tuple(at(model.curve) for model in models)
    out = [name.split(" (")[0] for names in told.excluded.values() for name in names]
    measured = set(SERIES) - {"lr"} - (set() if steps is not STEPS else {"late"})
    assert sorted([*told.evaluated, *out]) == sorted(measured)
    if steps is STEPS:
        assert {"loss", "not quite"} <= set(told.evaluated)


@pytest.mark.parametrize(
    ("names", "steps", "text"),
    [
        ((), [], "no series could be evaluated; there are no numbers yet"),
        (("loss",), [10], "no series could be evaluated; fewer than 10 ok points: loss (1 ok)"),
        (("loss", "lr"), STEPS, "1 series evaluated"),
        (("lr",), STEPS, "no series could be evaluated; training configuration: lr"),
        (
            ("suspect", "failed", "few"),
            STEPS,
            "no series could be evaluated; fewer than 10 ok points: failed (29 failed), "
            "few (9 ok, 20 suspect), suspect (29 suspect)",
        ),
        (
            ("loss",),
            [*range(5), *range(10**9, 10**9 + 6)],
            "no series could be evaluated; points crowded at an end of the run: loss",
        ),
        (("loss", "flat@head"), STEPS, "1 of 2 series evaluated; constant: flat@head"),
    ],
)
def test_it_says_how_many_were_judged_and_why_not_the_others(tmp_path, names, steps, text):
    assert len(STEPS) == 29
    assert str(read_coverage(written(tmp_path, *names, steps=steps), "r1")) == text


def test_the_reason_names_the_detectors_own_limit():
    assert f" {MIN_POINTS} " in _TOO_FEW


def test_many_names_are_counted():
    names = tuple(f"m{k}" for k in range(9))
    assert (
        Coverage((), {"constant": names}).reasons_text == "constant: m0, m1, m2, m3, m4 and 4 more"
    )


def test_the_latest_analysis_tells_of_what_it_was_asked_for(tmp_path):
    store = written(tmp_path, "loss", "ten", "few")
    assert read_last_coverage(store, "r1") is None
    find_transitions(store, "r1", metrics=["t*", "few"])
    assert str(read_last_coverage(store, "r1")) == (
        "1 of 2 series evaluated; fewer than 10 ok points: few (9 ok, 20 suspect)"
    )
    find_transitions(store, "r1")
    assert read_last_coverage(store, "r1") == read_coverage(store, "r1")
    assert read_coverage(store, "r1").evaluated == ("loss", "ten")
