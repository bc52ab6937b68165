-- How costs come about.
\set before :DBNAME
CREATE DATABASE regression_explain;
\c regression_explain
CREATE EXTENSION ccproxy_metrics;
SET timezone = 'UTC';

-- a price, the rule that matched, each bucket, what fell back
SELECT part, units, rate, multiplier, cost, split_part(explanation, '; source', 1) AS explanation
FROM ccproxy.explain_cost('us.anthropic.claude-3-5-sonnet-20241022-v2:0', 1000, 100, cache_write_1h_tokens => 200,
                          service_tier => 'batch', web_searches => 2, at => '2026-01-01');
-- two multipliers; a dated price
SELECT part, units, rate, multiplier, cost, split_part(explanation, '; source', 1) AS explanation
FROM ccproxy.explain_cost('claude-opus-4-6', 1000, 100, cache_read_tokens => 1, service_tier => 'batch+us', at => '2026-06-01');
-- long prompts
SELECT part, units, rate, cost, split_part(explanation, '; source', 1) AS explanation FROM ccproxy.explain_cost('claude-sonnet-4-5', 1000000, 100, at => '2026-01-01');
-- peak hours
SELECT part, units, rate, cost, split_part(explanation, '; source', 1) AS explanation FROM ccproxy.explain_cost('deepseek-chat', 1000000, at => '2026-01-01 12:00+00');
-- the served model decides
SELECT part, split_part(explanation, '; source', 1) AS explanation FROM ccproxy.explain_cost('gpt-4o', 1, model_version => 'gpt-4o-2024-05-13', at => '2026-01-01') WHERE part = 'price';
-- what has no cost says why
SELECT * FROM ccproxy.explain_cost('gpt-99', 1, 1);
SELECT * FROM ccproxy.explain_cost(NULL, 1, 1);
SELECT * FROM ccproxy.explain_cost('gpt-4', 1, 1, at => NULL);
SELECT part, units, rate, split_part(explanation, '; source', 1) AS explanation FROM ccproxy.explain_cost('text-embedding-3-small', 10, 10, at => '2026-01-01');
SELECT part, split_part(explanation, '; source', 1) AS explanation FROM ccproxy.explain_cost('gpt-4', -1);
SELECT part, split_part(explanation, '; source', 1) AS explanation FROM ccproxy.explain_cost('gpt-4', 1, 1, reasoning_tokens => 2);

-- total_cost is cost's total
SELECT ccproxy.total_cost('gpt-4o', 1000, 100, cache_read_tokens => 10) = (ccproxy.cost('gpt-4o', 1000, 100, cache_read_tokens => 10)).total_cost AS same,
       ccproxy.total_cost('gpt-99', 1000, 100) IS NULL AS unknown,
       ccproxy.total_cost('gpt-5', 0, 1000, reasoning_tokens => 900, web_searches => 3);

-- the explained products are the cost, for every price there is
SELECT count(*) > 500 AS many, count(*) FILTER (WHERE abs(explained - total) > 1e-11) AS off
FROM (SELECT p.price_id,
             (SELECT sum(e.cost) FROM ccproxy.explain_cost(p.model, 12345, CASE WHEN p.output_mtok IS NULL THEN 0 ELSE 678 END, 91011, 1213, 1415,
                  p.provider, 'batch', '2026-10-01', web_searches => 1) e WHERE e.part <> 'total') AS explained,
             ccproxy.total_cost(p.model, 12345, CASE WHEN p.output_mtok IS NULL THEN 0 ELSE 678 END, 91011, 1213, 1415,
                  p.provider, 'batch', '2026-10-01', web_searches => 1) AS total
      FROM ccproxy.prices p) x;

\c :before
DROP DATABASE regression_explain;
