/*
 * Writes the text forms of measures and cells; cell_core_text.h describes them. No
 * PostgreSQL here. Pure.
 */
#include "extension/cell_core_text.h"

typedef void (*Put) (void *to, const char *piece, size_t length);

static void
put_text(Put put, void *to, const char *text)
{
	put(to, text, strlen(text));
}

static void
put_number(Put put, void *to, cell_int128 value)
{
	char		digits[48];
	char	   *first = digits + sizeof(digits);
	cell_uint128 magnitude = value < 0 ? -(cell_uint128) value : (cell_uint128) value;

	do
		*--first = (char) ('0' + (int) (magnitude % 10));
	while ((magnitude /= 10) != 0);
	if (value < 0)
		*--first = '-';
	put(to, first, (size_t) (digits + sizeof(digits) - first));
}

/* A member's name; the first has no comma before it. */
static void
put_name(Put put, void *to, const char *name, bool *any)
{
	put_text(put, to, *any ? ", \"" : "\"");
	put_text(put, to, name);
	put_text(put, to, "\": ");
	*any = true;
}

static void
put_member(Put put, void *to, int member, cell_int128 value, bool *any)
{
	if (value == 0)
		return;
	put_name(put, to, member_name[member], any);
	put_number(put, to, value);
}

/* The buckets of one sign, by ascending index. */
static void
put_runs(const CellTotal *total, int latency, int sign, Put put, void *to, bool *any)
{
	int64_t		next = INT64_MIN;
	int64_t		nearest = INDEX_MIN;
	int64_t		farthest;
	bool		none = true;

	/* only where something may be */
	if (sign > 0 ? total->high[latency] <= CELL_SLOT_ZERO : total->low[latency] >= CELL_SLOT_ZERO)
		return;
	farthest = sign > 0 ? slot_index(total->high[latency]) : slot_index(total->low[latency]);
	if (sign > 0 && total->low[latency] > CELL_SLOT_ZERO)
		nearest = slot_index(total->low[latency]);
	if (sign < 0 && total->high[latency] < CELL_SLOT_ZERO)
		nearest = slot_index(total->high[latency]);
	for (int64_t index = nearest; index <= farthest; index++)
	{
		uint32_t	slot = index_slot(sign, index);
		uint64_t	n = total->slots[latency][slot];

		if (n == 0)
			continue;
		if (none)
			put_name(put, to, sign > 0 ? "positive" : "negative", any);
		if (none || index != next)
		{
			put_text(put, to, none ? "[[" : "], [");
			put_number(put, to, index);
		}
		put_text(put, to, ", ");
		put_number(put, to, (cell_int128) n);
		next = index + 1;
		none = false;
	}
	if (!none)
		put_text(put, to, "]]");
}

static void
put_latency(const CellTotal *total, int latency, Put put, void *to, bool *any)
{
	const CellNumbers *numbers = &total->numbers;
	bool		any_inside = false;

	if (numbers->n[latency] == 0)
		return;
	put_name(put, to, member_name[latency == CELL_RESPONSE ? M_RESPONSE : M_TTFT], any);
	put_text(put, to, "{");
	put_name(put, to, "count", &any_inside);
	put_number(put, to, (cell_int128) numbers->n[latency]);
	if (latency == CELL_RESPONSE || numbers->detail)
	{
		put_name(put, to, "min_us", &any_inside);
		put_number(put, to, numbers->min_us[latency]);
		put_name(put, to, "max_us", &any_inside);
		put_number(put, to, numbers->max_us[latency]);
		if (total->slots[latency][CELL_SLOT_ZERO] != 0)
		{
			put_name(put, to, "zero", &any_inside);
			put_number(put, to, (cell_int128) total->slots[latency][CELL_SLOT_ZERO]);
		}
		put_runs(total, latency, -1, put, to, &any_inside);
		put_runs(total, latency, 1, put, to, &any_inside);
	}
	put_text(put, to, "}");
}

void
cell_print(const CellTotal *total, Put put, void *to)
{
	CellNumbers numbers = total->numbers;
	bool		any = false;

	put_text(put, to, "{");
	if (!numbers.detail)
	{
		put_name(put, to, member_name[M_DETAIL], &any);
		put_text(put, to, "false");
	}
	for (int i = M_REQUESTS; i <= M_REPORTED; i++)
		put_member(put, to, i, (cell_int128) *count_member(&numbers, i), &any);
	for (int i = 0; i < CELL_SUMS; i++)
		put_member(put, to, M_SUM + i, numbers.sum[i], &any);
	put_latency(total, CELL_RESPONSE, put, to, &any);
	put_latency(total, CELL_TTFT, put, to, &any);
	if (numbers.detail && numbers.n[CELL_RESPONSE] > 0)
	{
		int64_t		counts[CELL_BOUNDARIES];

		cell_total_buckets(total, counts);
		put_name(put, to, member_name[M_BUCKETS], &any);
		for (int i = 0; i < CELL_BOUNDARIES; i++)
		{
			put_text(put, to, i == 0 ? "[" : ", ");
			put_number(put, to, counts[i]);
		}
		put_text(put, to, "]");
	}
	put_text(put, to, "}");
}

CellStatus
cells_print(const uint8_t *bytes, size_t length, CellTotal *total, Put put, void *to)
{
	CellsReader reader;
	bool		any = false;

	if (!cells_reader_start(&reader, bytes, length))
		return CELL_INVALID;
	put_text(put, to, "{");
	while (cells_reader_next(&reader))
	{
		CellStatus	status = cell_total_add_packed(total, reader.bytes, reader.length, reader.length);

		if (status != CELL_OK)
			return status;
		put_text(put, to, any ? ", \"" : "\"");
		put_number(put, to, reader.key);
		put_text(put, to, "\": ");
		cell_print(total, put, to);
		cell_total_reset(total);
		any = true;
	}
	put_text(put, to, "}");
	return reader.corrupt ? CELL_INVALID : CELL_OK;
}
