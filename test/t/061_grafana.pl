# gateway/grafana: dashboards that Grafana's own schema accepts, whose every query
# runs with the read role and says what the raw rows say.
use strict;
use warnings;

use CCProxy;
use CCProxyGrafana;
use PostgreSQL::Test::Utils;
use Test::More;

eval { require JSON::Validator; 1 } or plan skip_all => 'no JSON::Validator (libjson-validator-perl)';

my $dashboards = CCProxyGrafana::dashboards();
is(join(' ', map { m{([a-z]+)\.json$} } sort keys %$dashboards), 'cost errors gateway latency overview', 'the dashboards');

# --------------------------------------------------------------- their form

my $types = JSON::PP->new->utf8->decode(slurp_file('test/grafana/schema.json'))->{definitions}{Grafana}{properties};
my %validators;
sub violations
{
	my ($what, $value, @path) = @_;
	my $schema = $types->{ $path[0] };
	$schema = $schema->{properties}{ $path[1] } if $path[1];
	my $v = $validators{"@path"} //= JSON::Validator->new->schema($schema);
	return map { "$what: $_" } $v->validate($value);
}
sub dashboard_violations
{
	my ($name, $d) = @_;
	return (violations($name, $d, 'dashboard'),
		map {
			my ($p, $w, $type) = ($_, "$name \"$_->{title}\"", $_->{type} // "");
			!$types->{$type} ? "$w: no schema of type $type"
				: (violations($w, $p->{options}, $type, 'options'), violations("$w custom", $p->{fieldConfig}{defaults}{custom} // {}, $type, 'custom'))
		} @{ $d->{panels} });
}

my %uids;
for my $name (sort keys %$dashboards)
{
	my $d = $dashboards->{$name};
	is(join("\n", dashboard_violations($name, $d)), '', "$name is as Grafana's schema says");
	ok(!$uids{ $d->{uid} }++, 'its uid is its own');
	my (%ids, %cells, @overlap);
	for my $p (@{ $d->{panels} })
	{
		push @overlap, "id $p->{id}" if $ids{ $p->{id} }++;
		my $g = $p->{gridPos};
		push @overlap, "$p->{title} is wider than the page" if $g->{x} + $g->{w} > 24;
		for my $x ($g->{x} .. $g->{x} + $g->{w} - 1)
		{
			for my $y ($g->{y} .. $g->{y} + $g->{h} - 1) { push @overlap, "$p->{title} at $x,$y" if $cells{"$x,$y"}++ }
		}
	}
	is(join(', ', @overlap), '', 'its panels lie beside each other');
}
# the check itself: what it must refuse
my $sound = JSON::PP->new->encode($dashboards->{'gateway/grafana/dashboards/cost.json'});
for ([ 'a key that does not exist', sub { $_[0]{colour} = 'red' } ], [ 'a wrong type', sub { $_[0]{panels}[0]{title} = [] } ],
	[ 'a panel without a type', sub { delete $_[0]{panels}[0]{type} } ], [ 'a value of an enumeration', sub { $_[0]{templating}{list}[0]{hide} = 7 } ],
	[ 'an option', sub { $_[0]{panels}[4]{options}{legend}{displayMode} = 'sideways' } ], [ 'a custom setting', sub { $_[0]{panels}[4]{fieldConfig}{defaults}{custom}{drawStyle} = 'oil' } ])
{
	my $broken = JSON::PP->new->decode($sound);
	$_->[1]->($broken);
	isnt(join('', dashboard_violations('x', $broken)), '', "$_->[0] is refused");
}
my %sources = map { $_ => 1 } slurp_file('gateway/grafana/provisioning/datasources/ccproxy.yaml') =~ /^\s+uid: (\S+)/mg;
is(join(' ', sort grep { !$sources{$_} } $sound =~ /"uid":"(ccproxy-p\w+)"/g, JSON::PP->new->encode([ values %$dashboards ]) =~ /"uid":"(ccproxy-p\w+)"/g), '', 'data sources are the provisioned ones');

# ------------------------------------------------------------ their queries

my $node = CCProxy::cluster('grafana');
my $to = int(time / 60) * 60;
our $from = $to - 3 * 86400;
$node->safe_psql('metrics', <<SQL);
CREATE ROLE grafana LOGIN;
ALTER ROLE grafana SET default_transaction_read_only = on;
SELECT ccproxy.grant_read('grafana');
SELECT ccproxy.set_budget('all', 100), ccproxy.set_budget('me', 0.001, 'day', 'user', 'u1');
SELECT accepted FROM ccproxy.ingest((SELECT jsonb_agg(jsonb_build_object('request_id', 'g' || i, 'timestamp', to_timestamp($from + i * 259.2),
    'model', (ARRAY['gpt-4', 'claude-3-haiku', 'made-up-9', 'o''hara'])[1 + i % 4], 'user_id', CASE WHEN i % 7 > 0 THEN 'u' || i % 7 END, 'team_id', CASE WHEN i % 3 = 0 THEN 'red' END,
    'endpoint_type', (ARRAY['openai', 'anthropic'])[1 + i % 2], 'method', 'POST', 'status_code', CASE WHEN i % 10 = 0 THEN 500 WHEN i % 25 = 1 THEN 429 ELSE 200 END,
    'error_type', CASE WHEN i % 10 = 0 THEN 'api_error' END, 'response_time_ms', i, 'ttft_ms', i / 10.0, 'input_tokens', i, 'output_tokens', 10)) FROM generate_series(1, 999) AS i));
INSERT INTO ccproxy.requests (request_id, ts, status_code) VALUES ('bare', to_timestamp($to - 90), 200);
SQL
$node->safe_psql('metrics', 'DO $$ BEGIN LOOP EXIT WHEN ccproxy.refresh(1440) = 0; END LOOP; END $$');
$node->safe_psql('metrics', qq{SELECT accepted FROM ccproxy.ingest('[{"request_id": "last", "timestamp": @{[ $to - 30 ]}, "model": "gpt-4", "user_id": "u1", "endpoint_type": "openai", "status_code": 200, "input_tokens": 100}]')});

# As the role of Grafana; NULL is ~.
sub run_sql
{
	my ($sql) = @_;
	my ($rc, $out, $err) = $node->psql('metrics', $sql, extra_params => [ '-U', 'grafana', '-P', 'null=~', '-P', 'fieldsep=|', '-P', 'tuples_only=off', '-P', 'footer=off' ]);
	return ($err, split(/\n/, $out));
}

my @all_models = ('claude-3-haiku', 'gpt-4', 'made-up-9', q{o'hara}, 'unknown');
my %all = (model => \@all_models, endpoint => [ 'anthropic', 'openai', 'unknown' ], user => ['*']);
my @queries = grep { defined $_->{sql} } CCProxyGrafana::queries($dashboards);
cmp_ok(scalar(@queries), '>', 40, 'queries are found');
for my $q (@queries)
{
	my @wrong;
	for ([ 'all', $from, $to, %all ], [ 'an hour', $to - 3600, $to, %all ], [ 'a month', $to - 30 * 86400, $to, %all ], [ 'a year', $to - 365 * 86400, $to, %all ], [ 'nothing', $to - 100 * 86400, $to - 99 * 86400, %all ],
		[ 'one', $from, $to, model => [q{o'hara}], endpoint => ['openai'], user => ['u1'] ], [ 'hostile', $from, $to, model => [q{') OR true --}], endpoint => [q{";\'}], user => [q{'; SELECT 1; --}] ])
	{
		my ($what, $first, $last, %variables) = @$_;
		my ($err, $head, @rows) = run_sql(CCProxyGrafana::expand($q->{sql}, from => $first, to => $last, variables => \%variables));
		push @wrong, "$what: $err" if $err ne '';
		push @wrong, "$what: no rows" if $what eq 'all' && !@rows && $q->{where} !~ /at most/;
		next unless $q->{format} eq 'time_series' && defined $head;
		push @wrong, "$what: no time but $head" if $head !~ /^time\|/;
		my @times = map { /^([^|]*)/ } @rows;
		push @wrong, "$what: not in order" if join(' ', @times) ne join(' ', sort { $a cmp $b } @times);
		push @wrong, "$what: a series without a name" if grep { /^[^|]*\|~\|/ && $head =~ /\|metric\|/ } @rows;
	}
	is(join("\n", @wrong), '', $q->{where});
}

# ---------------------------------------------- their numbers, from the rows

sub answer
{
	my ($dashboard, $title, %variables) = @_;
	my ($q) = grep { $_->{where} =~ m{/$dashboard\.json "\Q$title\E" A} } @queries or die "no query $title";
	my ($err, $head, @rows) = run_sql(CCProxyGrafana::expand($q->{sql}, from => $from, to => $to, variables => { %all, %variables }));
	return join("\n", map { join('|', map { /^\d+\.\d+$/ ? $_ + 0 : $_ } split /\|/) } @rows);
}
sub raw
{
	my ($sql) = @_;
	my ($err, $head, @rows) = run_sql($sql =~ s/\bIN_RANGE\b/ts >= to_timestamp($from) AND ts < to_timestamp($to)/gr);
	die $err if $err;
	return join("\n", map { join('|', map { /^\d+\.\d+$/ ? $_ + 0 : $_ } split /\|/) } @rows);
}
is(answer('overview', 'Requests'), raw('SELECT count(*) FROM ccproxy.requests WHERE IN_RANGE'), 'requests');
is(answer('overview', 'Cost'), raw('SELECT sum(total_cost) FROM ccproxy.requests WHERE IN_RANGE'), 'cost');
is(answer('overview', 'Requests', model => ['unknown']), '1', 'requests without a model are among the models');
is(answer('overview', 'Tokens', model => ['gpt-4'], endpoint => ['openai']), raw(q{SELECT sum(total_tokens) FROM ccproxy.requests WHERE IN_RANGE AND model = 'gpt-4' AND endpoint_type = 'openai'}), 'tokens of a model and an endpoint');
is(answer('cost', 'Cost', user => ['u1']), raw(q{SELECT sum(total_cost) FROM ccproxy.requests WHERE IN_RANGE AND user_id = 'u1'}), 'cost of a user');
is(answer('cost', 'Users'), raw(q{SELECT coalesce(user_id, 'anonymous'), coalesce(sum(total_cost), 0) AS cost, count(*), coalesce(sum(total_tokens), 0), trim_scale(round(sum(total_cost) / count(total_cost), 12)), count(*) FILTER (WHERE total_tokens IS NOT NULL AND total_cost IS NULL)
	FROM ccproxy.requests WHERE IN_RANGE GROUP BY user_id ORDER BY cost DESC, 1}), 'users');
is(answer('cost', 'Models without a price'), raw(q{SELECT model, count(*), count(*), sum(total_tokens) FROM ccproxy.requests WHERE IN_RANGE AND total_tokens IS NOT NULL AND total_cost IS NULL GROUP BY model ORDER BY 2 DESC, 1}), 'models without a price');
is(answer('cost', 'Cost by day (UTC)', model => [ 'gpt-4' ]) =~ s/\|.*//gr, raw(q{SELECT DISTINCT floor(extract(epoch FROM date_trunc('day', ts, 'UTC')) / 86400) * 86400 FROM ccproxy.requests WHERE model = 'gpt-4' AND date_trunc('day', ts, 'UTC') BETWEEN to_timestamp(} . "$from) AND to_timestamp($to)" . q{ ORDER BY 1}), 'days');
is(answer('errors', 'Types'), raw(q{SELECT coalesce(error_type, 'http_' || status_code), coalesce(model, 'unknown'), count(*) AS n FROM ccproxy.requests WHERE IN_RANGE AND state = 'failed' GROUP BY 1, 2 ORDER BY 3 DESC, 1, 2}), 'errors');
is(answer('errors', 'Error rate over time') =~ s/^.*\|//gmr, raw(q{SELECT (count(*) FILTER (WHERE state = 'failed'))::float8 / count(*) FROM ccproxy.requests WHERE IN_RANGE GROUP BY date_trunc('hour', ts) ORDER BY date_trunc('hour', ts)}), 'error rates by hour');
{
	# a minute's requests are that many a minute, however narrow the panel's interval is
	local $from = $to - 3600;
	is(answer('overview', 'Requests a minute'), raw(q{SELECT floor(extract(epoch FROM ts) / 60) * 60 AS t, count(*) FILTER (WHERE state = 'successful'), count(*) FILTER (WHERE state = 'failed'), count(*) FILTER (WHERE state = 'in_flight')
		FROM ccproxy.requests WHERE ts >= to_timestamp(} . $from . q{) AND ts < to_timestamp(} . ($to + 60) . q{) GROUP BY 1 ORDER BY 1}), 'requests a minute');
}
is(answer('cost', 'Budgets used'), raw('SELECT name, used_percent FROM ccproxy.budget_status ORDER BY used_percent DESC, name'), 'budgets');

# ------------------------------------------------- those asked of Prometheus

my $gateway = CCProxy->start(node => $node);
my $page = $gateway->get('/metrics/prometheus')->{content};
my %families = map { $_ => 1 } $page =~ /^# TYPE (\S+)/mg;
my @exprs = grep { defined $_->{expr} } CCProxyGrafana::queries($dashboards);
cmp_ok(scalar(@exprs), '>', 20, 'expressions are found');
my $rules = "groups:\n- name: dashboard\n  rules:\n";
for my $q (@exprs)
{
	my @missing = grep { !$families{ s/_(?:bucket|sum|count)$//r } } $q->{expr} =~ /\b(ccproxy_\w+)/g;
	is(join(' ', @missing), '', "$q->{where} asks for what there is");
	$rules .= '  - record: x' . "\n    expr: " . JSON::PP->new->allow_nonref->encode($q->{expr} =~ s/\$__rate_interval/5m/gr =~ s/\$\w+/.*/gr) . "\n";
}
my $file = PostgreSQL::Test::Utils::tempdir() . '/rules.yml';
append_to_file($file, $rules);
my ($out, $err);
ok(IPC::Run::run([ 'promtool', 'check', 'rules', '--lint=none', $file ], '>', \$out, '2>', \$err), 'and is PromQL') or diag("$out$err");
is($gateway->stop, 0, 'the gateway stops');

done_testing();
