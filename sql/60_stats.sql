-- Statistics: what was asked, how fast, how many tokens, at what cost, what
-- failed; by hour, day, model, user or endpoint.

-- One filter as SQL: column = value, or one of several; null asks for absent.
CREATE FUNCTION ccproxy._filter_sql(filters jsonb) RETURNS text
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    allowed CONSTANT jsonb := '{
        "model": "model", "user": "user_id", "endpoint": "endpoint_type", "status": "status_code",
        "error_type": "error_type", "team": "team_id", "api_key": "api_key_hash", "session": "session_id",
        "provider": "provider", "method": "method", "service_tier": "service_tier", "state": "state"}';
    name   text;
    value  jsonb;
    texts  text[];
    wants_null boolean;
    terms  text[] := '{}';
BEGIN
    IF filters IS NULL THEN
        RETURN 'true';
    END IF;
    IF jsonb_typeof(filters) <> 'object' THEN
        RAISE EXCEPTION 'filters must be a JSON object'
            USING ERRCODE = 'invalid_parameter_value', HINT = 'For example {"model": "gpt-4", "status": [200, 201]}.';
    END IF;
    FOR name, value IN SELECT * FROM jsonb_each(filters) LOOP
        IF NOT allowed ? name THEN
            RAISE EXCEPTION 'unknown filter "%"', name
                USING ERRCODE = 'invalid_parameter_value',
                      HINT = 'Filters: ' || (SELECT string_agg(k, ', ' ORDER BY k) FROM jsonb_object_keys(allowed) AS k) || '.';
        END IF;
        IF jsonb_typeof(value) = 'object' THEN
            RAISE EXCEPTION 'filter "%" must be a value or an array of values', name
                USING ERRCODE = 'invalid_parameter_value';
        END IF;
        IF jsonb_typeof(value) <> 'array' THEN
            value := jsonb_build_array(value);
        END IF;
        SELECT array_agg(v) FILTER (WHERE v IS NOT NULL), coalesce(bool_or(v IS NULL), false)
          INTO texts, wants_null
          FROM jsonb_array_elements_text(value) AS v;
        IF name = 'status' AND EXISTS (SELECT FROM unnest(texts) AS v WHERE v !~ '^[1-5][0-9][0-9]$') THEN
            RAISE EXCEPTION 'filter "status" must be HTTP status codes, got %', filters -> 'status'
                USING ERRCODE = 'invalid_parameter_value';
        END IF;
        terms := terms || format('(%s%s)',
            CASE WHEN texts IS NULL THEN 'false'
                 ELSE format('r.%I = ANY (%L%s)', allowed ->> name, texts,
                             CASE WHEN name = 'status' THEN '::integer[]' ELSE '::text[]' END) END,
            CASE WHEN wants_null THEN format(' OR r.%I IS NULL', allowed ->> name) ELSE '' END);
    END LOOP;
    RETURN coalesce(nullif(array_to_string(terms, ' AND '), ''), 'true');
END
$$;
COMMENT ON FUNCTION ccproxy._filter_sql(jsonb) IS 'Internal: a WHERE clause over ccproxy.requests r for stats() filters.';

CREATE FUNCTION ccproxy.stats(
    from_ts timestamptz, to_ts timestamptz, group_by text DEFAULT NULL, filters jsonb DEFAULT NULL,
    time_zone text DEFAULT 'UTC')
RETURNS TABLE (
    group_key             text,
    period_start          timestamptz,
    period_end            timestamptz,
    total_requests        bigint,
    successful_requests   bigint,
    failed_requests       bigint,
    in_flight_requests    bigint,
    avg_response_time_ms  double precision,
    p50_response_time_ms  double precision,
    p95_response_time_ms  double precision,
    p99_response_time_ms  double precision,
    input_tokens          numeric,
    cache_read_tokens     numeric,
    cache_write_tokens    numeric,
    output_tokens         numeric,
    total_tokens          numeric,
    total_cost            numeric,
    avg_cost_per_request  numeric,
    unpriced_requests     bigint,
    model_usage           jsonb,
    model_costs           jsonb,
    error_rate            double precision,
    errors_by_type        jsonb)
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    step  text;
    key   text;
