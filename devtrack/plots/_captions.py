"""The sentences around a picture: what was found, and what each mark means.

The caption names only marks that are in the picture, so that it stays short.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np

from devtrack.series import ConfigEvent, Series, Transition
from devtrack.transitions.coverage import Coverage

_SHORT_SITE = 16  # letters of a module path that stays as it is


def summary(
    bands: Sequence[Transition], *, most_chars: int, coverage: Coverage | None = None
) -> str:
    """Date the transitions in one line, as many as fit.

    Args:
        bands: The transitions.
        most_chars: Letters that fit.
        coverage: Which series were evaluated; shown where there are no transitions.

    Example:
        >>> summary([], most_chars=80)
        'no transition marked'
        >>> summary([], most_chars=80, coverage=Coverage(("loss",), {"constant": ("llc",)}))
        'no transition marked; 1 of 2 series evaluated; constant: llc'
    """
    if not bands:
        addition = f"; {coverage}" if coverage is not None and coverage.excluded else ""
        line = " ".join(f"no transition marked{addition}".split())
        return line if len(line) <= most_chars else f"{line[: most_chars - 1]}…"
    dated = [f"T{index} at step {dated_text(band)}" for index, band in enumerate(bands)]
    dated = [
        f"{text} ({band.event.replace('_', ' ')})" if band.event else text
        for text, band in zip(dated, bands)
    ]
    noun = "transition" if len(bands) == 1 else "transitions"
    for count in range(len(bands), 0, -1):
        shown = [*dated[:count], *(["…"] if count < len(bands) else [])]
        line = f"{len(bands)} {noun}: {', '.join(shown)}"
        if len(line) <= most_chars:
            return line
    return f"{len(bands)} {noun}"


def dated_text(band: Transition) -> str:
    """Write a midpoint with its interval, in whole steps.

    Example:
        >>> facts = ("step", 60, 120.4, 300, 105.2, 140, 0.95, 30.0, "log odds", 0.05, None, ())
        >>> dated_text(Transition(*facts))
        '120 [105, 140]'
    """
    if np.isfinite(band.midpoint_low) and np.isfinite(band.midpoint_high):
        return f"{band.midpoint:.0f} [{band.midpoint_low:.0f}, {band.midpoint_high:.0f}]"
    return f"{band.midpoint:.0f}"


def caption(
    curves: Sequence[Series], bands: Sequence[Transition], marks: Sequence[ConfigEvent] = ()
) -> str:
    """Say what points, bands and lines mean, and at which false-alarm level bands were drawn."""
    statuses = {str(one) for curve in curves for one in curve.status}
    with_se = any(np.isfinite(curve.se).any() for curve in curves)
    observed = np.unique(np.concatenate([curve.step for curve in curves]))
    steps = "step" if len(observed) == 1 else "steps"
    what = "estimates ± 1 standard error" if with_se else "measured values"
    parts = [f"Points: {what}, at {len(observed)} {steps}."]
    if "suspect" in statuses:
        parts.append("Hollow: suspect, not used (triangle: off the scale).")
    if "failed" in statuses:
        parts.append("×: the measurement failed.")
    if bands:
        parts.append(
            "Shaded band: a transition T from onset to end, darker where lines of that panel "
            f"change in it; black line: its midpoint, with its {bands[0].interval_level:.0%} "
            "interval on top."
        )
        parts.append(
            f"False-alarm level {bands[0].alpha:g}: the nominal share of runs without any change "
            "that would show a band."
        )
    if any(band.kind == "turn" for band in bands):
        parts.append("Triangle: a turn, whose midpoint is where the slope is zero.")
    if any(band.event for band in bands):
        parts.append(
            "Hatched band: a change that coincides with an event of the training configuration."
        )
    if marks:
        parts.append("Dotted: events of the training configuration.")
    return " ".join(parts)


def shorten(text: str, *, most: int) -> str:
    """Cut the middle out of a long name, on one line: module paths differ at their ends.

    Example:
        >>> shorten("transformer.blocks.11.attention.head.7", most=20)
        'transf…ention.head.7'
    """
    text = " ".join(text.split())
    if len(text) <= most:
        return text
    head = (most - 1) // 3
    return f"{text[:head]}…{text[len(text) - (most - 1 - head) :]}"


def short_sites(sites: Collection[str]) -> dict[str, str]:
    """Shorten long module paths to the parts in which they differ, with the word before each.

    Example:
        >>> short_sites(["blocks.0.attention.head.2", "blocks.1.attention.head.7"])
        {'blocks.0.attention.head.2': 'blocks.0…head.2', 'blocks.1.attention.head.7': \
'blocks.1…head.7'}
        >>> short_sites(["embed", "unembed"])
        {'embed': 'embed', 'unembed': 'unembed'}
    """
    paths = {site: site.split(".") for site in sites}
    whole = {site: site for site in sites}
    depths = {len(path) for path in paths.values()}
    if len(depths) != 1 or max(map(len, sites)) <= _SHORT_SITE:
        return whole
    differ = [len(set(level)) > 1 for level in zip(*paths.values())]
    kept = [here or following for here, following in zip(differ, [*differ[1:], False])]
    short = {}
    for site, path in paths.items():
        text = ""
        for level, part in enumerate(path):
            if kept[level]:
                text += ("." if level and kept[level - 1] else "…" if level else "") + part
        short[site] = text if kept[-1] else f"{text}…"
    return short if any(differ) else whole
