-- How a cost comes about.

CREATE FUNCTION ccproxy.explain_cost(
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
    file_searches         bigint DEFAULT 0,
    model_version         text DEFAULT NULL
) RETURNS TABLE (part text, units bigint, rate numeric, multiplier numeric, cost numeric, price_id ccproxy.price_id, explanation text)
AS 'MODULE_PATHNAME', 'ccproxy_explain_cost'
LANGUAGE C STABLE PARALLEL RESTRICTED ROWS 5;
COMMENT ON FUNCTION ccproxy.explain_cost IS
'Why a request costs what it does: a row for the price and the rule that matched it, one for each kind of tokens or calls used (units, rate, multiplier, their exact product in USD), and the total, with what fell back; or a row ''unpriced'' with the reason. Each part of a cost is rounded to twelve decimals once, so the products may differ from the total by less than that.';
