# UNLOGGED partitions and a crash of the server: what was rolled up stays as it
# was, what comes later is added to it, also into the same minute; only rows that
# nobody had rolled up are lost. With logged partitions a crash changes nothing.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('unlogged');
$node->init(allows_streaming => 1);
$node->append_conf('postgresql.conf', "extension_destdir = '$ENV{CCPROXY_STAGE}'") if $ENV{CCPROXY_STAGE};
$node->start;

sub sql { return $node->safe_psql(@_) }

my $REFRESH = q{DO $$ BEGIN LOOP EXIT WHEN ccproxy.refresh() = 0; COMMIT; END LOOP; END $$};
my $TODAY = sql('postgres', q{SELECT date_trunc('day', now(), 'UTC')});
my $RANGE = "timestamptz '$TODAY' - interval '5 days', timestamptz '$TODAY' + interval '3 days'";

# What a database tells of its requests, by everything rollups carry.
my @QUESTIONS = (
	(map { "SELECT * FROM ccproxy.stats($RANGE, $_)" } 'NULL', "'model'", "'user'", "'hour'", "'day,user'", "'status'"),
	q{SELECT * FROM ccproxy.prometheus_samples()},
	q{SELECT ts, sum(requests), sum(total_cost) FROM ccproxy.requests_by_hour GROUP BY 1},
	q{SELECT ts, user_id, sum(requests), sum(total_cost) FROM ccproxy.usage_by_user GROUP BY 1, 2});

sub answers
{
	my ($db) = @_;
	return join("\n--\n", map { sql($db, "SELECT x::text FROM ($_) AS x ORDER BY 1") } @QUESTIONS);
}

sub total
{
	my ($db, $filters) = @_;
	$filters //= '{}';
	return sql($db, "SELECT total_requests, output_tokens FROM ccproxy.stats($RANGE, NULL, '$filters')");
}

# The same by both cubes and the counters: count and tokens; by users there is
# one user, who made everything.
sub totals
{
	my ($db) = @_;
	my $service = total($db);
	is(total($db, '{"user": "u"}'), $service, "... by users as well");
	is(sql($db, q{SELECT sum("true") FROM ccproxy.counter_total WHERE family = 'requests'}) . '|'
		  . sql($db, q{SELECT sum("true") FROM ccproxy.counter_total WHERE family = 'tokens' AND label_values[2] = 'output'}), $service, '... and by counters');
	return $service;
}

