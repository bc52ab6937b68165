/*
 * Reading a sketch in whatever form: the cursor over its buckets, quantiles, the
 * distribution function, equality, and the rules an input must obey. No
 * PostgreSQL here. Pure: entered by anyone, the view stays the caller's.
 */
#include "extension/sketch_core.h"

#include <float.h>
#include <math.h>

/* Lists up to this length are ordered by insertion. */
#define INSERTION_MAX 24

/* How far a sum may lie beyond what its count, min and max allow, relative. */
#define SUM_SLACK 1e-9

#define RADIX_BITS 9
#define RADIX (1 << RADIX_BITS)

static void
sort_by_insertion(int32_t *keys, uint32_t length)
{
	for (uint32_t i = 1; i < length; i++)
	{
		int32_t		key = keys[i];
		uint32_t	j = i;

		for (; j > 0 && keys[j - 1] > key; j--)
			keys[j] = keys[j - 1];
		keys[j] = key;
	}
}

/* Copies the keys in ascending order: digits from the lowest, two passes for most data. */
static void
sort_by_radix(int32_t *to, const int32_t *from, uint32_t length)
{
	int32_t		least = from[0];
	int32_t		most = from[0];
	int32_t		other[SKETCH_LIST_MAX];
	const int32_t *source = from;
	uint32_t	passes = 1;

	for (uint32_t i = 1; i < length; i++)
	{
		if (from[i] < least)
			least = from[i];
		if (from[i] > most)
			most = from[i];
	}
	while ((uint32_t) (most - least) >> (passes * RADIX_BITS))
		passes++;

	for (uint32_t pass = 0; pass < passes; pass++)
	{
		uint16_t	start[RADIX + 1] = {0};
		uint32_t	shift = pass * RADIX_BITS;
		int32_t    *target = (passes - pass) % 2 ? to : other;

		for (uint32_t i = 0; i < length; i++)
			start[(((uint32_t) (source[i] - least) >> shift) & (RADIX - 1)) + 1]++;
		for (uint32_t digit = 1; digit <= RADIX; digit++)
			start[digit] += start[digit - 1];
		for (uint32_t i = 0; i < length; i++)
			target[start[((uint32_t) (source[i] - least) >> shift) & (RADIX - 1)]++] = source[i];
		source = target;
	}
}

void
sketch_view_state(SketchView *view, const SketchState *state, SketchScratch *scratch)
{
	view->count = state->count;
	view->min = state->min;
	view->max = state->max;
	view->sum = isfinite(state->sum) ? state->sum + state->sum_low : state->sum;
	view->zeros = state->zeros;
	if (state->form == SKETCH_FORM_PAGES)
	{
		view->source = SKETCH_FROM_PAGES;
		view->pages = state;
		return;
	}
	view->source = SKETCH_FROM_LIST;
	view->keys = scratch->keys;
	view->keys_length = state->u.list.length;
	if (view->keys_length > INSERTION_MAX)
		sort_by_radix(scratch->keys, (const int32_t *) state->body, view->keys_length);
	else
	{
		memcpy(scratch->keys, state->body, view->keys_length * sizeof(int32_t));
		sort_by_insertion(scratch->keys, view->keys_length);
	}
}

void
sketch_cursor_start(SketchCursor *cursor, const SketchView *view)
{
	cursor->view = view;
	cursor->n = 0;
	cursor->corrupt = false;
	cursor->pending = false;
	cursor->zeros_given = false;
	cursor->position = 0;
	cursor->entry = 0;
	cursor->token = NULL;
	cursor->given = 0;
	if (view->source == SKETCH_FROM_TOKENS)
	{
		cursor->key = sketch_key(view->min) - 1;
		cursor->last = sketch_key(view->max);
		cursor->token = view->tokens;
	}
	else
		cursor->key = INT32_MIN;
}

static bool
list_next(SketchCursor *cursor)
{
	const SketchView *view = cursor->view;
	uint32_t	position = cursor->position;

	if (position == view->keys_length)
		return false;
	cursor->key = view->keys[position];
	while (++position < view->keys_length && view->keys[position] == cursor->key)
		;
	cursor->n = position - cursor->position;
	cursor->position = position;
	return true;
}

