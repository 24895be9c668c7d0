"""What one series says by itself: a set of changes, and the noise they stand out from."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from devtrack.changepoints._noise import shape_error
from devtrack.changepoints._templates import KINK, STEP, Shape, is_admissible
from devtrack.changepoints.offline._series_model import Fit, SeriesModel
from devtrack.changepoints.offline._shape_checks import is_non_monotone, turning_point

Array = npt.NDArray[np.floating]

_WIDTH_FACTORS = np.geomspace(0.5, 2, 7)


def estimate_noise(model: SeriesModel) -> list[Shape]:
    """Set the noise, correlation and jumps of a model; return its cheapest segmentation.

    Correlated noise and many small changes explain the same fluctuations. So changes are selected
    anew for every correlation, with the jumps and without. The model with the lowest cost wins. The
    noise then includes the error of the ideal shapes (``noise.shape_error``). The round is repeated
    near the winner, which is a candidate again.
    """
    curve, noise, shapes = model.curve, model.config.noise, []
    won: list[list[Shape]] = []
    if curve.se_known:  # else what the shapes of a loud change miss would pass for correlation
        error = shape_error(curve.position, curve.value, noise)
        model.set_noise(np.hypot(curve.noise_sd, error), 0.0)
    for around in (None, 0.3):
        phis = [p for p in noise.correlations if around is None or abs(p - model.phi) < around]
        model.is_straight = False
        offered, selected = [*won, _joint_segmentation(model)], []
        for phi, jumps in itertools.product(phis, _with_and_without(model.jumps)):
            model.set_noise(model.noise, phi)
            model.jumps = jumps
            selected.append((*select_changes(model, offered), phi, jumps))
        _, shapes, model.is_straight, phi, model.jumps = min(selected, key=lambda t: t[0])
        model.set_noise(model.noise, phi)
        shapes = merge_or_split(model, shapes)
        if around is None:
            _rescale_noise(model, shapes)
            model.noise_known = True
            won = [] if model.is_straight else [shapes]
    shapes = replace_ramps(model, shapes)
    _finish(model, shapes)
    return shapes


def _with_and_without(jumps: list[Array]) -> list[list[Array]]:
    """Return all jumps and none: a run that was resumed mostly runs on as if nothing had been.

    Free jumps explain what lies near them and draw turning points from their place.
    """
    return [jumps, []] if jumps else [[]]


def reestimate_noise(model: SeriesModel, shapes: Sequence[Shape]) -> None:
    """Estimate the model's noise and correlation again: changes that were dropped are noise.

    Args:
        model: Of a series whose changes were selected.
        shapes: The changes of the series that are significant.
    """
    model.is_straight = model.is_straight and any(s.kind == KINK for s in shapes)
    costs = []
    for phi in model.config.noise.correlations:
        model.set_noise(model.noise, phi)
        costs.append((model.cost(shapes), phi))
    model.noise_known = model.curve.se_known
    model.set_noise(model.curve.noise_sd, min(costs)[1])
    _rescale_noise(model, shapes)
    model.noise_known = True
    _finish(model, shapes)


def _rescale_noise(model: SeriesModel, shapes: Sequence[Shape]) -> None:
    """Scale the noise to what the shapes leave, and add what ideal ones may be off by.

    Where no noise is observable, they are off by ``trend_error_share`` everywhere. Otherwise the
    tails of an ideal shape, matched to the last digit, would bias its location.
    """
    fit, noise = model.fit(shapes), model.config.noise
    error = shape_error(model.curve.position, fit.curve, noise)
    if not model.curve.shows_noise:
        error = np.hypot(error, noise.min_share * float(np.ptp(model.curve.value)))
    model.set_noise(np.hypot(model.curve.noise_sd * _noise_factor(model, fit), error), model.phi)


def _finish(model: SeriesModel, shapes: Sequence[Shape]) -> None:
    """Add the uncertainty of a curve whose noise does not show, and keep what the shapes leave.

    Such a curve (a deterministic loss, a weight norm) does not show how large a change must be to
    be real. There the error of a smooth trend is used instead, which is correlated over a stretch
    of the run. Real quiet trainings set its size. What an ideal shape leaves at a level change,
    from one
    snapshot to the next, is no such error.
    """
    curve, noise = model.curve, model.config.noise
    if not curve.shows_noise:
        trend_error = noise.trend_error_share * float(np.ptp(model.fit(shapes).own))
        alike = float(np.exp(-1 / (noise.trend_error_length * curve.position.size)))
        model.set_noise(np.hypot(model.noise, trend_error), max(model.phi, alike))
    rest = model.residual(shapes)
    if not curve.shows_noise:
        rest = rest[_beside(curve.position, shapes, noise.nearby)]
    spread = float(np.sqrt(np.mean((rest - rest.mean()) ** 2)))
    model.scatter = (rest - rest.mean()) / spread if spread > 0 else None


def _beside(u: Array, shapes: Sequence[Shape], nearby: float) -> npt.NDArray[np.bool_]:
    """Say which points lie beside all level changes; all, if those take most of the run."""
    beside = np.ones(u.size, dtype=bool)
    for shape in shapes:
        beside &= (np.abs(u - shape.mid) > shape.width + nearby) | (shape.kind != STEP)
    return beside if np.mean(beside) > 0.5 else np.ones_like(beside)


def select_changes(
    model: SeriesModel, offered: Sequence[list[Shape]] = ()
) -> tuple[float, list[Shape], bool]:
    """Return the price and the changes of one series by itself, and whether its trend is a line.

    A turning point resembles a step up and a step down, and a staircase resembles kinks. Greedy
    search depends on which kind is added first, so both orders are tried. If the curve is
    non-monotone, a third model is tried: kinks on a linear trend. It is preferred unless its
    penalized cost is much higher. With an exponential trend the location of a turning point is not
    identifiable.

    Args:
        model: Of the series.
        offered: Further segmentations beside a relaxation; what does not pay in them is left out.
    """
    model.is_straight = False
    ways = [_search(model, [STEP]), _search(model, [KINK, STEP])]
    ways += [_eliminate_backward(model, shapes) for shapes in offered]
    price, shapes = min(((penalty_of(model, w), w) for w in ways), key=lambda way: way[0])
    if not is_non_monotone(model, model.fit(shapes)):
        return price, shapes, False
    model.is_straight = True
    bends = _bends(model)
    selection = model.config.selection
    kinked = any(s.kind == KINK for s in shapes)
    bonus = selection.kinked_trend_bonus if kinked else selection.linear_trend_bonus
    bent = penalty_of(model, bends) - (bonus if shapes else 0.0)
    if bent < price and is_non_monotone(model, model.fit(bends)):
        return bent, bends, True
    return price, shapes, False


def penalty_of(model: SeriesModel, shapes: Sequence[Shape]) -> float:
    """Return what a set of changes costs: its misfit and the price of each, and of the jumps."""
    selection = model.config.selection
    of_kind = {STEP: selection.step_penalty, KINK: selection.step_penalty + selection.kink_penalty}
    price = sum(of_kind[s.kind] for s in shapes)
    price += selection.jump_penalty * len(model.jumps)
    first = selection.first_kink_penalty if any(s.kind == KINK for s in shapes) else 0.0
    return model.cost(shapes) + price + first


def refine(model: SeriesModel, shapes: list[Shape], i: int) -> list[Shape]:
    """Move change ``i`` off the bank's grid to where it fits best given the others."""
    kind, mid, width = shapes[i]
    others = shapes[:i] + shapes[i + 1 :]
    reach = 0.02 + 0.35 * width
    mids = np.linspace(mid - reach, mid + reach, 13)
    if kind == STEP:
        widths = np.clip(width * _WIDTH_FACTORS, 0.006, model.top)
    else:
        widths = np.array([0.01, 0.03, 0.06, 0.1])
    grid, wide = np.repeat(mids, widths.size), np.tile(widths, mids.size)
    room = is_admissible(kind, grid)
    if kind == KINK:  # two bends at one place would be a level change
        for mid in (other.mid for other in others if other.kind == KINK):
            room &= np.abs(grid - mid) >= model.config.selection.min_distance
    if not room.any():
        return shapes
    grid, wide = grid[room], wide[room]
    best = int(np.argmax(model.glr_at(others, np.full(grid.size, kind), grid, wide)))
    return [*shapes[:i], Shape(kind, float(grid[best]), float(wide[best])), *shapes[i + 1 :]]


