/*
 * The sketch's mapping of values to buckets and its state: adding, growing,
 * merging. No PostgreSQL here; see sketch_core.h for forms and ownership. Entered
 * by whoever holds the state, one thread at a time for each state.
 */
#include "extension/sketch_core.h"

#include <math.h>

/* Free directory entries left on either side of the octaves seen. */
#define DIRECTORY_MARGIN 2

/* As long as there are no more pages than this, a new one is put in its place. */
#define ORDERED_PAGES_MAX 64

/* A page form is taken once it costs at most so many times the next list. */
#define PAGES_WORTH 2

static inline uint16_t *
directory(const SketchState *state)
{
	return (uint16_t *) state->body;
}

static inline uint64_t *
page_counters(const SketchState *state, uint32_t page)
{
	return (uint64_t *) state->body + state->dir_length / 4 + (size_t) (page - 1) * SKETCH_OCTAVE;
}

/* ---- values and keys ---- */

int32_t
sketch_key(double value)
{
	uint64_t	bits = sketch_double_bits(value);
	uint64_t	mantissa = bits & UINT64_C(0xFFFFFFFFFFFFF);
	int32_t		exponent = (int32_t) (bits >> 52) & 0x7FF;
	uint32_t	cell;
	int32_t		key;

	if (exponent == 0)
	{
		int			shift;

		if (mantissa == 0)
			return 0;
		/* subnormal: bring the leading bit to where normal doubles hide theirs */
		shift = __builtin_clzll(mantissa) - 11;
		mantissa = (mantissa << shift) & UINT64_C(0xFFFFFFFFFFFFF);
		exponent = 1 - shift;
	}
	cell = sketch_cell[mantissa >> 45];
	key = (exponent + 52) * SKETCH_OCTAVE + (int32_t) (cell + (mantissa > sketch_edge[cell])) - 1;
	return bits >> 63 ? -key : key;
}

double
sketch_edge_value(int32_t index)
{
	int32_t		octave = index >> 6;
	uint64_t	mantissa = (UINT64_C(1) << 52) | sketch_edge[index & 63];
	double		value;

	if (octave >= -1022)
		return ldexp((double) mantissa, octave - 52);

	/* subnormal: what does not fit is cut off, never rounded up */
	mantissa >>= -1022 - octave;
	memcpy(&value, &mantissa, sizeof(value));
	return value;
}

double
sketch_key_value(int32_t key)
{
	int32_t		index;
	double		lower;
	double		upper;
	double		middle;

	if (key == 0)
		return 0;
	index = (key < 0 ? -key : key) - SKETCH_KEY_BIAS;

	/* within [1, 2], so that nothing overflows; scaling is exact */
	lower = sketch_edge_value(index & 63);
	upper = sketch_edge_value((index & 63) + 1);
	middle = ldexp(2 * lower * upper / (lower + upper), index >> 6);
	return key < 0 ? -middle : middle;
}

/* ---- the state ---- */

void
sketch_state_init(SketchState *state, size_t bytes)
{
	state->form = SKETCH_FORM_LIST;
	state->unused = 0;
	state->dir_length = 0;
	state->count = 0;
	state->zeros = 0;
	state->min = INFINITY;
	state->max = -INFINITY;
	state->sum = 0;
	state->sum_low = 0;
	state->u.list.length = 0;
	state->u.list.capacity = (bytes - SKETCH_STATE_HEADER) / sizeof(int32_t);
	if (state->u.list.capacity > SKETCH_LIST_MAX)
		state->u.list.capacity = SKETCH_LIST_MAX;
}

size_t
sketch_state_bytes(const SketchState *state)
{
	if (state->form == SKETCH_FORM_LIST)
		return SKETCH_STATE_HEADER + state->u.list.capacity * sizeof(int32_t);
	return SKETCH_STATE_HEADER + state->dir_length * sizeof(uint16_t) +
		state->u.pages.capacity * SKETCH_PAGE_BYTES;
}

bool
sketch_state_check(const SketchState *state, size_t bytes)
{
	if (bytes < SKETCH_STATE_HEADER || state->count > SKETCH_COUNT_MAX ||
		state->zeros > state->count)
		return false;
	if (state->form == SKETCH_FORM_LIST)
	{
		if (state->u.list.capacity > SKETCH_LIST_MAX ||
			state->u.list.length > state->u.list.capacity ||
			bytes < sketch_state_bytes(state))
			return false;
		for (uint32_t i = 0; i < state->u.list.length; i++)
		{
			int32_t		key = ((const int32_t *) state->body)[i];

			if (key < -SKETCH_KEY_MAX || key > SKETCH_KEY_MAX || key == 0)
				return false;
		}
		return true;
	}
	if (state->form != SKETCH_FORM_PAGES || state->dir_length % 4 != 0 ||
		state->u.pages.length > state->u.pages.capacity ||
		state->u.pages.dir_first < SKETCH_PAGE_MIN ||
		state->u.pages.dir_first + state->dir_length - 1 > SKETCH_PAGE_MAX + 3 ||
		bytes < sketch_state_bytes(state))
		return false;
	for (uint32_t i = 0; i < state->dir_length; i++)
		if (directory(state)[i] > state->u.pages.length)
			return false;
	return true;
}

