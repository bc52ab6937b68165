# GET /metrics/api/budget/check: what it allows, how old its answers are, what
# it costs the database, and what it says when that is away.
use strict;
use warnings;

use CCProxy;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);

my $node = CCProxy::cluster('budget');
sub sql { $node->safe_psql('metrics', $_[0]) }

sub check
{
	my ($gateway, $query) = @_;
	my $r = $gateway->get('/metrics/api/budget/check' . ($query ? "?$query" : ''));
	is($r->{status}, 200, 'an answer to ' . ($query || 'nothing')) or diag($r->{content});
	return $r->{json};
}

# Answers are a second old at most: waits for what must be seen by then.
sub soon
{
	my ($gateway, $query, $what, $condition) = @_;
	CCProxy::wait_until($what, sub { $condition->($gateway->get("/metrics/api/budget/check?$query")->{json}) });
	pass($what);
}

sub refreshes
{
	my ($gateway) = @_;
	return $gateway->get('/metrics/prometheus')->{content} =~ /^ccproxy_gateway_budget_refreshes_total\{outcome="ok"\} (\d+)/m ? $1 : -1;
}

sub spend
{
	my ($gateway, %event) = @_;
	is($gateway->post([ { model => 'gpt-4', status_code => 200, input_tokens => 1000, %event } ])->{json}{accepted}, 1, "$event{request_id} is posted");
}

my $gateway = CCProxy->start(node => $node, args => [ '--budget-stale-s', 2, '--budget-wait-ms', 30000 ]);
my %none = (allowed => JSON::PP::true, reason => undef, known => JSON::PP::true, budgets => []);
my $answer = check($gateway);
like(delete $answer->{age_ms}, qr/^\d+$/, 'how old it is');
is_deeply($answer, \%none, 'without budgets all is allowed');

# who is asked about: the whole, and what the request says of itself
sql(q{SELECT ccproxy.set_budget('whole', 100), ccproxy.set_budget('alice', 0.03, scope => 'user', value => 'alice'),
      ccproxy.set_budget('gpt', 50, 'week', 'model', 'gpt-4', 'Europe/Berlin'), ccproxy.set_budget('openai', 1, 'day', 'endpoint', 'openai'),
      ccproxy.set_budget('red', 1, 'day', 'team', 'red'), ccproxy.set_budget('red month', 2, 'month', 'team', 'red')});
spend($gateway, request_id => 'a1', user_id => 'alice', team_id => 'red', endpoint_type => 'openai', input_tokens => 999);
soon($gateway, 'user=alice', 'budgets are seen', sub { @{ $_[0]{budgets} } == 2 && $_[0]{budgets}[1]{spent_usd} > 0 });
$answer = check($gateway, 'user=alice&model=gpt-4&endpoint=openai&team=red&api_key=nobody');
is(join(', ', map { $_->{name} } @{ $answer->{budgets} }), 'whole, gpt, alice, openai, red, red month', 'all that concern it are listed');
my ($alice) = grep { $_->{name} eq 'alice' } @{ $answer->{budgets} };
is_deeply([ @$alice{qw(scope value period time_zone spent_usd limit_usd remaining_usd used_percent state unpriced_requests in_flight_requests)} ],
	[ 'user', 'alice', 'month', 'UTC', 0.02997, 0.03, 0.00003, 99.9, 'warning', 0, 0 ], 'with their numbers');
is(join(', ', map { $_->{name} } @{ check($gateway, 'user=bob&model=gpt-4o')->{budgets} }), 'whole', 'and none that do not');
is(join(', ', map { $_->{name} } @{ check($gateway, 'user=alic')->{budgets} }), 'whole', 'a name is a whole name');
ok($answer->{allowed}, 'below the limit is allowed');

# at the limit
spend($gateway, request_id => 'a2', user_id => 'alice', input_tokens => 1);
soon($gateway, 'user=alice', 'at the limit it is denied', sub { !$_[0]{allowed} });
$answer = check($gateway, 'user=alice');
is($answer->{reason}, 'budget_exceeded', 'the reason');
is_deeply([ map { $_->{reason} } @{ $answer->{budgets} } ], [ undef, 'budget_exceeded' ], 'and whose it is');
ok(check($gateway, 'user=bob')->{allowed}, 'others are not concerned');
sql(q{SELECT ccproxy.set_budget('alice', 0.031, scope => 'user', value => 'alice')});
soon($gateway, 'user=alice', 'a higher limit counts at once', sub { $_[0]{allowed} });
sql(q{SELECT ccproxy.set_budget('alice', 0.01, scope => 'user', value => 'alice')});
soon($gateway, 'user=alice', 'and a lower one', sub { !$_[0]{allowed} });
sql(q{SELECT ccproxy.drop_budget('alice')});
soon($gateway, 'user=alice', 'and none', sub { $_[0]{allowed} });

