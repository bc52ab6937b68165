# gateway/prometheus/alerts.yml: rules that promtool accepts, that fire and do not
# fire when they should, over metrics that a gateway really shows.
use strict;
use warnings;

use CCProxy;
use PostgreSQL::Test::Utils;
use Test::More;

my $rules = slurp_file('gateway/prometheus/alerts.yml');
my $tests = slurp_file('test/prometheus/alerts_test.yml');
my $dir = PostgreSQL::Test::Utils::tempdir();
append_to_file("$dir/alerts.yml", $rules);
append_to_file("$dir/alerts_test.yml", $tests);
sub promtool
{
	my ($what, @args) = @_;
	my ($out, $err) = ('', '');
	ok(IPC::Run::run([ 'promtool', @args ], '<', \undef, '>', \$out, '2>', \$err), $what) or diag("$out$err");
}
promtool('the rules are rules', 'check', 'rules', "$dir/alerts.yml");
promtool('they fire when they should', 'test', 'rules', "$dir/alerts_test.yml");
for my $alert ($rules =~ /- alert: (\w+)/g)
{
	like($tests, qr/alertname: $alert\n\s+exp_alerts:/, "$alert is seen to fire");
	like($tests, qr/alertname: $alert\}/, "$alert is seen not to");
}

my $node = CCProxy::cluster('alerts');
$node->safe_psql('metrics', q{SELECT ccproxy.set_budget('all', 100), ccproxy.set_budget('q"u\o', 0.01, 'day', 'user', 'me')});
my $gateway = CCProxy->start(node => $node);
is($gateway->post([ map { { request_id => "r$_", model => 'gpt-4', user_id => 'me', endpoint_type => 'openai', method => 'POST', status_code => $_, response_time_ms => 10, input_tokens => 1000 } } 200, 500 ])->{json}{accepted}, 2, 'requests');
is($gateway->post([ { request_id => 'u', model => 'made-up-9', status_code => 200, input_tokens => 1 } ])->{json}{accepted}, 1, 'one of them without a price');
$node->safe_psql('metrics', 'SELECT ccproxy.refresh()');
my $page = $gateway->get('/metrics/prometheus')->{content};
my %wanted = map { $_ => 1 } $rules =~ /\b(ccproxy_\w+)/g;
delete @wanted{ 'ccproxy_budget_projected_dollars' } if $page !~ /ccproxy_budget_projected_dollars/; # in the first moment of a month
is(join(' ', grep { $page !~ /^\Q$_\E(?:\{| )/m } sort keys %wanted), '', 'every metric of the rules is there');
like($page, qr/^ccproxy_budget_limit_dollars\{budget="all",scope="all",value="all",period="month"\} 100$/m, 'a budget');
like($page, qr/^ccproxy_budget_warn_dollars\{budget="all",scope="all",value="all",period="month"\} 80$/m, 'when it warns');
like($page, qr/^ccproxy_budget_spent_dollars\{budget="q\\"u\\\\o",scope="user",value="me",period="day"\} 0\.06$/m, 'what has been spent');
like($page, qr/^ccproxy_budget_unpriced_requests\{budget="all",scope="all",value="all",period="month"\} 1$/m, 'what could not be priced');
like($page, qr/^ccproxy_unpriced_requests\{model="made-up-9"\} 1$/m, 'by model');
like($page, qr/^ccproxy_unpriced_requests\{model="gpt-4"\} 0$/m, 'and what could');
like($page, qr/^ccproxy_partitions_ahead 7$/m, 'partitions');
like($page, qr/^# TYPE ccproxy_budget_spent_dollars gauge$/m, 'a gauge');
# what changes with the time does so though nothing is committed
$node->safe_psql('metrics', q{SELECT accepted FROM ccproxy.ingest('[{"request_id": "late", "model": "gpt-4", "status_code": 200}]')});
sub lag { return $gateway->get('/metrics/prometheus')->{content} =~ /^ccproxy_refresh_lag_seconds ([\d.]+)$/m ? $1 : 0 }
my $lag = 0;
CCProxy::wait_until('a lag', sub { ($lag = lag()) > 0 });
CCProxy::wait_until('it to grow', sub { lag() > $lag });
pass('the refresh lag grows while nobody writes');
append_to_file("$dir/page", $page);
my ($out, $err) = ('', '');
ok(IPC::Run::run([ 'promtool', 'check', 'metrics' ], '<', "$dir/page", '>', \$out, '2>', \$err), 'promtool finds no fault') or diag("$out$err");
is($gateway->stop, 0, 'the gateway stops');

done_testing();
