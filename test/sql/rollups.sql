-- Rollups: marks, refresh, which buckets answer, retention, counters, health.
\getenv abs_srcdir PG_ABS_SRCDIR
\set include :abs_srcdir '/sql/include/metrics_table.psql'
\i :include
SET timezone = 'UTC';
-- three days of one request every ten minutes, ending three days ago at midnight
SELECT date_trunc('day', now()) - interval '6 days' AS d0, date_trunc('day', now()) - interval '3 days' AS d3 \gset
SELECT accepted FROM ccproxy.ingest((SELECT jsonb_agg(jsonb_build_object('request_id', 'r' || i, 'timestamp', :'d0'::timestamptz + make_interval(mins => 10 * i),
    'model', 'gpt-4', 'user_id', 'u' || i % 2, 'endpoint_type', 'openai', 'method', 'POST', 'status_code', CASE WHEN i % 8 = 0 THEN 500 ELSE 200 END, 'response_time_ms', 10 + i, 'input_tokens', 100, 'output_tokens', 10))
  FROM generate_series(0, 431) AS i));
-- every minute that was written is marked, and raw rows answer
SELECT count(*), count(DISTINCT minute) FROM ccproxy.dirty_minute;
SELECT source, grain, rows_read FROM ccproxy.explain_stats(:'d0'::timestamptz, :'d3'::timestamptz);
-- a refresh takes minutes of one day at a time, the oldest first
SELECT ccproxy.refresh(100), (SELECT count(*) FROM ccproxy.dirty_minute), (SELECT count(*) FROM ccproxy.rollup_service WHERE grain = 'm');
SELECT ccproxy.refresh(), ccproxy.refresh(), ccproxy.refresh(), ccproxy.refresh();
SELECT count(*) FROM ccproxy.dirty_minute;
SELECT grain, count(*), sum(ccproxy.cell_count(cells)) AS cells FROM ccproxy.rollup_service GROUP BY 1 ORDER BY 1;
SELECT grain, count(*), sum(ccproxy.cell_count(cells)) AS cells FROM ccproxy.rollup_user GROUP BY 1 ORDER BY 1;
-- whole days answer, then; ragged edges come from finer grains, the last minute from raw
SELECT source, grain, rows_read FROM ccproxy.explain_stats(:'d0'::timestamptz, :'d3'::timestamptz);
SELECT source, grain, rows_read, spans = tstzmultirange(tstzrange(:'d0'::timestamptz + interval '13 hours 7 minutes 30 seconds', :'d0'::timestamptz + interval '13 hours 8 minutes')) AS that_edge
  FROM ccproxy.explain_stats(:'d0'::timestamptz + interval '13 hours 7 minutes 30 seconds', :'d3'::timestamptz);
-- groups decide the grain: hours and other zones' days need hours, users their own cube, sessions raw
SELECT g, (SELECT string_agg(grain, ', ') FROM ccproxy.explain_stats(:'d0'::timestamptz, :'d3'::timestamptz, g, f::jsonb, z))
  FROM (VALUES ('day', NULL, 'UTC'), ('day', NULL, 'Europe/Berlin'), ('hour', NULL, 'UTC'), ('user', NULL, 'UTC'), ('day,user', NULL, 'Europe/Berlin'), ('day,user', NULL, 'Asia/Kolkata'),
        ('model', '{"user": "u1"}', 'UTC'), ('status', '{"user": "u1"}', 'UTC'), ('session', NULL, 'UTC'), (NULL, '{"metadata": {"a": 1}}', 'UTC'), ('day,model', '{"status": 500}', 'UTC')) AS v(g, f, z);
SELECT group_key, total_requests, failed_requests, total_cost, errors_by_type FROM ccproxy.stats(:'d0'::timestamptz, :'d3'::timestamptz, 'status');
SELECT group_key, group_key2, total_requests FROM ccproxy.stats(:'d0'::timestamptz, :'d3'::timestamptz, 'user,model');
SELECT group_key = to_char(period_start, 'YYYY-MM-DD') AS day, group_key2, total_requests FROM ccproxy.stats(:'d0'::timestamptz, :'d3'::timestamptz, 'day,endpoint');

-- a late event dirties its buckets until the next refresh, and only those
SELECT accepted FROM ccproxy.ingest(jsonb_build_object('request_id', 'late', 'timestamp', :'d0'::timestamptz + interval '25 hours 3 minutes', 'status_code', 200, 'model', 'gpt-4'));
SELECT source, grain, rows_read FROM ccproxy.explain_stats(:'d0'::timestamptz, :'d3'::timestamptz);
SELECT total_requests FROM ccproxy.stats(:'d0'::timestamptz, :'d3'::timestamptz);
SELECT ccproxy.refresh();
SELECT source, grain, rows_read FROM ccproxy.explain_stats(:'d0'::timestamptz, :'d3'::timestamptz);
SELECT total_requests FROM ccproxy.stats(:'d0'::timestamptz, :'d3'::timestamptz);

