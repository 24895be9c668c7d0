"""The report's section on trust: statuses, reasons to doubt, samplers, costs, events."""

from __future__ import annotations

from collections.abc import Sequence

from devtrack.report._markup import Markup, element, joined, table
from devtrack.report._quality_queries import Doubt, Happening, Sampler, StatusCount
from devtrack.report.formatting import number_text

_MOST_STEPS = 8
_MOST_PER_KIND = 20
_COUNTS = frozenset({2, 3, 4})


def statuses(counts: Sequence[StatusCount]) -> Markup:
    """Return how many numbers of each series are ok, suspect or failed."""
    ok, suspect, failed = (sum(column) for column in zip(*(one[2:] for one in counts)))
    told = (
        f"{ok + suspect + failed} numbers: {ok} ok, {suspect} suspect, {failed} failed. "
        "Only those that are ok took part in the search for transitions."
    )
    rows = [(one.metric, one.site, *map(str, one[2:])) for one in counts]
    head = ("metric", "site", "ok", "suspect", "failed")
    return joined([_titled("Status", told), table(head, rows, numeric=_COUNTS)])


def doubts(found: Sequence[Doubt]) -> Markup:
    """Return why numbers are suspect or failed; nothing if none is."""
    if not found:
        return Markup()
    rows = [
        (one.metric, one.site, one.status, str(len(one.steps)), one.example, _listed(one.steps))
        for one in found
    ]
    head = ("metric", "site", "status", "numbers", "reason (of the first)", "steps")
    title = _titled("Reasons", "Why numbers are suspect or failed; one may have several reasons.")
    return joined([title, table(head, rows, numeric=frozenset({3}))])


def samplers(found: Sequence[Sampler]) -> Markup:
    """Return the configuration of every LLC, and whether it changed within the run."""
    if not found:
        return _titled("Local learning coefficient", "None was measured in this run.")
    series = {(one.metric, one.site) for one in found}
    told = "The chains behind each estimate, with the worst of their diagnostics."
    if len(found) > len(series):
        told += (
            " A configuration changed within the run: an estimate with another one is another "
            "quantity, so do not compare across the change."
        )
    rows = [
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
        for one in found
    ]
    head = (
        *("metric", "site", "configuration", "estimates"),
        *("largest R-hat", "fewest effective draws", "Gamma ratio (1 at equilibrium)"),
        "most that the step size added, taken out",
    )
    return joined(
        [
            _titled("Local learning coefficient", told),
            table(head, rows, numeric=frozenset({4, 5, 6, 7})),
        ]
    )


def costs(happened: Sequence[Happening]) -> Markup:
    """Return what observing has cost, in the tracker's own account."""
    accounts = [one for one in happened if one.kind == "cost"]
    if not accounts:
        return _titled(
            "Cost", "No account of it: training goes on, or it broke off before it could be closed."
        )
    made = []
    for one in accounts:
        whose = f"Attempt {one.attempt}: " if len(accounts) > 1 else ""
        made.append(_titled("Cost", f"{whose}{one.message}"))
        seconds = one.attrs.get("by_metric_s")
        if isinstance(seconds, dict) and seconds:
            ordered = sorted(seconds.items(), key=lambda pair: -float(pair[1]))
            rows = [(name, f"{float(value):.2f}") for name, value in ordered]
            made.append(table(("metric", "seconds"), rows, numeric=frozenset({1})))
    return joined(made)


def events(happened: Sequence[Happening]) -> Markup:
    """Return what else happened: alarms, violations, changes of the recipe, resumes."""
    others = [one for one in happened if one.kind != "cost"]
    if not others:
        return _titled("Events", "None: no change of the recipe, no resume, no alarm.")
    made: list[str] = [_titled("Events", "What the tracker and its monitor recorded.")]
    rows = []
    for kind in sorted({one.kind for one in others}):
        alike = [one for one in others if one.kind == kind]
        rows += [(str(one.step), one.kind, one.message) for one in alike[:_MOST_PER_KIND]]
        if len(alike) > _MOST_PER_KIND:
            last = alike[-1].step
            rows.append((f"to {last}", kind, f"and {len(alike) - _MOST_PER_KIND} more"))
    made.append(table(("step", "kind", "message"), rows, numeric=frozenset({0})))
    return joined(made)


def _titled(title: str, text: str) -> Markup:
    return joined([element("h3", title), element("p", text)])


def _known(value: float | None) -> str:
    return "" if value is None else number_text(value)


def _listed(steps: Sequence[int]) -> str:
    shown = ", ".join(map(str, steps[:_MOST_STEPS]))
    more = len(steps) - _MOST_STEPS
    return shown if more <= 0 else f"{shown} and {more} more, to {steps[-1]}"
