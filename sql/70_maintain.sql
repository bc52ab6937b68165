-- Housekeeping: jobs that anybody's timer may run, as often as it likes.
--
-- Each job is a few short transactions, steps, idempotent, and records how it
-- went in ccproxy.job. maintain() runs them in order; a second maintain() at the
-- same time has nothing to do and says so by returning at once.

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
    'How the jobs of maintain() went: when each ran last, for how long, what its last step did (partitions made, minutes refreshed, rows trimmed, ranges summarised; retention: 1 partition dropped, 0 none to drop, -1 when request_log was in use) and its last error.';
    CREATE SEQUENCE IF NOT EXISTS ccproxy.refresh_attempt;
    COMMENT ON SEQUENCE ccproxy.refresh_attempt IS
    'Counts attempts of the job refresh since the last that was not rolled back.';
END
$$;

CREATE FUNCTION ccproxy._job_partitions() RETURNS bigint
LANGUAGE sql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT ccproxy.ensure_partitions(now(), ccproxy._partitions_until())
$$;

-- Takes as many minutes as can be done in about a second, to judge by the calls
-- before: minutes may hold a row or a hundred thousand. A call that came to
-- nothing (cancelled after too long, say) leaves no trace but in a sequence, which
-- no rollback sets back: each in a row halves what the next one takes.
CREATE FUNCTION ccproxy._job_refresh() RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    most   CONSTANT integer := 1440;
    quick  CONSTANT double precision := 0.5; -- seconds
    slow   CONSTANT double precision := 1.5;
    began  CONSTANT timestamptz := clock_timestamp();
    failed CONSTANT integer := least(nextval('ccproxy.refresh_attempt') - 1, 10);
    slice  integer;
    closed timestamptz;
    oldest timestamptz;
    taken  integer;
    took   double precision;
BEGIN
    SELECT greatest(s.slice_minutes >> failed, 1), s.user_hours_closed INTO STRICT slice, closed FROM ccproxy.rollup_state s;
    SELECT min(d.minute) INTO oldest FROM ccproxy.dirty_minute d WHERE d.xid >= ccproxy._marks_from();
    -- A minute of an hour that is closed costs reading all of that hour: then all of its minutes.
    taken := ccproxy.refresh(CASE WHEN oldest < closed
                                  THEN greatest(slice, (SELECT count(DISTINCT d.minute) FROM ccproxy.dirty_minute d
                                                         WHERE d.xid >= ccproxy._marks_from() AND d.minute < ccproxy._bucket('h', oldest) + interval '1 hour')::integer)
                                  ELSE slice END);
    took := extract(epoch FROM clock_timestamp() - began);
    UPDATE ccproxy.rollup_state s SET slice_minutes = x.minutes
      FROM (SELECT CASE WHEN took > slow THEN greatest(least(slice, floor(taken / took)), 1)
                        WHEN took < quick AND taken >= slice THEN least(2 * slice, most)
                        ELSE slice END AS minutes) AS x
     WHERE s.slice_minutes <> x.minutes;
    PERFORM setval('ccproxy.refresh_attempt', 1, false);
    RETURN taken;
END
$$;

CREATE FUNCTION ccproxy._job_summaries() RETURNS bigint
LANGUAGE sql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
    -- an hour more, for what comes late
    SELECT coalesce(sum(ccproxy._summarize(p.partition, p.to_ts > now() - interval '1 hour')), 0)::bigint
      FROM ccproxy._partitions() AS p
$$;

-- One attempt to drop one partition; 0 when there is nothing to do now, -1 when
-- somebody is in the way.
CREATE FUNCTION ccproxy._job_retention() RETURNS bigint
LANGUAGE sql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT coalesce((SELECT coalesce(ccproxy._drop_partition(e.partition, e.upper_bound)::integer, -1)
                       FROM (SELECT * FROM ccproxy._expired_partitions() LIMIT 1) AS e), 0)
$$;

-- Runs every few seconds and mostly finds nothing: by index, whatever the planner
-- knows, for there may be a day's worth of keys and batches.
CREATE FUNCTION ccproxy._job_trim() RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off
-- what must not be chosen counts as dear enough to compile, where there is no other way
SET jit = off
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
    kept_from timestamptz := 'infinity';
