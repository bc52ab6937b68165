-- The aggregates of ccproxy.sketch in parallel plans: same sketch, however the
-- rows are split.
SET client_min_messages = warning;
CREATE EXTENSION ccproxy_metrics;
RESET client_min_messages;
SET search_path = ccproxy, public;
CREATE TABLE latency AS SELECT i, i % 5 AS model, i % 3000 AS usr, (exp(6 + 1.5 * sin(i * 12.9898) * cos(i * 78.233)) * CASE WHEN i % 1000 = 0 THEN -1 ELSE 1 END)::float8 AS ms FROM generate_series(1, 60000) i;
CREATE TABLE hourly AS SELECT i % 2000 AS h, sketch(ms) AS s FROM latency GROUP BY 1;
ANALYZE latency;
ANALYZE hourly;
SET max_parallel_workers_per_gather = 0;
CREATE TABLE serial AS SELECT sketch(ms) AS s, p95(ms) AS p95 FROM latency;
CREATE TABLE serial_by_model AS SELECT model, sketch(ms) AS s FROM latency GROUP BY model;
CREATE TABLE serial_by_user AS SELECT usr, sketch(ms) AS s FROM latency GROUP BY usr;
SET parallel_setup_cost = 0;
SET parallel_tuple_cost = 0;
SET min_parallel_table_scan_size = 0;
SET max_parallel_workers_per_gather = 2;
EXPLAIN (COSTS OFF) SELECT p95(ms) FROM latency;
EXPLAIN (COSTS OFF) SELECT model, p50(ms), p99(ms), sketch(ms) FROM latency GROUP BY model;
EXPLAIN (COSTS OFF) SELECT quantile(merge(s), 0.95) FROM hourly;
-- for any number of workers, with and without the leader
SELECT sketch(ms) = (SELECT s FROM serial) AS equal, p95(ms) = (SELECT p95 FROM serial) AS p95 FROM latency;
SELECT abs(sum(sketch(ms)) / (SELECT sum(s) FROM serial) - 1) < 1e-12 AS sum FROM latency;
SELECT merge(s) = (SELECT s FROM serial) AS merged FROM hourly;
SET max_parallel_workers_per_gather = 1;
SELECT sketch(ms) = (SELECT s FROM serial) AS equal FROM latency;
SET max_parallel_workers_per_gather = 4;
SET parallel_leader_participation = off;
SELECT sketch(ms) = (SELECT s FROM serial) AS equal FROM latency;
SELECT merge(s) = (SELECT s FROM serial) AS merged FROM hourly;
SELECT count(*) AS models FROM (SELECT model, sketch(ms) AS s FROM latency GROUP BY model) p JOIN serial_by_model q USING (model) WHERE p.s = q.s;
-- small groups travel as lists
SET enable_sort = off;
SELECT count(*) AS users FROM (SELECT usr, sketch(ms) AS s FROM latency GROUP BY usr) p JOIN serial_by_user q USING (usr) WHERE p.s = q.s;
-- workers without a row give NULL to be combined
SELECT sketch(ms) IS NULL AS nothing, p95(ms) IS NULL AS no_p95 FROM latency WHERE ms > 1e300;
SELECT count(sketch(ms)) AS one FROM latency WHERE i = 31337;
