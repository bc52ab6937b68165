/*
 * The aggregates that return ccproxy.measures: over rows, and over measures.
 *
 * The transition value is a ccproxy.measures, flat, changed in place as that of
 * ccproxy.sketch is (sketch_agg.c): when a block gets too small a new one is returned,
 * which the executor copies into its context, freeing the old.
 *
 * Rows are added to a state. Measures are gathered as they come, packed, in a block of
 * a few kilobytes; when it is full they are added up in the backend's total, and the
 * packed sum is the first of the next.
 */
#include "extension/cell.h"

#include "extension/sketch.h"

#if PG_VERSION_NUM >= 160000
#include "varatt.h"
#endif

PG_FUNCTION_INFO_V1(ccproxy_measures_add);
PG_FUNCTION_INFO_V1(ccproxy_measures_combine);
PG_FUNCTION_INFO_V1(ccproxy_measures_final);

/* What a pending block gathers first and at most, unless one sum is larger than half. */
#define PENDING_FIRST_BYTES 240
#define PENDING_MAX_BYTES 4096
#define PENDING_SLACK sizeof(uint64_t)

/* Arguments of ccproxy.measures_add() after the state and the sums. */
enum
{
	ARG_SUMS = 1,
	ARG_PRICE_ID = ARG_SUMS + CELL_SUMS,
	ARG_STATUS_CODE,
	ARG_ERROR_TYPE,
	ARG_ERROR_MESSAGE,
	ARG_DETAIL
};

/* ---- rows ---- */

static inline void
read_row(FunctionCallInfo fcinfo, CellRow *row)
{
	uint32_t	present = 0;

	for (int i = 0; i < CELL_SUMS; i++)
	{
		bool		is_null = PG_ARGISNULL(ARG_SUMS + i);

		row->value[i] = is_null ? 0 : PG_GETARG_INT64(ARG_SUMS + i);
		present |= (uint32_t) !is_null << i;
	}
	row->present = present;
	cell_row_judge(row, !PG_ARGISNULL(ARG_PRICE_ID), !PG_ARGISNULL(ARG_STATUS_CODE), PG_GETARG_INT16(ARG_STATUS_CODE),
				   !PG_ARGISNULL(ARG_ERROR_TYPE) || !PG_ARGISNULL(ARG_ERROR_MESSAGE));
}

/* First rows and growth. */
static pg_noinline Datum
add_slowly(FunctionCallInfo fcinfo, CellState *state, const CellRow *row)
{
	bool		detail = PG_ARGISNULL(ARG_DETAIL) || PG_GETARG_BOOL(ARG_DETAIL);
	CellState  *ours = NULL;
	CellStatus	status;

	if (!cell_in_aggregate(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("ccproxy.measures_add() is for the aggregate ccproxy.measures() only")));
	if (state == NULL)
	{
		state = ours = palloc0(CELL_STATE_MIN_BYTES(detail));
		cell_state_init(state, detail);
	}
	while ((status = cell_state_add(state, row)) == CELL_NO_ROOM)
	{
		CellState  *larger = cell_state_enlarge(state, row, &sketch_palloc);

		if (ours != NULL)
			pfree(ours);
		state = ours = larger;
	}
	if (status != CELL_OK)
		cell_report(status);
	SET_VARSIZE(state, state->bytes);
	PG_RETURN_POINTER(state);
}

/* ccproxy.measures_add(measures, columns of a request, detail) */
Datum
ccproxy_measures_add(PG_FUNCTION_ARGS)
{
	CellState  *state = NULL;
	CellRow		row;

	read_row(fcinfo, &row);
	if (!PG_ARGISNULL(0))
	{
		state = (CellState *) DatumGetPointer(PG_GETARG_DATUM(0));
		if (!cell_in_aggregate(fcinfo) || !VARATT_IS_4B_U(state) || state->form != CELL_FORM_STATE ||
			(uintptr_t) state % sizeof(uint64_t) != 0)
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("ccproxy.measures_add() is for the aggregate ccproxy.measures() only")));
		if (unlikely((PG_ARGISNULL(ARG_DETAIL) || PG_GETARG_BOOL(ARG_DETAIL)) != state->numbers.detail))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("detail must be the same for all rows of ccproxy.measures()")));
		if (likely(cell_state_add(state, &row) == CELL_OK))
			PG_RETURN_POINTER(state);
	}
	return add_slowly(fcinfo, state, &row);
}

