-- The tables and views of a devtrack store: the reference for its SQL.
--
--   duckdb runs/devtrack.duckdb            any DuckDB client, also while training runs
--   devtrack sql "FROM metrics LIMIT 5"    the same from a shell
--   open_store("runs").sql("FROM llc")     the same from Python
--
-- devtrack.duckdb holds views only and may be rewritten at any time: keep tables of your own in
-- another file (ATTACH 'runs/devtrack.duckdb' AS store (READ_ONLY); FROM store.metrics).
--
-- Conventions
--   * step counts optimizer steps completed; ts_utc and its like are naive UTC.
--   * An unknown number is NULL, never NaN: avg(value) skips failed rows by itself. A tracker
--     stores a number that is not finite as failed; an infinity that another writer appends is
--     kept. In attrs infinities are the strings "Infinity" and "-Infinity".
--   * status is 'ok', 'suspect' (a finite number with a reason to doubt it, see attrs.reasons) or
--     'failed' (no number, see attrs.error). Say WHERE status = 'ok' before you average.
--   * attrs is JSON: attrs->>'rhat' is text, (attrs->>'rhat')::DOUBLE a number.
--   * Every view has run (the name that the user gave, not unique) and run_id (unique).
--   * A run that was resumed from a checkpoint is rewound: rows that an earlier attempt wrote
--     after that checkpoint leave every view but metrics_all.
--   * Rows come in no order: say ORDER BY step.
--   * Training merges small files now and then. A query that is still opening files half a second
--     later may say 'No such file': run it again (devtrack's own Store.sql does so by itself).
--   * A column may be added in a later version; none is ever changed or removed.

-- ============================================================================ tables
-- What the segments, <run_id>/segments/<table>/*.parquet, contain. attempt numbers the processes
-- of one run from 0; rank is the process's rank within it; seq numbers the records of one
-- (run_id, attempt, rank) in the order they were made. All rows of a chain trace share one seq.

CREATE TABLE segment.metrics (
    run_id VARCHAR, attempt INTEGER, rank INTEGER, seq BIGINT,
    step BIGINT, epoch BIGINT, samples_seen BIGINT, ts_utc TIMESTAMP,
    metric VARCHAR,  -- name of the quantity: 'loss', 'llc', 'probe/parity/accuracy'
    site VARCHAR,    -- module path where it was taken, 'model' for the whole
    value DOUBLE,    -- NULL when failed
    se DOUBLE,       -- standard error in the units of value; NULL when exact or unknown
    status VARCHAR,
    attrs JSON
);

CREATE TABLE segment.chains (
    run_id VARCHAR, attempt INTEGER, rank INTEGER, seq BIGINT,
    step BIGINT, epoch BIGINT, samples_seen BIGINT, ts_utc TIMESTAMP,
    metric VARCHAR, site VARCHAR,
    chain INTEGER,
    draw INTEGER,    -- 0, 1, … ; negative while burning in
    loss DOUBLE,     -- L at the chain's position; NULL where it was NaN
    baseline DOUBLE  -- L(w*) on the same data
);

CREATE TABLE segment.events (
    run_id VARCHAR, attempt INTEGER, rank INTEGER, seq BIGINT,
    step BIGINT, epoch BIGINT, samples_seen BIGINT, ts_utc TIMESTAMP,
    kind VARCHAR,    -- 'lr_change', 'parameters_changed', 'reconfigured', 'resume', 'alert', …
    message VARCHAR,
    attrs JSON
);

CREATE TABLE segment.snapshots (
    run_id VARCHAR, attempt INTEGER, rank INTEGER, seq BIGINT,
    step BIGINT, epoch BIGINT, samples_seen BIGINT, ts_utc TIMESTAMP,
    content_hash VARCHAR,   -- SHA-256 of the weights: equal weights, equal hash
    path VARCHAR,           -- relative to <store>/<run_id>
    snapshot_bytes BIGINT
);

-- One file per analysis; only the newest analysis of a run is shown. Its first line has no
-- transition: it says that the analysis was made, even when it found nothing.
CREATE TABLE segment.transitions (
    run_id VARCHAR,
    analysis_id VARCHAR,       -- sorts by time
    computed_utc TIMESTAMP,    -- when it read the run
    through_step BIGINT,       -- largest step that it saw then
    transition INTEGER,        -- 0, 1, … in order of midpoint
    kind VARCHAR,
    onset DOUBLE, midpoint DOUBLE, end_step DOUBLE,              -- steps
    midpoint_low DOUBLE, midpoint_high DOUBLE, interval_level DOUBLE,
    metric VARCHAR, site VARCHAR,
    direction VARCHAR,         -- 'up' or 'down'
    effect DOUBLE, effect_se DOUBLE,                             -- units of the metric
    metric_onset DOUBLE, metric_midpoint DOUBLE, metric_end DOUBLE,
    metric_midpoint_low DOUBLE, metric_midpoint_high DOUBLE,
    evidence DOUBLE, evidence_method VARCHAR,
    alpha DOUBLE,              -- nominal false-alarm rate
    event VARCHAR,             -- the configuration event that it coincides with, if any
    query VARCHAR,             -- SQL that reproduces the series
    settings JSON,             -- what it was asked for: alpha, axis, metrics, sites
    detector VARCHAR           -- which detector it was: another devtrack may judge otherwise
);

-- ============================================================================= files
-- $STORE is the store's absolute path: a view cannot find its own file.

-- Compaction writes a wider file (lo-hi) and then removes the files that it covers. Until they are
-- gone their rows are there twice, so files covered by a wider one of the same writer are left
-- out. One listing serves both the rows and this decision: two listings would race. That is why
-- scan is MATERIALIZED, and why a query through devtrack.duckdb reads a table whole, whatever its
-- WHERE says. devtrack's own Store.sql and `devtrack sql` list the files themselves and read only
-- what is asked for.
CREATE MACRO segment.rows_of(name) AS TABLE
    WITH scan AS MATERIALIZED (
        FROM read_parquet('$STORE/*/segments/' || name || '/*.parquet',
                          union_by_name = true, filename = true, hive_partitioning = false)
    ),
    files AS (
        SELECT filename,
               regexp_extract(filename, '^(.*)-\d+-\d+\.parquet$', 1) AS writer,
               regexp_extract(filename, '-(\d+)-\d+\.parquet$', 1)::BIGINT AS lo,
               regexp_extract(filename, '-(\d+)\.parquet$', 1)::BIGINT AS hi
        FROM (SELECT DISTINCT filename FROM scan)
    ),
    covered AS (
        SELECT filename FROM files
        QUALIFY hi <= max(hi) OVER (PARTITION BY writer ORDER BY lo, hi DESC
                                    ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)
    )
    SELECT * EXCLUDE (filename) FROM scan ANTI JOIN covered USING (filename);

-- ============================================================================= views
-- A file that is not valid JSON gives a line of NULLs, which is left out; `devtrack doctor` names it.
CREATE VIEW segment.runs AS
    FROM read_json('$STORE/*/run.json', format = 'newline_delimited', ignore_errors = true,
                   columns = {run_id: 'VARCHAR', name: 'VARCHAR', created_utc: 'TIMESTAMP',
                              config: 'JSON', versions: 'JSON',
                              parent_run_id: 'VARCHAR', parent_step: 'BIGINT'})
    WHERE run_id IS NOT NULL;

