-- What the background worker runs (extension/worker_database.c). The schedule
-- is here, beside maintain(), and not in the library, so that a new library
-- goes on with an extension that is not updated yet: these two signatures stay.

CREATE FUNCTION ccproxy._worker_jobs() RETURNS text[]
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
RETURN ARRAY['partitions', 'parts', 'summaries'];

-- One step of a job, in a transaction of its own: how many milliseconds later
-- the next step should follow, NULL when the job is done for now. round counts
-- the steps of a visit from 0.
CREATE FUNCTION ccproxy._worker_step(job text, round integer) RETURNS integer
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    -- maintain()'s lock: whoever holds it does the same
    IF NOT pg_try_advisory_xact_lock('pg_class'::regclass::oid::integer, hashtext('ccproxy.maintain')) THEN
        RETURN NULL;
    END IF;
    CASE job
        WHEN 'partitions' THEN PERFORM ccproxy._maintain_partitions();
        WHEN 'parts' THEN PERFORM ccproxy._maintain_parts();
        WHEN 'summaries' THEN PERFORM ccproxy._maintain_summaries();
    END CASE;
    RETURN NULL;
END
$$;

ALTER FUNCTION ccproxy._worker_jobs() OWNER TO @extowner@;
ALTER FUNCTION ccproxy._worker_step(text, integer) OWNER TO @extowner@;
REVOKE EXECUTE ON FUNCTION ccproxy._worker_jobs(), ccproxy._worker_step(text, integer) FROM PUBLIC;
