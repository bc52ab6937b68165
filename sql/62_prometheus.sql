-- What Prometheus scrapes, in rows; the gateway writes the text.
--
-- counter_total and nothing else: what was shown once is on record there, so
-- that no correction of rows that are not rolled up yet (a part that turns a
-- success into a failure, another price) lets a series fall. Counters survive
-- restarts and retention, and every gateway reads the same.

CREATE FUNCTION ccproxy.prometheus_samples()
RETURNS TABLE (family text, label_values text[], bucket_counts bigint[], sum numeric, count numeric)
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT c.family, c.label_values, c.exposed_buckets::bigint[], CASE WHEN c.family = 'response_time' THEN c.exposed_sum END, c.exposed
      FROM ccproxy.counter_total c
     ORDER BY 1, 2
$$;
COMMENT ON FUNCTION ccproxy.prometheus_samples() IS
'The Prometheus families requests (method, endpoint_type, status_code, model), response_time (method, endpoint_type, model; bucket_counts cumulative for <= 0.01 0.05 0.1 0.5 1 2.5 5 10 30 60 120 300 600 s, sum in seconds), tokens (model, token_type), cost (model, user_id; USD) and errors (error_type, endpoint_type): totals of all finished requests there ever were, up to the last refresh(); count is the value. They never fall: not when raw rows expire, nor when costs are corrected or a part of a request changes its labels. Missing labels are unknown, a missing user is anonymous.';
