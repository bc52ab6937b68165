-- A proxy's month as raw rows, :rows of them over the last 30 days. For the
-- measurements of what reads it.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS ccproxy_metrics;
SELECT ccproxy.create_metrics_table();
SELECT ccproxy.ensure_partitions(now() - interval '30 days', now());
SELECT setseed(0.5);
SET synchronous_commit = off;
\set first 1
\set last '(' :rows ' - 1)'
\set at '(now() - interval \'30 days\' + (i / ' :rows '.0) * interval \'30 days\')'
\ir rows.sql
VACUUM ANALYZE ccproxy.request_log;
INSERT INTO ccproxy.dirty_minute (minute)
SELECT generate_series(ccproxy._bucket('m', now() - interval '30 days'), now(), interval '1 minute');
