-- Who may do what: exactly what the grants say, and PUBLIC nothing. And that
-- every public object says what it is.
\getenv abs_srcdir PG_ABS_SRCDIR
\set include :abs_srcdir '/sql/include/metrics_table.psql'
\i :include

-- relations: partitions have no grants of their own, what PUBLIC may is read prices
SELECT c.relname, string_agg(DISTINCT a.privilege_type, ', ' ORDER BY a.privilege_type) AS everybody
  FROM pg_class c CROSS JOIN aclexplode(c.relacl) AS a WHERE c.relnamespace = 'ccproxy'::regnamespace AND a.grantee = 0 GROUP BY 1;
SELECT r.role, p.privilege, string_agg(c.relname, ' ' ORDER BY c.relname) AS relations
  FROM unnest(ARRAY['reader', 'writer', 'gateway']) WITH ORDINALITY AS r(role, nth)
 CROSS JOIN unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', 'REFERENCES', 'TRIGGER']) WITH ORDINALITY AS p(privilege, nth)
  JOIN pg_class c ON c.relnamespace = 'ccproxy'::regnamespace AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
   AND has_table_privilege('regress_ccproxy_' || r.role, c.oid, p.privilege)
 WHERE c.relname <> 'prices'
 GROUP BY r.role, r.nth, p.privilege, p.nth ORDER BY r.nth, p.nth;
SELECT r.role, c.relname, a.attname
  FROM unnest(ARRAY['reader', 'writer', 'gateway']) AS r(role)
  JOIN pg_class c ON c.relnamespace = 'ccproxy'::regnamespace AND c.relkind IN ('r', 'p', 'v') AND NOT has_table_privilege('regress_ccproxy_' || r.role, c.oid, 'SELECT')
  JOIN pg_attribute a ON a.attrelid = c.oid AND has_column_privilege('regress_ccproxy_' || r.role, c.oid, a.attnum, 'SELECT, INSERT, UPDATE')
   AND NOT has_table_privilege('regress_ccproxy_' || r.role, c.oid, 'INSERT') ORDER BY 1, 2, 3;
SELECT r.role, count(*) AS sequences FROM unnest(ARRAY['reader', 'writer', 'gateway']) AS r(role), pg_class c
 WHERE c.relnamespace = 'ccproxy'::regnamespace AND c.relkind = 'S' AND has_sequence_privilege('regress_ccproxy_' || r.role, c.oid, 'USAGE, SELECT, UPDATE') GROUP BY 1;
SELECT r.role, has_schema_privilege('regress_ccproxy_' || r.role, 'ccproxy', 'USAGE') AS may_use, has_schema_privilege('regress_ccproxy_' || r.role, 'ccproxy', 'CREATE') AS may_create
  FROM unnest(ARRAY['reader', 'writer', 'gateway']) AS r(role);
SELECT nspacl::text ~ '[{,]=' AS public_may_use FROM pg_namespace WHERE nspname = 'ccproxy';

-- functions that PUBLIC may not call, and who may
SELECT p.proname, concat_ws(' ', CASE WHEN has_function_privilege('regress_ccproxy_reader', p.oid, 'EXECUTE') THEN 'reader' END,
       CASE WHEN has_function_privilege('regress_ccproxy_writer', p.oid, 'EXECUTE') THEN 'writer' END,
       CASE WHEN has_function_privilege('regress_ccproxy_gateway', p.oid, 'EXECUTE') THEN 'gateway' END) AS others
  FROM pg_proc p WHERE p.pronamespace = 'ccproxy'::regnamespace AND NOT has_function_privilege('public', p.oid, 'EXECUTE') ORDER BY 1;
