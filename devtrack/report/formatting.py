"""Numbers as a reader wants them: no digit that the standard error does not support."""

from __future__ import annotations

import math

_LEAST_DECIMALS = -4  # of errors below a million: beyond, zeros would have to be counted
_MOST_DIGITS = 15  # that a double has after its first


def measured_text(value: float, se: float) -> str:
    """Write a value with its standard error, both cut at the error's second digit.

    Example:
        >>> measured_text(97.3412, 4.127), measured_text(0.51234, 0.0031)
        ('97.3 ± 4.1', '0.5123 ± 0.0031')
        >>> measured_text(2.5, math.nan)
        '2.5'
        >>> measured_text(123456.0, 2345.0)
        '123500 ± 2300'
        >>> measured_text(1.0934e9, 1.3e8), measured_text(1.0934e-9, 1.3e-10)
        ('1.09e+09 ± 1.3e+08', '1.09e-09 ± 1.3e-10')
        >>> measured_text(3.0, 1.3e8), measured_text(-987654321.0, 1.3e6)
        ('0e+00 ± 1.3e+08', '-9.877e+08 ± 1.3e+06')
    """
    if not math.isfinite(se) or se <= 0 or not math.isfinite(value):
        return number_text(value)
    decimals = 1 - math.floor(math.log10(se))
    if not _LEAST_DECIMALS <= decimals < 8:
        shown = round(value, decimals)
        digits = math.floor(math.log10(abs(shown))) + decimals if shown else 0
        return f"{shown:.{min(max(digits, 0), _MOST_DIGITS)}e} ± {se:.1e}"
    places = max(decimals, 0)
    return f"{round(value, decimals):.{places}f} ± {round(se, decimals):.{places}f}"


def number_text(value: float) -> str:
    """Write a number with four significant digits.

    Example:
        >>> number_text(0.123456), number_text(math.nan)
        ('0.1235', 'nan')
    """
    return f"{value:.4g}"


def step_text(step: float) -> str:
    """Write a step as a whole number.

    Example:
        >>> step_text(12345.6), step_text(math.nan)
        ('12346', '')
    """
    return f"{step:.0f}" if math.isfinite(step) else ""


def interval_text(midpoint: float, low: float, high: float) -> str:
    """Write a step with its interval.

    Example:
        >>> interval_text(120.4, 104.6, 140), interval_text(120, math.nan, math.nan)
        ('120 [105, 140]', '120')
    """
    if not (math.isfinite(low) and math.isfinite(high)):
        return step_text(midpoint)
    return f"{step_text(midpoint)} [{step_text(low)}, {step_text(high)}]"
