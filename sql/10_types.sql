-- Types: one request as it is stored, as it is read, as it arrives.

-- The id of a row of the price catalogue. A type of its own so that every
-- table that keeps one depends on the extension: DROP EXTENSION then refuses
-- by itself while a metrics table exists.
CREATE DOMAIN ccproxy.price_id AS integer;
COMMENT ON DOMAIN ccproxy.price_id IS
'Id of a price: shipped ones never change between releases.';

-- The physical row: lean, fixed order (extension/event_fields.h), wide columns
-- first so that nothing is lost to alignment. Money is picodollars (1e-12 USD),
-- time is microseconds; ccproxy.requests shows both in friendly units. Of a
-- priced row (price_id) a part of the cost that is 0 is NULL: most rows have
-- three such.
CREATE TYPE ccproxy.request_metric AS (
    ts                    timestamptz,
    response_time_us      bigint,
    ttft_us               bigint,
    input_tokens          bigint,
    cache_read_tokens     bigint,
    cache_write_tokens    bigint,
    cache_write_1h_tokens bigint,
    output_tokens         bigint,
    reasoning_tokens      bigint,
    input_cost            bigint,
    cache_read_cost       bigint,
    cache_write_cost      bigint,
    output_cost           bigint,
    tool_cost             bigint,
    reported_cost         bigint,
    price_id              ccproxy.price_id,
    status_code           smallint,
    parts                 smallint,
    streaming             boolean,
    request_id            text,
    user_id               text,
    team_id               text,
    session_id            text,
    method                text,
    path                  text,
    endpoint_type         text,
    provider              text,
    user_agent            text,
    client_ip             inet,
    api_key_hash          bytea,
    model                 text,
    model_version         text,
    service_tier          text,
    error_type            text,
    error_message         text,
    metadata              jsonb
);
COMMENT ON TYPE ccproxy.request_metric IS
'One LLM request as stored in ccproxy.request_log: costs in picodollars (1e-12 USD), durations in microseconds, NULL for what is unknown and for parts of a known cost that are 0.';

-- One event on its way in: the row it brings, which part of a request it is and
-- when that part happened.
CREATE TYPE ccproxy.request_event AS (
    ord     integer,
    kind    smallint,
    part_ts timestamptz,
    metric  ccproxy.request_metric
);
COMMENT ON TYPE ccproxy.request_event IS
'An event to be merged: ord is the caller''s index; kind is 1 request, 2 response, 3 token_usage, 4 cost, 5 error, 6 complete; part_ts is the event''s own timestamp, NULL when it had none.';

-- One request as it is read: exactly the columns of the view ccproxy.requests
-- (a regression test compares them), so that functions can return its rows
-- without depending on a table that is not the extension's.
CREATE TYPE ccproxy.request_record AS (
    request_id            text,
    ts                    timestamptz,
    user_id               text,
    team_id               text,
    session_id            text,
    method                text,
    path                  text,
    endpoint_type         text,
    provider              text,
    user_agent            text,
    client_ip             inet,
    api_key_hash          text,
    model                 text,
    model_version         text,
    streaming             boolean,
    service_tier          text,
    response_time_ms      double precision,
    ttft_ms               double precision,
    status_code           integer,
    input_tokens          bigint,
    cache_read_tokens     bigint,
    cache_write_tokens    bigint,
    cache_write_1h_tokens bigint,
    output_tokens         bigint,
    reasoning_tokens      bigint,
    total_tokens          bigint,
    input_cost            numeric,
    cache_read_cost       numeric,
    cache_write_cost      numeric,
    output_cost           numeric,
    tool_cost             numeric,
    total_cost            numeric,
    reported_cost         numeric,
    price_id              integer,
    error_type            text,
    error_message         text,
    metadata              jsonb,
    state                 text
);
COMMENT ON TYPE ccproxy.request_record IS
'One LLM request as read from ccproxy.requests: costs in USD, durations in milliseconds, disjoint token buckets, state successful, failed or in_flight.';

CREATE FUNCTION ccproxy.usd(picodollars bigint) RETURNS numeric
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN pg_catalog.trim_scale(picodollars::numeric * 0.000000000001);
COMMENT ON FUNCTION ccproxy.usd(bigint) IS
'Picodollars (1e-12 USD) as exact USD; NULL for NULL.';
