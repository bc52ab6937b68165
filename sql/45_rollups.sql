-- Rollups: what is asked again and again, worked out once.
--
-- Writers leave a mark (dirty_minute) in the transaction that changes rows of a
-- minute; refresh() takes the marks away and recomputes those minutes from the
-- raw rows, so that late events, parts, retries and repricing need no special
-- case. One row holds a whole bucket: all its cells, packed (ccproxy.cells),
-- keyed by the ids of a label dictionary.
--
--   service cube  endpoint_type, method, model, status_code, error_type
--                 minute -> quarter hour -> hour -> day
--   user cube     user_id, team_id, api_key_hash, model, endpoint_type
--                 hour -> day; minutes as long as their hour is open
--
-- A bucket that still fills is not materialised: up to a watermark per grain
-- (rollup_state) buckets are closed, and from there on they are tiled from the
-- finer grain, or from raw. Below the watermark a bucket without a row is empty.

-- What a grain is called and how long it is.
CREATE FUNCTION ccproxy._grain_length(grain "char") RETURNS interval
LANGUAGE sql IMMUTABLE PARALLEL SAFE -- not STRICT: it would not be inlined
RETURN CASE grain WHEN 'm' THEN interval '1 minute' WHEN 'q' THEN interval '15 minutes'
                  WHEN 'h' THEN interval '1 hour' WHEN 'd' THEN interval '1 day' END;

-- The bucket of this grain that ts lies in (UTC); all grains divide a day.
CREATE FUNCTION ccproxy._bucket(grain "char", ts timestamptz) RETURNS timestamptz
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN pg_catalog.date_bin(CASE grain WHEN 'm' THEN interval '1 minute' WHEN 'q' THEN interval '15 minutes'
                                      WHEN 'h' THEN interval '1 hour' WHEN 'd' THEN interval '1 day' END,
                           ts, timestamptz '2000-01-01 00:00:00+00');

-- From here to there; empty when that is nothing.
CREATE FUNCTION ccproxy._span(from_ts timestamptz, to_ts timestamptz) RETURNS tstzmultirange
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE WHEN from_ts < to_ts THEN pg_catalog.tstzmultirange(pg_catalog.tstzrange(from_ts, to_ts)) WHEN from_ts >= to_ts THEN '{}'::tstzmultirange END;

-- An error's name in statistics: a failure always has one.
CREATE FUNCTION ccproxy._error_label(error_type text, error_message text, status_code integer) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE WHEN error_type IS NOT NULL THEN error_type
            WHEN status_code >= 400 THEN 'http_' || status_code::text
            WHEN error_message IS NOT NULL THEN 'unknown'
            ELSE '' END;

-- What the cells of a cube are labelled with: columns of its keys, and how a raw row r tells them.
CREATE FUNCTION ccproxy._labels(cube text) RETURNS TABLE (nth integer, name text, type text, raw text)
LANGUAGE sql IMMUTABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT l.nth, l.name, l.type, l.raw
      FROM (VALUES
        ('service', 1, 'endpoint_type', 'text', 'coalesce(r.endpoint_type, '''')'),
        ('service', 2, 'method',        'text', 'coalesce(r.method, '''')'),
        ('service', 3, 'model',         'text', 'coalesce(r.model, '''')'),
        ('service', 4, 'status_code',   'integer', 'coalesce(r.status_code, 0)::integer'),
        ('service', 5, 'error_type',    'text', 'ccproxy._error_label(r.error_type, r.error_message, r.status_code)'),
        ('user',    1, 'user_id',       'text', 'coalesce(r.user_id, '''')'),
        ('user',    2, 'team_id',       'text', 'coalesce(r.team_id, '''')'),
        ('user',    3, 'api_key_hash',  'text', 'coalesce(encode(r.api_key_hash, ''hex''), '''')'),
        ('user',    4, 'model',         'text', 'coalesce(r.model, '''')'),
        ('user',    5, 'endpoint_type', 'text', 'coalesce(r.endpoint_type, '''')')) AS l(cube, nth, name, type, raw)
     WHERE l.cube = _labels.cube
$$;

