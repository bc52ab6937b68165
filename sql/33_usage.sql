-- Usage objects of providers, as disjoint buckets.

CREATE TYPE ccproxy.usage_buckets AS (
    input_tokens          bigint,
    cache_read_tokens     bigint,
    cache_write_tokens    bigint,
    cache_write_1h_tokens bigint,
    output_tokens         bigint,
    reasoning_tokens      bigint,
    audio_of_input        bigint,
    audio_of_cache_read   bigint,
    audio_of_output       bigint,
    image_of_input        bigint,
    image_of_output       bigint,
    web_searches          bigint
);
COMMENT ON TYPE ccproxy.usage_buckets IS
'Disjoint buckets of tokens, NULL where the usage object says nothing; reasoning_tokens are part of output_tokens, *_of_* the share of a bucket.';

CREATE FUNCTION ccproxy.usage_tokens(usage jsonb, convention text) RETURNS ccproxy.usage_buckets
AS 'MODULE_PATHNAME', 'ccproxy_usage_tokens' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 10;
COMMENT ON FUNCTION ccproxy.usage_tokens(jsonb, text) IS
'A provider''s usage object as disjoint buckets. convention says how it counts: anthropic, bedrock (cached tokens beside the input), openai (both APIs, DeepSeek), litellm, otel (cached inside), gemini (cached inside, thoughts beside the candidates), xai (as openai, reasoning beside). Errors: 22023 for unknown conventions, counts that are none, and parts greater than the whole.';

CREATE FUNCTION ccproxy.price_usage(
    usage         jsonb,
    convention    text,
    model         text,
    provider      text DEFAULT NULL,
    service_tier  text DEFAULT NULL,
    at            timestamptz DEFAULT pg_catalog.now(),
    model_version text DEFAULT NULL
) RETURNS ccproxy.request_cost
AS 'MODULE_PATHNAME', 'ccproxy_price_usage' LANGUAGE C STABLE PARALLEL SAFE COST 10;
COMMENT ON FUNCTION ccproxy.price_usage(jsonb, text, text, text, text, timestamptz, text) IS
'Cost in USD of a provider''s usage object, its audio and image tokens and web searches included: ccproxy.price_usage(response -> ''usage'', ''openai'', ''gpt-4o''). For convention see ccproxy.usage_tokens(). All NULL when no price of the model is known for that time.';
