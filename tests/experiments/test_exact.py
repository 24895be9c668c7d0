import numpy as np
import pytest

from experiments import exact


@pytest.mark.parametrize(
    ("widths", "rank", "value", "multiplicity"),
    [
        ([2, 2, 2], 0, 1.5, 1),
        ([2, 2, 2], 1, 2.0, 2),
        ([5, 3, 5], 3, 10.5, 1),
        ([5, 3, 5], 0, 6.5, 2),
        ([5, 4, 5], 0, 8.0, None),
        ([8, 4, 8], 2, 19.5, None),
        ([5, 5, 5, 5], 2, 11.0, 1),
        ([10, 10, 10], 5, 47.0, 2),
        ([10, 10, 10, 10], 3, 42.0, 3),
        ([10, 20, 20, 10], 10, 50.0, None),
        ([16, 8, 8, 8, 16], 4, 62.0, None),
        ([30] * 5, 10, 375.0, None),
    ],
)
def test_deep_linear_gives_the_checked_values(widths, rank, value, multiplicity):
    found = exact.deep_linear(widths, rank)
    assert found.value == pytest.approx(value, rel=1e-12)
    if multiplicity is not None:
        assert found.multiplicity == multiplicity


def test_full_rank_is_regular_when_no_hidden_layer_is_narrower():
    # The map is then any matrix: d/2 with d its number of entries.
    assert exact.deep_linear([4, 6, 3], 3).value == 4 * 3 / 2


def test_a_rank_beyond_the_narrowest_layer_is_refused():
    with pytest.raises(ValueError, match=r"rank=4: must lie in 0…3"):
        exact.deep_linear([5, 3, 5], 4)


def test_balanced_weights_have_the_rank_in_every_layer_and_in_the_product():
    weights = exact.balanced_weights([7, 4, 6, 5], 3, seed=1)
    assert [w.shape for w in weights] == [(4, 7), (6, 4), (5, 6)]
    product = weights[2] @ weights[1] @ weights[0]
    for matrix in (*weights, product):
        singular = np.linalg.svd(matrix, compute_uv=False)
        np.testing.assert_allclose(singular[:3], 1, atol=1e-12)
        np.testing.assert_allclose(singular[3:], 0, atol=1e-12)


def test_tempered_mean_of_a_quadratic_is_its_closed_form():
    # Σ ½ nβ h / (nβ h + γ): what localisation leaves of d/2.
    mean = exact.tempered_mean(
        lambda w1, w2: 0.5 * (w1**2 + 3 * w2**2), n_beta=10.0, localization=5.0
    )
    assert mean == pytest.approx(0.5 * 10 / 15 + 0.5 * 30 / 35, rel=1e-6)


def test_tempered_mean_of_a_crossing_goes_to_its_learning_coefficient():
    # λ = ½, m = 2: the shift is (m − 1) / ln nβ to leading order, so it shrinks slowly.
    means = [
        exact.tempered_mean(lambda a, b: (a * b) ** 2, n_beta=n_beta, localization=1.0)
        for n_beta in (1e3, 1e5, 1e7)
    ]
    shifts = 0.5 - np.array(means)
    assert (np.diff(shifts) < 0).all()
    np.testing.assert_allclose(shifts[2], 1 / np.log(1e7), rtol=0.25)


def test_a_network_of_two_scalars_is_the_crossing():
    # ½ (w1 w2)² at w* = 0: the quadrature knows it exactly.
    expected = exact.tempered_mean(lambda a, b: 0.5 * (a * b) ** 2, n_beta=300.0, localization=5.0)
    found, se = exact.tempered_deep_linear(
        [1, 1, 1], 0, n_beta=300.0, localization=5.0, num_sweeps=10_000
    )
    assert se < 0.03 * expected
    assert found == pytest.approx(expected, abs=4 * se)


def test_one_layer_is_a_quadratic():
    # every entry has curvature 1: ½ nβ / (nβ + γ) each
    found, se = exact.tempered_deep_linear(
        [4, 3], 2, n_beta=10.0, localization=5.0, num_sweeps=4000
    )
    assert found == pytest.approx(6 * 10 / 15, abs=4 * se)


def test_a_network_held_by_the_loss_has_its_learning_coefficient():
    truth = exact.deep_linear([7, 5, 6], 3).value
    found, se = exact.tempered_deep_linear(
        [7, 5, 6], 3, n_beta=3e5, localization=5.0, num_sweeps=3000
    )
    assert se < 0.01 * truth
    assert found == pytest.approx(truth, abs=4 * se)
