-- Repricing what is stored.

-- One batch, in the order of the rows' key; the key it came to, NULL at the end.
CREATE FUNCTION ccproxy._reprice_batch(
    from_ts timestamptz, to_ts timestamptz, model text, only_unpriced boolean, batch_rows integer,
    after_ts timestamptz, after_id text,
    OUT last_ts timestamptz, OUT last_id text, OUT seen bigint, OUT changed bigint
) LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
BEGIN
    WITH batch AS MATERIALIZED (
        SELECT l.ts, l.request_id, l.model, l.model_version, l.provider, l.service_tier, l.input_tokens, l.cache_read_tokens,
               l.cache_write_tokens, l.cache_write_1h_tokens, l.output_tokens, l.reasoning_tokens, l.metadata
        FROM ccproxy.request_log l
        WHERE l.ts >= greatest(from_ts, after_ts) AND l.ts < to_ts
          AND (after_ts IS NULL OR (l.ts, l.request_id) > (after_ts, after_id))
          AND (model IS NULL OR l.model = model OR l.model_version = model)
          AND (NOT only_unpriced OR l.price_id IS NULL)
        ORDER BY l.ts, l.request_id
        LIMIT batch_rows
        FOR UPDATE -- a part merged meanwhile would bring other tokens
    ), priced AS (
        SELECT b.ts, b.request_id, c.*
        FROM batch b, LATERAL ccproxy.cost_pico(b.model, b.model_version, b.provider, b.service_tier, b.ts, b.input_tokens,
            b.cache_read_tokens, b.cache_write_tokens, b.cache_write_1h_tokens, b.output_tokens, b.reasoning_tokens, b.metadata) AS c
    ), updated AS (
        UPDATE ccproxy.request_log l
        SET input_cost = p.input_cost, cache_read_cost = p.cache_read_cost, cache_write_cost = p.cache_write_cost,
            output_cost = p.output_cost, tool_cost = p.tool_cost, price_id = p.price_id
        FROM priced p
        WHERE l.ts = p.ts AND l.request_id = p.request_id
          AND (l.input_cost, l.cache_read_cost, l.cache_write_cost, l.output_cost, l.tool_cost, l.price_id)
              IS DISTINCT FROM (p.input_cost, p.cache_read_cost, p.cache_write_cost, p.output_cost, p.tool_cost, p.price_id)
        RETURNING l.ts
    ), marked AS (
        INSERT INTO ccproxy.dirty_minute (minute) SELECT DISTINCT ccproxy._bucket('m', u.ts) FROM updated u
    )
    SELECT count(*), (SELECT count(*) FROM updated),
           max(b.ts), (array_agg(b.request_id ORDER BY b.ts DESC, b.request_id DESC))[1]
      INTO seen, changed, last_ts, last_id
      FROM batch b;
    IF seen < batch_rows THEN
        last_ts := NULL;
        last_id := NULL;
    END IF;
END $$;
COMMENT ON FUNCTION ccproxy._reprice_batch(timestamptz, timestamptz, text, boolean, integer, timestamptz, text) IS
'Recomputes the costs of one batch of stored requests; part of ccproxy.reprice().';

-- Commits, so it has no SET clause and every name below is schema-qualified.
CREATE PROCEDURE ccproxy.reprice(
    from_ts       timestamptz DEFAULT '-infinity',
    to_ts         timestamptz DEFAULT 'infinity',
    model         text DEFAULT NULL,
    only_unpriced boolean DEFAULT false,
    batch_rows    integer DEFAULT 10000,
    INOUT changed bigint DEFAULT 0
) LANGUAGE plpgsql AS $$
DECLARE
    b pg_catalog.record;
    after_ts pg_catalog.timestamptz;
    after_id pg_catalog.text;
BEGIN
    IF batch_rows IS NULL OR batch_rows OPERATOR(pg_catalog.<) 1 OR batch_rows OPERATOR(pg_catalog.>) 1000000 THEN
        RAISE EXCEPTION 'batch_rows must be from 1 to 1000000, got %', batch_rows USING ERRCODE = 'invalid_parameter_value';
    END IF;
    changed := 0;
    LOOP
        b := ccproxy._reprice_batch(from_ts, to_ts, model, coalesce(only_unpriced, false), batch_rows, after_ts, after_id);
        changed := changed OPERATOR(pg_catalog.+) b.changed;
        COMMIT;
        EXIT WHEN b.last_ts IS NULL;
        after_ts := b.last_ts;
        after_id := b.last_id;
    END LOOP;
