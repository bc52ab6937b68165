-- Budgets: periods of zones, spending against the raw rows, states, who may.
\getenv abs_srcdir PG_ABS_SRCDIR
\set include :abs_srcdir '/sql/include/metrics_table.psql'
\i :include
SET timezone = 'UTC';

-- Periods: month ends, leap years, Mondays, days of 23, 24.5 and 25 hours,
-- a midnight that is skipped, one that comes twice (its second is the day's
-- beginning), zones of half hours.
SELECT p.period, p.zone, p.at, b.period_start, b.period_end, b.period_end - b.period_start AS length
  FROM (VALUES ('month', 'UTC', timestamptz '2024-02-29 23:59:59.999999+00'), ('month', 'UTC', '2024-03-01 00:00+00'),
               ('month', 'UTC', '2025-02-28 12:00+00'), ('month', 'UTC', '2025-12-31 23:59+00'),
               ('month', 'Europe/Berlin', '2025-03-31 21:59:59+00'), ('month', 'Europe/Berlin', '2025-03-31 22:00+00'),
               ('month', 'America/New_York', '2025-11-30 23:00+00'), ('month', 'Asia/Kolkata', '2025-01-31 18:30+00'),
               ('week', 'UTC', '2025-06-01 23:59:59+00'), ('week', 'UTC', '2025-06-02 00:00+00'),
               ('week', 'Pacific/Auckland', '2025-06-01 12:00+00'), ('week', 'Europe/Berlin', '2025-10-26 12:00+00'),
               ('week', 'UTC', '2026-01-01 00:00+00'),
               ('day', 'Europe/Berlin', '2025-03-30 12:00+00'), ('day', 'Europe/Berlin', '2025-10-26 12:00+00'),
               ('day', 'Australia/Lord_Howe', '2025-04-05 20:00+00'), ('day', 'America/Sao_Paulo', '2018-11-04 02:59:59+00'),
               ('day', 'America/Sao_Paulo', '2018-11-04 03:00+00'), ('day', 'America/Havana', '2025-11-02 04:30+00'),
               ('day', 'America/Havana', '2025-11-02 05:00+00'), ('day', 'Asia/Kathmandu', '2025-07-01 18:14:59+00')) AS p(period, zone, at)
 CROSS JOIN LATERAL ccproxy._budget_period(p.period, p.zone, p.at) AS b;
-- they tile time: each moment lies in its period, and each period follows upon the last
SELECT count(*) AS moments, count(*) FILTER (WHERE b.period_start <= at AND at < b.period_end) AS inside,
       count(*) FILTER (WHERE n.period_start = b.period_end AND l.period_end = b.period_start) AS joined
  FROM unnest(ARRAY['day', 'week', 'month']) AS period,
       unnest(ARRAY['UTC', 'Europe/Berlin', 'America/New_York', 'America/Havana', 'America/Sao_Paulo', 'Australia/Lord_Howe', 'Asia/Kolkata', 'Africa/Cairo', 'America/Santiago']) AS zone,
       generate_series(timestamptz '2017-10-01 00:00+00', '2019-04-01 00:00+00', interval '2 hours 25 minutes') AS at
 CROSS JOIN LATERAL ccproxy._budget_period(period, zone, at) AS b
 CROSS JOIN LATERAL ccproxy._budget_period(period, zone, b.period_end) AS n
 CROSS JOIN LATERAL ccproxy._budget_period(period, zone, b.period_start - interval '1 microsecond') AS l;

-- no budgets, no rows
SELECT count(*) FROM ccproxy.budget_status;

-- Requests of the last 40 days, among them one at each beginning of a period in
-- three zones and one a microsecond before. Their costs are all different.
CREATE TEMP TABLE kind AS
SELECT period, zone FROM unnest(ARRAY['day', 'week', 'month']) AS period,
       unnest(ARRAY['Europe/Berlin', 'Australia/Lord_Howe', 'Asia/Kolkata']) AS zone;
CREATE TEMP TABLE moment AS
SELECT now() - interval '40 days' * (g / 1000.0) AS at FROM generate_series(1, 1000) AS g
UNION
SELECT b.period_start - d
  FROM kind
 CROSS JOIN generate_series(now() - interval '39 days', now(), interval '1 day') AS at
 CROSS JOIN LATERAL ccproxy._budget_period(period, zone, at) AS b
 CROSS JOIN unnest(ARRAY[interval '0', interval '1 microsecond']) AS d
 WHERE b.period_start > now() - interval '40 days';
SELECT sum(accepted) = (SELECT count(*) FROM moment) AS stored
  FROM (SELECT jsonb_agg(jsonb_build_object('request_id', 'b' || i, 'timestamp', at, 'model', (ARRAY['gpt-4', 'gpt-4o', 'made-up-9'])[1 + i % 3],
               'user_id', 'u' || i % 4, 'endpoint_type', (ARRAY['openai', 'anthropic'])[1 + i % 2], 'team_id', CASE WHEN i % 5 < 2 THEN 'red' END,
               'api_key', 'k' || i % 2, 'status_code', 200, 'input_tokens', i)) AS events
          FROM (SELECT row_number() OVER (ORDER BY at) AS i, at FROM moment) AS m) AS e
 CROSS JOIN LATERAL ccproxy.ingest(e.events);

