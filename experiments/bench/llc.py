"""Print what an LLC costs: devinterp against the engines here, on the same work in one run.

    python -m experiments.bench.llc [--quick] [--large] [--device cuda] [--tasks TMS "deep linear"]

For each task: seconds of one estimate, its standard error as the spread over repeated estimates
(not the engine's own claim), and how many times sooner than devinterp it reaches an equal standard
error. On a CPU the seconds are those of the process, which neighbours on the machine disturb less.
The rows 'devinterp' to 'vectorized' have the same settings; 'lm_sgld' takes larger steps, and where
the others do not reach equilibrium its estimate lies higher: compare 'ok' before the times.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from devtrack.metrics.llc import LLC
from devtrack.metrics.metric import Subject
from devtrack.rows import Row, Status
from experiments.bench.tasks import Built, Task, tasks

HEAD = ("task", "engine", "seconds", "x floor", "estimate", "se", "ok", "time to equal se")
LINE = "{:<15} {:<11} {:>8} {:>8} {:>9} {:>8} {:>5}  {}"
INIT_BATCHES = 32
"""Batches on which devinterp estimates L(w*), per chain: its own default."""


class Answer(NamedTuple):
    """One estimate; ``ok`` is None where the engine has no status."""

    value: float
    ok: bool | None = None


def main() -> None:
    """Run the tasks and print one line per engine."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--tasks", nargs="+", help="names; all if left out")
    parser.add_argument("--large", action="store_true", help="with the LM of 3M weights")
    parser.add_argument("--quick", action="store_true", help="a quarter of the draws")
    parser.add_argument("--scale", type=float, default=1.0, help="share of the draws to take")
    parser.add_argument("--repeats", type=int, default=8)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    scale = 0.25 if options.quick else options.scale
    print(
        f"{options.device}, {options.threads} thread(s), {options.repeats} repeats, draws × {scale}"
    )
    print(LINE.format(*HEAD))
    for task in tasks(large=options.large):
        if not options.tasks or task.name in options.tasks:
            _print_task(_scaled(task, scale), options.device, options.repeats)


def _print_task(task: Task, device: str, repeats: int) -> None:
    built = task.build(device)
    floor_s = _timed(lambda: run_floor(built, task.reference), device)
    print(LINE.format(task.name, "floor", f"{floor_s:.2f}", "1.0", "", "", "", ""), flush=True)
    first: tuple[float, float] | None = None
    for name, run in engines(built, task):
        run(0)  # what is loaded or compiled once
        seconds, answers = _repeated(run, device, repeats)
        values = np.array([answer.value for answer in answers])
        se = float(values.std(ddof=1))
        first = first or (seconds, se)
        gain = first[0] * first[1] ** 2 / (seconds * se**2)
        oks = [a.ok for a in answers if a.ok is not None]
        print(
            LINE.format(
                task.name,
                name,
                f"{seconds:.2f}",
                f"{seconds / floor_s:.2f}",
                f"{values.mean():.2f}",
                f"{se:.3f}",
                f"{sum(oks)}/{len(oks)}" if oks else "-",
                f"{gain:.3g} × sooner",
            ),
            flush=True,
        )


def _repeated(
    run: Callable[[int], Answer], device: str, repeats: int
) -> tuple[float, list[Answer]]:
    """Return the mean seconds of one estimate, and all estimates."""
    answers: list[Answer] = []

    def run_all() -> None:
        answers.extend(run(seed) for seed in range(1, repeats + 1))

    return _timed(run_all, device) / repeats, answers


def engines(built: Built, task: Task) -> Iterator[tuple[str, Callable[[int], Answer]]]:
    """Yield (name, function of a seed) of everything that estimates, devinterp first."""
    yield "devinterp", lambda seed: run_devinterp(built, task.reference, seed=seed)
    for engine in ("reference", "vectorized"):
        settings = replace(task.reference, engine=engine)
        yield engine, lambda seed, s=settings: run_llc(built, s, seed=seed)
    yield "lm_sgld", lambda seed: run_llc(built, task.default, seed=seed)


