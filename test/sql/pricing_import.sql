-- Importing public price catalogues, and usage objects of providers.
\set before :DBNAME
CREATE DATABASE regression_import;
\c regression_import
CREATE EXTENSION ccproxy_metrics;
SET timezone = 'UTC';
SET client_min_messages = warning;
\set SHOW_CONTEXT never
SELECT ccproxy._create_pricing_tables();

-- LiteLLM's format: per token, tiers and prompt sizes in the names
CREATE TEMP TABLE litellm AS SELECT '{
  "sample_spec": {"litellm_provider": "one of ...", "input_cost_per_token": 0.0},
  "openai/nova-chat": {"litellm_provider": "openai", "mode": "chat", "input_cost_per_token": 2.5e-06, "output_cost_per_token": "1e-5",
      "cache_read_input_token_cost": 1.25e-06, "input_cost_per_token_batches": 1.25e-06, "output_cost_per_token_batches": 5e-06,
      "input_cost_per_token_priority": 4.25e-06, "max_tokens": 128000, "supports_vision": true},
  "vertex_ai/nova-pro": {"litellm_provider": "vertex_ai-language-models", "input_cost_per_token": 1.25e-06, "output_cost_per_token": 1e-05,
      "input_cost_per_token_above_200k_tokens": 2.5e-06, "output_cost_per_token_above_200k_tokens": 1.5e-05,
      "cache_creation_input_token_cost": 1.5625e-06, "cache_creation_input_token_cost_above_1hr": 2.5e-06,
      "search_context_cost_per_query": {"search_context_size_low": 0.03, "search_context_size_medium": 0.035},
      "provider_specific_entry": {"us": 1.1}},
  "nova-noise": {"litellm_provider": "openai", "input_cost_per_token": 1.0000000000000001e-07, "output_cost_per_token": 0.0},
  "nova-image": {"litellm_provider": "openai", "mode": "image_generation", "output_cost_per_image": 0.04},
  "nova-minus": {"litellm_provider": "openai", "input_cost_per_token": -1e-06},
  "nova-words": {"litellm_provider": "openai", "input_cost_per_token": "cheap"},
  "nova-list": ["not", "a", "model"],
  "": {"litellm_provider": "openai", "input_cost_per_token": 1e-06}
}'::jsonb AS data;

-- a dry run is a diff and changes nothing
SELECT action, entry, provider, model, service_tier, context_from, new_rates, reason
FROM litellm, ccproxy.import_prices(data, dry_run => true, effective_from => '2025-01-01') ORDER BY entry COLLATE "C", service_tier, context_from;
SELECT count(*) FROM ccproxy.price;

SELECT action, count(*) FROM litellm, ccproxy.import_prices(data, effective_from => '2025-01-01', source => 'litellm') GROUP BY 1 ORDER BY 1;
SELECT at, (ccproxy.cost('nova-pro', tokens, provider => 'gemini', at => '2025-06-01')).* FROM (VALUES ('at the edge', 200000), ('above', 200001)) t(at, tokens);
SELECT service_tier, ccproxy.total_cost('nova-chat', 1000000, 1000000, 1000000, service_tier => service_tier, at => '2025-06-01')
FROM unnest('{standard,batch,priority}'::text[]) service_tier;

-- the same again changes nothing; a change closes the old price
SELECT action, count(*) FROM litellm, ccproxy.import_prices(data, effective_from => '2025-02-01') GROUP BY 1 ORDER BY 1;
SELECT action, model, service_tier, old_rates -> 'input_mtok' AS old, new_rates -> 'input_mtok' AS new
FROM litellm, ccproxy.import_prices(jsonb_set(data, '{openai/nova-chat,input_cost_per_token}', '3e-06'), effective_from => '2025-03-01')
WHERE action NOT IN ('same', 'skip');
SELECT model, input_mtok, effective_from, effective_to FROM ccproxy.price WHERE model = 'nova-chat' AND service_tier = 'standard' ORDER BY effective_from;
-- but not from a moment that has a price already
SELECT action, model, reason
FROM litellm, ccproxy.import_prices(jsonb_set(data, '{openai/nova-chat,input_cost_per_token}', '4e-06'), effective_from => '2025-03-01')
WHERE model = 'nova-chat' AND service_tier = 'standard';

