/*
 * Reads the text forms of measures and cells; cell_core_text.h describes them. Every
 * rule is checked. No PostgreSQL here. Pure.
 */
#include "extension/cell_core_text.h"

typedef struct Parser
{
	const char *text;
	size_t		length;
	size_t		at;
	CellError  *error;
} Parser;

static CellStatus
fail(Parser *parser, const char *reason)
{
	parser->error->reason = reason;
	parser->error->position = parser->at;
	return CELL_INVALID;
}

static void
skip_space(Parser *parser)
{
	while (parser->at < parser->length)
	{
		char		c = parser->text[parser->at];

		if (c != ' ' && c != '\t' && c != '\r' && c != '\n')
			break;
		parser->at++;
	}
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

/* A name in quotes and its colon. */
static bool
take_name(Parser *parser, const char *name)
{
	size_t		length = strlen(name);
	size_t		start;

	skip_space(parser);
	start = parser->at;
	if (parser->length - start < length + 2 || parser->text[start] != '"' ||
		memcmp(parser->text + start + 1, name, length) != 0 || parser->text[start + 1 + length] != '"')
		return false;
	parser->at = start + length + 2;
	if (take(parser, ':'))
		return true;
	parser->at = start;
	return false;
}

/* An integer of JSON's grammar within [low, high]. */
static CellStatus
take_number(Parser *parser, cell_int128 low, cell_int128 high, cell_int128 *value)
{
	cell_uint128 magnitude = 0;
	size_t		start;
	size_t		end;
	bool		negative;

	skip_space(parser);
	start = parser->at;
	negative = start < parser->length && parser->text[start] == '-';
	start += negative;
	for (end = start; end < parser->length && parser->text[end] >= '0' && parser->text[end] <= '9'; end++)
	{
		magnitude = magnitude * 10 + (cell_uint128) (parser->text[end] - '0');
		if (magnitude > (cell_uint128) CELL_SUM_MAX)
			return fail(parser, "a number is out of range");
	}
	if (end == start || (end - start > 1 && parser->text[start] == '0') ||
		(end < parser->length && (parser->text[end] == '.' || parser->text[end] == 'e' || parser->text[end] == 'E')))
		return fail(parser, "an integer is expected");
	*value = negative ? -(cell_int128) magnitude : (cell_int128) magnitude;
	if (*value < low || *value > high)
		return fail(parser, "a number is out of range");
	parser->at = end;
	return CELL_OK;
}

static CellStatus
take_count(Parser *parser, uint64_t *count)
{
	cell_int128 value = 0;
	CellStatus	status = take_number(parser, 0, CELL_COUNT_MAX, &value);

	*count = (uint64_t) value;
	return status;
}

static CellStatus
take_us(Parser *parser, int64_t *us)
{
	cell_int128 value = 0;
	CellStatus	status = take_number(parser, INT64_MIN, INT64_MAX, &value);

	*us = (int64_t) value;
	return status;
}

static CellStatus
take_boolean(Parser *parser, bool *value)
{
	skip_space(parser);
	*value = parser->length - parser->at >= 4 && memcmp(parser->text + parser->at, "true", 4) == 0;
	if (!*value && (parser->length - parser->at < 5 || memcmp(parser->text + parser->at, "false", 5) != 0))
		return fail(parser, "true or false is expected");
	parser->at += *value ? 4 : 5;
	return CELL_OK;
}

/* ---- latencies ---- */

static CellStatus
count_slot(Parser *parser, CellTotal *total, int latency, uint32_t slot, uint64_t n)
{
	uint64_t   *counter = &total->slots[latency][slot];

	if (n > CELL_COUNT_MAX - *counter)
		return fail(parser, "a number is out of range");
	*counter += n;
	if (slot < total->low[latency])
		total->low[latency] = slot;
	if (slot > total->high[latency])
		total->high[latency] = slot;
	return CELL_OK;
}

/* [[index, n, n, ...], ...]: runs ascend and do not touch the bucket before them. */
static CellStatus
take_runs(Parser *parser, CellTotal *total, int latency, int sign)
{
	cell_int128 next = INDEX_MIN;
	CellStatus	status;

	if (!take(parser, '['))
		return fail(parser, "a list of bucket runs is expected");
	if (take(parser, ']'))
		return CELL_OK;
	do
	{
		cell_int128 index = 0;

		if (!take(parser, '['))
			return fail(parser, "a bucket run is expected");
		status = take_number(parser, next, INDEX_MAX, &index);
		if (status != CELL_OK)
			return status;
		if (!take(parser, ','))
			return fail(parser, "a bucket run holds an index and at least one count");
		do
		{
			cell_int128 n = 0;

			if (index > INDEX_MAX)
				return fail(parser, "a bucket run is too long");
			status = take_number(parser, 1, CELL_COUNT_MAX, &n);
			if (status == CELL_OK)
				status = count_slot(parser, total, latency, index_slot(sign, (int64_t) index), (uint64_t) n);
			if (status != CELL_OK)
				return status;
			index++;
		} while (take(parser, ','));
		if (!take(parser, ']'))
			return fail(parser, "a bucket run is not closed");
		next = index + 1;
	} while (take(parser, ','));
	return take(parser, ']') ? CELL_OK : fail(parser, "a list of bucket runs is not closed");
}

enum
{
	L_COUNT, L_MIN, L_MAX, L_ZERO, L_NEGATIVE, L_POSITIVE, L_MEMBERS
};

static const char *const latency_member[L_MEMBERS] = {"count", "min_us", "max_us", "zero", "negative", "positive"};

static CellStatus
take_latency(Parser *parser, CellTotal *total, int latency)
{
	CellNumbers *numbers = &total->numbers;
	uint32_t	seen = 0;
	uint64_t	n;

	if (!take(parser, '{'))
		return fail(parser, "an object is expected");
	do
	{
		CellStatus	status;
		int			member = 0;

		while (member < L_MEMBERS && !take_name(parser, latency_member[member]))
			member++;
		if (member == L_MEMBERS)
			return fail(parser, "a member of a latency is expected: count, min_us, max_us, zero, negative or positive");
		if (seen & (1u << member))
			return fail(parser, "a member is given twice");
		seen |= 1u << member;
		switch (member)
		{
			case L_COUNT:
				status = take_count(parser, &numbers->n[latency]);
				break;
			case L_MIN:
				status = take_us(parser, &numbers->min_us[latency]);
				break;
			case L_MAX:
				status = take_us(parser, &numbers->max_us[latency]);
				break;
			case L_ZERO:
				status = take_count(parser, &n);
				if (status == CELL_OK && n > 0)
					status = count_slot(parser, total, latency, CELL_SLOT_ZERO, n);
				break;
			default:
				status = take_runs(parser, total, latency, member == L_POSITIVE ? 1 : -1);
				break;
		}
		if (status != CELL_OK)
			return status;
	} while (take(parser, ','));
	if (!take(parser, '}'))
		return fail(parser, "a comma or a closing brace is expected");
	if (numbers->n[latency] == 0 && (seen & ~(1u << L_COUNT)) != 0)
		return fail(parser, "a latency without values has a count only");
	return CELL_OK;
}

/* Prometheus' cumulative counts: kept for later, when the latencies are known. */
static CellStatus
take_buckets(Parser *parser, uint64_t counts[CELL_BOUNDARIES])
{
	if (!take(parser, '['))
		return fail(parser, "a list of 13 counts is expected");
	for (int i = 0; i < CELL_BOUNDARIES; i++)
	{
		CellStatus	status;

		if (i > 0 && !take(parser, ','))
			return fail(parser, "a list of 13 counts is expected");
		status = take_count(parser, &counts[i]);
		if (status != CELL_OK)
			return status;
	}
	return take(parser, ']') ? CELL_OK : fail(parser, "a list of 13 counts is expected");
}

/* ---- measures ---- */

static CellStatus
take_member(Parser *parser, CellTotal *total, int member, uint64_t buckets[CELL_BOUNDARIES])
{
	CellNumbers *numbers = &total->numbers;

	if (member == M_DETAIL)
		return take_boolean(parser, &numbers->detail);
	if (member <= M_REPORTED)
		return take_count(parser, count_member(numbers, member));
	if (member <= M_TTFT)
		return take_latency(parser, total, member == M_RESPONSE ? CELL_RESPONSE : CELL_TTFT);
	if (member == M_BUCKETS)
		return take_buckets(parser, buckets);
	return take_number(parser, -CELL_SUM_MAX, CELL_SUM_MAX, &numbers->sum[member - M_SUM]);
}

/* The values at or below the boundaries in the boundaries' own buckets. */
static CellStatus
settle_buckets(Parser *parser, CellTotal *total, const uint64_t counts[CELL_BOUNDARIES])
{
	int64_t		below[CELL_BOUNDARIES];

	cell_total_buckets(total, below);
	for (int i = 0; i < CELL_BOUNDARIES; i++)
	{
		if (counts[i] < (uint64_t) below[i])
			return fail(parser, "response_time_buckets do not agree with the latencies");
		total->numbers.at_most[i] = counts[i] - (uint64_t) below[i];
	}
	return CELL_OK;
}

/* One object; what follows it is the caller's. */
static CellStatus
take_measures(Parser *parser, CellTotal *total)
{
	uint32_t	seen = 0;
	uint64_t	buckets[CELL_BOUNDARIES] = {0};
	CellStatus	status;

	if (!take(parser, '{'))
		return fail(parser, "a JSON object is expected");
	if (!take(parser, '}'))
	{
		do
		{
			int			member = 0;

			while (member < MEMBERS && !take_name(parser, member_name[member]))
				member++;
			if (member == MEMBERS)
				return fail(parser, "a member of measures is expected, such as requests or input_tokens");
			if (seen & (1u << member))
				return fail(parser, "a member is given twice");
			seen |= 1u << member;
			status = take_member(parser, total, member, buckets);
			if (status != CELL_OK)
				return status;
		} while (take(parser, ','));
		if (!take(parser, '}'))
			return fail(parser, "a comma or a closing brace is expected");
	}
	if (!total->numbers.detail && (seen & (1u << M_BUCKETS)))
		return fail(parser, "there are no response_time_buckets without detail");
	if (!total->numbers.detail && total->low[CELL_TTFT] <= total->high[CELL_TTFT])
		return fail(parser, "ttft has a count only without detail");
	if (!total->numbers.detail)
		total->numbers.min_us[CELL_TTFT] = total->numbers.max_us[CELL_TTFT] = 0;
	if (total->numbers.detail && total->numbers.n[CELL_RESPONSE] > 0)
	{
		if (!(seen & (1u << M_BUCKETS)))
			return fail(parser, "response_time_buckets are missing");
		status = settle_buckets(parser, total, buckets);
		if (status != CELL_OK)
			return status;
	}
	else if (seen & (1u << M_BUCKETS))
		for (int i = 0; i < CELL_BOUNDARIES; i++)
			if (buckets[i] != 0)
				return fail(parser, "response_time_buckets do not agree with the latencies");
	status = cell_total_check(total, parser->error);
	if (status != CELL_OK)
		parser->error->position = parser->at;
	return status;
}

static CellStatus
nothing_follows(Parser *parser)
{
	skip_space(parser);
	return parser->at == parser->length ? CELL_OK : fail(parser, "nothing may follow");
}

CellStatus
cell_parse(const char *text, size_t length, CellTotal *total, CellError *error)
{
	Parser		parser = {.text = text, .length = length, .error = error};
	CellStatus	status = take_measures(&parser, total);

	return status == CELL_OK ? nothing_follows(&parser) : status;
}

/* The cells of an object, counted so that their number can be written first. */
static uint64_t
count_cells(const char *text, size_t length)
{
	uint64_t	count = 0;
	int			depth = 0;

	/* no string of ours has a brace or a colon in it; others are refused later */
	for (size_t i = 0; i < length; i++)
	{
		count += depth == 1 && text[i] == ':';
		depth += text[i] == '{';
		depth -= text[i] == '}' && depth > 0;
	}
	return count;
}

CellStatus
cells_parse(const char *text, size_t length, CellTotal *total, CellsWriter *writer, CellError *error)
{
	Parser		parser = {.text = text, .length = length, .error = error};
	uint64_t	expected = count_cells(text, length);
	uint64_t	count = 0;
	cell_int128 key = -1;
	CellStatus	status = cells_writer_start(writer, expected);

	if (status != CELL_OK)
		return status;
	if (!take(&parser, '{'))
		return fail(&parser, "a JSON object is expected");
	if (!take(&parser, '}'))
	{
		do
		{
			if (!take(&parser, '"'))
				return fail(&parser, "a key is expected, a number in quotes");
			status = take_number(&parser, key + 1, CELL_KEY_MAX, &key);
			if (status != CELL_OK)
				return status;
			if (!take(&parser, '"') || !take(&parser, ':'))
				return fail(&parser, "a key is expected, a number in quotes");
			status = take_measures(&parser, total);
			if (status == CELL_OK)
				status = cells_writer_put_total(writer, (uint32_t) key, total);
			if (status != CELL_OK)
				return status;
			cell_total_reset(total);
			count++;
		} while (take(&parser, ','));
		if (!take(&parser, '}'))
			return fail(&parser, "a comma or a closing brace is expected");
	}
	status = nothing_follows(&parser);
	if (status == CELL_OK && count != expected)
		return fail(&parser, "the object is malformed");
	return status;
}
