"""When a language model's measures were half-way, and what its heads came to: dates and tables."""

from __future__ import annotations

import math
from typing import Any

from devtrack import open_store
from experiments.measures import half_way
from experiments.run import rows_of, show

BEST = "best head"
EVENTS = {  # what is dated: (metric, site, whether it falls)
    "bigram score": ("ngram/2gram", "model", True),
    "trigram score": ("ngram/3gram", "model", True),
    "previous-token score": ("head/previous_token", BEST, False),
    "prefix-matching score": ("head/prefix_matching", BEST, False),
    "loss on repeated random tokens": ("random_repeated/icl_score", "model", True),
    "in-context score on text": ("context/icl_score", "model", True),
    "loss on text": ("test_loss", "model", True),
}


def best_head(store: str, run_id: str, metric: str) -> str:
    """Return the site whose score is highest in the end."""
    query = "SELECT site FROM metrics_latest WHERE run_id = ? AND metric = ? ORDER BY value DESC"
    return open_store(store).sql(query, [run_id, metric]).fetchall()[0][0]


def series(store: str, run_id: str, event: str) -> list[tuple[int, float, float, str]]:
    """Return the measurements that an event is dated by."""
    metric, site, _ = EVENTS[event]
    site = best_head(store, run_id, metric) if site is BEST else site
    return rows_of(store, run_id, metric, site=site)


def dates(store: str, run_id: str) -> dict[str, float]:
    """Return the half-way step of every event."""
    return {
        event: half_way(series(store, run_id, event), falls=falls)
        for event, (_, _, falls) in EVENTS.items()
    }


def report_stages(store: str, run_id: str) -> None:
    """Print all measures at the half-way steps of bigrams and of the two kinds of heads."""
    when = dates(store, run_id)
    llc = {step: rest for step, *rest in rows_of(store, run_id, "llc")}
    steps = sorted(llc)
    middles = ("bigram score", "previous-token score", "prefix-matching score")
    known = [event for event in middles if not math.isnan(when[event])]
    nearest = [min(steps, key=lambda step: abs(step - when[event])) for event in known]
    marks = [steps[0], *nearest, steps[-1]]
    lines: list[tuple[Any, ...]] = [("step", *marks)]
    for event in EVENTS:
        values = {step: value for step, value, *_ in series(store, run_id, event)}
        lines.append((event, *(values[step] for step in marks)))
    lines += [(name, *(llc[s][i] for s in marks)) for i, name in enumerate(("LLC", "se", "status"))]
    columns = ("measure", "start", *(f"{event} half-way" for event in known), "end")
    show("stages, at the snapshots nearest to their middles", columns, lines)
    floors = open_store(store).sql(
        "SELECT metric, CAST(attrs ->> 'floor' AS DOUBLE), min(value), arg_min(step, value), "
        "arg_max(value, step) FROM metrics WHERE run_id = ? AND metric LIKE 'ngram%' "
        "GROUP BY ALL ORDER BY metric",
        [run_id],
    )
    names = ("score", "of the n-gram itself", "lowest", "at step", "in the end")
    show("n-gram scores, in nats per token", names, floors.fetchall())


def report_heads(store: str, run_id: str) -> None:
    """Print what every head came to, and its refined LLC on the way."""
    found = open_store(store).sql(
        """
        WITH last AS (
            SELECT metric, replace(site, '.out_proj', '') AS head, value
            FROM metrics_latest WHERE run_id = $run AND site LIKE '%.head.%'
        ), refined AS (
            SELECT site AS head, count(*) AS points, count(*) FILTER (status = 'ok') AS ok,
                   min_by(value, step) AS first, max_by(value, step) AS latest,
                   max_by(se, step) AS se, max(value) FILTER (status = 'ok') AS most,
                   arg_max(step, value) FILTER (status = 'ok') AS most_step
            FROM metrics WHERE run_id = $run AND metric = 'rllc' GROUP BY site
        )
        SELECT head,
               max(value) FILTER (metric = 'head/previous_token') AS previous,
               max(value) FILTER (metric = 'head/prefix_matching') AS prefix,
               max(value) FILTER (metric = 'ablation_mean') AS ablation,
               any_value(first), any_value(most), any_value(most_step), any_value(latest),
               any_value(refined.se), any_value(ok) || '/' || any_value(points)
        FROM last JOIN refined USING (head) GROUP BY head ORDER BY head
        """,
        {"run": run_id},
    )
    columns = ("head", "previous token", "prefix matching", "loss without it", "first rLLC")
    columns += ("highest", "at step", "last", "se", "ok")
    show("heads in the end, and their refined LLC", columns, found.fetchall())
