/*
 * ccproxy.measures and ccproxy.cells as PostgreSQL sees them: varlenas that hold a
 * packed form (stored, sent, returned by everything users call). Between the calls of
 * an aggregate measures may also be a state or pending, and cells pending or an expanded
 * object. cell_core.h describes the other forms.
 */
#ifndef CCPROXY_CELL_H
#define CCPROXY_CELL_H

#include "postgres.h"

#include "fmgr.h"
#include "nodes/execnodes.h"

#include "extension/cell_core.h"

#pragma GCC visibility push(hidden)

/*
 * Packed measures or cells as they came, to be added up when they are many: entries of
 * a length (uint32) and bytes, for cells with the key (uint32) before; eight bytes are
 * free after the last.
 */
#define CELL_FORM_PENDING 0xC2

typedef struct CellPending
{
	uint32_t	owner;			/* varlena length word */
	uint8_t		form;
	uint8_t		unused[3];
	uint32_t	length;			/* of bytes in use */
	uint32_t	capacity;		/* of bytes, without the eight */
	uint8_t		bytes[];
} CellPending;

/* AggCheckCallContext() without the call. */
static inline bool
cell_in_aggregate(FunctionCallInfo fcinfo)
{
	return fcinfo->context != NULL &&
		(IsA(fcinfo->context, AggState) || IsA(fcinfo->context, WindowAggState));
}

/* What follows from a request's columns together. */
static inline void
cell_row_judge(CellRow *row, bool priced, bool has_status, int16 status, bool has_error)
{
	row->priced = priced;
	row->failed = (has_status && status >= 400) || has_error;
	row->in_flight = !row->failed && !has_status;

	/* without a price there is no cost, as in ccproxy.requests.total_cost */
	if (!priced)
		for (int i = CELL_SUM_INPUT_COST; i <= CELL_SUM_TOOL_COST; i++)
			row->value[i] = 0;
}

/* The backend's one total, empty. Only one caller at a time; give it back. */
extern CellTotal *cell_total_take(void);
extern void cell_total_give(CellTotal *total);

/* Adds the measures of a datum, whatever its form. */
extern void cell_total_add(CellTotal *total, Datum measures);

/* The packed measures of a datum in any form; may be the datum. */
extern struct varlena *cell_packed(Datum measures);

/* New packed measures of what the total holds. */
extern struct varlena *cell_total_pack(CellTotal *total);

/* The total cost in picodollars; error 22003 beyond CELL_SUM_MAX. */
extern cell_int128 cell_cost(const CellNumbers *numbers);

/* Requests: all, successful, failed, in flight, priced, unpriced, as bigint. */
#define CELL_COUNTS 6
extern void cell_put_counts(const CellNumbers *numbers, Datum values[CELL_COUNTS]);

/* An integer as numeric. */
extern Datum cell_numeric(cell_int128 value);

/* Picodollars as numeric USD. */
extern Datum cell_usd(cell_int128 pico);

/* Reports a status other than CELL_OK of something already stored. */
extern void cell_report(CellStatus status) __attribute__((noreturn));

/* Reports why a text (by position) or bytes are not of this type. */
extern void cell_report_text(CellStatus status, const char *type, const CellError *error) __attribute__((noreturn));
extern void cell_report_bytes(CellStatus status, const char *type, const CellError *error) __attribute__((noreturn));

/* Appends to a StringInfo. */
extern void cell_put(void *to, const char *piece, size_t length);

/* A writer whose bytes are a varlena in the current context; its length counts the header. */
extern void cells_writer_palloc(CellsWriter *writer, size_t capacity);

/* The varlena that was written. */
extern struct varlena *cells_writer_finish(CellsWriter *writer);

#pragma GCC visibility pop

#endif
