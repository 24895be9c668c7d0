-- The change to be foreseen: the largest level change of the target metric in each run, and how many
-- other series had been half-way through a change of theirs before it. Changes that coincide with
-- an event of the training configuration are left out.
WITH changes AS (
    FROM transitions
    WHERE run_id IN (SELECT unnest($runs)) AND event IS NULL
),
target AS (
    FROM changes
    WHERE kind = 'step' AND metric = $target
      AND site = coalesce($site, site) AND direction = coalesce($direction, direction)
    QUALIFY row_number() OVER (PARTITION BY run_id ORDER BY abs(effect) DESC, transition) = 1
)
SELECT target.run,
       target.run_id,
       target.site,
       target.direction,
       target.effect,
       target.effect_se,
       round(target.metric_midpoint)::BIGINT AS mid,
       round(target.metric_midpoint_low)::BIGINT AS low,
       round(target.metric_midpoint_high)::BIGINT AS high,
       count(DISTINCT (other.metric, other.site)) AS series_before
FROM target
LEFT JOIN changes AS other
    ON other.run_id = target.run_id
   AND other.metric <> target.metric
   AND other.metric_midpoint < target.metric_midpoint
GROUP BY ALL
ORDER BY target.run_id;