-- last_step: a later attempt kept the rows of this one up to here; NULL: all of them.
CREATE VIEW segment.attempts AS
    SELECT *, min(keep_through_step) OVER (
                  PARTITION BY run_id ORDER BY attempt
                  ROWS BETWEEN 1 FOLLOWING AND UNBOUNDED FOLLOWING) AS last_step
    FROM read_json('$STORE/*/attempts/*.json', format = 'newline_delimited', ignore_errors = true,
                   columns = {run_id: 'VARCHAR', attempt: 'INTEGER', keep_through_step: 'BIGINT',
                              started_utc: 'TIMESTAMP', host: 'VARCHAR', pid: 'BIGINT'})
    WHERE run_id IS NOT NULL;

-- Every number ever written; rewound says that a later attempt took the row out of metrics.
CREATE VIEW metrics_all AS
    SELECT coalesce(r.name, s.run_id) AS run, s.run_id, s.attempt, s.rank, s.seq, s.step, s.epoch,
           s.samples_seen, s.ts_utc, s.metric, s.site, s.value, s.se, s.status, s.attrs,
           coalesce(s.step > a.last_step, false) AS rewound
    FROM segment.rows_of('metrics') s
    LEFT JOIN segment.attempts a ON a.run_id = s.run_id AND a.attempt = s.attempt
    LEFT JOIN segment.runs r ON r.run_id = s.run_id;

-- The numbers of each run's one trajectory.
CREATE VIEW metrics AS
    SELECT * EXCLUDE (rewound) FROM metrics_all WHERE NOT rewound;

-- The newest number of each (run_id, metric, site).
CREATE VIEW metrics_latest AS
    FROM metrics
    QUALIFY row_number() OVER (PARTITION BY run_id, metric, site
                               ORDER BY step DESC, attempt DESC, seq DESC) = 1;