/* ---- measures ---- */

/* The datum as a block that may be changed in place, if that is what it is. */
static inline CellPending *
pending_in_place(Datum datum)
{
	CellPending *pending = (CellPending *) DatumGetPointer(datum);

	return VARATT_IS_4B_U(pending) && pending->form == CELL_FORM_PENDING &&
		(uintptr_t) pending % sizeof(uint64_t) == 0 ? pending : NULL;
}

static CellPending *
pending_create(uint32_t capacity)
{
	CellPending *pending = palloc0(sizeof(CellPending) + capacity + PENDING_SLACK);

	SET_VARSIZE(pending, sizeof(CellPending) + capacity + PENDING_SLACK);
	pending->form = CELL_FORM_PENDING;
	pending->capacity = capacity;
	return pending;
}

static bool
pending_append(CellPending *pending, const struct varlena *packed)
{
	uint32_t	length = VARSIZE_ANY_EXHDR(packed);
	uint8_t    *to = pending->bytes + pending->length;

	if (pending->capacity - pending->length < sizeof(length) + length)
		return false;
	memcpy(to, &length, sizeof(length));
	memcpy(to + sizeof(length), VARDATA_ANY(packed), length);
	pending->length += sizeof(length) + length;
	return true;
}

static struct varlena *
pack_both(Datum a, Datum b)
{
	CellTotal  *total = cell_total_take();
	struct varlena *result;

	cell_total_add(total, a);
	cell_total_add(total, b);
	result = cell_total_pack(total);
	cell_total_give(total);
	return result;
}

/* A block that holds what the value does, sooner or later with room for so much more. */
static CellPending *
pending_of(Datum value, uint32_t more)
{
	CellPending *old = pending_in_place(value);
	CellPending *pending;
	struct varlena *sum;
	uint32_t	length;

	if (old != NULL && old->capacity < PENDING_MAX_BYTES)
	{
		pending = pending_create(Min(old->capacity * 4, PENDING_MAX_BYTES));
		memcpy(pending->bytes, old->bytes, old->length);
		pending->length = old->length;
		return pending;
	}
	sum = cell_packed(value);
	length = VARSIZE_ANY_EXHDR(sum) + sizeof(uint32_t);
	if (old != NULL && length <= old->capacity / 2 && length + more <= old->capacity)
	{
		pending = old;
		pending->length = 0;
	}
	else
		pending = pending_create(Max((length + more) * 2, PENDING_FIRST_BYTES));
	if (!pending_append(pending, sum))
		elog(ERROR, "no room for packed measures");
	return pending;
}

/*
 * ccproxy.measures_combine(measures, measures): the transition of merge() and the
 * combine function of both aggregates. NULL is the measures of nothing.
 */
Datum
ccproxy_measures_combine(PG_FUNCTION_ARGS)
{
	CellPending *pending;
	struct varlena *more;

	if (PG_ARGISNULL(1))
	{
		if (PG_ARGISNULL(0))
			PG_RETURN_NULL();
		PG_RETURN_DATUM(PG_GETARG_DATUM(0));
	}
	if (PG_ARGISNULL(0))
		PG_RETURN_POINTER(PG_DETOAST_DATUM_PACKED(PG_GETARG_DATUM(1)));
	if (!cell_in_aggregate(fcinfo))
		PG_RETURN_POINTER(pack_both(PG_GETARG_DATUM(0), PG_GETARG_DATUM(1)));

	more = cell_packed(PG_GETARG_DATUM(1));
	pending = pending_in_place(PG_GETARG_DATUM(0));
	while (pending == NULL || !pending_append(pending, more))
		pending = pending_of(pending == NULL ? PG_GETARG_DATUM(0) : PointerGetDatum(pending),
							 VARSIZE_ANY_EXHDR(more) + sizeof(uint32_t));
	PG_RETURN_POINTER(pending);
}

/* The result of measures() and merge(): packed. */
Datum
ccproxy_measures_final(PG_FUNCTION_ARGS)
{
	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	PG_RETURN_POINTER(cell_packed(PG_GETARG_DATUM(0)));
}
