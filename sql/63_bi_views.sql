-- Views for BI tools and Grafana: plain columns, a timestamptz named ts at the
-- beginning of each bucket (UTC), from the tiles that answer stats() too.
--
-- A view reads the buckets of its own grain that are closed and clean by a scan of
-- the rollup's index, which a condition on ts narrows. The rest (what is open or
-- dirty) comes in pieces, each of one bucket of the view: ts is a column of theirs,
-- so that a condition on it leaves out pieces before anything is read for them.
-- No plan hangs on statistics: what a query has to know first is worked out by
-- functions, once, and pieces are read one by one, by index.

-- Tiles for a view from a time on, until the last bucket that anything is in.
CREATE FUNCTION ccproxy._view_tiles(cube text, from_ts timestamptz, coarsest "char") RETURNS TABLE (grain "char", spans tstzmultirange)
LANGUAGE plpgsql STABLE ROWS 4
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
        SELECT t.* FROM ccproxy._tiles(cube, from_ts,
            (SELECT ccproxy._bucket('d', greatest(
                       (SELECT max(b.bucket) FROM ccproxy.rollup_service b WHERE b.grain = 'm'),
                       (SELECT max(d.minute) FROM ccproxy.dirty_minute d WHERE d.xid >= ccproxy._marks_from()),
                       s.quarters_closed)) + interval '1 day'
               FROM ccproxy.rollup_state s), coarsest) AS t;
END
$$;

-- These spans cut at the buckets of a grain.
CREATE FUNCTION ccproxy._view_pieces(spans tstzmultirange, grain "char") RETURNS TABLE (ts timestamptz, first timestamptz, until timestamptz)
LANGUAGE sql STABLE ROWS 10
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT b, greatest(b, lower(s)), least(b + l, upper(s))
      FROM ccproxy._grain_length(grain) AS l
     CROSS JOIN unnest(spans) AS s
     CROSS JOIN LATERAL generate_series(ccproxy._bucket(grain, lower(s)), upper(s) - interval '1 microsecond', l) AS b
$$;

-- The query of raw rows as cells of a cube, between $1 and $2.
CREATE FUNCTION ccproxy._view_rows_sql(cube text) RETURNS text
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT format('SELECT %s, %s FROM ccproxy.request_log r WHERE r.ts >= $1 AND r.ts < $2 GROUP BY 1, 2, 3, 4, 5',
                  string_agg(l.raw, ', ' ORDER BY l.nth), ccproxy._measures_sql(cube, ccproxy._reported_counts()::text))
      FROM ccproxy._labels(cube) AS l
$$;

-- Its rows. EXECUTE plans for the bounds it is given: of many partitions it opens one.
CREATE FUNCTION ccproxy._view_service_rows(rows_sql text, first timestamptz, until timestamptz)
RETURNS TABLE (endpoint_type text, method text, model text, status_code integer, error_type text, m ccproxy.measures)
LANGUAGE plpgsql STABLE ROWS 20 COST 1000
SET search_path = pg_catalog, pg_temp
SET jit = off
AS $$
BEGIN
    RETURN QUERY EXECUTE rows_sql USING first, until;
END
$$;
CREATE FUNCTION ccproxy._view_user_rows(rows_sql text, first timestamptz, until timestamptz)
RETURNS TABLE (user_id text, team_id text, api_key_hash text, model text, endpoint_type text, m ccproxy.measures)
LANGUAGE plpgsql STABLE ROWS 20 COST 1000
SET search_path = pg_catalog, pg_temp
SET jit = off
AS $$
BEGIN
    RETURN QUERY EXECUTE rows_sql USING first, until;
END
$$;

CREATE FUNCTION ccproxy._create_bi_views() RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
SET client_min_messages = warning
AS $$
DECLARE
    -- what every view shows of its measures
    shown CONSTANT text := $columns$
        e.requests, e.successful AS successful_requests, e.failed AS failed_requests, e.in_flight AS in_flight_requests,
        (e.sum_response_time_us / nullif(e.n_response_time, 0) / 1000)::double precision AS avg_response_time_ms,
        ccproxy.quantile(e.response_time, 0.5) AS p50_response_time_ms,
        ccproxy.quantile(e.response_time, 0.95) AS p95_response_time_ms,
        ccproxy.quantile(e.response_time, 0.99) AS p99_response_time_ms,
        e.input_tokens, e.cache_read_tokens, e.cache_write_tokens, e.cache_write_1h_tokens, e.output_tokens, e.reasoning_tokens,
        e.input_tokens + e.cache_read_tokens + e.cache_write_tokens + e.cache_write_1h_tokens + e.output_tokens AS total_tokens,
        CASE WHEN e.priced > 0 OR e.unpriced = 0 THEN e.total_cost END AS total_cost, e.unpriced AS unpriced_requests,
        e.response_time AS response_time_sketch$columns$;
    v record;
