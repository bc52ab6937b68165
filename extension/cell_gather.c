/*
 * Many cells on their way to be merged. They are gathered where they come to lie (a
 * detoasted value is kept, others are copied), as a list of entries that is ordered and
 * added up at the end, key by key, so that only one key's counters are touched at a
 * time. When much has been gathered it is merged into one value on the way, which
 * bounds the memory. Flattened, for a parallel worker's leader, it is ordinary cells.
 *
 * All memory of an object belongs to its context, a child of the aggregate's.
 */
#include "extension/cell_gather.h"

#include "miscadmin.h"
#include "utils/memutils.h"

#if PG_VERSION_NUM >= 160000
#include "varatt.h"
#endif

#define GATHERED_MAGIC	0x63656c73

/* How much is gathered before it is merged, unless one merged value is larger. */
#define GATHERED_MAX_BYTES	(64 * 1024 * 1024)
#define GATHERED_MAX_CELLS	(1024 * 1024)

#define ARENA_FIRST_BYTES	1024
#define ARENA_MAX_BYTES		(1024 * 1024)
#define ARENA_SLACK			sizeof(uint64_t)

struct Gathered
{
	ExpandedObjectHeader hdr;
	uint32		magic;
	MemoryContext blocks;		/* where cells are: child of the object's context */
	size_t		bytes;			/* in blocks, in use */
	size_t		max_bytes;
	size_t		max_cells;
	CellEntry  *entries;
	size_t		length;
	size_t		capacity;
	uint8_t    *arena;			/* free bytes of the newest block for copies */
	size_t		arena_left;		/* without the slack */
	size_t		arena_next;		/* size of the next */
	struct varlena *flat;		/* what all entries give, merged; NULL after changes */
};

/* ---- the object ---- */

static Size gathered_flat_size(ExpandedObjectHeader *header);
static void gathered_flatten(ExpandedObjectHeader *header, void *result, Size allocated);

static const ExpandedObjectMethods gathered_methods = {gathered_flat_size, gathered_flatten};

Gathered *
gathered_create(MemoryContext parent)
{
	MemoryContext context = AllocSetContextCreate(parent, "ccproxy.cells", ALLOCSET_START_SMALL_SIZES);
	Gathered   *gathered = MemoryContextAllocZero(context, sizeof(Gathered));

	EOH_init_header(&gathered->hdr, &gathered_methods, context);
	gathered->magic = GATHERED_MAGIC;
	gathered->blocks = context;
	gathered->max_bytes = GATHERED_MAX_BYTES;
	gathered->max_cells = GATHERED_MAX_CELLS;
	gathered->arena_next = ARENA_FIRST_BYTES;
	return gathered;
}

Gathered *
gathered_of(Datum datum)
{
	Gathered   *gathered;

	if (!VARATT_IS_EXTERNAL_EXPANDED(DatumGetPointer(datum)))
		return NULL;
	gathered = (Gathered *) DatumGetEOHP(datum);
	if (gathered->magic != GATHERED_MAGIC)
		elog(ERROR, "unexpected expanded object");
	return gathered;
}

/* Room for so many bytes, with slack after them. */
static uint8_t *
arena_take(Gathered *gathered, size_t bytes)
{
	uint8_t    *result;

	if (gathered->arena_left < bytes)
	{
		size_t		block = Max(gathered->arena_next, bytes);

		gathered->arena = MemoryContextAlloc(gathered->blocks, block + ARENA_SLACK);
		gathered->arena_left = block;
		gathered->arena_next = Min(gathered->arena_next * 2, ARENA_MAX_BYTES);
	}
	result = gathered->arena;
	gathered->arena += bytes;
	gathered->arena_left -= bytes;
	gathered->bytes += bytes;
	return result;
}

static void
entries_reserve(Gathered *gathered, size_t more)
{
	size_t		wanted = gathered->length + more;

	if (wanted <= gathered->capacity)
		return;
	if (wanted < gathered->capacity * 2)
		wanted = gathered->capacity * 2;
	if (wanted < 16)
		wanted = 16;
	if (gathered->entries == NULL)
		gathered->entries = MemoryContextAllocHuge(gathered->hdr.eoh_context, wanted * sizeof(CellEntry));
	else
		gathered->entries = repalloc_huge(gathered->entries, wanted * sizeof(CellEntry));
	gathered->capacity = wanted;
}

