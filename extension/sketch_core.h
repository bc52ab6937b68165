/*
 * The quantile sketch, without PostgreSQL: an exponential histogram of base
 * 2^(1/64). Bucket i holds the doubles in (2^(i/64), 2^((i+1)/64)]: the buckets
 * of OpenTelemetry's scale 6 and of Prometheus' native schema 6. Negative values
 * have the same buckets mirrored, zero has its own. extension/SKETCH.md says what
 * a sketch promises.
 *
 * Everything here is a pure function of its arguments: no globals, no locks,
 * callable from any thread. Memory comes only from the SketchMemory given.
 *
 * A sketch has two forms:
 *	state	SketchState, one relocatable block, made to be added to. Small groups
 *			list their values' keys, larger ones have pages of counters, one page
 *			for each octave that occurs.
 *	packed	bytes, the same on every machine: what is stored and sent.
 * Both are read through a SketchView and a SketchCursor over it.
 *
 * A key is a bucket's number with the sign folded in: 0 is zero, keys ascend with
 * the values.
 */
#ifndef CCPROXY_SKETCH_CORE_H
#define CCPROXY_SKETCH_CORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "extension/sketch_core_tables.h"

/* Not for other libraries: the server loads modules into one name space. */
#pragma GCC visibility push(hidden)

#define SKETCH_SCALE		6
#define SKETCH_OCTAVE		64		/* buckets, and keys, per octave */
#define SKETCH_KEY_BIAS		68800	/* key of bucket 0: (2^0, 2^(1/64)] */
#define SKETCH_INDEX_MIN	(-68737)	/* bucket of the least subnormal, 2^-1074 */
#define SKETCH_INDEX_MAX	65535	/* bucket of the greatest double */
#define SKETCH_KEY_MAX		(SKETCH_INDEX_MAX + SKETCH_KEY_BIAS)
#define SKETCH_PAGE_MAX		(SKETCH_KEY_MAX >> 6)
#define SKETCH_PAGE_MIN		(-SKETCH_PAGE_MAX - 1)

#define SKETCH_COUNT_MAX	((uint64_t) INT64_MAX)

/* Keys a state lists before it must count by page: a block of 4 KiB. */
#define SKETCH_LIST_MAX		1008

/* First byte of a state (after its owner's word) and of the packed form. */
#define SKETCH_FORM_LIST	0xF1
#define SKETCH_FORM_PAGES	0xF2
#define SKETCH_PACKED_EMPTY	0x10
#define SKETCH_PACKED_ONE	0x11	/* all values equal */
#define SKETCH_PACKED_MANY	0x12

/*
 * The state. body is the list of keys, or the directory (for each octave from
 * dir_first on the number of its page, 0 for none; dir_length is a multiple of 4)
 * followed by the pages, 64 counters each. A block is always aligned to 8.
 */
typedef struct SketchState
{
	uint32_t	owner;			/* the server's varlena length word */
	uint8_t		form;
	uint8_t		unused;
	uint16_t	dir_length;
	uint64_t	count;			/* of all values, zeros included */
	uint64_t	zeros;
	double		min;			/* of an empty state: infinity */
	double		max;			/* of an empty state: -infinity */
	double		sum;
	double		sum_low;		/* what rounding has taken from sum */
	union
	{
		struct
		{
			uint32_t	length;
			uint32_t	capacity;
		}			list;
		struct
		{
			int16_t		dir_first;
			uint16_t	length;
			uint16_t	capacity;
			uint16_t	unused;
		}			pages;
	}			u;
	uint64_t	body[];
} SketchState;

#define SKETCH_STATE_HEADER	sizeof(SketchState)
#define SKETCH_PAGE_BYTES	(SKETCH_OCTAVE * sizeof(uint64_t))

/* The block of an empty state with the least room: 16 values in 128 bytes. */
#define SKETCH_STATE_MIN_BYTES 128

typedef struct SketchMemory
{
	void	   *(*allocate) (size_t bytes);	/* zeroed; NULL when there is none */
	void		(*release) (void *block);
} SketchMemory;

typedef enum SketchStatus
{
	SKETCH_OK,
	SKETCH_NO_ROOM,				/* sketch_enlarge(), then again */
	SKETCH_TOO_MANY,			/* the count would pass SKETCH_COUNT_MAX */
	SKETCH_NO_MEMORY,
	SKETCH_INVALID				/* not a sketch: see the SketchError */
} SketchStatus;

#define SKETCH_MUST_CHECK __attribute__((warn_unused_result))

/* Why an input is not a sketch; position counts bytes from 0. */
typedef struct SketchError
{
	const char *reason;
	size_t		position;
} SketchError;

