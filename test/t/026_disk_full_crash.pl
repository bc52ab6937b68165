# Full disks: small file systems under the spool, under PostgreSQL's tables and
# under its write-ahead log. What cannot be made durable is answered 503, what
# was acknowledged is there afterwards, once, and everything goes on by itself
# when there is room again.
#
# CCPROXY_CRASH_ROUNDS: how many rounds of random fillings (default 3);
# CCPROXY_CRASH_SEED: to repeat a run (it is printed); CCPROXY_CRASH_SECONDS: no
# round begins later.
use strict;
use warnings;

# The file systems are mounted in a namespace of this test alone, for which
# nobody need be root.
BEGIN
{
	my @own = qw(unshare --user --map-current-user --keep-caps --mount);
	if (!$ENV{CCPROXY_OWN_MOUNTS})
	{
		$ENV{CCPROXY_OWN_MOUNTS} = 1;
		if (system(join(' ', @own, 'true 2>/dev/null')) != 0)
		{
			print "1..0 # SKIP a user may not mount here (unshare --user --mount)\n";
			exit 0;
		}
		exec(@own, $^X, (map { "-I$_" } @INC), $0) or die "exec: $!";
	}
}

use FindBin;
use lib "$FindBin::Bin/lib";

use CCProxy;
use CCProxyCrash;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);

my $rounds = $ENV{CCPROXY_CRASH_ROUNDS} || 3;
my $seed = $ENV{CCPROXY_CRASH_SEED} || time % 1_000_000;
my $until = time + ($ENV{CCPROXY_CRASH_SECONDS} || 1e9);
srand($seed);
note("CCPROXY_CRASH_SEED=$seed");

my $dir = PostgreSQL::Test::Utils::tempdir_short();

sub small_disk
{
	my ($name, $size) = @_;
	mkdir "$dir/$name" or die "mkdir: $!";
	system_or_bail('mount', '-t', 'tmpfs', '-o', "size=$size,mode=0700", 'none', "$dir/$name");
	return "$dir/$name";
}

