-- The tables: made by ccproxy.create_metrics_table(), as the extension's owner
-- and outside its membership, so that dumps carry them as ordinary tables and
-- DROP EXTENSION cannot take the data along.

CREATE FUNCTION ccproxy.create_metrics_table(retention interval DEFAULT NULL) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET client_min_messages = warning
AS $$
DECLARE
    strange record;
BEGIN
    -- What stands here under a name of ours but belongs to somebody else could
    -- bring along triggers that run with our rights.
    SELECT c.relname, pg_get_userbyid(c.relowner) AS owner INTO strange
      FROM pg_class c
     WHERE c.relnamespace = 'ccproxy'::regnamespace
       AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
       AND c.relowner <> (SELECT u.oid FROM pg_roles u WHERE u.rolname = current_user)
       AND NOT EXISTS (SELECT FROM pg_depend d
                        WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
     ORDER BY 1 LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'relation ccproxy.% belongs to %, not to %', strange.relname, strange.owner, current_user
            USING ERRCODE = 'insufficient_privilege',
                  HINT = 'Give it to the extension''s owner with ALTER TABLE ... OWNER TO, or move it to another schema.';
    END IF;

    -- Two callers at once (two gateways starting) take turns.
    PERFORM pg_advisory_xact_lock('pg_class'::regclass::oid::integer, hashtext('ccproxy.create_metrics_table'));

    -- Settings and the secret that API keys are hashed with; never readable
    -- by anyone but the owner.
    CREATE TABLE IF NOT EXISTS ccproxy.configuration (
        singleton        boolean PRIMARY KEY DEFAULT true CHECK (singleton),
        retention        interval NOT NULL DEFAULT interval '90 days',
        partitions       text NOT NULL DEFAULT 'day' CHECK (partitions IN ('hour', 'day', 'week')),
        partitions_ahead integer NOT NULL DEFAULT 7 CHECK (partitions_ahead BETWEEN 1 AND 366),
        storage          text NOT NULL DEFAULT 'logged' CHECK (storage IN ('logged', 'unlogged')),
        part_window      interval NOT NULL DEFAULT interval '24 hours' CHECK (part_window >= interval '1 minute'),
        minute_retention interval NOT NULL DEFAULT interval '35 days',
        quarter_retention interval NOT NULL DEFAULT interval '400 days',
        user_hour_retention interval NOT NULL DEFAULT interval '400 days',
        hash_secret      bytea NOT NULL CHECK (length(hash_secret) BETWEEN 16 AND 64),
        cost_source      text NOT NULL DEFAULT 'computed' CHECK (cost_source IN ('computed', 'reported_if_unpriced')),
        prometheus_label_sets integer NOT NULL DEFAULT 1000 CHECK (prometheus_label_sets BETWEEN 1 AND 100000),
        prometheus_users boolean NOT NULL DEFAULT true,
        -- finer detail does not outlive coarser
        CONSTRAINT configuration_retention_order CHECK (minute_retention <= quarter_retention),
        CONSTRAINT configuration_retention_least
            CHECK (retention >= CASE partitions WHEN 'hour' THEN interval '1 hour' ELSE interval '1 day' END)
    );
    COMMENT ON TABLE ccproxy.configuration IS
    'One row: how long raw rows and rollups are kept, what partitions new ones are and for how many days they are made ahead (set_retention()), whether new ones are logged (set_storage()), how long parts of a request may arrive, the secret of the API key hashes, what a request without a price counts as (set_cost_source()), and what Prometheus is shown (set_prometheus()).';
    REVOKE ALL ON ccproxy.configuration FROM PUBLIC;
    INSERT INTO ccproxy.configuration (hash_secret)
    VALUES (uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()))
    ON CONFLICT DO NOTHING;
    IF create_metrics_table.retention IS NOT NULL THEN
        PERFORM ccproxy.set_retention(raw => create_metrics_table.retention);
    END IF;

    -- The raw rows. LIKE, not OF: a dump of an OF table does not restore into
    -- a newer version of the type.
    IF to_regclass('ccproxy.request_log') IS NULL THEN
        CREATE TABLE ccproxy.request_log (LIKE ccproxy.request_metric) PARTITION BY RANGE (ts);
        ALTER TABLE ccproxy.request_log
            ALTER COLUMN ts SET NOT NULL,
            ALTER COLUMN request_id SET NOT NULL,
            -- time first keeps the index append-only: request ids are random
            ADD CONSTRAINT request_log_key UNIQUE (ts, request_id);
        CREATE INDEX request_log_request_id ON ccproxy.request_log
            USING brin (request_id text_bloom_ops);
        COMMENT ON TABLE ccproxy.request_log IS
        'Raw requests, one row each, partitions by ts (UTC). Read ccproxy.requests instead: this table keeps picodollars and microseconds.';
    END IF;

    -- Which ts a request that arrives in parts is stored under.
    CREATE TABLE IF NOT EXISTS ccproxy.request_key (
        request_id text PRIMARY KEY,
        ts         timestamptz NOT NULL,
        claimed_at timestamptz NOT NULL DEFAULT now()
    ) WITH (fillfactor = 70);
    COMMENT ON TABLE ccproxy.request_key IS
    'Requests that arrived in parts or without a timestamp, and the ts they are stored under; trimmed by maintain() after the part window.';
    IF to_regclass('ccproxy.request_key_claimed_at') IS NULL THEN
        CREATE INDEX request_key_claimed_at ON ccproxy.request_key (claimed_at);
    END IF;

    -- The parts themselves, so that any order of arrival gives the same row.
    CREATE TABLE IF NOT EXISTS ccproxy.request_part (
        LIKE ccproxy.request_metric,
        kind       smallint NOT NULL,
        part_ts    timestamptz NOT NULL,
        digest     bigint NOT NULL,
        PRIMARY KEY (request_id, kind, part_ts, digest)
    );
    COMMENT ON TABLE ccproxy.request_part IS
    'Parts of requests within the part window; the row in ccproxy.request_log is always the fold of a request''s parts. Trimmed by maintain().';

    -- Batches that were committed: tells a gateway whether a COMMIT whose
    -- answer got lost took place.
    CREATE TABLE IF NOT EXISTS ccproxy.ingest_batch (
        batch_id     uuid PRIMARY KEY,
        committed_at timestamptz NOT NULL DEFAULT now()
    );
    COMMENT ON TABLE ccproxy.ingest_batch IS
    'Ids of committed gateway batches, trimmed by maintain() after a day.';
    IF to_regclass('ccproxy.ingest_batch_committed_at') IS NULL THEN
        CREATE INDEX ingest_batch_committed_at ON ccproxy.ingest_batch (committed_at);
    END IF;

    -- What the server refused in spite of the gateway's checks: why, not what.
    CREATE TABLE IF NOT EXISTS ccproxy.rejected_event (
        received_at       timestamptz NOT NULL DEFAULT now(),
        sqlstate          text NOT NULL,
        reason            text NOT NULL,
        digest            text NOT NULL,
        request_id_digest text NOT NULL
    );
    COMMENT ON TABLE ccproxy.rejected_event IS
    'Events that passed a gateway''s validation but that the database refused (a constraint or trigger added later, say): SQLSTATE, message without what it quotes, SHA-256 of the row and of its request_id (encode(sha256(convert_to(request_id, ''UTF8'')), ''hex'')), never the row itself. At most 100 of a batch are recorded; maintain() keeps 30 days and 10000 rows.';

    PERFORM ccproxy._create_pricing_tables();
    PERFORM ccproxy._create_rollup_tables();
    PERFORM ccproxy._create_crash_tables();
    PERFORM ccproxy._create_job_table();
    PERFORM ccproxy._create_views();
    PERFORM ccproxy._create_health_view();
    PERFORM ccproxy._create_bi_views();
    PERFORM ccproxy._create_budget_table();
    PERFORM ccproxy._ensure_current_partitions();
END
$$;
COMMENT ON FUNCTION ccproxy.create_metrics_table(interval) IS
'Makes the metrics tables, partitions and views, owned by the extension''s owner; run it again after ALTER EXTENSION ... UPDATE, as often as you like. retention: how long raw rows are kept (default 90 days; NULL keeps what is set). Errors: 22023 when retention is shorter than a day (with hourly partitions, an hour), 42501 when somebody else''s relation stands in the schema.';

CREATE FUNCTION ccproxy.gateway_configuration(
    OUT extension_version text, OUT retention interval, OUT hash_secret bytea, OUT catalogue_version bigint)
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    SELECT e.extversion, CASE WHEN s.raw_from > now() - c.retention THEN now() - s.raw_from ELSE c.retention END,
           c.hash_secret, ccproxy.price_catalogue_version()
      INTO extension_version, retention, hash_secret, catalogue_version
      FROM ccproxy.configuration c, ccproxy.rollup_state s, pg_extension e
     WHERE e.extname = 'ccproxy_metrics';
END
$$;
COMMENT ON FUNCTION ccproxy.gateway_configuration() IS
'What a gateway must know: version, retention, the secret of the API key hashes, the version of the price catalogue. For roles that have grant_gateway().';
