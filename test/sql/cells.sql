-- Measures and cells: equal to plain aggregates over the rows, in any order of merging.
\set VERBOSITY terse
CREATE EXTENSION ccproxy_metrics;
SET search_path = ccproxy, public;

-- pseudo-random rows, the same everywhere: values, NULLs and failures of all kinds
CREATE FUNCTION pg_temp.h(i bigint, k int) RETURNS bigint LANGUAGE sql IMMUTABLE AS
$$ SELECT hashint8extended(i, k) & 9223372036854775807 $$;
CREATE TABLE log AS
SELECT i, (pg_temp.h(i, 1) % 20)::int AS key, (pg_temp.h(i, 2) % 50)::int AS bucket,
       CASE WHEN pg_temp.h(i, 3) % 10 > 0 THEN (exp(1 + pg_temp.h(i, 4) % 1000000 / 1000000.0 * 20))::bigint END AS response_time_us,
       CASE WHEN pg_temp.h(i, 5) % 3 > 0 THEN pg_temp.h(i, 6) % 2000000 END AS ttft_us,
       CASE WHEN pg_temp.h(i, 7) % 4 > 0 THEN pg_temp.h(i, 8) % 100000 END AS input_tokens,
       CASE WHEN pg_temp.h(i, 9) % 4 = 0 THEN pg_temp.h(i, 10) % 1000000 END AS cache_read_tokens,
       CASE WHEN pg_temp.h(i, 11) % 4 = 0 THEN pg_temp.h(i, 12) % 1000 END AS cache_write_tokens,
       CASE WHEN pg_temp.h(i, 13) % 8 = 0 THEN pg_temp.h(i, 14) % 1000 END AS cache_write_1h_tokens,
       CASE WHEN pg_temp.h(i, 15) % 5 > 0 THEN pg_temp.h(i, 16) % 4000 END AS output_tokens,
       CASE WHEN pg_temp.h(i, 17) % 5 = 0 THEN pg_temp.h(i, 18) % 4000 END AS reasoning_tokens,
       NULL::bigint AS input_cost, NULL::bigint AS cache_read_cost, NULL::bigint AS cache_write_cost,
       NULL::bigint AS output_cost, NULL::bigint AS tool_cost,
       CASE WHEN pg_temp.h(i, 19) % 5 = 0 THEN pg_temp.h(i, 20) % 1000000000000 END AS reported_cost,
       CASE WHEN pg_temp.h(i, 21) % 6 > 0 THEN (pg_temp.h(i, 22) % 3)::int END AS price_id,
       CASE WHEN pg_temp.h(i, 23) % 8 > 0 THEN (CASE WHEN pg_temp.h(i, 24) % 10 > 0 THEN 200 ELSE 400 + pg_temp.h(i, 25) % 130 END)::smallint END AS status_code,
       CASE WHEN pg_temp.h(i, 26) % 30 = 0 THEN 'api_error' END AS error_type,
       CASE WHEN pg_temp.h(i, 27) % 30 = 0 THEN 'no' END AS error_message
  FROM generate_series(1, 20000) AS i;
-- costs that are a price times the tokens, and in some keys any number
UPDATE log SET input_cost = input_tokens * 3000000, cache_read_cost = cache_read_tokens * 300000,
       cache_write_cost = cache_write_tokens * 3750000 + coalesce(cache_write_1h_tokens, 0) * 6000000,
       output_cost = output_tokens * CASE WHEN key % 3 = 0 THEN 15000000 ELSE 7 + i % 13 END,
       tool_cost = CASE WHEN i % 11 = 0 THEN 10000000000 END
 WHERE price_id IS NOT NULL;
ANALYZE log;

