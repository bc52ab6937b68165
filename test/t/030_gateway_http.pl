# The gateway as an HTTP server: settings, routes, status codes, headers,
# tokens, limits, many connections, a drain, and a real Prometheus.
#
# sanitized: yes
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use CCProxy;
use IO::Compress::Gzip qw(gzip);
use IO::Select;
use IO::Socket::INET;
use JSON::PP;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);

my $CONNECTIONS = 512;
my $ROUNDS = 4;

my $node = CCProxy::cluster('gateway_http');
my $dir = PostgreSQL::Test::Utils::tempdir_short();
my $now = time;

sub file
{
	my ($name, $content) = @_;
	my $path = "$dir/$name";
	PostgreSQL::Test::Utils::append_to_file($path, $content);
	return $path;
}

my $serial = 0;
sub event
{
	my (%more) = @_;
	return { request_id => 'http-' . ++$serial, timestamp => $now, model => 'gpt-4', %more };
}

# Sends bytes as they are on a connection of its own; returns what comes back
# until the peer closes, or until $enough matches.
sub raw
{
	my ($gateway, $bytes, $enough) = @_;
	my $socket = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $gateway->{port}) or die "connect: $!";
	local $SIG{PIPE} = 'IGNORE';
	$socket->autoflush(1);
	print $socket $bytes;
	my $got = '';
	my $select = IO::Select->new($socket);
	while ($select->can_read($CCProxy::WAIT_SECONDS))
	{
		last unless sysread($socket, $got, 65536, length $got);
		last if defined $enough && $got =~ $enough;
	}
	return $got;
}

sub raw_post
{
	my ($body, %headers) = @_;
	my %all = ('Host' => 'localhost', 'Content-Type' => 'application/json', 'Content-Length' => length $body, %headers);
	return "POST /metrics/api/events HTTP/1.1\r\n" . join('', map { "$_: $all{$_}\r\n" } sort keys %all) . "\r\n" . $body;
}

# ------------------------------------------------------------- settings

