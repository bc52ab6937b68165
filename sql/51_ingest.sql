-- Writing with plain SQL: JSON events, and INSERT or COPY into the view.

CREATE FUNCTION ccproxy.decode_events(events jsonb, hash_secret bytea, oldest timestamptz, received timestamptz)
RETURNS TABLE (ord integer, event ccproxy.request_event, field text, reason text, id_made boolean)
AS 'MODULE_PATHNAME', 'ccproxy_decode_events' LANGUAGE C VOLATILE STRICT;
COMMENT ON FUNCTION ccproxy.decode_events(jsonb, bytea, timestamptz, timestamptz) IS
'Validates events (one object or an array): for each, by position from 0, either the event or the field and reason it was refused for. Keys are the columns of ccproxy.requests, timestamp for ts, optional kind, api_key or authorization. API keys leave as keyed hashes. Events older than oldest are refused; more than 5 minutes after received they get received as their time. An event none of whose fields has a value is refused. id_made: the event had no request_id and was given one.';

-- Events before this are refused: older than the retention, or of a time whose
-- raw rows have been dropped.
CREATE FUNCTION ccproxy._oldest_event() RETURNS timestamptz
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT greatest(now() - c.retention, s.raw_from) FROM ccproxy.configuration c, ccproxy.rollup_state s
$$;

CREATE FUNCTION ccproxy.ingest(events jsonb,
    OUT accepted bigint, OUT duplicates bigint, OUT rejected bigint, OUT errors jsonb, OUT request_ids jsonb)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    good   ccproxy.request_event[];
    config ccproxy.configuration;
    beyond jsonb; -- parts too many of their request
BEGIN
    IF events IS NULL OR jsonb_typeof(events) NOT IN ('object', 'array') THEN
        RAISE EXCEPTION 'events must be a JSON object or an array of objects'
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    SELECT * INTO STRICT config FROM ccproxy.configuration;

    SELECT array_agg(d.event ORDER BY d.ord) FILTER (WHERE d.reason IS NULL),
           count(d.reason),
           coalesce(jsonb_agg(jsonb_build_object('index', d.ord, 'field', d.field, 'reason', d.reason) ORDER BY d.ord)
                    FILTER (WHERE d.reason IS NOT NULL AND d.nth_error <= 100), '[]'),
           coalesce(jsonb_object_agg(d.ord, ((d.event).metric).request_id) FILTER (WHERE d.id_made AND d.reason IS NULL), '{}')
      INTO good, rejected, errors, request_ids
      FROM (SELECT *, count(x.reason) OVER (ORDER BY x.ord) AS nth_error
              FROM ccproxy.decode_events(events, config.hash_secret, ccproxy._oldest_event(), now()) AS x) AS d;

    accepted := 0;
    duplicates := 0;
    IF good IS NOT NULL THEN
        PERFORM ccproxy.ensure_partitions(x.hour, x.hour)
           FROM (SELECT DISTINCT ccproxy._bucket('h', coalesce(e.part_ts, now())) AS hour FROM unnest(good) AS e) AS x;
        SELECT count(*) FILTER (WHERE m.outcome = 'accepted'), count(*) FILTER (WHERE m.outcome = 'duplicate'),
               jsonb_agg(jsonb_build_object('index', m.ord, 'field', '', 'reason', 'is one part too many of its request') ORDER BY m.ord)
                    FILTER (WHERE m.outcome = 'rejected')
          INTO accepted, duplicates, beyond
          FROM ccproxy.merge_events(good) AS m;
        IF beyond IS NOT NULL THEN
            rejected := rejected + jsonb_array_length(beyond);
            errors := jsonb_path_query_array(errors || beyond, '$[0 to 99]');
        END IF;
    END IF;
END
$$;
COMMENT ON FUNCTION ccproxy.ingest(jsonb) IS
'Stores one event (object) or several (array). Keys are the columns of ccproxy.requests, timestamp for ts, optional kind (request, response, error, token_usage, cost; complete when absent), api_key or authorization (kept only as a keyed hash). Returns how many were accepted, were duplicates (nothing changed) and were rejected, the first 100 errors as [{index, field, reason}], and the ids made for events without one as {index: id}. One bad event harms no other. Errors: 22023 when events is neither an object nor an array.';

CREATE FUNCTION ccproxy.requests_insert() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    config  ccproxy.configuration;
    decoded record;
BEGIN
    SELECT * INTO STRICT config FROM ccproxy.configuration;
    SELECT * INTO STRICT decoded
      FROM ccproxy.decode_events((to_jsonb(NEW) - 'ts') || jsonb_build_object('timestamp', NEW.ts),
                                 config.hash_secret, ccproxy._oldest_event(), now());
    IF decoded.reason IS NOT NULL THEN
        RAISE EXCEPTION '%', concat_ws(': ', CASE decoded.field WHEN 'timestamp' THEN 'ts' ELSE nullif(decoded.field, '') END, decoded.reason)
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    PERFORM ccproxy.ensure_partitions(coalesce((decoded.event).part_ts, now()), coalesce((decoded.event).part_ts, now()));
    IF (SELECT m.outcome FROM ccproxy.merge_events(ARRAY[(decoded.event)::ccproxy.request_event]) AS m) = 'rejected' THEN
        RAISE EXCEPTION 'request_id: is one part too many of its request'
            USING ERRCODE = 'program_limit_exceeded';
    END IF;
    RETURN NEW;
END
$$;
COMMENT ON FUNCTION ccproxy.requests_insert() IS
'Internal: INSERT and COPY into ccproxy.requests, validated, priced and merged as ingest() does. Errors: 22023 naming the column.';