-- what measures() should say, in SQL
CREATE VIEW expected AS
SELECT key, count(*) AS requests,
       count(*) FILTER (WHERE state = 'successful') AS successful, count(*) FILTER (WHERE state = 'failed') AS failed,
       count(*) FILTER (WHERE state = 'in_flight') AS in_flight, count(price_id) AS priced,
       count(*) FILTER (WHERE price_id IS NULL AND coalesce(input_tokens, cache_read_tokens, cache_write_tokens, cache_write_1h_tokens, output_tokens) IS NOT NULL) AS unpriced,
       count(response_time_us) AS n_response_time, coalesce(sum(response_time_us), 0) AS sum_response_time_us,
       count(ttft_us) AS n_ttft, coalesce(sum(ttft_us), 0) AS sum_ttft_us,
       coalesce(sum(input_tokens), 0) AS input_tokens, coalesce(sum(cache_read_tokens), 0) AS cache_read_tokens,
       coalesce(sum(cache_write_tokens), 0) AS cache_write_tokens, coalesce(sum(cache_write_1h_tokens), 0) AS cache_write_1h_tokens,
       coalesce(sum(output_tokens), 0) AS output_tokens, coalesce(sum(reasoning_tokens), 0) AS reasoning_tokens,
       coalesce(sum(usd(input_cost)), 0) AS input_cost, coalesce(sum(usd(cache_read_cost)), 0) AS cache_read_cost,
       coalesce(sum(usd(cache_write_cost)), 0) AS cache_write_cost, coalesce(sum(usd(output_cost)), 0) AS output_cost,
       coalesce(sum(usd(tool_cost)), 0) AS tool_cost,
       coalesce(sum(usd(coalesce(input_cost, 0) + coalesce(cache_read_cost, 0) + coalesce(cache_write_cost, 0) + coalesce(output_cost, 0) + coalesce(tool_cost, 0))) FILTER (WHERE price_id IS NOT NULL), 0) AS total_cost,
       count(reported_cost) AS reported_requests, coalesce(sum(usd(reported_cost)), 0) AS reported_cost,
       ARRAY[count(*) FILTER (WHERE response_time_us <= 10000), count(*) FILTER (WHERE response_time_us <= 50000),
             count(*) FILTER (WHERE response_time_us <= 100000), count(*) FILTER (WHERE response_time_us <= 500000),
             count(*) FILTER (WHERE response_time_us <= 1000000), count(*) FILTER (WHERE response_time_us <= 2500000),
             count(*) FILTER (WHERE response_time_us <= 5000000), count(*) FILTER (WHERE response_time_us <= 10000000),
             count(*) FILTER (WHERE response_time_us <= 30000000), count(*) FILTER (WHERE response_time_us <= 60000000),
             count(*) FILTER (WHERE response_time_us <= 120000000), count(*) FILTER (WHERE response_time_us <= 300000000),
             count(*) FILTER (WHERE response_time_us <= 600000000)] AS response_time_buckets,
       sketch(response_time_us / 1000.0) AS response_time, sketch(ttft_us / 1000.0) AS ttft
  FROM (SELECT *, CASE WHEN status_code >= 400 OR error_type IS NOT NULL OR error_message IS NOT NULL THEN 'failed'
                       WHEN status_code IS NOT NULL THEN 'successful' ELSE 'in_flight' END AS state FROM log) AS l
 GROUP BY key;
CREATE FUNCTION same(measures_record, expected) RETURNS boolean LANGUAGE sql IMMUTABLE AS $$
SELECT ROW($1.requests, $1.successful, $1.failed, $1.in_flight, $1.priced, $1.unpriced, $1.n_response_time, $1.sum_response_time_us, $1.n_ttft, $1.sum_ttft_us,
           $1.input_tokens, $1.cache_read_tokens, $1.cache_write_tokens, $1.cache_write_1h_tokens, $1.output_tokens, $1.reasoning_tokens,
           $1.input_cost, $1.cache_read_cost, $1.cache_write_cost, $1.output_cost, $1.tool_cost, $1.total_cost, $1.reported_requests, $1.reported_cost)
     = ROW($2.requests, $2.successful, $2.failed, $2.in_flight, $2.priced, $2.unpriced, $2.n_response_time, $2.sum_response_time_us, $2.n_ttft, $2.sum_ttft_us,
           $2.input_tokens, $2.cache_read_tokens, $2.cache_write_tokens, $2.cache_write_1h_tokens, $2.output_tokens, $2.reasoning_tokens,
           $2.input_cost, $2.cache_read_cost, $2.cache_write_cost, $2.output_cost, $2.tool_cost, $2.total_cost, $2.reported_requests, $2.reported_cost)
   AND $1.response_time_buckets IS NOT DISTINCT FROM $2.response_time_buckets
   AND ($1.response_time = $2.response_time OR ($1.response_time IS NULL AND $2.response_time IS NULL))
   AND ($1.ttft = $2.ttft OR ($1.ttft IS NULL AND $2.ttft IS NULL))
   AND (sum($1.response_time) / sum($2.response_time) BETWEEN 1 - 1e-12 AND 1 + 1e-12 OR $2.response_time IS NULL) $$;

