-- Prices: the catalogue as rows, users' own prices, changing them.

CREATE DOMAIN ccproxy.rate AS numeric
    CONSTRAINT "0 to 9000000 USD per million tokens, at most 12 decimals"
    CHECK (VALUE >= 0 AND VALUE <= 9000000 AND pg_catalog.min_scale(VALUE) <= 12);
COMMENT ON DOMAIN ccproxy.rate IS 'USD per million tokens, at most twelve decimals.';

CREATE DOMAIN ccproxy.call_rate AS numeric
    CONSTRAINT "0 to 9000 USD per 1000 calls, at most 15 decimals"
    CHECK (VALUE >= 0 AND VALUE <= 9000 AND pg_catalog.min_scale(VALUE) <= 15);
COMMENT ON DOMAIN ccproxy.call_rate IS 'USD per 1,000 calls, at most fifteen decimals.';

CREATE TYPE ccproxy.price_row AS (
    price_id             ccproxy.price_id,
    precedence           integer,
    provider             text,
    model                text,
    match                text,
    service_tier         text,
    context_from         bigint,
    context_inclusive    boolean,
    effective_from       timestamptz,
    effective_to         timestamptz,
    window_from          time,
    window_to            time,
    multipliers          jsonb,
    input_mtok           numeric,
    cache_read_mtok      numeric,
    cache_write_mtok     numeric,
    cache_write_1h_mtok  numeric,
    output_mtok          numeric,
    reasoning_mtok       numeric,
    input_audio_mtok     numeric,
    cache_read_audio_mtok numeric,
    output_audio_mtok    numeric,
    input_image_mtok     numeric,
    output_image_mtok    numeric,
    web_search_kcount    numeric,
    file_search_kcount   numeric,
    per_request_kcount   numeric,
    source               text,
    note                 text,
    shipped              boolean
);
COMMENT ON TYPE ccproxy.price_row IS
'One price: rates in USD per million tokens (_mtok) or per 1,000 calls (_kcount), NULL where there is none.';

CREATE FUNCTION ccproxy._prices() RETURNS SETOF ccproxy.price_row
AS 'MODULE_PATHNAME', 'ccproxy_prices' LANGUAGE C STABLE PARALLEL RESTRICTED ROWS 1000;
COMMENT ON FUNCTION ccproxy._prices() IS 'All prices in the order of the catalogue; see the view ccproxy.prices.';

CREATE VIEW ccproxy.prices AS SELECT * FROM ccproxy._prices();
COMMENT ON VIEW ccproxy.prices IS
'Every price costs are computed from: shipped ones, with their closings applied, and users'' own (ccproxy.price). Among those that match a request the higher precedence wins.';

CREATE FUNCTION ccproxy.price_lines() RETURNS SETOF text
AS 'MODULE_PATHNAME', 'ccproxy_price_lines' LANGUAGE C STABLE PARALLEL RESTRICTED ROWS 1000;
COMMENT ON FUNCTION ccproxy.price_lines() IS
'The catalogue for gateways: one line of pricing/price_parse.h per price and alias. Listen on ccproxy_prices to learn of changes.';

CREATE FUNCTION ccproxy.price_catalogue_version() RETURNS bigint
AS 'MODULE_PATHNAME', 'ccproxy_price_catalogue_version' LANGUAGE C STABLE PARALLEL SAFE;
COMMENT ON FUNCTION ccproxy.price_catalogue_version() IS
'A digest of the prices in effect: the same number means the same prices.';

CREATE FUNCTION ccproxy._price_changed() RETURNS trigger
AS 'MODULE_PATHNAME', 'ccproxy_price_changed' LANGUAGE C;
COMMENT ON FUNCTION ccproxy._price_changed() IS
'Statement trigger on users'' prices: invalidates every backend''s catalogue and notifies ccproxy_prices.';