/* The least power of two that holds so many bytes. */
static size_t
block_bytes(size_t bytes)
{
	size_t		block = SKETCH_STATE_MIN_BYTES;

	while (block < bytes)
		block *= 2;
	return block;
}

static int32_t
clamp_page(int32_t page)
{
	return page < SKETCH_PAGE_MIN ? SKETCH_PAGE_MIN : page > SKETCH_PAGE_MAX ? SKETCH_PAGE_MAX : page;
}

/* An empty page state over these octaves with the block for at least so many pages. */
static SketchState *
pages_create(int32_t first, int32_t last, uint32_t pages, const SketchState *from, const SketchMemory *memory)
{
	uint32_t	length;
	size_t		fixed;
	size_t		bytes;
	size_t		capacity;
	SketchState *state;

	length = (uint32_t) (last - first + 4) & ~3u;
	fixed = SKETCH_STATE_HEADER + length * sizeof(uint16_t);
	bytes = block_bytes(fixed + pages * SKETCH_PAGE_BYTES);
	capacity = (bytes - fixed) / SKETCH_PAGE_BYTES;
	if (capacity > length)
		capacity = length;
	state = memory->allocate(fixed + capacity * SKETCH_PAGE_BYTES);
	if (state == NULL)
		return NULL;
	memcpy(state, from, SKETCH_STATE_HEADER);
	state->form = SKETCH_FORM_PAGES;
	state->dir_length = length;
	state->u.pages.dir_first = first;
	state->u.pages.length = 0;
	state->u.pages.capacity = capacity;
	state->u.pages.unused = 0;
	return state;
}

/* From a list to pages, or NULL and *worth = false if a list is still cheaper. */
static SketchState *
list_to_pages(const SketchState *state, int32_t key, size_t list_bytes, bool *worth,
			  const SketchMemory *memory)
{
	uint64_t	seen[(SKETCH_PAGE_MAX - SKETCH_PAGE_MIN) / 64 + 1] = {0};
	const int32_t *keys = (const int32_t *) state->body;
	int32_t		first = key >> 6;
	int32_t		last = key >> 6;
	uint32_t	pages = 0;
	SketchState *result;

	for (uint32_t i = 0; i <= state->u.list.length; i++)
	{
		int32_t		page = (i < state->u.list.length ? keys[i] : key) >> 6;
		uint32_t	bit = page - SKETCH_PAGE_MIN;

		pages += !((seen[bit / 64] >> (bit % 64)) & 1);
		seen[bit / 64] |= UINT64_C(1) << (bit % 64);
		if (page < first)
			first = page;
		if (page > last)
			last = page;
	}
	first = clamp_page(first - DIRECTORY_MARGIN);
	last = clamp_page(last + DIRECTORY_MARGIN);

	*worth = list_bytes == 0 ||
		block_bytes(SKETCH_STATE_HEADER + (last - first + 1) * sizeof(uint16_t) +
					pages * SKETCH_PAGE_BYTES) <= PAGES_WORTH * list_bytes;
	if (!*worth)
		return NULL;
	result = pages_create(first, last, pages, state, memory);
	if (result == NULL)
		return NULL;

	/* all pages at once, in order */
	for (uint32_t i = 0; i < result->dir_length; i++)
	{
		int32_t		page = result->u.pages.dir_first + (int32_t) i;
		uint32_t	bit = page - SKETCH_PAGE_MIN;

		if (page <= SKETCH_PAGE_MAX && ((seen[bit / 64] >> (bit % 64)) & 1))
			directory(result)[i] = ++result->u.pages.length;
	}
	for (uint32_t i = 0; i < state->u.list.length; i++)
		if (!sketch_count_key(result, keys[i], 1))
			__builtin_trap();	/* there is a page for each of them */
	return result;
}

static SketchState *
list_enlarge(const SketchState *state, int32_t key, uint64_t n, const SketchMemory *memory)
{
	size_t		list_bytes = 0;
	bool		worth = true;
	SketchState *result;

	if (n <= SKETCH_LIST_MAX - state->u.list.length)
		list_bytes = block_bytes(SKETCH_STATE_HEADER + (state->u.list.length + n) * sizeof(int32_t));
	result = list_to_pages(state, key, list_bytes, &worth, memory);
	if (worth)
		return result;
	result = memory->allocate(list_bytes);
	if (result == NULL)
		return NULL;
	memcpy(result, state, SKETCH_STATE_HEADER + state->u.list.length * sizeof(int32_t));
	result->u.list.capacity = (list_bytes - SKETCH_STATE_HEADER) / sizeof(int32_t);
	return result;
}

