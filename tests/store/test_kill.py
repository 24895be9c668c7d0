"""kill -9 at random instants: what a flush promised is there, and nothing is in pieces."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from devtrack.store import Store

STORES_AS_USERS_MAKE_THEM = True

_HERE = Path(__file__).parent
_KILLS = 30
_FREE = (
    "SELECT attempt, count(*), count(DISTINCT value), max(value) + 1 FROM metrics_all GROUP BY 1"
)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and SIGKILL")
def test_no_returned_flush_is_lost_and_nothing_is_partial(store: Store) -> None:
    views = store.path / "devtrack.duckdb"
    reader = subprocess.Popen(
        [sys.executable, _HERE / "plain_reader.py", views, "1"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    acked: dict[int, int] = {}
    with subprocess.Popen(
        [sys.executable, _HERE / "killed_writer.py", store.path],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as nursery:
        assert nursery.stdin and nursery.stdout
        for kill in range(_KILLS):
            nursery.stdin.write("go\n")
            nursery.stdin.flush()
            pid = _read_until_first_ack(nursery.stdout, acked)
            time.sleep(random.Random(kill).uniform(0.0, 0.2))
            os.kill(pid, signal.SIGKILL)
        nursery.stdin.close()
        for line in nursery.stdout:
            _note(line, acked)
    time.sleep(0.1)
    out, _ = reader.communicate(input="")
    report = json.loads(out)

    assert len(acked) == _KILLS  # every writer got to commit something
    assert report["broken"] == []
    assert report["failed"] == []
    assert report["reads"] > _KILLS

    rows = {attempt: rest for attempt, *rest in store.sql(_FREE).fetchall()}
    for attempt, promised in acked.items():
        count, distinct, upto = rows[attempt]
        assert count == distinct == upto >= promised, f"attempt {attempt}"
    _every_row_has_its_whole_trace(store)
    unclean = [finding for finding in store.check() if finding.severity != "note"]
    assert unclean == []

    store.compact(grace_s=0.0)
    again = {attempt: rest for attempt, *rest in store.sql(_FREE).fetchall()}
    assert again == rows
    leftovers = [f for f in store.check() if "covered" in f.what or "wider" in f.what]
    assert leftovers == []


def _read_until_first_ack(lines, acked: dict[int, int]) -> int:
    pid, before = 0, len(acked)
    while not pid or len(acked) == before:
        line = lines.readline()
        if line.startswith("pid "):
            pid = int(line.split()[1])
        else:
            _note(line, acked)
    return pid


def _note(line: str, acked: dict[int, int]) -> None:
    if line.startswith("ack "):
        _, attempt, steps = line.split()
        acked[int(attempt)] = int(steps)


def _every_row_has_its_whole_trace(store: Store) -> None:
    broken = store.sql(
        """
        SELECT m.attempt, m.step, count(c.loss)
        FROM metrics_all m LEFT JOIN chains c ON c.attempt = m.attempt AND c.step = m.step
        GROUP BY ALL HAVING count(c.loss) <> 6
        """
    ).fetchall()
    assert broken == []
