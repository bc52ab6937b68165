-- The oracle of 050_reconciliation.pl: plain SQL over raw rows and a copy of
-- those that have expired or that a crash has emptied, sharing nothing with the
-- statistics but the rows.
CREATE SCHEMA truth;

-- Watermarks begin in the past, so that closings are part of the history.
DO $$
DECLARE
    closed name;
BEGIN
    FOR closed IN SELECT attname FROM pg_attribute WHERE attrelid = 'ccproxy.rollup_state'::regclass AND attname LIKE '%closed' LOOP
        EXECUTE format('UPDATE ccproxy.rollup_state SET %I = ccproxy._bucket(%L, now() - interval ''14 days'')', closed,
                       CASE WHEN closed LIKE 'quarters%' THEN 'q' WHEN closed LIKE '%hours%' THEN 'h' ELSE 'd' END);
    END LOOP;
END $$;

-- What has gone, and whether reported costs counted when it did.
CREATE TABLE truth.archive (LIKE ccproxy.request_log, reported_counted boolean);

CREATE VIEW truth.rows AS
SELECT l.*,
       CASE WHEN error_type IS NOT NULL THEN error_type WHEN status_code >= 400 THEN 'http_' || status_code
            WHEN error_message IS NOT NULL THEN 'unknown' ELSE '' END AS error,
       encode(api_key_hash, 'hex') AS api_key,
       coalesce(input_tokens, 0)::numeric + coalesce(cache_read_tokens, 0) + coalesce(cache_write_tokens, 0) + coalesce(cache_write_1h_tokens, 0)
           + coalesce(output_tokens, 0) AS tokens,
       CASE WHEN price_id IS NOT NULL THEN coalesce(input_cost, 0)::numeric + coalesce(cache_read_cost, 0) + coalesce(cache_write_cost, 0)
                                          + coalesce(output_cost, 0) + coalesce(tool_cost, 0)
            WHEN reported_counted THEN reported_cost::numeric END / 1000000000000 AS cost
  FROM (SELECT * FROM truth.archive
        UNION ALL
        SELECT r.*, c.cost_source = 'reported_if_unpriced' FROM ccproxy.request_log r, ccproxy.configuration c) AS l;

-- How a column of that view answers to a name of stats().
CREATE FUNCTION truth.expr(name text) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT '{"model": "model", "endpoint": "endpoint_type", "method": "method", "status": "status_code::text", "error_type": "nullif(error, '''')",
        "user": "user_id", "team": "team_id", "api_key": "api_key", "session": "session_id", "provider": "provider", "service_tier": "service_tier",
        "state": "CASE WHEN error <> '''' THEN ''failed'' WHEN status_code IS NULL THEN ''in_flight'' ELSE ''successful'' END"}'::jsonb ->> name $$;

-- A cost is unknown, not 0, where there was something to price and nothing was priced.
CREATE FUNCTION truth.known_cost(cost numeric, unpriced bigint) RETURNS numeric LANGUAGE sql IMMUTABLE AS $$
    SELECT coalesce(cost, CASE WHEN unpriced = 0 THEN 0 END)
$$;

CREATE FUNCTION truth.stats(from_ts timestamptz, to_ts timestamptz, group_by text, filters jsonb, time_zone text)
RETURNS TABLE (t timestamptz, group_key text, group_key2 text, total bigint, successful bigint, failed bigint, in_flight bigint, avg_ms float8, latencies float8[],
    avg_ttft float8, ttfts float8[], input numeric, cache_read numeric, cache_write numeric, output numeric, total_tokens numeric, cost numeric, priced bigint,
    unpriced bigint, usage jsonb, costs jsonb, errors jsonb)
LANGUAGE plpgsql AS $$
DECLARE
    g text[] := string_to_array(coalesce(group_by, ''), ',');
    start text := format('%L::timestamptz', from_ts);
    k text[] := '{NULL::text,NULL::text}'; i integer; f record; w text := 'true';
