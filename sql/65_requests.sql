-- Single requests: lists of them, why one costs what it does, and the values
-- that filters can be set to.

-- The longest response time of each bucket of a grain, as far as it lies in
-- these spans: from the rollups where they are clean, from raw rows elsewhere.
CREATE FUNCTION ccproxy._longest(plan ccproxy._stats_plan, spans tstzmultirange, grain "char") RETURNS TABLE (bucket timestamptz, response_time_us bigint)
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
SET jit = off
AS $$
#variable_conflict use_variable
DECLARE
    tile    record;
    grains  "char"[] := '{}';
    clean   tstzmultirange[] := '{}';
    time    text := format('ccproxy._bucket(%L::"char", %%s)', grain);
    keys    text;
    buckets text;
    raw     text;
BEGIN
    FOR tile IN SELECT t.grain, t.spans * spans AS spans FROM ccproxy._tiles(plan.cube, lower(spans), upper(spans), grain) AS t WHERE NOT isempty(t.spans * spans) LOOP
        IF tile.grain = 'r' THEN
            raw := format('SELECT %s, %2$L, %2$L, %2$L, NULL::text, NULL::text, %3$s FROM %4$s WHERE %5$s', format(time, 'r.ts'), '',
                          ccproxy._measured_sql(ccproxy._reported_counts()::text), ccproxy._raw_rows_sql(tile.spans), plan.raw_filter);
        ELSE
            grains := grains || tile.grain;
            clean := clean || tile.spans;
        END IF;
    END LOOP;
    IF grains <> '{}' THEN
        keys := format('SELECT k.id, %1$L, %1$L, %1$L, NULL::text, NULL::text FROM ccproxy.%2$I k WHERE %3$s', '', plan.cube || '_key', coalesce(plan.cube_filter, 'true'));
        buckets := format('SELECT %s, b.cells FROM (%s) AS b ORDER BY 1', format(time, 'b.bucket'), ccproxy._buckets_sql(plan.cube, grains, clean));
    END IF;
    RETURN QUERY SELECT g.t, g.max_response_time_us FROM ccproxy._stats_groups(keys, buckets, raw, '{}') AS g WHERE g.max_response_time_us IS NOT NULL;
END
$$;

-- Where the slowest n requests are that took less than below (NULL: the slowest
-- of all), more of them with less: buckets of which n have a request of that
-- time at least hold n such requests, so no shorter one is among them. First
-- hours, then minutes of these. All of the range where that would not help.
CREATE FUNCTION ccproxy._slowest_spans(plan ccproxy._stats_plan, from_ts timestamptz, to_ts timestamptz, n integer, below bigint) RETURNS tstzmultirange
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    most_buckets CONSTANT integer := 500; -- that are worth reading one by one
    most_minutes CONSTANT interval := '10 days'; -- that are worth looking at
    spans  tstzmultirange := ccproxy._span(greatest(from_ts, (SELECT s.raw_from FROM ccproxy.rollup_state s)), to_ts);
    within tstzmultirange;
    found_buckets bigint;
    grain  "char";
BEGIN
    IF plan.cube = 'raw' OR isempty(spans) OR n > most_buckets OR NOT isempty(ccproxy._lost() * spans) THEN
        RETURN spans;
    END IF;
    -- closed hours of the user cube have no minutes
    FOREACH grain IN ARRAY CASE plan.cube WHEN 'user' THEN '{h}' ELSE '{h,m}' END::"char"[] LOOP
        CONTINUE WHEN grain = 'm' AND (SELECT sum(upper(s) - lower(s)) FROM unnest(spans) AS s) > most_minutes;
        WITH bucket AS MATERIALIZED (
            SELECT * FROM ccproxy._longest(plan, spans, grain)
        ), shortest AS (
            SELECT b.response_time_us FROM bucket b WHERE below IS NULL OR b.response_time_us < below
             ORDER BY 1 DESC OFFSET n - 1 LIMIT 1
        )
        SELECT count(*), range_agg(tstzrange(b.bucket, b.bucket + ccproxy._grain_length(grain))) INTO found_buckets, within
          FROM bucket b WHERE b.response_time_us >= (SELECT s.response_time_us FROM shortest s);
        IF found_buckets BETWEEN 1 AND most_buckets THEN
            spans := spans * within;
        END IF;
    END LOOP;
    RETURN spans;
END
$$;

