"""The gain of every template over a smooth trend, for one series or many draws of it.

Model of a series, in units of its relative noise h:

    y = X b + B w + e,   w ~ N(0, a^2 s^2),   e ~ AR(1) of correlation phi and variance s^2

X: level, slope and the changes found so far (free weights); B: relaxations and drifts. For each
(phi, a) of a grid the weights are integrated or maximised out in closed form and the scale s is
profiled; a template's gain is

    G = 2 * (max over (phi, a) of log p(y | X, template) - max over (phi, a) of log p(y | X))

so that a more correlated noise or a livelier trend may explain a change away. All of it is linear
algebra on Gram matrices of some twenty columns: n enters only once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.linalg import cholesky, solve_triangular

from devtrack.changepoints.noise import CORRELATIONS, Whitener

Array = npt.NDArray[np.floating]

AMPLITUDES = (0.3, 3.0, 30.0, 300.0, 3000.0)
FAST_CORRELATIONS = (0, 2, 4)  # positions in CORRELATIONS ...
FAST_AMPLITUDES = (0.3,)  # ... and amplitudes for the search: a trend of relaxations alone
FREE = 1e4  # prior standard deviation of free weights, in noise units: flat for all purposes


class Setting(NamedTuple):
    """One point of the grid with its fit: what the noise and the trend are like."""

    whitener: Whitener
    amplitude: float
    sigma: float
    log_likelihood: float


@dataclass(frozen=True, eq=False)
class _Gram:
    """Inner products of whitened columns at one correlation."""

    whitener: Whitener
    template: Array  # (point, template), whitened
    base: Array  # (point, base): free columns first, then the trend's
    base_base: Array
    template_base: Array
    template_norm: Array

    @property
    def log_weight(self) -> float:
        """Log prior and Jacobian of the correlation."""
        return self.whitener.log_jacobian + self.whitener.correlation.log_prior


class Scanner:
    """Everything about one series' grid, trend and templates that does not depend on its values.

    Args:
        h: Relative noise, shape (point,).
        index: Numbers of the points' snapshots, ascending, shape (point,).
        free: Columns with free weights, (point, free).
        free_sd: Prior standard deviation of the free weights in noise units, (free,); flat if None.
        trend: Columns with Gaussian weights, (point, trend).
        template: Columns of the templates, (point, template).
        prior_points: Weight, in points, of the belief that the noise factor is 1 (reported standard
            errors); 0 when nothing is known of it.
    """

    def __init__(
        self,
        h: Array,
        index: npt.NDArray[np.integer],
        free: Array,
        trend: Array,
        template: Array,
        *,
        free_sd: Array | None = None,
        prior_points: float = 0.0,
    ) -> None:
        self.h, self.free, self.trend, self.prior_points = h, free, trend, prior_points
        self._free_sd = np.full(free.shape[1], FREE) if free_sd is None else free_sd
        self._grams = []
        for correlation in CORRELATIONS:
            w = Whitener(index, correlation)
            t = w.whiten(template / h[:, None])
            x = w.whiten(np.hstack([free, trend]) / h[:, None])
            self._grams.append(_Gram(w, t, x, x.T @ x, t.T @ x, np.einsum("ij,ij->j", t, t)))

    def gains(self, y: Array, *, extra: Array | None = None, fast: bool = False) -> Array:
        """Return the gain of every template over trend, free columns and ``extra``.

        Args:
            y: Values, shape (point,) or (point, draw).
            extra: More free columns, (point, extra).
            fast: Look at a few settings only.

        Returns:
            Gains, shape (template,) or (template, draw).
        """
        ys = y[:, None] if y.ndim == 1 else y
        m = self._dof(extra)
        # a likelihood is exp(constant) * rss^(-m/2): compared as rss * exp(-2 constant / m)
        offset: float | None = None
        best, null = np.array(np.inf), np.array(np.inf)
        for gram in [self._grams[i] for i in FAST_CORRELATIONS] if fast else self._grams:
            yw = gram.whitener.whiten(ys / self.h[:, None])
            for rss, half_log_det, inner, norm in self._settings(gram, yw, extra, fast=fast):
                constant = gram.log_weight - half_log_det
                offset = constant if offset is None else offset
                weight = float(np.exp(-2 * (constant - offset) / m))
                rss = rss + self.prior_points
                inner *= inner
                inner /= -norm[:, None]
                inner += rss
                inner *= weight
                best = np.minimum(best, inner)
                null = np.minimum(null, rss * weight)
        gain = m * (np.log(null) - np.log(np.maximum(best, 1e-9 * null)))
        return gain[:, 0] if y.ndim == 1 else gain

    def _dof(self, extra: Array | None) -> float:
        flat = int(np.sum(self._free_sd >= FREE)) + (0 if extra is None else extra.shape[1])
        return max(len(self.h) - flat, 3) + self.prior_points

    def settings(self, y: Array, *, extra: Array | None = None) -> list[Setting]:
        """Return the grid with its fits to one series, ``extra`` columns free."""
        found: list[Setting] = []
        for gram in self._grams:
            yw = gram.whitener.whiten(y[:, None] / self.h[:, None])
            for amplitude, part in zip(AMPLITUDES, self._settings(gram, yw, extra, bare=True)):
                rss = float(part[0][0]) + self.prior_points
                m = self._dof(extra)
                value = gram.log_weight - part[1] - 0.5 * m * np.log(rss)
                found.append(
                    Setting(gram.whitener, amplitude, float(np.sqrt(rss / m)), float(value))
                )
        return found

    def setting(self, y: Array, *, extra: Array | None = None) -> Setting:
        """Return the most likely point of the grid for one series with ``extra`` free columns."""
        return max(self.settings(y, extra=extra), key=lambda s: s.log_likelihood)

    def smooth(self, y: Array, setting: Setting, *, extra: Array | None = None) -> Array:
        """Return the fitted weights of (free, extra, trend) columns at one setting."""
        x = setting.whitener.whiten(self.design(extra) / self.h[:, None])
        yw = setting.whitener.whiten(y / self.h)
        precision = self.precision(setting.amplitude, 0 if extra is None else extra.shape[1])
        return np.linalg.solve(x.T @ x + np.diag(precision), x.T @ yw)

    def design(self, extra: Array | None = None) -> Array:
        """Return the columns (free, extra, trend)."""
        parts = [self.free, self.trend] if extra is None else [self.free, extra, self.trend]
        return np.hstack(parts)

    def precision(self, amplitude: float, num_extra: int) -> Array:
        """Return the prior precision of the weights of ``design``, (column,)."""
        sds = [self._free_sd, np.full(num_extra, FREE), np.full(self.trend.shape[1], amplitude)]
        return np.concatenate(sds) ** -2.0

    def _settings(
        self, gram: _Gram, yw: Array, extra: Array | None, *, bare: bool = False, fast: bool = False
    ):
        """Yield (rss (draw,), half log determinant, inner (template, draw), norm) per amplitude.

        With ``bare`` the last two are placeholders.
        """
        num_free = self.free.shape[1]
        num_extra = 0 if extra is None else extra.shape[1]
        xx, tx, x = gram.base_base, gram.template_base, gram.base
        if extra is not None and num_extra:
            e = gram.whitener.whiten(extra / self.h[:, None])
            xx, tx, x = _insert(gram, e, num_free, bare=bare)
        xy = x.T @ yw
        yy = np.einsum("ij,ij->j", yw, yw)
        ty = xy if bare else gram.template.T @ yw
        num_trend = self.trend.shape[1]
        for amplitude in FAST_AMPLITUDES if fast else AMPLITUDES:
            precision = self.precision(amplitude, num_extra)
            root = cholesky(xx + np.diag(precision), lower=True)
            d = solve_triangular(root, xy, lower=True)  # (column, draw)
            rss = np.maximum(yy - np.einsum("ij,ij->j", d, d), 1e-9 * yy + 1e-300)
            # restricted likelihood: free weights integrated out too, or phi comes out too low
            half_log_det = float(np.sum(np.log(np.diag(root)))) + num_trend * np.log(amplitude)
            if bare:
                yield rss, half_log_det, rss, rss
                continue
            c = solve_triangular(root, tx.T, lower=True)  # (column, template)
            left = gram.template_norm - np.einsum("ij,ij->j", c, c)
            norm = np.maximum(left, 1e-9 * gram.template_norm + 1e-300)
            yield rss, half_log_det, ty - c.T @ d, norm


def _insert(gram: _Gram, e: Array, at: int, *, bare: bool) -> tuple[Array, Array, Array]:
    """Put further whitened columns between the free ones and the trend."""
    x = np.hstack([gram.base[:, :at], e, gram.base[:, at:]])
    xx = x.T @ x
    if bare:
        return xx, gram.template_base, x
    tx, te = gram.template_base, gram.template.T @ e
    return xx, np.hstack([tx[:, :at], te, tx[:, at:]]), x
