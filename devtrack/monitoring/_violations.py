"""Which invariants a run breaks: each said once where it begins, and again after it has ended."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping, Sequence

from devtrack.monitoring.invariants import Invariant
from devtrack.records import NOT_FINITE, Event, Row, Status

_Key = tuple[Invariant, str | None]  # a rule and a site; None where no site was seen


class Violations:
    """The rules of a monitor that are violated, or could not be checked, at the last snapshot."""

    def __init__(self) -> None:
        self._violated: set[_Key] = set()
        self._unchecked: set[_Key] = set()

    def check(self, rule: Invariant, rows: Sequence[Row]) -> list[Event]:
        """Return an event where a rule begins to be violated, or can no longer be checked."""
        found = [row for row in rows if rule.applies_to(row.metric, row.site)]
        self._end(rule, found)
        if not found:
            return _begin(self._unchecked, (rule, None), _unmeasured_event(rule, rows))
        events = []
        for row in found:
            key = (rule, row.site)
            if _is_unknown(row):
                events += _begin(self._unchecked, key, _failed_event(rule, row))
            elif rule.is_violated(row.value, se=row.se):
                events += _begin(self._violated, key, _violation_event(rule, row))
        return events

    def restore(
        self,
        rules: Sequence[Invariant],
        *,
        rows: Mapping[int, Sequence[Row]],
        events: Mapping[int, Sequence[Event]],
    ) -> None:
        """Take in what was reported before a resume; what still lasts is not reported again.

        Violations of a newly added rule are reported after a resume. Violations of a rule with
        ``stop=True`` are reported again, so that a resumed training stops again.

        Args:
            rules: The monitor's.
            rows: What was measured, by step.
            events: What was said, by step.
        """
        for step in sorted({*rows, *events}):
            for rule in rules:
                here = [r for r in rows.get(step, ()) if rule.applies_to(r.metric, r.site)]
                self._end(rule, here)
            for event in events.get(step, ()):
                self._take_in(event, rules)

    def _take_in(self, event: Event, rules: Sequence[Invariant]) -> None:
        for rule in rules:
            if event.attrs.get("rule") == rule.rule:
                key = (rule, event.attrs.get("site"))
                if event.kind == "invariant_unchecked":
                    self._unchecked.add(key)
                elif event.kind == "violation" and not rule.stop:
                    self._violated.add(key)

    def _end(self, rule: Invariant, found: Sequence[Row]) -> None:
        """Forget what no longer lasts.

        Args:
            rule: The rule.
            found: The rows of a snapshot that fall under it.
        """
        if found:
            self._unchecked.discard((rule, None))
        for row in found:
            if not _is_unknown(row):
                self._unchecked.discard((rule, row.site))
                if not rule.is_violated(row.value, se=row.se):
                    self._violated.discard((rule, row.site))


def _is_unknown(row: Row) -> bool:
    """Say whether a row tells nothing of its metric, not even that it is not finite."""
    return row.status is Status.FAILED and NOT_FINITE not in row.attrs


def _begin(begun: set[_Key], key: _Key, event: Event) -> list[Event]:
    """Return the event when what it tells begins, and nothing while it lasts."""
    if key in begun:
        return []
    begun.add(key)
    return [event]


def _violation_event(rule: Invariant, row: Row) -> Event:
    _, _, operator, bound = rule.parsed
    value = float(row.attrs.get(NOT_FINITE, row.value))
    spread = f" ± {row.se:.4g}" if math.isfinite(row.se) else ""
    flag = " (a suspect number)" if row.status is Status.SUSPECT else ""
    reported = f"{value:.4g}{spread}{flag}" if math.isfinite(value) else f"not finite ({value})"
    return Event(
        "violation",
        f"{_named(row)} is {reported}, must be {operator} {bound:g}",
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
    return _unchecked_event(rule, why, site=row.site)


def _unmeasured_event(rule: Invariant, rows: Sequence[Row]) -> Event:
    metric, site, _, _ = rule.parsed
    there = {row.site: None for row in rows if row.metric == metric}
    asked, known = (site, there) if site and there else (metric, {r.metric: None for r in rows})
    near = difflib.get_close_matches(asked, known, n=3, cutoff=0.5) or list(known)[:5]
    what = f"{metric} was not measured" + (f" at {site}" if site else "")
    return _unchecked_event(rule, f"{what}, but {', '.join(near) or 'nothing'} was")


def _unchecked_event(rule: Invariant, why: str, *, site: str | None = None) -> Event:
    return Event(
        "invariant_unchecked",
        f"invariant {rule.rule!r} could not be checked: {why}",
        {"rule": rule.rule, "site": site, "stop": rule.stop},
    )


def _named(row: Row) -> str:
    return row.metric if row.site == "model" else f"{row.metric} at {row.site}"
