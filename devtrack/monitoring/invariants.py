"""Rules that a run must keep: ``Invariant("probe/deception/accuracy < 0.6")``."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from devtrack._checks import require_bool
from devtrack.errors import ConfigError

_COMPARE: dict[str, Callable[[float, float], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_RULE = re.compile(
    r"\s*(?P<metric>[^\s@<>=]+)(?:@(?P<site>[^\s<>=]+))?\s*(?P<sign>[<>]=?)\s*(?P<bound>\S+)\s*"
)


class Rule(NamedTuple):
    """A parsed invariant.

    Args:
        metric: Name of the quantity.
        site: Where it was taken; None means at every site.
        operator: ``<``, ``<=``, ``>`` or ``>=``.
        bound: The number it is held to.
    """

    metric: str
    site: str | None
    operator: str
    bound: float


@dataclass(frozen=True)
class Invariant:
    """A bound that a metric must keep at every snapshot.

    It counts as violated when the value is past the bound by more than ``z`` standard errors. At
    ``z=2`` a value that lies on the bound violates it by chance at one snapshot in 44. A metric
    without a standard error is taken at its word. A value that is not finite violates every rule: a
    training that has diverged keeps no bound.

    Args:
        rule: ``"METRIC < NUMBER"`` or ``"METRIC@SITE < NUMBER"``; also ``<=``, ``>``, ``>=``.
        stop: Stop the training when it is violated.
        z: Standard errors that the value must be past the bound.

    Raises:
        ConfigError: The rule cannot be read, or ``z`` is negative.

    Example:
        >>> rule = Invariant("probe/deception/accuracy < 0.6")
        >>> rule.is_violated(0.63, se=0.02), rule.is_violated(0.63, se=0.01)
        (False, True)
    """

    rule: str
    stop: bool = False
    z: float = 2.0

    def __post_init__(self) -> None:
        parse(self.rule)
        require_bool("stop", self.stop)
        if not (isinstance(self.z, int | float) and 0 <= self.z < math.inf):
            raise ConfigError(
                f"z={self.z!r}: must be a number of standard errors, 0 or more. Pass z=2."
            )

    @property
    def parsed(self) -> Rule:
        """The rule in its parts."""
        return parse(self.rule)

    def applies_to(self, metric: str, site: str) -> bool:
        """Say whether a number falls under this rule."""
        return self.parsed.metric == metric and self.parsed.site in (None, site)

    def is_violated(self, value: float, *, se: float = math.nan) -> bool:
        """Say whether ``value`` is not finite, or past the bound by more than ``z`` errors."""
        if not math.isfinite(value):
            return True
        _, _, operator, bound = self.parsed
        slack = self.z * se if math.isfinite(se) else 0.0
        best = value - slack if operator.startswith("<") else value + slack
        return not _COMPARE[operator](best, bound)


def parse(rule: str) -> Rule:
    """Read a rule.

    Raises:
        ConfigError: It is none.

    Example:
        >>> parse("llc@blocks.0 >= 3")
        Rule(metric='llc', site='blocks.0', operator='>=', bound=3.0)
    """
    match = _RULE.fullmatch(rule) if isinstance(rule, str) else None
    bound = _number(match["bound"]) if match else None
    if match is None or bound is None:
        raise ConfigError(
            f"Invariant({rule!r}): must read METRIC < NUMBER or METRIC@SITE < NUMBER, "
            "with one of <, <=, >, >= and a finite number. "
            'Write for example Invariant("probe/deception/accuracy < 0.6").'
        )
    return Rule(match["metric"], match["site"], match["sign"], bound)


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None
