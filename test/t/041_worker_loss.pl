# The background worker when things go: databases, extensions, slots, backends,
# the server; and without preloading.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use CCProxyWorker;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $node = CCProxyWorker::cluster('worker_loss', conf => "max_worker_processes = 2\nmax_logical_replication_workers = 0\n");
$node->start;
CCProxyWorker::metrics_database($node, 'stays', 'ann');

# ---------------------------------------------------------------- databases

for my $i (1 .. 3)
{
	CCProxyWorker::metrics_database($node, "brief$i", 'bob');
	CCProxyWorker::visited($node, "brief$i");
}
for my $i (1 .. 3)
{
	my ($rc, undef, $err) = $node->psql('postgres', "DROP DATABASE brief$i", extra_params => [ '-U', 'bob' ]);
	is($rc, 0, "DROP DATABASE by its owner does not meet the worker $err");
}
CCProxyWorker::metrics_database($node, 'busy', 'bob');
CCProxyWorker::plant($node, 'bob', 'busy', 'PERFORM pg_sleep(600)');
CCProxyWorker::leave_batch($node, 'busy');
ok(CCProxyWorker::sleeping_worker($node, 'busy'), 'a worker is busy in a database');
$node->safe_psql('postgres', 'DROP DATABASE busy WITH (FORCE)');
ok(CCProxyWorker::whole_round($node, 'stays'), 'DROP DATABASE WITH (FORCE) ends it, and the round goes on');

# --------------------------------------------------------------- extensions

CCProxyWorker::metrics_database($node, 'leaving', 'bob');
CCProxyWorker::visited($node, 'leaving');
my $offset = -s $node->logfile;
my $beside = CCProxyWorker::beside($node, 'leaving', 'BEGIN; DROP EXTENSION ccproxy_metrics CASCADE; SELECT pg_sleep(600)');
my $there = q{SELECT pid FROM pg_stat_activity WHERE application_name = 'beside' AND };
$node->poll_query_until('postgres', "SELECT EXISTS ($there wait_event = 'PgSleep')");
ok(CCProxyWorker::whole_round($node, 'stays'), 'while a DROP EXTENSION is not committed the worker passes by');
unlike(CCProxyWorker::log_from($node, $offset), qr/(ERROR|FATAL|WARNING):/, 'and finds nothing wrong');
$node->safe_psql('postgres', "SELECT pg_cancel_backend(pid) FROM ($there true) AS p");
$beside->finish;
ok(CCProxyWorker::visited($node, 'leaving'), 'rolled back: it comes again');

CCProxyWorker::plant($node, 'bob', 'leaving', 'PERFORM pg_sleep(600)');
CCProxyWorker::leave_batch($node, 'leaving');
my $pid = CCProxyWorker::sleeping_worker($node, 'leaving');
$offset = -s $node->logfile;
$beside = CCProxyWorker::beside($node, 'leaving', 'DROP EXTENSION ccproxy_metrics CASCADE');
ok($node->poll_query_until('postgres', "SELECT EXISTS ($there wait_event_type = 'Lock')"), 'DROP EXTENSION waits for the step that runs');
$node->safe_psql('postgres', "SELECT pg_cancel_backend($pid)");
ok($beside->finish, 'and drops the extension between two steps');
ok(CCProxyWorker::whole_round($node, 'stays'), 'the round goes on');
my @errors = CCProxyWorker::log_from($node, $offset) =~ /(?:ERROR|FATAL): +(.*)/g;
is("@errors", 'canceling statement due to user request', 'and nothing but the cancel is logged');

# -------------------------------------------------------------------- slots