def occupied(model: SeriesModel, shapes: Sequence[Shape]) -> npt.NDArray[np.bool_]:
    """Say which templates lie on a change that the series already has, (template,)."""
    bank, selection = model.bank, model.config.selection
    out = ~is_admissible(bank.kind, bank.mid)
    for shape in shapes:
        widths = bank.width + shape.width
        least = selection.min_distance + selection.min_distance_per_width * widths
        out |= np.abs(bank.mid - shape.mid) < least
    return out


def _search(model: SeriesModel, kinds: Sequence[int]) -> list[Shape]:
    """Add changes of one kind after the other while they pay, then leave out those that do not."""
    shapes: list[Shape] = []
    entry = model.config.selection.entry_threshold
    for kind in kinds:
        while found := _next(model, kind, shapes, entry=entry):
            shapes = [*shapes, found]
            for i in reversed(range(max(0, len(shapes) - 3), len(shapes))):
                shapes = refine(model, shapes, i)
    return _eliminate_backward(model, shapes)


def _joint_segmentation(model: SeriesModel) -> list[Shape]:
    """Tell a series as level changes that pay together: of several alike the first gains little."""
    shapes: list[Shape] = []
    entry = model.config.selection.joint_entry_threshold
    while found := _next(model, STEP, shapes, entry=entry):
        shapes = _fitted(model, [], [*shapes, found])
    return shapes


