"""One thread for each of pytest's workers: more would only get in each other's way."""

import os

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")  # read when torch is imported, here and in children

_TOLD: dict[str, list] = {}  # answers of the detector by what it was asked


@pytest.fixture(scope="module")
def detects_once():
    """Have the detector look once at what it is shown again: the same series, the same answer."""
    from devtrack.changepoints.offline.detector import detect

    def remember(series, *, events=(), **options):
        columns = [(one.step, one.value, one.se) for one in series]
        numbers = [None if a is None else a.tobytes() for column in columns for a in column]
        names = [(one.metric, one.site) for one in series]
        asked = repr((names, numbers, events, sorted(options.items())))
        if asked not in _TOLD:
            _TOLD[asked] = detect(series, events=events, **options)
        return list(_TOLD[asked])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("devtrack.changepoints.offline.detector.detect", remember)
        yield