CREATE FUNCTION ccproxy.list_requests(
    from_ts timestamptz, to_ts timestamptz, filters jsonb DEFAULT NULL, order_by text DEFAULT 'newest',
    max_rows integer DEFAULT 100, after_value numeric DEFAULT NULL, after_ts timestamptz DEFAULT NULL, after_id text DEFAULT NULL)
RETURNS SETOF ccproxy.request_record
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
-- the page is small: its rows are fetched by their key, each from one partition
SET enable_hashjoin = off
SET enable_mergejoin = off
SET jit = off
SET datestyle = 'ISO' -- of the literals below; see _spans_sql()
AS $$
DECLARE
    plan    ccproxy._stats_plan := ccproxy._plan_stats(from_ts, to_ts, NULL, filters, 'UTC');
    sort    text;
    units   numeric; -- of the sorted column in one of after_value
    after   text := 'true';
    below   bigint; -- the value of the row before
    spans   tstzmultirange := ccproxy._span(from_ts, to_ts);
    first   timestamptz; -- of the part of the range that is looked at
    until   timestamptz;
    length  interval := '1 hour';
    missing integer := max_rows;
    found_rows integer;
BEGIN
    IF order_by IS NULL OR order_by NOT IN ('newest', 'slowest', 'dearest', 'failed') THEN
        RAISE EXCEPTION 'order_by must be newest, slowest, dearest or failed, got %', coalesce('"' || order_by || '"', 'NULL')
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF max_rows IS NULL OR max_rows < 1 THEN
        RAISE EXCEPTION 'max_rows must be at least 1, got %', max_rows USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF (after_ts IS NULL) <> (after_id IS NULL) THEN
        RAISE EXCEPTION 'after_ts and after_id go together' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    CASE order_by
        WHEN 'slowest' THEN
            sort := 'r.response_time_us';
            units := 1000;
        WHEN 'dearest' THEN
            sort := format('CASE WHEN r.price_id IS NOT NULL THEN coalesce(r.input_cost, 0) + coalesce(r.cache_read_cost, 0) '
                           '+ coalesce(r.cache_write_cost, 0) + coalesce(r.output_cost, 0) + coalesce(r.tool_cost, 0) '
                           'WHEN %L THEN r.reported_cost END', ccproxy._reported_counts());
            units := 1e12;
        ELSE
            NULL;
    END CASE;
    -- the rows after that one: lower values, then none; of equal ones the older
    IF after_ts IS NOT NULL THEN
        after := format('(r.ts, r.request_id) < (%L::timestamptz, %L)', after_ts, after_id);
        IF sort IS NOT NULL AND after_value IS NULL THEN
            after := format('(%s) IS NULL AND %s', sort, after);
        ELSIF sort IS NOT NULL THEN
            below := round(after_value * units)::bigint;
            after := format('((%1$s) < %2$L::bigint OR (%1$s) IS NULL OR (%1$s) = %2$L::bigint AND %3$s)', sort, below, after);
        END IF;
    END IF;
    -- those without a time come last, when there is no better place to look
    IF order_by = 'slowest' AND (after_ts IS NULL OR below IS NOT NULL) THEN
        spans := ccproxy._slowest_spans(plan, from_ts, to_ts, max_rows, below);
    END IF;
    IF isempty(spans) THEN
        RETURN;
    END IF;
    until := upper(spans);
    IF sort IS NULL AND after_ts IS NOT NULL THEN
        until := least(until, after_ts + interval '1 microsecond');
    END IF;
    -- The newest are looked for in the last hour, then in the eight hours before,
    -- and so on: a statement takes as long as it has partitions, read or not.
    LOOP
        first := lower(spans);
        IF sort IS NULL AND until - first > length THEN
            first := until - length;
        END IF;
        RETURN QUERY EXECUTE format($query$
            SELECT q.*
              FROM (SELECT r.ts, r.request_id, %1$s AS value
                      FROM %2$s
                     WHERE %3$s AND %4$s AND %5$s
                     ORDER BY %6$s r.ts DESC, r.request_id DESC
                     LIMIT %7$s) AS page
              JOIN ccproxy.requests q ON q.ts = page.ts AND q.request_id = page.request_id AND q.ts >= %8$L AND q.ts < %9$L
             ORDER BY page.value DESC NULLS LAST, page.ts DESC, page.request_id DESC
            $query$,
            coalesce(sort, 'NULL::bigint'), ccproxy._raw_rows_sql(spans * ccproxy._span(first, until)), plan.raw_filter,
            CASE WHEN order_by = 'failed'
                 THEN '(r.status_code >= 400 OR r.error_type IS NOT NULL OR r.error_message IS NOT NULL)' ELSE 'true' END,
            after, '(' || sort || ') DESC NULLS LAST,', missing, first, until);
        GET DIAGNOSTICS found_rows = ROW_COUNT;
        missing := missing - found_rows;
        EXIT WHEN missing <= 0 OR first <= lower(spans);
        until := first;
        length := least(8 * length, interval '100000 years'); -- or it were out of range
    END LOOP;
