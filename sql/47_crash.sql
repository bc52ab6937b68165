-- Logged or UNLOGGED partitions, and what a crash of the server means for them.
--
-- After a crash PostgreSQL empties every UNLOGGED table. The rollups are logged
-- and stay; but the raw rows they were made of are gone, so that they must not
-- be recomputed from what is left. An UNLOGGED table with one row, the sentinel,
-- is emptied in the same instant: where it has no row, a crash happened that
-- nobody has taken note of yet. The next refresh() does (_note_crash()), and
-- from then on rollup_state.lost says which times are concerned: full hours, up
-- to the last one that had anything rolled up.
--
-- In a lost time
--   - a bucket is its base, what it was after the crash, plus the raw rows that
--     came since; the base is put aside (rollup_base) when the bucket is first
--     recomputed;
--   - statistics read rollups only and ranges snap outward, as where raw rows
--     have expired. New rows show up with the next refresh.
-- Rows that were not rolled up when the server crashed are lost; their marks are
-- thrown away and counted.

CREATE FUNCTION ccproxy._create_crash_tables() RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
SET client_min_messages = warning
AS $$
BEGIN
    -- The row is put there once: whoever runs this again after a crash must not
    -- hide it. An UNLOGGED table that is restored without its rows counts as lost.
    IF to_regclass('ccproxy.crash_sentinel') IS NULL THEN
        CREATE UNLOGGED TABLE ccproxy.crash_sentinel (singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton));
        COMMENT ON TABLE ccproxy.crash_sentinel IS
        'One row; none after a crash of the server that no refresh() has taken note of yet: UNLOGGED tables are emptied together.';
        INSERT INTO ccproxy.crash_sentinel DEFAULT VALUES;
    END IF;
    CREATE TABLE IF NOT EXISTS ccproxy.rollup_base (
        cube   text NOT NULL CHECK (cube IN ('service', 'user')),
        bucket timestamptz NOT NULL,
        cells  ccproxy.cells,
        PRIMARY KEY (cube, bucket)
    );
    COMMENT ON TABLE ccproxy.rollup_base IS
    'What rollups of lost times (rollup_state.lost) were after the crash: minutes of the service cube, hours of the user cube; recomputing adds raw rows to it.';
END
$$;

CREATE FUNCTION ccproxy.set_storage(storage text) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF storage IS NULL OR storage NOT IN ('logged', 'unlogged') THEN
        RAISE EXCEPTION 'storage must be logged or unlogged, got %', coalesce('"' || storage || '"', 'NULL')
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    UPDATE ccproxy.configuration c SET storage = set_storage.storage WHERE c.storage <> set_storage.storage;
    IF FOUND THEN
        PERFORM ccproxy._remake_empty_partitions();
    END IF;
END
$$;
COMMENT ON FUNCTION ccproxy.set_storage(text) IS
'Whether new raw partitions are logged (the default) or unlogged: UNLOGGED tables are written faster, are not on standbys or in base backups, and are emptied when the server crashes. Lost are then raw rows, with what only they can tell, and of the statistics only requests that no refresh() had rolled up (seconds'' worth, while maintain() runs); rollups and counters stay, and what comes later is added to them. A request whose parts come on both sides of a crash counts as two. Partitions that hold rows are left as they are, ones for now and later that are empty are made anew. Errors: 22023 for another word.';

-- The times of UNLOGGED partitions.
CREATE FUNCTION ccproxy._unlogged() RETURNS tstzmultirange
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT coalesce(range_agg(tstzrange(p.from_ts, p.to_ts)), '{}') FROM ccproxy._partitions() AS p WHERE p.unlogged
$$;

-- Those of them that have lost what was rolled up, should there be a crash:
-- before that is noted.
CREATE FUNCTION ccproxy._losing() RETURNS tstzmultirange
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT ccproxy._unlogged() * ccproxy._span(s.raw_from,
               greatest(s.minutes_from, (SELECT ccproxy._bucket('h', max(r.bucket)) + interval '1 hour'
                                           FROM ccproxy.rollup_service r WHERE r.grain = 'm')))
      FROM ccproxy.rollup_state s
