# The gateway keeps the database in order by itself: partitions ahead, trimmed
# keys, fresh rollups; and says so when it cannot.
#
# sanitized: yes
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use CCProxy;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);

my $node = CCProxy::cluster('gateway_maintenance');
sub sql { return $node->safe_psql('metrics', shift) }
sql(q{CREATE ROLE gate LOGIN; SELECT ccproxy.grant_gateway('gate')});
my $url = $node->connstr('metrics') . ' user=gate';

my $PARTITIONS = q{SELECT count(*) FROM pg_inherits WHERE inhparent = 'ccproxy.request_log'::regclass};
my $DROP_ALL = q{DO $$ DECLARE p regclass; BEGIN FOR p IN SELECT inhrelid::regclass FROM pg_inherits WHERE inhparent = 'ccproxy.request_log'::regclass LOOP
	EXECUTE 'DROP TABLE ' || p; END LOOP; END $$};

sub metric
{
	my ($gateway, $name) = @_;
	my ($value) = $gateway->get('/metrics/prometheus')->{content} =~ /^\Qccproxy_gateway_$name\E (\S+)$/m;
	return $value;
}

sub runs { return metric($_[0], 'maintenance_runs_total{outcome="ok"}') }

# --------------------------------------------------------- what it is for

{
	cmp_ok(sql($PARTITIONS), '>', 1, 'there are partitions ahead to begin with');
	sql($DROP_ALL);
	is(sql($PARTITIONS), 0, 'now there are none');
	my $never = CCProxy->start(db_url => $url);
	my @gateways = map { CCProxy->start(db_url => $url, maintenance => '200ms') } 1 .. 2;
	CCProxy::wait_until('partitions', sub { sql(q{SELECT h.partitions_ahead = c.partitions_ahead FROM ccproxy.health h, ccproxy.configuration c}) eq 't' });
	ok(1, 'they come back');

	is($gateways[0]->post({ request_id => 'part', kind => 'request', timestamp => time, model => 'gpt-4' })->{status}, 200, 'a part claims a key');
	is(sql(q{UPDATE ccproxy.request_key SET claimed_at = claimed_at - interval '25 hours' RETURNING request_id}), 'part', 'a day goes by');
	CCProxy::wait_until('the key to be trimmed', sub { sql(q{SELECT count(*) FROM ccproxy.request_key}) == 0 });
	ok(1, 'which goes when the part window is over');

	is($gateways[0]->post({ request_id => 'whole', timestamp => time, model => 'gpt-4', output_tokens => 1 })->{status}, 200, 'an event marks its minute');
	CCProxy::wait_until('rollups', sub { sql(q{SELECT dirty_minutes FROM ccproxy.health}) == 0 });
	ok(1, 'which is rolled up');

	my @before = map { runs($_) } @gateways;
	CCProxy::wait_until('more runs', sub { runs($gateways[0]) > $before[0] + 2 && runs($gateways[1]) > $before[1] + 2 });
	ok(1, 'two gateways do it side by side');
	is(metric($_, 'maintenance_runs_total{outcome="failed"}'), 0, 'without a failure') for @gateways;
	cmp_ok(metric($gateways[0], 'maintenance_last_seconds'), '>', 0, 'how long it takes is measured');
	cmp_ok(metric($gateways[0], 'maintenance_last_seconds'), '<', 60, 'in seconds');
	is(sql(q{SELECT count(*) FROM pg_stat_activity WHERE application_name = 'ccproxy-gateway-maintenance'}), 2, 'each on one connection that has a name');
	is(runs($never), 0, 'with an interval of 0 a gateway leaves it to others');
	is($_->stop, 0, 'a clean end') for @gateways, $never;
	unlike($gateways[0]->log_text . $gateways[1]->log_text, qr/maintenance_(?:lost|warning)/, 'nothing to complain about');
}

# ------------------------------------------------------- hourly partitions