static inline void
entry_add(Gathered *gathered, uint32_t key, const uint8_t *bytes, size_t length, bool tight)
{
	CellEntry  *entry = &gathered->entries[gathered->length++];

	entry->key = key;
	entry->length = (uint32_t) length;
	entry->tight = tight;
	entry->bytes = bytes;
}

struct varlena *
cell_entries_merge(CellEntry *entries, size_t n)
{
	CellTotal  *total = cell_total_take();
	CellEntry  *spare = MemoryContextAllocHuge(CurrentMemoryContext, Max(n, 1) * sizeof(CellEntry));
	CellsWriter writer;
	CellStatus	status;

	cells_writer_palloc(&writer, 1024);
	status = cells_merge(entries, spare, n, total, &writer);
	if (status != CELL_OK)
		cell_report(status);
	cell_total_give(total);
	pfree(spare);
	return cells_writer_finish(&writer);
}

/* Adds the cells of packed bytes that stay where they are; slack says what may be read after them. */
static void
add_cells(Gathered *gathered, const uint8_t *bytes, size_t length, bool slack)
{
	CellsReader reader;

	if (!cells_reader_start(&reader, bytes, length))
		cell_report(CELL_INVALID);
	entries_reserve(gathered, reader.count);
	while (cells_reader_next(&reader))
		entry_add(gathered, (uint32_t) reader.key, reader.bytes, reader.length,
				  !slack && (size_t) (reader.end - reader.at) < sizeof(uint64_t));
	if (reader.corrupt)
		cell_report(CELL_INVALID);
}

/* Replaces what was gathered with its sum, when it is much. */
static void
bound_memory(Gathered *gathered)
{
	struct varlena *merged;
	MemoryContext old;
	MemoryContext blocks;

	if (gathered->bytes < gathered->max_bytes && gathered->length < gathered->max_cells)
		return;
	CHECK_FOR_INTERRUPTS();
	blocks = AllocSetContextCreate(gathered->hdr.eoh_context, "ccproxy.cells blocks", ALLOCSET_DEFAULT_SIZES);
	old = MemoryContextSwitchTo(blocks);
	merged = cell_entries_merge(gathered->entries, gathered->length);
	MemoryContextSwitchTo(old);

	/* the first blocks are in the object's own context, and stay until it goes */
	if (gathered->blocks != gathered->hdr.eoh_context)
		MemoryContextDelete(gathered->blocks);
	gathered->blocks = blocks;
	gathered->arena_left = 0;
	gathered->length = 0;
	gathered->bytes = VARSIZE(merged);
	add_cells(gathered, (const uint8_t *) VARDATA(merged), VARSIZE(merged) - VARHDRSZ, false);
	gathered->max_bytes = Max(GATHERED_MAX_BYTES, 2 * gathered->bytes);
	gathered->max_cells = Max(GATHERED_MAX_CELLS, 2 * gathered->length);
}

/* ---- the mapping ---- */

void
cell_mapping_start(CellMapping *mapping, ArrayType *array)
{
	if (ARR_NDIM(array) > 1)
		ereport(ERROR,
				(errcode(ERRCODE_ARRAY_SUBSCRIPT_ERROR),
				 errmsg("key_to_group must have one dimension")));
	mapping->groups = (const int32 *) ARR_DATA_PTR(array);
	mapping->not_null = ARR_NULLBITMAP(array);
	mapping->length = ARR_NDIM(array) == 0 ? 0 : ARR_DIMS(array)[0];
	mapping->first_key = ARR_NDIM(array) == 0 ? 1 : ARR_LBOUND(array)[0];
	mapping->at = mapping->passed = 0;
}

int32
cell_mapping_group(CellMapping *mapping, int64 key)
{
	int64		index = key - mapping->first_key;
	int32		group;

	if (index < 0 || index >= mapping->length)
		return 0;
	if (mapping->not_null == NULL)
		group = mapping->groups[index];
	else
	{
		for (; mapping->at < index; mapping->at++)
			mapping->passed += mapping->not_null[mapping->at / 8] >> (mapping->at % 8) & 1;
		if (!(mapping->not_null[index / 8] >> (index % 8) & 1))
			return 0;
		group = mapping->groups[mapping->passed];
	}
	if (unlikely(group < 0))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("group %d of key %lld is negative", group, (long long) key)));
	return group;
}

/* ---- gathering ---- */

/*
 * A value's bytes, where they may stay: detoasted into the object's context, or
 * the caller's own (then *borrowed).
 */
