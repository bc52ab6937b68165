/*
 * The type ccproxy.measures: text and binary input and output, equality, and the
 * row that shows its content. Runs in any backend, parallel workers included;
 * results are allocated in the caller's context.
 */
#include "extension/cell.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "funcapi.h"
#include "lib/stringinfo.h"
#include "libpq/pqformat.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/numeric.h"

#if PG_VERSION_NUM >= 160000
#include "varatt.h"
#endif

PG_FUNCTION_INFO_V1(ccproxy_measures_in);
PG_FUNCTION_INFO_V1(ccproxy_measures_out);
PG_FUNCTION_INFO_V1(ccproxy_measures_recv);
PG_FUNCTION_INFO_V1(ccproxy_measures_send);
PG_FUNCTION_INFO_V1(ccproxy_measures_eq);
PG_FUNCTION_INFO_V1(ccproxy_measures_ne);
PG_FUNCTION_INFO_V1(ccproxy_measures_expand);

/* ---- errors ---- */

void
cell_report(CellStatus status)
{
	switch (status)
	{
		case CELL_TOO_LARGE:
			ereport(ERROR,
					(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
					 errmsg("measures are out of range"),
					 errdetail("Counts reach to 2^63 - 1, sums to 2^126.")));
			break;
		case CELL_NO_MEMORY:
			ereport(ERROR,
					(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
					 errmsg("cells are too large"),
					 errdetail("They would take more than %zu bytes.", (size_t) MaxAllocSize)));
			break;
		case CELL_INVALID:
			ereport(ERROR,
					(errcode(ERRCODE_DATA_CORRUPTED),
					 errmsg("stored measures are corrupt")));
			break;
		default:
			break;
	}
	elog(ERROR, "unexpected cell status %d", (int) status);
}

void
cell_report_text(CellStatus status, const char *type, const CellError *error)
{
	if (status != CELL_INVALID)
		cell_report(status);
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_TEXT_REPRESENTATION),
			 errmsg("invalid input syntax for type %s", type),
			 errdetail("At byte %zu: %s.", error->position, error->reason)));
}

void
cell_report_bytes(CellStatus status, const char *type, const CellError *error)
{
	if (status != CELL_INVALID)
		cell_report(status);
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_BINARY_REPRESENTATION),
			 errmsg("invalid binary representation of type %s", type),
			 errdetail("%s.", error->reason)));
}

/* ---- the backend's total ---- */

static CellTotal *the_total = NULL;

/* Taken and not given back: an error came between. */
static bool the_total_is_used = false;

CellTotal *
cell_total_take(void)
{
	if (the_total == NULL)
	{
		the_total = MemoryContextAlloc(TopMemoryContext, sizeof(CellTotal));
		the_total_is_used = true;
	}
	if (the_total_is_used)
		cell_total_init(the_total);
	the_total_is_used = true;
	return the_total;
}

void
cell_total_give(CellTotal *total)
{
	cell_total_reset(total);
	the_total_is_used = false;
}

/* ---- between varlenas and totals ---- */

static void
add_pending(CellTotal *total, const uint8_t *bytes, size_t size)
{
	CellPending header;
	uint32_t	at = 0;

	memcpy((char *) &header + VARHDRSZ, bytes, Min(size, sizeof(header) - VARHDRSZ));
	if (size < sizeof(header) - VARHDRSZ || header.length > size - (sizeof(header) - VARHDRSZ))
		cell_report(CELL_INVALID);
	bytes += sizeof(header) - VARHDRSZ;
	size -= sizeof(header) - VARHDRSZ;
	while (at < header.length)
	{
		uint32_t	length;
		CellStatus	status;

		if (header.length - at < sizeof(length))
			cell_report(CELL_INVALID);
		memcpy(&length, bytes + at, sizeof(length));
		at += sizeof(length);
		if (length > header.length - at)
			cell_report(CELL_INVALID);
		status = cell_total_add_packed(total, bytes + at, length, size - at);
		if (status != CELL_OK)
			cell_report(status);
		at += length;
	}
}