-- A budget of each scope and kind.
SELECT count(ccproxy.set_budget(format('%s %s %s', scope, period, zone), 0.5, period, scope, value, zone))
  FROM kind, (VALUES ('all', NULL), ('model', 'gpt-4'), ('user', 'u1'), ('endpoint', 'openai'), ('team', 'red'),
                     ('api_key', (SELECT min(api_key_hash) FROM ccproxy.requests))) AS s(scope, value);

-- Every number is that of the raw rows, whatever is rolled up.
SET client_min_messages = warning;
CREATE VIEW pg_temp.difference AS
SELECT m.at, s.name, s.spent_usd, r.cost, s.requests, r.n
  FROM (SELECT now() AS at UNION ALL SELECT now() - interval '1 month' UNION ALL
        -- the last change of a clock in one of the zones, if it lies in the data
        SELECT max(day) FROM kind, generate_series(date_trunc('day', now() - interval '39 days'), now(), interval '1 day') AS day
         WHERE extract(epoch FROM (day + interval '1 day') AT TIME ZONE zone - day AT TIME ZONE zone) <> 86400
        UNION ALL SELECT b.period_start - interval '1 microsecond' FROM ccproxy._budget_period('month', 'Australia/Lord_Howe', now()) AS b) AS m
 CROSS JOIN LATERAL ccproxy.budget_status_at(coalesce(m.at, now())) AS s
 CROSS JOIN LATERAL (SELECT coalesce(sum(q.total_cost), 0) AS cost, count(*) AS n, count(q.total_cost) AS priced,
                            count(*) FILTER (WHERE q.total_tokens IS NOT NULL AND q.total_cost IS NULL) AS unpriced
                       FROM ccproxy.requests q
                      WHERE q.ts >= s.period_start AND q.ts < s.period_end
                        AND CASE s.scope WHEN 'all' THEN true WHEN 'model' THEN q.model = s.value WHEN 'user' THEN q.user_id = s.value
                                         WHEN 'endpoint' THEN q.endpoint_type = s.value WHEN 'team' THEN q.team_id = s.value
                                         WHEN 'api_key' THEN q.api_key_hash = s.value END) AS r
 WHERE (s.spent_usd, s.requests, s.priced_requests, s.unpriced_requests) IS DISTINCT FROM (r.cost, r.n, r.priced, r.unpriced)
    OR s.remaining_usd <> s.limit_usd - r.cost OR s.used_percent <> trunc(100 * r.cost / s.limit_usd, 2)
    OR s.state <> CASE WHEN r.cost >= s.limit_usd THEN 'exceeded' WHEN r.cost >= s.limit_usd * s.warn_percent / 100 THEN 'warning' ELSE 'ok' END;
SELECT count(*) AS budgets, sum(requests) > 0 AS counted, sum(unpriced_requests) > 0 AS unpriced, count(DISTINCT state) > 1 AS states
  FROM ccproxy.budget_status_at(now() - interval '10 days');
SELECT count(*) AS before_refresh FROM pg_temp.difference;
DO $$ BEGIN LOOP EXIT WHEN ccproxy.refresh(1440) = 0; END LOOP; END $$;
SELECT count(*) AS minutes_dirty FROM ccproxy.dirty_minute;
SELECT count(*) AS after_refresh FROM pg_temp.difference;
-- late requests, and a new price for the past
SELECT accepted FROM ccproxy.ingest((SELECT jsonb_agg(jsonb_build_object('request_id', 'late' || n, 'timestamp', now() - n * interval '35 hours', 'model', 'gpt-4',
       'user_id', 'u1', 'team_id', 'red', 'endpoint_type', 'openai', 'status_code', 200, 'output_tokens', 1 + n)) FROM generate_series(0, 19) AS n));
SELECT count(*) AS late FROM pg_temp.difference;
CREATE TEMP TABLE before AS SELECT name, spent_usd FROM ccproxy.budget_status_at(now() - interval '10 days');
SELECT ccproxy.set_price('made-up-9', input => 7, effective_from => now() - interval '60 days') > 0 AS priced;
CALL ccproxy.reprice(now() - interval '60 days', now()) \gset
SELECT :changed > 300 AS repriced;
SELECT count(*) FILTER (WHERE s.spent_usd > b.spent_usd) > 0 AS dearer, sum(s.unpriced_requests) AS unpriced
  FROM ccproxy.budget_status_at(now() - interval '10 days') s JOIN before b USING (name);
SELECT count(*) AS repriced FROM pg_temp.difference;

-- Raw rows expire, what was spent stays.
CREATE TEMP TABLE kept AS SELECT name, spent_usd, requests FROM ccproxy.budget_status_at(now() - interval '10 days');
DO $$ BEGIN LOOP EXIT WHEN ccproxy.refresh(1440) = 0; END LOOP; END $$;
SELECT ccproxy.set_retention(raw => interval '2 days');
DO $$
DECLARE
    p record;
