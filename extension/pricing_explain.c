/*
 * explain_cost(): how a cost comes about, row by row.
 *
 * Entered by backends. It prices with the same functions as cost() and writes
 * down what they chose, so it cannot tell another story.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/numeric.h"
#include "utils/timestamp.h"

#include "extension/pricing.h"

#define COLUMNS	7

PG_FUNCTION_INFO_V1(ccproxy_explain_cost);

struct explanation
{
	struct pricing_result result;
	StringInfoData text;
};

/* A row: part, units, rate, multiplier, cost, price_id, explanation. */
static void
add(struct explanation *e, const char *part, int64 units, int64 rate_atto, bool per_call, int64 multiplier_ppm,
	Datum cost, bool has_cost, int32 price_id)
{
	Datum		v[COLUMNS] = {0};
	bool		null[COLUMNS] = {false};

	v[0] = CStringGetTextDatum(part);
	null[1] = units < 0;
	v[1] = Int64GetDatum(units);
	null[2] = rate_atto < 0;
	if (!null[2])
		v[2] = DirectFunctionCall1(numeric_trim_scale,
								   NumericGetDatum(int64_div_fast_to_numeric(rate_atto, per_call ? 15 : 12)));
	null[3] = multiplier_ppm < 0;
	if (!null[3])
		v[3] = DirectFunctionCall1(numeric_trim_scale, NumericGetDatum(int64_div_fast_to_numeric(multiplier_ppm, 6)));
	null[4] = !has_cost;
	v[4] = cost;
	null[5] = price_id == 0;
	v[5] = Int32GetDatum(price_id);
	v[6] = PointerGetDatum(cstring_to_text_with_len(e->text.data, e->text.len));
	pricing_add_result(&e->result, v, null);
	resetStringInfo(&e->text);
}

static void
append_text(StringInfo s, struct price_text t)
{
	appendBinaryStringInfo(s, t.len == 0 ? "" : t.p, (int) t.len);
}

static void
append_time(StringInfo s, int64 us)
{
	appendStringInfoString(s, timestamptz_to_str(pricing_timestamp(us)));
}

/* Which price, and by which rule it matched. */
static void
explain_price(struct explanation *e, const struct price_choice *c, const struct price_request *r)
{
	const struct price_row *row = c->row;
	StringInfo	s = &e->text;

	append_text(s, row->provider.len == 0 ? PRICE_TEXT("any provider") : row->provider);
	appendStringInfoChar(s, ' ');
	append_text(s, row->model);
	appendStringInfo(s, ": the %s model matched by %s", c->served ? "served" : "requested", price_rule_text(c->rule));
	if (row->match != PRICE_MATCH_EXACT)
		appendStringInfo(s, " (%s)", price_match_name(row->match));
	appendStringInfoString(s, "; tier ");
	append_text(s, row->tier);
	if (row->context_from > 0)
		appendStringInfo(s, "; prompts of %s " INT64_FORMAT " tokens, this has " INT64_FORMAT,
						 row->context_inclusive ? "at least" : "more than", row->context_from, c->prompt_tokens);
	if (row->window_from_min != row->window_to_min)
		appendStringInfo(s, "; daily %02d:%02d to %02d:%02d UTC", row->window_from_min / 60, row->window_from_min % 60,
						 row->window_to_min / 60, row->window_to_min % 60);
	if (row->from_us != PRICE_ALWAYS_FROM)
	{
		appendStringInfoString(s, "; from ");
		append_time(s, row->from_us);
	}
	if (row->to_us != PRICE_ALWAYS_TO)
	{
		appendStringInfoString(s, "; until ");
		append_time(s, row->to_us);
	}
	if (row->precedence != 0)
		appendStringInfo(s, "; precedence %d", row->precedence);
	if (row->source.len > 0)
	{
		appendStringInfoString(s, "; source: ");
		append_text(s, row->source);
	}
	if (row->note.len > 0)
	{
		appendStringInfoString(s, "; note: ");
		append_text(s, row->note);
	}
	add(e, "price", -1, -1, false, -1, (Datum) 0, false, row->id);
}

