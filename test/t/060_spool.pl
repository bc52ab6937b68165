# The spool: what is posted while PostgreSQL is away is acknowledged, survives
# whatever happens to the gateway, and is in PostgreSQL afterwards, once, in
# order; a damaged file costs what is damaged, never the gateway.
#
# CCPROXY_CRASH_SEED: to repeat a run (it is printed).
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use CCProxy;
use File::Copy qw(copy);
use List::Util qw(max);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);

my $seed = $ENV{CCPROXY_CRASH_SEED} || time % 1_000_000;
srand($seed);
note("CCPROXY_CRASH_SEED=$seed");

my $node = CCProxy::cluster('spool');
my $dir = PostgreSQL::Test::Utils::tempdir_short();
my $spool_number = 0;

sub sql { return $node->safe_psql('metrics', shift) }
sub new_spool { return "$dir/spool" . ++$spool_number . '.db' }
sub start { return CCProxy->start(node => $node, @_) }
sub ids { my ($prefix, $from, $to) = @_; return map { "$prefix-" . sprintf('%05d', $_) } $from .. $to }

# Events of these ids, now.
sub events_of { my $t = time; return [ map { { request_id => $_, timestamp => $t, model => 'gpt-4', input_tokens => 1000, output_tokens => 100 } } @_ ] }

sub stored { my ($prefix) = @_; return sql("SELECT count(*), count(DISTINCT request_id) FROM ccproxy.requests WHERE request_id LIKE '$prefix-%'") }
# A gateway that has just begun has not looked into its spool yet.
sub wait_drained
{
	my ($gateway) = @_;
	CCProxy::wait_until('the spool to be drained',
		sub { $gateway->get('/readyz')->{json}{spool} eq 'ok' && spooled($gateway) == 0 && metric($gateway, 'spool_records') == 0 });
}
sub spooled { my ($gateway) = @_; return $gateway->get('/readyz')->{json}{spooled_events} }

# One of the gateway's own metrics.
sub metric
{
	my ($gateway, $name) = @_;
	my $text = $gateway->get('/metrics/prometheus')->{content};
	return $text =~ /^ccproxy_gateway_\Q$name\E (\S+)$/m ? $1 : undef;
}

