"""Print how the LLC does on problems with a known answer.

    python -m experiments.bench.llc_gates [--engine vectorized reference] [--quick]

A benchmark, not a test: it asserts nothing. The same gates are tests in tests/experiments/bench.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace

import torch

from devtrack.errors import DevtrackError
from devtrack.records import Row, Status
from experiments.bench.gates import (
    BAD_SETTINGS,
    Gate,
    deep_linear,
    estimate,
    gates,
    spoil,
)

COLUMNS = "{:<40} {:<11} {:>7} {:>9} {:>8} {:>7} {:>6} {:>6} {:>6} {:<8} {:>7}  {}"


def main() -> None:
    """Run the gates and print one line each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--engine", nargs="+", default=["vectorized", "reference"])
    parser.add_argument("--method", nargs="+", help="instead of each gate's own")
    parser.add_argument("--quick", action="store_true", help="leave out gates that take a minute")
    options = parser.parse_args()
    torch.set_num_threads(1)  # small matrices: a second thread only waits
    print(COLUMNS.format(*_HEAD))
    for gate in gates():
        for engine in options.engine:
            for method in options.method or [gate.settings.method]:
                if gate.affordable or (engine != "reference" and not options.quick):
                    print(_line(gate, engine, method), flush=True)
    print("\nbad settings, each on two gates")
    for gate in (deep_linear([5, 3, 5], 3), deep_linear([10, 10, 10], 5)):
        for how in BAD_SETTINGS:
            print(_bad_line(gate, how), flush=True)


_HEAD = ("gate", "engine", "truth", "estimate", "error", "se", "gamma", "rhat", "ess", "status")
_HEAD += ("seconds", "holds")


def _line(gate: Gate, engine: str, method: str) -> str:
    settings = replace(gate.settings, engine=engine, method=method)
    start = time.perf_counter()
    row = estimate(gate, settings=settings)
    elapsed_s = time.perf_counter() - start
    attrs = row.attrs
    return COLUMNS.format(
        gate.name,
        engine,
        f"{gate.truth:.3f}",
        f"{row.value:.3f}",
        f"{row.value / gate.truth - 1:+.1%}",
        f"{row.se:.3f}",
        _short(attrs["gamma_ratio"]),
        _short(attrs["rhat"]),
        f"{attrs['ess'] or 0:.0f}",
        row.status,
        f"{elapsed_s:.1f}",
        "yes" if gate.holds(row) else "NO",
    )


def _bad_line(gate: Gate, how: str) -> str:
    try:
        row = estimate(spoil(gate, how))
    except DevtrackError as error:  # what ``evaluate`` turns into a failed row
        reasons = [f"{type(error).__name__}: {error}"]
        row = Row("llc", float("nan"), status=Status.FAILED, attrs={"reasons": reasons})
    verdict = "MISSED" if row.status is Status.OK else str(row.status)
    why = "; ".join(reason.split(":")[0] for reason in row.attrs["reasons"])
    return f"{gate.name:<30} {how:<18} {row.value:>10.3g}  {verdict:<10} {why}"


def _short(number: float | None) -> str:
    return "-" if number is None else f"{number:.2f}"


if __name__ == "__main__":
    main()
