-- Views for BI tools and Grafana: plain columns, a timestamptz named ts at the
-- beginning of each bucket (UTC), rows from rollups where they are clean and
-- from raw where they are not. A condition on ts reaches the rollup's scan.

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
    reported CONSTANT text := '(SELECT c.cost_source = ''reported_if_unpriced'' FROM ccproxy.configuration c)';
    service_keys text;
    service_raw  text;
    user_keys    text;
    user_raw     text;
    v record;
BEGIN
    SELECT string_agg('k.' || l.name, ', ' ORDER BY l.nth), string_agg(l.raw, ', ' ORDER BY l.nth) INTO service_keys, service_raw
      FROM ccproxy._labels('service') AS l;
    SELECT string_agg('k.' || l.name, ', ' ORDER BY l.nth), string_agg(l.raw, ', ' ORDER BY l.nth) INTO user_keys, user_raw
      FROM ccproxy._labels('user') AS l;

    -- The live marks, once each.
    CREATE OR REPLACE VIEW ccproxy._dirty AS
    SELECT DISTINCT d.minute FROM ccproxy.dirty_minute d
     WHERE d.xid >= (SELECT ccproxy._marks_from()) AND d.minute >= (SELECT s.raw_from FROM ccproxy.rollup_state s)
       AND NOT (SELECT ccproxy._lost()) @> d.minute;

    -- Cells of the service cube with their labels, no coarser than an hour
    -- (or a minute); a bucket is used when it is closed and clean.
    FOR v IN SELECT * FROM (VALUES ('_service_minutes', false), ('_service_hours', true)) AS x(name, hours) LOOP
        EXECUTE format($view$
            CREATE OR REPLACE VIEW ccproxy.%1$I AS
            %2$s
            SELECT b.bucket, %3$s, u.m
              FROM ccproxy.rollup_service b
             CROSS JOIN LATERAL ccproxy.unpack(b.cells) AS u
              JOIN ccproxy.service_key k ON k.id = u.key
             WHERE b.grain = 'm' AND NOT EXISTS (SELECT FROM ccproxy._dirty d WHERE d.minute = b.bucket) %4$s
            UNION ALL
            SELECT d.bucket, x.*
              FROM (%6$s) AS d
             CROSS JOIN LATERAL (
                   SELECT %5$s
                     FROM ccproxy.request_log r WHERE r.ts >= d.bucket AND r.ts < d.bucket + d.length
                    GROUP BY 1, 2, 3, 4, 5) AS x$view$,
            v.name,
            CASE WHEN v.hours THEN format($part$
                SELECT b.bucket, %s, u.m
                  FROM ccproxy.rollup_service b
                 CROSS JOIN LATERAL ccproxy.unpack(b.cells) AS u
                  JOIN ccproxy.service_key k ON k.id = u.key
                 WHERE b.grain = 'h' AND b.bucket < (SELECT hours_closed FROM ccproxy.rollup_state)
                   AND NOT EXISTS (SELECT FROM ccproxy._dirty d WHERE ccproxy._bucket('h', d.minute) = b.bucket)
                UNION ALL$part$, service_keys) ELSE '' END,
            service_keys,
            CASE WHEN v.hours THEN $part$ AND (b.bucket >= (SELECT hours_closed FROM ccproxy.rollup_state)
                   OR ccproxy._bucket('h', b.bucket) IN (SELECT ccproxy._bucket('h', d.minute) FROM ccproxy._dirty d))$part$ ELSE '' END,
            service_raw || ', ' || ccproxy._measures_sql('service', reported),
            -- where minutes have expired, the rest of a dirty hour is raw too
            $part$SELECT d.minute AS bucket, interval '1 minute' AS length
                FROM ccproxy._dirty d WHERE d.minute >= (SELECT minutes_from FROM ccproxy.rollup_state)$part$
            || CASE WHEN v.hours THEN $part$
              UNION ALL
              SELECT DISTINCT ccproxy._bucket('h', d.minute), interval '1 hour'
                FROM ccproxy._dirty d WHERE d.minute < (SELECT minutes_from FROM ccproxy.rollup_state)$part$ ELSE '' END);
    END LOOP;

    -- By days where those are closed and clean, or their hours have expired;
    -- by hours in the others.
    EXECUTE format($view$
        CREATE OR REPLACE VIEW ccproxy._service_days AS
        SELECT b.bucket, %s, u.m
          FROM ccproxy.rollup_service b
         CROSS JOIN LATERAL ccproxy.unpack(b.cells) AS u
          JOIN ccproxy.service_key k ON k.id = u.key
         WHERE b.grain = 'd' AND b.bucket < (SELECT days_closed FROM ccproxy.rollup_state)
           AND (b.bucket < (SELECT quarters_from FROM ccproxy.rollup_state)
                OR NOT EXISTS (SELECT FROM ccproxy._dirty d WHERE ccproxy._bucket('d', d.minute) = b.bucket))
        UNION ALL
        SELECT q.* FROM ccproxy._service_hours q
         WHERE q.bucket >= (SELECT days_closed FROM ccproxy.rollup_state)
            OR ccproxy._bucket('d', q.bucket) >= (SELECT quarters_from FROM ccproxy.rollup_state)
           AND ccproxy._bucket('d', q.bucket) IN (SELECT ccproxy._bucket('d', d.minute) FROM ccproxy._dirty d)$view$, service_keys);

    -- The same of the user cube, by hours: closed clean ones, raw for the rest.
    EXECUTE format($view$
        CREATE OR REPLACE VIEW ccproxy._user_hours AS
        SELECT b.bucket, %1$s, u.m
          FROM ccproxy.rollup_user b
         CROSS JOIN LATERAL ccproxy.unpack(b.cells) AS u
          JOIN ccproxy.user_key k ON k.id = u.key
         WHERE b.grain = 'h' AND b.bucket < (SELECT user_hours_closed FROM ccproxy.rollup_state)
           AND NOT EXISTS (SELECT FROM ccproxy._dirty d WHERE ccproxy._bucket('h', d.minute) = b.bucket)
        UNION ALL
        SELECT h.bucket, x.*
          FROM (SELECT DISTINCT ccproxy._bucket('h', d.minute) AS bucket FROM ccproxy._dirty d
                 WHERE d.minute < (SELECT user_hours_closed FROM ccproxy.rollup_state)) AS h
         CROSS JOIN LATERAL (
               SELECT %2$s
                 FROM ccproxy.request_log r WHERE r.ts >= h.bucket AND r.ts < h.bucket + interval '1 hour'
                GROUP BY 1, 2, 3, 4, 5) AS x
        UNION ALL
        SELECT ccproxy._bucket('h', b.bucket), %1$s, u.m
          FROM ccproxy.rollup_user b
         CROSS JOIN LATERAL ccproxy.unpack(b.cells) AS u
          JOIN ccproxy.user_key k ON k.id = u.key
         WHERE b.grain = 'm' AND b.bucket >= (SELECT user_hours_closed FROM ccproxy.rollup_state) AND (SELECT ccproxy._lost()) @> b.bucket
        UNION ALL
        SELECT ccproxy._bucket('h', r.ts), %2$s
          FROM ccproxy.request_log r
         WHERE r.ts >= (SELECT user_hours_closed FROM ccproxy.rollup_state) AND NOT (SELECT ccproxy._lost()) @> r.ts
         GROUP BY 1, 2, 3, 4, 5, 6$view$,
        user_keys, user_raw || ', ' || ccproxy._measures_sql('user', reported));

    FOR v IN SELECT * FROM (VALUES
        ('requests_by_minute', '_service_minutes',  '1 minute', 'endpoint_type, method, model, status_code, error_type',
         'Requests by minute and endpoint_type, method, model, status_code, error_type, as long as minutes are kept'),
        ('requests_by_hour',   '_service_hours', '1 hour',   'endpoint_type, method, model, status_code, error_type',
         'Requests by hour (UTC) and endpoint_type, method, model, status_code, error_type, as long as its hours are kept'),
        ('requests_by_day',    '_service_days', '1 day',    'endpoint_type, method, model, status_code, error_type',
         'Requests by day (UTC) and endpoint_type, method, model, status_code, error_type'),
        ('usage_by_model',     '_service_days', '1 day',    'model',
         'Usage by day (UTC) and model'),
        ('errors_by_type',     '_service_hours', '1 hour',   'error_type, endpoint_type, model',
         'Failed requests by hour (UTC) and error_type (http_<status> or unknown for failures without one), endpoint_type, model'),
        ('usage_by_user',      '_user_hours',       '1 day',    'user_id, team_id, api_key_hash, model',
         'Usage by day (UTC) and user_id, team_id, api_key_hash, model')) AS x(name, source, length, labels, comment)
    LOOP
        EXECUTE format($view$
            CREATE OR REPLACE VIEW ccproxy.%1$I AS
            SELECT g.ts, %2$s, %3$s
              FROM (SELECT date_bin(%4$L, c.bucket, timestamptz '2000-01-01 00:00:00+00') AS ts, %5$s, ccproxy.merge(c.m) AS m
                      FROM ccproxy.%6$I c %7$s GROUP BY 1, %8$s) AS g
             CROSS JOIN LATERAL ccproxy.expand(g.m) AS e$view$,
            v.name,
            (SELECT string_agg(CASE l WHEN 'status_code' THEN 'nullif(g.status_code, 0) AS status_code' ELSE format('nullif(g.%1$I, '''') AS %1$I', l) END, ', ')
               FROM unnest(string_to_array(v.labels, ', ')) AS l),
            shown, v.length,
            'c.' || replace(v.labels, ', ', ', c.'), v.source,
            CASE v.name WHEN 'errors_by_type' THEN 'WHERE c.error_type <> ''''' ELSE '' END,
            'c.' || replace(v.labels, ', ', ', c.'));
        EXECUTE format('COMMENT ON VIEW ccproxy.%I IS %L', v.name, v.comment
            || '. Fresh to the last commit; ts is the beginning of the bucket; milliseconds, tokens, USD; total_cost is NULL where requests had tokens and none could be priced; response_time_sketch merges (ccproxy.merge) and answers any quantile.');
    END LOOP;

    CREATE OR REPLACE VIEW ccproxy.prometheus AS SELECT * FROM ccproxy.prometheus_samples();
    COMMENT ON VIEW ccproxy.prometheus IS 'What Prometheus scrapes; see prometheus_samples().';
    COMMENT ON VIEW ccproxy._dirty IS 'Internal: minutes that await a refresh.';
    COMMENT ON VIEW ccproxy._service_minutes IS 'Internal: cells of the service cube by minute.';
    COMMENT ON VIEW ccproxy._service_hours IS 'Internal: cells of the service cube by hour, by minute where that is not closed or dirty.';
    COMMENT ON VIEW ccproxy._service_days IS 'Internal: cells of the service cube by day, by hour where that is not closed or dirty.';
    COMMENT ON VIEW ccproxy._user_hours IS 'Internal: cells of the user cube by hour.';
END
$$;