BEGIN
    IF from_ts IS NULL OR to_ts IS NULL OR from_ts > to_ts THEN
        RAISE EXCEPTION 'from_ts and to_ts must be given, in order, got % and %', from_ts, to_ts
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF group_by IS NOT NULL AND group_by NOT IN ('hour', 'day', 'model', 'user', 'endpoint') THEN
        RAISE EXCEPTION 'unknown group_by "%"', group_by
            USING ERRCODE = 'invalid_parameter_value', HINT = 'One of hour, day, model, user, endpoint.';
    END IF;
    IF time_zone IS NULL THEN
        RAISE EXCEPTION 'time_zone must be given'
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    PERFORM from_ts AT TIME ZONE time_zone; -- raises 22023 for an unknown one

    step := CASE WHEN group_by IN ('hour', 'day') THEN group_by END;
    key := CASE group_by
               WHEN 'hour' THEN format('date_trunc(''hour'', r.ts, %L)', time_zone)
               WHEN 'day' THEN format('date_trunc(''day'', r.ts, %L)', time_zone)
               WHEN 'model' THEN 'r.model'
               WHEN 'user' THEN 'r.user_id'
               WHEN 'endpoint' THEN 'r.endpoint_type'
               ELSE 'NULL::text' END;

    -- Bounds as literals, so that planning looks at the partitions asked for.
    RETURN QUERY EXECUTE format($query$
        WITH row AS MATERIALIZED (
            SELECT %1$s AS key, r.model, r.state, r.response_time_ms, r.input_tokens, r.cache_read_tokens,
                   r.cache_write_tokens, r.cache_write_1h_tokens, r.output_tokens, r.total_tokens, r.total_cost,
                   CASE WHEN r.state = 'failed'
                        THEN coalesce(r.error_type, 'http_' || r.status_code, 'unknown') END AS error
              FROM ccproxy.requests r
             WHERE r.ts >= %2$L::timestamptz AND r.ts < %3$L::timestamptz AND %4$s
        ), overall AS (
            SELECT %9$s AS key,
                   count(*) AS total,
                   count(*) FILTER (WHERE state = 'successful') AS successful,
                   count(*) FILTER (WHERE state = 'failed') AS failed,
                   count(*) FILTER (WHERE state = 'in_flight') AS in_flight,
                   avg(response_time_ms) AS avg_ms,
                   ccproxy.p50(response_time_ms) AS p50, ccproxy.p95(response_time_ms) AS p95, ccproxy.p99(response_time_ms) AS p99,
                   sum(input_tokens) AS input_tokens,
                   sum(cache_read_tokens) AS cache_read_tokens,
                   sum(coalesce(cache_write_tokens, 0) + coalesce(cache_write_1h_tokens, 0)) AS cache_write_tokens,
                   sum(output_tokens) AS output_tokens,
                   sum(total_tokens) AS total_tokens,
                   sum(total_cost) AS cost,
                   count(total_cost) AS priced,
                   count(*) FILTER (WHERE total_tokens IS NOT NULL AND total_cost IS NULL) AS unpriced
              FROM row %10$s
        ), by_model AS (
            SELECT key, jsonb_object_agg(model, n) AS usage,
                   jsonb_object_agg(model, cost) FILTER (WHERE cost IS NOT NULL) AS costs
              FROM (SELECT key, coalesce(model, 'unknown') AS model, count(*) AS n, sum(total_cost) AS cost
                      FROM row GROUP BY 1, 2) AS m
             GROUP BY key
        ), by_error AS (
            SELECT key, jsonb_object_agg(error, n) AS errors
              FROM (SELECT key, error, count(*) AS n FROM row WHERE error IS NOT NULL GROUP BY 1, 2) AS e
             GROUP BY key
        )
        SELECT %5$s, %6$s, %7$s,
               o.total, o.successful, o.failed, o.in_flight, o.avg_ms, o.p50, o.p95, o.p99,
               coalesce(o.input_tokens, 0), coalesce(o.cache_read_tokens, 0), coalesce(o.cache_write_tokens, 0)::numeric,
               coalesce(o.output_tokens, 0), coalesce(o.total_tokens, 0),
               coalesce(o.cost, 0), trim_scale(round(o.cost / nullif(o.priced, 0), 12)), o.unpriced,
               coalesce(m.usage, '{}'), coalesce(m.costs, '{}'),
               o.failed::double precision / nullif(o.successful + o.failed, 0),
               coalesce(e.errors, '{}')
          FROM overall o
          LEFT JOIN by_model m ON m.key IS NOT DISTINCT FROM o.key
          LEFT JOIN by_error e ON e.key IS NOT DISTINCT FROM o.key
         ORDER BY %8$s
        $query$,
        key, from_ts, to_ts, ccproxy._filter_sql(filters),
        CASE WHEN step IS NULL THEN 'o.key' ELSE format('to_char(o.key AT TIME ZONE %L, %L)', time_zone,
             CASE step WHEN 'day' THEN 'YYYY-MM-DD' ELSE 'YYYY-MM-DD"T"HH24:MI' END) END,
        CASE WHEN step IS NULL THEN format('%L::timestamptz', from_ts)
             ELSE format('greatest(o.key, %L::timestamptz)', from_ts) END,
        -- a day ends where the next begins in that zone, however long it is
        CASE step
             WHEN 'day' THEN format('least(((o.key AT TIME ZONE %1$L) + interval ''1 day'') AT TIME ZONE %1$L, %2$L::timestamptz)', time_zone, to_ts)
             WHEN 'hour' THEN format('least(o.key + interval ''1 hour'', %L::timestamptz)', to_ts)
             ELSE format('%L::timestamptz', to_ts) END,
        CASE WHEN step IS NULL THEN 'o.total DESC, o.key' ELSE 'o.key' END,
        -- ungrouped there is always one row, of zeros when nothing was asked
        CASE WHEN group_by IS NULL THEN 'NULL::text' ELSE 'key' END,
        CASE WHEN group_by IS NULL THEN '' ELSE 'GROUP BY key' END);
