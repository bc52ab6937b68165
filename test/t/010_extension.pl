# The extension in the life of a database: made by an owner who is no superuser,
# dumped and restored by that owner, dropped only on purpose.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('extension');
$node->init;
$node->append_conf('postgresql.conf', "extension_destdir = '$ENV{CCPROXY_STAGE}'") if $ENV{CCPROXY_STAGE};
$node->start;

$node->safe_psql('postgres', q{
	CREATE ROLE owner LOGIN;
	CREATE ROLE reader;
	CREATE ROLE gateway;
	CREATE DATABASE app OWNER owner;
	CREATE DATABASE fresh OWNER owner;
});

# runs SQL as the owner
sub as_owner
{
	my ($db, $sql) = @_;
	return $node->safe_psql($db, $sql, extra_params => [ '-U', 'owner' ]);
}

# the same, and it must fail; returns the error
sub owner_fails
{
	my ($db, $sql) = @_;
	my ($rc, $out, $err) = $node->psql($db, $sql, extra_params => [ '-U', 'owner' ]);
	isnt($rc, 0, "refused: $sql");
	return $err;
}

as_owner('app', q{
	CREATE TABLE customers (id int PRIMARY KEY, name text);
	INSERT INTO customers VALUES (1, 'ann');
	CREATE SCHEMA reporting;
});
as_owner('app', 'CREATE EXTENSION ccproxy_metrics; SELECT ccproxy.create_metrics_table()');
is(as_owner('app', q{SELECT extowner::regrole FROM pg_extension WHERE extname = 'ccproxy_metrics'}),
	'owner', 'a database owner who is no superuser can create the extension');
as_owner('app', q{SELECT ccproxy.grant_read('reader'); SELECT ccproxy.grant_gateway('gateway')});

# a mixture: complete events, parts, failures, late ones, an unpriced model
as_owner('app', q{
	SELECT ccproxy.ingest((SELECT jsonb_agg(jsonb_build_object(
		'request_id', 'r' || i, 'timestamp', now() - make_interval(mins => i * 7), 'model',
		(ARRAY['gpt-4', 'claude-3-opus', 'claude-3-haiku', 'unheard-of'])[1 + i % 4],
		'user_id', 'u' || i % 5, 'endpoint_type', 'openai', 'method', 'POST', 'api_key', 'k' || i % 3,
		'status_code', CASE WHEN i % 9 = 0 THEN 429 ELSE 200 END, 'response_time_ms', 100 + i * 1.5,
		'input_tokens', i * 11, 'output_tokens', i * 3, 'cache_read_tokens', i, 'metadata', jsonb_build_object('i', i)))
	 FROM generate_series(1, 500) AS i));
	SELECT ccproxy.ingest((SELECT jsonb_agg(jsonb_build_object('kind', k, 'request_id', 'p' || i, 'timestamp', now() - make_interval(mins => i),
		'model', 'gpt-4', 'output_tokens', i)) FROM generate_series(1, 50) AS i, unnest(ARRAY['request', 'token_usage']) AS k));
});

my @questions = (
	q{SELECT total_requests, successful_requests, failed_requests, in_flight_requests, avg_response_time_ms, p50_response_time_ms,
	  p95_response_time_ms, p99_response_time_ms, input_tokens, output_tokens, total_cost, model_usage, model_costs, errors_by_type
	  FROM ccproxy.stats(date_trunc('day', now()) - interval '10 days', date_trunc('day', now()) + interval '2 days')},
	q{SELECT group_key, total_requests, total_cost, p95_response_time_ms FROM
	  ccproxy.stats(date_trunc('day', now()) - interval '10 days', date_trunc('day', now()) + interval '2 days', 'hour') ORDER BY 1},
	q{SELECT * FROM ccproxy.request('r77')},
	q{SELECT family, label_values, bucket_counts, sum, count FROM ccproxy.prometheus_samples() ORDER BY family, label_values},
	q{SELECT retention, md5(hash_secret) FROM ccproxy.configuration},
	q{SELECT count(*), sum(output_tokens) FROM ccproxy.request_part},
	q{SELECT has_table_privilege('reader', 'ccproxy.requests', 'SELECT'), has_table_privilege('gateway', 'ccproxy.request_log', 'INSERT'),
	  has_function_privilege('gateway', 'ccproxy.merge_events(ccproxy.request_event[])', 'EXECUTE'),
	  has_function_privilege('reader', 'ccproxy.merge_events(ccproxy.request_event[])', 'EXECUTE')});
my @before = map { as_owner('app', $_) } @questions;
like($before[0], qr/^550\|/, 'there is something to dump');

my $dump = $node->basedir . '/app.dump';
my $host = $node->host;
my $port = $node->port;
command_ok([ 'pg_dump', '-h', $host, '-p', $port, '-U', 'owner', '-Fc', '-f', $dump, 'app' ],
	'pg_dump by the owner');
command_ok([ 'pg_restore', '-h', $host, '-p', $port, '-U', 'owner', '-1', '--exit-on-error', '-d', 'fresh', $dump ],
	'pg_restore -1 --exit-on-error by the owner into a fresh database');
