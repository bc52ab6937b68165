/*
 * The aggregates that return ccproxy.cells: of keys and measures, and merging cells.
 *
 * The transition value is a ccproxy.cells. While it is small it is flat, a block of
 * pending cells that is changed in place as the state of ccproxy.sketch is
 * (sketch_agg.c); a larger one is an expanded object (cell_gather.c). Objects alone
 * would not do: a hashed aggregate adds up the memory of all its contexts for every new
 * group, and each object has one.
 */
#include "extension/cell_gather.h"

#include "access/detoast.h"
#include "utils/memutils.h"

#if PG_VERSION_NUM >= 160000
#include "varatt.h"
#endif

PG_FUNCTION_INFO_V1(ccproxy_cells_add);
PG_FUNCTION_INFO_V1(ccproxy_cells_combine);
PG_FUNCTION_INFO_V1(ccproxy_cells_combine_groups);
PG_FUNCTION_INFO_V1(ccproxy_cells_final);

/* Pending cells: entries of a key and a length (uint32 each) and packed measures. */
#define CELLS_FORM_PENDING	0xC3

#define PENDING_FIRST_BYTES	480
#define PENDING_MAX_BYTES	(32 * 1024)
#define ENTRY_HEADER		(2 * sizeof(uint32))
#define PENDING_SLACK		sizeof(uint64_t)

/* More than any block of pending cells. */
#define TOO_MUCH			MaxAllocSize

/* ---- pending cells ---- */

/* The datum as a block that may be changed in place, if that is what it is. */
static inline CellPending *
pending_in_place(Datum datum)
{
	CellPending *pending = (CellPending *) DatumGetPointer(datum);

	return VARATT_IS_4B_U(pending) && pending->form == CELLS_FORM_PENDING &&
		(uintptr_t) pending % sizeof(uint64_t) == 0 ? pending : NULL;
}

/* A block with what an old one holds, if any, and room for so much more. */
static CellPending *
pending_create(const CellPending *old, size_t more)
{
	size_t		wanted = (old ? old->length : 0) + more;
	size_t		capacity = PENDING_FIRST_BYTES;
	CellPending *pending;

	while (capacity < wanted)
		capacity *= 2;
	pending = palloc(sizeof(CellPending) + capacity + PENDING_SLACK);
	memset(pending, 0, sizeof(CellPending));
	SET_VARSIZE(pending, sizeof(CellPending) + capacity + PENDING_SLACK);
	pending->form = CELLS_FORM_PENDING;
	pending->capacity = (uint32) capacity;
	if (old != NULL)
	{
		memcpy(pending->bytes, old->bytes, old->length);
		pending->length = old->length;
	}
	/* what may be read on beyond the last entry */
	memset(pending->bytes + pending->length, 0, capacity - pending->length + PENDING_SLACK);
	return pending;
}

static inline void
pending_put(CellPending *pending, uint32 key, const uint8_t *bytes, uint32 length)
{
	uint8_t    *to = pending->bytes + pending->length;

	memcpy(to, &key, sizeof(key));
	memcpy(to + sizeof(key), &length, sizeof(length));
	memcpy(to + ENTRY_HEADER, bytes, length);
	pending->length += ENTRY_HEADER + length;
}

/* Walks pending cells that may have been in a tuple: nothing is aligned, nothing trusted. */
typedef struct PendingReader
{
	const uint8_t *at;
	const uint8_t *end;
	uint32		key;
	const uint8_t *bytes;
	uint32		length;
} PendingReader;

/* False for cells in their packed form. */
static bool
pending_reader_start(PendingReader *reader, const struct varlena *value)
{
	const uint8_t *bytes = (const uint8_t *) VARDATA_ANY(value);
	size_t		size = VARSIZE_ANY_EXHDR(value);
	CellPending header;
	size_t		fixed = sizeof(header) - VARHDRSZ;

	if (size < fixed || bytes[0] != CELLS_FORM_PENDING)
		return false;
	memcpy((char *) &header + VARHDRSZ, bytes, fixed);
	if (header.length > size - fixed)
		cell_report(CELL_INVALID);
	reader->at = bytes + fixed;
	reader->end = reader->at + header.length;
	return true;
}