# traffic without a price, and on its way: three opinions
my $strict = CCProxy->start(node => $node, args => [ '--budget-unpriced', 'deny', '--budget-unreachable', 'deny', '--budget-stale-s', 2, '--budget-wait-ms', 30000 ]);
my $lax = CCProxy->start(node => $node, args => [ '--budget-unpriced', 'ignore', '--budget-in-flight', 'ignore', '--budget-wait-ms', 30000 ]);
sql(q{SELECT ccproxy.set_budget('carol', 0.09, scope => 'user', value => 'carol')});
spend($gateway, request_id => 'c1', user_id => 'carol');
spend($gateway, request_id => 'c2', user_id => 'carol');
soon($_, 'user=carol', 'carol has spent', sub { ($_[0]{budgets}[1]{spent_usd} // 0) == 0.06 }) for $gateway, $strict, $lax;
ok(check($_, 'user=carol')->{allowed}, 'and may go on') for $gateway, $strict, $lax;
spend($gateway, request_id => 'c3', user_id => 'carol', model => 'made-up-9', input_tokens => 5);
soon($_, 'user=carol', 'unpriced traffic is seen', sub { $_[0]{budgets}[1]{unpriced_requests} == 1 }) for $gateway, $strict, $lax;
$answer = check($gateway, 'user=carol');
is_deeply([ $answer->{reason}, @{ $answer->{budgets}[1] }{qw(spent_usd estimated_usd state)} ], [ 'budget_exceeded_by_estimate', 0.06, 0.03, 'ok' ],
	'it counts as much as the priced requests on average');
is(check($strict, 'user=carol')->{reason}, 'unpriced_traffic', 'or denies');
is(check($strict, 'user=bob')->{reason}, 'unpriced_traffic', 'through a budget of all, everybody');
ok(check($lax, 'user=carol')->{allowed}, 'or is ignored');
sql(q{SELECT ccproxy.set_price('made-up-9', input => 1, effective_from => now() - interval '1 day')});
sql(q{CALL ccproxy.reprice(now() - interval '1 hour', now() + interval '1 minute')});
soon($_, 'user=carol', 'priced later, it is what it costs', sub { $_[0]{allowed} && $_[0]{budgets}[1]{spent_usd} == 0.060005 }) for $gateway, $strict;
is($gateway->post([ { kind => 'request', request_id => 'c4', user_id => 'carol', model => 'gpt-4' } ])->{json}{accepted}, 1, 'one is on its way');
is($gateway->post([ { kind => 'request', request_id => 'c5', user_id => 'carol', model => 'gpt-4' } ])->{json}{accepted}, 1, 'and another');
soon($gateway, 'user=carol', 'those in flight count too', sub { ($_[0]{reason} // '') eq 'budget_exceeded_by_estimate' && $_[0]{budgets}[1]{in_flight_requests} == 2 });
soon($lax, 'user=carol', 'unless ignored', sub { $_[0]{allowed} && $_[0]{budgets}[1]{in_flight_requests} == 2 });
is($gateway->post([ { kind => 'error', request_id => $_, error_type => 'gone' } ])->{json}{accepted}, 1, "$_ has ended") for 'c4', 'c5';
soon($gateway, 'user=carol', 'and ended they are gone', sub { $_[0]{allowed} && $_[0]{budgets}[1]{in_flight_requests} == 0 });

# the caller's mistakes
for ([ 'users=alice', 'users' ], [ 'user=a&user=b', 'user' ])
{
	my $r = $gateway->get("/metrics/api/budget/check?$_->[0]");
	is($r->{status}, 400, "$_->[0] is refused");
	like($r->{content}, qr/"\Q$_->[1]\E".*user, model, endpoint, team, api_key/, 'by name, with what there is');
}
is($gateway->request('POST', '/metrics/api/budget/check')->{status}, 405, 'it is read only');
ok(check($gateway, q{user=x'%20OR%20true--})->{allowed}, 'a value is a value');

# one query in 0.8 seconds at most, and none that nobody asks for
my ($before, $start, $asked) = (refreshes($gateway), time, 0);
my $oldest = 0;
while (time - $start < 2.5)
{
	my $age = $gateway->get('/metrics/api/budget/check?user=alice')->{json}{age_ms};
	$oldest = $age if $age > $oldest;
	$asked++;
}
cmp_ok($oldest, '<=', 1000, 'no answer was more than a second old');
my $elapsed = time - $start;
cmp_ok(refreshes($gateway) - $before, '<=', 1 + $elapsed / 0.8, sprintf('%d checks in %.1f s were at most a query in 0.8', $asked, $elapsed));
cmp_ok($asked, '>', 2.5 * $elapsed, 'which is not one for each');
$before = refreshes($gateway);
sleep 2.5;
is(refreshes($gateway) - $before, 0, 'nobody asked, nothing was read');

# a day that ends in a moment: what is left of the next one's budget is known at once
{
	my $ahead = (86395 - int(time) % 86400) % 86400;	# of UTC: in this zone it is five seconds to midnight
	$ahead -= 86400 if $ahead > 43200;
	my $zone = sprintf('<xyz>%s%02d:%02d:%02d', $ahead > 0 ? '-' : '+', (gmtime abs $ahead)[ 2, 1, 0 ]);
	sql(qq{SELECT ccproxy.set_budget('dawn', 100, 'day', 'user', 'dawn', '$zone')});
	my ($end, $unknown) = ('', 0);
	CCProxy::wait_until('the next day', sub {
		my $r = $strict->get('/metrics/api/budget/check?user=dawn')->{json};
		$unknown++ unless $r->{known};
		my ($dawn) = grep { $_->{name} eq 'dawn' } @{ $r->{budgets} } or return 0;
		$end ||= $dawn->{period_end};
		return $dawn->{period_end} ne $end;
	});
	cmp_ok($unknown, '<=', 1, 'no check at midnight found the budgets unknown, but for one that was on its way');
	sql(q{SELECT ccproxy.drop_budget('dawn')});
}

# user ids that are stored as hashes
my $private = CCProxy->start(node => $node, args => [ '--hash-user-ids', 'true', '--budget-wait-ms', 30000 ]);
spend($private, request_id => 'd1', user_id => 'dave');
my $hash = sql(q{SELECT user_id FROM ccproxy.requests WHERE request_id = 'd1'});
like($hash, qr/^[0-9a-f]{32}$/, 'a user is a hash');
sql(qq{SELECT ccproxy.set_budget('dave', 0.01, scope => 'user', value => '$hash')});
soon($private, 'user=dave', 'is asked about by name', sub { !$_[0]{allowed} });
$private->stop;

# tokens
my $tokens = PostgreSQL::Test::Utils::tempdir();
append_to_file("$tokens/$_", "$_-token\n") for 'ingest', 'read';
chmod 0600, "$tokens/ingest", "$tokens/read";
my $closed = CCProxy->start(node => $node, args => [ '--ingest-token-file', "$tokens/ingest", '--read-token-file', "$tokens/read" ], token => 'read-token');
is($closed->get('/metrics/api/budget/check')->{status}, 200, 'a token for reading is good');
is($closed->get('/metrics/api/budget/check', authorization => 'Bearer ingest-token')->{status}, 403, 'one for posting is not');
$closed->stop;

# the database goes
sql(q{SELECT ccproxy.set_budget('alice', 0.01, scope => 'user', value => 'alice')});
soon($_, 'user=alice', 'alice has overspent', sub { !$_[0]{allowed} }) for $gateway, $strict;
$node->stop('immediate');
my $late = CCProxy->start(node => $node, ready => 0);
$answer = check($late, 'user=alice');
is_deeply($answer, { %none, known => JSON::PP::false, age_ms => undef }, 'who never read them allows');
soon($gateway, 'user=bob', 'budgets are unknown then', sub { !$_[0]{known} });
ok(check($gateway, 'user=bob')->{allowed}, 'and nobody is stopped');
$answer = check($gateway, 'user=alice');
is_deeply([ $answer->{allowed} ? 1 : 0, $answer->{reason}, $answer->{budgets}[1]{name} ], [ 0, 'budget_exceeded', 'alice' ], 'but who had overspent');
cmp_ok($answer->{age_ms}, '>=', 2000, 'the answer says how old that is');
soon($strict, 'user=bob', 'or all are, where that is set', sub { ($_[0]{reason} // '') eq 'budgets_unknown' });
like($gateway->get('/metrics/prometheus')->{content}, qr/^ccproxy_gateway_budget_checks_total\{outcome="unknown"\} [1-9]/m, 'which is counted');
$node->start;
soon($_, 'user=bob', 'the database comes back', sub { $_[0]{known} && $_[0]{allowed} }) for $gateway, $strict, $late;
is($_->stop, 0, 'it stops') for $gateway, $strict, $lax, $late;

done_testing();
