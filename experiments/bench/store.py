"""Time the store: append, flush, query over many segments, compaction, one run among many.

Run ``python -m experiments.bench.store``; prints a table of medians and asserts nothing.

Results: ``experiments/bench/results/store.md``.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import numpy as np

from devtrack.records import ChainTrace, Row, RunInfo, TrainingProgress
from devtrack.store import FlushPolicy, Store, open_store

NUM_SEGMENTS = 300
ROWS_PER_SEGMENT = 200
NUM_RUNS = 20
TRACES_PER_RUN = 40
QUERIES = {
    "count all rows": "SELECT count(*) FROM metrics",
    "mean by metric": "SELECT metric, avg(value) FROM metrics GROUP BY ALL",
    "llc of one run": "FROM llc WHERE run = 'bench' AND step > 100 ORDER BY step",
    "runs": "FROM runs",
}


def median_ms(call: Callable[[], object], *, repeats: int = 7) -> float:
    """Return the median wall time of a call in milliseconds."""
    times: list[float] = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        times.append(1e3 * (time.perf_counter() - start))
    return statistics.median(times)


def rows_of(step: int) -> list[Row]:
    """Return the rows of one observation."""
    names = ["loss", "llc", *(f"weight_norm/{k}" for k in range(ROWS_PER_SEGMENT - 2))]
    return [Row(name, float(step), 0.1, attrs={"rhat": 1.01}) for name in names]


def write(store: Store) -> list[tuple[str, float]]:
    """Fill the store with one segment per flush, and return what that took."""
    info = RunInfo("bench", "bench", datetime(2026, 1, 1))
    writer = store.writer(info, policy=FlushPolicy(compact_after=10**9))
    append_us: list[float] = []
    flush_ms: list[float] = []
    for step in range(NUM_SEGMENTS):
        rows = rows_of(step)
        start = time.perf_counter()
        writer.append(TrainingProgress(step), rows)
        append_us.append(1e6 * (time.perf_counter() - start) / len(rows))
        flush_ms.append(median_ms(writer.flush, repeats=1))
    single = [Row("loss", 1.0)]
    one_us = 1e3 * median_ms(lambda: writer.append(TrainingProgress(0), single), repeats=2000)
    trace = ChainTrace("llc", np.ones((8, 1000)), np.zeros((8, 1000)))
    trace_us = 1e3 * median_ms(lambda: writer.append(TrainingProgress(0), [trace]), repeats=50)
    trace_flush = median_ms(writer.flush, repeats=1)
    writer.close(compact=False)
    return [
        (f"append, us/row ({ROWS_PER_SEGMENT} rows a call)", statistics.median(append_us)),
        ("append, us (1 row a call)", one_us),
        ("append, us (1 trace of 8 x 1000)", trace_us),
        (f"flush, ms ({ROWS_PER_SEGMENT} rows)", statistics.median(flush_ms)),
        ("flush, ms (50 traces, 400 000 rows)", trace_flush),
    ]


def read(store: Store, label: str) -> list[tuple[str, float]]:
    """Return the time of each query."""
    return [
        (f"query, ms: {name}, {label}", median_ms(lambda sql=sql: store.sql(sql).fetchall()))
        for name, sql in QUERIES.items()
    ]


_ASK = """
import resource, sys, time
from devtrack.store import open_store
import duckdb
door = duckdb.connect(sys.argv[1] + "/devtrack.duckdb", read_only=True)
ask = door.sql if sys.argv[2] == "door" else open_store(sys.argv[1]).sql
for _ in range(3):
    start = time.perf_counter()
    ask("FROM chains WHERE run_id = 'r07' AND step = 50 AND metric = 'llc'").fetchall()
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print("", 1e3 * (time.perf_counter() - start), peak / 1024, sep="\\n")
"""


def one_of_many(store: Store) -> list[tuple[str, float]]:
    """Return what the chains of one estimate cost among those of 20 runs, both ways to ask."""
    trace = ChainTrace("llc", np.ones((4, 300)), np.zeros((4, 300)))
    for k in range(NUM_RUNS):
        with store.writer(RunInfo(f"r{k:02d}", "bench", datetime(2026, 1, 1))) as writer:
            for step in range(TRACES_PER_RUN):
                writer.append(TrainingProgress(step), [trace])
    table: list[tuple[str, float]] = []
    for way in ("Store.sql", "door"):
        command = [sys.executable, "-c", _ASK, str(store.path), way]
        said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        wall_ms, peak_mib = map(float, said.split()[-2:])  # above them DuckDB's bar
        table.append((f"one estimate's chains of {NUM_RUNS} runs, ms, {way}", wall_ms))
        table.append((f"the same, peak MiB of the process, {way}", peak_mib))
    return table


def main() -> None:
    """Print the table."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "runs"
        store = open_store(path, create=True)
        table = write(store)
        table.append(("open_store, ms", median_ms(lambda: open_store(path))))
        table += read(store, f"{NUM_SEGMENTS} segments")
        first = "from devtrack.store import open_store as o; o({!r}).sql('FROM llc').fetchall()"
        fresh = [sys.executable, "-c", first.format(str(path))]
        table.append(
            (
                "first query of a new process, ms",
                median_ms(lambda: subprocess.run(fresh, check=True)),
            )
        )
        table.append(("compact, ms", median_ms(lambda: store.compact(grace_s=0.0), repeats=1)))
        table += read(store, "compacted")
        table += one_of_many(open_store(Path(folder) / "many", create=True))
    for name, number in table:
        print(f"{name:<50} {number:10.2f}")


if __name__ == "__main__":
    main()
