-- Budgets: what may be spent in a day, week or month, altogether or by a model,
-- user, endpoint, team or API key, and what has been.
--
-- Spending is read as stats() reads it: whole clean buckets of the rollups, raw
-- rows at the edges and where minutes are dirty; exact and fresh to the last
-- commit. One pass over the period answers for all budgets of a scope.

CREATE FUNCTION ccproxy._create_budget_table() RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
SET client_min_messages = warning
AS $$
BEGIN
    CREATE TABLE IF NOT EXISTS ccproxy.budget (
        name         text PRIMARY KEY CHECK (name <> ''),
        scope        text NOT NULL CHECK (scope IN ('all', 'model', 'user', 'endpoint', 'team', 'api_key')),
        value        text NOT NULL,
        period       text NOT NULL CHECK (period IN ('day', 'week', 'month')),
        time_zone    text NOT NULL,
        limit_usd    numeric NOT NULL CHECK (limit_usd >= 0 AND limit_usd < 'Infinity'),
        warn_percent numeric NOT NULL CHECK (warn_percent >= 0 AND warn_percent <= 100),
        changed_at   timestamptz NOT NULL DEFAULT now(),
        CONSTRAINT budget_value_of_scope CHECK ((scope = 'all') = (value = ''))
    );
    COMMENT ON TABLE ccproxy.budget IS
    'What may be spent; see set_budget(), drop_budget() and the view budget_status.';

    CREATE OR REPLACE VIEW ccproxy.budget_status AS SELECT * FROM ccproxy.budget_status_at(now());
    COMMENT ON VIEW ccproxy.budget_status IS
    'Every budget in its current period, fresh to the last commit; see budget_status_at().';
END
$$;

-- The period that holds a moment. Weeks begin on Monday. A day begins at the
-- zone's midnight: where the clock skips it, at the first moment after; where
-- it comes twice, at the second, which belongs to the day before until then.
CREATE FUNCTION ccproxy._budget_period(period text, time_zone text, at timestamptz, OUT period_start timestamptz, OUT period_end timestamptz)
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT d.first AT TIME ZONE time_zone, (d.first + ('1 ' || period)::interval) AT TIME ZONE time_zone
      FROM (SELECT date_trunc(period, at AT TIME ZONE time_zone) AS first) AS t
     CROSS JOIN LATERAL (SELECT CASE WHEN at < t.first AT TIME ZONE time_zone
                                     THEN date_trunc(period, t.first - interval '1 microsecond') ELSE t.first END AS first) AS d
$$;

CREATE FUNCTION ccproxy.set_budget(
    name text, limit_usd numeric, period text DEFAULT 'month', scope text DEFAULT 'all', value text DEFAULT NULL,
    time_zone text DEFAULT 'UTC', warn_percent numeric DEFAULT 80) RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    wrong text;
BEGIN
    wrong := CASE
        WHEN coalesce(name, '') = '' THEN 'name must not be empty'
        WHEN limit_usd IS NULL OR NOT (limit_usd >= 0 AND limit_usd < 'Infinity') THEN format('limit_usd must be an amount of at least 0, got %s', coalesce(limit_usd::text, 'NULL'))
        WHEN period IS NULL OR period NOT IN ('day', 'week', 'month') THEN format('period must be day, week or month, got %s', coalesce('"' || period || '"', 'NULL'))
        WHEN scope IS NULL OR scope NOT IN ('all', 'model', 'user', 'endpoint', 'team', 'api_key')
            THEN format('scope must be all, model, user, endpoint, team or api_key, got %s', coalesce('"' || scope || '"', 'NULL'))
        WHEN scope = 'all' AND coalesce(value, '') <> '' THEN 'scope "all" takes no value'
        WHEN scope <> 'all' AND coalesce(value, '') = '' THEN format('scope "%s" needs a value: which %s', scope, scope)
        WHEN time_zone IS NULL THEN 'time_zone must be given'
        WHEN warn_percent IS NULL OR NOT (warn_percent >= 0 AND warn_percent <= 100) THEN format('warn_percent must be between 0 and 100, got %s', coalesce(warn_percent::text, 'NULL'))
    END;
    IF wrong IS NOT NULL THEN
        RAISE EXCEPTION '%', wrong USING ERRCODE = 'invalid_parameter_value';
    END IF;
    PERFORM now() AT TIME ZONE time_zone; -- raises 22023 for an unknown one
    INSERT INTO ccproxy.budget AS b (name, scope, value, period, time_zone, limit_usd, warn_percent)
    VALUES (name, scope, coalesce(value, ''), period, time_zone, limit_usd, warn_percent)
    ON CONFLICT ON CONSTRAINT budget_pkey DO UPDATE
        SET scope = excluded.scope, value = excluded.value, period = excluded.period, time_zone = excluded.time_zone,
            limit_usd = excluded.limit_usd, warn_percent = excluded.warn_percent, changed_at = now();