$$;

-- The times whose raw rows must not be read, for some are lost.
CREATE FUNCTION ccproxy._lost() RETURNS tstzmultirange
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF pg_is_in_recovery() THEN
        -- on a standby UNLOGGED tables cannot be read at all
        RETURN (SELECT s.lost + ccproxy._unlogged() FROM ccproxy.rollup_state s);
    ELSIF EXISTS (SELECT FROM ccproxy.crash_sentinel) THEN
        RETURN (SELECT s.lost FROM ccproxy.rollup_state s);
    END IF;
    RETURN (SELECT s.lost + ccproxy._losing() FROM ccproxy.rollup_state s);
END
$$;

-- Takes note of a crash, before anything is recomputed or merged; nearly always
-- there was none. The refresh's lock is held from here on when there was.
CREATE FUNCTION ccproxy._note_crash() RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    state ccproxy.rollup_state;
    fresh tstzmultirange; -- lost just now
    n     bigint;
BEGIN
    IF EXISTS (SELECT FROM ccproxy.crash_sentinel) THEN
        RETURN;
    END IF;
    PERFORM pg_advisory_xact_lock('pg_class'::regclass::oid::integer, hashtext('ccproxy.refresh'));
    IF EXISTS (SELECT FROM ccproxy.crash_sentinel) THEN
        RETURN;
    END IF;
    SELECT * INTO STRICT state FROM ccproxy.rollup_state;
    fresh := ccproxy._losing();

    -- Open hours of the user cube are closed as they were rolled up: an hour
    -- that is put together after a crash would be no base.
    IF state.user_hours_closed < upper(fresh) THEN
        state.user_hours_closed := ccproxy._close('user', 'h', 'm', state.user_hours_closed, upper(fresh),
            ceil(extract(epoch FROM upper(fresh) - state.user_hours_closed) / 3600)::integer);
    END IF;

    -- Buckets begin anew with what they are now, bases of an earlier crash included.
    DELETE FROM ccproxy.rollup_base b WHERE fresh @> b.bucket;
    -- Parts of lost rows would be folded into a row that the base has already.
    WITH forgotten AS (
        DELETE FROM ccproxy.request_key k
         WHERE fresh @> k.ts
           AND NOT EXISTS (SELECT FROM ccproxy.request_log l WHERE l.ts = k.ts AND l.request_id = k.request_id)
        RETURNING k.request_id)
    DELETE FROM ccproxy.request_part p USING forgotten f WHERE p.request_id = f.request_id;
    -- Marks of rows that are gone; where others have come since, their mark is needed.
    WITH taken AS (
        DELETE FROM ccproxy.dirty_minute d
         WHERE d.xid >= (SELECT ccproxy._marks_from()) AND (SELECT ccproxy._unlogged()) @> d.minute
           AND NOT EXISTS (SELECT FROM ccproxy.request_log l WHERE l.ts >= d.minute AND l.ts < d.minute + interval '1 minute')
        RETURNING d.minute)
    SELECT count(DISTINCT t.minute) INTO n FROM taken t;

    UPDATE ccproxy.rollup_state s
       SET lost = s.lost + fresh, lost_minutes = s.lost_minutes + n, user_hours_closed = state.user_hours_closed;
    INSERT INTO ccproxy.crash_sentinel DEFAULT VALUES;
END
$$;

-- Puts aside what these buckets are, where it has not been done since the crash.
CREATE FUNCTION ccproxy._keep_base(cube text, grain "char", spans tstzmultirange) RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    EXECUTE format($query$
        INSERT INTO ccproxy.rollup_base (cube, bucket, cells)
        SELECT $1, b, r.cells
          FROM unnest($3) AS s
         CROSS JOIN LATERAL generate_series(lower(s), upper(s) - interval '1 microsecond', ccproxy._grain_length($2)) AS b
          LEFT JOIN ccproxy.%I r ON r.grain = $2 AND r.bucket = b
        ON CONFLICT DO NOTHING
        $query$, 'rollup_' || cube)
    USING cube, grain, spans;
END
$$;
