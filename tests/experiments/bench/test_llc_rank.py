from itertools import pairwise

import numpy as np
import pytest

from devtrack.records import Status
from experiments import exact
from experiments.bench import llc_rank
from experiments.bench.gates import estimate


def test_the_loss_holds_the_product_tighter_than_the_pull_by_the_factor_named():
    widths = [9, 4, 7, 11]
    settings = llc_rank.sampler(widths)
    rng = np.random.default_rng(0)
    drawn = []
    for _ in range(300):  # layers held by the pull alone
        layers = [rng.normal(size=(b, a)) for a, b in pairwise(widths)]
        drawn.append(layers[2] @ layers[1] @ layers[0] / settings.localization**1.5)
    # 3.3 % seen over seeds: entries of a product share its layers
    assert settings.n_beta * np.var(drawn) == pytest.approx(llc_rank.HOLD, rel=0.13)


@pytest.mark.slow
def test_a_network_has_what_a_perfect_sampler_would_answer():
    widths, rank = [6, 8, 5], 2
    gate = llc_rank.network(widths, rank)
    row = estimate(gate)
    n_beta, pull = row.attrs["n_beta"], row.attrs["localization"]
    perfect, se = exact.tempered_deep_linear(
        widths, rank, n_beta=n_beta, localization=pull, num_sweeps=2000
    )
    assert row.status is Status.OK, row.attrs["reasons"]
    assert np.hypot(row.se, se) < 0.03 * perfect
    assert row.value == pytest.approx(perfect, abs=4 * np.hypot(row.se, se))


def test_shapes_are_those_of_the_seed_and_within_their_bounds():
    shapes = [*llc_rank.random_shapes(50, 4, 40, seed=3)]
    assert shapes == [*llc_rank.random_shapes(50, 4, 40, seed=3)]
    assert {len(widths) - 1 for widths, _ in shapes} == {2, 3, 4}
    assert all(min(widths) >= 4 and max(widths) <= 40 for widths, _ in shapes)
    # both ends of a rank's range are met, and none lies beyond
    assert min(rank for _, rank in shapes) == 1
    assert min(min(widths) - rank for widths, rank in shapes) == 0