BEGIN
    -- Cells with their labels, by buckets of a view: whole ones, pieces of the
    -- others from finer grains, raw rows.
    FOR v IN SELECT x.*, (SELECT string_agg('k.' || l.name, ', ' ORDER BY l.nth) FROM ccproxy._labels(x.cube) AS l) AS keys
               FROM (VALUES
        ('_service_minutes', 'service', 'm', '(SELECT minutes_from FROM ccproxy.rollup_state)',  'Internal: cells of the service cube by minute.'),
        ('_service_hours',   'service', 'h', '(SELECT quarters_from FROM ccproxy.rollup_state)', 'Internal: cells of the service cube by hour.'),
        ('_service_days',    'service', 'd', '''-infinity''',                                    'Internal: cells of the service cube by day.'),
        ('_user_days',       'user',    'd', '''-infinity''',                                    'Internal: cells of the user cube by day.')) AS x(name, cube, grain, from_ts, comment)
    LOOP
        EXECUTE format($view$
            CREATE OR REPLACE VIEW ccproxy.%1$I AS
            WITH tile AS MATERIALIZED (SELECT * FROM ccproxy._view_tiles(%2$L, %4$s, %3$L))
            SELECT b.bucket AS ts, %5$s, u.m
              FROM ccproxy.rollup_%2$s b
             CROSS JOIN LATERAL ccproxy.unpack(b.cells) AS u
              JOIN ccproxy.%2$s_key k ON k.id = u.key
             WHERE b.grain = %3$L AND (SELECT t.spans FROM tile t WHERE t.grain = %3$L) @> b.bucket
            UNION ALL
            SELECT p.ts, %5$s, u.m
              FROM tile t
             CROSS JOIN LATERAL ccproxy._view_pieces(t.spans, %3$L) AS p
             CROSS JOIN LATERAL (SELECT b.cells FROM ccproxy.rollup_%2$s b WHERE b.grain = t.grain AND b.bucket >= p.first AND b.bucket < p.until OFFSET 0) AS b
             CROSS JOIN LATERAL ccproxy.unpack(b.cells) AS u
              JOIN ccproxy.%2$s_key k ON k.id = u.key
             WHERE t.grain NOT IN (%3$L, 'r')
            UNION ALL
            SELECT p.ts, %5$s, k.m
              FROM tile t
             CROSS JOIN LATERAL ccproxy._view_pieces(t.spans, %3$L) AS p
             CROSS JOIN LATERAL ccproxy._view_%2$s_rows((SELECT ccproxy._view_rows_sql(%2$L)), p.first, p.until) AS k
             WHERE t.grain = 'r'$view$,
            v.name, v.cube, v.grain, v.from_ts, v.keys);
        EXECUTE format('COMMENT ON VIEW ccproxy.%I IS %L', v.name, v.comment);
    END LOOP;

    FOR v IN SELECT * FROM (VALUES
        ('requests_by_minute', '_service_minutes', 'endpoint_type, method, model, status_code, error_type',
         'Requests by minute and endpoint_type, method, model, status_code, error_type, as long as minutes are kept'),
        ('requests_by_hour',   '_service_hours', 'endpoint_type, method, model, status_code, error_type',
         'Requests by hour (UTC) and endpoint_type, method, model, status_code, error_type, as long as its hours are kept'),
        ('requests_by_day',    '_service_days', 'endpoint_type, method, model, status_code, error_type',
         'Requests by day (UTC) and endpoint_type, method, model, status_code, error_type'),
        ('usage_by_model',     '_service_days', 'model',
         'Usage by day (UTC) and model'),
        ('errors_by_type',     '_service_hours', 'error_type, endpoint_type, model',
         'Failed requests by hour (UTC) and error_type (http_<status> or unknown for failures without one), endpoint_type, model'),
        ('usage_by_user',      '_user_days', 'user_id, team_id, api_key_hash, model',
         'Usage by day (UTC) and user_id, team_id, api_key_hash, model')) AS x(name, source, labels, comment)
    LOOP
        EXECUTE format($view$
            CREATE OR REPLACE VIEW ccproxy.%1$I AS
            SELECT g.ts, %2$s, %3$s
              FROM (SELECT c.ts, %4$s, ccproxy.merge(c.m) AS m
                      FROM ccproxy.%5$I c %6$s GROUP BY c.ts, %4$s) AS g
             CROSS JOIN LATERAL ccproxy.expand(g.m) AS e$view$,
            v.name,
            (SELECT string_agg(CASE l WHEN 'status_code' THEN 'nullif(g.status_code, 0) AS status_code' ELSE format('nullif(g.%1$I, '''') AS %1$I', l) END, ', ')
               FROM unnest(string_to_array(v.labels, ', ')) AS l),
            shown,
            'c.' || replace(v.labels, ', ', ', c.'), v.source,
            CASE v.name WHEN 'errors_by_type' THEN 'WHERE c.error_type <> ''''' ELSE '' END);
        EXECUTE format('COMMENT ON VIEW ccproxy.%I IS %L', v.name, v.comment
            || '. Fresh to the last commit; ts is the beginning of the bucket; milliseconds, tokens, USD; total_cost is NULL where requests had tokens and none could be priced; response_time_sketch merges (ccproxy.merge) and answers any quantile.');
    END LOOP;

    CREATE OR REPLACE VIEW ccproxy.prometheus AS SELECT * FROM ccproxy.prometheus_samples();
    COMMENT ON VIEW ccproxy.prometheus IS 'What Prometheus scrapes; see prometheus_samples().';
END
$$;
