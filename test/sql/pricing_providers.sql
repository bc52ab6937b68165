-- A worked example per provider: the ones of pricing/README.md.
\set before :DBNAME
CREATE DATABASE regression_providers;
\c regression_providers
CREATE EXTENSION ccproxy_metrics;
SET timezone = 'UTC';

-- the total, at a fixed time; for this file only
CREATE FUNCTION usage_cost(usage jsonb, convention text, model text, provider text DEFAULT NULL, tier text DEFAULT NULL, at timestamptz DEFAULT '2026-01-15 12:00+00')
RETURNS numeric LANGUAGE sql AS $$
    SELECT trim_scale((ccproxy.price_usage(usage, convention, model, provider, tier, at)).total_cost)
$$;

-- Anthropic: cached tokens beside the input, two lifetimes of cache writes, searches per call
SELECT usage_cost('{"input_tokens": 1000, "cache_read_input_tokens": 20000, "cache_creation_input_tokens": 4500,
    "cache_creation": {"ephemeral_5m_input_tokens": 4000, "ephemeral_1h_input_tokens": 500}, "output_tokens": 700,
    "server_tool_use": {"web_search_requests": 2}}', 'anthropic', 'claude-3-5-sonnet-20241022') AS anthropic;
-- a batch is half; US-only inference 1.1 times, from the 4.6 models on; long prompts cost more altogether
SELECT usage_cost('{"input_tokens": 100000, "output_tokens": 1000}', 'anthropic', 'claude-sonnet-4-6', tier => 'batch', at => '2026-06-01') AS batch,
       usage_cost('{"input_tokens": 100000, "output_tokens": 1000}', 'anthropic', 'claude-sonnet-4-6', tier => 'standard+us', at => '2026-06-01') AS us,
       usage_cost('{"input_tokens": 100000, "cache_read_input_tokens": 100001, "output_tokens": 1000}', 'anthropic', 'claude-sonnet-4-5') AS long_prompt;

-- OpenAI: cached tokens inside the prompt, reasoning inside the completion
SELECT usage_cost('{"prompt_tokens": 2006, "completion_tokens": 300, "prompt_tokens_details": {"cached_tokens": 1920},
    "completion_tokens_details": {"reasoning_tokens": 128}}', 'openai', 'gpt-4o-2024-08-06') AS openai,
       usage_cost('{"input_tokens": 2006, "output_tokens": 300, "input_tokens_details": {"cached_tokens": 1920}}', 'openai', 'gpt-4o', tier => 'batch') AS batch,
       usage_cost('{"input_tokens": 2006, "output_tokens": 300, "input_tokens_details": {"cached_tokens": 1920}}', 'openai', 'gpt-4o', tier => 'priority') AS priority;
-- a snapshot with a price of its own; a fine-tuned model; a price cut
SELECT usage_cost('{"prompt_tokens": 1000000}', 'openai', 'gpt-4o-2024-05-13') AS snapshot,
       usage_cost('{"prompt_tokens": 1000000}', 'openai', 'ft:gpt-4o-mini-2024-07-18:acme::id') AS fine_tuned,
       usage_cost('{"prompt_tokens": 1000000}', 'openai', 'o3', at => '2025-06-09 23:59:59+00') AS o3_before,
       usage_cost('{"prompt_tokens": 1000000}', 'openai', 'o3', at => '2025-06-10') AS o3_after;
-- from 272,000 tokens on, that many included
SELECT usage_cost('{"prompt_tokens": 271999}', 'openai', 'gpt-5.4', at => '2026-06-01') AS below, usage_cost('{"prompt_tokens": 272000}', 'openai', 'gpt-5.4', at => '2026-06-01') AS at_it;

-- Google: thoughts beside the candidates, cached tokens inside the prompt, a higher price above 200,000
SELECT usage_cost('{"promptTokenCount": 250000, "cachedContentTokenCount": 200000, "candidatesTokenCount": 1000, "thoughtsTokenCount": 4000}', 'gemini', 'models/gemini-2.5-pro') AS google,
       usage_cost('{"promptTokenCount": 1000, "candidatesTokenCount": 10}', 'gemini', 'publishers/google/models/gemini-2.0-flash-001', 'vertex_ai') AS vertex;

-- audio has rates of its own, cached or not
SELECT c.input_cost, c.cache_read_cost, c.output_cost, c.total_cost FROM ccproxy.price_usage('{"promptTokenCount": 1000, "cachedContentTokenCount": 200,
    "candidatesTokenCount": 10, "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 400}, {"modality": "AUDIO", "tokenCount": 600}],
    "cacheTokensDetails": [{"modality": "AUDIO", "tokenCount": 100}]}', 'gemini', 'gemini-2.5-flash', at => '2026-01-15') c;
SELECT c IS NULL AS unknown FROM ccproxy.price_usage('{"prompt_tokens": 1}', 'openai', 'gpt-99') c;
SELECT c IS NULL AS no_usage FROM ccproxy.price_usage(NULL, 'openai', 'gpt-4') c;

-- Mistral: plain; batches are half
SELECT usage_cost('{"prompt_tokens": 1000000, "completion_tokens": 100000}', 'openai', 'mistral-large-2411', tier => 'batch') AS mistral;

-- DeepSeek: cache hits inside the prompt, half the price off peak (16:30 to 00:30 UTC)
SELECT usage_cost('{"prompt_tokens": 1000, "completion_tokens": 500, "prompt_cache_hit_tokens": 640, "prompt_cache_miss_tokens": 360}', 'openai', 'deepseek-chat') AS peak,
       usage_cost('{"prompt_tokens": 1000, "completion_tokens": 500, "prompt_cache_hit_tokens": 640, "prompt_cache_miss_tokens": 360}', 'openai', 'deepseek-chat', at => '2026-01-15 16:30+00') AS off_peak,
       usage_cost('{"prompt_tokens": 1000000}', 'openai', 'deepseek-chat', at => '2026-01-16 00:29:59+00') AS still_off, usage_cost('{"prompt_tokens": 1000000}', 'openai', 'deepseek-chat', at => '2026-01-16 00:30+00') AS peak_again;

-- xAI: reasoning beside the completion
SELECT usage_cost('{"prompt_tokens": 32, "completion_tokens": 9, "prompt_tokens_details": {"cached_tokens": 2}, "completion_tokens_details": {"reasoning_tokens": 94}}', 'xai', 'grok-4-0709') AS xai;

-- Bedrock: additive; regional endpoints cost more than the global one
SELECT usage_cost('{"inputTokens": 1000, "outputTokens": 100}', 'bedrock', 'global.anthropic.claude-opus-4-5-20251101-v1:0') AS global,
       usage_cost('{"inputTokens": 1000, "outputTokens": 100}', 'bedrock', 'us.anthropic.claude-opus-4-5-20251101-v1:0') AS regional,
       usage_cost('{"inputTokens": 1000, "outputTokens": 100, "cacheReadInputTokens": 5000, "cacheWriteInputTokens": 300, "cacheDetails": [{"ttl": "1h", "inputTokens": 100}]}', 'bedrock', 'claude-sonnet-4-5', 'bedrock') AS cached;

-- Azure: the maker's price under the deployment's model name
SELECT usage_cost('{"prompt_tokens": 1000, "completion_tokens": 100}', 'openai', 'gpt-4o', 'azure') AS azure,
       (SELECT explanation FROM ccproxy.explain_cost('gpt-4o', 1000, 100, provider => 'azure') WHERE part = 'total') AS said;

\c :before
DROP DATABASE regression_providers;
