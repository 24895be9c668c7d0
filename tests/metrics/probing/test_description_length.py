import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from devtrack.metrics.probing._description_length import OnlineCode


def _planted(count=512, signal=2.0, seed=0):
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, count)
    x = rng.normal(size=(count, 4))
    x[:, 0] += signal * y
    return x, y


def _code(x, y, *cuts, sample=None):
    code = OnlineCode(2, inverse_penalty=2.0)
    for part in np.split(np.arange(len(y)), cuts):
        code.add(x[part], y[part], part if sample is None else sample[part])
    return code.bits_per_row()


def test_it_is_the_sum_of_what_each_block_costs_given_those_before():
    """A naive twin: blocks of 16, 16, 32, …, 256 rows, scikit-learn's own probabilities."""
    x, y = _planted()
    total = 16.0
    for start in (16, 32, 64, 128, 256):
        mean, scale = x[:start].mean(0), x[:start].std(0)
        fit = LogisticRegression(C=2.0, tol=1e-8, max_iter=10_000)
        fit.fit((x[:start] - mean) / scale, y[:start])
        block = slice(start, 2 * start)
        share = fit.predict_proba((x[block] - mean) / scale)[np.arange(start), y[block]]
        total -= np.log2((start * share + 0.5) / (start + 1.0)).sum()
    bits, se = _code(x, y)
    assert bits == pytest.approx(total / 512, rel=1e-3)
    assert 0 < se < 0.1


def test_random_labels_cost_what_they_are_worth():
    x, y = _planted(2048, signal=0.0)
    bits, se = _code(x, y)
    assert bits + 3 * se > 1.0
    assert bits < 1.1  # four weights, half a logarithm of the rows each


@pytest.mark.parametrize("copies", [1, 4])
def test_the_error_is_that_of_repeated_samples(copies):
    """With rows that come in fours, as positions of one sequence do, errors are over fours."""
    found = []
    for seed in range(60):
        x, y = _planted(512 // copies, seed=seed)
        same = np.repeat(np.arange(len(y)), copies)
        found.append(_code(x[same], y[same], sample=same))
    spread = np.std([bits for bits, _ in found])
    # the spread is known to 9 %; the maps differ too, which the error leaves out
    assert np.sqrt(np.mean([se**2 for _, se in found])) == pytest.approx(spread, rel=0.3)


def test_later_chunks_are_coded_by_the_maps_of_those_before():
    x, y = _planted(2048)
    whole, se = _code(x, y)
    parts, _ = _code(x, y, 512, 1024, 1536)
    assert parts == pytest.approx(whole, abs=2 * se)


def test_few_rows_are_sent_as_they_are():
    x, y = _planted(20)
    assert _code(x, y)[0] == 1.0
