/*
 * The text form of a sketch: one JSON object, readable and the same everywhere.
 *
 *	{"scale": 6, "count": 4, "sum": 5.5, "min": 0, "max": 3, "zero": 1,
 *	 "negative": [], "positive": [[-1, 1], [63, 1, 1]]}
 *
 * A run [i, a, b, c] says that the buckets i, i+1, i+2 hold a, b, c values. Members
 * may come in any order; "sum" may be "Infinity", "-Infinity" or "NaN" (a string)
 * when it overflowed; "zero", "negative" and "positive" may be absent, and are
 * not written when empty. No PostgreSQL here. Pure.
 */
#include "extension/sketch_core.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/* The longest number read: more digits than any double or bigint needs. */
#define NUMBER_MAX_BYTES 400

typedef struct Parser
{
	const char *text;
	size_t		length;
	size_t		at;
	SketchError *error;
	const SketchMemory *memory;
	SketchState *state;
} Parser;

static SketchStatus
fail(Parser *parser, const char *reason)
{
	parser->error->reason = reason;
	parser->error->position = parser->at;
	return SKETCH_INVALID;
}

static void
skip_space(Parser *parser)
{
	while (parser->at < parser->length && strchr(" \t\r\n", parser->text[parser->at]) != NULL &&
		   parser->text[parser->at] != '\0')
		parser->at++;
}

static bool
take(Parser *parser, char wanted)
{
	skip_space(parser);
	if (parser->at >= parser->length || parser->text[parser->at] != wanted)
		return false;
	parser->at++;
	return true;
}

static bool
take_word(Parser *parser, const char *word)
{
	size_t		length = strlen(word);

	skip_space(parser);
	if (parser->length - parser->at < length || memcmp(parser->text + parser->at, word, length) != 0)
		return false;
	parser->at += length;
	return true;
}

static size_t
digits(const Parser *parser, size_t at)
{
	size_t		n = 0;

	while (at + n < parser->length && parser->text[at + n] >= '0' && parser->text[at + n] <= '9')
		n++;
	return n;
}

/* An integer of JSON's grammar within [low, high]. */
static SketchStatus
take_integer(Parser *parser, int64_t low, int64_t high, int64_t *value)
{
	size_t		start;
	size_t		n;
	bool		negative;
	uint64_t	magnitude = 0;

	skip_space(parser);
	start = parser->at;
	negative = start < parser->length && parser->text[start] == '-';
	start += negative;
	n = digits(parser, start);
	if (n == 0 || (n > 1 && parser->text[start] == '0'))
		return fail(parser, "an integer is expected");
	if (n > 19)
		return fail(parser, "a number is out of range");
	for (size_t i = 0; i < n; i++)
		magnitude = magnitude * 10 + (uint64_t) (parser->text[start + i] - '0');
	if (magnitude > INT64_MAX || (negative ? -(int64_t) magnitude : (int64_t) magnitude) < low ||
		(negative ? -(int64_t) magnitude : (int64_t) magnitude) > high)
		return fail(parser, "a number is out of range");
	*value = negative ? -(int64_t) magnitude : (int64_t) magnitude;
	parser->at = start + n;
	return SKETCH_OK;
}

/* A number of JSON's grammar, as the nearest double. */
static SketchStatus
take_double(Parser *parser, double *value)
{
	char		number[NUMBER_MAX_BYTES + 1];
	size_t		start;
	size_t		end;
	size_t		n;

	skip_space(parser);
	start = end = parser->at;
	if (end < parser->length && parser->text[end] == '-')
		end++;
	n = digits(parser, end);
	if (n == 0 || (n > 1 && parser->text[end] == '0'))
		return fail(parser, "a number is expected");
	end += n;
	if (end < parser->length && parser->text[end] == '.')
	{
		n = digits(parser, end + 1);
		if (n == 0)
			return fail(parser, "a number is expected");
		end += n + 1;
	}
	if (end < parser->length && (parser->text[end] == 'e' || parser->text[end] == 'E'))
	{
		end++;
		if (end < parser->length && (parser->text[end] == '+' || parser->text[end] == '-'))
			end++;
		n = digits(parser, end);
		if (n == 0)
			return fail(parser, "a number is expected");
		end += n;
	}
	if (end - start > NUMBER_MAX_BYTES)
		return fail(parser, "a number has too many digits");
	memcpy(number, parser->text + start, end - start);
	number[end - start] = '\0';
	*value = strtod(number, NULL) + 0.0;	/* -0 becomes 0 */
	if (!isfinite(*value))
		return fail(parser, "a number is out of range");
	parser->at = end;
	return SKETCH_OK;
}

static SketchStatus
take_sum(Parser *parser, double *sum)
{
	if (take_word(parser, "\"Infinity\""))
		*sum = INFINITY;
	else if (take_word(parser, "\"-Infinity\""))
		*sum = -INFINITY;
	else if (take_word(parser, "\"NaN\""))
		*sum = NAN;
	else
		return take_double(parser, sum);
	return SKETCH_OK;
}

