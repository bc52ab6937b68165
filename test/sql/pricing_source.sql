-- What a request without a price counts as, web searches in metadata, and who
-- may read the views on costs.
\set before :DBNAME
CREATE DATABASE regression_source;
\c regression_source
CREATE EXTENSION ccproxy_metrics;
SET timezone = 'UTC';
SET client_min_messages = warning;
\set SHOW_CONTEXT never
\set VERBOSITY terse
SELECT ccproxy.create_metrics_table();
CREATE ROLE regress_source_reader;
SELECT ccproxy.grant_read('regress_source_reader');

-- three days ago, so that hours and days close: a known model, an unknown one
-- with and without a reported cost, and one that reports a cost and no tokens
SELECT date_trunc('day', now()) - interval '3 days' AS day \gset
SELECT accepted, rejected FROM ccproxy.ingest(
    (SELECT jsonb_agg(jsonb_strip_nulls(jsonb_build_object('request_id', 'r' || i, 'timestamp', :'day'::timestamptz + i * interval '7 minutes',
        'model', CASE WHEN i % 4 = 0 THEN 'gpt-4o' ELSE 'nobody-knows' END, 'user_id', 'u' || i % 3, 'endpoint_type', 'openai',
        'input_tokens', CASE WHEN i % 4 < 3 THEN 1000 END, 'output_tokens', CASE WHEN i % 4 < 3 THEN 100 END,
        'status_code', 200, 'reported_cost', CASE WHEN i % 4 <> 1 THEN 0.25 END)))
     FROM generate_series(1, 200) i));

-- every way to ask, side by side
CREATE FUNCTION answers() RETURNS TABLE (source text, cost numeric, unpriced numeric) LANGUAGE sql AS $$
    SELECT 'raw rows', sum(total_cost), count(*) FILTER (WHERE total_cost IS NULL AND input_tokens IS NOT NULL) FROM ccproxy.requests
    UNION ALL SELECT 'stats()', total_cost, unpriced_requests FROM ccproxy.stats(now() - interval '5 days', now())
    UNION ALL SELECT 'stats() ragged', total_cost, unpriced_requests FROM ccproxy.stats(now() - interval '100 hours 17 seconds', now())
    UNION ALL SELECT 'by day, user', sum(total_cost), sum(unpriced_requests) FROM ccproxy.stats(now() - interval '5 days', now(), 'day,user')
    UNION ALL SELECT 'by provider', sum(total_cost), sum(unpriced_requests) FROM ccproxy.stats(now() - interval '5 days', now(), 'provider')
    UNION ALL SELECT 'requests_by_minute', sum(total_cost), sum(unpriced_requests) FROM ccproxy.requests_by_minute
    UNION ALL SELECT 'requests_by_day', sum(total_cost), sum(unpriced_requests) FROM ccproxy.requests_by_day
    UNION ALL SELECT 'usage_by_user', sum(total_cost), sum(unpriced_requests) FROM ccproxy.usage_by_user
    UNION ALL SELECT 'counters', sum(count), NULL FROM ccproxy.prometheus_samples() WHERE family = 'cost'
$$;
CREATE PROCEDURE refresh_all() LANGUAGE plpgsql AS $$
BEGIN
    FOR i IN 1 .. 200 LOOP
        EXIT WHEN ccproxy.refresh() = 0 AND i > 100;
    END LOOP;
END $$;
SELECT source, trim_scale(cost) AS cost, unpriced FROM answers();
CALL refresh_all();
SELECT source, trim_scale(cost) AS cost, unpriced FROM answers();

-- what is reported counts, at once and when rolled up
SELECT ccproxy.set_cost_source('reported_if_unpriced') AS minutes;
SELECT ccproxy.set_cost_source('reported_if_unpriced') AS again;
SELECT source, trim_scale(cost) AS cost, unpriced FROM answers();
CALL refresh_all();
SELECT count(*) FROM ccproxy.dirty_minute;
SELECT source, trim_scale(cost) AS cost, unpriced FROM answers();
SELECT model_costs, avg_cost_per_request FROM ccproxy.stats(now() - interval '5 days', now());
SELECT request_id, input_cost, tool_cost, total_cost, reported_cost, price_id IS NULL AS no_price
  FROM ccproxy.requests WHERE request_id IN ('r1', 'r2', 'r3', 'r4') ORDER BY 1;
