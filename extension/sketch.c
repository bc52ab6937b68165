/*
 * The type ccproxy.sketch: text and binary input and output, and the functions
 * that read one number from it. Runs in any backend, parallel workers included;
 * results are allocated in the caller's context.
 */
#include "postgres.h"

#include "extension/sketch.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "lib/stringinfo.h"
#include "libpq/pqformat.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/float.h"

#if PG_VERSION_NUM >= 160000
#include "varatt.h"
#endif

PG_FUNCTION_INFO_V1(ccproxy_sketch_in);
PG_FUNCTION_INFO_V1(ccproxy_sketch_out);
PG_FUNCTION_INFO_V1(ccproxy_sketch_recv);
PG_FUNCTION_INFO_V1(ccproxy_sketch_send);
PG_FUNCTION_INFO_V1(ccproxy_sketch_quantile);
PG_FUNCTION_INFO_V1(ccproxy_sketch_quantiles);
PG_FUNCTION_INFO_V1(ccproxy_sketch_cdf);
PG_FUNCTION_INFO_V1(ccproxy_sketch_count);
PG_FUNCTION_INFO_V1(ccproxy_sketch_sum);
PG_FUNCTION_INFO_V1(ccproxy_sketch_min);
PG_FUNCTION_INFO_V1(ccproxy_sketch_max);
PG_FUNCTION_INFO_V1(ccproxy_sketch_mean);
PG_FUNCTION_INFO_V1(ccproxy_sketch_eq);
PG_FUNCTION_INFO_V1(ccproxy_sketch_ne);
PG_FUNCTION_INFO_V1(ccproxy_sketch_hash);
PG_FUNCTION_INFO_V1(ccproxy_sketch_hash_extended);

/* ---- between varlenas and views ---- */

static void
release(void *block)
{
	pfree(block);
}

const SketchMemory sketch_palloc = {palloc0, release};

void
sketch_report(SketchStatus status)
{
	switch (status)
	{
		case SKETCH_TOO_MANY:
			ereport(ERROR,
					(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
					 errmsg("a sketch cannot hold more than %lld values", (long long) SKETCH_COUNT_MAX)));
			break;
		case SKETCH_NO_MEMORY:
			ereport(ERROR, (errcode(ERRCODE_OUT_OF_MEMORY), errmsg("out of memory")));
			break;
		case SKETCH_INVALID:
			ereport(ERROR,
					(errcode(ERRCODE_DATA_CORRUPTED),
					 errmsg("a stored sketch is corrupt")));
			break;
		default:
			break;
	}
	elog(ERROR, "unexpected sketch status %d", (int) status);
}

void
sketch_report_value(double value)
{
	char	   *text = float8out_internal(value);

	ereport(ERROR,
			(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
			 errmsg("cannot add %s to a sketch", text),
			 errhint("Leave such values out, for example with FILTER (WHERE x < 'Infinity' AND x > '-Infinity').")));
}

void
sketch_open(SketchArgument *argument, Datum datum)
{
	struct varlena *value = PG_DETOAST_DATUM_PACKED(datum);
	const uint8_t *bytes = (const uint8_t *) VARDATA_ANY(value);
	size_t		length = VARSIZE_ANY_EXHDR(value);

	if (length > 0 && (bytes[0] == SKETCH_FORM_LIST || bytes[0] == SKETCH_FORM_PAGES))
	{
		SketchState *state = (SketchState *) value;

		/* a state that has been in a tuple: its header may be short, its place odd */
		if (VARATT_IS_SHORT(value) || (uintptr_t) value % sizeof(uint64_t) != 0)
		{
			state = palloc(length + VARHDRSZ);
			SET_VARSIZE(state, length + VARHDRSZ);
			memcpy(VARDATA(state), bytes, length);
		}
		if (!sketch_state_check(state, length + VARHDRSZ))
			sketch_report(SKETCH_INVALID);
		sketch_view_state(&argument->view, state, &argument->scratch);
	}
	else if (!sketch_view_packed(&argument->view, bytes, length))
		sketch_report(SKETCH_INVALID);
}

struct varlena *
sketch_close(const SketchView *view)
{
	struct varlena *result = palloc(VARHDRSZ + sketch_packed_bound(view));
	size_t		length = sketch_pack(view, (uint8_t *) VARDATA(result));

	if (length == 0)
		sketch_report(SKETCH_INVALID);
	SET_VARSIZE(result, VARHDRSZ + length);
	return result;
}