BEGIN
    SELECT * INTO STRICT config FROM ccproxy.configuration;
    -- A key goes with its parts, and only while nobody merges that request. No
    -- part is waited for longer than its request is kept.
    SELECT array_agg(k.request_id) INTO old
      FROM (SELECT k.request_id FROM ccproxy.request_key k
             WHERE k.claimed_at < now() - least(config.part_window, config.retention)
             ORDER BY k.claimed_at LIMIT slice FOR UPDATE OF k SKIP LOCKED) AS k;
    DELETE FROM ccproxy.request_part p WHERE p.request_id = ANY (old);
    DELETE FROM ccproxy.request_key k WHERE k.request_id = ANY (old);
    total := coalesce(cardinality(old), 0);
    DELETE FROM ccproxy.ingest_batch b
     WHERE b.batch_id IN (SELECT o.batch_id FROM ccproxy.ingest_batch o
                           WHERE o.committed_at < now() - interval '1 day' ORDER BY o.committed_at LIMIT slice);
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
    -- A day whose raw rows have gone in part is put together from its finer
    -- grains: these stay until the rest has gone.
    IF state.raw_from > ccproxy._bucket('d', state.raw_from) THEN
        kept_from := ccproxy._bucket('d', state.raw_from);
    END IF;
    state.minutes_from := greatest(state.minutes_from, least(ccproxy._bucket('d', now() - config.minute_retention), state.days_closed, kept_from));
    state.quarters_from := greatest(state.quarters_from, least(ccproxy._bucket('d', now() - config.quarter_retention), state.days_closed, kept_from));
    state.hours_from := greatest(state.hours_from, least(ccproxy._bucket('d', now() - config.user_hour_retention), state.user_days_closed, kept_from));
    DELETE FROM ccproxy.rollup_service r WHERE r.grain = 'm' AND r.bucket < state.minutes_from;
    GET DIAGNOSTICS n = ROW_COUNT;
    total := total + n;
    DELETE FROM ccproxy.rollup_service r WHERE r.grain IN ('q', 'h') AND r.bucket < state.quarters_from;
    GET DIAGNOSTICS n = ROW_COUNT;
    total := total + n;
    DELETE FROM ccproxy.rollup_user r WHERE r.grain = 'h' AND r.bucket < state.hours_from;
    GET DIAGNOSTICS n = ROW_COUNT;
    DELETE FROM ccproxy.rollup_base b
     WHERE b.bucket < greatest(state.raw_from, CASE b.cube WHEN 'service' THEN state.minutes_from ELSE state.hours_from END);
    state.lost := state.lost * ccproxy._span(state.raw_from, 'infinity');
    UPDATE ccproxy.rollup_state s
       SET minutes_from = state.minutes_from, quarters_from = state.quarters_from, hours_from = state.hours_from, lost = state.lost
     WHERE (s.minutes_from, s.quarters_from, s.hours_from, s.lost) <> (state.minutes_from, state.quarters_from, state.hours_from, state.lost);
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
            WHEN 'retention' THEN result := ccproxy._job_retention();
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

-- One step of a job: how many milliseconds later the next should follow, NULL
-- when the job is done for this time. round counts the steps from 0.
CREATE FUNCTION ccproxy._job_step(job text, round integer) RETURNS integer
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    full_trim    CONSTANT integer := 10000; -- rows that trimming takes at most
    tries        CONSTANT integer := 3;     -- to drop partitions; as many go at most
    try_pause_ms CONSTANT integer := 100;
    run_pause    CONSTANT interval := interval '10 minutes'; -- after as many went, for somebody to notice
    result bigint;
BEGIN
    -- its last step dropped one: there may be more
    IF job = 'retention' AND round = 0
       AND EXISTS (SELECT FROM ccproxy.job j
                    WHERE j.name = 'retention' AND j.last_result > 0 AND j.failed_at IS DISTINCT FROM j.last_run
                      AND now() BETWEEN j.last_run AND j.last_run + run_pause) THEN
        RETURN NULL;
    END IF;
    result := ccproxy._run_job(job);
    RETURN CASE
        -- The minutes that are being written to are dirty again at once: only
        -- what was left is worth another step.
        WHEN job = 'refresh' THEN CASE WHEN result IS NOT NULL AND (SELECT s.behind FROM ccproxy.rollup_state s) THEN 0 END
        WHEN job = 'trim' THEN CASE WHEN result >= full_trim THEN 0 END
        WHEN job <> 'retention' OR round + 1 >= tries THEN NULL
        WHEN result > 0 THEN 0
        -- locked by others: back off, with jitter
        WHEN result < 0 THEN try_pause_ms * (round + 1) * (1 + random())
    END;
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
    round    integer;
    pause_ms integer;
