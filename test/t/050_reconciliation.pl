# sanitized: no
# Statistics equal raw: random histories of a database - events by every way in,
# late ones, parts, duplicates, repricing, another source of costs, changes by
# hand, refreshes at random moments, closings, partitions of other lengths, their
# drops, trimmed rollups, a crash, UNLOGGED partitions that it empties, a dump and
# restore - and after each step random questions, whose answers must equal the
# same aggregate over a copy of the raw rows that never expires (lib/truth.sql):
# counts, sums and costs exactly, quantiles within the sketch's bound. What
# Prometheus is shown must never fall, whatever happens.
#
# CCPROXY_RECONCILE_ROUNDS (8) histories from CCPROXY_RECONCILE_SEED (1), counted
# from CCPROXY_RECONCILE_FIRST (1); the long form is `make reconcile`.
use strict;
use warnings;

use FindBin;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $rounds = $ENV{CCPROXY_RECONCILE_ROUNDS} || 8;
my $seed = $ENV{CCPROXY_RECONCILE_SEED} || 1;
my $first = $ENV{CCPROXY_RECONCILE_FIRST} || 1;
my $steps = 30;

my $node = PostgreSQL::Test::Cluster->new('reconciliation');
$node->init;
$node->append_conf('postgresql.conf', "extension_destdir = '$ENV{CCPROXY_STAGE}'") if $ENV{CCPROXY_STAGE};
$node->append_conf('postgresql.conf', "fsync = off\njit = off\nautovacuum_naptime = 5s\n");
$node->start;

my $oracle = slurp_file("$FindBin::Bin/lib/truth.sql");

# Moments at which clocks change, in seconds before now: the last of each zone.
my @dst = split /\n/, $node->safe_psql('postgres', q{
	SELECT extract(epoch FROM now() - max(t))::bigint
	  FROM unnest(ARRAY['Europe/Berlin', 'America/New_York', 'Australia/Lord_Howe', 'Pacific/Chatham']) AS zone,
	       generate_series(date_trunc('hour', now()) - interval '370 days', now() - interval '2 days', interval '30 minutes') AS t
	 WHERE (t AT TIME ZONE zone) - ((t - interval '1 second') AT TIME ZONE zone) <> interval '1 second' GROUP BY zone ORDER BY 1});

my ($state) = ($seed);

# a generator of our own, so that a seed means the same everywhere
sub rnd
{
	my ($n) = @_;
	$state = ($state * 1103515245 + 12345) & 0x7fffffff;
	return ($state >> 8) % $n;
}

sub pick { return $_[ rnd(scalar @_) ]; }

my $now = time;
my $unlogged; # this history's partitions are, most of them

# A moment, in seconds since the epoch: mostly recent, in bursts, seldom days
# ago, or about the time that clocks change somewhere.
sub moment
{
	my $back = pick(rnd(300), rnd(300), rnd(7200), rnd(86400), rnd(86400 * 12), rnd(86400 * 12), pick(@dst) - 10800 + rnd(21600));
	return sprintf '%d.%06d', $now - $back, rnd(1000000);
}

sub at { return "to_timestamp($_[0])"; }

my @models = ('gpt-4', 'claude-3-opus', 'claude-3-haiku', 'mystery-1');

# One event: names and values, as JSON has them.
sub event
{
	my ($id, $kind) = @_;
	my %e = (request_id => "\"$id\"");
	$e{kind} = "\"$kind\"" if $kind;
	$e{timestamp} = moment() if !$kind || rnd(4);
	$e{model} = '"' . pick(@models) . '"' if rnd(8);
	$e{user_id} = '"u' . rnd(6) . '"' if rnd(8);
	$e{team_id} = '"' . pick('red', 'blue') . '"' if rnd(2);
	$e{api_key} = '"k' . rnd(3) . '"' if rnd(2);
	$e{session_id} = '"s' . rnd(4) . '"' if rnd(3) == 0;
	$e{endpoint_type} = '"' . pick('openai', 'anthropic') . '"' if rnd(6);
	$e{method} = '"' . pick('POST', 'GET') . '"' if rnd(3);
	$e{provider} = '"' . pick('azure', 'bedrock') . '"' if rnd(4) == 0;
	$e{service_tier} = '"batch"' if rnd(10) == 0;
	$e{status_code} = pick(200, 200, 200, 201, 429, 500) if rnd(6) && (!$kind || $kind ne 'request');
	$e{error_type} = '"' . pick('overloaded', 'timeout') . '"' if rnd(20) == 0;
	$e{error_message} = '"it broke"' if rnd(15) == 0;
	$e{response_time_ms} = rnd(100000) / 7 if rnd(5);
	$e{ttft_ms} = rnd(10000) / 3 if rnd(3) == 0;
	$e{input_tokens} = rnd(10000) if rnd(6);
	$e{output_tokens} = rnd(3000) if rnd(6);
	$e{cache_read_tokens} = rnd(5000) if rnd(3) == 0;
	$e{cache_write_tokens} = rnd(500) if rnd(5) == 0;
	$e{cache_write_1h_tokens} = rnd(500) if rnd(7) == 0;
	$e{reported_cost} = rnd(1000) / 1000 if rnd(3) == 0;
	$e{metadata} = '{"tag": ' . rnd(3) . '}' if rnd(5) == 0;
	return \%e;
}

