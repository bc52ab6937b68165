-- Importing public price catalogues.

CREATE FUNCTION ccproxy._parse_prices(data text, format text)
RETURNS TABLE (ord integer, entry text, reason text, price ccproxy.price_row)
AS 'MODULE_PATHNAME', 'ccproxy_parse_prices' LANGUAGE C STABLE PARALLEL RESTRICTED ROWS 3000;
COMMENT ON FUNCTION ccproxy._parse_prices(text, text) IS
'The prices of a catalogue in a public format (litellm, genai-prices, NULL: found out), and the entries that are none, with the reason.';

-- A price with its rates times a factor, in as many decimals as a rate has.
CREATE FUNCTION ccproxy._multiply_price(price ccproxy.price_row, factor numeric) RETURNS ccproxy.price_row
LANGUAGE sql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
RETURN jsonb_populate_record(price,
    (SELECT coalesce(jsonb_object_agg(k, trim_scale(round(v::text::numeric * factor, 12))), '{}')
     FROM jsonb_each(to_jsonb(price)) AS e(k, v)
     WHERE (k LIKE '%\_mtok' OR k LIKE '%\_kcount') AND jsonb_typeof(v) = 'number'));
COMMENT ON FUNCTION ccproxy._multiply_price(ccproxy.price_row, numeric) IS 'A price with all rates multiplied: a discount or a margin.';

CREATE FUNCTION ccproxy.import_prices(
    data           jsonb,
    format         text DEFAULT NULL,
    dry_run        boolean DEFAULT false,
    precedence     integer DEFAULT 50,
    effective_from timestamptz DEFAULT pg_catalog.now(),
    multiplier     numeric DEFAULT 1,
    source         text DEFAULT NULL
) RETURNS TABLE (action text, entry text, provider text, model text, match text, service_tier text, context_from bigint,
                 price_id ccproxy.price_id, old_rates jsonb, new_rates jsonb, reason text)
LANGUAGE plpgsql VOLATILE ROWS 3000
SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    from_time CONSTANT timestamptz := effective_from;
    level     CONSTANT integer := precedence;
    p         ccproxy.price_row;
    r         record;
    old       record;
BEGIN
    IF multiplier IS NULL OR multiplier <= 0 OR multiplier > 1000 THEN
        RAISE EXCEPTION 'multiplier must be greater than 0 and at most 1000, got %', multiplier
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF level IS NULL OR level = 0 OR from_time IS NULL THEN
        RAISE EXCEPTION 'precedence must be a number other than 0, and effective_from a time'
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF NOT dry_run THEN
        LOCK TABLE ccproxy.price IN SHARE ROW EXCLUSIVE MODE;
    END IF;
    FOR r IN
        WITH parsed AS (
            SELECT d.ord, d.entry, d.reason, d.price
            FROM ccproxy._parse_prices(data::text, format) d
        )
        SELECT d.ord, d.entry, d.reason, d.price,
               row_number() OVER w AS nth,
               first_value(d.entry) OVER w AS first_entry,
               ccproxy._price_rates(to_jsonb(d.price)) IS NOT DISTINCT FROM first_value(ccproxy._price_rates(to_jsonb(d.price))) OVER w AS same_as_first
        FROM parsed d
        WINDOW w AS (PARTITION BY d.reason IS NULL, CASE WHEN d.reason IS NULL THEN
                        jsonb_build_array((d.price).provider, (d.price).model, (d.price).match, (d.price).service_tier, (d.price).context_from,
                            (d.price).context_inclusive, (d.price).effective_from, (d.price).window_from, (d.price).window_to)
                        ELSE to_jsonb(d.ord) END ORDER BY d.ord)
        ORDER BY d.ord
    LOOP
        action := NULL; price_id := NULL; old_rates := NULL; new_rates := NULL; reason := r.reason;
        entry := r.entry; provider := NULL; model := NULL; match := NULL; service_tier := NULL; context_from := NULL;
        IF r.reason IS NOT NULL THEN
            action := 'skip';
            RETURN NEXT;
            CONTINUE;
        END IF;
        p := r.price;
        p.precedence := level;
        p.source := coalesce(import_prices.source, 'imported ' || to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD'));
        p.effective_from := greatest(p.effective_from, from_time);
        IF p.effective_to <= p.effective_from THEN
            CONTINUE;           -- over before it would begin
        END IF;
        IF multiplier <> 1 THEN
            p := ccproxy._multiply_price(p, multiplier);
        END IF;
        provider := p.provider; model := p.model; match := p.match; service_tier := p.service_tier; context_from := p.context_from;
        new_rates := ccproxy._price_rates(to_jsonb(p));
        IF r.nth > 1 THEN
            CONTINUE WHEN r.same_as_first;
            action := 'skip';
            reason := format('entry "%s" has the same name and other rates', r.first_entry);
            RETURN NEXT;
            CONTINUE;
        END IF;

        -- what of ours is in effect then
        SELECT * INTO old FROM ccproxy.price o
        WHERE (o.precedence, o.provider, o.model, o.match, o.service_tier, o.context_from, o.context_inclusive)
            = (p.precedence, p.provider, p.model, p.match, p.service_tier, p.context_from, p.context_inclusive)
          AND o.window_from IS NOT DISTINCT FROM p.window_from AND o.window_to IS NOT DISTINCT FROM p.window_to
          AND o.effective_from <= p.effective_from AND o.effective_to > p.effective_from
        ORDER BY o.effective_from DESC LIMIT 1;
        IF NOT FOUND THEN
            action := 'add';
        ELSE
            old_rates := ccproxy._price_rates(to_jsonb(old));
            price_id := old.price_id;
            IF old_rates = new_rates THEN
                action := 'same';
            ELSIF old.effective_from = p.effective_from THEN
                action := 'skip';
                reason := format('price %s is in effect from then already; give another effective_from', old.price_id);
            ELSE
                action := 'change';
            END IF;
        END IF;
        IF action IN ('add', 'change') THEN
            price_id := NULL;
            IF NOT dry_run THEN
                price_id := ccproxy._put_price(p);
            END IF;
        END IF;
        RETURN NEXT;
    END LOOP;
END $$;
COMMENT ON FUNCTION ccproxy.import_prices IS
'Imports a public price catalogue: LiteLLM''s model_prices_and_context_window.json or genai-prices'' data (format litellm or genai-prices; NULL finds out). Returns what it did, or with dry_run would do, entry by entry: add, change (the old price is closed), same, or skip with the reason; a bad entry harms no other. Prices are yours (ccproxy.price), in effect from effective_from on; precedence above 0 lets them win over shipped ones, below 0 only fills gaps. multiplier scales all rates: 0.9 is a discount. Importing the same again changes nothing.';