sub event
{
	my ($db, $id, $ts, $rest) = @_;
	is(sql($db, "SELECT accepted FROM ccproxy.ingest(jsonb_build_object('request_id', '$id', 'timestamp', $ts, 'user_id', 'u', 'model', 'gpt-4', "
			  . "'output_tokens', 10, 'response_time_ms', 5" . ($rest // q{, 'status_code', 200}) . '))'), 1, "event $id");
}

sub crash
{
	$node->stop('immediate');
	$node->start;
}

# Traffic of 25 hours up to now, rolled up; and when the minutes are that the
# test comes back to: one in the open hour, one in an hour that is closed.
sub make
{
	my ($db, $storage) = @_;
	sql('postgres', "CREATE DATABASE $db");
	sql($db, qq{CREATE EXTENSION ccproxy_metrics; SELECT ccproxy.create_metrics_table(); SELECT ccproxy.set_storage('$storage');
		UPDATE ccproxy.rollup_state SET quarters_closed = ccproxy._bucket('q', now() - interval '2 days'), hours_closed = ccproxy._bucket('h', now() - interval '2 days'), days_closed = ccproxy._bucket('d', now() - interval '2 days'),
			user_hours_closed = ccproxy._bucket('h', now() - interval '2 days'), user_days_closed = ccproxy._bucket('d', now() - interval '2 days');
		CREATE TABLE public.moment AS SELECT now() AS at, now() - interval '3 hours' AS closed;
		SELECT accepted FROM ccproxy.ingest((SELECT jsonb_agg(jsonb_build_object('request_id', 'r' || i, 'timestamp', at - make_interval(mins => i % 300 * 5),
			'user_id', 'u', 'model', 'gpt-4', 'output_tokens', i, 'status_code', 200, 'response_time_ms', i)) FROM public.moment, generate_series(1, 600) AS i));
	});
	sql($db, $REFRESH) for 1 .. 30; # closes as it goes
	cmp_ok(sql($db, q{SELECT count(*) FROM ccproxy.rollup_user WHERE grain = 'h'}), '>', 20, "$db: hours are closed");
}

my $AT = '(SELECT at FROM public.moment)';
my $CLOSED = '(SELECT closed FROM public.moment)';

# ---------------------------------------------------------------- unlogged
{
	my $db = 'unlogged';
	make($db, 'unlogged');
	is(sql($db, q{SELECT count(*) FILTER (WHERE relpersistence <> 'u'), count(*) > 0 FROM pg_inherits JOIN pg_class c ON c.oid = inhrelid WHERE inhparent = 'ccproxy.request_log'::regclass}),
		'0|t', 'partitions that were empty are unlogged from the start');
	is(totals($db), '600|180300', 'everything is rolled up');
	my $before = answers($db);
	event($db, 'lost', $AT);
	crash();

	is(sql($db, 'SELECT count(*) FROM ccproxy.request_log'), 0, 'the crash has emptied the raw rows');
	is(answers($db), $before, 'statistics, views and samples are those before it, at once');
	is(sql($db, q{SELECT period_end - period_start >= interval '1 minute' FROM ccproxy.stats(} . "$CLOSED, $CLOSED + interval '1 second')"), 't', 'ranges snap outward');
	sql($db, 'SELECT ccproxy.create_metrics_table()');
	is(answers($db), $before, 'also when somebody makes the tables again');
	sql($db, $REFRESH);
	is(answers($db), $before, 'and after a refresh');
	is(totals($db), '600|180300', 'nothing else was counted');
	is(sql($db, 'SELECT lost_minutes, lost <> \'{}\' FROM ccproxy.health'), '1|t', 'the lost minute is told');
	is(sql($db, 'SELECT count(*) FROM ccproxy.dirty_minute'), 0, 'its mark is gone');

	event($db, 'same minute', $AT);
	event($db, 'closed hour', $CLOSED);
	sql($db, $REFRESH);
	is(totals($db), '602|180320', 'new events in the same minutes are added');
	event($db, 'same minute again', $AT);
	event($db, 'now', 'clock_timestamp()');
	sql($db, $REFRESH) for 1 .. 2;
	is(totals($db), '604|180340', 'once, however often these are recomputed');
	sql($db, "BEGIN; DELETE FROM ccproxy.request_log WHERE request_id = 'closed hour'; SELECT ccproxy.mark_dirty($CLOSED - interval '1 minute', $CLOSED + interval '1 minute'); COMMIT");
	sql($db, $REFRESH);
	is(totals($db), '603|180330', 'and follow what happens to the new ones');

	# parts: the row of an earlier part is gone
	event($db, 'parts', $AT, q{, 'kind', 'request'});
	sql($db, $REFRESH);
	is(total($db), '604|180340', 'a part is rolled up');
	crash();
	event($db, 'parts', $AT, q{, 'kind', 'response', 'status_code', 200});
	sql($db, $REFRESH);
	is(total($db), '605|180350', 'a part that comes after a crash is not merged with what is gone');
	$before = answers($db);
	crash();
	is(answers($db), $before, 'a third crash');
	event($db, 'same minute once more', $AT);
	sql($db, $REFRESH) for 1 .. 2;
	is(total($db), '606|180360', 'counts nothing twice');

	# an event before the crash is noted
	crash();
	event($db, 'before it is noted', $AT);
	is(total($db), '606|180360', 'rollups answer');
	sql($db, $REFRESH);
	is(total($db), '607|180370', 'until the next refresh');
	is(sql($db, q{SELECT bool_and(exposed >= "true") FROM ccproxy.counter_total}), 't', 'no counter fell');

	# a standby has no UNLOGGED tables at all
	$before = answers($db);
	$node->backup('base');
	my $standby = PostgreSQL::Test::Cluster->new('unlogged_standby');
	$standby->init_from_backup($node, 'base', has_streaming => 1);
	$standby->start;
	$node->wait_for_catchup($standby, 'replay', $node->lsn('write'));
	is(join("\n--\n", map { $standby->safe_psql($db, "SELECT x::text FROM ($_) AS x ORDER BY 1") } @QUESTIONS[ 0 .. 6 ]),
		join("\n--\n", (split /\n--\n/, $before)[ 0 .. 6 ]), 'a standby answers from rollups');
	$standby->stop;

	# what is kept no longer in the finest grain cannot be recomputed
	sql($db, q{UPDATE ccproxy.rollup_state SET days_closed = ccproxy._bucket('d', now()), user_days_closed = ccproxy._bucket('d', now()) WHERE days_closed < ccproxy._bucket('d', now());
		UPDATE ccproxy.rollup_state SET minutes_from = days_closed, quarters_from = days_closed, hours_from = user_days_closed});
	my $day = sql($db, "SELECT timestamptz '$TODAY' - interval '1 day'");
	my $yesterday = "SELECT total_requests FROM ccproxy.stats('$day', '$day'::timestamptz + interval '1 day')";
	my $count = sql($db, $yesterday);
	cmp_ok($count, '>', 0, 'a day that has lost its rows');
	event($db, 'too late', "'$day'::timestamptz + interval '23 hours 59 minutes'");
	sql($db, $REFRESH);
	is(sql($db, $yesterday), $count, 'is not zeroed by a late mark');
	is(sql($db, 'SELECT discarded_marks FROM ccproxy.health'), 1, 'which is discarded and counted');
}

# ----------------------------------------------------- dumps without the rows
{
	my $db = 'dumped';
	make($db, 'unlogged');
	my $before = answers($db);
	my $dump = $node->basedir . '/dumped.sql';
	command_ok([ 'pg_dump', '-h', $node->host, '-p', $node->port, '--no-unlogged-table-data', '-f', $dump, $db ], 'pg_dump without unlogged data');
	sql('postgres', 'CREATE DATABASE restored');
	command_ok([ 'psql', '-X', '-q', '-1', '-v', 'ON_ERROR_STOP=1', '-h', $node->host, '-p', $node->port, '-d', 'restored', '-f', $dump ], 'restored');
	is(answers('restored'), $before, 'counts as a crash: statistics are the same');
	event('restored', 'same minute', $AT);
	sql('restored', $REFRESH);
	is(totals('restored'), '601|180310', 'and go on');
}

# ------------------------------------------------------------------- logged
{
	my $db = 'logged';
	make($db, 'logged');
	event($db, 'kept', $AT);
	my $before = answers($db);
	crash();
	is(sql($db, 'SELECT count(*) FROM ccproxy.request_log'), 601, 'logged rows survive');
	is(answers($db), $before, 'so do statistics, fresh to the last commit');
	sql($db, $REFRESH);
	is(totals($db), '601|180310', 'and what was not rolled up is');
	is(sql($db, q{SELECT lost, lost_minutes FROM ccproxy.health}), '{}|0', 'nothing is lost');
	is(sql($db, 'SELECT count(*) FROM ccproxy.rollup_base'), 0, 'nothing put aside');
}

# -------------------------------------------------------------------- mixed
{
	my $db = 'mixed';
	make($db, 'logged');
	sql($db, q{SELECT ccproxy.set_storage('unlogged')});
	is(sql($db, q{SELECT string_agg(DISTINCT relpersistence::text, '' ORDER BY relpersistence::text) FROM pg_inherits JOIN pg_class c ON c.oid = inhrelid WHERE inhparent = 'ccproxy.request_log'::regclass}),
		'pu', 'partitions with rows stay logged');
	# a day after tomorrow's row, put there by hand, is rolled up and lost
	my $later = "timestamptz '$TODAY' + interval '2 days 1 hour'";
	sql($db, "INSERT INTO ccproxy.request_log (ts, request_id, user_id, model, output_tokens, status_code) VALUES ($later, 'ahead', 'u', 'gpt-4', 10, 200);
		SELECT ccproxy.mark_dirty($later, $later + interval '1 minute')");
	sql($db, $REFRESH);
	is(total($db), '601|180310', 'a row in each kind');
	crash();
	sql($db, $REFRESH);
	is(totals($db), '601|180310', 'what was logged is read, what was not is remembered');
	event($db, 'logged late', $CLOSED);
	sql($db, $REFRESH);
	is(totals($db), '602|180320', 'a late event in a logged time is not added to a base');
}

$node->stop;
done_testing();
