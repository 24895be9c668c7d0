"""Where a change of known place lies exactly: a posterior over midpoint, width and form.

Given all other changes and the noise, the likelihood of every (midpoint, width, form) on a fine
grid is exact up to the profiled scale; summed over width and form it is the midpoint's posterior.
Intervals are honest about the gap between two snapshots, where a likelihood is flat and a least
squares fit would report a tiny error.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr

from devtrack.changepoints.scan import Scanner, Setting
from devtrack.changepoints.templates import bend, level_change

Array = npt.NDArray[np.floating]

MIDS = 121
WIDTHS = 10
LEVELS = (0.05, 0.5, 0.95)


class Posterior(NamedTuple):
    """The posterior of one series' change.

    Args:
        mid: Grid of midpoints, shape (mid,).
        mass: Probability of each, shape (mid,).
        width: Posterior mean of the log width, exponentiated.
        effect: Weight of the best template in units of the curve.
        effect_se: Its standard error.
        best_mid, best_width: The best template.
    """

    mid: Array
    mass: Array
    width: float
    effect: float
    effect_se: float
    best_mid: float
    best_width: float


def _gompertz(u: Array, mid: Array, width: Array) -> Array:
    """A rise that starts at once and ends slowly: exp(-exp(-v)), 5-95 % width ``width``."""
    v05, v50, v95 = (-np.log(-np.log(q)) for q in LEVELS)
    v = v50 + (u[:, None] - mid) / (width / (v95 - v05))
    return np.exp(-np.exp(np.clip(-v, -700, 700)))


def _reverse_gompertz(u: Array, mid: Array, width: Array) -> Array:
    """A rise that starts slowly and ends at once."""
    return 1 - _gompertz(-u, -mid, width)


def _normal(u: Array, mid: Array, width: Array) -> Array:
    return ndtr((u[:, None] - mid) / (width / (2 * 1.6448536)))


FORMS = (level_change, _normal, _gompertz, _reverse_gompertz)
FORM_PRIOR = (0.4, 0.4, 0.1, 0.1)


def locate(
    y: Array,
    u: Array,
    scanner: Scanner,
    *,
    setting: Setting,
    others: Array,
    place: float,
    reach: float,
    widths: tuple[float, float],
    is_bend: bool,
    coarse: bool = False,
) -> Posterior:
    """Return the posterior of one change in one series.

    Args:
        y, u: The curve, shape (point,).
        scanner: The series' model.
        setting: Noise and trend amplitude.
        others: Columns of the other changes, (point, other).
        place: Where to look.
        reach: How far to either side.
        widths: Smallest and largest width.
        is_bend: A bend instead of a level change.
        coarse: Logistic form only, few midpoints: to find the best template.
    """
    num_mids = MIDS // 8 if coarse else MIDS
    mids = np.linspace(place - reach, place + reach, num_mids)
    grid = np.geomspace(*widths, WIDTHS if not is_bend else 4)
    mid, width = (a.ravel() for a in np.meshgrid(mids, grid, indexing="ij"))
    forms = (bend,) if is_bend else FORMS[:1] if coarse else FORMS
    prior = (1.0,) if is_bend else FORM_PRIOR
    x = setting.whitener.whiten(scanner.design(others) / scanner.h[:, None])
    precision = scanner.precision(setting.amplitude, others.shape[1])
    root = np.linalg.cholesky(x.T @ x + np.diag(precision))
    yw = setting.whitener.whiten(y / scanner.h)
    d = np.linalg.solve(root, x.T @ yw)
    rss = float(yw @ yw - d @ d) + scanner.prior_points
    m = len(y) + scanner.prior_points
    scores, effects, norms = [], [], []
    for form, weight in zip(forms, prior):
        t = setting.whitener.whiten(form(u, mid, width) / scanner.h[:, None])
        c = np.linalg.solve(root, x.T @ t)
        raw = np.einsum("ij,ij->j", t, t)
        norm = np.maximum(raw - np.einsum("ij,ij->j", c, c), 1e-6 * raw + 1e-300)
        inner = t.T @ yw - c.T @ d
        drop = np.minimum(inner**2 / norm, rss * (1 - 1e-9))
        scores.append(-0.5 * m * np.log1p(-drop / rss) + np.log(weight))
        effects.append(inner / norm)
        norms.append(norm)
    score = np.stack(scores).reshape(len(forms), num_mids, grid.size)
    mass = np.exp(score - score.max())
    by_mid = mass.sum(axis=(0, 2))
    by_width = mass.sum(axis=(0, 1))
    best = int(np.argmax(score))
    f, rest = divmod(best, num_mids * grid.size)
    sigma2 = rss * np.exp(-2 * (score.ravel()[best] - np.log(prior[f])) / m) / m
    return Posterior(
        mids,
        by_mid / by_mid.sum(),
        float(np.exp(np.sum(by_width * np.log(grid)) / by_width.sum())),
        float(effects[f][rest]),
        float(np.sqrt(sigma2 / norms[f][rest])),
        float(mid[rest]),
        float(width[rest]),
    )
