# From HTTP to rows: every form of body, every refusal, parts in every order,
# duplicates, and PostgreSQL getting in the way.
#
# sanitized: yes
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use CCProxy;
use JSON::PP;
use List::Util qw(sum);
use POSIX qw(strftime);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);

my $node = CCProxy::cluster('gateway_ingest');
my $gateway = CCProxy->start(node => $node);
my $other = CCProxy->start(node => $node);
my $json = JSON::PP->new->canonical->utf8;
my $now = time;

sub iso { return strftime('%Y-%m-%dT%H:%M:%SZ', gmtime shift) }
sub sql { return $node->safe_psql('metrics', shift) }

# One of the gateway's own counters.
sub counter
{
	my ($g, $name) = @_;
	my ($value) = $g->get('/metrics/prometheus')->{content} =~ /^$name (\d+)$/m;
	return $value;
}

# What one post came to, in one line.
sub counts
{
	my ($r) = @_;
	return "$r->{status} -" unless $r->{json} && exists $r->{json}{accepted};
	return join ' ', $r->{status}, @{ $r->{json} }{qw(accepted duplicates rejected)};
}

# ------------------------------------------------------- forms of a body

{
	my $t = iso($now - 60);
	is(counts($gateway->post({ request_id => 'one', timestamp => $t })), '200 1 0 0', 'an object');
	is(counts($gateway->post([ map { { request_id => "array-$_", timestamp => $t } } 1 .. 3 ])), '200 3 0 0', 'an array');
	is(counts($gateway->post(join("\n", map { qq({"request_id":"line-$_","timestamp":"$t"}) } 1 .. 3))), '200 3 0 0', 'NDJSON');
	is(counts($gateway->post('[]')), '200 0 0 0', 'an empty array');
	is(counts($gateway->post('[{"request_id":"broken"},')), '400 -', 'a broken array');
	is(sql(q{SELECT string_agg(request_id, ' ' ORDER BY request_id COLLATE "C") FROM ccproxy.requests}),
		'array-1 array-2 array-3 line-1 line-2 line-3 one', 'all of it and nothing else is there');
}

# --------------------------------------------- each field, to the digit