-- Prices are history: what was in effect is closed, never changed.
CREATE FUNCTION ccproxy._price_guard() RETURNS trigger LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF TG_OP = 'DELETE' THEN
        IF OLD.effective_from <= now() THEN
            RAISE EXCEPTION 'price % has been in effect and stays', OLD.price_id
                USING ERRCODE = 'restrict_violation',
                      HINT = 'Requests name the price they were charged by. End it with ccproxy.close_price().';
        END IF;
        RETURN OLD;
    END IF;
    IF (to_jsonb(NEW) - 'effective_to' - 'note') IS DISTINCT FROM (to_jsonb(OLD) - 'effective_to' - 'note') THEN
        RAISE EXCEPTION 'price % cannot be changed, only closed', OLD.price_id
            USING ERRCODE = 'restrict_violation',
                  HINT = 'Set the new one with ccproxy.set_price(): it closes the old one and keeps it.';
    END IF;
    RETURN NEW;
END $$;
COMMENT ON FUNCTION ccproxy._price_guard() IS 'Row trigger on ccproxy.price: only effective_to and note may change.';

CREATE FUNCTION ccproxy._create_pricing_tables() RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp SET client_min_messages = warning AS $$
BEGIN
    CREATE SEQUENCE IF NOT EXISTS ccproxy.price_id_seq AS integer MINVALUE 1000000;
    COMMENT ON SEQUENCE ccproxy.price_id_seq IS 'Ids of prices of your own, from 1000000 on; those below are shipped.';
    CREATE TABLE IF NOT EXISTS ccproxy.price (
        price_id              ccproxy.price_id PRIMARY KEY DEFAULT nextval('ccproxy.price_id_seq'),
        precedence            integer NOT NULL DEFAULT 100 CHECK (precedence <> 0),
        provider              text NOT NULL DEFAULT '' CHECK (octet_length(provider) <= 256),
        model                 text NOT NULL CHECK (octet_length(model) BETWEEN 1 AND 256),
        match                 text NOT NULL DEFAULT 'exact' CHECK (match IN ('exact', 'prefix', 'suffix', 'contains')),
        service_tier          text NOT NULL DEFAULT 'standard' CHECK (octet_length(service_tier) BETWEEN 1 AND 256),
        context_from          bigint NOT NULL DEFAULT 0 CHECK (context_from >= 0),
        context_inclusive     boolean NOT NULL DEFAULT true,
        effective_from        timestamptz NOT NULL DEFAULT '-infinity',
        effective_to          timestamptz NOT NULL DEFAULT 'infinity',
        window_from           time,
        window_to             time,
        multipliers           jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(multipliers) = 'object'),
        input_mtok            ccproxy.rate,
        cache_read_mtok       ccproxy.rate,
        cache_write_mtok      ccproxy.rate,
        cache_write_1h_mtok   ccproxy.rate,
        output_mtok           ccproxy.rate,
        reasoning_mtok        ccproxy.rate,
        input_audio_mtok      ccproxy.rate,
        cache_read_audio_mtok ccproxy.rate,
        output_audio_mtok     ccproxy.rate,
        input_image_mtok      ccproxy.rate,
        output_image_mtok     ccproxy.rate,
        web_search_kcount     ccproxy.call_rate,
        file_search_kcount    ccproxy.call_rate,
        per_request_kcount    ccproxy.call_rate,
        source                text,
        note                  text,
        created_at            timestamptz NOT NULL DEFAULT now(),
        created_by            name NOT NULL DEFAULT current_user,
        CHECK (price_id >= 1000000),
        CHECK (effective_from <= effective_to),
        CHECK ((window_from IS NULL) = (window_to IS NULL) AND window_from <> window_to),
        CHECK (date_trunc('minute', window_from::interval) = window_from::interval
           AND date_trunc('minute', window_to::interval) = window_to::interval)
    );
    ALTER SEQUENCE ccproxy.price_id_seq OWNED BY ccproxy.price.price_id;
    CREATE INDEX IF NOT EXISTS price_model_idx ON ccproxy.price (model, provider, precedence);
    CREATE TABLE IF NOT EXISTS ccproxy.price_closing (
        price_id     ccproxy.price_id PRIMARY KEY CHECK (price_id < 1000000),
        effective_to timestamptz NOT NULL,
        note         text,
        created_at   timestamptz NOT NULL DEFAULT now(),
        created_by   name NOT NULL DEFAULT current_user
    );
    COMMENT ON TABLE ccproxy.price IS
        'Users'' own prices. Use ccproxy.set_price(), close_price() and import_prices(); rows are history and only closed, never changed.';
    COMMENT ON TABLE ccproxy.price_closing IS
        'Shipped prices that are to end, and when. Use ccproxy.close_price().';
    CREATE OR REPLACE TRIGGER price_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON ccproxy.price
        FOR EACH STATEMENT EXECUTE FUNCTION ccproxy._price_changed();
    CREATE OR REPLACE TRIGGER price_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON ccproxy.price_closing
        FOR EACH STATEMENT EXECUTE FUNCTION ccproxy._price_changed();
    -- on a logical subscriber, too, where other triggers rest
    ALTER TABLE ccproxy.price ENABLE ALWAYS TRIGGER price_changed;
    ALTER TABLE ccproxy.price_closing ENABLE ALWAYS TRIGGER price_changed;
    CREATE OR REPLACE TRIGGER price_guard BEFORE UPDATE OR DELETE ON ccproxy.price
        FOR EACH ROW EXECUTE FUNCTION ccproxy._price_guard();
    IF to_regclass('ccproxy.request_log') IS NOT NULL THEN
        PERFORM ccproxy._create_pricing_views();
    END IF;
