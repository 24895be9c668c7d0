"""One series as a linear model: a smooth trend, event effects, changes, correlated noise."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from devtrack.changepoints._noise import Whitening, log_jacobian
from devtrack.changepoints._preprocessing import PreparedSeries
from devtrack.changepoints._templates import Shape, TemplateBank, columns
from devtrack.changepoints._trend import UNPENALIZED, RelaxationBasis, fit_relaxations, linear_trend
from devtrack.changepoints.config import DetectorConfig

Array = npt.NDArray[np.floating]
T = TypeVar("T")

_MOST_FITS = 200  # that a model remembers; a few megabytes for 400 points


class Fit(NamedTuple):
    """The fit of one set of changes.

    Args:
        curve: The fitted curve, (point,).
        own: The same without the event effects, (point,).
        effect: Weights of the changes, (change,).
        misfit: Residual sum of squares in whitened noise units, penalties included.
        num_free: Number of weights without a prior.
    """

    curve: Array
    own: Array
    effect: Array
    misfit: float
    num_free: int


class _Projection(NamedTuple):
    """An orthonormal basis of a design, and what it leaves of the whitened values."""

    basis: Array
    residual: Array


@dataclass
class SeriesModel:
    """The model of one series.

    Args:
        curve: The cleaned series.
        event_effects: Columns of what events may have left on it, (point, mark).
        bank: Templates to scan.
        top: Widest level change.
        config: The detector's constants.
        jumps: The same of events that need not have left anything, each (point, mark); taken out
            where they do not pay (``segmentation.estimate_noise``).

    Attributes:
        noise_known: Whether the noise is reported, or learned by now.
        noise: Standard deviation, (point,); learned by ``segmentation.estimate_noise``, as are the
            others.
        phi: Correlation of neighbouring snapshots.
        scatter: What the fitted model leaves of it, in units of the noise, (point,).
        is_straight: Whether its trend is a line, or relaxations.
    """

    curve: PreparedSeries
    event_effects: Array
    bank: TemplateBank
    top: float
    config: DetectorConfig = field(kw_only=True)
    jumps: list[Array] = field(default_factory=list)
    noise: Array = field(init=False)
    phi: float = field(init=False, default=0.0)
    noise_known: bool = field(init=False)
    scatter: Array | None = field(init=False, default=None)
    is_straight: bool = field(init=False, default=False)
    _templates: Array | None = field(init=False, default=None)
    _whitening: Whitening | None = field(init=False, default=None)
    _target: Array | None = field(init=False, default=None)
    _shape_columns: dict[Shape, Array] = field(init=False, default_factory=dict, repr=False)
    _fits: dict[tuple[object, ...], Any] = field(init=False, default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        self.noise = self.curve.noise_sd.copy()
        self.noise_known = self.curve.se_known

    def set_noise(self, noise: Array, phi: float) -> None:
        """Take another noise: standard deviation per point, (point,), and correlation."""
        self.noise, self.phi = noise, phi
        self._templates = self._whitening = self._target = None
        self._fits.clear()

    @property
    def has_event_effects(self) -> bool:
        """Whether what events may have left is part of the model."""
        return bool(self._event_effects.size)

    @property
    def prior_points(self) -> float:
        """Weight of the belief that the noise factor is 1, in points."""
        noise = self.config.noise
        prior = noise.prior_points + noise.prior_points_share * self.curve.position.size
        return prior if self.noise_known else 0.0

    @property
    def num_effective(self) -> float:
        """Points, the prior's included, that tell how large the noise is."""
        free = self.curve.position.size - self.config.noise.num_fitted
        return max(free, 4) + self.prior_points

    def fit(self, shapes: Sequence[Shape]) -> Fit:
        """Fit trend, marks and the given changes."""
        design, target, x, num_free = self._design(shapes)
        weights = np.linalg.lstsq(design, target, rcond=1e-10)[0]
        rest = target - design @ weights
        effect = weights[1 : 1 + len(shapes)]
        first = 1 + len(shapes)
        event_effects = slice(first, first + self._event_effects.shape[1])
        curve = x @ weights
        own = curve - x[:, event_effects] @ weights[event_effects]
        return Fit(curve, own, effect, float(rest @ rest), num_free)

    def residual(self, shapes: Sequence[Shape]) -> Array:
        """Return what trend, marks and the given changes leave, in units of white noise, (point,).

        Args:
            shapes: The changes.
        """
        return self._project(shapes).residual[: self.curve.position.size]

    def cost(self, shapes: Sequence[Shape]) -> float:
        """Return minus twice the log likelihood at the best noise factor, up to a constant.

        The correlation has the prior density 2 (1 - phi): strong correlation is rare, and hard to
        tell from change.
        """
        rss = float(np.sum(self._project(shapes).residual ** 2)) + self.prior_points
        m = self.num_effective
        jacobian = log_jacobian(self.curve.index, self.phi)
        return float(m * np.log(rss / m) - 2 * jacobian - 2 * np.log1p(-self.phi))

    def glr_scan(self, given: Sequence[Shape]) -> Array:
        """Return the gain of every template of the bank beside ``given``, (template,).

        A gain is twice the log likelihood ratio, the noise factor profiled.

        Args:
            given: The changes that are in already.
        """
        return self._gains(self._whitened_bank(), self._project(given))

    def glr_at(
        self,
        given: Sequence[Shape],
        kind: npt.ArrayLike,
        mid: npt.ArrayLike,
        width: npt.ArrayLike,
        *,
        selected: Sequence[Shape] = (),
    ) -> Array:
        """Return the gain of any shapes beside ``given``, (shape,).

        Args:
            given: The changes that are in already.
            kind, mid, width: Of the shapes.
            selected: Changes that the trend is fitted with besides, and that are not in.
        """
        templates = self._whiten(columns(self.curve.position, kind, mid, width))
        return self._gains(templates, self._project(given, selected=selected))

    def simulate_null_glr(self, rng: np.random.Generator, num: int) -> Array:
        """Return the gains of all templates on draws without a change, (template, draw).

        A draw has a trend and marks of the sizes that their priors allow, and noise of the series'
        own scatter.

        Args:
            rng: Source of randomness.
            num: Number of draws.
        """
        n = self.curve.position.size
        basis, templates = self._project([]).basis, self._whitened_bank()
        noise = rng.standard_normal((n, num))
        if self.scatter is not None:
            noise = rng.choice(self.scatter, size=(n, num))
        white = np.vstack([noise, rng.standard_normal((len(basis) - n, num))])
        rest = white - basis @ (basis.T @ white)
        rss = np.sum(rest**2, axis=0) + self.prior_points
        drop = (templates.T @ rest[:n]) ** 2 / self._norm(templates, basis[:n])[:, None]
        return self._gain(drop, rss)

    def _gains(self, templates: Array, left: _Projection) -> Array:
        n = self.curve.position.size
        rss = float(left.residual @ left.residual) + self.prior_points
        drop = (left.residual[:n] @ templates) ** 2 / self._norm(templates, left.basis[:n])
        return self._gain(drop, rss)

    def _norm(self, templates: Array, basis: Array) -> Array:
        """Squared length of each template beside the basis, (template,)."""
        least = self.config.selection.min_rest
        if self.is_straight:
            least = self.config.selection.min_rest_of_line
        whole = np.einsum("ij,ij->j", templates, templates)
        inside = np.sum((basis.T @ templates) ** 2, axis=0)
        return np.maximum(whole - inside, least * whole + 1e-12)

    def _gain(self, drop: Array, rss: Array | float) -> Array:
        return -self.num_effective * np.log1p(-np.minimum(drop / rss, 1 - 1e-9))

    def _project(self, shapes: Sequence[Shape], *, selected: Sequence[Shape] = ()) -> _Projection:
        def project() -> _Projection:
            design, target, *_ = self._design(shapes, selected)
            basis, _ = np.linalg.qr(design)
            return _Projection(basis, target - basis @ (basis.T @ target))

        return self._remembered(project, "projection", tuple(shapes), tuple(selected))

    def _design(
        self, shapes: Sequence[Shape], selected: Sequence[Shape] = ()
    ) -> tuple[Array, Array, Array, int]:
        return self._remembered(
            lambda: self._new_design(shapes, selected), "design", tuple(shapes), tuple(selected)
        )

    def _remembered(self, compute: Callable[[], T], *of: object) -> T:
        """Return what was computed for the present noise, jumps and trend, or compute it.

        A search asks again for most of the fits that it has seen.
        """
        key = (*of, self.is_straight, len(self.jumps))
        if key not in self._fits:
            if len(self._fits) >= _MOST_FITS:
                self._fits.clear()
            self._fits[key] = compute()
        return self._fits[key]

    def _new_design(
        self, shapes: Sequence[Shape], selected: Sequence[Shape]
    ) -> tuple[Array, Array, Array, int]:
        """Return the whitened design with its priors as rows.

        Also returned are the target, the columns of the curve, and the number of weights without a
        prior.
        """
        u, event_effects = self.curve.position, self._event_effects
        own = self._columns(shapes)
        sizes = [UNPENALIZED, self.config.events.effect_sd]
        extra_sd = np.repeat(sizes, [own.shape[1], event_effects.shape[1]])
        if self.is_straight:
            trend = linear_trend(u)
        else:
            beside = self._columns(selected)
            trend = fit_relaxations(
                self._remembered(
                    lambda: RelaxationBasis.of(self.curve.decays, self._whiten), "basis"
                ),
                self.curve.value,
                self._whiten,
                self.config.trend,
                extra=np.concatenate([own, event_effects, beside], axis=1),
                extra_sd=np.append(extra_sd, np.full(beside.shape[1], UNPENALIZED)),
            )
        x = np.concatenate([np.ones((u.size, 1)), own, event_effects, trend.columns], axis=1)
        sd = np.concatenate([[UNPENALIZED], extra_sd, trend.sd])
        design = np.concatenate([self._whiten(x), np.diag(1 / sd)])
        target = np.append(self._whitened_value, np.zeros(x.shape[1]))
        return design, target, x, int(np.sum(sd >= UNPENALIZED))

    @property
    def _event_effects(self) -> Array:
        return np.hstack([self.event_effects, *self.jumps]) if self.jumps else self.event_effects

    def _columns(self, shapes: Sequence[Shape]) -> Array:
        if not shapes:
            return np.empty((self.curve.position.size, 0))
        out = np.empty((self.curve.position.size, len(shapes)))
        for i, shape in enumerate(shapes):
            if shape not in self._shape_columns:
                if len(self._shape_columns) >= _MOST_FITS:
                    self._shape_columns.clear()
                self._shape_columns[shape] = columns(self.curve.position, *shape)[:, 0]
            out[:, i] = self._shape_columns[shape]
        return out

    def _whiten(self, x: Array) -> Array:
        noise = self.noise[:, None] if x.ndim == 2 else self.noise
        if self._whitening is None:
            self._whitening = Whitening.of(self.curve.index, self.phi)
        return self._whitening(x / noise)

    @property
    def _whitened_value(self) -> Array:
        if self._target is None:
            self._target = self._whiten(self.curve.value)
        return self._target

    def _whitened_bank(self) -> Array:
        if self._templates is None:
            bank = self.bank
            self._templates = self._whiten(
                columns(self.curve.position, bank.kind, bank.mid, bank.width)
            )
        return self._templates
