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
     -- one of the two that show costs
     WHERE c.family <> (SELECT CASE WHEN f.prometheus_users THEN 'model_cost' ELSE 'cost' END FROM ccproxy.configuration f)
$$;
COMMENT ON FUNCTION ccproxy.prometheus_samples() IS
'The Prometheus families requests (method, endpoint_type, status_code, model), response_time (method, endpoint_type, model; bucket_counts cumulative for <= 0.01 0.05 0.1 0.5 1 2.5 5 10 30 60 120 300 600 s, sum in seconds), tokens (model, token_type), cost (model, user_id; USD) or, when set_prometheus() says so, model_cost (model), and errors (error_type, endpoint_type): totals of all finished requests there ever were, up to the last refresh(); count is the value. They never fall: not when raw rows expire, nor when costs are corrected or a part of a request changes its labels. Missing labels are unknown, a missing user is anonymous; label sets beyond the limit of set_prometheus() are counted together, every label other.';

CREATE FUNCTION ccproxy.set_prometheus(label_sets integer DEFAULT NULL, users boolean DEFAULT NULL) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF label_sets NOT BETWEEN 1 AND 100000 THEN
        RAISE EXCEPTION 'label_sets must be from 1 to 100000, got %', label_sets USING ERRCODE = 'invalid_parameter_value';
    END IF;
    UPDATE ccproxy.configuration c
       SET prometheus_label_sets = coalesce(label_sets, c.prometheus_label_sets),
           prometheus_users = coalesce(users, c.prometheus_users);
END
$$;
COMMENT ON FUNCTION ccproxy.set_prometheus(integer, boolean) IS
'What Prometheus is shown: label_sets is how many label sets of each family are counted by themselves (1000): they are admitted first come, first served, and kept for good; the rest is counted as other, and a lower limit takes none away. users: whether costs carry the label user_id (true), or model alone; what is spent while that is off is not counted by user. NULL leaves a setting as it is. Errors: 22023.';