BEGIN
    FOR i IN 1 .. cardinality(g) LOOP
        IF g[i] IN ('minute', 'quarter', 'hour', 'day') THEN
            -- what the clock of that zone has gone since the minute or the quarter of an hour began
            start := CASE WHEN g[i] IN ('hour', 'day') THEN format('date_trunc(%L, ts, %L)', g[i], time_zone)
                          ELSE format('(ts - mod(extract(epoch FROM ts AT TIME ZONE %L), %s) * interval ''1 second'')', time_zone, CASE g[i] WHEN 'minute' THEN 60 ELSE 900 END) END;
            k[i] := format('to_char(%s AT TIME ZONE %L, %L)', start, time_zone, CASE g[i] WHEN 'day' THEN 'YYYY-MM-DD' ELSE 'YYYY-MM-DD"T"HH24:MI' END);
            start := format('greatest(%s, %L)', start, from_ts);
        ELSE
            k[i] := truth.expr(g[i]);
        END IF;
    END LOOP;
    FOR f IN SELECT key, value, CASE jsonb_typeof(value) WHEN 'array' THEN value ELSE jsonb_build_array(value) END AS list FROM jsonb_each(filters) LOOP
        w := w || CASE WHEN f.key = 'metadata' THEN format(' AND metadata @> %L', f.value)
                       ELSE format(' AND (%1$s = ANY (%2$L) OR %3$L AND (%1$s) IS NULL)', truth.expr(f.key),
                                   ARRAY(SELECT jsonb_array_elements_text(f.list)), f.list @> '[null]') END;
    END LOOP;
    RETURN QUERY EXECUTE format($q$
        WITH r AS MATERIALIZED (SELECT %s AS t, %s AS k1, %s AS k2, * FROM truth.rows WHERE ts >= %L AND ts < %L AND %s)
        SELECT a.*, u.usage, u.costs, coalesce(e.errors, '{}')
          FROM (SELECT t, k1, k2, count(*), count(*) FILTER (WHERE error = '' AND status_code IS NOT NULL), count(*) FILTER (WHERE error <> ''),
                       count(*) FILTER (WHERE error = '' AND status_code IS NULL), avg(response_time_us / 1000.0)::float8,
                       array_agg(response_time_us / 1000.0::float8 ORDER BY response_time_us) FILTER (WHERE response_time_us IS NOT NULL),
                       avg(ttft_us / 1000.0)::float8, array_agg(ttft_us / 1000.0::float8 ORDER BY ttft_us) FILTER (WHERE ttft_us IS NOT NULL),
                       coalesce(sum(input_tokens), 0), coalesce(sum(cache_read_tokens), 0), coalesce(sum(coalesce(cache_write_tokens, 0) + coalesce(cache_write_1h_tokens, 0)), 0),
                       coalesce(sum(output_tokens), 0), coalesce(sum(tokens), 0), truth.known_cost(sum(r.cost), count(*) FILTER (WHERE r.cost IS NULL AND coalesce(input_tokens, cache_read_tokens, cache_write_tokens, cache_write_1h_tokens, output_tokens) IS NOT NULL)), count(r.cost),
                       count(*) FILTER (WHERE r.cost IS NULL AND coalesce(input_tokens, cache_read_tokens, cache_write_tokens, cache_write_1h_tokens, output_tokens) IS NOT NULL)
                  FROM r GROUP BY t, k1, k2) AS a
          JOIN (SELECT t, k1, k2, jsonb_object_agg(m, n) AS usage, coalesce(jsonb_object_agg(m, c) FILTER (WHERE c IS NOT NULL), '{}') AS costs
                  FROM (SELECT t, k1, k2, coalesce(model, 'unknown') AS m, count(*) AS n, sum(r.cost) AS c FROM r GROUP BY 1, 2, 3, 4) AS x
                 GROUP BY 1, 2, 3) AS u ON (u.t, u.k1, u.k2) IS NOT DISTINCT FROM (a.t, a.k1, a.k2)
          LEFT JOIN (SELECT t, k1, k2, jsonb_object_agg(error, n) AS errors FROM (SELECT t, k1, k2, error, count(*) AS n FROM r WHERE error <> '' GROUP BY 1, 2, 3, 4) AS x
                      GROUP BY 1, 2, 3) AS e ON (e.t, e.k1, e.k2) IS NOT DISTINCT FROM (a.t, a.k1, a.k2)
        $q$, start, k[1], k[2], from_ts, to_ts, w);
