# Crashes in the middle of a stream of posts. After each: every acknowledged
# event is there exactly once, every post is there whole or not at all, and
# posting the unacknowledged ones again makes it exactly the events sent.
#
# CCPROXY_CRASH_ROUNDS: how many (default 6, one of each kind);
# CCPROXY_CRASH_SEED: to repeat a run (it is printed).
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use CCProxy;
use CCProxyCrash;
use JSON::PP;
use POSIX ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);

my $CLIENTS = 4;
my @KINDS = qw(kill_gateway kill_backend stop_postgres swallow_commit drain_gateway two_of_them);
my $rounds = $ENV{CCPROXY_CRASH_ROUNDS} || scalar @KINDS;
my $seed = $ENV{CCPROXY_CRASH_SEED} || time % 1_000_000;
srand($seed);
note("CCPROXY_CRASH_SEED=$seed");

my $node = CCProxy::cluster('gateway_crash', conf => "restart_after_crash = on\n");
my $dir = PostgreSQL::Test::Utils::tempdir_short();
my $proxy = CCProxyCrash::start_proxy($node);

sub sql { return $node->safe_psql('metrics', shift) }

# ---------------------------------------------------------------- clients

# The events of a post: one or many, complete, in parts or without a time.
sub events_of
{
	my ($round, $client, $n) = @_;
	my @sizes = (1, 1, 1, 7, 100, 1000);
	my $size = $sizes[ ($n * 7 + $client) % @sizes ];
	my $style = ($n + $client) % 4;
	my $t = time - 30;
	return map {
		my $id = "r$round-c$client-n$n-$_";
		$style == 0 ? { request_id => $id, kind => 'response', status_code => 200, output_tokens => 1 }
			: $style == 1 && $_ % 50 == 0 ? { request_id => $id, output_tokens => 1, model => 'gpt-4' }
			: { request_id => $id, timestamp => $t, output_tokens => 1, model => 'gpt-4', user_id => "u$client", response_time_ms => 1 };
	} 1 .. $size;
}

# Posts until told to stop; writes a line of JSON for each post: what was sent
# and whether it was acknowledged.
sub client
{
	my ($round, $client, $gateway, $file) = @_;
	my $stop = 0;
	local $SIG{TERM} = sub { $stop = 1 };
	local $SIG{PIPE} = 'IGNORE';
	open(my $out, '>', $file) or POSIX::_exit(2);
	my $http = HTTP::Tiny->new(timeout => 20, keep_alive => 1);
	for (my $n = 0; !$stop; $n++)
	{
		my @events = events_of($round, $client, $n);
		my $body = encode_json(@events == 1 ? $events[0] : \@events);
		my $r = $http->request('POST', "http://127.0.0.1:$gateway->{port}/metrics/api/events",
			{ headers => { 'content-type' => 'application/json' }, content => $body });
		my $answer = $r->{status} == 200 ? eval { decode_json($r->{content}) } : undef;
		my $acked = $answer && $answer->{accepted} + $answer->{duplicates} == @events ? 1 : 0;
		print $out encode_json({ acked => $acked, status => $r->{status}, body => $body, n => scalar @events, prefix => "r$round-c$client-n$n-" }), "\n";
		sleep(0.02) unless $acked;
	}
	close $out or POSIX::_exit(3);
	POSIX::_exit(0);
}

sub start_clients
{
	my ($round, $gateway) = @_;
	return map {
		my $file = "$dir/round$round-client$_";
		my $pid = fork() // die "fork: $!";
		client($round, $_, $gateway, $file) if $pid == 0;
		{ pid => $pid, file => $file };
	} 1 .. $CLIENTS;
}

sub stop_clients
{
	my @posts;
	kill('TERM', $_->{pid}) for @_;
	for my $client (@_)
	{
		waitpid($client->{pid}, 0);
		is($?, 0, 'a client ends') if $? != 0;
		push @posts, map { decode_json($_) } split /\n/, slurp_file($client->{file});
		unlink $client->{file};
	}
	return @posts;
}

# ------------------------------------------------------------------ rounds

