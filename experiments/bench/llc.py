"""Print what an LLC costs: devinterp against the engines here, on the same question in one run.

    python -m experiments.bench.llc [--quick] [--large] [--device cuda] [--tasks TMS "deep linear"]
    python -m experiments.bench.llc --sweep [--tasks ...]

For each task: seconds of one estimate and chain steps per second; the estimates' mean, its distance
from a long run's value, and their standard error as the spread over repeated estimates (not the
engine's own claim). Then how many times sooner than devinterp it reaches an equal standard error,
and an equal error, distance from the long run included: chains that have not reached equilibrium
agree with each other on a wrong value.

On a CPU the seconds are those of the process, which neighbours on the machine disturb less. The
rows 'devinterp' to 'bf16' have the same settings, at the step size of a ladder of factor 2 at
which their error is least (``--sweep``, run with the default engine's chains): at smaller ones
chains do not arrive, agree with each other on a wrong value and look precise (TMS at a tenth: 6.1 ±
.5 where 8.8 is right), at larger ones steps heat them. 'best' is free to choose method, step size,
chains, batches and precision, at the same nβ and γ on the same data.

nβ and γ are such that chains lose less than training has gained: the MLP has those that
``llc_calibrate`` finds, the language models nβ 30 with a pull of 1000 (at nβ 30, γ 300 the loss of
that of 3M rises by 6.8, and training has gained 5.5; the MLP's at nβ 100, γ 100 by 6.4, of 4.7).

Results: ``experiments/bench/results/llc.md``.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from devtrack.metrics.llc import LLC
from devtrack.metrics.metric import Subject
from devtrack.records import Row, Status
from experiments.bench.tasks import Built, Task, tasks

HEAD = ("task", "engine", "seconds", "steps/s", "x floor", "estimate", "off by", "se", "ok")
HEAD += ("equal se", "equal error")
LINE = "{:<15} {:<11} {:>8} {:>8} {:>8} {:>9} {:>8} {:>8} {:>5} {:>10} {:>12}"
SWEEP = (0.25, 0.5, 1.0, 2.0, 4.0)
"""Step sizes to try over that of the reference settings."""
SWEEP_HEAD = ("task", "lr", "estimate", "off by", "se", "error")
SWEEP_LINE = "{:<15} {:>8} {:>9} {:>8} {:>8} {:>8}"
INIT_BATCHES = 32
"""Batches on which devinterp estimates L(w*), per chain: its own default."""


class Answer(NamedTuple):
    """One estimate; ``ok`` is None where the engine has no status.

    ``removed``: what the step size had added and our estimate leaves out, devinterp's does not.
    """

    value: float
    ok: bool | None = None
    removed: float = 0.0


def main() -> None:
    """Run the tasks and print one line per engine."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--tasks", nargs="+", help="names; all if left out")
    parser.add_argument("--large", action="store_true", help="with the LM of 3M weights")
    parser.add_argument("--quick", action="store_true", help="a quarter of the draws")
    parser.add_argument("--scale", type=float, default=1.0, help="share of the draws to take")
    parser.add_argument("--engines", nargs="+", help="devinterp among them; all if left out")
    parser.add_argument("--sweep", action="store_true", help="devinterp's settings at other lr")
    parser.add_argument("--repeats", type=int, default=8)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    scale = 0.25 if options.quick else options.scale
    print(
        f"{options.device}, {options.threads} thread(s), {options.repeats} repeats, draws × {scale}"
    )
    print(SWEEP_LINE.format(*SWEEP_HEAD) if options.sweep else LINE.format(*HEAD))
    for task in tasks(large=options.large):
        if not options.tasks or task.name in options.tasks:
            scaled = _scaled(task, scale)
            if options.sweep:
                _print_sweep(scaled, options.device, options.repeats)
            else:
                _print_task(scaled, options.device, options.repeats, chosen=options.engines)


def _print_task(
    task: Task, device: str, repeats: int, *, chosen: Sequence[str] | None = None
) -> None:
    built = task.build(device)
    floor_s = _timed(lambda: run_floor(built, task.reference), device)
    floor_rate = num_steps(task.reference) / floor_s
    print(_line(task, "floor", seconds=floor_s, rate=floor_rate, over_floor=1.0), flush=True)
    truth = run_llc(built, task.long_run, seed=0).value
    print(_line(task, "long run", estimate=truth), flush=True)
    first: np.ndarray | None = None
    for name, settings, run in engines(built, task):
        if chosen and name not in chosen:
            continue
        run(0)  # what is loaded or compiled once
        seconds, answers = _repeated(run, device, repeats)
        values = np.array([answer.value for answer in answers])
        se = float(values.std(ddof=1))
        error = float(np.sqrt(np.mean((values - truth) ** 2)))
        now = np.array([seconds * se**2, seconds * error**2])
        first = now if first is None else first
        rate = num_steps(settings) / seconds
        oks = [a.ok for a in answers if a.ok is not None]
        line = _line(
            task,
            name,
            seconds=seconds,
            rate=rate,
            over_floor=floor_rate / rate,
            estimate=float(values.mean()),
            off=float(values.mean()) - truth,
            se=se,
            ok=f"{sum(oks)}/{len(oks)}" if oks else "-",
            sooner=tuple(first / now),
        )
        print(line, flush=True)


