-- What a request without a price of ours counts as: nothing (computed), or what
-- its source said (reported_if_unpriced). Stored rows are the same either way;
-- the setting applies where they are read and rolled up. There a reported cost
-- that counts is a tool cost of price 0, so that measures carry it.

-- Does it? Roles of grant_read() may read this one setting.
CREATE FUNCTION ccproxy._reported_counts() RETURNS boolean
LANGUAGE plpgsql STABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN coalesce((SELECT c.cost_source = 'reported_if_unpriced' FROM ccproxy.configuration c), false);
END
$$;

-- What is measured of a raw row r, as SQL: the arguments of ccproxy.measures().
-- reported: SQL that says whether reported costs count; constants are folded away.
CREATE FUNCTION ccproxy._measured_sql(reported text) RETURNS text
LANGUAGE plpgsql IMMUTABLE STRICT
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN format($measured$
            r.response_time_us, r.ttft_us, r.input_tokens, r.cache_read_tokens, r.cache_write_tokens,
            r.cache_write_1h_tokens, r.output_tokens, r.reasoning_tokens, r.input_cost, r.cache_read_cost, r.cache_write_cost,
            r.output_cost, CASE WHEN %1$s AND r.price_id IS NULL THEN r.reported_cost ELSE r.tool_cost END, r.reported_cost,
            CASE WHEN %1$s AND r.price_id IS NULL AND r.reported_cost IS NOT NULL THEN 0 ELSE r.price_id::integer END,
            r.status_code, r.error_type, r.error_message$measured$, reported);
END
$$;

-- What is measured over raw rows r for a cube, as SQL; the user cube leaves the
-- detail out.
CREATE FUNCTION ccproxy._measures_sql(cube text, reported text) RETURNS text
LANGUAGE sql IMMUTABLE STRICT
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT format('ccproxy.measures(%s, %L::boolean)', ccproxy._measured_sql(reported), cube <> 'user')
$$;

CREATE FUNCTION ccproxy.set_cost_source(cost_source text) RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    marked bigint;
BEGIN
    IF cost_source IS NULL OR cost_source NOT IN ('computed', 'reported_if_unpriced') THEN
        RAISE EXCEPTION 'cost_source must be computed or reported_if_unpriced, got %', coalesce('"' || cost_source || '"', 'NULL')
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'set_cost_source() must run at READ COMMITTED'
            USING ERRCODE = 'active_sql_transaction',
                  DETAIL = 'With an older snapshot it could miss requests that are rolled up already.';
    END IF;
    -- No refresh while we change it: what one has rolled up is marked below, what
    -- comes later is rolled up by the new setting.
    PERFORM pg_advisory_xact_lock('pg_class'::regclass::oid::integer, hashtext('ccproxy.refresh'));
    UPDATE ccproxy.configuration c SET cost_source = set_cost_source.cost_source
     WHERE c.cost_source <> set_cost_source.cost_source;
    IF NOT FOUND THEN
        RETURN 0;
    END IF;
    INSERT INTO ccproxy.dirty_minute (minute)
    SELECT DISTINCT ccproxy._bucket('m', l.ts) FROM ccproxy.request_log l
     WHERE l.price_id IS NULL AND l.reported_cost IS NOT NULL;
    GET DIAGNOSTICS marked = ROW_COUNT;
    RETURN marked;
END
$$;
COMMENT ON FUNCTION ccproxy.set_cost_source(text) IS
'What a request without a price counts as, in ccproxy.requests, statistics and counters: computed (the default): no cost; reported_if_unpriced: the cost its source reported. Minutes with such requests are rolled up again; returns how many. What was rolled up of raw rows that have expired stays. Errors: 22023 for anything else, 25001 at an isolation level above READ COMMITTED.';
