-- What Prometheus shows of the database besides its counters: states, which may
-- rise and fall.

CREATE FUNCTION ccproxy.prometheus_gauges()
RETURNS TABLE (family text, label_values text[], value numeric)
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN QUERY
    SELECT g.family, ARRAY[b.name, b.scope, CASE b.scope WHEN 'all' THEN 'all' ELSE b.value END, b.period], g.value
      FROM ccproxy.budget_status b
     CROSS JOIN LATERAL (VALUES ('budget_limit', b.limit_usd), ('budget_warn', b.limit_usd * b.warn_percent / 100), ('budget_spent', b.spent_usd),
                                ('budget_projected', b.projected_usd), ('budget_unpriced', b.unpriced_requests::numeric)) AS g(family, value)
     WHERE g.value IS NOT NULL;
    RETURN QUERY
    -- anybody's words are models: as many are told apart as of a counter's labels
    SELECT 'unpriced', ARRAY[m.model], sum(m.unpriced_requests)
      FROM (SELECT CASE WHEN row_number() OVER (ORDER BY s.unpriced_requests DESC, s.total_requests DESC, s.group_key) <= c.prometheus_label_sets
                        THEN coalesce(s.group_key, 'unknown') ELSE 'other' END AS model, s.unpriced_requests
              FROM ccproxy.stats(interval '24 hours', 'model') AS s CROSS JOIN ccproxy.configuration c) AS m
     GROUP BY m.model;
    RETURN QUERY
    SELECT g.family, '{}'::text[], g.value
      FROM ccproxy.health h
     CROSS JOIN LATERAL (VALUES ('refresh_lag', coalesce(extract(epoch FROM h.refresh_lag), 0)), ('partitions_ahead', h.partitions_ahead::numeric),
                                ('dirty_minutes', h.dirty_minutes::numeric)) AS g(family, value);
END
$$;
COMMENT ON FUNCTION ccproxy.prometheus_gauges() IS
'The Prometheus gauges budget_limit, budget_warn, budget_spent, budget_projected (USD) and budget_unpriced (requests), each by budget, scope, value, period, of the current period; unpriced (requests of the last 24 hours with tokens but without a price, by model; beyond the limit of set_prometheus() those with fewest are other); refresh_lag (seconds), partitions_ahead, dirty_minutes as in ccproxy.health.';
