# A disk that fails to make the spool durable (fsync_fail.c, preloaded): what it
# failed for is not acknowledged, the log and a counter say so, what had been
# acknowledged before is kept, whichever call it is and however often, and
# whether or not the gateway is killed on the way. When the disk works again the
# gateway goes on by itself.
#
# CCPROXY_CRASH_ROUNDS: how many rounds of random failures (default 4);
# CCPROXY_CRASH_SEED: to repeat a run (it is printed); CCPROXY_CRASH_SECONDS: no
# round begins later.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use CCProxy;
use CCProxyCrash;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);

my $rounds = $ENV{CCPROXY_CRASH_ROUNDS} || 4;
my $seed = $ENV{CCPROXY_CRASH_SEED} || time % 1_000_000;
my $until = time + ($ENV{CCPROXY_CRASH_SECONDS} || 1e9);
srand($seed);
note("CCPROXY_CRASH_SEED=$seed");

my $dir = PostgreSQL::Test::Utils::tempdir_short();
my $shim = "$dir/fsync_fail.so";
my $order = "$dir/order";
system_or_bail($ENV{CC} || 'cc', '-std=gnu11', '-O1', '-Wall', '-Wextra', '-Werror', '-D_GNU_SOURCE', '-shared', '-fPIC', '-o', $shim, "$FindBin::Bin/../fsync_fail.c", '-ldl');

my $node = CCProxy::cluster('fsync_crash', conf => "fsync = off\n");
my $number = 0;

sub start
{
	my ($spool) = @_;
	return CCProxy->start(node => $node, spool => $spool, args => [ '--metrics-flush-interval', '1s' ],
		env => { LD_PRELOAD => $shim, FSYNC_FAIL_PATH => '/spool', FSYNC_FAIL_ORDER => $order,
			ASAN_OPTIONS => join(':', 'verify_asan_link_order=0', $ENV{ASAN_OPTIONS} // ()) }, ready => 0);
}

sub fail_fsync
{
	my ($skip, $count) = @_;
	append_to_file("$order.new", "$skip $count\n");
	rename("$order.new", $order) or die "rename: $!";
}

sub metric
{
	my ($gateway, $name) = @_;
	return $gateway->get('/metrics/prometheus')->{content} =~ /^ccproxy_gateway_\Q$name\E (\S+)$/m ? $1 : undef;
}

subtest 'one call fails' => sub {
	my $crash = CCProxyCrash->new(node => $node, seed => $seed, round => 0);
	my $gateway = start("$dir/spool-one.db");
	$gateway->wait_ready;
	$node->stop('fast');
	CCProxyCrash::wait_away($gateway);
	is($crash->post($gateway, $_)->{status}, 200, "post $_ is spooled") for 0 .. 4;
	my $failures = metric($gateway, 'spool_failures_total');
	fail_fsync(0, 1);
	is($crash->post($gateway, 5)->{status}, 503, 'the one whose fsync fails is not acknowledged');
	like($gateway->log_text, qr/event=spool_failed .*I\/O error/, 'the log says why');
	is(metric($gateway, 'spool_failures_total'), $failures + 1, 'it is counted');
	is($crash->post($gateway, 6)->{status}, 200, 'the next one is spooled');
	$gateway->stop('KILL');
	$node->start;
	$gateway = start("$dir/spool-one.db");
	CCProxyCrash::wait_drained($gateway);
	is($crash->check, '', 'all that was acknowledged is there, once');
	$crash->retry($gateway);
	is($crash->check, '', 'the rest can be posted again');
	is($gateway->stop, 0, 'the gateway ends cleanly');
	is(scalar(() = glob("$dir/spool-one.db.corrupt-*")), 0, 'and has not taken its file for damaged');
};

subtest 'no call succeeds for a while' => sub {
	my $crash = CCProxyCrash->new(node => $node, seed => $seed, round => 9999);
	my $gateway = start("$dir/spool-all.db");
	$gateway->wait_ready;
	$node->stop('fast');
	CCProxyCrash::wait_away($gateway);
	is($crash->post($gateway, $_)->{status}, 200, "post $_ is spooled") for 0 .. 4;
	fail_fsync(0, 1_000_000);
	is($crash->post($gateway, $_)->{status}, 503, "post $_ is not") for 5 .. 7;
	CCProxy::wait_until('/readyz to say so', sub { $gateway->get('/readyz')->{status} == 503 });
	unlink $order;
	CCProxyCrash::wait_away($gateway);
	is($crash->post($gateway, 8)->{status}, 200, 'when the disk works again, so does the spool');
	$node->start;
	CCProxyCrash::wait_drained($gateway);
	is($crash->check, '', 'all that was acknowledged is there, once');
	$gateway->stop;
};

# Calls fail at random, and the gateway is killed on the way to recovery.
for my $round (1 .. $rounds)
{
	last if time > $until;
	my $crash = CCProxyCrash->new(node => $node, seed => $seed, round => $round);
	my $spool = "$dir/spool-" . ++$number . '.db';
	my $gateway = start($spool);
	$gateway->wait_ready;
	$node->stop('fast');
	my $n = 0;
	for (1 .. 3)
	{
		fail_fsync(int(rand(12)), 1 + int(rand(6)));
		my $posts_until = time + 0.2 + rand(1);
		while (time < $posts_until)
		{
			$crash->post($gateway, $n++);
		}
		next if rand() < 0.5;
		$gateway->stop('KILL');
		$gateway = start($spool);
	}
	$node->start;
	# deletions fail as well
	sleep(rand(0.2));
	$gateway->stop('KILL') if rand() < 0.3;
	unlink $order;
	$gateway = start($spool) unless $gateway->alive;
	CCProxyCrash::wait_drained($gateway);
	my $rest = () = $crash->posts('unacknowledged');
	is($crash->check, '', "round $round: $crash->{acknowledged} acknowledged requests are there, once; $rest posts were not acknowledged");
	$crash->retry($gateway);
	is($crash->check, '', "round $round: and after posting the rest again it is exactly what was sent");
	is($gateway->stop, 0, "round $round: the gateway ends cleanly");
}

$node->stop;
done_testing();
