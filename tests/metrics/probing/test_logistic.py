import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from devtrack.metrics.probing._logistic import AveragedLogistic


def _planted(count=300, num_classes=4, seed=0):
    rng = np.random.default_rng(seed)
    y = rng.integers(0, num_classes, count)
    return rng.normal(size=(count, 6)) + 2 * np.eye(num_classes, 6)[y], y


def test_one_chunk_is_scikit_learns_own():
    x, y = _planted()
    scaler = StandardScaler().fit(x)
    oracle = LogisticRegression(C=0.5, tol=1e-3, max_iter=1000).fit(scaler.transform(x), y)
    probe = AveragedLogistic(1, 4)
    probe.add(x.copy(), [y], 0.5)
    expected = oracle.decision_function(scaler.transform(x))
    np.testing.assert_allclose(probe.logits(x), expected, atol=1e-6)


def test_a_class_comes_from_the_chunks_that_have_it():
    x, y = _planted()
    probe = AveragedLogistic(1, 4)
    few = y < 3
    probe.add(x[few], [y[few]], 1.0)
    assert np.isneginf(probe.logits(x)[:, 3]).all()
    probe.add(x.copy(), [y], 1.0)
    assert (probe.logits(x).argmax(1) == y).mean() > 0.8


def test_a_chunk_of_one_class_and_two_label_sets():
    x, y = _planted(num_classes=2)
    probe = AveragedLogistic(2, 2)
    probe.add(x.copy(), [np.zeros(300, dtype=int), y], 1.0)
    assert (probe.logits(x, 0).argmax(1) == 0).all()
    assert (probe.logits(x, 1).argmax(1) == y).mean() > 0.9
