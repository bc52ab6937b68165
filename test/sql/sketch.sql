-- ccproxy.sketch: the type, what reads it, what builds it.
SET client_min_messages = warning;
CREATE EXTENSION ccproxy_metrics;
RESET client_min_messages;
SET search_path = ccproxy, public;

-- every object is documented
SELECT p.proname FROM pg_proc p WHERE p.pronamespace = 'ccproxy'::regnamespace AND p.prosrc LIKE 'ccproxy_sketch%' AND obj_description(p.oid, 'pg_proc') IS NULL;
SELECT a.aggfnoid FROM pg_aggregate a JOIN pg_proc p ON p.oid = a.aggfnoid WHERE p.pronamespace = 'ccproxy'::regnamespace AND obj_description(p.oid, 'pg_proc') IS NULL;
-- its aggregates run in parallel, combine, and have no internal state
SELECT aggfnoid::regprocedure, aggtranstype::regtype, aggtransfn, aggcombinefn, aggserialfn, p.proparallel, p.pronargs
  FROM pg_aggregate a JOIN pg_proc p ON p.oid = a.aggfnoid
 WHERE aggtranstype = 'ccproxy.sketch'::regtype ORDER BY 1;

-- text
CREATE VIEW five AS SELECT sketch(x) AS s FROM unnest('{1,2,3,4,5}'::float8[]) x;
SELECT * FROM five;
SELECT sketch(x) FROM unnest('{-5,0,0,1e-300,3.5,-0}'::float8[]) x;
SELECT s::text::sketch = s AS same, s::text::sketch::text = s::text AS stable, s::text::jsonb->'count' AS json FROM five;
SELECT '{"count": 0, "scale": 6}'::sketch;
SELECT '{"scale": 6, "count": 1, "sum": 1, "min": 1, "max": 1, "positive": [[-1, 1]]}'::sketch = sketch(1::float8);
SELECT '{"scale": 6, "count": 1, "sum": 1, "min": 1, "max": 1, "positive": [[0, 1]]}'::sketch;
SELECT '{"scale": 6, "count": 2, "sum": 9, "min": 1, "max": 2, "positive": [[-1, 1], [63, 1]]}'::sketch;
SELECT '{"scale": 5, "count": 0}'::sketch;
SELECT 'sketch'::sketch;
SELECT ''::sketch;

-- binary: out by COPY, back in the same; damaged bytes are refused
SELECT encode(sketch_send(s), 'hex') FROM five;
SELECT encode(sketch_send(sketch(7::float8)), 'hex'), encode(sketch_send('{"scale": 6, "count": 0}'), 'hex');
CREATE TABLE kept (id int, s sketch);
INSERT INTO kept SELECT g, sketch(exp(sin(i) * g)) FROM generate_series(1, 20) g, generate_series(1, g * g) i GROUP BY g;
INSERT INTO kept SELECT 21, s FROM five UNION ALL SELECT 22, '{"scale": 6, "count": 0}' UNION ALL SELECT 23, NULL;
INSERT INTO kept SELECT 24, sketch(x) FROM unnest('{-1e300,-1,-1e-310,0,5e-324,1,1e300}'::float8[]) x;
\getenv abs_builddir PG_ABS_BUILDDIR
\set file :abs_builddir '/results/sketch.copy'
COPY kept TO :'file' WITH (FORMAT binary);
CREATE TABLE copied (LIKE kept);
COPY copied FROM :'file' WITH (FORMAT binary);
SELECT count(*), bool_and(k.s IS NOT DISTINCT FROM c.s) AS same, bool_and(k.s::text IS NOT DISTINCT FROM c.s::text) AS same_text FROM kept k JOIN copied c USING (id);
CREATE TABLE bytes (id int, b bytea);
INSERT INTO bytes SELECT 1, set_byte(sketch_send(s), 0, 255) FROM five;
COPY bytes TO :'file' WITH (FORMAT binary);
COPY copied FROM :'file' WITH (FORMAT binary);
UPDATE bytes SET b = (SELECT set_byte(sketch_send(s), 1, 6) FROM five);
COPY bytes TO :'file' WITH (FORMAT binary);
COPY copied FROM :'file' WITH (FORMAT binary);
UPDATE bytes SET b = (SELECT sketch_send(s) || '\x00'::bytea FROM five);
COPY bytes TO :'file' WITH (FORMAT binary);
COPY copied FROM :'file' WITH (FORMAT binary);