CREATE FUNCTION ccproxy._create_rollup_tables() RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
SET client_min_messages = warning
AS $$
BEGIN
    -- Append-only: never ON CONFLICT, a writer must not rely on a mark that the
    -- refresh is about to take. xid lets a reader skip what was taken even
    -- while an old snapshot keeps the dead marks from being vacuumed.
    CREATE TABLE IF NOT EXISTS ccproxy.dirty_minute (
        minute timestamptz NOT NULL,
        xid    xid8 NOT NULL DEFAULT pg_current_xact_id()
    ) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000, autovacuum_analyze_threshold = 1000000000);
    IF to_regclass('ccproxy.dirty_minute_xid') IS NULL THEN
        CREATE INDEX dirty_minute_xid ON ccproxy.dirty_minute (xid);
    END IF;
    COMMENT ON TABLE ccproxy.dirty_minute IS
    'Minutes (UTC) whose raw rows changed since they were last rolled up; several marks for one are normal. Written by whoever changes rows, in the same transaction.';

    CREATE TABLE IF NOT EXISTS ccproxy.rollup_state (
        singleton         boolean PRIMARY KEY DEFAULT true CHECK (singleton),
        quarters_closed   timestamptz NOT NULL,
        hours_closed      timestamptz NOT NULL,
        days_closed       timestamptz NOT NULL,
        user_hours_closed timestamptz NOT NULL,
        user_days_closed  timestamptz NOT NULL,
        raw_from          timestamptz NOT NULL DEFAULT '-infinity',
        minutes_from      timestamptz NOT NULL DEFAULT '-infinity',
        quarters_from     timestamptz NOT NULL DEFAULT '-infinity',
        hours_from        timestamptz NOT NULL DEFAULT '-infinity',
        marks_from        xid8 NOT NULL DEFAULT '0',
        system_identifier bigint NOT NULL DEFAULT 0,
        refreshed_at      timestamptz,
        behind            boolean NOT NULL DEFAULT false,
        slice_minutes     integer NOT NULL DEFAULT 15,
        discarded_marks   bigint NOT NULL DEFAULT 0,
        lost              tstzmultirange NOT NULL DEFAULT '{}',
        lost_minutes      bigint NOT NULL DEFAULT 0
    );
    COMMENT ON TABLE ccproxy.rollup_state IS
    'One row: up to where buckets are closed (*_closed), from where on detail still exists (*_from), where live marks begin, whether the last refresh left work behind and how many minutes the next may take (slice_minutes), and which times have lost raw rows to a crash of the server (lost; lost_minutes counts minutes that had not been rolled up then).';
    -- History that is posted later than this goes straight into closed buckets.
    INSERT INTO ccproxy.rollup_state (quarters_closed, hours_closed, days_closed, user_hours_closed, user_days_closed)
    VALUES (ccproxy._bucket('q', now()), ccproxy._bucket('h', now()), ccproxy._bucket('d', now()), ccproxy._bucket('h', now()), ccproxy._bucket('d', now()))
    ON CONFLICT DO NOTHING;

    CREATE TABLE IF NOT EXISTS ccproxy.service_key (
        id            integer PRIMARY KEY,
        endpoint_type text NOT NULL,
        method        text NOT NULL,
        model         text NOT NULL,
        status_code   integer NOT NULL,
        error_type    text NOT NULL,
        UNIQUE (model, endpoint_type, method, status_code, error_type)
    );
    COMMENT ON TABLE ccproxy.service_key IS
    'Labels of the service cube''s cells: '''' (status_code 0) for what a request does not have; error_type is http_<status> or unknown for failures without one.';
    CREATE TABLE IF NOT EXISTS ccproxy.user_key (
        id            integer PRIMARY KEY,
        user_id       text NOT NULL,
        team_id       text NOT NULL,
        api_key_hash  text NOT NULL,
        model         text NOT NULL,
        endpoint_type text NOT NULL,
        UNIQUE (user_id, model, api_key_hash, team_id, endpoint_type)
    );
    COMMENT ON TABLE ccproxy.user_key IS
    'Labels of the user cube''s cells: '''' for what a request does not have.';

    CREATE TABLE IF NOT EXISTS ccproxy.rollup_service (
        grain  "char" NOT NULL CHECK (grain IN ('m', 'q', 'h', 'd')),
        bucket timestamptz NOT NULL,
        cells  ccproxy.cells NOT NULL,
        PRIMARY KEY (grain, bucket)
    );
    -- packed already, what is in there does not get smaller
    ALTER TABLE ccproxy.rollup_service ALTER COLUMN cells SET STORAGE EXTERNAL;
    COMMENT ON TABLE ccproxy.rollup_service IS
    'The service cube: grain m(inute), q(uarter hour), h(our) or d(ay), UTC; one row holds all cells of a bucket, keyed by ccproxy.service_key. No row: no requests.';
    CREATE TABLE IF NOT EXISTS ccproxy.rollup_user (
        grain  "char" NOT NULL CHECK (grain IN ('m', 'h', 'd')),
        bucket timestamptz NOT NULL,
        cells  ccproxy.cells NOT NULL,
        PRIMARY KEY (grain, bucket)
    );
    ALTER TABLE ccproxy.rollup_user ALTER COLUMN cells SET STORAGE EXTERNAL;
    COMMENT ON TABLE ccproxy.rollup_user IS
    'The user cube: grain h(our) or d(ay), m(inute) in hours that are not closed, UTC; one row holds all cells of a bucket, keyed by ccproxy.user_key. No row: no requests.';

    CREATE TABLE IF NOT EXISTS ccproxy.counter_total (
        family          text NOT NULL CHECK (family IN ('requests', 'response_time', 'tokens', 'cost', 'model_cost', 'errors')),
        label_values    text[] NOT NULL,
        "true"          numeric NOT NULL,
        exposed         numeric NOT NULL,
        true_sum        numeric NOT NULL DEFAULT 0,
        exposed_sum     numeric NOT NULL DEFAULT 0,
        true_buckets    numeric[],
        exposed_buckets numeric[],
        PRIMARY KEY (family, label_values)
    ) WITH (fillfactor = 50);
    COMMENT ON TABLE ccproxy.counter_total IS
    'Totals of all that was ever rolled up, by label set (see prometheus_samples()): true follows corrections both ways, exposed never falls. They outlive raw rows and rollups.';
