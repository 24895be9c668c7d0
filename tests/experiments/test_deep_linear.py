import numpy as np
import pytest
import torch

from devtrack import open_store
from experiments import deep_linear
from experiments.deep_linear import STRENGTHS, DeepLinear, Teacher, main, random_frames, rank_of


def test_the_teacher_has_whitened_inputs_and_its_modes_are_read_off():
    teacher = Teacher(0)
    inputs, targets = teacher.batch
    np.testing.assert_allclose(inputs.T @ inputs / len(inputs), np.eye(8), atol=1e-12)
    singular = torch.linalg.svdvals(targets.T @ inputs / len(inputs))
    np.testing.assert_allclose(singular[:3], STRENGTHS, rtol=1e-12)

    def itself(x):
        return x @ (teacher.left * torch.tensor(STRENGTHS, dtype=torch.float64) @ teacher.right.T).T

    assert teacher.strengths(itself) == pytest.approx(STRENGTHS)


def test_a_mode_grows_as_saxe_says():
    """One mode of the gradient flow from its first strength, against the logistic curve."""
    teacher = Teacher(0)
    frames = random_frames(1)
    model = DeepLinear(frames)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    steps = 1500  # time 1.5: the first mode is half-way after 1.8
    for _ in range(steps):
        optimizer.zero_grad()
        model.training_step(teacher.batch, 0).backward()
        optimizer.step()
    strength, start = STRENGTHS[0], teacher.first_strengths(frames)[0]
    expected = strength / (1 + (strength / start - 1) * np.exp(-2 * strength * steps * 1e-3))
    assert teacher.strengths(model)[0] == pytest.approx(expected, rel=0.05)  # 2 s ε per e-folding


@pytest.mark.parametrize(
    ("strengths", "rank"),
    [((0, 0, 0), 0), ((5.1, 0.01, 0), 1), ((5, 1.7, 0.6), 3), ((5, 0.9, 0), None)],
)
def test_only_plateaus_have_a_rank(strengths, rank):
    assert rank_of(strengths) == rank


def test_smoke(tmp_path, capsys):
    threads, state = torch.get_num_threads(), torch.random.get_rng_state()
    store = tmp_path / "runs"
    assert main(["--store", str(store), "--smoke"]) == 0
    table = capsys.readouterr().out
    assert "Aoyagi" in table and "Saxe" in table
    assert (tmp_path / "deep_linear.png").read_bytes().startswith(b"\x89PNG")
    exact = open_store(store).sql("SELECT DISTINCT value FROM metrics WHERE metric = 'llc/exact'")
    assert (deep_linear.exact.deep_linear((8, 4, 8), 0).value,) in exact.fetchall()
    assert threads == torch.get_num_threads()
    assert torch.equal(state, torch.random.get_rng_state())
