# Rounds of random harm: two gateways with a spool each, clients that post the
# same events through both at once and retry, and meanwhile whatever may happen
# to gateways, backends, the server and the connection between them. After each
# round every acknowledged event is there once with the values that were sent,
# none is there by half or twice, and every minute with rows is marked for the
# rollups; posting the rest again makes it exactly what was sent.
#
# CCPROXY_CRASH_ROUNDS: how many (default 5); CCPROXY_CRASH_SEED: to repeat a
# run (it is printed); CCPROXY_CRASH_SECONDS: no round begins later.
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

my $rounds = $ENV{CCPROXY_CRASH_ROUNDS} || 5;
my $seed = $ENV{CCPROXY_CRASH_SEED} || time % 1_000_000;
my $until = time + ($ENV{CCPROXY_CRASH_SECONDS} || 1e9);
srand($seed);
note("CCPROXY_CRASH_SEED=$seed");

my $node = CCProxy::cluster('random_crash', conf => "restart_after_crash = on\nfsync = off\n");
my $dir = PostgreSQL::Test::Utils::tempdir_short();
my $proxy = CCProxyCrash::start_proxy($node);
my $user = $node->safe_psql('metrics', 'SELECT current_user');

# Each keeps its port and its spool through all its lives; the first one reaches
# the server through the proxy.
my @gateways = map { { name => $_, port => PostgreSQL::Test::Cluster::get_free_port(), spool => "$dir/$_.db" } } qw(first second);
my $third_port = PostgreSQL::Test::Cluster::get_free_port();

sub start
{
	my ($g, %o) = @_;
	$g->{gateway} = CCProxy->start(node => $node, spool => $g->{spool}, listen => "127.0.0.1:$g->{port}",
		args => [ '--metrics-flush-interval', '1s', '--shutdown-deadline-s', '5' ], ready => $o{ready},
		$g->{name} eq 'first' ? (env => { PGHOST => '127.0.0.1', PGPORT => $proxy->{port} }, db_url => "dbname=metrics user=$user") : ());
}

sub server_answers { return $node->psql('metrics', 'SELECT 1', on_error_die => 0) == 0 }
sub some_gateway { return $gateways[ rand @gateways ] }

# Ends a gateway and starts it again on its spool.
sub again
{
	my ($g, $signal) = @_;
	my $status = $g->{gateway}->stop($signal);
	is($status, 0, "$g->{name} gateway ends cleanly") if $signal eq 'TERM' && $status != 0;
	sleep(rand(0.1));
	start($g, ready => 0);
}

sub stop_server { $node->stop(rand() < 0.5 ? 'immediate' : 'fast') }

my %harm = (
	kill_gateway => sub { again(some_gateway(), 'KILL') },
	kill_both => sub { $_->{gateway}->stop('KILL') for @gateways; start($_, ready => 0) for @gateways },
	drain_gateway => sub { again(some_gateway(), 'TERM') },
	# kill -9 of a backend makes the server restart all of them
	kill_backend => sub {
		my ($pid) = split /\n/, $node->safe_psql('metrics', q{SELECT pid FROM pg_stat_activity WHERE application_name = 'ccproxy-gateway' AND datname = 'metrics'
			ORDER BY (query LIKE '%ingest_batch%') DESC, random()});
		kill('KILL', $pid) if $pid;
		CCProxy::wait_until('the server', \&server_answers);
	},
	restart_server => sub { stop_server(); sleep(rand(1.5)); $node->start },
	swallow_commit => sub {
		for (1 .. 1 + rand(3))
		{
			CCProxyCrash::tell_proxy($proxy, 'swallow');
			CCProxy::wait_until('a COMMIT to be swallowed', sub { CCProxyCrash::proxy_has_done($proxy, 'swallow') });
		}
	},
	cut_connection => sub {
		for (1 .. 1 + rand(4))
		{
			CCProxyCrash::tell_proxy($proxy, 'cut', 1 + int(rand(30_000)));
			CCProxy::wait_until('a connection to be cut', sub { CCProxyCrash::proxy_has_done($proxy, 'cut') });
		}
	},
	drain_while_server_is_down => sub { stop_server(); sleep(rand(0.5)); again(some_gateway(), 'TERM'); sleep(rand(0.5)); $node->start },
	kill_while_server_is_down => sub { stop_server(); sleep(rand(0.5)); again(some_gateway(), 'KILL'); sleep(rand(0.5)); $node->start },
	# the spool of another: it goes on without, has it when that one is dead, and gives it back
	share_spool => sub {
		my $g = some_gateway();
		my $third = { name => 'third', port => $third_port, spool => $g->{spool} };
		start($third, ready => 0);
		sleep(rand(0.3));
		$g->{gateway}->stop('KILL');
		sleep(rand(0.3));
		start($g, ready => 0);
		sleep(rand(0.3));
		$third->{gateway}->stop(rand() < 0.5 ? 'KILL' : 'TERM');
	},
);
my @harms = sort keys %harm;

start($_) for @gateways;
my ($done, $events, $unacknowledged) = (0, 0, 0);
for my $round (1 .. $rounds)
{
	last if time > $until;
	# each kind in turn comes first, others follow it
	my @what = ($harms[ ($round - 1) % @harms ], map { $harms[ rand @harms ] } 1 .. int(rand(3)));
	my $crash = CCProxyCrash->new(node => $node, seed => $seed, round => $round);
	my @ports = map { $_->{port} } @gateways;
	my @clients = map { $crash->start_client(%$_) }
		{ stream => 'a', ports => [@ports] }, { stream => 'a', ports => [ reverse @ports ] }, { stream => 'a', ports => [ $ports[0] ] },
		{ stream => 'b', ports => [ $third_port, @ports ] }, { stream => 'b', ports => [ reverse @ports ] }, { stream => 'c', ports => [ $ports[1] ] };

	for (@what)
	{
		sleep(rand(0.5));
		$harm{$_}->();
	}
	sleep(rand(0.5));
	$crash->end_clients(1, @clients);

	# another life of each must find what is in its spool
	again($_, rand() < 0.5 ? 'KILL' : 'TERM') for @gateways;
	for (map { $_->{gateway} } @gateways)
	{
		$_->wait_ready;
		CCProxyCrash::wait_drained($_);
	}
	CCProxy::wait_until('transactions of the dead to end', sub {
		$node->safe_psql('metrics', q{SELECT count(*) FROM pg_stat_activity WHERE application_name = 'ccproxy-gateway' AND state <> 'idle'}) == 0 });
	is($crash->check, '', "round $round (@what): every acknowledged event is there once, as it was sent");

	my $rest = $crash->retry_at_once(@ports);
	pass("round $round: $rest other posts are acknowledged now");
	is($crash->check, '', "round $round: and there is exactly what was sent: $crash->{acknowledged} requests");
	is($crash->unmarked_minutes, 0, "round $round: every minute with rows is marked");
	is(join(' ', map { glob("$_->{spool}.corrupt-*") } @gateways), '', "round $round: no spool is damaged");
	$done++;
	$events += $crash->{acknowledged};
	$unacknowledged += $rest;
	$node->safe_psql('metrics', 'TRUNCATE ccproxy.request_log, ccproxy.request_key, ccproxy.dirty_minute');
}
cmp_ok($events, '>', 100 * $done, "$done rounds, $events requests, $unacknowledged posts that no answer came to at first");
is($_->{gateway}->stop, 0, "the $_->{name} gateway ends cleanly") for @gateways;
$node->stop;
done_testing();