END
$$;
COMMENT ON FUNCTION ccproxy.stats(timestamptz, timestamptz, text, jsonb, text) IS
'Statistics of the requests with from_ts <= ts < to_ts. group_by: NULL (always one row), hour or day (in time_zone), model, user, endpoint. filters: object of model, user, endpoint, status, error_type, team, api_key, session, provider, method, service_tier, state, each a value, null or an array. Times in milliseconds over the requests that have one, percentiles within 0.55 % (ccproxy.sketch); costs in USD over priced requests (unpriced_requests counts those with tokens but no known price); error_rate = failed / (successful + failed). cache_write_tokens counts 5-minute and 1-hour writes. Errors: 22023 naming the argument.';

CREATE FUNCTION ccproxy.stats(
    period interval, group_by text DEFAULT NULL, filters jsonb DEFAULT NULL, time_zone text DEFAULT 'UTC')
RETURNS TABLE (
    group_key             text,
    period_start          timestamptz,
    period_end            timestamptz,
    total_requests        bigint,
    successful_requests   bigint,
    failed_requests       bigint,
    in_flight_requests    bigint,
    avg_response_time_ms  double precision,
    p50_response_time_ms  double precision,
    p95_response_time_ms  double precision,
    p99_response_time_ms  double precision,
    input_tokens          numeric,
    cache_read_tokens     numeric,
    cache_write_tokens    numeric,
    output_tokens         numeric,
    total_tokens          numeric,
    total_cost            numeric,
    avg_cost_per_request  numeric,
    unpriced_requests     bigint,
    model_usage           jsonb,
    model_costs           jsonb,
    error_rate            double precision,
    errors_by_type        jsonb)
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT * FROM ccproxy.stats(now() - period, now(), group_by, filters, time_zone)
$$;
COMMENT ON FUNCTION ccproxy.stats(interval, text, jsonb, text) IS
'stats() of the time from now() - period until now(); see stats(from_ts, to_ts, ...).';

