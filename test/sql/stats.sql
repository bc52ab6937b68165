-- Statistics against figures worked out by hand.
\getenv abs_srcdir PG_ABS_SRCDIR
\set include :abs_srcdir '/sql/include/metrics_table.psql'
\i :include
SET timezone = 'UTC';
-- a day inside the retention of 400 days set in setup.sql, long before what
-- the other tests wrote
SELECT date_trunc('day', now()) - interval '40 days' AS d0, date_trunc('day', now()) - interval '39 days' AS d1 \gset
SELECT accepted FROM ccproxy.ingest((
    SELECT jsonb_agg(jsonb_build_object('request_id', 's' || i, 'timestamp', :'d0'::timestamptz + make_interval(hours => i % 4),
           'model', CASE WHEN i % 2 = 0 THEN 'gpt-4' ELSE 'claude-3-haiku' END, 'user_id', 'u' || i % 3,
           'endpoint_type', CASE WHEN i <= 50 THEN 'openai' ELSE 'anthropic' END, 'team_id', CASE WHEN i % 10 = 0 THEN 'red' END,
           'status_code', CASE WHEN i % 20 = 0 THEN 500 WHEN i % 25 = 0 THEN 429 ELSE 200 END,
           'error_type', CASE WHEN i % 20 = 0 THEN 'api_error' END, 'response_time_ms', i, 'input_tokens', 1000,
           'output_tokens', 100, 'cache_read_tokens', 10, 'cache_write_tokens', 3, 'cache_write_1h_tokens', 2))
      FROM generate_series(1, 100) AS i));
SELECT accepted FROM ccproxy.ingest(jsonb_build_array(
    jsonb_build_object('kind', 'request', 'request_id', 'flying', 'timestamp', :'d0'::timestamptz + interval '5 hours', 'model', 'gpt-4'),
    jsonb_build_object('request_id', 'unknown model', 'timestamp', :'d0'::timestamptz + interval '6 hours', 'model', 'made-up-9', 'input_tokens', 5, 'output_tokens', 5, 'status_code', 200),
    jsonb_build_object('request_id', 'no model', 'timestamp', :'d0'::timestamptz + interval '6 hours', 'status_code', 200)));
\x on
SELECT total_requests, successful_requests, failed_requests, in_flight_requests, avg_response_time_ms,
       p50_response_time_ms BETWEEN 49.7 AND 51.3 AS p50, p95_response_time_ms BETWEEN 94.4 AND 96.6 AS p95, p99_response_time_ms BETWEEN 98.4 AND 100 AS p99,
       input_tokens, cache_read_tokens, cache_write_tokens, output_tokens, total_tokens, unpriced_requests, model_usage, error_rate, errors_by_type
  FROM ccproxy.stats(timestamptz :'d0', :'d1');
\x off
-- cost: the sum over the rows, and by model
SELECT s.total_cost = r.cost AS total, s.avg_cost_per_request = trim_scale(round(r.cost / r.n, 12)) AS average, s.model_costs = r.by_model AS by_model
  FROM ccproxy.stats(timestamptz :'d0', :'d1') s,
       (SELECT sum(total_cost) AS cost, count(total_cost) AS n,
               (SELECT jsonb_object_agg(model, c) FROM (SELECT model, sum(total_cost) AS c FROM ccproxy.requests WHERE ts >= :'d0' AND ts < :'d1' AND total_cost IS NOT NULL GROUP BY model) x) AS by_model
          FROM ccproxy.requests WHERE ts >= :'d0' AND ts < :'d1') r;
-- groups
SELECT group_key, total_requests, failed_requests, input_tokens, unpriced_requests, error_rate FROM ccproxy.stats(timestamptz :'d0', :'d1', 'model') ORDER BY 1;
-- a cost of which nothing is known is not 0, here and in the views
SELECT s.group_key, s.total_cost IS NULL AS unknown, s.total_cost = 0 AS nothing, s.avg_cost_per_request IS NULL AS no_average,
       u.total_cost IS NOT DISTINCT FROM s.total_cost AND u.unpriced_requests = s.unpriced_requests AS as_the_view
  FROM ccproxy.stats(timestamptz :'d0', :'d1', 'model') s
  JOIN ccproxy.usage_by_model u ON u.ts = :'d0' AND u.model IS NOT DISTINCT FROM s.group_key ORDER BY 1;
SELECT group_key, total_requests, model_usage FROM ccproxy.stats(timestamptz :'d0', :'d1', 'user') ORDER BY 1;
SELECT group_key, total_requests, errors_by_type FROM ccproxy.stats(timestamptz :'d0', :'d1', 'endpoint') ORDER BY 1;
SELECT substr(group_key, 12) AS hour, period_start - :'d0'::timestamptz AS from, period_end - :'d0'::timestamptz AS to, total_requests
  FROM ccproxy.stats(timestamptz :'d0', :'d1', 'hour');
