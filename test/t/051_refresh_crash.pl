# refresh() dies in the middle: its backend by kill -9, or the whole server. At
# whichever statement that is, nothing is lost, nothing is counted twice, the
# marks are still there, counters stand where they stood, and the next refresh
# carries on (lib/truth.sql compares statistics with the raw rows).
#
# Stops at CCPROXY_CRASH_ROUNDS (10) of its statements, spread over all of them.
use strict;
use warnings;

use FindBin;
use IPC::Run ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $rounds = $ENV{CCPROXY_CRASH_ROUNDS} || 10;

my $node = PostgreSQL::Test::Cluster->new('refresh_crash');
$node->init;
$node->append_conf('postgresql.conf', "extension_destdir = '$ENV{CCPROXY_STAGE}'") if $ENV{CCPROXY_STAGE};
$node->append_conf('postgresql.conf', "restart_after_crash = on\njit = off\n");
$node->start;
$node->safe_psql('postgres', 'CREATE DATABASE metrics');
$node->safe_psql('metrics', q{CREATE EXTENSION ccproxy_metrics; SELECT ccproxy.create_metrics_table()});
$node->safe_psql('metrics', slurp_file("$FindBin::Bin/lib/truth.sql"));

# Every statement of refresh() that writes passes here; the one whose turn it is
# waits for a lock that the test holds.
$node->safe_psql('metrics', q{
	UPDATE ccproxy.rollup_state SET quarters_closed = date_bin('15 minutes', now() - interval '3 days', '2000-01-01Z'), hours_closed = date_bin('1 hour', now() - interval '3 days', '2000-01-01Z'), days_closed = date_bin('1 day', now() - interval '3 days', '2000-01-01Z'),
		user_hours_closed = date_bin('1 hour', now() - interval '3 days', '2000-01-01Z'), user_days_closed = date_bin('1 day', now() - interval '3 days', '2000-01-01Z');
	CREATE SEQUENCE public.statement;
	CREATE TABLE public.stop (at bigint);
	INSERT INTO public.stop VALUES (0);
	CREATE FUNCTION public.passed() RETURNS trigger LANGUAGE plpgsql AS $$
	BEGIN
		IF nextval('public.statement') = (SELECT at FROM public.stop) THEN
			PERFORM pg_advisory_lock(42);
		END IF;
		RETURN NULL;
	END $$;
});
for my $table (qw(rollup_service rollup_user rollup_state counter_total service_key user_key))
{
	$node->safe_psql('metrics', "CREATE TRIGGER passed AFTER INSERT OR UPDATE OR DELETE ON ccproxy.$table FOR EACH STATEMENT EXECUTE FUNCTION public.passed()");
}
$node->safe_psql('metrics', 'CREATE TRIGGER passed AFTER DELETE ON ccproxy.dirty_minute FOR EACH STATEMENT EXECUTE FUNCTION public.passed()');

my $n = 0;

# Some requests of now and of days ago, some in parts, failures, costs.
sub traffic
{
	my $from = $n + 1;
	$n += 120;
	$node->safe_psql('metrics', qq{
		SELECT accepted FROM ccproxy.ingest((SELECT jsonb_agg(jsonb_build_object('request_id', 'r' || i, 'timestamp', now() - make_interval(mins => (i * 37) % 2800),
			'model', (ARRAY['gpt-4', 'claude-3-opus', 'none'])[1 + i % 3] || CASE WHEN i % 40 = 0 THEN i::text ELSE '' END, 'user_id', 'u' || i % 7, 'endpoint_type', 'openai', 'method', 'POST',
			'status_code', CASE WHEN i % 9 = 0 THEN 500 ELSE 200 END, 'response_time_ms', i, 'input_tokens', i * 3, 'output_tokens', i)) FROM generate_series($from, $n) AS i));
		SELECT accepted FROM ccproxy.ingest((SELECT jsonb_agg(jsonb_build_object('kind', 'token_usage', 'request_id', 'p' || i % 10, 'timestamp', now() - make_interval(mins => i),
			'model', 'gpt-4', 'output_tokens', i, 'status_code', CASE WHEN i % 2 = 0 THEN 200 END)) FROM generate_series($from, $from + 20) AS i))});
}

