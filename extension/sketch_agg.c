/*
 * The aggregates of ccproxy.sketch: transition, combine and final functions, and
 * the union of two sketches.
 *
 * The transition value is a ccproxy.sketch, flat, changed in place: PostgreSQL
 * hands back to us the block we returned, which it keeps in the aggregate's own
 * context. When a state outgrows its block we return a new one; the executor
 * copies that into its context and frees the old, so no context is looked up and
 * nothing is freed here. (An expanded object would need a memory context of its
 * own for each group: over 1 KiB, against 128 bytes here for sixteen values.)
 *
 * A group that saw a single sketch in merge() keeps it as it came, packed; it is
 * opened into a state when a second one arrives.
 */
#include "postgres.h"

#include "extension/sketch.h"

#include <math.h>

#include "nodes/execnodes.h"

#if PG_VERSION_NUM >= 160000
#include "varatt.h"
#endif

PG_FUNCTION_INFO_V1(ccproxy_sketch_add);
PG_FUNCTION_INFO_V1(ccproxy_sketch_combine);
PG_FUNCTION_INFO_V1(ccproxy_sketch_union);
PG_FUNCTION_INFO_V1(ccproxy_sketch_final);
PG_FUNCTION_INFO_V1(ccproxy_sketch_p50);
PG_FUNCTION_INFO_V1(ccproxy_sketch_p90);
PG_FUNCTION_INFO_V1(ccproxy_sketch_p95);
PG_FUNCTION_INFO_V1(ccproxy_sketch_p99);

/* AggCheckCallContext() without the call. */
static inline bool
in_aggregate(FunctionCallInfo fcinfo)
{
	return fcinfo->context != NULL &&
		(IsA(fcinfo->context, AggState) || IsA(fcinfo->context, WindowAggState));
}

/* The datum as a state that may be changed in place, if that is what it is. */
static inline SketchState *
state_in_place(Datum datum)
{
	SketchState *state = (SketchState *) DatumGetPointer(datum);

	if (VARATT_IS_4B_U(state) &&
		(state->form == SKETCH_FORM_LIST || state->form == SKETCH_FORM_PAGES) &&
		(uintptr_t) state % sizeof(uint64_t) == 0)
		return state;
	return NULL;
}

static void
merge(SketchState **state, const SketchView *view, bool release_first)
{
	SketchStatus status = sketch_merge_growing(state, view, release_first, &sketch_palloc);

	if (status != SKETCH_OK)
		sketch_report(status);
	SET_VARSIZE(*state, sketch_state_bytes(*state));
}

/* A state of our own with the values of the datum. */
static SketchState *
new_state_of(Datum datum)
{
	SketchState *state = sketch_new_state();
	SketchArgument *sketch = palloc(sizeof(SketchArgument));

	sketch_open(sketch, datum);
	merge(&state, &sketch->view, true);
	pfree(sketch);
	return state;
}

/* What a call outside an aggregate returns: never a state. */
static Datum
packed(const SketchState *state)
{
	SketchArgument *sketch = palloc(sizeof(SketchArgument));
	Datum		result;

	sketch_view_state(&sketch->view, state, &sketch->scratch);
	result = PointerGetDatum(sketch_close(&sketch->view));
	pfree(sketch);
	return result;
}

/* ccproxy.sketch_add(sketch, float8): first values, growth, calls outside aggregates. */
static pg_noinline Datum
add_carefully(FunctionCallInfo fcinfo)
{
	double		value;
	SketchState *state = NULL;
	bool		ours = true;
	SketchStatus status;

	if (PG_ARGISNULL(1))
	{
		if (PG_ARGISNULL(0))
			PG_RETURN_NULL();
		PG_RETURN_DATUM(PG_GETARG_DATUM(0));
	}
	value = PG_GETARG_FLOAT8(1);
	if (!isfinite(value))
		sketch_report_value(value);

	if (PG_ARGISNULL(0))
		state = sketch_new_state();
	else if (in_aggregate(fcinfo) && (state = state_in_place(PG_GETARG_DATUM(0))) != NULL)
		ours = false;
	else
		state = new_state_of(PG_GETARG_DATUM(0));

	while ((status = sketch_add(state, value)) == SKETCH_NO_ROOM)
	{
		SketchState *larger = sketch_enlarge(state, sketch_key(value), 1, &sketch_palloc);

		if (ours)
			pfree(state);
		state = larger;
		SET_VARSIZE(state, sketch_state_bytes(state));
		ours = true;
	}
	if (status != SKETCH_OK)
		sketch_report(status);
	return in_aggregate(fcinfo) ? PointerGetDatum(state) : packed(state);
}

