/*
 * Cells, without PostgreSQL: what was measured over some requests (ccproxy.measures)
 * and many of these keyed by small integers (ccproxy.cells). The heart of the
 * rollups: sums are exact, adding cells up in any order gives the same bytes.
 *
 * Everything here is a pure function of its arguments: no globals, no locks,
 * callable from any thread. Who passes a block owns it.
 *
 * Measures have three forms:
 *	state	CellState, one relocatable block to which rows are added
 *	total	CellTotal, one large block with a counter for every latency bucket, to
 *			which states and packed measures are added; used again and again
 *	packed	bytes, the same on every machine and canonical: equal measures are equal
 *			bytes. What is stored and sent; cell_core_format.h describes it.
 *
 * Latencies are whole microseconds and fall into the buckets of ccproxy.sketch over
 * us / 1000.0; the few thousand buckets that microseconds can reach are numbered by
 * slots, ascending with the values.
 *
 * Prometheus' thirteen buckets cost nothing: how many values a boundary has at or
 * below it follows from the latency buckets, but for the one bucket that the
 * boundary lies in; only the values at or below the boundary in that one are counted
 * (at_most), and that sum is zero for most cells.
 */
#ifndef CCPROXY_CELL_CORE_H
#define CCPROXY_CELL_CORE_H

#include "extension/sketch_core.h"

#pragma GCC visibility push(hidden)

/* aligned as palloc aligns */
typedef __int128 cell_int128 __attribute__((aligned(8)));
typedef unsigned __int128 cell_uint128 __attribute__((aligned(8)));

#define CELL_SLOTS			8192
#define CELL_SLOT_ZERO		4096	/* the slot of 0 us; 1 us has the next */
#define CELL_KEY_LEAST		68162	/* the sketch's key of 1 us */

#define CELL_COUNT_MAX		((uint64_t) INT64_MAX)
#define CELL_SUM_MAX		((cell_int128) 1 << 126)
#define CELL_KEY_MAX		INT32_MAX

#define CELL_BOUNDARIES		13

/* Latency distributions. */
#define CELL_RESPONSE		0
#define CELL_TTFT			1
#define CELL_LATENCIES		2

/* Sums, in the order of a request's columns; the first two are of latencies. */
typedef enum CellSum
{
	CELL_SUM_RESPONSE,
	CELL_SUM_TTFT,
	CELL_SUM_INPUT,
	CELL_SUM_CACHE_READ,
	CELL_SUM_CACHE_WRITE,
	CELL_SUM_CACHE_WRITE_1H,
	CELL_SUM_OUTPUT,
	CELL_SUM_REASONING,
	CELL_SUM_INPUT_COST,
	CELL_SUM_CACHE_READ_COST,
	CELL_SUM_CACHE_WRITE_COST,
	CELL_SUM_OUTPUT_COST,
	CELL_SUM_TOOL_COST,
	CELL_SUM_REPORTED_COST,
	CELL_SUMS
} CellSum;

typedef enum CellStatus
{
	CELL_OK,
	CELL_NO_ROOM,				/* cell_state_enlarge(), then again */
	CELL_TOO_LARGE,				/* a count or a sum would be out of range */
	CELL_NO_MEMORY,
	CELL_INVALID				/* not a cell: see the CellError */
} CellStatus;

#define CELL_MUST_CHECK __attribute__((warn_unused_result))

/* Why an input is refused; position counts bytes of a text from 0. */
typedef struct CellError
{
	const char *reason;
	size_t		position;
} CellError;

/*
 * What is known about a set of requests, but for the latency buckets. Without
 * detail there are no at_most and no distribution of the time to first token.
 */
typedef struct CellNumbers
{
	uint64_t	requests;
	uint64_t	failed;
	uint64_t	in_flight;
	uint64_t	priced;
	uint64_t	unpriced;
	uint64_t	reported;
	uint64_t	n[CELL_LATENCIES];	/* requests that have the latency */
	int64_t		min_us[CELL_LATENCIES];	/* 0 when n is 0 */
	int64_t		max_us[CELL_LATENCIES];
	cell_int128 sum[CELL_SUMS];
	uint64_t	at_most[CELL_BOUNDARIES];
	bool		detail;
} CellNumbers;

/* ---- slots and boundaries ---- */

/* Prometheus' boundaries. */
extern const int64_t cell_boundary_us[CELL_BOUNDARIES];

/* Of each 64 slots: the one boundary that lies in them, or none. */
typedef struct CellBoundary
{
	int64_t		us;
	uint16_t	slot;			/* 0 where there is none: nothing has slot 0 */
	uint8_t		index;
} CellBoundary;

extern const CellBoundary cell_boundary_at[CELL_SLOTS / 64];

/* The slot of a boundary. */
extern uint32_t cell_boundary_slot(int boundary);

