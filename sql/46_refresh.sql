-- refresh(): takes marks away and recomputes what they stand for.

-- Folds raw rows into cells. rows: a query of bucket, texts of the label and what
-- is measured (_measured_sql()); keys: a query that is given these texts, each once,
-- as arrays and returns their numbers (from 1) and keys.
CREATE FUNCTION ccproxy._fold_rows(rows text, keys text, detail boolean) RETURNS TABLE (bucket timestamptz, cells ccproxy.cells)
    AS 'MODULE_PATHNAME', 'ccproxy_fold_rows' LANGUAGE C VOLATILE STRICT;

-- Raw rows as cells of a cube, by bucket of a grain. Only the refresh, which
-- holds the lock, adds keys.
CREATE FUNCTION ccproxy._raw_cells(cube text, spans tstzmultirange, grain "char")
RETURNS TABLE (bucket timestamptz, cells ccproxy.cells)
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    names    text; -- of a label's columns
    typed    text; -- and of their types
    raw      text;
    arrays   text;
    same_key text;
BEGIN
    SELECT string_agg(l.name, ', ' ORDER BY l.nth), string_agg(format('l.%1$I::%2$s AS %1$I', l.name, l.type), ', ' ORDER BY l.nth),
           string_agg(format('(%s)::text', l.raw), ', ' ORDER BY l.nth), string_agg('$' || l.nth, ', ' ORDER BY l.nth),
           string_agg(format('k.%1$I = l.%1$I', l.name), ' AND ' ORDER BY l.nth)
      INTO names, typed, raw, arrays, same_key
      FROM ccproxy._labels(cube) AS l;
    RETURN QUERY SELECT * FROM ccproxy._fold_rows(
        -- bounds as literals: the planner sees the one partition, not all
        format('SELECT ccproxy._bucket(%L, r.ts), %s, %s FROM %s',
               grain, raw, ccproxy._measured_sql(ccproxy._reported_counts()::text), ccproxy._raw_rows_sql(spans)),
        format($query$
            WITH label AS MATERIALIZED (
                SELECT l.n, %1$s FROM unnest(%2$s) WITH ORDINALITY AS l(%3$s, n)
            ), added AS (
                INSERT INTO ccproxy.%4$I (id, %3$s)
                SELECT (SELECT coalesce(max(k.id), 0) FROM ccproxy.%4$I k) + row_number() OVER (ORDER BY l.n), %3$s FROM label l
                 WHERE NOT EXISTS (SELECT FROM ccproxy.%4$I k WHERE %5$s)
                RETURNING *
            )
            SELECT l.n, k.id FROM label l JOIN ccproxy.%4$I k ON %5$s
            UNION ALL
            SELECT l.n, k.id FROM label l JOIN added k ON %5$s
            $query$, typed, arrays, names, cube || '_key', same_key),
        cube <> 'user');
END
$$;

-- "column lies in one of these spans", with literal bounds; false for none.
-- Other styles than ISO write zones by abbreviations, which read back otherwise
-- (IST is India's to one, Israel's to the other).
CREATE FUNCTION ccproxy._spans_sql(column_name text, spans tstzmultirange) RETURNS text
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
SET datestyle = 'ISO'
AS $$
BEGIN
    RETURN (SELECT coalesce('(' || string_agg(format('(%1$s >= %2$L::timestamptz AND %1$s < %3$L::timestamptz)',
                                                     column_name, lower(s), upper(s)), ' OR ') || ')', 'false')
              FROM unnest(spans) AS s);
END
$$;

-- These spans, widened to whole buckets of a grain.
CREATE FUNCTION ccproxy._widen(spans tstzmultirange, grain "char") RETURNS tstzmultirange
LANGUAGE plpgsql IMMUTABLE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN (SELECT coalesce(range_agg(tstzrange(ccproxy._bucket(grain, lower(s)),
                       CASE WHEN ccproxy._bucket(grain, upper(s)) = upper(s) THEN upper(s)
                            ELSE ccproxy._bucket(grain, upper(s)) + ccproxy._grain_length(grain) END)), '{}')
              FROM unnest(spans) AS s);
END
$$;

