# What the server refuses: a row it will never take is found, left out, told and
# recorded, whatever stands around it; whatever lies outside the rows is waited
# out, and nothing is dropped for it.
#
# sanitized: yes
use strict;
use warnings;

use CCProxy;
use IO::Select;
use IO::Socket::INET;
use JSON::PP;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $node = CCProxy::cluster('gateway_refusals');
my $now = time - 60;
my $serial = 0;

sub sql { return $node->safe_psql('metrics', shift) }
sub event { return { request_id => 'e' . ++$serial, timestamp => $now, model => 'gpt-4', @_ } }

sub counts
{
	my ($r) = @_;
	return "$r->{status} -" unless $r->{json} && exists $r->{json}{accepted};
	return join ' ', $r->{status}, @{ $r->{json} }{qw(accepted duplicates rejected)};
}

sub metric
{
	my ($gateway, $name) = @_;
	my ($value) = $gateway->get('/metrics/prometheus')->{content} =~ /^\Q$name\E (\S+)$/m;
	return $value;
}

sql(q{CREATE ROLE gw LOGIN; SELECT ccproxy.grant_gateway('gw')});
my $url = $node->connstr('metrics') . ' user=gw';

# ------------------------------------------------------------ poison rows

my $gateway = CCProxy->start(db_url => $url, node => $node);
sql(q{ALTER TABLE ccproxy.request_log ADD CONSTRAINT no_evil CHECK (model <> 'evil')});
my $evil = event(model => 'evil', user_id => 'somebody');
my $r = $gateway->post($evil);
is(counts($r), '400 0 0 1', 'a row that breaks a constraint of the owner');
is_deeply([ @{ $r->{json}{errors}[0] }{qw(index field)} ], [ 0, '' ], 'is named by its index');
like($r->{json}{errors}[0]{reason}, qr/^refused by the database: .*no_evil/, 'and the reason told');
is(sql(qq{SELECT sqlstate, reason, request_id_digest = encode(sha256(convert_to('$evil->{request_id}', 'UTF8')), 'hex'),
	digest ~ '^[0-9a-f]{64}\$', received_at > now() - interval '1 minute' FROM ccproxy.rejected_event}),
	'23514|new row for relation "" violates check constraint "" (constraint no_evil)|t|t|t', 'which is recorded, with digests');
is(sql(q{SELECT count(*) FROM ccproxy.rejected_event WHERE reason ~ 'somebody|"evil|e1'}), '0', 'and nothing of the row itself');
unlike($gateway->log_text, qr/somebody|model=/, 'nor in the log');
like($gateway->log_text, qr/event=event_refused_by_database sqlstate=23514 /, 'which says that it happened');

$r = $gateway->post([ (map { event() } 1 .. 6_789), event(model => 'evil'), (map { event() } 1 .. 3_210) ]);
is(counts($r), '200 9999 0 1', 'one such among ten thousand');
is($r->{json}{errors}[0]{index}, 6789, 'is found');
is(sql('SELECT count(*) FROM ccproxy.requests'), '9999', 'and all others are there');
is(sql('SELECT count(*) FROM ccproxy.rejected_event'), '2', 'one more is recorded');
is(counts($gateway->post([ event(kind => 'response'), event(kind => 'response', model => 'evil'), event() ])), '200 2 0 1', 'a part that is');

is(counts($gateway->post([ event(), map { event(model => 'evil') } 1 .. 150 ])), '200 1 0 150', 'many');
is(sql('SELECT count(*) FROM ccproxy.rejected_event'), '103', 'are recorded up to a limit');
is(metric($gateway, 'ccproxy_gateway_refusals_unrecorded_total'), '50', 'and counted beyond');
is(metric($gateway, 'ccproxy_gateway_events_refused_by_database_total'), '153', 'as all are');

