"""What decides how far a run's numbers may be trusted, read from the store."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from devtrack.store import Store

_SETTINGS = (
    "method",
    "n_beta",
    "localization",
    "lr",
    "num_chains",
    "num_draws",
    "num_burnin_steps",
    "num_steps_bw_draws",
    "num_batches",
    "samples_per_batch",
    "engine",
)


class StatusCount(NamedTuple):
    """How many numbers of one series have which status."""

    metric: str
    site: str
    ok: int
    suspect: int
    failed: int


class Doubt(NamedTuple):
    """Numbers of one series that are doubted, or failed, for the same reason.

    Attributes:
        example: The reason in the words of the first of them.
        steps: Where, ascending.
    """

    metric: str
    site: str
    status: str
    example: str
    steps: tuple[int, ...]


class Sampler(NamedTuple):
    """One configuration of an LLC and how its chains fared; unknown numbers are None.

    Attributes:
        settings: The configuration by name.
        estimates: How many numbers were taken with it.
        first_step, last_step: From where to where.
        rhat_max, ess_min, gamma_low, gamma_high: The worst of its diagnostics.
        removed_max: Largest share of an estimate that the step size had added and that was taken
            out, of the estimates that are ok.
    """

    metric: str
    site: str
    settings: dict[str, Any]
    estimates: int
    first_step: int
    last_step: int
    rhat_max: float | None
    ess_min: float | None
    gamma_low: float | None
    gamma_high: float | None
    removed_max: float | None


class Happening(NamedTuple):
    """An event of the run."""

    step: int
    attempt: int
    kind: str
    message: str
    attrs: dict[str, Any]


def read_statuses(store: Store, run_id: str) -> list[StatusCount]:
    """Count the numbers of each series by status."""
    rows = store.sql(
        "SELECT metric, site, count(*) FILTER (status = 'ok'), "
        "count(*) FILTER (status = 'suspect'), count(*) FILTER (status = 'failed') "
        "FROM metrics WHERE run_id = ? "
        "GROUP BY metric, site ORDER BY metric, site",
        [run_id],
    )
    return [StatusCount(*row) for row in rows.fetchall()]


def read_doubts(store: Store, run_id: str) -> list[Doubt]:
    """Group what is suspect or failed by its reason; reasons that differ in numbers are one."""
    rows = store.sql(
        "SELECT metric, site, status, step, attrs FROM metrics "
        "WHERE run_id = ? AND status <> 'ok' ORDER BY metric, site, step",
        [run_id],
    ).fetchall()
    groups: dict[tuple[str, ...], list[tuple[str, int]]] = {}
    for metric, site, status, step, attrs in rows:
        for reason in _reasons(json.loads(attrs) if attrs else {}):
            alike = re.sub(r"\d[\d.,e+-]*", "0", reason)
            groups.setdefault((metric, site, status, alike), []).append((reason, step))
    return [
        Doubt(*key[:3], example=alike[0][0], steps=tuple(step for _, step in alike))
        for key, alike in groups.items()
    ]


def _reasons(attrs: dict[str, Any]) -> list[str]:
    reasons = attrs.get("reasons") or []
    if isinstance(reasons, str):
        reasons = [reasons]
    error = attrs.get("error")
    return (
        [str(one) for one in reasons] or [str(error)] if error or reasons else ["no reason given"]
    )


def read_samplers(store: Store, run_id: str) -> list[Sampler]:
    """Read every configuration that an LLC of the run was taken with, from its own rows."""
    names = ", ".join(f"attrs->>'{name}'" for name in _SETTINGS)
    rows = store.sql(
        f"SELECT metric, site, {names}, count(*), min(step), max(step), max(rhat), min(ess), "
        "min(gamma_ratio) FILTER (status = 'ok'), max(gamma_ratio) FILTER (status = 'ok'), "
        "max(removed / (value + removed)) FILTER (status = 'ok' AND value > 0) "
        "FROM (SELECT *, TRY_CAST(attrs->>'rhat' AS DOUBLE) AS rhat, "
        "TRY_CAST(attrs->>'ess' AS DOUBLE) AS ess, "
        "TRY_CAST(attrs->>'gamma_ratio' AS DOUBLE) AS gamma_ratio, "
        "TRY_CAST(attrs->>'step_bias_removed' AS DOUBLE) AS removed FROM metrics) "
        "WHERE run_id = ? AND attrs->>'n_beta' IS NOT NULL AND attrs->>'localization' IS NOT NULL "
        f"GROUP BY metric, site, {names} ORDER BY metric, site, min(step)",
        [run_id],
    ).fetchall()
    count = len(_SETTINGS)
    found = []
    for metric, site, *cells in rows:
        settings = {name: v for name, v in zip(_SETTINGS, cells[:count]) if v is not None}
        found.append(Sampler(metric, site, settings, *cells[count:]))
    return found


def read_happenings(store: Store, run_id: str) -> list[Happening]:
    """Read the events of a run, by step."""
    rows = store.sql(
        "SELECT step, attempt, kind, message, attrs FROM events WHERE run_id = ? "
        "ORDER BY step, attempt, ts_utc, kind",
        [run_id],
    ).fetchall()
    return [
        Happening(step, attempt, kind or "event", message or "", json.loads(attrs or "{}") or {})
        for step, attempt, kind, message, attrs in rows
    ]