END $$;
COMMENT ON PROCEDURE ccproxy.reprice IS
'Recomputes the stored costs of requests from from_ts to before to_ts by the prices of now, each at the request''s own time: CALL ccproxy.reprice(''2026-01-01'', ''2026-02-01''). model limits it to one requested or served model, only_unpriced to requests without a cost. Works in batches of batch_rows and commits each; changed tells how many rows got another cost. Needs UPDATE on ccproxy.request_log; not inside a transaction block.';

CREATE FUNCTION ccproxy._create_pricing_views() RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp SET client_min_messages = warning AS $$
BEGIN
    CREATE OR REPLACE VIEW ccproxy.unpriced_models AS
    SELECT u.*, CASE WHEN e.explanation IS NULL THEN 'a price is known now: CALL ccproxy.reprice(only_unpriced => true)'
                     ELSE e.explanation END AS reason
    FROM (SELECT r.provider, r.model, r.model_version, r.service_tier,
                 count(*) AS requests,
                 sum(coalesce(r.input_tokens, 0)) AS input_tokens,
                 sum(coalesce(r.cache_read_tokens, 0)) AS cache_read_tokens,
                 sum(coalesce(r.cache_write_tokens, 0)) AS cache_write_tokens,
                 sum(coalesce(r.cache_write_1h_tokens, 0)) AS cache_write_1h_tokens,
                 sum(coalesce(r.output_tokens, 0)) AS output_tokens,
                 sum(ccproxy.usd(r.reported_cost)) AS reported_cost,
                 min(r.ts) AS first_seen,
                 max(r.ts) AS last_seen
          FROM ccproxy.request_log r
          WHERE r.price_id IS NULL AND (r.input_tokens IS NOT NULL OR r.output_tokens IS NOT NULL)
          GROUP BY r.provider, r.model, r.model_version, r.service_tier) u
    LEFT JOIN LATERAL ccproxy.explain_cost(u.model, 1, 1, provider => u.provider, service_tier => u.service_tier,
        at => u.last_seen, model_version => u.model_version) e ON e.part = 'unpriced';
    COMMENT ON VIEW ccproxy.unpriced_models IS
        'Models with requests that have usage but no cost: how many, their tokens, and why. ccproxy.set_price() and CALL ccproxy.reprice(only_unpriced => true) mend it.';

    CREATE OR REPLACE VIEW ccproxy.cost_differences AS
    SELECT d.request_id, d.ts, d.provider, d.model, d.model_version, d.service_tier, d.total_cost, d.reported_cost,
           d.total_cost - d.reported_cost AS difference,
           CASE WHEN d.reported_cost <> 0 THEN round(d.total_cost / d.reported_cost, 4) END AS ratio,
           d.price_id
    FROM (SELECT r.request_id, r.ts, r.provider, r.model, r.model_version, r.service_tier, r.price_id::integer AS price_id,
                 ccproxy.usd(r.reported_cost) AS reported_cost,
                 ccproxy.usd(coalesce(r.input_cost, 0) + coalesce(r.cache_read_cost, 0) + coalesce(r.cache_write_cost, 0)
                     + coalesce(r.output_cost, 0) + coalesce(r.tool_cost, 0)) AS total_cost
          FROM ccproxy.request_log r
          WHERE r.reported_cost IS NOT NULL AND r.price_id IS NOT NULL) d
    WHERE abs(d.total_cost - d.reported_cost) > greatest(0.000001, 0.001 * d.reported_cost);
    COMMENT ON VIEW ccproxy.cost_differences IS
        'Requests whose computed cost differs from the one their source reported by more than 0.1 % and a millionth of a dollar.';
END $$;
COMMENT ON FUNCTION ccproxy._create_pricing_views() IS
'Makes the views on costs, over ccproxy.request_log; called by ccproxy._create_pricing_tables().';
