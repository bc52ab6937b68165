# Prices of one's own in the life of a database: dumped and restored by an owner
# who is no superuser, every stored row's price still telling the truth; and the
# notice that gateways wait for.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('pricing_restore');
$node->init;
$node->append_conf('postgresql.conf', "extension_destdir = '$ENV{CCPROXY_STAGE}'") if $ENV{CCPROXY_STAGE};
$node->start;
$node->safe_psql('postgres', q{
	CREATE ROLE owner LOGIN;
	CREATE DATABASE app OWNER owner;
	CREATE DATABASE fresh OWNER owner;
});

sub as_owner
{
	my ($db, $sql) = @_;
	return $node->safe_psql($db, $sql, extra_params => [ '-U', 'owner' ]);
}

as_owner('app', q{
	CREATE EXTENSION ccproxy_metrics;
	SELECT ccproxy.create_metrics_table();
	SELECT ccproxy.set_price('house-model', 1, 2, effective_from => '2020-01-01', multipliers => '{"batch": 0.5}');
	SELECT ccproxy.set_price('house-model', 3, 4, effective_from => now() - interval '30 minutes', note => 'dearer');
	SELECT ccproxy.close_price(4, now() - interval '1 hour', 'no contract any more');
	SELECT ccproxy.ingest((SELECT jsonb_agg(jsonb_build_object('request_id', 'r' || i, 'timestamp', now() - i * interval '10 minutes',
		'model', (ARRAY['house-model', 'gpt-4', 'gpt-4o'])[1 + i % 3], 'input_tokens', 1000, 'output_tokens', i, 'status_code', 200))
		FROM generate_series(1, 60) i));
});

my $summary = q{
	SELECT model, price_id, count(*), sum(total_cost) FROM ccproxy.requests GROUP BY 1, 2 ORDER BY 1, 2
};
my $honest = q{
	SELECT count(*) FROM ccproxy.requests r
	 WHERE r.total_cost IS DISTINCT FROM ccproxy.total_cost(r.model, r.input_tokens, r.output_tokens, at => r.ts)
};
my $catalogue = 'SELECT ccproxy.price_catalogue_version()';
my $before = as_owner('app', $summary);
like($before, qr/^house-model\|1000000\|\d+\|.*\nhouse-model\|1000001\|/m, 'rows name the price of their time');
like($before, qr/^gpt-4\|\|/m, 'a closed price charges nothing any more');
is(as_owner('app', $honest), 0, 'stored costs are what cost() says');

my $dump = $node->basedir . '/app.dump';
command_ok([ 'pg_dump', '-Fc', '-f', $dump, '-d', $node->connstr('app') . ' user=owner' ], 'the owner dumps');
command_ok([ 'pg_restore', '-1', '--exit-on-error', '-d', $node->connstr('fresh') . ' user=owner', $dump ], 'and restores elsewhere');

is(as_owner('fresh', $summary), $before, 'the same requests, prices and costs');
is(as_owner('fresh', $honest), 0, 'which are what cost() says there');
is(as_owner('fresh', $catalogue), as_owner('app', $catalogue), 'the catalogue is the same');
is(as_owner('fresh', q{SELECT ccproxy.set_price('other', 1, 1)}), '1000002', 'ids go on where they were');
is(as_owner('fresh', q{SELECT (ccproxy.cost('other', 1000000)).price_id}), '1000002', 'and a new price counts at once');
is(as_owner('fresh', q{SELECT note FROM ccproxy.price_closing WHERE price_id = 4}), 'no contract any more', 'closings came along');
my ($rc, $out, $err) = $node->psql('fresh', 'UPDATE ccproxy.price SET input_mtok = 9', extra_params => [ '-U', 'owner' ]);
like($err, qr/cannot be changed, only closed/, 'history is guarded there, too');

# a session that priced before the change prices with the new one, and is told
my $session = $node->background_psql('app');
$session->query_safe('LISTEN ccproxy_prices');
is($session->query_safe(q{SELECT ccproxy.total_cost('house-model', 1000000)}), '3.000000000000', 'a session prices');
as_owner('app', q{SELECT ccproxy.set_price('house-model', 5, 6)});
like($session->query(q{SELECT ccproxy.total_cost('house-model', 1000000)}), qr/^5\.000000000000.*"ccproxy_prices"/s,
	'and follows a change in another, which it is told of');
$session->quit;

done_testing();