END $$;
REVOKE ALL ON FUNCTION ccproxy._create_pricing_tables() FROM PUBLIC;
COMMENT ON FUNCTION ccproxy._create_pricing_tables() IS
'Makes the tables of users'' prices and the views on costs where they are missing; called by ccproxy.create_metrics_table().';

-- Insert a price after closing what it replaces. The caller holds the lock.
CREATE FUNCTION ccproxy._put_price(new_price ccproxy.price_row) RETURNS ccproxy.price_id LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    p      ccproxy.price_row := new_price;
    found_price record;
    result ccproxy.price_id;
    until  timestamptz;
    same_key CONSTANT text := 'precedence provider model match service_tier context_from context_inclusive window_from window_to';
BEGIN
    -- what was set from exactly then: the same again is no change
    SELECT * INTO found_price FROM ccproxy.price o
    WHERE (o.precedence, o.provider, o.model, o.match, o.service_tier, o.context_from, o.context_inclusive, o.effective_from)
        = (p.precedence, p.provider, p.model, p.match, p.service_tier, p.context_from, p.context_inclusive, p.effective_from)
      AND o.window_from IS NOT DISTINCT FROM p.window_from AND o.window_to IS NOT DISTINCT FROM p.window_to;
    IF FOUND THEN
        IF ccproxy._price_rates(to_jsonb(found_price)) = ccproxy._price_rates(to_jsonb(p)) THEN
            RETURN found_price.price_id;
        END IF;
        RAISE EXCEPTION 'model "%" already has a price from %', p.model, p.effective_from
            USING ERRCODE = 'unique_violation',
                  DETAIL = format('It is price %s; prices are closed, never changed.', found_price.price_id),
                  HINT = 'Give another effective_from.';
    END IF;
    -- what is in effect then and says the same already
    SELECT * INTO found_price FROM ccproxy.price o
    WHERE (o.precedence, o.provider, o.model, o.match, o.service_tier, o.context_from, o.context_inclusive)
        = (p.precedence, p.provider, p.model, p.match, p.service_tier, p.context_from, p.context_inclusive)
      AND o.window_from IS NOT DISTINCT FROM p.window_from AND o.window_to IS NOT DISTINCT FROM p.window_to
      AND o.effective_from < p.effective_from AND o.effective_to > p.effective_from
    ORDER BY o.effective_from DESC LIMIT 1;
    IF FOUND AND ccproxy._price_rates(to_jsonb(found_price)) = ccproxy._price_rates(to_jsonb(p))
       AND found_price.effective_to >= p.effective_to THEN
        RETURN found_price.price_id;
    END IF;
    UPDATE ccproxy.price o SET effective_to = p.effective_from
    WHERE (o.precedence, o.provider, o.model, o.match, o.service_tier, o.context_from, o.context_inclusive)
        = (p.precedence, p.provider, p.model, p.match, p.service_tier, p.context_from, p.context_inclusive)
      AND o.window_from IS NOT DISTINCT FROM p.window_from AND o.window_to IS NOT DISTINCT FROM p.window_to
      AND o.effective_from < p.effective_from AND o.effective_to > p.effective_from;
    -- a price that was announced for later still comes
    SELECT least(min(o.effective_from), p.effective_to) INTO until FROM ccproxy.price o
    WHERE (o.precedence, o.provider, o.model, o.match, o.service_tier, o.context_from, o.context_inclusive)
        = (p.precedence, p.provider, p.model, p.match, p.service_tier, p.context_from, p.context_inclusive)
      AND o.window_from IS NOT DISTINCT FROM p.window_from AND o.window_to IS NOT DISTINCT FROM p.window_to
      AND o.effective_from > p.effective_from;
    INSERT INTO ccproxy.price (precedence, provider, model, match, service_tier, context_from, context_inclusive,
        effective_from, effective_to, window_from, window_to, multipliers, input_mtok, cache_read_mtok, cache_write_mtok,
        cache_write_1h_mtok, output_mtok, reasoning_mtok, input_audio_mtok, cache_read_audio_mtok, output_audio_mtok,
        input_image_mtok, output_image_mtok, web_search_kcount, file_search_kcount, per_request_kcount, source, note)
    VALUES (p.precedence, p.provider, p.model, p.match, p.service_tier, p.context_from, p.context_inclusive,
        p.effective_from, until, p.window_from, p.window_to, p.multipliers, p.input_mtok, p.cache_read_mtok, p.cache_write_mtok,
        p.cache_write_1h_mtok, p.output_mtok, p.reasoning_mtok, p.input_audio_mtok, p.cache_read_audio_mtok, p.output_audio_mtok,
        p.input_image_mtok, p.output_image_mtok, p.web_search_kcount, p.file_search_kcount, p.per_request_kcount, p.source, p.note)
    RETURNING price_id INTO result;
    RETURN result;
