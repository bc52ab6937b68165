# Every limit of the gateway, hit over real connections: the right status, when to
# come again where that helps, a counter, and a gateway that serves on.
#
# sanitized: yes
use strict;
use warnings;

use CCProxy;
use IO::Compress::Gzip qw(gzip);
use IO::Select;
use IO::Socket::INET;
use JSON::PP;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);

my $node = CCProxy::cluster('gateway_limits');
my $now = time;
my $serial = 0;
my $gateway;

sub event { return { request_id => 'limit-' . ++$serial, timestamp => $now, model => 'gpt-4', @_ } }
sub start { $gateway->stop if $gateway; $gateway = CCProxy->start(node => $node, args => [@_]) }

sub metric
{
	my ($name) = @_;
	my ($value) = $gateway->get('/metrics/prometheus')->{content} =~ /^\Q$name\E (\S+)$/m;
	return $value // 'absent';
}
sub refused { return metric(qq(ccproxy_gateway_refused_total{reason="$_[0]"})) }

sub connection
{
	my $socket = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $gateway->{port}) or die "connect: $!";
	$socket->autoflush(1);
	return $socket;
}

# What comes until the peer closes or $enough matches.
sub answer
{
	my ($socket, $enough) = @_;
	my $got = '';
	my $select = IO::Select->new($socket);
	while ($select->can_read($CCProxy::WAIT_SECONDS))
	{
		last unless sysread($socket, $got, 65536, length $got);
		last if defined $enough && $got =~ $enough;
	}
	return $got;
}

sub head
{
	my (%headers) = @_;
	my %all = ('Host' => 'localhost', 'Content-Type' => 'application/json', %headers);
	return "POST /metrics/api/events HTTP/1.1\r\n" . join('', map { "$_: $all{$_}\r\n" } sort keys %all) . "\r\n";
}
sub raw_post { my ($body) = @_; return head('Content-Length' => length $body) . $body }

local $SIG{PIPE} = 'IGNORE';

# ------------------------------------------------------------------ sizes

start('--max-body-bytes', 3_000_000, '--max-event-bytes', 1000, '--max-depth', 5, '--max-events-per-request', 3, '--max-gzip-ratio', 20,
	'--max-header-bytes', 8192, '--max-event-fields', 6, '--max-listed-errors', 1);
is(refused('too_large'), 0, 'nothing was too large so far');
like(answer(do { my $s = connection(); print $s head('Content-Length' => 3_000_001); $s }), qr{^HTTP/1.1 413 .*max_body_bytes}s, 'max_body_bytes, announced');
is(refused('too_large'), 1, '... counted');
my $chunk = sprintf("%x\r\n%s\r\n", 1_000_000, ' ' x 1_000_000);
like(answer(do { my $s = connection(); print $s head('Transfer-Encoding' => 'chunked') . $chunk x 4 . "0\r\n\r\n"; $s }), qr{^HTTP/1.1 413 }, 'max_body_bytes, sent');
is($gateway->post([ map { event() } 1 .. 4 ])->{status}, 413, 'max_events_per_request');
is(refused('too_large'), 3, '... counted');
my $plain = '[' . ' ' x 2_000_000 . ']';
gzip(\$plain => \my $bomb);
my $r = $gateway->post($bomb, 'content-encoding' => 'gzip');
is($r->{status}, 413, 'max_gzip_ratio');
like($r->{json}{error}, qr/expands too much/, '... said so');
is(refused('too_large'), 4, '... counted');
$plain = encode_json([event()]) . ' ' x 900_000;
gzip(\$plain => \my $small);
is($gateway->post($small, 'content-encoding' => 'gzip')->{status}, 200, 'a megabyte may be well compressed');

