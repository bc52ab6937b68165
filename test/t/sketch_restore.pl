# Sketches in tables, views, defaults and materialised views survive dump and
# restore, as text and in pg_dump's own format, by an owner who is no superuser.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('sketch');
$node->init;
$node->append_conf('postgresql.conf', "extension_destdir = '$ENV{CCPROXY_STAGE}'") if $ENV{CCPROXY_STAGE};
$node->start;
$node->safe_psql('postgres', 'CREATE ROLE owner LOGIN');
$node->safe_psql('postgres', "CREATE DATABASE $_ OWNER owner") for qw(app plain custom);

my @as_owner = (extra_params => [ '-U', 'owner' ]);

$node->safe_psql('app', q{
	CREATE EXTENSION ccproxy_metrics;
	CREATE SCHEMA app;
	SET search_path = app;
	CREATE TABLE hourly (
		hour int PRIMARY KEY,
		latency ccproxy.sketch NOT NULL DEFAULT '{"scale": 6, "count": 0}',
		CHECK (ccproxy.count(latency) >= 0));
	INSERT INTO hourly SELECT h, ccproxy.sketch(exp(sin(i * 12.9898) * h) * CASE WHEN i % 100 = 0 THEN -1 ELSE 1 END)
	  FROM generate_series(0, 23) h, generate_series(1, (h * h + 1) * 20) i GROUP BY h;
	INSERT INTO hourly (hour) VALUES (24);
	INSERT INTO hourly SELECT 25, ccproxy.sketch(x) FROM unnest('{-1.7976931348623157e308,-4e-310,0,5e-324,0.1,1.7976931348623157e308}'::float8[]) x;
	CREATE VIEW p95 AS SELECT hour, ccproxy.quantile(latency, 0.95) AS p95 FROM hourly;
	CREATE MATERIALIZED VIEW day AS SELECT ccproxy.merge(latency) AS latency FROM hourly;
	CREATE INDEX ON hourly (ccproxy.quantile(latency, 0.95));
	CREATE INDEX ON hourly USING hash (latency);
	CREATE AGGREGATE mine (double precision) (SFUNC = ccproxy.sketch_add, STYPE = ccproxy.sketch, FINALFUNC = ccproxy.sketch_p50, COMBINEFUNC = ccproxy.sketch_combine);
}, @as_owner);

# every field but the sum's last digits, which a table keeps as well
sub contents
{
	my ($db) = @_;
	return $node->safe_psql($db, q{
		SELECT hour, latency, encode(ccproxy.sketch_send(latency), 'hex') FROM app.hourly ORDER BY hour;
		SELECT * FROM app.p95 ORDER BY hour;
		SELECT latency FROM app.day;
		SELECT app.mine(x) FROM generate_series(1, 9) x;
	}, @as_owner);
}

my $before = contents('app');
like($before, qr/"negative"/, 'there are sketches of all kinds');

my $dir = PostgreSQL::Test::Utils::tempdir();
$node->command_ok([ 'pg_dump', '-U', 'owner', '-d', $node->connstr('app'), '-f', "$dir/plain.sql" ], 'pg_dump as SQL');
$node->command_ok([ 'pg_dump', '-U', 'owner', '-d', $node->connstr('app'), '-Fc', '-f', "$dir/custom" ], 'pg_dump in its own format');
$node->command_ok([ 'psql', '-X', '-1', '-q', '-v', 'ON_ERROR_STOP=1', '-U', 'owner', '-d', $node->connstr('plain'), '-f', "$dir/plain.sql" ], 'psql restores');
$node->command_ok([ 'pg_restore', '-1', '--exit-on-error', '-U', 'owner', '-d', $node->connstr('custom'), "$dir/custom" ], 'pg_restore restores');
is(contents('plain'), $before, 'the same sketches, byte for byte, from SQL');
is(contents('custom'), $before, 'the same from the custom format');

# after a crash, too: what was written to WAL is what is read
$node->safe_psql('app', 'CREATE TABLE app.copy AS TABLE app.hourly', @as_owner);
$node->stop('immediate');
$node->start;
is($node->safe_psql('app', 'SELECT count(*) FROM app.copy c JOIN app.hourly h ON c.hour = h.hour AND ccproxy.sketch_eq(c.latency, h.latency)', @as_owner),
	'26', 'and after a crash');

# a dependent table keeps the extension
my ($status, undef, $error) = $node->psql('app', 'DROP EXTENSION ccproxy_metrics', @as_owner);
isnt($status, 0, 'DROP EXTENSION refuses while a table has sketches');
like($error, qr/depends on type ccproxy\.sketch/, 'and says so');

$node->stop;
done_testing();