/* The key of a slot's bucket in ccproxy.sketch. */
static inline int32_t
cell_slot_key(uint32_t slot)
{
	if (slot == CELL_SLOT_ZERO)
		return 0;
	return slot > CELL_SLOT_ZERO ? (int32_t) (slot - CELL_SLOT_ZERO - 1) + CELL_KEY_LEAST
		: -((int32_t) (CELL_SLOT_ZERO - slot - 1) + CELL_KEY_LEAST);
}

/* A latency as ccproxy.requests and the sketches show it. */
static inline double
cell_ms(int64_t us)
{
	return (double) us / 1000.0;
}

/* The slot of a latency: that of sketch_key(cell_ms(us)). */
static inline uint32_t
cell_slot(int64_t us)
{
	uint64_t	bits = sketch_double_bits(cell_ms(us));
	uint64_t	mantissa = bits & UINT64_C(0xFFFFFFFFFFFFF);
	int32_t		exponent = (int32_t) (bits >> 52) & 0x7FF;
	uint32_t	cell = sketch_cell[mantissa >> 45];
	int32_t		key = (exponent + 52) * SKETCH_OCTAVE + (int32_t) (cell + (mantissa > sketch_edge[cell])) - 1;

	if (__builtin_expect(us <= 0, 0))
		return us == 0 ? CELL_SLOT_ZERO : (uint32_t) (CELL_SLOT_ZERO - 1 - (key - CELL_KEY_LEAST));
	return (uint32_t) (key - CELL_KEY_LEAST + CELL_SLOT_ZERO + 1);
}

/* ---- the state ---- */

/* First bytes that no packed form has. */
#define CELL_FORM_STATE		0xC1

/* Latencies a state lists before it has a window of counters. */
#define CELL_LIST_FIRST		16
#define CELL_LIST_MAX		512

/*
 * Where a state keeps the slots of a latency: a list of them (uint16_t, capacity
 * entries), or a window of counters (uint64_t), of slots first, first + 1, ...;
 * offset is from the start of the state.
 */
typedef struct CellSlots
{
	uint32_t	offset;
	uint16_t	capacity;		/* of the list, in entries; or of the window, in slots */
	uint16_t	length;			/* of the list */
	uint16_t	first;			/* of the window, a multiple of 64 */
	bool		window;
} CellSlots;

typedef struct CellState
{
	uint32_t	owner;			/* the server's varlena length word */
	uint8_t		form;
	uint8_t		unused[3];
	uint64_t	bytes;			/* of the whole block */
	CellNumbers numbers;
	CellSlots	slots[CELL_LATENCIES];
} CellState;

/* Bytes of an empty state with the least room. */
#define CELL_STATE_MIN_BYTES(detail) \
	(sizeof(CellState) + ((detail) ? 2 : 1) * CELL_LIST_FIRST * sizeof(uint16_t))

/* Makes zeroed bytes of that size an empty state. */
extern void cell_state_init(CellState *state, bool detail);

/* Whether these bytes hold a well-formed state. */
extern bool cell_state_check(const CellState *state, size_t bytes);

/* One request. Bit i of present says that value[i] is known; others are 0. */
typedef struct CellRow
{
	int64_t		value[CELL_SUMS];	/* as the sums are ordered; costs are 0 without a price */
	uint32_t	present;
	bool		priced;
	bool		failed;
	bool		in_flight;
} CellRow;

/* Adds a request. CELL_NO_ROOM leaves the state as it was. */
extern CellStatus cell_state_add(CellState *state, const CellRow *row) CELL_MUST_CHECK;

/* A larger copy of the state with room for this row; NULL when there is no memory. */
extern CellState *cell_state_enlarge(const CellState *state, const CellRow *row,
									 const SketchMemory *memory) CELL_MUST_CHECK;

/* ---- the total ---- */

typedef struct CellTotal
{
	CellNumbers numbers;
	uint32_t	low[CELL_LATENCIES];	/* slots that may be other than zero */
	uint32_t	high[CELL_LATENCIES];
	uint64_t	slots[CELL_LATENCIES][CELL_SLOTS];
} CellTotal;

/* Makes any block of that size an empty total. */
extern void cell_total_init(CellTotal *total);

/* Empties a total: cheap, unlike cell_total_init(). */
extern void cell_total_reset(CellTotal *total);

/* Adds the distributions of another total; its numbers are for cell_add_numbers(). */
extern void cell_total_add_slots(CellTotal *to, const CellTotal *from);

extern CellStatus cell_total_add_state(CellTotal *total, const CellState *state) CELL_MUST_CHECK;

/*
 * Adds packed measures. readable: how many bytes may be read from there on, at least
 * length; eight more make it faster. After anything but CELL_OK the total is fit
 * for cell_total_init() only.
 */
extern CellStatus cell_total_add_packed(CellTotal *total, const uint8_t *bytes, size_t length,
										size_t readable) CELL_MUST_CHECK;