# Leaves so many bytes, and gives all back.
sub fill
{
	my ($disk, $leave) = @_;
	open(my $f, '>', "$disk/filler") or die "filler: $!";
	my $block = "\0" x 4096;
	1 while (syswrite($f, $block) // 0) == 4096;
	my $size = -s $f;
	truncate($f, $size > $leave ? $size - $leave : 0);
	close $f;
}

sub make_room { my ($disk) = @_; unlink "$disk/filler" }

my $spools = small_disk('spools', '6m');
my $tables = small_disk('tables', '64m');
my $wal = small_disk('wal', '48m');
mkdir "$wal/wal";
my $node = PostgreSQL::Test::Cluster->new('disk_full');
$node->init(extra => [ '--waldir', "$wal/wal", '--wal-segsize', '1' ]);
$node->append_conf('postgresql.conf', "extension_destdir = '$ENV{CCPROXY_STAGE}'") if $ENV{CCPROXY_STAGE};
$node->append_conf('postgresql.conf', "restart_after_crash = on\nmin_wal_size = 4MB\nmax_wal_size = 16MB\nwal_recycle = off\n");
$node->start;
mkdir "$tables/space";
$node->safe_psql('postgres', "CREATE TABLESPACE small LOCATION '$tables/space'");
$node->safe_psql('postgres', 'CREATE DATABASE metrics TABLESPACE small');
$node->safe_psql('metrics', 'CREATE EXTENSION ccproxy_metrics; SELECT ccproxy.create_metrics_table()');

my $port = PostgreSQL::Test::Cluster::get_free_port();

sub start
{
	my ($spool) = @_;
	return CCProxy->start(node => $node, spool => $spool, listen => "127.0.0.1:$port", args => [ '--metrics-flush-interval', '500ms' ], ready => 0);
}

# Starts the server if a full disk has ended it.
sub revive
{
	CCProxy::wait_until('the server', sub {
		return 1 if $node->psql('metrics', 'SELECT 1', on_error_die => 0) == 0;
		$node->stop('immediate', fail_ok => 1);
		$node->start(fail_ok => 1);
		return 0;
	});
}

subtest 'the disk of the spool' => sub {
	my $crash = CCProxyCrash->new(node => $node, seed => $seed, round => 0);
	my $gateway = start("$spools/a.db");
	$gateway->wait_ready;
	$node->stop('fast');
	CCProxyCrash::wait_away($gateway);
	my ($n, $r) = (0);
	do { $r = $crash->post($gateway, $n++) } while $r->{status} == 200 && $n < 2000;
	is($r->{status}, 503, "after $n posts no more can be written");
	like($r->{headers}{'retry-after'}, qr/^[1-9][0-9]*$/, 'with Retry-After');
	like($gateway->log_text, qr/event=spool_full .*reason=.*full/, 'the log says why');
	fill($spools, 0);
	is($crash->post($gateway, $n++)->{status}, 503, 'nor when nothing at all is left');
	$node->start;
	CCProxy::wait_until('the server to be found again', sub { $gateway->get('/readyz')->{json}{durable_in} eq 'postgres' });
	is($crash->post($gateway, $n++)->{status}, 200, 'PostgreSQL takes events meanwhile');
	make_room($spools);
	CCProxyCrash::wait_drained($gateway);
	is($crash->check, '', "all $crash->{acknowledged} acknowledged requests are there, once, $crash->{others} others are not or are whole");
	$node->stop('fast');
	CCProxyCrash::wait_away($gateway);
	is($crash->post($gateway, $n++)->{status}, 200, 'the spool takes events again');
	$node->start;
	CCProxyCrash::wait_drained($gateway);
	is($crash->check, '', 'and gives them back');
	is($gateway->stop, 0, 'the gateway ends cleanly');
	unlink glob("$spools/a.db*");
};

subtest 'a spool that has filled its disk drains without help' => sub {
	my $crash = CCProxyCrash->new(node => $node, seed => $seed, round => 9997);
	my $gateway = start("$spools/b.db");
	$gateway->wait_ready;
	$node->stop('fast');
	CCProxyCrash::wait_away($gateway);
	my $n = 0;
	1 while $crash->post($gateway, $n++)->{status} == 200 && $n < 2000;
	$gateway->stop('KILL');
	$node->start;
	$gateway = start("$spools/b.db");
	CCProxyCrash::wait_drained($gateway);
	is($crash->check, '', "all $crash->{acknowledged} acknowledged requests are there, once");
	$gateway->stop;
	unlink glob("$spools/b.db*");
};

subtest 'a table of metrics in such a file stays' => sub {
	my $crash = CCProxyCrash->new(node => $node, seed => $seed, round => 9996);
	my $gateway = CCProxy->start(db_url => "sqlite:///$spools/d.db", listen => "127.0.0.1:$port");
	my $n = 0;
	is($crash->post($gateway, $n++)->{status}, 200, "post $_ is kept in the file") for 1 .. 3;
	$gateway->stop;
	my ($rows) = run_command([ 'sqlite3', "$spools/d.db", 'SELECT count(*) FROM metrics' ]);
	cmp_ok($rows, '>', 0, "it has $rows rows");
	$gateway = start("$spools/d.db");
	CCProxyCrash::wait_drained($gateway);
	$node->stop('fast');
	CCProxyCrash::wait_away($gateway);
	fill($spools, 3_000_000);
	1 while $crash->post($gateway, $n++)->{status} == 200 && $n < 2000;
	$node->start;
	CCProxy::wait_until('all of it to be in PostgreSQL', sub { $crash->check eq '' });
	make_room($spools);
	CCProxyCrash::wait_drained($gateway);
	is($crash->check, '', "all $crash->{acknowledged} acknowledged requests are there, once");
	$gateway->stop;
	is((run_command([ 'sqlite3', "$spools/d.db", 'SELECT count(*) FROM metrics' ]))[0], $rows, 'the table is what it was');
	unlink glob("$spools/d.db*");
};

subtest 'the disk of the tables' => sub {
	my $crash = CCProxyCrash->new(node => $node, seed => $seed, round => 9998);
	my $gateway = start("$spools/c.db");
	my $bare = CCProxy->start(node => $node, args => [ '--metrics-flush-interval', '500ms' ]);
	fill($tables, 0);
	my $n = 0;
	my $r;
	do { $r = $crash->post($gateway, $n++) } while $r->{status} == 200 && !$r->{json}{spooled} && $n < 500;
	is("$r->{status} " . ($r->{json}{spooled} // 0 ? 'spooled' : 'stored'), '200 spooled', "after $n posts the spool is used");
	like($gateway->log_text, qr/event=pg_lost class=transient sqlstate=53100/, 'the log says why');
	do { $r = $crash->post($bare, $n++) } while $r->{status} == 200 && $n < 1000;
	is($r->{status}, 503, 'without a spool it is 503');
	is($crash->post($gateway, $n++)->{status}, 200, 'more is spooled');
	make_room($tables);
	CCProxyCrash::wait_drained($gateway);
	is($crash->check, '', "all $crash->{acknowledged} acknowledged requests are there, once");
	$crash->retry($bare);
	is($crash->check, '', 'the rest can be posted again');
	is($_->stop, 0, 'a gateway ends cleanly') for $gateway, $bare;
};

# The disks fill and empty at random under several clients; the one of the
# write-ahead log makes the server panic.
for my $round (1 .. $rounds)
{
	last if time > $until;
	my $crash = CCProxyCrash->new(node => $node, seed => $seed, round => $round);
	my $gateway = start("$spools/r.db");
	$gateway->wait_ready;
	my @clients = map { $crash->start_client(stream => $_, ports => [$port]) } qw(a a b);
	my @full;
	for (1 .. 1 + int(rand(3)))
	{
		my $disk = $round % 3 == 1 && !@full ? $wal : ($spools, $tables, $wal)[ rand 3 ];
		push @full, $disk =~ s,.*/,,r;
		sleep(rand(0.3));
		fill($disk, int(rand(200_000)));
		sleep(0.3 + rand(0.7));
		if (rand() < 0.3)
		{
			$gateway->stop('KILL');
			$gateway = start("$spools/r.db");
		}
		make_room($disk) if rand() < 0.5;
	}
	make_room($_) for $spools, $tables, $wal;
	revive();
	$crash->end_clients(1, @clients);
	CCProxyCrash::wait_drained($gateway);
	is($crash->check, '', "round $round (@full): $crash->{acknowledged} acknowledged requests are there, once");
	my $rest = $crash->retry_at_once($port);
	pass("round $round: $rest other posts are acknowledged now");
	is($crash->check, '', "round $round: and there is exactly what was sent");
	is($gateway->stop, 0, "round $round: the gateway ends cleanly");
	is(scalar(() = glob("$spools/r.db.corrupt-*")), 0, "round $round: the spool is not damaged");
	$node->safe_psql('metrics', 'TRUNCATE ccproxy.request_log, ccproxy.request_key, ccproxy.dirty_minute; CHECKPOINT');
}

$node->stop;
done_testing();
