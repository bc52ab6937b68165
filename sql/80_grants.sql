-- Who may do what: three kinds of roles, and nobody else.

CREATE FUNCTION ccproxy.grant_read(role name) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    EXECUTE format('GRANT USAGE ON SCHEMA ccproxy TO %I', role);
    EXECUTE format('GRANT SELECT ON ccproxy.requests, ccproxy.request_log, ccproxy.rollup_service, ccproxy.rollup_user, '
        'ccproxy.service_key, ccproxy.user_key, ccproxy.rollup_state, ccproxy.crash_sentinel, ccproxy.dirty_minute, ccproxy.counter_total, ccproxy.job, ccproxy.rejected_event, ccproxy.health, '
        'ccproxy.requests_by_minute, ccproxy.requests_by_hour, ccproxy.requests_by_day, ccproxy.usage_by_model, ccproxy.usage_by_user, '
        'ccproxy.errors_by_type, ccproxy.budget, ccproxy.budget_status, ccproxy.prometheus, ccproxy.unpriced_models, ccproxy.cost_differences TO %I', role);
    -- settings that answers depend on; the secret beside them is nobody's
    EXECUTE format('GRANT SELECT (cost_source, prometheus_users, prometheus_label_sets) ON ccproxy.configuration TO %I', role);
END
$$;
COMMENT ON FUNCTION ccproxy.grant_read(name) IS
'Lets a role read: the views, and the functions that read them (stats, request, cost).';

CREATE FUNCTION ccproxy.grant_write(role name) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    EXECUTE format('GRANT USAGE ON SCHEMA ccproxy TO %I', role);
    EXECUTE format('GRANT INSERT ON ccproxy.requests TO %I', role);
    EXECUTE format('GRANT EXECUTE ON FUNCTION ccproxy.ingest(jsonb) TO %I', role);
END
$$;
COMMENT ON FUNCTION ccproxy.grant_write(name) IS
'Lets a role write events: INSERT and COPY into ccproxy.requests, and ingest(). It cannot read them.';

CREATE FUNCTION ccproxy.grant_gateway(role name) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM ccproxy.grant_read(role);
    EXECUTE format('GRANT INSERT ON ccproxy.request_log, ccproxy.dirty_minute TO %I', role);
    EXECUTE format('GRANT SELECT ON ccproxy.request_key TO %I', role);
    EXECUTE format('GRANT SELECT, INSERT ON ccproxy.ingest_batch TO %I', role);
    EXECUTE format('GRANT INSERT ON ccproxy.rejected_event TO %I', role);
    EXECUTE format('GRANT EXECUTE ON FUNCTION ccproxy.merge_events(ccproxy.request_event[]), ccproxy.merge_each(ccproxy.request_event[]), '
        'ccproxy.ensure_partitions(timestamptz, timestamptz), ccproxy.gateway_configuration(), '
        'ccproxy.create_metrics_table(interval), '
        'ccproxy.set_storage(text), ccproxy._job_step(text, integer) TO %I', role);
    EXECUTE format('GRANT EXECUTE ON PROCEDURE ccproxy.maintain() TO %I', role);
END
$$;
COMMENT ON FUNCTION ccproxy.grant_gateway(name) IS
'Lets a role be a gateway''s: COPY into request_log, merge_events(), maintain(), gateway_configuration() (which tells the secret of the API key hashes) and everything of grant_read().';

-- Functions that act with the owner's rights belong to the owner of the schema,
-- not to the superuser that a trusted extension's script runs as. That is the
-- extension's owner, unless the schema was there before: then whoever made it
-- may replace every table in it, and must gain no more by that than his own
-- rights (also after a superuser restored somebody's dump). They, and what only
-- the owner should call, are nobody else's until granted.
DO $$
DECLARE
    f     regprocedure;
    owner name := (SELECT pg_catalog.pg_get_userbyid(n.nspowner) FROM pg_catalog.pg_namespace AS n
                    WHERE n.oid OPERATOR(pg_catalog.=) 'ccproxy'::pg_catalog.regnamespace);
BEGIN
    FOREACH f IN ARRAY ARRAY[
        'ccproxy.create_metrics_table(interval)',
        'ccproxy._create_pricing_tables()',
        'ccproxy._create_pricing_views()',
        'ccproxy._create_views()',
        'ccproxy.ensure_partitions(timestamptz, timestamptz)',
        'ccproxy.gateway_configuration()',
        'ccproxy._fold(text[])',
        'ccproxy._claim(ccproxy.request_event[])',
        'ccproxy._rows_at(timestamptz[], text[], boolean)',
        'ccproxy.merge_events(ccproxy.request_event[])',
        'ccproxy.merge_each(ccproxy.request_event[])',
        'ccproxy.ingest(jsonb)',
        'ccproxy.requests_insert()',
        'ccproxy._create_rollup_tables()',
        'ccproxy._create_job_table()',
        'ccproxy._create_health_view()',
        'ccproxy._create_bi_views()',
        'ccproxy._create_budget_table()',
        'ccproxy.mark_dirty(timestamptz, timestamptz)',
        'ccproxy._fold_rows(text, text, boolean)',
        'ccproxy._raw_cells(text, tstzmultirange, "char")',
        'ccproxy._rebuild(text, "char", "char", tstzmultirange)',
        'ccproxy._close(text, "char", "char", timestamptz, timestamptz, integer)',
        'ccproxy._count(text, ccproxy.cells, ccproxy.cells)',
        'ccproxy.refresh(integer)',
        'ccproxy.set_retention(interval, interval, interval, interval, text)',
        'ccproxy.set_storage(text)',
        'ccproxy._create_crash_tables()',
        'ccproxy._note_crash()',
        'ccproxy._keep_base(text, "char", tstzmultirange)',
        'ccproxy._remake_empty_partitions()',
        'ccproxy.set_cost_source(text)',
        'ccproxy.set_prometheus(integer, boolean)',
        'ccproxy._drop_partition(regclass, timestamptz)',
        'ccproxy._expired_partitions()',
        'ccproxy._job_partitions()',
        'ccproxy._job_refresh()',
        'ccproxy._job_summaries()',
        'ccproxy._summarize(regclass, boolean)',
        'ccproxy._job_trim()',
        'ccproxy._job_retention()',
        'ccproxy._run_job(text)',
        'ccproxy._job_step(text, integer)',
        'ccproxy.grant_read(name)',
        'ccproxy.grant_write(name)',
        'ccproxy.grant_gateway(name)']::regprocedure[]
    LOOP
        EXECUTE pg_catalog.format('ALTER FUNCTION %s OWNER TO %I', f, owner);
        EXECUTE pg_catalog.format('REVOKE EXECUTE ON FUNCTION %s FROM PUBLIC', f);
    END LOOP;
    EXECUTE pg_catalog.format('ALTER PROCEDURE ccproxy.maintain() OWNER TO %I', owner);
END
$$;
REVOKE EXECUTE ON PROCEDURE ccproxy.maintain() FROM PUBLIC;

-- List prices are no secret; whoever may use the schema may read them.
GRANT SELECT ON ccproxy.prices TO PUBLIC;
