"""Read how far the values of a run can be trusted: status counts, reasons and samplers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from devtrack.records import Status
from devtrack.store.readers import attrs_of
from devtrack.store.store import Store


class StatusCount(NamedTuple):
    """Numbers of one series by status."""

    metric: str
    site: str
    ok: int
    suspect: int
    failed: int


class PointCount(NamedTuple):
    """What decides whether a series can be searched for changes.

    Attributes:
        metric, site: The series.
        steps: Steps with an ok, finite value, ascending.
        low, high: Extremes of these values; None without one.
        has_negative_se: Whether one of their standard errors is negative.
        suspect, failed: Steps with such a value.
    """

    metric: str
    site: str
    steps: Sequence[int]
    low: float | None
    high: float | None
    has_negative_se: bool
    suspect: int
    failed: int


class FlaggedValue(NamedTuple):
    """A value that is suspect or failed, with the attrs that say why."""

    metric: str
    site: str
    status: Status
    step: int
    attrs: dict[str, Any]


class SamplerSummary(NamedTuple):
    """One configuration of an LLC and how its chains fared; unknown numbers are None.

    Attributes:
        settings: The configuration by name.
        estimates: Number of values measured with it.
        first_step, last_step: Steps of the first and the last of them.
        rhat_max, ess_min, gamma_low, gamma_high: The worst of its diagnostics.
        removed_max: Largest share of an ok estimate that was subtracted as step-size bias.
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


def read_status_counts(store: Store, run_id: str) -> list[StatusCount]:
    """Count the values of each series by status."""
    rows = store.sql(
        "SELECT metric, site, count(*) FILTER (status = 'ok'), "
        "count(*) FILTER (status = 'suspect'), count(*) FILTER (status = 'failed') "
        "FROM metrics WHERE run_id = ? GROUP BY metric, site ORDER BY metric, site",
        [run_id],
    )
    return [StatusCount(*row) for row in rows.fetchall()]


def read_flagged(store: Store, run_id: str) -> list[FlaggedValue]:
    """Read the values that are suspect or failed, ordered by metric, site and step."""
    rows = store.sql(
        "SELECT metric, site, status, step, attrs FROM metrics "
        "WHERE run_id = ? AND status <> 'ok' ORDER BY metric, site, step",
        [run_id],
    ).fetchall()
    return [
        FlaggedValue(metric, site, Status(status), step, attrs_of(attrs))
        for metric, site, status, step, attrs in rows
    ]


def read_point_counts(store: Store, run_id: str) -> list[PointCount]:
    """Read what decides whether the series of a run can be searched for changes."""
    rows = store.sql(
        """
        WITH points AS (
            SELECT metric, site, step, avg(value) AS value, min(se) AS se
            FROM metrics WHERE run_id = $run AND status = 'ok' AND isfinite(value)
            GROUP BY metric, site, step
        ),
        curves AS (
            SELECT metric, site, list(step ORDER BY step) AS steps, min(value) AS low,
                   max(value) AS high, coalesce(min(se) < 0, false) AS has_negative_se
            FROM points GROUP BY metric, site
        ),
        counts AS (
            SELECT metric, site, count(DISTINCT step) FILTER (status = 'suspect') AS suspect,
                   count(DISTINCT step) FILTER (status = 'failed') AS failed
            FROM metrics WHERE run_id = $run GROUP BY metric, site
        )
        SELECT metric, site, coalesce(steps, []), low, high, coalesce(has_negative_se, false),
               suspect, failed
        FROM counts LEFT JOIN curves USING (metric, site) ORDER BY metric, site
        """,
        {"run": run_id},
    ).fetchall()
    return [PointCount(*row) for row in rows]


def read_samplers(store: Store, run_id: str, *, settings: Sequence[str]) -> list[SamplerSummary]:
    """Read every configuration that an LLC of the run was measured with.

    Args:
        store: The store.
        run_id: The run.
        settings: Keys of ``attrs`` that make up a configuration.
    """
    names = ", ".join(f"attrs->>'{name}'" for name in settings)
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
    count = len(settings)
    found = []
    for metric, site, *cells in rows:
        given = {name: cell for name, cell in zip(settings, cells[:count]) if cell is not None}
        found.append(SamplerSummary(metric, site, given, *cells[count:]))
    return found
