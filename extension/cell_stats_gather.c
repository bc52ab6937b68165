/*
 * The cells of one time on their way to be added up; see cell_stats.h. Entered by
 * backends, from cell_stats.c.
 */
#include "extension/cell_stats.h"

#include "miscadmin.h"
#include "utils/memutils.h"

#include "extension/cell_rows.h"

#if PG_VERSION_NUM >= 160000
#include "varatt.h"
#endif

/* How much of one time is gathered before it is merged, unless what is merged is more. */
#define GATHERED_MAX_BYTES	((size_t) cell_gather_kb * 1024)

/* Room for one more in a growing array of the function's memory context. */
#define RESERVE(array, length, capacity) \
	do { \
		if ((length) == (capacity)) \
		{ \
			(capacity) = Max(1024, (capacity) * 2); \
			(array) = (array) ? repalloc_huge((array), (size_t) (capacity) * sizeof(*(array))) : \
				palloc((size_t) (capacity) * sizeof(*(array))); \
		} \
	} while (0)

int32
stats_add_cell(Stats *stats, const Key *key)
{
	bool		found;
	StatsGroup	   *group = groups_insert(stats->groups, key->group, &found);

	if (!found || group->cells == NONE)
	{
		RESERVE(stats->seen, stats->n_seen, stats->max_seen);
		stats->seen[stats->n_seen++] = key->group;
		group->cells = NONE;
	}
	RESERVE(stats->cells, stats->n_cells, stats->max_cells);
	stats->cells[stats->n_cells] = (Cell) {.next = group->cells, .model = key->model, .error = key->error, .limited = key->limited};
	group->cells = stats->n_cells;
	return stats->n_cells++;
}

void
stats_add_entry(Stats *stats, int32 cell, const uint8_t *bytes, size_t length, bool tight)
{
	RESERVE(stats->entries, stats->n_entries, stats->max_entries);
	stats->entries[stats->n_entries++] = (Entry) {.bytes = bytes, .length = (uint32) length, .tight = tight, .cell = cell};
	stats->cells[cell].length++;
}

Entry *
stats_order_entries(Stats *stats)
{
	Entry	   *ordered = MemoryContextAllocHuge(CurrentMemoryContext, Max(stats->n_entries, 1) * sizeof(Entry));
	int32		end = 0;

	for (int32 i = 0; i < stats->n_seen; i++)
		for (int32 j = groups_lookup(stats->groups, stats->seen[i])->cells; j != NONE; j = stats->cells[j].next)
		{
			stats->cells[j].end = end;
			end += stats->cells[j].length;
		}
	for (int32 i = 0; i < stats->n_entries; i++)
		ordered[stats->cells[stats->entries[i].cell].end++] = stats->entries[i];
	return ordered;
}

void
stats_total_add_cell(CellTotal *total, const Stats *stats, const Cell *cell, const Entry *ordered, bool distributions)
{
	for (int32 i = cell->end - cell->length; i < cell->end; i++)
	{
		const Entry *entry = &ordered[i];
		size_t		readable = entry->length + (entry->tight ? 0 : sizeof(uint64_t));
		CellStatus	status;

		if (i + 8 < stats->n_entries)
		{
			__builtin_prefetch(ordered[i + 8].bytes);
			__builtin_prefetch(ordered[i + 8].bytes + 64);
		}
		status = distributions ? cell_total_add_packed(total, entry->bytes, entry->length, readable)
			: cell_add_numbers(&total->numbers, entry->bytes, entry->length, readable);
		if (status != CELL_OK)
			cell_report(status);
	}
}

/* Each cell's entries become one, in memory of their own, when they are much. */
static void
bound_memory(Stats *stats)
{
	MemoryContext blocks;
	MemoryContext old;
	CellTotal  *total;
	Entry	   *ordered;

	if (stats->bytes < stats->max_bytes)
		return;
	if (!stats->merged_early)
		elog(DEBUG1, "buckets are merged in parts");
	stats->merged_early = true;
	ordered = stats_order_entries(stats);
	blocks = AllocSetContextCreate(CurrentMemoryContext, "ccproxy.stats", ALLOCSET_DEFAULT_SIZES);
	old = MemoryContextSwitchTo(blocks);
	total = cell_total_take();
	stats->bytes = 0;
	for (int32 i = 0; i < stats->n_cells; i++)
	{
		struct varlena *packed;
		struct varlena *merged;

		stats_total_add_cell(total, stats, &stats->cells[i], ordered, true);
		packed = cell_total_pack(total);
		cell_total_reset(total);
		/* in a block of just its size */
		merged = memcpy(palloc(VARSIZE(packed)), packed, VARSIZE(packed));
		pfree(packed);
		/* every cell has an entry, so there is room */
		stats->entries[i] = (Entry) {.bytes = (const uint8_t *) VARDATA(merged), .length = VARSIZE(merged) - VARHDRSZ, .tight = 1, .cell = i};
		stats->bytes += VARSIZE(merged);
	}
	cell_total_give(total);
	MemoryContextSwitchTo(old);
	pfree(ordered);
	stats->n_entries = stats->n_cells;
	for (int32 i = 0; i < stats->n_cells; i++)
		stats->cells[i].length = 1;
	MemoryContextDelete(stats->blocks);
	stats->blocks = blocks;
	stats->max_bytes = Max(GATHERED_MAX_BYTES, 2 * stats->bytes);
}

void
stats_gather_bucket(Stats *stats, Datum datum)
{
	MemoryContext old = MemoryContextSwitchTo(stats->blocks);
	struct varlena *value = PG_DETOAST_DATUM_PACKED(datum);
	CellsReader reader;

	MemoryContextSwitchTo(old);
	if (!cells_reader_start(&reader, (const uint8_t *) VARDATA_ANY(value), VARSIZE_ANY_EXHDR(value)))
		cell_report(CELL_INVALID);
	while (cells_reader_next(&reader))
	{
		Key		   *key;

		if (reader.key >= stats->n_keys)
			break;
		key = &stats->keys[reader.key];
		if (key->model == NONE)
			continue;
		if (key->generation != stats->generation)
		{
			key->generation = stats->generation;
			key->cell = stats_add_cell(stats, key);
		}
		stats_add_entry(stats, key->cell, reader.bytes, reader.length, (size_t) (reader.end - reader.at) < sizeof(uint64_t));
	}
	if (reader.corrupt)
		cell_report(CELL_INVALID);
	stats->bytes += VARSIZE_ANY(value);
	bound_memory(stats);
	CHECK_FOR_INTERRUPTS();
}

void
stats_end_time(Stats *stats)
{
	MemoryContextReset(stats->blocks);
	stats->n_seen = stats->n_cells = stats->n_entries = 0;
	stats->bytes = 0;
	stats->max_bytes = GATHERED_MAX_BYTES;
	stats->generation++;
}
