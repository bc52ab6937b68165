/*
 * cost(), total_cost() and cost_pico(): the pricing core as SQL functions.
 *
 * Entered by backends and parallel workers. Which price a name leads to is
 * remembered per backend (pricing_memo.c). The arithmetic and the matching are
 * in pricing/; this file only turns arguments into a price_request and a
 * price_cost into a row. Costs leave as they are computed: picodollars become
 * numeric dollars by moving the decimal point.
 */
#include "postgres.h"

#include <math.h>

#include "access/htup_details.h"
#include "fmgr.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/numeric.h"
#include "utils/timestamp.h"

#include "extension/pricing.h"

/* More web searches than this in one request are a mistake. */
#define MAX_SEARCHES	1000000

/* Decimals of a dollar in a picodollar. */
#define PICO_DECIMALS	12

PG_FUNCTION_INFO_V1(ccproxy_cost);
PG_FUNCTION_INFO_V1(ccproxy_total_cost);
PG_FUNCTION_INFO_V1(ccproxy_cost_pico);

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

/*
 * Picodollars as numeric dollars, twelve decimals.
 *
 * A numeric of at most sixteen digits on either side is a header and base-10000
 * digits, a format that dumps of data directories (pg_upgrade) keep stable; made
 * directly, it costs a quarter of int64_div_fast_to_numeric(). Whether it is what
 * the server makes is tried once per backend; if not, the server makes them all.
 */
#define SHORT_NUMERIC		0x8000
#define SHORT_DSCALE_SHIFT	7
#define SHORT_WEIGHT_MASK	0x007f	/* seven bits, two's complement */
#define DIGIT_BASE			10000
#define MAX_DIGITS			5		/* of an int64 */
#define FRACTION_DIGITS		(PICO_DECIMALS / 4)

static Datum
direct_usd(uint64 pico)
{
	int16		digit[MAX_DIGITS];
	int			n = 0;
	int			zeros = 0;
	int			weight = 0;
	uint16		header = SHORT_NUMERIC | (PICO_DECIMALS << SHORT_DSCALE_SHIFT);
	char	   *result;

	/* the last digit first */
	for (; pico != 0; pico /= DIGIT_BASE)
		digit[n++] = (int16) (pico % DIGIT_BASE);
	if (n > 0)
	{
		weight = n - 1 - FRACTION_DIGITS;
		while (digit[zeros] == 0)
			zeros++;
	}
	header |= (uint16) weight & SHORT_WEIGHT_MASK;
	result = palloc(VARHDRSZ + sizeof(uint16) * (1 + n - zeros));
	SET_VARSIZE(result, VARHDRSZ + sizeof(uint16) * (1 + n - zeros));
	memcpy(result + VARHDRSZ, &header, sizeof(header));
	for (int i = n - 1, at = 1; i >= zeros; i--, at++)
		memcpy(result + VARHDRSZ + at * sizeof(uint16), &digit[i], sizeof(uint16));
	return PointerGetDatum(result);
}

/* Is what direct_usd() makes what the server makes? */
static bool
direct_usd_is_right(void)
{
	static const int64 tries[] = {
		0, 1, 9999, 10000, 999999999999, 1000000000000, 1000000000001, 123456789012345678, 50000000000000000, PG_INT64_MAX
	};

	for (int i = 0; i < lengthof(tries); i++)
	{
		struct varlena *ours = (struct varlena *) DatumGetPointer(direct_usd((uint64) tries[i]));
		struct varlena *servers = (struct varlena *) int64_div_fast_to_numeric(tries[i], PICO_DECIMALS);

		if (VARSIZE(ours) != VARSIZE(servers) || memcmp(ours, servers, VARSIZE(ours)) != 0)
			return false;
	}
	return true;
}

Datum
pricing_usd(int64 pico)
{
	static enum {UNTRIED, RIGHT, WRONG} direct = UNTRIED;

	if (unlikely(direct == UNTRIED))
		direct = direct_usd_is_right() ? RIGHT : WRONG;
	if (likely(direct == RIGHT && pico >= 0))
		return direct_usd((uint64) pico);
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

/* The row type of the result, looked up once per call site. */
static TupleDesc
result_descriptor(FunctionCallInfo fcinfo)
{
	TupleDesc	tupdesc = fcinfo->flinfo->fn_extra;

	if (tupdesc == NULL)
	{
		MemoryContext caller = MemoryContextSwitchTo(fcinfo->flinfo->fn_mcxt);

		if (get_call_result_type(fcinfo, NULL, &tupdesc) != TYPEFUNC_COMPOSITE)
			elog(ERROR, "return type must be a row type");
		tupdesc = BlessTupleDesc(CreateTupleDescCopy(tupdesc));
		fcinfo->flinfo->fn_extra = tupdesc;
		MemoryContextSwitchTo(caller);
	}
	return tupdesc;
}

/*
 * The arguments of cost() and total_cost(): model, input_tokens, output_tokens,
 * cache_read_tokens, cache_write_tokens, cache_write_1h_tokens, provider,
 * service_tier, at, reasoning_tokens, web_searches, file_searches. False when
 * there is no cost.
 */
static bool
price_arguments(FunctionCallInfo fcinfo, struct price_cost *cost)
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
			.reasoning = pricing_count_arg(fcinfo, 9),
			.web_searches = pricing_count_arg(fcinfo, 10),
			.file_searches = pricing_count_arg(fcinfo, 11),
		},
	};
	enum price_status status;

	if (PG_ARGISNULL(8))
		return false;
	request.at_us = pricing_time_us(PG_GETARG_TIMESTAMPTZ(8));
	status = pricing_price(&request, cost);
	pricing_report(status);
	return status == PRICE_PRICED;
}

