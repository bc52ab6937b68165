-- Pricing: what a request costs.

CREATE TYPE ccproxy.request_cost AS (
    input_cost       numeric,
    cache_read_cost  numeric,
    cache_write_cost numeric,
    output_cost      numeric,
    tool_cost        numeric,
    total_cost       numeric,
    price_id         ccproxy.price_id
);
COMMENT ON TYPE ccproxy.request_cost IS
'What a request costs, in USD with twelve decimals: total_cost is the exact sum of the parts. All NULL when no price is known.';

CREATE FUNCTION ccproxy.cost(
    model                 text,
    input_tokens          bigint DEFAULT 0,
    output_tokens         bigint DEFAULT 0,
    cache_read_tokens     bigint DEFAULT 0,
    cache_write_tokens    bigint DEFAULT 0,
    cache_write_1h_tokens bigint DEFAULT 0,
    provider              text DEFAULT NULL,
    service_tier          text DEFAULT NULL,
    at                    timestamptz DEFAULT pg_catalog.now(),
    reasoning_tokens      bigint DEFAULT 0,
    web_searches          bigint DEFAULT 0,
    file_searches         bigint DEFAULT 0
) RETURNS ccproxy.request_cost
AS 'MODULE_PATHNAME', 'ccproxy_cost'
LANGUAGE C STABLE PARALLEL SAFE COST 2;
COMMENT ON FUNCTION ccproxy.cost(text, bigint, bigint, bigint, bigint, bigint, text, text, timestamptz, bigint, bigint, bigint) IS
'Cost of a request in USD, by parts. Token counts are disjoint: input_tokens excludes cached ones, cache_write_tokens are the 5-minute writes only; reasoning_tokens are part of output_tokens. service_tier may carry modifiers: batch+us. All NULL when no price of the model is known for that time; an error for negative or impossible counts. See ccproxy.explain_cost().';

CREATE FUNCTION ccproxy.total_cost(
    model                 text,
    input_tokens          bigint DEFAULT 0,
    output_tokens         bigint DEFAULT 0,
    cache_read_tokens     bigint DEFAULT 0,
    cache_write_tokens    bigint DEFAULT 0,
    cache_write_1h_tokens bigint DEFAULT 0,
    provider              text DEFAULT NULL,
    service_tier          text DEFAULT NULL,
    at                    timestamptz DEFAULT pg_catalog.now(),
    reasoning_tokens      bigint DEFAULT 0,
    web_searches          bigint DEFAULT 0,
    file_searches         bigint DEFAULT 0
) RETURNS numeric
AS 'MODULE_PATHNAME', 'ccproxy_total_cost'
LANGUAGE C STABLE PARALLEL SAFE COST 2;
COMMENT ON FUNCTION ccproxy.total_cost IS
'Cost of a request in USD as one number: the total_cost of ccproxy.cost() with the same arguments. NULL when it has none.';

CREATE TYPE ccproxy.request_cost_pico AS (
    input_cost       bigint,
    cache_read_cost  bigint,
    cache_write_cost bigint,
    output_cost      bigint,
    tool_cost        bigint,
    price_id         ccproxy.price_id
);
COMMENT ON TYPE ccproxy.request_cost_pico IS
'What a request costs, as ccproxy.request_log stores it: picodollars (1e-12 USD), NULL for parts that are 0.';

CREATE FUNCTION ccproxy.cost_pico(
    model                 text,
    model_version         text,
    provider              text,
    service_tier          text,
    at                    timestamptz,
    input_tokens          bigint,
    cache_read_tokens     bigint,
    cache_write_tokens    bigint,
    cache_write_1h_tokens bigint,
    output_tokens         bigint,
    reasoning_tokens      bigint,
    metadata              jsonb DEFAULT NULL
) RETURNS ccproxy.request_cost_pico
AS 'MODULE_PATHNAME', 'ccproxy_cost_pico'
LANGUAGE C STABLE PARALLEL SAFE COST 2;
COMMENT ON FUNCTION ccproxy.cost_pico(text, text, text, text, timestamptz, bigint, bigint, bigint, bigint, bigint, bigint, jsonb) IS
'Cost of a stored request in picodollars; the served model_version is looked up before model. NULL counts are 0, but a request with neither input_tokens nor output_tokens has no usage and no cost. metadata may say how many web searches the server made: {"server_tool_use": {"web_search_requests": 2}} as Anthropic does, or {"web_searches": 2}; anything but a whole number from 0 to 1000000 there says nothing. Parts that are 0 are NULL; all NULL, price_id too, never an error, when it cannot be priced.';
