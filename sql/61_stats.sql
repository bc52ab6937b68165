-- Statistics: what was asked, how fast, how many tokens, at what cost, what
-- failed; by time, model, user, team, API key, endpoint, method, status, error.

-- What can be grouped by and filtered on: the column of each cube that carries
-- it, and the expression over request_log r.
CREATE FUNCTION ccproxy._dimensions()
RETURNS TABLE (name text, groups boolean, service text, user_cube text, raw text)
LANGUAGE sql IMMUTABLE -- and inlined
BEGIN ATOMIC
    SELECT * FROM (VALUES ('model',        true,  'k.model',              'k.model',         'coalesce(r.model, '''')'),
           ('endpoint',     true,  'k.endpoint_type',      'k.endpoint_type', 'coalesce(r.endpoint_type, '''')'),
           ('method',       true,  'k.method',             NULL,              'coalesce(r.method, '''')'),
           ('status',       true,  'coalesce(nullif(k.status_code, 0)::text, '''')', NULL, 'coalesce(r.status_code::text, '''')'),
           ('error_type',   true,  'k.error_type',         NULL,              'ccproxy._error_label(r.error_type, r.error_message, r.status_code)'),
           ('state',        false, 'CASE WHEN k.error_type <> '''' THEN ''failed'' WHEN k.status_code = 0 THEN ''in_flight'' ELSE ''successful'' END', NULL,
                                   'CASE WHEN ccproxy._error_label(r.error_type, r.error_message, r.status_code) <> '''' THEN ''failed'' WHEN r.status_code IS NULL THEN ''in_flight'' ELSE ''successful'' END'),
           ('user',         true,  NULL,                   'k.user_id',       'coalesce(r.user_id, '''')'),
           ('team',         true,  NULL,                   'k.team_id',       'coalesce(r.team_id, '''')'),
           ('api_key',      true,  NULL,                   'k.api_key_hash',  'coalesce(encode(r.api_key_hash, ''hex''), '''')'),
           ('session',      true,  NULL,                   NULL,              'coalesce(r.session_id, '''')'),
           ('provider',     true,  NULL,                   NULL,              'coalesce(r.provider, '''')'),
           ('service_tier', true,  NULL,                   NULL,              'coalesce(r.service_tier, '''')'),
           ('metadata',     false, NULL,                   NULL,              'r.metadata')) AS d(name, groups, service, user_cube, raw);
END;

-- The values a filter asks for: null becomes '', which is how absence is stored.
CREATE FUNCTION ccproxy._filter_values(name text, value jsonb) RETURNS text[]
LANGUAGE plpgsql IMMUTABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    result text[];
BEGIN
    IF jsonb_typeof(value) = 'object' THEN
        RAISE EXCEPTION 'filter "%" must be a value or an array of values', name
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    result := ARRAY(SELECT coalesce(v, '') FROM jsonb_array_elements_text(
        CASE WHEN jsonb_typeof(value) = 'array' THEN value ELSE jsonb_build_array(value) END) AS v);
    IF name = 'status' AND EXISTS (SELECT FROM unnest(result) AS v WHERE v <> '' AND v !~ '^[1-5][0-9][0-9]$') THEN
        RAISE EXCEPTION 'filter "status" must be HTTP status codes, got %', value
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF name = 'state' AND EXISTS (SELECT FROM unnest(result) AS v WHERE v NOT IN ('successful', 'failed', 'in_flight')) THEN
        RAISE EXCEPTION 'filter "state" must be successful, failed or in_flight, got %', value
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    RETURN result;
END
$$;

-- How a question is answered: checked, and turned into the pieces of its query.
CREATE TYPE ccproxy._stats_plan AS (
    cube      text,         -- service, user or raw
    snapped_from timestamptz,
    snapped_to   timestamptz,
    step      text,         -- minute, quarter, hour, day or null
    dims      text[],       -- what is grouped by besides time, at most two
    time_first boolean,
    cube_filter text,       -- over the key table k
    raw_filter  text,       -- over request_log r
    cube_keys text[],       -- what the two of dims are, '' for none, over k
    raw_keys  text[],       -- and over r
    coarsest  "char"
);

COMMENT ON TYPE ccproxy._stats_plan IS 'Internal: how stats() answers a question.';

CREATE FUNCTION ccproxy._plan_stats(from_ts timestamptz, to_ts timestamptz, group_by text, filters jsonb, time_zone text)
RETURNS ccproxy._stats_plan
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    plan    ccproxy._stats_plan;
    grouped text[] := string_to_array(replace(coalesce(group_by, ''), ' ', ''), ',');
    g       text;
    f       record;
    d       record;
    cube_terms text[] := '{}';
    raw_terms  text[] := '{}';
    needed  text[];
    cubes   text[];
BEGIN
    IF from_ts IS NULL OR to_ts IS NULL OR NOT isfinite(from_ts) OR NOT isfinite(to_ts) OR from_ts > to_ts THEN
        RAISE EXCEPTION 'from_ts and to_ts must be finite and in order, got % and %', from_ts, to_ts
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF time_zone IS NULL THEN
        RAISE EXCEPTION 'time_zone must be given' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    PERFORM from_ts AT TIME ZONE time_zone; -- raises 22023 for an unknown one
    IF filters IS NOT NULL AND jsonb_typeof(filters) <> 'object' THEN
        RAISE EXCEPTION 'filters must be a JSON object'
            USING ERRCODE = 'invalid_parameter_value', HINT = 'For example {"model": "gpt-4", "status": [200, 201]}.';
    END IF;

    IF group_by IS NULL THEN
        grouped := '{}';
    ELSIF grouped = '{}' THEN
        grouped := ARRAY[''];
    END IF;
    plan.dims := '{}';
    FOREACH g IN ARRAY grouped LOOP
        IF g IN ('minute', 'quarter', 'hour', 'day') AND plan.step IS NULL THEN
            plan.step := g;
            plan.time_first := plan.dims = '{}';
        ELSIF g IN (SELECT x.name FROM ccproxy._dimensions() AS x WHERE x.groups) AND NOT g = ANY (plan.dims) THEN
            plan.dims := plan.dims || g;
        ELSE
            RAISE EXCEPTION 'unknown group_by "%"', group_by
                USING ERRCODE = 'invalid_parameter_value',
                      HINT = 'One or two, separated by a comma, of minute, quarter, hour, day, '
                          || (SELECT string_agg(x.name, ', ') FROM ccproxy._dimensions() AS x WHERE x.groups) || '.';
        END IF;
    END LOOP;
    IF cardinality(grouped) > 2 THEN
        RAISE EXCEPTION 'group_by takes at most two, got "%"', group_by USING ERRCODE = 'invalid_parameter_value';
    END IF;

    -- Which cube carries all that is asked for.
    needed := plan.dims || ARRAY(SELECT jsonb_object_keys(coalesce(filters, '{}')));
    SELECT array_agg(n) INTO cubes FROM unnest(needed) AS n WHERE n NOT IN (SELECT x.name FROM ccproxy._dimensions() AS x);
    IF cubes IS NOT NULL THEN
        RAISE EXCEPTION 'unknown filter "%"', cubes[1]
            USING ERRCODE = 'invalid_parameter_value',
                  HINT = 'Filters: ' || (SELECT string_agg(x.name, ', ' ORDER BY x.name) FROM ccproxy._dimensions() AS x) || '.';
    END IF;
    plan.cube := CASE
        WHEN NOT EXISTS (SELECT FROM ccproxy._dimensions() AS x WHERE x.name = ANY (needed) AND x.service IS NULL) THEN 'service'
        WHEN NOT EXISTS (SELECT FROM ccproxy._dimensions() AS x WHERE x.name = ANY (needed) AND x.user_cube IS NULL) THEN 'user'
        ELSE 'raw' END;
    plan.coarsest := 'd';
    IF plan.step IN ('minute', 'quarter') THEN
        plan.coarsest := ccproxy._zone_grain(time_zone, from_ts, to_ts);
        IF plan.cube = 'user' OR plan.coarsest = 'r' THEN
            plan.cube := 'raw'; -- closed hours of the user cube have no minutes
        ELSIF plan.step = 'minute' THEN
            plan.coarsest := 'm';
        ELSIF plan.coarsest = 'h' THEN
            plan.coarsest := 'q';
        END IF;
    ELSIF plan.step = 'hour' OR plan.step = 'day' AND upper(time_zone) NOT IN ('UTC', 'ETC/UTC', 'GMT', 'Z') THEN
        plan.coarsest := ccproxy._zone_grain(time_zone, from_ts, to_ts);
        IF plan.coarsest = 'r' OR plan.cube = 'user' AND plan.coarsest <> 'h' THEN
            plan.cube := 'raw';
        END IF;
    END IF;

    FOR f IN SELECT * FROM jsonb_each(filters) LOOP
        SELECT * INTO d FROM ccproxy._dimensions() AS x WHERE x.name = f.key;
        IF f.key = 'metadata' THEN
            IF jsonb_typeof(f.value) <> 'object' THEN
                RAISE EXCEPTION 'filter "metadata" must be an object' USING ERRCODE = 'invalid_parameter_value';
            END IF;
            raw_terms := raw_terms || format('r.metadata @> %L::jsonb', f.value);
        ELSE
            raw_terms := raw_terms || format('%s = ANY (%L::text[])', d.raw, ccproxy._filter_values(f.key, f.value));
            cube_terms := cube_terms || format('%s = ANY (%L::text[])', CASE plan.cube WHEN 'user' THEN d.user_cube ELSE d.service END,
                                               ccproxy._filter_values(f.key, f.value));
        END IF;
    END LOOP;
    plan.raw_filter := coalesce(nullif(array_to_string(raw_terms, ' AND '), ''), 'true');
    plan.cube_filter := nullif(array_to_string(cube_terms, ' AND '), '');

    -- what is not grouped by is a constant
    SELECT array_agg(coalesce(CASE plan.cube WHEN 'user' THEN x.user_cube ELSE x.service END, '''''::text') ORDER BY n),
           array_agg(coalesce(x.raw, '''''::text') ORDER BY n)
      INTO plan.cube_keys, plan.raw_keys
      FROM generate_series(1, 2) AS n LEFT JOIN ccproxy._dimensions() AS x ON x.name = plan.dims[n];

    SELECT s.snapped_from, s.snapped_to INTO plan.snapped_from, plan.snapped_to FROM ccproxy._snap(plan.cube, from_ts, to_ts, plan.coarsest) AS s;
    RETURN plan;
END
$$;

-- A row of statistics.
CREATE TYPE ccproxy.stats_record AS (
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
    errors_by_type        jsonb,
    group_key2            text,
    avg_ttft_ms           double precision,
    p50_ttft_ms           double precision,
    p95_ttft_ms           double precision,
    p99_ttft_ms           double precision,
    rate_limited_requests bigint
);
COMMENT ON TYPE ccproxy.stats_record IS
'A row of ccproxy.stats(): one group, in its effective range of time.';

-- The groups of a question, from the cells of the keys that are wanted (keys: id, k1, k2, model, error, limited), in
-- buckets (time, cells) in order of time, and from raw rows (time, k1, k2, model, error, limited and _measured_sql());
-- queries as SQL, NULL for nothing. error: '' for none, NULL where errors are not known; limited: '' unless the status
-- is 429. wanted: what is worked out besides counts and sums: response, ttft (percentiles), models (usage and costs by
-- model), errors (by type), total (for each time one more group of all of them, k1 and k2 NULL); what is not is NULL.
CREATE FUNCTION ccproxy._stats_groups(keys text, buckets text, raw text, wanted text[])
RETURNS TABLE (t timestamptz, k1 text, k2 text,
               requests bigint, successful bigint, failed bigint, in_flight bigint, priced bigint, unpriced bigint,
               n_response_time bigint, sum_response_time_us numeric, max_response_time_us bigint, n_ttft bigint, sum_ttft_us numeric,
               input_tokens numeric, cache_read_tokens numeric, cache_write_tokens numeric, output_tokens numeric, total_tokens numeric,
               total_cost numeric,
               p50_response_time double precision, p95_response_time double precision, p99_response_time double precision,
               p50_ttft double precision, p95_ttft double precision, p99_ttft double precision,
               model_usage jsonb, model_costs jsonb, errors_by_type jsonb, rate_limited bigint)
    AS 'MODULE_PATHNAME', 'ccproxy_stats_of_groups' LANGUAGE C STABLE ROWS 100;

CREATE FUNCTION ccproxy.stats(
    from_ts timestamptz, to_ts timestamptz, group_by text DEFAULT NULL, filters jsonb DEFAULT NULL,
    time_zone text DEFAULT 'UTC', fields text[] DEFAULT NULL, total boolean DEFAULT false)
RETURNS SETOF ccproxy.stats_record
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
SET jit = off
SET datestyle = 'ISO' -- of the literals below; see _spans_sql()
AS $$
DECLARE
    plan    ccproxy._stats_plan := ccproxy._plan_stats(from_ts, to_ts, group_by, filters, time_zone);
    by_time boolean := plan.step IS NOT NULL;
    format_of_time text := CASE WHEN plan.step = 'day' THEN 'YYYY-MM-DD' WHEN by_time THEN 'YYYY-MM-DD"T"HH24:MI' END;
    zone    text := replace(quote_literal(time_zone), '%', '%%');
    period  text := CASE WHEN plan.step = 'quarter' THEN format('date_bin(''15 minutes'', %%1$s, date_trunc(''hour'', %%1$s, %s))', zone)
                         WHEN by_time THEN format('date_trunc(%L, %%s, %s)', plan.step, zone) ELSE '''-infinity''::timestamptz' END;
    tile    record;
    grains  "char"[] := '{}';
    spans   tstzmultirange[] := '{}';
    wanted  text[] := '{response,models}';
    unknown text;
    keys    text;
    buckets text;
    raw     text;
BEGIN
    IF total AND (group_by IS NULL OR by_time) THEN
        RAISE EXCEPTION 'total goes with groups that are no times, got %', coalesce('"' || group_by || '"', 'none')
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF plan.cube <> 'user' THEN
        wanted := wanted || '{ttft,errors}';
    END IF;
    IF fields IS NOT NULL THEN
        SELECT coalesce(f, 'NULL') INTO unknown FROM unnest(fields) AS f
         WHERE NOT EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = 'ccproxy.stats_record'::regclass AND a.attnum > 0 AND a.attname = f);
        IF FOUND THEN
            RAISE EXCEPTION 'unknown field "%"', unknown
                USING ERRCODE = 'invalid_parameter_value', HINT = 'Fields are the columns of ccproxy.stats_record.';
        END IF;
        wanted := ARRAY(SELECT w FROM unnest(wanted) AS w
                         WHERE fields && CASE w WHEN 'response' THEN '{p50_response_time_ms,p95_response_time_ms,p99_response_time_ms}'::text[]
                                                WHEN 'ttft' THEN '{p50_ttft_ms,p95_ttft_ms,p99_ttft_ms}'
                                                WHEN 'models' THEN '{model_usage,model_costs}' ELSE '{errors_by_type}' END);
    END IF;
    IF total THEN
        wanted := wanted || 'total'::text;
    END IF;
    -- A STABLE function's statements all see the snapshot of the query that
    -- called it: the tiles and what is read from them belong together.
    FOR tile IN SELECT * FROM ccproxy._tiles(plan.cube, plan.snapped_from, plan.snapped_to, plan.coarsest) LOOP
        IF tile.grain = 'r' THEN
            raw := format('SELECT %s, %s, %s, coalesce(r.model, ''''), %s, CASE WHEN r.status_code = 429 THEN ''429'' ELSE '''' END, %s FROM %s WHERE %s',
                format(period, 'r.ts'), plan.raw_keys[1], plan.raw_keys[2],
                CASE plan.cube WHEN 'user' THEN 'NULL::text' ELSE 'ccproxy._error_label(r.error_type, r.error_message, r.status_code)' END,
                ccproxy._measured_sql(ccproxy._reported_counts()::text), ccproxy._raw_rows_sql(tile.spans), plan.raw_filter);
        ELSE
            grains := grains || tile.grain;
            spans := spans || tile.spans;
        END IF;
    END LOOP;
    IF grains <> '{}' THEN
        keys := format('SELECT k.id, %s, %s, k.model, %s FROM ccproxy.%I k WHERE %s',
            plan.cube_keys[1], plan.cube_keys[2],
            CASE plan.cube WHEN 'user' THEN 'NULL::text, NULL::text' ELSE 'k.error_type, CASE WHEN k.status_code = 429 THEN ''429'' ELSE '''' END' END,
            plan.cube || '_key', coalesce(plan.cube_filter, 'true'));
        buckets := format('SELECT %s, b.cells FROM (%s) AS b ORDER BY 1', format(period, 'b.bucket'), ccproxy._buckets_sql(plan.cube, grains, spans));
    END IF;

    RETURN QUERY
        SELECT CASE WHEN by_time AND plan.time_first THEN to_char(g.t AT TIME ZONE time_zone, format_of_time) ELSE nullif(g.k1, '') END,
               CASE WHEN by_time THEN greatest(g.t, plan.snapped_from) ELSE plan.snapped_from END,
               -- a day ends where the next begins in that zone, however long it is
               least(CASE plan.step WHEN 'day' THEN ((g.t AT TIME ZONE time_zone) + interval '1 day') AT TIME ZONE time_zone
                                    WHEN 'hour' THEN g.t + interval '1 hour'
                                    WHEN 'quarter' THEN g.t + interval '15 minutes'
                                    WHEN 'minute' THEN g.t + interval '1 minute' END, plan.snapped_to),
               coalesce(g.requests, 0), coalesce(g.successful, 0), coalesce(g.failed, 0), coalesce(g.in_flight, 0),
               (g.sum_response_time_us / nullif(g.n_response_time, 0) / 1000)::double precision,
               g.p50_response_time, g.p95_response_time, g.p99_response_time,
               coalesce(g.input_tokens, 0), coalesce(g.cache_read_tokens, 0), coalesce(g.cache_write_tokens, 0),
               coalesce(g.output_tokens, 0), coalesce(g.total_tokens, 0),
               -- where nothing could be priced the cost is unknown, not 0
               CASE WHEN g.priced = 0 AND g.unpriced > 0 THEN NULL ELSE coalesce(g.total_cost, 0) END,
               trim_scale(round(g.total_cost / nullif(g.priced, 0), 12)), coalesce(g.unpriced, 0),
               CASE WHEN 'models' = ANY (wanted) THEN coalesce(g.model_usage, '{}') END,
               CASE WHEN 'models' = ANY (wanted) THEN coalesce(g.model_costs, '{}') END,
               g.failed::double precision / nullif(g.successful + g.failed, 0),
               CASE WHEN 'errors' = ANY (wanted) THEN coalesce(g.errors_by_type, '{}') END,
               CASE WHEN NOT by_time THEN nullif(g.k2, '') WHEN plan.dims = '{}' THEN NULL
                    WHEN plan.time_first THEN nullif(g.k1, '') ELSE to_char(g.t AT TIME ZONE time_zone, format_of_time) END,
               (g.sum_ttft_us / nullif(g.n_ttft, 0) / 1000)::double precision,
               g.p50_ttft, g.p95_ttft, g.p99_ttft,
               CASE WHEN plan.cube <> 'user' THEN coalesce(g.rate_limited, 0) END
               -- all requests together are one row, also when there are none
          FROM (SELECT WHERE group_by IS NULL OR total) AS o
          FULL JOIN ccproxy._stats_groups(keys, buckets, raw, wanted) AS g ON true
         ORDER BY CASE WHEN by_time THEN g.t END, g.k1 IS NULL DESC, g.requests DESC, g.k1, g.k2;
END
$$;
COMMENT ON FUNCTION ccproxy.stats(timestamptz, timestamptz, text, jsonb, text, text[], boolean) IS
'Statistics of the requests with from_ts <= ts < to_ts, from the rollups where they are clean and from raw rows elsewhere, in one snapshot. group_by: NULL (always one row), or one or two (comma) of minute, quarter (of an hour), hour, day (in time_zone), model, endpoint, method, status, error_type, user, team, api_key, session, provider, service_tier. filters: object of the same and state, each a value, null or an array, and metadata (an object that the row''s contains). period_start and period_end are the effective range: past the raw retention it snaps outward to whole buckets. Times in milliseconds over the requests that have one, percentiles within 0.55 % (ccproxy.sketch); costs in USD over priced requests (unpriced_requests counts those with tokens but no known price, see set_cost_source(); where none of a group''s could be priced total_cost is NULL); error_rate = failed / (successful + failed). cache_write_tokens counts 5-minute and 1-hour writes. rate_limited_requests counts status 429. It, errors_by_type and ttft percentiles are NULL where the user cube answers, which does not carry them. fields: the columns that are needed (NULL: all); percentiles, model_usage, model_costs and errors_by_type, which take the longest, are NULL where not named. total: with groups that are no times, first a row of all of them together. Errors: 22023 naming the argument.';

CREATE FUNCTION ccproxy.stats(
    period interval, group_by text DEFAULT NULL, filters jsonb DEFAULT NULL, time_zone text DEFAULT 'UTC')
RETURNS SETOF ccproxy.stats_record
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF period IS NULL OR period < interval '0' THEN
        RAISE EXCEPTION 'period must not be negative, got %', coalesce('"' || period::text || '"', 'NULL') USING ERRCODE = 'invalid_parameter_value';
    END IF;
    RETURN QUERY SELECT * FROM ccproxy.stats(now() - period, now(), group_by, filters, time_zone);
END
$$;
COMMENT ON FUNCTION ccproxy.stats(interval, text, jsonb, text) IS
'stats() of the time from now() - period until now(); see stats(from_ts, to_ts, ...). Errors: 22023 naming the argument.';

CREATE FUNCTION ccproxy.explain_stats(
    from_ts timestamptz, to_ts timestamptz, group_by text DEFAULT NULL, filters jsonb DEFAULT NULL,
    time_zone text DEFAULT 'UTC')
RETURNS TABLE (source text, grain text, spans tstzmultirange, rows_read bigint)
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    plan ccproxy._stats_plan := ccproxy._plan_stats(from_ts, to_ts, group_by, filters, time_zone);
    tile record;
BEGIN
    FOR tile IN SELECT * FROM ccproxy._tiles(plan.cube, plan.snapped_from, plan.snapped_to, plan.coarsest) LOOP
        source := CASE tile.grain WHEN 'r' THEN 'request_log' ELSE 'rollup_' || plan.cube END;
        grain := CASE tile.grain WHEN 'd' THEN 'day' WHEN 'h' THEN 'hour' WHEN 'q' THEN 'quarter hour' WHEN 'm' THEN 'minute' ELSE 'raw' END;
        spans := tile.spans;
        EXECUTE CASE tile.grain
            WHEN 'r' THEN format('SELECT count(*) FROM ccproxy.request_log r WHERE %s', ccproxy._spans_sql('r.ts', tile.spans))
            ELSE format('SELECT count(*) FROM ccproxy.%I b WHERE b.grain = %L AND %s', source, tile.grain, ccproxy._spans_sql('b.bucket', tile.spans)) END
            INTO rows_read;
        RETURN NEXT;
    END LOOP;
END
$$;
COMMENT ON FUNCTION ccproxy.explain_stats(timestamptz, timestamptz, text, jsonb, text) IS
'Which tables and grains stats() with the same arguments reads, which spans of time each answers, and how many rows that is (one rollup row is a whole bucket; raw rows are counted, which reads them).';
