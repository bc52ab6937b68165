-- Housekeeping: jobs that anybody's timer may run, as often as it likes.
--
-- Each job is one short transaction, idempotent, and records how it went in
-- ccproxy.job. maintain() runs them in order; a second maintain() at the same
-- time has nothing to do and says so by returning at once.

CREATE FUNCTION ccproxy._create_job_table() RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
SET client_min_messages = warning
AS $$
BEGIN
    CREATE TABLE IF NOT EXISTS ccproxy.job (
        name        text PRIMARY KEY,
        last_run    timestamptz NOT NULL,
        duration_ms double precision NOT NULL,
        last_result bigint,
        last_error  text,
        failed_at   timestamptz
    );
    COMMENT ON TABLE ccproxy.job IS
    'How the jobs of maintain() went: when each ran last, for how long, what it did (partitions made, minutes refreshed, partitions dropped, rows trimmed, ranges summarised) and its last error.';
END
$$;

CREATE FUNCTION ccproxy.set_retention(raw interval DEFAULT NULL, minutes interval DEFAULT NULL, quarters interval DEFAULT NULL,
                                      user_hours interval DEFAULT NULL) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    least_kept interval;
BEGIN
    least_kept := least(raw, minutes, quarters, user_hours);
    IF least_kept < interval '1 day' THEN
        RAISE EXCEPTION 'retention must be at least one day, got %', least_kept
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    UPDATE ccproxy.configuration c
       SET retention = coalesce(set_retention.raw, c.retention),
           minute_retention = coalesce(set_retention.minutes, c.minute_retention),
           quarter_retention = coalesce(set_retention.quarters, c.quarter_retention),
           user_hour_retention = coalesce(set_retention.user_hours, c.user_hour_retention);
END
$$;
COMMENT ON FUNCTION ccproxy.set_retention(interval, interval, interval, interval) IS
'How long to keep raw rows (default 90 days), the service cube''s minutes (35 days) and quarter hours (400 days), and the user cube''s hours (400 days); NULL leaves a setting as it is. Minutes may not be kept longer than quarter hours; days are kept for ever. What has expired goes at the next maintain(), three raw partitions a call. Errors: 22023 for less than a day, 23514 for minutes kept longer than quarter hours.';

-- A new transaction's snapshot sees every mark of what was written to the
-- partition, because the parent's lock has waited for all who write.
CREATE FUNCTION ccproxy._drop_partition(partition regclass, upper_bound timestamptz) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET lock_timeout = '100ms'
AS $$
DECLARE
    state ccproxy.rollup_state;
BEGIN
    -- It drops with the owner's rights what a gateway names.
    IF NOT EXISTS (SELECT FROM ccproxy._expired_partitions() AS e
                    WHERE e.partition = _drop_partition.partition AND e.upper_bound = _drop_partition.upper_bound) THEN
        RETURN false;
    END IF;
    -- refresh() goes first in this order too
    PERFORM pg_advisory_xact_lock('pg_class'::regclass::oid::integer, hashtext('ccproxy.refresh'));
    -- The parent first, as queries do; a queue behind us lasts 100 ms at most.
    LOCK TABLE ONLY ccproxy.request_log IN ACCESS EXCLUSIVE MODE;
    SELECT * INTO STRICT state FROM ccproxy.rollup_state;
    IF least(state.days_closed, state.user_days_closed) < upper_bound
       OR EXISTS (SELECT FROM ccproxy.dirty_minute d
                   WHERE d.xid >= (SELECT ccproxy._marks_from()) AND d.minute < upper_bound AND d.minute >= state.raw_from)
       OR EXISTS (SELECT FROM ccproxy.request_key k WHERE k.ts < upper_bound) THEN
        RETURN false; -- not all of it is rolled up, or parts may still come: later
    END IF;
    EXECUTE format('DROP TABLE %s', partition);
    UPDATE ccproxy.rollup_state s SET raw_from = greatest(s.raw_from, upper_bound);
    RETURN true;
EXCEPTION WHEN lock_not_available THEN
    RETURN NULL; -- somebody reads or writes: try again later
END
$$;

-- The partitions and their bounds. In other styles than ISO these are written
-- with abbreviations of zones, which read back otherwise.
CREATE FUNCTION ccproxy._partitions() RETURNS TABLE (partition regclass, lower_bound timestamptz, upper_bound timestamptz)
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
SET datestyle = 'ISO'
AS $$
    SELECT p.oid::regclass, b.bounds[1]::timestamptz, b.bounds[2]::timestamptz
      FROM (SELECT c.oid, pg_get_expr(c.relpartbound, c.oid) AS bound
              FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
             WHERE i.inhparent = to_regclass('ccproxy.request_log')) AS p
     CROSS JOIN LATERAL regexp_match(p.bound, 'FROM \(''([^'']+)''\) TO \(''([^'']+)''\)') AS b(bounds)
$$;

