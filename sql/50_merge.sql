-- Merging: how events that cannot simply be copied become rows.
--
-- A request's row is always the fold of its parts, so the order of arrival does
-- not matter and a part that comes twice changes nothing: the parts of one
-- request are a set (request_part), and the fold is a pure function of it.
-- Everything about one request is done with the lock on its request_key held,
-- taken in the order of ids and before any row is written, so that merging
-- sessions wait and do not deadlock. Whole requests have no key: sessions that
-- send the same ones, here whole and there in parts, may still be told 40P01.

--
-- Nothing here may cost more where the table is larger or has more partitions:
-- rows are looked up by (ts, request_id), keys and parts by request_id, one by one
-- through their indexes, whatever the planner thinks of the tables' sizes: each
-- look-up is a subquery of its own (OFFSET 0), and the functions do without other
-- scans. request_log is only read between the bounds of one partition, which a plan
-- made for the occasion looks at alone.

-- A part's content, for telling a part sent twice from a second one. What is
-- computed here is not content.
CREATE FUNCTION ccproxy._digest(metric ccproxy.request_metric) RETURNS bigint
AS 'MODULE_PATHNAME', 'ccproxy_digest' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION ccproxy._digest(ccproxy.request_metric) IS
'Internal: a hash of what a part says, but for its time.';

CREATE FUNCTION ccproxy._fold_step(state internal, received timestamptz, kind smallint, part_ts timestamptz, metric ccproxy.request_metric)
RETURNS internal
AS 'MODULE_PATHNAME', 'ccproxy_fold_step' LANGUAGE C STABLE;
COMMENT ON FUNCTION ccproxy._fold_step(internal, timestamptz, smallint, timestamptz, ccproxy.request_metric) IS
'Internal: adds a part.';
CREATE FUNCTION ccproxy._fold_final(state internal) RETURNS ccproxy.request_metric
AS 'MODULE_PATHNAME', 'ccproxy_fold_final' LANGUAGE C STABLE;
COMMENT ON FUNCTION ccproxy._fold_final(internal) IS
'Internal: the row of the parts.';

-- Counts take the greatest, each key of metadata and every other field what is
-- highest by (kind, part_ts, value). The time is that of the earliest part of kind
-- request, else of the earliest part, else received.
CREATE AGGREGATE ccproxy._fold_parts(received timestamptz, kind smallint, part_ts timestamptz, metric ccproxy.request_metric) (
    SFUNC = ccproxy._fold_step,
    STYPE = internal,
    FINALFUNC = ccproxy._fold_final
);
COMMENT ON AGGREGATE ccproxy._fold_parts(timestamptz, smallint, timestamptz, ccproxy.request_metric) IS
'Internal: the row that the parts of one request amount to, priced; received is the ts of one without a time.';

-- The rows that these requests' parts amount to.
CREATE FUNCTION ccproxy._fold(ids text[]) RETURNS ccproxy.request_metric[]
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off
SET enable_bitmapscan = off
SET jit = off
AS $$
BEGIN
    RETURN ARRAY(
        SELECT (SELECT ccproxy._fold_parts(k.ts, p.kind, p.part_ts, ROW(
                       p.ts, p.response_time_us, p.ttft_us, p.input_tokens, p.cache_read_tokens,
                       p.cache_write_tokens, p.cache_write_1h_tokens, p.output_tokens, p.reasoning_tokens,
                       p.input_cost, p.cache_read_cost, p.cache_write_cost, p.output_cost, p.tool_cost,
                       p.reported_cost, p.price_id, p.status_code, p.parts, p.streaming, p.request_id, p.user_id,
                       p.team_id, p.session_id, p.method, p.path, p.endpoint_type, p.provider, p.user_agent,
                       p.client_ip, p.api_key_hash, p.model, p.model_version, p.service_tier, p.error_type,
                       p.error_message, p.metadata)::ccproxy.request_metric)
                  FROM ccproxy.request_part p
                 WHERE p.request_id = i.id)
          FROM unnest(ids) AS i(id)
         CROSS JOIN LATERAL (SELECT k.ts FROM ccproxy.request_key k WHERE k.request_id = i.id OFFSET 0) AS k);
END
$$;
COMMENT ON FUNCTION ccproxy._fold(text[]) IS
'Internal: the row that each of these requests'' parts amount to, priced.';