SketchState *
sketch_new_state(void)
{
	SketchState *state = palloc0(SKETCH_STATE_MIN_BYTES);

	sketch_state_init(state, SKETCH_STATE_MIN_BYTES);
	SET_VARSIZE(state, SKETCH_STATE_MIN_BYTES);
	return state;
}

/* ---- input and output ---- */

Datum
ccproxy_sketch_in(PG_FUNCTION_ARGS)
{
	char	   *text = PG_GETARG_CSTRING(0);
	SketchState *state;
	SketchError error;
	SketchScratch scratch;
	SketchView	view;

	switch (sketch_parse(text, strlen(text), &state, &sketch_palloc, &error))
	{
		case SKETCH_OK:
			break;
		case SKETCH_INVALID:
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_TEXT_REPRESENTATION),
					 errmsg("invalid input syntax for type %s", "ccproxy.sketch"),
					 errdetail("At byte %zu: %s.", error.position, error.reason)));
			break;
		default:
			sketch_report(SKETCH_NO_MEMORY);
	}
	sketch_view_state(&view, state, &scratch);
	PG_RETURN_POINTER(sketch_close(&view));
}

static void
put_piece(void *to, const char *piece, size_t length)
{
	appendBinaryStringInfo(to, piece, (int) length);
}

Datum
ccproxy_sketch_out(PG_FUNCTION_ARGS)
{
	SketchArgument sketch;
	StringInfoData text;
	SketchStatus status;

	sketch_open(&sketch, PG_GETARG_DATUM(0));
	initStringInfo(&text);
	status = sketch_print(&sketch.view, put_piece, &text, &sketch_palloc);
	if (status != SKETCH_OK)
		sketch_report(status);
	PG_RETURN_CSTRING(text.data);
}

Datum
ccproxy_sketch_recv(PG_FUNCTION_ARGS)
{
	StringInfo	message = (StringInfo) PG_GETARG_POINTER(0);
	int			length = message->len - message->cursor;
	const uint8_t *bytes = (const uint8_t *) pq_getmsgbytes(message, length);
	SketchError error = {"the header is malformed"};
	SketchView	view;

	if (!sketch_view_packed(&view, bytes, length) || sketch_view_check(&view, &error) != SKETCH_OK)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_BINARY_REPRESENTATION),
				 errmsg("invalid binary representation of type %s", "ccproxy.sketch"),
				 errdetail("Reason: %s.", error.reason)));
	PG_RETURN_POINTER(sketch_close(&view));
}

Datum
ccproxy_sketch_send(PG_FUNCTION_ARGS)
{
	SketchArgument sketch;

	/* a packed sketch as bytea is what is sent */
	sketch_open(&sketch, PG_GETARG_DATUM(0));
	PG_RETURN_BYTEA_P((bytea *) sketch_close(&sketch.view));
}

/* ---- reading ---- */

static void
check_fraction(double fraction)
{
	if (!(fraction >= 0 && fraction <= 1))
	{
		char	   *text = float8out_internal(fraction);

		ereport(ERROR,
				(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
				 errmsg("quantile fraction %s is not between 0 and 1", text)));
	}
}

static double
quantile(const SketchView *view, double fraction)
{
	double		value;
	SketchStatus status = sketch_quantile(view, fraction, &value);

	if (status != SKETCH_OK)
		sketch_report(status);
	return value;
}

Datum
ccproxy_sketch_quantile(PG_FUNCTION_ARGS)
{
	double		fraction = PG_GETARG_FLOAT8(1);
	SketchArgument sketch;

	check_fraction(fraction);
	sketch_open(&sketch, PG_GETARG_DATUM(0));
	if (sketch.view.count == 0)
		PG_RETURN_NULL();
	PG_RETURN_FLOAT8(quantile(&sketch.view, fraction));
}

