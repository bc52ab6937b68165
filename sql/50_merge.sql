-- Merging: how events that cannot simply be copied become rows.
--
-- A request's row is always the fold of its parts, so the order of arrival does
-- not matter and a part that comes twice changes nothing: the parts of one
-- request are a set (request_part), and the fold is a pure function of it.
-- Everything about one request is done with the lock on its request_key held,
-- taken in the order of ids and before any row is written, so that merging
-- sessions wait and do not deadlock. Whole requests have no key: sessions that
-- send the same ones, here whole and there in parts, may still be told 40P01.

-- Picks what is highest by (kind, part_ts, value); used for every field that is
-- not a count.
CREATE FUNCTION ccproxy._fold(ids text[])
RETURNS TABLE (request_id text, old_ts timestamptz, metric ccproxy.request_metric)
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    WITH part AS (
        SELECT p.*, k.ts AS key_ts
          FROM ccproxy.request_part p
          JOIN ccproxy.request_key k ON k.request_id = p.request_id
         WHERE p.request_id = ANY (ids)
    ), folded AS (
        SELECT request_id AS id,
               max(key_ts) AS old_ts,
               -- the request's own time, else the earliest known, else that of the first receipt
               coalesce(min(part_ts) FILTER (WHERE kind = 1 AND isfinite(part_ts)),
                        min(part_ts) FILTER (WHERE isfinite(part_ts)),
                        max(key_ts)) AS ts,
               (array_agg(response_time_us ORDER BY kind DESC, part_ts DESC, response_time_us DESC) FILTER (WHERE response_time_us IS NOT NULL))[1] AS response_time_us,
               (array_agg(ttft_us ORDER BY kind DESC, part_ts DESC, ttft_us DESC) FILTER (WHERE ttft_us IS NOT NULL))[1] AS ttft_us,
               max(input_tokens) AS input_tokens,
               max(cache_read_tokens) AS cache_read_tokens,
               max(cache_write_tokens) AS cache_write_tokens,
               max(cache_write_1h_tokens) AS cache_write_1h_tokens,
               max(output_tokens) AS output_tokens,
               max(reasoning_tokens) AS reasoning_tokens,
               (array_agg(reported_cost ORDER BY kind DESC, part_ts DESC, reported_cost DESC) FILTER (WHERE reported_cost IS NOT NULL))[1] AS reported_cost,
               (array_agg(status_code ORDER BY kind DESC, part_ts DESC, status_code DESC) FILTER (WHERE status_code IS NOT NULL))[1] AS status_code,
               bit_or(CASE kind WHEN 0 THEN coalesce(parts, 0) ELSE 1 << kind END)::smallint AS parts,
               (array_agg(streaming ORDER BY kind DESC, part_ts DESC, streaming DESC) FILTER (WHERE streaming IS NOT NULL))[1] AS streaming,
               (array_agg(user_id ORDER BY kind DESC, part_ts DESC, user_id COLLATE "C" DESC) FILTER (WHERE user_id IS NOT NULL))[1] AS user_id,
               (array_agg(team_id ORDER BY kind DESC, part_ts DESC, team_id COLLATE "C" DESC) FILTER (WHERE team_id IS NOT NULL))[1] AS team_id,
               (array_agg(session_id ORDER BY kind DESC, part_ts DESC, session_id COLLATE "C" DESC) FILTER (WHERE session_id IS NOT NULL))[1] AS session_id,
               (array_agg(method ORDER BY kind DESC, part_ts DESC, method COLLATE "C" DESC) FILTER (WHERE method IS NOT NULL))[1] AS method,
               (array_agg(path ORDER BY kind DESC, part_ts DESC, path COLLATE "C" DESC) FILTER (WHERE path IS NOT NULL))[1] AS path,
               (array_agg(endpoint_type ORDER BY kind DESC, part_ts DESC, endpoint_type COLLATE "C" DESC) FILTER (WHERE endpoint_type IS NOT NULL))[1] AS endpoint_type,
               (array_agg(provider ORDER BY kind DESC, part_ts DESC, provider COLLATE "C" DESC) FILTER (WHERE provider IS NOT NULL))[1] AS provider,
               (array_agg(user_agent ORDER BY kind DESC, part_ts DESC, user_agent COLLATE "C" DESC) FILTER (WHERE user_agent IS NOT NULL))[1] AS user_agent,
               (array_agg(client_ip ORDER BY kind DESC, part_ts DESC, client_ip DESC) FILTER (WHERE client_ip IS NOT NULL))[1] AS client_ip,
               (array_agg(api_key_hash ORDER BY kind DESC, part_ts DESC, api_key_hash DESC) FILTER (WHERE api_key_hash IS NOT NULL))[1] AS api_key_hash,
               (array_agg(model ORDER BY kind DESC, part_ts DESC, model COLLATE "C" DESC) FILTER (WHERE model IS NOT NULL))[1] AS model,
               (array_agg(model_version ORDER BY kind DESC, part_ts DESC, model_version COLLATE "C" DESC) FILTER (WHERE model_version IS NOT NULL))[1] AS model_version,
               (array_agg(service_tier ORDER BY kind DESC, part_ts DESC, service_tier COLLATE "C" DESC) FILTER (WHERE service_tier IS NOT NULL))[1] AS service_tier,
               (array_agg(error_type ORDER BY kind DESC, part_ts DESC, error_type COLLATE "C" DESC) FILTER (WHERE error_type IS NOT NULL))[1] AS error_type,
               (array_agg(error_message ORDER BY kind DESC, part_ts DESC, error_message COLLATE "C" DESC) FILTER (WHERE error_message IS NOT NULL))[1] AS error_message
          FROM part
         GROUP BY request_id
    ), objects AS (
        -- each key of metadata on its own, the higher part's value wins
        SELECT request_id AS id, jsonb_object_agg(e.key, e.value ORDER BY kind, part_ts, e.value) AS metadata
          FROM part, jsonb_each(part.metadata) AS e
         GROUP BY request_id
    )
    SELECT f.id, f.old_ts,
           ROW(f.ts, f.response_time_us, f.ttft_us, f.input_tokens, f.cache_read_tokens, f.cache_write_tokens,
               f.cache_write_1h_tokens, f.output_tokens, f.reasoning_tokens,
               c.input_cost, c.cache_read_cost, c.cache_write_cost, c.output_cost, c.tool_cost,
               f.reported_cost, c.price_id, f.status_code, f.parts, f.streaming, f.id, f.user_id, f.team_id,
               f.session_id, f.method, f.path, f.endpoint_type, f.provider, f.user_agent, f.client_ip,
               f.api_key_hash, f.model, f.model_version, f.service_tier, f.error_type, f.error_message,
               o.metadata)::ccproxy.request_metric
      FROM folded f
      LEFT JOIN objects o ON o.id = f.id
     CROSS JOIN LATERAL ccproxy.cost_pico(f.model, f.model_version, f.provider, f.service_tier, f.ts,
               f.input_tokens, f.cache_read_tokens, f.cache_write_tokens, f.cache_write_1h_tokens,
               f.output_tokens, f.reasoning_tokens, o.metadata) AS c
