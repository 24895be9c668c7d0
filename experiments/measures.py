"""What experiments take from a finished run: dates of changes, and checks of the sampler."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import nn

from devtrack import LLC, Row, Subject, TrainingProgress, open_store
from devtrack.metrics.metric import LossFunction, Metric
from devtrack.model_state.snapshots import load_into, read
from devtrack.tracking._evaluate import evaluate
from devtrack.tracking._training_loss import training_step_loss


def half_way(
    path: Sequence[tuple[int, float, float, str]], *, falls: bool, log: bool = False
) -> float:
    """Return the last step at which a series crosses the middle of its change.

    The change goes from the extreme (highest, if it falls) to the final value. NaN if the series
    ends at its extreme. Only numbers of status ok count.

    Args:
        path: (step, value, se, status) in order of steps; step 0 is left out.
        falls: Whether the change is a fall.
        log: Take the middle of the logarithms of values.
    """
    trusted = [line for line in path if line[3] == "ok" and line[0] > 0]
    steps, values = (np.array([line[i] for line in trusted], float) for i in (0, 1))
    if not steps.size:
        return math.nan
    heights = np.log(np.maximum(values, 1e-12)) if log else values
    heights = heights if falls else -heights
    top = int(np.argmax(heights))
    middle = (heights[top] + heights[-1]) / 2
    above = np.flatnonzero(heights[top:-1] > middle) + top
    if not above.size:
        return math.nan
    i = above[-1]
    share = (heights[i] - middle) / (heights[i] - heights[i + 1])
    return float(np.exp(np.interp(share, [0, 1], np.log(steps[[i, i + 1]]))))


def halved(llc: LLC) -> LLC:
    """Return settings with half the step size that go as far: as many draws, twice as far apart.

    ``SamplerConfig.halved`` takes twice as many. The figures of the experiments are with this.
    """
    return replace(
        llc,
        lr=llc.config.lr / 2,
        num_burnin_steps=2 * llc.num_burnin_steps,
        num_steps_bw_draws=2 * llc.num_steps_bw_draws,
    )


def estimate(
    llc: LLC, model: nn.Module, batches: Sequence[Any], *, loss: LossFunction = training_step_loss
) -> Row:
    """Return the LLC of a model as it stands."""
    device = next(model.parameters()).device
    generator = torch.Generator(device).manual_seed(0)
    subject = Subject(model.eval(), 0, batches, loss, generator)
    (row,) = [one for one in llc.compute(subject) if isinstance(one, Row)]
    return row


def measure_snapshots(
    store: str,
    run_id: str,
    metrics: Sequence[Metric],
    batches: Sequence[Any],
    *,
    model: nn.Module,
    every: int = 1,
    seed: int = 0,
) -> None:
    """Compute metrics on the stored snapshots of a run, and add their rows to it.

    Args:
        store, run_id: The run, with snapshots.
        metrics: What to measure.
        batches: What to measure on, on the model's device.
        model: Of the run's class; its weights are overwritten.
        every: Measure every so many snapshots, counted from the last one.
        seed: Of the metrics.
    """
    opened = open_store(store)
    listed = opened.sql(
        "SELECT step, epoch, samples_seen, path FROM snapshots WHERE run_id = ? ORDER BY step",
        [run_id],
    ).fetchall()
    writer = opened.writer(opened.run(run_id))
    for step, epoch, samples, path in listed[::-1][::every][::-1]:
        load_into(model, read(opened.path / run_id / path))
        found = evaluate(
            metrics,
            model=model,
            step=step,
            batches=batches,
            loss=training_step_loss,
            seed=seed,
        )
        writer.append(TrainingProgress(step, epoch, samples), found.records)
    writer.close()


def half_the_step(
    store: str, run_id: str, llc: LLC, model: nn.Module, batches: Sequence[Any]
) -> list[tuple[int, float, float, float, str]]:
    """Return (step, ε, LLC, se, status) with ε and ε / 2 at three snapshots of a run.

    Args:
        store, run_id: The run, with snapshots.
        llc: The settings that were used.
        model: Of the run's class; its weights are overwritten.
        batches: The data that were used.
    """
    opened = open_store(store)
    listed = opened.sql(
        "SELECT step, path FROM snapshots WHERE run_id = ? ORDER BY step", [run_id]
    ).fetchall()
    lines = []
    for at in (len(listed) // 2, 3 * len(listed) // 4, len(listed) - 1):
        step, path = listed[at]
        load_into(model, read(opened.path / run_id / path))
        for settings in (llc, halved(llc)):
            row = estimate(settings, model, batches)
            lines.append((step, settings.config.lr, row.value, row.se, str(row.status)))
    return lines