-- ragged edges: the first and the last hour are cut
SELECT period_start - :'d0'::timestamptz AS from, period_end - :'d0'::timestamptz AS to, total_requests
  FROM ccproxy.stats(:'d0'::timestamptz + interval '30 minutes', :'d0'::timestamptz + interval '2 hours 30 minutes', 'hour');
-- a zone with a half hour: hours and days begin elsewhere, the sum stays
SELECT substr(group_key, 12), total_requests FROM ccproxy.stats(timestamptz :'d0', :'d1', 'hour', NULL, 'Asia/Kolkata');
SELECT count(*), sum(total_requests) FROM ccproxy.stats(:'d0'::timestamptz - interval '6 hours', :'d1', 'day', NULL, 'Asia/Kolkata');
-- the sum over any group is the whole
SELECT g, (SELECT sum(total_requests) FROM ccproxy.stats(timestamptz :'d0', :'d1', g)) AS requests,
       (SELECT sum(total_cost) FROM ccproxy.stats(timestamptz :'d0', :'d1', g)) = (SELECT total_cost FROM ccproxy.stats(timestamptz :'d0', :'d1')) AS same_cost
  FROM unnest(ARRAY['hour', 'day', 'model', 'user', 'endpoint']) AS g;
-- filters
SELECT f, (SELECT total_requests FROM ccproxy.stats(timestamptz :'d0', :'d1', NULL, f::jsonb))
  FROM unnest(ARRAY['{}', '{"model": "gpt-4"}', '{"model": ["gpt-4", "made-up-9"]}', '{"model": null}', '{"model": [null, "gpt-4"]}', '{"user": "u1"}',
       '{"endpoint": "openai", "status": 200}', '{"status": [500, 429]}', '{"error_type": "api_error"}', '{"team": "red"}', '{"state": "in_flight"}',
       '{"model": []}', '{"user": "x'' OR true --"}', '{"session": "s", "api_key": "k", "provider": "p", "method": "m", "service_tier": "t"}']) AS f;
-- requests that were limited: status 429, where that is known
SELECT group_key, failed_requests, rate_limited_requests FROM ccproxy.stats(timestamptz :'d0', :'d1', 'endpoint') ORDER BY 1;
SELECT count(*), count(rate_limited_requests) FROM ccproxy.stats(timestamptz :'d0', :'d1', 'user');
-- a total: first, and what asking for all says; of nothing too
SELECT g, ROW(t.*)::text = ROW(a.*)::text AS same, n
  FROM unnest(ARRAY['model', 'endpoint,status', 'session', 'team']) AS g
 CROSS JOIN LATERAL (SELECT * FROM ccproxy.stats(timestamptz :'d0', :'d1', g, total => true) LIMIT 1) AS t
 CROSS JOIN LATERAL (SELECT count(*) - 1 AS n FROM ccproxy.stats(timestamptz :'d0', :'d1', g, total => true)) AS c
 CROSS JOIN LATERAL (SELECT * FROM ccproxy.stats(timestamptz :'d0', :'d1', filters => CASE g WHEN 'team' THEN '{"team": [null, "red"]}'::jsonb END)) AS a;
SELECT count(*), sum(total_requests) FROM ccproxy.stats(:'d0'::timestamptz - interval '300 days', :'d0'::timestamptz - interval '299 days', 'model', total => true);
-- fields: what takes work and is not asked for is left out, the rest is as before
SELECT f, s.total_requests, s.total_cost = a.total_cost AS cost, s.p95_response_time_ms = a.p95_response_time_ms AS p95, s.p95_ttft_ms IS NULL AS no_ttft,
       s.model_usage = a.model_usage AS models, s.errors_by_type = a.errors_by_type AS errors, s.rate_limited_requests
  FROM unnest(ARRAY['{}', '{total_requests}', '{p99_response_time_ms}', '{model_costs}', '{errors_by_type}', '{p50_ttft_ms}']::text[]) AS f
 CROSS JOIN LATERAL ccproxy.stats(timestamptz :'d0', :'d1', NULL, NULL, 'UTC', f::text[]) AS s
 CROSS JOIN LATERAL ccproxy.stats(timestamptz :'d0', :'d1') AS a;
