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

Measured on 2026-11-22, one thread of a two-core machine of which other work took the second (AMD
EPYC with AVX512-BF16, torch 2.13). Seconds vary by half with the load, ratios within a task less; a
standard error over 24 repeats is itself known to 15 %, over 16 to 18 %, over 6 to 32 %.

    task         engine     seconds steps/s x floor estimate   off by    se  equal se equal error
    TMS          devinterp     2.48     807   14.00     9.08    +0.28 0.602       1 ×         1 ×
    16 repeats   reference     0.56    3576    3.16     8.29    -0.51 0.768    2.72 ×      2.29 ×
                 default       0.25    8031    1.41     8.29    -0.51 0.768    6.12 ×      5.14 ×
                 best          0.89  115056    0.10     8.75    -0.05 0.128    61.8 ×      64.7 ×
    deep linear  devinterp     2.60     769   16.12    45.31    +0.53 0.759       1 ×         1 ×
    16 repeats   reference     0.62    3229    3.84    43.34    -1.44 0.668    5.42 ×      1.38 ×
                 default       0.24    8355    1.48    43.34    -1.44 0.668      14 ×      3.58 ×
                 best          1.62   63139    0.20    44.24    -0.54 0.093     108 ×      4.37 ×
    modular MLP  devinterp     7.97     151    2.28   397.81   +20.61 2.320       1 ×         1 ×
    48 repeats   bf16          3.17     379    0.91   380.89    +3.68 2.178    2.85 ×      59.4 ×
                 best          4.57     175    1.96   381.96    +4.76 0.812    14.3 ×      32.3 ×
    LM of 0.3M   devinterp    18.33      33    1.33    35.33    +0.60 0.306       1 ×         1 ×
    6 repeats    reference    17.81      34    1.29    34.77    +0.04 0.222    1.94 ×      10.4 ×
                 default      17.67      34    1.28    34.77    +0.04 0.222    1.96 ×      10.5 ×
                 bf16          8.88      68    0.65    34.83    +0.10 0.152     8.3 ×      29.9 ×
                 best          3.31     164    0.27    34.77    +0.04 0.098      54 ×       258 ×
    LM of 3M     devinterp    65.20       5    1.43    78.45    -1.29 0.515       1 ×         1 ×
    5 repeats    best         10.92      25    0.29    79.74    -0.00 0.252    24.8 ×       220 ×

The floor has batches of 256, the MLP's best has 1024: 175 steps are 700. The LM of 3M ran with
``--large --scale 0.5``, at the lr found on that of 0.3M, its best settings in a process of their
own, before estimates were without what steps add. The median is 54 × at equal standard error. Since
these rows, the noise of gradients is taken from three in a row where it was from their products,
which moves estimates by less than their error.

Chain steps on the MLP in bf16 are 2.5 × devinterp's. Of a step, gradient 1.9 ms (4.4 in full
precision), noise .3 (of 16 random bits a number; .55 to .9 in full precision), update and virial
.2. 1.15 × the floor for language models is kept in bf16, and in full precision mostly missed (1.08
to 1.33; 1.27 on a quiet machine on 2026-11-22, of which gradients are 1.01 to 1.08, noise and
update .06, looks .07, and what is measured at w* .05).

What devinterp's λ̂ holds beside the LLC is what its steps add, 20 of 398 on the MLP, 1.9 of 45 on
the deep linear network. There, at these draws and burn-in, flat directions have not settled, which
hides it: without it λ̂ is 1.4 too low.

What makes the modular MLP hard: at equilibrium (nβ 300, γ 300) λ̂ moves by 10.5, whatever the
engine, and at lr 4e-4 has forgotten itself after an order of 16 batches. Larger steps forget no
sooner than that, and noisy gradients heat them. With that heat foretold and taken out (``Heat``)
draws do: looks at all batches are as free of it, cost a third of the steps, and gave 5.9 × where
draws give 14. By 14 repeats each, before noise of few bits, at draws but for the last:

    batches    lr     seconds     se   seconds × se²
        512  6e-4        6.00   0.85             4.3
       1024  1e-3        4.84   1.00             4.8
       1024  12e-4       4.97   1.05             5.5
       2048  12e-4       4.49   1.59            11.4
       2048  18e-4       4.41   1.75            13.4
       1024  1e-3        5.90   1.05             6.5

All 4096 samples at once bear no larger steps: at 24e-4 they are off by +19.7, at 48e-4 chains
leave. The chains' own noise as a control variate per layer and lag, up to 50 of them, took no more
off looks than the plain sum does, 15 %. No gain on it: orders that run backwards every second time;
fixed step sizes per weight by the size of its gradients.

At the same settings as devinterp's the spread is the same within what repeats tell: devinterp 1.82
in 24 and 2.32 in 48 repeats, the engine here 2.50 ± .32 in 32 (in bf16, as are the next three) and
2.18 ± .22 in 48. Orders of batches play no part in it: 2.63 with orders of each chain's own,
2.65 with batches drawn anew at each step, 2.47 with the samples dealt into new batches in each
order; chains are correlated by .05 to .10 in all four, which is chance. What estimates at draws
claim of their error is measured by ``llc_coverage``. At looks the claim holds (1.1).

For the LM of 0.3M, where batches of 4 are met once by each chain, the claim holds as well: 12 more
estimates by its best settings had a spread of .092 ± .020 and claimed .132.

Tried on the MLP, and too little gain to be built: gradients less what their batch's gradient at w*
foretells (.70 of their noise left, at 36 times the latter: chains are far from w*), or less the
last gradient on the same batch (.69 left after 8 steps); what the chains' own noise has done to
them in first order, ∇L·ξ, which has mean zero whatever they do, as a control variate over the last
steps (looks' variance times .83 at batches of 1024 and .66 at full ones; TMS and deep linear .6 to
.9); integration by parts with weights larger along activations (.71, for full gradients at looks);
``torch.compile`` of the gradient: 4.4 to 3.6 ms on the MLP in full precision and 24.6 to 21.7 on
the LM of .3M, 5.9 to 4.6 and 11.9 to 11.3 in bf16, after 5 to 26 s of compiling for every loss.

Tried, and no gain: control variates by integration by parts, E[(w − w*)·(nβ ∇L + γ(w − w*))] = 1
per weight (TMS .129 to .114, and biased where flat directions still settle: deep linear 44.5 to
52.7); antithetic chains (ξ and −ξ agree, correlation .4); chains with momentum
(BAOAB), which cross flat directions 1 / √(εγ) times faster and are heated by noisy gradients by as
much more, so that nothing is won at equal heat; ``torch.compile``, 18 s and then slower on TMS (.94
ms a step of 64 chains, .78 without); numpy's generators, three times slower than torch's.
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
