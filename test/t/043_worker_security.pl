# The background worker is connected as a superuser, in databases whose owners
# may put there what they like. What they plant must run with their own rights
# at most: as a trigger, an index function, an index predicate, an operator in a
# search_path, in place of the extension's own functions, at commit.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use CCProxyWorker;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = CCProxyWorker::cluster('worker_security');
$node->start;
CCProxyWorker::metrics_database($node, 'other', 'ann');
CCProxyWorker::metrics_database($node, 'lair', 'mallory');
$node->safe_psql('postgres', 'CREATE ROLE rich');
$node->safe_psql('lair', 'CREATE TABLE public.vault AS SELECT 42 AS money; REVOKE ALL ON public.vault FROM PUBLIC');

# The lair is no place for a superuser's session, not even this test's.
sub mallory
{
	local $ENV{PGOPTIONS} = '-c search_path=pg_catalog';
	return CCProxyWorker::as($node, 'mallory', 'lair', $_[0]);
}

sub mallory_sees
{
	local $ENV{PGOPTIONS} = '-c search_path=pg_catalog';
	local $ENV{PGUSER} = 'mallory';
	return $node->poll_query_until('lair', $_[0]);
}

my $old_batch = q{INSERT INTO ccproxy.ingest_batch VALUES (gen_random_uuid(), now() - interval '2 days')};

# tries everything, and notes as whom, from where, and how it went
mallory(q{
	CREATE SCHEMA evil;
	CREATE TABLE evil.loot (place text, as_user name, session text, attempt text, outcome text);
	CREATE FUNCTION evil.attempt(place text, what text) RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog AS $$
	DECLARE outcome text;
	BEGIN
		BEGIN
			EXECUTE what;
			outcome := 'succeeded';
		EXCEPTION WHEN OTHERS THEN
			outcome := SQLERRM;
		END;
		INSERT INTO evil.loot VALUES (place, current_user, current_setting('application_name'), what, outcome);
	END $$;
	CREATE FUNCTION evil.try(place text) RETURNS integer LANGUAGE plpgsql AS $$
	BEGIN
		PERFORM evil.attempt(place, a) FROM pg_catalog.unnest(ARRAY[
			'ALTER ROLE mallory SUPERUSER',
			'CREATE ROLE puppet SUPERUSER',
			'SET ROLE postgres',
			'SET ROLE NONE',
			'SET SESSION AUTHORIZATION postgres',
			'RESET SESSION AUTHORIZATION',
			'SELECT set_config(''role'', ''none'', false)',
			'SELECT set_config(''session_authorization'', ''postgres'', false)',
			'SELECT money FROM public.vault',
			'SELECT rolpassword FROM pg_authid',
			'COPY (SELECT 1) TO PROGRAM ''true''',
			'SELECT pg_read_file(''postgresql.conf'')',
			'ALTER SYSTEM SET work_mem = ''1MB''',
			'SET log_statement = ''none''',
			'CREATE TEMPORARY TABLE disguise (x int)',
			'GRANT rich TO mallory']) AS a;
		RETURN 1;
	END $$;
});

# ----------------------------------------------------------- what is planted