-- These spans, narrowed to the whole buckets of a grain that lie inside.
CREATE FUNCTION ccproxy._narrow(spans tstzmultirange, grain "char") RETURNS tstzmultirange
LANGUAGE plpgsql IMMUTABLE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN (SELECT coalesce(range_agg(tstzrange(x.lo, x.hi)), '{}')
              FROM (SELECT CASE WHEN ccproxy._bucket(grain, lower(s)) = lower(s) THEN lower(s)
                                ELSE ccproxy._bucket(grain, lower(s)) + ccproxy._grain_length(grain) END AS lo,
                           ccproxy._bucket(grain, upper(s)) AS hi
                      FROM unnest(spans) AS s) AS x
             WHERE x.lo < x.hi);
END
$$;

-- Puts recomputed buckets in place of what there is for these spans. Raw rows
-- that a crash has emptied are stood for by the bucket's base.
CREATE FUNCTION ccproxy._rebuild(cube text, target "char", source "char", spans tstzmultirange) RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    based tstzmultirange := CASE WHEN source = 'r' THEN spans * (SELECT s.lost FROM ccproxy.rollup_state s) ELSE '{}' END;
BEGIN
    IF isempty(spans) THEN
        RETURN;
    END IF;
    IF NOT isempty(based) THEN
        PERFORM ccproxy._keep_base(cube, target, based);
    END IF;
    EXECUTE format($query$
        WITH fresh AS MATERIALIZED (%s), gone AS (
            DELETE FROM ccproxy.%I r
             WHERE r.grain = %L AND %s AND NOT EXISTS (SELECT FROM fresh f WHERE f.bucket = r.bucket))
        INSERT INTO ccproxy.%2$I AS r (grain, bucket, cells)
        SELECT %3$L, f.bucket, f.cells FROM fresh f ORDER BY f.bucket
        ON CONFLICT (grain, bucket) DO UPDATE SET cells = excluded.cells
        $query$,
        CASE WHEN NOT isempty(based) THEN
                  format('SELECT x.bucket, ccproxy.merge(x.cells) AS cells FROM (SELECT * FROM ccproxy._raw_cells(%L, $1, %L) UNION ALL '
                         'SELECT b.bucket, b.cells FROM ccproxy.rollup_base b WHERE b.cube = %1$L AND b.cells IS NOT NULL AND %3$s) AS x GROUP BY 1',
                         cube, target, ccproxy._spans_sql('b.bucket', based))
             WHEN source = 'r' THEN format('SELECT * FROM ccproxy._raw_cells(%L, $1, %L)', cube, target)
             ELSE format('SELECT ccproxy._bucket(%L, s.bucket) AS bucket, ccproxy.merge(s.cells) AS cells FROM ccproxy.%I s '
                         'WHERE s.grain = %L AND %s GROUP BY 1',
                         target, 'rollup_' || cube, source, ccproxy._spans_sql('s.bucket', spans)) END,
        'rollup_' || cube, target, ccproxy._spans_sql('r.bucket', spans))
    USING spans;
END
$$;

-- All buckets of a grain in these spans as one.
CREATE FUNCTION ccproxy._merged(cube text, grain "char", spans tstzmultirange) RETURNS ccproxy.cells
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    result ccproxy.cells;
BEGIN
    EXECUTE format('SELECT ccproxy.merge(r.cells) FROM ccproxy.%I r WHERE r.grain = %L AND %s',
                   'rollup_' || cube, grain, ccproxy._spans_sql('r.bucket', spans)) INTO result;
    RETURN result;
END
$$;