BEGIN
    LOOP
        SELECT * INTO p FROM ccproxy._expired_partitions() LIMIT 1;
        EXIT WHEN NOT FOUND;
        IF NOT ccproxy._drop_partition(p.partition, p.upper_bound) THEN
            RAISE 'partition % was not dropped', p.partition;
        END IF;
    END LOOP;
END $$;
SELECT max(ts) - min(ts) < interval '4 days' AS expired FROM ccproxy.requests;
-- users' hours begin with UTC's: a period of a half-hour zone is widened to them
SELECT count(*) AS budgets, count(*) FILTER (WHERE s.counted_from < s.period_start) > 0 AS widened,
       count(*) FILTER (WHERE s.counted_from = s.period_start AND extract(minute FROM s.period_end) = 0
                          AND (k.spent_usd, k.requests) <> (s.spent_usd, s.requests)) AS wrong
  FROM ccproxy.budget_status_at(now() - interval '10 days') s JOIN kept k USING (name);
SELECT DISTINCT scope, period_start - counted_from AS widened_by
  FROM ccproxy.budget_status_at(now() - interval '10 days') WHERE time_zone = 'Asia/Kolkata' ORDER BY 1;

-- At the limit: exceeded from the very picodollar on, a warning from its percentage on.
DELETE FROM ccproxy.budget;
SELECT accepted FROM ccproxy.ingest('[{"request_id": "l1", "model": "gpt-4", "user_id": "limit", "status_code": 200, "input_tokens": 1001, "output_tokens": 7},
    {"request_id": "l2", "model": "unheard-of", "user_id": "limit", "status_code": 200, "input_tokens": 1},
    {"request_id": "l3", "model": "gpt-4", "user_id": "limit", "kind": "request"}]');
SELECT count(ccproxy.set_budget('over ' || l, l, 'month', 'user', 'limit', warn_percent => 50))
  FROM unnest(ARRAY[0, 0.030449999999, 0.03045, 0.030450000001, 0.0609, 0.060900000001]) AS l;
SELECT limit_usd, spent_usd, remaining_usd, used_percent, state, requests, priced_requests, unpriced_requests, in_flight_requests FROM ccproxy.budget_status ORDER BY 1;
SELECT bool_and(projected_usd >= spent_usd) AS more_to_come FROM ccproxy.budget_status;
SELECT bool_and(projected_usd = spent_usd) AS over, sum(in_flight_requests) AS in_flight FROM ccproxy.budget_status_at(now() - interval '33 days');
-- reported costs count when they are set to
SELECT accepted FROM ccproxy.ingest('[{"request_id": "l4", "model": "unheard-of", "user_id": "limit", "status_code": 200, "input_tokens": 1, "reported_cost": 2}]');
SELECT spent_usd, unpriced_requests FROM ccproxy.budget_status WHERE name = 'over 0';
SELECT ccproxy.set_cost_source('reported_if_unpriced') > 0 AS marked;
SELECT spent_usd, unpriced_requests FROM ccproxy.budget_status WHERE name = 'over 0';
SELECT ccproxy.set_cost_source('computed') > 0 AS marked;

-- Changed while they run: another limit, another scope, gone.
SELECT ccproxy.set_budget('over 0', 1, 'day', 'model', 'gpt-4', 'Europe/Berlin', 90);
SELECT name, scope, value, period, time_zone, limit_usd, warn_percent FROM ccproxy.budget WHERE name = 'over 0';
SELECT ccproxy.drop_budget('over 0');
SELECT count(*) FROM ccproxy.budget_status;

-- The caller's mistakes.
SELECT ccproxy.drop_budget('over 0');
SELECT ccproxy.set_budget('', 1);
SELECT ccproxy.set_budget('x', -1);
SELECT ccproxy.set_budget('x', 'NaN');
SELECT ccproxy.set_budget('x', NULL);
SELECT ccproxy.set_budget('x', 1, 'year');
SELECT ccproxy.set_budget('x', 1, 'day', 'session', 's');
SELECT ccproxy.set_budget('x', 1, 'day', 'user');
SELECT ccproxy.set_budget('x', 1, 'day', 'all', 'me');
SELECT ccproxy.set_budget('x', 1, time_zone => 'Europe/Atlantis');
SELECT ccproxy.set_budget('x', 1, warn_percent => 101);
SELECT ccproxy.budget_status_at('infinity');

-- Who may: readers read, the owner sets, and whom he lets.
SET ROLE regress_ccproxy_reader;
SELECT count(*) FROM ccproxy.budget_status;
SELECT ccproxy.set_budget('x', 1);
SELECT ccproxy.drop_budget('over 0.03045');
SET ROLE regress_ccproxy_writer;
SELECT count(*) FROM ccproxy.budget_status;
SET ROLE regress_ccproxy_owner;
GRANT SELECT, INSERT, UPDATE, DELETE ON ccproxy.budget TO regress_ccproxy_writer;
SET ROLE regress_ccproxy_writer;
SELECT ccproxy.set_budget('x', 1);
RESET ROLE;
