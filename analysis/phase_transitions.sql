-- Which series took part in each transition of a run, in the order in which they were half-way.
-- steps_behind counts from the first of them; trust the order of two series only where their
-- intervals (low, high) do not overlap.
SELECT transition AS t,
       kind,
       metric,
       site,
       direction,
       effect,
       effect_se,
       round(metric_onset)::BIGINT AS "from",
       round(metric_midpoint)::BIGINT AS mid,
       round(metric_midpoint_low)::BIGINT AS low,
       round(metric_midpoint_high)::BIGINT AS high,
       round(metric_end)::BIGINT AS "to",
       round(metric_midpoint - min(metric_midpoint) OVER (PARTITION BY transition))::BIGINT
           AS steps_behind,
       event
FROM transitions
WHERE run_id = $run_id
ORDER BY transition, metric_midpoint, metric, site;
