-- Partitions of hours, days and weeks, changing between them, and storage.
\getenv abs_srcdir PG_ABS_SRCDIR
\set include :abs_srcdir '/sql/include/metrics_table.psql'
\i :include
SET timezone = 'UTC';
-- whatever the time of the day: a Monday two weeks ago, long before what is there
SELECT date_bin('7 days', now() - interval '21 days', timestamptz '2000-01-03 00:00:00+00') AS monday \gset
CREATE FUNCTION pg_temp.put(id text, ts timestamptz) RETURNS bigint LANGUAGE sql AS $$
    SELECT accepted FROM ccproxy.ingest(jsonb_build_object('request_id', id, 'timestamp', ts, 'status_code', 200, 'output_tokens', 1)) $$;
-- the partitions of those two weeks: name without the date, day of the week and hour, length, storage
CREATE FUNCTION pg_temp.then(monday timestamptz) RETURNS TABLE (name text, begins text, length interval, unlogged boolean) LANGUAGE sql AS $$
    SELECT regexp_replace(p.partition::text, '\d{8}', 'DATE'), to_char(p.from_ts - monday, 'DD"d" HH24"h"'), p.to_ts - p.from_ts, p.unlogged
      FROM ccproxy._partitions() AS p WHERE p.from_ts >= monday AND p.to_ts <= monday + interval '14 days' ORDER BY p.from_ts $$;
CREATE FUNCTION pg_temp.gaps() RETURNS bigint LANGUAGE sql AS $$
    SELECT count(*) FROM (SELECT p.from_ts, lag(p.to_ts) OVER (ORDER BY p.from_ts) AS before FROM ccproxy._partitions() AS p WHERE p.to_ts > now() - interval '1 day') AS x WHERE x.before <> x.from_ts $$;

-- an event makes its day, no more
SELECT pg_temp.put('tuesday', :'monday'::timestamptz + interval '1 day 5 hours');
SELECT * FROM pg_temp.then(:'monday');
-- hours beside it
SELECT ccproxy.set_retention(partitions => 'hour');
SELECT pg_temp.put('wednesday', :'monday'::timestamptz + interval '2 days 59 minutes'), pg_temp.put('also', :'monday'::timestamptz + interval '2 days 7 hours');
SELECT accepted FROM ccproxy.ingest(jsonb_build_array(jsonb_build_object('request_id', 'two', 'timestamp', :'monday'::timestamptz + interval '2 days 9 hours'),
    jsonb_build_object('request_id', 'hours', 'timestamp', :'monday'::timestamptz + interval '2 days 11 hours')));
SELECT * FROM pg_temp.then(:'monday');
-- a day takes what is free of it, before, between and after
SELECT ccproxy.set_retention(partitions => 'day');
SELECT ccproxy.ensure_partitions(:'monday'::timestamptz + interval '2 days', :'monday'::timestamptz + interval '2 days 23 hours');
SELECT * FROM pg_temp.then(:'monday');
-- so does a week
SELECT ccproxy.set_retention(partitions => 'week');
SELECT pg_temp.put('monday', :'monday'), pg_temp.put('sunday', :'monday'::timestamptz + interval '6 days 23 hours'), pg_temp.put('next', :'monday'::timestamptz + interval '9 days');
SELECT * FROM pg_temp.then(:'monday');
-- every row is where it belongs, and nothing overlaps
SELECT count(*), count(DISTINCT request_id) FROM ccproxy.request_log;
SELECT count(*) FROM ccproxy.request_log l WHERE NOT EXISTS (SELECT FROM ccproxy._partition_at(l.ts) AS p WHERE p.partition = l.tableoid AND l.ts >= p.from_ts AND l.ts < p.to_ts);
SELECT partition IS NULL AS none, to_ts FROM ccproxy._partition_at('infinity');

-- ahead: what is empty is made anew, what holds rows stays, without a gap
SELECT pg_temp.put('today', now());
SELECT count(*) AS now_and_ahead, max(to_ts - from_ts) = interval '7 days' AS weeks, pg_temp.gaps() FROM ccproxy._partitions() WHERE to_ts > now();
SELECT partitions_until >= now() + interval '7 days' AS a_week_ahead FROM ccproxy.health;
SELECT ccproxy.set_retention(partitions => 'hour');
SELECT ccproxy.ensure_partitions(now(), ccproxy._partitions_until()) AS none_missing, pg_temp.gaps(), partitions_until > now() + interval '1 day' AS a_day_ahead FROM ccproxy.health;
SELECT p.from_ts < date_trunc('hour', now()) OR p.to_ts > date_trunc('hour', now()) + interval '1 hour' AS today_is_as_it_was FROM ccproxy._partition_at(now()) AS p;
SELECT ccproxy.set_retention(partitions => 'day');
SELECT pg_temp.gaps(), partitions_until >= now() + interval '7 days' AS a_week_ahead FROM ccproxy.health;

-- storage: new partitions and those that hold nothing
SELECT ccproxy.set_storage('unlogged');
SELECT count(*) FILTER (WHERE unlogged) > 0 AS ahead, bool_or(unlogged) FILTER (WHERE partition = (ccproxy._partition_at(now())).partition) AS today FROM ccproxy._partitions();
SELECT pg_temp.put('friday', :'monday'::timestamptz + interval '11 days');
SELECT pg_temp.put('tuesday before', :'monday'::timestamptz - interval '6 days');
SELECT p.unlogged, p.to_ts - p.from_ts AS length FROM ccproxy._partitions() AS p WHERE p.partition = (ccproxy._partition_at(:'monday'::timestamptz - interval '6 days')).partition;
SELECT ccproxy.set_storage('logged');
SELECT count(*) FROM ccproxy._partitions() WHERE unlogged;
SELECT ccproxy.set_storage('memory');
SELECT ccproxy.set_storage(NULL);

