/*
 * Counts by label of the group of statistics at hand, and the JSON objects they become.
 */
#ifndef CCPROXY_CELL_COUNTS_H
#define CCPROXY_CELL_COUNTS_H

#include "extension/cell.h"
#include "extension/cell_labels.h"

#pragma GCC visibility push(hidden)

/* What was counted of one label. */
typedef struct LabelCount
{
	uint64		requests;
	uint64		priced;
	cell_int128 cost;
	bool		touched;
} LabelCount;

/* Labels, and counts of those that the group has. */
typedef struct Counts
{
	Labels		labels;
	LabelCount *counts;
	int32		capacity;
	int32	   *touched;
	int32		n_touched;
} Counts;

/* No labels yet. */
extern void counts_init(Counts *counts);

/* The count of a label, until the next call. */
extern LabelCount *label_count(Counts *counts, int32 index);

/* What was counted as a jsonb object: requests by label, or costs where something was priced. */
extern Datum counts_object(const Counts *counts, bool costs);

/* No label has a count any more. */
extern void counts_forget(Counts *counts);

#pragma GCC visibility pop

#endif