void
cell_total_add(CellTotal *total, Datum measures)
{
	struct varlena *value = PG_DETOAST_DATUM_PACKED(measures);
	const uint8_t *bytes = (const uint8_t *) VARDATA_ANY(value);
	size_t		length = VARSIZE_ANY_EXHDR(value);
	CellStatus	status;

	if (length > 0 && bytes[0] == CELL_FORM_PENDING)
	{
		add_pending(total, bytes, length);
		return;
	}
	if (length > 0 && bytes[0] == CELL_FORM_STATE)
	{
		CellState  *state = (CellState *) value;

		/* a state that has been in a tuple: its header may be short, its place odd */
		if (VARATT_IS_SHORT(value) || (uintptr_t) value % sizeof(uint64_t) != 0)
		{
			state = palloc(length + VARHDRSZ);
			memcpy(VARDATA(state), bytes, length);
		}
		status = cell_state_check(state, length + VARHDRSZ) ? cell_total_add_state(total, state) : CELL_INVALID;
	}
	else
		status = cell_total_add_packed(total, bytes, length, length);
	if (status != CELL_OK)
		cell_report(status);
}

struct varlena *
cell_total_pack(CellTotal *total)
{
	struct varlena *result = palloc(VARHDRSZ + cell_pack_bound(total));
	size_t		length = cell_pack(total, (uint8_t *) VARDATA(result));

	if (length == 0)
		cell_report(CELL_TOO_LARGE);
	SET_VARSIZE(result, VARHDRSZ + length);
	return result;
}

/* ---- input and output ---- */

Datum
ccproxy_measures_in(PG_FUNCTION_ARGS)
{
	char	   *text = PG_GETARG_CSTRING(0);
	CellTotal  *total = cell_total_take();
	CellError	error;
	CellStatus	status = cell_parse(text, strlen(text), total, &error);
	struct varlena *result;

	if (status != CELL_OK)
		cell_report_text(status, "ccproxy.measures", &error);
	result = cell_total_pack(total);
	cell_total_give(total);
	PG_RETURN_POINTER(result);
}

void
cell_put(void *to, const char *piece, size_t length)
{
	appendBinaryStringInfo(to, piece, (int) length);
}

Datum
ccproxy_measures_out(PG_FUNCTION_ARGS)
{
	CellTotal  *total = cell_total_take();
	StringInfoData text;

	cell_total_add(total, PG_GETARG_DATUM(0));
	initStringInfo(&text);
	cell_print(total, cell_put, &text);
	cell_total_give(total);
	PG_RETURN_CSTRING(text.data);
}

Datum
ccproxy_measures_recv(PG_FUNCTION_ARGS)
{
	StringInfo	message = (StringInfo) PG_GETARG_POINTER(0);
	int			length = message->len - message->cursor;
	const uint8_t *bytes = (const uint8_t *) pq_getmsgbytes(message, length);
	CellTotal  *total = cell_total_take();
	CellError	error = {"the measures are malformed"};
	CellStatus	status = cell_total_add_packed(total, bytes, length, length);
	struct varlena *result;

	if (status == CELL_OK)
		status = cell_total_check(total, &error);
	if (status != CELL_OK)
		cell_report_bytes(status, "ccproxy.measures", &error);
	result = cell_total_pack(total);
	cell_total_give(total);
	PG_RETURN_POINTER(result);
}

struct varlena *
cell_packed(Datum measures)
{
	struct varlena *value = PG_DETOAST_DATUM_PACKED(measures);
	uint8_t		form = VARSIZE_ANY_EXHDR(value) > 0 ? *(uint8_t *) VARDATA_ANY(value) : 0;
	CellTotal  *total;

	if (form != CELL_FORM_STATE && form != CELL_FORM_PENDING)
		return value;
	total = cell_total_take();
	cell_total_add(total, PointerGetDatum(value));
	value = cell_total_pack(total);
	cell_total_give(total);
	return value;
}

Datum
ccproxy_measures_send(PG_FUNCTION_ARGS)
{
	struct varlena *value = cell_packed(PG_GETARG_DATUM(0));
	StringInfoData message;

	pq_begintypsend(&message);
	pq_sendbytes(&message, VARDATA_ANY(value), VARSIZE_ANY_EXHDR(value));
	PG_RETURN_BYTEA_P(pq_endtypsend(&message));
}

/* ---- equality: packed measures are canonical ---- */