my $state = q{SELECT (SELECT md5(string_agg(s::text, ' ' ORDER BY family, label_values)) FROM ccproxy.counter_total s), (SELECT count(*) FROM ccproxy.dirty_minute),
	(SELECT s::text FROM ccproxy.rollup_state s), (SELECT md5(string_agg(r::text, ' ' ORDER BY grain, bucket)) FROM ccproxy.rollup_service r),
	(SELECT md5(string_agg(r::text, ' ' ORDER BY grain, bucket)) FROM ccproxy.rollup_user r), (SELECT count(*) FROM ccproxy.request_log)};

my @questions = map { "truth.check(now() - interval '10 days', now(), $_, 'UTC')" }
	('NULL, NULL', "'day,model', NULL", "'user', NULL", "'hour', '{\"status\": 500}'", "'error_type,endpoint', NULL");

sub right
{
	my ($what) = @_;
	my $answers = $node->safe_psql('metrics', join(";\n", map { "SELECT $_" } @questions, 'truth.check_views()', 'truth.check_counters()'));
	is(scalar(() = $answers =~ /^ok/mg), 7, "$what: statistics equal raw, counters do not fall") or diag($answers);
}

sub refresh_all
{
	for (1 .. 100)
	{
		return 1 if $node->safe_psql('metrics', q{SELECT ccproxy.refresh(100)}) == 0;
	}
}

# psql beside the test; its connection dies with the server
sub beside
{
	return IPC::Run::start([ 'psql', '-X', '-q', '-d', $node->connstr('metrics') . " application_name=$_[0]", '-c', $_[1] ], '<', \undef, '>', '/dev/null', '2>', '/dev/null');
}

traffic();
ok(refresh_all(), 'rolled up');
right('at first');
traffic();
my $first = $node->safe_psql('metrics', q{SELECT last_value FROM public.statement});
$node->safe_psql('metrics', q{SELECT ccproxy.refresh(100)});
my $statements = $node->safe_psql('metrics', q{SELECT last_value FROM public.statement}) - $first;
cmp_ok($statements, '>', 12, "refresh() writes in $statements statements");

for my $round (1 .. $rounds)
{
	my $nth = $round == $rounds ? $statements : 1 + int(($round - 1) * $statements / $rounds);
	my $how = $round % 2 ? 'its backend is killed' : 'the server is';
	traffic();
	my $before = $node->safe_psql('metrics', $state);
	my @beside = beside('holder', 'SELECT pg_advisory_lock(42); SELECT pg_sleep(600)');
	ok($node->poll_query_until('metrics', q{SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND objid = 42 AND granted)}), "statement $nth is waited for");
	$node->safe_psql('metrics', qq{UPDATE public.stop SET at = (SELECT last_value FROM public.statement) + $nth});
	push @beside, beside('refresher', 'SELECT ccproxy.refresh(100)');
	my $where = q{FROM pg_stat_activity WHERE application_name = 'refresher' AND wait_event = 'advisory'};
	ok($node->poll_query_until('metrics', "SELECT EXISTS (SELECT $where)"), 'refresh() is there');
	my $pid = $node->safe_psql('metrics', "SELECT pid $where");
	if ($round % 2)
	{
		# this kills every backend: the server starts anew by itself
		kill('KILL', $pid);
		$_->finish for @beside;
		ok($node->poll_query_until('metrics', 'SELECT true'), 'the server is back');
	}
	else
	{
		$node->stop('immediate');
		$_->finish for @beside;
		$node->start;
	}
	is($node->safe_psql('metrics', $state), $before, "at statement $nth $how: all is as it was");
	right('before the next refresh');
	$node->safe_psql('metrics', 'UPDATE public.stop SET at = 0');
	ok(refresh_all(), 'which carries on');
	is($node->safe_psql('metrics', q{SELECT dirty_minutes FROM ccproxy.health}), '0', 'with every mark');
	right('after it');
}

$node->stop;
done_testing();