-- What the service cube's counters change by when the one cells become the
-- other: families, labels and units as in prometheus_samples(). Requests in
-- flight do not count yet.
CREATE FUNCTION ccproxy._service_deltas(before ccproxy.cells, after ccproxy.cells)
RETURNS TABLE (family text, label_values text[], n numeric, total numeric, buckets numeric[])
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    WITH cell AS MATERIALIZED (
        SELECT coalesce(nullif(k.method, ''), 'unknown') AS method, coalesce(nullif(k.endpoint_type, ''), 'unknown') AS endpoint_type,
               coalesce(nullif(k.status_code, 0)::text, 'unknown') AS status_code, coalesce(nullif(k.model, ''), 'unknown') AS model,
               k.error_type AS error, s.sign, e.*
          FROM (VALUES (1, after), (-1, before)) AS s(sign, cells)
         CROSS JOIN LATERAL ccproxy.unpack(s.cells) AS u
          JOIN ccproxy.service_key k ON k.id = u.key
         CROSS JOIN LATERAL ccproxy.expand(u.m) AS e
         WHERE NOT (k.status_code = 0 AND k.error_type = '')
    )
    SELECT 'requests', ARRAY[method, endpoint_type, status_code, model], sum(sign * requests), 0::numeric, NULL::numeric[]
      FROM cell GROUP BY 2
    UNION ALL
    SELECT 'response_time', ARRAY[c.method, c.endpoint_type, c.model], sum(c.n), sum(c.total), array_agg(c.bucket ORDER BY c.i)
      FROM (SELECT method, endpoint_type, model, b.i, sum(sign * b.n) AS bucket,
                   sum(sign * n_response_time) FILTER (WHERE b.i = 1) AS n,
                   sum(sign * sum_response_time_us) FILTER (WHERE b.i = 1) * 0.000001 AS total
              FROM cell CROSS JOIN LATERAL unnest(response_time_buckets) WITH ORDINALITY AS b(n, i)
             WHERE n_response_time > 0
             GROUP BY 1, 2, 3, 4) AS c
     GROUP BY 2
    UNION ALL
    SELECT 'tokens', ARRAY[model, t.token_type], sum(sign * t.tokens), 0, NULL
      FROM cell CROSS JOIN LATERAL (VALUES ('input', input_tokens), ('cache_read', cache_read_tokens), ('cache_write', cache_write_tokens),
                                           ('cache_write_1h', cache_write_1h_tokens), ('output', output_tokens)) AS t(token_type, tokens)
     WHERE t.tokens <> 0 GROUP BY 2
    UNION ALL
    SELECT 'errors', ARRAY[error, endpoint_type], sum(sign * failed), 0, NULL FROM cell WHERE error <> '' GROUP BY 2
$$;

-- The same for the user cube's counters: cost, by user and without.
CREATE FUNCTION ccproxy._user_deltas(before ccproxy.cells, after ccproxy.cells)
RETURNS TABLE (family text, label_values text[], n numeric, total numeric, buckets numeric[])
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT 'cost', ARRAY[coalesce(nullif(k.model, ''), 'unknown'), coalesce(nullif(k.user_id, ''), 'anonymous')],
           sum(s.sign * e.total_cost), 0::numeric, NULL::numeric[]
      FROM (VALUES (1, after), (-1, before)) AS s(sign, cells)
     CROSS JOIN LATERAL ccproxy.unpack(s.cells) AS u
      JOIN ccproxy.user_key k ON k.id = u.key
     CROSS JOIN LATERAL ccproxy.expand(u.m, false) AS e
     WHERE e.priced > 0
     GROUP BY 2
    UNION ALL
    SELECT 'model_cost', ARRAY[coalesce(nullif(k.model, ''), 'unknown')], sum(s.sign * e.total_cost), 0, NULL
      FROM (VALUES (1, after), (-1, before)) AS s(sign, cells)
     CROSS JOIN LATERAL ccproxy.unpack(s.cells) AS u
      JOIN ccproxy.user_key k ON k.id = u.key
     CROSS JOIN LATERAL ccproxy.expand(u.m, false) AS e
     WHERE e.priced > 0
     GROUP BY 2
$$;

