"""The families of generated runs: what moves in a run, and what only seems to."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from experiments.bench.generated_curves import Array, Bend, draw_quality
from experiments.bench.generated_run import SITES, GeneratedRun, draw_places
from experiments.bench.labelled_runs import Label

EVENTS = {
    "nuisance_lr_drop": "lr_change",
    "nuisance_warmup": "warmup_end",
    "nuisance_evalset": "evalset_change",
}
"""The event that a tracker records of an effect of an event; it knows nothing of spikes."""


def step(run: GeneratedRun) -> None:
    """One metric with one to three level changes."""
    effects = run.draw_effects(int(run.rng.integers(1, 4)))
    metric = str(run.rng.choice(["loss", "llc", "head_score", "weight_norm", "test_acc"]))
    if metric == "test_acc":
        effects = effects[:1]
        heights = run.add_accuracy(effects=effects)
    else:
        run.add_metric(metric, effects)
        heights = [effect.snr for effect in effects]
    for effect, height in zip(effects, heights, strict=True):
        run.add_label(effect, [metric], snr=height)


def multi(run: GeneratedRun) -> None:
    """Two to four metrics that move together with lags, and others that stay smooth."""
    moving, still = int(run.rng.integers(2, 5)), int(run.rng.integers(0, 3))
    _move_together(run, run.ranges.snr, moving, still, int(run.rng.integers(1, 3)))


def weak(run: GeneratedRun) -> None:
    """Four or five metrics that move together, each so little that all have to be seen at once."""
    _move_together(run, (1.5, 3.5), int(run.rng.integers(4, 6)), 1, 1)


def stair(run: GeneratedRun) -> None:
    """The loss falls and the LLC rises up to five times, from plateau to plateau."""
    rng = run.rng
    effects = run.draw_effects(int(rng.integers(0, 6)))
    snr = [(effect.snr, run.draw_snr()) for effect in effects]
    for column, metric in enumerate(("loss", "llc")):
        own = [e._replace(snr=both[column]) for e, both in zip(effects, snr, strict=True)]
        quality = draw_quality(rng)
        run.add_metric(metric, own, quality=quality, trend_height=float(rng.uniform(0, 1.0)))
    for effect, both in zip(effects, snr, strict=True):
        run.add_label(effect, ["loss", "llc"], snr=max(both))


def turn(run: GeneratedRun) -> None:
    """Turning points and changes of slope: the LLC rises, for instance, and then falls."""
    rng = run.rng
    count = int(rng.integers(1, 4))
    while (places := draw_places(rng, [0.02] * count, limits=(0.15, 0.85), gap=0.14)) is None:
        count -= 1
    reach = float(np.exp(rng.uniform(np.log(8), np.log(40))))  # in standard deviations
    sign = float(rng.choice([-1, 1]))
    edges = np.r_[0, places, 1]
    slopes: list[float] = []
    kinds: list[str] = []
    for i in range(count + 1):
        steepness = reach / max(0.15, edges[i + 1] - edges[i]) * rng.uniform(0.5, 1.0)
        if i and rng.random() < 0.25:  # a change of slope without a turn
            slopes.append(slopes[-1] * float(rng.choice([0.3, 3.0])))
            kinds.append("slope")
            continue
        if i:
            sign = -sign
            kinds.append("critical")
        slopes.append(sign * steepness)
    bends = [
        Bend(float(place), float(rng.uniform(0.01, 0.08)), slopes[i + 1])
        for i, place in enumerate(places)
    ]
    metric = str(rng.choice(["llc", "weight_norm", "head_score"]))
    run.add_bends(metric, slopes[0], bends)
    if rng.random() < 0.5:
        run.add_metric("loss")
    for i, (bend, kind) in enumerate(zip(bends, kinds, strict=True)):
        midpoint, change = bend.place, bend.slope - slopes[i]
        if kind == "critical":  # the place where the rounded slope is zero
            r = -slopes[i] / change
            midpoint = bend.place + bend.scale * np.log(r / (1 - r))
        half = bend.rounding / 2 + 0.01
        height = abs(change) * min(edges[i + 1] - edges[i], edges[i + 2] - edges[i + 1])
        places_of = (midpoint - half, midpoint, midpoint + half)
        run.labels.append(Label(*places_of, kind, height, frozenset([metric])))


def nuisance(run: GeneratedRun) -> None:
    """No transition, but effects of events."""
    kind = str(run.rng.choice(["drop", "drop", "warmup", "spike", "evalset", "cosine"]))
    rate, event_effect, labels = _event_effect(run, kind)
    run.add_metric("loss", event_effect=event_effect)
    if run.rng.random() < 0.6:
        run.add_metric(str(run.rng.choice(["llc", "weight_norm"])))
    run.add_learning_rate(rate)
    run.labels += labels
    _record_events(run, labels)


def mixed(run: GeneratedRun) -> None:
    """A transition in three metrics, and an effect of an event in one of them."""
    rate, event_effect, labels = _event_effect(
        run, str(run.rng.choice(["drop", "spike", "warmup"]))
    )
    effects = run.draw_effects(1)
    for _ in range(199):
        if effects and _is_apart(effects[0].midpoint, effects[0].width, labels):
            break
        effects = run.draw_effects(1)
    effect = effects[0]
    for metric in ("llc", "head_score"):
        run.add_metric(metric, effects)
    run.add_metric("loss", [effect._replace(snr=effect.snr * 0.5)], event_effect=event_effect)
    run.add_learning_rate(rate)
    _record_events(run, labels)
    run.labels += labels
    run.add_label(effect, ["llc", "head_score", "loss"], snr=effect.snr)


def smooth(run: GeneratedRun) -> None:
    """One to four smooth metrics, and no transition."""
    names = list(SITES)
    run.rng.shuffle(names)
    for metric in names[: int(run.rng.integers(1, 5))]:
        if metric in ("test_acc", "probe_acc") and run.rng.random() < 0.6:
            run.add_accuracy(metric)
        else:
            run.add_metric(metric)
    if run.rng.random() < 0.3:
        run.add_learning_rate(np.ones(run.steps.size))


def flat(run: GeneratedRun) -> None:
    """One metric on a line over log steps with exact standard errors."""
    run.add_metric(str(run.rng.choice(["loss", "llc"])), quality="exact", trend="logline")


FAMILIES: dict[str, Callable[[GeneratedRun], None]] = {
    "step": step,
    "multi": multi,
    "stair": stair,
    "turn": turn,
    "mixed": mixed,
    "weak": weak,
    "smooth": smooth,
    "nuisance": nuisance,
    "flat": flat,
}


def _move_together(
    run: GeneratedRun, snr: tuple[float, float], moving: int, still: int, count: int
) -> None:
    """Add metrics that move together ``count`` times, each with its own lag, width and height."""
    rng, names = run.rng, list(SITES)
    rng.shuffle(names)
    effects = run.draw_effects(count)
    own = {}
    for metric in names[:moving]:
        own[metric] = []
        for effect in effects:
            lag = float(rng.uniform(-0.4, 0.4)) * effect.width + float(rng.uniform(-0.015, 0.015))
            width = effect.width * float(rng.uniform(0.7, 1.4))
            moved = effect._replace(midpoint=effect.midpoint + lag, width=width)
            own[metric].append(moved._replace(snr=run.draw_snr(snr)))
        if metric == "test_acc" and snr[1] > 5:
            run.add_accuracy(effects=own[metric])
        else:
            run.add_metric(metric, own[metric])
    for metric in names[moving : moving + still]:
        run.add_metric(metric)
    for each in zip(*own.values(), strict=True):
        onsets, ends = zip(*(effect.interval for effect in each), strict=True)
        midpoint = float(np.median([effect.midpoint for effect in each]))
        height = max(effect.snr for effect in each)
        label = Label(min(onsets), midpoint, max(ends), "step", height, frozenset(own))
        run.labels.append(label)


def _event_effect(run: GeneratedRun, kind: str) -> tuple[Array, Array, list[Label]]:
    """Return the learning rate, its effect on a loss in units of the noise, and the labels."""
    rng, u, steps = run.rng, run.axis_fraction(), run.steps.astype(float)
    rate, effect = np.ones(u.size), np.zeros(u.size)
    height = float(np.exp(rng.uniform(np.log(4), np.log(20))))
    places: list[tuple[float, float, float]] = []  # onset, midpoint and end
    if kind == "drop":
        place = float(rng.uniform(0.4, 0.85))
        at = run.step_of(place)
        time = max(at * rng.uniform(0.005, 0.05), (steps[-1] - steps[-2]) * 0.3)
        rate = np.where(steps >= at, 0.1, 1.0)
        effect = np.where(steps >= at, -height * (1 - np.exp(-(steps - at) / time)), 0.0)
        end = float(np.interp(at + 3 * time, steps, u))
        places = [(place, 0.5 * (place + end), end)]
        kind = "lr_drop"
    elif kind == "warmup":
        place = float(rng.uniform(0.15, 0.35))
        rate = np.clip(u / place, 0.02, 1)
        effect = height * np.exp(-0.5 * ((u - place) / 0.03) ** 2)
        places = [(place - 0.07, place, place + 0.07)]
    elif kind == "spike":
        for _ in range(int(rng.integers(1, 4))):
            i, size = int(rng.integers(5, u.size - 3)), int(rng.integers(1, 4))
            scale = height * rng.uniform(0.5, 1.5)
            effect[i : i + size] += scale * np.exp(-np.arange(size))[: max(0, u.size - i)]
            places.append((u[max(0, i - 1)], u[i], u[min(u.size - 1, i + size)]))
    elif kind == "evalset":  # other data to evaluate on: an offset at once
        place = float(rng.uniform(0.25, 0.8))
        effect = np.where(u >= place, height * rng.choice([-1, 1]), 0.0)
        places = [(place, place, place)]
    elif kind == "cosine":
        rate = 0.5 * (1 + np.cos(np.pi * steps / steps[-1]))
        effect = -height * (1 - rate) ** 3
    loss = frozenset(["loss"])
    return rate, effect, [Label(*of, f"nuisance_{kind}", height, loss) for of in places]


def _is_apart(midpoint: float, width: float, labels: list[Label]) -> bool:
    return all(abs(midpoint - label.midpoint) > 0.12 + width / 2 for label in labels)


def _record_events(run: GeneratedRun, labels: list[Label]) -> None:
    for label in labels:
        if label.kind in EVENTS:
            place = label.midpoint if label.kind == "nuisance_warmup" else label.onset
            run.events.append((place, EVENTS[label.kind]))