-- what acts with the owner's rights is never PUBLIC's; what PUBLIC may call acts with the caller's
SELECT p.oid::regprocedure FROM pg_proc p WHERE p.pronamespace = 'ccproxy'::regnamespace AND p.prosecdef AND has_function_privilege('public', p.oid, 'EXECUTE');
-- of those, the ones that write
SELECT string_agg(p.proname, ' ' ORDER BY p.proname COLLATE "C") FROM pg_proc p
 WHERE p.pronamespace = 'ccproxy'::regnamespace AND p.provolatile = 'v' AND has_function_privilege('public', p.oid, 'EXECUTE');

-- what is tried nevertheless; by each role
CREATE FUNCTION pg_temp.attempt(what text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE what;
    RAISE EXCEPTION 'allowed' USING ERRCODE = 'ZZ000';
EXCEPTION WHEN insufficient_privilege THEN
    RETURN 'refused';
WHEN OTHERS THEN
    RETURN CASE SQLSTATE WHEN 'ZZ000' THEN 'allowed' ELSE SQLERRM END;
END $$;
CREATE TEMP TABLE attempts (nth serial, what text);
INSERT INTO attempts (what) VALUES
    ('SELECT count(*) FROM ccproxy.requests'),
    ('SELECT * FROM ccproxy.stats(interval ''1 day'', ''user'')'),
    ('SELECT * FROM ccproxy.request(''x'')'),
    ('SELECT * FROM ccproxy.prometheus'),
    ('SELECT * FROM ccproxy.prometheus_samples()'),
    ('SELECT * FROM ccproxy.prometheus_gauges()'),
    ('SELECT * FROM ccproxy.explain_stats(now() - interval ''1 day'', now(), ''user'')'),
    ('SELECT * FROM ccproxy.list_requests(now() - interval ''1 day'', now(), NULL, ''slowest'')'),
    ('SELECT * FROM ccproxy.cache_savings(now() - interval ''1 day'', now())'),
    ('SELECT * FROM ccproxy.budget_status'),
    ('SELECT * FROM ccproxy.unpriced_models'),
    ('SELECT * FROM ccproxy.usage_by_user'),
    ('SELECT * FROM ccproxy.health'),
    ('SELECT hash_secret FROM ccproxy.configuration'),
    ('SELECT * FROM ccproxy.gateway_configuration()'),
    ('SELECT * FROM ccproxy.request_part'),
    ('SELECT * FROM ccproxy.ingest(''{"request_id": "i", "status_code": 200}'')'),
    ('INSERT INTO ccproxy.requests (request_id, status_code) VALUES (''v'', 200)'),
    ('INSERT INTO ccproxy.requests (request_id, status_code) VALUES (''v'', 200) RETURNING total_cost'),
    ('UPDATE ccproxy.requests SET user_id = ''me'''),
    ('DELETE FROM ccproxy.requests'),
    ('INSERT INTO ccproxy.request_log (ts, request_id) VALUES (now(), ''l'')'),
    ('UPDATE ccproxy.request_log SET user_id = ''me'''),
    ('DELETE FROM ccproxy.request_log'),
    ('INSERT INTO ccproxy.dirty_minute (minute) VALUES (now())'),
    ('DELETE FROM ccproxy.dirty_minute'),
    ('UPDATE ccproxy.counter_total SET exposed = 0'),
    ('SELECT ccproxy.merge_events(''{}'')'),
    ('SELECT ccproxy.merge_each(''{}'')'),
    ('SELECT ccproxy.refresh()'),
    ('SELECT ccproxy.mark_dirty(now(), now())'),
    ('SELECT ccproxy.ensure_partitions(now(), now())'),
    ('SELECT ccproxy.create_metrics_table()'),
    ('SELECT ccproxy.set_retention(interval ''1 day'')'),
    ('SELECT ccproxy.set_cost_source(''computed'')'),
    ('SELECT ccproxy.set_price(''m'', 1, 1)'),
    ('SELECT ccproxy.close_price(1, now())'),
    ('SELECT * FROM ccproxy._reprice_batch(''-infinity'', ''infinity'', NULL, false, 1, NULL, NULL)'),
    ('SELECT ccproxy.grant_gateway(current_user)'),
    ('SELECT ccproxy._run_job(''trim'')'),
    ('SELECT ccproxy._job_step(''trim'', 0)'),
    ('SELECT ccproxy._raw_cells(''service'', ''{}'', ''m'')'),
    ('SELECT ccproxy._rebuild(''service'', ''m'', ''r'', ''{[2000-01-01,2030-01-01)}'')'),
    ('SELECT ccproxy._count(''service'', NULL, NULL)'),
    ('SELECT ccproxy._worker_step(''trim'', 0)'),
    ('DROP TABLE ccproxy.request_log');
GRANT SELECT ON attempts TO PUBLIC;
CREATE TEMP TABLE outcomes (nth integer, role text, outcome text);
GRANT ALL ON outcomes TO PUBLIC;
RESET ROLE;
GRANT USAGE ON SCHEMA ccproxy TO PUBLIC; -- so that it is not the schema that refuses
CREATE ROLE regress_ccproxy_nobody;
SET ROLE regress_ccproxy_reader;
INSERT INTO outcomes SELECT nth, 'reader', pg_temp.attempt(what) FROM attempts;
SET ROLE regress_ccproxy_writer;
INSERT INTO outcomes SELECT nth, 'writer', pg_temp.attempt(what) FROM attempts;
SET ROLE regress_ccproxy_gateway;
INSERT INTO outcomes SELECT nth, 'gateway', pg_temp.attempt(what) FROM attempts;
SET ROLE regress_ccproxy_nobody;
INSERT INTO outcomes SELECT nth, 'nobody', pg_temp.attempt(what) FROM attempts;
RESET ROLE;
DROP ROLE regress_ccproxy_nobody;
REVOKE USAGE ON SCHEMA ccproxy FROM PUBLIC;
SELECT a.what, r.outcome AS reader, w.outcome AS writer, g.outcome AS gateway, n.outcome AS nobody
  FROM attempts a JOIN outcomes r USING (nth) JOIN outcomes w USING (nth) JOIN outcomes g USING (nth) JOIN outcomes n USING (nth)
 WHERE r.role = 'reader' AND w.role = 'writer' AND g.role = 'gateway' AND n.role = 'nobody' ORDER BY nth;

-- a gateway has what has expired dropped, which it does not name; and whoever
-- names something drops what has expired and nothing else
CREATE TABLE public.customers AS SELECT 1 AS id;
ALTER TABLE public.customers OWNER TO regress_ccproxy_owner;
SET ROLE regress_ccproxy_owner;
SELECT (date_trunc('day', now(), 'UTC') - interval '1 day')::text AS yesterday, 'ccproxy.' || ccproxy._partition_name('day', date_trunc('day', now(), 'UTC')) AS today \gset
SET ROLE regress_ccproxy_gateway;
SELECT ccproxy._job_step('retention', 0);
SELECT ccproxy._drop_partition(:'today', '-infinity');
SET ROLE regress_ccproxy_owner;
SELECT ccproxy._drop_partition('public.customers', '-infinity');
SELECT ccproxy._drop_partition('ccproxy.job', '-infinity');
SELECT ccproxy._drop_partition('ccproxy.request_log', '-infinity');
SELECT ccproxy._drop_partition(:'today', '-infinity'), ccproxy._drop_partition(:'today', :'yesterday'), ccproxy._drop_partition(:'today', NULL), ccproxy._drop_partition(NULL, NULL);
SET ROLE regress_ccproxy_owner;
SELECT count(*) FROM public.customers;
SELECT to_regclass('ccproxy.job') IS NOT NULL AS job, to_regclass(:'today') IS NOT NULL AS today;
RESET ROLE;
DROP TABLE public.customers;

-- every public object has a comment
SELECT identity FROM (
    SELECT 'pg_proc'::regclass AS class, oid, proname AS name FROM pg_proc WHERE pronamespace = 'ccproxy'::regnamespace
    UNION ALL
    SELECT 'pg_class', oid, relname FROM pg_class WHERE relnamespace = 'ccproxy'::regnamespace AND relkind IN ('r', 'p', 'v', 'm', 'f', 'S') AND NOT relispartition
    UNION ALL
    SELECT 'pg_type', t.oid, typname FROM pg_type t LEFT JOIN pg_class c ON c.oid = t.typrelid
     WHERE typnamespace = 'ccproxy'::regnamespace AND typtype IN ('b', 'c', 'd', 'e', 'r') AND typelem = 0 AND coalesce(c.relkind, 'c') = 'c'
    UNION ALL
    SELECT 'pg_operator', oid, oprname FROM pg_operator WHERE oprnamespace = 'ccproxy'::regnamespace
    UNION ALL
    SELECT 'pg_extension', oid, extname FROM pg_extension WHERE extname = 'ccproxy_metrics'
    ) AS o CROSS JOIN LATERAL pg_identify_object(o.class, o.oid, 0)
 WHERE o.name !~ '^_' AND obj_description(o.oid, o.class::text) IS NULL ORDER BY 1;

-- Procedures commit, so they cannot pin a search_path: whoever calls them with one
-- that is not his own runs nothing of what is in it.
CREATE SCHEMA evil;
CREATE FUNCTION evil.planted() RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RAISE WARNING 'planted'; RETURN true; END $$;
DO $$
DECLARE t text; o text;
BEGIN
    FOREACH t IN ARRAY ARRAY['text', 'integer', 'bigint', 'boolean', 'timestamptz', 'double precision'] LOOP
        FOREACH o IN ARRAY ARRAY['=', '<>', '<', '>', '<=', '>='] LOOP
            EXECUTE format('CREATE FUNCTION evil.%I(a pg_catalog.%2$s, b pg_catalog.%2$s) RETURNS boolean LANGUAGE sql AS ''SELECT evil.planted()''', 'f' || t || o, CASE t WHEN 'double precision' THEN 'float8' WHEN 'integer' THEN 'int4' WHEN 'bigint' THEN 'int8' WHEN 'boolean' THEN 'bool' ELSE t END);
            EXECUTE format('CREATE OPERATOR evil.%s (LEFTARG = pg_catalog.%2$s, RIGHTARG = pg_catalog.%2$s, FUNCTION = evil.%3$I)', o, CASE t WHEN 'double precision' THEN 'float8' WHEN 'integer' THEN 'int4' WHEN 'bigint' THEN 'int8' WHEN 'boolean' THEN 'bool' ELSE t END, 'f' || t || o);
        END LOOP;
    END LOOP;
END $$;
CREATE FUNCTION evil.coalesce_(a pg_catalog.int4, b pg_catalog.int4) RETURNS pg_catalog.int4 LANGUAGE sql AS 'SELECT evil.planted()::pg_catalog.int4';
CREATE OPERATOR evil.+ (LEFTARG = pg_catalog.int4, RIGHTARG = pg_catalog.int4, FUNCTION = evil.coalesce_);
CREATE FUNCTION evil.clock_timestamp() RETURNS pg_catalog.timestamptz LANGUAGE sql AS 'SELECT evil.planted()::pg_catalog.text::pg_catalog.timestamptz';
CREATE FUNCTION evil.pg_sleep(pg_catalog.float8) RETURNS void LANGUAGE sql AS 'SELECT evil.planted()';
CREATE DOMAIN evil.timestamptz AS pg_catalog.timestamptz CHECK (evil.planted());
CREATE DOMAIN evil.text AS pg_catalog.text CHECK (evil.planted());
CREATE DOMAIN evil.int8 AS pg_catalog.int8 CHECK (evil.planted());
INSERT INTO ccproxy.requests (request_id, model, status_code, input_tokens) VALUES ('lure', 'gpt-4', 200, 5);
SET search_path = evil, pg_catalog;
SELECT 'a'::pg_catalog.text = 'b' AS the_trap_works;
CALL ccproxy.maintain();
CALL ccproxy.reprice();
RESET search_path;
