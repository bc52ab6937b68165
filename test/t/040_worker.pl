# The background worker: whom it visits and whom not, what it does there, what
# one sees of it, and how it takes errors, cancels and settings.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use CCProxyWorker;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = CCProxyWorker::cluster('worker');
$node->start;
CCProxyWorker::metrics_database($node, 'first', 'ann');
CCProxyWorker::metrics_database($node, 'second', 'bob');
$node->safe_psql('postgres', 'CREATE DATABASE bare');
CCProxyWorker::metrics_database($node, 'mould', 'ann');
$node->safe_psql('postgres', 'ALTER DATABASE mould IS_TEMPLATE true');
$node->safe_psql('postgres', 'CREATE DATABASE half');
$node->safe_psql('half', 'CREATE EXTENSION ccproxy_metrics');

# ------------------------------------------------------------------ its work

my $newest = q{SELECT inhrelid::regclass FROM pg_inherits WHERE inhparent = 'ccproxy.request_log'::regclass ORDER BY inhrelid::regclass::text DESC LIMIT 1};
for my $case ([ 'first', 'ann' ], [ 'second', 'bob' ])
{
	my ($db, $owner) = @$case;
	my $partition = CCProxyWorker::as($node, $owner, $db, $newest);
	CCProxyWorker::as($node, $owner, $db, "DROP TABLE $partition");
	ok($node->poll_query_until($db, "SELECT to_regclass('$partition') IS NOT NULL"), "$db: a partition ahead is made");
	is($node->safe_psql($db, "SELECT relowner::regrole FROM pg_class WHERE oid = '$partition'::regclass"), $owner, 'as the owner');
	ok(CCProxyWorker::visited($node, $db), 'and old batches are trimmed');
}

# what is written is rolled up, and what has expired goes once it is
CCProxyWorker::as($node, 'ann', 'first', q{
	SELECT accepted FROM ccproxy.ingest((SELECT jsonb_agg(jsonb_build_object('request_id', 'r' || i, 'timestamp', now() - make_interval(days => i % 5),
		'model', 'gpt-4', 'status_code', 200, 'output_tokens', i)) FROM generate_series(1, 100) AS i))});
ok($node->poll_query_until('first', q{SELECT dirty_minutes = 0 FROM ccproxy.health}), 'dirty minutes are refreshed');
CCProxyWorker::as($node, 'ann', 'first', q{SELECT ccproxy.set_retention(interval '2 days')});
ok($node->poll_query_until('first', q{SELECT oldest_partition >= now() - interval '3 days' FROM ccproxy.health}), 'expired partitions are dropped');
is($node->safe_psql('first', q{SELECT total_requests FROM ccproxy.stats(date_trunc('day', now()) - interval '10 days', date_trunc('day', now()) + interval '1 day')}),
	'100', 'and the statistics know them still');

CCProxyWorker::leave_batch($node, 'mould');
ok(CCProxyWorker::whole_round($node, 'first'), 'a whole round');
is(CCProxyWorker::batches($node, 'mould'), '1', 'a template database is not visited');
is($node->safe_psql('bare', q{SELECT count(*) FROM pg_namespace WHERE nspname = 'ccproxy'}), '0', 'nor is anything made where there is no extension');
is($node->safe_psql('half', q{SELECT count(*) FROM pg_class WHERE relnamespace = 'ccproxy'::regnamespace AND relname = 'request_log'}), '0',
	'or no table');
unlike(CCProxyWorker::log_from($node), qr/(ERROR|FATAL|WARNING):/, 'nobody complains');

$node->safe_psql('bare', 'CREATE EXTENSION ccproxy_metrics; SELECT ccproxy.create_metrics_table()');
ok(CCProxyWorker::visited($node, 'bare'), 'a metrics table that comes later is found; a superuser may own it');

# ------------------------------------------------------------ who can see it

is($node->safe_psql('postgres', q{SELECT application_name, datname IS NULL FROM pg_stat_activity WHERE backend_type = 'ccproxy leader'}),
	'ccproxy leader|t', 'the leader shows itself, connected to no database');
CCProxyWorker::plant($node, 'ann', 'first', 'PERFORM pg_sleep(600)');
CCProxyWorker::leave_batch($node, 'first');
my $pid = CCProxyWorker::sleeping_worker($node, 'first');
like($node->safe_psql('postgres', "SELECT application_name, state, query FROM pg_stat_activity WHERE pid = $pid"),
	qr/^ccproxy worker\|active\|trim$/, 'a worker shows itself and its job');
is($node->safe_psql('postgres', q{SELECT query FROM pg_stat_activity WHERE backend_type = 'ccproxy leader'}), 'waiting for the worker in first',
	'and the leader for whom it waits');

# ------------------------------------------------------- cancels and the like

