\getenv abs_srcdir PG_ABS_SRCDIR
\set include :abs_srcdir '/sql/include/metrics_table.psql'
\i :include
SET timezone = 'America/New_York';
-- times inside the retention, the same whenever this runs
SELECT date_trunc('day', now() AT TIME ZONE 'UTC') AT TIME ZONE 'UTC' - interval '2 days' AS day \gset
SELECT to_char(:'day'::timestamptz AT TIME ZONE 'UTC', 'YYYY-MM-DD') AS d \gset
\set t :d 'T09:00:00Z'

-- one complete event, with everything
SELECT * FROM ccproxy.ingest(jsonb_build_object(
    'request_id', 'full', 'timestamp', :'d' || 'T10:00:00.123456Z', 'user_id', 'ann', 'team_id', 'red', 'session_id', 's1',
    'method', 'POST', 'path', '/v1/messages?api_key=secret#x', 'endpoint_type', 'anthropic', 'provider', 'anthropic',
    'user_agent', 'curl/8', 'client_ip', '2001:db8::1', 'api_key', 'sk-secret', 'model', 'claude-3-opus',
    'model_version', 'claude-3-opus-20240229', 'streaming', true, 'service_tier', 'standard', 'response_time_ms', 1234.567,
    'ttft_ms', 120.25, 'status_code', 200, 'input_tokens', 1000, 'cache_read_tokens', 200, 'cache_write_tokens', 30,
    'cache_write_1h_tokens', 4, 'output_tokens', 500, 'reasoning_tokens', 50, 'reported_cost', 0.123456789012,
    'error_type', NULL, 'metadata', '{"k": [1, {"a": "b"}]}'::jsonb));
\x on
SELECT request_id, ts AT TIME ZONE 'UTC' - :'d'::timestamp AS at, user_id, team_id, session_id, method, path, endpoint_type, provider,
       user_agent, client_ip, api_key_hash ~ '^[0-9a-f]{32}$' AS hashed, model, model_version, streaming, service_tier, response_time_ms,
       ttft_ms, status_code, input_tokens, cache_read_tokens, cache_write_tokens, cache_write_1h_tokens, output_tokens,
       reasoning_tokens, total_tokens, reported_cost, error_type, error_message, metadata, state
  FROM ccproxy.request('full');
\x off
-- the parts of the cost are the cost
SELECT total_cost = input_cost + cache_read_cost + cache_write_cost + output_cost + tool_cost AS sums,
       input_cost, output_cost, price_id IS NOT NULL AS priced FROM ccproxy.requests WHERE request_id = 'full';
-- no part of the key is anywhere
SELECT count(*) FROM ccproxy.request_log r WHERE r::text LIKE '%secret%';
-- the same key in its three forms has the same hash; a producer's own hash gets another
SELECT accepted FROM ccproxy.ingest(jsonb_build_array(
    jsonb_build_object('request_id', 'k1', 'timestamp', :'t', 'api_key', 'sk-secret'),
    jsonb_build_object('request_id', 'k2', 'timestamp', :'t', 'authorization', 'Bearer sk-secret'),
    jsonb_build_object('request_id', 'k3', 'timestamp', :'t', 'authorization', 'sk-secret', 'api_key_hash', 'feed'),
    jsonb_build_object('request_id', 'k4', 'timestamp', :'t', 'api_key_hash', 'sk-secret')));
SELECT count(DISTINCT api_key_hash) FROM ccproxy.requests WHERE request_id IN ('full', 'k1', 'k2', 'k3', 'k4');

-- posting again changes nothing
SELECT * FROM ccproxy.ingest(jsonb_build_array(
    jsonb_build_object('request_id', 'full', 'timestamp', :'d' || 'T10:00:00.123456Z', 'status_code', 500),
    jsonb_build_object('request_id', 'twice', 'timestamp', :'d' || 'T11:00:00Z', 'status_code', 200),
    jsonb_build_object('request_id', 'twice', 'timestamp', :'d' || 'T11:00:00Z', 'status_code', 200)));
SELECT request_id, status_code FROM ccproxy.requests WHERE request_id IN ('full', 'twice') ORDER BY 1;