def _bends(model: SeriesModel) -> list[Shape]:
    """Tell a series as bends alone: the first of a zigzag pays only once the others are in."""
    shapes: list[Shape] = []
    entry = model.config.selection.joint_entry_threshold
    while found := _next(model, KINK, shapes, entry=entry):
        shapes = _fitted(model, [], [*shapes, found])
    return _fitted(model, [], merge_or_split(model, _eliminate_backward(model, shapes)))


def _next(model: SeriesModel, kind: int, shapes: list[Shape], *, entry: float) -> Shape | None:
    """Return the template that gains most beside the shapes; None if it gains too little.

    ``entry`` is the least gain, as a share of the penalty.
    """
    if len(shapes) >= _most(model):
        return None
    open_to = (model.bank.kind == kind) & ~occupied(model, shapes)
    glr = np.where(open_to, model.glr_scan(shapes), 0.0)
    best = int(np.argmax(glr))
    least = entry * model.config.selection.step_penalty
    return model.bank.shape(best) if glr[best] >= least else None


def merge_or_split(model: SeriesModel, shapes: list[Shape]) -> list[Shape]:
    """Take neighbouring changes for one, or one for two, where that is the cheaper segmentation.

    Changes are selected one after the other. A wide first one may have taken the place of two. A
    narrow first one may have taken the place of a wide one, whose remainder then takes others.
    """
    for rivals in (_merge_candidates, _split_candidates):
        price = penalty_of(model, shapes)
        while rival := min(rivals(model, shapes), key=lambda r: penalty_of(model, r), default=None):
            cheaper = penalty_of(model, rival)
            if cheaper >= price:
                break
            shapes, price = rival, cheaper
    return shapes