my $offset = -s $node->logfile;
$node->safe_psql('postgres', "SELECT pg_cancel_backend($pid)");
ok(CCProxyWorker::visited($node, 'second'), 'after a cancel the round goes on');
my $log = CCProxyWorker::log_from($node, $offset);
like($log, qr/ERROR:  canceling statement due to user request/, 'the cancel is logged');
like($log, qr/CONTEXT:.*ccproxy worker, job "trim" in database "first"/s, 'with job and database');
unlike($log, qr/exited with exit code/, 'and the process was not lost');

$pid = CCProxyWorker::sleeping_worker($node, 'first');
$node->safe_psql('postgres', "SELECT pg_terminate_backend($pid)");
ok(CCProxyWorker::visited($node, 'second'), 'after pg_terminate_backend of a worker too');

$pid = CCProxyWorker::sleeping_worker($node, 'first');
my $leader = CCProxyWorker::leader($node);
$node->safe_psql('postgres', "SELECT pg_cancel_backend($leader)");
$node->safe_psql('postgres', "SELECT pg_terminate_backend($leader)");
ok($node->poll_query_until('postgres', "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE backend_type = 'ccproxy leader' AND pid <> $leader)"),
	'a leader that was terminated is replaced');
$node->safe_psql('postgres', "SELECT pg_terminate_backend($pid)");
CCProxyWorker::unplant($node, 'ann', 'first');
ok(CCProxyWorker::visited($node, 'first'), 'and the work goes on');

# ---------------------------------------------------------------- errors

CCProxyWorker::plant($node, 'ann', 'first', q{RAISE EXCEPTION 'out of order'});
$offset = -s $node->logfile;
CCProxyWorker::leave_batch($node, 'first');
ok(CCProxyWorker::whole_round($node, 'second'), 'an error in one database does not stop the others');
like(CCProxyWorker::log_from($node, $offset), qr/out of order.*?CONTEXT:.*?ccproxy worker, job "trim" in database "first"/s, 'it is logged, with job and database');
is(scalar(() = CCProxyWorker::log_from($node, $offset) =~ /WARNING:.*out of order/g), 1, 'once for some rounds: the job rests a while');
my $partition = CCProxyWorker::as($node, 'ann', 'first', $newest);
CCProxyWorker::as($node, 'ann', 'first', "DROP TABLE $partition");
ok($node->poll_query_until('first', "SELECT to_regclass('$partition') IS NOT NULL"), 'nor the other jobs there');
CCProxyWorker::unplant($node, 'ann', 'first');
CCProxyWorker::as($node, 'ann', 'first', q{UPDATE ccproxy.job SET failed_at = failed_at - interval '1 minute' WHERE name = 'trim'});
ok(CCProxyWorker::visited($node, 'first'), 'what failed is tried again');

# --------------------------------------------------------------- settings

$node->safe_psql('postgres', 'ALTER SYSTEM SET ccproxy.worker = off');
$node->reload;
ok($node->poll_query_until('postgres',
		q{SELECT EXISTS (SELECT FROM pg_stat_activity WHERE backend_type = 'ccproxy leader' AND query = 'switched off by ccproxy.worker')}),
	'ccproxy.worker = off: the leader rests');
CCProxyWorker::leave_batch($node, 'first');
$node->safe_psql('postgres', q{ALTER SYSTEM SET ccproxy.worker_interval = '2s'});
$node->reload;
is($node->safe_psql('postgres', q{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'ccproxy worker'}), '0', 'there is no worker');
is(CCProxyWorker::batches($node, 'first'), '1', 'and nothing is done');
$node->safe_psql('postgres', q{ALTER SYSTEM RESET ccproxy.worker});
$node->safe_psql('postgres', q{ALTER SYSTEM RESET ccproxy.worker_interval});
$node->reload;
ok(CCProxyWorker::visited($node, 'first'), 'on again');

my ($rc, undef, $err) = $node->psql('postgres', 'SET ccproxy.worker = off');
like($err, qr/parameter "ccproxy.worker" cannot be changed now/, 'a session cannot change it');
SKIP:
{
	skip 'prefixes are reserved from PostgreSQL 15 on', 1 if $node->safe_psql('postgres', 'SHOW server_version_num') < 150000;
	($rc, undef, $err) = $node->psql('postgres', 'SET ccproxy.worked = off');
	like($err, qr/invalid configuration parameter name "ccproxy.worked"/, 'and the prefix is ours');
}

$node->safe_psql('postgres', "ALTER DATABASE second SET $_")
  for 'statement_timeout = 1', 'lock_timeout = 1', 'default_transaction_read_only = on', "search_path = 'public'", "DateStyle = 'SQL, DMY'";
{
	local $ENV{PGOPTIONS} = '-c statement_timeout=0 -c lock_timeout=0 -c default_transaction_read_only=off';
	ok(CCProxyWorker::visited($node, 'second'), 'nor do settings of the database bend a job');
}

$node->stop;
done_testing();