# the parallel worker of a query takes the last slot
my $parallel = $node->safe_psql('postgres', 'SHOW server_version_num') < 160000 ? 'force_parallel_mode' : 'debug_parallel_query';
CCProxyWorker::visited($node, 'stays');
$offset = -s $node->logfile;
my $occupied = q{SELECT EXISTS (SELECT FROM pg_stat_activity WHERE backend_type = 'parallel worker')};
# a visit may be using the slot just then
for my $try (1 .. 100)
{
	$beside = CCProxyWorker::beside($node, 'postgres', "SET $parallel = on; SELECT pg_sleep(600)");
	$node->poll_query_until('postgres', "SELECT EXISTS ($there wait_event = 'PgSleep' AND state = 'active')");
	last if $node->safe_psql('postgres', $occupied) eq 't';
	$node->safe_psql('postgres', "SELECT pg_cancel_backend(pid) FROM ($there true) AS p");
	$beside->finish;
}
is($node->safe_psql('postgres', $occupied), 't', 'all of max_worker_processes is in use');
my $message = qr/LOG:  no background worker slot for the maintenance of metrics tables/;
ok(CCProxyWorker::wait_for_log($node, $offset, $message), 'a round finds no slot');
my $rounds_began = time;
for my $round (1 .. 3)
{
	my $seen = $node->safe_psql('postgres', q{SELECT query_start FROM pg_stat_activity WHERE backend_type = 'ccproxy leader'});
	$node->poll_query_until('postgres', qq{SELECT query_start > '$seen' FROM pg_stat_activity WHERE backend_type = 'ccproxy leader'});
}
cmp_ok(time - $rounds_began, '>', 1, 'it is tried again, at the usual interval');
is(scalar(() = CCProxyWorker::log_from($node, $offset) =~ /$message/g), 1, 'and logged once');
$node->safe_psql('postgres', "SELECT pg_cancel_backend(pid) FROM ($there true) AS p");
$beside->finish;
ok(CCProxyWorker::visited($node, 'stays'), 'a slot that gets free is used');
like(CCProxyWorker::log_from($node, $offset), qr/there are background worker slots for the maintenance of metrics tables again/, 'and that is logged');

# ------------------------------------------------------ crashes and restarts

my $leader = CCProxyWorker::leader($node);
my $victim = CCProxyWorker::beside($node, 'postgres', 'SELECT pg_sleep(600)');
$node->poll_query_until('postgres', "SELECT EXISTS ($there wait_event = 'PgSleep')");
kill('KILL', $node->safe_psql('postgres', "$there true"));
$victim->finish;
ok($node->poll_query_until('postgres', "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE backend_type = 'ccproxy leader' AND pid <> $leader)"),
	'a backend crashes: there is a new leader');
ok(CCProxyWorker::visited($node, 'stays'), 'and it works');

$node->stop('immediate');
$node->start;
ok(CCProxyWorker::visited($node, 'stays'), 'after a crash of the server');
$node->restart;
ok(CCProxyWorker::visited($node, 'stays'), 'after a restart');

CCProxyWorker::plant($node, 'ann', 'stays', 'PERFORM pg_sleep(600)');
CCProxyWorker::leave_batch($node, 'stays');
CCProxyWorker::sleeping_worker($node, 'stays');
my $stop_began = time;
$node->stop('fast');
cmp_ok(time - $stop_began, '<', 30, 'a fast shutdown does not wait for a job');

# ---------------------------------------------------------------- pg_upgrade

# the server as pg_upgrade runs it
my @server = ('-w', '-D', $node->data_dir, '-l', $node->logfile);
system_or_bail('pg_ctl', @server, '-o', '-b', 'start');
is($node->safe_psql('postgres', q{SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE 'ccproxy%'}), '0', 'nothing runs during a binary upgrade');
system_or_bail('pg_ctl', @server, 'stop');

# ------------------------------------------------------- without preloading

$node->append_conf('postgresql.conf', "shared_preload_libraries = ''");
$node->start;
$node->safe_psql('postgres', 'CREATE DATABASE plain');
is($node->safe_psql('plain', q{CREATE EXTENSION ccproxy_metrics; SELECT ccproxy.create_metrics_table(); CALL ccproxy.maintain(); LOAD '$libdir/ccproxy_metrics'; SHOW ccproxy.worker_interval}),
	"\n1s", 'not preloaded: the extension works, the settings are known');
is(CCProxyWorker::leader($node), '', 'and there is no leader');

$node->stop;
done_testing();