-- The expired partitions, oldest first, at most three: a clock that jumps or a
-- retention mistyped must not empty the table.
CREATE FUNCTION ccproxy._expired_partitions() RETURNS TABLE (partition regclass, upper_bound timestamptz)
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT p.partition, p.upper_bound
      FROM ccproxy._partitions() AS p, ccproxy.configuration k
     WHERE p.upper_bound <= now() - k.retention
     ORDER BY p.upper_bound
     LIMIT 3
$$;

CREATE FUNCTION ccproxy._job_partitions() RETURNS bigint
LANGUAGE sql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT ccproxy.ensure_partitions(now(), now() + make_interval(days => c.partitions_ahead))
      FROM ccproxy.configuration c
$$;

CREATE FUNCTION ccproxy._job_refresh() RETURNS bigint
LANGUAGE sql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT ccproxy.refresh()
$$;

CREATE FUNCTION ccproxy._job_summaries() RETURNS bigint
LANGUAGE sql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT coalesce(sum(brin_summarize_new_values(i.indexrelid)), 0)
      FROM pg_inherits h
      JOIN pg_index i ON i.indexrelid = h.inhrelid
     WHERE h.inhparent = to_regclass('ccproxy.request_log_request_id')
$$;

CREATE FUNCTION ccproxy._job_trim() RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    slice CONSTANT integer := 10000;
    rejected_age  CONSTANT interval := interval '30 days';
    rejected_rows CONSTANT integer := 10000;
    old   text[];
    total bigint;
    n     bigint;
    config ccproxy.configuration;
    state  ccproxy.rollup_state;
BEGIN
    SELECT * INTO STRICT config FROM ccproxy.configuration;
    -- A key goes with its parts, and only while nobody merges that request.
    SELECT array_agg(k.request_id) INTO old
      FROM (SELECT k.request_id FROM ccproxy.request_key k
             WHERE k.claimed_at < now() - config.part_window
             LIMIT slice FOR UPDATE OF k SKIP LOCKED) AS k;
    DELETE FROM ccproxy.request_part p WHERE p.request_id = ANY (old);
    DELETE FROM ccproxy.request_key k WHERE k.request_id = ANY (old);
    total := coalesce(cardinality(old), 0);
    DELETE FROM ccproxy.ingest_batch b
     WHERE b.batch_id IN (SELECT o.batch_id FROM ccproxy.ingest_batch o
                           WHERE o.committed_at < now() - interval '1 day' LIMIT slice);
    GET DIAGNOSTICS n = ROW_COUNT;
    total := total + n;

    DELETE FROM ccproxy.rejected_event e
     WHERE e.received_at < now() - rejected_age
        OR e.received_at < (SELECT x.received_at FROM ccproxy.rejected_event x
                             ORDER BY x.received_at DESC OFFSET rejected_rows - 1 LIMIT 1);
    GET DIAGNOSTICS n = ROW_COUNT;
    total := total + n;

    -- Rollups that have outlived their grain's retention; only below what the
    -- next coarser grain has closed. refresh() must not run meanwhile.
    PERFORM pg_advisory_xact_lock('pg_class'::regclass::oid::integer, hashtext('ccproxy.refresh'));
    SELECT * INTO STRICT state FROM ccproxy.rollup_state;
    state.minutes_from := greatest(state.minutes_from, least(ccproxy._bucket('d', now() - config.minute_retention), state.days_closed));
    state.quarters_from := greatest(state.quarters_from, least(ccproxy._bucket('d', now() - config.quarter_retention), state.days_closed));
    state.hours_from := greatest(state.hours_from, least(ccproxy._bucket('d', now() - config.user_hour_retention), state.user_days_closed));
    DELETE FROM ccproxy.rollup_service r WHERE r.grain = 'm' AND r.bucket < state.minutes_from;
    GET DIAGNOSTICS n = ROW_COUNT;
    total := total + n;
    DELETE FROM ccproxy.rollup_service r WHERE r.grain = 'q' AND r.bucket < state.quarters_from;
    GET DIAGNOSTICS n = ROW_COUNT;
    total := total + n;
    DELETE FROM ccproxy.rollup_user r WHERE r.grain = 'h' AND r.bucket < state.hours_from;
    GET DIAGNOSTICS n = ROW_COUNT;
    UPDATE ccproxy.rollup_state s
       SET minutes_from = state.minutes_from, quarters_from = state.quarters_from, hours_from = state.hours_from
     WHERE (s.minutes_from, s.quarters_from, s.hours_from) <> (state.minutes_from, state.quarters_from, state.hours_from);
    RETURN total + n;
END
$$;

-- Runs one job and notes how it went; an error ends the job, not maintain().
CREATE FUNCTION ccproxy._run_job(name text, OUT result bigint)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    began   timestamptz := clock_timestamp();
    message text;