-- genai-prices' format: providers, matches, dates, times of day
CREATE TEMP TABLE genai AS SELECT '[
  {"id": "x-ai", "models": [
    {"id": "Nebula-1", "match": {"or": [{"equals": "nebula-1"}, {"starts_with": "nebula-1-"}, {"regex": "^n"}]},
     "prices": [{"prices": {"input_mtok": 5, "output_mtok": 10}},
                {"constraint": {"type": "start_date", "start_date": "2025-06-10"},
                 "prices": {"input_mtok": {"base": 2, "tiers": [{"start": 200000, "price": 4}]}, "output_mtok": 8, "web_searches_kcount": 10}},
                {"constraint": {"type": "time_of_date", "start_time": "16:30:00Z", "end_time": "00:30:00Z"}, "prices": {"input_mtok": 1, "output_mtok": 4}}]},
    {"id": "nebula-free", "match": {"equals": "nebula-free"}, "prices": {}},
    {"id": "nebula-hours", "match": {"equals": "nebula-hours"}, "prices": {"audio_hours": 3}},
    {"id": "nebula-odd", "match": {"equals": "nebula-odd"}, "prices": [{"constraint": {"weekday": "monday"}, "prices": {"input_mtok": 1}}]},
    {"match": {"equals": "nameless"}, "prices": {"input_mtok": 1}}]},
  {"id": "empty"}
]'::jsonb AS data;
SELECT action, entry, provider, model, match, context_from, new_rates, reason
FROM genai, ccproxy.import_prices(data, effective_from => '-infinity', precedence => -50) ORDER BY entry COLLATE "C", price_id;
SELECT at, ccproxy.total_cost('nebula-1-mini', 1000000, provider => 'xai', at => at)
FROM unnest('{2025-06-09 12:00+00, 2025-06-10 12:00+00, 2025-06-10 23:00+00}'::timestamptz[]) at;
SELECT ccproxy.total_cost('nebula-free', 1000000, 1000000) AS free, ccproxy.total_cost('nebula-hours', 1) IS NULL AS unknown;

-- a price of lower precedence than the shipped ones only fills gaps; a discount multiplies
SELECT action, provider, model FROM ccproxy.import_prices('{"gpt-4": {"litellm_provider": "openai", "input_cost_per_token": 1e-06}}', precedence => -1, effective_from => '2020-01-01');
SELECT ccproxy.total_cost('gpt-4', 1000000);
SELECT new_rates FROM ccproxy.import_prices('{"gpt-4": {"litellm_provider": "openai", "input_cost_per_token": 3e-05, "output_cost_per_token": 6e-05}}',
    precedence => 10, effective_from => '2025-01-01', multiplier => 0.9);
SELECT ccproxy.total_cost('gpt-4', 1000000, at => '2025-06-01');

-- two entries of one name with different rates: the first counts
SELECT action, entry, reason FROM ccproxy.import_prices('{"gemini/twin": {"litellm_provider": "gemini", "input_cost_per_token": 1e-06},
    "twin": {"litellm_provider": "vertex_ai-language-models", "input_cost_per_token": 2e-06}}', dry_run => true);

SELECT ccproxy.import_prices('5');
SELECT ccproxy.import_prices('[]', format => 'litellm');
SELECT ccproxy.import_prices('{}', format => 'csv');
SELECT ccproxy.import_prices('{}', multiplier => 0);
SELECT ccproxy.import_prices('{}', precedence => 0);

-- usage objects as disjoint buckets
SELECT convention, u.input_tokens, u.cache_read_tokens, u.cache_write_tokens, u.cache_write_1h_tokens, u.output_tokens, u.reasoning_tokens
FROM (VALUES
    ('anthropic', '{"input_tokens": 21, "cache_read_input_tokens": 50, "cache_creation_input_tokens": 100, "cache_creation": {"ephemeral_1h_input_tokens": 40}, "output_tokens": 393}'),
    ('openai',    '{"prompt_tokens": 2006, "completion_tokens": 300, "prompt_tokens_details": {"cached_tokens": 1920}, "completion_tokens_details": {"reasoning_tokens": 128}}'),
    ('openai',    '{"input_tokens": 328, "input_tokens_details": {"cached_tokens": 300}, "output_tokens": 52}'),
    ('xai',       '{"prompt_tokens": 32, "completion_tokens": 9, "completion_tokens_details": {"reasoning_tokens": 94}}'),
    ('gemini',    '{"promptTokenCount": 1000, "cachedContentTokenCount": 800, "candidatesTokenCount": 50, "thoughtsTokenCount": 450}'),
    ('bedrock',   '{"inputTokens": 10, "outputTokens": 20, "cacheReadInputTokens": 60, "cacheWriteInputTokens": 40}'),
    ('otel',      '{"gen_ai.usage.input_tokens": 100, "gen_ai.usage.output_tokens": 7, "gen_ai.usage.cache_read.input_tokens": 80}'),
    ('litellm',   '{"prompt_tokens": 100, "completion_tokens": 7, "cache_read_input_tokens": 80, "cache_creation_input_tokens": 15}')
) v(convention, usage), ccproxy.usage_tokens(usage::jsonb, convention) u;
-- and what they cost
SELECT c.* FROM ccproxy.usage_tokens('{"input_tokens": 21, "cache_read_input_tokens": 50, "output_tokens": 393}', 'anthropic') u,
    ccproxy.cost('claude-3-5-sonnet', u.input_tokens, u.output_tokens, u.cache_read_tokens) c;
SELECT ccproxy.usage_tokens('{"prompt_tokens": 5, "prompt_tokens_details": {"cached_tokens": 6}}', 'openai');
SELECT ccproxy.usage_tokens('{"prompt_tokens": 1.5}', 'openai');
SELECT ccproxy.usage_tokens('[]', 'openai');
SELECT ccproxy.usage_tokens('{}', 'mystery');

\c :before
DROP DATABASE regression_import;
