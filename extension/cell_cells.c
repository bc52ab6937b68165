/*
 * The type ccproxy.cells: text and binary input and output, equality, and its cells as
 * rows. Runs in any backend, parallel workers included; results are allocated in the
 * caller's context.
 */
#include "extension/cell.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "funcapi.h"
#include "lib/stringinfo.h"
#include "libpq/pqformat.h"
#include "utils/array.h"
#include "utils/memutils.h"

#if PG_VERSION_NUM >= 160000
#include "varatt.h"
#endif

PG_FUNCTION_INFO_V1(ccproxy_cells_in);
PG_FUNCTION_INFO_V1(ccproxy_cells_out);
PG_FUNCTION_INFO_V1(ccproxy_cells_recv);
PG_FUNCTION_INFO_V1(ccproxy_cells_send);
PG_FUNCTION_INFO_V1(ccproxy_cells_eq);
PG_FUNCTION_INFO_V1(ccproxy_cells_ne);
PG_FUNCTION_INFO_V1(ccproxy_cell_count);
PG_FUNCTION_INFO_V1(ccproxy_cells_unpack);

/* Bytes of a value's start that hold the number of its cells. */
#define COUNT_BYTES 11

/* ---- writing varlenas ---- */

static bool
reserve_palloc(CellsWriter *writer, size_t more)
{
	size_t		wanted = writer->length + more;
	size_t		capacity = writer->capacity;

	if (wanted > MaxAllocSize)
		return false;
	while (capacity < wanted)
		capacity = Min(capacity * 2, MaxAllocSize);
	writer->bytes = repalloc(writer->bytes, capacity);
	writer->capacity = capacity;
	return true;
}

void
cells_writer_palloc(CellsWriter *writer, size_t capacity)
{
	capacity = Min(Max(capacity, 256), MaxAllocSize);
	writer->bytes = palloc(capacity);
	writer->capacity = capacity;
	writer->length = VARHDRSZ;
	writer->reserve = reserve_palloc;
}

struct varlena *
cells_writer_finish(CellsWriter *writer)
{
	SET_VARSIZE(writer->bytes, writer->length);
	return (struct varlena *) writer->bytes;
}

/* ---- input and output ---- */

Datum
ccproxy_cells_in(PG_FUNCTION_ARGS)
{
	char	   *text = PG_GETARG_CSTRING(0);
	CellTotal  *total = cell_total_take();
	CellsWriter writer;
	CellError	error;
	CellStatus	status;

	cells_writer_palloc(&writer, 0);
	status = cells_parse(text, strlen(text), total, &writer, &error);
	if (status != CELL_OK)
		cell_report_text(status, "ccproxy.cells", &error);
	cell_total_give(total);
	PG_RETURN_POINTER(cells_writer_finish(&writer));
}

Datum
ccproxy_cells_out(PG_FUNCTION_ARGS)
{
	struct varlena *value = PG_DETOAST_DATUM_PACKED(PG_GETARG_DATUM(0));
	CellTotal  *total = cell_total_take();
	StringInfoData text;
	CellStatus	status;

	initStringInfo(&text);
	status = cells_print((const uint8_t *) VARDATA_ANY(value), VARSIZE_ANY_EXHDR(value), total, cell_put, &text);
	if (status != CELL_OK)
		cell_report(status);
	cell_total_give(total);
	PG_RETURN_CSTRING(text.data);
}

Datum
ccproxy_cells_recv(PG_FUNCTION_ARGS)
{
	StringInfo	message = (StringInfo) PG_GETARG_POINTER(0);
	int			length = message->len - message->cursor;
	const uint8_t *bytes = (const uint8_t *) pq_getmsgbytes(message, length);
	CellTotal  *total = cell_total_take();
	CellsWriter writer;
	CellError	error;
	CellStatus	status;

	cells_writer_palloc(&writer, length + VARHDRSZ);
	status = cells_copy_checked(bytes, length, total, &writer, &error);
	if (status != CELL_OK)
		cell_report_bytes(status, "ccproxy.cells", &error);
	cell_total_give(total);
	PG_RETURN_POINTER(cells_writer_finish(&writer));
}

Datum
ccproxy_cells_send(PG_FUNCTION_ARGS)
{
	struct varlena *value = PG_DETOAST_DATUM_PACKED(PG_GETARG_DATUM(0));
	StringInfoData message;

	pq_begintypsend(&message);
	pq_sendbytes(&message, VARDATA_ANY(value), VARSIZE_ANY_EXHDR(value));
	PG_RETURN_BYTEA_P(pq_endtypsend(&message));
}