def run_llc(built: Built, settings: LLC, *, seed: int) -> Answer:
    """Return our estimate."""
    model, loss, batches = built
    generator = torch.Generator(batches[0][0].device).manual_seed(seed)
    records = settings.compute(Subject(model, 0, batches, loss, generator))
    row = next(record for record in records if isinstance(record, Row))
    return Answer(row.value, row.status is Status.OK)


def run_devinterp(built: Built, settings: LLC, *, seed: int) -> Answer:
    """Return the estimate as ``devinterp.slt.llc`` takes it, burn-in left out in its favour."""
    from devinterp.optim import SGMCMC
    from devinterp.slt.sampler import sample_single_chain

    model, loss, batches = built
    device = batches[0][0].device
    dataset = [
        {"input_ids": x.cpu(), "targets": y.cpu()}
        for batch in batches
        for x, y in zip(*batch, strict=True)
    ]
    size = len(batches[0][0])
    n_beta = settings.settings.n_beta_for(size)

    def evaluate(walker: nn.Module, data: dict[str, torch.Tensor]) -> tuple[torch.Tensor, Any]:
        batch = (data["input_ids"].to(device), data["targets"].to(device))
        return loss(walker, batch).mean(), {}

    drawn: list[float] = []
    inputs, targets = (torch.cat(parts) for parts in zip(*batches, strict=True))
    order = torch.Generator().manual_seed(seed)
    at_center = []
    with contextlib.redirect_stderr(io.StringIO()):  # a progress bar per chain
        for chain in range(settings.num_chains):
            sample_single_chain(
                model,
                dataset,  # pyright: ignore[reportArgumentType] - a list is a map-style dataset
                evaluate,  # pyright: ignore[reportArgumentType] - it is handed the collated dict
                dict.fromkeys(dict(model.named_parameters())),
                num_draws=settings.num_draws,
                num_burnin_steps=settings.num_burnin_steps,
                sampling_method=SGMCMC.sgld,  # pyright: ignore[reportArgumentType]
                sampling_method_kwargs={
                    "lr": settings.lr,
                    "localization": settings.localization,
                    "nbeta": n_beta,
                },
                chain=chain,
                seed=1000 * seed + chain,
                dataloader_seed=1000 * seed + chain,
                device=str(device),
                batch_size=size,
                callbacks=[lambda loss, **_: drawn.append(float(loss))],
            )
            with torch.no_grad():
                for _ in range(INIT_BATCHES):
                    rows = torch.randperm(len(targets), generator=order)[:size].to(device)
                    at_center.append(float(loss(model, (inputs[rows], targets[rows])).mean()))
    return Answer(n_beta * (float(np.mean(drawn)) - float(np.mean(at_center))))


def run_floor(built: Built, settings: LLC) -> None:
    """Take the plain forward and backward passes of all chain steps, and nothing else."""
    model, loss, batches = built
    num_steps = settings.num_burnin_steps + settings.num_draws
    for step in range(settings.num_chains * num_steps):
        loss(model, batches[step % len(batches)]).mean().backward()
        model.zero_grad()


def _scaled(task: Task, scale: float) -> Task:
    def fewer(settings: LLC) -> LLC:
        return replace(
            settings,
            num_draws=max(8, round(scale * settings.num_draws)),
            num_burnin_steps=max(4, round(scale * settings.num_burnin_steps)),
        )

    return replace(task, reference=fewer(task.reference), default=fewer(task.default))


def _timed(action: Callable[[], Any], device: str) -> float:
    on_gpu = device.startswith("cuda")
    clock = time.perf_counter if on_gpu else time.process_time
    start = clock()
    action()
    if on_gpu:
        torch.cuda.synchronize()
    return clock() - start


if __name__ == "__main__":
    main()
