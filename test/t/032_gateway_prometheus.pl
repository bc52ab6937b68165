# What Prometheus is told, by a real one with the scrape configuration that is
# shipped: counters that neither fall nor double, whatever is restarted, dropped
# or priced again meanwhile.
#
# sanitized: yes
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use CCProxy;
use HTTP::Tiny;
use IO::Socket::INET;
use IPC::Run ();
use JSON::PP;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);

my $node = CCProxy::cluster('prometheus');
my $dir = PostgreSQL::Test::Utils::tempdir_short();
append_to_file("$dir/read", "read-token-1\n");
append_to_file("$dir/ingest", "ingest-token-1\n");
my %setup = (node => $node, args => [ '--read-token-file', "$dir/read", '--ingest-token-file', "$dir/ingest" ], token => 'read-token-1');
my $gateway = CCProxy->start(%setup);
my $second = CCProxy->start(%setup);
my $json = JSON::PP->new->utf8;
my $now = int time;

sub sql { return $node->safe_psql('metrics', $_[0]); }
sub refresh { sql('DO $$ BEGIN LOOP EXIT WHEN ccproxy.refresh() = 0; COMMIT; END LOOP; END $$'); }

my $serial = 0;
sub add
{
	my ($n, %more) = @_;
	my $r = $gateway->post([ map { { request_id => 'p' . ++$serial, timestamp => $now, model => 'gpt-4o', user_id => "u" . $_ % 3, endpoint_type => 'openai',
		method => 'POST', status_code => 200, response_time_ms => 40 * $_, input_tokens => 1000, output_tokens => 100, %more } } 1 .. $n ],
		authorization => 'Bearer ingest-token-1');
	is($r->{json}{accepted}, $n, "$n requests");
	refresh();
}

# ------------------------------------------------------------- two formats

