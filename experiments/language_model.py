"""A small language model learns bigrams, then previous-token heads, then induction heads.

python -m experiments.language_model --store runs [--seeds 3] [--preset large]
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch

from devtrack import (
    LLC,
    Ablation,
    ContextLoss,
    HeadScores,
    Loss,
    NGramScores,
    Tracker,
    schedules,
)
from devtrack.batches import to_device
from devtrack.metrics.heads import repeated_sequences
from devtrack.metrics.metric import Metric
from experiments.attention_only import AttentionOnly
from experiments.library_text import library_tokens, windows, with_repeats
from experiments.measures import half_the_step, measure_snapshots
from experiments.run import Batches, conclude, one_thread, options, show, train
from experiments.stages import EVENTS, dates, report_heads, report_stages


@dataclass(frozen=True, kw_only=True)
class Preset:
    """Sizes of a run.

    Args:
        files: Standard library modules to read; all if None. Every tenth is kept for the test.
        vocabulary, context, width, heads, lr: Of the network.
        batch_size: Windows in a training step.
        repeating: Share of them that repeat their beginning.
        steps: Training steps.
        points: Snapshots, at equal ratios of steps.
        evaluated: Windows that every snapshot is measured on.
        device: ``cpu`` or ``cuda``.
    """

    files: int | None = None
    vocabulary: int = 512
    context: int = 64
    width: int = 64
    heads: int = 4
    lr: float = 5e-3
    batch_size: int = 16
    repeating: float = 0.5
    steps: int = 2500
    points: int = 32
    evaluated: int = 256
    device: str = "cpu"

    def network(self) -> AttentionOnly:
        """Return a new network."""
        return AttentionOnly(self.vocabulary, self.context, self.width, self.heads, lr=self.lr)

    def batch(self, text: torch.Tensor, seed: int) -> torch.Tensor:
        """Return windows to train on, (batch, context)."""
        generator = torch.Generator().manual_seed(seed)
        drawn = windows(text, self.batch_size, self.context, generator=generator)
        return with_repeats(drawn, self.repeating, generator=generator)


PRESETS = {
    "small": Preset(),
    "smoke": Preset(
        files=10,
        vocabulary=256,
        context=32,
        width=32,
        heads=2,
        steps=40,
        points=4,
        evaluated=64,
    ),
    "large": Preset(
        vocabulary=2048,
        context=256,
        width=256,
        heads=8,
        lr=1e-3,
        batch_size=64,
        steps=20_000,
        points=100,
        evaluated=512,
        device="cuda",
    ),
}

LLC_SETTINGS = LLC(
    method="lm_sgld",
    n_beta=30.0,
    localization=100.0,
    lr=1e-3,
    num_draws=60,
    num_burnin_steps=30,
    batch_size=1,
)
REFINED_EVERY = 3
"""Snapshots from one refined LLC to the next: all heads cost as much as the rest together."""

DRAWN = ("loss", "test_loss", "llc", "rllc", "ngram.*", "*.icl_score")
DRAWN += ("head.previous_token", "head.prefix_matching", "ablation_mean")


class Texts(NamedTuple):
    """What a run reads: a text in a row, and fixed windows (sample, position).

    ``mixed`` are windows as in training, ``test`` plain ones of files that training never reads.
    """

    train: torch.Tensor
    mixed: torch.Tensor
    test: torch.Tensor


def read_texts(preset: Preset, *, seed: int) -> Texts:
    """Return the text to train on and the windows to measure on."""
    files = library_tokens(preset.vocabulary, num_files=preset.files)
    text = torch.cat([tokens for i, tokens in enumerate(files) if i % 10])
    unread = torch.cat(files[::10])
    generator = torch.Generator().manual_seed(1_000_000 + seed)
    mixed = windows(text, preset.evaluated // 2, preset.context, generator=generator)
    mixed = with_repeats(mixed, preset.repeating, generator=generator)
    test = windows(unread, preset.evaluated, preset.context, generator=generator)
    return Texts(text, mixed, test)


def metrics_of(preset: Preset, texts: Texts) -> list[Metric]:
    """Return what every snapshot of every seed is asked."""
    half = preset.context // 2
    whole = len(texts.train) // preset.context * preset.context
    repeated = repeated_sequences(preset.vocabulary, half, 64, seed=0)
    return [
        Loss(),
        Loss(name="test_loss", data=[texts.test]),
        NGramScores(data=[texts.train[:whole].reshape(-1, preset.context)]),
        ContextLoss(early=half // 4, late=preset.context - 2, data=[texts.test]),
        ContextLoss(name="repeated", early=half // 2, late=half + half // 2, data=[repeated]),
        HeadScores(data=[texts.test], vocabulary=preset.vocabulary, length=half),
    ]


def run_seed(store: str, seed: int, preset: Preset, *, full: bool, llc: LLC) -> str:
    """Train one seed and return its run; the LLC and the ablations only if ``full``."""
    texts = read_texts(preset, seed=seed)
    metrics = metrics_of(preset, texts)
    heads = Ablation(
        sites=("attention.?.out_proj",), where="input", num_heads=preset.heads, num_groups=8
    )
    tracker = Tracker(
        store,
        schedules.log_spaced(preset.points, first=10, last=preset.steps),
        name="language_model" if full else f"language_model-{seed}",
        metrics=[*metrics, heads, llc] if full else metrics,
        data=[texts.mixed],
        use_loggers=False,
        seed=seed,
    )
    first = 1_000_000 * (seed + 2)
    batches = Batches(lambda i: preset.batch(texts.train, first + i), preset.steps)
    train(preset.network, batches, tracker=tracker, seed=seed, accelerator=preset.device)
    run_id = str(tracker.run_id)
    if not full:
        return run_id
    model, device = preset.network().to(preset.device), torch.device(preset.device)
    mixed = to_device([texts.mixed], device)
    refined = replace(llc, name="rllc", sites="attention.?", heads=preset.heads)
    measure_snapshots(store, run_id, [refined], mixed, model=model, every=REFINED_EVERY, seed=seed)
    conclude(store, run_id, drawn=DRAWN)
    report_stages(store, run_id)
    report_heads(store, run_id)
    show(
        "the LLC with ε and with ε / 2",
        ("step", "lr", "LLC", "se", "status"),
        half_the_step(store, run_id, llc, model, mixed),
    )
    return run_id


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the experiment."""
    parser = options(__doc__)
    parser.add_argument("--seeds", default=1, type=int, help="runs for the order (default: 1)")
    parser.add_argument("--preset", default="small", choices=["small", "large"], help="sizes")
    given = parser.parse_args(arguments)
    preset = PRESETS["smoke" if given.smoke else given.preset]
    short = replace(LLC_SETTINGS, num_draws=10, num_burnin_steps=10, num_chains=2)
    llc = short if given.smoke else LLC_SETTINGS
    seeds = range(given.seed, given.seed + given.seeds)
    with one_thread():
        runs = [run_seed(given.store, s, preset, full=s == given.seed, llc=llc) for s in seeds]
    found = [dates(given.store, run_id) for run_id in runs]
    show(
        "half-way steps by seed",
        ("measure", *(f"seed {seed}" for seed in seeds)),
        [(event, *(one[event] for one in found)) for event in EVENTS],
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
