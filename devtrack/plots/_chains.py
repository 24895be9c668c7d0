"""The sampling chains behind one estimate: whether and where they reached equilibrium.

A good trace rises above L(w*), levels off before the burn-in ends, has no spikes, and its chains
level off at the same height. Each draw is shown minus L(w*) on the same data, the paired signal
that the estimate averages.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from devtrack.errors import ConfigError
from devtrack.plots._style import FAINT, INK, SMALL_PT, TEXT_PT, WIDTH_IN, look
from devtrack.records import Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from devtrack.store import Store

_BURN_IN = "#ececec"


def chains(
    store: Store,
    run: str | None = None,
    *,
    step: int,
    metric: str = "llc",
    site: str = "model",
    ax: Axes | None = None,
) -> Figure:
    """Draw the loss above L(w*) along the chains of one estimate, burn-in greyed.

    Args:
        store: The store that holds the run.
        run: Run id or name; the newest run if None.
        step: The optimizer step at which the estimate was taken.
        metric: The estimate's metric.
        site: The estimate's site.
        ax: Axes of your own to draw on, whose figure is returned; a new figure if None.

    Raises:
        UnknownRunError: The store does not hold ``run``.
        ConfigError: No chains were stored for this estimate.
    """
    info = store.run(run)
    from devtrack.store.estimate_readers import read_chains
    from devtrack.store.readers import read_rows

    rows = read_chains(store, info.run_id, step=step, metric=metric, site=site)
    if not len(rows):
        raise _no_chains(store, info.run_id, step=step, metric=metric, site=site)
    chain, draw, excess = rows.T
    estimates = read_rows(store, info.run_id, step=step, metric=metric, site=site)
    return draw_chains(
        chain.astype(int),
        draw.astype(int),
        excess,
        title=f"Sampling chains of {metric} at step {step}, run {info.name!r}",
        verdict=_verdict(estimates),
        ax=ax,
    )


def draw_chains(
    chain: npt.NDArray[np.integer],
    draw: npt.NDArray[np.integer],
    excess: npt.NDArray[np.floating],
    *,
    title: str,
    verdict: str = "",
    ax: Axes | None = None,
) -> Figure:
    """Draw chains that are already in memory (see ``chains``).

    Args:
        chain: Number of the chain.
        draw: Number of the draw; negative during burn-in.
        excess: L(w) − L(w*) on the same data; a non-finite draw leaves a gap.
        title: Heading, taken literally.
        verdict: Second line, taken literally.
        ax: Axes to draw on; a new figure if None.

    Shapes:
        chain, draw, excess: (row,), one row per draw of a chain.
    """
    from matplotlib.figure import Figure

    if ax is None:
        figure = Figure(figsize=(WIDTH_IN, 3.4), facecolor="white", layout="constrained")
        ax = figure.add_subplot()
    if draw.min() < 0:
        ax.axvspan(
            draw.min() - 0.5, -0.5, facecolor=_BURN_IN, edgecolor="none", zorder=0, gid="burn-in"
        )
    for index, number in enumerate(np.unique(chain)):
        mine = chain == number
        style = look(index)
        ax.plot(
            draw[mine],
            excess[mine],
            color=style.color,
            linestyle=style.dash,
            linewidth=0.9,
            alpha=0.85,
            label=f"chain {number}",
            gid=f"chain:{number}",
        )
    kept = excess[(draw >= 0) & np.isfinite(excess)]
    if kept.size:
        mean = float(kept.mean())
        ax.hlines(
            mean, -0.5, draw.max() + 0.5, color=INK, linewidth=1.4, label="mean of draws", zorder=4
        )
    ax.axhline(0, color=FAINT, linewidth=0.9, linestyle=(0, (4, 2)), label="L(w*)")
    ax.set_xlim(draw.min() - 0.5, draw.max() + 0.5)
    ax.set_xlabel("draw (negative, grey: burn-in, not used)", fontsize=TEXT_PT)
    ax.set_ylabel("L(w) − L(w*)", fontsize=TEXT_PT)
    ax.set_title(
        f"{title}\n{verdict}".strip(), loc="left", fontsize=TEXT_PT, color=INK, parse_math=False
    )
    ax.tick_params(labelsize=SMALL_PT)
    ax.spines[["top", "right"]].set_visible(False)
    ax.legend(fontsize=SMALL_PT, frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    figure = ax.figure.get_figure(root=True)
    assert figure is not None
    return figure


def _verdict(rows: list[tuple[int, Row]]) -> str:
    if not rows:
        return ""
    _, row = rows[-1]
    number = f"{row.value:.4g}" if np.isfinite(row.value) else "no value"
    if np.isfinite(row.value) and np.isfinite(row.se):
        number += f" ± {row.se:.2g}"
    return f"estimate {number}, status {row.status}"


def _no_chains(store: Store, run_id: str, *, step: int, metric: str, site: str) -> ConfigError:
    from devtrack.store.estimate_readers import read_chain_steps

    found = read_chain_steps(store, run_id, metric=metric, site=site)
    if not found:
        return ConfigError(
            f"chains of {metric!r} at site {site!r}: the run stored none. Chains are stored by "
            "metrics that sample, such as 'llc'. "
            "See: devtrack sql 'SELECT DISTINCT run, metric, site FROM chains'."
        )
    found.sort(key=lambda one: (abs(one - step), one))
    nearest = ", ".join(map(str, found[:5]))
    return ConfigError(
        f"step={step}: no chains of {metric!r} at site {site!r} were stored there. "
        f"The nearest steps that have some are {nearest}. Pass one of these."
    )