static bool
measures_equal(FunctionCallInfo fcinfo)
{
	struct varlena *a = cell_packed(PG_GETARG_DATUM(0));
	struct varlena *b = cell_packed(PG_GETARG_DATUM(1));

	return VARSIZE_ANY_EXHDR(a) == VARSIZE_ANY_EXHDR(b) &&
		memcmp(VARDATA_ANY(a), VARDATA_ANY(b), VARSIZE_ANY_EXHDR(a)) == 0;
}

Datum
ccproxy_measures_eq(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(measures_equal(fcinfo));
}

Datum
ccproxy_measures_ne(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(!measures_equal(fcinfo));
}

/* ---- the row ---- */

/* The digits of a number that may be beyond bigint, with so many after the point. */
static Datum
big_numeric(cell_int128 value, int scale)
{
	char		text[64];
	char	   *first = text + sizeof(text);
	cell_uint128 magnitude = value < 0 ? -(cell_uint128) value : (cell_uint128) value;

	*--first = '\0';
	for (int i = 0; magnitude != 0 || i <= scale; i++)
	{
		if (i == scale && scale > 0)
			*--first = '.';
		*--first = (char) ('0' + (int) (magnitude % 10));
		magnitude /= 10;
	}
	if (value < 0)
		*--first = '-';
	return DirectFunctionCall3(numeric_in, CStringGetDatum(first), ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1));
}

Datum
cell_numeric(cell_int128 value)
{
	if (value >= PG_INT64_MIN && value <= PG_INT64_MAX)
		return NumericGetDatum(int64_to_numeric((int64) value));
	return big_numeric(value, 0);
}

Datum
cell_usd(cell_int128 pico)
{
	Datum		usd;

	if (pico >= PG_INT64_MIN && pico <= PG_INT64_MAX)
		usd = NumericGetDatum(int64_div_fast_to_numeric((int64) pico, 12));
	else
		usd = big_numeric(pico, 12);
	return DirectFunctionCall1(numeric_trim_scale, usd);
}

static Datum
sketch_of(const CellTotal *total, int latency)
{
	struct varlena *result = palloc(VARHDRSZ + cell_sketch_bound(total, latency));

	SET_VARSIZE(result, VARHDRSZ + cell_pack_sketch(total, latency, (uint8_t *) VARDATA(result)));
	return PointerGetDatum(result);
}

/* ccproxy.measures_record, column by column */
enum
{
	COL_REQUESTS, COL_SUCCESSFUL, COL_FAILED, COL_IN_FLIGHT, COL_PRICED, COL_UNPRICED,
	COL_N_RESPONSE, COL_SUM_RESPONSE, COL_N_TTFT, COL_SUM_TTFT,
	COL_TOKENS,
	COL_COSTS = COL_TOKENS + 6,
	COL_TOTAL_COST = COL_COSTS + 5,
	COL_REPORTED, COL_REPORTED_COST, COL_BUCKETS, COL_RESPONSE, COL_TTFT,
	COLUMNS
};

cell_int128
cell_cost(const CellNumbers *numbers)
{
	cell_int128 cost = 0;

	/* five sums of at most 2^126 each might not fit */
	for (int i = CELL_SUM_INPUT_COST; i <= CELL_SUM_TOOL_COST; i++)
		cost += numbers->sum[i] / 8;
	if (cost > CELL_SUM_MAX / 8 || cost < -CELL_SUM_MAX / 8)
		cell_report(CELL_TOO_LARGE);
	cost = 0;
	for (int i = CELL_SUM_INPUT_COST; i <= CELL_SUM_TOOL_COST; i++)
		cost += numbers->sum[i];
	return cost;
}

void
cell_put_counts(const CellNumbers *numbers, Datum values[CELL_COUNTS])
{
	const uint64_t counts[CELL_COUNTS] = {
		numbers->requests, numbers->requests - numbers->failed - numbers->in_flight, numbers->failed,
		numbers->in_flight, numbers->priced, numbers->unpriced
	};

	for (int i = 0; i < CELL_COUNTS; i++)
		values[i] = Int64GetDatum((int64) counts[i]);
}