static struct varlena *
open_value(Gathered *gathered, Datum datum, bool *borrowed)
{
	MemoryContext old = MemoryContextSwitchTo(gathered->blocks);
	struct varlena *value = PG_DETOAST_DATUM_PACKED(datum);

	MemoryContextSwitchTo(old);
	*borrowed = value == (struct varlena *) DatumGetPointer(datum);
	return value;
}

void
gathered_add(Gathered *gathered, uint32 key, const uint8_t *bytes, size_t length)
{
	entries_reserve(gathered, 1);
	entry_add(gathered, key, memcpy(arena_take(gathered, length), bytes, length), length, false);
	gathered->flat = NULL;
	bound_memory(gathered);
}

static void
gather_all(Gathered *gathered, Datum datum)
{
	bool		borrowed;
	struct varlena *value = open_value(gathered, datum, &borrowed);
	const uint8_t *bytes = (const uint8_t *) VARDATA_ANY(value);
	size_t		length = VARSIZE_ANY_EXHDR(value);

	if (borrowed)
		bytes = memcpy(arena_take(gathered, length), bytes, length);
	else
		gathered->bytes += length;
	add_cells(gathered, bytes, length, borrowed);
	gathered->flat = NULL;
	bound_memory(gathered);
}

static void
gather_groups(Gathered *gathered, Datum datum, ArrayType *key_to_group)
{
	bool		borrowed;
	struct varlena *value = open_value(gathered, datum, &borrowed);
	const uint8_t *bytes = (const uint8_t *) VARDATA_ANY(value);
	size_t		length = VARSIZE_ANY_EXHDR(value);
	size_t		first = gathered->length;
	size_t		kept = 0;
	CellMapping mapping;
	CellsReader reader;

	cell_mapping_start(&mapping, key_to_group);
	if (!cells_reader_start(&reader, bytes, length))
		cell_report(CELL_INVALID);
	entries_reserve(gathered, reader.count);
	while (cells_reader_next(&reader))
	{
		int32		group = cell_mapping_group(&mapping, reader.key);

		if (group == 0)
			continue;
		entry_add(gathered, (uint32_t) group, reader.bytes, reader.length,
				  (size_t) (reader.end - reader.at) < sizeof(uint64_t));
		kept += reader.length;
	}
	if (reader.corrupt)
		cell_report(CELL_INVALID);

	/* keep the value if it is ours and most of it is wanted, else copy what is */
	if (borrowed || kept < length / 2)
	{
		uint8_t    *copy = arena_take(gathered, kept);

		for (size_t i = first; i < gathered->length; i++)
		{
			CellEntry  *entry = &gathered->entries[i];

			memcpy(copy, entry->bytes, entry->length);
			entry->bytes = copy;
			entry->tight = 0;
			copy += entry->length;
		}
		if (!borrowed)
			pfree(value);
	}
	else
		gathered->bytes += length;
	gathered->flat = NULL;
	bound_memory(gathered);
}

void
gathered_add_cells(Gathered *gathered, Datum cells, ArrayType *key_to_group)
{
	if (key_to_group != NULL)
		gather_groups(gathered, cells, key_to_group);
	else
		gather_all(gathered, cells);
}

/* ---- flattening ---- */

static struct varlena *
gathered_flat(Gathered *gathered)
{
	if (gathered->flat == NULL)
	{
		MemoryContext old = MemoryContextSwitchTo(gathered->hdr.eoh_context);

		gathered->flat = cell_entries_merge(gathered->entries, gathered->length);
		MemoryContextSwitchTo(old);
	}
	return gathered->flat;
}

static Size
gathered_flat_size(ExpandedObjectHeader *header)
{
	return VARSIZE(gathered_flat((Gathered *) header));
}

static void
gathered_flatten(ExpandedObjectHeader *header, void *result, Size allocated)
{
	struct varlena *flat = gathered_flat((Gathered *) header);

	Assert(allocated == VARSIZE(flat));
	memcpy(result, flat, allocated);
}

struct varlena *
gathered_merge(Gathered *gathered)
{
	if (gathered->flat != NULL)
		return PG_DETOAST_DATUM_COPY(PointerGetDatum(gathered->flat));
	return cell_entries_merge(gathered->entries, gathered->length);
}

Datum
gathered_datum(Gathered *gathered)
{
	return EOHPGetRWDatum(&gathered->hdr);
}