{
	my $r = $gateway->post({
		request_id => 'fields', timestamp => '2025-01-31T12:00:00.123456+02:00', user_id => 'ann', team_id => 't', session_id => 's',
		method => 'POST', path => '/v1/messages?api-key=sk-in-the-path#x', endpoint_type => 'anthropic', provider => 'anthropic',
		user_agent => "agent/1 \x{20ac}", client_ip => '2001:db8::1', authorization => 'Bearer sk-secret-in-a-header', model => 'claude-3-opus',
		streaming => JSON::PP::true, service_tier => 'standard', response_time_ms => 1234.5678, ttft_ms => 0.25, status_code => 200,
		input_tokens => 1000, cache_read_tokens => 10, cache_write_tokens => 20, cache_write_1h_tokens => 30, output_tokens => 500,
		reasoning_tokens => 100, reported_cost => 0.123456789012, error_type => '', metadata => { a => [ 1, { b => undef } ], "\x{fc}" => "\n" },
	});
	is(counts($r), '400 0 0 1', 'a time before the retention is refused');
	is_deeply($r->{json}{errors}[0], { index => 0, field => 'timestamp', reason => 'is older than the retention' }, 'which is said');
	sql(q{SELECT ccproxy.create_metrics_table(retention => interval '20 years')});
	$gateway->stop;
	$gateway = CCProxy->start(node => $node);
	my $event = { request_id => 'fields', timestamp => '2025-01-31T12:00:00.123456+02:00', user_id => 'ann', team_id => 't', session_id => 's',
		method => 'POST', path => '/v1/messages?api-key=sk-in-the-path#x', endpoint_type => 'anthropic', provider => 'anthropic',
		user_agent => "agent/1 \x{20ac}", client_ip => '2001:db8::1', authorization => 'Bearer sk-secret-in-a-header', model => 'claude-3-opus',
		streaming => JSON::PP::true, service_tier => 'standard', response_time_ms => 1234.5678, ttft_ms => 0.25, status_code => 200,
		input_tokens => 1000, output_tokens => 500, reasoning_tokens => 100, reported_cost => 0.123456789012, error_type => '',
		metadata => { a => [ 1, { b => undef } ], "\x{fc}" => "\n" } };
	is(counts($gateway->post($event)), '200 1 0 0', 'within the retention a partition is made for it');
	is(sql(q{SELECT ts AT TIME ZONE 'UTC', user_id, team_id, session_id, method, path, endpoint_type, provider, user_agent, client_ip, model, streaming,
		service_tier, response_time_ms, ttft_ms, status_code, input_tokens, output_tokens, reasoning_tokens, total_tokens, input_cost, output_cost,
		total_cost, reported_cost, error_type IS NULL, metadata FROM ccproxy.requests WHERE request_id = 'fields'}),
		"2025-01-31 10:00:00.123456|ann|t|s|POST|/v1/messages|anthropic|anthropic|agent/1 \xe2\x82\xac|2001:db8::1|claude-3-opus|t|standard|1234.568|0.25|"
		. "200|1000|500|100|1500|0.015|0.0375|0.0525|0.123456789012|t|{\"a\": [1, {\"b\": null}], \"\xc3\xbc\": \"\\n\"}",
		'every field is what was sent');
	is(sql(q{SELECT r.api_key_hash = encode(sha.hash, 'hex') FROM ccproxy.requests r, ccproxy.configuration c,
		LATERAL (SELECT ccproxy.decode_events('{"api_key":"sk-secret-in-a-header"}', c.hash_secret, now(), now()) AS d) AS x,
		LATERAL (SELECT (((x.d).event).metric).api_key_hash AS hash) AS sha WHERE request_id = 'fields'}), 't',
		'the key is hashed as the server would');
}

# --------------------------------- an exported row can be posted again