sub wait_away
{
	my ($gateway) = @_;
	CCProxy::wait_until('the gateway to use its spool', sub { ($gateway->get('/readyz')->{json}{durable_in} // '') eq 'spool' });
}

# A spool with so many posts in it, of a gateway that is gone.
sub filled_spool
{
	my ($prefix, $posts, $events) = @_;
	my $spool = new_spool();
	my $gateway = start(spool => $spool);
	$node->stop('fast');
	wait_away($gateway);
	for my $n (1 .. $posts)
	{
		my $r = $gateway->post(events_of(ids("$prefix-$n", 1, $events)));
		is($r->{status}, 200, "post $n is spooled") if $r->{status} != 200;
	}
	is($gateway->stop('KILL') & 127, 9, "$posts posts of $events events are in a spool");
	return $spool;
}

sub overwrite
{
	my ($file, $offset, $bytes) = @_;
	open(my $f, '+<', $file) or die "$file: $!";
	binmode $f;
	seek($f, $offset, 0);
	print $f $bytes;
	close $f;
}

subtest 'PostgreSQL goes away and comes back' => sub {
	my $spool = new_spool();
	my $gateway = start(spool => $spool);
	my $r = $gateway->post(events_of('away-00000'));
	ok(!exists $r->{json}{spooled}, 'while PostgreSQL is there nothing is spooled');
	is($gateway->get('/readyz')->{json}{durable_in}, 'postgres', '/readyz says so');
	is(sprintf('%04o', (stat $spool)[2] & 07777), '0600', 'nobody else may read the file');

	$node->stop('fast');
	my $first = events_of(ids('away-0', 1, 50));
	for my $n (1 .. 20)
	{
		$r = $gateway->post($n == 1 ? $first : events_of(ids("away-$n", 1, 50)));
		last if $r->{status} != 200;
	}
	is($r->{status}, 200, 'posts are answered 200');
	is_deeply([ @{ $r->{json} }{qw(accepted spooled stored durable)} ], [ 50, 50, JSON::PP::true, JSON::PP::true ], 'as spooled, which is durable');
	my $received = time;
	$r = $gateway->post([ { request_id => 'away-x', model => 'gpt-4', status_code => 200 }, { request_id => 'away-y', kind => 'request', model => 'gpt-4' },
		{ request_id => 'away-y', kind => 'response', status_code => 200 }, { request_id => 'away-z', timestamp => 'nonsense' } ]);
	is_deeply([ @{ $r->{json} }{qw(accepted rejected spooled)} ], [ 3, 1, 3 ], 'events without a time and parts too; a bad one is refused');
	my $ready = $gateway->get('/readyz');
	is("$ready->{status} $ready->{json}{durable_in} $ready->{json}{spool}", '200 spool ok', '/readyz: events can be made durable');
	CCProxy::wait_until('the gauges', sub { spooled($gateway) == 1003 });
	cmp_ok(metric($gateway, 'spool_bytes'), '>', 100_000, 'the bytes are shown');
	cmp_ok(metric($gateway, 'spool_oldest_seconds'), '>', 0, 'and the age');
	is(metric($gateway, 'spool_events'), 1003, 'and the events');
	like($gateway->log_text, qr/event=spool_in_use/, 'the log says when the spool is used');

	sleep(max(0, $received + 2 - time));
	$node->start;
	wait_drained($gateway);
	is(stored('away'), '1003|1003', 'all of it is in PostgreSQL, once');
	is(sql("SELECT status_code FROM ccproxy.requests WHERE request_id = 'away-y'"), 200, 'the parts have met');
	is(sql("SELECT ts < to_timestamp($received + 1.5) FROM ccproxy.requests WHERE request_id = 'away-x'"), 't', 'an event without a time has that of its receipt');
	is(sql("SELECT count(*) FROM ccproxy.requests WHERE request_id LIKE 'away-%' AND output_tokens = 100 AND total_cost IS NULL"), 0, 'and priced');
	like($gateway->log_text, qr/event=spool_drained/, 'the log says when it is empty again');
	is(metric($gateway, 'spooled_events_total{outcome="drained"}'), 1003, 'the drained events are counted');
	$r = $gateway->post($first);
	is_deeply([ @{ $r->{json} }{qw(accepted duplicates)} ], [ 0, 50 ], 'posted again, they are duplicates');
	is($gateway->stop, 0, 'the gateway ends cleanly');
};

subtest 'order, and new events while draining' => sub {
	my $spool = filled_spool('order', 60, 10);
	$node->start;
	my $gateway = start(spool => $spool);
	my $answered = 0;
	my $during = 0;
	while (spooled($gateway) > 0)
	{
		my $r = $gateway->post(events_of("new-" . ++$answered));
		$during++ if $r->{status} == 200 && !$r->{json}{spooled};
		last if $r->{status} != 200;
	}
	note("$during posts while draining");
	wait_drained($gateway);
	is(stored('order'), '600|600', 'what was spooled is there');
	is(stored('new'), "$answered|$answered", 'what was posted meanwhile too');
	is(sql(q{SELECT bool_and(ordered) FROM (SELECT xmin::text::bigint >= lag(xmin::text::bigint, 1, 0::bigint) OVER (ORDER BY split_part(request_id, '-', 2)::int) AS ordered
		FROM ccproxy.request_log WHERE request_id LIKE 'order-%') AS x}), 't', 'in the order of their posts');
	$gateway->stop;
};

subtest 'kill -9 while spooling' => sub {
	my $spool = new_spool();
	my @acked;
	my $n = 0;
	start(spool => $spool)->stop;
	$node->stop('fast');
	for my $round (1 .. 4)
	{
		my $gateway = start(spool => $spool);
		is($gateway->get('/readyz')->{json}{durable_in}, 'spool', "round $round: PostgreSQL was never there, events are taken all the same");
		my $until = time + 0.3 + rand(0.5);
		my $killer = fork() // die "fork: $!";
		if ($killer == 0) { sleep($until - time); kill('KILL', $gateway->{pid}); POSIX::_exit(0) }
		while (1)
		{
			my $id = 'kill-' . ++$n;
			my $r = $gateway->post(events_of(map { "$id-$_" } 1 .. 20));
			last if $r->{status} == 599;
			push @acked, $id if $r->{status} == 200;
		}
		waitpid($killer, 0);
		$gateway->alive;
	}
	$node->start;
	my $gateway = start(spool => $spool);
	wait_drained($gateway);
	my %there = map { split /\|/ } split /\n/, sql("SELECT substring(request_id FROM 'kill-[0-9]+'), count(*) FROM ccproxy.requests WHERE request_id LIKE 'kill-%' GROUP BY 1");
	cmp_ok(scalar @acked, '>', 8, scalar(@acked) . ' posts were acknowledged');
	is(scalar(grep { ($there{$_} // 0) != 20 } @acked), 0, 'all of them are there');
	is(scalar(grep { $_ != 20 } values %there), 0, 'no other is there by half');
	is(sql("SELECT count(*) - count(DISTINCT request_id) FROM ccproxy.requests WHERE request_id LIKE 'kill-%'"), 0, 'and nothing twice');
	$gateway->stop;
};

subtest 'kill -9 while draining' => sub {
	my $spool = filled_spool('drain', 150, 20);
	$node->start;
	my $kills = 0;
	for my $round (1 .. 6)
	{
		my $gateway = start(spool => $spool);
		sleep(rand(0.25));
		$gateway->stop('KILL');
		$kills++;
	}
	my $gateway = start(spool => $spool);
	wait_drained($gateway);
	is(stored('drain'), '3000|3000', "after $kills kills all is there, once");
	$gateway->stop;
};

subtest 'SIGTERM while PostgreSQL is down' => sub {
	my $spool = new_spool();
	my $gateway = start(spool => $spool, args => [ '--metrics-flush-interval', '60s', '--shutdown-deadline-s', '6' ]);
	# a lock that no commit gets past: the batch is under way, a second one waits
	my $blocker = $node->background_psql('metrics');
	$blocker->query_safe('BEGIN; LOCK TABLE ccproxy.ingest_batch IN ACCESS EXCLUSIVE MODE');
	my @posts;
	for my $n (1 .. 2)
	{
		pipe(my $in, my $out) or die;
		my $pid = fork() // die "fork: $!";
		if ($pid == 0)
		{
			delete $gateway->{client};
			my $r = $gateway->post(events_of(ids("term-$n", 1, 5)));
			print $out "$r->{status} ", $r->{json}{spooled} // 'none', "\n";
			close $out;
			POSIX::_exit(0);
		}
		close $out;
		push @posts, [ $pid, $in ];
		sleep 0.3;
	}
	my $start = time;
	is($gateway->stop('TERM'), 0, 'the gateway ends cleanly');
	cmp_ok(time - $start, '<', 20, 'in time');
	for my $post (@posts)
	{
		my $in = $post->[1];
		is(scalar <$in>, "200 5\n", 'a post under way is answered: spooled');
		waitpid($post->[0], 0);
	}
	$blocker->query_safe('ROLLBACK');
	$blocker->quit;
	$gateway = start(spool => $spool);
	wait_drained($gateway);
	is(stored('term'), '10|10', 'and there afterwards, once, though a COMMIT was under way');
	$gateway->stop;
};

subtest 'too slow is as good as away' => sub {
	my $spool = new_spool();
	my $gateway = start(spool => $spool, args => [ '--metrics-flush-interval', '500ms' ]);
	my $blocker = $node->background_psql('metrics');
	$blocker->query_safe('BEGIN; LOCK TABLE ccproxy.ingest_batch IN ACCESS EXCLUSIVE MODE');
	my $r = $gateway->post(events_of(ids('slow', 1, 7)));
	is("$r->{status} " . ($r->{json}{spooled} // 'none'), '200 7', 'a batch that waits too long is spooled');
	$r = $gateway->post(events_of(ids('slow', 8, 10)));
	is("$r->{status} " . ($r->{json}{spooled} // 'none'), '200 3', 'and the next one');
	$blocker->query_safe('COMMIT');
	$blocker->quit;
	wait_drained($gateway);
	is(stored('slow'), '10|10', 'once each, whichever transaction came first');
	$gateway->stop;
};

subtest 'a row the server refuses when it is drained' => sub {
	my $spool = new_spool();
	my $gateway = start(spool => $spool);
	$node->stop('fast');
	wait_away($gateway);
	my $events = events_of(ids('poison', 1, 10_000));
	$events->[$_]{user_id} = 'poison' for 1234, 9999;
	is($gateway->post($events)->{json}{spooled}, 10_000, 'two are spooled with others');
	is($gateway->post({ %{ events_of('poison-alone')->[0] }, user_id => 'poison' })->{json}{spooled}, 1, 'and one alone');
	$gateway->stop('KILL');
	$node->start;
	sql(q{ALTER TABLE ccproxy.request_log ADD CONSTRAINT no_poison CHECK (user_id IS DISTINCT FROM 'poison')});
	$gateway = start(spool => $spool);
	wait_drained($gateway);
	is(stored('poison'), '9998|9998', 'the others are stored');
	is(sql('SELECT count(*), min(sqlstate) FROM ccproxy.rejected_event'), '3|23514', 'they are recorded');
	is(metric($gateway, 'spooled_events_total{outcome="rejected"}'), 3, 'and counted');
	$gateway->stop;
	sql('ALTER TABLE ccproxy.request_log DROP CONSTRAINT no_poison; DELETE FROM ccproxy.rejected_event');
};

subtest 'a record that cannot be stored' => sub {
	my $spool = new_spool();
	my $gateway = start(spool => $spool);
	sql(q{CREATE FUNCTION public.hold() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
			IF NEW.user_id = 'held' THEN RAISE EXCEPTION 'not now' USING ERRCODE = '53400'; END IF; RETURN NEW; END $$;
		CREATE TRIGGER hold BEFORE INSERT ON ccproxy.request_log FOR EACH ROW EXECUTE FUNCTION public.hold()});
	is($gateway->post({ %{ events_of('held-1')->[0] }, user_id => 'held' })->{json}{spooled}, 1, 'is spooled');
	my $n = 1;
	CCProxy::wait_until('an event to be stored', sub { my $r = $gateway->post(events_of('held-' . ++$n)); die $r->{content} unless $r->{status} == 200; !$r->{json}{spooled} });
	ok(1, 'and keeps nobody away');
	is($gateway->post(events_of('held-' . ++$n))->{json}{spooled}, undef, '... for long');
	is($gateway->get('/readyz')->{json}{durable_in}, 'postgres', 'the gateway is at work');
	sql('DROP TRIGGER hold ON ccproxy.request_log; DROP FUNCTION public.hold()');
	wait_drained($gateway);
	is(stored('held'), "$n|$n", 'it is stored when it can be, as all are, once');
	$gateway->stop;
};

subtest 'the bound' => sub {
	my $spool = new_spool();
	my $gateway = start(spool => $spool, args => [ '--spool-max-bytes', '1MiB' ]);
	$node->stop('fast');
	wait_away($gateway);
	my ($taken, $r) = (0);
	for (1 .. 100)
	{
		$r = $gateway->post(events_of(ids("bound-$_", 1, 100)));
		last if $r->{status} != 200;
		$taken++;
	}
	is($r->{status}, 503, "after $taken posts the spool is full");
	cmp_ok($taken, '>', 10, 'but not before');
	like($r->{headers}{'retry-after'}, qr/^[1-9][0-9]*$/, 'with Retry-After');
	is($gateway->get('/readyz')->{status}, 503, '/readyz says that nothing can be taken');
	like($gateway->log_text, qr/event=spool_full .*spool_max_bytes/, 'the log says why');
	cmp_ok(-s $spool, '<', 8 * 1024 * 1024, 'the file is bounded');
	$node->start;
	wait_drained($gateway);
	is(sql("SELECT count(DISTINCT split_part(request_id, '-', 2)), count(*) FROM ccproxy.requests WHERE request_id LIKE 'bound-%'"), "$taken|" . $taken * 100, 'what was acknowledged is there');
	is($gateway->post(events_of('bound-after'))->{status}, 200, 'and events are taken again');
	$gateway->stop;
};

subtest 'a full disk' => sub {
	my $spool = new_spool();
	my $limited = "$dir/limited";
	append_to_file($limited, "#!/bin/sh\nulimit -f 4096\nexec '" . CCProxy::gateway_program() . "' \"\$@\"\n");
	chmod 0755, $limited;
	my $gateway = do { local $ENV{CCPROXY_GATEWAY} = $limited; start(spool => $spool) };
	$node->stop('fast');
	wait_away($gateway);
	my ($taken, $r) = (0);
	for (1 .. 100)
	{
		$r = $gateway->post(events_of(ids("disk-$_", 1, 300)));
		last if $r->{status} != 200;
		$taken++;
	}
	is($r->{status}, 503, "after $taken posts no more can be written");
	cmp_ok($taken, '>', 3, 'but not before');
	like($r->{headers}{'retry-after'}, qr/^[1-9][0-9]*$/, 'with Retry-After');
	like($gateway->log_text, qr/event=spool_full/, 'the log says why');
	ok($gateway->alive, 'the gateway lives');
	$gateway->stop('KILL');
	is(scalar(glob("$spool.corrupt-*")), undef, 'the file is none the worse');
	$node->start;
	$gateway = start(spool => $spool);
	wait_drained($gateway);
	is(sql("SELECT count(DISTINCT split_part(request_id, '-', 2)), count(*) FROM ccproxy.requests WHERE request_id LIKE 'disk-%'"), "$taken|" . $taken * 300, 'what was acknowledged is there, and no more');
	$gateway->stop;
};

subtest 'damaged files' => sub {
	my $page = 32768;
	# what is done to the file, how many of 12 posts may be lost
	my @damages = (
		[ 'its first bytes', 12, sub { overwrite($_[0], 0, 'rubbish') } ],
		[ 'the schema', 12, sub { overwrite($_[0], 100, "\xff" x 300) } ],
		[ 'a page', 12, sub { overwrite($_[0], $page, "\0" x $page) } ],
		[ 'a byte in the middle', 3, sub { overwrite($_[0], int((-s $_[0]) / 2), 'X') } ],
		[ 'a torn page at the end', 12, sub { overwrite($_[0], (-s $_[0]) - $page, "\xa5" x 512) } ],
		[ 'cut off', 6, sub { truncate($_[0], int((-s $_[0]) * 0.85)) } ],
		[ 'cut to a few bytes', 12, sub { truncate($_[0], 40) } ],
		[ 'emptied', 12, sub { truncate($_[0], 0) }, 'no file aside' ],
		[ 'whose recovery was interrupted', 0, sub { copy($_[0], "$_[0].salvaged") or die "copy: $!"; overwrite($_[0], 0, 'rubbish') } ],
		[ 'of a later version', 12, sub { system_or_bail('sqlite3', $_[0], 'PRAGMA user_version = 99') } ],
	);
	my $n = 0;
	for my $damage (@damages)
	{
		my ($what, $may_lose, $harm, $no_aside) = @$damage;
		my $prefix = 'harm' . ++$n;
		my $spool = filled_spool($prefix, 12, 300);
		# everything from the log into the file itself, as after a long while
		system_or_bail('sqlite3', $spool, 'PRAGMA journal_mode = DELETE');
		$harm->($spool);
		$node->start;
		my $gateway = start(spool => $spool);
		CCProxy::wait_until('the spool to be open', sub { metric($gateway, 'spool_usable') == 1 });
		wait_drained($gateway);
		my ($rows, $ids) = split /\|/, stored($prefix);
		cmp_ok($rows, '>=', (12 - $may_lose) * 300, "$what: $rows of 3600 events were read");
		is($rows, $ids, "$what: none twice");
		is($rows % 300, 0, "$what: no record by half");
		my @aside = glob("$spool.corrupt-*");
		is(scalar(grep { !/-(wal|shm)$/ } @aside), $no_aside ? 0 : 1, "$what: the file is " . ($no_aside ? 'new' : 'kept aside'));
		unless ($no_aside)
		{
			like($gateway->log_text, qr/event=spool_set_aside reason=.* file=.*corrupt-/, "$what: the log says so");
			is(metric($gateway, 'spool_files_set_aside_total'), 1, "$what: it is counted");
		}
		is($gateway->post(events_of("$prefix-after"))->{status}, 200, "$what: events are taken");
		$node->stop('fast');
		wait_away($gateway);
		is($gateway->post(events_of("$prefix-after2"))->{json}{spooled}, 1, "$what: and spooled");
		$gateway->stop;
		$node->start;
	}
};

subtest 'two gateways, one spool' => sub {
	my $spool = new_spool();
	my $first = start(spool => $spool);
	my $second = start(spool => $spool);
	$second->wait_for_log(qr/event=spool_unavailable .*another gateway uses it/);
	is($second->post(events_of('two-00001'))->{status}, 200, 'the second one takes events for PostgreSQL');
	is($second->get('/readyz')->{json}{spool}, 'unavailable', 'and says that it has no spool');
	$node->stop('fast');
	wait_away($first);
	is($first->post(events_of('two-00002'))->{json}{spooled}, 1, 'the first one spools');
	is($second->post('x')->{status}, 400, 'the second one still answers');
	$first->stop('KILL');
	wait_away($second);
	is($second->post(events_of('two-00003'))->{json}{spooled}, 1, 'when the first one is gone the second has the spool');
	$node->start;
	wait_drained($second);
	is(stored('two'), '3|3', 'and drains all of it, once');
	$second->stop;
};

subtest 'no place for a spool' => sub {
	my $closed = "$dir/closed";
	mkdir $closed, 0500;
	my $gateway = start(spool => "$closed/spool.db");
	SKIP: {
		skip 'root may write everywhere', 1 if $> == 0;
		$gateway->wait_for_log(qr/event=spool_unavailable .*Permission denied.*503/);
		pass('the log says why there is none');
	}
	is($gateway->post(events_of('place-1'))->{status}, 200, 'events go to PostgreSQL');
	$gateway->stop;

	my $foreign = new_spool();
	system_or_bail('sqlite3', $foreign, 'CREATE TABLE mine (a)');
	$gateway = start(spool => $foreign);
	$gateway->wait_for_log(qr/event=spool_unavailable .*database of another program/);
	is($gateway->post(events_of('place-2'))->{status}, 200, 'the database of another program is left alone');
	$gateway->stop;
	my ($tables) = run_command([ 'sqlite3', $foreign, '.tables' ]);
	is($tables, 'mine', 'and unchanged');
};

subtest 'a database that was never reached' => sub {
	my $gateway = CCProxy->start(db_url => "host=$dir port=1 dbname=none", spool => new_spool(), ready => 0);
	$gateway->wait_for_log(qr/event=pg_lost .*never reached its database/);
	is($gateway->post(events_of('never-1'))->{status}, 503, 'without its secret and retention no event can be taken');
	my $ready = $gateway->get('/readyz');
	is("$ready->{status} $ready->{json}{durable_in}", '503 nowhere', '/readyz says so');
	CCProxy::wait_until('the word for it', sub { $gateway->get('/readyz')->{json}{state} eq 'never_reached' });
	is($gateway->stop, 0, 'it ends cleanly');
};

$node->stop;
done_testing();
