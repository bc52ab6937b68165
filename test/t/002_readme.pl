# The README's reference names all there is: settings, routes, fields, columns,
# functions, targets.
use strict;
use warnings;
use Test::More;
use PostgreSQL::Test::Utils;

my $readme = slurp_file('README.md');
my $gateway = $ENV{CCPROXY_GATEWAY} or plan skip_all => 'CCPROXY_GATEWAY is not set';

sub missing
{
	my ($what, @names) = @_;
	cmp_ok(scalar(@names), '>', 0, "$what are found");
	is(join(' ', grep { $readme !~ /(?<![a-z0-9_])\Q$_\E(?![a-z0-9_])/ } @names), '', "all $what are in the README");
}

missing('settings', grep { !/^(?:check|print)_config$/ } map { s/-/_/gr } `$gateway --help` =~ /^  --([a-z0-9-]+) +.*\]?$/mg);
missing('event fields', slurp_file('extension/event_fields.h') =~ /^\s*F\(\w+,\s*"(\w+)"/mg);
missing('kinds', slurp_file('extension/event_fields.h') =~ /^\s*K\(\w+,\s*"(\w+)"/mg);
missing('ignored keys', slurp_file('extension/event_fields.h') =~ /\bF\("(\w+)"\)/g);
missing('routes', map { /\.path = "([^"]+)"/ && $1 !~ m{/static/} ? $1 =~ s{/$}{}r : () } map { split /\n/, slurp_file($_) } glob('gateway/route_*.c'));
missing('filters', slurp_file('gateway/query_read.c') =~ /filters\[\] = \{(.*?)\}/s ? $1 =~ /"(\w+)"/g : ());
missing('public functions', do {
	my %seen;
	# not what only types, aggregates, views and gateways call
	grep { !/^_|^sketch_|_(?:in|out|recv|send|eq|ne|add|combine|combine_groups|final|insert|pico|lines)$|^decode_|^usd$|^price_/ && !$seen{$_}++ }
		map { slurp_file($_) =~ /CREATE (?:OR REPLACE )?(?:FUNCTION|PROCEDURE|AGGREGATE|VIEW) ccproxy\.(\w+)/g } glob('sql/*.sql') });
missing('columns of requests', slurp_file('sql/10_types.sql') =~ /CREATE TYPE ccproxy\.request_record AS \((.*?)\);/s ? $1 =~ /^\s*(\w+)\s+\w/mg : ());
missing('columns of stats', join('', map { slurp_file($_) } sort glob('sql/6*.sql')) =~ /CREATE FUNCTION ccproxy\.stats\(.*?RETURNS TABLE \((.*?)\)\n/s ? $1 =~ /^\s*(\w+)\s+\w/mg : ());
missing('targets', map { "make $_" } slurp_file('Makefile') =~ /^## +make ([a-z]+)/mg);

done_testing();
