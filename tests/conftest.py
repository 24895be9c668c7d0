"""One thread for each of pytest's workers, and no set-up twice that is the same each time."""

import os
import shutil

import pytest
from threadpoolctl import threadpool_limits

# more would only get in each other's way; read when torch is imported, here and in children
os.environ.setdefault("OMP_NUM_THREADS", "1")
# a plugin of another package may have imported NumPy before: its idle BLAS threads take a core
threadpool_limits(1, user_api="blas")


def pytest_xdist_auto_num_workers():
    """One more than there are cores: some tests wait for a process, a disk or a time-out."""
    return (os.cpu_count() or 1) + 1


_ANSWERS: dict[str, list] = {}  # answers of the detector by what it was asked


@pytest.fixture(scope="module")
def detects_once():
    """Have the detector look once at what it is shown again: the same series, the same answer."""
    from devtrack.changepoints.offline.detector import detect

    def remember(series, *, events=(), **options):
        columns = [(one.step, one.value, one.se) for one in series]
        numbers = [None if a is None else a.tobytes() for column in columns for a in column]
        names = [(one.metric, one.site) for one in series]
        asked = repr((names, numbers, events, sorted(options.items())))
        if asked not in _ANSWERS:
            _ANSWERS[asked] = detect(series, events=events, **options)
        return list(_ANSWERS[asked])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("devtrack.changepoints.offline.detector.detect", remember)
        yield


@pytest.fixture(scope="session")
def _empty_segments(tmp_path_factory):
    """The empty segments of a new store, which are the same in all."""
    from devtrack.store._views import write_schema_files

    folder = tmp_path_factory.mktemp("new") / "store"
    write_schema_files(folder)
    return folder


@pytest.fixture(scope="module", autouse=True)
def _stores_made_at_once(request, _empty_segments):
    """Copy a new store's empty segments, and leave out its file for other programs.

    Both take DuckDB half of what a test of a short training takes. A test module that looks at
    either says ``STORES_AS_USERS_MAKE_THEM = True``.
    """
    if getattr(request.module, "STORES_AS_USERS_MAKE_THEM", False):
        yield
        return
    from devtrack.store._layout import SCHEMA_DIR
    from devtrack.store._views import write_schema_files

    def copy(store):
        if not (store / SCHEMA_DIR).exists():
            shutil.copytree(_empty_segments / SCHEMA_DIR, store / SCHEMA_DIR, dirs_exist_ok=True)
        write_schema_files(store)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("devtrack.store._renewal.write_schema_files", copy)
        patch.setattr("devtrack.store._renewal.views_file_is_current", lambda store: True)
        yield
