/*
 * The catalogue as rows: prices() for people, price_lines() for gateways.
 *
 * Entered by backends. Both show what this backend prices with: shipped prices,
 * their closings applied, and users' own.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "funcapi.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/formatting.h"
#include "utils/jsonb.h"
#include "utils/numeric.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

#include "extension/pricing.h"
#include "pricing/price_parse.h"

PG_FUNCTION_INFO_V1(ccproxy_prices);
PG_FUNCTION_INFO_V1(ccproxy_price_lines);
PG_FUNCTION_INFO_V1(ccproxy_price_catalogue_version);

struct pricing_result
pricing_begin_result(FunctionCallInfo fcinfo)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	MemoryContext caller;
	struct pricing_result result;
	Oid			type;
	TupleDesc	desc;
	TypeFuncClass class;

	if (rsinfo == NULL || !IsA(rsinfo, ReturnSetInfo) || !(rsinfo->allowedModes & SFRM_Materialize))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("set-valued function called in context that cannot accept a set")));
	caller = MemoryContextSwitchTo(rsinfo->econtext->ecxt_per_query_memory);
	class = get_call_result_type(fcinfo, &type, &desc);
	if (class == TYPEFUNC_SCALAR)
	{
		desc = CreateTemplateTupleDesc(1);
		TupleDescInitEntry(desc, 1, "", type, -1, 0);
	}
	else if (class != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	result.desc = BlessTupleDesc(desc);
	result.store = tuplestore_begin_heap(true, false, work_mem);
	rsinfo->returnMode = SFRM_Materialize;
	rsinfo->setResult = result.store;
	rsinfo->setDesc = result.desc;
	MemoryContextSwitchTo(caller);
	return result;
}

void
pricing_add_result(const struct pricing_result *result, Datum *values, bool *nulls)
{
	tuplestore_putvalues(result->store, result->desc, values, nulls);
}

static Datum
text_datum(struct price_text t)
{
	return PointerGetDatum(cstring_to_text_with_len(t.len == 0 ? "" : t.p, t.len));
}

static Datum
minute_datum(int16 minute)
{
	return TimeADTGetDatum((TimeADT) minute * USECS_PER_MINUTE);
}

static Datum
multipliers_datum(const struct price_row *row)
{
	StringInfoData json;

	initStringInfo(&json);
	appendStringInfoChar(&json, '{');
	for (int i = 0; i < row->n_multipliers; i++)
	{
		char	   *name = pnstrdup(row->multipliers[i].name.p, row->multipliers[i].name.len);

		appendStringInfo(&json, "%s\"", i > 0 ? ", " : "");
		for (char *c = name; *c != '\0'; c++)
			if (*c != '"' && *c != '\\' && (unsigned char) *c >= ' ')
				appendStringInfoChar(&json, *c);
		appendStringInfo(&json, "\": " INT64_FORMAT ".%06d", row->multipliers[i].ppm / 1000000,
						 (int) (row->multipliers[i].ppm % 1000000));
		while (json.data[json.len - 1] == '0')
			json.data[--json.len] = '\0';
		if (json.data[json.len - 1] == '.')
			json.data[--json.len] = '\0';
	}
	appendStringInfoChar(&json, '}');
	return DirectFunctionCall1(jsonb_in, CStringGetDatum(json.data));
}

/* The columns of ccproxy.price_row. */
void
pricing_row_values(const struct price_row *row, Datum v[PRICING_ROW_COLUMNS], bool null[PRICING_ROW_COLUMNS])
{
	int			n = 0;

	memset(null, 0, PRICING_ROW_COLUMNS * sizeof(*null));
	v[n++] = Int32GetDatum(row->id);
	v[n++] = Int32GetDatum(row->precedence);
	v[n++] = text_datum(row->provider);
	v[n++] = text_datum(row->model);
	v[n++] = CStringGetTextDatum(price_match_name(row->match));
	v[n++] = text_datum(row->tier);
	v[n++] = Int64GetDatum(row->context_from);
	v[n++] = BoolGetDatum(row->context_inclusive);
	v[n++] = TimestampTzGetDatum(pricing_timestamp(row->from_us));
	v[n++] = TimestampTzGetDatum(pricing_timestamp(row->to_us));
	null[n] = null[n + 1] = row->window_from_min == row->window_to_min;
	v[n++] = minute_datum(row->window_from_min);
	v[n++] = minute_datum(row->window_to_min);
	v[n++] = multipliers_datum(row);
	for (int i = 0; i < PRICE_RATES; i++, n++)
	{
		null[n] = row->rate_atto[i] == PRICE_NO_RATE;
		if (!null[n])
			v[n] = DirectFunctionCall1(numeric_trim_scale,
									   NumericGetDatum(int64_div_fast_to_numeric(row->rate_atto[i],
																				 i < PRICE_FIRST_CALL_RATE ? 12 : 15)));
	}
	v[n++] = text_datum(row->source);
	v[n++] = text_datum(row->note);
	v[n++] = BoolGetDatum(row->id < PRICE_FIRST_USER_ID);
	Assert(n == PRICING_ROW_COLUMNS);
}

Datum
ccproxy_prices(PG_FUNCTION_ARGS)
{
	struct pricing_result result = pricing_begin_result(fcinfo);
	const struct pricing_state *state = pricing_state();

	for (size_t i = 0; i < state->n_rows; i++)
	{
		Datum		values[PRICING_ROW_COLUMNS];
		bool		nulls[PRICING_ROW_COLUMNS];

		pricing_row_values(state->rows[i], values, nulls);
		pricing_add_result(&result, values, nulls);
	}
	PG_RETURN_NULL();
}

Datum
ccproxy_price_lines(PG_FUNCTION_ARGS)
{
	struct pricing_result result = pricing_begin_result(fcinfo);
	const struct pricing_state *state = pricing_state();
	char		line[PRICE_MAX_LINE_BYTES];
	size_t		n_aliases;
	const struct price_alias *aliases = price_shipped_aliases(&n_aliases);
	bool		null = false;

	for (size_t i = 0; i < state->n_rows + n_aliases; i++)
	{
		size_t		len = i < state->n_rows ? price_write_row(state->rows[i], line) :
			price_write_alias(&aliases[i - state->n_rows], line);
		Datum		value = PointerGetDatum(cstring_to_text_with_len(line, len));

		pricing_add_result(&result, &value, &null);
	}
	PG_RETURN_NULL();
}

Datum
ccproxy_price_catalogue_version(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT64(pricing_version());
}

PG_FUNCTION_INFO_V1(ccproxy_canonical_provider);

Datum
ccproxy_canonical_provider(PG_FUNCTION_ARGS)
{
	struct price_text name = price_provider_canonical(pricing_text_arg(fcinfo, 0));
	char	   *lower = asc_tolower(name.len == 0 ? "" : name.p, name.len);

	PG_RETURN_TEXT_P(cstring_to_text(lower));
}
