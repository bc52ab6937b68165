-- What a session remembers of statistics (ccproxy.stats_memory) is never an old answer.
\set VERBOSITY terse
SET client_min_messages = warning;
CREATE EXTENSION ccproxy_metrics;
SELECT ccproxy.create_metrics_table();
RESET client_min_messages;
SET TimeZone = 'UTC';
-- what is remembered is stored out of line: enough models for that, and no compression
ALTER TABLE ccproxy.rollup_service ALTER cells SET STORAGE EXTERNAL;
ALTER TABLE ccproxy.rollup_user ALTER cells SET STORAGE EXTERNAL;
SELECT ccproxy._bucket('d', now()) - interval '3 days' AS d0, ccproxy._bucket('d', now()) AS d3 \gset
CREATE FUNCTION pg_temp.post(ids text, model text, at interval, n integer) RETURNS bigint LANGUAGE sql AS $$
    SELECT accepted FROM ccproxy.ingest((SELECT jsonb_agg(jsonb_build_object('request_id', ids || i, 'timestamp', ccproxy._bucket('d', now()) - interval '3 days' + at + i * interval '43 seconds',
           'model', model || CASE WHEN n > 100 THEN i % 40 ELSE 1 END, 'user_id', 'u' || i % 20, 'endpoint_type', 'anthropic', 'method', 'POST', 'status_code', CASE WHEN i % 7 = 0 THEN 429 ELSE 200 END,
           'response_time_ms', i * 7919 % 60000, 'ttft_ms', i % 900, 'input_tokens', i % 1000, 'output_tokens', i % 77)) FROM generate_series(1, n) AS i))
$$;
CREATE FUNCTION pg_temp.roll_up() RETURNS void LANGUAGE plpgsql AS $$ BEGIN LOOP EXIT WHEN ccproxy.refresh(1440) = 0; END LOOP; END $$;
CREATE TEMP TABLE questions AS
SELECT * FROM (VALUES ('day', NULL::jsonb, 'UTC', NULL::text[]), ('hour', NULL, 'UTC', NULL), ('hour', NULL, 'UTC', '{p95_response_time_ms}'), ('day', NULL, 'Asia/Kolkata', NULL),
    ('hour,model', NULL, 'UTC', '{total_requests}'), ('hour', '{"model": ["a1", "b2"]}', 'UTC', NULL), ('hour', '{"status": 429}', 'UTC', NULL), ('model', NULL, 'UTC', NULL),
    ('day,user', NULL, 'UTC', NULL), ('day', '{"user": "u3"}', 'UTC', NULL), (NULL, NULL, 'UTC', NULL)) AS q(g, f, z, fields);
CREATE FUNCTION pg_temp.answers() RETURNS TABLE (q text, answer text) LANGUAGE sql AS
$$ SELECT q::text, s::text FROM questions AS q, ccproxy.stats(ccproxy._bucket('d', now()) - interval '3 days', ccproxy._bucket('d', now()), q.g, q.f, q.z, q.fields) AS s $$;
-- how many rows differ, of how many, from what is worked out anew: at once, and asked again
CREATE FUNCTION pg_temp.compare(OUT differ bigint, OUT again bigint, OUT "of" bigint) LANGUAGE plpgsql AS $$
DECLARE
    kept CONSTANT text := current_setting('ccproxy.stats_memory');
BEGIN
    PERFORM set_config('ccproxy.stats_memory', '0', false);
    CREATE TEMP TABLE anew AS SELECT * FROM pg_temp.answers();
    PERFORM set_config('ccproxy.stats_memory', kept, false);
    SELECT count(*) INTO "of" FROM anew;
    SELECT count(*) INTO differ FROM ((TABLE anew EXCEPT SELECT * FROM pg_temp.answers()) UNION ALL (SELECT * FROM pg_temp.answers() EXCEPT TABLE anew)) AS x;
    SELECT count(*) INTO again FROM ((TABLE anew EXCEPT SELECT * FROM pg_temp.answers()) UNION ALL (SELECT * FROM pg_temp.answers() EXCEPT TABLE anew)) AS x;
    DROP TABLE anew;
END
$$;
-- how many stored values a question fetches
CREATE FUNCTION pg_temp.fetched(question text) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    toast  oid := (SELECT reltoastrelid FROM pg_class WHERE oid = 'ccproxy.rollup_service'::regclass);
    before bigint := pg_stat_get_xact_numscans((SELECT indexrelid FROM pg_index WHERE indrelid = toast));
BEGIN
    EXECUTE question;
    RETURN pg_stat_get_xact_numscans((SELECT indexrelid FROM pg_index WHERE indrelid = toast)) - before;
