-- Prices of one's own: setting, replacing, closing, and what they do to costs.
\set before :DBNAME
CREATE DATABASE regression_prices;
\c regression_prices
CREATE EXTENSION ccproxy_metrics;
SET timezone = 'UTC';
SET client_min_messages = warning;
\set SHOW_CONTEXT never
SELECT ccproxy._create_pricing_tables();
SELECT ccproxy._create_pricing_tables();    -- again changes nothing

-- the shipped catalogue is there, with ids below those of users
SELECT count(*) > 500 AS many, bool_and(shipped) AS all_shipped, max(price_id) < 1000000 AS low_ids,
       count(DISTINCT price_id) = count(*) AS distinct_ids, bool_and(source <> '') AS all_have_a_source
FROM ccproxy.prices;
SELECT provider, model, input_mtok, output_mtok, cache_read_mtok, cache_write_mtok, multipliers
FROM ccproxy.prices WHERE price_id IN (1, 4, 6) ORDER BY price_id;
SELECT count(DISTINCT kind) AS kinds FROM (SELECT left(l, 1) FROM ccproxy.price_lines() l) t(kind);

CREATE TEMP TABLE versions AS SELECT ccproxy.price_catalogue_version() AS v;

-- an own price wins over the shipped one, from its time on
SELECT price_id, total_cost FROM ccproxy.cost('gpt-4', 1000000, at => '2025-03-01');
SELECT ccproxy.set_price('gpt-4', 29, 58, effective_from => '2025-02-01', source => 'our contract');
SELECT price_id, total_cost FROM ccproxy.cost('gpt-4', 1000000, at => '2025-03-01');
SELECT price_id, total_cost FROM ccproxy.cost('gpt-4', 1000000, at => '2025-01-31 23:59:59.999999');
SELECT price_id, total_cost FROM ccproxy.cost('gpt-4', 1000000, at => '2025-02-01');
SELECT ccproxy.price_catalogue_version() <> ALL (SELECT v FROM versions) AS version_changed;

-- the same again is the same price; another closes it, and history stays
SELECT ccproxy.set_price('gpt-4', 29, 58, effective_from => '2025-06-01');
SELECT ccproxy.set_price('GPT-4', 28, 56, effective_from => '2025-06-01');
SELECT price_id, model, input_mtok, effective_from, effective_to, source FROM ccproxy.price ORDER BY price_id;
SELECT price_id, total_cost FROM ccproxy.cost('gpt-4', 1000000, at => '2025-05-31');
SELECT price_id, total_cost FROM ccproxy.cost('gpt-4', 1000000, at => '2025-06-01');

-- one set for before a later one lasts until then
SELECT ccproxy.set_price('gpt-4', 27, 54, effective_from => '2025-04-01');
SELECT price_id, input_mtok, effective_from, effective_to FROM ccproxy.price ORDER BY effective_from;

-- two prices from the same moment contradict each other
SELECT ccproxy.set_price('gpt-4', 1, 2, effective_from => '2025-04-01');
SELECT ccproxy.set_price('gpt-4');
SELECT ccproxy.set_price('gpt-4', -1, 1);
SELECT ccproxy.set_price('gpt-4', 'NaN', 1);
SELECT ccproxy.set_price('gpt-4', 0.0000000000001, 1);
\set VERBOSITY terse
SELECT ccproxy.set_price('', 1, 1);
SELECT ccproxy.set_price('gpt-4', 1, 1, match => 'regex');
\set VERBOSITY default

-- prices are history
UPDATE ccproxy.price SET input_mtok = 1 WHERE price_id = 1000000;
DELETE FROM ccproxy.price WHERE price_id = 1000000;
UPDATE ccproxy.price SET note = 'signed in January' WHERE price_id = 1000000;

-- provider, tier, prompt size, window, precedence, patterns
SELECT ccproxy.set_price('house-model', 1, 2, provider => 'bedrock', effective_from => '2025-01-01', multipliers => '{"batch": 0.5, "eu": 1.1}') AS own,
       ccproxy.set_price('house-model', 2, 4, provider => 'aws', context_from => 200000, effective_from => '2025-01-01') AS long_prompts,
       ccproxy.set_price('house-model', 0.7, 1, provider => 'aws', service_tier => 'flex', effective_from => '2025-01-01') AS flex,
       ccproxy.set_price('house-model', 0.1, 0.2, provider => 'aws', window_from => '22:00', window_to => '06:00', effective_from => '2025-01-01') AS nights,
       ccproxy.set_price('house-', 9, 9, provider => 'aws', match => 'prefix', effective_from => '2025-01-01') AS family;
