/*
 * ccproxy.sketch as rows and as OpenTelemetry's exponential histogram. Runs in
 * any backend; results are allocated in the caller's context.
 */
#include "postgres.h"

#include "extension/sketch.h"

#include <float.h>

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "funcapi.h"
#include "utils/array.h"

PG_FUNCTION_INFO_V1(ccproxy_sketch_buckets);
PG_FUNCTION_INFO_V1(ccproxy_sketch_otel);

typedef struct BucketsCall
{
	SketchArgument sketch;
	SketchCursor cursor;
} BucketsCall;

static void
bucket_edges(int32 key, double *lower, double *upper)
{
	int32		index = abs(key) - SKETCH_KEY_BIAS;
	double		inner;
	double		outer;

	if (key == 0)
	{
		*lower = *upper = 0;
		return;
	}
	inner = sketch_edge_value(index);
	outer = index == SKETCH_INDEX_MAX ? DBL_MAX : sketch_edge_value(index + 1);
	*lower = key < 0 ? -outer : inner;
	*upper = key < 0 ? -inner : outer;
}

/* ccproxy.buckets(sketch): the occupied buckets in ascending order */
Datum
ccproxy_sketch_buckets(PG_FUNCTION_ARGS)
{
	FuncCallContext *call;
	BucketsCall *state;

	if (SRF_IS_FIRSTCALL())
	{
		MemoryContext old;

		call = SRF_FIRSTCALL_INIT();
		old = MemoryContextSwitchTo(call->multi_call_memory_ctx);
		if (get_call_result_type(fcinfo, NULL, &call->tuple_desc) != TYPEFUNC_COMPOSITE)
			elog(ERROR, "buckets() must return a row type");
		call->tuple_desc = BlessTupleDesc(call->tuple_desc);
		state = palloc(sizeof(*state));
		sketch_open(&state->sketch, PointerGetDatum(PG_DETOAST_DATUM_COPY(PG_GETARG_DATUM(0))));
		sketch_cursor_start(&state->cursor, &state->sketch.view);
		call->user_fctx = state;
		MemoryContextSwitchTo(old);
	}
	call = SRF_PERCALL_SETUP();
	state = call->user_fctx;
	if (sketch_cursor_next(&state->cursor))
	{
		Datum		values[3];
		bool		nulls[3] = {false, false, false};
		double		lower;
		double		upper;

		bucket_edges(state->cursor.key, &lower, &upper);
		values[0] = Float8GetDatum(lower);
		values[1] = Float8GetDatum(upper);
		values[2] = Int64GetDatum((int64) state->cursor.n);
		SRF_RETURN_NEXT(call, HeapTupleGetDatum(heap_form_tuple(call->tuple_desc, values, nulls)));
	}
	if (state->cursor.corrupt)
		sketch_report(SKETCH_INVALID);
	SRF_RETURN_DONE(call);
}

/* The buckets of one sign as OpenTelemetry has them: offset, and a count for each from there on. */
typedef struct OtelBuckets
{
	int32		first;			/* indexes */
	int32		last;
	bool		any;
	Datum	   *counts;
} OtelBuckets;

static void
otel_reach(OtelBuckets *buckets, int32 index)
{
	if (!buckets->any || index < buckets->first)
		buckets->first = index;
	if (!buckets->any || index > buckets->last)
		buckets->last = index;
	buckets->any = true;
}

static void
otel_allocate(OtelBuckets *buckets)
{
	int			length = buckets->any ? buckets->last - buckets->first + 1 : 0;

	buckets->counts = palloc(sizeof(Datum) * Max(length, 1));
	for (int i = 0; i < length; i++)
		buckets->counts[i] = Int64GetDatum(0);
}

static Datum
otel_array(const OtelBuckets *buckets)
{
	int			length = buckets->any ? buckets->last - buckets->first + 1 : 0;

	return PointerGetDatum(construct_array(buckets->counts, length, INT8OID, sizeof(int64),
										   FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
}

/* ccproxy.otel_histogram(sketch): the fields of an ExponentialHistogramDataPoint */
Datum
ccproxy_sketch_otel(PG_FUNCTION_ARGS)
{
	SketchArgument sketch;
	SketchCursor cursor;
	TupleDesc	tuple_desc;
	OtelBuckets positive = {0};
	OtelBuckets negative = {0};
	int64		zeros = 0;
	Datum		values[10];
	bool		nulls[10] = {false};
	bool		empty;

	if (get_call_result_type(fcinfo, NULL, &tuple_desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "otel_histogram() must return a row type");
	sketch_open(&sketch, PG_GETARG_DATUM(0));
	empty = sketch.view.count == 0;

	sketch_cursor_start(&cursor, &sketch.view);
	while (sketch_cursor_next(&cursor))
	{
		if (cursor.key == 0)
			zeros = (int64) cursor.n;
		else
			otel_reach(cursor.key < 0 ? &negative : &positive, abs(cursor.key) - SKETCH_KEY_BIAS);
	}
	if (cursor.corrupt)
		sketch_report(SKETCH_INVALID);
	otel_allocate(&positive);
	otel_allocate(&negative);
	sketch_cursor_start(&cursor, &sketch.view);
	while (sketch_cursor_next(&cursor))
	{
		OtelBuckets *buckets = cursor.key < 0 ? &negative : &positive;

		if (cursor.key != 0)
			buckets->counts[abs(cursor.key) - SKETCH_KEY_BIAS - buckets->first] = Int64GetDatum((int64) cursor.n);
	}

	values[0] = Int32GetDatum(SKETCH_SCALE);
	values[1] = Int64GetDatum(zeros);
	values[2] = Int32GetDatum(positive.first);
	values[3] = otel_array(&positive);
	values[4] = Int32GetDatum(negative.first);
	values[5] = otel_array(&negative);
	values[6] = Int64GetDatum((int64) sketch.view.count);
	values[7] = Float8GetDatum(sketch.view.sum);
	values[8] = Float8GetDatum(sketch.view.min);
	values[9] = Float8GetDatum(sketch.view.max);
	nulls[7] = nulls[8] = nulls[9] = empty;
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(tuple_desc), values, nulls)));
}
