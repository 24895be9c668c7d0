"""How a training with momentum gets under way: a ball that rolls from rest in a quadratic bowl.

An optimizer with momentum starts at rest. For its first 1 / (1 - momentum) steps the loss falls
ever faster, where plain gradient descent relaxes. Then it may oscillate about its minimum. On a log
axis this is a narrow fall that a sum of relaxations cannot follow. It is the optimizer's, not the
network's. In a direction of curvature ``h`` (times the learning rate) the distance from the valley
follows

    x[t+1] = (1 + momentum - h) x[t] - momentum x[t-1],   x[0] = 1,   x[1] = 1 - h,

and a quadratic loss is a mixture of such x², a linear quantity one of x.

Source:
    Polyak 1964, "Some methods of speeding up the convergence of iteration methods".
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.floating]

LEAST_INERTIA = 0.02  # rate times memory below which a roll is a relaxation for all that is seen
SLOWEST_SWING = 0.5  # radians per memory
FASTEST_SWING = 1.0  # radians per step: a whole swing in six steps
SWING_RATIO = 1.15  # between neighbouring frequencies: out of step once the swings have died down
MEMORIES = 8.0  # until a swing has died down to 2 %


class OptimizerStart(NamedTuple):
    """Where an optimizer with momentum started from rest.

    Args:
        step: Optimizer steps completed.
        momentum: Above 0 and below 1.
        linear: Whether linear quantities (weights, outputs) may oscillate too, to either side of
            their limit. Otherwise only quantities bounded below by their limit, such as a loss.
    """

    step: float
    momentum: float
    linear: bool = False

    @property
    def settled(self) -> float:
        """Step from which nothing swings any more."""
        return self.step + MEMORIES / (1 - self.momentum)


def heavy_ball_response(step: Array, start: OptimizerStart, rates: Array) -> Array:
    """Return distances from the valley, and their squares, as columns, (point, column).

    Args:
        step: Optimizer steps, (point,).
        start: What started where.
        rates: Rates of the relaxations that would be there without inertia, ascending.
    """
    elapsed, inertia = np.maximum(step - start.step, 0.0), 1 - start.momentum
    critical = (1 - np.sqrt(start.momentum)) ** 2
    slow = rates[(rates * inertia < critical) & (rates > LEAST_INERTIA * inertia)] * inertia
    num = max(int(np.log(FASTEST_SWING / (SLOWEST_SWING * inertia)) / np.log(SWING_RATIO)), 2)
    omega = np.geomspace(SLOWEST_SWING * inertia, FASTEST_SWING, num)
    swinging = 1 + start.momentum - 2 * np.sqrt(start.momentum) * np.cos(omega)
    x = [_roll(elapsed, start.momentum, float(h)) for h in [*slow, *swinging]]
    columns = [*(x if start.linear else x[: slow.size]), *(one**2 for one in x)]
    return np.column_stack(columns)


def _roll(elapsed: Array, momentum: float, h: float) -> Array:
    """Return x[t] of the module's docstring in closed form, at any t >= 0."""
    half = 0.5 * (1 + momentum - h)
    root = np.sqrt(complex(half**2 - momentum))
    fast, slow = half - root, half + root
    share = (1 - h - fast) / (slow - fast)
    return np.real(share * slow**elapsed + (1 - share) * fast**elapsed)
