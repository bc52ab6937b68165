-- Merging reads what it must, through indexes, in the partitions concerned: what a
-- part costs depends neither on how many partitions there are nor on their size.
\getenv abs_srcdir PG_ABS_SRCDIR
\set include :abs_srcdir '/sql/include/metrics_table.psql'
\i :include
RESET ROLE;
SELECT date_trunc('day', now(), 'UTC') - interval '100 days' AS day \gset
-- a year and more, with the session's zone in and out of daylight saving time
SELECT ccproxy.set_retention(raw => interval '420 days');
SELECT ccproxy.ensure_partitions(now() - interval '400 days', now()) > 390 AS many;
SELECT count(*) AS not_of_24_hours FROM ccproxy._partitions() WHERE to_ts - from_ts <> interval '24 hours';

-- What the session has read, and in how many partitions it holds locks; begins
-- anew with each connection.
CREATE FUNCTION public.seen() RETURNS TABLE (read_whole bigint, partitions_read bigint, rows_read bigint, partitions_locked bigint) LANGUAGE sql AS $$
    SELECT count(*) FILTER (WHERE seq_scan > 0),
           count(*) FILTER (WHERE idx_scan > 0 AND relname LIKE 'request\_log\_p%'),
           sum(idx_tup_fetch) FILTER (WHERE relname LIKE 'request\_log\_p%'),
           (SELECT count(DISTINCT c.oid) FROM pg_locks JOIN pg_class c ON c.oid = relation AND c.relkind = 'r' AND c.relname LIKE 'request\_log\_p%' WHERE pid = pg_backend_pid())
      FROM pg_stat_xact_user_tables
     WHERE relname LIKE 'request\_log%' OR relname IN ('request_key', 'request_part') $$;
CREATE FUNCTION public.part(kind text, id text, at timestamptz, more jsonb) RETURNS text LANGUAGE sql AS $$
    SELECT format('%s accepted, %s duplicate', accepted, duplicates)
      FROM ccproxy.ingest(jsonb_strip_nulls(jsonb_build_object('kind', kind, 'request_id', id, 'timestamp', at)) || more) $$;

-- others in the same partitions
SELECT accepted FROM ccproxy.ingest((SELECT jsonb_agg(jsonb_build_object('request_id', 'other ' || d || ' ' || i, 'timestamp', :'day'::timestamptz + make_interval(hours => d * 24, secs => i)))
                                       FROM generate_series(-1, 1) AS d, generate_series(1, 1000) AS i));

-- a request and, later, its response: one partition
\c -
BEGIN;
SELECT public.part('request', 'r', :'day'::timestamptz + interval '1 hour', '{"model": "gpt-4"}');
SELECT * FROM public.seen();
COMMIT;
\c -
BEGIN;
SELECT public.part('response', 'r', :'day'::timestamptz + interval '1 hour 5 seconds', '{"status_code": 200}');
SELECT * FROM public.seen();
COMMIT;
-- a row that moves to the day before: two
\c -
BEGIN;
SELECT public.part('request', 'r', :'day'::timestamptz - interval '1 hour', '{"user_id": "ann"}');
SELECT * FROM public.seen();
COMMIT;
SELECT ts = :'day'::timestamptz - interval '1 hour' AS moved, model, user_id, state FROM ccproxy.request('r');
-- a complete event that is there already, and one that becomes a part
\c -
BEGIN;
SELECT public.part('complete', 'other 1 7', :'day'::timestamptz + interval '24 hours 7 seconds', '{}');
SELECT public.part('cost', 'other 1 8', :'day'::timestamptz + interval '24 hours 8 seconds', '{"reported_cost": 1}');
SELECT * FROM public.seen();
COMMIT;
-- one without a time
\c -
BEGIN;
SELECT public.part('complete', 'timeless', NULL, '{"status_code": 200}');
SELECT public.part('complete', 'timeless', NULL, '{"status_code": 200}');
SELECT * FROM public.seen();
COMMIT;
-- many at once, first responses, then requests, which move what is there
\c -
BEGIN;
SELECT accepted FROM ccproxy.ingest((SELECT jsonb_agg(jsonb_build_object('kind', 'response', 'request_id', 'r' || i, 'timestamp', :'day'::timestamptz + make_interval(hours => i % 2 * 24, secs => i)))
                                       FROM generate_series(1, 500) AS i));
SELECT * FROM public.seen();
COMMIT;
\c -
BEGIN;
SELECT accepted FROM ccproxy.ingest((SELECT jsonb_agg(jsonb_build_object('kind', 'request', 'request_id', 'r' || i, 'timestamp', :'day'::timestamptz + make_interval(hours => i % 2 * 24)))
                                       FROM generate_series(1, 500) AS i));
SELECT * FROM public.seen();
COMMIT;
SELECT count(*), count(DISTINCT ts), min(parts), max(parts) FROM ccproxy.request_log WHERE request_id ~ '^r[0-9]+$';