/* ---- values and keys ---- */

/* The key of any finite double. */
extern int32_t sketch_key(double value);

/* The greatest double that is not above 2^(index/64). */
extern double sketch_edge_value(int32_t index);

/* The value that stands for a key's bucket: 2ab/(a+b) of its edges a, b. */
extern double sketch_key_value(int32_t key);

/* ---- the state ---- */

extern void sketch_state_init(SketchState *state, size_t bytes);
extern size_t sketch_state_bytes(const SketchState *state);

/* Whether these bytes hold a well-formed state. */
extern bool sketch_state_check(const SketchState *state, size_t bytes);

/*
 * A larger copy of the state, with room for n more values of this key; NULL when
 * there is no memory. The old block stays the caller's.
 */
extern SketchState *sketch_enlarge(const SketchState *state, int32_t key, uint64_t n,
								   const SketchMemory *memory) SKETCH_MUST_CHECK;

/* Counts n values into a bucket, and nothing else: count, min, max and sum stay. */
extern bool sketch_count_key(SketchState *state, int32_t key, uint64_t n) SKETCH_MUST_CHECK;

/* sketch_add() for what its fast path leaves: zeros, negatives, subnormals. */
extern SketchStatus sketch_add_slowly(SketchState *state, double value) SKETCH_MUST_CHECK;

static inline uint64_t
sketch_double_bits(double value)
{
	uint64_t	bits;

	memcpy(&bits, &value, sizeof(bits));
	return bits;
}

/* Two-sum: sum + sum_low stays what was added, to twice the precision of a double. */
static inline void
sketch_add_sum(SketchState *state, double value)
{
	double		sum = state->sum;
	double		total = sum + value;
	double		moved = total - sum;

	state->sum_low += (sum - (total - moved)) + (value - moved);
	state->sum = total;
}

/* The key of a positive normal double. */
static inline int32_t
sketch_normal_key(uint64_t bits)
{
	uint64_t	mantissa = bits & UINT64_C(0xFFFFFFFFFFFFF);
	uint32_t	cell = sketch_cell[mantissa >> 45];

	return (int32_t) ((uint32_t) (bits >> 52) + 52) * SKETCH_OCTAVE +
		(int32_t) (cell + (mantissa > sketch_edge[cell])) - 1;
}

/* What sketch_add() must be told apart: zeros, negatives, subnormals, no numbers, a full state. */
static inline bool
sketch_add_is_special(const SketchState *state, uint64_t bits)
{
	return (uint32_t) (bits >> 52) - 1 >= 2046 || state->count >= SKETCH_COUNT_MAX;
}

static inline void
sketch_add_totals(SketchState *state, double value)
{
	state->count++;
	if (__builtin_expect(value < state->min, 0))
		state->min = value;
	if (__builtin_expect(value > state->max, 0))
		state->max = value;
	sketch_add_sum(state, value);
}

/*
 * sketch_add() for a value that has a counter waiting in the pages: where an
 * aggregate spends its time. Otherwise false, and nothing has changed.
 */
SKETCH_MUST_CHECK static inline bool
sketch_add_to_pages(SketchState *state, double value)
{
	uint64_t	bits = sketch_double_bits(value);
	int32_t		key = sketch_normal_key(bits);
	uint32_t	entry = (uint32_t) ((key >> 6) - state->u.pages.dir_first);
	uint32_t	page;

	if (__builtin_expect(sketch_add_is_special(state, bits) || entry >= state->dir_length, 0))
		return false;
	page = ((const uint16_t *) state->body)[entry];
	if (__builtin_expect(page == 0, 0))
		return false;
	state->body[state->dir_length / 4 + (page - 1) * SKETCH_OCTAVE + (key & 63)]++;
	sketch_add_totals(state, value);
	return true;
}

/* The same for a list that has room. */
SKETCH_MUST_CHECK static inline bool
sketch_add_to_list(SketchState *state, double value)
{
	uint64_t	bits = sketch_double_bits(value);

	if (sketch_add_is_special(state, bits) || state->u.list.length >= state->u.list.capacity)
		return false;
	((int32_t *) state->body)[state->u.list.length++] = sketch_normal_key(bits);
	sketch_add_totals(state, value);
	return true;
}

/*
 * Adds one value; NaN and infinities are SKETCH_INVALID. Whatever is not
 * SKETCH_OK leaves the state as it was.
 */
SKETCH_MUST_CHECK static inline SketchStatus
sketch_add(SketchState *state, double value)
{
	if (state->form == SKETCH_FORM_PAGES ? sketch_add_to_pages(state, value) : sketch_add_to_list(state, value))
		return SKETCH_OK;
	return sketch_add_slowly(state, value);
}

