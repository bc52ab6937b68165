-- Which buckets answer a question: the coarsest clean ones that tile its range,
-- raw rows for what is dirty and for ragged edges.

-- The coarsest grain whose buckets lie in one hour of the zone each, all through
-- this range: h for offsets of whole hours, q for the quarters of Nepal or
-- Chatham, m or r(aw) for what only a POSIX string says. Clocks change at
-- quarters of an hour, except where such a string gives rules of its own. Looked
-- at is the time that requests can be of: before, zones had odd local times.
CREATE FUNCTION ccproxy._zone_grain(time_zone text, from_ts timestamptz, to_ts timestamptz) RETURNS "char"
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN (SELECT CASE WHEN time_zone LIKE '%,%' THEN 'r'
                        WHEN bool_and(x.seconds % 3600 = 0) THEN 'h'
                        WHEN bool_and(x.seconds % 900 = 0) THEN 'q'
                        WHEN bool_and(x.seconds % 60 = 0) THEN 'm'
                        ELSE 'r' END::"char"
              FROM (SELECT extract(epoch FROM (t AT TIME ZONE time_zone) - (t AT TIME ZONE 'UTC'))::integer AS seconds
                      FROM (SELECT least(greatest(from_ts, timestamptz '2000-01-01 00:00:00+00'), now() + interval '1 year') AS first,
                                   least(greatest(to_ts, timestamptz '2000-01-01 00:00:00+00'), now() + interval '1 year') AS last) AS r
                     CROSS JOIN LATERAL (SELECT generate_series(r.first, r.last, interval '7 days') AS t UNION ALL SELECT r.last) AS s) AS x);
END
$$;

-- Where raw rows have expired or are lost, a range can only be answered in whole
-- buckets of the finest grain that survives there: it snaps outward. What no
-- grain up to coarsest has any more is left out.
CREATE FUNCTION ccproxy._snap(cube text, from_ts timestamptz, to_ts timestamptz, coarsest "char",
                              OUT snapped_from timestamptz, OUT snapped_to timestamptz)
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    state ccproxy.rollup_state;
    lost  tstzmultirange := ccproxy._lost();
    known timestamptz;
    grain "char";
BEGIN
    SELECT * INTO STRICT state FROM ccproxy.rollup_state;
    known := CASE WHEN cube = 'raw' THEN greatest(state.raw_from, upper(lost * ccproxy._span('-infinity', to_ts)))
                  WHEN coarsest = 'd' THEN '-infinity'
                  WHEN cube = 'user' AND coarsest = 'h' THEN least(state.raw_from, state.hours_from)
                  WHEN coarsest IN ('q', 'h') THEN least(state.raw_from, state.quarters_from, state.minutes_from)
                  ELSE least(state.raw_from, state.minutes_from) END;
    snapped_from := greatest(from_ts, known);
    snapped_to := greatest(to_ts, known);
    IF snapped_from < state.raw_from OR (cube <> 'raw' AND lost @> snapped_from) THEN
        grain := CASE WHEN cube = 'user' THEN CASE WHEN snapped_from >= state.hours_from THEN 'h' ELSE 'd' END
                      WHEN snapped_from >= state.minutes_from THEN 'm' WHEN snapped_from >= state.quarters_from THEN 'q' ELSE 'd' END;
        snapped_from := ccproxy._bucket(grain, snapped_from);
    END IF;
    IF snapped_to < state.raw_from OR (cube <> 'raw' AND lost @> snapped_to) THEN
        grain := CASE WHEN cube = 'user' THEN CASE WHEN snapped_to >= state.hours_from THEN 'h' ELSE 'd' END
                      WHEN snapped_to >= state.minutes_from THEN 'm' WHEN snapped_to >= state.quarters_from THEN 'q' ELSE 'd' END;
        IF ccproxy._bucket(grain, snapped_to) <> snapped_to THEN
            snapped_to := ccproxy._bucket(grain, snapped_to) + ccproxy._grain_length(grain);
        END IF;
    END IF;
END
$$;

