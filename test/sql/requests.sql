-- Lists of requests, costs explained, values of filters.
\set VERBOSITY terse
SET client_min_messages = warning;
CREATE EXTENSION ccproxy_metrics;
SELECT ccproxy.create_metrics_table();
SET TimeZone = 'UTC';
SELECT ccproxy.set_price('m1', 1, 2, web_search => 10, effective_from => '2000-01-01') > 0 AS set;
SELECT date_trunc('day', now()) - interval '2 days' AS d0, date_trunc('day', now()) AS d2 \gset
SELECT accepted FROM ccproxy.ingest((SELECT jsonb_agg(jsonb_build_object('request_id', 'r' || i, 'timestamp', :'d0'::timestamptz + make_interval(hours => i / 2),
    'model', CASE WHEN i % 3 = 0 THEN 'none' ELSE 'm1' END, 'user_id', 'U' || i % 2, 'status_code', CASE WHEN i % 4 = 0 THEN 500 ELSE 200 END,
    'response_time_ms', CASE WHEN i % 5 > 0 THEN 100 * (i % 5) + 0.123 END, 'input_tokens', 1000 * (i % 6), 'output_tokens', i)) FROM generate_series(1, 20) AS i));

CREATE FUNCTION pg_temp.list(order_by text, filters jsonb DEFAULT NULL, page integer DEFAULT 100) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    r    ccproxy.request_record;
    last ccproxy.request_record;
    text text := '';
BEGIN
    LOOP
        last := NULL;
        FOR r IN SELECT * FROM ccproxy.list_requests(date_trunc('day', now()) - interval '2 days', date_trunc('day', now()), filters, order_by, page,
                 CASE order_by WHEN 'slowest' THEN r.response_time_ms::numeric WHEN 'dearest' THEN r.total_cost END, r.ts, r.request_id) LOOP
            text := text || ' ' || r.request_id;
            last := r;
        END LOOP;
        EXIT WHEN last.request_id IS NULL;
        r := last;
    END LOOP;
    RETURN text;
END
$$;
SELECT request_id, ts - :'d0' AS after, user_id, model, output_tokens, state FROM ccproxy.list_requests(:'d0', :'d2', max_rows => 1);
SELECT pg_temp.list('newest', page => 1000), pg_temp.list('newest', page => 7) = pg_temp.list('newest') AS by_pages;
SELECT string_agg(request_id, ' ' ORDER BY response_time_ms DESC NULLS LAST, ts DESC, request_id DESC) AS slowest,
       string_agg(request_id, ' ' ORDER BY total_cost DESC NULLS LAST, ts DESC, request_id DESC) AS dearest,
       string_agg(request_id, ' ' ORDER BY ts DESC, request_id DESC) FILTER (WHERE state = 'failed') AS failed FROM ccproxy.requests \gset
SELECT o.order_by, p.page, pg_temp.list(o.order_by, NULL, p.page) = ' ' || o.expected AS fine
  FROM (VALUES ('slowest', :'slowest'), ('dearest', :'dearest'), ('failed', :'failed')) AS o(order_by, expected), (VALUES (1), (3), (100)) AS p(page);
SELECT pg_temp.list('dearest', '{"model": "none", "status": [200]}', 2);
SELECT pg_temp.list('failed', '{"state": "successful"}');
-- with the reported cost where there is no price
UPDATE ccproxy.request_log SET reported_cost = 5000000000000 WHERE request_id = 'r3';
SELECT ccproxy.set_cost_source('reported_if_unpriced') >= 0 AS set;
SELECT request_id, total_cost FROM ccproxy.list_requests(:'d0', :'d2', order_by => 'dearest', max_rows => 2);
SELECT count(*) FROM ccproxy.list_requests(:'d0', :'d2', order_by => 'dearest', after_value => 5, after_ts => :'d2', after_id => 'x');

SELECT ccproxy.list_requests(:'d0', :'d2', order_by => 'best');
SELECT ccproxy.list_requests(:'d0', :'d2', order_by => NULL);
SELECT ccproxy.list_requests(:'d0', :'d2', max_rows => 0);
SELECT ccproxy.list_requests(:'d0', :'d2', after_id => 'x');
SELECT ccproxy.list_requests(:'d0', :'d2', '{"no": 1}');

