/*
 * The packed form of a sketch: bytes without padding or byte order, as stored,
 * sent and received. No PostgreSQL here. Pure.
 *
 *	empty	tag 0x10
 *	one		tag 0x11, varint count, min			(all values equal; sum is count * min)
 *	many	tag 0x12, varint count, min, max, sum, tokens to the end
 *
 * Doubles are their 64 bits, lowest byte first; varints carry seven bits in each
 * byte, lowest first. There is one token for each occupied bucket, ascending; the
 * first is the bucket of min, the last that of max. A token says how many empty
 * buckets are skipped (gap) and how many values its bucket holds (count):
 *
 *	0..249	sketch_token[]: the usual small gaps and counts in one byte
 *	250		gap 112 + one byte, count 1
 *	251		gap 0, count 62 + one byte
 *	252		gap 0, count 318 + two bytes
 *	253		varint gap, varint count
 */
#include "extension/sketch_core.h"

#include <math.h>

#define TOKEN_GAP		250
#define TOKEN_COUNT_1	251
#define TOKEN_COUNT_2	252
#define TOKEN_ANY		253

#define GAP_BASE		112
#define COUNT_1_BASE	62
#define COUNT_2_BASE	(COUNT_1_BASE + 256)
#define COUNT_2_END		(COUNT_2_BASE + 65536)

/* The longest token: its first byte, a gap of three bytes, a count of nine. */
#define TOKEN_MAX_BYTES	13
#define VARINT_MAX_BYTES 10
#define HEADER_MAX_BYTES (1 + VARINT_MAX_BYTES + 3 * 8)

/* Between this machine's order and lowest byte first. */
static uint64_t
lowest_first(uint64_t bits)
{
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
	return bits;
#else
	return __builtin_bswap64(bits);
#endif
}

static uint8_t *
put_double(uint8_t *to, double value)
{
	uint64_t	bits = lowest_first(sketch_double_bits(value));

	memcpy(to, &bits, sizeof(bits));
	return to + sizeof(bits);
}

static double
get_double(const uint8_t *from)
{
	uint64_t	bits;
	double		value;

	memcpy(&bits, from, sizeof(bits));
	bits = lowest_first(bits);
	memcpy(&value, &bits, sizeof(value));
	return value;
}

static uint8_t *
put_varint(uint8_t *to, uint64_t value)
{
	for (; value >= 0x80; value >>= 7)
		*to++ = (uint8_t) (value | 0x80);
	*to++ = (uint8_t) value;
	return to;
}

/* The byte after the varint, or NULL if there is none of at most 63 bits. */
static const uint8_t *
get_varint(const uint8_t *from, const uint8_t *end, uint64_t *value)
{
	uint64_t	result = 0;

	for (int shift = 0; from < end && shift < 63; shift += 7)
	{
		uint8_t		byte = *from++;

		result |= (uint64_t) (byte & 0x7F) << shift;
		if (byte < 0x80)
		{
			*value = result;
			return from;
		}
	}
	return NULL;
}

static uint8_t *
put_token(uint8_t *to, uint32_t gap, uint64_t count)
{
	if (count == 1 && gap < GAP_BASE)
		*to++ = (uint8_t) gap;
	else if (count == 2 && gap < 32)
		*to++ = (uint8_t) (112 + gap);
	else if (count == 3 && gap < 16)
		*to++ = (uint8_t) (144 + gap);
	else if (count == 4 && gap < 8)
		*to++ = (uint8_t) (160 + gap);
	else if (count == 5 && gap < 4)
		*to++ = (uint8_t) (168 + gap);
	else if (gap == 0 && count >= 6 && count < COUNT_1_BASE)
		*to++ = (uint8_t) (172 + count - 6);
	else if (gap == 1 && count >= 6 && count < 28)
		*to++ = (uint8_t) (228 + count - 6);
	else if (count == 1 && gap < GAP_BASE + 256)
	{
		*to++ = TOKEN_GAP;
		*to++ = (uint8_t) (gap - GAP_BASE);
	}
	else if (gap == 0 && count >= COUNT_1_BASE && count < COUNT_2_BASE)
	{
		*to++ = TOKEN_COUNT_1;
		*to++ = (uint8_t) (count - COUNT_1_BASE);
	}
	else if (gap == 0 && count >= COUNT_2_BASE && count < COUNT_2_END)
	{
		*to++ = TOKEN_COUNT_2;
		*to++ = (uint8_t) (count - COUNT_2_BASE);
		*to++ = (uint8_t) ((count - COUNT_2_BASE) >> 8);
	}
	else
	{
		*to++ = TOKEN_ANY;
		to = put_varint(to, gap);
		to = put_varint(to, count);
	}
	return to;
}