-- the BI views say the same, dirty or not
CREATE FUNCTION pg_temp.views_agree() RETURNS TABLE (view text, requests numeric, cost numeric) LANGUAGE sql AS $$
    SELECT 'requests', count(*), sum(total_cost) FROM ccproxy.requests
    UNION ALL SELECT 'requests_by_minute', sum(requests), sum(total_cost) FROM ccproxy.requests_by_minute
    UNION ALL SELECT 'requests_by_hour', sum(requests), sum(total_cost) FROM ccproxy.requests_by_hour
    UNION ALL SELECT 'requests_by_day', sum(requests), sum(total_cost) FROM ccproxy.requests_by_day
    UNION ALL SELECT 'usage_by_model', sum(requests), sum(total_cost) FROM ccproxy.usage_by_model
    UNION ALL SELECT 'usage_by_user', sum(requests), sum(total_cost) FROM ccproxy.usage_by_user
    UNION ALL SELECT 'errors_by_type', sum(failed_requests), NULL FROM ccproxy.errors_by_type $$;
SELECT * FROM pg_temp.views_agree();
SELECT accepted FROM ccproxy.ingest(jsonb_build_object('request_id', 'dirty', 'timestamp', :'d0'::timestamptz + interval '30 hours', 'status_code', 200, 'model', 'gpt-4', 'input_tokens', 1000));
SELECT accepted FROM ccproxy.ingest(jsonb_build_object('request_id', 'now', 'status_code', 500, 'model', 'gpt-4', 'input_tokens', 1000));
SELECT * FROM pg_temp.views_agree();
DELETE FROM ccproxy.request_log WHERE request_id IN ('dirty', 'now');
SELECT ccproxy.refresh(), ccproxy.refresh(), ccproxy.refresh() >= 0 AS refreshed;
SELECT * FROM pg_temp.views_agree();
SELECT ts - :'d0'::timestamptz AS ts, model, requests, failed_requests, total_cost FROM ccproxy.usage_by_model ORDER BY 1;
SELECT ts - :'d0'::timestamptz AS ts, user_id, model, requests FROM ccproxy.usage_by_user WHERE ts >= :'d0'::timestamptz + interval '2 days' ORDER BY 1, 2;

-- repricing marks what it changes
SELECT ccproxy.set_price('gpt-4', 1, 1, effective_from => '2000-01-01') > 0 AS set;
SELECT total_cost FROM ccproxy.stats(:'d0'::timestamptz, :'d3'::timestamptz);
CALL ccproxy.reprice();
SELECT total_cost FROM ccproxy.stats(:'d0'::timestamptz, :'d3'::timestamptz);
SELECT count(DISTINCT minute) FROM ccproxy.dirty_minute;
CALL ccproxy.maintain();
SELECT total_cost, (SELECT sum(total_cost) FROM ccproxy.requests WHERE ts < :'d3'::timestamptz) = total_cost AS equals_raw FROM ccproxy.stats(:'d0'::timestamptz, :'d3'::timestamptz);
-- the counter that Prometheus reads did not fall
SELECT sum("true"), sum(exposed) FROM ccproxy.counter_total WHERE family = 'cost';
SELECT family, sum(count) FROM ccproxy.prometheus_samples() GROUP BY 1 ORDER BY 1;

-- changes by hand are followed when they are said
BEGIN;
DELETE FROM ccproxy.request_log WHERE request_id = 'late';
SELECT ccproxy.mark_dirty(:'d0'::timestamptz + interval '25 hours', :'d0'::timestamptz + interval '26 hours');
COMMIT;
SELECT total_requests FROM ccproxy.stats(:'d0'::timestamptz, :'d3'::timestamptz);
SELECT ccproxy.mark_dirty(NULL, '2001-01-01');
SELECT ccproxy.mark_dirty('-infinity', '2001-01-01');
SELECT ccproxy.refresh();
SELECT total_requests FROM ccproxy.stats(:'d0'::timestamptz, :'d3'::timestamptz);

-- also where minutes have expired, and nothing is left of what was there
BEGIN;
UPDATE ccproxy.configuration SET minute_retention = interval '1 day', quarter_retention = interval '5 days';
SELECT ccproxy._job_trim() > 0 AS trimmed;
SELECT grain, count(*) FROM ccproxy.rollup_service WHERE bucket < :'d3' GROUP BY 1 ORDER BY 1;
DELETE FROM ccproxy.request_log WHERE ts < :'d0'::timestamptz + interval '26 hours 7 minutes';
SELECT ccproxy.mark_dirty(:'d0'::timestamptz, :'d0'::timestamptz + interval '26 hours 7 minutes') > 0 AS marked;
SELECT total_requests = (SELECT count(*) FROM ccproxy.requests WHERE ts < :'d3') AS dirty FROM ccproxy.stats(:'d0'::timestamptz, :'d3'::timestamptz);
DO $$ BEGIN FOR i IN 1 .. 1000 LOOP EXIT WHEN ccproxy.refresh() = 0; END LOOP; END $$;
SELECT grain, total_requests = (SELECT count(*) FROM ccproxy.requests WHERE ts < :'d3') AS clean,
       (SELECT sum(total_requests) FROM ccproxy.stats(:'d0'::timestamptz, :'d3'::timestamptz, 'user')) = total_requests AS by_user
  FROM ccproxy.stats(:'d0'::timestamptz, :'d3'::timestamptz), ccproxy.explain_stats(:'d0'::timestamptz, :'d3'::timestamptz);