-- Local learning coefficients with what decides whether to trust them: llc, rllc (of components),
-- rllc/<data set>, and whatever else the user called one, which its chains tell. A renamed one that
-- failed before it had chains is in metrics only.
CREATE VIEW llc AS
    SELECT run, run_id, step, site, metric, value AS llc, se, status,
           TRY_CAST(attrs->>'rhat' AS DOUBLE) AS rhat,                -- above 1.05: chains disagree
           TRY_CAST(attrs->>'ess' AS DOUBLE) AS ess,                  -- effective sample size
           TRY_CAST(attrs->>'gamma_ratio' AS DOUBLE) AS gamma_ratio,  -- variance / mean, 1 at equilibrium
           TRY_CAST(attrs->>'mcse' AS DOUBLE) AS mcse,                -- sd / sqrt(ess); se adds its own error
           TRY_CAST(attrs->>'n_beta' AS DOUBLE) AS n_beta,
           TRY_CAST(attrs->>'localization' AS DOUBLE) AS localization,
           TRY_CAST(attrs->>'lr' AS DOUBLE) AS lr,
           TRY_CAST(attrs->>'num_chains' AS BIGINT) AS num_chains,
           TRY_CAST(attrs->>'num_draws' AS BIGINT) AS num_draws,
           TRY_CAST(attrs->>'num_burnin_steps' AS BIGINT) AS num_burnin_steps,
           attrs->>'method' AS method,
           attrs->>'engine' AS engine,
           TRY_CAST(attrs->'reasons' AS VARCHAR[]) AS reasons,
           TRY_CAST(attrs->'chain_values' AS DOUBLE[]) AS chain_values,
           attempt, ts_utc, attrs
    FROM metrics
    WHERE metric IN ('llc', 'rllc') OR metric LIKE 'rllc/%'
       OR (contains(attrs, '"chain_values"')  -- far cheaper than the JSON of every row
           AND (attrs->'chain_values') IS NOT NULL AND (attrs->'n_beta') IS NOT NULL
           AND (attrs->'localization') IS NOT NULL);

-- Probes, one line per (run_id, attempt, step, site, probe); status is the worst of its parts.
CREATE VIEW probes AS
    WITH parts AS (
        SELECT *, regexp_extract(metric, '^probe/(.+)/([a-z0-9_]+)$', 1) AS probe,
               regexp_extract(metric, '^probe/(.+)/([a-z0-9_]+)$', 2) AS part
        FROM metrics
        WHERE metric LIKE 'probe/%'
    )
    SELECT run, run_id, step, site, probe,
           arg_max(value, seq) FILTER (part = 'accuracy') AS accuracy,
           arg_max(se, seq) FILTER (part = 'accuracy') AS accuracy_se,
           arg_max(value, seq) FILTER (part = 'control_accuracy') AS control_accuracy,
           arg_max(se, seq) FILTER (part = 'control_accuracy') AS control_accuracy_se,
           arg_max(value, seq) FILTER (part = 'selectivity') AS selectivity,
           arg_max(se, seq) FILTER (part = 'selectivity') AS selectivity_se,
           arg_max(value, seq) FILTER (part = 'r_squared') AS r_squared,  -- of a regression probe
           arg_max(se, seq) FILTER (part = 'r_squared') AS r_squared_se,
           arg_max(value, seq) FILTER (part = 'control_r_squared') AS control_r_squared,
           arg_max(se, seq) FILTER (part = 'control_r_squared') AS control_r_squared_se,
           arg_max(value, seq) FILTER (part = 'mdl_bits') AS mdl_bits,    -- online code, bits per row
           arg_max(se, seq) FILTER (part = 'mdl_bits') AS mdl_bits_se,
           arg_max(value, seq) FILTER (part = 'compression') AS compression,  -- uniform code / it
           arg_max(se, seq) FILTER (part = 'compression') AS compression_se,
           CASE WHEN bool_or(status = 'failed') THEN 'failed'
                WHEN bool_or(status = 'suspect') THEN 'suspect' ELSE 'ok' END AS status,
           attempt
    FROM parts
    WHERE part IN ('accuracy', 'control_accuracy', 'selectivity', 'r_squared', 'control_r_squared',
                   'mdl_bits', 'compression')
    GROUP BY run, run_id, attempt, step, site, probe;