-- The changes of a cube's counters under the label sets they are counted by. A
-- set that has a row in counter_total is admitted, for good. Of new ones as many
-- are as there is room for, in order; the rest count together as the family's
-- 'other', whose labels are all that.
CREATE FUNCTION ccproxy._admitted_deltas(cube text, before ccproxy.cells, after ccproxy.cells)
RETURNS TABLE (family text, label_values text[], n numeric, total numeric, buckets numeric[])
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    WITH setting AS (
        SELECT c.prometheus_label_sets AS label_sets, c.prometheus_users AS users FROM ccproxy.configuration c
    ), delta AS MATERIALIZED (
        SELECT d.*, EXISTS (SELECT FROM ccproxy.counter_total c WHERE c.family = d.family AND c.label_values = d.label_values) AS known
          FROM (SELECT * FROM ccproxy._service_deltas(before, after) WHERE cube = 'service'
                UNION ALL
                SELECT * FROM ccproxy._user_deltas(before, after) WHERE cube = 'user') AS d
         WHERE (d.n <> 0 OR d.total <> 0 OR 0 <> ANY (d.buckets))
           AND (d.family <> 'cost' OR (SELECT s.users FROM setting s))
    ), taken AS (
        SELECT c.family, count(*) AS sets FROM ccproxy.counter_total c
         WHERE 'other' <> ANY (c.label_values) AND c.family IN (SELECT d.family FROM delta d WHERE NOT d.known)
         GROUP BY 1
    ), placed AS (
        SELECT d.*, d.known OR row_number() OVER (PARTITION BY d.family, d.known ORDER BY d.label_values)
                               <= (SELECT s.label_sets FROM setting s) - coalesce(t.sets, 0) AS admitted
          FROM delta d LEFT JOIN taken t ON t.family = d.family
    ), rest AS MATERIALIZED (
        SELECT p.family, array_fill('other'::text, ARRAY[cardinality(p.label_values)]) AS label_values, p.n, p.total, p.buckets
          FROM placed p
         WHERE NOT p.admitted OR NOT 'other' <> ANY (p.label_values)
    )
    SELECT p.family, p.label_values, p.n, p.total, p.buckets FROM placed p WHERE p.admitted AND 'other' <> ANY (p.label_values)
    UNION ALL
    SELECT r.family, r.label_values, sum(r.n), sum(r.total),
           (SELECT array_agg(b.n ORDER BY b.i)
              FROM (SELECT x.i, sum(x.n) AS n FROM rest o CROSS JOIN LATERAL unnest(o.buckets) WITH ORDINALITY AS x(n, i)
                     WHERE o.family = r.family GROUP BY 1) AS b)
      FROM rest r GROUP BY 1, 2
$$;

-- Moves counter_total by what changed between two states of the same buckets.
CREATE FUNCTION ccproxy._count(cube text, before ccproxy.cells, after ccproxy.cells) RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF before IS NULL AND after IS NULL THEN
        RETURN;
    END IF;
    INSERT INTO ccproxy.counter_total AS c (family, label_values, "true", exposed, true_sum, exposed_sum, true_buckets, exposed_buckets)
    SELECT d.family, d.label_values, d.n, greatest(d.n, 0), d.total, greatest(d.total, 0),
           d.buckets, (SELECT array_agg(greatest(b, 0) ORDER BY i) FROM unnest(d.buckets) WITH ORDINALITY AS x(b, i))
      FROM ccproxy._admitted_deltas(cube, before, after) AS d
     ORDER BY d.family, d.label_values
    ON CONFLICT (family, label_values) DO UPDATE
       SET "true" = c."true" + excluded."true",
           exposed = greatest(c.exposed, c."true" + excluded."true"),
           true_sum = c.true_sum + excluded.true_sum,
           exposed_sum = greatest(c.exposed_sum, c.true_sum + excluded.true_sum),
           true_buckets = ARRAY(SELECT t + d FROM unnest(c.true_buckets, excluded.true_buckets) WITH ORDINALITY AS x(t, d, i) ORDER BY i),
           exposed_buckets = ARRAY(SELECT greatest(e, t + d) FROM unnest(c.exposed_buckets, c.true_buckets, excluded.true_buckets)
                                   WITH ORDINALITY AS x(e, t, d, i) ORDER BY i);
END
$$;