/* ---- reading ---- */

typedef enum SketchSource
{
	SKETCH_FROM_ONE,			/* count values, all equal to min */
	SKETCH_FROM_LIST,
	SKETCH_FROM_PAGES,
	SKETCH_FROM_TOKENS
} SketchSource;

/* A sketch to be read, whatever its form. Borrows the bytes it was made from. */
typedef struct SketchView
{
	SketchSource source;
	uint64_t	count;
	double		min;			/* meaningless when count is 0 */
	double		max;
	double		sum;
	uint64_t	zeros;			/* of a list or pages; others have a bucket for them */
	const int32_t *keys;		/* ascending, zeros not among them */
	uint32_t	keys_length;
	const SketchState *pages;
	const uint8_t *tokens;
	const uint8_t *tokens_end;
} SketchView;

/*
 * Walks the occupied buckets in ascending order. corrupt is set when packed bytes
 * turn out not to be a sketch; the walk then ends.
 */
typedef struct SketchCursor
{
	const SketchView *view;
	int32_t		key;			/* the current bucket */
	uint64_t	n;				/* its values */
	bool		corrupt;
	bool		pending;		/* current bucket not merged yet, see sketch_merge() */
	bool		zeros_given;
	int32_t		last;			/* of tokens: the bucket of max */
	uint32_t	position;		/* in the list, or the slot within the page */
	uint32_t	entry;			/* of the directory */
	const uint8_t *token;
	uint64_t	given;			/* values in all buckets so far */
} SketchCursor;

/* A view of a state. scratch holds the list in order while the view is used. */
typedef struct SketchScratch
{
	int32_t		keys[SKETCH_LIST_MAX];
} SketchScratch;

extern void sketch_view_state(SketchView *view, const SketchState *state, SketchScratch *scratch);

/* A view of packed bytes; checks their header only, the cursor checks the rest. */
extern bool sketch_view_packed(SketchView *view, const uint8_t *bytes, size_t length) SKETCH_MUST_CHECK;

extern void sketch_cursor_start(SketchCursor *cursor, const SketchView *view);
extern bool sketch_cursor_next(SketchCursor *cursor) SKETCH_MUST_CHECK;

/* The tokens' half of sketch_cursor_next(). */
extern bool sketch_token_next(SketchCursor *cursor) SKETCH_MUST_CHECK;

/*
 * Adds the sketch under the cursor (of a fresh start) to the state. On
 * SKETCH_NO_ROOM enlarge for cursor->key and cursor->n and call again.
 */
extern SketchStatus sketch_merge(SketchState *state, SketchCursor *cursor) SKETCH_MUST_CHECK;

/* The same with enlarging; *state is replaced, its old block released if so asked. */
extern SketchStatus sketch_merge_growing(SketchState **state, const SketchView *view,
										 bool release_first, const SketchMemory *memory) SKETCH_MUST_CHECK;

/* SKETCH_OK and *value; SKETCH_INVALID for bytes that are no sketch. Not for an empty one. */
extern SketchStatus sketch_quantile(const SketchView *view, double fraction, double *value) SKETCH_MUST_CHECK;

/* The fraction of values that are at most limit (not NaN). Not for an empty one. */
extern SketchStatus sketch_cdf(const SketchView *view, double limit, double *fraction) SKETCH_MUST_CHECK;

/* The mean, within [min, max]. Not for an empty one. */
extern double sketch_mean(const SketchView *view);

/* Equal count, min, max and buckets; the sum does not matter. */
extern bool sketch_equal(const SketchView *a, const SketchView *b);
extern uint64_t sketch_hash(const SketchView *view);

/* Every rule a sketch obeys; for input from outside. */
extern SketchStatus sketch_view_check(const SketchView *view, SketchError *error) SKETCH_MUST_CHECK;

/* ---- packed and text forms ---- */

/* At least the size of the packed form. */
extern size_t sketch_packed_bound(const SketchView *view);

/* Writes the packed form and returns its size, 0 when the view is corrupt. */
extern size_t sketch_pack(const SketchView *view, uint8_t *bytes) SKETCH_MUST_CHECK;

/* Reads a text; a new state in *state, which is the caller's. */
extern SketchStatus sketch_parse(const char *text, size_t length, SketchState **state,
								 const SketchMemory *memory, SketchError *error) SKETCH_MUST_CHECK;

/* Writes pieces of text to put(); SKETCH_INVALID when the view is corrupt. */
extern SketchStatus sketch_print(const SketchView *view, void (*put) (void *to, const char *piece, size_t length),
								 void *to, const SketchMemory *memory) SKETCH_MUST_CHECK;

#pragma GCC visibility pop

#endif