ROLLBACK;

-- refresh() refuses what would lose rows
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT ccproxy.refresh();
ROLLBACK;

-- retention: detail goes, statistics stay
CREATE TEMP TABLE before AS SELECT * FROM ccproxy.stats(:'d0'::timestamptz, :'d3'::timestamptz, 'day');
SELECT ccproxy.set_retention(raw => interval '4 days', minutes => interval '2 days');
SELECT ccproxy.set_retention(raw => interval '1 hour');
SELECT ccproxy.set_retention(quarters => interval '1 day');
UPDATE ccproxy.request_key SET claimed_at = claimed_at - interval '2 days';
CALL ccproxy.maintain();
CALL ccproxy.maintain();
SELECT count(*) FROM ccproxy.requests;
SELECT raw_from - :'d0'::timestamptz AS raw_from, minutes_from - :'d0'::timestamptz AS minutes_from FROM ccproxy.rollup_state;
SELECT grain, count(*) FROM ccproxy.rollup_service GROUP BY 1 ORDER BY 1;
SELECT b.total_requests = a.total_requests AND b.total_cost = a.total_cost AND b.p95_response_time_ms = a.p95_response_time_ms AS same
  FROM before b JOIN ccproxy.stats(:'d0'::timestamptz, :'d3'::timestamptz, 'day') a USING (group_key);
-- a ragged range snaps outward to what survives, and says so
SELECT period_start - :'d0'::timestamptz AS from, period_end - :'d0'::timestamptz AS to, total_requests
  FROM ccproxy.stats(:'d0'::timestamptz + interval '1 hour 7 minutes', :'d0'::timestamptz + interval '5 hours 20 minutes');
SELECT period_start - :'d0'::timestamptz AS from, period_end - :'d0'::timestamptz AS to, total_requests
  FROM ccproxy.stats(:'d0'::timestamptz + interval '1 hour 7 minutes', :'d0'::timestamptz + interval '5 hours 20 minutes', 'user');
-- what only raw rows carry is gone with them
SELECT sum(total_requests) FROM ccproxy.stats(:'d0'::timestamptz, :'d3'::timestamptz, 'session');
-- an event of a dropped day is refused; the day is not made again
SELECT accepted, rejected, errors -> 0 ->> 'reason' AS reason FROM ccproxy.ingest(jsonb_build_object('request_id', 'too late', 'timestamp', :'d0'::timestamptz));
SELECT ccproxy.set_retention(raw => interval '90 days');
SELECT accepted, rejected FROM ccproxy.ingest(jsonb_build_object('request_id', 'too late', 'timestamp', :'d0'::timestamptz));
-- a late mark for expired rows is discarded and counted, and zeroes nothing
INSERT INTO ccproxy.dirty_minute (minute) VALUES (:'d0'::timestamptz + interval '10 minutes');
SELECT ccproxy.refresh();
SELECT discarded_marks FROM ccproxy.health;
SELECT total_requests FROM ccproxy.stats(:'d0'::timestamptz, :'d0'::timestamptz + interval '1 day');
-- counters outlive it all
SELECT family, sum(count) FROM ccproxy.prometheus_samples() GROUP BY 1 ORDER BY 1;

SELECT partitions_ahead, dirty_minutes, refresh_lag, (SELECT array_agg(j ORDER BY j) FROM jsonb_object_keys(jobs) AS j) AS jobs,
       (SELECT bool_and(value ->> 'last_error' IS NULL) FROM jsonb_each(jobs)) AS fine FROM ccproxy.health;
-- a job that fails says so, and the others go on
ALTER TABLE ccproxy.ingest_batch RENAME TO ingest_batch_away;
CALL ccproxy.maintain();
ALTER TABLE ccproxy.ingest_batch_away RENAME TO ingest_batch;
SELECT jobs -> 'trim' ->> 'last_error' AS trim, jobs -> 'summaries' ->> 'last_error' AS summaries FROM ccproxy.health;
RESET ROLE;
SET ROLE regress_ccproxy_reader;
SELECT count(*) FROM ccproxy.stats(interval '400 days');
SELECT count(*) > 0 AS explained FROM ccproxy.explain_stats(now() - interval '1 day', now());
SELECT partitions_ahead FROM ccproxy.health;
SELECT ccproxy.refresh();
SELECT ccproxy.mark_dirty(now(), now());
RESET ROLE;