BEGIN
    BEGIN
        CASE name
            WHEN 'partitions' THEN result := ccproxy._job_partitions();
            WHEN 'refresh' THEN result := ccproxy._job_refresh();
            WHEN 'trim' THEN result := ccproxy._job_trim();
            WHEN 'summaries' THEN result := ccproxy._job_summaries();
        END CASE;
    EXCEPTION WHEN OTHERS THEN
        message := format('%s (%s)', SQLERRM, SQLSTATE);
        RAISE WARNING 'job "%" failed: %', name, message;
    END;
    INSERT INTO ccproxy.job AS j (name, last_run, duration_ms, last_result, last_error, failed_at)
    VALUES (_run_job.name, began, extract(epoch FROM clock_timestamp() - began) * 1000, result, message,
            CASE WHEN message IS NOT NULL THEN began END)
    ON CONFLICT ON CONSTRAINT job_pkey DO UPDATE
       SET last_run = excluded.last_run, duration_ms = excluded.duration_ms,
           last_result = coalesce(excluded.last_result, j.last_result),
           last_error = coalesce(excluded.last_error, j.last_error), failed_at = coalesce(excluded.failed_at, j.failed_at);
END
$$;

CREATE FUNCTION ccproxy._may_maintain() RETURNS boolean
LANGUAGE sql VOLATILE
SET search_path = pg_catalog, pg_temp
RETURN pg_catalog.pg_try_advisory_xact_lock('pg_catalog.pg_class'::pg_catalog.regclass::pg_catalog.oid::integer,
                                            pg_catalog.hashtext('ccproxy.maintain'));

CREATE PROCEDURE ccproxy.maintain()
LANGUAGE plpgsql
AS $$
DECLARE
    deadline CONSTANT pg_catalog.timestamptz := pg_catalog.clock_timestamp() OPERATOR(pg_catalog.+) pg_catalog.make_interval(secs => 4);
    job      pg_catalog.text;
    victim   pg_catalog.record;
    dropped  boolean;
    attempt  integer;
BEGIN
    -- The lock lasts for a transaction, so each asks for it; whoever does not
    -- get it leaves the rest to the other.
    FOREACH job IN ARRAY ARRAY['partitions', 'refresh', 'trim', 'summaries'] LOOP
        LOOP
            IF NOT ccproxy._may_maintain() THEN
                RETURN;
            END IF;
            EXIT WHEN coalesce(ccproxy._run_job(job), 0) OPERATOR(pg_catalog.=) 0
                   OR job OPERATOR(pg_catalog.<>) 'refresh'
                   OR pg_catalog.clock_timestamp() OPERATOR(pg_catalog.>) deadline;
            COMMIT;
        END LOOP;
        COMMIT;
    END LOOP;

    FOR victim IN SELECT * FROM ccproxy._expired_partitions() LOOP
        FOR attempt IN 1 .. 3 LOOP
            IF NOT ccproxy._may_maintain() THEN
                RETURN;
            END IF;
            dropped := ccproxy._drop_partition(victim.partition, victim.upper_bound);
            COMMIT;
            EXIT WHEN dropped IS NOT NULL;
            -- locked by others: back off, with jitter
            PERFORM pg_catalog.pg_sleep(0.1::double precision OPERATOR(pg_catalog.*) attempt OPERATOR(pg_catalog.*) (1 OPERATOR(pg_catalog.+) pg_catalog.random()));
        END LOOP;
        EXIT WHEN dropped IS DISTINCT FROM true;
    END LOOP;
END
$$;
COMMENT ON PROCEDURE ccproxy.maintain() IS
'All housekeeping: makes partitions ahead, refreshes rollups (for at most 4 seconds), trims keys, parts, batch ids, rejected_event and expired rollups, summarises the BRIN index, and drops expired partitions (at most three; each in its own transaction, with a lock_timeout of 100 ms, three tries). CALL it every few seconds, outside a transaction (it commits); safe from several callers at once: the second returns at once. How the jobs went is in ccproxy.health.';

CREATE FUNCTION ccproxy._create_health_view() RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
SET client_min_messages = warning
AS $$
BEGIN
    CREATE OR REPLACE VIEW ccproxy.health AS
    SELECT (SELECT count(*) FROM ccproxy._partitions() AS p WHERE p.lower_bound > now()) AS partitions_ahead,
           (SELECT min(p.lower_bound) FROM ccproxy._partitions() AS p) AS oldest_partition,
           (SELECT count(DISTINCT d.minute) FROM ccproxy.dirty_minute d WHERE d.xid >= (SELECT ccproxy._marks_from())) AS dirty_minutes,
           s.refreshed_at,
           CASE WHEN EXISTS (SELECT FROM ccproxy.dirty_minute d WHERE d.xid >= (SELECT ccproxy._marks_from()))
                THEN now() - s.refreshed_at ELSE interval '0' END AS refresh_lag,
           s.quarters_closed, s.days_closed, s.user_hours_closed, s.user_days_closed, s.raw_from, s.discarded_marks,
           (SELECT jsonb_object_agg(j.name, to_jsonb(j) - 'name') FROM ccproxy.job j) AS jobs
      FROM ccproxy.rollup_state s;
    COMMENT ON VIEW ccproxy.health IS
    'One row: daily partitions ahead of now, oldest partition, dirty minutes, time since the last refresh while there are any, up to where rollups are closed, from where on raw rows exist, marks discarded because their rows had expired, and how each job went.';
END
$$;