# Everything that was posted in a round against what is in the table.
sub check
{
	my ($name, $round, @posts) = @_;
	my %there = map { my ($prefix, $rows, $ids) = split /\|/; ($prefix => [ $rows, $ids ]) } split /\n/, sql(
		"SELECT substring(request_id FROM '^.*-'), count(*), count(DISTINCT request_id) FROM ccproxy.requests
		 WHERE request_id LIKE 'r$round-%' GROUP BY 1");
	my ($lost, $twice, $half, $acked, $events) = (0, 0, 0, 0, 0);
	for my $post (@posts)
	{
		my ($rows, $ids) = @{ $there{ $post->{prefix} } // [ 0, 0 ] };
		$twice++ if $rows != $ids;
		$lost++ if $post->{acked} && $ids < $post->{n};
		$half++ if !$post->{acked} && $ids != 0 && $ids != $post->{n};
		$acked += $post->{acked};
		$events += $post->{n};
	}
	is("$lost $twice $half", '0 0 0', "$name: of $acked acknowledged and " . (@posts - $acked) . ' other posts none is lost, twice or half there');
	return $events;
}

sub crash
{
	my ($kind, $gateway, $other) = @_;
	if ($kind eq 'kill_gateway') { $gateway->stop('KILL') }
	elsif ($kind eq 'two_of_them') { $other->stop('KILL') }
	elsif ($kind eq 'drain_gateway') { is($gateway->stop('TERM'), 0, 'the gateway drains and ends cleanly') }
	elsif ($kind eq 'kill_backend')
	{
		# kill -9 of a backend makes the server restart all of them
		my ($pid) = split /\n/, sql(q{SELECT pid FROM pg_stat_activity WHERE application_name = 'ccproxy-gateway' AND datname = 'metrics'
			ORDER BY (query LIKE '%ingest_batch%') DESC, random()});
		kill('KILL', $pid) if $pid;
	}
	elsif ($kind eq 'stop_postgres')
	{
		$node->stop('immediate');
		sleep(rand(0.5));
		$node->start;
	}
	elsif ($kind eq 'swallow_commit')
	{
		for (1 .. 3)
		{
			CCProxyCrash::tell_proxy($proxy, 'swallow');
			CCProxy::wait_until('a COMMIT to be swallowed', sub { CCProxyCrash::proxy_has_done($proxy, 'swallow') });
		}
	}
}

my $user = sql('SELECT current_user');

for my $round (1 .. $rounds)
{
	my $kind = $KINDS[ ($round - 1) % @KINDS ];
	my @settings = ('--metrics-flush-interval=15s');
	my $gateway = CCProxy->start(node => $node, args => \@settings,
		$kind eq 'swallow_commit' ? (env => { PGHOST => '127.0.0.1', PGPORT => $proxy->{port} }, db_url => "dbname=metrics user=$user") : ());
	my $other = $kind eq 'two_of_them' ? CCProxy->start(node => $node, args => \@settings) : undef;
	my @clients = start_clients($round, $gateway);
	push @clients, map { $_->{file} .= 'b'; $_ } start_other_clients($round, $other) if $other;

	sleep(0.5 + rand(1));
	crash($kind, $gateway, $other);
	sleep(0.2 + rand(0.5));
	my @posts = stop_clients(@clients);
	CCProxy::wait_until('the server', sub { $node->psql('metrics', 'SELECT 1', on_error_die => 0) == 0 });
	cmp_ok(scalar(grep { $_->{acked} } @posts), '>', 0, "$kind: some posts were acknowledged");

	# what the dead gateway's sessions still do ends before we look
	CCProxy::wait_until('transactions to end', sub {
		$gateway->alive || sql(q{SELECT count(*) FROM pg_stat_activity WHERE application_name = 'ccproxy-gateway' AND state <> 'idle'}) == 0 });
	if ($gateway->alive) { is($gateway->stop, 0, "$kind: the gateway ends cleanly") }
	my $events = check($kind, $round, @posts);

	# everything again: exactly what was sent
	my $again = CCProxy->start(node => $node);
	for my $post (@posts)
	{
		my $r = $again->post($post->{body});
		next if $r->{status} == 200 && $r->{json}{accepted} + $r->{json}{duplicates} == $post->{n} && (!$post->{acked} || $r->{json}{accepted} == 0);
		fail("$kind: posting again: $r->{status} $r->{content}");
		last;
	}
	$again->stop;
	is(sql("SELECT count(*), count(DISTINCT request_id), sum(output_tokens) FROM ccproxy.requests WHERE request_id LIKE 'r$round-%'"),
		"$events|$events|$events", "$kind: after posting all of it again, $events events are there once");
	$_->stop for grep { defined } $other;
}

# A row the server refuses, beside others whose COMMIT nobody hears of.
{
	sql(q{ALTER TABLE ccproxy.request_log ADD CONSTRAINT no_evil CHECK (model <> 'evil')});
	my $gateway = CCProxy->start(node => $node, env => { PGHOST => '127.0.0.1', PGPORT => $proxy->{port} }, db_url => "dbname=metrics user=$user");
	my $t = time - 30;
	CCProxyCrash::tell_proxy($proxy, 'swallow');
	my $r = $gateway->post([ map { { request_id => "refused-$_", timestamp => $t, model => $_ == 7 ? 'evil' : 'gpt-4' } } 1 .. 20 ]);
	ok(CCProxyCrash::proxy_has_done($proxy, 'swallow'), 'the answer to a COMMIT of rows that were stored one by one is lost');
	is(join(' ', $r->{status}, map { $_ // '-' } @{ $r->{json} }{qw(accepted duplicates rejected)}), '200 19 0 1', 'what became of each is known all the same');
	is($r->{json}{errors}[0]{index}, 6, '... of the refused one, too');
	is(sql("SELECT count(*), count(DISTINCT request_id) FROM ccproxy.requests WHERE request_id LIKE 'refused-%'"), '19|19', '... and true');
	is($gateway->stop, 0, 'the gateway ends cleanly');
	sql('ALTER TABLE ccproxy.request_log DROP CONSTRAINT no_evil');
}

# Clients of a second gateway post events of their own.
sub start_other_clients
{
	my ($round, $gateway) = @_;
	return map {
		my $number = $CLIENTS + $_;
		my $file = "$dir/round$round-client$number";
		my $pid = fork() // die "fork: $!";
		client($round, $number, $gateway, "${file}b") if $pid == 0;
		{ pid => $pid, file => $file };
	} 1 .. 2;
}

done_testing();
