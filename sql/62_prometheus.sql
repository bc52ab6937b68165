-- What Prometheus scrapes, in rows; the gateway writes the text.
--
-- counter_total, plus what is not rolled up yet: raw rows of dirty minutes in
-- place of what their minutes counted before, and for costs by user the hours
-- that are still open. So counters survive restarts, retention and repricing,
-- and every gateway reads the same.

CREATE FUNCTION ccproxy.prometheus_samples()
RETURNS TABLE (family text, label_values text[], bucket_counts bigint[], sum numeric, count numeric)
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
SET jit = off
AS $$
#variable_conflict use_column
DECLARE
    state ccproxy.rollup_state;
    dirty tstzmultirange;
    hours tstzmultirange;
BEGIN
    SELECT * INTO STRICT state FROM ccproxy.rollup_state;
    SELECT coalesce(range_agg(tstzrange(d.minute, d.minute + interval '1 minute')), '{}') INTO dirty
      FROM ccproxy.dirty_minute d
     WHERE d.xid >= (SELECT ccproxy._marks_from()) AND d.minute >= greatest(state.raw_from, state.minutes_from);
    hours := ccproxy._widen(dirty, 'h') * ccproxy._span(greatest(state.raw_from, state.hours_from), state.user_hours_closed);

    RETURN QUERY
    SELECT coalesce(c.family, d.family), coalesce(c.label_values, d.label_values),
           CASE WHEN c.exposed_buckets IS NULL THEN d.buckets
                WHEN d.buckets IS NULL THEN c.exposed_buckets
                ELSE ARRAY(SELECT greatest(e, t + f) FROM unnest(c.exposed_buckets, c.true_buckets, d.buckets) WITH ORDINALITY AS x(e, t, f, i) ORDER BY i)
           END::bigint[],
           CASE WHEN coalesce(c.family, d.family) = 'response_time'
                THEN greatest(coalesce(c.exposed_sum, 0), coalesce(c.true_sum, 0) + coalesce(d.total, 0)) END,
           greatest(coalesce(c.exposed, 0), coalesce(c."true", 0) + coalesce(d.n, 0))
      FROM ccproxy.counter_total c
      FULL JOIN (SELECT * FROM ccproxy._service_deltas(ccproxy._merged('service', 'm', dirty), NULL, dirty)
                 UNION ALL
                 SELECT * FROM ccproxy._user_deltas(ccproxy._merged('user', 'h', hours), NULL,
                                                    hours + ccproxy._span(state.user_hours_closed, 'infinity'))) AS d
        ON d.family = c.family AND d.label_values = c.label_values
     ORDER BY 1, 2;
END
$$;
COMMENT ON FUNCTION ccproxy.prometheus_samples() IS
'The Prometheus families requests (method, endpoint_type, status_code, model), response_time (method, endpoint_type, model; bucket_counts cumulative for <= 0.01 0.05 0.1 0.5 1 2.5 5 10 30 60 120 300 600 s, sum in seconds), tokens (model, token_type), cost (model, user_id; USD) and errors (error_type, endpoint_type): totals of all finished requests there ever were, fresh to the last commit; count is the value. They do not fall when raw rows expire or costs are corrected. Missing labels are unknown, a missing user is anonymous.';