/* units * rate * multiplier, before rounding, in dollars */
static Datum
product(int64 units, int64 rate_atto, int64 multiplier_ppm, bool multiplied)
{
	Datum		usd = DirectFunctionCall2(numeric_mul, NumericGetDatum(int64_to_numeric(units)),
										  NumericGetDatum(int64_div_fast_to_numeric(rate_atto, 18)));

	if (multiplied)
		usd = DirectFunctionCall2(numeric_mul, usd, NumericGetDatum(int64_div_fast_to_numeric(multiplier_ppm, 6)));
	return DirectFunctionCall1(numeric_trim_scale, usd);
}

static void
explain_rates(struct explanation *e, const struct price_choice *c)
{
	for (int i = 0; i < PRICE_RATES; i++)
	{
		bool		per_call = i >= PRICE_FIRST_CALL_RATE;
		bool		multiplied = !per_call && c->multiplier_ppm != 1000000;

		if (c->units[i] == 0)
			continue;
		appendStringInfoString(&e->text, per_call ? "USD per 1,000 calls" : "USD per million tokens");
		if (c->rate_from[i] != i)
			appendStringInfo(&e->text, ", the %s rate: the price has none of its own", price_rate_name(c->rate_from[i]));
		if (c->rate_atto[i] == PRICE_NO_RATE)
			appendStringInfoString(&e->text, ": the price has no rate for these tokens");
		add(e, price_rate_name(i), c->units[i], c->rate_atto[i], per_call, multiplied ? c->multiplier_ppm : -1,
			c->rate_atto[i] < 0 ? (Datum) 0 : product(c->units[i], c->rate_atto[i], c->multiplier_ppm, multiplied),
			c->rate_atto[i] >= 0, 0);
	}
}

Datum
ccproxy_explain_cost(PG_FUNCTION_ARGS)
{
	struct price_request request = {
		.model = pricing_text_arg(fcinfo, 0),
		.provider = pricing_text_arg(fcinfo, 6),
		.service_tier = pricing_text_arg(fcinfo, 7),
		.model_version = pricing_text_arg(fcinfo, 12),
		.at_us = PG_ARGISNULL(8) ? 0 : pricing_time_us(PG_GETARG_TIMESTAMPTZ(8)),
		.usage = {
			.input = pricing_count_arg(fcinfo, 1),
			.output = pricing_count_arg(fcinfo, 2),
			.cache_read = pricing_count_arg(fcinfo, 3),
			.cache_write = pricing_count_arg(fcinfo, 4),
			.cache_write_1h = pricing_count_arg(fcinfo, 5),
			.reasoning = pricing_count_arg(fcinfo, 9),
			.web_searches = pricing_count_arg(fcinfo, 10),
			.file_searches = pricing_count_arg(fcinfo, 11),
		},
	};
	struct explanation e;
	struct price_match match;
	struct price_choice choice = {0};
	struct price_cost cost;
	const struct price_catalogue *catalogue;
	enum price_status status;

	e.result = pricing_begin_result(fcinfo);
	initStringInfo(&e.text);
	catalogue = pricing_state()->catalogue;
	status = PG_ARGISNULL(8) ? PRICE_NO_PRICE_AT_TIME :
		price_resolve(catalogue, request.provider, request.model, request.model_version, &match);
	if (status == PRICE_PRICED)
		status = price_resolved_cost(catalogue, &match, &request, &cost, &choice);

	if (choice.row != NULL)
	{
		explain_price(&e, &choice, &request);
		explain_rates(&e, &choice);
	}
	if (status != PRICE_PRICED)
	{
		appendStringInfoString(&e.text, price_status_text(status));
		add(&e, "unpriced", -1, -1, false, -1, (Datum) 0, false, 0);
		PG_RETURN_NULL();
	}
	for (int bit = 0; bit < PRICE_FLAG_BITS; bit++)
		if (cost.flags & (1u << bit))
			appendStringInfo(&e.text, "%s%s", e.text.len > 0 ? "; " : "fell back: ", price_flag_name(bit));
	add(&e, "total", -1, -1, false, -1, pricing_usd(cost.total_pico), true, cost.price_id);
	PG_RETURN_NULL();
}