$r = $gateway->post([ event(), event(user_agent => 'x' x 1000) ]);
is_deeply([ @{ $r->{json} }{qw(accepted rejected)}, $r->{json}{errors}[0]{reason} ], [ 1, 1, 'is too long' ], 'max_event_bytes');
is(metric('ccproxy_gateway_events_over_limit_total{limit="max_event_bytes"}'), 1, '... counted');
$r = $gateway->post([ event(metadata => { a => { b => { c => 1 } } }), event(metadata => { a => { b => { c => { d => { e => 1 } } } } }) ]);
is_deeply([ @{ $r->{json} }{qw(accepted rejected)} ], [ 1, 1 ], 'max_depth');
is_deeply($r->{json}{errors}, [ { index => 1, field => 'metadata', reason => 'nested deeper than allowed' } ], '... said so');
is(metric('ccproxy_gateway_events_over_limit_total{limit="max_depth"}'), 1, '... counted');
$r = $gateway->post([ event(a => 1, b => 1, c => 1), event(a => 1, b => 1, c => 1, d => 1) ]);
is_deeply([ @{ $r->{json} }{qw(accepted rejected)}, $r->{json}{errors}[0]{reason} ], [ 1, 1, 'has too many fields' ], 'max_event_fields');
is(metric('ccproxy_gateway_events_over_limit_total{limit="max_event_fields"}'), 1, '... counted');
is(metric('ccproxy_gateway_errors_unlisted_total'), 0, 'every error was listed so far');
$r = $gateway->post([ event(status_code => 1), event(), event(status_code => 2) ]);
is_deeply([ @{ $r->{json} }{qw(accepted rejected)}, scalar @{ $r->{json}{errors} } ], [ 1, 2, 1 ], 'max_listed_errors');
is(metric('ccproxy_gateway_errors_unlisted_total'), 1, '... the others are counted');
like(answer(do { my $s = connection(); print $s "GET /livez HTTP/1.1\r\nHost: localhost\r\nX-Long: " . 'x' x 20_000 . "\r\n\r\n"; $s }),
	qr{^(HTTP/1.1 431 |\z)}, 'max_header_bytes');
cmp_ok(refused('header'), '>=', 1, '... counted');

# ----------------------------------------------------------- rate of a client

start('--max-requests-per-second', 5);
my @statuses = map { $gateway->post(event()) } 1 .. 30;
my ($limited) = grep { $_->{status} == 429 } @statuses;
ok($limited, 'max_requests_per_second');
is($limited->{headers}{'retry-after'}, 1, '... and when to come again');
cmp_ok(scalar(grep { $_->{status} == 200 } @statuses), '>=', 5, 'as many as allowed are served');
is(scalar(grep { $_->{status} != 200 && $_->{status} != 429 } @statuses), 0, 'there is no third way');
is($gateway->get('/livez')->{status}, 200, 'health is not limited');
CCProxy::wait_until('the bucket to fill', sub { sleep 1; $gateway->post(event())->{status} == 200 });
CCProxy::wait_until('the counter', sub { sleep 0.5; refused('rate') =~ /^[1-9]/ });
ok(1, 'it passes, and is counted');

# ------------------------------------------------------------- connections

start('--max-connections', 3);
$gateway->{client} = undef;
{
	my @sockets = map { connection() } 1 .. 3;
	print $_ "GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n" for @sockets;
	like(answer($_, qr/live/), qr{^HTTP/1.1 200 }, 'a connection within max_connections') for @sockets;
	my $waiting = connection();
	print $waiting "GET /metrics/prometheus HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
	ok(!IO::Select->new($waiting)->can_read(0.5), 'one more waits');
	close $sockets[0];
	my $page = answer($waiting);
	like($page, qr{^HTTP/1.1 200 }, '... until one ends');
	like($page, qr/^ccproxy_gateway_connection_limit_reached_total [1-9]/m, '... counted');
	$gateway->wait_for_log(qr/event=connection_limit_reached max_connections=3/);
}

# --------------------------------------------------------------- slow clients

start('--header-timeout-s', '700ms', '--body-timeout-s', '900ms');
{
	# a byte now and then: an idle timeout alone would never end it
	my ($header, $body) = (connection(), connection());
	print $header "GET /livez HTTP/1.1\r\nHost: localhost\r\nX-Slow: ";
	print $body head('Content-Length' => 100_000) . '[';
	my $until = time + $CCProxy::WAIT_SECONDS;
	my %open = (header => $header, body => $body);
	while (%open && time < $until)
	{
		for my $name (keys %open)
		{
			syswrite($open{$name}, 'x');
			delete $open{$name} if IO::Select->new($open{$name})->can_read(0.1) && !sysread($open{$name}, my $ignored, 1000);
		}
	}
	is_deeply([ keys %open ], [], 'slow headers and slow bodies are cut off');
	is(metric('ccproxy_gateway_timeouts_total{phase="header"}'), 1, '... counted');
	is(metric('ccproxy_gateway_timeouts_total{phase="body"}'), 1, '... both');
}

# ------------------------------------------------------------ memory and queue

