/*
 * cost() and cost_pico(): the pricing core as SQL functions.
 *
 * Entered by backends and parallel workers. The arithmetic and the matching are
 * in pricing/; this file only turns arguments into a price_request and a
 * price_cost into a row. Costs leave as they are computed: picodollars become
 * numeric dollars by moving the decimal point.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "fmgr.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/numeric.h"
#include "utils/timestamp.h"

#include "extension/pricing.h"

/* Decimals of a dollar in a picodollar. */
#define PICO_DECIMALS	12

PG_FUNCTION_INFO_V1(ccproxy_cost);
PG_FUNCTION_INFO_V1(ccproxy_cost_pico);

/* A text argument where it lies, or absent. */
struct price_text
pricing_text_arg(FunctionCallInfo fcinfo, int n)
{
	text	   *t;

	if (PG_ARGISNULL(n))
		return (struct price_text) {NULL, 0};
	t = PG_GETARG_TEXT_PP(n);
	return (struct price_text) {VARDATA_ANY(t), VARSIZE_ANY_EXHDR(t)};
}

int64
pricing_count_arg(FunctionCallInfo fcinfo, int n)
{
	return PG_ARGISNULL(n) ? 0 : PG_GETARG_INT64(n);
}

/* Microseconds of 1970, from a timestamptz that may be infinite. */
int64
pricing_time_us(TimestampTz at)
{
	int64		us;

	if (TIMESTAMP_IS_NOBEGIN(at))
		return PRICE_ALWAYS_FROM;
	if (TIMESTAMP_IS_NOEND(at))
		return PRICE_ALWAYS_TO - 1;
	if (pg_add_s64_overflow(at, (int64) (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * USECS_PER_DAY, &us))
		return PRICE_ALWAYS_TO - 1;
	return us;
}

/* And back: a timestamptz that says always where a price does. */
TimestampTz
pricing_timestamp(int64 us)
{
	if (us == PRICE_ALWAYS_FROM)
		return DT_NOBEGIN;
	if (us >= PRICE_ALWAYS_TO - 1)
		return DT_NOEND;
	return us - (int64) (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * USECS_PER_DAY;
}

/* Picodollars as numeric dollars, twelve decimals. */
Datum
pricing_usd(int64 pico)
{
	return NumericGetDatum(int64_div_fast_to_numeric(pico, PICO_DECIMALS));
}

/* Refuse what only a mistake in the query can cause; the rest is no cost. */
void
pricing_report(enum price_status status)
{
	if (status == PRICE_NEGATIVE_TOKENS || status == PRICE_IMPOSSIBLE_USAGE)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("cannot price the request: %s", price_status_text(status)),
				 errhint("Token counts are disjoint and not negative; reasoning tokens are part of output tokens.")));
	if (status == PRICE_OVERFLOW)
		ereport(ERROR,
				(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
				 errmsg("cannot price the request: %s", price_status_text(status))));
}

static TupleDesc
result_descriptor(FunctionCallInfo fcinfo)
{
	TupleDesc	tupdesc;

	if (get_call_result_type(fcinfo, NULL, &tupdesc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	return BlessTupleDesc(tupdesc);
}

/*
 * cost(model, input_tokens, output_tokens, cache_read_tokens,
 *		cache_write_tokens, cache_write_1h_tokens, provider, service_tier, at)
 */
Datum
ccproxy_cost(PG_FUNCTION_ARGS)
{
	struct price_request request = {
		.model = pricing_text_arg(fcinfo, 0),
		.provider = pricing_text_arg(fcinfo, 6),
		.service_tier = pricing_text_arg(fcinfo, 7),
		.usage = {
			.input = pricing_count_arg(fcinfo, 1),
			.output = pricing_count_arg(fcinfo, 2),
			.cache_read = pricing_count_arg(fcinfo, 3),
			.cache_write = pricing_count_arg(fcinfo, 4),
			.cache_write_1h = pricing_count_arg(fcinfo, 5),
		},
	};
	struct price_cost cost;
	enum price_status status = PRICE_NO_PRICE_AT_TIME;
	TupleDesc	tupdesc = result_descriptor(fcinfo);
	Datum		values[7] = {0};
	bool		nulls[7] = {true, true, true, true, true, true, true};

	if (!PG_ARGISNULL(8))
	{
		request.at_us = pricing_time_us(PG_GETARG_TIMESTAMPTZ(8));
		status = price_request_cost(pricing_state()->catalogue, &request, &cost);
		pricing_report(status);
	}
	if (status == PRICE_PRICED)
	{
		values[0] = pricing_usd(cost.input_pico);
		values[1] = pricing_usd(cost.cache_read_pico);
		values[2] = pricing_usd(cost.cache_write_pico);
		values[3] = pricing_usd(cost.output_pico);
		values[4] = pricing_usd(cost.tool_pico);
		values[5] = pricing_usd(cost.total_pico);
		values[6] = Int32GetDatum(cost.price_id);
		memset(nulls, 0, sizeof(nulls));
	}
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(tupdesc, values, nulls)));
}

/*
 * cost_pico(model, model_version, provider, service_tier, at, input_tokens,
 *			 cache_read_tokens, cache_write_tokens, cache_write_1h_tokens,
 *			 output_tokens, reasoning_tokens)
 *
 * For stored rows: whatever cannot be priced has no cost, and never an error.
 */
Datum
ccproxy_cost_pico(PG_FUNCTION_ARGS)
{
	struct price_request request = {
		.model = pricing_text_arg(fcinfo, 0),
		.model_version = pricing_text_arg(fcinfo, 1),
		.provider = pricing_text_arg(fcinfo, 2),
		.service_tier = pricing_text_arg(fcinfo, 3),
		.usage = {
			.input = pricing_count_arg(fcinfo, 5),
			.cache_read = pricing_count_arg(fcinfo, 6),
			.cache_write = pricing_count_arg(fcinfo, 7),
			.cache_write_1h = pricing_count_arg(fcinfo, 8),
			.output = pricing_count_arg(fcinfo, 9),
			.reasoning = pricing_count_arg(fcinfo, 10),
		},
	};
	struct price_cost cost;
	TupleDesc	tupdesc = result_descriptor(fcinfo);
	Datum		values[6] = {0};
	bool		nulls[6] = {true, true, true, true, true, true};
	bool		has_usage = !PG_ARGISNULL(5) || !PG_ARGISNULL(9);

	if (has_usage && !PG_ARGISNULL(4))
	{
		request.at_us = pricing_time_us(PG_GETARG_TIMESTAMPTZ(4));
		if (price_request_cost(pricing_state()->catalogue, &request, &cost) == PRICE_PRICED)
		{
			values[0] = Int64GetDatum(cost.input_pico);
			values[1] = Int64GetDatum(cost.cache_read_pico);
			values[2] = Int64GetDatum(cost.cache_write_pico);
			values[3] = Int64GetDatum(cost.output_pico);
			values[4] = Int64GetDatum(cost.tool_pico);
			values[5] = Int32GetDatum(cost.price_id);
			memset(nulls, 0, sizeof(nulls));
		}
	}
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(tupdesc, values, nulls)));
}
