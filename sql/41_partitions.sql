-- The partitions of ccproxy.request_log: how long they are, what they are
-- called, making them.
--
-- Hours, days or weeks (from Monday), UTC, as set_retention() says. What exists
-- keeps its bounds: a new partition takes its own hour, day or week as far as
-- that is free, so that a change of length leaves neither gap nor overlap. All
-- bounds lie on full hours, which the buckets of rollups rely on.

CREATE FUNCTION ccproxy._partition_at(ts timestamptz, OUT partition regclass, OUT from_ts timestamptz, OUT to_ts timestamptz)
AS 'MODULE_PATHNAME', 'ccproxy_partition_at' LANGUAGE C VOLATILE STRICT;
COMMENT ON FUNCTION ccproxy._partition_at(timestamptz) IS
'Internal: the partition that takes ts, with its bounds; partition is NULL where there is none, the bounds are then the gap''s.';

CREATE FUNCTION ccproxy._partitions() RETURNS TABLE (partition regclass, from_ts timestamptz, to_ts timestamptz, unlogged boolean)
AS 'MODULE_PATHNAME', 'ccproxy_partitions' LANGUAGE C VOLATILE STRICT ROWS 100;
COMMENT ON FUNCTION ccproxy._partitions() IS
'Internal: the partitions of ccproxy.request_log in ascending order.';

-- In hours: a day of the session's time zone may have 23 or 25 of them.
CREATE FUNCTION ccproxy._partition_length(partitions text) RETURNS interval
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN CASE partitions WHEN 'hour' THEN interval '1 hour' WHEN 'day' THEN interval '24 hours' WHEN 'week' THEN interval '168 hours' END;

-- request_log_p20250131, of an hour request_log_p20250131_13, of a week
-- request_log_p20250127w: where it begins, which no two have in common.
CREATE FUNCTION ccproxy._partition_name(partitions text, from_ts timestamptz) RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN 'request_log_p' || pg_catalog.to_char(from_ts AT TIME ZONE 'UTC', 'YYYYMMDD')
    || CASE WHEN partitions = 'hour' OR pg_catalog.date_part('hour', from_ts AT TIME ZONE 'UTC') <> 0
            THEN pg_catalog.to_char(from_ts AT TIME ZONE 'UTC', '_HH24') ELSE '' END
    || CASE WHEN partitions = 'week' THEN 'w' ELSE '' END;

-- Up to when partitions are made ahead. A day's worth of hourly ones is enough:
-- more would be tables that every plan looks at, and what is missing is made
-- when an event needs it.
CREATE FUNCTION ccproxy._partitions_until() RETURNS timestamptz
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT now() + CASE WHEN c.partitions = 'hour' THEN interval '1 day' ELSE make_interval(days => c.partitions_ahead) END
      FROM ccproxy.configuration c
$$;

-- Summarises a partition's BRIN index and returns how many ranges. A summary
-- costs each row that comes into its range more than all else about the row: it
-- is read, changed and compressed again. So while a partition is being filled its
-- last range has none (readers look through such a range); a new index has one.
-- A vacuum that is at the partition summarises it too: it is not waited for, and
-- an automatic one is not cancelled for it, as it would be after deadlock_timeout.
CREATE FUNCTION ccproxy._summarize(partition regclass, filling boolean) RETURNS bigint
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
SET lock_timeout = '10ms'
AS $$
DECLARE
    range_pages CONSTANT integer := 128; -- the index has the default
    pages bigint;
    bloom regclass;
    made  bigint;
BEGIN
    SELECT i.indexrelid INTO STRICT bloom
      FROM pg_index i
      JOIN pg_class c ON c.oid = i.indexrelid
      JOIN pg_am a ON a.oid = c.relam AND a.amname = 'brin'
     WHERE i.indrelid = partition;
    made := brin_summarize_new_values(bloom);
    IF filling THEN
        pages := pg_relation_size(partition) / current_setting('block_size')::integer;
        PERFORM brin_desummarize_range(bloom, pages / range_pages * range_pages);
        IF pages % range_pages > 0 THEN
            made := greatest(made - 1, 0);
        END IF;
    END IF;
    RETURN made;
EXCEPTION WHEN lock_not_available THEN
    RETURN 0;
END
$$;

CREATE FUNCTION ccproxy.ensure_partitions(from_ts timestamptz, to_ts timestamptz) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET client_min_messages = warning
AS $$
DECLARE
    literal CONSTANT text := 'YYYY-MM-DD HH24:MI:SS.US"+00"'; -- whatever the session's style
    moment  timestamptz := from_ts;
    slot    record;
    config  ccproxy.configuration;
    raw_from timestamptz;
    oldest  timestamptz;
    newest  timestamptz;
    whole   timestamptz; -- where the hour, day or week begins
    lower   timestamptz;
    upper   timestamptz;
    name    text;
    made    integer := 0;