-- What Prometheus scrapes, in rows; the gateway writes the text.
CREATE FUNCTION ccproxy.prometheus_samples()
RETURNS TABLE (family text, label_values text[], bucket_counts bigint[], sum numeric, count numeric)
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN QUERY
    WITH row AS MATERIALIZED (
        SELECT coalesce(r.method, 'unknown') AS method, coalesce(r.endpoint_type, 'unknown') AS endpoint_type,
               coalesce(r.status_code::text, 'unknown') AS status_code, coalesce(r.model, 'unknown') AS model,
               coalesce(r.user_id, 'anonymous') AS user_id, r.state, r.response_time_ms,
               r.input_tokens, r.cache_read_tokens, r.cache_write_tokens, r.cache_write_1h_tokens, r.output_tokens,
               r.total_cost,
               coalesce(r.error_type, 'http_' || r.status_code, 'unknown') AS error
          FROM ccproxy.requests r
         WHERE r.state <> 'in_flight'
    )
    SELECT 'requests', ARRAY[r.method, r.endpoint_type, r.status_code, r.model], NULL::bigint[], NULL::numeric, count(*)::numeric
      FROM row r GROUP BY r.method, r.endpoint_type, r.status_code, r.model
    UNION ALL
    SELECT 'response_time', ARRAY[r.method, r.endpoint_type, r.model],
           ARRAY(SELECT sum(c.n) OVER (ORDER BY c.i) FROM unnest(ARRAY[
                count(*) FILTER (WHERE b.bucket = 1), count(*) FILTER (WHERE b.bucket = 2), count(*) FILTER (WHERE b.bucket = 3),
                count(*) FILTER (WHERE b.bucket = 4), count(*) FILTER (WHERE b.bucket = 5), count(*) FILTER (WHERE b.bucket = 6),
                count(*) FILTER (WHERE b.bucket = 7), count(*) FILTER (WHERE b.bucket = 8), count(*) FILTER (WHERE b.bucket = 9),
                count(*) FILTER (WHERE b.bucket = 10), count(*) FILTER (WHERE b.bucket = 11), count(*) FILTER (WHERE b.bucket = 12),
                count(*) FILTER (WHERE b.bucket = 13)]) WITH ORDINALITY AS c(n, i))::bigint[],
           sum(r.response_time_ms::numeric) / 1000, count(*)::numeric
      FROM row r
     CROSS JOIN LATERAL (SELECT CASE
               WHEN r.response_time_ms <= 10 THEN 1 WHEN r.response_time_ms <= 50 THEN 2 WHEN r.response_time_ms <= 100 THEN 3
               WHEN r.response_time_ms <= 500 THEN 4 WHEN r.response_time_ms <= 1000 THEN 5 WHEN r.response_time_ms <= 2500 THEN 6
               WHEN r.response_time_ms <= 5000 THEN 7 WHEN r.response_time_ms <= 10000 THEN 8 WHEN r.response_time_ms <= 30000 THEN 9
               WHEN r.response_time_ms <= 60000 THEN 10 WHEN r.response_time_ms <= 120000 THEN 11 WHEN r.response_time_ms <= 300000 THEN 12
               WHEN r.response_time_ms <= 600000 THEN 13 END AS bucket) AS b
     WHERE r.response_time_ms IS NOT NULL GROUP BY r.method, r.endpoint_type, r.model
    UNION ALL
    SELECT 'tokens', ARRAY[r.model, t.token_type], NULL, NULL, sum(t.tokens)
      FROM row r
     CROSS JOIN LATERAL (VALUES ('input', r.input_tokens), ('cache_read', r.cache_read_tokens),
               ('cache_write', r.cache_write_tokens), ('cache_write_1h', r.cache_write_1h_tokens),
               ('output', r.output_tokens)) AS t(token_type, tokens)
     WHERE t.tokens IS NOT NULL GROUP BY r.model, t.token_type
    UNION ALL
    SELECT 'cost', ARRAY[r.model, r.user_id], NULL, NULL, sum(r.total_cost)
      FROM row r WHERE r.total_cost IS NOT NULL GROUP BY r.model, r.user_id
    UNION ALL
    SELECT 'errors', ARRAY[r.error, r.endpoint_type], NULL, NULL, count(*)::numeric
      FROM row r WHERE r.state = 'failed' GROUP BY r.error, r.endpoint_type
    ORDER BY 1, 2;
END
$$;
COMMENT ON FUNCTION ccproxy.prometheus_samples() IS
'The Prometheus families requests (method, endpoint_type, status_code, model), response_time (method, endpoint_type, model; bucket_counts cumulative for <= 0.01 0.05 0.1 0.5 1 2.5 5 10 30 60 120 300 600 s, sum in seconds), tokens (model, token_type), cost (model, user_id; USD) and errors (error_type, endpoint_type), over finished requests; count is the value. Missing labels are unknown, a missing user is anonymous.';