{
	my $row = $gateway->get('/metrics/api/requests/fields');
	is($row->{status}, 200, 'a row, exported');
	my $again = $gateway->post($row->{content});
	is(counts($again), '200 0 1 0', 'posted again, it is known');
	ok(!exists $again->{json}{ignored_fields}, 'and so are all its fields');
	is(counts($gateway->post($row->{content} =~ s/"request_id": "fields"/"request_id": "fields-2"/r)), '200 1 0 0', 'with another id it is stored');
	is(sql(q{SELECT string_agg(e.key, ' ' ORDER BY e.key) FROM ccproxy.requests a, ccproxy.requests b, jsonb_each(to_jsonb(a)) AS e
		WHERE a.request_id = 'fields' AND b.request_id = 'fields-2' AND to_jsonb(b) -> e.key <> e.value}), 'api_key_hash request_id',
		'as it was, but for the hash of the key, which is hashed once more');
	like($row->{content}, qr/^\{"request_id": .*"ts": /, 'columns come in their order');
}

# ------------------------- gateway and ingest() take and refuse the same

{
	my @bodies = map { $_ =~ s/NOW/iso($now - 30)/ger } (
		'{"timestamp":"NOW","input_tokens":1,"output_tokens":2,"model":"gpt-4"}', '{"timestamp":1738324800123456789}',
		'{"timestamp":1738324800.1234565}', '{"timestamp":1738324800123.4565}', '{"timestamp":"2025-01-31T12:00:00.1234565"}',
		'{"ts":"NOW","model":"gpt-4","output_tokens":1}', '{"ts":1738324800123456789}', '{"ts":null,"timestamp":1738324800}',
		'{"ts":1738324800,"timestamp":1738324800}', '{"timestamp":1738324800,"ts":1738324801}', '{"ts":"x"}', '{"ts":true}', '{"ts":1}',
		'{"timestamp":"2025-02-30T12:00:00Z"}', '{"timestamp":"1999-12-31T00:00:00Z"}', '{"timestamp":true}', '{"timestamp":1e300}',
		'{"response_time_ms":0.0005,"ttft_ms":1.0004999}', '{"response_time_ms":-1}', '{"response_time_ms":1e13}', '{"response_time_ms":"1"}',
		'{"input_tokens":1.5}', '{"input_tokens":1e3}', '{"input_tokens":-1}', '{"input_tokens":1000000000001}', '{"output_tokens":"1"}',
		'{"total_cost":0.1}', '{"total_cost":0.1,"reported_cost":0.2}', '{"reported_cost":1000001}', '{"reported_cost":0.0000000000005}',
		'{"status_code":99}', '{"status_code":599}', '{"status_code":200.5}', '{"streaming":1}', '{"streaming":false}',
		'{"user_id":5}', '{"user_id":""}', '{"user_id":null}', '{"user_id":"' . 'x' x 256 . '"}', '{"user_id":"' . 'x' x 257 . '"}',
		'{"path":"/a?b"}', '{"path":"?b"}', '{"path":"' . "\xc3\xa4" x 2000 . '"}', '{"error_message":"' . "x\xe2\x82\xac" x 3000 . '"}',
		'{"client_ip":"1.2.3.4"}', '{"client_ip":"1.2.3.4/24"}', '{"client_ip":"::ffff:1.2.3.4"}', '{"client_ip":"::1%eth0"}', '{"client_ip":"x"}',
		'{"api_key":"k"}', '{"authorization":"Bearer k"}', '{"authorization":"k"}', '{"api_key_hash":"k"}', '{"api_key":"a","authorization":"b"}',
		'{"api_key_hash":"c","authorization":"b"}', '{"api_key":5}', '{"kind":"nonsense"}', '{"kind":7}', '{"metadata":{"a":1}}', '{"metadata":[]}',
		'{"metadata":"x"}', '{"model":"\u00e9\ud83d\ude00"}', '5', '"x"', '[]', 'null', '{"Model":"x","unknown":1}', '{"total_tokens":5,"state":"x"}');
	my $n = 0;
	for my $body (@bodies)
	{
		my ($mine, $theirs) = ('same-g' . ++$n, "same-s$n");
		my ($mine_body, $their_body) = map { my $b = $body; my $id = $_; $b =~ s/^\{/{"request_id":"$id",/; "[$b]" } $mine, $theirs;
		my $r = $gateway->post($mine_body);
		my $quoted = $their_body =~ s/'/''/gr;
		my ($answer) = sql("SELECT row_to_json(i) FROM ccproxy.ingest('$quoted') AS i");
		my $i = $json->decode($answer);
		my $name = length $body > 60 ? substr($body, 0, 60) . '...' : $body;
		is_deeply([ @{ $r->{json} }{qw(accepted rejected errors)} ], [ @$i{qw(accepted rejected errors)} ], "same answer: $name")
			or diag(explain([ $r->{json}, $i ]));
		my $columns = join ', ', grep { $body =~ /"(?:timestamp|ts)"/ || $_ ne 'ts' } split ' ', sql(
			q{SELECT string_agg(attname, ' ' ORDER BY attnum) FROM pg_attribute WHERE attrelid = 'ccproxy.request_log'::regclass
			  AND attnum > 0 AND attname NOT IN ('request_id', 'parts')});
		is(sql("SELECT $columns FROM ccproxy.request_log WHERE request_id = '$mine'"),
			sql("SELECT $columns FROM ccproxy.request_log WHERE request_id = '$theirs'"), 'same row');
	}
	# without an id: is there anything to count?
	my $nothing = [ { index => 0, field => '', reason => 'no known field has a value' } ];
	my $something = iso($now - 30);
	for ([ '{}', $nothing ], [ '{"request_id":""}', $nothing ], [ '{"model":null,"user_id":""}', $nothing ], [ '{"kind":"request"}', $nothing ],
		[ '{"Model":"x","unknown":1}', $nothing ], [ '{"total_tokens":5,"state":"failed","price_id":1}', $nothing ], [ '{"path":"?key=1"}', $nothing ],
		[ '{"streaming":false}', [] ], [ '{"input_tokens":0}', [] ], [ "{\"timestamp\":\"$something\"}", [] ], [ '{"api_key":"k"}', [] ],
		[ '{"total_cost":0}', [] ], [ '{"metadata":{}}', [] ], [ '{"timestamp":"2999-01-01T00:00:00Z"}', [] ])
	{
		my ($body, $errors) = @$_;
		my $r = $gateway->post("[$body]");
		my $i = $json->decode(sql("SELECT row_to_json(i) FROM ccproxy.ingest('[$body]') AS i"));
		is_deeply([ @{ $r->{json} }{qw(accepted rejected errors)} ], [ @$errors ? (0, 1) : (1, 0), $errors ], "posted: $body") or diag($r->{content});
		is_deeply([ @$i{qw(accepted rejected errors)} ], [ @$errors ? (0, 1) : (1, 0), $errors ], "ingest(): $body") or diag(explain($i));
		is(scalar keys %{ $r->{json}{request_ids} // {} }, @$errors ? 0 : 1, 'an id is made where it is stored, and told');
	}
}

# ----------------------------------------------------- parts, in any order

sub permutations
{
	my @items = @_;
	return [] unless @items;
	return map { my $i = $_; my @rest = @items; my ($x) = splice(@rest, $i, 1); map { [ $x, @$_ ] } permutations(@rest) } 0 .. $#items;
}

{
	my @parts = (
		{ kind => 'request', timestamp => iso($now - 120), model => 'gpt-4', user_id => 'ann', path => '/v1/chat', metadata => { a => 1, both => 'r' } },
		{ kind => 'response', timestamp => iso($now - 118), status_code => 200, response_time_ms => 2000, metadata => { b => 2, both => 's' } },
		{ kind => 'token_usage', timestamp => iso($now - 117), input_tokens => 1000, output_tokens => 100 },
		{ kind => 'cost', reported_cost => 0.5, service_tier => 'standard' });
	my $n = 0;
	for my $order (permutations(0 .. $#parts))
	{
		$n++;
		# through two gateways; every part twice
		for my $part (@$order)
		{
			my $event = { %{ $parts[$part] }, request_id => "perm-$n" };
			my $first = ($n + $part) % 2 ? $gateway : $other;
			my $r = $first->post($event);
			is(counts($r), '200 1 0 0', "order @$order, part $part") if counts($r) ne '200 1 0 0';
			$r = $gateway->post($event);
			is(counts($r), '200 0 1 0', "order @$order, part $part again") if counts($r) ne '200 0 1 0';
		}
	}
	is(sql(q{SELECT count(*), count(DISTINCT (ts, model, user_id, path, status_code, response_time_ms, input_tokens, output_tokens, reported_cost,
		total_cost, service_tier, metadata)) FROM ccproxy.requests WHERE request_id LIKE 'perm-%'}), '24|1', 'four parts in 24 orders: one row each, all alike');
	is(sql(q{SELECT model, user_id, path, status_code, response_time_ms, input_tokens, output_tokens, reported_cost, total_cost, metadata, state
		FROM ccproxy.requests WHERE request_id = 'perm-1'}),
		'gpt-4|ann|/v1/chat|200|2000|1000|100|0.5|0.036|{"a": 1, "b": 2, "both": "s"}|successful', 'with what every part brought');
	my @all = map { my $i = $_; map { { %$_, request_id => "together-$i" } } reverse @parts } 1 .. 50;
	is(counts($gateway->post(\@all)), '200 200 0 0', 'the parts of fifty requests in one post');
	is(sql(q{SELECT count(*), count(DISTINCT (ts, metadata, total_cost)) FROM ccproxy.requests WHERE request_id LIKE 'together-%'}), '50|1', 'are fifty rows');
	is(counts($gateway->post([ { request_id => 'mixed', kind => 'request', timestamp => iso($now - 50), user_id => 'u' },
		{ request_id => 'mixed', timestamp => iso($now - 50), model => 'gpt-4', output_tokens => 7 } ])), '200 2 0 0', 'a part and the whole in one post');
	is(sql(q{SELECT count(*), max(user_id), max(output_tokens) FROM ccproxy.requests WHERE request_id = 'mixed'}), '1|u|7', 'are one row');
}

# ------------------------------------------------------------- duplicates

{
	my @events = map { { request_id => "dup-$_", timestamp => iso($now - $_), output_tokens => $_ } } 1 .. 20;
	my @names = map { "ccproxy_gateway_${_}_total" } qw(events_suspected batch_collisions batches_staged batches_inserted);
	my @before = map { my $g = $_; map { counter($g, $_) } @names } $gateway, $other;
	is(counts($gateway->post(\@events)), '200 20 0 0', 'twenty events');
	is(counts($gateway->post(\@events)), '200 0 20 0', 'again: nothing new');
	is(counts($other->post(\@events)), '200 0 20 0', 'through another gateway: nothing new');
	is(counts($other->post(\@events)), '200 0 20 0', 'and again');
	my @after = map { my $g = $_; map { counter($g, $_) } @names } $gateway, $other;
	is(join(' ', map { $after[$_] - $before[$_] } 0 .. 7), '20 0 0 1 20 1 0 0',
		'what a gateway has stored or seen it suspects; only what another one stored collides, once; nothing is merged, what is new is inserted');
	is(counts($gateway->post([ @events, { request_id => 'dup-new', timestamp => iso($now) } ])), '200 1 20 0', 'a new one among old ones');
	is(counts($gateway->post([ map { { request_id => 'dup-within', timestamp => iso($now), output_tokens => $_ } } 1 .. 5 ])), '200 1 4 0', 'repeated within one post');
	is(counts($gateway->post({ request_id => 'dup-timeless', model => 'gpt-4' })), '200 1 0 0', 'an event without a time');
	sleep 0.01;
	is(counts($other->post({ request_id => 'dup-timeless', model => 'gpt-4' })), '200 0 1 0', 'again, later: nothing new');
	my $ahead = { request_id => 'dup-ahead', timestamp => iso($now + 86400), model => 'gpt-4' };
	is(counts($gateway->post($ahead)), '200 1 0 0', 'an event from the future');
	sleep 0.01;
	is(counts($gateway->post($ahead)), '200 0 1 0', 'again: nothing new');
	like($gateway->get('/metrics/prometheus')->{content}, qr/^ccproxy_gateway_events_ahead_total 3$/m, 'and counted');
	is(sql(q{SELECT ts < now() + interval '1 minute', metadata->>'claimed_timestamp' FROM ccproxy.requests WHERE request_id = 'dup-ahead'}),
		't|' . iso($now + 86400), 'stored at the time of receipt, with what it claimed');
	is(sql(q{SELECT count(*), count(DISTINCT request_id), sum(output_tokens) FROM ccproxy.requests WHERE request_id LIKE 'dup-%'}), '24|24|' . (210 + sql(
		q{SELECT output_tokens FROM ccproxy.requests WHERE request_id = 'dup-within'})), 'each once');
}

# ----------------------------------------------------- bad beside good

{
	my @lines = map { qq({"request_id":"many-$_","timestamp":) . ($now - $_ / 10) . qq(,"output_tokens":$_}) } 1 .. 10_000;
	$lines[4999] = '{"request_id":"many-bad","output_tokens":-1}';
	my $r = $gateway->post(join "\n", @lines);
	is(counts($r), '200 9999 0 1', 'one bad event among ten thousand');
	is_deeply($r->{json}{errors}, [ { index => 4999, field => 'output_tokens', reason => 'is out of range' } ], 'is named by index, field and reason');
	is(sql(q{SELECT count(*), sum(output_tokens) FROM ccproxy.requests WHERE request_id LIKE 'many-%'}), '9999|' . (50_005_000 - 5000), 'the others are stored');

	# a refusal of the database's own, which validation cannot foresee
	sql(q{ALTER TABLE ccproxy.request_log ADD CONSTRAINT no_poison CHECK (user_id <> 'poison') NOT VALID});
	my @events = map { { request_id => "poison-$_", timestamp => $now - $_, user_id => $_ == 33 || $_ == 77 ? 'poison' : 'fine' } } 0 .. 99;
	$r = $gateway->post(\@events);
	is(counts($r), '200 98 0 2', 'two rows the database refuses');
	is_deeply([ map { $_->{index} } @{ $r->{json}{errors} } ], [ 33, 77 ], 'are found');
	like($r->{json}{errors}[0]{reason}, qr/refused by the database: .*no_poison/, 'and reported');
	is(counts($gateway->post($events[33])), '400 0 0 1', 'one of them alone');
	is(sql(q{SELECT count(*) FROM ccproxy.requests WHERE request_id LIKE 'poison-%'}), '98', 'the others are stored');
	sql('ALTER TABLE ccproxy.request_log DROP CONSTRAINT no_poison');
}

# ----------------------------------------- PostgreSQL gets in the way

{
	my $writers = q{SELECT count(pg_terminate_backend(pid)) > 0 FROM pg_stat_activity WHERE application_name = 'ccproxy-gateway' AND datname = 'metrics'};
	is(sql($writers), 't', 'the sessions are terminated');
	is(counts($gateway->post({ request_id => 'after-terminate', timestamp => $now })), '200 1 0 0', 'the next post does not notice');
	$node->restart('immediate');
	is(counts($gateway->post({ request_id => 'after-restart', timestamp => $now })), '200 1 0 0', 'nor after a crash of the server');
	CCProxy::wait_until('the pair of log lines', sub { $gateway->log_text =~ /event=pg_lost.*event=pg_recovered outage_ms=/s });
	ok(1, 'lost and recovered are logged');

	# partitions that are missing, also in two places at once
	sql(q{DO $$ DECLARE p regclass; BEGIN FOR p IN SELECT inhrelid::regclass FROM pg_inherits WHERE inhparent = 'ccproxy.request_log'::regclass LOOP
		EXECUTE 'DROP TABLE ' || p; END LOOP; END $$});
	is(counts($gateway->post([ map { { request_id => "days-$_", timestamp => $now - 86400 * $_ } } 0, 40, 1000 ])), '200 3 0 0', 'three days without partitions');
	is(sql(q{SELECT count(*) FROM pg_inherits WHERE inhparent = 'ccproxy.request_log'::regclass}), 3, 'get theirs, and no other');
	is(counts($gateway->post({ request_id => 'days-part', kind => 'request', timestamp => $now - 86400 * 500 })), '200 1 0 0', 'so does a part');

	# a lock in the way is waited out
	my $session = $node->background_psql('metrics');
	$session->query_safe('BEGIN; LOCK TABLE ccproxy.ingest_batch IN ACCESS EXCLUSIVE MODE');
	my $pid = fork() // die;
	if ($pid == 0)
	{
		delete $gateway->{client};
		my $r = $gateway->post({ request_id => 'behind-a-lock', timestamp => $now });
		POSIX::_exit($r->{status} == 200 ? 0 : 1);
	}
	sleep 0.5;
	$session->query_safe('COMMIT');
	$session->quit;
	waitpid($pid, 0);
	is($?, 0, 'a locked table is waited for');
}

# a role that lacks its grants: nothing is lost, nothing crashes, it says so
{
	sql('CREATE ROLE poor LOGIN');
	my $poor = CCProxy->start(db_url => $node->connstr('metrics') . ' user=poor', ready => 0, args => [ '--metrics-flush-interval=1s' ]);
	$poor->wait_for_log(qr/event=pg_lost class=operator/);
	my $r = $poor->get('/readyz');
	is($r->{status}, 503, 'without grants it is not ready');
	is($poor->post({ request_id => 'poor', timestamp => $now })->{status}, 503, 'events are refused, to be retried');
	sql(q{SELECT ccproxy.grant_gateway('poor')});
	$poor->wait_ready;
	is(counts($poor->post({ request_id => 'poor', timestamp => $now })), '200 1 0 0', 'granted, it works');
	sql(q{REVOKE INSERT ON ccproxy.request_log FROM poor});
	is($poor->post({ request_id => 'poor-2', timestamp => $now })->{status}, 503, 'revoked, events are refused after the interval');
	sql(q{SELECT ccproxy.grant_gateway('poor')});
	CCProxy::wait_until('the grant to be noticed', sub { $poor->post({ request_id => 'poor-2', timestamp => $now })->{status} == 200 });
	is(sql(q{SELECT count(*) FROM ccproxy.requests WHERE request_id LIKE 'poor%'}), 2, 'nothing lost, nothing twice');
	is($poor->stop, 0, 'a clean end');
}

# no server at all: refused at once when it has been away for long, kept for a while before
{
	my $late = CCProxy->start(node => $node, args => [ '--metrics-flush-interval=1s' ]);
	is(counts($late->post({ request_id => 'late-1', timestamp => $now })), '200 1 0 0', 'a gateway');
	$node->stop('immediate');
	my $start = time;
	my $r = $late->post({ request_id => 'late-2', timestamp => $now });
	is($r->{status}, 503, 'no server: refused');
	cmp_ok(time - $start, '<', 15, '... within bounds');
	like($r->{headers}{'retry-after'}, qr/^[1-9]\d*$/, '... with Retry-After');
	is($late->get('/readyz')->{status}, 503, '... and not ready');
	$start = time;
	is($late->post({ request_id => 'late-2', timestamp => $now })->{status}, 503, 'again');
	cmp_ok(time - $start, '<', 3, '... at once by now');
	$start = time;
	is($late->stop, 0, 'it can be stopped meanwhile');
	cmp_ok(time - $start, '<', 15, '... soon');
	$node->start;
}

# ------------------------------------------------------------ nothing private

{
	my $discreet = CCProxy->start(node => $node,
		args => [ '--hash-user-ids=true', '--drop-client-ip=true', '--drop-user-agent=true', '--drop-error-message=true' ]);
	is(counts($discreet->post({ request_id => 'discreet', timestamp => $now, user_id => 'ann', client_ip => '1.2.3.4', user_agent => 'x',
		error_message => 'y', error_type => 'z' })), '200 1 0 0', 'a gateway that is told to be discreet');
	is(sql(q{SELECT user_id ~ '^[0-9a-f]{32}$', client_ip IS NULL, user_agent IS NULL, error_message IS NULL, error_type
		FROM ccproxy.requests WHERE request_id = 'discreet'}), 't|t|t|t|z', 'stores no address, agent or message, and a hash for the user');
	$discreet->stop;
}

{
	my @parts = map { { kind => 'response', request_id => 'very many', timestamp => time - $_, input_tokens => $_ } } 1 .. 105;
	my $r = $gateway->post([ @parts, { request_id => 'beside it', input_tokens => 1 } ]);
	is("$r->{status} $r->{json}{accepted} $r->{json}{duplicates} $r->{json}{rejected}", '200 101 0 5',
		'a request has at most 100 parts; what stands beside them is stored');
	is($r->{json}{errors}[0]{reason}, 'is one part too many of its request', 'and the answer says so');
}

{
	$_->wait_ready for $gateway, $other;
	my $dump = "$PostgreSQL::Test::Utils::tmp_check/dump.sql";
	$node->command_ok([ 'pg_dump', '-f', $dump, 'metrics' ], 'a dump');
	my $text = slurp_file($dump) . $gateway->log_text . $other->log_text;
	unlike($text, qr/sk-secret-in-a-header|sk-in-the-path/, 'keys are neither in the database nor in the log');
}

is($gateway->stop, 0, 'the gateway ends cleanly');
is($other->stop, 0, 'the other one, too');
done_testing();
