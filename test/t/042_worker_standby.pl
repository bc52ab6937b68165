# A standby: statistics are read there as on the primary; the background worker
# does nothing, until it is promoted.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use CCProxyWorker;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $primary = CCProxyWorker::cluster('worker_primary', init => { allows_streaming => 1 });
$primary->start;
CCProxyWorker::metrics_database($primary, 'app', 'ann');
ok(CCProxyWorker::visited($primary, 'app'), 'the primary is maintained');

my $n = 0;

# some requests, of the last days
sub traffic
{
	my ($node) = @_;
	my $from = $n + 1;
	$n += 200;
	CCProxyWorker::as($node, 'ann', 'app', qq{SELECT accepted FROM ccproxy.ingest((SELECT jsonb_agg(jsonb_build_object('request_id', 'r' || i, 'timestamp', now() - make_interval(mins => i * 13),
		'model', 'gpt-4', 'user_id', 'u' || i % 3, 'status_code', 200 + 300 * (i % 7 / 6), 'response_time_ms', i, 'input_tokens', i)) FROM generate_series($from, $n) AS i))});
}

my $until = $primary->safe_psql('app', q{SELECT date_trunc('hour', now()) + interval '2 hours'});
my @questions = (
	"SELECT total_requests, failed_requests, p95_response_time_ms, total_cost, errors_by_type FROM ccproxy.stats('$until'::timestamptz - interval '10 days', '$until')",
	"SELECT group_key, group_key2, total_requests, total_cost FROM ccproxy.stats('$until'::timestamptz - interval '10 days', '$until', 'day,user', NULL, 'Europe/Berlin')",
	"SELECT source, grain, rows_read FROM ccproxy.explain_stats('$until'::timestamptz - interval '10 days', '$until', 'hour')",
	'SELECT ts, model, requests, total_cost FROM ccproxy.usage_by_model ORDER BY 1, 2',
	'SELECT ts, user_id, requests FROM ccproxy.usage_by_user ORDER BY 1, 2',
	'SELECT * FROM ccproxy.prometheus',
	q{SELECT * FROM ccproxy.request('r77')},
	'SELECT dirty_minutes, days_closed FROM ccproxy.health');

# A standby answers as its primary does.
sub answers_alike
{
	my ($one, $other, $when) = @_;
	is($other->safe_psql('app', $_), $one->safe_psql('app', $_), "$when: $_") for @questions;
}

traffic($primary);
$primary->poll_query_until('app', q{SELECT dirty_minutes = 0 FROM ccproxy.health});
$primary->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('worker_standby');
$standby->init_from_backup($primary, 'base', has_streaming => 1);
$standby->start;
ok(CCProxyWorker::whole_round($primary, 'app'), 'while the primary goes on');
$primary->wait_for_catchup($standby);
is(CCProxyWorker::batches($standby, 'app'), '0', 'the standby follows');
is($standby->safe_psql('postgres', q{SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE 'ccproxy%'}), '0', 'and runs no worker');

$primary->safe_psql('postgres', 'ALTER SYSTEM SET ccproxy.worker = off');
$primary->reload;
$primary->poll_query_until('postgres', q{SELECT EXISTS (SELECT FROM pg_stat_activity WHERE query = 'switched off by ccproxy.worker')});
$primary->poll_query_until('app', q{SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE backend_type = 'ccproxy worker')});
$primary->wait_for_catchup($standby);
answers_alike($primary, $standby, 'rolled up');
traffic($primary);
CCProxyWorker::leave_batch($primary, 'app');
$primary->wait_for_catchup($standby);
answers_alike($primary, $standby, 'dirty');
is($standby->safe_psql('app', $questions[0]) =~ s/\|.*//r, $n, 'with every request');
my ($rc, undef, $err) = $standby->psql('app', 'SELECT ccproxy.refresh()');
like($err, qr/recovery|read-only transaction/, 'refresh() says that it cannot');
my @before = map { $primary->safe_psql('app', $_) } @questions[ 0, 1 ];
my $counted = $primary->safe_psql('app', q{SELECT sum(count) FROM ccproxy.prometheus WHERE family = 'requests'});
$primary->stop;
is(CCProxyWorker::batches($standby, 'app'), '1', 'there is something to do');

$standby->promote;
ok($standby->poll_query_until('app', q{SELECT NOT EXISTS (SELECT FROM ccproxy.ingest_batch)}), 'promoted: it is done');
ok($standby->poll_query_until('app', q{SELECT dirty_minutes = 0 FROM ccproxy.health}), 'all is rolled up');
is($standby->safe_psql('app', $questions[$_]), $before[$_], "statistics $_ stay") for 0, 1;
cmp_ok($counted, '<', $n, 'counters');
is($standby->safe_psql('app', q{SELECT sum(count) FROM ccproxy.prometheus WHERE family = 'requests'}), $n, 'go on');
traffic($standby);
is($standby->safe_psql('app', $questions[0]) =~ s/\|.*//r, $n, 'and events come');
is($standby->safe_psql('postgres', q{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'ccproxy leader'}), '1', 'there is a leader');
unlike(CCProxyWorker::log_from($standby), qr/ERROR:  (?!cannot execute|recovery|.*during recovery)/, 'and nothing went wrong before');

$standby->stop;
done_testing();