END $$;

-- A quantile is right when it lies within the bound of a value next to its rank.
CREATE FUNCTION truth.quantile_ok(estimate float8, measured float8[], q float8) RETURNS boolean LANGUAGE sql AS $$
    SELECT CASE WHEN measured IS NULL THEN estimate IS NULL
                ELSE coalesce(estimate BETWEEN measured[greatest(1, floor(q * (cardinality(measured) - 1))::int)] * (1 - 0.0055)
                                           AND measured[least(cardinality(measured), ceil(q * cardinality(measured))::int + 1)] * (1 + 0.0055), false) END $$;

CREATE FUNCTION truth.close(a float8, b float8) RETURNS boolean LANGUAGE sql AS $$
    SELECT a IS NOT DISTINCT FROM b OR coalesce(abs(a - b) <= 1e-9 * abs(b), false) $$;

-- In times that have lost raw rows new ones show up with the next refresh only.
CREATE FUNCTION truth.tell_lost() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    WHILE EXISTS (SELECT FROM ccproxy.dirty_minute WHERE xid >= ccproxy._marks_from() AND ccproxy._lost() @> minute) LOOP
        PERFORM ccproxy.refresh(1000);
    END LOOP;
END $$;

CREATE FUNCTION truth.roll_up() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    WHILE ccproxy.refresh(1000) > 0 LOOP END LOOP;
END $$;

-- Marks that were taken of times whose raw rows have expired: refresh() counts
-- them too. NULL in histories whose crashes throw away marks.
CREATE TABLE truth.discarded AS SELECT 0::bigint AS minutes;
CREATE FUNCTION truth.taken() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE truth.discarded SET minutes = minutes + (SELECT count(DISTINCT t.minute) FROM taken t, ccproxy.rollup_state s WHERE t.minute < s.raw_from);
    RETURN NULL;
END $$;
CREATE TRIGGER taken AFTER DELETE ON ccproxy.dirty_minute REFERENCING OLD TABLE AS taken FOR EACH STATEMENT EXECUTE FUNCTION truth.taken();

