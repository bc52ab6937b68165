# The gateway prices with the prices of the moment: users' own, closed ones,
# changed while events stream in, through several gateways.
#
# sanitized: yes
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use CCProxy;
use IO::Select;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);

my $ROUNDS = 30;	# of changing a price and posting at once
my $STREAM_SECONDS = 4;
my $SETS = 20;		# changes of a price while events stream in

my $node = CCProxy::cluster('gateway_prices');
$node->safe_psql('metrics', q{CREATE ROLE gate LOGIN; SELECT ccproxy.grant_gateway('gate')});
my @gateways = map { CCProxy->start(db_url => $node->connstr('metrics') . ' user=gate') } 1 .. 2;
my $id = 0;

sub sql { return $node->safe_psql('metrics', shift) }

sub metric
{
	my ($gateway, $name) = @_;
	my ($value) = $gateway->get('/metrics/prometheus')->{content} =~ /^\Qccproxy_gateway_$name\E (\S+)$/m;
	return $value;
}

# Posts one event of a thousand tokens each way; what it was stored with.
sub price_of
{
	my ($gateway, $model, %more) = @_;
	my $request_id = 'one-' . ++$id;
	my $r = $gateway->post({ request_id => $request_id, timestamp => time, model => $model, input_tokens => 1000, output_tokens => 1000, %more });
	return "answered $r->{status}" unless $r->{status} == 200;
	return sql("SELECT total_cost, price_id FROM ccproxy.requests WHERE request_id = '$request_id'");
}

# --------------------------------------------- a price of one's own

{
	is(price_of($gateways[0], 'house-model'), '|', 'a model without a price costs NULL');
	my $price = sql(q{SELECT ccproxy.set_price('house-model', input => 10, output => 20)});
	is(price_of($_, 'house-model'), "0.03|$price", 'set: the next event has it') for @gateways;
	CCProxy::wait_until('word of it', sub { metric($_, 'price_loads_total{outcome="ok"}') >= 2 }) for @gateways;
	my $staged = metric($gateways[0], 'batches_staged_total');
	is(price_of($_, 'house-model'), "0.03|$price", 'and the one after that') for @gateways;
	is(metric($gateways[0], 'batches_staged_total'), $staged, 'which was copied as the gateway priced it');

	my $dearer = sql(q{SELECT ccproxy.set_price('house-model', input => 100, output => 200)});
	isnt($dearer, $price, 'a higher price');
	is(price_of($_, 'house-model'), "0.3|$dearer", 'is charged from now on') for @gateways;
	is(price_of($gateways[0], 'house-model', timestamp => time - 3600), '|', 'but for nothing from before there was one');
	sql("SELECT ccproxy.close_price($dearer)");
	is(price_of($_, 'house-model'), '|', 'closed: nobody knows what it costs') for @gateways;

	my ($cost, $shipped) = split /\|/, price_of($gateways[0], 'gpt-4');
	is($cost, '0.09', 'a shipped price');
	my $own = sql(q{SELECT ccproxy.set_price('gpt-4', input => 1, output => 1)});
	is(price_of($gateways[1], 'gpt-4'), "0.002|$own", 'is overruled by one\'s own');
	sql("SELECT ccproxy.close_price($own)");
	is(price_of($gateways[1], 'gpt-4'), "0.09|$shipped", 'until that ends');
	sql("SELECT ccproxy.close_price($shipped)");
	unlike(price_of($gateways[1], 'gpt-4'), qr/\|$shipped$/, 'and can be closed itself');
}

# ------------------- set, then post, as fast as can be: never the old one

{
	my @wrong;
	for my $round (1 .. $ROUNDS)
	{
		my $price = sql("SELECT ccproxy.set_price('fast-model', input => $round, output => $round)");
		my @posts = map { my $n = $_; map { { request_id => "fast-$round-$n-$_", timestamp => time, model => 'fast-model', input_tokens => 1000 } } 1 .. 20 } 0, 1;
		$_->post(\@posts) for @gateways;
		my $bad = sql("SELECT count(*) FROM ccproxy.requests WHERE request_id LIKE 'fast-$round-%' AND (price_id, total_cost) IS DISTINCT FROM ($price, $round * 0.001)");
		push @wrong, "round $round: $bad" if $bad;
	}
	is("@wrong", '', 'whatever is posted after set_price() has returned carries that price');
	is(sql(q{SELECT count(*) FROM ccproxy.requests WHERE request_id LIKE 'fast-%'}), $ROUNDS * 40, 'and is there once');
	# prices that were rolled back never count
	sql(q{BEGIN; SELECT ccproxy.set_price('fast-model', input => 9999); ROLLBACK});
	like(price_of($gateways[0], 'fast-model'), qr/^0\.06\|/, 'a price that was rolled back is none');
}

# ------------------------------------------ changes while events stream in

