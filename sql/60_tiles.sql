-- Which buckets answer a question: the coarsest clean ones that tile its range,
-- raw rows for what is dirty and for ragged edges.

-- The zone's hours begin with UTC's hours (its offset is whole hours) all
-- through this range; minutes of zones' offsets are multiples of 15.
CREATE FUNCTION ccproxy._whole_hours(time_zone text, from_ts timestamptz, to_ts timestamptz) RETURNS boolean
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT bool_and(extract(minute FROM t AT TIME ZONE time_zone) = extract(minute FROM t AT TIME ZONE 'UTC'))
      FROM (SELECT generate_series(from_ts, to_ts, interval '7 days') AS t UNION ALL SELECT to_ts) AS x
$$;

-- Where raw rows have expired, a range can only be answered in whole buckets of
-- the finest grain that survives there: it snaps outward.
CREATE FUNCTION ccproxy._snap(cube text, from_ts timestamptz, to_ts timestamptz, OUT snapped_from timestamptz, OUT snapped_to timestamptz)
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    state ccproxy.rollup_state;
    grain "char";
BEGIN
    SELECT * INTO STRICT state FROM ccproxy.rollup_state;
    snapped_from := from_ts;
    snapped_to := to_ts;
    IF cube = 'raw' THEN
        snapped_from := greatest(from_ts, state.raw_from);
        snapped_to := greatest(to_ts, snapped_from);
        RETURN;
    END IF;
    IF from_ts < state.raw_from THEN
        grain := CASE WHEN cube = 'user' THEN CASE WHEN from_ts >= state.hours_from THEN 'h' ELSE 'd' END
                      WHEN from_ts >= state.minutes_from THEN 'm' WHEN from_ts >= state.quarters_from THEN 'q' ELSE 'd' END;
        snapped_from := ccproxy._bucket(grain, from_ts);
    END IF;
    IF to_ts < state.raw_from THEN
        grain := CASE WHEN cube = 'user' THEN CASE WHEN to_ts >= state.hours_from THEN 'h' ELSE 'd' END
                      WHEN to_ts >= state.minutes_from THEN 'm' WHEN to_ts >= state.quarters_from THEN 'q' ELSE 'd' END;
        IF ccproxy._bucket(grain, to_ts) <> to_ts THEN
            snapped_to := ccproxy._bucket(grain, to_ts) + ccproxy._grain_length(grain);
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
    rest   tstzmultirange := ccproxy._span(from_ts, to_ts);
    dirty  tstzmultirange;
    usable tstzmultirange;
    step   record;
BEGIN
    SELECT * INTO STRICT state FROM ccproxy.rollup_state;
    IF cube <> 'raw' THEN
        SELECT coalesce(range_agg(tstzrange(d.minute, d.minute + interval '1 minute')), '{}') INTO dirty
          FROM ccproxy.dirty_minute d
         WHERE d.xid >= (SELECT ccproxy._marks_from()) AND d.minute >= state.raw_from
           AND d.minute >= ccproxy._bucket('d', from_ts) AND d.minute < ccproxy._bucket('d', to_ts) + interval '1 day';
        FOR step IN
            SELECT * FROM (VALUES
                (1, 'service', 'd'::"char", '-infinity'::timestamptz, state.days_closed),
                (2, 'service', 'q', state.quarters_from, state.quarters_closed),
                (3, 'service', 'm', state.minutes_from, 'infinity'),
                (1, 'user', 'd', '-infinity', state.user_days_closed),
                (2, 'user', 'h', state.hours_from, state.user_hours_closed)) AS g(nth, of_cube, grain, first, closed)
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
    rest := rest * ccproxy._span(state.raw_from, 'infinity');
    IF NOT isempty(rest) THEN
        grain := 'r';
        spans := rest;
        RETURN NEXT;
    END IF;
END
$$;