{
	my $config = file('settings', "# a comment\nmetrics_db_url = postgres://u:sekret\@h/db\nmetrics_batch_size = 11\nlog_level = debug\n");
	my ($rc, $out, $err) = CCProxy::run_gateway([ "--config=$config", '--print-config' ]);
	is($rc, 0, '--print-config');
	like($out, qr/^metrics_batch_size = 11\t# file$/m, 'a value from the file');
	unlike($out, qr/sekret/, 'without the password');
	like($out, qr/^listen = 127\.0\.0\.1:8787\t# default$/m, 'a default');
	($rc, $out) = CCProxy::run_gateway([ "--config=$config", '--print-config' ], CCPROXY_METRICS_BATCH_SIZE => 12);
	like($out, qr/^metrics_batch_size = 12\t# environment$/m, 'the environment beats the file');
	($rc, $out) = CCProxy::run_gateway([ "--config=$config", '--print-config', '--metrics-batch-size=13' ], CCPROXY_METRICS_BATCH_SIZE => 12);
	like($out, qr/^metrics_batch_size = 13\t# flag$/m, 'the flag beats the environment');
	($rc, $out, $err) = CCProxy::run_gateway([ "--config=$config", '--check-config' ]);
	is("$rc $out", "0 settings are valid\n", '--check-config');
	($rc, $out, $err) = CCProxy::run_gateway([ '--metrics-db-url=x=', '--check-config' ]);
	isnt($rc, 0, '--check-config refuses');
	is(() = $err =~ /\n/g, 1, 'in one line');
	($rc, $out, $err) = CCProxy::run_gateway([ '--metrics-db-url=postgres://h/d', '--no-such-thing=1' ]);
	like($err, qr/unknown flag "--no-such-thing"/, 'an unknown flag is an error');
	($rc, $out, $err) = CCProxy::run_gateway([ '--metrics-db-url=postgres://h/d', '--listen=0.0.0.0:0' ]);
	isnt($rc, 0, 'no listening beyond loopback without tokens');
	like($err, qr/beyond loopback/, 'and it says so');
	($rc, $out, $err) = CCProxy::run_gateway([ '--metrics-db-url=postgres://h/d', '--metrics-storage=sqlite' ]);
	like($err, qr/choose one/, 'settings that contradict each other');
	($rc, $out) = CCProxy::run_gateway(['--help']);
	like($out, qr/--metrics-db-url/, '--help');
	($rc, $out) = CCProxy::run_gateway(['--version']);
	like($out, qr/^ccproxy-gateway \d+\.\d+\.\d+$/m, '--version');
}

# --------------------------------------------------------------- routes

my $gateway = CCProxy->start(node => $node);
{
	my ($rc, $out, $err) = CCProxy::run_gateway([ '--metrics-db-url', $node->connstr('metrics'), '--listen', "127.0.0.1:$gateway->{port}" ]);
	isnt($rc, 0, 'a port in use');
	like($err, qr/could not listen on .*in use/, 'is one clear line');
}

my $r = $gateway->get('/livez');
is($r->{status}, 200, '/livez');
$r = $gateway->get('/readyz');
is($r->{status}, 200, '/readyz');
ok($r->{json}{ready}, 'which says so');
like($r->{headers}{'x-request-id'}, qr/^\S+$/, 'x-request-id is made');
like($r->{headers}{'x-response-time-ms'}, qr/^\d+\.\d+$/, 'x-response-time-ms');
is($gateway->get('/livez', 'x-request-id' => 'mine-1')->{headers}{'x-request-id'}, 'mine-1', 'x-request-id is echoed');
isnt($gateway->get('/livez', 'x-request-id' => 'a b"c')->{headers}{'x-request-id'}, 'a b"c', 'unless it is odd');

$r = $gateway->post(event(request_id => 'one', user_id => 'ann', endpoint_type => 'openai', method => 'POST', status_code => 200,
	response_time_ms => 120, input_tokens => 1000, output_tokens => 500));
is($r->{status}, 200, 'one event');
is_deeply([ @{ $r->{json} }{qw(accepted duplicates rejected)} ], [ 1, 0, 0 ], 'accepted');
ok($r->{json}{stored} && $r->{json}{durable}, 'stored and durable');
is($node->safe_psql('metrics', q{SELECT count(*) FROM ccproxy.requests WHERE request_id = 'one'}), '1', 'and really there');

$r = $gateway->post([ event(), event(model => 5), event(bogus => 1), { model => 'no id', timestamp => $now } ]);
is($r->{status}, 200, 'good and bad ones together');
is_deeply([ @{ $r->{json} }{qw(accepted duplicates rejected)} ], [ 3, 0, 1 ], 'are told apart');
is($r->{json}{errors}[0]{index}, 1, 'by index');
is($r->{json}{errors}[0]{field}, 'model', 'and field');
ok($r->{json}{errors}[0]{reason}, 'and reason');
is_deeply($r->{json}{ignored_fields}, ['bogus'], 'unknown fields are named');
ok($r->{json}{request_ids}{3}, 'a made id is told');
$r = $gateway->post(join("\n", map { encode_json(event(request_id => "nd$_")) } 1 .. 3) . "\n", 'content-type' => 'application/x-ndjson');
is($r->{json}{accepted}, 3, 'NDJSON');

is($gateway->post([ { model => 5 } ])->{status}, 400, 'nothing but bad events is 400');
is($gateway->post('[]')->{status}, 200, 'no events at all is fine');
is($gateway->post('')->{status}, 400, 'an empty body is not');
is($gateway->post('{"a":')->{status}, 400, 'nor is what is no JSON');
is($gateway->post('{}', 'content-type' => 'text/plain')->{status}, 415, 'a form a browser can send across origins');
is($gateway->post('{}', 'content-encoding' => 'br')->{status}, 415, 'an unknown encoding');
is($gateway->get('/nowhere')->{status}, 404, 'nothing there');
$r = $gateway->get('/metrics/api/events');
is($r->{status}, 405, 'the wrong method');
is($r->{headers}{allow}, 'POST', 'names the right one');
is($gateway->request('DELETE', '/metrics/api/stats')->{headers}{allow}, 'GET, HEAD', 'on the other routes too');
$r = $gateway->request('HEAD', '/livez');
is("$r->{status} $r->{content}", '200 ', 'HEAD');

# reading
$r = $gateway->get('/metrics/api/requests/one');
is($r->{status}, 200, 'a request by id');
is($r->{json}{user_id}, 'ann', 'is the one');
cmp_ok($r->{json}{total_cost}, '==', 0.06, 'with its cost');
is($gateway->get('/metrics/api/requests/none')->{status}, 404, 'one that is not there');
is($gateway->get('/metrics/api/requests/%27%20OR%201=1')->{status}, 404, 'an injection try is just an id');
is($gateway->get('/metrics/api/requests/%00')->{status}, 400, 'a NUL is refused');
$r = $gateway->get('/metrics/api/stats?period=1h');
is($r->{status}, 200, 'stats');
like($r->{content}, qr/"stats": \[\n\{"group_key":.*"total_requests":.*"error_rate":/s, 'with the columns in their order');
is($r->{json}{stats}[0]{total_requests}, $node->safe_psql('metrics', 'SELECT count(*) FROM ccproxy.requests'), 'count what SQL counts');
is_deeply([ sort keys %{ $r->{json} } ], [qw(as_of end_time filters group_by period start_time stats time_zone)], 'in the form promised');
$r = $gateway->get('/metrics/api/stats?period=24h&group_by=user&user=ann&model=gpt-4&model=other&time_zone=Europe/Berlin');
is(scalar @{ $r->{json}{stats} }, 1, 'one group');
is($r->{json}{stats}[0]{group_key}, 'ann', 'of the user asked for');
is_deeply($r->{json}{filters}, { model => [ 'gpt-4', 'other' ], user => ['ann'] }, 'filters are told');
for my $group (qw(hour day model user endpoint))
{
	is($gateway->get("/metrics/api/stats?group_by=$group")->{status}, 200, "group_by=$group");
}
is($gateway->get("/metrics/api/stats?model=%27;DROP%20TABLE%20x;--")->{json}{stats}[0]{total_requests}, 0, 'an injection try is just a model');
for (['period=2h', 'period', qr/1h, 6h, 24h, 7d, 30d/], ['group_by=x', 'group_by', qr/hour, day, model, user, endpoint/],
	['nonsense=1', 'nonsense', qr/group_by/], ['status=abc', 'status', qr/599/], ['from=x', 'from', qr/RFC 3339/],
	['time_zone=No/Where', 'time_zone', qr/Berlin/])
{
	my ($query, $parameter, $allowed) = @$_;
	$r = $gateway->get("/metrics/api/stats?$query");
	is($r->{status}, 400, "$query is 400");
	is($r->{json}{parameter}, $parameter, '... names the parameter');
	like($r->{json}{allowed}, $allowed, '... and what is allowed');
}

# the dashboard
$r = $gateway->get('/metrics/dashboard');
is($r->{status}, 200, 'the dashboard');
like($r->{headers}{'content-security-policy'}, qr/default-src 'none'; script-src 'self'/, 'with a strict policy');
unlike($r->{content}, qr/<script(?![^>]*\bsrc=)|\son\w+=|style=/, 'and nothing inline');
my @assets = map { "/metrics/$_" } $r->{content} =~ m{(?:src|href)="(static/[^"]+)"}g;
is(scalar(@assets), 12, 'its files');
for my $asset (@assets)
{
	my $file = $gateway->get($asset);
	is($file->{status}, 200, $asset);
	is($gateway->get($asset, 'if-none-match' => $file->{headers}{etag})->{status}, 304, '... not sent twice');
	like($file->{headers}{'cache-control'}, qr/immutable/, '... and kept for good');
	my $name = $asset =~ s{.*/}{}r;
	for my $other ("/metrics/static/$name", "/metrics/static/0123456789abcdef/$name")
	{
		my $plain = $gateway->get($other);
		is($plain->{content}, $file->{content}, "... the same as $other");
		is($plain->{headers}{'cache-control'}, 'no-cache', '... which is asked for again');
	}
}
is($gateway->get("/metrics/static/0123456789abcdef/0123456789abcdef/app.js")->{status}, 404, 'no folders in folders');
is($gateway->get('/metrics/static/../settings.c')->{status}, 404, 'nothing else is served');

# who asks
like(raw($gateway, "GET /livez HTTP/1.1\r\nHost: evil.example\r\n\r\n", qr/\}/), qr{^HTTP/1.1 403 }, 'a foreign Host');
for ([ 'two Hosts', "Host: evil.example" ], [ 'two lengths', "Content-Length: 2\r\nContent-Length: 2" ],
	[ 'a length beside chunks', "Content-Length: 2\r\nTransfer-Encoding: chunked" ], [ 'an unknown encoding', "Transfer-Encoding: gzip" ])
{
	my $got = raw($gateway, "POST /metrics/api/events HTTP/1.1\r\nHost: localhost\r\n$_->[1]\r\n\r\n[]", qr/\}/);
	like($got, qr{^HTTP/1.1 400 .*may each be given once}s, "$_->[0]: refused");
	like($got, qr/\r\nConnection: close\r\n/, 'and the connection ends');
}
is($gateway->post(event(), origin => 'http://evil.example')->{status}, 403, 'a foreign Origin');
is($gateway->post(event(), origin => "http://127.0.0.1:$gateway->{port}")->{status}, 200, 'its own Origin');

# ------------------------------------------------- bodies and connections

{
	my $plain = encode_json(event());
	gzip(\$plain => \my $packed);
	is($gateway->post($packed, 'content-encoding' => 'gzip')->{json}{accepted}, 1, 'gzip');
	is($gateway->post(substr($packed, 0, -9), 'content-encoding' => 'gzip')->{status}, 400, 'gzip cut short');
	my $bomb = '[' . ' ' x 30_000_000 . ']';
	gzip(\$bomb => \my $small);
	cmp_ok(length $small, '<', 100_000, 'a small bomb');
	is($gateway->post($small, 'content-encoding' => 'gzip')->{status}, 413, 'does not go off');

	like(raw($gateway, raw_post('', 'Content-Length' => 999_999_999, Expect => '100-continue')), qr{^HTTP/1.1 413 }, 'too large, said at once');
	like(raw($gateway, raw_post('', 'Content-Length' => 999_999_999)), qr{\r\nConnection: close\r\n}, 'and the connection ends');
	my $got = raw($gateway, raw_post('', 'Content-Length' => length $plain, Expect => '100-continue') . $plain, qr/durable/);
	like($got, qr{^HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 }, 'Expect: 100-continue');
	my $chunks = join('', map { sprintf("%x\r\n%s\r\n", length, $_) } $plain =~ /(.{1,7})/gs) . "0\r\n\r\n";
	my $head = "POST /metrics/api/events HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n";
	like(raw($gateway, $head . $chunks, qr/durable/), qr{^HTTP/1.1 200 .*"duplicates": 1}s, 'a chunked body');
	my $megabyte = sprintf("%x\r\n%s\r\n", 1 << 20, 'x' x (1 << 20));
	like(raw($gateway, $head . $megabyte x 22 . "0\r\n\r\n", qr/\}/), qr{^HTTP/1.1 413 }, 'a chunked body too large');
	$got = raw($gateway, raw_post($plain) x 5, qr/(durable.*){5}/s);
	is(() = $got =~ m{HTTP/1.1 200 }g, 5, 'five requests in one packet');

	my $socket = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $gateway->{port});
	print $socket raw_post($plain);
	$socket->flush;
	shutdown($socket, 1);
	like(do { local $/; <$socket> }, qr{^HTTP/1.1 200 }, 'a client that has finished sending still gets its answer');
}

# Every connection posts, and posts again, all of them at the same time.
sub many_connections
{
	my ($n, $rounds) = @_;
	my (%left, %buffer);
	my $select = IO::Select->new;
	my $answers = 0;
	for my $i (1 .. $n)
	{
		my $socket = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $gateway->{port}) or return "connection $i: $!";
		$select->add($socket);
		$left{$socket} = $rounds;
		$buffer{$socket} = '';
	}
	for my $socket ($select->handles) { syswrite($socket, raw_post(encode_json(event()))); }
	while ($select->count)
	{
		my @ready = $select->can_read($CCProxy::WAIT_SECONDS) or return "stalled after $answers answers";
		for my $socket (@ready)
		{
			return 'a connection was closed' unless sysread($socket, $buffer{$socket}, 65536, length $buffer{$socket});
			next unless $buffer{$socket} =~ /\}\n\z/;
			return "an answer was $buffer{$socket}" unless $buffer{$socket} =~ m{^HTTP/1.1 200 .*"accepted": 1,}s;
			$answers++;
			$buffer{$socket} = '';
			if (--$left{$socket}) { syswrite($socket, raw_post(encode_json(event()))); }
			else { $select->remove($socket); }
		}
	}
	return $answers;
}
my $before = $node->safe_psql('metrics', 'SELECT count(*) FROM ccproxy.requests');
is(many_connections($_, $ROUNDS), $_ * $ROUNDS, "$_ keep-alive connections") for 1, 64, 256, $CONNECTIONS;
is($node->safe_psql('metrics', 'SELECT count(*) FROM ccproxy.requests') - $before, (1 + 64 + 256 + $CONNECTIONS) * $ROUNDS,
	'and every event is there');

