-- A request in parts: whatever the order, however often, one row, the same row.
\getenv abs_srcdir PG_ABS_SRCDIR
\set include :abs_srcdir '/sql/include/metrics_table.psql'
\i :include
SELECT date_trunc('day', now() AT TIME ZONE 'UTC') AT TIME ZONE 'UTC' - interval '2 days' AS day \gset
SELECT to_char(:'day'::timestamptz AT TIME ZONE 'UTC', 'YYYY-MM-DD') AS d \gset

SELECT accepted, duplicates FROM ccproxy.ingest(jsonb_build_object('kind', 'request', 'request_id', 'r1', 'timestamp', :'d' || 'T10:00:00Z',
    'model', 'gpt-4', 'user_id', 'ann', 'method', 'POST', 'path', '/v1/chat', 'endpoint_type', 'openai', 'metadata', '{"a": 1, "b": 1}'::jsonb));
SELECT state, total_cost, input_tokens FROM ccproxy.request('r1');
SELECT accepted, duplicates FROM ccproxy.ingest(jsonb_build_object('kind', 'response', 'request_id', 'r1', 'timestamp', :'d' || 'T10:00:05Z',
    'status_code', 200, 'response_time_ms', 5000, 'input_tokens', 100, 'output_tokens', 10, 'metadata', '{"b": 2, "c": 3}'::jsonb));
SELECT ts AT TIME ZONE 'UTC' - :'d'::timestamp AS at, state, status_code, model, user_id, total_cost, metadata FROM ccproxy.request('r1');
-- usage that grows while it streams: the greatest counts, priced anew
SELECT accepted, duplicates FROM ccproxy.ingest(jsonb_build_object('kind', 'token_usage', 'request_id', 'r1', 'timestamp', :'d' || 'T10:00:04Z', 'output_tokens', 1000));
SELECT accepted, duplicates FROM ccproxy.ingest(jsonb_build_object('kind', 'token_usage', 'request_id', 'r1', 'timestamp', :'d' || 'T10:00:03Z', 'output_tokens', 500));
SELECT input_tokens, output_tokens, total_cost FROM ccproxy.request('r1');
-- the same part again
SELECT accepted, duplicates FROM ccproxy.ingest(jsonb_build_object('kind', 'token_usage', 'request_id', 'r1', 'timestamp', :'d' || 'T10:00:03Z', 'output_tokens', 500));
SELECT count(*) FROM ccproxy.request('r1');

-- a complete event at the same time is one more part; one posted first as well
SELECT accepted, duplicates FROM ccproxy.ingest(jsonb_build_object('request_id', 'r1', 'timestamp', :'d' || 'T10:00:00Z', 'team_id', 'red'));
SELECT team_id, user_id, status_code FROM ccproxy.request('r1');
SELECT accepted, duplicates FROM ccproxy.ingest(jsonb_build_object('request_id', 'r2', 'timestamp', :'d' || 'T11:00:00Z', 'status_code', 200, 'user_id', 'bob'));
SELECT accepted, duplicates FROM ccproxy.ingest(jsonb_build_object('kind', 'cost', 'request_id', 'r2', 'timestamp', :'d' || 'T11:00:00Z', 'reported_cost', 0.25));
SELECT user_id, status_code, reported_cost FROM ccproxy.request('r2');
-- and posting that complete event again still changes nothing
SELECT accepted, duplicates FROM ccproxy.ingest(jsonb_build_object('request_id', 'r2', 'timestamp', :'d' || 'T11:00:00Z', 'status_code', 200, 'user_id', 'bob'));
SELECT count(*) FROM ccproxy.request('r2');

-- the response first: the row moves to the request's time, across partitions
SELECT accepted FROM ccproxy.ingest(jsonb_build_object('kind', 'response', 'request_id', 'r3', 'timestamp', (:'day'::timestamptz + interval '1 second'), 'status_code', 200));
SELECT accepted FROM ccproxy.ingest(jsonb_build_object('kind', 'request', 'request_id', 'r3', 'timestamp', (:'day'::timestamptz - interval '1 second'), 'model', 'gpt-4'));
SELECT count(*), min(ts) = :'day'::timestamptz - interval '1 second' AS moved, min(state) FROM ccproxy.request('r3');