-- reading
SELECT count(s), sum(s), min(s), max(s), mean(s) FROM five;
SELECT q, quantile(s, q) FROM five, unnest('{0,0.2,0.5,0.8,1}'::float8[]) q;
SELECT quantiles(s, '{0,0.5,NULL,1}'), quantiles(s, '{}'), quantiles(s, '{{0,0.2},{0.8,1}}') FROM five;
SELECT quantiles(s, NULL), quantile(s, NULL), cdf(s, NULL) FROM five;
SELECT x, cdf(s, x) FROM five, unnest('{-Infinity,0.99,1,2,3.9,4,4.5,5,Infinity}'::float8[]) x;
SELECT count(e), sum(e), min(e), max(e), mean(e), quantile(e, 0.5), cdf(e, 1), quantiles(e, '{0.5,NULL}') FROM (SELECT '{"scale": 6, "count": 0}'::sketch) v(e);
SELECT quantile(s, 1.01) FROM five;
SELECT quantile(s, -0.01) FROM five;
SELECT quantile(s, 'NaN') FROM five;
SELECT quantiles(s, '{0.5,2}') FROM five;
SELECT cdf(s, 'NaN') FROM five;
-- one value in all: never outside [min, max]
SELECT p50(x), p90(x), p95(x), p99(x) FROM (SELECT 123.456::float8 FROM generate_series(1, 1000)) v(x);
SELECT quantile(s, 0.5), mean(s), sum(s) FROM (SELECT sketch(x) FROM unnest('{1.7e308,1.7e308,1.7e308}'::float8[]) x) v(s);

-- buckets: the edges are OpenTelemetry's, upper ends belong
SELECT * FROM buckets((SELECT sketch(x) FROM unnest('{-2,-2,0,1,1,1.000001,2,1e-310,1.7976931348623157e308}'::float8[]) x));
SELECT count(*) FROM buckets('{"scale": 6, "count": 0}');
SELECT count(*) FROM kept WHERE count(s) <> (SELECT coalesce(pg_catalog.sum(count), 0) FROM buckets(s));
SELECT (otel_histogram(s)).* FROM (SELECT sketch(x) FROM unnest('{-2,0,0,1,1.01,1.03}'::float8[]) x) v(s);
SELECT (otel_histogram('{"scale": 6, "count": 0}')).*;
SELECT id, o."offset" + array_length(o.counts, 1) > o."offset", (SELECT pg_catalog.sum(c) FROM unnest(o.counts) c) + o.zero_count + coalesce((SELECT pg_catalog.sum(c) FROM unnest(o.negative_counts) c), 0) = o.count AS whole
  FROM kept, otel_histogram(s) o WHERE id IN (1, 5, 20, 21, 24) ORDER BY 1;

-- merging
SELECT s + s, count(s + s), quantile(s + s, 0.5), s + NULL FROM five;
SELECT (SELECT merge(s) FROM kept) = (SELECT merge(s) FROM (SELECT s FROM kept ORDER BY id DESC) v(s)) AS any_order;
SELECT merge(s) = (SELECT sketch(exp(sin(i) * g)) FROM generate_series(1, 20) g, generate_series(1, g * g) i) AS whole FROM kept WHERE id <= 20;
SELECT merge(s) FROM kept WHERE id > 22 AND s IS NULL;
SELECT merge(s) = (SELECT s FROM five) AS alone FROM kept WHERE id IN (21, 23);
SELECT merge(s) = (SELECT s FROM five) AS with_empty FROM kept WHERE id IN (21, 22);
SELECT merge(s) FROM kept WHERE id = 22;
-- NULL is the sketch of nothing
SELECT sketch_combine(NULL, NULL), sketch_combine(s, NULL) = s AS left, sketch_combine(NULL, s) = s AS right, sketch_combine(s, s) = s + s AS both FROM five;
SELECT sketch_add(NULL, NULL), sketch_add(NULL, 1), sketch_add(s, NULL) = s AS same, sketch_add(s, 6) = s + sketch_add(NULL, 6) AS one_more FROM five;
-- a call outside an aggregate changes nothing in place
SELECT sketch_add(s, 6) IS NOT NULL, sketch_add(s, 7) IS NOT NULL, count(s) FROM kept WHERE id = 21;
SELECT '{"scale": 6, "count": 9223372036854775807, "sum": 9223372036854775807, "min": 1, "max": 1, "positive": [[-1, 9223372036854775807]]}'::sketch + s FROM five;