BEGIN
    IF from_ts IS NULL OR to_ts IS NULL OR NOT isfinite(from_ts) OR NOT isfinite(to_ts) OR from_ts > to_ts THEN
        RAISE EXCEPTION 'range of partitions must be finite and in order, got % to %', from_ts, to_ts
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    LOOP
        SELECT * INTO slot FROM ccproxy._partition_at(moment);
        EXIT WHEN slot.partition IS NULL;
        IF slot.to_ts > ensure_partitions.to_ts THEN
            RETURN 0;
        END IF;
        moment := slot.to_ts;
    END LOOP;

    -- Events are judged when they are accepted; one that waited in a spool may
    -- be a little older than the retention by the time it lands.
    -- What has been dropped is not made again: its rows live on in the rollups.
    SELECT * INTO STRICT config FROM ccproxy.configuration;
    SELECT s.raw_from INTO STRICT raw_from FROM ccproxy.rollup_state s;
    oldest := greatest(ccproxy._bucket('d', now() - config.retention - interval '31 days'), raw_from);
    newest := ccproxy._bucket('d', now() + make_interval(days => config.partitions_ahead + 2));
    IF from_ts < oldest OR ensure_partitions.to_ts >= newest THEN
        RAISE EXCEPTION 'no partition for %: outside the retention window',
            to_char(CASE WHEN from_ts < oldest THEN from_ts ELSE ensure_partitions.to_ts END AT TIME ZONE 'UTC', 'YYYY-MM-DD')
            USING ERRCODE = 'datetime_field_overflow',
                  DETAIL = format('Partitions may be made from %s to before %s (UTC).', to_char(oldest AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI'),
                                  to_char(newest AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI')),
                  HINT = 'Lengthen the retention: SELECT ccproxy.set_retention(interval ''...'').';
    END IF;

    -- The lock that ATTACH takes anyway, taken first: others who miss the same
    -- partitions wait here and then find them. Inserts and selects go on.
    LOCK TABLE ONLY ccproxy.request_log IN SHARE UPDATE EXCLUSIVE MODE;
    WHILE moment <= ensure_partitions.to_ts LOOP
        SELECT * INTO slot FROM ccproxy._partition_at(moment);
        upper := slot.to_ts;
        IF slot.partition IS NULL THEN
            whole := date_bin(ccproxy._partition_length(config.partitions), moment, timestamptz '2000-01-03 00:00:00+00'); -- a Monday
            lower := greatest(whole, slot.from_ts, raw_from);
            upper := least(whole + ccproxy._partition_length(config.partitions), slot.to_ts);
            name := ccproxy._partition_name(config.partitions, lower);
            -- LIKE and ATTACH: PARTITION OF would take ACCESS EXCLUSIVE on the parent.
            EXECUTE format('CREATE %s TABLE ccproxy.%I (LIKE ccproxy.request_log INCLUDING ALL)',
                CASE config.storage WHEN 'unlogged' THEN 'UNLOGGED' ELSE '' END, name);
            PERFORM ccproxy._summarize(format('ccproxy.%I', name)::regclass, true);
            EXECUTE format('ALTER TABLE ccproxy.request_log ATTACH PARTITION ccproxy.%I FOR VALUES FROM (%L) TO (%L)',
                name, to_char(lower AT TIME ZONE 'UTC', literal), to_char(upper AT TIME ZONE 'UTC', literal));
            made := made + 1;
        END IF;
        moment := upper;
    END LOOP;
    RETURN made;
END
$$;
COMMENT ON FUNCTION ccproxy.ensure_partitions(timestamptz, timestamptz) IS
'Makes the partitions that from_ts to to_ts need and that do not exist, of the length that set_retention() says; returns how many it made. Blocks neither readers nor writers. Errors: 22008 where one is missing outside the retention window (31 days of grace, partitions_ahead + 1 days ahead), 22023 when the range is not finite or reversed.';

-- From a little ago, for what comes first is often late, to as far ahead as set.
CREATE FUNCTION ccproxy._ensure_current_partitions() RETURNS integer
LANGUAGE sql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT ccproxy.ensure_partitions(greatest(now() - least(ccproxy._partition_length(c.partitions), interval '1 day'), s.raw_from),
                                     ccproxy._partitions_until())
      FROM ccproxy.configuration c, ccproxy.rollup_state s
$$;

-- Partitions that hold nothing and are likely to be filled, made anew by what is
-- set now; all others stay as they are. Does nothing when somebody is in the way.
CREATE FUNCTION ccproxy._remake_empty_partitions() RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
SET lock_timeout = '100ms'
AS $$
DECLARE
    p      record;
    filled boolean;
BEGIN
    -- An older snapshot could take a partition for empty that is not.
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RETURN;
    END IF;
    -- what a crash has emptied must be known as such before it is changed
    PERFORM ccproxy._note_crash();
    LOCK TABLE ONLY ccproxy.request_log IN ACCESS EXCLUSIVE MODE;
    FOR p IN SELECT * FROM ccproxy._partitions() AS x WHERE x.to_ts > now() - interval '1 day' LOOP
        EXECUTE format('SELECT EXISTS (SELECT FROM %s)', p.partition) INTO filled;
        IF NOT filled THEN
            EXECUTE format('DROP TABLE %s', p.partition);
        END IF;
    END LOOP;
    PERFORM ccproxy._ensure_current_partitions();
EXCEPTION WHEN lock_not_available THEN
    RAISE NOTICE 'ccproxy.request_log is in use: partitions that exist stay as they are, new ones will differ';
END
$$;