-- a failure
SELECT accepted FROM ccproxy.ingest(jsonb_build_array(
    jsonb_build_object('kind', 'request', 'request_id', 'r4', 'timestamp', :'d' || 'T12:00:00Z', 'model', 'gpt-4'),
    jsonb_build_object('kind', 'error', 'request_id', 'r4', 'timestamp', :'d' || 'T12:00:01Z', 'error_type', 'overloaded', 'status_code', 529)));
SELECT state, error_type, status_code FROM ccproxy.request('r4');

-- Many orders of six parts, one by one and in one call, sent twice: one and the same row.
CREATE TEMP TABLE outcome (how text, row ccproxy.request_record);
DO $do$
DECLARE
    day   text := to_char(now() AT TIME ZONE 'UTC' - interval '2 days', 'YYYY-MM-DD');
    parts jsonb[] := ARRAY[
        jsonb_build_object('kind', 'request', 'timestamp', day || 'T13:00:00Z', 'model', 'gpt-4', 'user_id', 'ann', 'metadata', '{"a": 1, "z": 1}'::jsonb),
        jsonb_build_object('kind', 'response', 'timestamp', day || 'T13:00:09Z', 'status_code', 200, 'input_tokens', 10, 'output_tokens', 5, 'model', 'gpt-4', 'metadata', '{"z": 2}'::jsonb),
        jsonb_build_object('kind', 'token_usage', 'timestamp', day || 'T13:00:05Z', 'output_tokens', 7),
        jsonb_build_object('kind', 'token_usage', 'timestamp', day || 'T13:00:05Z', 'output_tokens', 6, 'cache_read_tokens', 3),
        jsonb_build_object('kind', 'cost', 'reported_cost', 0.01),
        jsonb_build_object('kind', 'error', 'timestamp', day || 'T13:00:08Z', 'error_type', 'late', 'user_id', 'bob')];
    ord   integer[];
    id    text;
    i     integer;
BEGIN
    FOR ord IN
        WITH RECURSIVE p(a) AS (
            SELECT '{}'::integer[]
            UNION ALL
            SELECT a || n FROM p, generate_series(1, 6) AS n WHERE cardinality(a) < 6 AND n <> ALL (a))
        SELECT a FROM p WHERE cardinality(a) = 6 ORDER BY hashtext(a::text) LIMIT 120
    LOOP
        id := 'perm ' || ord::text;
        FOREACH i IN ARRAY ord LOOP
            PERFORM ccproxy.ingest(parts[i] || jsonb_build_object('request_id', id));
        END LOOP;
        PERFORM ccproxy.ingest((SELECT jsonb_agg(parts[n] || jsonb_build_object('request_id', id)) FROM unnest(ord) AS n));
        INSERT INTO outcome SELECT 'one by one, then all again', ROW(r.*)::ccproxy.request_record FROM ccproxy.requests r WHERE r.request_id = id;
        PERFORM ccproxy.ingest((SELECT jsonb_agg(parts[n] || jsonb_build_object('request_id', 'batch ' || id)) FROM unnest(ord) AS n));
        INSERT INTO outcome SELECT 'in one call', ROW(r.*)::ccproxy.request_record FROM ccproxy.requests r WHERE r.request_id = 'batch ' || id;
    END LOOP;
END
$do$;
SELECT how, count(*), count(DISTINCT to_jsonb(row) - 'request_id') AS distinct_rows FROM outcome GROUP BY how ORDER BY how;
SELECT count(DISTINCT to_jsonb(row) - 'request_id') AS distinct_rows FROM outcome;
SELECT DISTINCT (row).ts AT TIME ZONE 'UTC' - :'d'::timestamp AS at, (row).user_id, (row).status_code, (row).input_tokens, (row).cache_read_tokens, (row).output_tokens,
       (row).reported_cost, (row).error_type, (row).state, (row).metadata FROM outcome;

