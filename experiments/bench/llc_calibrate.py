"""Print what ``devtrack calibrate`` chooses on every task unaided, and whether its answer holds.

    python -m experiments.bench.llc_calibrate [--tasks TMS "deep linear"] [--large] [--pictures DIR]

Each task is trained with snapshots at steps of equal ratios, and calibrated on three of them as the
command chooses them, with its start for what training has gained. The choice's estimate on the last
one stands beside a long run of the same nβ and γ: a quarter of the step over ``--times`` the time,
burn-in too. The deep linear network is at its teacher from the start: it has one snapshot.

Results: ``experiments/bench/results/llc_calibrate.md``.
"""

from __future__ import annotations

import argparse
import math
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch.optim.optimizer import (
    register_optimizer_step_post_hook,
    register_optimizer_step_pre_hook,
)

from devtrack.errors import MetricError
from devtrack.model_state import snapshots
from devtrack.sampling.calibration._calibrate import START, Calibration, calibrate
from devtrack.sampling.config import SamplerConfig
from devtrack.sampling.diagnostics import Diagnosis
from devtrack.sampling.estimator import estimate
from devtrack.sampling.sampler import sample
from experiments.bench.tasks import Built, Task, tasks

RATIO = math.sqrt(2.0)
"""From the step of one snapshot to that of the next."""

HEAD = ("task", "at steps", "passed", "n_beta", "gamma", "lr", "trials", "seconds")
HEAD += ("estimate", "se", "long run", "se", "off by", "rise", "of gain", "status")
LINE = "{:<15} {:<11} {:>6} {:>6} {:>6} {:>8} {:>6} {:>7} "
LINE += "{:>9} {:>6} {:>9} {:>6} {:>7} {:>6} {:>8}  {}"


class Trained(NamedTuple):
    """A task's problem with weights from its training.

    Attributes:
        built: Model, loss, batches.
        points: Weights by step: early, middle and late.
        untrained: Weights before the first step; None if the task does not train.
    """

    built: Built
    points: dict[int, snapshots.Tensors]
    untrained: snapshots.Tensors | None


def train(task: Task, device: str) -> Trained:
    """Build a task and keep weights of its training, which it does itself."""
    kept: dict[int, list[torch.Tensor]] = {}
    num_steps, due = 0, 1.0

    def weights(optimizer: torch.optim.Optimizer) -> list[torch.Tensor]:
        return [p.detach().clone() for group in optimizer.param_groups for p in group["params"]]

    def before(optimizer: Any, *_: Any) -> None:
        if not kept:
            kept[0] = weights(optimizer)

    def after(optimizer: Any, *_: Any) -> None:
        nonlocal num_steps, due
        num_steps += 1
        if num_steps >= due:
            kept[num_steps] = weights(optimizer)
            due = max(due * RATIO, num_steps + 1)

    hooks = [register_optimizer_step_pre_hook(before), register_optimizer_step_post_hook(after)]
    try:
        built = task.build(device)
    finally:
        for hook in hooks:
            hook.remove()
    model = built[0]
    late = snapshots.take(model)
    names = [name for name, _ in model.named_parameters()]
    found = {step: {**late, **dict(zip(names, values))} for step, values in kept.items()}
    found[num_steps] = late
    steps = sorted(step for step in found if step or not num_steps)
    last = len(steps) - 1
    chosen = [steps[index] for index in sorted({last // 4, last // 2, last})]
    return Trained(built, {step: found[step] for step in chosen}, found[0] if num_steps else None)


def answer(trained: Trained, *, seed: int, **choices: Any) -> Calibration:
    """Calibrate unaided."""
    model, loss, batches = trained.built
    return calibrate(
        model,
        list(trained.points.values()),
        loss=loss,
        batches=batches,
        generator=_generator(batches, seed),
        untrained=trained.untrained,
        **choices,
    )


def long_run(trained: Trained, chosen: SamplerConfig, *, times: int, seed: int) -> Diagnosis:
    """Estimate with the same nβ and γ at a quarter of the step, over ``times`` the time."""
    model, loss, batches = trained.built
    settings = replace(
        chosen,
        lr=chosen.lr / 4,
        num_draws=4 * times * chosen.num_draws,
        num_burnin_steps=4 * times * chosen.num_burnin_steps,
        precision="full",
    )
    snapshots.load_into(model, list(trained.points.values())[-1])
    generator = _generator(batches, seed)
    chains = sample(model, loss, batches, config=settings, generator=generator)
    return estimate(chains, settings).diagnosis


def _generator(batches: Any, seed: int) -> torch.Generator:
    return torch.Generator(batches[0][0].device).manual_seed(seed)


def main() -> None:
    """Calibrate each task and print one line for it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", nargs="+", help="names; all if left out")
    parser.add_argument("--large", action="store_true", help="with the LM of 3M weights")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--times", type=int, default=4, help="how much longer the long run is")
    parser.add_argument("--precision", default="full", help="bf16: of all trials, not the long run")
    parser.add_argument("--pictures", type=Path, help="folder for each task's picture")
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(LINE.format(*HEAD))
    for task in tasks(large=options.large):
        if options.tasks and task.name not in options.tasks:
            continue
        trained = train(task, options.device)
        began = time.process_time()
        try:
            start = replace(START, precision=options.precision)
            found = answer(trained, seed=options.seed, start=start)
        except MetricError as error:
            print(f"{task.name:<15} {time.process_time() - began:.0f} s: {error}", flush=True)
            continue
        seconds = time.process_time() - began
        if options.pictures:
            from devtrack.plots.calibration import draw_calibration

            options.pictures.mkdir(parents=True, exist_ok=True)
            picture = options.pictures / f"{task.name.replace(' ', '_')}.png"
            draw_calibration(found).savefig(picture, dpi=200)
        slow = long_run(trained, found.config, times=options.times, seed=options.seed + 1)
        print(_line(task, trained, found, seconds, slow), flush=True)
        print(*(f"    {reason}" for reason in found.reasons), sep="\n", flush=True)


def _line(task: Task, trained: Trained, found: Calibration, seconds: float, slow: Diagnosis) -> str:
    chosen = found.config
    assert chosen.n_beta is not None, "calibrate names nβ"
    own = [t for t in found.trials if t.config == chosen and t.purpose in ("sweep", "half")]
    trial = max(own, key=lambda t: t.point)
    return LINE.format(
        task.name,
        ",".join(str(step) for step in trained.points),
        f"{sum(t.status == 'ok' for t in own)}/{len(trained.points)}",
        f"{chosen.n_beta:g}",
        f"{chosen.localization:g}",
        f"{chosen.lr:.1e}",
        len(found.trials),
        f"{seconds:.0f}",
        f"{trial.value:.2f}",
        f"{trial.se:.2f}",
        f"{slow.value:.2f}",
        f"{slow.se:.2f}",
        f"{trial.value / slow.value - 1:+.1%}",
        f"{trial.value / chosen.n_beta:.3f}",
        "-" if math.isinf(found.training_gain) else f"{found.training_gain:.3f}",
        slow.status,
    )


if __name__ == "__main__":
    main()