-- the caller's mistakes
SELECT 1 FROM ccproxy.stats(now(), now(), 'model', fields => '{total_requests,colour}');
SELECT 1 FROM ccproxy.stats(now(), now(), 'model', fields => '{NULL}');
SELECT 1 FROM ccproxy.stats(now(), now(), total => true);
SELECT 1 FROM ccproxy.stats(now(), now(), 'hour,model', total => true);
SELECT 1 FROM ccproxy.stats(interval '-1 hour');
SELECT 1 FROM ccproxy.stats(timestamptz '2025-01-02 00:00Z', NULL);
SELECT 1 FROM ccproxy.stats(timestamptz '2025-01-02 00:00Z', '2025-01-01 00:00Z');
SELECT 1 FROM ccproxy.stats(now(), now(), NULL, '{"colour": "red"}');
SELECT 1 FROM ccproxy.stats(now(), now(), NULL, '{"status": "ok"}');
SELECT 1 FROM ccproxy.stats(now(), now(), NULL, '{"model": {"a": 1}}');
SELECT 1 FROM ccproxy.stats(now(), now(), NULL, '[]');
SELECT 1 FROM ccproxy.stats(now(), now(), 'second');
SELECT 1 FROM ccproxy.stats(now(), now(), 'model,model');
SELECT 1 FROM ccproxy.stats(now(), now(), 'day,hour');
SELECT 1 FROM ccproxy.stats(now(), now(), 'day,model,user');
SELECT 1 FROM ccproxy.stats(now(), now(), '');
SELECT 1 FROM ccproxy.stats(timestamptz '2001-01-01 UTC', 'infinity');
SELECT 1 FROM ccproxy.stats(now(), now(), NULL, '{"state": "happy"}');
SELECT 1 FROM ccproxy.stats('2001-01-02 UTC'::timestamptz, '2001-01-01 UTC'::timestamptz);
SELECT 1 FROM ccproxy.stats(NULL, timestamptz '2001-01-01 UTC');
SELECT 1 FROM ccproxy.stats(now(), now(), NULL, NULL, 'Mars/Olympus');
SELECT 1 FROM ccproxy.stats(now(), now(), NULL, NULL, NULL);
-- nothing there: one row of zeros, no groups
SELECT total_requests, avg_response_time_ms, p95_response_time_ms, total_cost, error_rate, model_usage, errors_by_type
  FROM ccproxy.stats(:'d0'::timestamptz - interval '300 days', :'d0'::timestamptz - interval '299 days');
SELECT count(*) FROM ccproxy.stats(:'d0'::timestamptz - interval '300 days', :'d0'::timestamptz - interval '299 days', 'model');
-- the period form is the same thing up to now
SELECT a.total_requests = b.total_requests AS same, a.period_end - a.period_start AS span
  FROM ccproxy.stats(interval '41 days') a, ccproxy.stats(now() - interval '41 days', now()) b;
-- clocks change: the last Sunday of October in Berlin has 25 hours
SELECT to_char(max(d), 'YYYY-MM-DD') AS sunday FROM generate_series(current_date - 380, current_date - 3, interval '1 day') AS d
 WHERE extract(month FROM d) = 10 AND extract(isodow FROM d) = 7 AND extract(month FROM d + interval '7 days') = 11 \gset
SELECT accepted FROM ccproxy.ingest((SELECT jsonb_agg(jsonb_build_object('request_id', 'dst' || h, 'timestamp', ((:'sunday'::date - 1)::timestamp AT TIME ZONE 'UTC') + make_interval(hours => h), 'status_code', 200, 'user_id', 'dst'))
  FROM generate_series(0, 71) AS h));
SELECT group_key = :'sunday' AS that_sunday, period_end - period_start AS length, total_requests
  FROM ccproxy.stats(:'sunday'::timestamptz - interval '2 days', :'sunday'::timestamptz + interval '3 days', 'day', '{"user": "dst"}', 'Europe/Berlin')
 WHERE group_key BETWEEN to_char(:'sunday'::date - 1, 'YYYY-MM-DD') AND to_char(:'sunday'::date + 1, 'YYYY-MM-DD');

-- an hour that comes twice has eight quarters, a quarter has fifteen minutes
SELECT count(*) AS quarters, min(period_end - period_start) AS shortest, max(period_end - period_start) AS longest, sum(total_requests) AS requests
  FROM ccproxy.stats(:'sunday'::date::timestamp AT TIME ZONE 'Europe/Berlin', (:'sunday'::date + 1)::timestamp AT TIME ZONE 'Europe/Berlin', 'quarter', '{"user": "dst"}', 'Europe/Berlin');

-- what Prometheus reads adds up to what is there, as of the last refresh
DO $$ BEGIN FOR i IN 1 .. 1000 LOOP EXIT WHEN ccproxy.refresh() = 0; END LOOP; END $$;
SELECT family, sum(count) = CASE family
       WHEN 'requests' THEN (SELECT count(*) FROM ccproxy.requests WHERE state <> 'in_flight')
       WHEN 'response_time' THEN (SELECT count(response_time_ms) FROM ccproxy.requests WHERE state <> 'in_flight')
       WHEN 'tokens' THEN (SELECT sum(total_tokens) FROM ccproxy.requests WHERE state <> 'in_flight')
       WHEN 'cost' THEN (SELECT sum(total_cost) FROM ccproxy.requests WHERE state <> 'in_flight')
       WHEN 'errors' THEN (SELECT count(*) FROM ccproxy.requests WHERE state = 'failed') END AS adds_up
  FROM ccproxy.prometheus_samples() GROUP BY family ORDER BY family;
SELECT count(*) FROM ccproxy.prometheus_samples() WHERE family = 'response_time' AND (cardinality(bucket_counts) <> 13 OR bucket_counts[13] > count);
SELECT label_values, bucket_counts, sum, count FROM ccproxy.prometheus_samples() WHERE family = 'response_time' AND 'anthropic' = ANY (label_values) AND 'gpt-4' = ANY (label_values);
RESET ROLE;
