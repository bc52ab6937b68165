-- What a session's settings, odd zones and odd ranges do to the answers: nothing.
\getenv abs_srcdir PG_ABS_SRCDIR
\set include :abs_srcdir '/sql/include/metrics_table.psql'
\i :include
SET timezone = 'UTC';
SELECT date_trunc('day', now()) - interval '3 days' AS d0, date_trunc('day', now()) - interval '2 days' AS d1 \gset
-- one request every seven minutes of that day
SELECT accepted FROM ccproxy.ingest((SELECT jsonb_agg(jsonb_build_object('request_id', 'z' || i, 'timestamp', :'d0'::timestamptz + make_interval(mins => 7 * i),
    'model', 'gpt-4', 'user_id', 'u' || i % 2, 'status_code', 200, 'input_tokens', i)) FROM generate_series(0, 205) AS i));
-- a step's beginning: elapsed quarters, so that an hour that comes twice has eight
CREATE FUNCTION pg_temp.began(step text, ts timestamptz, zone text) RETURNS timestamptz LANGUAGE sql AS $$
    SELECT CASE step WHEN 'quarter' THEN date_trunc('hour', ts, zone) + floor(extract(epoch FROM ts - date_trunc('hour', ts, zone)) / 900) * interval '15 minutes' ELSE date_trunc(step, ts, zone) END $$;
-- raw, by groups and zone; and what stats() says
CREATE FUNCTION pg_temp.differ(from_ts timestamptz, to_ts timestamptz, step text, zone text) RETURNS TABLE (t timestamptz, raw bigint, service numeric, by_user numeric) LANGUAGE sql AS $$
    SELECT t, r.n, s.n, u.n
      FROM (SELECT pg_temp.began(step, ts, zone) AS t, count(*) AS n FROM ccproxy.requests WHERE ts >= from_ts AND ts < to_ts GROUP BY 1) AS r
      FULL JOIN (SELECT pg_temp.began(step, period_start, zone) AS t, total_requests AS n FROM ccproxy.stats(from_ts, to_ts, step, NULL, zone)) AS s USING (t)
      FULL JOIN (SELECT pg_temp.began(step, period_start, zone) AS t, sum(total_requests) AS n FROM ccproxy.stats(from_ts, to_ts, step || ',user', NULL, zone) GROUP BY 1) AS u USING (t)
     WHERE r.n IS DISTINCT FROM s.n OR r.n IS DISTINCT FROM u.n $$;
CREATE FUNCTION pg_temp.grains(from_ts timestamptz, to_ts timestamptz, step text, zone text) RETURNS text LANGUAGE sql AS $$
    SELECT string_agg(grain, ', ') FROM ccproxy.explain_stats(from_ts, to_ts, step, NULL, zone) $$;
\set zones '(VALUES (1, ''UTC''), (2, ''Europe/Berlin''), (3, ''America/New_York''), (4, ''Asia/Kolkata''), (5, ''Asia/Kathmandu''), (6, ''Australia/Lord_Howe''), (7, ''Pacific/Chatham''), (8, ''+03''), (9, ''EST''), (10, ''<X>-5:07''), (11, ''<X>+0:00:30''), (12, ''<A>3<B>,J1/0:07,J364/0:07'')) AS z(n, zone)'
-- dirty, then rolled up
SELECT zone, step, d.* FROM :zones, (VALUES ('minute'), ('quarter'), ('hour'), ('day')) AS s(step), pg_temp.differ(:'d0'::timestamptz - interval '7 hours', :'d1'::timestamptz - interval '33 minutes', step, zone) AS d;
DO $$ BEGIN FOR i IN 1 .. 1000 LOOP EXIT WHEN ccproxy.refresh() = 0 AND i > 5; END LOOP; END $$;
SELECT zone, step, d.* FROM :zones, (VALUES ('minute'), ('quarter'), ('hour'), ('day')) AS s(step), pg_temp.differ(:'d0'::timestamptz - interval '7 hours', :'d1'::timestamptz - interval '33 minutes', step, zone) AS d;
-- the grain is as coarse as the zone lets it be
SELECT zone, pg_temp.grains(:'d0', :'d1', 'minute', zone) AS minutes, pg_temp.grains(:'d0', :'d1', 'quarter', zone) AS quarters, pg_temp.grains(:'d0', :'d1', 'hour', zone) AS hours, pg_temp.grains(:'d0', :'d1', 'hour,user', zone) AS by_user, pg_temp.grains(:'d0', :'d1', 'day', zone) AS days FROM :zones WHERE n <> 6 ORDER BY n;