Datum
ccproxy_sketch_quantiles(PG_FUNCTION_ARGS)
{
	ArrayType  *fractions = PG_GETARG_ARRAYTYPE_P(1);
	SketchArgument sketch;
	Datum	   *values;
	bool	   *nulls;
	int			length;

	sketch_open(&sketch, PG_GETARG_DATUM(0));
	deconstruct_array(fractions, FLOAT8OID, sizeof(float8), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE,
					  &values, &nulls, &length);
	if (length == 0)
		PG_RETURN_ARRAYTYPE_P(construct_empty_array(FLOAT8OID));
	for (int i = 0; i < length; i++)
	{
		if (nulls[i])
			continue;
		check_fraction(DatumGetFloat8(values[i]));
		nulls[i] = sketch.view.count == 0;
		if (!nulls[i])
			values[i] = Float8GetDatum(quantile(&sketch.view, DatumGetFloat8(values[i])));
	}
	PG_RETURN_ARRAYTYPE_P(construct_md_array(values, nulls, ARR_NDIM(fractions), ARR_DIMS(fractions),
											 ARR_LBOUND(fractions), FLOAT8OID, sizeof(float8),
											 FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
}

Datum
ccproxy_sketch_cdf(PG_FUNCTION_ARGS)
{
	double		limit = PG_GETARG_FLOAT8(1);
	SketchArgument sketch;
	double		fraction;
	SketchStatus status;

	if (isnan(limit))
		ereport(ERROR,
				(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
				 errmsg("the limit of cdf() must not be NaN")));
	sketch_open(&sketch, PG_GETARG_DATUM(0));
	if (sketch.view.count == 0)
		PG_RETURN_NULL();
	status = sketch_cdf(&sketch.view, limit, &fraction);
	if (status != SKETCH_OK)
		sketch_report(status);
	PG_RETURN_FLOAT8(fraction);
}

Datum
ccproxy_sketch_count(PG_FUNCTION_ARGS)
{
	SketchArgument sketch;

	sketch_open(&sketch, PG_GETARG_DATUM(0));
	PG_RETURN_INT64((int64) sketch.view.count);
}

Datum
ccproxy_sketch_sum(PG_FUNCTION_ARGS)
{
	SketchArgument sketch;

	sketch_open(&sketch, PG_GETARG_DATUM(0));
	if (sketch.view.count == 0)
		PG_RETURN_NULL();
	PG_RETURN_FLOAT8(sketch.view.sum);
}

Datum
ccproxy_sketch_min(PG_FUNCTION_ARGS)
{
	SketchArgument sketch;

	sketch_open(&sketch, PG_GETARG_DATUM(0));
	if (sketch.view.count == 0)
		PG_RETURN_NULL();
	PG_RETURN_FLOAT8(sketch.view.min);
}

Datum
ccproxy_sketch_max(PG_FUNCTION_ARGS)
{
	SketchArgument sketch;

	sketch_open(&sketch, PG_GETARG_DATUM(0));
	if (sketch.view.count == 0)
		PG_RETURN_NULL();
	PG_RETURN_FLOAT8(sketch.view.max);
}

Datum
ccproxy_sketch_mean(PG_FUNCTION_ARGS)
{
	SketchArgument sketch;

	sketch_open(&sketch, PG_GETARG_DATUM(0));
	if (sketch.view.count == 0)
		PG_RETURN_NULL();
	PG_RETURN_FLOAT8(sketch_mean(&sketch.view));
}

/* ---- equality ---- */

static bool
sketches_equal(FunctionCallInfo fcinfo)
{
	SketchArgument a;
	SketchArgument b;

	sketch_open(&a, PG_GETARG_DATUM(0));
	sketch_open(&b, PG_GETARG_DATUM(1));
	return sketch_equal(&a.view, &b.view);
}

Datum
ccproxy_sketch_eq(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(sketches_equal(fcinfo));
}

Datum
ccproxy_sketch_ne(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(!sketches_equal(fcinfo));
}

Datum
ccproxy_sketch_hash(PG_FUNCTION_ARGS)
{
	SketchArgument sketch;
	uint64_t	hash;

	sketch_open(&sketch, PG_GETARG_DATUM(0));
	hash = sketch_hash(&sketch.view);
	PG_RETURN_UINT32((uint32) (hash ^ (hash >> 32)));
}

Datum
ccproxy_sketch_hash_extended(PG_FUNCTION_ARGS)
{
	SketchArgument sketch;
	uint64		seed = (uint64) PG_GETARG_INT64(1);
	uint64		hash;

	sketch_open(&sketch, PG_GETARG_DATUM(0));
	hash = sketch_hash(&sketch.view);

	/* with seed 0 the low half must be the plain hash */
	hash ^= hash >> 32;
	PG_RETURN_UINT64(seed == 0 ? hash : hash_combine64(hash, seed));
}