Datum
ccproxy_sketch_add(PG_FUNCTION_ARGS)
{
	if (likely(in_aggregate(fcinfo) && !PG_ARGISNULL(0) && !PG_ARGISNULL(1)))
	{
		/* the executor's own copy, so it is aligned */
		SketchState *state = (SketchState *) DatumGetPointer(PG_GETARG_DATUM(0));

		if (likely(VARATT_IS_4B_U(state)))
		{
			if (likely(state->form == SKETCH_FORM_PAGES))
			{
				if (likely(sketch_add_to_pages(state, PG_GETARG_FLOAT8(1))))
					PG_RETURN_POINTER(state);
			}
			else if (state->form == SKETCH_FORM_LIST && sketch_add_to_list(state, PG_GETARG_FLOAT8(1)))
				PG_RETURN_POINTER(state);
		}
	}
	return add_carefully(fcinfo);
}

/*
 * ccproxy.sketch_combine(sketch, sketch): the transition of merge() and the
 * combine function of all aggregates. NULL is the sketch of nothing.
 */
Datum
ccproxy_sketch_combine(PG_FUNCTION_ARGS)
{
	SketchState *state;
	SketchArgument sketch;

	if (PG_ARGISNULL(1))
	{
		if (PG_ARGISNULL(0))
			PG_RETURN_NULL();
		PG_RETURN_DATUM(PG_GETARG_DATUM(0));
	}
	if (PG_ARGISNULL(0))
		PG_RETURN_POINTER(PG_DETOAST_DATUM_PACKED(PG_GETARG_DATUM(1)));

	sketch_open(&sketch, PG_GETARG_DATUM(1));
	if (!in_aggregate(fcinfo))
	{
		state = new_state_of(PG_GETARG_DATUM(0));
		merge(&state, &sketch.view, true);
		return packed(state);
	}
	state = state_in_place(PG_GETARG_DATUM(0));
	if (state != NULL)
	{
		SketchState *before = state;
		SketchStatus status = sketch_merge_growing(&state, &sketch.view, false, &sketch_palloc);

		if (status != SKETCH_OK)
			sketch_report(status);
		if (state != before)
			SET_VARSIZE(state, sketch_state_bytes(state));
	}
	else
	{
		state = new_state_of(PG_GETARG_DATUM(0));
		merge(&state, &sketch.view, true);
	}
	PG_RETURN_POINTER(state);
}

/* sketch + sketch */
Datum
ccproxy_sketch_union(PG_FUNCTION_ARGS)
{
	SketchArgument sketch;
	SketchState *state = new_state_of(PG_GETARG_DATUM(0));

	sketch_open(&sketch, PG_GETARG_DATUM(1));
	merge(&state, &sketch.view, true);
	return packed(state);
}

/* The result of sketch(float8) and merge(sketch): the state, packed. */
Datum
ccproxy_sketch_final(PG_FUNCTION_ARGS)
{
	SketchArgument sketch;

	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	sketch_open(&sketch, PG_GETARG_DATUM(0));
	PG_RETURN_POINTER(sketch_close(&sketch.view));
}

static Datum
final_quantile(FunctionCallInfo fcinfo, double fraction)
{
	SketchArgument sketch;
	SketchStatus status;
	double		value;

	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	sketch_open(&sketch, PG_GETARG_DATUM(0));
	if (sketch.view.count == 0)
		PG_RETURN_NULL();
	status = sketch_quantile(&sketch.view, fraction, &value);
	if (status != SKETCH_OK)
		sketch_report(status);
	PG_RETURN_FLOAT8(value);
}

Datum
ccproxy_sketch_p50(PG_FUNCTION_ARGS)
{
	return final_quantile(fcinfo, 0.50);
}

Datum
ccproxy_sketch_p90(PG_FUNCTION_ARGS)
{
	return final_quantile(fcinfo, 0.90);
}

Datum
ccproxy_sketch_p95(PG_FUNCTION_ARGS)
{
	return final_quantile(fcinfo, 0.95);
}

Datum
ccproxy_sketch_p99(PG_FUNCTION_ARGS)
{
	return final_quantile(fcinfo, 0.99);
}
