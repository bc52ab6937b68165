-- What Prometheus is shown: label sets are admitted first come, first served and
-- for good, the rest is other; costs with users or without.
\set VERBOSITY terse
SET client_min_messages = warning;
CREATE EXTENSION ccproxy_metrics;
SELECT ccproxy.create_metrics_table();
SET TimeZone = 'UTC';
SELECT ccproxy.set_price('m1', 1000000, 1000000, effective_from => '2000-01-01') > 0 AS a,
       ccproxy.set_price('m2', 1000000, 1000000, effective_from => '2000-01-01') > 0 AS b;

SELECT ccproxy.set_prometheus(label_sets => 0);
SELECT ccproxy.set_prometheus(label_sets => 100001);
SELECT ccproxy.set_prometheus(label_sets => 3);
SELECT prometheus_label_sets, prometheus_users FROM ccproxy.configuration;

-- n requests of a model by a user, one token each, of the hour before
CREATE FUNCTION pg_temp.add(model text, user_id text, n integer, response_time_ms float8 DEFAULT 400) RETURNS bigint LANGUAGE sql AS $$
    SELECT accepted FROM ccproxy.ingest((SELECT jsonb_agg(jsonb_build_object('request_id', gen_random_uuid(), 'timestamp', date_trunc('hour', now()) - interval '10 minutes',
        'model', add.model, 'user_id', add.user_id, 'status_code', 200, 'method', 'POST', 'endpoint_type', 'e', 'input_tokens', 1,
        'response_time_ms', add.response_time_ms)) FROM generate_series(1, n)))
$$;
CREATE FUNCTION pg_temp.refresh() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    WHILE ccproxy.refresh() > 0 LOOP END LOOP;
END
$$;

SELECT pg_temp.add('m1', 'ann', 1), pg_temp.add('m2', 'bob', 2);
SELECT pg_temp.refresh();
SELECT family, label_values, sum, count FROM ccproxy.prometheus_samples() ORDER BY family, label_values;

-- the third comes in, what comes later does not
SELECT pg_temp.add('m3', 'cid', 4), pg_temp.add('m1', 'cid', 8);
SELECT pg_temp.refresh();
SELECT pg_temp.add('a-late-one', 'a-late-user', 16, 20), pg_temp.add('z-late-one', 'ann', 32), pg_temp.add('m1', 'eve', 64), pg_temp.add('m2', 'ann', 128);
SELECT pg_temp.refresh();
SELECT family, label_values, nullif(bucket_counts, '{}') AS bucket_counts, sum, count FROM ccproxy.prometheus_samples() ORDER BY family, label_values;
-- nothing is lost
SELECT family, sum(count) = CASE family WHEN 'cost' THEN (SELECT sum(total_cost) FROM ccproxy.requests) ELSE (SELECT count(*) FROM ccproxy.requests) END AS adds_up
  FROM ccproxy.prometheus_samples() GROUP BY 1 ORDER BY 1;

-- with more room, who was other before counts by himself from now on
CREATE TEMP TABLE before AS SELECT family, label_values, count FROM ccproxy.prometheus_samples() ORDER BY family, label_values;
SELECT ccproxy.set_prometheus(label_sets => 5);
SELECT pg_temp.add('a-late-one', 'a-late-user', 256);
SELECT pg_temp.refresh();
SELECT label_values, count FROM ccproxy.prometheus_samples() WHERE family = 'requests' ORDER BY family, label_values;
SELECT family, label_values FROM before b WHERE NOT EXISTS (SELECT FROM ccproxy.prometheus_samples() s WHERE s.family = b.family AND s.label_values = b.label_values AND s.count >= b.count);
-- a lower limit takes nothing away
SELECT ccproxy.set_prometheus(label_sets => 1);
SELECT family, count(*) FROM ccproxy.prometheus_samples() GROUP BY 1 ORDER BY 1;

-- a repricing does not lower what was shown, nor does one in the other direction count twice
SELECT ccproxy.set_price('m1', 500000, 500000, effective_from => '2001-01-01') > 0 AS halved;
CALL ccproxy.reprice(model => 'm1');
SELECT pg_temp.refresh();
SELECT label_values, count FROM ccproxy.prometheus_samples() WHERE family = 'cost' AND 'm1' = ANY (label_values) ORDER BY family, label_values;
SELECT ccproxy.set_price('m1', 1000000, 1000000, effective_from => '2002-01-01') > 0 AS doubled;
CALL ccproxy.reprice(model => 'm1');
SELECT pg_temp.refresh();
SELECT label_values, count FROM ccproxy.prometheus_samples() WHERE family = 'cost' AND 'm1' = ANY (label_values) ORDER BY family, label_values;

-- costs without users
SELECT ccproxy.set_prometheus(users => false);
SELECT family, label_values, count FROM ccproxy.prometheus_samples() WHERE family LIKE '%cost' ORDER BY family, label_values;
SELECT pg_temp.add('m1', 'ann', 512);
SELECT pg_temp.refresh();
SELECT family, label_values, count FROM ccproxy.prometheus_samples() WHERE family LIKE '%cost' ORDER BY family, label_values;
SELECT ccproxy.set_prometheus(users => true);
SELECT label_values, count FROM ccproxy.prometheus_samples() WHERE family = 'cost' ORDER BY family, label_values;

-- of gauges by model too there are no more, and those that matter most
SELECT ccproxy.set_prometheus(label_sets => 2);
SELECT label_values, value FROM ccproxy.prometheus_gauges() WHERE family = 'unpriced' ORDER BY label_values;
SELECT ccproxy.set_prometheus(label_sets => 5);
SELECT label_values, value FROM ccproxy.prometheus_gauges() WHERE family = 'unpriced' ORDER BY label_values;

-- who was other, and is let in when his requests are taken back, is not shown as less than nothing
SELECT ccproxy.set_prometheus(label_sets => 1);
SELECT pg_temp.add('m9', 'ann', 2, 20);
SELECT pg_temp.refresh();
SELECT count(*) FROM ccproxy.prometheus_samples() WHERE 'm9' = ANY (label_values);
SELECT ccproxy.set_prometheus(label_sets => 100);
DELETE FROM ccproxy.request_log WHERE model = 'm9';
SELECT ccproxy.mark_dirty(date_trunc('hour', now()) - interval '10 minutes', now()) > 0 AS marked;
SELECT pg_temp.refresh();
SELECT family, nullif(bucket_counts, '{}') AS bucket_counts, sum, count FROM ccproxy.prometheus_samples() WHERE 'm9' = ANY (label_values) ORDER BY family, label_values;