-- a reader sees the same, and nothing more
SET ROLE regress_source_reader;
SELECT trim_scale(total_cost) AS total_cost, unpriced_requests FROM ccproxy.stats(now() - interval '5 days', now());
SELECT sum(total_cost) FROM ccproxy.requests;
SELECT sum(count) FROM ccproxy.prometheus WHERE family = 'cost';
SELECT model, requests, reported_cost FROM ccproxy.unpriced_models;
SELECT count(*), min(total_cost), min(reported_cost) FROM ccproxy.cost_differences;
SELECT cost_source FROM ccproxy.configuration;
SELECT hash_secret FROM ccproxy.configuration;
SELECT ccproxy.set_cost_source('computed');
RESET ROLE;

-- a price of ours comes before what is reported
SELECT ccproxy.set_price('nobody-knows', 1, 1, effective_from => '2020-01-01') IS NOT NULL AS set;
CALL ccproxy.reprice();
SELECT source, trim_scale(cost) AS cost, unpriced FROM answers();
CALL refresh_all();
SELECT source, trim_scale(cost) AS cost, unpriced FROM answers();

-- and back; what was counted once stays in the counters
SELECT ccproxy.set_cost_source('computed') > 0 AS marked;
SELECT source, trim_scale(cost) AS cost, unpriced FROM answers() WHERE source <> 'counters';
CALL refresh_all();
SELECT source, trim_scale(cost) AS cost, unpriced FROM answers() WHERE source <> 'counters';
SELECT sum("true") FROM ccproxy.counter_total WHERE family = 'cost';

SELECT ccproxy.set_cost_source('guessed');
SELECT ccproxy.set_cost_source(NULL);
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT ccproxy.set_cost_source('computed');
ROLLBACK;

-- web searches of a stored request: in metadata, whichever way it comes
SELECT m AS metadata, c.tool_cost
  FROM (VALUES (NULL), ('{}'), ('{"server_tool_use": {"web_search_requests": 3}}'), ('{"web_searches": 2}'),
               ('{"server_tool_use": {"web_search_requests": 1}, "web_searches": 2}'), ('{"server_tool_use": {}, "web_searches": 2.0}'),
               ('{"server_tool_use": 5}'), ('{"web_searches": "2"}'), ('{"web_searches": -1}'), ('{"web_searches": 1.5}'), ('{"web_searches": 1e300}'),
               ('{"web_searches": 1000000}'), ('{"web_searches": 1000001}'), ('[1]'), ('"web_searches"'), ('{"server_tool_use": [1]}')) AS x(m),
       ccproxy.cost_pico('claude-3-5-sonnet-20241022', NULL, NULL, NULL, '2025-06-01', 10, NULL, NULL, NULL, 10, NULL, m::jsonb) c;
SELECT accepted FROM ccproxy.ingest(jsonb_build_array(
    jsonb_build_object('request_id', 'whole', 'timestamp', now(), 'model', 'claude-sonnet-4-5', 'input_tokens', 10, 'output_tokens', 10,
        'status_code', 200, 'metadata', jsonb_build_object('web_searches', 2)),
    jsonb_build_object('request_id', 'parts', 'timestamp', now(), 'kind', 'request', 'model', 'claude-sonnet-4-5'),
    jsonb_build_object('request_id', 'parts', 'timestamp', now(), 'kind', 'token_usage', 'input_tokens', 10, 'output_tokens', 10,
        'metadata', jsonb_build_object('server_tool_use', jsonb_build_object('web_search_requests', 2)))));
SELECT request_id, tool_cost, total_cost = ccproxy.total_cost(model, 10, 10, web_searches => 2, at => ts) AS as_cost_says
  FROM ccproxy.requests WHERE request_id IN ('whole', 'parts') ORDER BY 1;
UPDATE ccproxy.request_log SET tool_cost = 0 WHERE request_id IN ('whole', 'parts');
CALL ccproxy.reprice();
SELECT request_id, tool_cost FROM ccproxy.requests WHERE request_id IN ('whole', 'parts') ORDER BY 1;

\c :before
DROP DATABASE regression_source;
DROP ROLE regress_source_reader;