-- bad events beside good ones: each by index, field and reason
SELECT accepted, duplicates, rejected, e.index, e.field, e.reason
  FROM ccproxy.ingest((SELECT jsonb_agg(x::jsonb ORDER BY n) FROM unnest(ARRAY[
    jsonb_build_object('request_id', 'good1', 'timestamp', :'t', 'status_code', 200)::text,
    '"text"', 'null', '[]', '1',
    '{"request_id": 7}', jsonb_build_object('request_id', repeat('x', 257))::text,
    '{"input_tokens": -1}', '{"input_tokens": 1.5}', '{"output_tokens": "12"}', '{"input_tokens": 1e400}', '{"output_tokens": 1000000000001}',
    '{"status_code": 99}', '{"status_code": 600}', '{"status_code": 200.5}', '{"status_code": true}',
    '{"response_time_ms": -0.001}', '{"response_time_ms": "fast"}', '{"ttft_ms": 1e13}',
    '{"timestamp": "yesterday"}', '{"timestamp": "2001-02-29T00:00:00Z"}', '{"timestamp": "1999-01-01"}', '{"timestamp": true}', '{"timestamp": 1e300}',
    '{"timestamp": "2010-01-01T00:00:00Z"}',
    '{"client_ip": "300.1.1.1"}', '{"client_ip": "10.0.0.0/8"}', '{"client_ip": 5}',
    '{"streaming": "yes"}', '{"reported_cost": -1}', '{"reported_cost": 1e7}', '{"total_cost": "1"}', '{"metadata": []}', '{"metadata": "x"}',
    '{"kind": "cancel"}', '{"kind": 1}', '{}', '{"kind": "request", "model": "", "user_id": null, "unknown": 1}', '{"api_key": 5}', '{"model": {}}',
    jsonb_build_object('request_id', 'good2', 'timestamp', :'t', 'status_code', 200)::text]) WITH ORDINALITY AS u(x, n))) AS r,
       jsonb_to_recordset(r.errors) AS e(index int, field text, reason text) ORDER BY e.index;
SELECT request_id FROM ccproxy.requests WHERE request_id LIKE 'good_' ORDER BY 1;
-- only the first hundred errors are listed, all are counted
SELECT accepted, rejected, jsonb_array_length(errors) FROM ccproxy.ingest((SELECT jsonb_agg('{"status_code": 1}'::jsonb) FROM generate_series(1, 150)));
-- nothing at all
SELECT * FROM ccproxy.ingest('[]');
SELECT * FROM ccproxy.ingest('5');
SELECT * FROM ccproxy.ingest(NULL);

-- null is absent, '' is absent, derived columns are ignored, others are named
SELECT accepted, rejected FROM ccproxy.ingest(jsonb_build_object('request_id', 'nulls', 'timestamp', :'t', 'model', NULL, 'user_id', '',
    'total_tokens', 5, 'state', 'failed', 'price_id', 3, 'input_cost', 7, 'inputtokens', 4));
-- whatever its name and the client's encoding
SET client_encoding = 'LATIN1';
SELECT accepted FROM ccproxy.ingest(jsonb_build_object('team_id', 't', repeat('a', 63) || U&'\00e9', 1, U&'\4e2d' || E'\n', 2));
RESET client_encoding;
SELECT model, user_id, total_tokens, state, price_id, total_cost FROM ccproxy.requests WHERE request_id = 'nulls';
-- free text is cut between characters, never refused
SELECT accepted FROM ccproxy.ingest(jsonb_build_object('request_id', 'long', 'timestamp', :'t', 'error_message', 'x' || repeat('ü', 5000), 'user_agent', repeat('u', 2000), 'path', repeat('p', 3000)));
SELECT length(error_message), octet_length(error_message), length(user_agent), length(path), state FROM ccproxy.requests WHERE request_id = 'long';

