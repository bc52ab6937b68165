# A gateway's life: what systemd hears of it, settings and certificates that
# change under way, and its end.
#
# sanitized: yes
use strict;
use warnings;

use CCProxy;
use IO::Select;
use IO::Socket::INET;
use IO::Socket::UNIX;
use PostgreSQL::Test::Utils;
use Socket;
use Test::More;
use Time::HiRes qw(sleep time);

my $node = CCProxy::cluster('gateway_lifecycle');
my $dir = PostgreSQL::Test::Utils::tempdir_short();
my $now = time;
my $serial = 0;

sub event { return { request_id => 'life-' . ++$serial, timestamp => $now, model => 'gpt-4', @_ } }

sub file
{
	my ($name, $content) = @_;
	open(my $f, '>', "$dir/$name") or die "$name: $!";
	print $f $content;
	close $f or die;
	return "$dir/$name";
}

# ----------------------------------------------------------- without a database

{
	my %nowhere = (PGHOST => '', PGDATABASE => '', PGSERVICE => '');
	my ($rc, $out, $err) = CCProxy::run_gateway([ '--print-config', '--max-depth=7' ], %nowhere);
	is($rc, 0, '--print-config needs no database');
	like($out, qr/^max_depth = 7\t# flag$/m, 'and shows every value and its origin');
	($rc, $out, $err) = CCProxy::run_gateway(['--check-config'], %nowhere);
	isnt($rc, 0, '--check-config does');
	like($err, qr/metrics_db_url is not set/, 'and says so');
}

# -------------------------------------------------------------- notifications

my $heard = IO::Socket::UNIX->new(Type => SOCK_DGRAM, Local => "$dir/notify") or die "socket: $!";
my $all_heard = '';

sub hear
{
	my ($pattern) = @_;
	my $until = time + $CCProxy::WAIT_SECONDS;
	while (time < $until)
	{
		return 1 if $all_heard =~ s/.*?$pattern//s;
		next unless IO::Select->new($heard)->can_read(0.5);
		recv($heard, my $message, 4096, 0);
		$all_heard .= "$message\n";
	}
	diag("heard: $all_heard");
	return 0;
}

my $tokens = file('tokens', "first-token\n");
my $config = file('config', "ingest_token_file = $tokens\nmax_events_per_request = 2\nlog_level = info\nworkers = 8\n");
my $gateway = CCProxy->start(node => $node, token => 'first-token', args => [ '--config', $config ],
	env => { NOTIFY_SOCKET => "$dir/notify", WATCHDOG_USEC => 400_000 });
ok(hear(qr/^READY=1\nSTATUS=listening on port $gateway->{port}\n/m), 'systemd hears that it is ready');
ok(hear(qr/^STATUS=ok, events go to: postgres\n/m), 'and how it is');
ok(hear(qr/^WATCHDOG=1\n.*^WATCHDOG=1\n/ms), 'and that it lives, again and again');

# ------------------------------------------------------------------ reloading

sub reloads { return scalar(() = $gateway->log_text =~ /event=reload(?:ed|_failed)/g) }
sub reload
{
	my $before = reloads();
	kill('HUP', $gateway->{pid});
	CCProxy::wait_until('the reload', sub {
		# as systemd does: or the socket fills up
		while (IO::Select->new($heard)->can_read(0)) { recv($heard, my $message, 4096, 0); $all_heard .= "$message\n" }
		return reloads() > $before;
	});
}

is($gateway->post([ map { event() } 1 .. 3 ])->{status}, 413, 'a limit from the file');
file('tokens', "first-token\nsecond-token\n");
file('config', "ingest_token_file = $tokens\nmax_events_per_request = 3\nlog_level = debug\nworkers = 9\nmetrics_batch_size = 77\n");
$all_heard = '';
reload();
ok(hear(qr/^RELOADING=1\nMONOTONIC_USEC=\d+\n.*^READY=1\n/ms), 'systemd hears of a reload');
is($gateway->post([ map { event() } 1 .. 3 ])->{status}, 200, 'the limit is another one now');
is($gateway->post(event(), authorization => 'Bearer second-token')->{status}, 200, 'and so are the tokens');
like($gateway->log_text, qr/event=restart_needed settings="metrics_batch_size, workers"/, 'what needs a restart is named');

my @kept = (
	[ 'an unknown setting', sub { file('config', "max_events_per_request = 9\nno_such_setting = 1\n") }, qr/unknown setting/ ],
	[ 'a value out of range', sub { file('config', "max_events_per_request = 9\nmax_depth = 0\n") }, qr/max_depth must be between/ ],
	[ 'settings that contradict', sub { file('config', "ingest_token_file = $tokens\nmax_events_per_request = 9\nmax_event_bytes = 1MiB\nmax_body_bytes = 1KiB\n") },
		qr/must not be larger/ ],
	[ 'no tokens', sub { file('tokens', "\n"); file('config', "ingest_token_file = $tokens\nmax_events_per_request = 9\n") }, qr/holds no token/ ],
	[ 'no file', sub { unlink $config }, qr/could not open/ ]);
my $failed = 0;
for (@kept)
{
	my ($what, $break, $reason) = @$_;
	$break->();
	reload();
	like(($gateway->log_text =~ /(event=reload_failed.*)/g)[-1], $reason, "$what: the reload is refused");
	is($gateway->post([ map { event() } 1 .. 4 ])->{status}, 413, '... the old limit holds');
	is($gateway->post(event(), authorization => 'Bearer second-token')->{status}, 200, '... and the old tokens');
	like($gateway->get('/metrics/prometheus')->{content}, qr/^ccproxy_gateway_reloads_total\{outcome="failed"\} @{[ ++$failed ]}$/m, '... which is counted');
}
$all_heard = '';
is($gateway->stop, 0, 'SIGTERM ends it');
ok(hear(qr/^STOPPING=1\n.*^EXTEND_TIMEOUT_USEC=[1-9]\d+\n/ms), 'which systemd hears, and how long it may take');

# ------------------------------------------------------------------------ TLS

sub certificate
{
	my ($name) = @_;
	PostgreSQL::Test::Utils::run_log([ 'openssl', 'req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', 2, '-subj',
		"/CN=$name", '-addext', 'subjectAltName=IP:127.0.0.1', '-keyout', "$dir/$name.key", '-out', "$dir/$name.crt" ]) or die 'openssl';
	return (slurp_file("$dir/$name.crt"), slurp_file("$dir/$name.key"));
}

sub curl
{
	my ($ca, @args) = @_;
	my ($out, $err) = ('', '');
	IPC::Run::run([ 'curl', '-sS', '--max-time', 30, '--cacert', $ca, @args ], '<', \undef, '>', \$out, '2>', \$err);
	return ($? >> 8, $out, $err);
}

{
	my ($old_crt, $old_key) = certificate('old');
	my ($new_crt, $new_key) = certificate('new');
	my ($rc, $out, $err) = CCProxy::run_gateway([ '--metrics-db-url=postgres://h/d', '--check-config', "--tls-cert-file=$dir/old.crt" ]);
	like($err, qr/belong together/, 'a certificate without its key');
	($rc, $out, $err) = CCProxy::run_gateway([ '--metrics-db-url=postgres://h/d', '--check-config', "--tls-cert-file=$dir/old.crt", "--tls-key-file=$dir/new.key" ]);
	isnt($rc, 0, 'with the key of another');
	like($err, qr/tls_cert_file and tls_key_file: /, 'is refused in one line');
	my ($crt, $key) = (file('tls.crt', $old_crt), file('tls.key', $old_key));
	$gateway = CCProxy->start(node => $node, args => [ '--tls-cert-file', $crt, '--tls-key-file', $key ], ready => 0);
	my $url = "https://127.0.0.1:$gateway->{port}";
	CCProxy::wait_until('readiness by HTTPS', sub { ($rc, $out, $err) = curl("$dir/old.crt", '-o', '/dev/null', '-w', '%{http_code}', "$url/readyz"); $out eq '200' });
	ok(1, 'HTTPS');
	my @posts = map { ('--next', '--cacert', "$dir/old.crt", '-sS', '-H', 'Content-Type: application/json', '-d',
		qq({"request_id":"tls-$_","timestamp":$now,"metadata":{"x":") . 'y' x ($_ * 300) . '"}}', "$url/metrics/api/events") } 1 .. 60;
	shift @posts;
	($rc, $out, $err) = curl("$dir/old.crt", '-v', @posts);
	is(() = $out =~ /"accepted": 1,/g, 60, 'sixty posts') or diag($err);
	is(() = $err =~ /SSL connection using TLSv1\.3/g, 1, 'over one connection, TLS 1.3');
	is($node->safe_psql('metrics', q{SELECT count(*) FROM ccproxy.requests WHERE request_id LIKE 'tls-%'}), '60', 'are there');
	($rc) = curl("$dir/old.crt", '--tls-max', '1.2', "$url/livez");
	is($rc, 0, 'TLS 1.2');
	($rc) = curl("$dir/old.crt", '--tls-max', '1.1', '--tlsv1.0', '--ciphers', 'DEFAULT@SECLEVEL=0', "$url/livez");
	isnt($rc, 0, 'but nothing older');
	my $plain = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $gateway->{port});
	print $plain "GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n";
	unlike(do { local $/; <$plain> } // '', qr/live/, 'nor without it');

	file('tls.crt', $new_crt);
	reload();
	like($gateway->log_text, qr/event=reload_failed reason="tls_cert_file and tls_key_file/, 'a new certificate without its key is refused');
	is((curl("$dir/old.crt", "$url/livez"))[0], 0, 'the old one is served');
	file('tls.key', $new_key);
	reload();
	is((curl("$dir/new.crt", "$url/livez"))[0], 0, 'with its key it is taken');
	isnt((curl("$dir/old.crt", "$url/livez"))[0], 0, 'and the old one is gone');
	is($gateway->stop, 0, 'a clean end');
}

{
	# settings that make no sense together are told, each time they are taken
	$gateway = CCProxy->start(node => $node, spool => "$dir/late.db", args => [ '--metrics-flush-interval', '5s', '--config', file('config', "request_deadline_s = 5\n") ]);
	like($gateway->log_text, qr/event=spool_too_late reason="metrics_flush_interval /, 'a spool that nobody would live to see');
	file('config', "request_deadline_s = 6\n");
	reload();
	file('config', "request_deadline_s = 4\n");
	reload();
	is(() = $gateway->log_text =~ /event=spool_too_late/g, 2, '... or would');
	is($gateway->stop, 0, 'a clean end');
}

# -------------------------------------------------------------------- the end

{
	# whoever asks is answered to the end: a client that is slow to send its body
	# keeps the gateway alive for a while after the store has closed
	$gateway = CCProxy->start(node => $node, args => [ '--shutdown-deadline-s', 1 ]);
	my $slow = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $gateway->{port});
	syswrite($slow, "POST /metrics/api/events HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n[");
	CCProxy::wait_until('the request', sub { $gateway->get('/readyz')->{status} == 200 });
	kill('TERM', $gateway->{pid});
	my @words;
	while ($gateway->alive)
	{
		my $r = $gateway->get('/readyz');
		push @words, "$r->{status} " . ($r->{json}{state} // '') if $r->{status} != 599;
		$gateway->get($_) for '/metrics/prometheus', '/metrics/api/health', '/metrics/api/budget/check?user=a';
		sleep 0.05;
	}
	is($gateway->{status}, 0, 'asked how it is until its end, it ends well') or diag($gateway->log_text);
	cmp_ok(scalar(grep { $_ eq '503 draining' } @words), '>', 20, '... and says that it drains') or diag("@words");
}

for my $twice (0, 1)
{
	$gateway = CCProxy->start(node => $node, args => [ '--shutdown-deadline-s', $twice ? 60 : 1, '--metrics-flush-interval', '60s' ]);
	my $locker = $node->background_psql('metrics');
	$locker->query_safe('BEGIN; LOCK TABLE ccproxy.request_log IN ACCESS EXCLUSIVE MODE');
	my $body = qq({"request_id":"end-$twice","timestamp":$now});
	my $socket = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $gateway->{port});
	syswrite($socket, "POST /metrics/api/events HTTP/1.1\r\nHost: localhost\r\nContent-Length: " . length($body) . "\r\n\r\n$body");
	CCProxy::wait_until('the post to wait', sub { $gateway->get('/readyz')->{json}{waiting_requests} == 1 });
	my $began = time;
	kill('TERM', $gateway->{pid});
	$gateway->wait_for_log(qr/event=draining/);
	if ($twice)
	{
		sleep 1.5;				# past what bodies on their way are given
		kill('TERM', $gateway->{pid});
		CCProxy::wait_until('the end', sub { !$gateway->alive });
		is($gateway->{status} >> 8, 1, 'a second signal ends it at once');
		like($gateway->log_text, qr/event=forced_exit/, 'and that is told');
	}
	else
	{
		like(do { local $/; <$socket> }, qr{^HTTP/1.1 503 .*Retry-After}s, 'what cannot be stored within shutdown_deadline_s is answered 503');
		CCProxy::wait_until('the end', sub { !$gateway->alive });
		is($gateway->{status}, 0, 'and it ends well');
	}
	cmp_ok(time - $began, '<', 40, 'long before other deadlines');
	$locker->query_safe('ROLLBACK');
	$locker->quit;
}

done_testing();