add(30, user_id => "a\"b\\c\nd");
add(1, model => "m\"\\\n{}", endpoint_type => '', status_code => 500, method => undef);
my $text = $gateway->get('/metrics/prometheus');
like($text->{headers}{'content-type'}, qr{^text/plain; version=0\.0\.4}, 'the text format');
my $open = $gateway->get('/metrics/prometheus', accept => 'application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1');
like($open->{headers}{'content-type'}, qr{^application/openmetrics-text; version=1\.0\.0; charset=utf-8}, 'OpenMetrics by Accept');
like($open->{content}, qr/[^\n]\n# EOF\n\z/, '... with its end');
unlike($text->{content}, qr/# EOF/, '... which the other does not have');
like($open->{content}, qr/^# TYPE ccproxy_requests counter$/m, '... and the names of families without _total');
{
	my %families;
	$families{$_}++ for $open->{content} =~ /^# TYPE (\S+)/mg;
	is(join(' ', grep { $families{$_} > 1 } sort keys %families), '', '... each the name of one family');
}
unlike($open->{content} . $text->{content}, qr/_created/, 'nothing is called _created');
my $series = sub { join("\n", sort grep { /^ccproxy_(?!gateway)/ } split /\n/, $_[0]) };
is($series->($open->{content}), $series->($text->{content}), 'both have the same series');
like($text->{content}, qr/^ccproxy_cost_dollars_total\{model="gpt-4o",user_id="a\\"b\\\\c\\nd"\} [\d.]+$/m, 'a hostile label is escaped');
like($text->{content}, qr/^ccproxy_requests_total\{method="unknown",endpoint_type="unknown",status_code="500",model="m\\"\\\\\\n\{\}"\} 1$/m, 'and what is missing is unknown');
my $said = '';
IPC::Run::run([ 'promtool', 'check', 'metrics' ], '<', \$text->{content}, '>&', \$said);
is($said, '', 'promtool check metrics is silent');

my ($database, $own) = map { $gateway->get("/metrics/prometheus?part=$_")->{content} } qw(database gateway);
is($series->($database), $series->($text->{content}), 'the part of the database');
like($database, qr/^ccproxy_gateway_traffic_up 1$/m, '... says that it is there');
unlike($database, qr/^ccproxy_gateway_(?!traffic_up)/m, '... and nothing of the gateway');
like($own, qr/^ccproxy_gateway_pg_up 1$/m, 'the part of the gateway');
is($series->($own), '', '... has nothing of the database');
is($gateway->get('/metrics/prometheus?part=all')->{status}, 400, 'there are no other parts');
is($series->($second->get('/metrics/prometheus')->{content}), $series->($text->{content}), 'another gateway says the same');

# ------------------------------------------------------------ a real one

my $port = PostgreSQL::Test::Cluster::get_free_port();
my $config = slurp_file("$FindBin::Bin/../../gateway/prometheus/prometheus.yml");
$config =~ s{/etc/ccproxy/read}{$dir/read}g;
my $both = "'127.0.0.1:$gateway->{port}', '127.0.0.1:$second->{port}'";
$config =~ s/'127\.0\.0\.1:8787'(?!.*'127)/$both/s;
$config =~ s/127\.0\.0\.1:8787'/127.0.0.1:$gateway->{port}'/;
append_to_file("$dir/prometheus.yml", "global: {scrape_interval: 500ms, scrape_timeout: 500ms}\n$config");
$said = '';
IPC::Run::run([ 'promtool', 'check', 'config', "$dir/prometheus.yml" ], '>&', \$said);
like($said, qr/SUCCESS/, 'promtool check config: the shipped one');
my $prometheus = IPC::Run::start([ 'prometheus', "--config.file=$dir/prometheus.yml", "--storage.tsdb.path=$dir/tsdb",
	"--web.listen-address=127.0.0.1:$port" ], '<', \undef, '>', "$dir/log", '2>', "$dir/log");
my $client = HTTP::Tiny->new(timeout => 10);
sub query
{
	my $answer = $client->post_form("http://127.0.0.1:$port/api/v1/query", { query => $_[0] });
	my $decoded = eval { $json->decode($answer->{content}) } or return;
	return $decoded->{data}{result};
}
sub value { my $result = query($_[0]); return $result && $result->[0] ? $result->[0]{value}[1] : undef; }
sub seen
{
	my ($count) = @_;
	CCProxy::wait_until("Prometheus to see $count", sub { (value('sum(ccproxy_requests_total)') // -1) == $count });
}
CCProxy::wait_until('the targets to be up', sub { (value('sum(up)') // 0) == 3 });
seen(31);
is(value('sum(ccproxy_requests_total)'), sql('SELECT count(*) FROM ccproxy.requests'), 'two gateways do not double a sum');
is(value('count(ccproxy_gateway_pg_up)'), 2, '... and both tell about themselves');
sleep 1.5;	# increase() needs a sample before

# What Prometheus believes has been added since the start, without extrapolation.
my $start = time;
my @counters = ('ccproxy_requests_total', 'ccproxy_response_time_seconds_count', 'ccproxy_response_time_seconds_sum', 'ccproxy_response_time_seconds_bucket',
	'ccproxy_tokens_total', 'ccproxy_cost_dollars_total', 'ccproxy_errors_total');
sub resets { my $n = 0; for my $counter (@counters) { $n += value("sum(resets($counter\[10m]))") // 0; } return $n; }

my $posted = 31;
add(100);
seen($posted += 100);
is($gateway->stop, 0, 'the gateway is stopped');
$setup{listen} = "127.0.0.1:$gateway->{port}";
$gateway = CCProxy->start(%setup);
add(50);
seen($posted += 50);
is(resets(), 0, 'no reset for a restart of the gateway');
$node->restart('immediate');
$gateway->wait_ready;
CCProxy::wait_until('events to be taken', sub {
	$gateway->post([ { request_id => 'back', timestamp => $now, model => 'gpt-4o', endpoint_type => 'openai', method => 'POST', status_code => 200 } ],
		authorization => 'Bearer ingest-token-1')->{status} == 200 });
refresh();
seen($posted += 1);
is(resets(), 0, '... nor of PostgreSQL');

# old rows, and the drop of their partitions
add(40, timestamp => $now - 5 * 86400);
seen($posted += 40);
sql(q{SELECT ccproxy.set_retention(raw => interval '2 days')});
sql(q{CALL ccproxy.maintain()}) for 1 .. 2;
cmp_ok(sql('SELECT count(*) FROM ccproxy.requests'), '<', $posted, 'raw rows are dropped');
add(1);
seen($posted += 1);
is(resets(), 0, 'no reset for that');

# prices that fall, then rise
my $cost = value('sum(ccproxy_cost_dollars_total)');
sql(q{SELECT ccproxy.set_price('gpt-4o', 0.001, 0.001, effective_from => '2000-01-01')});
sql(q{CALL ccproxy.reprice(model => 'gpt-4o')});
add(1);
seen($posted += 1);
cmp_ok(value('sum(ccproxy_cost_dollars_total)'), '>=', $cost, 'a repricing lowers nothing that was shown');
is(resets(), 0, '... which would be a reset');
# a part that turns a success into a failure
for my $part ({ kind => 'response', status_code => 200, response_time_ms => 5 }, { kind => 'error', error_type => 'broken' })
{
	$gateway->post([ { request_id => 'parted', timestamp => $now, model => 'gpt-4o', endpoint_type => 'openai', method => 'POST', %$part } ],
		authorization => 'Bearer ingest-token-1');
	refresh();
	sleep 1;
}
CCProxy::wait_until('the failure', sub { value('ccproxy_errors_total{error_type="broken"}') });
is(resets(), 0, 'no reset for a request that changes its labels');
# two seconds of quiet, so that the ends of the range do not matter
sleep 2;
my $window = int(time - $start + 10) . 's';
my $increase = value("sum(increase(ccproxy_requests_total{model=\"gpt-4o\",status_code=\"200\"}[$window]))");
my $shown = value('sum(ccproxy_requests_total{model="gpt-4o",status_code="200"})') - 30;
cmp_ok(abs($increase / $shown - 1), '<', 0.25, 'increase() over all of that is what was added, as far as it extrapolates') or diag("$increase of $shown");
cmp_ok(value("sum(rate(ccproxy_requests_total[$window]))"), '>', 0, 'rate()');
my $quantile = value('histogram_quantile(0.5, sum by (le) (ccproxy_response_time_seconds_bucket{model="gpt-4o"}))');
ok($quantile > 0.5 && $quantile <= 2.5, "histogram_quantile(): $quantile lies in the median's bucket")
	or diag(sql(q{SELECT percentile_disc(0.5) WITHIN GROUP (ORDER BY response_time_ms) FROM ccproxy.requests WHERE model = 'gpt-4o'}));

# slow questions do not keep a scrape waiting, however many they are
{
	my $busy = CCProxy->start(node => $node, args => [ '--read-connections', 1, '--read-queue', 8, '--statement-timeout-ms', 5000 ]);
	my $locker = $node->background_psql('metrics');
	$locker->query_safe('BEGIN; LOCK TABLE ccproxy.user_key IN ACCESS EXCLUSIVE MODE');
	my @sockets = map {
		my $socket = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $busy->{port}) or die "connect: $!";
		syswrite($socket, "GET /metrics/api/stats?period=24h&group_by=user&model=x$_ HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
		# the first is out of the queue before the others fill it
		CCProxy::wait_until('the first question to run', sub { sql("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%stats%'") }) if $_ == 1;
		$socket;
	} 1 .. 9;
	CCProxy::wait_until('the queue to be full', sub { $busy->get('/readyz')->{json}{waiting_requests} == 9 });
	like($busy->get('/metrics/prometheus', 'cache-control' => undef, 'x-prometheus-scrape-timeout-seconds' => 10)->{content}, qr/^ccproxy_gateway_traffic_up 1$/m, 'a scrape goes before what waits');
	$locker->query_safe('COMMIT');
	$locker->quit;
	my @statuses = map { do { local $/; <$_> } =~ m{^HTTP/1.1 (\d+)} ? $1 : 'none' } @sockets;
	is(join(' ', grep { !/^(200|503)$/ } @statuses), '', '... which is answered as well');
	is($busy->stop, 0, 'the busy one ends');
}

# -------------------------------------------------- without the database

$node->stop('immediate');
CCProxy::wait_until('the families to be missing', sub { $gateway->get('/metrics/prometheus')->{content} =~ /^ccproxy_gateway_traffic_up 0$/m });
$own = $gateway->get('/metrics/prometheus?part=gateway');
is($own->{status}, 200, 'its own part is served without the database');
like($own->{content}, qr/^ccproxy_gateway_read_queries_total\{outcome="unavailable"\} [1-9]/m, '... and counts what failed');
like($gateway->get('/metrics/prometheus', accept => 'application/openmetrics-text')->{content}, qr/# EOF\n\z/, '... whole in OpenMetrics too');
CCProxy::wait_until('Prometheus to know', sub { (value('ccproxy_gateway_traffic_up') // 1) == 0 });
is(value('sum(up)'), 3, 'the targets are up all the same');
$node->start;
CCProxy::wait_until('the families again', sub { (value('ccproxy_gateway_traffic_up') // 0) == 1 && defined value('sum(ccproxy_requests_total)') });
is(resets(), 0, 'and they go on where they were');
is($gateway->log_text =~ /read_failed/ ? 'failures' : '', '', 'no query has failed');

# many label sets: as many as there is room for, and other
sql('SELECT ccproxy.set_prometheus(label_sets => 40, users => false)');
$gateway->post([ map { { request_id => "many$_", timestamp => $now, model => "model-$_", status_code => 200, method => 'POST', endpoint_type => 'openai' } } 1 .. 100 ],
	authorization => 'Bearer ingest-token-1');
refresh();
my $page = $gateway->get('/metrics/prometheus?part=database')->{content};
is(() = $page =~ /^ccproxy_requests_total\{/mg, 41, 'as many label sets as are wanted, and one for the rest');
my ($other) = $page =~ /^ccproxy_requests_total\{method="other",endpoint_type="other",status_code="other",model="other"\} (\d+)$/m;
my $sum = 0;
$sum += $_ for $page =~ /^ccproxy_requests_total\{.*\} (\d+)$/mg;
is($sum, $posted + 100 + 1, 'which count together, and nothing is lost');	# and the one in parts
like($page, qr/^ccproxy_cost_dollars_total\{model="gpt-4o"\} [\d.]+$/m, 'costs without users');
unlike($page, qr/user_id/, '... anywhere');

$prometheus->signal('TERM');
$prometheus->finish;
is($gateway->stop, 0, 'the gateway ends');
$second->stop;
done_testing();