-- why a request costs what it does
SELECT e.part, e.units, e.rate, e.cost FROM ccproxy.request('r1') r, ccproxy.explain_request(r) e;
SELECT e.part, e.explanation FROM ccproxy.request('r3') r, ccproxy.explain_request(r) e;
UPDATE ccproxy.request_log SET metadata = '{"server_tool_use": {"web_search_requests": 3}}' WHERE request_id = 'r1';
UPDATE ccproxy.request_log SET metadata = '{"web_searches": 1.5}' WHERE request_id = 'r2';
UPDATE ccproxy.request_log SET metadata = '{"web_searches": "2"}' WHERE request_id = 'r4';
UPDATE ccproxy.request_log SET metadata = '{"server_tool_use": {"web_search_requests": null}, "web_searches": 2}' WHERE request_id = 'r5';
CALL ccproxy.reprice();
SELECT r.request_id, e.cost, e.cost = r.total_cost AS as_stored FROM ccproxy.list_requests(:'d0', :'d2') r, ccproxy.explain_request(r) e
 WHERE e.part = 'total' AND r.request_id IN ('r1', 'r2', 'r4', 'r5') ORDER BY 1;
SELECT count(*) FROM ccproxy.list_requests(:'d0', :'d2') r, ccproxy.explain_request(r) e WHERE e.part = 'total' AND e.cost <> r.total_cost;
UPDATE ccproxy.request_log SET input_tokens = NULL, output_tokens = NULL WHERE request_id = 'r1';
SELECT count(*) FROM ccproxy.request('r1') r, ccproxy.explain_request(r) e;

-- what filters can be set to
SELECT ccproxy.refresh() > 0 AS refreshed;
SELECT f, array(SELECT ccproxy.filter_values(f)) FROM unnest(ARRAY['model', 'user', 'status', 'error_type', 'team']) AS f;
SELECT ccproxy.filter_values('user', 'u1');
SELECT ccproxy.filter_values('user', max_values => 1);
SELECT ccproxy.filter_values('session');
SELECT ccproxy.filter_values('state');
SELECT ccproxy.filter_values(NULL);

-- the slowest, looked for where the rollups say they are: those of all rows, by
-- pages, through either cube and past both, with minutes that are not rolled up
SELECT setseed(0.25);
SELECT :'d0'::timestamptz - interval '20 days' AS r0, :'d0'::timestamptz - interval '15 days' AS r1 \gset
CREATE FUNCTION pg_temp.many(prefix text, n integer, from_ts timestamptz) RETURNS bigint LANGUAGE sql AS $$
    SELECT accepted FROM ccproxy.ingest((SELECT jsonb_agg(jsonb_build_object('request_id', prefix || i, 'timestamp', from_ts + random() * interval '5 days',
        'model', 'm' || i % 3, 'user_id', 'U' || i % 4, 'session_id', 'S' || i % 5, 'status_code', 200,
        'response_time_ms', CASE WHEN random() < 0.95 THEN floor(random() ^ 8 * 2000) END)) FROM generate_series(1, n) AS i))
$$;
SELECT pg_temp.many('a', 3000, :'r0');
DO $$ BEGIN LOOP EXIT WHEN ccproxy.refresh(1440) = 0; END LOOP; END $$;
SELECT pg_temp.many('b', 100, :'r0');
CREATE FUNCTION pg_temp.slowest(from_ts timestamptz, to_ts timestamptz, filters jsonb, page integer, most integer) RETURNS text[] LANGUAGE plpgsql AS $$
DECLARE
    r    ccproxy.request_record;
    last ccproxy.request_record;
    ids  text[] := '{}';
BEGIN
    WHILE cardinality(ids) < most LOOP
        last := NULL;
        FOR r IN SELECT * FROM ccproxy.list_requests(from_ts, to_ts, filters, 'slowest', page, r.response_time_ms::numeric, r.ts, r.request_id) LOOP
            ids := ids || r.request_id;
            last := r;
        END LOOP;
        EXIT WHEN last.request_id IS NULL;
        r := last;
    END LOOP;
    RETURN ids[:most];
