# The dashboard in real browsers: test/browser/dashboard.mjs (Chromium, everything)
# and firefox.mjs say what is checked; here is the cluster, the gateway, and a month of requests with some
# that do not mean well.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use CCProxy;
use Digest::SHA;
use IPC::Run ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $EVENTS = 6000;
my $dir = PostgreSQL::Test::Utils::tempdir_short();
my $node = CCProxy::cluster('dashboard');
$node->safe_psql('metrics', q{SELECT ccproxy.set_retention(raw => interval '400 days')});

PostgreSQL::Test::Utils::append_to_file("$dir/ingest", "the-ingest-token\n");
PostgreSQL::Test::Utils::append_to_file("$dir/read", "the-read-token\nthe-token-of-user-1 user=user-1\n");
my @settings = ('--ingest-token-file', "$dir/ingest", '--read-token-file', "$dir/read");
my $gateway = CCProxy->start(node => $node, token => 'the-ingest-token', args => \@settings);

# A zone whose clock was changed within the last year, and on which day.
my ($zone, $zone_day) = split /\|/, $node->safe_psql('metrics', q{
	SELECT z.zone, d.day::date
	  FROM unnest(ARRAY['Europe/Berlin', 'America/New_York', 'Australia/Sydney']) AS z(zone),
	       generate_series(date_trunc('day', now() AT TIME ZONE 'UTC') - interval '360 days', now() AT TIME ZONE 'UTC' - interval '4 days', interval '1 day') AS d(day)
	 WHERE ((d.day + interval '1 day') AT TIME ZONE z.zone) - (d.day AT TIME ZONE z.zone) <> interval '1 day'
	 ORDER BY d.day DESC LIMIT 1});
ok($zone_day, "the clock of $zone was changed on $zone_day");

# the same month every time
srand(20250131);
my $now = int(time / 60) * 60;
my ($changed) = $node->safe_psql('metrics', "SELECT extract(epoch FROM timestamp '$zone_day 12:00' AT TIME ZONE '$zone')::bigint");
my @models = ('gpt-4o', 'claude-3-haiku', 'claude-sonnet-4', 'gpt-4.1', 'no-such-model');
my $serial = 0;
sub event
{
	my ($ts, %more) = @_;
	my $status = rand() < 0.9 ? 200 : (429, 500, 400)[ int rand 3 ];
	return {
		request_id => sprintf('page-%06d', ++$serial), timestamp => $ts, model => $models[ int(rand() * rand() * @models) ],
		user_id => 'user-' . int(1 + rand(30) * rand()), team_id => 'team-' . int(rand 3), session_id => 'session-' . int(rand 50),
		api_key => 'key-' . int(rand 5), endpoint_type => (rand() < 0.5 ? 'openai' : 'anthropic'), provider => (rand() < 0.5 ? 'openai' : 'azure'),
		method => 'POST', service_tier => (rand() < 0.8 ? 'default' : 'priority'), status_code => $status,
		($status == 200 ? () : (error_type => $status == 429 ? 'rate_limit_error' : 'api_error')),
		response_time_ms => 100 + int(rand 9000), ttft_ms => 50 + int(rand 900), input_tokens => int(rand 3000), cache_read_tokens => int(rand 2000),
		cache_write_tokens => int(rand 200), output_tokens => int(rand 900), %more };
}
my @events = map { event($now - int(30 * 86400 * rand()) - 60) } 1 .. $EVENTS;
push @events, map { event($now - int(3500 * rand()) - 60) } 1 .. 50;
push @events, map { event($changed + int((rand() - 0.5) * 6 * 86400)) } 1 .. 600;
push @events, event($now - 4000, user_id => '<img src=x onerror=alert(1)>'), event($now - 4100, user_id => '=cmd|calc'),
	event($now - 90, model => '<script>alert(2)</script>', status_code => 500, error_type => 'x', error_message => '"><svg onload=alert(3)>');
while (my @part = splice(@events, 0, 1000))
{
	my $r = $gateway->post(\@part);
	is($r->{status}, 200, 'posted') or diag($r->{content});
	is($r->{json}{rejected}, 0, 'all of them') or diag($r->{content});
}
CCProxy::wait_until('the rollups', sub { $node->safe_psql('metrics', 'SELECT ccproxy.refresh(1440)') eq '0' });

my $modules = "$FindBin::Bin/../npm";
ok(-d "$modules/node_modules/playwright-core"
	|| system('npm', 'ci', '--prefix', $modules, '--cache', "$dir/npm", '--no-audit', '--no-fund', '--silent') == 0, 'npm ci in test/npm');
is(Digest::SHA->new(256)->addfile("$FindBin::Bin/../../gateway/dashboard/vendor/$_->[0]")->hexdigest, $_->[1], "$_->[0] is what npm has")
  for ([ 'uPlot.iife.min.js', '19c8d4c6ad88929a79f4ae49d6f7161566dfd0ba3d15cc495e974f787eb78f1f' ],
	[ 'uPlot.min.css', 'df630c6a8d6f8eeaff264b50f73ce5b114f646ffd9a0bb74f049b0a00135fa04' ]);

my $narrow = CCProxy->start(node => $node, args => [ '--read-max-rows', 33 ]);
my $program = CCProxy::gateway_program();
my $url = $node->connstr('metrics');
local %ENV = (%ENV,
	DASHBOARD_URL => $gateway->{url},
	NARROW_URL => $narrow->{url},
	LOGIN_LINK => "'$program' login-link --listen 127.0.0.1:$gateway->{port} --read-token-file '$dir/read'",
	PSQL => "psql -XqAt -v ON_ERROR_STOP=1 -d \"$url\"",
	PG_STOP => "pg_ctl stop -s -w -m fast -D '" . $node->data_dir . "'",
	PG_START => "pg_ctl start -s -w -D '" . $node->data_dir . "' -l '" . $node->logfile . "' >/dev/null 2>&1 </dev/null",
	ZONE => $zone, ZONE_DAY => $zone_day, SHOTS => $ENV{CCPROXY_SHOTS} // '', HOME => $dir);
for my $browser ([ 'page', 'dashboard.mjs' ], [ 'Firefox', 'firefox.mjs' ])
{
	my ($name, $program) = @$browser;
	my $out = '';
	IPC::Run::run([ 'node', "$FindBin::Bin/../browser/$program" ], '<', \undef, '>', \$out, '2>&1');
	my $rc = $?;
	for my $line (split /\n/, $out)
	{
		if ($line =~ /^ok \d+ - (.*)/) { pass("$name: $1") }
		elsif ($line =~ /^not ok \d+ - (.*)/) { fail("$name: $1") }
		elsif ($line !~ /^1\.\./) { diag($line) }
	}
	is($rc, 0, "$name: the browser went through all of it");
}
$node->_update_pid(1) if $node->can('_update_pid');
is($_->stop, 0, 'the gateway ends') for $gateway, $narrow;

done_testing();