/* Reads a token that has more than one byte; false if it is malformed. */
static bool
long_token(const uint8_t **token, const uint8_t *end, uint64_t *gap, uint64_t *count)
{
	const uint8_t *from = *token;
	uint8_t		kind = *from++;

	*gap = 0;
	*count = 1;
	if (kind == TOKEN_GAP && end - from >= 1)
	{
		*gap = GAP_BASE + (uint64_t) from[0];
		from += 1;
	}
	else if (kind == TOKEN_COUNT_1 && end - from >= 1)
	{
		*count = COUNT_1_BASE + (uint64_t) from[0];
		from += 1;
	}
	else if (kind == TOKEN_COUNT_2 && end - from >= 2)
	{
		*count = COUNT_2_BASE + ((uint64_t) from[0] | (uint64_t) from[1] << 8);
		from += 2;
	}
	else if (kind == TOKEN_ANY)
	{
		from = get_varint(from, end, gap);
		if (from != NULL)
			from = get_varint(from, end, count);
		if (from == NULL || *count == 0)
			return false;
	}
	else
		return false;
	*token = from;
	return true;
}

bool
sketch_token_next(SketchCursor *cursor)
{
	const SketchView *view = cursor->view;
	uint64_t	gap;
	uint64_t	count;
	int32_t		last = cursor->last;

	if (cursor->corrupt)
		return false;
	if (cursor->token == view->tokens_end)
	{
		cursor->corrupt = cursor->key != last || cursor->given != view->count;
		return false;
	}
	gap = (uint64_t) sketch_token[*cursor->token].step - 1;
	count = sketch_token[*cursor->token].count;
	if (count != 0)
		cursor->token++;
	else if (!long_token(&cursor->token, view->tokens_end, &gap, &count))
	{
		cursor->corrupt = true;
		return false;
	}

	/* the first bucket is that of min; none is beyond that of max */
	if ((cursor->given == 0 && gap != 0) ||
		(int64_t) gap >= (int64_t) last - cursor->key ||
		count > view->count - cursor->given)
	{
		cursor->corrupt = true;
		return false;
	}
	cursor->key += (int32_t) gap + 1;
	cursor->n = count;
	cursor->given += count;

	/* between the least negative and the least positive key there is only zero */
	if (cursor->key != 0 && cursor->key > -(SKETCH_INDEX_MIN + SKETCH_KEY_BIAS) &&
		cursor->key < SKETCH_INDEX_MIN + SKETCH_KEY_BIAS)
	{
		cursor->corrupt = true;
		return false;
	}
	return true;
}

bool
sketch_view_packed(SketchView *view, const uint8_t *bytes, size_t length)
{
	const uint8_t *end = bytes + length;
	const uint8_t *from = bytes + 1;

	if (length == 0)
		return false;
	view->zeros = 0;
	if (bytes[0] == SKETCH_PACKED_EMPTY)
	{
		view->source = SKETCH_FROM_ONE;
		view->count = 0;
		view->min = view->max = view->sum = 0;
		return length == 1;
	}
	if (bytes[0] != SKETCH_PACKED_ONE && bytes[0] != SKETCH_PACKED_MANY)
		return false;
	from = get_varint(from, end, &view->count);
	if (from == NULL || view->count == 0)
		return false;
	if (bytes[0] == SKETCH_PACKED_ONE)
	{
		if (end - from != 8)
			return false;
		view->source = SKETCH_FROM_ONE;
		view->min = view->max = get_double(from);
		view->sum = (double) view->count * view->min;
		return isfinite(view->min);
	}
	if (end - from < 3 * 8)
		return false;
	view->source = SKETCH_FROM_TOKENS;
	view->min = get_double(from);
	view->max = get_double(from + 8);
	view->sum = get_double(from + 16);
	view->tokens = from + 24;
	view->tokens_end = end;
	return isfinite(view->min) && isfinite(view->max) && view->min < view->max;
}

size_t
sketch_packed_bound(const SketchView *view)
{
	size_t		buckets = 1;

	switch (view->source)
	{
		case SKETCH_FROM_ONE:
			break;
		case SKETCH_FROM_LIST:
			buckets = view->keys_length + 1;
			break;
		case SKETCH_FROM_PAGES:
			buckets = (size_t) view->pages->u.pages.length * SKETCH_OCTAVE + 1;
			break;
		case SKETCH_FROM_TOKENS:
			buckets = (size_t) (view->tokens_end - view->tokens);
			break;
	}
	if (buckets > view->count)
		buckets = (size_t) view->count;
	return HEADER_MAX_BYTES + buckets * TOKEN_MAX_BYTES;
}

size_t
sketch_pack(const SketchView *view, uint8_t *bytes)
{
	SketchCursor cursor;
	uint8_t    *to = bytes;
	int32_t		before;

	if (view->count == 0)
	{
		*to++ = SKETCH_PACKED_EMPTY;
		return 1;
	}
	if (view->min == view->max)
	{
		*to++ = SKETCH_PACKED_ONE;
		to = put_varint(to, view->count);
		return (size_t) (put_double(to, view->min) - bytes);
	}
	*to++ = SKETCH_PACKED_MANY;
	to = put_varint(to, view->count);
	to = put_double(to, view->min);
	to = put_double(to, view->max);
	to = put_double(to, view->sum);

	before = sketch_key(view->min) - 1;
	sketch_cursor_start(&cursor, view);
	while (sketch_cursor_next(&cursor))
	{
		to = put_token(to, (uint32_t) (cursor.key - before - 1), cursor.n);
		before = cursor.key;
	}
	return cursor.corrupt ? 0 : (size_t) (to - bytes);
}