-- equality leaves the sum alone; hashing goes with it
SELECT a = b AS equal, a <> b AS unequal, sum(a) = sum(b) AS same_sum, hashtextextended('', 0) IS NOT NULL, sketch_hash(a) = sketch_hash(b) AS same_hash, sketch_hash_extended(a, 5) = sketch_hash_extended(b, 5) AS same_seeded
  FROM (SELECT '{"scale": 6, "count": 2, "sum": 3, "min": 1, "max": 2, "positive": [[-1, 1], [63, 1]]}'::sketch, '{"scale": 6, "count": 2, "sum": 3.0000000001, "min": 1, "max": 2, "positive": [[-1, 1], [63, 1]]}'::sketch) v(a, b);
SELECT count(*) FROM (SELECT DISTINCT s FROM (SELECT s FROM kept UNION ALL SELECT s FROM kept) u) d;
SELECT count(*) FROM kept a JOIN kept b ON a.s = b.s;
SELECT s FROM kept ORDER BY s;

-- aggregates: NULL is left out, nothing gives NULL, NaN and infinities are refused
SELECT sketch(x), p50(x), p95(x) FROM (SELECT NULL::float8 WHERE false) v(x);
SELECT sketch(x), p50(x), p95(x) FROM (SELECT NULL::float8) v(x);
SELECT count(sketch(x)), p99(x) FROM unnest('{NULL,1,NULL,2,NULL}'::float8[]) x;
SELECT p95(x) FROM unnest('{1,NaN}'::float8[]) x;
SELECT sketch(x) FROM unnest('{Infinity}'::float8[]) x;
SELECT p50(x) FROM unnest('{1,-Infinity}'::float8[]) x;
SELECT p50(x) FILTER (WHERE x < 'Infinity') FROM unnest('{1,2,3,NaN,Infinity}'::float8[]) x;
-- integers and numerics come as float8
SELECT p50(i), p90(i::numeric), p99(i::real) FROM generate_series(1, 9) i;
-- with DISTINCT and ORDER BY
SELECT p50(DISTINCT x), p50(x ORDER BY x DESC) FROM unnest('{1,1,1,1,7,7,9}'::float8[]) x;

-- within 0.55 % of percentile_disc, for many values and fractions
CREATE TABLE latency AS SELECT i, i % 7 AS model, exp(6 + 1.5 * sin(i * 12.9898) * cos(i * 78.233))::float8 AS ms FROM generate_series(1, 30000) i;
SELECT model, abs(p50(ms) / percentile_disc(0.5) WITHIN GROUP (ORDER BY ms) - 1) <= 0.0055 AS p50, abs(p90(ms) / percentile_disc(0.9) WITHIN GROUP (ORDER BY ms) - 1) <= 0.0055 AS p90,
       abs(p95(ms) / percentile_disc(0.95) WITHIN GROUP (ORDER BY ms) - 1) <= 0.0055 AS p95, abs(p99(ms) / percentile_disc(0.99) WITHIN GROUP (ORDER BY ms) - 1) <= 0.0055 AS p99,
       quantile(sketch(ms), 0) = min(ms) AS p0, quantile(sketch(ms), 1) = max(ms) AS p100, abs(sum(sketch(ms)) / sum(ms) - 1) < 1e-12 AS sum, abs(mean(sketch(ms)) / avg(ms) - 1) < 1e-12 AS mean
  FROM latency GROUP BY model ORDER BY model;
-- p50, p95 and sketch share one state
SELECT p50(ms) = quantile(sketch(ms), 0.5) AS p50, p95(ms) = quantile(sketch(ms), 0.95) AS p95 FROM latency;

-- size as stored, with default settings
CREATE TABLE sizes (n int, s sketch);
SELECT setseed(0.5);
INSERT INTO sizes SELECT n, sketch(exp(6 + sqrt(-2 * ln(1 - random())) * cos(2 * pi() * random()))) FROM unnest('{10,50,10000}'::int[]) n, generate_series(1, n) GROUP BY n;
SELECT n, pg_column_size(s) <= CASE n WHEN 10 THEN 64 WHEN 50 THEN 96 ELSE 1024 END AS small, pg_column_compression(s) AS compression FROM sizes ORDER BY n;