static SketchStatus
count_key(Parser *parser, int32_t key, int64_t n, uint64_t *total)
{
	if ((uint64_t) n > SKETCH_COUNT_MAX - *total)
		return fail(parser, "the buckets hold too many values");
	*total += (uint64_t) n;
	while (!sketch_count_key(parser->state, key, (uint64_t) n))
	{
		SketchState *larger = sketch_enlarge(parser->state, key, (uint64_t) n, parser->memory);

		if (larger == NULL)
			return SKETCH_NO_MEMORY;
		parser->memory->release(parser->state);
		parser->state = larger;
	}
	return SKETCH_OK;
}

/* [[index, n, n, ...], ...]: runs ascend and do not touch the bucket before them. */
static SketchStatus
take_runs(Parser *parser, int sign, uint64_t *total)
{
	int64_t		next = SKETCH_INDEX_MIN;
	SketchStatus status;

	if (!take(parser, '['))
		return fail(parser, "a list of bucket runs is expected");
	if (take(parser, ']'))
		return SKETCH_OK;
	do
	{
		int64_t		index;
		int64_t		n;

		if (!take(parser, '['))
			return fail(parser, "a bucket run is expected");
		status = take_integer(parser, next, SKETCH_INDEX_MAX, &index);
		if (status != SKETCH_OK)
			return status;
		if (!take(parser, ','))
			return fail(parser, "a bucket run holds an index and at least one count");
		do
		{
			if (index > SKETCH_INDEX_MAX)
				return fail(parser, "a bucket run is too long");
			status = take_integer(parser, 1, INT64_MAX, &n);
			if (status != SKETCH_OK)
				return status;
			status = count_key(parser, sign * (int32_t) (index + SKETCH_KEY_BIAS), n, total);
			if (status != SKETCH_OK)
				return status;
			index++;
		} while (take(parser, ','));
		if (!take(parser, ']'))
			return fail(parser, "a bucket run is not closed");
		next = index + 1;
	} while (take(parser, ','));
	if (!take(parser, ']'))
		return fail(parser, "a list of bucket runs is not closed");
	return SKETCH_OK;
}

enum
{
	SCALE, COUNT, SUM, MIN, MAX, ZERO, NEGATIVE, POSITIVE, MEMBERS
};

static const char *const member_name[MEMBERS] = {
	"\"scale\"", "\"count\"", "\"sum\"", "\"min\"", "\"max\"", "\"zero\"", "\"negative\"", "\"positive\""
};

static SketchStatus
take_members(Parser *parser)
{
	uint32_t	seen = 0;
	uint64_t	total = 0;
	int64_t		count = 0;
	int64_t		integer;
	double		sum = 0;
	SketchScratch scratch;
	SketchView	view;

	if (!take(parser, '{'))
		return fail(parser, "a JSON object is expected");
	do
	{
		SketchStatus status = SKETCH_OK;
		int			member = 0;

		while (member < MEMBERS && !take_word(parser, member_name[member]))
			member++;
		if (member == MEMBERS)
			return fail(parser, "a member of a sketch is expected: scale, count, sum, min, max, zero, negative or positive");
		if (seen & (1u << member))
			return fail(parser, "a member is given twice");
		seen |= 1u << member;
		if (!take(parser, ':'))
			return fail(parser, "a colon is expected");
		switch (member)
		{
			case SCALE:
				status = take_integer(parser, SKETCH_SCALE, SKETCH_SCALE, &integer);
				break;
			case COUNT:
				status = take_integer(parser, 0, INT64_MAX, &count);
				break;
			case SUM:
				status = take_sum(parser, &sum);
				break;
			case MIN:
				status = take_double(parser, &parser->state->min);
				break;
			case MAX:
				status = take_double(parser, &parser->state->max);
				break;
			case ZERO:
				status = take_integer(parser, 0, INT64_MAX, &integer);
				if (status == SKETCH_OK)
					status = count_key(parser, 0, integer, &total);
				break;
			default:
				status = take_runs(parser, member == NEGATIVE ? -1 : 1, &total);
				break;
		}
		if (status != SKETCH_OK)
			return status;
	} while (take(parser, ','));
	if (!take(parser, '}'))
		return fail(parser, "a comma or a closing brace is expected");
	skip_space(parser);
	if (parser->at != parser->length)
		return fail(parser, "nothing may follow the sketch");
	if (!(seen & (1u << SCALE)) || !(seen & (1u << COUNT)))
		return fail(parser, "scale and count are required");
	if ((count > 0) != ((seen & (1u << SUM)) && (seen & (1u << MIN)) && (seen & (1u << MAX))) ||
		(count == 0 && (seen & (1u << SUM | 1u << MIN | 1u << MAX))))
		return fail(parser, "sum, min and max are required unless count is 0");

	parser->state->count = (uint64_t) count;
	parser->state->sum = sum;
	if (total != (uint64_t) count)
		return fail(parser, "the buckets do not hold as many values as the count says");
	sketch_view_state(&view, parser->state, &scratch);
	parser->error->position = parser->at;
	return sketch_view_check(&view, parser->error);
}

