-- The public view. Its columns are a contract (ccproxy.request_record).

CREATE FUNCTION ccproxy._create_views() RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
SET client_min_messages = warning
AS $$
BEGIN
    CREATE OR REPLACE VIEW ccproxy.requests AS
    SELECT r.request_id,
           r.ts,
           r.user_id,
           r.team_id,
           r.session_id,
           r.method,
           r.path,
           r.endpoint_type,
           r.provider,
           r.user_agent,
           r.client_ip,
           encode(r.api_key_hash, 'hex') AS api_key_hash,
           r.model,
           r.model_version,
           r.streaming,
           r.service_tier,
           r.response_time_us / 1000.0::double precision AS response_time_ms,
           r.ttft_us / 1000.0::double precision AS ttft_ms,
           r.status_code::integer AS status_code,
           r.input_tokens,
           r.cache_read_tokens,
           r.cache_write_tokens,
           r.cache_write_1h_tokens,
           r.output_tokens,
           r.reasoning_tokens,
           CASE WHEN coalesce(r.input_tokens, r.cache_read_tokens, r.cache_write_tokens,
                              r.cache_write_1h_tokens, r.output_tokens) IS NOT NULL
                THEN coalesce(r.input_tokens, 0) + coalesce(r.cache_read_tokens, 0)
                     + coalesce(r.cache_write_tokens, 0) + coalesce(r.cache_write_1h_tokens, 0)
                     + coalesce(r.output_tokens, 0) END AS total_tokens,
           -- parts of a priced row's cost that are 0 are stored as NULL
           ccproxy.usd(coalesce(r.input_cost, 0 * r.price_id)) AS input_cost,
           ccproxy.usd(coalesce(r.cache_read_cost, 0 * r.price_id)) AS cache_read_cost,
           ccproxy.usd(coalesce(r.cache_write_cost, 0 * r.price_id)) AS cache_write_cost,
           ccproxy.usd(coalesce(r.output_cost, 0 * r.price_id)) AS output_cost,
           ccproxy.usd(coalesce(r.tool_cost, 0 * r.price_id)) AS tool_cost,
           CASE WHEN r.price_id IS NOT NULL
                THEN ccproxy.usd(coalesce(r.input_cost, 0) + coalesce(r.cache_read_cost, 0)
                     + coalesce(r.cache_write_cost, 0) + coalesce(r.output_cost, 0)
                     + coalesce(r.tool_cost, 0))
                WHEN (SELECT c.cost_source FROM ccproxy.configuration c) = 'reported_if_unpriced'
                THEN ccproxy.usd(r.reported_cost) END AS total_cost,
           ccproxy.usd(r.reported_cost) AS reported_cost,
           r.price_id::integer AS price_id,
           r.error_type,
           r.error_message,
           r.metadata,
           CASE WHEN r.status_code >= 400 OR r.error_type IS NOT NULL OR r.error_message IS NOT NULL THEN 'failed'
                WHEN r.status_code IS NOT NULL THEN 'successful'
                ELSE 'in_flight' END AS state
      FROM ccproxy.request_log r;

    COMMENT ON VIEW ccproxy.requests IS
    'Every request within the retention, one row each. Takes INSERT and COPY too: rows are validated, priced and merged as events are; duplicates are left out.';
    COMMENT ON COLUMN ccproxy.requests.ts IS 'start of the request';
    COMMENT ON COLUMN ccproxy.requests.api_key_hash IS 'keyed hash of the API key (HMAC-SHA-256, first 16 bytes, hex); on INSERT whatever is given is hashed';
    COMMENT ON COLUMN ccproxy.requests.model IS 'the model that was asked for';
    COMMENT ON COLUMN ccproxy.requests.model_version IS 'the model that really answered';
    COMMENT ON COLUMN ccproxy.requests.response_time_ms IS 'whole response, milliseconds, microsecond resolution';
    COMMENT ON COLUMN ccproxy.requests.ttft_ms IS 'time to first token, milliseconds';
    COMMENT ON COLUMN ccproxy.requests.input_tokens IS 'input tokens that were neither read from nor written to a cache';
    COMMENT ON COLUMN ccproxy.requests.cache_write_tokens IS 'tokens written to a cache for 5 minutes';
    COMMENT ON COLUMN ccproxy.requests.cache_write_1h_tokens IS 'tokens written to a cache for 1 hour';
    COMMENT ON COLUMN ccproxy.requests.reasoning_tokens IS 'part of output_tokens';
    COMMENT ON COLUMN ccproxy.requests.total_tokens IS 'sum of the five disjoint buckets';
    COMMENT ON COLUMN ccproxy.requests.total_cost IS 'USD, sum of the five parts; where no price is known, NULL or (ccproxy.set_cost_source()) the reported cost';
    COMMENT ON COLUMN ccproxy.requests.reported_cost IS 'USD as the event''s source said';
    COMMENT ON COLUMN ccproxy.requests.price_id IS 'the price that was applied; NULL for none';
    COMMENT ON COLUMN ccproxy.requests.state IS 'failed: status >= 400 or an error; successful: status < 400 and no error; in_flight: neither yet';

    CREATE OR REPLACE TRIGGER requests_insert INSTEAD OF INSERT ON ccproxy.requests
        FOR EACH ROW EXECUTE FUNCTION ccproxy.requests_insert();
END
$$;

CREATE FUNCTION ccproxy.request(request_id text) RETURNS SETOF ccproxy.request_record
LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
-- the planner does not choose the BRIN bloom index by itself, and takes what it
-- must not choose for expensive enough to compile
SET enable_seqscan = off
SET jit = off
AS $$
BEGIN
    RETURN QUERY SELECT r.* FROM ccproxy.requests r WHERE r.request_id = request.request_id ORDER BY r.ts;
END
$$;
COMMENT ON FUNCTION ccproxy.request(text) IS
'The request with this id, found through the BRIN bloom index (several rows when the id was used again at another time); no row when there is none; NULL gives no row.';