for my $i (0 .. $#questions)
{
	is(as_owner('fresh', $questions[$i]), $before[$i], "the restored database answers question $i alike");
}

# and lives on: the tables can be brought up to date, take events, and merge them
as_owner('fresh', 'SELECT ccproxy.create_metrics_table(); CALL ccproxy.maintain()');
is(as_owner('fresh', q{SELECT accepted, duplicates FROM ccproxy.ingest('[{"request_id": "new", "status_code": 200},
	{"kind": "response", "request_id": "p7", "status_code": 200}]')}), '2|0', 'the restored database takes events');
is(as_owner('fresh', q{SELECT state, output_tokens FROM ccproxy.request('p7')}), 'successful|7',
	'a part meets the parts that were dumped');

# plain SQL format too
command_ok([ 'pg_dump', '-h', $host, '-p', $port, '-U', 'owner', '-f', "$dump.sql", 'app' ], 'plain pg_dump');
$node->safe_psql('postgres', 'CREATE DATABASE plain OWNER owner');
command_ok([ 'psql', '-X', '-q', '-1', '-v', 'ON_ERROR_STOP=1', '-h', $host, '-p', $port, '-U', 'owner', '-d', 'plain', '-f', "$dump.sql" ],
	'and psql -1 -v ON_ERROR_STOP=1 of it');
is(as_owner('plain', $questions[0]), $before[0], 'with the same statistics');

# DROP EXTENSION refuses while there is a metrics table, and CASCADE means it
like(owner_fails('app', 'DROP EXTENSION ccproxy_metrics'), qr/cannot drop extension ccproxy_metrics because other objects depend on it/,
	'DROP EXTENSION refuses');
is(as_owner('app', 'SELECT count(*) FROM ccproxy.requests'), '550', 'and nothing is lost');
as_owner('plain', 'DROP EXTENSION ccproxy_metrics CASCADE');
is(as_owner('plain', q{SELECT count(*) FROM customers}), '1', 'DROP EXTENSION CASCADE leaves what is not ours');
is(as_owner('plain', q{SELECT count(*) FROM ccproxy.request_log}), '550', 'and the raw rows, without the columns of our types');
as_owner('plain', 'DROP SCHEMA ccproxy CASCADE');
as_owner('plain', 'CREATE EXTENSION ccproxy_metrics; SELECT ccproxy.create_metrics_table()');
is(as_owner('plain', 'SELECT count(*) FROM ccproxy.requests'), '0', 'and one can start anew');

# an unlisted superuser gets the same owner
$node->safe_psql('app', 'SELECT ccproxy.create_metrics_table()');
is($node->safe_psql('app', q{SELECT DISTINCT relowner::regrole FROM pg_class WHERE relnamespace = 'ccproxy'::regnamespace AND relkind IN ('r', 'p')}),
	'owner', 'what a superuser makes by create_metrics_table() belongs to the owner');

# A schema made beforehand by somebody else gives him nothing: functions run with
# his rights, and relations of others in the schema are refused.
$node->safe_psql('postgres', q{CREATE ROLE mallory LOGIN; CREATE DATABASE trap; GRANT CREATE ON DATABASE trap TO mallory});
$node->safe_psql('trap', q{
	CREATE SCHEMA ccproxy;
	CREATE TABLE ccproxy.configuration (singleton boolean PRIMARY KEY DEFAULT true, retention interval DEFAULT '90 days',
		partitions_ahead integer DEFAULT 7, part_window interval DEFAULT '24 hours', hash_secret bytea);
	CREATE FUNCTION ccproxy.own() RETURNS trigger LANGUAGE plpgsql AS
		'BEGIN ALTER ROLE mallory SUPERUSER; RETURN NEW; END';
	CREATE TRIGGER trap BEFORE INSERT ON ccproxy.configuration FOR EACH ROW EXECUTE FUNCTION ccproxy.own();
}, extra_params => [ '-U', 'mallory' ]);
$node->psql('trap', 'CREATE EXTENSION ccproxy_metrics; SELECT ccproxy.create_metrics_table()', on_error_stop => 0);
is($node->safe_psql('postgres', q{SELECT rolsuper FROM pg_roles WHERE rolname = 'mallory'}), 'f',
	'a trap in a schema made beforehand does not run with a superuser\'s rights');
is($node->safe_psql('trap', q{SELECT DISTINCT proowner::regrole FROM pg_proc WHERE pronamespace = 'ccproxy'::regnamespace AND prosecdef}),
	'mallory', 'nor does any function of the extension');
$node->safe_psql('plain', 'GRANT USAGE, CREATE ON SCHEMA ccproxy TO mallory');
$node->safe_psql('plain', 'CREATE TABLE ccproxy.planted ()', extra_params => [ '-U', 'mallory' ]);
like(owner_fails('plain', 'SELECT ccproxy.create_metrics_table()'), qr/relation ccproxy.planted belongs to mallory, not to owner/,
	'a relation of somebody else in the schema is refused');

# a superuser may restore the owner's dump, and all of it stays the owner's
$node->safe_psql('postgres', 'CREATE DATABASE rescued');
command_ok([ 'pg_restore', '-h', $host, '-p', $port, '-1', '--exit-on-error', '-d', 'rescued', $dump ],
	'pg_restore by a superuser');
is($node->safe_psql('rescued', q{SELECT ccproxy.create_metrics_table();
	SELECT accepted FROM ccproxy.ingest('{"request_id": "rescued", "status_code": 200}')}), "\n1", 'what a superuser restored takes events');
is($node->safe_psql('rescued', q{SELECT DISTINCT proowner::regrole FROM pg_proc WHERE pronamespace = 'ccproxy'::regnamespace AND prosecdef}),
	'owner', 'with the rights of its owner');

# a superuser's restart with a crash: committed means there
$node->safe_psql('app', q{SELECT ccproxy.ingest('{"request_id": "before the crash", "status_code": 200}')});
$node->stop('immediate');
$node->start;
is(as_owner('app', q{SELECT count(*) FROM ccproxy.request('before the crash')}), '1', 'a committed event survives a crash');

$node->stop;
done_testing();