-- One question to stats(): 'ok' and how many groups, or what is wrong.
CREATE FUNCTION truth.check(from_ts timestamptz, to_ts timestamptz, group_by text, filters jsonb, time_zone text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    plan ccproxy._stats_plan; state ccproxy.rollup_state; bad record; answered bigint; wrong text;
    lost tstzmultirange; known timestamptz;
BEGIN
    PERFORM truth.tell_lost();
    lost := ccproxy._lost();
    plan := ccproxy._plan_stats(from_ts, to_ts, group_by, filters, time_zone);
    SELECT * INTO state FROM ccproxy.rollup_state;
    -- the range that is answered: what was asked as long as raw rows reach, wider
    -- by less than a day where they do not, narrower only where nothing carries it:
    -- only raw rows, there is an answer from where all of them are
    known := greatest(state.raw_from, upper(lost * tstzmultirange(tstzrange(NULL, to_ts))));
    IF (CASE WHEN plan.cube = 'raw' THEN (plan.snapped_from, plan.snapped_to) <> (greatest(from_ts, known), greatest(to_ts, known))
            ELSE from_ts >= state.raw_from AND NOT lost @> from_ts AND plan.snapped_from <> from_ts
                 OR to_ts >= state.raw_from AND NOT lost @> to_ts AND plan.snapped_to <> to_ts END)
       OR plan.cube <> 'raw' AND plan.step IS NULL AND (plan.snapped_from > from_ts OR plan.snapped_to < to_ts)
       OR plan.snapped_from <= from_ts - interval '1 day' OR plan.snapped_to >= greatest(to_ts, plan.snapped_from) + interval '1 day'
       OR plan.snapped_from > greatest(from_ts, CASE WHEN plan.cube = 'raw' THEN known ELSE state.raw_from END) THEN
        wrong := 'the range';
    END IF;
    SELECT count(*) INTO answered FROM ccproxy.stats(from_ts, to_ts, group_by, filters, time_zone);
    SELECT s.*, x.* INTO bad
      FROM ccproxy.stats(from_ts, to_ts, group_by, filters, time_zone) AS s
      FULL JOIN truth.stats(plan.snapped_from, plan.snapped_to, group_by, filters, time_zone) AS x
        ON (coalesce(s.group_key, '<none>'), coalesce(s.group_key2, '<none>'), s.period_start) = (coalesce(x.group_key, '<none>'), coalesce(x.group_key2, '<none>'), x.t)
     WHERE NOT coalesce(
           s.total_requests = x.total AND s.successful_requests = x.successful AND s.failed_requests = x.failed AND s.in_flight_requests = x.in_flight
           AND s.input_tokens = x.input AND s.cache_read_tokens = x.cache_read AND s.cache_write_tokens = x.cache_write AND s.output_tokens = x.output AND s.total_tokens = x.total_tokens
           AND s.total_cost IS NOT DISTINCT FROM x.cost AND s.unpriced_requests = x.unpriced AND s.model_usage = x.usage AND s.model_costs = x.costs
           AND s.avg_cost_per_request IS NOT DISTINCT FROM trim_scale(round(x.cost / nullif(x.priced, 0), 12))
           AND s.error_rate IS NOT DISTINCT FROM x.failed::float8 / nullif(x.successful + x.failed, 0)
           AND (s.errors_by_type = x.errors OR s.errors_by_type IS NULL AND plan.cube = 'user')
           AND truth.close(s.avg_response_time_ms, x.avg_ms) AND truth.close(s.avg_ttft_ms, x.avg_ttft)
           AND truth.quantile_ok(s.p50_response_time_ms, x.latencies, 0.5) AND truth.quantile_ok(s.p95_response_time_ms, x.latencies, 0.95)
           AND truth.quantile_ok(s.p99_response_time_ms, x.latencies, 0.99)
           AND (plan.cube = 'user' OR truth.quantile_ok(s.p50_ttft_ms, x.ttfts, 0.5) AND truth.quantile_ok(s.p95_ttft_ms, x.ttfts, 0.95)
                                      AND truth.quantile_ok(s.p99_ttft_ms, x.ttfts, 0.99))
           AND s.period_end <= plan.snapped_to AND s.period_end > s.period_start, false)
       -- ungrouped there is a row of zeros where the oracle has none
       AND NOT (group_by IS NULL AND x.total IS NULL AND s.total_requests = 0)
     LIMIT 1;
    IF FOUND OR wrong IS NOT NULL THEN
        RETURN format('MISMATCH %s %s..%s by %s filters %s zone %s: %s plan: %s state: %s tiles: %s', wrong, from_ts, to_ts, group_by, filters, time_zone,
            to_jsonb(bad) - 'latencies' - 'ttfts', to_jsonb(plan), to_jsonb(state),
            (SELECT jsonb_agg(jsonb_build_object(grain, spans)) FROM ccproxy.explain_stats(from_ts, to_ts, group_by, filters, time_zone)));
    END IF;
    RETURN 'ok ' || answered;
END $$;

-- The BI views, each against raw and, summed up, against stats().
CREATE FUNCTION truth.check_views() RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    state ccproxy.rollup_state; v record; bad record; labels text; wanted text;
BEGIN
    PERFORM truth.tell_lost();
    SELECT * INTO state FROM ccproxy.rollup_state;
    FOR v IN SELECT * FROM (VALUES
        ('requests_by_minute', '1 minute', state.minutes_from, 'endpoint_type, method, model, status_code::integer, error'),
        ('requests_by_hour', '1 hour', state.quarters_from, 'endpoint_type, method, model, status_code::integer, error'),
        ('requests_by_day', '1 day', state.quarters_from, 'endpoint_type, method, model, status_code::integer, error'),
        ('usage_by_model', '1 day', state.quarters_from, 'model'),
        ('errors_by_type', '1 hour', state.quarters_from, 'error, endpoint_type, model'),
        ('usage_by_user', '1 day', state.hours_from, 'user_id, team_id, api_key, model')) AS x(name, step, from_ts, labels)
    LOOP
        labels := replace(replace(replace(v.labels, '::integer', ''), 'error', 'error_type'), 'api_key', 'api_key_hash');
        wanted := format($q$
            SELECT date_bin(%L, ts, timestamptz '2000-01-01 00:00:00+00') AS ts, %s, count(*)::numeric AS requests, count(*) FILTER (WHERE error <> '')::numeric AS failed,
                   coalesce(sum(tokens), 0) AS tokens,
                   truth.known_cost(sum(cost), count(*) FILTER (WHERE cost IS NULL AND coalesce(input_tokens, cache_read_tokens, cache_write_tokens, cache_write_1h_tokens, output_tokens) IS NOT NULL)) AS cost,
                   count(*) FILTER (WHERE cost IS NULL AND coalesce(input_tokens, cache_read_tokens, cache_write_tokens, cache_write_1h_tokens, output_tokens) IS NOT NULL)::numeric AS unpriced,
                   count(response_time_us)::numeric AS timed
              FROM truth.rows WHERE ts >= %L AND %s GROUP BY 1, %s$q$,
            v.step, replace(v.labels, 'error', 'nullif(error, '''')'), v.from_ts, CASE v.name WHEN 'errors_by_type' THEN 'error <> ''''' ELSE 'true' END,
            (SELECT string_agg(i::text, ', ') FROM generate_series(2, 1 + cardinality(string_to_array(v.labels, ','))) AS i));
        EXECUTE format($q$
            WITH shown AS (SELECT ts, %1$s, requests::numeric, failed_requests::numeric, total_tokens::numeric, total_cost, unpriced_requests::numeric,
                                  coalesce(ccproxy.count(response_time_sketch), 0)::numeric FROM ccproxy.%2$I WHERE ts >= %3$L),
                 wanted AS (%4$s)
            (SELECT 'shown' AS which, x.* FROM (TABLE shown EXCEPT ALL TABLE wanted) AS x LIMIT 1)
            UNION ALL
            (SELECT 'wanted', x.* FROM (TABLE wanted EXCEPT ALL TABLE shown) AS x LIMIT 1)$q$, labels, v.name, v.from_ts, wanted) INTO bad;
        IF bad.which IS NOT NULL THEN
            RETURN format('MISMATCH view %s: %s state: %s', v.name, to_jsonb(bad), to_jsonb(state));
        END IF;
    END LOOP;
    SELECT s.total_requests, s.total_cost, w.requests, w.cost INTO bad
      FROM ccproxy.stats(greatest(state.quarters_from, timestamptz '2000-01-01 00:00:00+00'), now() + interval '1 day') AS s,
           (SELECT coalesce(sum(requests), 0) AS requests, coalesce(sum(total_cost), 0) AS cost FROM ccproxy.usage_by_model WHERE ts >= state.quarters_from) AS w
     WHERE (s.total_requests, coalesce(s.total_cost, 0)) <> (w.requests, w.cost);
    IF FOUND THEN -- not "bad IS NOT NULL": that is, all of it
        RETURN 'MISMATCH usage_by_model and stats(): ' || to_jsonb(bad)::text;
    END IF;
    RETURN 'ok views';
END $$;

-- What Prometheus was shown last; it must never see less.
CREATE TABLE truth.sample AS SELECT * FROM ccproxy.prometheus;

CREATE FUNCTION truth.check_counters() RETURNS text LANGUAGE plpgsql AS $$
DECLARE bad record;
BEGIN
    SELECT o.*, n.count AS now, n.sum AS sum_now, n.bucket_counts AS buckets_now INTO bad
      FROM truth.sample o LEFT JOIN ccproxy.prometheus n USING (family, label_values)
     WHERE n.count IS NULL OR n.count < o.count OR n.sum < o.sum
        OR EXISTS (SELECT FROM unnest(o.bucket_counts, n.bucket_counts) AS b(old, new) WHERE b.new < b.old OR b.new IS NULL) LIMIT 1;
    IF FOUND THEN -- not "bad IS NOT NULL": that is, all of it
        RETURN 'MISMATCH counter fell: ' || to_jsonb(bad)::text;
    END IF;
    SELECT s.discarded_marks, d.minutes INTO bad FROM ccproxy.rollup_state s, truth.discarded d WHERE s.discarded_marks <> d.minutes;
    IF FOUND THEN
        RETURN 'MISMATCH discarded marks: ' || to_jsonb(bad)::text;
    END IF;
    DELETE FROM truth.sample;
    INSERT INTO truth.sample SELECT * FROM ccproxy.prometheus;
    -- rolled up, the true counters are those of all rows there ever were
    IF NOT EXISTS (SELECT FROM ccproxy.dirty_minute WHERE xid >= ccproxy._marks_from()) THEN
        SELECT * INTO bad FROM (
            SELECT f.family, coalesce(sum(c."true"), 0) AS counted, coalesce(f.really, 0) AS really
              FROM (SELECT x.family, x.really
                      FROM (SELECT count(*) AS requests, count(*) FILTER (WHERE error <> '') AS errors, sum(tokens) AS tokens, count(response_time_us) AS times, sum(cost) AS cost
                              FROM truth.rows WHERE error <> '' OR status_code IS NOT NULL) AS r
                     CROSS JOIN LATERAL (VALUES ('requests', r.requests), ('errors', r.errors), ('tokens', r.tokens), ('response_time', r.times)) AS x(family, really)
                    UNION ALL
                    SELECT 'cost', sum(cost) FROM truth.rows) AS f
              LEFT JOIN ccproxy.counter_total c USING (family) GROUP BY f.family, f.really) AS c
         WHERE counted <> really LIMIT 1;
        IF FOUND THEN -- not "bad IS NOT NULL": that is, all of it
            RETURN 'MISMATCH counter is wrong: ' || to_jsonb(bad)::text;
        END IF;
    END IF;
    RETURN 'ok counters';
END $$;

CREATE FUNCTION truth.keep(partition regclass) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('INSERT INTO truth.archive SELECT r.*, c.cost_source = ''reported_if_unpriced'' FROM %s r, ccproxy.configuration c', partition);
END $$;

-- Before a crash: all is rolled up (what is not is lost), and what will be emptied kept.
CREATE FUNCTION truth.lose() RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    kept bigint;
BEGIN
    LOOP
        EXIT WHEN ccproxy.refresh(1000) = 0;
    END LOOP;
    SELECT count(truth.keep(c.oid)) INTO kept
      FROM pg_inherits JOIN pg_class c ON c.oid = inhrelid WHERE inhparent = 'ccproxy.request_log'::regclass AND c.relpersistence = 'u';
    RETURN 'losing ' || kept;
END $$;

-- Detail expires: rows older than the retention go, their copies stay here.
CREATE FUNCTION truth.expire(raw interval, minutes interval, quarters interval, hours interval) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE p record; dropped bigint := 0; kept interval;
BEGIN
    SELECT retention INTO kept FROM ccproxy.configuration;
    PERFORM ccproxy.set_retention(raw, minutes, quarters, hours);
    -- the window of parts has passed for what is to go
    UPDATE ccproxy.request_key SET claimed_at = now() - interval '25 hours' WHERE ts < now() - interval '2 days';
    PERFORM ccproxy._job_trim();
    WHILE dropped < 30 LOOP
        -- one at a time, as maintain() does: an earlier one may decide about the next
        SELECT * INTO p FROM ccproxy._expired_partitions() LIMIT 1;
        EXIT WHEN NOT FOUND;
        BEGIN
            PERFORM truth.keep(p.partition);
            IF ccproxy._drop_partition(p.partition, p.upper_bound) IS DISTINCT FROM true THEN
                RAISE EXCEPTION USING ERRCODE = 'TR001';
            END IF;
        EXCEPTION WHEN SQLSTATE 'TR001' THEN
            EXIT; -- and nothing is kept: it is all there
        END;
        dropped := dropped + 1;
    END LOOP;
    PERFORM ccproxy._job_trim();
    PERFORM ccproxy.set_retention(raw => kept);
    RETURN dropped;
END $$;
