# The twenty questions of gateway/grafana/QUESTIONS.md: each query as it stands
# there, run with the read role, gives what the raw rows give.
use strict;
use warnings;

use CCProxy;
use PostgreSQL::Test::Utils;
use Test::More;

my $text = slurp_file('gateway/grafana/QUESTIONS.md');
my %asked = $text =~ /^## (\d+)\. [^\n]*\n\n```sql\n(.*?)\n```$/msg;
is(join(' ', sort { $a <=> $b } keys %asked), join(' ', 1 .. 20), 'twenty questions');
unlike($text =~ s/^## \d+\. [^\n]*\n\n```sql\n.*?\n```$//msgr, qr/```sql/, 'and no query that is not one of them');

my $node = CCProxy::cluster('questions');
$node->safe_psql('metrics', <<'SQL');
CREATE ROLE analyst LOGIN;
SELECT ccproxy.grant_read('analyst');
SELECT ccproxy.set_budget('everybody', 1), ccproxy.set_budget('gpt', 1000, 'week', 'model', 'gpt-4', 'Europe/Berlin'), ccproxy.set_budget('alice', 0.5, 'month', 'user', 'alice');
SELECT accepted FROM ccproxy.ingest((SELECT jsonb_agg(jsonb_build_object('request_id', 'q' || i, 'timestamp', now() - i * interval '29 minutes 11 seconds',
    'model', (ARRAY['gpt-4', 'claude-3-haiku', 'gpt-4o', 'made-up-9'])[1 + i % 4], 'user_id', (ARRAY['alice', 'bob', 'carol', 'o''hara', NULL])[1 + i % 5],
    'team_id', (ARRAY['red', 'blue', NULL])[1 + i % 3], 'session_id', 's' || i % 50, 'api_key', 'key ' || i % 3, 'endpoint_type', (ARRAY['openai', 'anthropic'])[1 + i % 2],
    'method', 'POST', 'status_code', CASE WHEN i % 11 = 0 THEN 500 WHEN i % 23 = 1 THEN 429 ELSE 200 END, 'error_type', CASE WHEN i % 11 = 0 THEN 'api_error' END,
    'response_time_ms', 100 + i * 7919 % 5000, 'ttft_ms', CASE WHEN i % 2 = 0 THEN 100 * (1 + i % 4) + i * 104729 % 90 END, 'input_tokens', 100 + i % 997, 'output_tokens', 10 + i % 101,
    'cache_read_tokens', CASE WHEN i % 3 = 0 THEN i % 777 END, 'cache_write_tokens', CASE WHEN i % 6 = 0 THEN 50 END)) FROM generate_series(1, 3400) AS i));
DO $$ BEGIN LOOP EXIT WHEN ccproxy.refresh(1440) = 0; END LOOP; END $$;
SELECT accepted FROM ccproxy.ingest('[{"request_id": "fresh", "model": "gpt-4", "user_id": "alice", "status_code": 200, "input_tokens": 1000, "response_time_ms": 4999}]');
SQL

# The same in plain SQL over the rows. now() is that of the question's transaction.
my %raw = (
	1 => q{SELECT model, count(*), sum(total_tokens), sum(total_cost) AS c FROM ccproxy.requests WHERE user_id = 'alice' AND date_trunc('month', ts AT TIME ZONE 'Europe/Berlin') = date_trunc('month', now() AT TIME ZONE 'Europe/Berlin') - interval '1 month' GROUP BY 1 ORDER BY 4 DESC NULLS LAST, 1},
	2 => q{SELECT (ts AT TIME ZONE 'America/New_York')::date, coalesce(sum(total_cost), 0) FROM ccproxy.requests WHERE date_trunc('month', ts AT TIME ZONE 'America/New_York') = date_trunc('month', now() AT TIME ZONE 'America/New_York') AND ts < now() GROUP BY 1 ORDER BY 1},
	3 => q{SELECT coalesce(user_id, 'anonymous'), sum(total_cost), count(*) FROM ccproxy.requests WHERE ts >= now() - interval '30 days' AND ts < now() GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT 10},
	4 => q{SELECT coalesce(team_id, 'none'), sum(total_cost), round(100 * sum(total_cost) / nullif(sum(sum(total_cost)) OVER (), 0), 1) FROM ccproxy.requests WHERE ts >= date_trunc('week', now() AT TIME ZONE 'UTC') AT TIME ZONE 'UTC' AND ts < now() GROUP BY 1 ORDER BY 2 DESC, 1},
	5 => q{SELECT model, count(*) FILTER (WHERE state = 'failed'), count(*), round(100.0 * count(*) FILTER (WHERE state = 'failed') / count(*) FILTER (WHERE state <> 'in_flight'), 2) FROM ccproxy.requests WHERE ts >= now() - interval '24 hours' AND ts < now() GROUP BY 1 HAVING count(*) FILTER (WHERE state = 'failed') > 0 ORDER BY count(*) FILTER (WHERE state = 'failed')::float8 / count(*) FILTER (WHERE state <> 'in_flight') DESC, 1},
	6 => q{SELECT coalesce(error_type, 'http_' || status_code), endpoint_type, count(*) FROM ccproxy.requests WHERE state = 'failed' AND ts >= now() - interval '7 days' AND ts < now() GROUP BY 1, 2 ORDER BY 3 DESC, 1, 2},
	7 => q{SELECT to_char(ts AT TIME ZONE 'Asia/Kolkata', 'YYYY-MM-DD"T"HH24:00'), count(*), percentile_disc(0.95) WITHIN GROUP (ORDER BY response_time_ms) FROM ccproxy.requests WHERE (ts AT TIME ZONE 'Asia/Kolkata')::date = (now() AT TIME ZONE 'Asia/Kolkata')::date - 1 GROUP BY 1 ORDER BY 1},
	8 => q{SELECT model, percentile_disc(0.5) WITHIN GROUP (ORDER BY ttft_ms), percentile_disc(0.99) WITHIN GROUP (ORDER BY ttft_ms) FROM ccproxy.requests WHERE ts >= now() - interval '7 days' AND ts < now() GROUP BY 1 HAVING count(ttft_ms) > 0 ORDER BY 2, 1},
	9 => q{SELECT count(*), sum(total_tokens), sum(total_cost) FROM ccproxy.requests WHERE session_id = 's7' AND ts >= now() - interval '60 days' AND ts < now()},
	10 => q{SELECT model, count(*), sum(total_tokens) FROM ccproxy.requests WHERE total_cost IS NULL AND total_tokens IS NOT NULL AND ts >= now() - interval '30 days' AND ts < now() GROUP BY 1 ORDER BY 2 DESC, 1},
	11 => q{SELECT endpoint_type, round(1000 * round(sum(total_cost) / count(total_cost), 12), 4) FROM ccproxy.requests WHERE ts >= now() - interval '30 days' AND ts < now() GROUP BY 1 ORDER BY 2 DESC NULLS LAST, 1},
	12 => q{SELECT model, round(100.0 * coalesce(sum(cache_read_tokens), 0) / sum(input_tokens + coalesce(cache_read_tokens, 0) + coalesce(cache_write_tokens, 0)), 1) FROM ccproxy.requests WHERE ts >= now() - interval '7 days' AND ts < now() GROUP BY 1 ORDER BY 2 DESC NULLS LAST, 1},
	13 => q{SELECT request_id, model, user_id, response_time_us / 1000.0::float8, status_code FROM ccproxy.request_log WHERE ts >= now() - interval '24 hours' ORDER BY response_time_us DESC, request_id LIMIT 10},
	14 => q{SELECT request_id, model, user_id, total_tokens, input_cost + cache_read_cost + cache_write_cost + output_cost + tool_cost AS c FROM ccproxy.requests WHERE ts >= now() - interval '24 hours' AND price_id IS NOT NULL ORDER BY c DESC, request_id LIMIT 10},
	15 => q{SELECT api_key_hash, user_id, count(*), coalesce(sum(total_cost), 0) FROM ccproxy.requests WHERE ts >= now() - interval '30 days' AND ts < now() GROUP BY 1, 2 ORDER BY 3 DESC, 1, 2},
	16 => q{SELECT a, b, round(100 * (a / nullif(b, 0) - 1), 1) FROM (SELECT coalesce(sum(total_cost) FILTER (WHERE ts >= m), 0) AS a, coalesce(sum(total_cost) FILTER (WHERE ts AT TIME ZONE 'UTC' >= (m AT TIME ZONE 'UTC') - interval '1 month' AND ts AT TIME ZONE 'UTC' < (now() AT TIME ZONE 'UTC') - interval '1 month'), 0) AS b FROM ccproxy.requests, (SELECT date_trunc('month', now(), 'UTC') AS m) AS x WHERE ts < now()) AS y},
	17 => q{SELECT to_char(ts AT TIME ZONE 'Europe/Berlin', 'HH24'), count(*) FROM ccproxy.requests WHERE ts >= now() - interval '30 days' AND ts < now() GROUP BY 1 ORDER BY 2 DESC, 1},
	18 => q{SELECT endpoint_type, count(*), percentile_disc(0.99) WITHIN GROUP (ORDER BY response_time_ms) FROM ccproxy.requests WHERE ts >= date_trunc('day', now(), 'UTC') - interval '30 days' GROUP BY 1 ORDER BY 1},
	19 => q{SELECT model, round(100.0 * count(*) FILTER (WHERE response_time_ms <= 2000) / count(response_time_ms), 1) FROM ccproxy.requests WHERE ts >= date_trunc('hour', now()) - interval '7 days' GROUP BY 1 ORDER BY 1},
	20 => q{SELECT name, period_end, limit_usd - c, CASE WHEN c >= limit_usd THEN 'exceeded' WHEN c >= limit_usd * 0.8 THEN 'warning' ELSE 'ok' END, c * extract(epoch FROM period_end - period_start) / extract(epoch FROM now() - period_start) > limit_usd
	          FROM (SELECT b.name, b.limit_usd, p.*, (SELECT coalesce(sum(total_cost), 0) FROM ccproxy.requests r WHERE ts >= p.period_start AND ts < p.period_end AND (b.scope = 'all' OR b.scope = 'user' AND user_id = b.value OR b.scope = 'model' AND model = b.value)) AS c
	                  FROM ccproxy.budget b CROSS JOIN LATERAL (SELECT date_trunc(b.period, now(), b.time_zone) AS period_start, (date_trunc(b.period, now() AT TIME ZONE b.time_zone) + ('1 ' || b.period)::interval) AT TIME ZONE b.time_zone AS period_end) AS p) AS x
	         ORDER BY c / limit_usd DESC, name});
my %approximate = (7 => 2, 8 => 1, 18 => 2, 19 => 1);    # from this column on: within the sketch's 0.55 % and a rank

# Both in one transaction, so that now() is the same.
sub answers
{
	my (@queries) = @_;
	my $sql = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;\n" . join("\\echo ----\n", map { "$_;\n" } @queries) . 'COMMIT;';
	my ($rc, $out, $err) = $node->psql('metrics', $sql, extra_params => [ '-U', 'analyst', '-P', 'null=~' ]);
	return ($err, map { [ map { [ split /\|/ ] } split /\n/ ] } split(/^----\n/m, $out . "\n"));
}

sub close_to
{
	my ($x, $y, $share) = @_;
	return $x eq $y || $x =~ /^[\d.]+$/ && $y =~ /^[\d.]+$/ && abs($x - $y) <= $share * $y;
}

my $empty = 0;
for my $n (1 .. 20)
{
	my ($err, $got, $expected) = answers($asked{$n} // 'SELECT 1', $raw{$n});
	is($err, '', "question $n is answered");
	my @wrong = @{ $got // [] } == @{ $expected // [] } ? () : ('rows: ' . @{ $got // [] } . ' and not ' . @{ $expected // [] });
	for my $row (0 .. (@wrong ? -1 : $#$expected))
	{
		for my $column (0 .. $#{ $expected->[$row] })
		{
			my ($x, $y) = map { $_->[$row][$column] // '' } $got, $expected;
			my $same = $x eq $y || ($x =~ /^-?[\d.]+$/ && $y =~ /^-?[\d.]+$/ && $x == $y)
				|| (defined $approximate{$n} && $column >= $approximate{$n} && close_to($x, $y, 0.02));
			push @wrong, "row $row column $column: $x and not $y" unless $same;
		}
	}
	is(join("\n", @wrong), '', "as the rows say (@{[ scalar @{ $expected // [] } ]})");
	$empty++ unless @{ $expected // [] };
}
is($empty, 0, 'no answer was empty');

done_testing();