SketchStatus
sketch_parse(const char *text, size_t length, SketchState **state, const SketchMemory *memory, SketchError *error)
{
	Parser		parser = {.text = text, .length = length, .error = error, .memory = memory};
	SketchStatus status;

	error->reason = NULL;
	error->position = 0;
	parser.state = memory->allocate(SKETCH_STATE_MIN_BYTES);
	if (parser.state == NULL)
		return SKETCH_NO_MEMORY;
	sketch_state_init(parser.state, SKETCH_STATE_MIN_BYTES);
	status = take_members(&parser);
	if (status == SKETCH_OK)
		*state = parser.state;
	else
		memory->release(parser.state);
	return status;
}

/* ---- printing ---- */

typedef void (*Put) (void *to, const char *piece, size_t length);

/* The shortest of 15 to 17 digits that reads back as the same double. */
static void
put_double(Put put, void *to, double value)
{
	char		number[32];

	for (int digits = 15; digits <= 17; digits++)
	{
		snprintf(number, sizeof(number), "%.*g", digits, value);
		if (strtod(number, NULL) == value)
			break;
	}
	put(to, number, strlen(number));
}

static void
put_text(Put put, void *to, const char *text)
{
	put(to, text, strlen(text));
}

static void
put_integer(Put put, void *to, const char *before, int64_t value)
{
	char		piece[48];

	snprintf(piece, sizeof(piece), "%s%lld", before, (long long) value);
	put(to, piece, strlen(piece));
}

static void
put_sum(Put put, void *to, double sum)
{
	if (isnan(sum))
		put_text(put, to, "\"NaN\"");
	else if (isinf(sum))
		put_text(put, to, sum > 0 ? "\"Infinity\"" : "\"-Infinity\"");
	else
		put_double(put, to, sum);
}

/* Runs as they are printed: the bucket that would lengthen the current one. */
typedef struct Runs
{
	const char *name;			/* printed before the first */
	int32_t		next;
	bool		any;
} Runs;

static void
put_bucket(Runs *runs, int32_t index, uint64_t n, Put put, void *to)
{
	if (!runs->any)
		put_text(put, to, runs->name);
	if (!runs->any || index != runs->next)
	{
		put_text(put, to, runs->any ? "], [" : "[[");
		put_integer(put, to, "", index);
	}
	put_integer(put, to, ", ", (int64_t) n);
	runs->next = index + 1;
	runs->any = true;
}

static void
put_end(const Runs *runs, Put put, void *to)
{
	if (runs->any)
		put_text(put, to, "]]");
}

typedef struct Bucket
{
	int32_t		key;
	uint64_t	n;
} Bucket;

/* Negative buckets come from the cursor with descending index: turned round here. */
static SketchStatus
put_negative(const SketchView *view, size_t buckets, Put put, void *to, const SketchMemory *memory)
{
	Runs		runs = {.name = ", \"negative\": "};
	SketchCursor cursor;
	Bucket	   *bucket;

	if (buckets == 0)
		return SKETCH_OK;
	bucket = memory->allocate(buckets * sizeof(*bucket));
	if (bucket == NULL)
		return SKETCH_NO_MEMORY;
	sketch_cursor_start(&cursor, view);
	for (size_t i = 0; i < buckets && sketch_cursor_next(&cursor); i++)
		bucket[i] = (Bucket) {cursor.key, cursor.n};
	while (buckets-- > 0)
		put_bucket(&runs, -bucket[buckets].key - SKETCH_KEY_BIAS, bucket[buckets].n, put, to);
	put_end(&runs, put, to);
	memory->release(bucket);
	return SKETCH_OK;
}

SketchStatus
sketch_print(const SketchView *view, Put put, void *to, const SketchMemory *memory)
{
	Runs		runs = {.name = ", \"positive\": "};
	SketchCursor cursor;
	SketchStatus status;
	size_t		negative = 0;
	uint64_t	zeros = 0;

	put_integer(put, to, "{\"scale\": ", SKETCH_SCALE);
	put_integer(put, to, ", \"count\": ", (int64_t) view->count);
	if (view->count > 0)
	{
		put_text(put, to, ", \"sum\": ");
		put_sum(put, to, view->sum);
		put_text(put, to, ", \"min\": ");
		put_double(put, to, view->min);
		put_text(put, to, ", \"max\": ");
		put_double(put, to, view->max);
	}

	sketch_cursor_start(&cursor, view);
	while (sketch_cursor_next(&cursor) && cursor.key <= 0)
	{
		if (cursor.key == 0)
			zeros = cursor.n;
		else
			negative++;
	}
	if (zeros > 0)
		put_integer(put, to, ", \"zero\": ", (int64_t) zeros);
	status = put_negative(view, negative, put, to, memory);
	if (status != SKETCH_OK)
		return status;

	sketch_cursor_start(&cursor, view);
	while (sketch_cursor_next(&cursor))
		if (cursor.key > 0)
			put_bucket(&runs, cursor.key - SKETCH_KEY_BIAS, cursor.n, put, to);
	put_end(&runs, put, to);
	put_text(put, to, "}");
	return cursor.corrupt ? SKETCH_INVALID : SKETCH_OK;
}
