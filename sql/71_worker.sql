-- What the background worker runs (extension/worker_database.c): the jobs of
-- maintain(), one step a transaction, with the same lock. The schedule is here
-- and not in the library, so that a new library goes on with an extension that
-- is not updated yet: these two signatures stay.

CREATE FUNCTION ccproxy._worker_jobs() RETURNS text[]
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
RETURN ARRAY['partitions', 'refresh', 'trim', 'summaries', 'retention'];

-- _job_step(), if nobody else is at it and it did not fail just now.
CREATE FUNCTION ccproxy._worker_step(job text, round integer) RETURNS integer
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    retry CONSTANT interval := '30 seconds'; -- after an error, before the job runs again
BEGIN
    IF NOT ccproxy._may_maintain() THEN
        RETURN NULL; -- another caller of maintain() is at it
    END IF;

    IF EXISTS (SELECT FROM ccproxy.job j
                WHERE j.name = job AND j.failed_at = j.last_run
                  AND now() BETWEEN j.failed_at AND j.failed_at + retry) THEN
        RETURN NULL;
    END IF;

    RETURN ccproxy._job_step(job, round);
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
