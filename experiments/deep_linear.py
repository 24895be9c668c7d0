"""A deep linear network learns its modes one by one, and its learning coefficient counts them.

    python -m experiments.deep_linear --store runs

Claims under test: (1) from small weights the singular modes of the teacher are learned one after
another, mode i of strength s_i being half learned at the time log(s_i / u_i − 1) / 2 s_i with u_i
its strength in the first weights (Saxe et al. 2014, arXiv:1312.6120, two layers); (2) on the
plateau where r modes are learned the LLC is that of a network at a teacher of rank r (Aoyagi 2024;
``experiments/exact.py``), less (m − 1) / ln nβ at multiplicity m.

On every plateau but the last the weights are at a saddle of the training loss, where an LLC is not
defined. Two are measured: ``llc``, on the squared error to the network's own answers, of which any
weights are a minimum, and ``llc/teacher``, on the training loss.

Settings of the LLC: nβ 10³, γ 1, LM-SGLD at ε 1e-4, 16 chains of 300 draws four steps apart after
600 steps; inputs whitened, no noise in the data. At ε 2e-4 the Gamma ratio is above 12 from two
modes on. The last table repeats the estimate at the end with ε / 2.

Found (seed 0, 2 minutes): both claims hold. Modes were half learned at steps 360, 981 and 2501; the
formula says 356, 913 and 2473, with snapshots a tenth apart. The LLC of the four plateaus was 13.3,
16.4, 19.0 and 21.6 against 14, 16.9, 19.5 and 21.9: low by 5, 3, 3 and 1 %, least where least of
the network is unused. ε / 2 agrees within the error (21.55 ± .15 and 21.73 ± .15 at the end). Three
transitions are found, one a mode, at 344, 932 and 2307. On the training loss no estimate at a
saddle was trusted, and all three at the end were. These LLCs were taken at γ 1, where a third of
the directions do not settle; on exact plateaus γ 3 gives 0.4 to 1.5 % less.
"""

from __future__ import annotations

import itertools
import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from lightning.pytorch import LightningModule

from devtrack import LLC, FunctionMetric, Row, Subject, Tracker, open_store, schedules
from devtrack.cli._demo_training import one_thread
from devtrack.records import ChainTrace, Event
from devtrack.tracking._training_loss import training_step_loss
from experiments import exact
from experiments.measures import estimate, halved
from experiments.run import Batches, conclude, options, rows_of, show, train

WIDTHS = (8, 4, 8)
STRENGTHS = (5.0, 1.7, 0.6)
"""Singular values of the teacher, far enough apart that each mode has a plateau of its own."""

FIRST_SCALE = 1e-3
"""Singular values of every layer before training."""

LEARNING_RATE = 5e-3
MAX_STEPS = 4000
SAMPLES = 64
SETTLED = 0.05
"""On a plateau every mode is within this share of its strength from 0 or from its strength."""

LLC_SETTINGS = LLC(
    method="lm_sgld",
    n_beta=1e3,
    localization=1.0,
    lr=1e-4,
    num_chains=16,
    num_draws=300,
    num_burnin_steps=600,
    num_steps_bw_draws=4,
)


