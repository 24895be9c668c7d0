"""Which invariants a run breaks: each said once where it begins, and again after it has ended."""

from __future__ import annotations

import difflib
import math
from collections.abc import Sequence

from devtrack.invariants import Invariant
from devtrack.rows import NOT_FINITE, Event, Row, Status

_Key = tuple[Invariant, str | None]  # a rule and a site; None where no site was seen


class Violations:
    """What of a monitor's rules is violated, or could not be checked, at the last snapshot."""

    def __init__(self) -> None:
        self._violated: set[_Key] = set()
        self._unchecked: set[_Key] = set()

    def check(self, rule: Invariant, rows: Sequence[Row]) -> list[Event]:
        """Return an event where a rule begins to be violated, or can no longer be checked."""
        found = [row for row in rows if rule.watches(row.metric, row.site)]
        if not found:
            return _begin(self._unchecked, (rule, None), _unmeasured_event(rule, rows))
        self._unchecked.discard((rule, None))
        events = []
        for row in found:
            key = (rule, row.site)
            if row.status is Status.FAILED and NOT_FINITE not in row.attrs:
                events += _begin(self._unchecked, key, _failed_event(rule, row))
                continue
            self._unchecked.discard(key)
            if rule.is_violated(row.value, se=row.se):
                events += _begin(self._violated, key, _violation_event(rule, row))
            else:
                self._violated.discard(key)
        return events


def _begin(begun: set[_Key], key: _Key, event: Event) -> list[Event]:
    """Return the event when what it tells begins, and nothing while it lasts."""
    if key in begun:
        return []
    begun.add(key)
    return [event]


def _violation_event(rule: Invariant, row: Row) -> Event:
    _, _, sign, bound = rule.parsed
    value = float(row.attrs.get(NOT_FINITE, row.value))
    spread = f" ± {row.se:.4g}" if math.isfinite(row.se) else ""
    doubt = " (a suspect number)" if row.status is Status.SUSPECT else ""
    said = f"{value:.4g}{spread}{doubt}" if math.isfinite(value) else f"not finite ({value})"
    return Event(
        "violation",
        f"{_named(row)} is {said}, must be {sign} {bound:g}",
        {
            "rule": rule.rule,
            "metric": row.metric,
            "site": row.site,
            "value": value,
            "se": row.se if math.isfinite(row.se) else None,
            "bound": bound,
            "z": rule.z,
            "stop": rule.stop,
        },
    )


def _failed_event(rule: Invariant, row: Row) -> Event:
    why = f"{_named(row)} failed ({row.attrs.get('error')})"
    return _unchecked_event(rule, why)


def _unmeasured_event(rule: Invariant, rows: Sequence[Row]) -> Event:
    metric, site, _, _ = rule.parsed
    there = {row.site: None for row in rows if row.metric == metric}
    asked, known = (site, there) if site and there else (metric, {r.metric: None for r in rows})
    near = difflib.get_close_matches(asked, known, n=3, cutoff=0.5) or list(known)[:5]
    what = f"{metric} was not measured" + (f" at {site}" if site else "")
    return _unchecked_event(rule, f"{what}, but {', '.join(near) or 'nothing'} was")


def _unchecked_event(rule: Invariant, why: str) -> Event:
    return Event(
        "invariant_unchecked",
        f"invariant {rule.rule!r} could not be checked: {why}",
        {"rule": rule.rule, "stop": rule.stop},
    )


def _named(row: Row) -> str:
    return row.metric if row.site == "model" else f"{row.metric} at {row.site}"