CREATE FUNCTION ccproxy.refresh(max_minutes integer DEFAULT 240) RETURNS integer
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
-- compiling takes longer than the work; the planner takes every row for a group
-- and would sort them
SET jit = off
SET work_mem = '256MB'
AS $$
DECLARE
    grace CONSTANT interval := interval '1 minute'; -- after its end a bucket is given this long before it is closed
    state    ccproxy.rollup_state;
    horizon  xid8;
    oldest   timestamptz;
    newest   timestamptz;
    minutes  timestamptz[];
    spans    tstzmultirange;
    whole    tstzmultirange; -- times that can be recomputed
    expired  integer;
    until    timestamptz;
    closing  tstzmultirange;
    before   ccproxy.cells;
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'refresh() must run at READ COMMITTED'
            USING ERRCODE = 'active_sql_transaction',
                  DETAIL = 'With an older snapshot it could take a mark and miss the row that it stands for.';
    END IF;
    -- In a statement of its own: every later statement then sees what the
    -- refresh before us has done.
    PERFORM pg_advisory_xact_lock('pg_class'::regclass::oid::integer, hashtext('ccproxy.refresh'));

    PERFORM ccproxy._note_crash();
    SELECT * INTO STRICT state FROM ccproxy.rollup_state;
    horizon := ccproxy._marks_from();

    -- Some minutes of one day, the oldest first. Marks are taken before the rows
    -- are read, each by a statement with a snapshot of its own: a row that
    -- commits in between is counted and its mark stays.
    SELECT min(d.minute), max(d.minute) INTO oldest, newest FROM ccproxy.dirty_minute d WHERE d.xid >= horizon;
    minutes := ARRAY(SELECT DISTINCT d.minute FROM ccproxy.dirty_minute d
                      WHERE d.xid >= horizon AND d.minute < ccproxy._bucket('d', oldest) + interval '1 day'
                      ORDER BY 1 LIMIT greatest(max_minutes, 1));
    IF minutes <> '{}' THEN
        DELETE FROM ccproxy.dirty_minute d WHERE d.xid >= horizon AND d.minute = ANY (minutes);

        -- Raw rows that have expired cannot be recounted: what is rolled up stays.
        -- Nor can those that a crash emptied, once the finest grain has expired.
        whole := ccproxy._span(state.raw_from, 'infinity')
               - ccproxy._widen(state.lost, 'd') * ccproxy._span('-infinity', greatest(state.minutes_from, state.hours_from));
        SELECT count(*) INTO expired FROM unnest(minutes) AS m WHERE NOT whole @> m;
        SELECT ccproxy._widen(coalesce(range_agg(tstzrange(m, m + interval '1 microsecond')), '{}'), 'm') INTO spans
          FROM unnest(minutes) AS m WHERE whole @> m;

        -- Each grain from the next finer one where that is still whole, else from raw.
        closing := spans * ccproxy._span(state.minutes_from, 'infinity');
        before := ccproxy._merged('service', 'm', closing);
        PERFORM ccproxy._rebuild('service', 'm', 'r', closing);
        PERFORM ccproxy._count('service', before, ccproxy._merged('service', 'm', closing));
        closing := ccproxy._widen(spans, 'q') * ccproxy._span('-infinity', state.quarters_closed);
        PERFORM ccproxy._rebuild('service', 'q', 'm', closing * ccproxy._span(state.minutes_from, 'infinity'));
        closing := closing * ccproxy._span(greatest(state.raw_from, state.quarters_from), state.minutes_from);
        before := ccproxy._merged('service', 'q', closing);
        PERFORM ccproxy._rebuild('service', 'q', 'r', closing);
        PERFORM ccproxy._count('service', before, ccproxy._merged('service', 'q', closing));
        closing := ccproxy._widen(spans, 'h') * ccproxy._span(state.quarters_from, state.hours_closed);
        PERFORM ccproxy._rebuild('service', 'h', 'q', closing);
        closing := ccproxy._widen(spans, 'd') * ccproxy._span('-infinity', state.days_closed);
        PERFORM ccproxy._rebuild('service', 'd', 'h', closing * ccproxy._span(state.quarters_from, 'infinity'));
        closing := closing * ccproxy._span(state.raw_from, state.quarters_from);
        before := ccproxy._merged('service', 'd', closing);
        PERFORM ccproxy._rebuild('service', 'd', 'r', closing);
        PERFORM ccproxy._count('service', before, ccproxy._merged('service', 'd', closing));
        closing := ccproxy._widen(spans, 'h') * ccproxy._span('-infinity', state.user_hours_closed);
        closing := closing * ccproxy._span(greatest(state.raw_from, state.hours_from), 'infinity');
        before := ccproxy._merged('user', 'h', closing);
        PERFORM ccproxy._rebuild('user', 'h', 'r', closing);
        PERFORM ccproxy._count('user', before, ccproxy._merged('user', 'h', closing));
        closing := spans * ccproxy._span(state.user_hours_closed, 'infinity');
        before := ccproxy._merged('user', 'm', closing);
        PERFORM ccproxy._rebuild('user', 'm', 'r', closing);
        PERFORM ccproxy._count('user', before, ccproxy._merged('user', 'm', closing));
        closing := ccproxy._widen(spans, 'd') * ccproxy._span('-infinity', state.user_days_closed);
        PERFORM ccproxy._rebuild('user', 'd', 'h', closing * ccproxy._span(state.hours_from, 'infinity'));
        closing := closing * ccproxy._span(state.raw_from, state.hours_from);
        before := ccproxy._merged('user', 'd', closing);
        PERFORM ccproxy._rebuild('user', 'd', 'r', closing);
        PERFORM ccproxy._count('user', before, ccproxy._merged('user', 'd', closing));
    END IF;

    -- Close what has ended and holds no mark: a few buckets of each grain a call.
    SELECT least(min(d.minute), now() - grace) INTO until FROM ccproxy.dirty_minute d WHERE d.xid >= horizon;
    state.quarters_closed := ccproxy._close('service', 'q', 'm', state.quarters_closed, until, 96);
    state.hours_closed := ccproxy._close('service', 'h', 'q', state.hours_closed, state.quarters_closed, 24);
    state.days_closed := ccproxy._close('service', 'd', 'h', state.days_closed, state.hours_closed, 8);
    state.user_hours_closed := ccproxy._close('user', 'h', 'm', state.user_hours_closed, until, 24);
    state.user_days_closed := ccproxy._close('user', 'd', 'h', state.user_days_closed, state.user_hours_closed, 8);

    UPDATE ccproxy.rollup_state s
       SET quarters_closed = state.quarters_closed, hours_closed = state.hours_closed, days_closed = state.days_closed,
           user_hours_closed = state.user_hours_closed, user_days_closed = state.user_days_closed,
           -- Marks of transactions that had all ended before this statement
           -- began are visible to it, so a bound below the oldest running one
           -- and below every mark left hides none.
           marks_from = least(pg_snapshot_xmin(pg_current_snapshot()),
                              (SELECT d.xid FROM ccproxy.dirty_minute d WHERE d.xid >= horizon ORDER BY d.xid LIMIT 1)),
           system_identifier = (SELECT c.system_identifier FROM pg_control_system() c),
           refreshed_at = clock_timestamp(),
           -- marks there were before it that it did not take, or buckets that may be closed
           behind = coalesce(newest > minutes[cardinality(minutes)], false)
                 OR state.quarters_closed < ccproxy._bucket('q', until) OR state.hours_closed < ccproxy._bucket('h', state.quarters_closed)
                 OR state.days_closed < ccproxy._bucket('d', state.hours_closed) OR state.user_hours_closed < ccproxy._bucket('h', until)
                 OR state.user_days_closed < ccproxy._bucket('d', state.user_hours_closed),
           discarded_marks = s.discarded_marks + coalesce(expired, 0);
    RETURN cardinality(minutes);
END
$$;
COMMENT ON FUNCTION ccproxy.refresh(integer) IS
'Rolls up at most max_minutes (240) minutes of one day that were marked dirty, the oldest first, and closes coarser buckets that have ended; returns how many minutes it took: call it until it returns 0. Waits for a refresh that is running. Errors: 25001 at an isolation level above READ COMMITTED.';

-- Materialises the buckets of a grain from its watermark on, as far as limit
-- allows and at most this many; returns the new watermark.
CREATE FUNCTION ccproxy._close(cube text, target "char", source "char", closed timestamptz, until timestamptz, most integer)
RETURNS timestamptz
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    upto timestamptz := least(ccproxy._bucket(target, until), closed + most * ccproxy._grain_length(target));
BEGIN
    IF upto <= closed THEN
        RETURN closed;
    END IF;
    PERFORM ccproxy._rebuild(cube, target, source, ccproxy._span(closed, upto));
    IF cube = 'user' AND source = 'm' THEN
        DELETE FROM ccproxy.rollup_user r WHERE r.grain = 'm' AND r.bucket >= closed AND r.bucket < upto;
    END IF;
    RETURN upto;
END
$$;