SELECT what, (c).price_id, (c).total_cost FROM (VALUES
    ('plain',        ccproxy.cost('house-model', 100000, provider => 'aws', at => '2025-06-01 12:00')),
    ('at 200,000',   ccproxy.cost('house-model', 200000, provider => 'aws', at => '2025-06-01 12:00')),
    ('long',         ccproxy.cost('house-model', 200001, provider => 'aws', at => '2025-06-01 12:00')),
    ('batch in eu',  ccproxy.cost('house-model', 100000, provider => 'aws', at => '2025-06-01 12:00', service_tier => 'batch+eu')),
    ('flex',         ccproxy.cost('house-model', 100000, provider => 'aws', at => '2025-06-01 12:00', service_tier => 'flex')),
    ('at night',     ccproxy.cost('house-model', 100000, provider => 'aws', at => '2025-06-01 23:00')),
    ('at 06:00',     ccproxy.cost('house-model', 100000, provider => 'aws', at => '2025-06-01 06:00')),
    ('family',       ccproxy.cost('house-of-cards', 100000, provider => 'aws', at => '2025-06-01 12:00')),
    ('elsewhere',    ccproxy.cost('house-model', 100000, provider => 'groq', at => '2025-06-01 12:00')),
    ('no provider',  ccproxy.cost('house-model', 100000, at => '2025-06-01 12:00'))) v(what, c);

-- a customer's discount is a price of higher precedence
SELECT ccproxy.set_price('gpt-4', 10, 20, precedence => 200, effective_from => '2025-08-01', effective_to => '2025-09-01', note => 'summer discount') AS discount;
SELECT at::date, (ccproxy.cost('gpt-4', 1000000, at => at)).price_id FROM unnest('{2025-07-31,2025-08-15,2025-09-01}'::timestamptz[]) at;

-- closing ends a price, a shipped one too
SELECT ccproxy.close_price(5, '2025-01-01', 'not on our contract');
SELECT at::date, (ccproxy.cost('gpt-3.5-turbo', 1000000, at => at)).total_cost FROM unnest('{2024-12-31,2025-01-01}'::timestamptz[]) at;
SELECT ccproxy.close_price(999999);
SELECT ccproxy.close_price(1999999);
SELECT price_id, effective_to FROM ccproxy.prices WHERE price_id = 5;

-- a change that is rolled back was none, and the transaction itself sees it
BEGIN;
SELECT ccproxy.set_price('gpt-4o', 100, 100, effective_from => '2025-01-01') AS rolled_back;
SELECT (ccproxy.cost('gpt-4o', 1000000)).total_cost;
ROLLBACK;
SELECT (ccproxy.cost('gpt-4o', 1000000)).total_cost;

-- parallel workers price with them too, uncommitted ones of this transaction included
CREATE TABLE many AS SELECT 'worker-model' AS model, 1000 AS tokens FROM generate_series(1, 20000);
ALTER TABLE many SET (parallel_workers = 2);
SET parallel_setup_cost = 0;
SET parallel_tuple_cost = 0;
SET min_parallel_table_scan_size = 0;
BEGIN;
SELECT ccproxy.set_price('worker-model', 1, 1, effective_from => '2025-01-01') IS NOT NULL AS set;
EXPLAIN (COSTS OFF) SELECT sum(ccproxy.total_cost(model, tokens)) FROM many;
SELECT sum(ccproxy.total_cost(model, tokens)), count(ccproxy.total_cost(model, tokens)) FROM many;
ROLLBACK;
SELECT sum(ccproxy.total_cost(model, tokens)) FROM many;
RESET parallel_setup_cost;
RESET parallel_tuple_cost;
RESET min_parallel_table_scan_size;
DROP TABLE many;

-- prices are part of what keeps the extension
\set VERBOSITY terse
DROP EXTENSION ccproxy_metrics;
\set VERBOSITY default

-- without the tables there are the shipped prices
DROP TABLE ccproxy.price, ccproxy.price_closing;
SELECT (ccproxy.cost('gpt-3.5-turbo', 1000000)).total_cost, ccproxy.price_catalogue_version() = v AS as_before FROM versions;
SELECT ccproxy._create_pricing_tables();
SELECT ccproxy.set_price('gpt-3.5-turbo', 7, 7) AS again;
SELECT (ccproxy.cost('gpt-3.5-turbo', 1000000)).total_cost;

-- something else under the tables' names is left alone
DROP TABLE ccproxy.price, ccproxy.price_closing;
SET client_min_messages = notice;
CREATE VIEW ccproxy.price AS SELECT 1 AS price_id;
SELECT ccproxy.total_cost('gpt-3.5-turbo', 1000000);
DROP VIEW ccproxy.price;
CREATE TABLE ccproxy.price (price_id text, model text);
CREATE TABLE ccproxy.price_closing (price_id bigint, effective_to timestamptz);
SELECT ccproxy.total_cost('gpt-3.5-turbo', 1000000);
DROP EXTENSION ccproxy_metrics CASCADE;

\c :before
DROP DATABASE regression_prices;