-- The losses along the sampling chains behind each estimate.
CREATE VIEW chains AS
    SELECT coalesce(r.name, s.run_id) AS run, s.run_id, s.attempt, s.step, s.metric, s.site,
           s.chain, s.draw, s.loss, s.baseline
    FROM segment.rows_of('chains') s
    LEFT JOIN segment.attempts a ON a.run_id = s.run_id AND a.attempt = s.attempt
    LEFT JOIN segment.runs r ON r.run_id = s.run_id
    WHERE NOT coalesce(s.step > a.last_step, false);

-- Where the weights of a step are.
CREATE VIEW snapshots AS
    SELECT coalesce(r.name, s.run_id) AS run, s.run_id, s.attempt, s.step, s.epoch,
           s.samples_seen, s.ts_utc, s.content_hash, s.path, s.snapshot_bytes
    FROM segment.rows_of('snapshots') s
    LEFT JOIN segment.attempts a ON a.run_id = s.run_id AND a.attempt = s.attempt
    LEFT JOIN segment.runs r ON r.run_id = s.run_id
    WHERE NOT coalesce(s.step > a.last_step, false);

-- What happened in training: changes of the training configuration, resumes, alerts.
CREATE VIEW events AS
    SELECT coalesce(r.name, s.run_id) AS run, s.run_id, s.attempt, s.rank, s.step, s.epoch,
           s.samples_seen, s.ts_utc, s.kind, s.message, s.attrs
    FROM segment.rows_of('events') s
    LEFT JOIN segment.attempts a ON a.run_id = s.run_id AND a.attempt = s.attempt
    LEFT JOIN segment.runs r ON r.run_id = s.run_id
    WHERE NOT coalesce(s.step > a.last_step, false);

-- The runs with how far they came; metric_rows counts the rows of metrics.
CREATE VIEW runs AS
    SELECT r.name AS run, r.run_id, r.created_utc, coalesce(a.attempts, 0) AS attempts,
           m.last_step, m.last_ts_utc, coalesce(m.metric_rows, 0) AS metric_rows,
           r.parent_run_id, r.parent_step, r.config, r.versions
    FROM segment.runs r
    LEFT JOIN (SELECT run_id, count(*) AS attempts FROM segment.attempts GROUP BY run_id) a
        ON a.run_id = r.run_id
    LEFT JOIN (SELECT run_id, max(step) AS last_step, max(ts_utc) AS last_ts_utc,
                      count(*) AS metric_rows FROM metrics GROUP BY run_id) m
        ON m.run_id = r.run_id
    ORDER BY r.created_utc, r.run_id;

-- The newest analysis of each run with the line that says that it was made. stale: the run has
-- numbers, or configuration events, that the analysis has not seen, or was rewound since, or
-- another devtrack's detector made it; run `devtrack transitions` again.
CREATE VIEW segment.analysis_lines AS
    WITH newest AS (
        FROM read_parquet('$STORE/*/segments/transitions/*.parquet',
                          union_by_name = true, hive_partitioning = false)
        QUALIFY analysis_id = max(analysis_id) OVER (PARTITION BY run_id)
    ),
    seen AS (
        SELECT run_id, max(step) AS last_step, max(ts_utc) AS last_ts_utc
        FROM metrics GROUP BY run_id
    ),
    steered AS (
        SELECT run_id, max(ts_utc) AS last_ts_utc
        FROM events
        WHERE kind IN ('optimizer_start', 'lr_change', 'warmup_end', 'evalset_change',
                       'parameters_changed', 'reconfigured', 'resume')
        GROUP BY run_id
    )
    SELECT n.*, m.last_step IS DISTINCT FROM n.through_step
                    OR coalesce(m.last_ts_utc > n.computed_utc, false)
                    OR coalesce(e.last_ts_utc > n.computed_utc, false)
                    OR n.detector IS DISTINCT FROM '$DETECTOR' AS stale
    FROM newest n
    LEFT JOIN seen m ON m.run_id = n.run_id
    LEFT JOIN steered e ON e.run_id = n.run_id;

-- The newest analysis of each run, one line per (transition, metric, site).
CREATE VIEW transitions AS
    SELECT coalesce(r.name, n.run_id) AS run, n.run_id, n.analysis_id, n.computed_utc,
           n.through_step, n.stale,
           n.* EXCLUDE (run_id, analysis_id, computed_utc, through_step, stale)
    FROM segment.analysis_lines n
    LEFT JOIN segment.runs r ON r.run_id = n.run_id
    WHERE n.transition IS NOT NULL
    ORDER BY run, n.run_id, n.transition, n.metric, n.site;

-- Where these views look: compared by open_store() to see whether they are still right.
CREATE VIEW segment.origin AS SELECT '$STORE_TEXT' AS store, '$FINGERPRINT' AS fingerprint;