/* Cells are canonical: equal cells are equal bytes. */
static bool
cells_equal(FunctionCallInfo fcinfo)
{
	struct varlena *a = PG_DETOAST_DATUM_PACKED(PG_GETARG_DATUM(0));
	struct varlena *b = PG_DETOAST_DATUM_PACKED(PG_GETARG_DATUM(1));

	return VARSIZE_ANY_EXHDR(a) == VARSIZE_ANY_EXHDR(b) &&
		memcmp(VARDATA_ANY(a), VARDATA_ANY(b), VARSIZE_ANY_EXHDR(a)) == 0;
}

Datum
ccproxy_cells_eq(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(cells_equal(fcinfo));
}

Datum
ccproxy_cells_ne(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(!cells_equal(fcinfo));
}

/* ---- cells as rows ---- */

/* ccproxy.cell_count(cells) */
Datum
ccproxy_cell_count(PG_FUNCTION_ARGS)
{
	struct varlena *start = PG_DETOAST_DATUM_SLICE(PG_GETARG_DATUM(0), 0, COUNT_BYTES);
	CellsReader reader;

	/* the start alone looks too short for its cells: only that is not checked here */
	if (!cells_reader_start(&reader, (const uint8_t *) VARDATA_ANY(start), VARSIZE_ANY_EXHDR(start)) &&
		(VARSIZE_ANY_EXHDR(start) < COUNT_BYTES || reader.at == NULL))
		cell_report(CELL_INVALID);
	PG_RETURN_INT64((int64) reader.count);
}

typedef struct UnpackCall
{
	CellsReader reader;
	bool		all;
	int			wanted;			/* keys that are left */
	const int32 *keys;			/* ascending */
} UnpackCall;

static int
compare_int32(const void *a, const void *b)
{
	int32		x = *(const int32 *) a;
	int32		y = *(const int32 *) b;

	return x < y ? -1 : x > y;
}

/* The array's elements in ascending order, NULLs left out. */
static void
read_keys(UnpackCall *call, ArrayType *array)
{
	Datum	   *values;
	bool	   *nulls;
	int			length;
	int32	   *keys;

	deconstruct_array(array, INT4OID, sizeof(int32), true, TYPALIGN_INT, &values, &nulls, &length);
	keys = palloc(sizeof(int32) * Max(length, 1));
	for (int i = 0; i < length; i++)
		if (!nulls[i])
			keys[call->wanted++] = DatumGetInt32(values[i]);
	qsort(keys, call->wanted, sizeof(int32), compare_int32);
	call->keys = keys;
}

/* Moves on to the next cell that is wanted. */
static bool
next_wanted(UnpackCall *call)
{
	if (call->all)
		return cells_reader_next(&call->reader);
	while (call->wanted > 0 && cells_reader_next(&call->reader))
	{
		while (call->wanted > 0 && call->keys[0] < call->reader.key)
		{
			call->keys++;
			call->wanted--;
		}
		if (call->wanted > 0 && call->keys[0] == call->reader.key)
			return true;
	}
	return false;
}

/* ccproxy.unpack(cells, keys) */
Datum
ccproxy_cells_unpack(PG_FUNCTION_ARGS)
{
	FuncCallContext *context;
	UnpackCall *call;

	if (SRF_IS_FIRSTCALL())
	{
		MemoryContext old;

		context = SRF_FIRSTCALL_INIT();
		old = MemoryContextSwitchTo(context->multi_call_memory_ctx);
		call = context->user_fctx = palloc0(sizeof(*call));
		if (!PG_ARGISNULL(0))
		{
			struct varlena *value = PG_DETOAST_DATUM_COPY(PG_GETARG_DATUM(0));

			if (get_call_result_type(fcinfo, NULL, &context->tuple_desc) != TYPEFUNC_COMPOSITE)
				elog(ERROR, "unpack() must return a row type");
			context->tuple_desc = BlessTupleDesc(context->tuple_desc);
			if (!cells_reader_start(&call->reader, (const uint8_t *) VARDATA_ANY(value), VARSIZE_ANY_EXHDR(value)))
				cell_report(CELL_INVALID);
			call->all = PG_ARGISNULL(1);
			if (!call->all)
				read_keys(call, PG_GETARG_ARRAYTYPE_P(1));
		}
		MemoryContextSwitchTo(old);
	}
	context = SRF_PERCALL_SETUP();
	call = context->user_fctx;
	if (next_wanted(call))
	{
		Datum		values[2];
		bool		nulls[2] = {false, false};
		struct varlena *measures = palloc(VARHDRSZ + call->reader.length);

		SET_VARSIZE(measures, VARHDRSZ + call->reader.length);
		memcpy(VARDATA(measures), call->reader.bytes, call->reader.length);
		values[0] = Int32GetDatum((int32) call->reader.key);
		values[1] = PointerGetDatum(measures);
		SRF_RETURN_NEXT(context, HeapTupleGetDatum(heap_form_tuple(context->tuple_desc, values, nulls)));
	}
	if (call->reader.corrupt)
		cell_report(CELL_INVALID);
	SRF_RETURN_DONE(context);
}
