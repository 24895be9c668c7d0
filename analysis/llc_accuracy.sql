-- How far estimates of the LLC are from the value that is known exactly, by run and exact value.
-- An experiment that knows it writes it as the metric 'llc/exact' at the same step. Only trusted
-- estimates count; error is their mean relative error, spread their standard deviation, and se the
-- mean of the standard errors that they claim: a spread far above se is an error that se hides.
SELECT exact.run,
       exact.value AS exact,
       min(exact.step) AS first_step,
       max(exact.step) AS last_step,
       count(*) AS estimates,
       count(*) FILTER (found.status = 'ok') AS ok,
       avg(found.value) FILTER (found.status = 'ok') AS llc,
       stddev(found.value) FILTER (found.status = 'ok') AS spread,
       avg(found.se) FILTER (found.status = 'ok') AS se,
       avg(found.value) FILTER (found.status = 'ok') / exact.value - 1 AS error
FROM metrics exact
JOIN metrics found ON found.run_id = exact.run_id
                  AND found.step = exact.step
                  AND found.site = exact.site
                  AND found.metric = 'llc'
WHERE exact.metric = 'llc/exact' AND exact.run_id IN (SELECT unnest($runs))
GROUP BY exact.run_id, exact.run, exact.value
ORDER BY exact.run_id, exact.value;
