-- What the background worker runs (extension/worker_database.c): the jobs of
-- maintain(), one step a transaction, with the same lock. The schedule is here
-- and not in the library, so that a new library goes on with an extension that
-- is not updated yet: these two signatures stay.

CREATE FUNCTION ccproxy._worker_jobs() RETURNS text[]
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
RETURN ARRAY['partitions', 'refresh', 'trim', 'summaries', 'retention'];

-- One step of a job: how many milliseconds later the next should follow, NULL
-- when the job is done for this visit. round counts the steps of a visit from 0.
CREATE FUNCTION ccproxy._worker_step(job text, round integer) RETURNS integer
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    full_refresh CONSTANT integer := 240;    -- minutes that refresh() takes at most
    full_trim    CONSTANT integer := 10000;  -- rows that trimming takes at most
    tries        CONSTANT integer := 3;      -- to drop partitions, in a visit; as many go at most
    try_pause_ms CONSTANT integer := 100;
    retry        CONSTANT interval := '30 seconds'; -- after an error, before the job runs again
    result  bigint;
    oldest  timestamptz;
    before  ccproxy.rollup_state;
    after   ccproxy.rollup_state;
BEGIN
    IF NOT ccproxy._may_maintain() THEN
        RETURN NULL; -- another caller of maintain() is at it
    END IF;

    IF EXISTS (SELECT FROM ccproxy.job j
                WHERE j.name = job AND j.failed_at = j.last_run
                  AND now() BETWEEN j.failed_at AND j.failed_at + retry) THEN
        RETURN NULL;
    END IF;

    IF job <> 'refresh' THEN
        result := ccproxy._run_job(job);
        RETURN CASE WHEN job = 'trim' AND result >= full_trim THEN 0
                    WHEN job <> 'retention' OR round + 1 >= tries THEN NULL
                    WHEN result > 0 THEN 0
                    -- locked by others: back off, with jitter
                    WHEN result < 0 THEN try_pause_ms * (round + 1) * (1 + random())
               END;
    END IF;

    -- The minutes that are being written to are dirty again at once: once a
    -- visit is enough for them. Only a backlog is worth another step: minutes
    -- that did not fit, days before today, buckets still to be closed.
    SELECT * INTO STRICT before FROM ccproxy.rollup_state;
    SELECT min(d.minute) INTO oldest FROM ccproxy.dirty_minute d WHERE d.xid >= (SELECT ccproxy._marks_from());
    result := ccproxy._run_job(job);
    SELECT * INTO STRICT after FROM ccproxy.rollup_state;
    RETURN CASE WHEN result >= full_refresh
                  OR result IS NOT NULL
                 AND (oldest < ccproxy._bucket('d', now())
                      OR (before.quarters_closed, before.days_closed, before.user_hours_closed, before.user_days_closed)
                      IS DISTINCT FROM (after.quarters_closed, after.days_closed, after.user_hours_closed, after.user_days_closed))
                THEN 0 END;
END
$$;

-- Not of PUBLIC, and of the schema's owner, whom the worker acts as.
DO $$
DECLARE
    f     regprocedure;
    owner name := (SELECT pg_catalog.pg_get_userbyid(n.nspowner) FROM pg_catalog.pg_namespace AS n
                    WHERE n.oid OPERATOR(pg_catalog.=) 'ccproxy'::pg_catalog.regnamespace);
BEGIN
    FOREACH f IN ARRAY ARRAY['ccproxy._worker_jobs()', 'ccproxy._worker_step(text, integer)']::regprocedure[] LOOP
        EXECUTE pg_catalog.format('ALTER FUNCTION %s OWNER TO %I', f, owner);
        EXECUTE pg_catalog.format('REVOKE EXECUTE ON FUNCTION %s FROM PUBLIC', f);
    END LOOP;
END
$$;