SketchState *
sketch_enlarge(const SketchState *state, int32_t key, uint64_t n, const SketchMemory *memory)
{
	int32_t		first;
	int32_t		last;
	int32_t		old_first;
	int32_t		old_last;
	int32_t		margin;
	SketchState *result;

	if (state->form == SKETCH_FORM_LIST)
		return list_enlarge(state, key, n, memory);

	old_first = first = state->u.pages.dir_first;
	old_last = last = clamp_page(first + state->dir_length - 1);

	/* a range that keeps growing is followed in ever larger steps */
	margin = state->dir_length / 2 > DIRECTORY_MARGIN ? state->dir_length / 2 : DIRECTORY_MARGIN;
	if (key >> 6 < first)
		first = clamp_page((key >> 6) - margin);
	if (key >> 6 > last)
		last = clamp_page((key >> 6) + margin);
	result = pages_create(first, last, state->u.pages.length + 1, state, memory);
	if (result == NULL)
		return NULL;
	for (int32_t page = old_first; page <= old_last; page++)
	{
		uint32_t	from = directory(state)[page - old_first];

		if (from == 0)
			continue;
		directory(result)[page - first] = ++result->u.pages.length;
		memcpy(page_counters(result, result->u.pages.length), page_counters(state, from), SKETCH_PAGE_BYTES);
	}
	return result;
}

/*
 * Gives the octave of this entry a page; there is room. Few pages are kept in
 * order, many are only put in order when the block grows.
 */
static void
insert_page(SketchState *state, uint32_t entry)
{
	uint16_t   *entries = directory(state);
	uint32_t	page = state->u.pages.length + 1;

	if (page <= ORDERED_PAGES_MAX)
	{
		uint32_t	before = entry;

		while (before > 0 && entries[before - 1] == 0)
			before--;
		page = before == 0 ? 1 : entries[before - 1] + 1;
		for (uint32_t i = entry + 1; i < state->dir_length; i++)
			entries[i] += entries[i] != 0;
		memmove(page_counters(state, page + 1), page_counters(state, page),
				(state->u.pages.length - (page - 1)) * SKETCH_PAGE_BYTES);
		memset(page_counters(state, page), 0, SKETCH_PAGE_BYTES);
	}
	entries[entry] = page;
	state->u.pages.length++;
}

bool
sketch_count_key(SketchState *state, int32_t key, uint64_t n)
{
	uint32_t	entry;

	if (key == 0)
	{
		state->zeros += n;
		return true;
	}
	if (state->form == SKETCH_FORM_LIST)
	{
		int32_t    *keys = (int32_t *) state->body;

		if (n > state->u.list.capacity - state->u.list.length)
			return false;
		while (n-- > 0)
			keys[state->u.list.length++] = key;
		return true;
	}
	entry = (uint32_t) ((key >> 6) - state->u.pages.dir_first);
	if (entry >= state->dir_length)
		return false;
	if (directory(state)[entry] == 0)
	{
		if (state->u.pages.length == state->u.pages.capacity)
			return false;
		insert_page(state, entry);
	}
	page_counters(state, directory(state)[entry])[key & 63] += n;
	return true;
}

SketchStatus
sketch_add_slowly(SketchState *state, double value)
{
	if (state->count >= SKETCH_COUNT_MAX)
		return SKETCH_TOO_MANY;
	if (!isfinite(value))
		return SKETCH_INVALID;
	value += 0.0;				/* there is one zero, the positive */
	if (!sketch_count_key(state, sketch_key(value), 1))
		return SKETCH_NO_ROOM;
	state->count++;
	if (value < state->min)
		state->min = value;
	if (value > state->max)
		state->max = value;
	sketch_add_sum(state, value);
	return SKETCH_OK;
}

/* ---- merging ---- */

/*
 * The counters of these keys as one array, so that counters[key - first] is that
 * of key; NULL if not all their octaves have pages, or not in order.
 */
static uint64_t *
counters_between(SketchState *state, int32_t first, int32_t last)
{
	uint32_t	from = (uint32_t) ((first >> 6) - state->u.pages.dir_first);
	uint32_t	to = (uint32_t) ((last >> 6) - state->u.pages.dir_first);
	const uint16_t *entries = directory(state);

	if (state->u.pages.length > ORDERED_PAGES_MAX ||
		from >= state->dir_length || to >= state->dir_length || from > to ||
		entries[from] == 0 || (uint32_t) (entries[to] - entries[from]) != to - from)
		return NULL;
	return page_counters(state, entries[from]) + (first & 63);
}

