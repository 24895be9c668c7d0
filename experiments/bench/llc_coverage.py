"""Print how honest the LLC's standard errors are: how often ± 1.96 se holds the long-run value.

    python -m experiments.bench.llc_coverage [--repeats 400] [--chains 4] [--draws 500]
    python -m experiments.bench.llc_coverage --tasks "modular MLP" [--repeats 48]

Each estimate of a gate, or of a task of ``experiments.bench.llc`` at the settings that devinterp
gets there, is repeated with other noise. The value to cover is the mean of all repeats
(what this estimator finds in the long run, its bias included), which itself is known twenty times
better than one estimate at 400 repeats. ``se / spread`` is the mean claimed error over the standard
deviation of the estimates, 1 if the claim is right; ``bare`` counts how often ± 1.96 sd / √ESS
would have held the value, without what ``statistics.student_t_inflation`` adds for an error that is
itself estimated, and without the error of what is taken out.

Results: ``experiments/bench/results/llc_coverage.md``.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch

from devtrack.metrics.metric import Subject
from devtrack.records import Row
from devtrack.sampling.chain_record import Chains
from devtrack.sampling.diagnostics import Diagnosis
from devtrack.sampling.estimator import estimate
from devtrack.sampling.sampler import sample
from experiments.bench.gates import Gate, deep_linear, polygon, quadratic
from experiments.bench.tasks import Task, tasks

LINE = "{:<40} {:<8} {:>8} {:>9} {:>8} {:>9} {:>12} {:>10} {:>10}"

CHAINS_PER_CALL = 320
"""A step of small networks is calls, not arithmetic: many chains cost little more than four."""


def repeated(gate: Gate, *, repeats: int) -> Iterator[Diagnosis]:
    """Yield estimates of the gate's own number of chains, each with noise of its own.

    Many walk in one call and are told apart afterwards. In a call, as many chains as there are
    batches share an order of them, which they enter at equal distances; so do the chains of an
    estimate that has a call to itself.
    """
    model, loss, batches = gate.build()
    own = gate.settings.config
    settings = replace(own, num_chains=CHAINS_PER_CALL)
    generator = torch.Generator().manual_seed(5000)
    left = repeats
    while left > 0:
        chains = sample(
            model.eval(),
            loss,
            batches,
            config=settings,
            generator=generator,
            max_memory_bytes=1_000_000_000,
        )
        for members in members_of(len(batches), own.num_chains)[:left]:
            yield estimate(_only(chains, members), own).diagnosis
        left -= CHAINS_PER_CALL // own.num_chains


class Claim(NamedTuple):
    """An estimate and what it says of its own error, widened and bare (``Diagnosis``)."""

    value: float
    se: float
    mcse: float


def of_task(task: Task, *, repeats: int) -> Iterator[Claim]:
    """Yield estimates of a task, each by a call of its own."""
    model, loss, batches = task.build("cpu")
    for seed in range(1, repeats + 1):
        generator = torch.Generator().manual_seed(seed)
        records = task.reference.compute(Subject(model, 0, batches, loss, generator))
        row = next(record for record in records if isinstance(record, Row))
        yield Claim(row.value, float(row.se), float(row.attrs["mcse"]))


def members_of(num_batches: int, num_chains: int) -> np.ndarray:
    """Return which chains of a call make one estimate, (estimate, chain)."""
    sharing = num_batches if num_batches % num_chains == 0 else num_chains
    blocks = np.arange(CHAINS_PER_CALL - CHAINS_PER_CALL % sharing).reshape(-1, sharing)
    return blocks.reshape(len(blocks), num_chains, -1).swapaxes(1, 2).reshape(-1, num_chains)


def _only(chains: Chains, members: np.ndarray) -> Chains:
    per_chain = {
        name: values[members]
        for name, values in chains._asdict().items()
        if isinstance(values, np.ndarray)
    }
    return chains._replace(**per_chain)


def main() -> None:
    """Print one line per gate and method."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=400)
    parser.add_argument("--chains", type=int, default=4)
    parser.add_argument("--draws", type=int, default=500)
    parser.add_argument("--tasks", nargs="+", help="of experiments.bench.llc, instead of gates")
    options = parser.parse_args()
    torch.set_num_threads(1)
    head = ("what", "method", "truth", "mean", "spread", "mean se", "se / spread", "covers", "bare")
    print(LINE.format(*head))
    if options.tasks:
        for task in tasks(large=True):
            if task.name in options.tasks:
                found = [*of_task(task, repeats=options.repeats)]
                _print(task.name, task.reference.method, "-", found)
        return
    size = {"num_chains": options.chains, "num_draws": options.draws}
    size["num_burnin_steps"] = options.draws
    gates = [
        (quadratic(10), "sgld", 3.0),
        (deep_linear([5, 3, 5], 3), "sgld", 3.0),
        (deep_linear([5, 3, 5], 3), "lm_sgld", 10.0),
        (deep_linear([8, 4, 8], 2), "lm_sgld", 10.0),
        (polygon(5, 6, 7.0), "lm_sgld", 1.0),
    ]
    for gate, method, factor in gates:
        lr = factor * gate.settings.config.lr  # as in llc_trust: chains of this length must mix
        gate = replace(gate, settings=replace(gate.settings, method=method, lr=lr, **size))
        found = [Claim(f.value, f.se, f.mcse) for f in repeated(gate, repeats=options.repeats)]
        _print(gate.name, method, f"{gate.truth:.2f}", found)


def _print(name: str, method: str, truth: str, found: Sequence[Claim]) -> None:
    values, errors, bare = np.array(found).T
    off, spread = np.abs(values - values.mean()), values.std(ddof=1)
    shown = [
        f"{values.mean():.3f}",
        f"{spread:.3f}",
        f"{errors.mean():.3f}",
        f"{errors.mean() / spread:.2f}",
        f"{np.mean(off <= 1.96 * errors):.1%}",
        f"{np.mean(off <= 1.96 * bare):.1%}",
    ]
    print(LINE.format(name, method, truth, *shown), flush=True)


if __name__ == "__main__":
    main()
