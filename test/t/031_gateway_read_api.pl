# What the gateway answers to readers: every number is that of SQL over the raw
# rows, lists page without gaps, answers are kept no longer than they hold, what
# clients send comes back as data or as 400, and all of it is documented.
#
# sanitized: yes
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use CCProxy;
use HTTP::Tiny;
use IO::Socket::INET;
use IO::Uncompress::Gunzip qw(gunzip);
use IPC::Run ();
use JSON::PP;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);

my $node = CCProxy::cluster('read_api');
my $dir = PostgreSQL::Test::Utils::tempdir_short();
my $gateway = CCProxy->start(node => $node);
my $json = JSON::PP->new->utf8->canonical->allow_nonref;

# ---------------------------------------------------- answers, documented

my @answers;	# of every call, for the check against the OpenAPI document

sub uri { my ($text) = @_; utf8::encode($text) if utf8::is_utf8($text); $text =~ s/([^A-Za-z0-9_.~-])/sprintf('%%%02X', ord $1)/ge; return $text; }

sub note_answer
{
	my ($method, $path, $r) = @_;
	(my $documented = $path) =~ s/\?.*//s;
	$documented =~ s{^/metrics/api/requests/.+}{/metrics/api/requests/\{request_id\}};
	$documented =~ s{^/metrics/static/.*}{/metrics/static/\{name\}};
	push @answers, { method => $method, path => $documented, status => $r->{status},
		type => $r->{headers}{'content-type'}, body => $r->{content} // '' };
	return $r;
}

sub get
{
	my ($path, %headers) = @_;
	return note_answer('GET', $path, $gateway->get($path, %headers));
}

sub sql { return $node->safe_psql('metrics', $_[0]); }

# ---------------------------------------------------------------- events

my $now = int time;
my @models = ('gpt-4o', 'claude-3-haiku-20240307', 'unheard-of', "=cmd|' /C calc'!A0", '<script>alert(1)</script>');
my @events = map {
	my $i = $_;
	{
		request_id => "r$i", timestamp => $now - $i * 61 % 86000, model => $models[ $i % 5 ], user_id => "user-" . $i % 7,
		team_id => $i % 2 ? 'red' : undef, endpoint_type => $i % 3 ? 'openai' : 'anthropic', method => 'POST', path => '/v1/x',
		api_key => "key-" . $i % 4, session_id => "s" . $i % 11, provider => 'p', service_tier => $i % 2 ? 'standard' : undef,
		($i % 10 ? (status_code => $i % 9 ? 200 : 429) : ()), response_time_ms => 10 + $i * 7 % 5000, ttft_ms => 5 + $i % 100,
		input_tokens => $i * 13 % 3000, output_tokens => $i * 7 % 900, cache_read_tokens => $i % 50,
		($i % 27 ? () : (error_type => 'overloaded', error_message => "it\nbroke \"badly\"")),
	}
} 1 .. 600;
is(note_answer('POST', '/metrics/api/events', $gateway->post(\@events))->{json}{accepted}, 600, 'events');
note_answer('POST', '/metrics/api/events', $gateway->post('[{"model": 5}]'));
sql('DO $$ BEGIN LOOP EXIT WHEN ccproxy.refresh() = 0; COMMIT; END LOOP; END $$');
# some that are not rolled up yet
$gateway->post([ map { { request_id => "fresh$_", timestamp => $now - $_, model => 'gpt-4o', user_id => 'user-1', endpoint_type => 'openai',
	status_code => 200, response_time_ms => 33.25, input_tokens => 10, output_tokens => 1 } } 1 .. 9 ]);

# ----------------------------------------- every number is that of raw rows

my %raw = (model => 'model', user => 'user_id', endpoint => 'endpoint_type', status => 'status_code', error_type => undef,
	team => 'team_id', api_key => 'api_key_hash', session => 'session_id', provider => 'provider', method => 'method', service_tier => 'service_tier');
my $failed = q{(status_code >= 400 OR error_type IS NOT NULL OR error_message IS NOT NULL)};

sub raw_rows
{
	my ($key, $where) = @_;
	my $rows = sql(qq{
		SELECT coalesce(json_agg(q ORDER BY total_requests DESC, group_key NULLS FIRST), '[]') FROM (
		SELECT $key AS group_key, count(*) AS total_requests, count(*) FILTER (WHERE status_code < 400 AND NOT coalesce($failed, false)) AS successful_requests,
		       count(*) FILTER (WHERE $failed) AS failed_requests, count(*) FILTER (WHERE state = 'in_flight') AS in_flight_requests,
		       avg(response_time_ms) AS avg_response_time_ms, avg(ttft_ms) AS avg_ttft_ms, coalesce(sum(input_tokens), 0) AS input_tokens,
		       coalesce(sum(cache_read_tokens), 0) AS cache_read_tokens, coalesce(sum(output_tokens), 0) AS output_tokens,
		       coalesce(sum(total_tokens), 0) AS total_tokens, coalesce(sum(total_cost), 0)::float8 AS total_cost,
		       coalesce(trim_scale(round(sum(total_cost) / nullif(count(total_cost), 0), 12)), 0)::float8 AS avg_cost_per_request,
		       count(*) FILTER (WHERE total_cost IS NULL AND (input_tokens IS NOT NULL OR output_tokens IS NOT NULL)) AS unpriced_requests,
		       count(*) FILTER (WHERE $failed)::float8 / nullif(count(*) FILTER (WHERE state <> 'in_flight'), 0) AS error_rate
		  FROM ccproxy.requests WHERE $where GROUP BY 1) q});
	return $json->decode($rows);
}

sub comparable
{
	my ($rows, @names) = @_;
	return [ sort { $a->{group_key} cmp $b->{group_key} } map {
		my $row = $_;
		my %copy = map { $_ => defined $row->{$_} ? sprintf('%.10g', $row->{$_}) : '0' } grep { $_ ne 'group_key' } @names;
		$copy{group_key} = $row->{group_key} // '(none)';
		\%copy;
	} @$rows ];
}

my $range;
sub check_stats
{
	my ($parameters, $key, $where, $name) = @_;
	my $r = get("/metrics/api/stats?$parameters");
	is($r->{status}, 200, "$name") or return diag($r->{content});
	$range = "ts >= '$r->{json}{start_time}' AND ts < '$r->{json}{end_time}'";
	my $expected = raw_rows($key, "$range AND $where");
	my @names = qw(group_key total_requests successful_requests failed_requests in_flight_requests avg_response_time_ms avg_ttft_ms
		input_tokens cache_read_tokens output_tokens total_tokens total_cost avg_cost_per_request unpriced_requests error_rate);
	is_deeply(comparable($r->{json}{stats}, @names), comparable($expected, @names), '... as raw');
	for my $row (@{ $r->{json}{stats} })
	{
		is(eval { my $n = 0; $n += $_ for values %{ $row->{model_usage} }; $n }, $row->{total_requests}, '... models add up')
			unless $row->{total_requests} == 0;
	}
	return $r->{json};
}

check_stats('period=24h', 'NULL::text', 'true', 'everything');
check_stats("period=24h&group_by=$_", "$raw{$_}::text", 'true', "by $_") for sort grep { defined $raw{$_} } keys %raw;
check_stats('period=24h&user=user-1&user=user-2&status=200', 'NULL::text', q{user_id IN ('user-1', 'user-2') AND status_code = 200}, 'filtered');
check_stats('period=24h&team=&group_by=model', 'model', 'team_id IS NULL', 'those without a team');
check_stats('period=24h&state=failed&group_by=endpoint', 'endpoint_type', $failed, 'failed ones');
check_stats('from=' . ($now - 5000) . '&to=' . ($now - 77) . '&group_by=user', 'user_id', 'true', 'a ragged range');
check_stats('period=24h&group_by=hour&time_zone=Asia/Kolkata',
	q{to_char(date_trunc('hour', ts, 'Asia/Kolkata') AT TIME ZONE 'Asia/Kolkata', 'YYYY-MM-DD"T"HH24:MI')}, 'true', 'by hours of India');

my $total = get('/metrics/api/stats?period=24h')->{json};
for my $by ('model', 'user', 'hour', 'hour,model', 'day,user', 'model,status')
{
	my $sum = 0;
	my $cost = 0;
	for (@{ get("/metrics/api/stats?period=24h&group_by=$by")->{json}{stats} }) { $sum += $_->{total_requests}; $cost += $_->{total_cost} // 0; }
	is($sum, $total->{stats}[0]{total_requests}, "$by adds up to the total");
	cmp_ok(abs($cost - $total->{stats}[0]{total_cost}), '<', 1e-9, '... in dollars too');
}
my ($p95) = map { $_->{p95_response_time_ms} } @{ $total->{stats} };
my $exact = sql(qq{SELECT percentile_disc(0.95) WITHIN GROUP (ORDER BY response_time_ms) FROM ccproxy.requests
	WHERE ts >= '$total->{start_time}' AND ts < '$total->{end_time}'});
cmp_ok(abs($p95 / $exact - 1), '<', 0.0056, 'p95 is within the guarantee');
is($total->{stats}[0]{period_start}, $total->{start_time} =~ s/\.0+Z/Z/r, 'the period is what was asked for');

# what has no price has no cost, which is not 0
my $unpriced = get('/metrics/api/stats?period=24h&model=unheard-of')->{json}{stats}[0];
is($unpriced->{total_cost}, undef, 'all unpriced: the cost is null');
cmp_ok($unpriced->{unpriced_requests}, '>', 0, '... and they are counted');
like(get('/metrics/api/stats?period=24h&model=unheard-of&format=csv')->{content}, qr/\r\n(?:[^,]*,){20}\d+,,,\d+,/, '... and the cell of CSV is empty');

# compare: the same span before, in the same answer
my $compared = get('/metrics/api/stats?from=' . ($now - 7200) . "&to=" . ($now - 3600) . '&compare=previous&group_by=model')->{json};
is($compared->{previous}{end_time}, $compared->{start_time}, 'the previous span ends where this one begins');
my $before = get('/metrics/api/stats?from=' . ($now - 10800) . '&to=' . ($now - 7200) . '&group_by=model')->{json};
is_deeply($compared->{previous}{stats}, $before->{stats}, '... and says what asking for it says');
my $top = get('/metrics/api/stats?period=24h&group_by=user&limit=2&compare=previous')->{json};
is(scalar @{ $top->{stats} }, 2, 'a limit');
cmp_ok($top->{stats}[0]{total_requests}, '>=', $top->{stats}[1]{total_requests}, '... of those with most requests');

# total: all groups in one more row, in the same answer; fields: no others
my $range = 'from=' . ($now - 7200) . '&to=' . ($now - 3600);
my $whole = get("/metrics/api/stats?$range&compare=previous")->{json};
for my $by ('model', 'user', 'status,model', 'session')
{
	my $r = get("/metrics/api/stats?$range&compare=previous&group_by=$by&total=true")->{json};
	my $alone = get("/metrics/api/stats?$range&group_by=$by")->{json};
	is_deeply($r->{stats}, $alone->{stats}, "$by: a total leaves the groups as they are");
	# who users' rows are of is told by a cube without errors and times to the first token
	my @known = grep { defined $r->{total}{$_} } keys %{ $r->{total} };
	cmp_ok(scalar @known, '>=', 20, '... and has its numbers');
	is_deeply({ map { $_ => $r->{total}{$_} } @known }, { map { $_ => $whole->{stats}[0]{$_} } @known }, '... which are those of all');
	is($r->{previous}{total}{total_requests}, $whole->{previous}{stats}[0]{total_requests}, '... before, too');
}
my $few = get("/metrics/api/stats?$range&compare=previous&group_by=model&total=true&limit=1")->{json};
is(scalar @{ $few->{stats} }, 1, 'a limit does not count the total');
is_deeply([ map { $_->{group_key} } @{ $few->{previous}{stats} } ], [ map { $_->{group_key} } @{ $few->{stats} } ], '... before, the same group');
is($few->{total}{total_requests}, $whole->{stats}[0]{total_requests}, '... and the total is of all');
my $nothing = get('/metrics/api/stats?from=2001-01-01&to=2001-01-02&group_by=model&total=true')->{json};
is_deeply([ $nothing->{total}{total_requests}, $nothing->{stats} ], [ 0, [] ], 'of nothing it is nothing');
is(get("/metrics/api/stats?$range&group_by=model&total=true&format=csv")->{json}{parameter}, 'total', 'a file has no place for it');
for my $fields ('total_cost', 'p95_ttft_ms,total_requests', 'p50_response_time_ms', 'model_usage', 'errors_by_type,rate_limited_requests')
{
	for my $by ('model', 'hour', 'session')
	{
		my $r = get("/metrics/api/stats?$range&group_by=$by&fields=$fields")->{json};
		my $all = get("/metrics/api/stats?$range&group_by=$by")->{json};
		my @names = ('group_key', 'group_key2', 'period_start', 'period_end', split /,/, $fields);
		cmp_ok(scalar @{ $r->{stats} }, '>', 0, "$fields by $by");
		is_deeply($r->{stats}, [ map { my $row = $_; +{ map { $_ => $row->{$_} } @names } } @{ $all->{stats} } ], '... are told, as otherwise');
	}
}
like(get("/metrics/api/stats?$range&group_by=model&fields=total_cost&format=csv")->{content}, qr/^group_key,group_key2,period_start,period_end,total_cost\r\n/, 'fields of a file');
my ($limited) = map { $_->{rate_limited_requests} } @{ $whole->{stats} };
is($limited, sql(qq{SELECT count(*) FROM ccproxy.requests WHERE status_code = 429 AND ts >= '$whole->{start_time}' AND ts < '$whole->{end_time}'}), 'requests that were limited');
is(get("/metrics/api/stats?$range&user=user-1")->{json}{stats}[0]{rate_limited_requests}, undef, '... which users\' statistics do not tell');

{
	my $small = CCProxy->start(node => $node, args => [ '--read-max-rows', '4' ]);
	my $r = note_answer('GET', '/metrics/api/stats', $small->get('/metrics/api/stats?period=24h&group_by=user'));
	is("$r->{status} $r->{json}{parameter}", '400 group_by', 'more groups than an answer may have');
	is($small->get('/metrics/api/stats?period=24h&group_by=user&compare=previous')->{status}, 400, '... of either range');
	is($small->get('/metrics/api/stats?period=24h&group_by=user&limit=5')->{status}, 200, '... unless as many are asked for');
	is($small->get('/metrics/api/stats?period=24h&group_by=endpoint&compare=previous')->{status}, 200, '... fewer are fine');
	like($small->get('/metrics/prometheus?part=gateway')->{content}, qr/^ccproxy_gateway_refused_total\{reason="too_large"\} 2$/m, '... and it is counted');
	$small->stop;
}

# rows are as large as somebody's metadata: a page ends before it is too large
{
	my $small = CCProxy->start(node => $node, args => [ '--read-max-bytes', '8KiB' ]);
	is($small->post([ map { { request_id => "big$_", timestamp => $now - $_, session_id => 'big', status_code => 200, metadata => { x => 'y' x ($_ == 3 ? 9000 : 3000) } } } 1 .. 6 ])->{json}{accepted}, 6, 'large rows');
	my (@ids, @pages, $cursor);
	do
	{
		my $r = note_answer('GET', '/metrics/api/requests', $small->get('/metrics/api/requests?period=24h&session=big&limit=5' . (defined $cursor ? "&cursor=$cursor" : '')));
		push @pages, scalar @{ $r->{json}{requests} };
		push @ids, map { $_->{request_id} } @{ $r->{json}{requests} };
		$cursor = $r->{json}{next_cursor};
	} while (defined $cursor && @pages < 10);
	is("@pages", '2 1 2 1', 'pages of what fits, and at least a row');
	is("@ids", 'big1 big2 big3 big4 big5 big6', '... none left out, none twice');
	my $r = note_answer('GET', '/metrics/api/requests', $small->get('/metrics/api/requests?period=24h&session=big&format=csv'));
	is("$r->{status} $r->{json}{parameter}", '400 limit', '... a file is not cut short silently');
	is(() = $small->get('/metrics/api/requests?period=24h&session=big&format=csv&limit=2')->{content} =~ /^big/mg, 2, '... and one of as many as fit is whole');
	like($small->get('/metrics/prometheus?part=gateway')->{content}, qr/^ccproxy_gateway_read_pages_cut_total [1-9]/m, '... which is counted');
	$small->stop;
}

# ------------------------------------------------------------------ lists

sub walk
{
	my ($query, $name) = @_;
	my @rows;
	my $cursor;
	do
	{
		my $r = get("/metrics/api/requests?$query" . (defined $cursor ? "&cursor=$cursor" : ''));
		is($r->{status}, 200, $name) or diag($r->{content}), return [];
		push @rows, @{ $r->{json}{requests} };
		$cursor = $r->{json}{next_cursor};
	} while (defined $cursor && @rows < 2000);
	return \@rows;
}
my %orders = (newest => 'ts DESC, request_id DESC', failed => 'ts DESC, request_id DESC',
	slowest => 'response_time_ms DESC NULLS LAST, ts DESC, request_id DESC', dearest => 'total_cost DESC NULLS LAST, ts DESC, request_id DESC');
for my $order (sort keys %orders)
{
	for my $filter ([ '', 'true' ], [ '&model=gpt-4o&model=unheard-of', q{model IN ('gpt-4o', 'unheard-of')} ])
	{
		my $rows = walk("period=24h&order=$order&limit=41$filter->[0]", "pages of the $order");
		my $expected = sql(qq{SELECT string_agg(request_id, ' ' ORDER BY $orders{$order}) FROM ccproxy.requests
			WHERE $filter->[1] } . ($order eq 'failed' ? "AND $failed" : ''));
		is(join(' ', map { $_->{request_id} } @$rows), $expected, '... none left out, none twice, in order');
	}
}
my $one = get('/metrics/api/requests/r27');
is($one->{status}, 200, 'one request');
is_deeply([ map { $one->{json}{$_} } qw(request_id user_id state error_type) ], [ 'r27', 'user-6', 'failed', 'overloaded' ], '... as it is');
my $priced = get('/metrics/api/requests/r5')->{json};
my ($line_total) = map { $_->{cost} } grep { $_->{part} eq 'total' } @{ get('/metrics/api/requests/r30')->{json}{cost_lines} };
is($line_total, get('/metrics/api/requests/r30')->{json}{total_cost}, 'the lines come to the cost that is stored');
is((grep { $_->{part} eq 'unpriced' } @{ get('/metrics/api/requests/r2')->{json}{cost_lines} }) ? 'unpriced' : 'priced', 'unpriced', '... or say why there is none');
is(get('/metrics/api/requests/nobody')->{status}, 404, 'no such request');
is(get('/metrics/api/requests/' . uri("r1' OR '1'='1"))->{status}, 404, '... nor one of a stranger name');
$gateway->post([ { request_id => 'twice', timestamp => $now - 100, model => 'a', status_code => 200 }, { request_id => 'twice', timestamp => $now - 50, model => 'b', status_code => 200 } ]);
my $twice = get('/metrics/api/requests/twice')->{json};
is("$twice->{model} " . @{ $twice->{other_ts} }, 'b 1', 'of two with an id the newest, and when the other was');
is(get('/metrics/api/requests/twice?ts=' . uri($twice->{other_ts}[0]))->{json}{model}, 'a', '... which can be had too');

# --------------------------------------------------- values, health, CSV

is_deeply(get('/metrics/api/values?of=user&search=SER-3')->{json}{values}, ['user-3'], 'values to pick from');
my $few = get('/metrics/api/values?of=model&limit=2')->{json};
is(scalar @{ $few->{values} } . ($few->{complete} ? ' all' : ' of more'), '2 of more', '... a few of them');
is(get('/metrics/api/values?of=model&search=%25')->{json}{values}[0], undef, '... a percent sign is nothing special');
my $health = get('/metrics/api/health')->{json};
is($health->{gateway}{ready}, JSON::PP::true, 'health');
sleep 1.1;
isnt(get('/metrics/api/health')->{json}{database}{refresh_lag}, $health->{database}{refresh_lag}, '... of now, though nothing was committed meanwhile');

my $csv = get('/metrics/api/stats?period=24h&group_by=model', accept => 'text/csv');
like($csv->{headers}{'content-type'}, qr{^text/csv}, 'CSV by Accept');
like($csv->{headers}{'content-disposition'}, qr/^attachment; filename="[\w.-]+"$/, '... as a file');
like($csv->{content}, qr/\r\n'=cmd\|' \/C calc'!A0,/, '... a formula is text');
unlike($csv->{content}, qr/(^|[,\n])"?[=+@]/, '... wherever it stands');
is(() = $csv->{content} =~ /\r\n/g, 1 + @{ get('/metrics/api/stats?period=24h&group_by=model')->{json}{stats} }, '... a header and a line for each');
like(get('/metrics/api/requests?period=24h&format=csv&state=failed&error_type=overloaded&limit=1')->{content}, qr/"it\nbroke ""badly"""/, 'quotes and line breaks are quoted');
like(get('/metrics/api/stats?period=24h&format=csv&compare=previous')->{content}, qr/^span,.*\r\ncurrent,.*\r\nprevious,/s, 'compared in CSV');
like(get('/metrics/api/stats?period=24h&format=json', accept => 'text/csv')->{headers}{'content-type'}, qr/json/, 'format= counts more than Accept');
like(get('/metrics/api/stats?period=24h', accept => 'image/png')->{headers}{'content-type'}, qr/json/, 'what nobody has is answered in JSON');

# ------------------------------------------------------ answers that are kept

my $question = '/metrics/api/stats?period=24h&group_by=model';
my %kept = ('cache-control' => undef);
my $first = get($question, %kept);
like($first->{headers}{etag}, qr/^W\/"[0-9a-f]+"$/, 'a tag');
is($first->{headers}{'cache-control'}, 'private, no-cache', 'to be asked about');
my $again = get($question, %kept, 'if-none-match' => $first->{headers}{etag});
is("$again->{status} $again->{content}", '304 ', 'what the client has is not sent again');
$again = get($question, 'if-none-match' => $first->{headers}{etag});
is($again->{status}, 304, 'neither when the database is asked');
my $zipped = get($question, %kept, 'accept-encoding' => 'gzip');
is($zipped->{headers}{'content-encoding'}, 'gzip', 'compressed');
gunzip(\$zipped->{content}, \my $plain) or diag('gunzip');
is($json->encode($json->decode($plain)->{stats}), $json->encode($first->{json}{stats}), '... and the same');
is($zipped->{headers}{etag}, $first->{headers}{etag}, '... by its tag as well');
$answers[-1]{body} = $plain;
$gateway->post([ { request_id => 'one more', timestamp => $now, model => 'gpt-4o', status_code => 200 } ]);
$again = get($question, 'if-none-match' => $first->{headers}{etag});
is($again->{status}, 200, 'after a commit there is another answer');
isnt($again->{headers}{etag}, $first->{headers}{etag}, '... of another tag');
sql(q{SELECT ccproxy.ingest('{"request_id": "by sql", "model": "gpt-4o", "status_code": 200}')});
CCProxy::wait_until('an answer that is kept to be made anew', sub { get($question, %kept)->{headers}{etag} ne $again->{headers}{etag} });
pass('a commit of somebody else is noticed, by those too who do not ask for it');

# many who ask the same at once are one query; with another answer to wait for
{
	my $locker = $node->background_psql('metrics');
	$locker->query_safe('BEGIN; LOCK TABLE ccproxy.request_log IN ACCESS EXCLUSIVE MODE');
	my @sockets = map {
		my $socket = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $gateway->{port}) or die "connect: $!";
		syswrite($socket, "GET /metrics/api/stats?period=6h&session=s1 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
		$socket;
	} 1 .. 30;
	CCProxy::wait_until('them to wait', sub { $gateway->get('/readyz')->{json}{waiting_requests} == 30 });
	is(sql(q{SELECT count(*) FROM pg_stat_activity WHERE application_name = 'ccproxy-gateway-read' AND wait_event_type = 'Lock'}), '1', 'thirty are one query');
	$locker->query_safe('COMMIT');
	$locker->quit;
	my %bodies;
	$bodies{ (split /\r\n\r\n/, do { local $/; <$_> }, 2)[1] }++ for @sockets;
	is(scalar keys %bodies, 1, 'and get one answer');
	like((keys %bodies)[0], qr/"total_requests": [1-9]/, 'which is one');
}

# a lock on the table under a storm of different questions: bounded, and over with it
{
	my $quick = CCProxy->start(node => $node, args => [ '--statement-timeout-ms', '500', '--read-queue', '20', '--request-deadline-s', '5' ]);
	my $locker = $node->background_psql('metrics');
	$locker->query_safe('BEGIN; LOCK TABLE ccproxy.request_log IN ACCESS EXCLUSIVE MODE');
	my $began = time;
	my @sockets = map {
		my $socket = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $quick->{port}) or die "connect: $!";
		syswrite($socket, "GET /metrics/api/stats?period=6h&session=x$_ HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
		$socket;
	} 1 .. 60;
	my %statuses;
	for (@sockets) { my $text = do { local $/; <$_> }; $statuses{ $text =~ m{^HTTP/1.1 (\d+)} ? $1 : 'none' }++; }
	is_deeply(\%statuses, { 503 => 60 }, 'all are told to come again');
	cmp_ok(sql(q{SELECT count(*) FROM pg_stat_activity WHERE application_name = 'ccproxy-gateway-read'}), '<=', 4, 'with no more connections than before');
	$locker->query_safe('COMMIT');
	$locker->quit;
	CCProxy::wait_until('answers', sub { $quick->get('/metrics/api/stats?period=6h&session=x1')->{status} == 200 });
	pass('and answers come again');
	$quick->stop;
}

# ------------------------------------------------------------- injection

my @nasty = ("'; DROP TABLE ccproxy.request_log; --", '" OR 1=1', '\\', "a\x{301}\x{1f600}", '$1', '%s%n', '{"$ne": null}', '[]', "\t\r\n", '=1+1',
	'<script>', '../../etc/passwd', 'x' x 3000, '1e309', "\x{202e}", '0x10', 'NULL', "\\'; SELECT pg_sleep(9); --");
my %parameters = ('/metrics/api/stats' => undef, '/metrics/api/savings' => undef, '/metrics/api/budgets' => undef, '/metrics/api/requests' => undef, '/metrics/api/values' => undef, '/metrics/api/health' => undef,
	'/metrics/api/requests/r1' => undef, '/metrics/prometheus' => undef);
for my $path (sort keys %parameters)
{
	my $r = get("$path?no_such=1");
	is("$r->{status} $r->{json}{parameter}", '400 no_such', "$path: an unknown parameter is refused");
	$parameters{$path} = [ grep { $_ ne 'none' } split /, /, $r->{json}{allowed} ];
}
my $count = sql('SELECT count(*) FROM ccproxy.requests');
for my $path (sort keys %parameters)
{
	for my $name (@{ $parameters{$path} })
	{
		my @bad;
		for my $value (@nasty)
		{
			my $also = $path =~ /values/ && $name ne 'of' ? '&of=user' : '';
			my $r = get("$path?$name=" . uri($value) . $also);
			push @bad, "$r->{status} for $value" unless $r->{status} =~ /^(200|400)$/;
			push @bad, "no parameter for $value" if $r->{status} == 400 && !defined $r->{json}{error};
		}
		is("@bad", '', "$path: $name takes anything for data, or refuses it");
	}
}
is(sql('SELECT count(*) FROM ccproxy.requests'), $count, 'and nothing has come of it');
for my $name (qw(If-None-Match Accept Accept-Encoding X-Request-Id Cache-Control X-Prometheus-Scrape-Timeout-Seconds))
{
	my @bad = grep { (get('/metrics/api/stats', $name => $_ =~ s/[\r\n]//gr =~ s/[^\x20-\x7e]/?/gr)->{status}) != 200 } grep { length $_ < 1000 } @nasty;
	is("@bad", '', "header $name");
}
my $label = get('/metrics/api/stats?period=24h&group_by=model&model=' . uri('<script>alert(1)</script>'));
is($label->{json}{stats}[0]{group_key}, '<script>alert(1)</script>', 'a hostile name comes back as data');
is($label->{headers}{'x-content-type-options'}, 'nosniff', '... and as nothing else');

# -------------------------------------------------------------- documented

is(get('/metrics/api/openapi.json')->{json}{openapi}, '3.1.0', 'the document is served');
get('/metrics/prometheus');
get('/metrics/dashboard');
sql(q{SELECT ccproxy.set_budget('all', 100), ccproxy.set_budget('user', 0, 'day', 'user', 'user-3')});
get('/metrics/api/budget/check?user=user-3');
get('/metrics/api/budget/check?users=user-3');
get('/metrics/static/app.js');
get('/metrics/static/none');
get('/livez');
get('/readyz');
my $document = get('/metrics/api/openapi.json')->{json};
for my $path (sort keys %parameters)
{
	(my $documented = $path) =~ s{/r1$}{/\{request_id\}};
	my @names = sort map { $_->{name} } grep { $_->{in} eq 'query' }
		map { $_->{'$ref'} ? $document->{components}{parameters}{ (split m{/}, $_->{'$ref'})[-1] } : $_ } @{ $document->{paths}{$documented}{get}{parameters} // [] };
	is("@names", join(' ', sort @{ $parameters{$path} }), "$documented: its parameters are documented");
}
my %routes;
for my $file (glob("$FindBin::Bin/../../gateway/route_*.c"))
{
	my $text = slurp_file($file);
	$routes{$_}++ for $text =~ /^\t\.path = "([^"]+)"/mg;
}
for my $route (sort keys %routes)
{
	ok((grep { index($_, $route) == 0 } keys %{ $document->{paths} }), "$route is documented");
}

{
	my $guarded = do {
		my ($read, $ingest) = ("$dir/read", "$dir/ingest");
		append_to_file($read, "read-token-1\n");
		append_to_file($ingest, "ingest-token-1\n");
		CCProxy->start(node => $node, args => [ '--read-token-file', $read, '--ingest-token-file', $ingest ]);
	};
	for my $path (grep { !/openapi|health/ } sort keys %parameters, '/metrics/api/health')
	{
		note_answer('GET', $path, $guarded->get($path));
		note_answer('GET', $path, $guarded->get($path, authorization => 'Bearer ingest-token-1'));
	}
	$guarded->stop;
}
$node->stop('immediate');
for my $path (sort keys %parameters)
{
	next if $path =~ /prometheus/;
	my $full = $path . ($path =~ /values/ ? '?of=user' : '');
	CCProxy::wait_until('503', sub { $gateway->get($full)->{status} == 503 });
	my $r = get($full);
	is($r->{status}, 503, "$path: without the database");
	cmp_ok($r->{headers}{'retry-after'}, '>=', 1, '... with the time to come again');
	$r = get($full, %kept);
	is($r->{status}, 503, '... whatever is kept');
}
$node->start;
CCProxy::wait_until('answers again', sub { get('/metrics/api/stats')->{status} == 200 });
is($gateway->stop, 0, 'the gateway ends');

{
	my $modules = "$FindBin::Bin/../npm";
	my $installed = -d "$modules/node_modules/ajv"
		|| system('npm', 'ci', '--prefix', $modules, '--cache', "$dir/npm", '--no-audit', '--no-fund', '--silent') == 0;
	ok($installed, 'npm ci in test/npm');
	PostgreSQL::Test::Utils::append_to_file("$dir/answers", join('', map { $json->encode($_) . "\n" } @answers));
	my ($out, $err) = ('', '');
	IPC::Run::run([ 'node', "$modules/check_answers.js", "$FindBin::Bin/../../gateway/openapi.json" ], '<', "$dir/answers", '>', \$out, '2>', \$err);
	is($err, '', 'the document is a good one');
	is(join("\n", grep { !/^unseen/ } split /\n/, $out), '', scalar(@answers) . ' answers are as it says');
	is(join("\n", grep { m{^unseen GET /metrics/(api/(?!openapi)|prometheus) (200|400|404|503)$}x } split /\n/, $out), '', 'and every kind of them was seen');
}

done_testing();