END
$$;
COMMENT ON FUNCTION ccproxy.set_budget(text, numeric, text, text, text, text, numeric) IS
'Makes a budget, or replaces the one of this name: limit_usd may be spent in each day, week (from Monday) or month of time_zone, by everybody (scope all) or by the model, user, endpoint, team or api_key (its stored hash) that value names; from warn_percent of it on the state is warning. It counts at once, what was spent before in the period included; a limit of 0 is exceeded from the beginning. For the extension''s owner, and roles that may write ccproxy.budget. Errors: 22023 naming the argument.';

CREATE FUNCTION ccproxy.drop_budget(name text) RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    DELETE FROM ccproxy.budget b WHERE b.name = drop_budget.name;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'budget "%" does not exist', name USING ERRCODE = 'undefined_object';
    END IF;
END
$$;
COMMENT ON FUNCTION ccproxy.drop_budget(text) IS
'Takes a budget away. For the extension''s owner, and roles that may write ccproxy.budget. Errors: 42704 when there is none of this name.';

-- Requests on their way, by what budgets are about.
CREATE TYPE ccproxy._in_flight AS (
    minute        timestamptz,
    model         text,
    endpoint_type text,
    user_id       text,
    team_id       text,
    api_key_hash  text,
    n             bigint
);
COMMENT ON TYPE ccproxy._in_flight IS 'Internal: requests that have neither a status nor an error yet.';

CREATE FUNCTION ccproxy.budget_status_at(at timestamptz)
RETURNS TABLE (
    name               text,
    scope              text,
    value              text,
    period             text,
    time_zone          text,
    period_start       timestamptz,
    period_end         timestamptz,
    limit_usd          numeric,
    warn_percent       numeric,
    spent_usd          numeric,
    remaining_usd      numeric,
    used_percent       numeric,
    state              text,
    projected_usd      numeric,
    requests           bigint,
    priced_requests    bigint,
    unpriced_requests  bigint,
    in_flight_requests bigint,
    counted_from       timestamptz)
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
SET jit = off
SET datestyle = 'ISO' -- of the literals below; see _spans_sql()
AS $$
#variable_conflict use_column
DECLARE
    flying_for CONSTANT interval := '10 minutes'; -- what is silent for longer will hardly end
    flying  ccproxy._in_flight[];
    g       record;
    tile    record;
    scopes  text[]; -- of a cube, and the columns they are about
    labels  text[];
    told    text[]; -- by raw rows
    grains  "char"[];
    spans   tstzmultirange[];
    raw     tstzmultirange;
    snapped record;
    first   integer[]; -- for each key of the cube the member it counts for, by scope
    second  integer[];
    third   integer[];
