# make start, stop, run, install: what a stranger types, on a copy of the
# checkout, as this (unprivileged) user.
use strict;
use warnings;
use Cwd qw(getcwd);
use File::Temp qw(tempdir);
use IO::Socket::INET;
use IPC::Run qw(run start finish);
use Socket ();
use Test::More;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;

my $source = getcwd();
my $stage = $ENV{CCPROXY_STAGE} or plan skip_all => 'CCPROXY_STAGE is not set';
my $short = tempdir('ccproxy-setup-XXXXXX', TMPDIR => 1, CLEANUP => 1);
my $top = "$short/checkout";

# the built tree, so that nothing needs compiling; without a running system's data
mkdir $top or die $!;
system("tar -C '$source' --exclude=./var --exclude=./.git -cf - . | tar -C '$top' -xf -") == 0 or die 'cannot copy';

my $port = PostgreSQL::Test::Cluster::get_free_port();
my $listen = "127.0.0.1:$port";
delete $ENV{$_} for qw(LISTEN DB_URL DEMO DEMO_EVENTS STAGED MAKEFLAGS MAKELEVEL SUDO_USER PGHOST PGPORT);

# make TARGET with variables; returns exit status, standard output, standard error
sub make
{
	my (@words) = @_;
	my ($out, $err) = ('', '');
	run([ 'make', '-s', '-C', $top, @words ], '<', \'', '>', \$out, '2>', \$err, IPC::Run::timeout(300));
	return ($? >> 8, $out, $err);
}

sub slurp_var
{
	my ($name) = @_;
	my $text = slurp_file("$top/var/$name");
	chomp $text;
	return $text;
}

sub curl
{
	my (@words) = @_;
	my $out = '';
	run([ 'curl', '-s', '--max-time', '30', @words ], '>', \$out, '2>', \my $err);
	return $out;
}

sub sql
{
	my ($query) = @_;
	my $out = '';
	run([ 'psql', '-X', '-A', '-t', '-d', slurp_var('db_url'), '-c', $query ], '>', \$out, '2>', \my $err);
	chomp $out;
	return $out . ($? ? $err : '');
}

# A process that has ended but that nobody has waited for does not count.
sub lives
{
	my ($pid) = @_;
	open my $fh, '<', "/proc/$pid/stat" or return 0;
	my $stat = <$fh>;
	return defined $stat && $stat !~ /\) [ZX] /;
}

sub gateway_pid { my ($pid) = slurp_file("$top/var/gateway.pid") =~ /^(\d+)/; return $pid; }
sub postmaster_pid { my ($pid) = slurp_file("$top/var/pg/data/postmaster.pid") =~ /^(\d+)/; return $pid; }

