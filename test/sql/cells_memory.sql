-- What does not fit in ccproxy.gather_memory is merged on the way: the same answers and rollups.
\set VERBOSITY terse
SET log_statement = 'none';
SET client_min_messages = warning;
CREATE EXTENSION ccproxy_metrics;
SELECT ccproxy.create_metrics_table();
RESET client_min_messages;
SELECT ccproxy._bucket('d', now()) - interval '3 days' AS d0, ccproxy._bucket('d', now()) AS d3 \gset
SELECT ccproxy.ensure_partitions(:'d0', :'d3') > 0 AS made;

-- 20,000 requests in three days, 2,000 sessions, 700 users
INSERT INTO ccproxy.request_log (ts, request_id, user_id, session_id, model, endpoint_type, method, status_code, response_time_us, ttft_us, input_tokens, output_tokens, input_cost, output_cost, price_id)
SELECT timestamptz :'d0' + i * interval '12.9 seconds', i, 'u' || i % 700, 's' || i % 2000, 'm' || i % 3, 'anthropic', 'POST',
       CASE WHEN i % 31 = 0 THEN 500 ELSE 200 END, i * 7919 % 60000000, nullif(i * 104729 % 900000, i % 2), i % 1000, i % 77, i % 1000 * 3000000, i % 77 * 15000000, 1
  FROM generate_series(1::bigint, 20000) AS i;
SELECT ccproxy.mark_dirty(:'d0', :'d3') > 0 AS marked;

CREATE TEMP TABLE questions AS
SELECT row_number() OVER () AS n, * FROM (VALUES ('model', NULL::jsonb, 'UTC'), ('user', NULL, 'UTC'), ('session', NULL, 'UTC'), ('session,model', '{"status": 200}', 'UTC'),
    ('day,user', NULL, 'UTC'), ('hour,model', NULL, 'Asia/Kolkata'), (NULL, NULL, 'UTC')) AS q(g, f, z);
CREATE FUNCTION pg_temp.answers() RETURNS TABLE (n bigint, answer text) LANGUAGE sql AS
$$ SELECT q.n, s::text FROM questions AS q, ccproxy.stats(ccproxy._bucket('d', now()) - interval '3 days', ccproxy._bucket('d', now()), q.g, q.f, q.z) AS s $$;

-- all of it raw
CREATE TEMP TABLE raw AS SELECT * FROM pg_temp.answers();
SELECT n, count(*) FROM raw GROUP BY 1 ORDER BY 1;
SET ccproxy.gather_memory = '64kB';
CREATE TEMP TABLE raw_in_parts AS SELECT * FROM pg_temp.answers();
SELECT count(*) FROM ((TABLE raw EXCEPT TABLE raw_in_parts) UNION ALL (TABLE raw_in_parts EXCEPT TABLE raw)) AS x;
SET client_min_messages = debug1;
SELECT count(*) FROM ccproxy.stats(:'d0'::timestamptz, :'d3', 'session');
RESET client_min_messages;

-- the refresh, in parts and in one
BEGIN;
RESET ccproxy.gather_memory;
DO $$ BEGIN LOOP EXIT WHEN ccproxy.refresh(1440) = 0; END LOOP; END $$;
CREATE TABLE public.service AS TABLE ccproxy.rollup_service;
CREATE TABLE public.users AS TABLE ccproxy.rollup_user;
COMMIT;
SET ccproxy.gather_memory = '64kB';
SELECT ccproxy.mark_dirty(:'d0', :'d3') > 0 AS marked;
SET client_min_messages = debug1;
SELECT ccproxy.refresh(1440);
RESET client_min_messages;
DO $$ BEGIN LOOP EXIT WHEN ccproxy.refresh(1440) = 0; END LOOP; END $$;
SELECT count(*) AS buckets, count(*) FILTER (WHERE r.cells OPERATOR(ccproxy.=) s.cells) AS same FROM ccproxy.rollup_service r FULL JOIN public.service s USING (grain, bucket);
SELECT count(*) AS buckets, count(*) FILTER (WHERE r.cells OPERATOR(ccproxy.=) s.cells) AS same FROM ccproxy.rollup_user r FULL JOIN public.users s USING (grain, bucket);

-- from rollups
CREATE TEMP TABLE in_parts AS SELECT * FROM pg_temp.answers();
SET client_min_messages = debug1;
SELECT count(*) FROM ccproxy.stats(:'d0'::timestamptz, :'d3', 'user');
RESET client_min_messages;
RESET ccproxy.gather_memory;
CREATE TEMP TABLE whole AS SELECT * FROM pg_temp.answers();
SELECT count(*) FROM ((TABLE whole EXCEPT TABLE in_parts) UNION ALL (TABLE in_parts EXCEPT TABLE whole)) AS x;

-- it has bounds
SET ccproxy.gather_memory = '63kB';