END $$;
COMMENT ON FUNCTION ccproxy._put_price(ccproxy.price_row) IS
'Inserts a price and closes the one it replaces; returns the one that is there when it says the same.';

-- What a price charges, as one comparable value.
CREATE FUNCTION ccproxy._price_rates(price jsonb) RETURNS jsonb LANGUAGE sql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
RETURN (SELECT jsonb_object_agg(k, v) FROM jsonb_each(price) AS e(k, v)
        WHERE (k LIKE '%\_mtok' OR k LIKE '%\_kcount' OR k = 'multipliers') AND v <> 'null'::jsonb);
COMMENT ON FUNCTION ccproxy._price_rates(jsonb) IS 'The rates and multipliers of a price given as JSON.';

CREATE FUNCTION ccproxy.set_price(
    model                 text,
    input                 ccproxy.rate DEFAULT NULL,
    output                ccproxy.rate DEFAULT NULL,
    cache_read            ccproxy.rate DEFAULT NULL,
    cache_write           ccproxy.rate DEFAULT NULL,
    cache_write_1h        ccproxy.rate DEFAULT NULL,
    provider              text DEFAULT '',
    service_tier          text DEFAULT 'standard',
    context_from          bigint DEFAULT 0,
    effective_from        timestamptz DEFAULT pg_catalog.now(),
    effective_to          timestamptz DEFAULT 'infinity',
    match                 text DEFAULT 'exact',
    precedence            integer DEFAULT 100,
    context_inclusive     boolean DEFAULT NULL,
    window_from           time DEFAULT NULL,
    window_to             time DEFAULT NULL,
    multipliers           jsonb DEFAULT '{}',
    reasoning             ccproxy.rate DEFAULT NULL,
    input_audio           ccproxy.rate DEFAULT NULL,
    cache_read_audio      ccproxy.rate DEFAULT NULL,
    output_audio          ccproxy.rate DEFAULT NULL,
    input_image           ccproxy.rate DEFAULT NULL,
    output_image          ccproxy.rate DEFAULT NULL,
    web_search            ccproxy.call_rate DEFAULT NULL,
    file_search           ccproxy.call_rate DEFAULT NULL,
    per_request           ccproxy.call_rate DEFAULT NULL,
    source                text DEFAULT NULL,
    note                  text DEFAULT NULL
) RETURNS ccproxy.price_id LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF coalesce(input, output, per_request, output_image) IS NULL THEN
        RAISE EXCEPTION 'a price needs at least an input or an output rate'
            USING ERRCODE = 'null_value_not_allowed', HINT = 'A model that costs nothing has rates of 0.';
    END IF;
    LOCK TABLE ccproxy.price IN SHARE ROW EXCLUSIVE MODE;
    RETURN ccproxy._put_price(ROW(NULL, precedence, ccproxy._canonical_provider(coalesce(provider, '')), lower(model), match,
        lower(service_tier), context_from, coalesce(context_inclusive, context_from = 0), effective_from, effective_to,
        window_from, window_to, multipliers, input, cache_read, cache_write, cache_write_1h, output, reasoning, input_audio,
        cache_read_audio, output_audio, input_image, output_image, web_search, file_search, per_request, source, note, false
        )::ccproxy.price_row);
