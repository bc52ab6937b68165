-- CREATE EXTENSION in a database with other things in it, as its owner, who is
-- no superuser (the extension is trusted).
\set VERBOSITY terse
DO $$
DECLARE
    r text;
BEGIN
    FOREACH r IN ARRAY ARRAY['owner', 'reader', 'writer', 'gateway'] LOOP
        BEGIN
            EXECUTE format('CREATE ROLE regress_ccproxy_%s', r);
        EXCEPTION WHEN duplicate_object OR unique_violation THEN
            NULL;
        END;
    END LOOP;
END
$$;
DO $$ BEGIN EXECUTE format('GRANT CREATE, TEMPORARY ON DATABASE %I TO regress_ccproxy_owner', current_database()); END $$;
CREATE SCHEMA other;
CREATE TABLE other.requests (id int);
SET ROLE regress_ccproxy_owner;
CREATE EXTENSION ccproxy_metrics;
SELECT ccproxy.create_metrics_table();
-- again: nothing changes
SELECT ccproxy.create_metrics_table();
SELECT count(*) FROM ccproxy.configuration;
SELECT ccproxy.create_metrics_table(retention => interval '1 hour');
SELECT ccproxy.create_metrics_table(retention => interval '400 days');
SELECT retention FROM ccproxy.configuration;

-- everything made belongs to the extension's owner, and so do the functions
-- that act with its rights
SELECT DISTINCT relowner::regrole FROM pg_class WHERE relnamespace = 'ccproxy'::regnamespace AND relkind IN ('r', 'p', 'v', 'i', 'I')
   AND NOT EXISTS (SELECT FROM pg_depend WHERE classid = 'pg_class'::regclass AND objid = pg_class.oid AND deptype = 'e');
SELECT proname FROM pg_proc WHERE pronamespace = 'ccproxy'::regnamespace AND prosecdef AND proowner <> 'regress_ccproxy_owner'::regrole;
-- functions that act with the owner's rights pin their search_path
SELECT proname FROM pg_proc WHERE pronamespace = 'ccproxy'::regnamespace AND prosecdef
   AND NOT coalesce(proconfig @> '{"search_path=pg_catalog, pg_temp"}', false);
-- and nobody else may call them
SELECT proname FROM pg_proc WHERE pronamespace = 'ccproxy'::regnamespace AND prosecdef
   AND has_function_privilege('public', oid, 'EXECUTE');

-- the table is that of the type, plus nothing
SELECT a.attnum, a.attname FROM pg_attribute a
  FULL JOIN pg_attribute t ON t.attrelid = 'ccproxy.request_metric'::regclass AND t.attnum = a.attnum
       AND t.attname = a.attname AND t.atttypid = a.atttypid
 WHERE a.attrelid = 'ccproxy.request_log'::regclass AND a.attnum > 0 AND t.attname IS NULL;
-- and the view's columns are those of ccproxy.request_record
SELECT a.attname, format_type(a.atttypid, a.atttypmod), t.attname, format_type(t.atttypid, t.atttypmod)
  FROM (SELECT * FROM pg_attribute WHERE attrelid = 'ccproxy.requests'::regclass AND attnum > 0) a
  FULL JOIN (SELECT * FROM pg_attribute WHERE attrelid = 'ccproxy.request_record'::regclass) t
    ON t.attnum = a.attnum AND t.attname = a.attname AND t.atttypid = a.atttypid
 WHERE a.attname IS NULL OR t.attname IS NULL;
SELECT attname FROM pg_attribute WHERE attrelid = 'ccproxy.requests'::regclass AND attnum > 0 ORDER BY attnum;

-- no table is a member of the extension: only types, functions and views
SELECT DISTINCT classid::regclass, relkind FROM pg_depend LEFT JOIN pg_class ON classid = 'pg_class'::regclass AND objid = pg_class.oid
 WHERE refclassid = 'pg_extension'::regclass AND deptype = 'e'
   AND refobjid = (SELECT oid FROM pg_extension WHERE extname = 'ccproxy_metrics') AND classid <> 'pg_cast'::regclass
   AND classid NOT IN ('pg_operator'::regclass, 'pg_opclass'::regclass, 'pg_opfamily'::regclass) ORDER BY 1;
-- every public function and type has a comment
SELECT p.oid::regprocedure FROM pg_proc p
 WHERE pronamespace = 'ccproxy'::regnamespace AND proname !~ '^_' AND obj_description(oid, 'pg_proc') IS NULL ORDER BY 1;
SELECT t.typname FROM pg_type t
 WHERE typnamespace = 'ccproxy'::regnamespace AND typtype IN ('b', 'd') AND typcategory <> 'A' AND obj_description(oid, 'pg_type') IS NULL
 UNION ALL
SELECT relname FROM pg_class
 WHERE relnamespace = 'ccproxy'::regnamespace AND relkind IN ('r', 'p', 'v', 'c') AND NOT relispartition
   AND coalesce(obj_description(oid, 'pg_class'), obj_description(reltype, 'pg_type')) IS NULL ORDER BY 1;

-- partitions: yesterday to a week ahead, made once
SELECT count(*) FROM pg_inherits WHERE inhparent = 'ccproxy.request_log'::regclass;
SELECT ccproxy.ensure_partitions(now(), now() + interval '7 days');
SELECT ccproxy.ensure_partitions(now() - interval '3 days', now());
SELECT ccproxy.ensure_partitions(now() - interval '3 days', now());
SELECT ccproxy.ensure_partitions('2001-01-01', '2001-01-01');
SELECT ccproxy.ensure_partitions(now(), '9999-01-01');
SELECT ccproxy.ensure_partitions('2001-01-02 UTC', '2001-01-01 UTC');
SELECT ccproxy.ensure_partitions(NULL, '2001-01-01 UTC');
SELECT ccproxy.ensure_partitions('-infinity', '2001-01-01 UTC');
-- a partition carries the unique key and the bloom index
SELECT replace(pg_get_indexdef(indexrelid), to_char(now() AT TIME ZONE 'UTC', 'YYYYMMDD'), 'TODAY')
  FROM pg_index WHERE indrelid = ('ccproxy.request_log_p' || to_char(now() AT TIME ZONE 'UTC', 'YYYYMMDD'))::regclass ORDER BY 1;

-- DROP EXTENSION refuses while there is data to lose
\set VERBOSITY sqlstate
DROP EXTENSION ccproxy_metrics;
\set VERBOSITY terse
SELECT ccproxy.grant_read('regress_ccproxy_reader');
SELECT ccproxy.grant_write('regress_ccproxy_writer');
SELECT ccproxy.grant_gateway('regress_ccproxy_gateway');
SELECT ccproxy.grant_read('no_such_role');
SELECT ccproxy.grant_read('x"; DROP TABLE ccproxy.request_log; --');