# an error must be one clear line: only "make: *** ..." may follow it
sub fails_with
{
	my ($pattern, $name, @words) = @_;
	my ($rc, $out, $err) = make(@words);
	isnt($rc, 0, "$name: fails");
	my @lines = grep { !/^make(\[\d+\])?: / } split /\n/, $err;
	is(scalar(@lines), 1, "$name: one line") or diag($err);
	like($lines[0] // '', $pattern, "$name: says so");
	return $out;
}

# ------------------------------------------------------------ start and stop

my ($rc, $out, $err) = make('start', "LISTEN=$listen");
is($rc, 0, 'make start') or BAIL_OUT("$out\n$err");
like($out, qr{http://\Q$listen\E/metrics/dashboard/login\?t=[v.0-9a-f]+}, 'a link to the dashboard is printed');
like($out, qr{curl .*http://\Q$listen\E/metrics/api/events}, 'and a curl line');

for my $file (qw(db_url gateway_url ingest_token read_token))
{
	is((stat "$top/var/$file")[2] & 07777, 0600, "var/$file is for its owner only");
}
is(slurp_var('gateway_url'), "http://$listen", 'var/gateway_url');
is(curl('-o', '/dev/null', '-w', '%{http_code}', slurp_var('gateway_url') . '/readyz'), '200', 'ready when make start returns');

my ($line) = $out =~ /^\s*(curl .*)$/m;
my $answer = `$line 2>/dev/null`;
like($answer, qr/"accepted": ?1/, 'the printed curl line posts an event') or diag("$line\n$answer");
is(sql("SELECT model, input_tokens, total_cost > 0 FROM ccproxy.requests"), 'claude-3-haiku|1200|t', 'and it is in var/db_url\'s database');
like(curl('-H', 'Authorization: Bearer ' . slurp_var('read_token'), slurp_var('gateway_url') . '/metrics/api/stats?period=24h'),
	qr/"total_requests": ?1/, 'the read token reads it');
for my $path ('prometheus', 'api/health', 'api/requests?order=slowest', 'api/savings', 'api/budgets', 'api/values?of=model')
{
	my $page = curl('-w', '%{http_code}', '-H', 'Authorization: Bearer ' . slurp_var('read_token'), slurp_var('gateway_url') . "/metrics/$path");
	like($page, qr/200$/, "... and $path");
	like($page, qr/^ccproxy_gateway_traffic_up 1$/m, 'with the database in it') if $path eq 'prometheus';
}
is(curl('-o', '/dev/null', '-w', '%{http_code}', slurp_var('gateway_url') . '/metrics/api/stats?period=24h'), '401', 'nobody reads without a token');

my $hba = slurp_file("$top/var/pg/data/pg_hba.conf");
unlike($hba, qr/trust|password\b|\bmd5/, 'pg_hba.conf trusts nobody');
like($hba, qr/^local all all peer/m, 'peer on the socket');
is(sql('SHOW data_checksums'), 'on', 'data checksums');
is(sql('SHOW server_encoding'), 'UTF8', 'UTF-8');
is(sql("SELECT string_agg(rolname || ' ' || rolsuper, ',' ORDER BY rolname) FROM pg_roles WHERE rolname LIKE 'ccproxy%'"),
	'ccproxy false,ccproxy_gateway false', 'neither role is superuser');
is(sql('SHOW listen_addresses'), '127.0.0.1', 'PostgreSQL listens on loopback only');
isnt(system("PGPASSWORD=wrong psql -w -X -h 127.0.0.1 -p @{[slurp_var('pg_port')]} -U ccproxy ccproxy -c '' >/dev/null 2>&1"), 0, 'a wrong password is refused');

my ($gateway, $postmaster) = (gateway_pid(), postmaster_pid());
($rc, $out) = make('start', "LISTEN=$listen");
is($rc, 0, 'make start again');
like($out, qr/runs already/, 'says that it runs');
is(gateway_pid() . ' ' . postmaster_pid(), "$gateway $postmaster", 'and changes nothing');
fails_with(qr/runs already.*make stop/, 'make run while it runs', 'run', "LISTEN=$listen");

kill 'KILL', $postmaster;
for (1 .. 100) { last unless lives($postmaster); select undef, undef, undef, 0.1; }
($rc, $out, $err) = make("start", "LISTEN=$listen");
is($rc, 0, 'make start after PostgreSQL was killed') or diag("$out\n$err");
is(sql('SELECT count(*) FROM ccproxy.requests'), '1', 'brings it back with its data');

my $pg_port = slurp_var('pg_port');
($gateway, $postmaster) = (gateway_pid(), postmaster_pid());
($rc, $out) = make('stop');
is($rc, 0, 'make stop');
ok(!lives($gateway) && !lives($postmaster), 'both processes are gone');
ok(!-e "$top/var/gateway_url", 'var/gateway_url went with it');
($rc, $out) = make('stop');
is("$rc $out", "0 nothing runs here\n", 'make stop again');

# a pid file left behind must not cost somebody else their process
my $bystander = start([ 'sleep', '600' ]);
my $bystander_pid = $bystander->{KIDS}[0]{PID};
append_to_file("$top/var/gateway.pid", "$bystander_pid 12345 00000000-0000-0000-0000-000000000000\n");
make('stop');
ok(lives($bystander_pid), 'a foreign process with the recorded pid lives on');
$bystander->kill_kill;

# ------------------------------------------------------------ run in front

my ($run_out, $run_err) = ('', '');
my $foreground = start([ 'setsid', 'make', '-s', '-C', $top, 'run', "LISTEN=$listen", 'DEMO=1', 'DEMO_EVENTS=3000' ],
	'<', \'', '>', \$run_out, '2>', \$run_err, my $limit = IPC::Run::timeout(180));
$foreground->pump until $run_out =~ /Ctrl-C stops it/ || !$foreground->pumpable;
like($run_out, qr/Ctrl-C stops it/, 'make run comes up') or diag("$run_out\n$run_err");
is(slurp_var('pg_port'), $pg_port, 'on the same port for PostgreSQL');
my ($accepted) = $run_out =~ /(\d+) accepted, 0 were there already, 0 rejected/;
cmp_ok($accepted // 0, '>', 2000, 'DEMO=1 posts a month');
is(sql('SELECT count(*) FROM ccproxy.requests'), 1 + ($accepted // 0), 'beside what the first run left');
is(sql("SELECT count(DISTINCT model), count(DISTINCT user_id) > 100, count(DISTINCT ts::date) >= 29,
	round(count(*) FILTER (WHERE status_code >= 400) * 100.0 / count(*)) BETWEEN 2 AND 5, bool_and(total_cost IS NOT NULL OR status_code >= 400)
	FROM ccproxy.requests WHERE request_id LIKE 'demo-%'"), '12|t|t|t|t', 'models, users, days, errors and prices as promised');
($gateway, $postmaster) = (gateway_pid(), postmaster_pid());

($rc, $out) = make('demo', 'DEMO_EVENTS=3000');
is($rc, 0, 'make demo beside it');
like($out, qr/nothing to post|: \d accepted/, 'posts nothing twice');

# as Ctrl-C does: the foreground process group gets the signal
kill 'INT', -$foreground->{KIDS}[0]{PID};
finish($foreground);
like($run_out, qr/stopping the gateway.*stopping PostgreSQL/s, 'Ctrl-C stops the gateway, then PostgreSQL') or diag("$run_out\n$run_err");
ok(!lives($gateway) && !lives($postmaster), 'nothing it started is left');

# ------------------------------------------------------- one clear line each

my $taken = IO::Socket::INET->new(Listen => 1, LocalAddr => '127.0.0.1', LocalPort => $port, ReuseAddr => 1) or die $!;
fails_with(qr/port $port on 127\.0\.0\.1 is in use.*LISTEN=127\.0\.0\.1:@{[$port + 1]}/, 'port in use', 'start', "LISTEN=$listen");
$taken->close;
fails_with(qr/LISTEN=nonsense:x: HOST:PORT is wanted/, 'bad LISTEN', 'start', 'LISTEN=nonsense:x');
fails_with(qr/DEMO_EVENTS=many is not a number/, 'bad DEMO_EVENTS', 'start', "LISTEN=$listen", 'DEMO=1', 'DEMO_EVENTS=many');
fails_with(qr/cannot reach the database of DB_URL/, 'unreachable DB_URL', 'start', "LISTEN=$listen", 'DB_URL=postgres://127.0.0.1:1/none');

# programs that lie, first in PATH
my $shims = "$short/shims";
mkdir $shims;

sub shim
{
	my ($name, $body) = @_;
	open my $fh, '>', "$shims/$name" or die $!;
	print $fh "#!/bin/sh\n$body\n";
	close $fh;
	chmod 0755, "$shims/$name";
}
my $path = $ENV{PATH};
my $pg_config = $ENV{PG_CONFIG} || 'pg_config';

shim('pg_config', 'case $1 in --version) echo "PostgreSQL 13.9";; *) exec ' . $pg_config . ' "$@";; esac');
fails_with(qr/PostgreSQL 13 is not supported: 14 to 18/, 'PostgreSQL too old', 'start', "LISTEN=$listen", "PG_CONFIG=$shims/pg_config");
unlink "$shims/pg_config";

rename "$top/var", "$top/var.kept" or die $!;
shim('df', 'echo header; echo "/dev/x 1000000 950000 50000 95% /"');
$ENV{PATH} = "$shims:$path";
fails_with(qr/no disk: 48 MB free under .*, 300 MB are needed/, 'no disk', 'start', "LISTEN=$listen");
ok(!-e "$top/var/pg/data", 'no cluster is begun then');
unlink "$shims/df";
system('rm', '-rf', "$top/var");
rename "$top/var.kept", "$top/var" or die $!;

shim('pkg-config', 'exit 1');
shim('sudo', 'exit 1');
$out = fails_with(qr/packages are missing and this user may not install them/, 'missing packages without root', 'start', "LISTEN=$listen");
like($out, qr/^apt-get update && apt-get install -y --no-install-recommends .*libmicrohttpd-dev[^\n]*\n\z/, 'prints the one line that installs them');
unlike($out, qr/postgresql-\d+ /, 'which names only what is missing');

# ----------------------------------------------------------- make as an extension's

($rc, $out) = make('clean');
is($rc, 0, 'make clean');
ok(-d "$top/var/pg/data", 'leaves var/ alone');
($rc, $out, $err) = make('all', "PG_CONFIG=$pg_config");
is($rc, 0, 'make without the gateway\'s libraries') or diag($err);
like($out, qr/gateway skipped: pkg-config finds no libmicrohttpd/, 'says what is skipped and why');
ok(-e "$top/ccproxy_metrics.so" && !-e "$top/gateway/ccproxy-gateway", 'builds the extension alone');
($rc, $out, $err) = make('install', "PG_CONFIG=$pg_config", "DESTDIR=$short/dest");
is($rc, 0, 'make install of the extension alone') or diag($err);
unlink "$shims/pkg-config";
($rc, $out, $err) = make('install', "PG_CONFIG=$pg_config", "DESTDIR=$short/dest", '-j2');
is($rc, 0, 'make install') or diag($err);
my @installed = split /\n/, `cd '$short/dest' && find . -type f`;
for my $want (qr{/ccproxy_metrics\.so$}, qr{/extension/ccproxy_metrics\.control$}, qr{/extension/ccproxy_metrics--\d+\.\d+\.\d+\.sql$}, qr{/ccproxy-gateway$})
{
	is(scalar(grep { $_ =~ $want } @installed), 1, "installs $want below DESTDIR");
}
($rc) = make('uninstall', "PG_CONFIG=$pg_config", "DESTDIR=$short/dest");
is("$rc " . `cd '$short/dest' && find . -type f`, '0 ', 'make uninstall takes everything away');
$ENV{PATH} = $path;
($rc, $out) = make('help', 'PG_CONFIG=/nowhere');
ok($rc == 0 && $out =~ /make run/, 'make help needs nothing');

# ------------------------------------------------------- somebody else's database

my $node = PostgreSQL::Test::Cluster->new('theirs');
$node->init;
$node->append_conf('postgresql.conf', "extension_destdir = '$stage'");
$node->start;
my $url = 'postgresql:///postgres?host=' . $node->host . '&port=' . $node->port;
mkdir "$short/second";
system("tar -C '$top' --exclude=./var -cf - . | tar -C '$short/second' -xf -");
$top = "$short/second";
($rc, $out, $err) = make('start', "LISTEN=$listen", "DB_URL=$url", 'DEMO=1', 'DEMO_EVENTS=300');
is($rc, 0, 'make start DB_URL=') or diag("$out\n$err");
ok(!-e "$top/var/pg/data", 'makes no cluster');
cmp_ok($node->safe_psql('postgres', 'SELECT count(*) FROM ccproxy.requests'), '>', 200, 'and stores into that database');
($rc) = make('stop');
is($rc, 0, 'make stop');
is($node->safe_psql('postgres', 'SELECT 1'), '1', 'which runs on');
$node->stop;

# -------------------------------------------------------- a checkout far down

my $deep = "$short/" . join('/', map { 'a-rather-long-folder-name' } 1 .. 4);
system('mkdir', '-p', $deep);
rename $top, "$deep/checkout" or die $!;
$top = "$deep/checkout";
($rc, $out, $err) = make('start', "LISTEN=$listen");
is($rc, 0, 'make start where the path is too long for a socket') or diag("$out\n$err");
my ($socket) = "$out$err" =~ m{too long for a socket: it goes to (/tmp/\S+)};
ok($socket && -d $socket, 'says where the socket went') or diag("$out\n$err");
($rc) = make('stop');
is($rc, 0, 'make stop there');
ok(!-e $socket, 'takes that folder away');

# a port that nobody answers on and that cannot be had all the same
my $bound_port = PostgreSQL::Test::Cluster::get_free_port();
socket(my $bound, Socket::AF_INET(), Socket::SOCK_STREAM(), 0) or die $!;
bind($bound, Socket::pack_sockaddr_in($bound_port, Socket::inet_aton('127.0.0.1'))) or die $!;
open my $fh, '>', "$top/var/pg_port" or die $!;
print $fh "$bound_port\n";
close $fh;
($rc, $out, $err) = make('start', "LISTEN=$listen");
is($rc, 0, 'make start where PostgreSQL\'s port is taken') or diag("$out\n$err");
isnt(slurp_var('pg_port'), $bound_port, 'goes on to the next port');
is(sql('SELECT 1'), '1', 'and var/db_url follows');
make('stop');

done_testing();
