"""Print how well LLCs rank random balanced deep linear networks, whose exact values are known.

    python -m experiments.bench.llc_rank [--count 20] [--layers 4] [--seed 0] [--large]

One rule sets the sampler for all of them, from their widths alone:

- Where nothing but the pull holds the layers, an entry of their product has the variance
  (product of the inner widths) / γ^L. nβ is 500 over that, so that the loss holds what it can.
- γ is half the geometric mean of the inner widths. Nothing is gained by a stronger one: no point of
  the fibre has a smaller λ than w*, and nβ / γ, for which a flat direction waits, grows as
  γ^(L − 1). Much weaker, nβ is too small for the regular directions: at half of it a perfect
  sampler would find a network of four layers 17 % too low, even with nβ at 1000 over the variance.
- ε is 1.5 over the curvature that spread chains meet, layers' norms multiplied up.
- Directions that the loss leaves flat come to rest within 2 / (εγ) steps. Chains begin at w*, where
  they have not spread, and λ̂ lacks what they have not met: they burn in for half that time and draw
  for a quarter.

The loss is that on whitened inputs, all in one batch, so that the batch adds no noise. The truth is
Aoyagi's λ, less (m − 1) / log nβ at multiplicity m. ``perfect`` says by how much a perfect sampler
would miss it at these nβ and γ (``exact.tempered_deep_linear``): the rest is the chains' error.

A benchmark, not a test: it asserts nothing.

Results: ``experiments/bench/results/llc_rank.md``.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Iterator
from functools import reduce
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from scipy.stats import spearmanr

from devtrack.metrics.llc import LLC
from devtrack.records import Status
from experiments import exact
from experiments.bench.gates import DeepLinear, Gate, Problem, estimate

PULL_PER_UNIT = 0.5
"""γ over the geometric mean of the inner widths."""

HOLD = 500.0
"""By how much the loss holds an entry of the product tighter than the pull does."""

LR_TIMES_CURVATURE = 1.5
"""ε times the curvature that ``sampler`` expects; steps are stable below 4. Exact draws of 40 other
networks met up to 1.9 times that curvature."""

BURNIN = 0.5
DRAWN = 0.25
"""Steps before the draws and during them, in units of the time in which the pull brings a flat
direction to rest, 2 / (εγ)."""

LARGEST = ([320, 160, 320], 80)
"""Widths and rank of a network of 102 400 weights."""

SWEEPS_TIMES_WEIGHTS = 10_000_000
MOST_SWEEPS = 3000
"""Exact draws of each network for the column ``perfect``: a second or two each."""

LINE = "{:<22} {:>4} {:>7} {:>8} {:>8} {:>7} {:>6} {:>7} {:>7} {:>7}  {}"


def main() -> None:
    """Print one line per network, then the rank correlation and the errors."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=20)
    parser.add_argument("--layers", type=int, default=4, help="at most so many, 2 at least")
    parser.add_argument("--widest", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0, help="of widths and ranks")
    parser.add_argument("--large", action="store_true", help="with the one of 100 000 weights")
    options = parser.parse_args()
    torch.set_num_threads(1)
    head = ("widths", "rank", "weights", "truth", "perfect", "error", "se", "equilibrated", "steps")
    print(LINE.format(*head, "seconds", "status"))
    shapes = [
        *random_shapes(
            options.count, options.layers, options.max_transition_width, seed=options.seed
        )
    ]
    truths, values = [], []
    for widths, rank in shapes + [LARGEST] * options.large:
        gate = network(widths, rank)
        start = time.perf_counter()
        row = estimate(gate)
        elapsed_s = time.perf_counter() - start
        truths.append(gate.truth)
        values.append(row.value)
        used = gate.settings.config
        steps = used.num_burnin_steps + used.num_draws * used.num_steps_bw_draws
        weights = sum(a * b for a, b in pairwise(widths))
        perfect, _ = exact.tempered_deep_linear(
            widths,
            rank,
            n_beta=row.attrs["n_beta"],
            localization=used.localization,
            num_sweeps=min(MOST_SWEEPS, SWEEPS_TIMES_WEIGHTS // weights),
        )
        why = "" if row.status is Status.OK else "; ".join(row.attrs["reasons"])[:60]
        print(
            LINE.format(
                str(widths),
                rank,
                weights,
                f"{gate.truth:.1f}",
                f"{perfect / gate.truth - 1:+.1%}",
                f"{row.value / gate.truth - 1:+.1%}",
                f"{row.se / gate.truth:.1%}",
                f"{row.attrs['equilibrated_fraction']:.2f}",
                steps,
                f"{elapsed_s:.0f}",
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


def random_shapes(
    count: int, layers: int, max_transition_width: int, *, seed: int
) -> Iterator[tuple[list[int], int]]:
    """Yield widths, spaced evenly in the logarithm, and a rank from 1 to the narrowest."""
    rng = np.random.default_rng(seed)
    for _ in range(count):
        number = int(rng.integers(2, layers + 1))
        drawn = np.exp(rng.uniform(math.log(4), math.log(max_transition_width + 1), number + 1))
        widths = [int(width) for width in drawn]
        yield widths, int(rng.integers(1, min(widths) + 1))


def network(widths: list[int], rank: int) -> Gate:
    """Return a balanced network of these widths at its teacher, on whitened inputs."""
    settings = sampler(widths)
    assert settings.n_beta is not None
    asymptotic = exact.deep_linear(widths, rank)

    def build() -> Problem:
        model = DeepLinear(exact.balanced_weights(widths, rank))
        with torch.no_grad():
            return model, _squared_distance, [_product(model)]

    return Gate(
        f"{widths} rank {rank}",
        asymptotic.value - (asymptotic.multiplicity - 1) / math.log(settings.n_beta),
        0.15,
        build,
        settings,
    )


def sampler(widths: list[int]) -> LLC:
    """Return the settings that the rule gives for these widths."""
    inner = math.prod(widths[1:-1])
    pull = PULL_PER_UNIT * inner ** (1 / (len(widths) - 2))
    n_beta = HOLD * pull ** (len(widths) - 1) / inner
    norms = [1 + 0.5 * (math.sqrt(a) + math.sqrt(b)) / math.sqrt(pull) for a, b in pairwise(widths)]
    curvature = sum((math.prod(norms) / norm) ** 2 for norm in norms)
    lr = LR_TIMES_CURVATURE / (n_beta * curvature)
    rest = 2 / (lr * pull)
    return LLC(
        method="lm_sgld",
        n_beta=n_beta,
        localization=pull,
        lr=lr,
        num_draws=500,
        num_burnin_steps=round(BURNIN * rest),
        num_steps_bw_draws=math.ceil(DRAWN * rest / 500),
    )


def _product(model: Any) -> torch.Tensor:
    return reduce(lambda done, weight: weight @ done, model.layers)


def _squared_distance(model: Any, batch: torch.Tensor) -> torch.Tensor:
    return 0.5 * (_product(model) - batch).square().sum()


if __name__ == "__main__":
    main()