END
$$;

-- The live marks: those that no refresh has taken. After a restore into another
-- cluster transaction ids start anew, so the bound holds only for the cluster
-- that set it; clones of a cluster tell that they are another one by a bound that
-- they have not come to.
CREATE FUNCTION ccproxy._marks_from() RETURNS xid8
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN (SELECT CASE WHEN s.system_identifier = c.system_identifier AND s.marks_from <= pg_snapshot_xmax(pg_current_snapshot())
                        THEN s.marks_from ELSE '0' END
              FROM ccproxy.rollup_state s, pg_control_system() c);
END
$$;

CREATE FUNCTION ccproxy.mark_dirty(from_ts timestamptz, to_ts timestamptz) RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    marked bigint;
BEGIN
    IF from_ts IS NULL OR to_ts IS NULL OR NOT isfinite(from_ts) OR NOT isfinite(to_ts) OR from_ts > to_ts THEN
        RAISE EXCEPTION 'from_ts and to_ts must be finite and in order, got % and %', from_ts, to_ts
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    -- The minutes that hold rows now, those that held some at the last refresh
    -- (where minutes have expired, one of each coarser bucket will do), and those
    -- that a refresh may be at: it does not see our change, nor we its buckets.
    INSERT INTO ccproxy.dirty_minute (minute)
    SELECT DISTINCT x.m
      FROM ccproxy.rollup_state s
     CROSS JOIN LATERAL (
           SELECT ccproxy._bucket('m', l.ts) AS m FROM ccproxy.request_log l WHERE l.ts >= from_ts AND l.ts < to_ts
           UNION ALL
           SELECT d.minute FROM ccproxy.dirty_minute d
            WHERE d.xid >= ccproxy._marks_from() AND d.minute >= ccproxy._bucket('m', from_ts) AND d.minute < to_ts
           UNION ALL
           SELECT greatest(r.bucket, ccproxy._bucket('m', from_ts)) FROM ccproxy.rollup_service r
            WHERE (r.grain = 'm'
                   OR r.grain = 'q' AND r.bucket < s.minutes_from
                   OR r.grain = 'd' AND r.bucket < s.quarters_from)
              AND r.bucket >= ccproxy._bucket(r.grain, from_ts) AND r.bucket < to_ts
           UNION ALL
           SELECT greatest(r.bucket, ccproxy._bucket('m', from_ts)) FROM ccproxy.rollup_user r
            WHERE r.grain = 'h' AND r.bucket < s.minutes_from
              AND r.bucket >= ccproxy._bucket('h', from_ts) AND r.bucket < to_ts) AS x
     WHERE x.m >= s.raw_from;
    GET DIAGNOSTICS marked = ROW_COUNT;
    RETURN marked;
END
$$;
COMMENT ON FUNCTION ccproxy.mark_dirty(timestamptz, timestamptz) IS
'For those who change rows of ccproxy.request_log by hand: call it in the same transaction, after the change, with the range of ts that was touched (from_ts <= ts < to_ts), so that statistics follow. Returns how many minutes it marked. Errors: 22023 when the range is not finite or reversed.';