-- The tiles of [from_ts, to_ts): for each grain of the cube ('r' is raw) the spans
-- it answers. coarsest: no coarser grain than this may be used.
CREATE FUNCTION ccproxy._tiles(cube text, from_ts timestamptz, to_ts timestamptz, coarsest "char")
RETURNS TABLE (grain "char", spans tstzmultirange)
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    state  ccproxy.rollup_state;
    lost   tstzmultirange := ccproxy._lost();
    rest   tstzmultirange := ccproxy._span(from_ts, to_ts);
    dirty  tstzmultirange;
    usable tstzmultirange;
    step   record;
BEGIN
    SELECT * INTO STRICT state FROM ccproxy.rollup_state;
    IF cube <> 'raw' THEN
        SELECT coalesce(range_agg(tstzrange(d.minute, d.minute + interval '1 minute')), '{}') INTO dirty
          FROM ccproxy.dirty_minute d
         WHERE d.xid >= (SELECT ccproxy._marks_from()) AND d.minute >= state.raw_from AND NOT lost @> d.minute
           AND d.minute >= ccproxy._bucket('d', from_ts) AND d.minute < ccproxy._bucket('d', to_ts) + interval '1 day';
        FOR step IN
            SELECT * FROM (VALUES
                (1, 'service', 'd'::"char", '-infinity'::timestamptz, state.days_closed),
                (2, 'service', 'h', state.quarters_from, state.hours_closed),
                (3, 'service', 'q', state.quarters_from, state.quarters_closed),
                (4, 'service', 'm', state.minutes_from, 'infinity'),
                (1, 'user', 'd', '-infinity', state.user_days_closed),
                (2, 'user', 'h', state.hours_from, state.user_hours_closed),
                (3, 'user', 'm', state.user_hours_closed, 'infinity')) AS g(nth, of_cube, grain, first, closed)
             WHERE g.of_cube = cube AND ccproxy._grain_length(g.grain) <= ccproxy._grain_length(coarsest)
             ORDER BY g.nth
        LOOP
            usable := ccproxy._narrow(rest * ccproxy._span(step.first, step.closed), step.grain)
                      - ccproxy._widen(dirty, step.grain);
            IF NOT isempty(usable) THEN
                grain := step.grain;
                spans := usable;
                RETURN NEXT;
                rest := rest - usable;
            END IF;
        END LOOP;
    END IF;
    rest := rest * ccproxy._span(state.raw_from, 'infinity') - lost;
    IF NOT isempty(rest) THEN
        grain := 'r';
        spans := rest;
        RETURN NEXT;
    END IF;
END
$$;

-- The query of bucket and cells in spans of grains. Each span is read by the index:
-- as conditions joined by OR many of them would be tried on every row.
CREATE FUNCTION ccproxy._buckets_sql(cube text, grains "char"[], spans tstzmultirange[]) RETURNS text
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
SET datestyle = 'ISO' -- see _spans_sql()
AS $$
BEGIN
    RETURN (SELECT format('SELECT b.bucket, b.cells FROM (VALUES %s) AS t(grain, spans) CROSS JOIN LATERAL unnest(t.spans) AS s '
                          'CROSS JOIN LATERAL (SELECT x.bucket, x.cells FROM ccproxy.%I x WHERE x.grain = t.grain AND x.bucket >= lower(s) AND x.bucket < upper(s) OFFSET 0) AS b',
                          coalesce(string_agg(format('(%L::"char", %L::tstzmultirange)', t.grain, t.spans), ', '), '(NULL::"char", NULL::tstzmultirange)'), 'rollup_' || cube)
              FROM unnest(grains, spans) AS t(grain, spans));
END
$$;

-- Raw rows in these spans, as r: a few as conditions that prune partitions in the
-- plan, many one by one.
CREATE FUNCTION ccproxy._raw_rows_sql(spans tstzmultirange) RETURNS text
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
SET datestyle = 'ISO' -- see _spans_sql()
AS $$
BEGIN
    IF (SELECT count(*) FROM unnest(spans)) <= 4 THEN
        RETURN format('(SELECT * FROM ccproxy.request_log x WHERE %s) AS r', ccproxy._spans_sql('x.ts', spans));
    END IF;
    RETURN format('unnest(%L::tstzmultirange) AS s CROSS JOIN LATERAL '
                  '(SELECT * FROM ccproxy.request_log x WHERE x.ts >= lower(s) AND x.ts < upper(s) AND x.ts >= %L AND x.ts < %L OFFSET 0) AS r',
                  spans, lower(spans), upper(spans));
END
$$;