BEGIN
    -- The lock lasts for a transaction, so each asks for it; whoever does not
    -- get it leaves the rest to the other. Jobs rely on seeing what was committed
    -- before each of their statements, whatever isolation the session is used to.
    FOREACH job IN ARRAY ARRAY['partitions', 'refresh', 'trim', 'summaries', 'retention'] LOOP
        round := 0;
        LOOP
            COMMIT;
            SET TRANSACTION ISOLATION LEVEL READ COMMITTED;
            IF NOT ccproxy._may_maintain() THEN
                RETURN;
            END IF;
            pause_ms := ccproxy._job_step(job, round);
            COMMIT;
            EXIT WHEN pause_ms IS NULL
                   OR job OPERATOR(pg_catalog.<>) 'retention' AND pg_catalog.clock_timestamp() OPERATOR(pg_catalog.>) deadline;
            round := round OPERATOR(pg_catalog.+) 1;
            PERFORM pg_catalog.pg_sleep(pause_ms OPERATOR(pg_catalog.*) 0.001::double precision);
        END LOOP;
    END LOOP;
END
$$;
COMMENT ON PROCEDURE ccproxy.maintain() IS
'All housekeeping: makes partitions ahead, refreshes rollups (for at most 4 seconds), trims keys, parts, batch ids, rejected_event and expired rollups, summarises the BRIN index, and drops expired partitions (at most three, and after three none for ten minutes; each in its own transaction, with a lock_timeout of 100 ms, three tries). CALL it every few seconds, and again at once while ccproxy.health says it is behind, outside a transaction (it commits); safe from several callers at once: the second returns at once. How the jobs went is in ccproxy.health.';

-- The oldest raw row, partition by partition: usually the first has it.
CREATE FUNCTION ccproxy._oldest_row() RETURNS timestamptz
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
SET datestyle = 'ISO' -- of the literals below; see _spans_sql()
AS $$
DECLARE
    p      record;
    oldest timestamptz;
BEGIN
    FOR p IN SELECT * FROM ccproxy._partitions() AS x WHERE NOT (x.unlogged AND pg_is_in_recovery()) LOOP
        EXECUTE format('SELECT min(l.ts) FROM ccproxy.request_log l WHERE l.ts >= %L AND l.ts < %L', p.from_ts, p.to_ts) INTO oldest;
        EXIT WHEN oldest IS NOT NULL;
    END LOOP;
    RETURN oldest;
END
$$;

CREATE FUNCTION ccproxy._create_health_view() RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
SET client_min_messages = warning
AS $$
BEGIN
    CREATE OR REPLACE VIEW ccproxy.health AS
    SELECT p.partitions_ahead, p.partitions_until, p.oldest_partition, ccproxy._oldest_row() AS oldest_row, p.expired_partitions,
           (SELECT count(DISTINCT d.minute) FROM ccproxy.dirty_minute d WHERE d.xid >= (SELECT ccproxy._marks_from())) AS dirty_minutes,
           s.refreshed_at,
           CASE WHEN EXISTS (SELECT FROM ccproxy.dirty_minute d WHERE d.xid >= (SELECT ccproxy._marks_from()))
                THEN now() - s.refreshed_at ELSE interval '0' END AS refresh_lag,
           s.behind,
           s.quarters_closed, s.hours_closed, s.days_closed, s.user_hours_closed, s.user_days_closed, s.raw_from, s.discarded_marks, s.lost, s.lost_minutes,
           (SELECT jsonb_object_agg(j.name, to_jsonb(j) - 'name') FROM ccproxy.job j) AS jobs
      FROM ccproxy.rollup_state s
     CROSS JOIN (SELECT count(*) FILTER (WHERE x.from_ts > now()) AS partitions_ahead,
                        (SELECT upper(r) FROM unnest(range_agg(tstzrange(x.from_ts, x.to_ts))) AS r WHERE r @> now()) AS partitions_until,
                        min(x.from_ts) AS oldest_partition,
                        count(*) FILTER (WHERE x.to_ts <= now() - (SELECT c.retention FROM ccproxy.configuration c)) AS expired_partitions
                   FROM ccproxy._partitions() AS x) AS p;
    COMMENT ON VIEW ccproxy.health IS
    'One row: partitions ahead of now, until when every moment has one, the oldest and how many have expired and wait to be dropped; the oldest raw row; dirty minutes, time since the last refresh while there are any, whether that left work behind (maintain() may then be called again at once), up to where rollups are closed, from where on raw rows exist, marks discarded because their rows had expired, times that have lost raw rows to a crash (UNLOGGED partitions) and minutes lost before they were rolled up; and how each job went.';
END
$$;