BEGIN
    IF at IS NULL OR NOT isfinite(at) THEN
        RAISE EXCEPTION 'at must be a finite time, got %', coalesce(at::text, 'NULL') USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF NOT EXISTS (SELECT FROM ccproxy.budget) THEN
        RETURN;
    END IF;
    EXECUTE format($query$
        SELECT array_agg(ROW(f.minute, f.model, f.endpoint_type, f.user_id, f.team_id, f.api_key_hash, f.n)::ccproxy._in_flight)
          FROM (SELECT ccproxy._bucket('m', r.ts) AS minute, r.model, r.endpoint_type, r.user_id, r.team_id, encode(r.api_key_hash, 'hex') AS api_key_hash, count(*) AS n
                  FROM ccproxy.request_log r
                 WHERE r.ts >= %L AND r.status_code IS NULL AND r.error_type IS NULL AND r.error_message IS NULL
                 GROUP BY 1, 2, 3, 4, 5, 6) AS f$query$, now() - flying_for) INTO flying;

    FOR g IN
        SELECT b.cube, b.period_start, b.period_end, array_agg(b.scope ORDER BY b.scope, b.value) AS scopes, array_agg(b.value ORDER BY b.scope, b.value) AS members
          FROM (SELECT DISTINCT CASE WHEN x.scope IN ('user', 'team', 'api_key') THEN 'user' ELSE 'service' END AS cube, x.scope, x.value, p.*
                  FROM ccproxy.budget x CROSS JOIN LATERAL ccproxy._budget_period(x.period, x.time_zone, at) AS p) AS b
         GROUP BY 1, 2, 3
    LOOP
        IF g.cube = 'user' THEN
            scopes := ARRAY['user', 'team', 'api_key'];
            labels := ARRAY['user_id', 'team_id', 'api_key_hash'];
        ELSE
            scopes := ARRAY['all', 'model', 'endpoint'];
            labels := ARRAY[NULL, 'model', 'endpoint_type'];
        END IF;
        told := ARRAY(SELECT coalesce(l.raw, '''''') FROM unnest(labels) WITH ORDINALITY AS x(name, n) LEFT JOIN ccproxy._labels(g.cube) AS l USING (name) ORDER BY x.n);
        SELECT * INTO snapped FROM ccproxy._snap(g.cube, g.period_start, g.period_end, 'd');
        grains := '{}';
        spans := '{}';
        raw := '{}';
        FOR tile IN SELECT * FROM ccproxy._tiles(g.cube, snapped.snapped_from, snapped.snapped_to, 'd') LOOP
            IF tile.grain = 'r' THEN
                raw := tile.spans;
            ELSE
                grains := grains || tile.grain;
                spans := spans || tile.spans;
            END IF;
        END LOOP;
        EXECUTE format($query$
            WITH member AS (SELECT * FROM unnest($1, $2) WITH ORDINALITY AS m(scope, value, n))
            SELECT array_agg(m1.n ORDER BY s.id), array_agg(m2.n ORDER BY s.id), array_agg(m3.n ORDER BY s.id)
              FROM generate_series(1, (SELECT max(k.id) FROM ccproxy.%1$I k)) AS s(id)
              LEFT JOIN ccproxy.%1$I k ON k.id = s.id
              LEFT JOIN member m1 ON m1.scope = %2$L AND m1.value = %5$s
              LEFT JOIN member m2 ON m2.scope = %3$L AND m2.value = k.%6$I
              LEFT JOIN member m3 ON m3.scope = %4$L AND m3.value = k.%7$I$query$,
            g.cube || '_key', scopes[1], scopes[2], scopes[3], coalesce('k.' || labels[1], ''''''), labels[2], labels[3])
           INTO first, second, third USING g.scopes, g.members;
        RETURN QUERY EXECUTE format($query$
            WITH member AS MATERIALIZED (
                SELECT * FROM unnest($1, $2) WITH ORDINALITY AS m(scope, value, n)
            ), bucket AS MATERIALIZED (
                SELECT ccproxy.merge_groups(b.cells, $3) AS first, ccproxy.merge_groups(b.cells, $4) AS second, ccproxy.merge_groups(b.cells, $5) AS third
                  FROM (%1$s) AS b
            ), raw AS MATERIALIZED (
                SELECT %2$s AS first, %11$s AS second, %12$s AS third, %5$s AS m
                  FROM %6$s GROUP BY 1, 2, 3
            ), part AS (
                SELECT u.key AS n, u.m FROM bucket c CROSS JOIN LATERAL (VALUES (c.first), (c.second), (c.third)) AS v(cells)
                 CROSS JOIN LATERAL ccproxy.unpack(v.cells) AS u
                UNION ALL
                SELECT m.n, r.m FROM raw r CROSS JOIN LATERAL (VALUES (%7$L, r.first), (%8$L, r.second), (%9$L, r.third)) AS v(scope, value)
                  JOIN member m USING (scope, value)
            ), spent AS (
                SELECT p.n, trim_scale(sum(e.total_cost)) AS cost, sum(e.requests)::bigint AS requests, sum(e.priced)::bigint AS priced, sum(e.unpriced)::bigint AS unpriced
                  FROM part p CROSS JOIN LATERAL ccproxy.expand(p.m, false) AS e GROUP BY 1
            ), flying AS (
                SELECT m.n, sum(f.n)::bigint AS requests
                  FROM unnest($6) AS f CROSS JOIN LATERAL (VALUES (%7$L, %10$s), (%8$L, f.%3$I), (%9$L, f.%4$I)) AS v(scope, value)
                  JOIN member m USING (scope, value) WHERE f.minute >= $7 AND f.minute < $8 GROUP BY 1
            )
            SELECT b.name, b.scope, b.value, b.period, b.time_zone, $7, $8, b.limit_usd, b.warn_percent,
                   x.cost, trim_scale(b.limit_usd - x.cost), trim_scale(trunc(100 * x.cost / nullif(b.limit_usd, 0), 2)),
                   CASE WHEN x.cost >= b.limit_usd THEN 'exceeded' WHEN 100 * x.cost >= b.limit_usd * b.warn_percent THEN 'warning' ELSE 'ok' END,
                   CASE WHEN now() >= $8 THEN x.cost
                        WHEN now() > $7 THEN trim_scale(round(x.cost * extract(epoch FROM $8 - $7) / extract(epoch FROM now() - $7), 12)) END,
                   coalesce(s.requests, 0), coalesce(s.priced, 0), coalesce(s.unpriced, 0), coalesce(f.requests, 0), $9
              FROM ccproxy.budget b
              JOIN member m USING (scope, value)
              JOIN ccproxy._budget_period(b.period, b.time_zone, $10) AS p ON p.period_start = $7 AND p.period_end = $8
              LEFT JOIN spent s ON s.n = m.n
              LEFT JOIN flying f ON f.n = m.n
             CROSS JOIN LATERAL (SELECT coalesce(s.cost, 0) AS cost) AS x
            $query$,
            ccproxy._buckets_sql(g.cube, grains, spans),
            told[1], labels[2], labels[3],
            ccproxy._measures_sql('user', ccproxy._reported_counts()::text), -- without distributions
            ccproxy._raw_rows_sql(raw), scopes[1], scopes[2], scopes[3], coalesce('f.' || labels[1], ''''''), told[2], told[3])
        USING g.scopes, g.members, first, second, third, flying, g.period_start, g.period_end, snapped.snapped_from, at;
    END LOOP;
END
$$;
COMMENT ON FUNCTION ccproxy.budget_status_at(timestamptz) IS
'Every budget in its period that holds this time (period_start <= at < period_end), with today''s limits: spent_usd of the requests of the whole period, exact and fresh to the last commit; remaining_usd (below 0 when overspent); used_percent of the limit, rounded down (NULL for a limit of 0); state ok, warning (from warn_percent on) or exceeded (from the limit on); projected_usd: spent_usd on to the period''s end at the same pace, NULL before it begins; requests, and of them priced_requests and unpriced_requests (with tokens but without a price: they are not in spent_usd); in_flight_requests: begun in the last 10 minutes, without a status or an error so far. counted_from is before period_start when raw rows have expired and only whole buckets are left. Costs as set_cost_source() says. Errors: 22023.';