END $$;
COMMENT ON FUNCTION ccproxy.set_price IS
'Sets a price of your own: rates in USD per million tokens (searches and requests per 1,000), from effective_from on. The price it replaces is closed then, not changed; one announced for later still comes. Returns the id of the price, the old one''s when nothing changes. provider '''' means any. context_from: for prompts of more tokens than that. Stored costs stay as they are; see ccproxy.reprice().';

CREATE FUNCTION ccproxy._canonical_provider(provider text) RETURNS text
AS 'MODULE_PATHNAME', 'ccproxy_canonical_provider' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION ccproxy._canonical_provider(text) IS 'The name a provider''s prices are kept under: bedrock is aws.';

CREATE FUNCTION ccproxy.close_price(
    price_id ccproxy.price_id,
    at       timestamptz DEFAULT pg_catalog.now(),
    note     text DEFAULT NULL
) RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
BEGIN
    IF price_id >= 1000000 THEN
        UPDATE ccproxy.price p SET effective_to = greatest(p.effective_from, at), note = coalesce(close_price.note, p.note)
        WHERE p.price_id = close_price.price_id;
    ELSIF EXISTS (SELECT FROM ccproxy._prices() p WHERE p.price_id = close_price.price_id) THEN
        INSERT INTO ccproxy.price_closing AS c (price_id, effective_to, note) VALUES (price_id, at, note)
        ON CONFLICT ON CONSTRAINT price_closing_pkey DO UPDATE SET effective_to = excluded.effective_to, note = excluded.note;
    END IF;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'price % does not exist', price_id USING ERRCODE = 'undefined_object';
    END IF;
END $$;
COMMENT ON FUNCTION ccproxy.close_price(ccproxy.price_id, timestamptz, text) IS
'Ends a price, your own or a shipped one, at that time. Requests from then on are priced by what remains, or not at all.';
