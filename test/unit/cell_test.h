/*
 * What the unit tests of cells share: random rows, and memory for states and writers.
 */
#ifndef TEST_UNIT_CELL_TEST_H
#define TEST_UNIT_CELL_TEST_H

#include <math.h>
#include <stdlib.h>

#include "extension/cell_core.h"
#include "test/unit/tap.h"

static uint64_t random_state = 88172645463325252u;

static inline uint64_t
random_next(void)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return random_state;
}

static inline uint64_t
random_below(uint64_t n)
{
	return random_next() % n;
}

static inline void *
allocate(size_t bytes)
{
	return calloc(1, bytes);
}

static inline void
release(void *block)
{
	free(block);
}

static const SketchMemory memory = {allocate, release};

/* Kinds of traffic. */
enum
{
	TYPICAL,					/* priced, log-normal latencies */
	FAILING,					/* errors, gaps, odd prices, tool and reported costs */
	EXTREME,					/* any int64 there is, negative ones too */
	KINDS
};

static inline int64_t
random_latency(int kind)
{
	double		normal = 0;

	if (kind == EXTREME)
		switch (random_below(6))
		{
			case 0:
				return INT64_MIN + (int64_t) random_below(3);
			case 1:
				return INT64_MAX - (int64_t) random_below(3);
			case 2:
				return (int64_t) random_below(5) - 2;
			case 3:
				return cell_boundary_us[random_below(CELL_BOUNDARIES)] + (int64_t) random_below(3) - 1;
			default:
				return (int64_t) (random_next() >> random_below(64)) * (random_below(2) ? 1 : -1);
		}
	if (kind == FAILING && random_below(4) == 0)
		return cell_boundary_us[random_below(CELL_BOUNDARIES)] + (int64_t) random_below(21) - 10;
	for (int i = 0; i < 12; i++)
		normal += (double) random_below(1000000) / 1e6 - 0.5;
	return (int64_t) (exp(14.9 + 0.9 * normal));
}

static inline void
random_row(CellRow *row, int kind)
{
	static const int64_t rate[4] = {3000000, 300000, 3750000, 15000000};

	memset(row, 0, sizeof(*row));
	row->priced = kind == TYPICAL || random_below(4) > 0;
	row->failed = kind != TYPICAL && random_below(10) == 0;
	row->in_flight = kind != TYPICAL && !row->failed && random_below(10) == 0;
	for (int i = 0; i < CELL_SUMS; i++)
	{
		bool		usual = i <= CELL_SUM_CACHE_WRITE || i == CELL_SUM_OUTPUT || (i >= CELL_SUM_INPUT_COST && i <= CELL_SUM_OUTPUT_COST);

		if (kind == TYPICAL ? !usual : random_below(3) == 0)
			continue;
		row->present |= 1u << i;
		row->value[i] = kind == EXTREME ? random_latency(EXTREME) : (int64_t) random_below(i < CELL_SUM_INPUT_COST ? 9000 : 3000000000);
	}
	for (int i = 0; i < CELL_LATENCIES; i++)
		if (row->present >> i & 1)
			row->value[i] = random_latency(kind) / (i == CELL_TTFT && kind == TYPICAL ? 4 : 1);
	for (int i = CELL_SUM_INPUT_COST; i <= CELL_SUM_TOOL_COST; i++)
	{
		int			tokens = i - CELL_SUM_INPUT_COST + (i == CELL_SUM_OUTPUT_COST ? CELL_SUM_OUTPUT - 3 : CELL_SUM_INPUT);

		if (!row->priced)
			row->value[i] = 0;
		else if (kind == TYPICAL && i <= CELL_SUM_OUTPUT_COST)
			row->value[i] = row->value[tokens] * rate[i - CELL_SUM_INPUT_COST];
	}
}

/* A state of its own block with this row too. */
static inline CellState *
add_row(CellState *state, const CellRow *row)
{
	CellStatus	status;

	while ((status = cell_state_add(state, row)) == CELL_NO_ROOM)
	{
		CellState  *larger = cell_state_enlarge(state, row, &memory);

		free(state);
		state = larger;
		if (state == NULL || !cell_state_check(state, state->bytes))
			abort();
	}
	if (status != CELL_OK)
		abort();
	return state;
}

static inline CellState *
new_state(bool detail)
{
	CellState  *state = calloc(1, CELL_STATE_MIN_BYTES(detail));

	cell_state_init(state, detail);
	return state;
}

/* Packed bytes in a block of exactly their size. */
typedef struct Packed
{
	uint8_t    *bytes;
	size_t		length;
} Packed;

static inline Packed
pack_total(CellTotal *total)
{
	size_t		bound = cell_pack_bound(total);
	uint8_t    *bytes = malloc(bound);
	size_t		length = cell_pack(total, bytes);

	if (length > bound)
		abort();
	return (Packed) {realloc(bytes, length ? length : 1), length};
}

static inline bool
same(Packed a, Packed b)
{
	return a.length == b.length && a.length > 0 && memcmp(a.bytes, b.bytes, a.length) == 0;
}

static inline bool
reserve(CellsWriter *writer, size_t more)
{
	while (writer->capacity - writer->length < more)
		writer->capacity = writer->capacity * 2 + 64;
	writer->bytes = realloc(writer->bytes, writer->capacity);
	return writer->bytes != NULL;
}

/* Text as it is printed. */
typedef struct Text
{
	char	   *text;
	size_t		length;
	size_t		capacity;
} Text;

static inline void
put(void *to, const char *piece, size_t length)
{
	Text	   *text = to;

	while (text->capacity - text->length < length + 1)
		text->text = realloc(text->text, text->capacity = text->capacity * 2 + 256);
	memcpy(text->text + text->length, piece, length);
	text->length += length;
	text->text[text->length] = '\0';
}

#endif
