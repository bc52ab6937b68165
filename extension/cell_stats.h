/*
 * What stats() holds while it runs, and how cells are gathered and added up: what
 * cell_stats.c and cell_stats_gather.c share.
 */
#ifndef CCPROXY_CELL_STATS_H
#define CCPROXY_CELL_STATS_H

#include "postgres.h"

#include "common/hashfn.h"

#include "extension/cell.h"
#include "extension/cell_counts.h"
#include "extension/cell_memo.h"
#include "extension/pricing.h"

#define NONE	(-1)

/* What is worked out of a group besides counts and sums. */
#define WANT_RESPONSE	(1 << 0)	/* percentiles */
#define WANT_TTFT		(1 << 1)
#define WANT_MODELS		(1 << 2)	/* requests and costs by model */
#define WANT_ERRORS		(1 << 3)	/* by type */
#define WANT_TOTAL		(1 << 4)	/* one more group of each time, of all the others together */

/* Texts that tell what a cell is of. */
#define LABELS	5

/* A group of all times, and what the time at hand has of it. */
typedef struct StatsGroup
{
	uint64		key;			/* labels k1 and k2 */
	uint32		hash;
	char		status;
	int32		cells;			/* the first Cell, or NONE */
} StatsGroup;

#define SH_PREFIX groups
#define SH_ELEMENT_TYPE StatsGroup
#define SH_KEY_TYPE uint64
#define SH_KEY key
#define SH_HASH_KEY(tb, key) hash_bytes((const unsigned char *) &(key), sizeof(uint64))
#define SH_EQUAL(tb, a, b) ((a) == (b))
#define SH_STORE_HASH
#define SH_GET_HASH(tb, group) (group)->hash
#define SH_SCOPE static inline
#define SH_DECLARE
#define SH_DEFINE
#include "lib/simplehash.h"

/* What a key of the cube stands for. */
typedef struct Key
{
	uint64		group;
	int32		model;			/* NONE: the key is left out */
	int32		error;			/* NONE: errors are not told */
	bool		limited;		/* status 429 */
	int32		cell;			/* of the time at hand, when that is of this generation */
	uint32		generation;
} Key;

/* One key, or one row of measures: so many entries. */
typedef struct Cell
{
	int32		next;			/* of the group */
	int32		model;
	int32		error;
	bool		limited;
	int32		length;
	int32		end;			/* of its entries, once they are in order */
} Cell;

/* Packed measures, borrowed. */
typedef struct Entry
{
	const uint8_t *bytes;
	uint32		length:31;
	uint32		tight:1;		/* the eight bytes that follow must not be read */
	int32		cell;
} Entry;

typedef struct Stats
{
	struct pricing_result result;
	uint32		wanted;
	MemoKey		question;		/* what the rows depend on besides time and cells */
	Labels		k1;
	Labels		k2;
	Counts		models;
	Counts		errors;
	groups_hash *groups;
	Key		   *keys;
	int64		n_keys;
	CellTotal  *all;			/* with WANT_TOTAL: distributions of the groups so far */

	/* the time at hand */
	uint32		generation;
	TimestampTz time;
	bool		remembered;		/* its rows are to be, in memo */
	Memo		memo;
	MemoryContext blocks;		/* where its cells are */
	size_t		bytes;			/* in blocks */
	size_t		max_bytes;
	bool		merged_early;
	uint64	   *seen;			/* groups it has */
	int32		n_seen;
	int32		max_seen;
	Cell	   *cells;
	int32		n_cells;
	int32		max_cells;
	Entry	   *entries;
	int32		n_entries;
	int32		max_entries;
} Stats;

#pragma GCC visibility push(hidden)

/* A new cell of a key's group, without entries. */
extern int32 stats_add_cell(Stats *stats, const Key *key);

/* Packed measures for a cell, borrowed; tight: the eight bytes that follow must not be read. */
extern void stats_add_entry(Stats *stats, int32 cell, const uint8_t *bytes, size_t length, bool tight);

/* Gathers the cells of a bucket whose keys are known. */
extern void stats_gather_bucket(Stats *stats, Datum datum);

/*
 * The entries in the order in which they are added up, group by group, cell by cell, so
 * that those to come can be fetched ahead: they come from as many places in memory.
 */
extern Entry *stats_order_entries(Stats *stats);

/* Adds what one cell has to the total, distributions or numbers alone. */
extern void stats_total_add_cell(CellTotal *total, const Stats *stats, const Cell *cell, const Entry *ordered, bool distributions);

/* Lets go of what there is of the time at hand; before the first time, too. */
extern void stats_end_time(Stats *stats);

#pragma GCC visibility pop

#endif