# however many: row by row within few transactions, or nobody else would be served meanwhile
my $transactions = sub { sql('SELECT count(*) FROM ccproxy.ingest_batch') };
my ($sifted, $before) = (metric($gateway, 'ccproxy_gateway_batches_sifted_total') // 0, $transactions->());
is(counts($gateway->post([ map { event(model => 'evil') } 1 .. 10_000 ])), '400 0 0 10000', 'ten thousand');
is((metric($gateway, 'ccproxy_gateway_batches_sifted_total') // 0) - $sifted, 128, 'are found in parts of a hundred');
is($transactions->() - $before, 128, '... each one transaction');
{
	my $body = encode_json([ map { event(model => 'evil') } 1 .. 10_000 ]);
	my $socket = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $gateway->{port}) or die "connect: $!";
	$sifted = metric($gateway, 'ccproxy_gateway_batches_sifted_total') // 0;
	print $socket "POST /metrics/api/events HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: " . length($body) . "\r\n\r\n$body";
	CCProxy::wait_until('it to be sifted', sub { (metric($gateway, 'ccproxy_gateway_batches_sifted_total') // 0) > $sifted });
	is(counts($gateway->post(event())), '200 1 0 0', 'meanwhile others are served');
	ok(!IO::Select->new($socket)->can_read(0), '... before');
	like(do { local $/; <$socket> }, qr/^HTTP.1.1 400 .*"rejected": 10000/s, '... it is through');
}
$r = $gateway->post([ map { event(model => $_ % 2 ? 'evil' : 'gpt-4', $_ % 3 ? () : (kind => 'response')) } 1 .. 1_000 ]);
is(counts($r), '200 500 0 500', 'one in two');
is_deeply([ map { $_->{index} } @{ $r->{json}{errors} } ], [ map { 2 * $_ } 0 .. 99 ], '... are told');
is(counts($gateway->post([ (map { event(model => 'evil') } 1 .. 3), event(request_id => 'e2'), event(request_id => 'e2'), event() ])), '200 1 2 3', 'duplicates beside them are known');

sql('REVOKE INSERT ON ccproxy.rejected_event FROM gw');
is(counts($gateway->post([ event(), event(model => 'evil') ])), '200 1 0 1', 'where they cannot be recorded, the others are stored all the same');
like($gateway->log_text, qr/event=refusals_not_recorded events=1 sqlstate=42501/, 'and the log says so');
sql(q{SELECT ccproxy.grant_gateway('gw'); ALTER TABLE ccproxy.request_log DROP CONSTRAINT no_evil});

sql(q{CREATE FUNCTION public.refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
		IF NEW.model = 'evil' THEN RAISE EXCEPTION 'evil is refused: %', NEW.request_id; END IF; RETURN NEW; END $$;
	CREATE TRIGGER refuse BEFORE INSERT ON ccproxy.request_log FOR EACH ROW EXECUTE FUNCTION public.refuse()});
is(counts($gateway->post([ event(), event(model => 'evil'), event() ])), '200 2 0 1', 'a trigger that refuses a row');
is(sql(q{SELECT reason FROM ccproxy.rejected_event WHERE sqlstate = 'P0001'}), 'an exception was raised by a trigger', 'whose words are not kept');
sql(q{DROP TRIGGER refuse ON ccproxy.request_log;
	CREATE CONSTRAINT TRIGGER refuse AFTER INSERT ON ccproxy.request_log DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION public.refuse()});
is(counts($gateway->post(event(model => 'evil'))), '400 0 0 1', 'one that refuses a row when it is committed');
is(counts($gateway->post([ map { event(model => $_ == 60 ? 'evil' : 'gpt-4') } 1 .. 100 ])), '200 99 0 1', '... among others');
sql('DROP TRIGGER refuse ON ccproxy.request_log');
is($gateway->stop, 0, 'a clean end');

# -------------------------------------------- what does not lie in the rows

my $refused = sql('SELECT count(*) FROM ccproxy.rejected_event');
$gateway = CCProxy->start(db_url => $url, node => $node, args => [ '--metrics-flush-interval=300ms' ]);

# While something is wrong an event is answered 503; once it is put right the
# same event is stored, once.
sub waited_out
{
	my ($what, $wrong, $right) = @_;
	$wrong->();
	my $event = event();
	my $r = $gateway->post($event);
	is($r->{status}, 503, "$what: to be sent again");
	like($r->{headers}{'retry-after'}, qr/^[1-9]\d*$/, '... and when');
	$right->();
	my $last;
	eval { CCProxy::wait_until("the end of $what", sub { $last = $gateway->post($event); $last->{status} == 200 }) } or diag($last->{content}, $gateway->log_text);
	is($last->{json}{accepted} + $last->{json}{duplicates}, 1, '... it is stored then');
	is(sql("SELECT count(*) FROM ccproxy.requests WHERE request_id = '$event->{request_id}'"), '1', '... once');
}

# a statement trigger says whatever SQLSTATE it is told to
sql(q{CREATE TABLE public.trouble (code text); INSERT INTO public.trouble VALUES (NULL); GRANT SELECT ON public.trouble TO gw;
	CREATE FUNCTION public.make_trouble() RETURNS trigger LANGUAGE plpgsql AS $$ DECLARE c text := (SELECT code FROM public.trouble); BEGIN
		IF c IS NOT NULL THEN RAISE EXCEPTION 'trouble' USING ERRCODE = c; END IF; RETURN NULL; END $$;
	CREATE TRIGGER trouble BEFORE INSERT ON ccproxy.request_log FOR EACH STATEMENT EXECUTE FUNCTION public.make_trouble()});
for (
	[ '08006', 'connection failure' ], [ '0A000', 'feature not supported' ], [ '25006', 'a read-only transaction' ], [ '25P03', 'idle in transaction too long' ],
	[ '28P01', 'a wrong password' ], [ '3F000', 'a missing schema' ], [ '40001', 'serialization failures' ], [ '40P01', 'deadlocks' ],
	[ '42501', 'a missing grant' ], [ '42883', 'a missing function' ], [ '42P01', 'a missing table' ], [ '53100', 'a full disk' ],
	[ '53200', 'no memory' ], [ '53300', 'too many connections' ], [ '55000', 'an extension without its library' ], [ '55P03', 'a lock timeout' ],
	[ '57014', 'a canceled statement' ], [ '57P01', 'a shutdown' ], [ '57P02', 'a crash' ], [ '57P03', 'a server that starts' ],
	[ '58030', 'an I/O error' ], [ 'XX000', 'an internal error' ], [ 'XX001', 'corrupted data' ])
{
	my ($code, $what) = @$_;
	waited_out("$code, $what", sub { sql("UPDATE public.trouble SET code = '$code'") }, sub { sql('UPDATE public.trouble SET code = NULL') });
}
sql('DROP TRIGGER trouble ON ccproxy.request_log');

# the real thing
my $terminate = sub { sql(q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'gw'}) };
my $hba = $node->data_dir . '/pg_hba.conf';
my $saved = slurp_file($hba);
my $set_hba = sub { open(my $f, '>', $hba) or die "$hba: $!"; print $f @_; close $f; $node->reload };
waited_out('no password', sub { $set_hba->("local all gw scram-sha-256\n", $saved); $terminate->() }, sub { $set_hba->($saved) });
waited_out('a role with too many connections', sub { sql('ALTER ROLE gw CONNECTION LIMIT 0'); $terminate->() }, sub { sql('ALTER ROLE gw CONNECTION LIMIT -1') });
waited_out('a read-only server', sub { sql('ALTER SYSTEM SET default_transaction_read_only = on'); $node->reload; $node->poll_query_until('metrics', 'SHOW default_transaction_read_only', 'on') },
	sub { sql('SET default_transaction_read_only = off; ALTER SYSTEM RESET default_transaction_read_only'); $node->reload });
waited_out('a missing grant', sub { sql('REVOKE INSERT ON ccproxy.request_log FROM gw') }, sub { sql(q{SELECT ccproxy.grant_gateway('gw')}) });
waited_out('no login', sub { sql('ALTER ROLE gw NOLOGIN'); $terminate->() }, sub { sql('ALTER ROLE gw LOGIN') });

is(sql('SELECT count(*) FROM ccproxy.rejected_event'), $refused, 'nothing was dropped meanwhile');
is(metric($gateway, 'ccproxy_gateway_events_refused_by_database_total'), '0', 'nor counted so');
cmp_ok(() = $gateway->log_text =~ /event=pg_lost/g, '>=', 20, 'each trouble is in the log');
is(() = $gateway->log_text =~ /event=pg_lost.*?event=pg_recovered/gs, () = $gateway->log_text =~ /event=pg_recovered/g, 'and its end');
is($gateway->stop, 0, 'a clean end again');

done_testing();