static bool
pending_reader_next(PendingReader *reader)
{
	size_t		left = (size_t) (reader->end - reader->at);

	if (left == 0)
		return false;
	if (left < ENTRY_HEADER)
		cell_report(CELL_INVALID);
	memcpy(&reader->key, reader->at, sizeof(uint32));
	memcpy(&reader->length, reader->at + sizeof(uint32), sizeof(uint32));
	reader->bytes = reader->at + ENTRY_HEADER;
	if (reader->length > left - ENTRY_HEADER)
		cell_report(CELL_INVALID);
	reader->at = reader->bytes + reader->length;
	return true;
}

/* Pending cells merged and packed, in the current context. */
static struct varlena *
pending_merge(const struct varlena *value)
{
	PendingReader reader;
	CellEntry  *entries;
	size_t		n = 0;
	struct varlena *merged;

	if (!pending_reader_start(&reader, value))
		cell_report(CELL_INVALID);
	entries = palloc(((size_t) (reader.end - reader.at) / ENTRY_HEADER + 1) * sizeof(CellEntry));
	while (pending_reader_next(&reader))
		entries[n++] = (CellEntry) {.key = reader.key, .length = reader.length, .tight = reader.at == reader.end, .bytes = reader.bytes};
	merged = cell_entries_merge(entries, n);
	pfree(entries);
	return merged;
}

/* ---- transitions ---- */

/* The transition value while it is worked on: one of the two. */
typedef struct Cells
{
	CellPending *pending;
	Gathered   *gathered;
} Cells;

static void
gather_pending(Gathered *gathered, PendingReader *reader)
{
	while (pending_reader_next(reader))
		gathered_add(gathered, reader->key, reader->bytes, reader->length);
}

/*
 * The first argument, with room for so many bytes of entries. Outside an aggregate
 * what is returned is a copy.
 */
static Cells
open_transition(FunctionCallInfo fcinfo, size_t more)
{
	Cells		cells = {NULL, NULL};
	MemoryContext parent;
	bool		in_aggregate = AggCheckCallContext(fcinfo, &parent);
	PendingReader reader;

	if (!in_aggregate)
		parent = CurrentMemoryContext;
	if (PG_ARGISNULL(0))
	{
		if (more <= PENDING_MAX_BYTES)
		{
			cells.pending = pending_create(NULL, more);
			return cells;
		}
		cells.gathered = gathered_create(parent);
		return cells;
	}
	if (in_aggregate)
	{
		if (VARATT_IS_EXTERNAL_EXPANDED_RW(DatumGetPointer(PG_GETARG_DATUM(0))))
		{
			cells.gathered = gathered_of(PG_GETARG_DATUM(0));
			return cells;
		}
		cells.pending = pending_in_place(PG_GETARG_DATUM(0));
		if (cells.pending != NULL)
		{
			if (cells.pending->capacity - cells.pending->length >= more)
				return cells;
			if (cells.pending->length + more <= PENDING_MAX_BYTES)
			{
				cells.pending = pending_create(cells.pending, more);
				return cells;
			}
			cells.pending = NULL;
		}
	}
	cells.gathered = gathered_create(parent);
	if (VARATT_IS_EXTERNAL_EXPANDED(DatumGetPointer(PG_GETARG_DATUM(0))) ||
		!pending_reader_start(&reader, PG_DETOAST_DATUM_PACKED(PG_GETARG_DATUM(0))))
		gathered_add_cells(cells.gathered, PG_GETARG_DATUM(0), NULL);
	else
		gather_pending(cells.gathered, &reader);
	return cells;
}

/* What a transition returns: packed outside an aggregate. */
static Datum
close_transition(FunctionCallInfo fcinfo, Cells cells)
{
	if (cell_in_aggregate(fcinfo))
		return cells.gathered ? gathered_datum(cells.gathered) : PointerGetDatum(cells.pending);
	return PointerGetDatum(cells.gathered ? gathered_merge(cells.gathered) : pending_merge((struct varlena *) cells.pending));
}

/* The first argument is returned as it is. */
static Datum
unchanged(FunctionCallInfo fcinfo)
{
	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	PG_RETURN_DATUM(PG_GETARG_DATUM(0));
}

/* ccproxy.cells_add(cells, key, measures): the transition of cells() */
Datum
ccproxy_cells_add(PG_FUNCTION_ARGS)
{
	Cells		cells;
	struct varlena *packed;
	size_t		length;
	int32		key;

	if (PG_ARGISNULL(2))
		return unchanged(fcinfo);
	if (PG_ARGISNULL(1))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("the key of a cell must not be null")));
	key = PG_GETARG_INT32(1);
	if (key < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the key of a cell must not be negative, got %d", key)));
	packed = cell_packed(PG_GETARG_DATUM(2));
	length = VARSIZE_ANY_EXHDR(packed);
	cells = open_transition(fcinfo, ENTRY_HEADER + length);
	if (cells.pending != NULL)
		pending_put(cells.pending, (uint32) key, (const uint8_t *) VARDATA_ANY(packed), (uint32) length);
	else
		gathered_add(cells.gathered, (uint32) key, (const uint8_t *) VARDATA_ANY(packed), length);
	return close_transition(fcinfo, cells);
}