-- The rows that are stored under these (ts, request_id); with remove they are
-- deleted. One statement for each partition concerned.
CREATE FUNCTION ccproxy._rows_at(moments timestamptz[], ids text[], remove boolean) RETURNS SETOF ccproxy.request_metric
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off
SET enable_bitmapscan = off
SET enable_nestloop = off -- what is deleted is found by ts, then told by a hash; the look-up knows no other way
SET jit = off
AS $$
DECLARE
    look CONSTANT text := 'SELECT l.* FROM unnest($1, $2) AS m(ts, id) CROSS JOIN LATERAL (SELECT l.* FROM ccproxy.request_log l
        WHERE l.ts = m.ts AND l.request_id = m.id AND l.ts >= $3 AND l.ts < $4 OFFSET 0) AS l';
    take CONSTANT text := 'DELETE FROM ccproxy.request_log l
        WHERE l.ts = ANY (ARRAY(SELECT unnest($1))) AND l.ts >= $3 AND l.ts < $4 AND (l.ts, l.request_id) IN (SELECT m.ts, m.id FROM unnest($1, $2) AS m(ts, id)) RETURNING l.*';
    slot record;
    first integer := 1;
    last  integer;
BEGIN
    SELECT array_agg(m.ts ORDER BY m.ts), array_agg(m.id ORDER BY m.ts) INTO moments, ids
      FROM unnest(moments, ids) AS m(ts, id) WHERE isfinite(m.ts);
    WHILE first <= cardinality(moments) LOOP
        SELECT * INTO slot FROM ccproxy._partition_at(moments[first]);
        last := width_bucket(slot.to_ts - interval '1 microsecond', moments); -- how many are not after that
        IF slot.partition IS NOT NULL THEN
            RETURN QUERY EXECUTE CASE WHEN remove THEN take ELSE look END
                USING moments[first:last], ids[first:last], slot.from_ts, slot.to_ts;
        END IF;
        first := last + 1;
    END LOOP;