static void
expand_numbers(const CellNumbers *numbers, Datum *values)
{
	cell_put_counts(numbers, &values[COL_REQUESTS]);
	values[COL_N_RESPONSE] = Int64GetDatum(numbers->n[CELL_RESPONSE]);
	values[COL_SUM_RESPONSE] = cell_numeric(numbers->sum[CELL_SUM_RESPONSE]);
	values[COL_N_TTFT] = Int64GetDatum(numbers->n[CELL_TTFT]);
	values[COL_SUM_TTFT] = cell_numeric(numbers->sum[CELL_SUM_TTFT]);
	for (int i = 0; i < 6; i++)
		values[COL_TOKENS + i] = cell_numeric(numbers->sum[CELL_SUM_INPUT + i]);
	for (int i = 0; i < 5; i++)
		values[COL_COSTS + i] = cell_usd(numbers->sum[CELL_SUM_INPUT_COST + i]);
	values[COL_TOTAL_COST] = cell_usd(cell_cost(numbers));
	values[COL_REPORTED] = Int64GetDatum(numbers->reported);
	values[COL_REPORTED_COST] = cell_usd(numbers->sum[CELL_SUM_REPORTED_COST]);
}

static void
expand_distributions(const CellTotal *total, Datum *values, bool *nulls)
{
	const CellNumbers *numbers = &total->numbers;

	nulls[COL_BUCKETS] = !numbers->detail;
	if (numbers->detail)
	{
		int64_t		counts[CELL_BOUNDARIES];
		Datum		elements[CELL_BOUNDARIES];

		cell_total_buckets(total, counts);
		for (int i = 0; i < CELL_BOUNDARIES; i++)
			elements[i] = Int64GetDatum(counts[i]);
		values[COL_BUCKETS] = PointerGetDatum(construct_array(elements, CELL_BOUNDARIES, INT8OID, sizeof(int64),
															  FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
	}
	nulls[COL_RESPONSE] = numbers->n[CELL_RESPONSE] == 0;
	if (!nulls[COL_RESPONSE])
		values[COL_RESPONSE] = sketch_of(total, CELL_RESPONSE);
	nulls[COL_TTFT] = numbers->n[CELL_TTFT] == 0 || !numbers->detail;
	if (!nulls[COL_TTFT])
		values[COL_TTFT] = sketch_of(total, CELL_TTFT);
}

/* ccproxy.expand(measures), ccproxy.expand(measures, distributions) */
Datum
ccproxy_measures_expand(PG_FUNCTION_ARGS)
{
	TupleDesc	tuple_desc = fcinfo->flinfo->fn_extra;
	Datum		values[COLUMNS] = {0};
	bool		nulls[COLUMNS] = {false};

	if (tuple_desc == NULL)
	{
		MemoryContext old = MemoryContextSwitchTo(fcinfo->flinfo->fn_mcxt);

		if (get_call_result_type(fcinfo, NULL, &tuple_desc) != TYPEFUNC_COMPOSITE)
			elog(ERROR, "expand() must return a row type");
		tuple_desc = BlessTupleDesc(CreateTupleDescCopy(tuple_desc));
		if (tuple_desc->natts != COLUMNS)
			elog(ERROR, "ccproxy.measures_record has %d columns, not %d", tuple_desc->natts, COLUMNS);
		fcinfo->flinfo->fn_extra = tuple_desc;
		MemoryContextSwitchTo(old);
	}
	if (PG_NARGS() > 1 && !PG_GETARG_BOOL(1))
	{
		struct varlena *packed = cell_packed(PG_GETARG_DATUM(0));
		CellNumbers numbers;
		CellStatus	status = cell_read_numbers(&numbers, (const uint8_t *) VARDATA_ANY(packed), VARSIZE_ANY_EXHDR(packed));

		if (status != CELL_OK)
			cell_report(status);
		expand_numbers(&numbers, values);
		nulls[COL_BUCKETS] = nulls[COL_RESPONSE] = nulls[COL_TTFT] = true;
	}
	else
	{
		CellTotal  *total = cell_total_take();

		cell_total_add(total, PG_GETARG_DATUM(0));
		expand_numbers(&total->numbers, values);
		expand_distributions(total, values, nulls);
		cell_total_give(total);
	}
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(tuple_desc, values, nulls)));
}