static bool
pages_next(SketchCursor *cursor)
{
	const SketchState *state = cursor->view->pages;
	const uint16_t *entries = (const uint16_t *) state->body;

	for (; cursor->entry < state->dir_length; cursor->entry++, cursor->position = 0)
	{
		const uint64_t *counters;

		if (entries[cursor->entry] == 0)
			continue;
		counters = state->body + state->dir_length / 4 + (size_t) (entries[cursor->entry] - 1) * SKETCH_OCTAVE;
		while (cursor->position < SKETCH_OCTAVE)
		{
			uint32_t	slot = cursor->position++;

			if (counters[slot] != 0)
			{
				cursor->key = (state->u.pages.dir_first + (int32_t) cursor->entry) * SKETCH_OCTAVE + (int32_t) slot;
				cursor->n = counters[slot];
				return true;
			}
		}
	}
	return false;
}

static inline bool
state_next(SketchCursor *cursor)
{
	return cursor->view->source == SKETCH_FROM_LIST ? list_next(cursor) : pages_next(cursor);
}

/* The zeros of a list or of pages come between its negative and positive keys. */
static void
state_next_with_zeros(SketchCursor *cursor)
{
	SketchCursor before = *cursor;

	if (state_next(cursor) && cursor->key < 0)
		return;
	*cursor = before;
	cursor->zeros_given = true;
	cursor->key = 0;
	cursor->n = cursor->view->zeros;
}

bool
sketch_cursor_next(SketchCursor *cursor)
{
	const SketchView *view = cursor->view;

	switch (view->source)
	{
		case SKETCH_FROM_TOKENS:
			return sketch_token_next(cursor);
		case SKETCH_FROM_ONE:
			if (cursor->given == view->count)
				return false;
			cursor->key = sketch_key(view->min);
			cursor->given = cursor->n = view->count;
			return true;
		default:
			if (view->zeros > 0 && !cursor->zeros_given)
				state_next_with_zeros(cursor);
			else if (!state_next(cursor))
				return false;
			cursor->given += cursor->n;
			return true;
	}
}

static double
clamp(double value, double low, double high)
{
	return value < low ? low : value > high ? high : value;
}

SketchStatus
sketch_quantile(const SketchView *view, double fraction, double *value)
{
	SketchCursor cursor;
	double		wanted = ceil(fraction * (double) view->count);
	uint64_t	rank;

	/* the rank of percentile_disc: the first value with at least that fraction at or below it */
	rank = wanted < 1 ? 1 : wanted >= (double) view->count ? view->count : (uint64_t) wanted;
	if (rank == 1 || rank == view->count)
	{
		*value = rank == 1 ? view->min : view->max;
		return SKETCH_OK;
	}
	sketch_cursor_start(&cursor, view);
	while (sketch_cursor_next(&cursor))
		if (cursor.given >= rank)
		{
			*value = clamp(sketch_key_value(cursor.key), view->min, view->max);
			return SKETCH_OK;
		}
	return SKETCH_INVALID;
}

/* The edges of a key's bucket, narrowed to [min, max]. */
static void
bucket_range(const SketchView *view, int32_t key, double *low, double *high)
{
	int32_t		index = (key < 0 ? -key : key) - SKETCH_KEY_BIAS;
	double		lower = sketch_edge_value(index);
	double		upper = index == SKETCH_INDEX_MAX ? DBL_MAX : sketch_edge_value(index + 1);

	*low = clamp(key < 0 ? -upper : lower, view->min, view->max);
	*high = clamp(key < 0 ? -lower : upper, view->min, view->max);
}

SketchStatus
sketch_cdf(const SketchView *view, double limit, double *fraction)
{
	SketchCursor cursor;
	int32_t		key;
	double		below;

	if (limit < view->min || limit >= view->max)
	{
		*fraction = limit < view->min ? 0 : 1;
		return SKETCH_OK;
	}
	key = sketch_key(limit);
	below = 0;
	sketch_cursor_start(&cursor, view);
	while (sketch_cursor_next(&cursor) && cursor.key <= key)
	{
		if (cursor.key == key && key != 0)
		{
			/* spread evenly over the part of the bucket where values can be */
			double		low;
			double		high;

			bucket_range(view, key, &low, &high);
			below += high > low ? clamp((limit - low) / (high - low), 0, 1) * (double) cursor.n : cursor.n;
		}
		else
			below += (double) cursor.n;
	}
	if (cursor.corrupt)
		return SKETCH_INVALID;

	/* min is not above limit, max is */
	*fraction = clamp(below, 1, (double) (view->count - 1)) / (double) view->count;
	return SKETCH_OK;
}

