-- How long what is kept, and dropping raw partitions that have expired.

CREATE FUNCTION ccproxy.set_retention(raw interval DEFAULT NULL, minutes interval DEFAULT NULL, quarters interval DEFAULT NULL,
                                      user_hours interval DEFAULT NULL, partitions text DEFAULT NULL) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    before     ccproxy.configuration;
    least_kept interval;
BEGIN
    SELECT * INTO STRICT before FROM ccproxy.configuration FOR UPDATE;
    IF partitions NOT IN ('hour', 'day', 'week') THEN
        RAISE EXCEPTION 'partitions must be hour, day or week, got "%"', partitions
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    raw := coalesce(raw, before.retention);
    partitions := coalesce(partitions, before.partitions);
    IF partitions = 'hour' AND raw < interval '1 hour' THEN
        RAISE EXCEPTION 'retention of raw rows must be at least one hour, got %', raw
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    least_kept := least(CASE WHEN partitions <> 'hour' THEN raw END, minutes, quarters, user_hours);
    IF least_kept < interval '1 day' THEN
        RAISE EXCEPTION 'retention must be at least one day, got %', least_kept
            USING ERRCODE = 'invalid_parameter_value',
                  HINT = 'Raw rows may go earlier where they are in hourly partitions: set_retention(..., partitions => ''hour'').';
    END IF;
    UPDATE ccproxy.configuration c
       SET retention = set_retention.raw,
           minute_retention = coalesce(set_retention.minutes, c.minute_retention),
           quarter_retention = coalesce(set_retention.quarters, c.quarter_retention),
           user_hour_retention = coalesce(set_retention.user_hours, c.user_hour_retention),
           partitions = set_retention.partitions;
    IF partitions <> before.partitions THEN
        PERFORM ccproxy._remake_empty_partitions();
    END IF;
END
$$;
COMMENT ON FUNCTION ccproxy.set_retention(interval, interval, interval, interval, text) IS
'How long to keep raw rows (default 90 days), the service cube''s minutes (35 days), quarter hours and hours (400 days), and the user cube''s hours (400 days), and how long a raw partition is: hour, day (default) or week; NULL leaves a setting as it is. Minutes may not be kept longer than quarter hours; days are kept for ever. What has expired goes at the next maintain(), three raw partitions in ten minutes, each when all of it has expired. Another length applies to new partitions: what holds rows keeps its bounds, the first new one begins where that ends; partitions ahead that are still empty are made anew. Daily and weekly partitions are made partitions_ahead days ahead (7), hourly ones a day. Errors: 22023 for less than a day (raw rows in hourly partitions: an hour) or another word, 23514 for minutes kept longer than quarter hours.';

-- The expired partitions, oldest first, at most three (and _job_step() lets ten
-- minutes pass then): a clock that jumps or a retention mistyped must not empty the
-- table before somebody notices. upper_bound: what has to be rolled
-- up before it may go. That is the partition's own end as long as the days it
-- lies in can be put together from finer rollups; where these have expired, a
-- day is only ever recomputed from raw rows and must expire as a whole.
CREATE FUNCTION ccproxy._expired_partitions() RETURNS TABLE (partition regclass, upper_bound timestamptz)
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT p.partition, p.upper_bound
      FROM (SELECT x.partition, x.to_ts,
                   CASE WHEN (SELECT greatest(s.quarters_from, s.hours_from) FROM ccproxy.rollup_state s) > ccproxy._bucket('d', x.to_ts)
                         AND x.to_ts > ccproxy._bucket('d', x.to_ts)
                        THEN ccproxy._bucket('d', x.to_ts) + interval '24 hours' ELSE x.to_ts END AS upper_bound
              FROM ccproxy._partitions() AS x) AS p
     WHERE p.upper_bound <= (SELECT now() - k.retention FROM ccproxy.configuration k)
     ORDER BY p.to_ts
     LIMIT 3
$$;

-- Drops one of these: true when it did, false when not all of it is rolled up
-- yet, NULL when somebody reads or writes. Inserts wait for 100 ms at most.
--
-- The parent is locked first, as queries do; that waits for all who write, so
-- that the next statement's snapshot sees every mark of theirs.
CREATE FUNCTION ccproxy._drop_partition(partition regclass, upper_bound timestamptz) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET lock_timeout = '100ms'
AS $$
DECLARE
    state ccproxy.rollup_state;
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'partitions must be dropped at READ COMMITTED'
            USING ERRCODE = 'active_sql_transaction',
                  DETAIL = 'With an older snapshot it could miss a mark and drop rows that are not rolled up.';
    END IF;
    -- refresh() goes first in this order too
    PERFORM pg_advisory_xact_lock('pg_class'::regclass::oid::integer, hashtext('ccproxy.refresh'));
    -- All that takes time before the lock. Whoever adds parts meanwhile leaves a mark.
    SELECT * INTO STRICT state FROM ccproxy.rollup_state;
    IF NOT EXISTS (SELECT FROM ccproxy._expired_partitions() AS e WHERE e.partition = $1 AND e.upper_bound = $2)
       OR least(state.quarters_closed, state.user_hours_closed) < upper_bound
       OR ccproxy._marked(state.raw_from, upper_bound)
       OR EXISTS (SELECT FROM ccproxy.request_key k WHERE k.ts < upper_bound) THEN
        RETURN false; -- not all of it is rolled up, or parts may still come: later
    END IF;
    LOCK TABLE ONLY ccproxy.request_log IN ACCESS EXCLUSIVE MODE;
    -- others queue behind us now: no second wait
    EXECUTE format('LOCK TABLE %s IN ACCESS EXCLUSIVE MODE NOWAIT', partition);
    IF ccproxy._marked(state.raw_from, upper_bound) THEN
        RETURN false;
    END IF;
    EXECUTE format('DROP TABLE %s', partition);
    UPDATE ccproxy.rollup_state s SET raw_from = greatest(s.raw_from, upper_bound);
    RETURN true;
EXCEPTION WHEN lock_not_available THEN
    RETURN NULL; -- somebody reads or writes: try again later
END
$$;

-- Is there a live mark in this range?
CREATE FUNCTION ccproxy._marked(from_ts timestamptz, to_ts timestamptz) RETURNS boolean
LANGUAGE sql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT EXISTS (SELECT FROM ccproxy.dirty_minute d
                    WHERE d.xid >= (SELECT ccproxy._marks_from()) AND d.minute >= from_ts AND d.minute < to_ts)
$$;
