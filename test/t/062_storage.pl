# metrics_storage: sqlite keeps events in a file one can query, which is forwarded
# once there is a PostgreSQL; memory uses tables that a crash of the server empties.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use CCProxy;
use JSON::PP;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $dir = PostgreSQL::Test::Utils::tempdir_short();
my $now = int(time) - 60;
my $file = "$dir/metrics.db";

sub sqlite { my ($sql) = @_; my ($out) = run_command([ 'sqlite3', $file, $sql ]); return $out }
sub event { my ($id, %more) = @_; return { request_id => $id, timestamp => $now, model => 'gpt-4', input_tokens => 1000, output_tokens => 500, status_code => 200, %more } }

subtest 'a file, no PostgreSQL at all' => sub {
	my $gateway = CCProxy->start(db_url => "sqlite:///$file");
	my $ready = $gateway->get('/readyz');
	is_deeply([ $ready->{status}, @{ $ready->{json} }{qw(storage durable_in)} ], [ 200, 'sqlite', 'sqlite' ], '/readyz says so');
	my $r = $gateway->post([ event('a', user_id => 'ann', path => '/v1/x?key=1', api_key => 'sk-secret', client_ip => '127.0.0.1', response_time_ms => 12.5, metadata => { k => 1 }, reported_cost => 0.5),
		event('b', model => 'unknown-model', error_type => 'timeout', error_message => 'slow', streaming => JSON::PP::true), event('c', timestamp => 'nonsense') ]);
	is_deeply([ $r->{status}, @{ $r->{json} }{qw(accepted rejected stored durable)} ], [ 200, 2, 1, JSON::PP::true, JSON::PP::true ], 'events are durable');
	ok(!exists $r->{json}{spooled}, 'and where they belong');
	is(sqlite('SELECT request_id, timestamp, user_id, path, model, response_time_ms, status_code, input_tokens, output_tokens, total_tokens, total_cost, reported_cost,
		error_type, error_message, metadata, client_ip, streaming FROM metrics ORDER BY 1'),
		join("\n", 'a|' . POSIX::strftime('%Y-%m-%dT%H:%M:%S.000000Z', gmtime $now) . '|ann|/v1/x|gpt-4|12.5|200|1000|500|1500|0.06|0.5|||{"k":1}|127.0.0.1|',
			'b|' . POSIX::strftime('%Y-%m-%dT%H:%M:%S.000000Z', gmtime $now) . '|||unknown-model||200|1000|500|1500|||timeout|slow|||1'), 'sqlite3 reads them while the gateway runs');
	like(sqlite("SELECT api_key_hash FROM metrics WHERE request_id = 'a'"), qr/^[0-9a-f]{32}$/, 'the key is a hash');
	unlike(slurp_file($file) . slurp_file("$file-wal"), qr/sk-secret/, 'and nowhere else');
	is(sprintf('%04o', (stat $file)[2] & 07777), '0600', 'nobody else may read the file');
	$gateway->post([ event('a', user_id => 'ann') ]);
	is(sqlite('SELECT count(*) FROM metrics'), 2, 'the same event twice counts once');
	$gateway->post([ { request_id => 'p', kind => 'request', timestamp => $now, user_id => 'bob', model => 'gpt-4' } ]);
	$gateway->post([ { request_id => 'p', kind => 'response', timestamp => $now + 1, status_code => 200, output_tokens => 7 } ]);
	is(sqlite("SELECT user_id, status_code, output_tokens FROM metrics WHERE request_id = 'p'"), 'bob|200|7', 'parts are put together');
	like($gateway->get('/metrics/api/stats?period=1h')->{json}{error}, qr/statistics need PostgreSQL/, 'statistics say what they need');
	like($gateway->get('/metrics/prometheus')->{content}, qr/^ccproxy_gateway_spool_events 5$/m, 'the gateway counts them');

	# killed, it has them
	$gateway->post([ map { event("k$_") } 1 .. 100 ]);
	$gateway->stop('KILL');
	$gateway = CCProxy->start(db_url => '', spool => $file, args => [ '--metrics-storage', 'sqlite' ]);
	is(sqlite("SELECT count(*) FROM metrics WHERE request_id LIKE 'k%'"), 100, 'after kill -9 they are there');
	my $hash = sqlite("SELECT api_key_hash FROM metrics WHERE request_id = 'a'");
	$gateway->post([ event('a2', api_key => 'sk-secret') ]);
	is(sqlite("SELECT api_key_hash FROM metrics WHERE request_id = 'a2'"), $hash, 'the same key has the same hash');
	is($gateway->stop, 0, 'it ends cleanly');
	unlike($gateway->log_text, qr/level=(warning|error)/, 'and had nothing to complain about');
};

my $node = CCProxy::cluster('storage');
sub sql { return $node->safe_psql('metrics', shift) }

subtest 'forwarded to PostgreSQL' => sub {
	my $gateway = CCProxy->start(node => $node, spool => $file);
	CCProxy::wait_until('the file to be forwarded', sub { $gateway->get('/readyz')->{json}{spooled_events} == 0 && $gateway->log_text =~ /spool_drained/ });
	is(sql('SELECT count(*), count(DISTINCT request_id) FROM ccproxy.requests'), '104|104', 'all events are there, once');
	is(sql(q{SELECT request_id, user_id, input_tokens, total_cost::numeric(10,2), reported_cost, metadata FROM ccproxy.requests WHERE request_id = 'a'}), 'a|ann|1000|0.06|0.5|{"k": 1}', 'as they came, priced');
	is(sql(q{SELECT user_id, status_code, output_tokens FROM ccproxy.requests WHERE request_id = 'p'}), 'bob|200|7', 'parts too');
	is($gateway->stop, 0, 'the gateway ends');
	is(sqlite('SELECT count(*) FROM metrics'), 104, 'the table stays');
	my ($rc, $out) = CCProxy::run_gateway([ 'import', $file, '--metrics-db-url', $node->connstr('metrics') ]);
	is($rc, 0, 'and can be imported as well');
	is(sql('SELECT count(*), count(DISTINCT request_id) FROM ccproxy.requests'), '104|104', 'which changes nothing');
};

subtest 'memory' => sub {
	$node->safe_psql('postgres', 'CREATE DATABASE memory');
	$node->safe_psql('memory', 'CREATE EXTENSION ccproxy_metrics; SELECT ccproxy.create_metrics_table()');
	my $gateway = CCProxy->start(db_url => $node->connstr('memory'), args => [ '--metrics-storage', 'memory' ]);
	my $r = $gateway->post([ event('m') ]);
	is_deeply([ $r->{status}, @{ $r->{json} }{qw(accepted stored durable)} ], [ 200, 1, JSON::PP::true, JSON::PP::false ], 'events are stored, and not durable');
	is($gateway->get('/readyz')->{json}{durable_in}, 'memory', '/readyz says so');
	is($node->safe_psql('memory', q{SELECT c.relpersistence FROM ccproxy.request_log l JOIN pg_class c ON c.oid = l.tableoid WHERE request_id = 'm'}), 'u', 'in an UNLOGGED table');
	$gateway->stop;
};

subtest 'settings that contradict each other' => sub {
	for my $case (
		[ [ '--metrics-storage=disk' ], qr/must be postgres, sqlite or memory/ ],
		[ [ '--metrics-storage=sqlite', '--metrics-db-url=postgres://h/d' ], qr/choose one/ ],
		[ [ '--metrics-storage=postgres', '--metrics-db-url=sqlite:///x.db' ], qr/is an SQLite file/ ],
		[ [ '--metrics-db-url=sqlite:x.db' ], qr/must name a file/ ],
		[ [ '--metrics-storage=sqlite', '--spool-path=' ], qr/name the file/ ])
	{
		my ($rc, undef, $err) = CCProxy::run_gateway([ @{ $case->[0] }, '--check-config' ]);
		is($rc, 2, "@{ $case->[0] }");
		like($err, $case->[1], 'says what is wrong');
	}
};

$node->stop;
done_testing();
