-- Every change of every run: what a comparison over runs starts from. Changes that coincide with an
-- event of the training configuration are left out: they recur because the configuration does. One
-- line per kind, metric, site and direction; a run may have several changes of a line, so that
-- changes can be more than runs. decades is the standard deviation of log10(step + 1) over them.
SELECT kind,
       metric,
       site,
       direction,
       count(DISTINCT run_id) AS runs,
       count(*) AS changes,
       list(round(metric_midpoint)::BIGINT ORDER BY metric_midpoint) AS midpoints,
       round(stddev_samp(log10(metric_midpoint + 1)), 3) AS decades
FROM transitions
WHERE run_id IN (SELECT unnest($runs)) AND event IS NULL
GROUP BY kind, metric, site, direction
ORDER BY runs DESC, min(metric_midpoint), metric, site, direction;