def _print_sweep(task: Task, device: str, repeats: int) -> None:
    """Print the error of the reference settings around their lr, with what steps add, as theirs."""
    built = task.build(device)
    truth = run_llc(built, task.long_run, seed=0).value
    for factor in SWEEP:
        settings = replace(task.reference, lr=factor * task.reference.config.lr)
        answers = [run_llc(built, settings, seed=seed) for seed in range(1, repeats + 1)]
        values = np.array([answer.value + answer.removed for answer in answers])
        rms = float(np.sqrt(np.mean((values - truth) ** 2)))
        numbers = (values.mean(), values.mean() - truth, values.std(ddof=1), rms)
        shown = [f"{settings.config.lr:.2g}", *(f"{number:.3f}" for number in numbers)]
        print(SWEEP_LINE.format(task.name, *shown), flush=True)


def num_steps(settings: LLC) -> int:
    """Return the steps of all chains."""
    return settings.num_chains * (settings.num_burnin_steps + settings.num_draws)


def _line(
    task: Task,
    engine: str,
    *,
    seconds: float | None = None,
    rate: float | None = None,
    over_floor: float | None = None,
    estimate: float | None = None,
    off: float | None = None,
    se: float | None = None,
    ok: str = "",
    sooner: Sequence[float] = (),
) -> str:
    numbers = [
        (seconds, ".2f"),
        (rate, ".0f"),
        (over_floor, ".2f"),
        (estimate, ".2f"),
        (off, "+.2f"),
        (se, ".3f"),
    ]
    shown = ["" if number is None else format(number, how) for number, how in numbers]
    gains = [f"{gain:.3g} ×" for gain in sooner] or ["", ""]
    return LINE.format(task.name, engine, *shown, ok, *gains)


def _repeated(
    run: Callable[[int], Answer], device: str, repeats: int
) -> tuple[float, list[Answer]]:
    """Return the mean seconds of one estimate, and all estimates."""
    answers: list[Answer] = []

    def run_all() -> None:
        answers.extend(run(seed) for seed in range(1, repeats + 1))

    return _timed(run_all, device) / repeats, answers


def engines(built: Built, task: Task) -> Iterator[tuple[str, LLC, Callable[[int], Answer]]]:
    """Yield (name, settings, function of a seed) of everything that estimates, devinterp first."""
    reference = task.reference
    yield "devinterp", reference, lambda seed: run_devinterp(built, reference, seed=seed)
    for name, engine in (("reference", "reference"), ("default", "auto")):
        settings = replace(reference, engine=engine)
        yield name, settings, lambda seed, s=settings: run_llc(built, s, seed=seed)
    if task.best.precision == "bf16":
        cast = replace(reference, precision="bf16")
        yield "bf16", cast, lambda seed: run_llc(built, cast, seed=seed)
    yield "best", task.best, lambda seed: run_llc(built, task.best, seed=seed)


def run_llc(built: Built, settings: LLC, *, seed: int) -> Answer:
    """Return our estimate."""
    model, loss, batches = built
    generator = torch.Generator(batches[0][0].device).manual_seed(seed)
    records = settings.compute(Subject(model, 0, batches, loss, generator))
    row = next(record for record in records if isinstance(record, Row))
    return Answer(row.value, row.status is Status.OK, row.attrs["step_bias_removed"])


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
    n_beta = settings.config.n_beta_for(size)

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
                    "lr": settings.config.lr,
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
    for step in range(num_steps(settings)):
        loss(model, batches[step % len(batches)]).mean().backward()
        model.zero_grad()


def _scaled(task: Task, scale: float) -> Task:
    def fewer(settings: LLC) -> LLC:
        return replace(
            settings,
            num_draws=max(8, round(scale * settings.num_draws)),
            num_burnin_steps=max(4, round(scale * settings.num_burnin_steps)),
        )

    return replace(task, reference=fewer(task.reference), best=fewer(task.best))


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
