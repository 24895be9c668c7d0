"""Print how well LLCs rank random balanced deep linear networks, whose exact values are known.

    python -m experiments.bench.llc_rank [--count 20] [--layers 2] [--large]

One rule sets the sampler for all of them: γ is 30 per unit of the widest layer, which holds what
chains add to a layer to a third of its singular values however wide it is; nβ is 3000 γ, so that
the loss and not the pull holds what it can; ε is .4 / nβ. Inputs are whitened and all in one batch,
so that the batch adds no noise. The truth is Aoyagi's λ, less (m − 1) / log nβ at multiplicity m.
Networks whose chains do not settle come out too low; their status says so. A benchmark, not a test:
it asserts nothing.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from scipy.stats import spearmanr

from devtrack.metrics.llc import LLC
from devtrack.rows import Status
from experiments import exact
from experiments.bench.gates import DeepLinear, Gate, Problem, estimate, squared_error

PULL_PER_UNIT = 30.0
N_BETA_PER_PULL = 3e3
LR_TIMES_N_BETA = 0.4
LARGEST = ([320, 160, 320], 80)
"""Widths and rank of a network of 102 400 weights."""

LINE = "{:<24} {:>7} {:>9} {:>9} {:>7} {:>7} {:>8}  {}"


def main() -> None:
    """Print one line per network, then the rank correlation and the errors."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=20)
    parser.add_argument("--layers", type=int, default=2, help="at most so many, 2 at least")
    parser.add_argument("--widest", type=int, default=40)
    parser.add_argument("--large", action="store_true", help="with the one of 100 000 weights")
    parser.add_argument("--draws", type=int, default=500)
    parser.add_argument("--burnin", type=int, default=1500)
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(LINE.format("widths", "rank", "weights", "truth", "error", "se", "settled", "status"))
    shapes = [*random_shapes(options.count, options.layers, options.widest)]
    truths, values = [], []
    for widths, rank in shapes + [LARGEST] * options.large:
        gate = network(widths, rank, num_draws=options.draws, num_burnin_steps=options.burnin)
        row = estimate(gate)
        truths.append(gate.truth)
        values.append(row.value)
        why = "" if row.status is Status.OK else "; ".join(row.attrs["reasons"])[:60]
        print(
            LINE.format(
                str(widths),
                rank,
                sum(a * b for a, b in pairwise(widths)),
                f"{gate.truth:.1f}",
                f"{row.value / gate.truth - 1:+.1%}",
                f"{row.se / gate.truth:.1%}",
                f"{row.attrs['settled']:.2f}",
                f"{row.status} {why}",
            ),
            flush=True,
        )
    errors = np.abs(np.array(values) / np.array(truths) - 1)
    agreement: Any = spearmanr(truths, values)  # scipy's types lack its fields
    print(
        f"{len(errors)} networks: Spearman {agreement.statistic:.4f}, median error "
        f"{np.median(errors):.1%}, worst {errors.max():.1%}"
    )


def random_shapes(count: int, layers: int, widest: int) -> Iterator[tuple[list[int], int]]:
    """Yield widths, spaced evenly in the logarithm, and a rank from 1 to the narrowest."""
    rng = np.random.default_rng(0)
    for _ in range(count):
        number = int(rng.integers(2, layers + 1))
        drawn = np.exp(rng.uniform(math.log(4), math.log(widest + 1), number + 1))
        widths = [int(width) for width in drawn]
        yield widths, int(rng.integers(1, min(widths) + 1))


def network(widths: list[int], rank: int, *, num_draws: int, num_burnin_steps: int) -> Gate:
    """Return a balanced network of these widths at its teacher."""
    asymptotic = exact.deep_linear(widths, rank)
    pull = PULL_PER_UNIT * max(widths)
    n_beta = N_BETA_PER_PULL * pull

    def build() -> Problem:
        model = DeepLinear(exact.balanced_weights(widths, rank))
        inputs = math.sqrt(widths[0]) * torch.eye(widths[0], dtype=torch.float64)
        with torch.no_grad():
            return model, squared_error, [(inputs, model(inputs))]

    return Gate(
        f"{widths} rank {rank}",
        asymptotic.value - (asymptotic.multiplicity - 1) / math.log(n_beta),
        0.15,
        build,
        LLC(
            method="lm_sgld",
            n_beta=n_beta,
            localization=pull,
            lr=LR_TIMES_N_BETA / n_beta,
            num_draws=num_draws,
            num_burnin_steps=num_burnin_steps,
        ),
    )


if __name__ == "__main__":
    main()
