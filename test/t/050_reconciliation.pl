# sanitized: no
# Statistics equal raw: random histories of a database - events, late events,
# parts, duplicates, repricing by hand, refreshes at random moments, closings,
# partition drops, trimmed rollups - and after each step random questions, whose
# answers must equal the same aggregate over a copy of the raw rows that never
# expires: counts, sums and costs exactly, quantiles within the sketch's bound.
#
# CCPROXY_RECONCILE_ROUNDS (12) histories from CCPROXY_RECONCILE_SEED (1); the
# long form is `make reconcile`.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $rounds = $ENV{CCPROXY_RECONCILE_ROUNDS} || 12;
my $seed = $ENV{CCPROXY_RECONCILE_SEED} || 1;
my $steps = 30;

my $node = PostgreSQL::Test::Cluster->new('reconciliation');
$node->init;
$node->append_conf('postgresql.conf', "extension_destdir = '$ENV{CCPROXY_STAGE}'") if $ENV{CCPROXY_STAGE};
$node->append_conf('postgresql.conf', "fsync = off\nautovacuum = on\n");
$node->start;

# The oracle: plain SQL over a copy, sharing nothing with stats() but the rows.
my $oracle = <<'SQL';
CREATE SCHEMA truth;
CREATE TABLE truth.archive (LIKE ccproxy.request_log);
CREATE VIEW truth.rows AS
SELECT l.*, CASE WHEN error_type IS NOT NULL THEN error_type WHEN status_code >= 400 THEN 'http_' || status_code
                 WHEN error_message IS NOT NULL THEN 'unknown' ELSE '' END AS error
  FROM (SELECT * FROM truth.archive UNION ALL SELECT * FROM ccproxy.request_log) AS l;

CREATE FUNCTION truth.stats(from_ts timestamptz, to_ts timestamptz, group_by text, filters jsonb, time_zone text)
RETURNS TABLE (group_key text, group_key2 text, total bigint, successful bigint, failed bigint, in_flight bigint, avg_ms float8, latencies float8[],
    input numeric, cache_read numeric, cache_write numeric, output numeric, total_tokens numeric, cost numeric, unpriced bigint, usage jsonb, costs jsonb, errors jsonb)
