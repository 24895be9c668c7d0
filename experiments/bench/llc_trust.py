"""Print how often good settings are doubted and bad ones are not: the confusion table of the LLC.

    python -m experiments.bench.llc_trust [--repeats 12]

Problems with a known answer, 4 chains of 500 draws.

A benchmark, not a test: it asserts nothing.

Results: ``experiments/bench/results/llc_trust.md``.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch

from devtrack import LLC
from devtrack.errors import DevtrackError
from devtrack.records import Row, Status
from devtrack.sampling.config import Method
from experiments.bench.gates import (
    Gate,
    Problem,
    Weights,
    at_zero_and_identity,
    deep_linear,
    estimate,
    normal_crossing,
    quadratic,
    spoil,
)

LINE = "{:<32} {:<9} {:>5} {:>8} {:>7} {:>7} {:>10} {:>7}  {}"

PULLED = 0.25
"""``localization_share`` from which γ is counted as too strong."""


class Case(NamedTuple):
    """One kind of estimate, on several gates.

    Attributes:
        name: What was done.
        good: Whether it should pass.
        gates: The problems, settings included.
    """

    name: str
    good: bool
    gates: list[Gate]


def cases() -> Iterator[Case]:
    """Yield good and bad ways to sample.

    Good step sizes are those whose estimates come out within a tenth of the truth; LM-SGLD takes
    larger ones.
    """
    problems = [
        (quadratic(10), 3, 10),
        (quadratic(200), 3, 10),
        (deep_linear([5, 3, 5], 3), 1.5, 5),
        (deep_linear([8, 4, 8], 2), 1.5, 5),
        (deep_linear([10, 10, 10], 5), 1.5, 3),
        (deep_linear([16, 8, 8, 8, 16], 4, localization=20.0), 1, 2),
        (deep_linear([10, 20, 20, 10], 10, localization=80.0, lr=3e-5), 1, 4),
        (at_zero_and_identity(), 1, 20),
        (normal_crossing(1, 1, localization=30.0, lr=3e-5), 1, 3),
    ]
    plain = [_short(gate, factor, method="sgld") for gate, factor, _ in problems]
    averaged = [_short(gate, factor, method="lm_sgld") for gate, _, factor in problems]
    yield Case("good sgld", True, plain)
    yield Case("good lm_sgld", True, averaged)
    methods: tuple[Method, ...] = ("sgld", "lm_sgld")
    yield Case("good, batches differ", True, [_noisy(1e-3, method) for method in methods])
    yield Case("batches differ, lr × 6", False, [_noisy(6e-3, method) for method in methods])
    some = [plain[0], *plain[2:5], averaged[0], *averaged[2:5]]
    with_data = [gate for gate in some if gate.name.startswith("deep")]
    for factor in (30, 1000):
        yield Case(f"lr × {factor}", False, [_short(gate, factor) for gate in some])
    yield Case("unmixed: lr / 100", False, [_short(gate, 1e-2) for gate in plain[:5]])
    yield Case("unmixed: lr / 30", False, [_short(gate, 1 / 30) for gate in plain[:5]])
    hasty = [_short(gate, 0.1, num_burnin_steps=0) for gate in plain[:5]]
    yield Case("unmixed: lr / 10, no burn-in", False, hasty)
    for how in ("NaN in the data", "too little data"):
        yield Case(how, False, [spoil(gate, how) for gate in with_data])
    for pull in (0.0, 1.0, 100.0, 1000.0):
        off = [_off_minimum(_short(gate, localization=pull)) for gate in with_data]
        yield Case(f"not a minimum, γ {pull:g}", False, off)
    for n_beta in (1e6, 1e7):
        for pull in (1.0, 100.0):
            narrow = [_unspread(*where, n_beta=n_beta, localization=pull) for where in SINGULAR]
            yield Case(f"not spread: nβ {n_beta:g}, γ {pull:g}", False, narrow)
    yield Case("γ 0", False, [replace(at_zero_and_identity(), settings=_escaping())])
    for pull in (0.0, 0.01, 0.1):
        yield Case(f"γ {pull:g}, long chains", False, [_leaving(pull)])
    for pull in (300.0, 1000.0, 3000.0):
        strong = [_short(gate, localization=pull) for gate in plain[:5]]
        yield Case(f"γ {pull:g}: too strong", False, strong)


def main() -> None:
    """Run every case and print one line each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=12, help="estimates per good gate")
    repeats = parser.parse_args().repeats
    torch.set_num_threads(1)
    print(
        LINE.format(
            "case", "should", "runs", "ok", "suspect", "failed", "max |err|", "pulled", "reasons"
        )
    )
    for case in cases():
        num = repeats if case.good else max(2, repeats // 3)
        rows = [(gate, outcome(gate, seed=seed)) for gate in case.gates for seed in _seeds(num)]
        print(_line(case, rows), flush=True)


def _seeds(count: int) -> range:
    """Return seeds that took no part in the choice of the bands."""
    return range(7000, 7000 + count)


def outcome(gate: Gate, *, seed: int) -> Row:
    """Return the estimate, or what ``evaluate`` makes of an error: a failed row."""
    try:
        return estimate(gate, seed=seed)
    except DevtrackError as error:
        reasons = [f"{type(error).__name__}"]
        return Row("llc", math.nan, status=Status.FAILED, attrs={"reasons": reasons})


def _line(case: Case, rows: list[tuple[Gate, Row]]) -> str:
    counts = [sum(row.status is status for _, row in rows) for status in Status]
    wrong = [abs(row.value / gate.truth - 1) for gate, row in rows if row.status is Status.OK]
    reasons: dict[str, int] = {}
    for _, row in rows:
        for reason in row.attrs["reasons"]:
            words = " ".join(w for w in reason.split(":")[0].split() if w.isalpha() or "-" in w)
            reasons[words] = reasons.get(words, 0) + 1
    common = sorted(reasons.items(), key=lambda item: -item[1])[:3]
    shown = dict(zip(Status, counts, strict=True))
    return LINE.format(
        case.name,
        "pass" if case.good else "be caught",
        len(rows),
        f"{shown[Status.OK]} ({shown[Status.OK] / len(rows):.0%})",
        shown[Status.SUSPECT],
        shown[Status.FAILED],
        f"{max(wrong):.1%}" if wrong else "-",
        sum((row.attrs.get("localization_share") or 0.0) > PULLED for _, row in rows),
        ", ".join(f"{count} {words}" for words, count in common),
    )


def _short(gate: Gate, factor: float = 1.0, **changes: Any) -> Gate:
    size: dict[str, Any] = {"num_chains": 4, "num_draws": 500, "num_burnin_steps": 500, **changes}
    return replace(
        gate, settings=replace(gate.settings, lr=factor * gate.settings.config.lr, **size)
    )


def _noisy(lr: float, method: Method) -> Gate:
    """Eight batches of one minimum and of curvatures .1 or 1.9: noise away from w* alone.

    As many directions are flat, as in real networks: no bound is near.
    """
    spread = np.random.default_rng(0).choice([0.1, 1.9], (4, 50))
    batches = [torch.tensor(row)[None] for row in (*spread, *(2.0 - spread))]

    def loss(model: Any, batch: torch.Tensor) -> torch.Tensor:
        return 0.5 * (batch[0] * model.w[:50].square()).sum()

    def build() -> Problem:
        return Weights([0.0] * 100), loss, batches

    settings = LLC(method=method, n_beta=100.0, localization=20.0, lr=lr)
    return _short(Gate("noisy quadratic", 25 * 100 / 120, 0.1, build, settings))


def _off_minimum(gate: Gate) -> Gate:
    return spoil(gate, "w* not a minimum")


SINGULAR = (([10, 10, 10], 5), ([8, 4, 8], 2), ([12, 12, 12], 4), ([6, 6, 6, 6], 2))
"""Widths and ranks with directions that only high orders of the loss hold."""


def _unspread(widths: list[int], rank: int, **changes: Any) -> Gate:
    """Small steps at a high nβ: chains that start at w* meet a quadratic, −15 to −36 %."""
    gate = deep_linear(widths, rank, method="lm_sgld", lr=0.3 / changes["n_beta"])
    return _short(gate, **changes)


def _leaving(pull: float) -> Gate:
    """Chains whose estimate is 20 % too high by the end, for how far they went."""
    gate = deep_linear([10, 10, 10], 5, method="lm_sgld", lr=2e-4)
    return _short(gate, localization=pull, num_draws=4000)


def _escaping() -> Any:
    """At nβ 1e3 without a pull, nothing keeps chains at (0, I) from going where λ is 1.5."""
    settings = at_zero_and_identity().settings
    size = {"num_chains": 4, "num_draws": 500, "num_burnin_steps": 300}
    return replace(settings, n_beta=1e3, localization=0.0, lr=1e-4, **size)


if __name__ == "__main__":
    main()