-- timestamps: zones, no zone (UTC whatever the session says), epoch in four units
SELECT extract(epoch FROM :'day'::timestamptz)::bigint AS epoch \gset
SELECT accepted, rejected FROM ccproxy.ingest(jsonb_build_array(
    jsonb_build_object('request_id', 't1', 'timestamp', :'d' || 'T12:00:00+02:00'),
    jsonb_build_object('request_id', 't2', 'timestamp', :'d' || 'T12:00:00'),
    jsonb_build_object('request_id', 't3', 'timestamp', :epoch + 0.5),
    jsonb_build_object('request_id', 't4', 'timestamp', :epoch::bigint * 1000 + 500),
    jsonb_build_object('request_id', 't5', 'timestamp', :epoch::bigint * 1000000 + 500000),
    jsonb_build_object('request_id', 't6', 'timestamp', :epoch::bigint * 1000000000 + 500000000)));
SELECT request_id, ts AT TIME ZONE 'UTC' - :'d'::timestamp AS at FROM ccproxy.requests WHERE request_id ~ '^t[1-6]$' ORDER BY 1;
-- ts is timestamp by the column's name; both are one too many, null is none
SELECT accepted, rejected, errors FROM ccproxy.ingest(jsonb_build_array(
    jsonb_build_object('request_id', 't7', 'ts', :'d' || 'T13:00:00Z'),
    jsonb_build_object('request_id', 't8', 'ts', NULL, 'timestamp', :'d' || 'T14:00:00Z'),
    jsonb_build_object('request_id', 't9', 'ts', :'d' || 'T13:00:00Z', 'timestamp', :'d' || 'T13:00:00Z'),
    jsonb_build_object('request_id', 't9', 'ts', 'yesterday'),
    jsonb_build_object('request_id', 't9', 'ts', '2001-01-01T00:00:00Z')));
SELECT request_id, ts AT TIME ZONE 'UTC' - :'d'::timestamp AS at FROM ccproxy.requests WHERE request_id ~ '^t[7-9]$' ORDER BY 1;
-- an exported row can be posted again: it is known already, and under another id the same
-- but for the hash of the key, which is hashed once more
SELECT i.accepted, i.duplicates, i.rejected FROM ccproxy.requests r, ccproxy.ingest(to_jsonb(r)) AS i WHERE r.request_id = 'full';
SELECT i.accepted, i.rejected FROM ccproxy.requests r, ccproxy.ingest(to_jsonb(r) || '{"request_id": "full-2"}') AS i WHERE r.request_id = 'full';
SELECT key, array_agg(value ORDER BY request_id) AS values FROM ccproxy.requests r, jsonb_each_text(to_jsonb(r) - '{request_id,api_key_hash}'::text[])
 WHERE request_id IN ('full', 'full-2') GROUP BY key HAVING count(DISTINCT coalesce(value, '')) > 1 ORDER BY key;
SELECT count(api_key_hash), count(DISTINCT api_key_hash) FROM ccproxy.requests WHERE request_id IN ('full', 'full-2');
-- too far ahead: stored as now, the original kept
SELECT accepted FROM ccproxy.ingest('{"request_id": "ahead", "timestamp": "2200-01-01T00:00:00Z", "metadata": {"a": 1}}');
SELECT ts > now() - interval '1 minute' AS is_now, metadata FROM ccproxy.requests WHERE request_id = 'ahead';

-- no id: one is made and returned
SELECT accepted, request_ids ->> '1' ~ '^[0-9a-f-]{36}$' AS made, request_ids ? '0' AS other
  FROM ccproxy.ingest(jsonb_build_array(jsonb_build_object('request_id', 'has', 'timestamp', :'t'), jsonb_build_object('timestamp', :'t', 'model', 'made')));
SELECT request_id ~ '^[0-9a-f-]{36}$' FROM ccproxy.requests WHERE model = 'made';

-- no timestamp: the time of the first receipt, and still counted once
SELECT accepted, duplicates FROM ccproxy.ingest('{"request_id": "notime", "model": "gpt-4", "input_tokens": 1, "output_tokens": 1, "status_code": 200}');
SELECT pg_sleep(0.01);
SELECT accepted, duplicates FROM ccproxy.ingest('{"request_id": "notime", "model": "gpt-4", "input_tokens": 1, "output_tokens": 1, "status_code": 200}');
SELECT count(*), bool_and(ts > now() - interval '1 minute') FROM ccproxy.requests WHERE request_id = 'notime';