/* Bytes that the cells of a value would take as entries. */
static size_t
entries_bytes(const struct varlena *value)
{
	CellsReader reader;

	if (!cells_reader_start(&reader, (const uint8_t *) VARDATA_ANY(value), VARSIZE_ANY_EXHDR(value)))
		cell_report(CELL_INVALID);
	return VARSIZE_ANY_EXHDR(value) + (size_t) reader.count * ENTRY_HEADER;
}

static void
put_cells(CellPending *pending, const struct varlena *value, ArrayType *key_to_group)
{
	CellsReader reader;
	CellMapping mapping;

	if (!cells_reader_start(&reader, (const uint8_t *) VARDATA_ANY(value), VARSIZE_ANY_EXHDR(value)))
		cell_report(CELL_INVALID);
	if (key_to_group != NULL)
		cell_mapping_start(&mapping, key_to_group);
	while (cells_reader_next(&reader))
	{
		uint32		key = (uint32) reader.key;

		if (key_to_group != NULL)
			key = (uint32) cell_mapping_group(&mapping, reader.key);
		if (key_to_group == NULL || key != 0)
			pending_put(pending, key, reader.bytes, (uint32) reader.length);
	}
	if (reader.corrupt)
		cell_report(CELL_INVALID);
}

static Datum
combine(FunctionCallInfo fcinfo, ArrayType *key_to_group)
{
	Datum		datum = PG_GETARG_DATUM(1);
	struct varlena *value = (struct varlena *) DatumGetPointer(datum);
	PendingReader reader;
	Cells		cells;

	/* from another worker: keys are groups already */
	if (!VARATT_IS_EXTERNAL(value) && !VARATT_IS_COMPRESSED(value) && pending_reader_start(&reader, value))
	{
		cells = open_transition(fcinfo, (size_t) (reader.end - reader.at));
		if (cells.gathered != NULL)
			gather_pending(cells.gathered, &reader);
		else
			while (pending_reader_next(&reader))
				pending_put(cells.pending, reader.key, reader.bytes, reader.length);
		return close_transition(fcinfo, cells);
	}

	/* what is large the object detoasts where it can stay */
	if (toast_raw_datum_size(datum) > PENDING_MAX_BYTES)
	{
		cells = open_transition(fcinfo, TOO_MUCH);
		gathered_add_cells(cells.gathered, datum, key_to_group);
		return close_transition(fcinfo, cells);
	}
	value = PG_DETOAST_DATUM_PACKED(datum);
	cells = open_transition(fcinfo, entries_bytes(value));
	if (cells.gathered != NULL)
		gathered_add_cells(cells.gathered, PointerGetDatum(value), key_to_group);
	else
		put_cells(cells.pending, value, key_to_group);
	return close_transition(fcinfo, cells);
}

/* ccproxy.cells_combine(cells, cells): the transition of merge(), and combines all */
Datum
ccproxy_cells_combine(PG_FUNCTION_ARGS)
{
	return PG_ARGISNULL(1) ? unchanged(fcinfo) : combine(fcinfo, NULL);
}

/* ccproxy.cells_combine_groups(cells, cells, key_to_group): the transition of merge_groups() */
Datum
ccproxy_cells_combine_groups(PG_FUNCTION_ARGS)
{
	if (PG_ARGISNULL(1))
		return unchanged(fcinfo);
	if (PG_ARGISNULL(2))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("key_to_group must not be null")));
	return combine(fcinfo, PG_GETARG_ARRAYTYPE_P(2));
}

/* The result of all: merged, packed. */
Datum
ccproxy_cells_final(PG_FUNCTION_ARGS)
{
	Gathered   *gathered;
	struct varlena *value;
	PendingReader reader;

	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	gathered = gathered_of(PG_GETARG_DATUM(0));
	if (gathered != NULL)
		PG_RETURN_POINTER(gathered_merge(gathered));
	value = PG_DETOAST_DATUM_PACKED(PG_GETARG_DATUM(0));
	PG_RETURN_POINTER(pending_reader_start(&reader, value) ? pending_merge(value) : value);
}
