# ccproxy-gateway import: an SQLite table or NDJSON, through the gateway's own
# decoder and committer; stopped anywhere and run again, every row is there once.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use CCProxy;
use JSON::PP;
use POSIX ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);

my $node = CCProxy::cluster('import');
my $dir = PostgreSQL::Test::Utils::tempdir_short();
my $now = int(time);

sub sql { return $node->safe_psql('metrics', shift) }
sub import_file { my ($file, @args) = @_; return CCProxy::run_gateway([ 'import', $file, '--metrics-db-url', $node->connstr('metrics'), @args ]) }
sub sqlite { my ($file, $sql) = @_; IPC::Run::run([ 'sqlite3', $file ], '<', \$sql) or die "sqlite3 $file" }
sub write_file { my ($file, $text) = @_; open(my $f, '>', $file) or die; print $f $text; close $f }
sub iso { return POSIX::strftime('%Y-%m-%dT%H:%M:%SZ', gmtime shift) }

my $columns = 'request_id TEXT PRIMARY KEY, timestamp, user_id, method, path, endpoint_type, user_agent, model, response_time_ms, status_code,
	input_tokens, output_tokens, total_tokens, total_cost, error_type, error_message, metadata';

subtest 'a table of the usual columns' => sub {
	my $file = "$dir/metrics.db";
	my ($space, $iso) = (POSIX::strftime('%Y-%m-%d %H:%M:%S', gmtime($now - 400)), iso($now - 500));
	my $ms = ($now - 200) . '250';
	sqlite($file, "CREATE TABLE metrics ($columns);
		INSERT INTO metrics VALUES ('s-1', '$iso', 'ann', 'POST', '/v1/messages?key=secret', 'anthropic', 'curl', 'gpt-4', 1250.5, 200, 1000, 500, 1500, 0.06, NULL, NULL, '{\"a\":
 1}');
		INSERT INTO metrics VALUES ('s-2', '$space', 'ann', 'POST', '/v1/x', 'openai', NULL, 'gpt-4', 10, 500, NULL, NULL, NULL, NULL, 'timeout', 'too slow', 'free text');
		INSERT INTO metrics VALUES ('s-3', $ms, 17, 'POST', '/v1/x', 'openai', NULL, 'gpt-4', '12.5', '200', '7', 3, 10, '0.001', NULL, NULL, NULL);
		INSERT INTO metrics VALUES ('s-4', '" . ($now - 100) . "', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 1, NULL, NULL, NULL, NULL, NULL, '');
		INSERT INTO metrics VALUES (NULL, $now - 50, 'noid', NULL, NULL, NULL, NULL, 'gpt-4', 1, 200, 1, 1, 2, NULL, NULL, NULL, NULL);
		INSERT INTO metrics VALUES ('s-6', 'yesterday', 'bad', NULL, NULL, NULL, NULL, NULL, NULL, 200, NULL, NULL, NULL, NULL, NULL, NULL, NULL);");
	my ($rc, $out, $err) = import_file($file);
	is($rc, 3, 'a row that is refused shows in the exit status');
	is($out, "5 accepted, 0 duplicates, 1 rejected\n", 'the counts');
	like($err, qr/\{"row": 6, "field": "timestamp", "reason": "[^"]+"\}/, 'and the reason, by row');
	is(sql(q{SELECT request_id, extract(epoch FROM ts)::numeric(20,3), user_id, path, status_code, response_time_ms, input_tokens, output_tokens, reported_cost, error_type, metadata
		FROM ccproxy.requests WHERE request_id LIKE 's-%' ORDER BY 1}),
		join("\n", "s-1|" . ($now - 500) . '.000|ann|/v1/messages|200|1250.5|1000|500|0.06||{"a": 1}',
			's-2|' . ($now - 400) . '.000|ann|/v1/x|500|10||||timeout|{"metadata": "free text"}',
			's-3|' . ($now - 200) . '.250|17|/v1/x|200|12.5|7|3|0.001||', 's-4|' . ($now - 100) . '.000|||||1||||{"metadata": ""}'), 'every column where it belongs');
	is(sql("SELECT count(*) FROM ccproxy.requests WHERE user_id = 'noid' AND request_id LIKE 'import-%'"), 1, 'a row without an id has one made');

	($rc, $out) = import_file($file);
	is("$rc $out", "3 5 accepted, 0 duplicates, 1 rejected\n", 'run again, it knows that it was at the end');
	unlink "$file.ccproxy-import" or die;
	($rc, $out) = import_file($file);
	is("$rc $out", "3 0 accepted, 5 duplicates, 1 rejected\n", 'without its progress file everything is a duplicate');
	sqlite($file, "INSERT INTO metrics (request_id, timestamp, status_code) VALUES ('s-7', $now, 200)");
	($rc, $out) = import_file($file);
	is("$rc $out", "3 1 accepted, 5 duplicates, 1 rejected\n", 'a row that has been added is brought in');
};

subtest 'few columns, and strange ones' => sub {
	my $file = "$dir/few.db";
	sqlite($file, "CREATE TABLE metrics (id INTEGER PRIMARY KEY, timestamp REAL, model TEXT, output_tokens INTEGER, streaming, colour);
		INSERT INTO metrics VALUES (5, $now.5, 'few', 3, 1, 'red'), (9, $now.25, 'few', 4, 0, 'blue');");
	my ($rc, $out) = import_file($file, '--progress', "$dir/few.progress");
	is("$rc $out", "0 2 accepted, 0 duplicates, 0 rejected\n", 'missing and unknown columns do no harm');
	ok(-s "$dir/few.progress" && !-e "$file.ccproxy-import", 'the progress is kept where it is said');
	is(sql("SELECT string_agg(streaming || ' ' || output_tokens, ', ' ORDER BY ts DESC) FROM ccproxy.requests WHERE model = 'few'"), 'true 3, false 4', 'as they were');
	sqlite("$dir/other.db", 'CREATE TABLE other (a)');
	($rc, $out, my $err) = import_file("$dir/other.db");
	is($rc, 1, 'a database without the table');
	like($err, qr/no such table: metrics/, 'is a clear error');
};

subtest 'NDJSON' => sub {
	my $file = "$dir/events.ndjson";
	my @lines = map { encode_json({ request_id => "n-$_", timestamp => $now - 5, model => 'gpt-4', output_tokens => 1 }) } 1 .. 350;
	splice(@lines, 10, 0, '', '{"request_id": "broken"', '[1]', '{"request_id": "n-old", "timestamp": 1}', '{"output_tokens": 5, "timestamp": ' . $now . ', "user_id": "line"}',
		'{"request_id": "", "output_tokens": 6, "timestamp": ' . $now . ', "user_id": "line"}', '{"request_id": null, "output_tokens": 7, "timestamp": ' . $now . ', "user_id": "line"}');
	write_file($file, join("\n", @lines));
	my ($rc, $out, $err) = import_file($file, '--rejects', "$dir/rejects");
	is("$rc $out", "3 353 accepted, 0 duplicates, 3 rejected\n", 'the counts');
	is(join(' ', map { my $r = decode_json($_); "$r->{row}:$r->{field}" } split /\n/, slurp_file("$dir/rejects")), '12: 13: 14:timestamp', 'refused ones are listed in the file');
	unlink "$file.ccproxy-import" or die;
	($rc, $out) = import_file($file);
	is("$rc $out", "3 0 accepted, 353 duplicates, 3 rejected\n", 'again: all are known, those without an id too');
	is(sql("SELECT count(*), sum(output_tokens) FROM ccproxy.requests WHERE user_id = 'line'"), '3|18', 'lines without an id');

	write_file("$dir/array.json", "  [{\"request_id\": \"x\"}]\n");
	($rc, $out, $err) = import_file("$dir/array.json");
	is($rc, 1, 'an array');
	like($err, qr/one object a line/, 'is a clear error');
	($rc, $out, $err) = import_file("$dir/missing");
	like("$rc $err", qr/^1 .*could not open it: No such file/s, 'so is a file that is not there');
	($rc, $out, $err) = CCProxy::run_gateway([ 'import' ], CCPROXY_METRICS_DB_URL => $node->connstr('metrics'));
	like("$rc $err", qr/^2 .*usage/s, 'and no file at all');
	write_file("$dir/empty.ndjson", '');
	($rc, $out) = import_file("$dir/empty.ndjson");
	is("$rc $out", "0 0 accepted, 0 duplicates, 0 rejected\n", 'an empty file is no error');
};

subtest 'stopped anywhere, run again' => sub {
	my $file = "$dir/long.ndjson";
	my $rows = 120_000;
	write_file($file, join('', map { encode_json({ $_ % 3 ? (request_id => "long-$_") : (), timestamp => $now - 60, model => 'gpt-4', user_id => 'long', output_tokens => 1 }) . "\n" } 1 .. $rows));
	my ($runs, $rc) = (0, 1);
	while ($runs < 40)
	{
		my $pid = fork() // die "fork: $!";
		if ($pid == 0)
		{
			open(STDOUT, '>', '/dev/null');
			open(STDERR, '>>', "$dir/long.err");
			exec(CCProxy::gateway_program(), 'import', $file, '--metrics-db-url', $node->connstr('metrics')) or POSIX::_exit(127);
		}
		$runs++;
		# some are killed, some are asked to stop, once PostgreSQL goes instead
		if ($runs == 7)
		{
			sleep 0.3;
			$node->restart('immediate');
		}
		elsif ($runs < 7)
		{
			# not before it has noted how far it has come
			my $progress = -e "$file.ccproxy-import" ? slurp_file("$file.ccproxy-import") : '';
			CCProxy::wait_until('progress', sub { -e "$file.ccproxy-import" && slurp_file("$file.ccproxy-import") ne $progress });
			sleep(rand(0.15));
			kill($runs % 2 ? 'KILL' : 'TERM', $pid);
		}
		waitpid($pid, 0);
		$rc = $?;
		last if $rc == 0;
	}
	is($rc, 0, "it comes to its end (in $runs runs)");
	is(sql("SELECT count(*), count(DISTINCT request_id), sum(output_tokens) FROM ccproxy.requests WHERE user_id = 'long'"), "$rows|$rows|$rows", 'every row is there once');
	like(slurp_file("$dir/long.err"), qr/going on after row [1-9]/, 'it went on where it was');
	my ($again, $out) = import_file($file);
	is($again, 0, 'once more');
	is(sql("SELECT count(*) FROM ccproxy.requests WHERE user_id = 'long'"), $rows, 'and nothing is there twice');
};

subtest 'into another database' => sub {
	$node->safe_psql('postgres', 'CREATE DATABASE second');
	$node->safe_psql('second', 'CREATE EXTENSION ccproxy_metrics; SELECT ccproxy.create_metrics_table()');
	my ($rc, $out) = CCProxy::run_gateway([ 'import', "$dir/few.db", '--progress', "$dir/few.progress", '--metrics-db-url', $node->connstr('second') ]);
	is("$rc $out", "0 2 accepted, 0 duplicates, 0 rejected\n", 'the progress of the first one does not count');
};

subtest 'what is seen meanwhile' => sub {
	my $file = "$dir/seen.ndjson";
	write_file($file, join('', map { encode_json({ request_id => "seen-$_", timestamp => $now - 60, output_tokens => 1 }) . "\n" } 1 .. 3000));
	my $command = join(' ', CCProxy::gateway_program(), 'import', $file, '--metrics-db-url', q{"} . ($node->connstr('metrics') =~ s/"//gr) . q{"});
	my ($out) = ('');
	IPC::Run::run([ 'script', '-qec', $command, '/dev/null' ], '<', \undef, '>', \$out, '2>&1');
	like($out, qr/\r\[[#.]{30}\] +\d+%/, 'on a terminal a bar');
	like($out, qr/100% +3000 rows/, 'that gets to its end');
	unlink "$file.ccproxy-import" or die;
	my ($rc, undef, $err) = import_file($file);
	unlike($err, qr/\r/, 'otherwise plain lines');
	like($err, qr/^100%, 3000 rows, \d+ rows\/s$/m, 'with the same');
};

subtest 'privacy' => sub {
	my $file = "$dir/private.ndjson";
	write_file($file, encode_json({ request_id => 'private', timestamp => $now, user_id => 'ann', client_ip => '127.0.0.1', user_agent => 'x', error_message => 'y', model => 'gpt-4', api_key => 'sk-secret' }) . "\n");
	my ($rc, $out) = import_file($file, '--hash-user-ids', 'true', '--drop-client-ip', 'true', '--drop-user-agent', 'true', '--drop-error-message', 'true');
	is("$rc $out", "0 1 accepted, 0 duplicates, 0 rejected\n", 'the privacy settings');
	is(sql("SELECT user_id <> 'ann', client_ip IS NULL, user_agent IS NULL, error_message IS NULL, api_key_hash IS NOT NULL FROM ccproxy.requests WHERE request_id = 'private'"),
		't|t|t|t|t', 'are kept');
};

$node->stop;
done_testing();