END
$$;
COMMENT ON FUNCTION ccproxy._rows_at(timestamptz[], text[], boolean) IS
'Internal: the rows of request_log with these ts and request_id; with remove, those it has deleted.';

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
SET enable_seqscan = off
SET enable_bitmapscan = off
SET jit = off
SET work_mem = '32MB' -- a batch is sorted in memory
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
    there        ccproxy.request_metric[]; -- rows of touched ids at any time of theirs
    folded       ccproxy.request_metric[]; -- what they are to be
    leave        record; -- where rows are that belong elsewhere
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
                   AND NOT EXISTS (SELECT FROM ccproxy.request_key k WHERE k.request_id = (e.metric).request_id OFFSET 0) AS is_direct
              FROM unnest(events) AS e) AS x;

    -- 1. Who merges claims the ids, in order, before anything is written.
    claimed := ccproxy._claim(merged);

    -- 2. The plain rows.
    IF direct IS NOT NULL THEN
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
        -- parts: then the event is one more.
        IF cardinality(direct) > coalesce(cardinality(stored), 0) THEN
            late := ARRAY(
                WITH left_over AS MATERIALIZED (
                    SELECT e AS event, e.part_ts, (e.metric).request_id FROM unnest(direct) AS e
                     WHERE e.ord NOT IN (SELECT unnest(stored))
                ), moment AS (
                    SELECT array_agg(m.part_ts) AS moments, array_agg(m.request_id) AS ids
                      FROM (SELECT DISTINCT o.part_ts, o.request_id FROM left_over o) AS m
                )
                SELECT o.event
                  FROM moment m
                 CROSS JOIN LATERAL ccproxy._rows_at(m.moments, m.ids, false) AS l
                  JOIN left_over o ON o.part_ts = l.ts AND o.request_id = l.request_id
                 WHERE l.parts IS NOT NULL);
            claimed := claimed || ccproxy._claim(late);
            merged := merged || late;
        END IF;
        RETURN QUERY
            SELECT e.ord, CASE WHEN e.ord IN (SELECT unnest(stored)) THEN 'accepted' ELSE 'duplicate' END
              FROM unnest(direct) AS e
             WHERE e.ord NOT IN (SELECT m.ord FROM unnest(late) AS m);
    END IF;
    IF merged IS NULL OR merged = '{}' THEN
        RETURN;
    END IF;

    -- 3. Their parts.
    WITH given AS MATERIALIZED (
        SELECT min(e.ord) AS given_ord, array_agg(e.ord) AS ords, (e.metric).request_id, e.kind,
               coalesce(e.part_ts, '-infinity') AS part_ts, ccproxy._digest(e.metric) AS digest,
               (array_agg(e.metric))[1] AS metric
          FROM unnest(merged) AS e
         GROUP BY 3, 4, 5, 6
    ), fresh AS MATERIALIZED (
        SELECT g.*, k.n + row_number() OVER (PARTITION BY g.request_id ORDER BY g.given_ord) AS nth
          FROM given g
         CROSS JOIN LATERAL (SELECT count(*) AS n FROM ccproxy.request_part p WHERE p.request_id = g.request_id) AS k
         WHERE NOT EXISTS (SELECT FROM ccproxy.request_part p
                            WHERE p.request_id = g.request_id AND p.kind = g.kind
                              AND p.part_ts = g.part_ts AND p.digest = g.digest
                           OFFSET 0)
    ), inserted AS (
        INSERT INTO ccproxy.request_part
        SELECT (f.metric).*, f.kind, f.part_ts, f.digest FROM fresh f WHERE f.nth <= max_parts
        ON CONFLICT DO NOTHING
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
        there := ARRAY(
            SELECT l
              FROM (SELECT array_agg(m.ts) AS moments, array_agg(m.id) AS ids
                      FROM (SELECT t.id, p.ts
                              FROM unnest(touched) AS t(id)
                             CROSS JOIN LATERAL (SELECT p.part_ts AS ts FROM ccproxy.request_part p WHERE p.request_id = t.id OFFSET 0) AS p
                            UNION
                            SELECT t.id, k.ts
                              FROM unnest(touched) AS t(id)
                             CROSS JOIN LATERAL (SELECT k.ts FROM ccproxy.request_key k WHERE k.request_id = t.id OFFSET 0) AS k) AS m) AS m
             CROSS JOIN LATERAL ccproxy._rows_at(m.moments, m.ids, false) AS l);
        INSERT INTO ccproxy.request_part
        SELECT w.*, CASE WHEN w.parts IS NULL THEN 6 ELSE 0 END, w.ts, ccproxy._digest(w)
          FROM unnest(there) AS w
         WHERE w.parts IS NULL OR w.request_id IN (SELECT unnest(claimed))
        ON CONFLICT DO NOTHING;

        folded := ccproxy._fold(touched);
        INSERT INTO ccproxy.request_key AS k (request_id, ts)
        SELECT f.request_id, f.ts
          FROM unnest(folded) AS f
         CROSS JOIN LATERAL (SELECT FROM ccproxy.request_key k WHERE k.request_id = f.request_id AND k.ts <> f.ts OFFSET 0) AS k
        ON CONFLICT (request_id) DO UPDATE SET ts = excluded.ts;
        SELECT array_agg(w.ts) AS moments, array_agg(w.request_id) AS ids INTO leave
          FROM unnest(there) AS w JOIN unnest(folded) AS f ON f.request_id = w.request_id
         WHERE f.ts <> w.ts;
        IF leave.ids IS NOT NULL THEN
            INSERT INTO ccproxy.dirty_minute (minute)
            SELECT DISTINCT ccproxy._bucket('m', g.ts) FROM ccproxy._rows_at(leave.moments, leave.ids, true) AS g;
        END IF;

        WITH written AS (
            INSERT INTO ccproxy.request_log AS l
            SELECT f.* FROM unnest(folded) AS f ORDER BY f.ts, f.request_id
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
                            WHERE p.request_id = l.request_id AND p.kind = 6 AND p.part_ts = l.ts OFFSET 0)
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
        SELECT e.ord, CASE WHEN e.ord IN (SELECT unnest(stored)) THEN 'accepted'
                           WHEN e.ord IN (SELECT unnest(refused)) THEN 'rejected' ELSE 'duplicate' END
          FROM unnest(merged) AS e;
END
$$;
COMMENT ON FUNCTION ccproxy.merge_events(ccproxy.request_event[]) IS
'Stores events that may be duplicates or parts of requests: returns for each ord whether it was accepted, is a duplicate of what is stored, or was rejected as one part too many of its request (more than 100). Commutative, associative and idempotent within the part window; counts take the greatest, other fields the value of highest (kind, part_ts); rows are priced here. Errors: 22023 without request_id or with an unknown kind, 23514 when a partition is missing (call ensure_partitions first).';

CREATE FUNCTION ccproxy.merge_each(events ccproxy.request_event[])
RETURNS TABLE (ord integer, outcome text, code text, reason text, "constraint" text)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    event ccproxy.request_event;
BEGIN
    FOREACH event IN ARRAY coalesce(events, '{}') LOOP
        ord := event.ord;
        code := NULL;
        reason := NULL;
        "constraint" := NULL;
        BEGIN
            outcome := (SELECT m.outcome FROM ccproxy.merge_events(ARRAY[event]) AS m);
        EXCEPTION WHEN OTHERS THEN
            outcome := 'error';
            GET STACKED DIAGNOSTICS code = RETURNED_SQLSTATE, reason = MESSAGE_TEXT, "constraint" = CONSTRAINT_NAME;
        END;
        RETURN NEXT;
    END LOOP;
END
$$;
COMMENT ON FUNCTION ccproxy.merge_each(ccproxy.request_event[]) IS
'merge_events() for one event after the other, each of which may fail by itself: then the outcome is error, code its SQLSTATE, reason its message and constraint the constraint''s name, and nothing of it is stored. Whoever calls it decides whether such an error is the row''s own; when it is not, he should roll back. Slower than merge_events(): for finding what keeps that from storing a batch.';
