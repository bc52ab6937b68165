-- What caching saved: the question a cache's owner asks first.

CREATE FUNCTION ccproxy.cache_savings(
    from_ts timestamptz, to_ts timestamptz, filters jsonb DEFAULT NULL,
    OUT cache_read_tokens numeric, OUT cache_write_tokens numeric, OUT uncached_cost numeric, OUT cached_cost numeric, OUT savings numeric)
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    -- Rates are asked for with a thousand tokens: with all of a day's a request
    -- would look long enough for another price.
    SELECT sum(s.cache_read_tokens), sum(s.cache_write_tokens),
           trim_scale(sum((s.cache_read_tokens + s.cache_write_tokens) * rate.plain / 1000)),
           trim_scale(sum(s.cache_read_tokens * rate.read / 1000 + s.cache_write_tokens * rate.write / 1000)),
           trim_scale(sum((s.cache_read_tokens + s.cache_write_tokens) * rate.plain / 1000
                          - s.cache_read_tokens * rate.read / 1000 - s.cache_write_tokens * rate.write / 1000))
      FROM ccproxy.stats(from_ts, to_ts, 'day,model', filters) AS s
     CROSS JOIN LATERAL (
           SELECT ccproxy.total_cost(s.group_key2, input_tokens => 1000, at => s.period_start) AS plain,
                  ccproxy.total_cost(s.group_key2, cache_read_tokens => 1000, at => s.period_start) AS read,
                  ccproxy.total_cost(s.group_key2, cache_write_tokens => 1000, at => s.period_start) AS write) AS rate
     WHERE s.cache_read_tokens + s.cache_write_tokens > 0 AND rate.plain IS NOT NULL
$$;
COMMENT ON FUNCTION ccproxy.cache_savings(timestamptz, timestamptz, jsonb) IS
'What prompt caching saved on the requests with from_ts <= ts < to_ts that filters (as of stats()) let through, USD: uncached_cost is what the tokens read from and written to caches would have cost as plain input, cached_cost what they cost as they were, savings the difference (negative when more was written than was read again). An estimate: by each model''s list price of the day (UTC), without service tiers, prices for long contexts, and the dearer one-hour writes. Models without a price are left out; NULL where nothing is left. Errors: 22023 naming the argument.';