$$;
COMMENT ON FUNCTION ccproxy._fold(text[]) IS
'Internal: the row that each of these requests'' parts amount to, priced, and the ts it is stored under now.';

-- A part's content, for telling a part sent twice from a second one. What is
-- computed here is not content.
CREATE FUNCTION ccproxy._digest(metric ccproxy.request_metric) RETURNS bigint
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN pg_catalog.hashtextextended((pg_catalog.to_jsonb(metric)
    - '{ts,input_cost,cache_read_cost,cache_write_cost,output_cost,tool_cost,price_id,parts}'::text[])::text, 0);

-- Locks the requests of these events, making keys for those that have none; the
-- ids of these. From here on nobody else touches them until we commit.
CREATE FUNCTION ccproxy._claim(events ccproxy.request_event[]) RETURNS text[]
LANGUAGE sql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
    WITH locked AS (
        INSERT INTO ccproxy.request_key AS k (request_id, ts)
        SELECT (e.metric).request_id,
               -- without a time of their own: of receipt, which may be a while ago (a spool)
               coalesce(min(e.part_ts) FILTER (WHERE e.kind = 1), min(e.part_ts), min((e.metric).ts), now())
          FROM unnest(events) AS e
         GROUP BY 1
         ORDER BY 1
        ON CONFLICT (request_id) DO UPDATE SET ts = k.ts
        RETURNING k.request_id, xmax = 0 AS is_new
    )
    SELECT coalesce(array_agg(l.request_id), '{}') FROM locked l WHERE l.is_new
