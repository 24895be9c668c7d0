"""How the sampler's settings were found: estimates over step sizes, and the finalists' traces."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from devtrack.plots._style import FAINT, INK, SMALL_PT, TEXT_PT, WIDTH_IN
from devtrack.records import Status

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

    from devtrack.sampling.calibration._calibrate import Calibration, Trial


MARK_PT, PILOT_PT = 4.5, 2.5

LABEL_GAP = 0.07
"""Height of a label, as a share of the axes'."""


def draw_calibration(found: Calibration) -> Figure:
    """Draw λ̂ over ε for every (nβ, γ) tried on the last point, and the traces of the choice.

    Filled marks pass every check, open ones do not. Small marks are pilots, too short to reach
    equilibrium. Estimates without a number are left out. A good choice lies on a level stretch:
    there,
    the step size does not matter. Traces are means over the chains, of points that pilots have not
    ruled out.

    Args:
        found: From ``calibrate``.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH_IN, 0.42 * WIDTH_IN), layout="constrained")
    sweep, traces = figure.subplots(1, 2)
    _draw_sweep(sweep, found)
    _draw_traces(traces, found)
    for ax in (sweep, traces):
        ax.spines[["top", "right"]].set_visible(False)
        ax.tick_params(labelsize=SMALL_PT)
    return figure


def _draw_sweep(ax: Axes, found: Calibration) -> None:
    last = max(trial.point for trial in found.trials)
    lines: dict[tuple[float | None, float], list[Trial]] = {}
    for trial in found.trials:
        if trial.purpose != "control" and trial.point == last and np.isfinite(trial.value):
            key = (trial.config.n_beta, trial.config.localization)
            lines.setdefault(key, []).append(trial)
    chosen = (found.config.n_beta, found.config.localization)
    for key, trials in lines.items():
        color = INK if key == chosen else FAINT
        trials.sort(key=lambda trial: trial.config.lr)
        whole = [trial for trial in trials if trial.purpose != "pilot"]
        steps = {trial.config.lr for trial in whole}
        line = [t for t in trials if t.purpose != "pilot" or t.config.lr not in steps]
        lrs, values = [t.config.lr for t in line], [t.value for t in line]
        ax.errorbar(lrs, values, yerr=[t.se for t in line], color=color, linewidth=1)
        for trial in trials:
            face = color if trial.status is Status.OK else "white"
            size = PILOT_PT if trial.purpose == "pilot" else MARK_PT
            ax.plot(trial.config.lr, trial.value, "o", color=color, mfc=face, markersize=size)
    ax.axvline(found.config.lr, color=INK, linewidth=0.8, linestyle=":")
    ax.set_xscale("log")
    _label_few(ax.xaxis, form="{x:.0e}")
    if all(trial.value > 0 for trials in lines.values() for trial in trials):
        ax.set_yscale("log")
        if ax.get_ylim()[1] > 10 * ax.get_ylim()[0]:
            _label_few(ax.yaxis, form="{x:g}")
    ax.set_title(
        f"dark: nβ {chosen[0]:g}, γ {chosen[1]:g}; grey: others\n"
        "filled: passes every check; small: pilot",
        fontsize=SMALL_PT,
        loc="left",
    )
    ax.set_xlabel("step size ε", fontsize=TEXT_PT)
    ax.set_ylabel("LLC on the last snapshot", fontsize=TEXT_PT)


def _label_few(axis: Axis, *, form: str) -> None:
    """Label a logarithmic axis at a few round numbers, however short or long it is."""
    from matplotlib.ticker import FixedLocator, NullLocator, StrMethodFormatter

    low, high = axis.get_view_interval()
    multiples = (1,) if high > 100 * low else (1, 3) if high > 10 * low else (1, 2, 3, 5, 7)
    powers = 10.0 ** np.arange(np.floor(np.log10(low)), np.ceil(np.log10(high)))
    axis.set_major_locator(FixedLocator(np.outer(powers, multiples).ravel().tolist()))
    axis.set_major_formatter(StrMethodFormatter(form))
    axis.set_minor_locator(NullLocator())


def _draw_traces(ax: Axes, found: Calibration) -> None:
    chosen = found.config
    drawn = [trial for trial in found.trials if trial.purpose in ("sweep", "half")]
    shown = [trial for trial in drawn if trial.config in (chosen, chosen.halved())]
    ends = []
    for trial in sorted(shown, key=lambda trial: trial.config == chosen):  # the choice on top
        elapsed = trial.config.lr * np.arange(len(trial.trace))  # ε t: equal times, equal places
        is_choice = trial.config == chosen
        color = INK if is_choice else FAINT
        ax.plot(elapsed, trial.trace, color=color, linewidth=0.8)
        ends.append((trial.value, f"snapshot {trial.point}" if is_choice else "at ε/2", color))
    ax.axvline(chosen.lr * chosen.num_burnin_steps, color=INK, linewidth=0.8, linestyle=":")
    _label_ends(ax, ends)
    ax.set_xlabel("ε · steps (dotted: end of burn-in)", fontsize=TEXT_PT)
    ax.set_ylabel("nβ (L(w) − L(w*))", fontsize=TEXT_PT)


def _label_ends(ax: Axes, ends: list[tuple[float, str, str]]) -> None:
    """Write (height, label, colour) beside the axes, in order of height, apart from each other."""
    bottom, top = ax.get_ylim()
    place = -LABEL_GAP
    for value, label, color in sorted(ends):
        place = max((value - bottom) / (top - bottom), place + LABEL_GAP)
        ax.annotate(
            label,
            (1.02, place),
            xycoords="axes fraction",
            va="center",
            color=color,
            fontsize=SMALL_PT,
            annotation_clip=False,
        )
