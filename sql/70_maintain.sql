-- Housekeeping: one procedure, safe from several callers at once.

CREATE FUNCTION ccproxy._maintain_partitions() RETURNS integer
LANGUAGE sql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT ccproxy.ensure_partitions(now(), now() + make_interval(days => c.partitions_ahead))
      FROM ccproxy.configuration c
$$;

CREATE FUNCTION ccproxy._maintain_summaries() RETURNS bigint
LANGUAGE sql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
    -- Only yesterday's, today's and what late events touched can have
    -- unsummarised ranges; asking the others costs a look at their size.
    SELECT coalesce(sum(brin_summarize_new_values(i.indexrelid)), 0)
      FROM pg_inherits h
      JOIN pg_index i ON i.indexrelid = h.inhrelid
     WHERE h.inhparent = to_regclass('ccproxy.request_log_request_id')
$$;

CREATE FUNCTION ccproxy._maintain_parts() RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    slice CONSTANT integer := 10000;
    old   text[];
BEGIN
    -- A key goes with its parts, and only while nobody merges that request.
    SELECT array_agg(k.request_id) INTO old
      FROM (SELECT k.request_id FROM ccproxy.request_key k, ccproxy.configuration c
             WHERE k.claimed_at < now() - c.part_window
             LIMIT slice FOR UPDATE OF k SKIP LOCKED) AS k;
    DELETE FROM ccproxy.request_part p WHERE p.request_id = ANY (old);
    DELETE FROM ccproxy.request_key k WHERE k.request_id = ANY (old);
    DELETE FROM ccproxy.ingest_batch b
     WHERE b.batch_id IN (SELECT o.batch_id FROM ccproxy.ingest_batch o
                           WHERE o.committed_at < now() - interval '1 day' LIMIT slice);
    RETURN coalesce(cardinality(old), 0);
END
$$;

CREATE PROCEDURE ccproxy.maintain()
LANGUAGE plpgsql
AS $$
BEGIN
    -- One at a time; a second caller has nothing to do. The lock lasts for a
    -- transaction, so it is taken anew after each COMMIT.
    IF NOT pg_catalog.pg_try_advisory_xact_lock('pg_catalog.pg_class'::pg_catalog.regclass::pg_catalog.oid::integer, pg_catalog.hashtext('ccproxy.maintain')) THEN
        RETURN;
    END IF;
    PERFORM ccproxy._maintain_partitions();
    COMMIT;
    IF NOT pg_catalog.pg_try_advisory_xact_lock('pg_catalog.pg_class'::pg_catalog.regclass::pg_catalog.oid::integer, pg_catalog.hashtext('ccproxy.maintain')) THEN
        RETURN;
    END IF;
    PERFORM ccproxy._maintain_parts();
    COMMIT;
    IF NOT pg_catalog.pg_try_advisory_xact_lock('pg_catalog.pg_class'::pg_catalog.regclass::pg_catalog.oid::integer, pg_catalog.hashtext('ccproxy.maintain')) THEN
        RETURN;
    END IF;
    PERFORM ccproxy._maintain_summaries();
    COMMIT;
END
$$;
COMMENT ON PROCEDURE ccproxy.maintain() IS
'Makes partitions ahead, trims keys and parts older than the part window and batch ids older than a day (at most 10,000 of each per call), and summarises the BRIN index. CALL it every minute or so, outside a transaction (it commits); safe from several callers at once. The gateway does.';