$$;

CREATE FUNCTION ccproxy.merge_events(events ccproxy.request_event[])
RETURNS TABLE (ord integer, outcome text)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    -- Every part is read again with each that follows: without a limit one
    -- request id could keep everybody's writer busy.
    max_parts CONSTANT integer := 100;
    direct       ccproxy.request_event[];
    merged       ccproxy.request_event[];
    late         ccproxy.request_event[]; -- plain, but for a row that is made of parts
    stored       integer[];
    claimed      text[]; -- ids nobody had a key for until now
    touched      text[]; -- ids with a part that is new
    refused      integer[]; -- parts beyond max_parts
BEGIN
    IF EXISTS (SELECT FROM unnest(events) AS e
                WHERE (e.metric).request_id IS NULL OR e.kind IS NULL OR e.kind NOT BETWEEN 1 AND 6) THEN
        RAISE EXCEPTION 'every event needs a request_id and a kind from 1 to 6'
            USING ERRCODE = 'invalid_parameter_value';
    END IF;

    PERFORM ccproxy._note_crash(); -- what is gone must not be merged with

    -- Complete events with a time of their own, of requests that are not known to
    -- come in parts, are plain rows; the rest is merged.
    SELECT array_agg(e) FILTER (WHERE is_direct), array_agg(e) FILTER (WHERE NOT is_direct)
      INTO direct, merged
      FROM (SELECT e,
                   bool_and(e.kind = 6 AND e.part_ts IS NOT NULL) OVER (PARTITION BY (e.metric).request_id)
                   AND NOT EXISTS (SELECT FROM ccproxy.request_key k WHERE k.request_id = (e.metric).request_id) AS is_direct
              FROM unnest(events) AS e) AS x;

    -- 1. Who merges claims the ids, in order, before anything is written.
    claimed := ccproxy._claim(merged);

    -- 2. The plain rows.
    WITH given AS (
        SELECT DISTINCT ON (e.part_ts, (e.metric).request_id) e.ord AS given_ord, e.part_ts AS event_ts, (e.metric).*
          FROM unnest(direct) AS e
         ORDER BY e.part_ts, (e.metric).request_id, e.ord
    ), inserted AS (
        INSERT INTO ccproxy.request_log
        SELECT g.event_ts, g.response_time_us, g.ttft_us, g.input_tokens, g.cache_read_tokens, g.cache_write_tokens,
               g.cache_write_1h_tokens, g.output_tokens, g.reasoning_tokens,
               c.input_cost, c.cache_read_cost, c.cache_write_cost, c.output_cost, c.tool_cost,
               g.reported_cost, c.price_id, g.status_code, NULL, g.streaming, g.request_id, g.user_id, g.team_id,
               g.session_id, g.method, g.path, g.endpoint_type, g.provider, g.user_agent, g.client_ip,
               g.api_key_hash, g.model, g.model_version, g.service_tier, g.error_type, g.error_message, g.metadata
          FROM given g
         CROSS JOIN LATERAL ccproxy.cost_pico(g.model, g.model_version, g.provider, g.service_tier, g.event_ts,
               g.input_tokens, g.cache_read_tokens, g.cache_write_tokens, g.cache_write_1h_tokens,
               g.output_tokens, g.reasoning_tokens, g.metadata) AS c
         ORDER BY g.event_ts, g.request_id
        ON CONFLICT (ts, request_id) DO NOTHING
        RETURNING ts, request_id
    ), marked AS (
        INSERT INTO ccproxy.dirty_minute (minute) SELECT DISTINCT ccproxy._bucket('m', i.ts) FROM inserted i
    )
    SELECT array_agg(g.given_ord) INTO stored
      FROM given g JOIN inserted i ON i.ts = g.event_ts AND i.request_id = g.request_id;

    -- What was there already is a duplicate, unless the row there was made of
    -- parts: then the event is one more. Looked up only where it happens, for
    -- that is planned over all partitions.
    IF cardinality(direct) > coalesce(cardinality(stored), 0) THEN
        late := ARRAY(
            SELECT e FROM unnest(direct) AS e
              JOIN ccproxy.request_log l ON l.ts = e.part_ts AND l.request_id = (e.metric).request_id
             WHERE e.ord <> ALL (coalesce(stored, '{}')) AND l.parts IS NOT NULL);
        claimed := claimed || ccproxy._claim(late);
        merged := merged || late;
    END IF;
    RETURN QUERY
        SELECT e.ord, CASE WHEN e.ord = ANY (stored) THEN 'accepted' ELSE 'duplicate' END
          FROM unnest(direct) AS e
         WHERE NOT EXISTS (SELECT FROM unnest(merged) AS m WHERE m.ord = e.ord);
    IF merged IS NULL OR merged = '{}' THEN
        RETURN;
    END IF;

    -- 3. Their parts.
    WITH given AS (
        SELECT min(e.ord) AS given_ord, array_agg(e.ord) AS ords, (e.metric).request_id, e.kind,
               coalesce(e.part_ts, '-infinity') AS part_ts, ccproxy._digest(e.metric) AS digest,
               (array_agg(e.metric))[1] AS metric
          FROM unnest(merged) AS e
         GROUP BY 3, 4, 5, 6
    ), known AS (
        SELECT request_id, count(*) AS n FROM ccproxy.request_part
         WHERE request_id = ANY (ARRAY(SELECT request_id FROM given)) GROUP BY 1
    ), fresh AS (
        SELECT g.*, coalesce(k.n, 0) + row_number() OVER (PARTITION BY g.request_id ORDER BY g.given_ord) AS nth
          FROM given g
          LEFT JOIN known k ON k.request_id = g.request_id
         WHERE NOT EXISTS (SELECT FROM ccproxy.request_part p
                            WHERE p.request_id = g.request_id AND p.kind = g.kind
                              AND p.part_ts = g.part_ts AND p.digest = g.digest)
    ), inserted AS (
        INSERT INTO ccproxy.request_part
        SELECT (f.metric).*, f.kind, f.part_ts, f.digest FROM fresh f WHERE f.nth <= max_parts
        ON CONFLICT DO NOTHING
        RETURNING request_id, kind, part_ts, digest
    )
    SELECT array_agg(f.given_ord) FILTER (WHERE f.nth <= max_parts),
           coalesce(array_agg(DISTINCT f.request_id) FILTER (WHERE f.nth <= max_parts), '{}'),
           (SELECT array_agg(o) FROM fresh r, unnest(r.ords) AS o WHERE r.nth > max_parts)
      INTO stored, touched, refused
      FROM fresh f;

    -- 4. Fold and put the rows where they now belong. A row that is there without
    --    parts of it on record (a complete event, or parts older than the part
    --    window) becomes a part first. A complete event may land between that
    --    look and our writing: such a row is not overwritten, we look again.
    WHILE touched <> '{}' LOOP
        WITH moment AS (
            SELECT p.request_id, p.part_ts AS ts FROM ccproxy.request_part p WHERE p.request_id = ANY (touched)
            UNION
            SELECT k.request_id, k.ts FROM ccproxy.request_key k WHERE k.request_id = ANY (touched)
        ), found AS (
            SELECT l AS whole
              FROM moment m
              JOIN ccproxy.request_log l ON l.ts = m.ts AND l.request_id = m.request_id
             WHERE l.parts IS NULL OR l.request_id = ANY (claimed)
        )
        INSERT INTO ccproxy.request_part
        SELECT (whole).*, CASE WHEN (whole).parts IS NULL THEN 6 ELSE 0 END, (whole).ts,
               ccproxy._digest(ROW((whole).*)::ccproxy.request_metric)
          FROM found
        ON CONFLICT DO NOTHING;

        WITH fold AS (
            SELECT * FROM ccproxy._fold(touched)
        ), moved AS (
            UPDATE ccproxy.request_key k SET ts = (f.metric).ts
              FROM fold f
             WHERE k.request_id = f.request_id AND k.ts <> (f.metric).ts
        ), gone AS (
            DELETE FROM ccproxy.request_log l
             USING fold f, ccproxy.request_part p
             WHERE p.request_id = f.request_id
               AND l.request_id = f.request_id
               AND l.ts IN (f.old_ts, p.part_ts)
               AND l.ts <> (f.metric).ts
               AND (l.parts IS NOT NULL OR (p.kind = 6 AND p.part_ts = l.ts))
            RETURNING l.ts
        )
        INSERT INTO ccproxy.dirty_minute (minute) SELECT DISTINCT ccproxy._bucket('m', g.ts) FROM gone g;

        WITH written AS (
            INSERT INTO ccproxy.request_log AS l
            SELECT (f.metric).* FROM ccproxy._fold(touched) AS f ORDER BY (f.metric).ts, f.request_id
            ON CONFLICT (ts, request_id) DO UPDATE SET (
                response_time_us, ttft_us, input_tokens, cache_read_tokens, cache_write_tokens, cache_write_1h_tokens,
                output_tokens, reasoning_tokens, input_cost, cache_read_cost, cache_write_cost, output_cost, tool_cost,
                reported_cost, price_id, status_code, parts, streaming, user_id, team_id, session_id, method, path,
                endpoint_type, provider, user_agent, client_ip, api_key_hash, model, model_version, service_tier,
                error_type, error_message, metadata) = ROW(
                excluded.response_time_us, excluded.ttft_us, excluded.input_tokens, excluded.cache_read_tokens,
                excluded.cache_write_tokens, excluded.cache_write_1h_tokens, excluded.output_tokens,
                excluded.reasoning_tokens, excluded.input_cost, excluded.cache_read_cost, excluded.cache_write_cost,
                excluded.output_cost, excluded.tool_cost, excluded.reported_cost, excluded.price_id,
                excluded.status_code, excluded.parts, excluded.streaming, excluded.user_id, excluded.team_id,
                excluded.session_id, excluded.method, excluded.path, excluded.endpoint_type, excluded.provider,
                excluded.user_agent, excluded.client_ip, excluded.api_key_hash, excluded.model,
                excluded.model_version, excluded.service_tier, excluded.error_type, excluded.error_message,
                excluded.metadata)
             WHERE l.parts IS NOT NULL
                OR EXISTS (SELECT FROM ccproxy.request_part p
                            WHERE p.request_id = l.request_id AND p.kind = 6 AND p.part_ts = l.ts)
            RETURNING l.request_id, l.ts
        ), marked AS (
            INSERT INTO ccproxy.dirty_minute (minute) SELECT DISTINCT ccproxy._bucket('m', w.ts) FROM written w
        )
        SELECT array_agg(t) INTO touched FROM unnest(touched) AS t
         WHERE t NOT IN (SELECT w.request_id FROM written w);
        touched := coalesce(touched, '{}');
        claimed := '{}';
    END LOOP;

    RETURN QUERY
        SELECT e.ord, CASE WHEN e.ord = ANY (stored) THEN 'accepted' WHEN e.ord = ANY (refused) THEN 'rejected' ELSE 'duplicate' END
          FROM unnest(merged) AS e;
END
$$;
COMMENT ON FUNCTION ccproxy.merge_events(ccproxy.request_event[]) IS
'Stores events that may be duplicates or parts of requests: returns for each ord whether it was accepted, is a duplicate of what is stored, or was rejected as one part too many of its request (more than 100). Commutative, associative and idempotent within the part window; counts take the greatest, other fields the value of highest (kind, part_ts); rows are priced here. Errors: 22023 without request_id or with an unknown kind, 23514 when a partition is missing (call ensure_partitions first).';