-- maintain() forgets parts after the window, not before
CALL ccproxy.maintain();
SELECT count(*) > 0 AS kept FROM ccproxy.request_part WHERE request_id = 'r1';
UPDATE ccproxy.request_key SET claimed_at = claimed_at - interval '25 hours' WHERE request_id = 'r1';
INSERT INTO ccproxy.ingest_batch VALUES (gen_random_uuid(), now() - interval '2 days'), (gen_random_uuid(), now());
INSERT INTO ccproxy.rejected_event SELECT now() - make_interval(days => d), '23514', 'x', 'y', 'z' FROM unnest(ARRAY[29, 31]) AS d;
CALL ccproxy.maintain();
SELECT count(*) FROM ccproxy.request_key WHERE request_id = 'r1';
SELECT count(*) FROM ccproxy.request_part WHERE request_id = 'r1';
SELECT count(*) FROM ccproxy.ingest_batch;
-- refused events: none older than 30 days, then the latest 10000
SELECT count(*) FROM ccproxy.rejected_event;
INSERT INTO ccproxy.rejected_event SELECT now() - make_interval(secs => i), '23514', i, 'y', 'z' FROM generate_series(1, 10010) AS i;
CALL ccproxy.maintain();
SELECT count(*), max(reason::integer) FROM ccproxy.rejected_event WHERE reason <> 'x';
-- a part that comes later still meets the row, when it has its time
SELECT accepted FROM ccproxy.ingest(jsonb_build_object('kind', 'cost', 'request_id', 'r1', 'timestamp', :'d' || 'T10:00:00Z', 'reported_cost', 9));
SELECT count(*), min(user_id), min(status_code), min(output_tokens), min(reported_cost) FROM ccproxy.request('r1');

-- a request has at most 100 parts; the ones beyond harm nobody, and what is there stays known
SELECT accepted, duplicates, rejected, jsonb_array_length(errors), errors -> 0 AS first FROM ccproxy.ingest((SELECT jsonb_agg(jsonb_build_object(
    'kind', 'response', 'request_id', CASE WHEN i > 103 THEN 'beside it' ELSE 'very many' END, 'timestamp', :'d' || 'T10:00:00Z', 'input_tokens', least(i, 102)))
    FROM generate_series(1, 104) AS i));
SELECT accepted, duplicates, rejected FROM ccproxy.ingest(jsonb_build_array(
    jsonb_build_object('kind', 'response', 'request_id', 'very many', 'timestamp', :'d' || 'T10:00:00Z', 'input_tokens', 100),
    jsonb_build_object('kind', 'response', 'request_id', 'very many', 'timestamp', :'d' || 'T10:00:00Z', 'input_tokens', 101),
    jsonb_build_object('kind', 'response', 'request_id', 'beside it', 'timestamp', :'d' || 'T10:00:00Z', 'input_tokens', 101)));
SELECT input_tokens FROM ccproxy.request('very many');
INSERT INTO ccproxy.requests (request_id, ts, input_tokens) VALUES ('very many', (:'d' || 'T10:00:00Z')::timestamptz, 5);

SELECT * FROM ccproxy.merge_events('{}');
SELECT * FROM ccproxy.merge_events(NULL);
SELECT * FROM ccproxy.merge_events(ARRAY[ROW(1, 6, now(), NULL)::ccproxy.request_event]);
RESET ROLE;

-- one after the other: what is refused is told, the others are stored
ALTER TABLE ccproxy.request_log ADD CONSTRAINT no_evil CHECK (model <> 'evil');
SELECT e.ord, e.outcome, e.code, regexp_replace(e.reason, '_p\d+', '') AS reason, e."constraint" FROM ccproxy.merge_each(ARRAY(
    SELECT ROW(g.ord, g.kind, (:'d' || 'T10:00:00Z')::timestamptz,
               jsonb_populate_record(NULL::ccproxy.request_metric, jsonb_build_object('request_id', g.id, 'model', g.model)))::ccproxy.request_event
      FROM (VALUES (1, 6::smallint, 'each 1', 'gpt-4'), (2, 6, 'each 2', 'evil'), (3, 6, 'each 1', 'gpt-4'),
                   (4, 2, 'each 3', 'evil'), (5, 9, 'each 4', 'gpt-4'), (6, 2, 'each 5', 'gpt-4')) AS g(ord, kind, id, model))) AS e;
SELECT l.request_id, l.parts FROM ccproxy.request_log l WHERE l.request_id LIKE 'each %' ORDER BY 1;
SELECT count(*) FROM ccproxy.request_key WHERE request_id LIKE 'each %'; -- nothing is left of one that was refused
SELECT * FROM ccproxy.merge_each('{}');
SELECT * FROM ccproxy.merge_each(NULL);
ALTER TABLE ccproxy.request_log DROP CONSTRAINT no_evil;