-- reported cost: total_cost counts as one
SELECT accepted FROM ccproxy.ingest(jsonb_build_array(
    jsonb_build_object('request_id', 'rc1', 'timestamp', :'t', 'total_cost', 0.5),
    jsonb_build_object('request_id', 'rc2', 'timestamp', :'t', 'total_cost', 0.5, 'reported_cost', 0.000000000001)));
SELECT request_id, reported_cost, total_cost FROM ccproxy.requests WHERE request_id IN ('rc1', 'rc2') ORDER BY 1;

-- INSERT and COPY into the view: validated, priced, merged
INSERT INTO ccproxy.requests (request_id, ts, model, input_tokens, output_tokens, status_code, response_time_ms)
VALUES ('v1', :'day', 'gpt-4', 1000, 1000, 200, 1.5), ('v1', :'day', 'gpt-4', 1000, 1000, 200, 1.5), ('v2', NULL, 'no-such-model', 5, 5, 503, NULL);
SELECT request_id, total_cost, state, total_tokens FROM ccproxy.requests WHERE request_id IN ('v1', 'v2') ORDER BY 1;
INSERT INTO ccproxy.requests (request_id, ts, input_tokens) VALUES ('v3', :'day', -1);
INSERT INTO ccproxy.requests (request_id, ts) VALUES ('v3', '2001-01-01');
INSERT INTO ccproxy.requests (request_id, ts, response_time_ms) VALUES ('v3', :'day', 'NaN');
INSERT INTO ccproxy.requests (request_id, ts, response_time_ms) VALUES ('v3', 'infinity', 5);
COPY ccproxy.requests (request_id, model, status_code, input_tokens, output_tokens) FROM STDIN;
c1	gpt-4	200	10	10
c2	gpt-4	429	\N	\N
\.
SELECT request_id, total_cost, state FROM ccproxy.requests WHERE request_id IN ('c1', 'c2', 'v3') ORDER BY 1;

-- who may do what
RESET ROLE;
SET ROLE regress_ccproxy_writer;
SELECT accepted FROM ccproxy.ingest('{"request_id": "by writer"}');
INSERT INTO ccproxy.requests (request_id) VALUES ('by writer 2');
SELECT count(*) FROM ccproxy.requests;
SELECT hash_secret FROM ccproxy.configuration;
SELECT * FROM ccproxy.gateway_configuration();
RESET ROLE;
SET ROLE regress_ccproxy_reader;
SELECT count(*) FROM ccproxy.request('by writer');
SELECT count(*) > 0 FROM ccproxy.stats(interval '1 day');
SELECT * FROM ccproxy.ingest('{"request_id": "by reader"}');
INSERT INTO ccproxy.requests (request_id) VALUES ('by reader');
SELECT count(*) FROM ccproxy.request_part;
SELECT retention FROM ccproxy.configuration;
SELECT ccproxy.ensure_partitions(now(), now());
SELECT ccproxy.create_metrics_table();
SELECT ccproxy.grant_read('regress_ccproxy_reader');
CALL ccproxy.maintain();
RESET ROLE;
SET ROLE regress_ccproxy_gateway;
SELECT extension_version, retention, length(hash_secret) FROM ccproxy.gateway_configuration();
SELECT ord, outcome FROM ccproxy.merge_events(ARRAY[ROW(1, 6, NULL, ROW(NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL,
    NULL, NULL, NULL, NULL, NULL, 'by gateway', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL)::ccproxy.request_metric)::ccproxy.request_event]);
CALL ccproxy.maintain();
UPDATE ccproxy.request_log SET status_code = 200;
DELETE FROM ccproxy.ingest_batch;
SELECT hash_secret FROM ccproxy.configuration;
RESET ROLE;
CREATE ROLE regress_ingest_nobody;
SET ROLE regress_ingest_nobody;
SELECT count(*) FROM ccproxy.requests;
RESET ROLE;
DROP ROLE regress_ingest_nobody;