{
	sql(q{SELECT ccproxy.set_price('stream-model', input => 1, effective_from => '-infinity')});
	# Two processes post for as long as this pipe is open.
	pipe(my $reader, my $writer) or die;
	my @children;
	for my $n (0, 1)
	{
		my $pid = fork() // die;
		if ($pid == 0)
		{
			close $writer;
			my $posted = 0;
			delete $gateways[$n]{client};
			my $end = IO::Select->new($reader);
			until ($end->can_read(0))
			{
				my $batch = ++$posted;
				my $r = $gateways[$n]->post([ map { { request_id => "stream-$n-$batch-$_", timestamp => time, model => 'stream-model', input_tokens => 1000 } } 1 .. 50 ]);
				POSIX::_exit(1) if $r->{status} != 200;
			}
			POSIX::_exit(0);
		}
		push @children, $pid;
	}
	close $reader;
	for my $set (2 .. $SETS)
	{
		sleep $STREAM_SECONDS / $SETS;
		sql("SELECT ccproxy.set_price('stream-model', input => $set)");
	}
	close $writer;
	waitpid($_, 0), is($?, 0, 'every post was stored') for @children;
	cmp_ok(sql(q{SELECT count(DISTINCT price_id) FROM ccproxy.requests WHERE request_id LIKE 'stream-%'}), '>', $SETS / 2, 'most of the prices were charged');
	# A row that took place under a price but was stored before that price was
	# committed rightly has the one before: at most one generation older.
	is(sql(q{WITH priced AS (
			SELECT r.request_id, r.ts, r.price_id, (ccproxy.cost_pico(r.model, NULL, r.provider, r.service_tier, r.ts, r.input_tokens, NULL, NULL, NULL, NULL, NULL)).price_id AS now_id,
				r.total_cost = r.input_tokens * p.input_mtok / 1000000 AS exact
			  FROM ccproxy.requests r LEFT JOIN ccproxy.prices p USING (price_id) WHERE r.request_id LIKE 'stream-%')
		SELECT count(*) FILTER (WHERE exact IS NOT TRUE), count(*) FILTER (WHERE price_id IS DISTINCT FROM now_id AND price_id IS DISTINCT FROM now_id - 1) FROM priced}),
		'0|0', 'each row costs what the price it names says, and names one that was in effect');
	for my $gateway (@gateways)
	{
		cmp_ok(metric($gateway, 'price_loads_total{outcome="ok"}'), '>=', $SETS / 2, 'a gateway has loaded prices again and again');
		is(metric($gateway, 'price_loads_total{outcome="failed"}'), 0, 'always with success');
	}
	# what the staging path stored is what COPY would have
	is(sql(q{SELECT count(*) - count(DISTINCT request_id) FROM ccproxy.requests WHERE request_id LIKE 'stream-%'}), 0, 'nothing twice');
}

# ------------------------------ without word of changes, and without prices

{
	my $gateway = $gateways[0];
	my $server = $node->connstr('metrics');
	# LISTEN lost, as behind a transaction pooler: the check with each batch is what is left
	my $deaf = CCProxy->start(db_url => "$server user=gate application_name=deaf");
	is(price_of($deaf, 'deaf-model'), '|', 'no price yet');
	sql(q{DROP TRIGGER price_changed ON ccproxy.price; SELECT ccproxy.set_price('deaf-model', input => 1, output => 1);
		ALTER TABLE ccproxy.price SET (autovacuum_enabled = true)});	# invalidates, and notifies nobody
	my $repriced = metric($deaf, 'batches_repriced_total');
	like(price_of($deaf, 'deaf-model'), qr/^0\.002\|/, 'a change nobody was told of counts with the next batch');
	is(metric($deaf, 'batches_repriced_total'), $repriced + 1, 'which the server priced');
	CCProxy::wait_until('the prices to be loaded', sub { my $n = metric($deaf, 'batches_repriced_total'); price_of($deaf, 'deaf-model'); metric($deaf, 'batches_repriced_total') == $n });
	is(metric($deaf, 'batches_repriced_total'), $repriced + 1, 'then the gateway has loaded them');

	# prices that cannot be loaded: everything is priced by the server
	sql(q{REVOKE EXECUTE ON FUNCTION ccproxy.price_lines() FROM PUBLIC});
	my $poor = CCProxy->start(db_url => "$server user=gate");
	like($poor->log_text, qr/event=prices_not_loaded reason="?permission denied/, 'prices that cannot be read are told of');
	like(price_of($poor, 'deaf-model'), qr/^0\.002\|/, 'and events priced all the same');
	is(metric($poor, 'batches_staged_total'), 1, 'by the server');
	sql(q{GRANT EXECUTE ON FUNCTION ccproxy.price_lines() TO PUBLIC; SELECT ccproxy.create_metrics_table()});
	unlike($gateway->log_text, qr/prices_not_notified/, 'a direct connection is notified');
	is($_->stop, 0, 'a clean end') for $deaf, $poor;
}

# the server goes away and comes back with other prices
{
	my $price;
	$node->restart('immediate');
	$price = sql(q{SELECT ccproxy.set_price('back-model', input => 3, output => 3)});
	is(price_of($_, 'back-model'), "0.006|$price", 'prices set while a gateway was not connected') for @gateways;
}

is($_->stop, 0, 'a clean end') for @gateways;
done_testing();
