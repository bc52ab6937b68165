-- Costs of stored requests: unpriced models, differences, repricing.
\set before :DBNAME
CREATE DATABASE regression_reprice;
\c regression_reprice
CREATE EXTENSION ccproxy_metrics;
SET timezone = 'UTC';
SET client_min_messages = warning;
\set SHOW_CONTEXT never
SELECT ccproxy.create_metrics_table();

SELECT date_trunc('day', now()) AS today \gset
SELECT accepted, rejected FROM ccproxy.ingest(
    (SELECT jsonb_agg(jsonb_build_object('request_id', 'r' || i, 'timestamp', :'today'::timestamptz + i * interval '1 second', 'model',
        CASE WHEN i % 3 = 0 THEN 'house-model' ELSE 'gpt-4o' END, 'provider', CASE WHEN i % 3 = 0 THEN 'acme' END,
        'input_tokens', 1000, 'output_tokens', 100, 'status_code', 200,
        'reported_cost', CASE WHEN i % 10 = 0 THEN 1 WHEN i % 3 = 1 THEN 0.0035 END))
     FROM generate_series(1, 300) i));
SELECT model, count(*), count(total_cost) AS priced, sum(total_cost) FROM ccproxy.requests GROUP BY 1 ORDER BY 1;

-- what has no cost is listed, with the reason
SELECT provider, model, requests, input_tokens, output_tokens, reported_cost, reason FROM ccproxy.unpriced_models;
-- and so is what the source said differently
SELECT count(*), count(*) FILTER (WHERE reported_cost = 1) AS said_one, min(difference), max(ratio) FROM ccproxy.cost_differences;

-- a price that comes later is applied to the past on request only
SELECT ccproxy.set_price('house-model', 1, 2, provider => 'acme', effective_from => '2020-01-01');
SELECT model, requests, reason FROM ccproxy.unpriced_models;
CALL ccproxy.reprice(only_unpriced => true, batch_rows => 7);
SELECT count(*) FROM ccproxy.unpriced_models;
SELECT model, count(total_cost) AS priced, sum(total_cost), array_agg(DISTINCT price_id) AS prices FROM ccproxy.requests GROUP BY 1 ORDER BY 1;

-- a range, a model; again changes nothing
SELECT ccproxy.set_price('gpt-4o', 5, 20, effective_from => :'today'::timestamptz + interval '100 seconds');
CALL ccproxy.reprice(:'today', :'today'::timestamptz + interval '200 seconds', 'gpt-4o', batch_rows => 10);
SELECT price_id, count(*), min(total_cost), max(total_cost) FROM ccproxy.requests WHERE model = 'gpt-4o' GROUP BY 1 ORDER BY 1;
CALL ccproxy.reprice(:'today', :'today'::timestamptz + interval '200 seconds');
CALL ccproxy.reprice();
SELECT price_id, count(*) FROM ccproxy.requests WHERE model = 'gpt-4o' GROUP BY 1 ORDER BY 1;

-- every stored cost is what cost() says now
SELECT count(*) FILTER (WHERE r.total_cost IS DISTINCT FROM ccproxy.total_cost(r.model, r.input_tokens, r.output_tokens, provider => r.provider, at => r.ts)) AS off
FROM ccproxy.requests r;

-- not inside a transaction, not with nonsense
CALL ccproxy.reprice(batch_rows => 0);
BEGIN;
CALL ccproxy.reprice();
ROLLBACK;

\c :before
DROP DATABASE regression_reprice;