/* A cost as ccproxy.request_cost; all NULL when there is none. */
Datum
pricing_cost_datum(FunctionCallInfo fcinfo, const struct price_cost *cost)
{
	TupleDesc	tupdesc = result_descriptor(fcinfo);
	Datum		values[7] = {0};
	bool		nulls[7] = {true, true, true, true, true, true, true};

	if (cost != NULL)
	{
		values[0] = pricing_usd(cost->input_pico);
		values[1] = pricing_usd(cost->cache_read_pico);
		values[2] = pricing_usd(cost->cache_write_pico);
		values[3] = pricing_usd(cost->output_pico);
		values[4] = pricing_usd(cost->tool_pico);
		values[5] = pricing_usd(cost->total_pico);
		values[6] = Int32GetDatum(cost->price_id);
		memset(nulls, 0, sizeof(nulls));
	}
	return HeapTupleGetDatum(heap_form_tuple(tupdesc, values, nulls));
}

Datum
ccproxy_cost(PG_FUNCTION_ARGS)
{
	struct price_cost cost;

	PG_RETURN_DATUM(pricing_cost_datum(fcinfo, price_arguments(fcinfo, &cost) ? &cost : NULL));
}

Datum
ccproxy_total_cost(PG_FUNCTION_ARGS)
{
	struct price_cost cost;

	if (!price_arguments(fcinfo, &cost))
		PG_RETURN_NULL();
	PG_RETURN_DATUM(pricing_usd(cost.total_pico));
}

/* The member of an object, NULL when it has none. */
static JsonbValue *
json_member(JsonbContainer *object, const char *key)
{
	JsonbValue	name = {.type = jbvString};

	if (!JsonContainerIsObject(object))
		return NULL;
	name.val.string.val = unconstify(char *, key);
	name.val.string.len = (int) strlen(key);
	return findJsonbValueFromContainer(object, JB_FOBJECT, &name);
}

/*
 * How many web searches a request's metadata tells of: server_tool_use's
 * web_search_requests, Anthropic's name, else web_searches. Whatever is no whole
 * number up to MAX_SEARCHES says nothing, because metadata is anybody's.
 */
static int64
metadata_searches(Jsonb *metadata)
{
	JsonbValue *tools = json_member(&metadata->root, "server_tool_use");
	JsonbValue *count = NULL;
	double		n;

	if (tools != NULL && tools->type == jbvBinary)
		count = json_member(tools->val.binary.data, "web_search_requests");
	if (count == NULL)
		count = json_member(&metadata->root, "web_searches");
	if (count == NULL || count->type != jbvNumeric)
		return 0;
	n = DatumGetFloat8(DirectFunctionCall1(numeric_float8_no_overflow, NumericGetDatum(count->val.numeric)));
	return n >= 0 && n <= MAX_SEARCHES && n == floor(n) ? (int64) n : 0;
}

/*
 * The columns of a stored row that say what it cost: whatever cannot be priced has
 * no cost, and never an error. The metadata tells of searches; NULL for none.
 */
void
pricing_pico_values(struct price_request *request, Jsonb *metadata, Datum values[PRICING_PICO_COLUMNS], bool nulls[PRICING_PICO_COLUMNS])
{
	struct price_cost cost;

	memset(values, 0, sizeof(Datum) * PRICING_PICO_COLUMNS);
	memset(nulls, true, sizeof(bool) * PRICING_PICO_COLUMNS);
	if (metadata != NULL)
		request->usage.web_searches = metadata_searches(metadata);
	if (pricing_price(request, &cost) == PRICE_PRICED)
	{
		const int64 parts[] = {cost.input_pico, cost.cache_read_pico, cost.cache_write_pico, cost.output_pico, cost.tool_pico};

		/* 0 is stored as NULL: eight bytes less a row */
		for (int i = 0; i < lengthof(parts); i++)
		{
			values[i] = Int64GetDatum(parts[i]);
			nulls[i] = parts[i] == 0;
		}
		values[PRICING_PICO_COLUMNS - 1] = Int32GetDatum(cost.price_id);
		nulls[PRICING_PICO_COLUMNS - 1] = false;
	}
}

/*
 * cost_pico(model, model_version, provider, service_tier, at, input_tokens,
 *			 cache_read_tokens, cache_write_tokens, cache_write_1h_tokens,
 *			 output_tokens, reasoning_tokens, metadata)
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
	TupleDesc	tupdesc = result_descriptor(fcinfo);
	Datum		values[PRICING_PICO_COLUMNS] = {0};
	bool		nulls[PRICING_PICO_COLUMNS] = {true, true, true, true, true, true};
	bool		has_usage = !PG_ARGISNULL(5) || !PG_ARGISNULL(9);

	if (has_usage && !PG_ARGISNULL(4))
	{
		request.at_us = pricing_time_us(PG_GETARG_TIMESTAMPTZ(4));
		pricing_pico_values(&request, PG_ARGISNULL(11) ? NULL : PG_GETARG_JSONB_P(11), values, nulls);
	}
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(tupdesc, values, nulls)));
}
