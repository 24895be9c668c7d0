"""Forks writers that are to be killed: one per line on stdin. Run by test_kill.py.

Imports once and forks, so that thirty kills take seconds. Prints ``pid N`` for each writer, which
then prints ``ack ATTEMPT N`` after each flush that returned with N steps written.
"""

import os
import random
import signal
import sys
from datetime import datetime
from pathlib import Path

import numpy as np

from devtrack.records import ChainTrace, Row, RunInfo, TrainingProgress
from devtrack.store import FlushPolicy, Store


def write_until_killed(path: str, seed: int) -> None:
    random.seed(seed)
    store = Store(Path(path))
    policy = FlushPolicy(interval_s=0.01, compact_after=5, grace_s=0.2)
    writer = store.writer(RunInfo("r1", "r1", datetime(2026, 1, 1)), policy=policy)
    step = 0
    while True:
        for _ in range(random.randrange(1, 20)):
            trace = ChainTrace("llc", np.full((2, 3), float(step)), np.zeros((2, 3)))
            writer.append(TrainingProgress(step), [Row("llc", float(step)), trace])
            step += 1
        writer.flush()
        os.write(1, f"ack {writer.attempt} {step}\n".encode())


def main() -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    for seed, _ in enumerate(sys.stdin):
        pid = os.fork()
        if pid == 0:
            write_until_killed(sys.argv[1], seed)
        os.write(1, f"pid {pid}\n".encode())


if __name__ == "__main__":
    main()