LANGUAGE plpgsql AS $$
DECLARE
    exprs jsonb := '{"model": "model", "endpoint": "endpoint_type", "method": "method", "status": "status_code::text", "error_type": "nullif(error, '''')",
        "user": "user_id", "team": "team_id", "api_key": "encode(api_key_hash, ''hex'')", "session": "session_id", "provider": "provider", "service_tier": "service_tier"}';
    g text[] := string_to_array(coalesce(group_by, ''), ',');
    k1 text; k2 text; f record; w text := 'true';
BEGIN
    k1 := CASE g[1] WHEN 'hour' THEN format('to_char(date_trunc(''hour'', ts, %1$L) AT TIME ZONE %1$L, ''YYYY-MM-DD"T"HH24:MI'')', time_zone)
                    WHEN 'day' THEN format('to_char(date_trunc(''day'', ts, %1$L) AT TIME ZONE %1$L, ''YYYY-MM-DD'')', time_zone)
                    ELSE coalesce(exprs ->> g[1], 'NULL::text') END;
    k2 := CASE g[2] WHEN 'hour' THEN format('to_char(date_trunc(''hour'', ts, %1$L) AT TIME ZONE %1$L, ''YYYY-MM-DD"T"HH24:MI'')', time_zone)
                    WHEN 'day' THEN format('to_char(date_trunc(''day'', ts, %1$L) AT TIME ZONE %1$L, ''YYYY-MM-DD'')', time_zone)
                    ELSE coalesce(exprs ->> g[2], 'NULL::text') END;
    FOR f IN SELECT * FROM jsonb_each_text(filters) LOOP
        w := w || CASE WHEN f.key = 'state' THEN format(' AND CASE WHEN error <> '''' THEN ''failed'' WHEN status_code IS NULL THEN ''in_flight'' ELSE ''successful'' END = %L', f.value)
                       WHEN f.value IS NULL THEN format(' AND (%s) IS NULL', exprs ->> f.key)
                       ELSE format(' AND %s = %L', exprs ->> f.key, f.value) END;
    END LOOP;
    RETURN QUERY EXECUTE format($q$
        WITH r AS MATERIALIZED (SELECT %s AS k1, %s AS k2, * FROM truth.rows WHERE ts >= %L AND ts < %L AND %s)
        SELECT a.*, u.usage, u.costs, coalesce(e.errors, '{}')
          FROM (SELECT k1, k2, count(*), count(*) FILTER (WHERE error = '' AND status_code IS NOT NULL), count(*) FILTER (WHERE error <> ''),
                       count(*) FILTER (WHERE error = '' AND status_code IS NULL), avg(response_time_us / 1000.0)::float8,
                       array_agg(response_time_us / 1000.0::float8 ORDER BY response_time_us) FILTER (WHERE response_time_us IS NOT NULL),
                       coalesce(sum(input_tokens), 0), coalesce(sum(cache_read_tokens), 0), coalesce(sum(coalesce(cache_write_tokens, 0) + coalesce(cache_write_1h_tokens, 0)), 0),
                       coalesce(sum(output_tokens), 0),
                       coalesce(sum(coalesce(input_tokens, 0) + coalesce(cache_read_tokens, 0) + coalesce(cache_write_tokens, 0) + coalesce(cache_write_1h_tokens, 0) + coalesce(output_tokens, 0)), 0),
                       coalesce(sum(coalesce(input_cost, 0)::numeric + coalesce(cache_read_cost, 0) + coalesce(cache_write_cost, 0) + coalesce(output_cost, 0) + coalesce(tool_cost, 0)) FILTER (WHERE price_id IS NOT NULL), 0) / 1000000000000,
                       count(*) FILTER (WHERE price_id IS NULL AND coalesce(input_tokens, cache_read_tokens, cache_write_tokens, cache_write_1h_tokens, output_tokens) IS NOT NULL)
                  FROM r GROUP BY k1, k2) AS a
          JOIN (SELECT k1, k2, jsonb_object_agg(m, n) AS usage, coalesce(jsonb_object_agg(m, c) FILTER (WHERE p > 0), '{}') AS costs
                  FROM (SELECT k1, k2, coalesce(model, 'unknown') AS m, count(*) AS n, count(price_id) AS p,
                               sum(coalesce(input_cost, 0)::numeric + coalesce(cache_read_cost, 0) + coalesce(cache_write_cost, 0) + coalesce(output_cost, 0) + coalesce(tool_cost, 0)) FILTER (WHERE price_id IS NOT NULL) / 1000000000000 AS c
                          FROM r GROUP BY 1, 2, 3) AS x GROUP BY 1, 2) AS u ON (u.k1, u.k2) IS NOT DISTINCT FROM (a.k1, a.k2)
          LEFT JOIN (SELECT k1, k2, jsonb_object_agg(error, n) AS errors FROM (SELECT k1, k2, error, count(*) AS n FROM r WHERE error <> '' GROUP BY 1, 2, 3) AS x GROUP BY 1, 2) AS e
                 ON (e.k1, e.k2) IS NOT DISTINCT FROM (a.k1, a.k2)
        $q$, k1, k2, from_ts, to_ts, w);
END $$;

-- a quantile is right when it lies within the bound of a value next to its rank
CREATE FUNCTION truth.quantile_ok(estimate float8, latencies float8[], q float8) RETURNS boolean LANGUAGE sql AS $$
    SELECT CASE WHEN latencies IS NULL THEN estimate IS NULL
                ELSE estimate BETWEEN latencies[greatest(1, floor(q * (cardinality(latencies) - 1))::int)] * (1 - 0.0056)
                                  AND latencies[least(cardinality(latencies), ceil(q * cardinality(latencies))::int + 1)] * (1 + 0.0056) END $$;