# ----------------------------------------------------------- Prometheus

$gateway->post(event(user_id => "a\"b\\c\nd", model => "m\"\\\n{}", endpoint_type => '', status_code => 500, response_time_ms => 5));
1 while $node->safe_psql('metrics', 'SELECT ccproxy.refresh()') > 0;
$r = $gateway->get('/metrics/prometheus');
is($r->{status}, 200, 'the exposition');
like($r->{headers}{'content-type'}, qr{^text/plain; version=0\.0\.4}, 'its type');
for my $family (qw(ccproxy_requests_total ccproxy_response_time_seconds ccproxy_tokens_total ccproxy_cost_dollars_total ccproxy_errors_total))
{
	like($r->{content}, qr/^# TYPE $family (counter|histogram)$/m, $family);
}
is(eval { run_promtool($r->{content}) }, '', 'promtool check metrics is silent') or diag($@);

sub run_promtool
{
	my ($text) = @_;
	my $said = '';
	IPC::Run::run([ 'promtool', 'check', 'metrics' ], '<', \$text, '>&', \$said) or $said .= "exit $?";
	return $said;
}

{
	my $port = PostgreSQL::Test::Cluster::get_free_port();
	my $config = file('prometheus.yml', "global: {scrape_interval: 1s}\nscrape_configs:\n- job_name: ccproxy\n  metrics_path: /metrics/prometheus\n"
		. "  static_configs: [{targets: ['127.0.0.1:$gateway->{port}']}]\n");
	my $log = "$dir/prometheus.log";
	my $prometheus = IPC::Run::start([ 'prometheus', "--config.file=$config", "--storage.tsdb.path=$dir/tsdb",
		"--web.listen-address=127.0.0.1:$port" ], '<', \undef, '>', $log, '2>', $log);
	my $client = HTTP::Tiny->new(timeout => 10);
	my $query = sub {
		my $answer = $client->post_form("http://127.0.0.1:$port/api/v1/query", { query => $_[0] });
		my $json = eval { decode_json($answer->{content}) } or return;
		return $json->{data}{result}[0]{value}[1];
	};
	eval { CCProxy::wait_until('Prometheus', sub { ($query->('up{job="ccproxy"}') // 0) == 1 && defined $query->('ccproxy_requests_total') }) };
	is($query->('up{job="ccproxy"}'), 1, 'a real Prometheus scrapes it') or diag(slurp_file($log));
	my $finished = $node->safe_psql('metrics', q{SELECT count(*) FROM ccproxy.requests WHERE state <> 'in_flight'});
	is($query->('sum(ccproxy_requests_total)'), $finished, 'and sums what SQL counts');
	is($query->('sum(ccproxy_response_time_seconds_bucket{le="+Inf"})'),
		$node->safe_psql('metrics', q{SELECT count(response_time_ms) FROM ccproxy.requests WHERE state <> 'in_flight'}), 'histograms too');
	is($query->('ccproxy_cost_dollars_total{user_id="ann"}'), '0.06', 'and the cost by user');
	is($query->('ccproxy_errors_total{error_type="http_500",endpoint_type="unknown"}'), 1, 'and the errors');
	is($query->('count(ccproxy_cost_dollars_total{user_id="anonymous"})'), undef, 'no series without a cost');
	$prometheus->signal('TERM');
	$prometheus->finish;
}

# a scrape storm while nothing can be read: one query, bounded time
{
	my $locker = $node->background_psql('metrics');
	$locker->query_safe('BEGIN; LOCK TABLE ccproxy.counter_total IN ACCESS EXCLUSIVE MODE');
	# what was kept of the last scrape does not hold any more
	$gateway->post(event());
	CCProxy::wait_until('nothing to be kept', sub {
		$gateway->get('/metrics/prometheus', 'cache-control' => undef, 'x-prometheus-scrape-timeout-seconds' => 0.1)->{content}
			=~ /^ccproxy_gateway_traffic_up 0$/m });
	my @scrapes = map {
		my $socket = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $gateway->{port});
		syswrite($socket, "GET /metrics/prometheus HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
			. "X-Prometheus-Scrape-Timeout-Seconds: 2\r\n\r\n");
		$socket;
	} 1 .. 40;
	CCProxy::wait_until('the scrapes to wait', sub { $gateway->get('/readyz')->{json}{waiting_requests} == 40 });
	is($node->safe_psql('metrics', q{SELECT count(*) FROM pg_stat_activity WHERE application_name = 'ccproxy-gateway-read' AND wait_event_type = 'Lock'}),
		'1', 'forty scrapes are one query');
	my @pages = map { local $/; scalar <$_> } @scrapes;
	is(scalar(grep { m{^HTTP/1.1 200 .*^ccproxy_gateway_traffic_up 0$}ms } @pages), 40,
		'all are answered within the time they said, though the table is locked');
	$locker->query_safe('COMMIT');
	$locker->quit;
	CCProxy::wait_until('scrapes to be whole again', sub { $gateway->get('/metrics/prometheus')->{content} =~ /^ccproxy_gateway_traffic_up 1$/m });
}

# ------------------------------------------------- without the database

$node->stop('immediate');
CCProxy::wait_until('reads to fail', sub { $gateway->get('/metrics/api/stats')->{status} == 503 });
$r = $gateway->get('/metrics/api/stats');
cmp_ok($r->{headers}{'retry-after'}, '>=', 1, 'without the database reads say when to come again');
is($gateway->get('/livez')->{status}, 200, 'it is alive');
$r = $gateway->get('/metrics/prometheus');
is($r->{status}, 200, 'its own metrics are served');
like($r->{content}, qr/^ccproxy_gateway_traffic_up 0$/m, 'and say that the others are missing');
$node->start;
$gateway->wait_ready;
CCProxy::wait_until('reads to work again', sub { $gateway->get('/metrics/api/stats')->{status} == 200 });
is($gateway->post(event())->{status}, 200, 'everything works again');
is(() = $gateway->log_text =~ /event=read_connection_lost/g, 1, 'the loss is logged once');
is(() = $gateway->log_text =~ /event=read_connection_recovered/g, 1, 'and the recovery');

# ---------------------------------------------------------------- drain

is($gateway->stop, 0, 'SIGTERM ends it well');
like($gateway->log_text, qr/event=draining.*event=stopped/s, 'after draining');

{
	# events that cannot be committed at the moment: a table lock
	$gateway = CCProxy->start(node => $node, args => [ '--shutdown-deadline-s', '60', '--metrics-flush-interval', '60', '--request-deadline-s', '60' ]);
	my $locker = $node->background_psql('metrics');
	$locker->query_safe('BEGIN; LOCK TABLE ccproxy.request_log IN ACCESS EXCLUSIVE MODE');
	my @sockets = map { IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $gateway->{port}) } 1 .. 20;
	my $first = $serial + 1;
	syswrite($_, raw_post(encode_json(event()))) for @sockets;
	CCProxy::wait_until('the requests to wait',
		sub { $gateway->get('/readyz')->{json}{waiting_requests} == @sockets });
	kill('TERM', $gateway->{pid});
	$gateway->wait_for_log(qr/event=draining/);
	my $refused = $gateway->post(event());
	is($refused->{status}, 503, 'a draining gateway takes nothing new');
	is($refused->{headers}{connection}, 'close', 'and closes');
	ok($refused->{headers}{'retry-after'}, 'and says when to try again');
	$locker->query_safe('COMMIT');
	$locker->quit;
	my @answers = map { local $/; scalar(<$_>) // '' } @sockets;
	is(scalar(grep { m{^HTTP/1.1 200 .*"accepted": 1,}s } @answers), scalar @sockets, 'what it had taken is stored and answered')
		or diag($answers[0], $gateway->log_text);
	CCProxy::wait_until('its end', sub { !$gateway->alive });
	is($gateway->stop, 0, 'then it ends');
	is($node->safe_psql('metrics', "SELECT count(*) FROM ccproxy.requests WHERE request_id IN ("
		. join(',', map { "'http-$_'" } $first .. $first + $#sockets) . ")"), scalar @sockets, 'all of them are there');
}

# --------------------------------------------------------- tokens, limits

{
	my $ingest = file('ingest_tokens', "ingest-token-1\ningest-token-2\n");
	my $read = file('read_tokens', "read-token-1\n");
	$gateway = CCProxy->start(node => $node, listen => '0.0.0.0:0', args => [ '--ingest-token-file', $ingest, '--read-token-file', $read,
		'--max-body-bytes', '100000', '--max-event-bytes', '5000', '--max-events-per-request', '10', '--header-timeout-s', '500ms',
		'--body-timeout-s', '1', '--request-deadline-s', '1', '--prometheus-enabled', 'false' ]);
	$r = $gateway->post(event());
	is($r->{status}, 401, 'no token');
	like($r->{headers}{'www-authenticate'}, qr/^Bearer/, 'WWW-Authenticate');
	is($gateway->post(event(), authorization => 'Bearer ingest-token-0')->{status}, 401, 'a wrong token');
	is($gateway->post(event(), authorization => "Bearer ingest-token-$_")->{status}, 200, "ingest token $_") for 1, 2;
	is($gateway->post(event(), authorization => 'Bearer read-token-1')->{status}, 403, 'a read token cannot post');
	is($gateway->get('/metrics/api/stats', authorization => 'Bearer ingest-token-1')->{status}, 403, 'an ingest token cannot read');
	is($gateway->get($_)->{status}, 401, "$_ needs a token") for '/metrics/api/stats', '/metrics/api/requests/one';
	is($gateway->get($_)->{status}, 200, "$_ needs none") for '/livez', '/readyz', '/metrics/dashboard', '/metrics/static/app.js';
	is($gateway->get('/metrics/api/stats', authorization => 'Bearer read-token-1')->{status}, 200, 'a read token reads');
	is($gateway->get('/metrics/prometheus', authorization => 'Bearer read-token-1')->{status}, 404, 'what is disabled is not there');
	PostgreSQL::Test::Utils::append_to_file($read, "read-token-2\n");
	kill('HUP', $gateway->{pid});
	$gateway->wait_for_log(qr/event=reloaded/);
	is($gateway->get('/metrics/api/stats', authorization => 'Bearer read-token-2')->{status}, 200, 'SIGHUP reads the tokens again');

	$gateway->{token} = 'ingest-token-1';
	is($gateway->post([ map { event() } 1 .. 11 ])->{status}, 413, 'too many events');
	$r = $gateway->post([ event(), event(metadata => { x => 'x' x 6000 }) ]);
	is_deeply([ @{ $r->{json} }{qw(accepted rejected)} ], [ 1, 1 ], 'one event too large');
	is($gateway->post('[' . ' ' x 60_000 . ']' . ' ' x 60_000)->{status}, 413, 'a body too large');

	my $started = time;
	is(raw($gateway, "POST /metrics/api/ev"), '', 'a header that never ends is cut off');
	is(raw($gateway, raw_post('{', 'Content-Length' => 1000, Authorization => 'Bearer ingest-token-1')), '', 'so is a body');
	cmp_ok(time - $started, '<', 30, 'soon');

	my $locker = $node->background_psql('metrics');
	$locker->query_safe('BEGIN; LOCK TABLE ccproxy.request_log IN ACCESS EXCLUSIVE MODE');
	my $late = event();
	$r = $gateway->post($late);
	is($r->{status}, 503, 'what waits too long is answered 503');
	ok($r->{headers}{'retry-after'}, 'with Retry-After');
	$locker->query_safe('COMMIT');
	$locker->quit;
	CCProxy::wait_until('the event to be posted again', sub { $gateway->post($late)->{status} == 200 });
	is($node->safe_psql('metrics', "SELECT count(*) FROM ccproxy.requests WHERE request_id = '$late->{request_id}'"), '1',
		'and posting it again counts it once');
	is($gateway->stop, 0, 'it ends well');
}

{
	# reading is open, posting is not: what is open is so to the dashboard, not to any page
	my @tokens = ('--ingest-token-file', file('open_ingest', "ingest-token-1\n"), '--read-token-file', file('open_read', "read-token-1\n"));
	$gateway = CCProxy->start(node => $node, listen => '0.0.0.0:0', args => [ @tokens, '--dashboard-auth-required=false', '--allowed-hosts=dash.example' ]);
	my $read = sub { raw($gateway, "GET /metrics/api/stats HTTP/1.1\r\nHost: $_[0]\r\n" . ($_[1] // '') . "\r\n", qr/\}/) };
	like($read->($_), qr{^HTTP/1.1 200 }, "dashboard_auth_required=false, under $_")
		for "127.0.0.1:$gateway->{port}", 'localhost', 'dash.example', '10.9.8.7:80', '[fe80::1]';
	like($read->('evil.example'), qr{^HTTP/1.1 403 .*allowed_hosts}s, 'but not under a foreign name');
	like($read->('evil.example', "Authorization: Bearer read-token-1\r\n"), qr{^HTTP/1.1 200 }, '... unless with a token');
	is($gateway->post(event())->{status}, 401, 'and posting needs one');
	is($gateway->stop, 0, 'it ends well');
}

{
	$gateway = CCProxy->start(node => $node, args => [ '--metrics-enabled=false' ], ready => 0);
	$r = $gateway->post(event(request_id => 'not stored'));
	is($r->{status}, 200, 'metrics_enabled=false');
	ok(!$r->{json}{stored}, 'says that nothing is stored');
	is($node->safe_psql('metrics', q{SELECT count(*) FROM ccproxy.requests WHERE request_id = 'not stored'}), '0', 'and nothing is');
	kill('TERM', $gateway->{pid});
	$gateway->stop('TERM');
	ok(1, 'two signals end it anyway');
}

done_testing();