/*
 * Merges tokens up to the first that is long, where most of the time of merging
 * many stored sketches goes: from the cursor's bucket on, and never beyond
 * that of max.
 */
static void
merge_tokens_into_pages(SketchState *state, SketchCursor *cursor)
{
	const uint8_t *token = cursor->token;
	const uint8_t *end = cursor->view->tokens_end;
	int32_t		first = cursor->key + 1;
	int32_t		last = cursor->last;
	uint64_t   *counters;
	size_t		length = (size_t) (last - first) + 1;
	size_t		at = (size_t) -1;	/* one before the first */
	uint64_t	given = 0;

	/* between negative and positive keys lies zero, which has no counter */
	if (first > last || (first <= 0 && last >= 0))
		return;
	counters = counters_between(state, first, last);
	if (counters == NULL)
		return;
	/* by fours: the last lies within only if all do, and none of them is long */
	for (; end - token >= 4; token += 4)
	{
		SketchToken a = sketch_token[token[0]];
		SketchToken b = sketch_token[token[1]];
		SketchToken c = sketch_token[token[2]];
		SketchToken d = sketch_token[token[3]];
		size_t		at_a = at + a.step;
		size_t		at_b = at_a + b.step;
		size_t		at_c = at_b + c.step;
		size_t		at_d = at_c + d.step;

		if (at_d >= length)
			break;
		counters[at_a] += a.count;
		counters[at_b] += b.count;
		counters[at_c] += c.count;
		counters[at_d] += d.count;
		given += (a.count + b.count) + (c.count + d.count);
		at = at_d;
	}
	for (; token < end; token++)
	{
		SketchToken t = sketch_token[*token];

		if (at + t.step >= length)
			break;
		at += t.step;
		counters[at] += t.count;
		given += t.count;
	}
	cursor->token = token;
	cursor->key = first + (int32_t) at;
	cursor->given += given;
}

/* The same into a list that has room for all. */
static void
merge_tokens_into_list(SketchState *state, SketchCursor *cursor)
{
	int32_t    *keys = (int32_t *) state->body;
	uint32_t	length = state->u.list.length;
	int32_t		last = cursor->last;
	uint64_t	room = state->u.list.capacity - length;

	if (cursor->view->count > room || cursor->key >= last || (cursor->key < 0 && last >= 0))
		return;
	for (; cursor->token < cursor->view->tokens_end; cursor->token++)
	{
		SketchToken t = sketch_token[*cursor->token];

		if (cursor->key + (int32_t) t.step > last || t.count > room)
			break;
		cursor->key += (int32_t) t.step;
		room -= t.count;
		cursor->given += t.count;
		for (uint32_t i = 0; i < t.count; i++)
			keys[length++] = cursor->key;
	}
	state->u.list.length = length;
}

SketchStatus
sketch_merge(SketchState *state, SketchCursor *cursor)
{
	const SketchView *view = cursor->view;

	if (view->count > SKETCH_COUNT_MAX - state->count)
		return SKETCH_TOO_MANY;

	for (;;)
	{
		if (!cursor->pending)
		{
			if (view->source == SKETCH_FROM_TOKENS)
			{
				if (state->form == SKETCH_FORM_PAGES)
					merge_tokens_into_pages(state, cursor);
				else
					merge_tokens_into_list(state, cursor);
				if (cursor->token == view->tokens_end && cursor->key == cursor->last)
					break;
			}
			if (!sketch_cursor_next(cursor))
				break;
		}
		cursor->pending = !sketch_count_key(state, cursor->key, cursor->n);
		if (cursor->pending)
			return SKETCH_NO_ROOM;
	}
	if (cursor->corrupt || cursor->given != view->count)
		return SKETCH_INVALID;
	if (view->count == 0)
		return SKETCH_OK;

	state->count += view->count;
	if (view->min < state->min)
		state->min = view->min;
	if (view->max > state->max)
		state->max = view->max;
	sketch_add_sum(state, view->sum);
	return SKETCH_OK;
}

SketchStatus
sketch_merge_growing(SketchState **state, const SketchView *view, bool release_first, const SketchMemory *memory)
{
	SketchCursor cursor;
	SketchStatus status;
	bool		release = release_first;

	sketch_cursor_start(&cursor, view);
	while ((status = sketch_merge(*state, &cursor)) == SKETCH_NO_ROOM)
	{
		SketchState *larger = sketch_enlarge(*state, cursor.key, cursor.n, memory);

		if (larger == NULL)
			return SKETCH_NO_MEMORY;
		if (release)
			memory->release(*state);
		*state = larger;
		release = true;
	}
	return status;
}