-- 100,000 groups, hashed and sorted
CREATE TABLE groups AS SELECT i % 100000 AS g, (i / 100000 + 1)::float8 AS x FROM generate_series(0, 999999) i;
SET max_parallel_workers_per_gather = 0;
SET work_mem = '200MB';
SELECT count(*), min(p), max(p) FROM (SELECT g, p50(x) AS p, sketch(x) AS s FROM groups GROUP BY g) v;
SELECT count(*) FROM (SELECT DISTINCT s FROM (SELECT sketch(x) AS s FROM groups GROUP BY g) v) d;
SET work_mem = '1MB';
SET enable_hashagg = off;
SELECT count(*), min(p), max(p) FROM (SELECT g, p50(x) AS p FROM groups GROUP BY g) v;
RESET enable_hashagg;
-- and spilled
SET enable_sort = off;
SELECT count(*), min(p), max(p) FROM (SELECT g, p50(x) AS p FROM groups GROUP BY g) v;
RESET enable_sort;
RESET work_mem;

-- as a window aggregate: the running state is read again and again
SELECT i, p50(x) OVER w AS running, count(sketch(x) OVER w) AS n, p50(x) OVER (ORDER BY i ROWS BETWEEN 2 PRECEDING AND CURRENT ROW) AS last_three
  FROM (SELECT i, (i * 37 % 11)::float8 FROM generate_series(1, 12) i) v(i, x) WINDOW w AS (ORDER BY i);
SELECT count(*) FROM (SELECT p95(ms) OVER (ORDER BY i) = quantile(sketch(ms) OVER (ORDER BY i), 0.95) AS same, count(sketch(ms) OVER (ORDER BY i)) = i AS n FROM latency WHERE i <= 3000) v WHERE same AND n;

-- grouping sets; sketches of sketches in a materialised view
SELECT model, count(sketch(ms)) = count(*) AS n, sketch(ms) = (SELECT sketch(ms) FROM latency i WHERE o.model IS NULL OR i.model = o.model) AS equal
  FROM latency o GROUP BY ROLLUP (model) ORDER BY model;
CREATE MATERIALIZED VIEW by_model AS SELECT model, i % 24 AS hour, sketch(ms) AS latency FROM latency GROUP BY 1, 2;
CREATE UNIQUE INDEX ON by_model (model, hour);
REFRESH MATERIALIZED VIEW CONCURRENTLY by_model;
INSERT INTO latency SELECT i, 1, 500 FROM generate_series(30001, 31000) i;
REFRESH MATERIALIZED VIEW CONCURRENTLY by_model;
SELECT b.model, b.s = l.s AS equal FROM (SELECT model, merge(latency) FROM by_model GROUP BY model) b(model, s) JOIN (SELECT model, sketch(ms) FROM latency GROUP BY model) l(model, s) USING (model) ORDER BY 1;
SELECT merge(latency) = (SELECT sketch(ms) FROM latency) AS equal FROM by_model;

-- an aggregate of the user's own without a final function stores states: still a sketch
CREATE AGGREGATE raw_sketch(double precision) (SFUNC = sketch_add, STYPE = sketch, COMBINEFUNC = sketch_combine, PARALLEL = SAFE);
CREATE TABLE states AS SELECT n, raw_sketch(x) AS s, sketch(x) AS packed FROM unnest('{1,10,100,1000,5000}'::int[]) n, LATERAL (SELECT (i * 7919 % 10007)::float8 / 100 FROM generate_series(1, n) i) v(x) GROUP BY n;
SELECT n, s = packed AS equal, s::text = packed::text AS same_text, sketch_send(s) = sketch_send(packed) AS same_bytes, quantile(s, 0.9) = quantile(packed, 0.9) AS same_quantile, count(s + s) FROM states ORDER BY n;
SELECT merge(s) = merge(packed) AS equal FROM states;
CREATE AGGREGATE from_five(double precision) (SFUNC = sketch_add, STYPE = sketch,
    INITCOND = '{"scale": 6, "count": 2, "sum": 3, "min": 1, "max": 2, "positive": [[-1, 1], [63, 1]]}');
SELECT from_five(x) FROM unnest('{3,4}'::float8[]) x;