-- the style of dates, whose zones' abbreviations mean another zone when read back
CREATE FUNCTION pg_temp.count_in(style text, zone text, from_ts timestamptz, to_ts timestamptz)
RETURNS TABLE (requests bigint, hours bigint, explained bigint, ahead bigint, oldest boolean, expired bigint) LANGUAGE plpgsql AS $$
BEGIN
    PERFORM set_config('datestyle', style, true), set_config('timezone', zone, true);
    RETURN QUERY SELECT (SELECT total_requests FROM ccproxy.stats(from_ts, to_ts)), (SELECT sum(total_requests)::bigint FROM ccproxy.stats(from_ts, to_ts, 'hour,user')),
        (SELECT sum(rows_read)::bigint FROM ccproxy.explain_stats(from_ts, to_ts, 'session')),
        h.partitions_ahead, h.oldest_partition = date_bin('1 day', from_ts, '2000-01-01 00:00:00+00'), (SELECT count(*) FROM ccproxy._expired_partitions()) FROM ccproxy.health h;
END $$;
SELECT style, zone, c.* FROM (VALUES ('ISO', 'UTC'), ('SQL, DMY', 'Asia/Kolkata'), ('Postgres', 'Asia/Shanghai'), ('German', 'Australia/Sydney'), ('SQL', 'America/St_Johns')) AS v(style, zone),
    pg_temp.count_in(style, zone, :'d0'::timestamptz + interval '1 hour 3 minutes', :'d1'::timestamptz - interval '2 hours 3 minutes') AS c;
BEGIN;
SET LOCAL datestyle = 'SQL, DMY'; SET LOCAL timezone = 'Asia/Kolkata';
SELECT accepted FROM ccproxy.ingest(jsonb_build_object('request_id', 'styled', 'timestamp', :'d0'::timestamptz + interval '3 hours', 'status_code', 200));
SELECT ccproxy.refresh();
COMMIT;
SELECT count(*) AS minutes, count(*) FILTER (WHERE r.minute IS DISTINCT FROM b.bucket) AS wrong
  FROM (SELECT DISTINCT date_trunc('minute', ts) AS minute FROM ccproxy.requests) AS r
  FULL JOIN (SELECT bucket FROM ccproxy.rollup_service WHERE grain = 'm') AS b ON b.bucket = r.minute;
SELECT d.* FROM pg_temp.differ(:'d0'::timestamptz, :'d1'::timestamptz, 'hour', 'UTC') AS d;

-- all of time, and beyond
SELECT total_requests, to_char(period_start AT TIME ZONE 'UTC', 'YYYY-MM-DD') AS from, to_char(period_end AT TIME ZONE 'UTC', 'YYYY-MM-DD') AS to
  FROM ccproxy.stats(timestamptz '0001-01-01 00:00:00+00', timestamptz '9999-12-31 00:00:00+00');
SELECT g, z, (SELECT sum(total_requests) FROM ccproxy.stats(timestamptz '0001-01-01 00:00:00+00', timestamptz '9999-12-31 00:00:00+00', g, NULL, z)) AS requests
  FROM unnest(ARRAY['hour', 'day', 'day,user', 'session', 'user', 'model']) AS g, unnest(ARRAY['UTC', 'Europe/Berlin', 'Asia/Kathmandu']) AS z;