start('--max-body-bytes', '1MiB', '--inflight-bytes', '1MiB');
{
	my ($holder, $r);
	# whoever of the two comes second is refused, which the holder would be told only
	# at its body's end: until it has been the first, another tries
	CCProxy::wait_until('the memory to be held', sub {
		$holder = connection();
		print $holder head('Content-Length' => 700_000) . ' ' x 600_000;
		sleep 0.2;
		$r = $gateway->post('[' . ' ' x 400_000 . ']');
		return $r->{status} == 503;
	});
	is($r->{headers}{'retry-after'}, 1, 'inflight_bytes: 503, and when to come again');
	cmp_ok(refused('full'), '>=', 1, '... counted');
	print $holder ' ' x 99_998 . '[]';
	like(answer($holder, qr/durable/), qr{^HTTP/1.1 200 }, 'the one that held it is served');
	is($gateway->post('[' . ' ' x 400_000 . ']')->{status}, 200, 'then the other');
}

start('--queue-requests', 1, '--metrics-flush-interval', '60s', '--request-deadline-s', 60, '--read-connections', 1, '--read-queue', 1);
{
	my $locker = $node->background_psql('metrics');
	$locker->query_safe('BEGIN; LOCK TABLE ccproxy.request_log IN ACCESS EXCLUSIVE MODE');
	my @posts;
	my @held = map { encode_json([event()]) } 1 .. 2;
	for my $n (0, 1)
	{
		push @posts, connection();
		print { $posts[$n] } raw_post($held[$n]);
		CCProxy::wait_until('a post to wait', sub { $gateway->get('/readyz')->{json}{waiting_requests} == $n + 1 });
		CCProxy::wait_until('the first to be a batch', sub {
			$node->safe_psql('metrics', q{SELECT count(*) FROM pg_stat_activity WHERE application_name = 'ccproxy-gateway' AND wait_event_type = 'Lock'}) })
			if $n == 0;
	}
	my $r = $gateway->post(event());
	is($r->{status}, 503, 'queue_requests: 503');
	like($r->{headers}{'retry-after'}, qr/^[1-9]/, '... and when to come again');

	# a client that goes away while it waits, and one that has more to say
	my $gone = shift @posts;
	close $gone;
	print { $posts[0] } raw_post(encode_json([ event() ]));

	my @reads = map { my $s = connection(); print $s "GET /metrics/api/stats?user=u$_ HTTP/1.1\r\nHost: localhost\r\n\r\n"; sleep 0.1; $s } 1 .. 3;
	my ($busy) = IO::Select->new(@reads)->can_read($CCProxy::WAIT_SECONDS);
	like(answer($busy, qr/\}/), qr{^HTTP/1.1 503 .*Retry-After}s, 'read_queue: 503, and when to come again');

	$locker->query_safe('COMMIT');
	$locker->quit;
	my $got = answer($posts[0], qr/durable.*durable/s);
	is(() = $got =~ m{HTTP/1.1 200 .*?"accepted": 1}gs, 2, 'what waited is stored, and what was sent behind it');
	cmp_ok(refused('full'), '>=', 1, 'the refusal was counted');
	CCProxy::wait_until('all events', sub {
		$node->safe_psql('metrics', q{SELECT count(*) FROM ccproxy.requests WHERE request_id IN ('} . join("','", map { decode_json($_)->[0]{request_id} } @held) . q{')}) == 2 });
	ok(1, 'also that of the client that went away');
}

# ------------------------------------------------------------------ nonsense

for my $bytes ("\0" x 100, "\x16\x03\x01\x02\x00\x01", "GET\r\n\r\n", "POST /metrics/api/events HTTP/9.9\r\n\r\n", "GET / HTTP/1.1\nHost: localhost\n\n",
	head('Transfer-Encoding' => 'chunked') . "ffffffffffffffffff\r\nx", head('Transfer-Encoding' => 'chunked') . "-1\r\nx", head('Content-Length' => '-5'),
	head('Content-Length' => '99999999999999999999'), head('Content-Length' => 'ten'))
{
	my $socket = connection();
	print $socket $bytes;
	shutdown($socket, 1);
	unlike(answer($socket), qr{^HTTP/1.1 (?:2|500)}, 'refused: ' . ($bytes =~ s/[^ -~]/./gr) =~ s/^(.{40}).*/$1/r);
}
is($gateway->post(event())->{status}, 200, 'and nobody is harmed');
is($gateway->stop, 0, 'a clean end');

done_testing();
