# The background worker on a standby: nothing, until it is promoted.
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
CCProxyWorker::leave_batch($primary, 'app');
$primary->wait_for_catchup($standby);
$primary->stop;
is(CCProxyWorker::batches($standby, 'app'), '1', 'there is something to do');

$standby->promote;
ok($standby->poll_query_until('app', q{SELECT NOT EXISTS (SELECT FROM ccproxy.ingest_batch)}), 'promoted: it is done');
is($standby->safe_psql('postgres', q{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'ccproxy leader'}), '1', 'there is a leader');
unlike(CCProxyWorker::log_from($standby), qr/ERROR:|read-only transaction|recovery is in progress/, 'and nothing went wrong before');

$standby->stop;
done_testing();