double
sketch_mean(const SketchView *view)
{
	double		mean = view->sum / (double) view->count;

	return isfinite(view->sum) ? clamp(mean, view->min, view->max) : mean;
}

bool
sketch_equal(const SketchView *a, const SketchView *b)
{
	SketchCursor x;
	SketchCursor y;

	if (a->count != b->count)
		return false;
	if (a->count == 0)
		return true;
	if (a->min != b->min || a->max != b->max)
		return false;
	sketch_cursor_start(&x, a);
	sketch_cursor_start(&y, b);
	for (;;)
	{
		bool		more = sketch_cursor_next(&x);

		if (more != sketch_cursor_next(&y))
			return false;
		if (!more)
			return true;
		if (x.key != y.key || x.n != y.n)
			return false;
	}
}

static uint64_t
mix(uint64_t hash, uint64_t with)
{
	hash = (hash ^ with) * UINT64_C(0x9E3779B97F4A7C15);
	return hash ^ (hash >> 32);
}

uint64_t
sketch_hash(const SketchView *view)
{
	SketchCursor cursor;
	uint64_t	hash = mix(0, view->count);

	if (view->count == 0)
		return hash;
	hash = mix(hash, sketch_double_bits(view->min));
	hash = mix(hash, sketch_double_bits(view->max));
	sketch_cursor_start(&cursor, view);
	while (sketch_cursor_next(&cursor))
		hash = mix(mix(hash, (uint64_t) cursor.key), cursor.n);
	return hash;
}

/*
 * A sum is possible if it lies between count times min and count times max, give
 * or take rounding; it is infinite or no number only if it may have overflowed.
 */
static bool
sum_possible(const SketchView *view)
{
	double		low = (double) view->count * view->min;
	double		high = (double) view->count * view->max;
	double		slack;

	if (view->count == 0)
		return view->sum == 0;
	if (isnan(view->sum))
		return isinf(low) && isinf(high) && low < 0 && high > 0;
	low = clamp(low, -DBL_MAX, DBL_MAX);
	high = clamp(high, -DBL_MAX, DBL_MAX);
	slack = SUM_SLACK * fmax(fabs(low), fabs(high));
	return clamp(view->sum, -DBL_MAX, DBL_MAX) >= low - slack &&
		clamp(view->sum, -DBL_MAX, DBL_MAX) <= high + slack;
}

static SketchStatus
invalid(SketchError *error, const char *reason)
{
	error->reason = reason;
	return SKETCH_INVALID;
}

SketchStatus
sketch_view_check(const SketchView *view, SketchError *error)
{
	SketchCursor cursor;
	int32_t		first = 0;
	int32_t		last = 0;
	bool		any = false;

	if (view->count > SKETCH_COUNT_MAX)
		return invalid(error, "the count is too large");
	if (!sum_possible(view))
		return invalid(error, "the sum is not possible with this count, min and max");
	sketch_cursor_start(&cursor, view);
	while (sketch_cursor_next(&cursor))
	{
		if (cursor.given < cursor.n || cursor.given > view->count)
			return invalid(error, "the buckets hold more values than the count says");
		if (!any)
			first = cursor.key;
		last = cursor.key;
		any = true;
	}
	if (cursor.corrupt)
		return invalid(error, "the buckets are malformed");
	if (cursor.given != view->count)
		return invalid(error, "the buckets do not hold as many values as the count says");
	if (!any)
		return SKETCH_OK;
	if (!isfinite(view->min) || !isfinite(view->max))
		return invalid(error, "min and max must be finite");
	if ((view->min == 0 && signbit(view->min)) || (view->max == 0 && signbit(view->max)))
		return invalid(error, "zero has no sign in a sketch");
	if (view->min > view->max)
		return invalid(error, "min is above max");
	if (sketch_key(view->min) != first)
		return invalid(error, "min does not lie in the first bucket");
	if (sketch_key(view->max) != last)
		return invalid(error, "max does not lie in the last bucket");
	if (view->count == 1 && (view->min != view->max || view->sum != view->min))
		return invalid(error, "min, max and sum of a single value must be equal");
	return SKETCH_OK;
}