CREATE FUNCTION truth.check(from_ts timestamptz, to_ts timestamptz, group_by text, filters jsonb, time_zone text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    eff_from timestamptz; eff_to timestamptz; bad record; answered bigint;
BEGIN
    SELECT snapped_from, snapped_to INTO eff_from, eff_to FROM ccproxy._plan_stats(from_ts, to_ts, group_by, filters, time_zone);
    SELECT count(*) INTO answered FROM ccproxy.stats(from_ts, to_ts, group_by, filters, time_zone);
    SELECT s.*, t.* INTO bad
      FROM ccproxy.stats(from_ts, to_ts, group_by, filters, time_zone) AS s
      FULL JOIN truth.stats(eff_from, eff_to, group_by, filters, time_zone) AS t ON coalesce(s.group_key, '<none>') = coalesce(t.group_key, '<none>') AND coalesce(s.group_key2, '<none>') = coalesce(t.group_key2, '<none>')
     WHERE NOT coalesce(
           s.total_requests = t.total AND s.successful_requests = t.successful AND s.failed_requests = t.failed AND s.in_flight_requests = t.in_flight
           AND s.input_tokens = t.input AND s.cache_read_tokens = t.cache_read AND s.cache_write_tokens = t.cache_write AND s.output_tokens = t.output AND s.total_tokens = t.total_tokens
           AND s.total_cost = t.cost AND s.unpriced_requests = t.unpriced AND s.model_usage = t.usage AND s.model_costs = t.costs
           AND (s.errors_by_type IS NULL OR s.errors_by_type = t.errors)
           AND (s.avg_response_time_ms IS NOT DISTINCT FROM t.avg_ms OR abs(s.avg_response_time_ms - t.avg_ms) <= 1e-9 * t.avg_ms)
           AND truth.quantile_ok(s.p50_response_time_ms, t.latencies, 0.5) AND truth.quantile_ok(s.p95_response_time_ms, t.latencies, 0.95)
           AND truth.quantile_ok(s.p99_response_time_ms, t.latencies, 0.99), false)
       -- ungrouped there is a row of zeros where the oracle has none
       AND NOT (group_by IS NULL AND t.total IS NULL AND s.total_requests = 0)
     LIMIT 1;
    IF bad IS NOT NULL THEN
        RETURN format('MISMATCH %s..%s by %s filters %s zone %s: %s tiles: %s', from_ts, to_ts, group_by, filters, time_zone, to_jsonb(bad) - 'latencies',
            (SELECT jsonb_agg(jsonb_build_object(grain, spans)) FROM ccproxy.explain_stats(from_ts, to_ts, group_by, filters, time_zone)));
    END IF;
    RETURN 'ok ' || answered;
END $$;

-- counters: true equals what is rolled up of finished requests; exposed never falls
CREATE TABLE truth.exposed AS SELECT family, label_values, exposed, exposed_sum FROM ccproxy.counter_total;
CREATE FUNCTION truth.check_counters() RETURNS text LANGUAGE plpgsql AS $$
DECLARE bad record;
BEGIN
    SELECT o.*, n.exposed AS now INTO bad FROM truth.exposed o LEFT JOIN ccproxy.counter_total n USING (family, label_values)
     WHERE n.exposed IS NULL OR n.exposed < o.exposed OR n.exposed_sum < o.exposed_sum LIMIT 1;
    IF bad IS NOT NULL THEN RETURN 'MISMATCH counter fell: ' || to_jsonb(bad)::text; END IF;
    DELETE FROM truth.exposed;
    INSERT INTO truth.exposed SELECT family, label_values, exposed, exposed_sum FROM ccproxy.counter_total;
    IF NOT EXISTS (SELECT FROM ccproxy.dirty_minute WHERE xid >= ccproxy._marks_from()) THEN
        SELECT * INTO bad FROM (
            SELECT family, sum("true") AS counted, CASE family
                WHEN 'requests' THEN (SELECT count(*) FROM truth.rows WHERE error <> '' OR status_code IS NOT NULL)
                WHEN 'tokens' THEN (SELECT sum(coalesce(input_tokens, 0)::numeric + coalesce(cache_read_tokens, 0) + coalesce(cache_write_tokens, 0) + coalesce(cache_write_1h_tokens, 0) + coalesce(output_tokens, 0))
                                      FROM truth.rows WHERE error <> '' OR status_code IS NOT NULL)
                WHEN 'response_time' THEN (SELECT count(response_time_us) FROM truth.rows WHERE error <> '' OR status_code IS NOT NULL)
                WHEN 'errors' THEN (SELECT count(*) FROM truth.rows WHERE error <> '')
                WHEN 'cost' THEN (SELECT coalesce(sum(coalesce(input_cost, 0)::numeric + coalesce(cache_read_cost, 0) + coalesce(cache_write_cost, 0) + coalesce(output_cost, 0) + coalesce(tool_cost, 0)), 0) / 1000000000000
                                    FROM truth.rows WHERE price_id IS NOT NULL AND ts < (SELECT user_hours_closed FROM ccproxy.rollup_state)) END AS really
              FROM ccproxy.counter_total GROUP BY family) AS c
         WHERE counted <> really LIMIT 1;
        IF bad IS NOT NULL THEN RETURN 'MISMATCH counter is wrong: ' || to_jsonb(bad)::text; END IF;
    END IF;
    RETURN 'ok';
END $$;
SQL

my ($state) = ($seed);

# a generator of our own, so that a seed means the same everywhere
sub rnd
{
	my ($n) = @_;
	$state = ($state * 1103515245 + 12345) & 0x7fffffff;
	return ($state >> 8) % $n;
}

sub pick { return $_[ rnd(scalar @_) ]; }

# a moment, as SQL: mostly recent, in bursts, seldom days ago
sub moment
{
	my $back = pick(rnd(300), rnd(300), rnd(7200), rnd(86400), rnd(86400 * 12));
	return "(now() - interval '$back seconds' - interval '" . rnd(1000000) . " microseconds')";
}

sub event
{
	my ($id, $kind) = @_;
	my @f = ("'request_id', '$id'");
	push @f, "'kind', '$kind'" if $kind;
	push @f, "'timestamp', " . moment() if !$kind || rnd(4);
	push @f, "'model', '" . pick('gpt-4', 'claude-3-opus', 'claude-3-haiku', 'mystery-1') . "'" if rnd(8);
	push @f, "'user_id', 'u" . rnd(6) . "'" if rnd(8);
	push @f, "'team_id', '" . pick('red', 'blue') . "'" if rnd(2);
	push @f, "'api_key', 'k" . rnd(3) . "'" if rnd(2);
	push @f, "'session_id', 's" . rnd(4) . "'" if rnd(3) == 0;
	push @f, "'endpoint_type', '" . pick('openai', 'anthropic') . "'" if rnd(6);
	push @f, "'method', '" . pick('POST', 'GET') . "'" if rnd(3);
	push @f, "'status_code', " . pick(200, 200, 200, 201, 429, 500) if rnd(6) && (!$kind || $kind ne 'request');
	push @f, "'error_type', '" . pick('overloaded', 'timeout') . "'" if rnd(12) == 0;
	push @f, "'error_message', 'it broke'" if rnd(15) == 0;
	push @f, "'response_time_ms', " . (rnd(100000) / 7) if rnd(5);
	push @f, "'ttft_ms', " . (rnd(10000) / 3) if rnd(3) == 0;
	push @f, "'input_tokens', " . rnd(10000) if rnd(6);
	push @f, "'output_tokens', " . rnd(3000) if rnd(6);
	push @f, "'cache_read_tokens', " . rnd(5000) if rnd(3) == 0;
	push @f, "'cache_write_tokens', " . rnd(500) if rnd(5) == 0;
	push @f, "'cache_write_1h_tokens', " . rnd(500) if rnd(7) == 0;
	return 'jsonb_build_object(' . join(', ', @f) . ')';
}

my $next_id = 0;

# One step of a history, as SQL.
sub step
{
	my $what = rnd(20);
	if ($what < 8)
	{
		my @e = map { event('e' . (rnd(5) ? $next_id++ : rnd($next_id + 1))) } 1 .. 1 + rnd(40);
		return 'SELECT accepted FROM ccproxy.ingest(jsonb_build_array(' . join(",\n", @e) . '));';
	}
	if ($what < 11)
	{
		my @e = map { event('p' . rnd(40), pick('request', 'response', 'token_usage', 'cost', 'error')) } 1 .. 1 + rnd(15);
		return 'SELECT accepted FROM ccproxy.ingest(jsonb_build_array(' . join(",\n", @e) . '));';
	}
	return 'SELECT ccproxy.refresh(' . pick(1, 3, 50, 1000) . ');' if $what < 15;
	return 'CALL ccproxy.maintain();' if $what < 17;
	if ($what == 17)
	{
		# somebody corrects rows by hand, and says so
		my $m = moment();
		return "BEGIN; UPDATE ccproxy.request_log SET input_cost = coalesce(input_cost, 0) + 7, price_id = 4, status_code = 503 "
		  . "WHERE ts >= $m - interval '1 hour' AND ts < $m; SELECT ccproxy.mark_dirty($m - interval '1 hour', $m); COMMIT;";
	}
	if ($what == 18)
	{
		# rows deleted by hand
		my $m = moment();
		return "BEGIN; CREATE TEMP TABLE gone ON COMMIT DROP AS SELECT $m AS m; SELECT ccproxy.mark_dirty(m - interval '10 minutes', m) FROM gone; "
		  . "DELETE FROM ccproxy.request_log USING gone WHERE ts >= m - interval '10 minutes' AND ts < m; COMMIT;";
	}
	# detail expires: rows older than a few days go, their copies stay with the oracle
	my $days = 2 + rnd(9);
	my $minutes = 1 + rnd(6);
	return "SELECT ccproxy.refresh(1000); SELECT ccproxy.refresh(1000); SELECT ccproxy.refresh(1000); SELECT ccproxy.refresh(1000); SELECT ccproxy.refresh(1000);\n"
	  . "DO \$\$ DECLARE p record; BEGIN
	       UPDATE ccproxy.configuration SET retention = interval '$days days', minute_retention = interval '$minutes days',
	              quarter_retention = interval '" . ($minutes + rnd(6)) . " days', user_hour_retention = interval '" . (1 + rnd(9)) . " days';
	       -- parts' window has passed for what is to go
	       UPDATE ccproxy.request_key SET claimed_at = now() - interval '25 hours' WHERE ts < now() - interval '2 days';
	       PERFORM ccproxy._job_trim();
	       FOR p IN SELECT * FROM ccproxy._expired_partitions() LOOP
	         EXECUTE format('INSERT INTO truth.archive SELECT * FROM %s', p.partition);
	         IF ccproxy._drop_partition(p.partition, p.upper_bound) IS DISTINCT FROM true THEN
	           EXECUTE format('DELETE FROM truth.archive WHERE ts < %L AND ts >= %L', p.upper_bound, p.upper_bound - interval '1 day');
	           EXIT;
	         END IF;
	       END LOOP;
	       PERFORM ccproxy._job_trim();
	       UPDATE ccproxy.configuration SET retention = interval '90 days';
	     END \$\$;";
}

sub question
{
	my @names = ('model', 'endpoint', 'method', 'status', 'error_type', 'user', 'team', 'api_key', 'session');
	my $group = pick('NULL', 'NULL', "'hour'", "'day'", (map { "'$_'" } @names), "'day,model'", "'hour,endpoint'", "'model,status'", "'day,user'", "'user,model'", "'model,day'");
	my $filters = pick('NULL', 'NULL', "'{}'", "'{\"model\": \"gpt-4\"}'", "'{\"endpoint\": \"openai\"}'", "'{\"status\": 200}'", "'{\"user\": \"u1\"}'",
		"'{\"team\": \"red\", \"model\": \"claude-3-opus\"}'", "'{\"error_type\": \"overloaded\"}'", "'{\"state\": \"failed\"}'", "'{\"user\": null}'", "'{\"session\": \"s1\"}'",
		"'{\"user\": \"u2\", \"status\": 200}'", "'{\"state\": \"in_flight\"}'", "'{\"model\": null}'");
	my $zone = pick('UTC', 'UTC', 'Europe/Berlin', 'Asia/Kolkata', 'America/New_York', 'Asia/Kathmandu', 'Australia/Lord_Howe');
	my $from = pick("now() - interval '1 hour'", "now() - interval '1 day'", "now() - interval '13 days'", "date_trunc('day', now()) - interval '5 days'", moment());
	my $to = pick('now()', 'now()', "now() + interval '10 minutes'", "date_trunc('hour', now())", moment());
	return "SELECT truth.check(least($from, $to), greatest($from, $to), $group, $filters, '$zone');";
}

for my $round (1 .. $rounds)
{
	my $db = "r$round";
	my $start = $state;
	$node->safe_psql('postgres', "CREATE DATABASE $db");
	my $sql = "CREATE EXTENSION ccproxy_metrics;\nDO \$\$ BEGIN PERFORM ccproxy.create_metrics_table(); END \$\$;\n$oracle\n";
	# watermarks begin in the past, so that closings are part of the history
	$sql .= "UPDATE ccproxy.rollup_state SET quarters_closed = ccproxy._bucket('q', now() - interval '14 days'), days_closed = ccproxy._bucket('d', now() - interval '14 days'),
		user_hours_closed = ccproxy._bucket('h', now() - interval '14 days'), user_days_closed = ccproxy._bucket('d', now() - interval '14 days');\n";
	for (1 .. $steps)
	{
		$sql .= step() . "\n";
		$sql .= question() . "\n" for 1 .. 3;
		$sql .= "SELECT truth.check_counters();\n" if rnd(3) == 0;
	}
	# everything rolled up: the same questions again
	$sql .= "CALL ccproxy.maintain();\n" x 3;
	$sql .= question() . "\n" for 1 .. 10;
	$sql .= "SELECT truth.check_counters();\n";
	my ($rc, $out, $err) = $node->psql($db, $sql, on_error_stop => 0);
	my @bad = grep { /MISMATCH/ } split /\n/, $out;
	my @errors = grep { /ERROR|FATAL|job ".*" failed/ } split /\n/, $err;
	my $checks = () = $out =~ /^ok/mg;
	ok(!@bad && !@errors && $checks > 3 * $steps, "history $round (seed $start): $checks answers equal raw");
	diag(substr($bad[0], 0, 4000)) if @bad;
	diag(substr($err, 0, 2500)) if @errors;
	$node->safe_psql('postgres', "DROP DATABASE $db") unless @bad || @errors;
}

$node->stop;
done_testing();
