"""Lines of the report on data quality: reasons, samplers, costs and events."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from devtrack.records import Event
from devtrack.report.formatting import number_text
from devtrack.store.quality import FlaggedValue, SamplerSummary

_MAX_STEPS_LISTED = 8
_MAX_EVENTS_PER_KIND = 20
_NO_ACCOUNT = "No account of it: training goes on, or it broke off before it could be closed."


def reason_lines(flagged: Sequence[FlaggedValue]) -> list[tuple[str, ...]]:
    """Return a line for each reason of each series; reasons that differ in numbers are one.

    Args:
        flagged: Values that are suspect or failed, by step.

    Returns:
        Metric, site, status, number of values, the reason of the first, and their steps.
    """
    groups: dict[tuple[str, ...], list[tuple[str, int]]] = {}
    for one in flagged:
        for reason in _reasons(one.attrs):
            alike = re.sub(r"\d[\d.,e+-]*", "0", reason)
            key = (one.metric, one.site, str(one.status), alike)
            groups.setdefault(key, []).append((reason, one.step))
    return [
        (*key[:3], str(len(alike)), alike[0][0], _listed([step for _, step in alike]))
        for key, alike in groups.items()
    ]


def _reasons(attrs: dict[str, Any]) -> list[str]:
    reasons = attrs.get("reasons") or []
    if isinstance(reasons, str):
        reasons = [reasons]
    error = attrs.get("error")
    return [str(one) for one in reasons] or [str(error) if error else "no reason given"]


def _listed(steps: Sequence[int]) -> str:
    shown = ", ".join(map(str, steps[:_MAX_STEPS_LISTED]))
    more = len(steps) - _MAX_STEPS_LISTED
    return shown if more <= 0 else f"{shown} and {more} more, to {steps[-1]}"


def sampler_lines(samplers: Sequence[SamplerSummary]) -> list[tuple[str, ...]]:
    """Return a line for each configuration of an LLC, with the worst of its diagnostics."""
    return [
        (
            one.metric,
            one.site,
            ", ".join(f"{name} {value}" for name, value in one.settings.items()),
            f"{one.estimates}, steps {one.first_step} to {one.last_step}",
            _known(one.rhat_max),
            _known(one.ess_min),
            f"{_known(one.gamma_low)} to {_known(one.gamma_high)}" if one.gamma_low else "",
            "" if one.removed_max is None else f"{100 * one.removed_max:.1f} %",
        )
        for one in samplers
    ]


def _known(value: float | None) -> str:
    return "" if value is None else number_text(value)


def cost_accounts(
    events: Sequence[tuple[int, Event]],
) -> list[tuple[str, list[tuple[str, str]]]]:
    """Return the tracker's account of each attempt: its text, and the seconds of each metric.

    Args:
        events: Steps and events of the run; each attempt that was closed has one of kind ``cost``.
    """
    accounts = [event for _, event in events if event.kind == "cost"]
    if not accounts:
        return [(_NO_ACCOUNT, [])]
    found = []
    for number, event in enumerate(accounts):
        whose = f"Attempt {number}: " if len(accounts) > 1 else ""
        seconds = event.attrs.get("by_metric_s")
        pairs = seconds.items() if isinstance(seconds, dict) else ()
        ordered = sorted(pairs, key=lambda pair: -float(pair[1]))
        lines = [(str(name), f"{float(value):.2f}") for name, value in ordered]
        found.append((f"{whose}{event.message}", lines))
    return found


def event_lines(events: Sequence[tuple[int, Event]]) -> list[tuple[str, str, str]]:
    """Return step, kind and message of the events by kind, but for costs; many of a kind are cut.

    Args:
        events: Steps and events of the run, by step.
    """
    lines = []
    for kind in sorted({event.kind for _, event in events} - {"cost"}):
        alike = [(step, event) for step, event in events if event.kind == kind]
        lines += [(str(step), kind, event.message) for step, event in alike[:_MAX_EVENTS_PER_KIND]]
        if len(alike) > _MAX_EVENTS_PER_KIND:
            last, _ = alike[-1]
            lines.append((f"to {last}", kind, f"and {len(alike) - _MAX_EVENTS_PER_KIND} more"))
    return lines