END
$$;
SELECT pg_temp.post('a', 'a', '0', 6000), pg_temp.post('b', 'b', '17 seconds', 6000);
SELECT * FROM pg_temp.compare();
SELECT pg_temp.roll_up();
SELECT * FROM pg_temp.compare();
-- it is used: nothing is fetched again, nor where the range has moved on
SELECT format('SELECT FROM ccproxy.stats(timestamptz %L, %L, ''hour'')', :'d0', :'d3') AS question,
       format('SELECT FROM ccproxy.stats(timestamptz %L, %L, ''hour'')', :'d0'::timestamptz + interval '2 hours', :'d3') AS later \gset
SET ccproxy.stats_memory = 0;
SELECT pg_temp.fetched(:'question') > 60 AS fetched;
RESET ccproxy.stats_memory;
SELECT pg_temp.fetched(:'question') AS fetched, pg_temp.fetched(:'later') AS later;

-- what comes late, before and after it is rolled up; a model that is new
SELECT pg_temp.post('c', 'a', '5 hours', 3);
SELECT * FROM pg_temp.compare();
SELECT pg_temp.roll_up();
SELECT pg_temp.fetched(:'question') BETWEEN 1 AND 3 AS fetched;
SELECT * FROM pg_temp.compare();
SELECT pg_temp.post('d', 'c', '30 hours', 20);
SELECT * FROM pg_temp.compare();
SELECT pg_temp.roll_up();
SELECT * FROM pg_temp.compare();
-- what never was: the next model takes over the key that another had in a transaction that failed
BEGIN;
SELECT pg_temp.post('e', 'd', '40 hours', 20);
SELECT pg_temp.roll_up();
SELECT * FROM pg_temp.compare();
ROLLBACK;
SELECT * FROM pg_temp.compare();
SELECT pg_temp.post('e', 'e', '40 hours', 20);
SELECT pg_temp.roll_up();
SELECT * FROM pg_temp.compare();
-- prices, costs, rows changed by hand
SELECT ccproxy.set_price('a1', 1, 2, effective_from => '2000-01-01') > 0 AS set;
CALL ccproxy.reprice();
SELECT * FROM pg_temp.compare();
SELECT pg_temp.roll_up();
SELECT * FROM pg_temp.compare();
DELETE FROM ccproxy.request_log WHERE user_id = 'u3';
SELECT ccproxy.mark_dirty(:'d0', :'d3') > 0 AS marked;
SELECT pg_temp.roll_up();
SELECT * FROM pg_temp.compare();
-- a model by another name
UPDATE ccproxy.service_key SET model = 'renamed' WHERE model = 'a2';
SELECT count(*) > 60 AS renamed, pg_temp.fetched(:'question') FROM ccproxy.stats(timestamptz :'d0', :'d3', 'hour,model', NULL, 'UTC', '{total_requests}') WHERE group_key2 = 'renamed';
SELECT * FROM pg_temp.compare();
-- who sees only some of the labels gets no answer of another's
CREATE ROLE stats_memory_reader;
SELECT ccproxy.grant_read('stats_memory_reader');
ALTER TABLE ccproxy.service_key ENABLE ROW LEVEL SECURITY;
CREATE POLICY of_session ON ccproxy.service_key USING (model = current_setting('test.model'));
SELECT sum(total_requests) FROM ccproxy.stats(timestamptz :'d0', :'d3', 'day');
SET ROLE stats_memory_reader;
SET test.model = 'a1';
SELECT sum(total_requests) FROM ccproxy.stats(timestamptz :'d0', :'d3', 'day');
SET test.model = 'a5';
SELECT sum(total_requests), string_agg(DISTINCT model_usage::text, ' ') LIKE '{"a5": %' AS own FROM ccproxy.stats(timestamptz :'d0', :'d3', 'day');
RESET ROLE;
ALTER TABLE ccproxy.service_key DISABLE ROW LEVEL SECURITY;
SELECT * FROM pg_temp.compare();
-- an older snapshot sees what it saw
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT total_requests FROM ccproxy.stats(timestamptz :'d0', :'d3');
SELECT * FROM pg_temp.compare();
COMMIT;
-- all anew in the same session
SET client_min_messages = warning;
DROP EXTENSION ccproxy_metrics CASCADE;
DROP SCHEMA IF EXISTS ccproxy CASCADE;
CREATE EXTENSION ccproxy_metrics;
SELECT ccproxy.create_metrics_table();
RESET client_min_messages;
ALTER TABLE ccproxy.rollup_service ALTER cells SET STORAGE EXTERNAL;
ALTER TABLE ccproxy.rollup_user ALTER cells SET STORAGE EXTERNAL;
SELECT pg_temp.post('b', 'b', '17 seconds', 6000), pg_temp.post('a', 'z', '0', 6000);
SELECT pg_temp.roll_up();
SELECT * FROM pg_temp.compare();
-- it has bounds
SET ccproxy.stats_memory = '100kB';
SELECT * FROM pg_temp.compare();
SELECT sum(total_bytes) < 300000 AS little FROM pg_backend_memory_contexts WHERE name = 'ccproxy.stats memory';
SET ccproxy.stats_memory = -1;
DROP OWNED BY stats_memory_reader;
DROP ROLE stats_memory_reader;