END
$$;
COMMENT ON FUNCTION ccproxy.list_requests(timestamptz, timestamptz, jsonb, text, integer, numeric, timestamptz, text) IS
'Requests with from_ts <= ts < to_ts that filters (as of stats()) let through, at most max_rows: the newest first, the slowest, the dearest (rows without a value last), or the newest failed ones. The page after a row: give its ts and request_id, and its response_time_ms (slowest) or total_cost (dearest). newest and failed stop early; slowest looks where the rollups say that slow ones are, unless filters or a page of more than 500 rows ask for more than they know; dearest looks at the whole range. Errors: 22023 naming the argument.';

CREATE FUNCTION ccproxy.explain_request(request ccproxy.request_record)
RETURNS TABLE (part text, units bigint, rate numeric, multiplier numeric, cost numeric, price_id integer, explanation text)
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT e.part, e.units, e.rate, e.multiplier, e.cost, e.price_id::integer, e.explanation
      FROM (SELECT coalesce(request.metadata -> 'server_tool_use' -> 'web_search_requests', request.metadata -> 'web_searches') AS n) AS searches
     CROSS JOIN LATERAL ccproxy.explain_cost(request.model, coalesce(request.input_tokens, 0), coalesce(request.output_tokens, 0),
           coalesce(request.cache_read_tokens, 0), coalesce(request.cache_write_tokens, 0), coalesce(request.cache_write_1h_tokens, 0),
           request.provider, request.service_tier, request.ts, coalesce(request.reasoning_tokens, 0),
           -- as cost_pico(): anything but a sane whole number says nothing
           CASE WHEN jsonb_typeof(searches.n) <> 'number' THEN 0
                WHEN searches.n::numeric BETWEEN 0 AND 1000000 AND searches.n::numeric % 1 = 0 THEN searches.n::bigint ELSE 0 END,
           0, request.model_version) AS e
     WHERE request.input_tokens IS NOT NULL OR request.output_tokens IS NOT NULL
$$;
COMMENT ON FUNCTION ccproxy.explain_request(ccproxy.request_record) IS
'Why a stored request costs what it does: explain_cost() with its tokens at its own time, by the prices of now (CALL ccproxy.reprice() brings stored costs in line when those have changed). No row for a request without usage. For example: SELECT e.* FROM ccproxy.request(''id'') r, ccproxy.explain_request(r) e.';

CREATE FUNCTION ccproxy.filter_values(filter text, search text DEFAULT NULL, max_values integer DEFAULT 100)
RETURNS SETOF text
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    d record;
BEGIN
    SELECT x.* INTO d FROM ccproxy._dimensions() AS x
     WHERE x.name = filter AND x.groups AND coalesce(x.service, x.user_cube) IS NOT NULL;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'there is no list of values of "%"', filter
            USING ERRCODE = 'invalid_parameter_value',
                  HINT = 'Lists: ' || (SELECT string_agg(x.name, ', ' ORDER BY x.name) FROM ccproxy._dimensions() AS x
                                        WHERE x.groups AND coalesce(x.service, x.user_cube) IS NOT NULL) || '.';
    END IF;
    RETURN QUERY EXECUTE format($query$
        SELECT DISTINCT v FROM (SELECT %s AS v FROM ccproxy.%I k) AS x
         WHERE v <> '' AND ($1 IS NULL OR position(lower($1) IN lower(v)) > 0)
         ORDER BY v LIMIT $2
        $query$, coalesce(d.service, d.user_cube), CASE WHEN d.service IS NULL THEN 'user_key' ELSE 'service_key' END)
    USING search, max_values;
END
$$;
COMMENT ON FUNCTION ccproxy.filter_values(text, text, integer) IS
'What a filter of stats() can be set to, of all that was ever rolled up, in order, at most max_values: model, endpoint, method, status, error_type, user, team or api_key. search: only values that contain this text, whatever its case. Errors: 22023 for any other filter.';
