# For tests of the background worker: clusters that preload it, databases whose
# owners are no superusers, and ways to see that it has been there, without
# waiting for a time to pass.
package CCProxyWorker;

use strict;
use warnings;

use IPC::Run ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Time::HiRes qw(sleep);

# A cluster that runs the worker every second, not started.
sub cluster
{
	my ($name, %options) = @_;
	my $node = PostgreSQL::Test::Cluster->new($name);
	$node->init(%{ $options{init} // {} });
	$node->append_conf('postgresql.conf', "extension_destdir = '$ENV{CCPROXY_STAGE}'") if $ENV{CCPROXY_STAGE};
	$node->append_conf('postgresql.conf', <<"CONF");
shared_preload_libraries = '\$libdir/ccproxy_metrics'
ccproxy.worker_interval = 1s
ccproxy.worker_discovery_interval = 1s
restart_after_crash = on
log_line_prefix = '%m [%p] %b '
CONF
	$node->append_conf('postgresql.conf', $options{conf}) if $options{conf};
	return $node;
}

# SQL as that role
sub as
{
	my ($node, $role, $db, $sql) = @_;
	return $node->safe_psql($db, $sql, extra_params => [ '-U', $role ]);
}

# A database with a metrics table, all of it that role's.
sub metrics_database
{
	my ($node, $db, $owner) = @_;
	$node->safe_psql('postgres', "CREATE ROLE $owner LOGIN") unless $node->safe_psql('postgres', "SELECT 1 FROM pg_roles WHERE rolname = '$owner'");
	$node->safe_psql('postgres', "CREATE DATABASE $db OWNER $owner");
	as($node, $owner, $db, 'CREATE EXTENSION ccproxy_metrics; SELECT ccproxy.create_metrics_table()');
}

# Something to trim: a batch of the day before yesterday.
sub leave_batch
{
	my ($node, $db) = @_;
	$node->safe_psql($db, q{INSERT INTO ccproxy.ingest_batch VALUES (gen_random_uuid(), now() - interval '2 days')});
}

sub batches
{
	my ($node, $db) = @_;
	return $node->safe_psql($db, q{SELECT count(*) FROM ccproxy.ingest_batch WHERE committed_at < now() - interval '1 day'});
}

# True once the worker has run its jobs in the database, after this call began.
sub visited
{
	my ($node, $db) = @_;
	leave_batch($node, $db);
	return $node->poll_query_until($db,
		q{SELECT NOT EXISTS (SELECT FROM ccproxy.ingest_batch WHERE committed_at < now() - interval '1 day')});
}

# True once every database has had its turn: between two visits of one.
sub whole_round
{
	my ($node, $db) = @_;
	return visited($node, $db) && visited($node, $db);
}

# Makes the job that trims batches run SQL of the owner's, as a trigger would.
sub plant
{
	my ($node, $role, $db, $statement) = @_;
	as($node, $role, $db, qq{
		CREATE OR REPLACE FUNCTION public.planted() RETURNS trigger LANGUAGE plpgsql AS
			\$\$BEGIN $statement; RETURN OLD; END\$\$;
		DROP TRIGGER IF EXISTS planted ON ccproxy.ingest_batch;
		CREATE TRIGGER planted BEFORE DELETE ON ccproxy.ingest_batch FOR EACH ROW EXECUTE FUNCTION public.planted();
	});
}

sub unplant
{
	my ($node, $role, $db) = @_;
	as($node, $role, $db, 'DROP TRIGGER planted ON ccproxy.ingest_batch');
}

# Process id of the worker, once it sleeps in the database.
sub sleeping_worker
{
	my ($node, $db) = @_;
	my $where = "backend_type = 'ccproxy worker' AND datname = '$db' AND wait_event = 'PgSleep'";
	$node->poll_query_until('postgres', "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE $where)") or return;
	return $node->safe_psql('postgres', "SELECT pid FROM pg_stat_activity WHERE $where");
}

# psql beside the test: a handle for IPC::Run's finish(), true when it went well.
# In pg_stat_activity its application_name is "beside".
sub beside
{
	my ($node, $db, $sql) = @_;
	return IPC::Run::start([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr($db) . ' application_name=beside', '-c', $sql ],
		'<', \undef, '>', '/dev/null', '2>', '/dev/null');
}

sub leader
{
	my ($node) = @_;
	return $node->safe_psql('postgres', q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'ccproxy leader'});
}

sub log_from
{
	my ($node, $offset) = @_;
	return substr(PostgreSQL::Test::Utils::slurp_file($node->logfile), $offset // 0);
}

sub wait_for_log
{
	my ($node, $offset, $pattern) = @_;
	for (1 .. 10 * $PostgreSQL::Test::Utils::timeout_default)
	{
		return 1 if log_from($node, $offset) =~ $pattern;
		sleep(0.1);
	}
	return 0;
}

1;