class DeepLinear(LightningModule):
    """x ↦ W₂ W₁ x.

    Shapes:
        batch: inputs (sample, 8) and targets (sample, 8).
    """

    def __init__(self, frames: Sequence[torch.Tensor]) -> None:
        super().__init__()
        self.layers = torch.nn.ParameterList(
            [torch.nn.Parameter(FIRST_SCALE * frame) for frame in frames]
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the product applied to rows of ``x``."""
        for weight in self.layers:
            x = x @ weight.T
        return x

    def training_step(
        self, batch: tuple[torch.Tensor, torch.Tensor], batch_idx: int
    ) -> torch.Tensor:
        """Return the mean over samples of ½ ‖error‖²."""
        x, y = batch
        return 0.5 * (self(x) - y).square().sum(-1).mean()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return plain gradient descent."""
        return torch.optim.SGD(self.parameters(), lr=LEARNING_RATE)


class Teacher:
    """A linear map of known singular modes, with whitened inputs.

    Attributes:
        left, right: Singular vectors as columns, (8, mode).
        batch: Inputs (sample, 8) whose second moments are the identity, and targets.
    """

    def __init__(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        rank = len(STRENGTHS)
        vectors = [np.linalg.qr(rng.normal(size=(w, w)))[0][:, :rank] for w in WIDTHS[::2]]
        self.right, self.left = (torch.as_tensor(v) for v in vectors)
        whitened = np.linalg.qr(rng.normal(size=(SAMPLES, WIDTHS[0])))[0] * math.sqrt(SAMPLES)
        inputs = torch.as_tensor(whitened)
        targets = (
            inputs @ (self.left * torch.tensor(STRENGTHS, dtype=torch.float64) @ self.right.T).T
        )
        self.batch = (inputs, targets)

    def strengths(self, model: Any) -> list[float]:
        """Return how much of each mode a network has learned: uᵢᵀ W vᵢ."""
        with torch.no_grad():
            learned = model(self.right.T).T  # (8, mode)
        return (self.left * learned).sum(0).tolist()

    def first_strengths(self, frames: Sequence[torch.Tensor]) -> list[float]:
        """Return the part of each mode in the first weights that grows: ‖W₁ vᵢ + W₂ᵀ uᵢ‖² / 4.

        The other part, of W₁ vᵢ − W₂ᵀ uᵢ, decays.
        """
        first, second = (FIRST_SCALE * frame for frame in frames)
        return ((first @ self.right + second.T @ self.left).square().sum(0) / 4).tolist()


class Modes:
    """Strength of every mode; on a plateau the exact LLC of as many modes."""

    name = "mode"

    def __init__(self, teacher: Teacher) -> None:
        self._teacher = teacher

    def compute(self, subject: Subject) -> Iterator[Row]:
        """Yield a row per mode and, on a plateau, the exact LLC at the sampler's nβ."""
        strengths = self._teacher.strengths(subject.model)
        for number, strength in enumerate(strengths, start=1):
            yield Row(f"mode/{number}", strength)
        if (rank := rank_of(strengths)) is not None:
            assert LLC_SETTINGS.n_beta is not None
            value, multiplicity = exact.deep_linear(WIDTHS, rank)
            shift = (multiplicity - 1) / math.log(LLC_SETTINGS.n_beta)
            attrs = {"rank": rank, "lambda": value, "multiplicity": multiplicity}
            yield Row("llc/exact", value - shift, attrs=attrs)


def rank_of(strengths: Sequence[float]) -> int | None:
    """Return how many modes are learned; None between two plateaus."""
    shares = [strength / full for strength, full in zip(strengths, STRENGTHS)]
    if any(min(abs(share), abs(share - 1)) > SETTLED for share in shares):
        return None
    return sum(share > 0.5 for share in shares)


class OwnLLC:
    """The LLC on the error to the network's own answers, of which its weights are a minimum."""

    name = "llc"

    def __init__(self, settings: LLC) -> None:
        self._settings = settings

    def compute(self, subject: Subject) -> Iterator[Row | ChainTrace | Event]:
        """Yield what ``LLC`` does."""
        with torch.no_grad():
            own = [(x, subject.model(x)) for x, _ in subject.batches]
        yield from self._settings.compute(replace(subject, batches=own))


def random_frames(seed: int) -> list[torch.Tensor]:
    """Return layers whose singular values are all 1, from input to output."""
    generator = torch.Generator().manual_seed(seed)
    frames = []
    for before, after in itertools.pairwise(WIDTHS):
        normal = torch.randn(
            max(before, after), min(before, after), generator=generator, dtype=torch.float64
        )
        q = torch.linalg.qr(normal)[0]
        frames.append(q if after >= before else q.T.contiguous())
    return frames


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the experiment."""
    given = options(__doc__).parse_args(arguments)
    steps, points = (400, 4) if given.smoke else (MAX_STEPS, 55)
    short = replace(LLC_SETTINGS, num_draws=50, num_burnin_steps=100)
    settings = LLC_SETTINGS
    if given.smoke:
        short = settings = replace(short, num_draws=10, num_burnin_steps=20, num_steps_bw_draws=1)
    teacher = Teacher(given.seed)
    metrics = [
        FunctionMetric("loss", training_step_loss),
        OwnLLC(settings),
        Modes(teacher),
        replace(short, name="llc/teacher"),
    ]
    with one_thread():
        tracker = Tracker(
            given.store,
            schedules.log_spaced(points, first=20, last=steps),
            name="deep_linear",
            metrics=metrics,
            data=[teacher.batch],
            use_loggers=False,
            seed=given.seed,
        )
        model = train(
            lambda: DeepLinear(random_frames(given.seed + 1)),
            Batches(lambda _: teacher.batch, steps),
            tracker=tracker,
            seed=given.seed,
        )
        run_id = str(tracker.run_id)
        conclude(
            given.store,
            run_id,
            left_out=["llc/exact", "llc/teacher"],
            drawn=["loss", "llc", "llc/exact", "mode/*"],
        )
        report_plateaus(given.store, run_id)
        report_modes(given.store, run_id, teacher.first_strengths(random_frames(given.seed + 1)))
        rows = [
            (one.lr, estimate(one, model, [teacher.batch])) for one in (settings, halved(settings))
        ]
        show("LLC at the end", ("lr", "LLC", "se"), [(lr, r.value, r.se) for lr, r in rows])
    return 0


def report_plateaus(store: str, run_id: str) -> None:
    """Print the LLC of every plateau next to the exact one."""
    found = open_store(store).sql(PLATEAUS, [run_id])
    show("LLC by modes learned, and Aoyagi's value", found.columns, found.fetchall())


PLATEAUS = """
    SELECT (exact.attrs->>'rank')::INT AS modes,
           min(exact.step) AS first,
           max(exact.step) AS last,
           any_value((exact.attrs->>'lambda')::DOUBLE) AS lambda,
           any_value((exact.attrs->>'multiplicity')::INT) AS m,
           any_value(exact.value) AS exact,
           avg(own.value) FILTER (own.status = 'ok') AS llc,
           stddev(own.value) FILTER (own.status = 'ok') AS spread,
           count(*) FILTER (own.status = 'ok') || '/' || count(*) AS ok,
           avg(own.value) FILTER (own.status = 'ok') / any_value(exact.value) - 1 AS error,
           median(teacher.value) AS on_teacher,
           count(*) FILTER (teacher.status = 'ok') || '/' || count(*) AS teacher_ok
    FROM metrics exact
    JOIN metrics own ON own.run_id = exact.run_id AND own.step = exact.step AND own.metric = 'llc'
    LEFT JOIN metrics teacher ON teacher.run_id = exact.run_id AND teacher.step = exact.step
        AND teacher.metric = 'llc/teacher'
    WHERE exact.metric = 'llc/exact' AND exact.run_id = ?
    GROUP BY modes ORDER BY modes
"""


def report_modes(store: str, run_id: str, first: Sequence[float]) -> None:
    """Print when every mode was half learned, next to the formula."""
    lines = []
    for number, (strength, start) in enumerate(zip(STRENGTHS, first), start=1):
        path = rows_of(store, run_id, f"mode/{number}")
        expected = math.log(strength / start - 1) / (2 * strength) / LEARNING_RATE
        lines.append((number, strength, half_way(path, strength), expected))
    show("steps until a mode is half learned", ("mode", "strength", "found", "Saxe"), lines)


def half_way(path: Sequence[tuple[int, float, float, str]], strength: float) -> float | None:
    """Return the step at which a mode passes half its strength, between snapshots by the logit."""
    for (before, low, *_), (after, high, *_) in itertools.pairwise(path):
        if low < strength / 2 <= high < strength:
            logits = [math.log(value / (strength - value)) for value in (low, high)]
            return before + (after - before) * logits[0] / (logits[0] - logits[1])
    return None


if __name__ == "__main__":
    sys.exit(main())