mallory(q{
	-- functions that say they are immutable, in an index and in its predicate
	CREATE FUNCTION evil.in_index(text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$BEGIN PERFORM evil.try('index'); RETURN $1; END$$;
	CREATE FUNCTION evil.in_predicate() RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$BEGIN PERFORM evil.try('predicate'); RETURN true; END$$;
	CREATE FUNCTION evil.in_trigger() RETURNS trigger LANGUAGE plpgsql AS $$
	BEGIN
		PERFORM evil.try(TG_ARGV[0]);
		RETURN OLD;
	END $$;

	DROP INDEX ccproxy.request_log_request_id;
	CREATE INDEX request_log_request_id ON ccproxy.request_log USING brin (evil.in_index(request_id)) WITH (pages_per_range = 1);
	CREATE INDEX ON ccproxy.ingest_batch (committed_at) WHERE evil.in_predicate();
	CREATE TRIGGER before_delete BEFORE DELETE ON ccproxy.ingest_batch FOR EACH ROW EXECUTE FUNCTION evil.in_trigger('row trigger');
	CREATE TRIGGER after_statement AFTER DELETE ON ccproxy.ingest_batch FOR EACH STATEMENT EXECUTE FUNCTION evil.in_trigger('statement trigger');

	-- what refresh() comes by: an index of rollups, a constraint on counters, a policy on marks, a trigger on the watermarks
	CREATE FUNCTION evil.at(place text, x text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$BEGIN PERFORM evil.try(place); RETURN x; END$$;
	CREATE INDEX ON ccproxy.rollup_service (evil.at('rollup index', grain::text));
	ALTER TABLE ccproxy.counter_total ADD CHECK (evil.at('counter check', family) <> '');
	ALTER TABLE ccproxy.dirty_minute ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
	CREATE POLICY planted ON ccproxy.dirty_minute USING (evil.at('policy', 'x') = 'x') WITH CHECK (true);
	CREATE TRIGGER watermark AFTER UPDATE ON ccproxy.rollup_state FOR EACH STATEMENT EXECUTE FUNCTION evil.in_trigger('state trigger');

	-- a search path that shadows what everybody calls
	CREATE FUNCTION evil.hashtext(text) RETURNS integer LANGUAGE plpgsql AS $$BEGIN PERFORM evil.try('search_path function'); RETURN 1; END$$;
	CREATE FUNCTION evil.same(text, text) RETURNS boolean LANGUAGE plpgsql AS $$BEGIN PERFORM evil.try('search_path operator'); RETURN true; END$$;
	CREATE OPERATOR evil.= (LEFTARG = text, RIGHTARG = text, FUNCTION = evil.same);
	CREATE TABLE evil.pg_extension AS TABLE pg_catalog.pg_extension;
	CREATE TABLE evil.paths (job text, round integer, path text);
	ALTER DATABASE lair SET search_path = evil, pg_catalog, public;
});

# Pages that the index knows nothing of: heap pages beyond those that an insert
# of one row summarises.
mallory(q{
	INSERT INTO ccproxy.request_log (ts, request_id) SELECT now(), 'r' || i FROM generate_series(1, 300) AS i;
	SELECT brin_desummarize_range(h.inhrelid, 0) FROM pg_inherits h WHERE h.inhparent = 'ccproxy.request_log_request_id'::regclass;
});
my $by_worker = q{session = 'ccproxy worker'};
mallory($old_batch);
mallory(q{SELECT accepted FROM ccproxy.ingest('{"request_id": "bait", "status_code": 200}')});
for my $place ('row trigger', 'statement trigger', 'predicate', 'index', 'rollup index', 'counter check', 'policy', 'state trigger')
{
	ok(mallory_sees("SELECT EXISTS (SELECT FROM evil.loot WHERE $by_worker AND place = '$place')"), "the $place was run by the worker");
}

# the extension's functions belong to its owner, who may replace them
my $step = mallory(q{SELECT pg_get_functiondef('ccproxy._worker_step(text,integer)'::regprocedure)});
mallory(q{CREATE OR REPLACE FUNCTION ccproxy._worker_step(job text, round integer) RETURNS integer LANGUAGE plpgsql AS
	$$BEGIN
		PERFORM evil.try('replaced function');
		INSERT INTO evil.paths VALUES (job, round, current_setting('search_path'));
		PERFORM set_config('search_path', 'evil, pg_catalog', false);
		RETURN 1;
	END$$});
ok(mallory_sees(qq{SELECT EXISTS (SELECT FROM evil.loot WHERE $by_worker AND place = 'replaced function')}),
	'a function put in place of ours was run');
ok(mallory_sees('SELECT max(round) > 2 FROM evil.paths'), 'again and again');
mallory($step);
is(mallory('SELECT DISTINCT path FROM evil.paths'), 'pg_catalog, pg_temp', 'a setting of theirs does not outlive the step');

# ------------------------------------------------------------ what it gained

my @attempts = split /\n/, mallory("SELECT DISTINCT attempt FROM evil.loot WHERE $by_worker ORDER BY 1");
is(scalar(@attempts), 16, 'everything was tried');
is(mallory("SELECT DISTINCT as_user FROM evil.loot WHERE $by_worker"), 'mallory', 'all of it as the owner');
for my $attempt (@attempts)
{
	(my $quoted = $attempt) =~ s/'/''/g;
	is(mallory("SELECT count(*) FROM evil.loot WHERE $by_worker AND attempt = '$quoted' AND outcome = 'succeeded'"), '0', "refused: $attempt");
}
is(mallory(qq{SELECT DISTINCT outcome FROM evil.loot WHERE $by_worker AND attempt LIKE 'CREATE TEMPORARY%'}),
	'cannot create temporary table within security-restricted operation', 'because the operation is restricted');
is(mallory(qq{SELECT count(*) FROM evil.loot WHERE $by_worker AND place LIKE 'search_path%'}), '0', 'no search_path of theirs was followed');
is($node->safe_psql('postgres', q{SELECT string_agg(rolname, ' ') FROM pg_roles WHERE rolsuper}), 'postgres', 'there is no new superuser');

# ------------------------------------------------------------- at commit time

mallory(q{
	DROP TRIGGER before_delete ON ccproxy.ingest_batch;
	DROP TRIGGER after_statement ON ccproxy.ingest_batch;
	CREATE CONSTRAINT TRIGGER late AFTER DELETE ON ccproxy.ingest_batch DEFERRABLE INITIALLY DEFERRED
		FOR EACH ROW EXECUTE FUNCTION evil.in_trigger('deferred trigger');
});
my $offset = -s $node->logfile;
mallory($old_batch);
ok(CCProxyWorker::wait_for_log($node, $offset, qr/cannot fire deferred trigger within security-restricted operation/), 'a deferred trigger is refused');
is(mallory(q{SELECT count(*) FROM evil.loot WHERE place = 'deferred trigger'}), '0', 'and never run');
mallory('DROP TRIGGER late ON ccproxy.ingest_batch');

# ------------------------------------- functions that are not what is expected

mallory(q{
	ALTER EXTENSION ccproxy_metrics DROP FUNCTION ccproxy._worker_jobs();
	DROP FUNCTION ccproxy._worker_jobs();
	CREATE FUNCTION ccproxy._worker_jobs() RETURNS bigint LANGUAGE sql AS 'SELECT 81985529216486895';
});
ok(CCProxyWorker::wait_for_log($node, $offset, qr/ERROR:  "SELECT ccproxy._worker_jobs\(\)" must return type text\[\]/), 'a function of another type is refused');
mallory(q{
	DROP FUNCTION ccproxy._worker_jobs();
	CREATE FUNCTION ccproxy._worker_jobs() RETURNS text[] LANGUAGE sql AS
		$$SELECT ARRAY[[NULL, repeat('x', 100000)], ['', 'no such job']] || array_fill('y'::text, ARRAY[50, 2])$$;
});
ok(CCProxyWorker::wait_for_log($node, $offset, qr/job "no such job" in database "lair"/), 'so is a list of nonsense');
mallory('DROP FUNCTION ccproxy._worker_jobs()');
ok(CCProxyWorker::wait_for_log($node, $offset, qr/ERROR:  function ccproxy._worker_jobs\(\) does not exist/), 'and none at all');
unlike(CCProxyWorker::log_from($node), qr/terminated by signal|PANIC/, 'nothing crashed');

# ----------------------------------------- when the owners are not the same one

# As a superuser's pg_restore leaves it: the extension is the superuser's, the
# schema is somebody else's. What is in there is run as that somebody.
$node->safe_psql('postgres', 'CREATE DATABASE restored OWNER mallory');
CCProxyWorker::as($node, 'mallory', 'restored', 'CREATE SCHEMA ccproxy');
$node->safe_psql('restored', 'CREATE EXTENSION ccproxy_metrics; SELECT ccproxy.create_metrics_table()');
is($node->safe_psql('restored', q{SELECT extowner::regrole FROM pg_extension WHERE extname = 'ccproxy_metrics'}), 'postgres', 'an extension of a superuser');
CCProxyWorker::as($node, 'mallory', 'restored', q{CREATE TABLE public.seen AS SELECT current_user AS who LIMIT 0});
CCProxyWorker::plant($node, 'mallory', 'restored', 'INSERT INTO public.seen VALUES (current_user)');
ok(CCProxyWorker::visited($node, 'restored'), 'in a schema of mallory is maintained');
is($node->safe_psql('restored', 'SELECT DISTINCT who FROM public.seen'), 'mallory', 'as mallory');

# A table of one owner in the schema of another: his triggers would run as the other.
$node->safe_psql('postgres', 'CREATE DATABASE mixed');
$offset = -s $node->logfile;
$node->safe_psql('mixed', q{
	CREATE EXTENSION ccproxy_metrics;
	BEGIN;
	SELECT ccproxy.create_metrics_table();
	ALTER TABLE ccproxy.request_log OWNER TO mallory;
	INSERT INTO ccproxy.ingest_batch VALUES (gen_random_uuid(), now() - interval '2 days');
	COMMIT;
});
my $refusal = qr/LOG:  no background maintenance in database "mixed": schema "ccproxy" belongs to "postgres", but table "request_log" to "mallory"/;
ok(CCProxyWorker::wait_for_log($node, $offset, $refusal), 'no work for one owner in the schema of another');
ok(CCProxyWorker::whole_round($node, 'other'), 'rounds go by');
ok(CCProxyWorker::whole_round($node, 'other'), 'and by');
is(CCProxyWorker::batches($node, 'mixed'), '1', 'nothing is done there');
is(scalar(() = CCProxyWorker::log_from($node, $offset) =~ /$refusal/g), 1, 'and it is said once');
$node->safe_psql('mixed', 'ALTER TABLE ccproxy.request_log OWNER TO postgres');
ok(CCProxyWorker::visited($node, 'mixed'), 'put right, it is maintained');

# ------------------------------------------ a database that keeps the worker

$node->safe_psql('postgres', q{ALTER SYSTEM SET ccproxy.worker_step_timeout = '200ms'});
$node->reload;
CCProxyWorker::plant($node, 'ann', 'other', 'PERFORM pg_sleep(600)');
$offset = -s $node->logfile;
CCProxyWorker::leave_batch($node, 'other');
ok(CCProxyWorker::wait_for_log($node, $offset, qr/ERROR:  canceling statement due to statement timeout/), 'a step that takes too long is cancelled');
CCProxyWorker::plant($node, 'ann', 'other', 'LOOP BEGIN PERFORM pg_sleep(600); EXCEPTION WHEN query_canceled THEN RAISE LOG \'not with me\'; END; END LOOP');
ok(CCProxyWorker::wait_for_log($node, $offset, qr/LOG:  not with me/), 'one that will not be cancelled');
ok(CCProxyWorker::wait_for_log($node, $offset, qr/LOG:  terminating the ccproxy worker in database "other" after 9 s/), 'ends when the leader has waited enough');
ok(CCProxyWorker::visited($node, 'mixed'), 'the others have their turn');

$node->stop;
done_testing();
