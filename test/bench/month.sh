# shellcheck shell=bash
# A month of traffic for measurements of reading. Sourced after lib.sh.

# load_month ROWS: of 30 days up to now, rolled up: 12 models, 500 users (skewed)
# in 20 teams, 3 % errors.
load_month() {
	local rows=$1
	psql_bench <<-EOF
		SELECT ccproxy.ensure_partitions(now() - interval '30 days', now()) > 0 AS made \gset
		SELECT setseed(0.5) \gset
		SET synchronous_commit = off;
		INSERT INTO ccproxy.request_log (ts, response_time_us, ttft_us, input_tokens, cache_read_tokens, output_tokens, input_cost,
		        output_cost, price_id, status_code, streaming, request_id, user_id, team_id, method, endpoint_type, api_key_hash, model, error_type)
		SELECT t, (exp(6.5 + 0.8 * z) * 1000)::bigint, CASE WHEN i % 2 = 0 THEN (exp(5.5 + 0.5 * z) * 1000)::bigint END,
		       (random() * 2000)::int, CASE WHEN i % 4 = 0 THEN (random() * 5000)::int END, (random() * 800)::int, (random() * 1e10)::bigint,
		       (random() * 1e10)::bigint, 1 + m, CASE WHEN e < 0.97 THEN 200 WHEN e < 0.985 THEN 429 ELSE 500 END, i % 2 = 0,
		       i::text, 'user-' || u, 'team-' || u % 20, 'POST', CASE WHEN m % 2 = 0 THEN 'anthropic' ELSE 'openai' END,
		       decode(md5('k' || u), 'hex'), 'model-' || m, CASE WHEN e >= 0.985 THEN 'api_error' END
		  FROM (SELECT i, now() - interval '30 days' + (i / $rows.0) * interval '30 days' AS t,
		               (random() + random() + random() + random() - 2) * 1.7 AS z, (random() * random() * 500)::int AS u,
		               (random() * 12)::int % 12 AS m, random() AS e FROM generate_series(1, $rows - 1) AS i) AS g;
		VACUUM ANALYZE ccproxy.request_log;
		INSERT INTO ccproxy.dirty_minute (minute)
		SELECT generate_series(ccproxy._bucket('m', now() - interval '30 days'), now(), interval '1 minute');
		DO \$\$ BEGIN LOOP EXIT WHEN ccproxy.refresh(1440) = 0; COMMIT; END LOOP; END \$\$;
		VACUUM ANALYZE;
	EOF
}