CREATE TABLE by_key AS
SELECT key, measures(response_time_us, ttft_us, input_tokens, cache_read_tokens, cache_write_tokens, cache_write_1h_tokens, output_tokens, reasoning_tokens,
       input_cost, cache_read_cost, cache_write_cost, output_cost, tool_cost, reported_cost, price_id, status_code, error_type, error_message, true) AS m
  FROM log GROUP BY key;
SELECT count(*), count(*) FILTER (WHERE same(expand(b.m), e)) AS same FROM by_key b JOIN expected e USING (key);

-- and without the distributions
SELECT count(*), count(*) FILTER (WHERE (x.e).response_time IS NULL AND (x.e).ttft IS NULL AND (x.e).response_time_buckets IS NULL
       AND to_jsonb(x.e) - '{response_time,ttft,response_time_buckets}'::text[] = to_jsonb(expand(b.m)) - '{response_time,ttft,response_time_buckets}'::text[]) AS same,
       count(*) FILTER (WHERE expand(b.m, true)::text = expand(b.m)::text) AS with_them
  FROM by_key b, LATERAL (SELECT expand(b.m, false) AS e) x;

-- by bucket and key, then merged: the same measures, to the byte
CREATE TABLE by_bucket AS
SELECT bucket, key, measures(response_time_us, ttft_us, input_tokens, cache_read_tokens, cache_write_tokens, cache_write_1h_tokens, output_tokens, reasoning_tokens,
       input_cost, cache_read_cost, cache_write_cost, output_cost, tool_cost, reported_cost, price_id, status_code, error_type, error_message, true) AS m
  FROM log GROUP BY bucket, key;
SELECT count(*), count(*) FILTER (WHERE b.m = m.m) AS same, count(*) FILTER (WHERE b.m <> m.m) AS other
  FROM by_key b JOIN (SELECT key, merge(m ORDER BY bucket DESC) AS m FROM by_bucket GROUP BY key) AS m USING (key);
SELECT count(*) AS differing FROM
       (SELECT key, merge(m ORDER BY hashint4(bucket)) AS m FROM by_bucket GROUP BY key) AS a
  JOIN (SELECT key, merge(m ORDER BY m::text) AS m FROM by_bucket GROUP BY key) AS b USING (key) WHERE a.m <> b.m;
-- in parallel: Partial and Finalize
CREATE FUNCTION plan_of(query text) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE line text;
BEGIN
    FOR line IN EXECUTE 'EXPLAIN (COSTS OFF) ' || query LOOP
        IF line ~ 'Aggregate|Gather' THEN RETURN NEXT trim(line, ' ->'); END IF;
    END LOOP;
END $$;
CREATE VIEW overall AS
SELECT measures(response_time_us, ttft_us, input_tokens, cache_read_tokens, cache_write_tokens, cache_write_1h_tokens, output_tokens, reasoning_tokens,
       input_cost, cache_read_cost, cache_write_cost, output_cost, tool_cost, reported_cost, price_id, status_code, error_type, error_message, true) AS m FROM log;
CREATE VIEW cells_overall AS SELECT cells(key, m) AS c FROM by_bucket;
CREATE VIEW cells_few AS SELECT cells(key, m) AS f FROM by_bucket WHERE bucket < 3;
CREATE TABLE rollup AS SELECT bucket, cells(key, m) AS c FROM by_bucket GROUP BY bucket;
CREATE VIEW grouped AS SELECT merge_groups(c, '{1,1,2,2,NULL,3}') AS g FROM rollup;
CREATE TABLE serial AS SELECT m, c, f, g FROM overall, cells_overall, cells_few, grouped;
SET parallel_setup_cost = 0;
SET parallel_tuple_cost = 0;
SET min_parallel_table_scan_size = 0;
SET max_parallel_workers_per_gather = 2;
SELECT plan_of('SELECT m FROM overall');
SELECT plan_of('SELECT merge(m) FROM by_bucket');
SELECT plan_of('SELECT c FROM cells_overall');
SELECT plan_of('SELECT g FROM grouped');
SELECT o.m = s.m AS measures, (SELECT merge(m) FROM by_bucket) = s.m AS merge, c.c = s.c AS cells, (SELECT merge(c) FROM rollup) = s.c AS merged, f.f = s.f AS few, g.g = s.g AS groups
  FROM overall o, cells_overall c, cells_few f, grouped g, serial s;
