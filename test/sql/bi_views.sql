-- A condition on ts narrows what the BI views read to the buckets of that time:
-- it reaches the index of the rollups, and of what is open or dirty only the
-- pieces of that time are read.
\getenv abs_srcdir PG_ABS_SRCDIR
\set include :abs_srcdir '/sql/include/metrics_table.psql'
\i :include
SET timezone = 'UTC';
SELECT date_trunc('day', now()) - interval '70 days' AS d0 \gset
-- four requests a day for sixty days; then a minute of the day 45 is dirty
SELECT accepted FROM ccproxy.ingest((
    SELECT jsonb_agg(jsonb_build_object('request_id', 'v' || i, 'timestamp', :'d0'::timestamptz + i * interval '6 hours' + interval '1 minute',
           'model', 'gpt-4', 'user_id', 'u', 'endpoint_type', 'openai', 'status_code', CASE WHEN i % 4 = 0 THEN 500 ELSE 200 END, 'response_time_ms', i, 'input_tokens', 1))
      FROM generate_series(0, 239) AS i));
DO $$ BEGIN LOOP EXIT WHEN ccproxy.refresh(1440) = 0; END LOOP; END $$;
SELECT accepted FROM ccproxy.ingest(jsonb_build_array(jsonb_build_object('request_id', 'dirty', 'timestamp', :'d0'::timestamptz + interval '45 days 30 minutes', 'model', 'gpt-4', 'user_id', 'u', 'status_code', 200, 'input_tokens', 1)));

-- Rows that a query takes from the rollups' tables, looked at and left out ones included.
CREATE FUNCTION pg_temp.buckets_read(query text) RETURNS numeric LANGUAGE plpgsql AS $$
DECLARE
    plan json;
BEGIN
    EXECUTE 'EXPLAIN (ANALYZE, TIMING OFF, COSTS OFF, FORMAT JSON) ' || query INTO plan;
    RETURN (WITH RECURSIVE node AS (
                SELECT plan -> 0 -> 'Plan' AS n
                UNION ALL
                SELECT c FROM node CROSS JOIN LATERAL json_array_elements(node.n -> 'Plans') AS c
            )
            SELECT coalesce(sum(((n ->> 'Actual Rows')::numeric + coalesce((n ->> 'Rows Removed by Filter')::numeric, 0)
                                 + coalesce((n ->> 'Rows Removed by Index Recheck')::numeric, 0)) * (n ->> 'Actual Loops')::numeric), 0)
              FROM node WHERE n ->> 'Relation Name' IN ('rollup_service', 'rollup_user'));
END
$$;
-- tables this small are read as a whole where the planner may
SET enable_seqscan = off;
CREATE TEMP TABLE seen AS
SELECT v.view, c.condition, pg_temp.buckets_read(format('SELECT * FROM ccproxy.%I WHERE %s', v.view, replace(c.condition, '@', quote_literal(:'d0'::timestamptz + c.day * interval '1 day') || '::timestamptz'))) AS buckets
  FROM unnest(ARRAY['requests_by_minute', 'requests_by_hour', 'requests_by_day', 'usage_by_model', 'errors_by_type', 'usage_by_user']) AS v(view),
       (VALUES ('true', 0), ('ts >= @ AND ts < @ + interval ''1 day''', 30), ('ts BETWEEN @ AND @ + interval ''23 hours''', 31), ('ts = @', 32),
               ('ts >= @ AND ts < @ + interval ''1 day''', 45)) AS c(condition, day);
-- all of them: a bucket for each request, or for each day
SELECT view, buckets >= CASE WHEN view ~ 'minute|hour|errors' THEN 236 ELSE 59 END AS all_are_read FROM seen WHERE condition = 'true' ORDER BY 1;
-- of a day: four at most, and with a dirty minute in it the finer ones beside it
SELECT view, condition, max(buckets) <= 8 AS few FROM seen WHERE condition <> 'true' GROUP BY 1, 2 ORDER BY 1, 2;
-- whatever the planner knows
ANALYZE ccproxy.rollup_service, ccproxy.rollup_user;
SELECT v.view, pg_temp.buckets_read(format('SELECT * FROM ccproxy.%I WHERE ts >= %L AND ts < %L', v.view, :'d0'::timestamptz + interval '30 days', :'d0'::timestamptz + interval '31 days')) <= 8 AS few
  FROM unnest(ARRAY['requests_by_minute', 'requests_by_hour', 'requests_by_day', 'usage_by_model', 'errors_by_type', 'usage_by_user']) AS v(view) ORDER BY 1;
