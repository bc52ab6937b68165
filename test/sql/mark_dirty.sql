-- mark_dirty(): rows that somebody deletes by hand leave statistics, whichever
-- grains of their time have expired: each grain that is left is recomputed, and
-- no mark comes from the rows, for there are none any more.
\getenv abs_srcdir PG_ABS_SRCDIR
\set include :abs_srcdir '/sql/include/metrics_table.psql'
\i :include
SET timezone = 'UTC';
SELECT date_trunc('day', now()) - interval '6 days' AS d0 \gset
SELECT accepted FROM ccproxy.ingest((SELECT jsonb_agg(jsonb_build_object('request_id', 'r' || i, 'timestamp', :'d0'::timestamptz + make_interval(mins => 10 * i),
    'model', 'gpt-4', 'user_id', 'u' || i % 2, 'endpoint_type', 'openai', 'status_code', 200, 'input_tokens', 100))
  FROM generate_series(0, 143) AS i));
CREATE FUNCTION pg_temp.refresh() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    WHILE ccproxy.refresh() > 0 LOOP END LOOP;
END
$$;
SELECT pg_temp.refresh();
SELECT grain, count(*) FROM ccproxy.rollup_service GROUP BY 1 ORDER BY 1;

-- what is left of that day once these have expired, and after rows of some of its
-- hours have gone: of how many rows the finest grain of each cube tells
CREATE FUNCTION pg_temp.delete_by_hand(d0 timestamptz, minutes interval, quarters interval, user_hours interval)
RETURNS TABLE (service text, users text, marked bigint, gone bigint, raw bigint, requests numeric, by_user numeric, some_hours numeric, their_users numeric, counted numeric)
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM ccproxy.set_retention(minutes => minutes, quarters => quarters, user_hours => user_hours);
    PERFORM ccproxy._job_trim();
    service := (SELECT string_agg(DISTINCT r.grain::text, '' ORDER BY r.grain::text) FROM ccproxy.rollup_service r);
    users := (SELECT string_agg(DISTINCT r.grain::text, '' ORDER BY r.grain::text) FROM ccproxy.rollup_user r);
    DELETE FROM ccproxy.request_log WHERE ts >= d0 + interval '2 hours 7 minutes' AND ts < d0 + interval '6 hours 33 minutes';
    GET DIAGNOSTICS gone = ROW_COUNT;
    marked := ccproxy.mark_dirty(d0 + interval '2 hours 7 minutes', d0 + interval '6 hours 33 minutes');
    PERFORM pg_temp.refresh();
    raw := (SELECT count(*) FROM ccproxy.requests);
    requests := (SELECT total_requests FROM ccproxy.stats(d0, d0 + interval '1 day'));
    by_user := (SELECT sum(total_requests) FROM ccproxy.stats(d0, d0 + interval '1 day', 'user'));
    some_hours := (SELECT sum(total_requests) FROM ccproxy.stats(d0 + interval '2 hours', d0 + interval '7 hours', 'model'));
    their_users := (SELECT sum(total_requests) FROM ccproxy.stats(d0 + interval '2 hours', d0 + interval '7 hours', 'user'));
    counted := (SELECT sum("true") FROM ccproxy.counter_total WHERE family = 'requests');
    RETURN NEXT;
END
$$;
BEGIN; SELECT * FROM pg_temp.delete_by_hand(:'d0', '35 days', '400 days', '400 days'); ROLLBACK;
BEGIN; SELECT * FROM pg_temp.delete_by_hand(:'d0', '1 day', '400 days', '400 days'); ROLLBACK;
BEGIN; SELECT * FROM pg_temp.delete_by_hand(:'d0', '1 day', '1 day', '400 days'); ROLLBACK;
BEGIN; SELECT * FROM pg_temp.delete_by_hand(:'d0', '1 day', '400 days', '1 day'); ROLLBACK;
BEGIN; SELECT * FROM pg_temp.delete_by_hand(:'d0', '1 day', '1 day', '1 day'); ROLLBACK;
RESET ROLE;