RESET ALL;
SET search_path = ccproxy, public;

-- without detail: everything but histogram and ttft; it stays lost
CREATE TABLE plain AS
SELECT key, measures(response_time_us, ttft_us, input_tokens, cache_read_tokens, cache_write_tokens, cache_write_1h_tokens, output_tokens, reasoning_tokens,
       input_cost, cache_read_cost, cache_write_cost, output_cost, tool_cost, reported_cost, price_id, status_code, error_type, error_message, false) AS m
  FROM log GROUP BY key;
SELECT count(*) FILTER (WHERE (p.x).n_ttft = e.n_ttft AND (p.x).sum_ttft_us = e.sum_ttft_us AND (p.x).total_cost = e.total_cost AND (p.x).response_time = e.response_time) AS same,
       count(*) FILTER (WHERE (p.x).response_time_buckets IS NULL AND (p.x).ttft IS NULL) AS without
  FROM (SELECT key, expand(m) AS x FROM plain) p JOIN expected e USING (key);
SELECT (expand(merge(m))).response_time_buckets, (expand(merge(m))).requests FROM (SELECT m FROM plain WHERE key = 1 UNION ALL SELECT m FROM by_key WHERE key = 2) AS u;

-- text and binary forms round-trip
SELECT count(*) AS wrong FROM (SELECT m FROM by_key UNION ALL SELECT m FROM plain UNION ALL SELECT m FROM by_bucket) AS u WHERE m::text::measures <> m;
\getenv abs_builddir PG_ABS_BUILDDIR
\set file :abs_builddir '/results/cells.data'
CREATE TABLE copied (m measures, c cells);
COPY (SELECT m, (SELECT cells(u.key, u.m) FROM by_key u WHERE u.key >= b.key) FROM by_key b ORDER BY key) TO :'file' (FORMAT binary);
COPY copied FROM :'file' (FORMAT binary);
SELECT count(*), count(*) FILTER (WHERE c.m = b.m) AS same, sum(cell_count(c)) FROM by_key b JOIN copied c ON (expand(c.m)).requests = (expand(b.m)).requests AND c.m = b.m;
-- bytes that are none: a copy of bytea comes in through the receive function
CREATE TABLE raw (i serial, b bytea);
CREATE TABLE refused (m measures);
CREATE FUNCTION receive(b bytea, type regtype, file text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE got text;
BEGIN
    TRUNCATE raw; TRUNCATE refused;
    EXECUTE format('ALTER TABLE refused ALTER m TYPE %s USING NULL', type);
    INSERT INTO raw (b) VALUES (receive.b);
    EXECUTE format('COPY raw (b) TO %L (FORMAT binary)', file);
    EXECUTE format('COPY refused FROM %L (FORMAT binary)', file);
    EXECUTE 'SELECT m::text FROM refused' INTO got;
    RETURN got;
EXCEPTION WHEN OTHERS THEN
    RETURN sqlstate;
END $$;
SELECT receive(measures_send('{"requests": 2, "failed": 1}'), 'measures', :'file'), receive(cells_send('{"7": {"requests": 2}}'), 'cells', :'file');
SELECT t, receive(b, t, :'file') FROM (VALUES ('measures'::regtype, ''::bytea), ('measures', '\x00'), ('measures', '\x300000'), ('measures', '\x3000000000000000000000'),
    ('cells', ''), ('cells', '\x01'), ('cells', '\x0101'), ('cells', '\x0200'), ('cells', '\x010000')) AS v(t, b);
-- one byte changed or lost: refused, or something that is again consistent
CREATE TEMP TABLE tampered AS
SELECT receive(set_byte(b, i, (get_byte(b, i) + d) % 256), 'measures', :'file') AS got
  FROM (SELECT measures_send(m) AS b FROM by_bucket WHERE bucket = 3 AND key = 4) x, generate_series(0, length(b) - 1) i, unnest(ARRAY[1, 128, 255]) d
UNION ALL SELECT receive(substr(b, 1, i), 'measures', :'file') FROM (SELECT measures_send(m) AS b FROM by_bucket WHERE bucket = 3 AND key = 4) x, generate_series(0, length(b) - 1) i;
SELECT count(*) > 300 AS many, count(*) FILTER (WHERE got = '22P03') > 200 AS refused, count(*) FILTER (WHERE got <> '22P03' AND got::measures::text <> got) AS wrong
  FROM (SELECT got FROM tampered WHERE got LIKE '{%' OR got = '22P03') x WHERE got = '22P03' OR got LIKE '{%';
SELECT DISTINCT got FROM tampered WHERE got NOT LIKE '{%' AND got <> '22P03';

-- text: what is written, what is refused
SELECT '{}'::measures, '{"detail": false}'::measures;
SELECT ' { "priced":2,"requests" : 3, "input_tokens": -5, "ttft": {"count": 0} , "detail": true}'::measures;
SELECT '{"requests": 1, "sum_response_time_us": 0, "response_time": {"count": 1, "min_us": 0, "max_us": 0, "zero": 1}, "response_time_buckets": [1,1,1,1,1,1,1,1,1,1,1,1,1]}'::measures;
SELECT '{"requests": 9223372036854775807, "input_tokens": 85070591730234615865843651857942052864}'::measures;
CREATE FUNCTION refuse(text, regtype DEFAULT 'measures') RETURNS text LANGUAGE plpgsql AS $$
DECLARE detail text;
BEGIN
    EXECUTE format('SELECT %L::%s', $1, $2);
    RETURN 'accepted';
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL;
    RETURN sqlstate || ' ' || detail;
END $$;
SELECT t, refuse(t) FROM unnest(ARRAY['', '{', '[]', '{} x', '{"requests": 1,}', '{"requests": 1, "requests": 1}', '{"request": 1}', '{"requests": -1}', '{"requests": 1.5}', '{"requests": 01}',
    '{"requests": 9223372036854775808}', '{"requests": 1, "input_tokens": 85070591730234615865843651857942052865}', '{"failed": 1}', '{"requests": 1, "failed": 1, "in_flight": 1}',
    '{"requests": 1, "priced": 1, "unpriced": 1}', '{"input_tokens": 5}', '{"requests": 1, "input_cost_pico": 5}', '{"requests": 1, "reported_cost_pico": 5}', '{"detail": 1}',
    '{"requests": 1, "sum_ttft_us": 5}', '{"requests": 1, "response_time": {"count": 1}}', '{"requests": 1, "response_time": {}}',
    '{"requests": 1, "response_time": {"count": 1, "min_us": 1, "max_us": 1, "positive": [[-638, 1]]}}',
    '{"requests": 1, "response_time": {"count": 1, "min_us": 1, "max_us": 1, "positive": [[-638, 1]]}, "response_time_buckets": [1,1,1,1,1,1,1,1,1,1,1,1,1]}',
    '{"requests": 1, "sum_response_time_us": 1, "response_time": {"count": 1, "min_us": 1, "max_us": 1, "positive": [[-637, 1]]}, "response_time_buckets": [1,1,1,1,1,1,1,1,1,1,1,1,1]}',
    '{"requests": 1, "sum_response_time_us": 1, "response_time": {"count": 1, "min_us": 1, "max_us": 1, "positive": [[-638, 2]]}, "response_time_buckets": [1,1,1,1,1,1,1,1,1,1,1,1,1]}',
    '{"requests": 1, "sum_response_time_us": 1, "response_time": {"count": 1, "min_us": 1, "max_us": 1, "positive": [[-638, 1]]}, "response_time_buckets": [0,1,1,1,1,1,1,1,1,1,1,1,1]}',
    '{"requests": 1, "sum_response_time_us": 10001, "response_time": {"count": 1, "min_us": 10001, "max_us": 10001, "positive": [[212, 1]]}, "response_time_buckets": [1,1,1,1,1,1,1,1,1,1,1,1,1]}',
    '{"requests": 1, "sum_response_time_us": 1, "response_time": {"count": 1, "min_us": 1, "max_us": 1, "positive": [[-638, 1]]}, "response_time_buckets": [1,1,1,1,1,1,1,1,1,1,1,1]}',
    '{"requests": 1, "detail": false, "ttft": {"count": 1, "min_us": 1, "max_us": 1}}', '{"requests": 1, "detail": false, "response_time_buckets": [0,0,0,0,0,0,0,0,0,0,0,0,0]}',
    '{"requests": 1, "detail": false, "ttft": {"count": 1, "positive": [[1, 1]]}}', '{"requests": 2, "ttft": {"count": 2, "min_us": 1, "max_us": 2, "positive": [[9999, 1]]}}']) AS t;
SELECT t, refuse(t, 'cells') FROM unnest(ARRAY['', '{"1": {}', '{"1": {}, "1": {}}', '{"2": {}, "1": {}}', '{"-1": {}}', '{"2147483648": {}}', '{"x": {}}', '{1: {}}', '{"1": {"requests": -1}}', '{"2147483647": {}}', '{}']) AS t;

-- nothing gives NULL; NULLs change nothing
SELECT m IS NULL AS measures FROM (SELECT measures(NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, true) AS m WHERE false) x;
SELECT merge(NULL::measures) IS NULL, merge(NULL::cells) IS NULL, cells(1, NULL) IS NULL, merge_groups(NULL, '{1}') IS NULL, expand(NULL) IS NULL, cell_count(NULL) IS NULL;
SELECT measures(NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
SELECT measures_combine(NULL, m) = m AS a, measures_combine(m, NULL) = m AS b, measures_combine(NULL, NULL) IS NULL AS c, expand(measures_combine(m, m)) IS NOT NULL AS d FROM by_key WHERE key = 0;
SELECT (expand(measures_combine(m, m))).requests = 2 * (expand(m)).requests AS doubled FROM by_key WHERE key = 0;
SELECT cells_combine(NULL, '{"1": {}}'), cells_combine('{"1": {"requests": 2}}', '{"0": {}, "1": {"requests": 3}}'), cells_combine('{"1": {}}', NULL), cells_add(NULL, 3, '{"requests": 1}');
SELECT measures_add(NULL, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 200::smallint, NULL, NULL, true);
SELECT measures(1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 200::smallint, NULL, NULL, i = 1) FROM generate_series(1, 2) AS i;
SELECT cells(NULL, '{}'), 1;
SELECT cells(-1, '{}');
-- extremes: beyond bigint, negative, zero
SELECT (e).sum_response_time_us, (e).input_tokens, (e).input_cost, (e).total_cost, (e).response_time_buckets, min((e).response_time), max((e).response_time) FROM
  (SELECT expand(measures(v, v, v, v, v, v, v, v, v, v, v, v, v, v, 1, 200::smallint, NULL, NULL, true)) AS e FROM unnest(ARRAY[9223372036854775807, 9223372036854775807, 0, 10000, 10001]) AS v) x;
SELECT (e).sum_response_time_us, (e).input_tokens, (e).input_cost, (e).total_cost, (e).response_time_buckets, min((e).response_time), max((e).response_time), (e).response_time = s AS same FROM
  (SELECT expand(measures(v, v, v, v, v, v, v, v, v, v, v, v, v, v, 1, 200::smallint, NULL, NULL, true)) AS e, sketch(v / 1000.0) AS s FROM unnest(ARRAY[-9223372036854775808, -9223372036854775808, -5000, -1, 0, 0, 3]) AS v) x;
SELECT merge(m) FROM (SELECT '{"requests": 9223372036854775807}'::measures AS m FROM generate_series(1, 2)) AS x;
SELECT merge(m) FROM (SELECT '{"requests": 1, "input_tokens": 85070591730234615865843651857942052864}'::measures AS m FROM generate_series(1, 2)) AS x;

-- cells: packing, merging in any order, unpacking
SELECT count(*), sum(cell_count(c)), (SELECT count(*) FROM by_bucket) AS cells FROM rollup;
SELECT count(*) AS differing FROM (SELECT bucket, (unpack(c)).* FROM rollup) AS u FULL JOIN by_bucket b USING (bucket, key) WHERE u.m <> b.m OR u.m IS NULL OR b.m IS NULL;
SELECT count(*) AS differing FROM (SELECT (unpack(merge(c))).* FROM rollup) AS u FULL JOIN by_key b USING (key) WHERE u.m <> b.m OR u.m IS NULL OR b.m IS NULL;
SELECT count(*) FROM (SELECT merge(c ORDER BY bucket) AS c FROM rollup) a, (SELECT merge(c ORDER BY hashint4(bucket)) AS c FROM rollup) b, (SELECT merge(c) AS c FROM (SELECT merge(c) AS c FROM rollup GROUP BY bucket % 7) x) d,
       (SELECT cells(key, m) AS c FROM by_bucket) e, (SELECT cells(key, m ORDER BY key DESC) AS c FROM by_key) f WHERE a.c = b.c AND b.c = d.c AND d.c = e.c AND e.c = f.c AND NOT a.c <> f.c;
SELECT count(*) AS differing FROM rollup WHERE c::text::cells <> c;
SELECT bucket, array_agg(key) FROM rollup, LATERAL unpack(c, ARRAY[19, NULL, 3, 3, -1, 2000000000]) WHERE bucket < 2 GROUP BY bucket ORDER BY 1;
SELECT count(*) FROM rollup, LATERAL unpack(c, '{}');
SELECT count(*) FROM unpack(NULL);
SELECT key, count(*) FROM (SELECT (unpack(c, '{5,6}')).key FROM rollup) x GROUP BY key ORDER BY key;
-- a window's frames give each its own cells
SELECT bucket, cell_count(merge(c) OVER (ORDER BY bucket)), (merge(c) OVER (ORDER BY bucket)) = (SELECT merge(c) FROM rollup r WHERE r.bucket <= x.bucket) AS same FROM rollup x ORDER BY bucket LIMIT 3;
-- sparse keys, single cells
SELECT cells(key, '{"requests": 1}') FROM unnest(ARRAY[2147483647, 0, 100000, 5, 100000]) AS key;
SELECT merge('{"0": {}, "3": {"requests": 1}}'::cells);

-- groups
SELECT count(*) AS differing FROM
  (SELECT (unpack(merge_groups(c, (SELECT array_agg(CASE WHEN k % 5 = 4 THEN NULL WHEN k % 5 = 3 THEN 0 ELSE k % 5 + 7 END ORDER BY k) FROM generate_series(1, 15) AS k)))).* FROM rollup) AS g
  FULL JOIN (SELECT key % 5 + 7 AS key, merge(m) AS m FROM by_key WHERE key BETWEEN 1 AND 15 AND key % 5 < 3 GROUP BY 1) AS b USING (key) WHERE g.m <> b.m OR g.m IS NULL OR b.m IS NULL;
SELECT merge_groups(c, '[0:1]={4,4}') = (SELECT cells(4, m) FROM by_key WHERE key IN (0, 1)) AS lower_bound, merge_groups(c, '{}') AS none, merge_groups(c, '{NULL,0}') AS nobody FROM rollup;
SELECT merge_groups(c, '{1,-2}') FROM rollup;
SELECT merge_groups(c, NULL) FROM rollup;
SELECT merge_groups(c, '{{1,2},{3,4}}') FROM rollup;
SELECT count(*) FILTER (WHERE m = (SELECT merge(m) FROM by_key WHERE key > 0)) AS all_in_one FROM (SELECT (unpack(merge_groups(c, array_fill(1, '{30}')))).* FROM rollup) x;

-- large values: stored outside, compressed or not, sliced and merged; more than is gathered at once
CREATE TABLE big (c cells);
ALTER TABLE big ALTER c SET STORAGE external;
INSERT INTO big SELECT cells(k, m) FROM by_bucket b, generate_series(1, 40) AS r, LATERAL (SELECT r * 1000 + b.bucket * 20 + b.key AS k) x;
INSERT INTO big SELECT c FROM big, generate_series(1, 29);
SELECT cell_count(c), count(*), min(pg_column_size(c)) > 1000000 AS large FROM big GROUP BY 1;
SELECT cell_count(merge(c)) AS cells, cell_count(merge_groups(c, array_fill(3, '{50000}'))) AS groups, sum(cell_count(c)) > 1048576 AS merged_on_the_way FROM big;
SELECT (SELECT count(*) FROM big, LATERAL unpack(c, '{1500}') u JOIN by_bucket b ON u.m = b.m AND b.bucket = 25 AND b.key = 0) AS same;
SELECT count(*) AS compared, count(*) FILTER (WHERE (expand(u.m)).requests = 30 * (expand(b.m)).requests) AS same
  FROM (SELECT merge(c) AS c FROM big) x, LATERAL unpack(c, (SELECT array_agg(k) FROM generate_series(1000, 41000, 997) AS k)) u
  JOIN by_bucket b ON b.bucket = u.key % 1000 / 20 AND b.key = u.key % 20;
DROP EXTENSION ccproxy_metrics CASCADE;