/* Adds all numbers but at_most of packed measures, as cell_total_add_packed() does, and checks no more than these. */
extern CellStatus cell_add_numbers(CellNumbers *numbers, const uint8_t *bytes, size_t length, size_t readable) CELL_MUST_CHECK;

/* Reads them, likewise. */
extern CellStatus cell_read_numbers(CellNumbers *numbers, const uint8_t *bytes, size_t length) CELL_MUST_CHECK;

/* Every rule that measures obey; for input from outside. */
extern CellStatus cell_total_check(const CellTotal *total, CellError *error) CELL_MUST_CHECK;

/* Prometheus' cumulative counts. */
extern void cell_total_buckets(const CellTotal *total, int64_t counts[CELL_BOUNDARIES]);

/*
 * The quantiles of a latency in milliseconds at ascending fractions, as
 * sketch_quantile() of its distribution gives them; n is not 0.
 */
extern void cell_total_quantiles(const CellTotal *total, int latency, const double *fractions, double *values, int length);

/* At least the size of a latency's distribution as a packed sketch. */
extern size_t cell_sketch_bound(const CellTotal *total, int latency);

/* Writes the distribution of a latency as a packed sketch and returns its size; n is not 0. */
extern size_t cell_pack_sketch(const CellTotal *total, int latency, uint8_t *bytes);

/* At least the size of the total's packed form. */
extern size_t cell_pack_bound(const CellTotal *total);

/* Writes the packed form and returns its size, 0 when a sum is out of range. The total is as before. */
extern size_t cell_pack(CellTotal *total, uint8_t *bytes) CELL_MUST_CHECK;

/* ---- cells ---- */

/* Walks packed cells. corrupt is set when the bytes turn out not to be cells. */
typedef struct CellsReader
{
	const uint8_t *at;
	const uint8_t *end;
	uint64_t	left;			/* cells to come */
	uint64_t	count;
	int64_t		key;			/* of the current cell */
	const uint8_t *bytes;
	size_t		length;
	bool		corrupt;
} CellsReader;

extern bool cells_reader_start(CellsReader *reader, const uint8_t *bytes, size_t length) CELL_MUST_CHECK;
extern bool cells_reader_next(CellsReader *reader) CELL_MUST_CHECK;

/* A cell to be merged. Borrows the bytes. */
typedef struct CellEntry
{
	uint32_t	key;
	uint32_t	length:31;
	uint32_t	tight:1;		/* the eight bytes that follow must not be read */
	const uint8_t *bytes;
} CellEntry;

/* The longest packed measures there are. */
#define CELL_PACKED_MAX_BYTES (1 << 18)

/* Where packed cells are written; reserve makes room and may move bytes, false when it cannot. */
typedef struct CellsWriter CellsWriter;
struct CellsWriter
{
	uint8_t    *bytes;
	size_t		length;
	size_t		capacity;
	bool		(*reserve) (CellsWriter *writer, size_t more);
	int64_t		key;			/* of the last cell */
};

/* Starts cells of which there will be so many. */
extern CellStatus cells_writer_start(CellsWriter *writer, uint64_t count) CELL_MUST_CHECK;

/* Appends a cell of a higher key than the last. */
extern CellStatus cells_writer_put(CellsWriter *writer, uint32_t key, const uint8_t *bytes,
								   size_t length) CELL_MUST_CHECK;
extern CellStatus cells_writer_put_total(CellsWriter *writer, uint32_t key, CellTotal *total) CELL_MUST_CHECK;

/*
 * Writes the cells of all entries, those of equal keys added up. Orders the entries;
 * spare is room for as many. Uses the total.
 */
extern CellStatus cells_merge(CellEntry *entries, CellEntry *spare, size_t n, CellTotal *total,
							  CellsWriter *writer) CELL_MUST_CHECK;

/* Validates cells completely and writes them again; for input from outside. */
extern CellStatus cells_copy_checked(const uint8_t *bytes, size_t length, CellTotal *total,
									 CellsWriter *writer, CellError *error) CELL_MUST_CHECK;

/* ---- text ---- */

/* Reads measures into the total, checked. After anything but CELL_OK: cell_total_init(). */
extern CellStatus cell_parse(const char *text, size_t length, CellTotal *total, CellError *error) CELL_MUST_CHECK;

/* Writes pieces of text to put(). */
extern void cell_print(const CellTotal *total, void (*put) (void *to, const char *piece, size_t length), void *to);

extern CellStatus cells_parse(const char *text, size_t length, CellTotal *total, CellsWriter *writer,
							  CellError *error) CELL_MUST_CHECK;
extern CellStatus cells_print(const uint8_t *bytes, size_t length, CellTotal *total,
							  void (*put) (void *to, const char *piece, size_t length), void *to) CELL_MUST_CHECK;

#pragma GCC visibility pop

#endif