def _merge_candidates(model: SeriesModel, shapes: list[Shape]) -> Iterator[list[Shape]]:
    """Yield the segmentations in which a run of level changes is one, or two bends are."""
    steps = sorted((s for s in shapes if s.kind == STEP), key=lambda s: s.mid)
    for i, j in itertools.combinations(range(len(steps)), 2):
        first, last = steps[i], steps[j]
        if last.mid - first.mid < model.top:
            width = min(last.mid - first.mid + 0.5 * (first.width + last.width), model.top)
            one = [Shape(STEP, 0.5 * (first.mid + last.mid), width)]
            yield _fitted(model, [s for s in shapes if s not in steps[i : j + 1]], one)
    bends = sorted((s for s in shapes if s.kind == KINK), key=lambda s: s.mid)
    rounding = model.config.templates.kink_widths[0]
    for pair in itertools.pairwise(bends):
        one = [Shape(KINK, 0.5 * (pair[0].mid + pair[1].mid), rounding)]
        yield _fitted(model, [s for s in shapes if s not in pair], one)


def _split_candidates(model: SeriesModel, shapes: list[Shape]) -> Iterator[list[Shape]]:
    """Yield the segmentations in which one level change is two, between which the curve rests.

    Where it does not, they are one of an odd shape.
    """
    selection = model.config.selection
    for one in shapes:
        mids = (one.mid - 0.25 * one.width, one.mid + 0.25 * one.width)
        wide = (
            one.kind == STEP
            and one.width >= selection.min_split_width
            and bool(np.all(is_admissible(STEP, mids)))
        )
        if not wide or len(shapes) >= _most(model):
            continue
        halves = [Shape(STEP, mid, 0.4 * one.width) for mid in mids]
        two = _fitted(model, [s for s in shapes if s is not one], halves)
        left, right = sorted(two[-2:], key=lambda s: s.mid)
        if right.mid - left.mid >= selection.min_distance + 0.5 * (left.width + right.width):
            yield two


def _fitted(model: SeriesModel, others: list[Shape], new: list[Shape]) -> list[Shape]:
    """Return all shapes, the new ones moved to where they fit best."""
    shapes = [*others, *new]
    for i in 2 * list(range(len(others), len(shapes))):
        shapes = refine(model, shapes, i)
    return shapes


def replace_ramps(model: SeriesModel, shapes: list[Shape]) -> list[Shape]:
    """Take two bends for one level change where they are the ends of a ramp.

    They are if they are no further apart than a level change may be wide, of opposite signs, and
    the curve turns at neither.

    Args:
        model: Of the series.
        shapes: All of the series' shapes.
    """
    bends = sorted((s for s in shapes if s.kind == KINK), key=lambda s: s.mid)
    fit = model.fit(shapes)
    effect = dict(zip(shapes, fit.effect, strict=True))
    for first, last in itertools.pairwise(bends):
        width = 0.9 * (last.mid - first.mid)  # from 5 to 95 % of a straight rise
        is_ramp = effect[first] * effect[last] < 0 and width <= model.top
        if is_ramp and all(turning_point(model, shapes, b) is None for b in (first, last)):
            others = [s for s in shapes if s not in (first, last)]
            step = Shape(STEP, 0.5 * (first.mid + last.mid), width)
            return replace_ramps(model, _fitted(model, others, [step]))
    return shapes


def _most(model: SeriesModel) -> int:
    selection = model.config.selection
    return min(selection.max_changes, model.curve.position.size // selection.points_per_change)


def _eliminate_backward(model: SeriesModel, shapes: list[Shape]) -> list[Shape]:
    selection = model.config.selection
    while shapes:
        worth = []
        for i, shape in enumerate(shapes):
            glr = float(model.glr_at(shapes[:i] + shapes[i + 1 :], *shape)[0])
            worth.append(glr - (selection.kink_penalty + 1.0 if shape.kind == KINK else 0.0))
        weakest = int(np.argmin(worth))
        if worth[weakest] >= selection.step_penalty:
            break
        shapes = shapes[:weakest] + shapes[weakest + 1 :]
    return shapes


def _noise_factor(model: SeriesModel, fit: Fit) -> float:
    n, prior = model.curve.position.size, model.prior_points
    sigma = np.sqrt((fit.misfit + prior) / (max(n - fit.num_free, 0.5 * n) + prior))
    return float(max(sigma, model.config.noise.min_factor) if model.curve.se_known else sigma)