{
	sql($DROP_ALL);
	sql(q{SELECT ccproxy.set_retention(raw => interval '6 hours', partitions => 'hour')});
	sql($DROP_ALL); # even those ahead
	my $gateway = CCProxy->start(db_url => $url);
	my $now = time;
	my $r = $gateway->post([ map { { request_id => "h$_", timestamp => $now - 3600 * $_, model => 'gpt-4' } } 0, 2, 3, 5, 7 ]);
	is_deeply([ @{ $r->{json} }{qw(accepted rejected)} ], [ 4, 1 ], 'events of some hours; one is older than is kept') or diag($r->{content});
	is($r->{json}{errors}[0]{index}, 4, '... the right one');
	is(sql(q{SELECT count(*), max(to_ts - from_ts) FROM ccproxy._partitions()}), '4|01:00:00', 'the hours they need are made, and no others');
	$now = time;
	is($gateway->post([ map { { request_id => "g$_", timestamp => $now - 3600 * $_, model => 'gpt-4' } } 1, 4 ])->{json}{accepted}, 2, 'those between too');
	is($gateway->stop, 0, 'a clean end');
	$gateway = CCProxy->start(db_url => $url, maintenance => '100ms');
	CCProxy::wait_until('hours ahead', sub { sql(q{SELECT partitions_until > now() + interval '1 day' FROM ccproxy.health}) eq 't' });
	ok(1, 'a day is made ahead');
	is($gateway->stop, 0, 'a clean end');
	sql(q{SELECT ccproxy.set_retention(raw => interval '90 days', partitions => 'day')});
}

# ------------------------------------------------------ what can go wrong

{
	sql(q{REVOKE EXECUTE ON PROCEDURE ccproxy.maintain() FROM gate});
	my $gateway = CCProxy->start(db_url => $url, maintenance => '100ms');
	$gateway->wait_for_log(qr/event=maintenance_lost .*permission denied.*grant_gateway\('gate'\)/);
	CCProxy::wait_until('failures', sub { metric($gateway, 'maintenance_runs_total{outcome="failed"}') > 3 });
	my @lines = $gateway->log_text =~ /event=maintenance_lost/g;
	is(scalar(@lines), 1, 'a missing grant is one line, which tells what to do');
	is($gateway->post({ request_id => 'meanwhile', timestamp => time })->{status}, 200, 'events are stored all the same');
	sql(q{SELECT ccproxy.grant_gateway('gate')});
	$gateway->wait_for_log(qr/event=maintenance_recovered outage_ms=/);
	ok(1, 'granted, it goes on and says so');

	sql(q{ALTER FUNCTION ccproxy._job_summaries() RENAME TO _job_summaries_away});
	$gateway->wait_for_log(qr/event=maintenance_warning .*summaries/);
	cmp_ok(metric($gateway, 'maintenance_warnings_total'), '>', 0, 'a job that fails is told and counted');
	sql(q{ALTER FUNCTION ccproxy._job_summaries_away() RENAME TO _job_summaries});

	$node->restart('immediate');
	my $runs = runs($gateway);
	CCProxy::wait_until('a run after the crash', sub { runs($gateway) > $runs });
	ok(1, 'a crash of the server is survived');
	is($gateway->stop, 0, 'a clean end');

	# a run that hangs does not hold up the end
	my $session = $node->background_psql('metrics');
	$session->query_safe('BEGIN; LOCK TABLE ccproxy.configuration IN ACCESS EXCLUSIVE MODE');
	$gateway = CCProxy->start(db_url => $url, maintenance => '100ms', ready => 0);
	sleep 1;
	my $start = time;
	is($gateway->stop, 0, 'stopped while the database does not answer');
	cmp_ok(time - $start, '<', 10, '... soon');
	$session->query_safe('COMMIT');
	$gateway = CCProxy->start(db_url => $url, maintenance => '100ms');
	CCProxy::wait_until('a run', sub { runs($gateway) > 0 });
	$session->query_safe('BEGIN; LOCK TABLE ccproxy.job IN ACCESS EXCLUSIVE MODE');
	$gateway->wait_for_log(qr/event=maintenance_lost .*lock timeout/);
	ok(1, 'a lock in the way is given up on');
	CCProxy::wait_until('it to wait again', sub { sql(q{SELECT count(*) FROM pg_stat_activity WHERE application_name = 'ccproxy-gateway-maintenance' AND wait_event_type = 'Lock'}) > 0 });
	$start = time;
	is($gateway->stop, 0, 'stopped while a run waits');
	cmp_ok(time - $start, '<', 4, '... at once');
	$session->query_safe('COMMIT');
	$session->quit;
}

done_testing();
