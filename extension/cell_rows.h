/*
 * Rows folded into cells, by bucket and label. cell_rows.c says how.
 */
#ifndef CCPROXY_CELL_ROWS_H
#define CCPROXY_CELL_ROWS_H

#include "postgres.h"

#include "datatype/timestamp.h"

#include "extension/cell_labels.h"

#pragma GCC visibility push(hidden)

#define FOLD_MAX_LABELS 8

/* ccproxy.gather_memory: what is gathered before it is merged, in kB; see cell_rows.c and cell_stats.c. */
extern int	cell_gather_kb;

extern void cell_define_settings(void);

/* Packed measures of the rows of one bucket and one label. */
typedef struct FoldedCell
{
	int32		bucket;
	int32		label;
	const struct varlena *measures;
} FoldedCell;

typedef struct Folded
{
	int			n_texts;		/* that make a label */
	Labels		labels;
	Labels		buckets;
	FoldedCell *cells;
	size_t		length;
} Folded;

/*
 * Runs a query through SPI and folds its rows: a bucket (timestamptz), the texts of the
 * label, what ccproxy.measures() takes but detail. All memory is the current context's.
 */
extern const Folded *fold_rows(const char *sql, bool detail, bool read_only);

extern TimestampTz folded_time(const Folded *folded, int32 bucket);

/* The texts of a label; bytes is NULL for NULL. */
extern void folded_texts(const Folded *folded, int32 label, LabelText texts[FOLD_MAX_LABELS]);

#pragma GCC visibility pop

#endif