END
$$;
SELECT f.filters, p.page, pg_temp.slowest(:'r0', :'r1', f.filters::jsonb, p.page, p.most) = x.ids AS fine
  FROM (VALUES (NULL), ('{"model": "m1"}'), ('{"user": ["U1", "U2"]}'), ('{"session": "S3"}'), ('{"user": "nobody"}')) AS f(filters),
       (VALUES (1, 15), (20, 160), (600, 4000)) AS p(page, most),
       LATERAL (SELECT coalesce((array_agg(r.request_id ORDER BY r.response_time_ms DESC NULLS LAST, r.ts DESC, r.request_id DESC))[:p.most], '{}') AS ids FROM ccproxy.requests r
                 WHERE r.ts >= :'r0' AND r.ts < :'r1' AND r.model = coalesce(f.filters::jsonb ->> 'model', r.model) AND r.session_id = coalesce(f.filters::jsonb ->> 'session', r.session_id)
                   AND (f.filters IS NULL OR NOT f.filters::jsonb ? 'user' OR f.filters::jsonb -> 'user' ? r.user_id)) AS x ORDER BY 1 NULLS FIRST, 2;
-- a ragged range, and one that is all of one bucket
SELECT pg_temp.slowest(:'r0'::timestamptz + a, :'r1'::timestamptz - b, NULL, 10, 50) = x.ids AS fine
  FROM (VALUES (interval '7 hours 11 minutes 12.5 seconds', interval '31 minutes'), ('0', '119 hours 30 minutes 30 seconds')) AS v(a, b),
       LATERAL (SELECT (array_agg(r.request_id ORDER BY r.response_time_ms DESC NULLS LAST, r.ts DESC, r.request_id DESC))[:50] AS ids FROM ccproxy.requests r
                 WHERE r.ts >= :'r0'::timestamptz + a AND r.ts < :'r1'::timestamptz - b) AS x;
-- and little of it is read: minutes, or hours where users are filtered by
SELECT f.filters, sum(upper(s) - lower(s)) <= f.most AS little
  FROM (VALUES (NULL, interval '40 minutes'), ('{"model": "m1"}', '40 minutes'), ('{"user": "U1"}', '40 hours')) AS f(filters, most)
 CROSS JOIN LATERAL unnest(ccproxy._slowest_spans(ccproxy._plan_stats(:'r0', :'r1', NULL, f.filters::jsonb, 'UTC'), :'r0', :'r1', 10, NULL)) AS s
 GROUP BY f.filters, f.most ORDER BY 1 NULLS FIRST;

-- newest first over days without requests: as many as are wanted, wherever they are
SELECT accepted FROM ccproxy.ingest((SELECT jsonb_agg(jsonb_build_object('request_id', 'old' || d, 'timestamp', now() - make_interval(days => d, secs => d), 'session_id', 'sparse',
    'status_code', CASE WHEN d % 2 = 0 THEN 500 ELSE 200 END)) FROM unnest(ARRAY[0, 0, 1, 2, 3, 9, 10, 28, 70, 71, 150, 390]) AS d));
SELECT n, order_by, (SELECT string_agg(l.request_id, ' ') FROM ccproxy.list_requests(now() - interval '395 days', now() + interval '1 hour', '{"session": "sparse"}', order_by, n) AS l)
       = (SELECT string_agg(q.request_id, ' ') FROM (SELECT * FROM ccproxy.requests q WHERE q.session_id = 'sparse' AND (order_by = 'newest' OR q.state = 'failed') ORDER BY q.ts DESC, q.request_id DESC LIMIT n) AS q) AS same
  FROM unnest(ARRAY[1, 2, 5, 7, 10, 11, 100]) AS n, unnest(ARRAY['newest', 'failed']) AS order_by ORDER BY 1, 2;
SELECT l.request_id FROM ccproxy.list_requests(now() - interval '395 days', now(), '{"session": "sparse"}', 'newest', 2, NULL, now() - interval '20 days', 'x') AS l;
SELECT count(*) FROM ccproxy.list_requests(now() - interval '1 hour', '294276-12-31 23:59:59+00', '{"session": "sparse"}');
SELECT count(*) FROM ccproxy.list_requests('4713-01-02 00:00:00+00 BC', '294276-12-31 23:59:59+00', '{"session": "nobody"}');
SELECT count(*) FROM ccproxy.list_requests(now() - interval '10 days', now(), '{"session": "sparse"}', 'newest', 2, NULL, now() - interval '20 days', 'x') AS l;