-- zones had local times of their own once: that does not keep rollups from answering
SELECT g, pg_temp.grains(timestamptz '0001-01-01 00:00:00+00', :'d1', g, 'Europe/Amsterdam') FROM unnest(ARRAY['hour', 'day', 'day,user']) AS g;
SELECT total_requests FROM ccproxy.stats(timestamptz '4714-11-24 00:00:00+00 BC', timestamptz '294276-12-31 00:00:00+00');
SELECT sum(total_requests) FROM ccproxy.stats(timestamptz '4714-11-24 00:00:00+00 BC', timestamptz '294276-12-31 00:00:00+00', 'day,user', NULL, 'Asia/Kathmandu');
-- how many grains that takes depends on the time of day
SELECT count(*) BETWEEN 1 AND 5 AS answered FROM ccproxy.explain_stats(timestamptz '4714-11-24 00:00:00+00 BC', timestamptz '294276-12-31 23:59:59+00', 'hour');
CREATE FUNCTION pg_temp.refused(g text, f jsonb, period interval DEFAULT '10 days') RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    RETURN 'answered ' || (SELECT coalesce(sum(total_requests), 0) FROM ccproxy.stats(period, g, f));
EXCEPTION WHEN invalid_parameter_value THEN
    RETURN left(regexp_replace(SQLERRM, '[0-9-]{10} [0-9:.+]+', 'A TIME', 'g'), 60);
END $$;
SELECT period, pg_temp.refused(NULL, NULL, period) FROM unnest(ARRAY['-1 day', NULL, '0', '290 years']::interval[]) AS period;
SELECT total_requests FROM ccproxy.stats(interval '300000 years');
SELECT ccproxy.mark_dirty('4714-11-24 00:00:00+00 BC', '294276-12-31 00:00:00+00') > 0 AS marked;
SELECT ccproxy.refresh(NULL) > 0 AS one, ccproxy.refresh(-5) > 0 AS one_more, ccproxy.refresh(2147483647) > 0 AS the_rest;

-- text that is no zone, no group, no filter
SELECT z, pg_temp.grains(:'d0', :'d1', 'hour', z) FROM unnest(ARRAY['']) AS z;
SELECT z, pg_temp.grains(:'d0', :'d1', 'hour', z) FROM unnest(ARRAY['UTC''; DROP TABLE ccproxy.job; --']) AS z;
SELECT z, pg_temp.grains(:'d0', :'d1', 'hour', z) FROM unnest(ARRAY[E'UTC\\''']) AS z;
SELECT z, pg_temp.grains(:'d0', :'d1', 'hour', z) FROM unnest(ARRAY['../../../etc/passwd']) AS z;
SELECT length(z), pg_temp.grains(:'d0', :'d1', 'hour', z) FROM unnest(ARRAY[repeat('x', 300)]) AS z;
SELECT z, pg_temp.grains(:'d0', :'d1', 'hour', z) FROM unnest(ARRAY['<a''b>-1', '<%s>-2', '<$1>+3']) AS z;
SELECT z, sum(total_requests) FROM unnest(ARRAY['<a''b>-1', '<%s>-2', '<$1>+3', '<%L>-0:07']) AS z, ccproxy.stats(timestamptz :'d0', :'d1', 'hour', NULL, z) GROUP BY 1 ORDER BY 1;
SELECT left(g, 20) AS group_by, pg_temp.refused(g, NULL)
  FROM unnest(ARRAY['model''', 'model;', '1', 'k.model', 'model,', ',', ' ', 'MODEL', 'model -- ', E'model\n', '%s', '$1', repeat('model,', 10000), ' model , day ']) AS g;
SELECT left(f, 60) AS filters, pg_temp.refused(NULL, f::jsonb)
  FROM unnest(ARRAY['null', '1', '{"": 1}', '{"model''": 1}', '{"model": "''"}', '{"model": "gpt-4\\"}', '{"model": ["gpt-4", 1, true, null, "}{", "%s", "$1"]}', '{"model": [["gpt-4"]]}', '{"status": "200 OR true"}',
       '{"status": -1}', '{"status": 200.0}', '{"status": null}', '{"status": true}', '{"metadata": {"a": "'' OR true --"}}', '{"metadata": "x"}', '{"metadata": null}', '{"state": null}', '{"user": {"$ne": 1}}', '{"hour": 1}']) AS f;
RESET ROLE;
