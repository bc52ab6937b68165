-- The jobs of maintain(): how much a step takes, in what order, what it reads, and
-- that they do not depend on the session that calls them.
\getenv abs_srcdir PG_ABS_SRCDIR
\set include :abs_srcdir '/sql/include/metrics_table.psql'
\i :include
RESET ROLE;
SET timezone = 'UTC';
SELECT date_trunc('day', now()) - interval '5 days' AS d0 \gset
SELECT accepted FROM ccproxy.ingest((SELECT jsonb_agg(jsonb_build_object('request_id', 'r' || i, 'timestamp', :'d0'::timestamptz + make_interval(mins => 10 * i),
    'model', 'gpt-4', 'status_code', 200, 'input_tokens', 100)) FROM generate_series(0, 143) AS i));

-- a refresh that came to nothing, as one does that is cancelled, makes the next smaller
UPDATE ccproxy.rollup_state SET slice_minutes = 64;
CREATE FUNCTION public.fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'not today'; END $$;
CREATE TRIGGER fail BEFORE INSERT ON ccproxy.counter_total FOR EACH STATEMENT EXECUTE FUNCTION public.fail();
SELECT ccproxy._run_job('refresh');
SELECT ccproxy._run_job('refresh');
SELECT ccproxy._run_job('refresh');
DROP TRIGGER fail ON ccproxy.counter_total;
SELECT ccproxy._run_job('refresh');
SELECT slice_minutes <= 16 AS remembered FROM ccproxy.rollup_state;
UPDATE ccproxy.rollup_state SET slice_minutes = 8;
SELECT ccproxy._run_job('refresh');
-- but of an hour that is closed it takes all that is marked, and no more
UPDATE ccproxy.rollup_state SET slice_minutes = 1;
SELECT ccproxy._job_refresh();
UPDATE ccproxy.rollup_state SET slice_minutes = 1;
SELECT ccproxy._job_refresh();

-- a mark of any moment stands for its minute
SELECT accepted FROM ccproxy.ingest(jsonb_build_object('request_id', 'same minute', 'timestamp', :'d0'::timestamptz + interval '40 seconds', 'status_code', 200));
UPDATE ccproxy.rollup_state SET slice_minutes = 1;
SELECT ccproxy._job_refresh();
UPDATE ccproxy.rollup_state SET slice_minutes = 1;
INSERT INTO ccproxy.dirty_minute (minute) VALUES (:'d0'::timestamptz + interval '30 seconds');
SELECT ccproxy._job_refresh();
SELECT total_requests, (SELECT sum(total_requests) FROM ccproxy.stats(:'d0'::timestamptz, :'d0'::timestamptz + interval '10 minutes', 'minute')) AS by_minute FROM ccproxy.stats(:'d0'::timestamptz, :'d0'::timestamptz + interval '10 minutes');

-- in a clone whose transaction ids have not come as far as those of its model all marks count
UPDATE ccproxy.rollup_state SET marks_from = '4611686018427387904';
SELECT dirty_minutes FROM ccproxy.health;
SELECT total_requests FROM ccproxy.stats(:'d0'::timestamptz, :'d0'::timestamptz + interval '1 day');
DO $$ BEGIN WHILE ccproxy.refresh() > 0 LOOP END LOOP; END $$;
SELECT dirty_minutes FROM ccproxy.health;
SELECT total_requests FROM ccproxy.stats(:'d0'::timestamptz, :'d0'::timestamptz + interval '1 day');

-- sessions that are used to another isolation level may call it
SET default_transaction_isolation = 'serializable';
SELECT accepted FROM ccproxy.ingest(jsonb_build_object('request_id', 'late', 'timestamp', :'d0'::timestamptz + interval '1 hour', 'status_code', 200));
CALL ccproxy.maintain();
SELECT dirty_minutes, jobs -> 'refresh' ->> 'last_error' AS last_error FROM ccproxy.health;
-- what it relies on refuses to run so
SELECT ccproxy._drop_partition('ccproxy.request_log', now());
SELECT ccproxy.refresh();
RESET default_transaction_isolation;

-- three partitions that have expired go at once, and no more for ten minutes
SELECT ccproxy.ensure_partitions(:'d0', now());
SELECT ccproxy.set_retention(raw => interval '1 day');
SELECT expired_partitions FROM ccproxy.health;
CALL ccproxy.maintain();
CALL ccproxy.maintain();
SELECT expired_partitions FROM ccproxy.health;
UPDATE ccproxy.job SET last_run = last_run - interval '10 minutes' WHERE name = 'retention';
CALL ccproxy.maintain();
SELECT expired_partitions FROM ccproxy.health;
SELECT total_requests FROM ccproxy.stats(:'d0'::timestamptz, :'d0'::timestamptz + interval '1 day');

-- where an index is forced on a table that has none, plans look dear enough to compile
SELECT p.oid::regprocedure FROM pg_proc p
 WHERE p.pronamespace = 'ccproxy'::regnamespace AND 'enable_seqscan=off' = ANY (p.proconfig) AND NOT 'jit=off' = ANY (p.proconfig);
-- looking for what is to be trimmed does not read what stays
SELECT accepted FROM ccproxy.ingest((SELECT jsonb_agg(jsonb_build_object('kind', 'request', 'request_id', 'p' || i)) FROM generate_series(1, 100) AS i));
UPDATE ccproxy.request_key SET claimed_at = now() - interval '25 hours' WHERE request_id LIKE 'p1%';
INSERT INTO ccproxy.ingest_batch (batch_id, committed_at) SELECT gen_random_uuid(), now() - make_interval(hours => i) FROM generate_series(1, 30) AS i;
\c -
BEGIN;
SELECT ccproxy._job_trim();
SELECT relname, seq_scan FROM pg_stat_xact_user_tables WHERE relname IN ('request_key', 'request_part', 'ingest_batch') ORDER BY 1;
SELECT (SELECT count(*) FROM ccproxy.request_key) AS keys, (SELECT count(*) FROM ccproxy.request_part) AS parts, (SELECT count(*) FROM ccproxy.ingest_batch) AS batches;
COMMIT;
