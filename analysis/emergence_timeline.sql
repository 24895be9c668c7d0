-- What every metric had become by the end of each stage of a run. A stage is the interval between
-- two transitions. A change that coincides with an event of the training configuration
-- (event IS NOT NULL) parts no stages. Only trusted numbers count: the last one of a stage, and how many there were.
WITH parting AS (
    SELECT DISTINCT transition, onset, end_step
    FROM transitions
    WHERE run_id = $run_id AND event IS NULL
),
edges AS (
    SELECT -1.0 AS start, 0.0 AS after
    UNION ALL
    SELECT onset, max(end_step) OVER (ORDER BY onset, end_step) FROM parting
),
gaps AS (
    SELECT after AS first_step, coalesce(lead(start) OVER (ORDER BY after, start), 'inf') AS last_step
    FROM edges
),
stages AS (
    SELECT row_number() OVER (ORDER BY first_step) AS stage, first_step, last_step
    FROM gaps
    WHERE last_step > first_step
)
SELECT stage,
       metric,
       site,
       count(*) AS observations,
       min(step) AS first_step,
       max(step) AS last_step,
       arg_max(value, step) AS value,
       arg_max(se, step) AS se
FROM stages
JOIN metrics ON step BETWEEN stages.first_step AND stages.last_step
WHERE run_id = $run_id AND status = 'ok'
GROUP BY stage, metric, site
ORDER BY metric, site, stage;