-- less than a day is for hourly partitions
SELECT ccproxy.set_retention(raw => interval '6 hours');
SELECT ccproxy.set_retention(raw => interval '6 hours', partitions => 'week');
SELECT ccproxy.set_retention(raw => interval '59 minutes', partitions => 'hour');
SELECT ccproxy.set_retention(minutes => interval '6 hours', partitions => 'hour');
SELECT ccproxy.set_retention(partitions => 'month');
SELECT ccproxy.set_retention(raw => interval '6 hours', partitions => 'hour');
SELECT ccproxy.set_retention(partitions => 'day');
UPDATE ccproxy.configuration SET partitions = 'day';
SELECT retention, partitions, storage FROM ccproxy.configuration;

-- hours go one by one while their day lasts, and statistics stay
SELECT ccproxy.set_retention(raw => interval '400 days');
CREATE TEMP TABLE before AS SELECT group_key, total_requests, output_tokens FROM ccproxy.stats(:'monday'::timestamptz - interval '7 days', :'monday'::timestamptz + interval '14 days', 'day');
UPDATE ccproxy.rollup_state SET quarters_closed = :'monday'::timestamptz - interval '7 days', hours_closed = :'monday'::timestamptz - interval '7 days', days_closed = :'monday'::timestamptz - interval '7 days',
    user_hours_closed = :'monday'::timestamptz - interval '7 days', user_days_closed = :'monday'::timestamptz - interval '7 days';
CREATE PROCEDURE pg_temp.roll_up(ts timestamptz) LANGUAGE plpgsql AS $$
BEGIN
    LOOP EXIT WHEN ccproxy.refresh() = 0 AND (SELECT user_hours_closed >= ts AND quarters_closed >= ts FROM ccproxy.rollup_state); COMMIT; END LOOP;
END $$;
CREATE PROCEDURE pg_temp.drop_before(ts timestamptz) LANGUAGE plpgsql AS $$
BEGIN
    CALL pg_temp.roll_up(ts);
    PERFORM ccproxy.set_retention(raw => now() - ts);
    COMMIT;
    LOOP EXIT WHEN ccproxy._run_job('retention') = 0; COMMIT; END LOOP;
    PERFORM ccproxy.set_retention(raw => interval '400 days');
END $$;
CALL pg_temp.drop_before(:'monday'::timestamptz + interval '2 days 8 hours');
SELECT raw_from - :'monday'::timestamptz AS raw_from FROM ccproxy.rollup_state;
SELECT * FROM pg_temp.then(:'monday');
SELECT count(*) FROM ((TABLE before EXCEPT SELECT group_key, total_requests, output_tokens FROM ccproxy.stats(:'monday'::timestamptz - interval '7 days', :'monday'::timestamptz + interval '14 days', 'day'))) AS x;
-- the finer grains of that day stay with it
SELECT ccproxy.set_retention(minutes => interval '1 day', quarters => interval '1 day', user_hours => interval '1 day');
SELECT ccproxy._run_job('trim') > 0 AS trimmed;
SELECT quarters_from - :'monday'::timestamptz AS quarters_from, hours_from - :'monday'::timestamptz AS hours_from FROM ccproxy.rollup_state;
-- so that a late event finds all of it
SELECT pg_temp.put('late', :'monday'::timestamptz + interval '2 days 9 hours 30 minutes');
SELECT ccproxy.refresh();
SELECT total_requests FROM ccproxy.stats(:'monday'::timestamptz + interval '2 days', :'monday'::timestamptz + interval '3 days');
SELECT total_requests FROM ccproxy.stats(:'monday'::timestamptz + interval '2 days', :'monday'::timestamptz + interval '3 days', NULL, '{"user": null}');
-- before what is kept nothing is taken
SELECT rejected FROM ccproxy.ingest(jsonb_build_object('request_id', 'too late', 'timestamp', :'monday'::timestamptz + interval '2 days 7 hours 59 minutes'));
-- with the day's last hour they may go; a day whose finer grains are gone goes as one
CALL pg_temp.drop_before(:'monday'::timestamptz + interval '3 days');
SELECT ccproxy._run_job('trim') > 0 AS trimmed;
SELECT raw_from - :'monday'::timestamptz AS raw_from, quarters_from > raw_from AS finer_grains_are_gone FROM ccproxy.rollup_state;
SELECT ccproxy.set_retention(raw => now() - (:'monday'::timestamptz + interval '9 days'));
SELECT count(*) FROM ccproxy._expired_partitions();
SELECT total_requests FROM ccproxy.stats(:'monday'::timestamptz + interval '2 days', :'monday'::timestamptz + interval '3 days');

-- what stands in the way of a job is told
SELECT ccproxy.set_retention(raw => interval '1 day');
SELECT partition AS oldest FROM ccproxy._expired_partitions() LIMIT 1 \gset
CREATE TEMP VIEW in_the_way AS SELECT count(*) FROM :oldest;
CALL pg_temp.roll_up(now() - interval '1 day');
SET client_min_messages = error; -- the warning names the partition
CALL ccproxy.maintain();
RESET client_min_messages;
SELECT jobs -> 'retention' ->> 'last_error' LIKE 'cannot drop table%(2BP01)' AS told, expired_partitions > 0 AS waiting, oldest_row - :'monday'::timestamptz AS oldest_row FROM ccproxy.health;
DROP VIEW in_the_way;
CALL ccproxy.maintain();
SELECT jobs -> 'retention' ->> 'last_result' AS last_result FROM ccproxy.health;
RESET ROLE;
