-- What requests cost.
\set before :DBNAME
CREATE DATABASE regression_pricing;
\c regression_pricing
CREATE EXTENSION ccproxy_metrics;

-- the five example rates, a million tokens each way
SELECT model, (ccproxy.cost(model, input_tokens => 1000000, output_tokens => 1000000)).total_cost
FROM unnest(ARRAY['claude-3-opus', 'claude-3-sonnet', 'claude-3-haiku', 'gpt-4', 'gpt-3.5-turbo']) model;

-- few arguments read well; dated and prefixed names are the same model
SELECT * FROM ccproxy.cost('claude-3-5-sonnet-20241022', 1000, 500);
SELECT (c).* FROM (SELECT ccproxy.cost('anthropic/claude-3.5-sonnet', 1000, 500)) t(c);

-- every bucket at its own rate, and the total is their sum
SELECT *, total_cost = input_cost + cache_read_cost + cache_write_cost + output_cost + tool_cost AS adds_up
FROM ccproxy.cost('claude-3-5-sonnet', input_tokens => 1000, output_tokens => 700, cache_read_tokens => 20000,
                  cache_write_tokens => 4000, cache_write_1h_tokens => 500);

-- batch is half, long prompts cost more
SELECT (ccproxy.cost('gpt-4o', 1000000, 1000000, service_tier => 'batch')).total_cost;
SELECT (ccproxy.cost('claude-sonnet-4-5', 200000)).total_cost AS at_the_edge,
       (ccproxy.cost('claude-sonnet-4-5', 200001)).total_cost AS above_it;

-- unknown is NULL, not 0; and so is another provider's model
SELECT c IS NULL AS unknown, c.total_cost FROM ccproxy.cost('no-such-model', 1, 1) c;
SELECT c IS NULL AS unknown FROM ccproxy.cost('gpt-4', 1, 1, provider => 'anthropic') c;
SELECT c IS NULL AS unknown FROM ccproxy.cost(NULL, 1, 1) c;
SELECT c IS NULL AS unknown FROM ccproxy.cost('gpt-4', 1, 1, at => NULL) c;
SELECT (ccproxy.cost('gpt-4', NULL, NULL)).total_cost AS nothing_used;

-- what only a mistake can ask for
\set VERBOSITY sqlstate
SELECT ccproxy.cost('gpt-4', -1);
SELECT ccproxy.cost('gpt-4', 9223372036854775807);
\set VERBOSITY default

-- the stored form: picodollars; served name first; never an error
SELECT * FROM ccproxy.cost_pico('gpt-4', 'gpt-4o-2024-08-06', NULL, NULL, '2025-06-01', 1000, NULL, NULL, NULL, 10, NULL);
SELECT * FROM ccproxy.cost_pico('gpt-4', 'my-deployment', 'azure', NULL, '2025-06-01', 1000, 0, 0, 0, 10, 4);
SELECT c IS NULL AS no_usage FROM ccproxy.cost_pico('gpt-4', NULL, NULL, NULL, '2025-06-01', NULL, 5, NULL, NULL, NULL, NULL) c;
SELECT input_cost, output_cost FROM ccproxy.cost_pico('gpt-4', NULL, NULL, NULL, '2025-06-01', NULL, NULL, NULL, NULL, 1, NULL);
SELECT c IS NULL AS negative FROM ccproxy.cost_pico('gpt-4', NULL, NULL, NULL, '2025-06-01', -1, 0, 0, 0, 0, 0) c;
SELECT c IS NULL AS overflow FROM ccproxy.cost_pico('gpt-4', NULL, NULL, NULL, '2025-06-01', 9223372036854775807, 0, 0, 0, 0, 0) c;
SELECT c IS NULL AS no_time FROM ccproxy.cost_pico('gpt-4', NULL, NULL, NULL, NULL, 1, 0, 0, 0, 0, 0) c;

\c :before
DROP DATABASE regression_pricing;
