/*
 * Many cells on their way to be merged, as an expanded object of type ccproxy.cells:
 * the transition value of the aggregates once it is large. cell_gather.c says how.
 */
#ifndef CCPROXY_CELL_GATHER_H
#define CCPROXY_CELL_GATHER_H

#include "postgres.h"

#include "utils/array.h"
#include "utils/expandeddatum.h"

#include "extension/cell.h"

#pragma GCC visibility push(hidden)

typedef struct Gathered Gathered;

/* key_to_group, read in order of ascending keys. */
typedef struct CellMapping
{
	const int32 *groups;		/* those that are not NULL */
	const bits8 *not_null;		/* or NULL: all are there */
	int			length;
	int			first_key;
	int			at;				/* elements passed, and how many of them were not NULL */
	int			passed;
} CellMapping;

extern void cell_mapping_start(CellMapping *mapping, ArrayType *array);

/* The group of a key, 0 for none. Keys ascend from call to call. */
extern int32 cell_mapping_group(CellMapping *mapping, int64 key);

/* A new object in a context that is a child of this. */
extern Gathered *gathered_create(MemoryContext parent);

/* The object behind a datum, or NULL for flat cells. */
extern Gathered *gathered_of(Datum datum);

extern Datum gathered_datum(Gathered *gathered);

/* Adds a cell, copied. */
extern void gathered_add(Gathered *gathered, uint32 key, const uint8_t *bytes, size_t length);

/* Adds a value's cells, by their groups if there is a mapping. Detoasts it for itself. */
extern void gathered_add_cells(Gathered *gathered, Datum cells, ArrayType *key_to_group);

/* All merged, in the current context. */
extern struct varlena *gathered_merge(Gathered *gathered);

/* Entries merged, in the current context. */
extern struct varlena *cell_entries_merge(CellEntry *entries, size_t n);

#pragma GCC visibility pop

#endif