sub json
{
	my ($e) = @_;
	return '{' . join(', ', map { "\"$_\": $e->{$_}" } sort keys %$e) . '}';
}

sub ingest
{
	return "SELECT 'ok ' || count(*) FROM ccproxy.ingest('[" . join(",\n", @_) . "]');";
}

my $next_id = 0;
my @sent;

sub new_events
{
	my ($n) = @_;
	my @e = map { event('e' . $next_id++) } 1 .. $n;
	push @sent, map { json($_) } @e;
	return @e;
}

# COPY ... FROM STDIN with these columns of events
sub copy
{
	my ($target, $columns, @rows) = @_;
	return "COPY $target (" . join(', ', @$columns) . ") FROM STDIN;\n"
	  . join('', map { my $r = $_; join("\t", map { my $v = $r->{$_} // '\\N'; $v =~ s/^"(.*)"$/$1/; $v } @$columns) . "\n" } @rows) . "\\.\n";
}

# A time, as COPY takes it
sub stamp
{
	my ($moment) = @_;
	my ($s, $us) = split /\./, $moment;
	my @t = gmtime($s);
	return sprintf '%04d-%02d-%02d %02d:%02d:%02d.%s+00', $t[5] + 1900, $t[4] + 1, @t[ 3, 2, 1, 0 ], $us;
}

# Everything rolled up, and all of it asked for by each cube: what a step has
# changed without a mark stays wrong then.
sub rolled_up
{
	return join "\n", 'SELECT truth.roll_up();',
	  map { sprintf 'SELECT truth.check(%s, %s, %s, NULL, %s);', at($now - 13 * 86400), at($now + 600), @$_ } [ 'NULL', "'UTC'" ], [ "'day,model'", "'Europe/Berlin'" ], [ "'user'", "'UTC'" ];
}

# One step of a history, as SQL.
my @ways = (
	# events, some of them sent before
	(sub { return ingest((map { json($_) } new_events(1 + rnd(40))), @sent ? map { pick(@sent) } 1 .. rnd(6) : ()) }) x 6,
	# parts of requests, which come in any order, or twice
	(sub {
		my @e = map { json(event('p' . rnd(60), pick('request', 'response', 'token_usage', 'cost', 'error'))) } 1 .. 1 + rnd(15);
		push @sent, @e;
		return ingest(@e);
	}) x 4,
	# a whole request that has come in parts, or will
	sub { return ingest(map { json(event('p' . rnd(60))) } 1 .. 3) },
	# the view
	sub {
		my @e = new_events(1 + rnd(10));
		$_->{ts} = stamp($_->{timestamp}) for @e;
		my @columns = qw(request_id ts model user_id endpoint_type method status_code error_type response_time_ms input_tokens output_tokens reported_cost);
		return copy('ccproxy.requests', \@columns, @e) if rnd(2);
		return join "\n", map { my $e = $_; my @c = grep { defined $e->{$_} } @columns;
			'INSERT INTO ccproxy.requests (' . join(', ', @c) . ') VALUES (' . join(', ', map { my $v = $e->{$_}; $v =~ s/^"(.*)"$/$1/; "'$v'" } @c) . ');' } @e;
	},
	# a gateway: COPY and marks in one transaction
	sub {
		my @e = map { event('g' . $next_id++) } 1 .. 1 + rnd(40);
		for my $e (@e)
		{
			$e->{ts} = stamp($e->{timestamp});
			$e->{response_time_us} = rnd(20000000) if rnd(4);
			($e->{input_cost}, $e->{output_cost}, $e->{price_id}) = (rnd(1000000), rnd(1000000), 4) if rnd(3);
		}
		my $minutes = join ', ', map { at($_->{timestamp}) } @e;
		return "SELECT ccproxy.ensure_partitions(t, t) >= 0 FROM unnest(ARRAY[$minutes]) AS t;\nBEGIN;\n"
		  . copy('ccproxy.request_log', [qw(request_id ts model user_id team_id endpoint_type method status_code error_type response_time_us input_tokens input_cost output_cost price_id)], @e)
		  . "INSERT INTO ccproxy.dirty_minute (minute) SELECT DISTINCT date_trunc('minute', t) FROM unnest(ARRAY[$minutes]) AS t;\nCOMMIT;";
	},
	(sub { return 'SELECT ccproxy.refresh(' . pick(1, 3, 50, 1000) . ');' }) x 4,
	(sub { return 'CALL ccproxy.maintain();' }) x 2,
	# other prices, and the past by them
	sub {
		my $m = moment();
		return "SET client_min_messages = error; SELECT ccproxy.set_price('" . pick(@models) . "', " . rnd(40) . ', ' . rnd(90) . ", effective_from => " . at($m) . ") > 0; RESET client_min_messages;\n"
		  . 'CALL ccproxy.reprice(' . pick('', "from_ts => " . at($m), "only_unpriced => true", "model => '" . pick(@models) . "', batch_rows => 7") . ');';
	},
	# the other of the two sources of costs
	sub {
		return join "\n", rnd(2) ? 'SELECT truth.roll_up();' : (),
		  q{SELECT ccproxy.set_cost_source(CASE cost_source WHEN 'computed' THEN 'reported_if_unpriced' ELSE 'computed' END) >= 0 FROM ccproxy.configuration;}, rolled_up();
	},
	# somebody changes, moves or deletes rows by hand, and says so
	(sub {
		# about an old row there is mostly no other: what is left of it is in rollups
		my ($old, $salt) = (rnd(4), rnd(1000));
		my $m = $old ? ":'m'::timestamptz" : at(moment());
		# and where finer grains than some have just expired
		my $coarse = !$unlogged && $old == 1 ? "SELECT truth.roll_up();\n" . sprintf("SELECT truth.expire('399 days', '1 day', '%d days', '%d days');\n", pick(1, 4, 399), pick(1, 4, 399)) : '';
		my $choose = $old ? "SELECT coalesce((SELECT l.ts + interval '20 minutes' FROM ccproxy.request_log l WHERE l.ts < now() - interval '1 day' AND l.parts IS NULL"
		  . " ORDER BY md5(l.request_id || '$salt') LIMIT 1), now()) AS m \\gset\n" : '';
		my $hour = "ts >= $m - interval '1 hour' AND ts < $m";
		my $change = pick(
			"UPDATE ccproxy.request_log SET input_cost = coalesce(input_cost, 0) + 7, price_id = 4, status_code = 503 WHERE $hour;",
			"UPDATE ccproxy.request_log SET model = 'renamed', user_id = NULL, output_tokens = NULL WHERE $hour AND parts IS NULL;",
			"UPDATE ccproxy.request_log SET ts = ts - interval '61 minutes' WHERE $hour AND parts IS NULL;",
			("DELETE FROM ccproxy.request_log WHERE $hour AND parts IS NULL;") x 2);
		return $coarse . $choose . "SELECT ccproxy.ensure_partitions($m - interval '1 day', $m) >= 0;\nBEGIN; $change SELECT ccproxy.mark_dirty($m - interval '3 hours', $m) >= 0; COMMIT;" . ($coarse || rnd(2) ? "\n" . rolled_up() : '');
	}) x 3,
	# marks without a change, of a minute or a moment of it, also of times whose raw rows have expired
	(sub { return 'INSERT INTO ccproxy.dirty_minute (minute) VALUES ' . join(', ', map { '(' . pick("ccproxy._bucket('m', " . at(moment()) . ')', at(moment())) . ')' } 1 .. 1 + rnd(20)) . ';' }) x 2,
	sub { return "INSERT INTO ccproxy.dirty_minute (minute) SELECT raw_from - interval '1 minute' * i FROM ccproxy.rollup_state, generate_series(1, " . (1 + rnd(5)) . ') AS i WHERE isfinite(raw_from);' },
	# detail expires
	(sub {
		my $minutes = 1 + rnd(8);
		my @finer = ($minutes, $minutes + pick(0, rnd(6), 300), 1 + rnd(10));
		# what comes late for a time that has lost both raw rows and minutes is discarded
		@finer = (399) x 3 if $unlogged;
		return join("\n", ('SELECT ccproxy.refresh(1000);') x 5)
		  . sprintf "\nSELECT truth.expire('%d days %d hours', '%d days', '%d days', '%d days');", pick(2 + rnd(12), 200, 370), rnd(24), @finer;
	}) x 2,
	# partitions of another length from now on
	(sub { return "SELECT ccproxy.set_retention(partitions => '" . pick('hour', 'hour', 'day', 'week') . "') IS NULL;" }) x 2,
	# new partitions of the other kind
	sub { return $unlogged ? "SELECT ccproxy.set_storage('" . pick('unlogged', 'unlogged', 'logged') . "') IS NULL;" : 'SELECT ccproxy.refresh();' },
	# as after a restore into another cluster, or a clone of the same, where transaction ids are smaller
	sub { return 'UPDATE ccproxy.rollup_state SET system_identifier = ' . pick('1', 'system_identifier') . ", marks_from = '4611686018427387904';" });

my @times = qw(minute quarter hour day);
my @dimensions = qw(model endpoint method status error_type user team api_key session provider service_tier);
my %values = (model => [ map { "\"$_\"" } @models, 'renamed' ], endpoint => [ '"openai"', '"anthropic"' ], method => [ '"POST"', '"GET"' ],
	status => [ 200, '"201"', 429, 500, 503 ], error_type => [ '"overloaded"', '"http_429"', '"unknown"' ], state => [ '"failed"', '"successful"', '"in_flight"' ],
	user => [ map { "\"u$_\"" } 0 .. 5 ], team => [ '"red"', '"blue"' ], session => [ map { "\"s$_\"" } 0 .. 3 ], provider => [ '"azure"', '"bedrock"' ],
	service_tier => ['"batch"'], api_key => ['"nobody"']);

sub filter
{
	my ($name) = @_;
	return "\"metadata\": {\"tag\": " . rnd(3) . '}' if $name eq 'metadata';
	my @v = map { pick(@{ $values{$name} }) } 1 .. 1 + rnd(3);
	push @v, 'null' if $name ne 'state' && rnd(4) == 0;
	return "\"$name\": " . (@v == 1 || rnd(3) == 0 ? $v[0] : $name ne 'state' && rnd(8) == 0 ? 'null' : '[' . join(', ', @v) . ']');
}

sub question
{
	return 'SELECT truth.check_views();' if rnd(20) == 0;
	my @g = rnd(4) == 0 ? () : (pick(@times, @dimensions, @dimensions));
	if (@g && rnd(2))
	{
		my $other = pick(@times, @dimensions);
		push @g, $other unless $other eq $g[0] || 2 == grep { my $t = $_; grep { $_ eq $t } @times } @g, $other;
	}
	my %filters = map { $_ => 1 } rnd(2) ? () : map { pick(keys_of(), 'state', 'metadata') } 1 .. 1 + rnd(2);
	my $zone = pick('UTC', 'UTC', 'Europe/Berlin', 'America/New_York', 'Asia/Kolkata', 'Asia/Kathmandu', 'Australia/Lord_Howe', 'Pacific/Chatham', 'America/St_Johns', '+03', '<X>-5:07');
	my $change = $now - pick(@dst);
	my ($from, $to) = sort { $a <=> $b } pick(
		[ $now - 3600, $now ], [ $now - 86400, $now + 600 ], [ $now - 13 * 86400, $now ], [ $now - 380 * 86400, $now + 86400 ], [ moment(), moment() ], [ moment(), moment() ],
		[ moment(), $now ], [ (map { 60 * int($_ / 60) } moment(), moment()) ], [ (map { 3600 * int($_ / 3600) } moment(), moment()) ],
		[ (map { 86400 * int($_ / 86400) } moment(), $now - 2 * 86400) ], [ $change - 3600 * rnd(30), $change + 3600 * rnd(30) ], [ ($now - 7777) x 2 ])->@*;
	return sprintf "SELECT truth.check(%s, %s, %s, %s, '%s');", at($from), at($to), @g ? "'" . join(',', @g) . "'" : 'NULL',
	  %filters ? "'{" . join(', ', map { filter($_) } sort keys %filters) . "}'" : pick('NULL', 'NULL', "'{}'"), $zone;
}

sub keys_of { return @dimensions; }

sub steps
{
	my ($n) = @_;
	my $sql = "\\set QUIET on\n\\pset tuples_only on\n\\pset format unaligned\n";
	for (1 .. $n)
	{
		$sql .= pick(@ways)->() . "\n";
		$sql .= "SELECT truth.check_counters();\n";
		$sql .= question() . "\n" for 1 .. 3;
	}
	return $sql;
}

# What befalls a database between two parts of its life.
my %fates = (
	nothing => sub { },
	crash => sub { $node->stop('immediate'); $node->start; },
	# the same as another database; rows of UNLOGGED partitions are dumped or not
	move => sub {
		my ($db, $live) = @_;
		my @lose = $unlogged && rnd(2) ? ('--no-unlogged-table-data') : ();
		$live->('SELECT truth.lose();') if @lose;
		my $dump = $node->basedir . '/dump';
		$node->command_ok([ 'pg_dump', '-Fc', @lose, '-f', $dump, $$db ], "$$db is dumped");
		$node->safe_psql('postgres', "CREATE DATABASE ${$db}b");
		$node->command_ok([ 'pg_restore', '-1', '--exit-on-error', '-d', "${$db}b", $dump ], 'and restored');
		$node->safe_psql('postgres', "DROP DATABASE $$db");
		$$db .= 'b';
	},
	# a crash that empties partitions
	loss => sub {
		my ($db, $live) = @_;
		$live->('SELECT truth.lose();');
		$node->stop('immediate');
		$node->start;
	});

# What lives are like: UNLOGGED or not, and their turns.
my @lives = ([ 0, 'crash' ], [ 0, 'move' ], [ 1, 'loss', 'loss' ], [ 0, 'nothing' ], [ 1, 'move', 'loss' ]);

for my $round ($first .. $first + $rounds - 1)
{
	my $db = "r$round";
	my $start = $state;
	my @turns;
	($unlogged, @turns) = $lives[ ($round - 1) % @lives ]->@*;
	$now = time;
	@sent = ();
	$node->safe_psql('postgres', "CREATE DATABASE $db");
	$node->safe_psql($db, "CREATE EXTENSION ccproxy_metrics;\nDO \$\$ BEGIN PERFORM ccproxy.create_metrics_table(retention => interval '400 days'); END \$\$;\n$oracle");
	$node->safe_psql($db, "SELECT ccproxy.set_storage('unlogged'), ccproxy.set_retention(minutes => '399 days', quarters => '399 days', user_hours => '399 days'); UPDATE truth.discarded SET minutes = NULL") if $unlogged;
	my ($answers, $complaints) = ('', '');
	my $live = sub {
		my ($sql) = @_;
		my ($rc, $out, $err) = $node->psql($db, $sql, on_error_stop => 0);
		$answers .= "$out\n";
		$complaints .= "$err\n";
	};
	my $part = int($steps / (1 + @turns));
	$live->(steps($part));
	for my $turn (@turns)
	{
		$fates{$turn}->(\$db, $live);
		$live->("SELECT truth.check_counters();\n" . join("\n", map { question() } 1 .. 3) . "\n" . steps($part));
	}
	# everything rolled up at the end: questions again
	$live->("CALL ccproxy.maintain();\nSELECT truth.check_counters();\n" x 3 . join("\n", map { question() } 1 .. 10) . "\nSELECT truth.check_views();\n");
	my @bad = grep { /MISMATCH/ } split /\n/, $answers;
	# days that have been dropped take no more rows
	my @errors = grep { /ERROR|FATAL|job ".*" failed/ && !/ERROR:  (?:no partition (?:for|of)|ts: is older than the retention|current transaction is aborted)/ } split /\n/, $complaints;
	my $checks = () = $answers =~ /^ok/mg;
	ok(!@bad && !@errors && $checks > 4 * $steps, "history $round (seed $start; @turns): $checks answers equal raw");
	diag("again: make reconcile CCPROXY_RECONCILE_ROUNDS=1 CCPROXY_RECONCILE_FIRST=$round CCPROXY_RECONCILE_SEED=$start") if @bad || @errors;
	diag(substr($bad[0], 0, 4000)) if @bad;
	diag(substr(join("\n", @errors), 0, 2500)) if @errors;
	$node->safe_psql('postgres', "DROP DATABASE $db") unless @bad || @errors;
}

$node->stop;
done_testing();
