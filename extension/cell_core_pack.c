/*
 * Writes the packed form of measures; cell_core_format.h describes it. No PostgreSQL
 * here. Pure.
 */
#include "extension/cell_core_format.h"

static cell_uint128
zigzag(cell_int128 value)
{
	return ((cell_uint128) value << 1) ^ (value < 0 ? ~(cell_uint128) 0 : 0);
}

/* Tokens of few values: their first, and how many there are of ascending gaps. */
static const struct
{
	uint8_t		first;
	uint8_t		gaps;
}			small_token[8] = {{0, 0}, {0, 112}, {112, 32}, {144, 16}, {160, 8}, {168, 4}, {0, 0}, {0, 0}};

/* Tokens of slots that follow each other, or nearly, by gap and count; 255 for none. */
static const uint8_t near_token[2][64] = {
	{
		255, 0, 112, 144, 160, 168, 172, 173, 174, 175, 176, 177, 178, 179, 180, 181,
		182, 183, 184, 185, 186, 187, 188, 189, 190, 191, 192, 193, 194, 195, 196, 197,
		198, 199, 200, 201, 202, 203, 204, 205, 206, 207, 208, 209, 210, 211, 212, 213,
		214, 215, 216, 217, 218, 219, 220, 221, 222, 223, 224, 225, 226, 227, 255, 255,
	},
	{
		255, 1, 113, 145, 161, 169, 228, 229, 230, 231, 232, 233, 234, 235, 236, 237,
		238, 239, 240, 241, 242, 243, 244, 245, 246, 247, 248, 249, 255, 255, 255, 255,
		255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255,
		255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255,
	}
};

/* A token as sketch_core_packed.c has it. */
static inline uint8_t *
put_token(uint8_t *to, uint32_t gap, uint64_t count)
{
	if (gap < 2 && count < 64 && near_token[gap][count] != 255)
		*to++ = near_token[gap][count];
	else if (count < 8 && gap < small_token[count].gaps)
		*to++ = (uint8_t) (small_token[count].first + gap);
	else if (count == 1 && gap < 112 + 256)
	{
		*to++ = 250;
		*to++ = (uint8_t) (gap - 112);
	}
	else if (gap == 0 && count >= 62 && count < 62 + 256)
	{
		*to++ = 251;
		*to++ = (uint8_t) (count - 62);
	}
	else if (gap == 0 && count >= 62 + 256 && count < 62 + 256 + 65536)
	{
		*to++ = 252;
		*to++ = (uint8_t) (count - 62 - 256);
		*to++ = (uint8_t) ((count - 62 - 256) >> 8);
	}
	else
	{
		*to++ = 253;
		to = put_varint(to, gap);
		to = put_varint(to, count);
	}
	return to;
}

/* A field's bytes, lowest first. */
static uint8_t *
put_field(uint8_t *to, cell_uint128 value, uint32_t *size)
{
	uint32_t	bytes = 0;

	for (; value != 0; value >>= 8, bytes++)
		to[bytes] = (uint8_t) value;
	if (bytes == 9)
		to[bytes++] = 0;
	*size = bytes <= 8 ? bytes : bytes - 1;
	return to + bytes;
}

/* Which of the first 64 slots hold something; n are there. */
static inline uint64_t
occupied_slots(const uint64_t *slots, uint32_t n)
{
	uint64_t	occupied = 0;

	if (n >= 64)
		for (uint32_t i = 0; i < 64; i++)
			occupied |= (uint64_t) (slots[i] != 0) << i;
	else
		for (uint32_t i = 0; i < n; i++)
			occupied |= (uint64_t) (slots[i] != 0) << i;
	return occupied;
}

static uint8_t *
put_tokens(CellTotal *total, int latency, uint8_t *to)
{
	uint64_t   *slots = total->slots[latency];
	uint32_t	low = total->low[latency];
	uint32_t	high = total->high[latency];
	uint32_t	next = low;

	if (total->numbers.n[latency] < 3)
		return to;
	slots[low]--;
	slots[high]--;
	for (uint32_t base = low; base <= high; base += 64)
	{
		uint64_t	occupied = occupied_slots(slots + base, high - base + 1);

		for (; occupied != 0; occupied &= occupied - 1)
		{
			uint32_t	slot = base + (uint32_t) __builtin_ctzll(occupied);

			to = put_token(to, slot - next, slots[slot]);
			next = slot + 1;
		}
	}
	slots[low]++;
	slots[high]++;
	return to;
}

/* As many tokens as a latency can have. */
static size_t
tokens_bound(const CellTotal *total, int latency)
{
	size_t		slots;

	if (total->low[latency] > total->high[latency])
		return 0;
	slots = total->high[latency] - total->low[latency] + 1;
	return slots < total->numbers.n[latency] ? slots : (size_t) total->numbers.n[latency];
}

size_t
cell_pack_bound(const CellTotal *total)
{
	size_t		tokens = tokens_bound(total, CELL_RESPONSE) + tokens_bound(total, CELL_TTFT);

	return 2 + COMMON / 2 + RARE_BYTES + FIELDS * 16 + (CELL_BOUNDARIES + 1) * VARINT_MAX_BYTES +
		tokens * TOKEN_MAX_BYTES;
}

/* Makes costs small: rates where they are exact, then without common zeros. */
static void
shrink_costs(cell_uint128 field[FIELDS], uint8_t *rates, uint8_t *exponent)
{
	cell_uint128 all = 0;

	for (int i = 0; i < 4; i++)
		all |= field[F_INPUT + i] | field[F_INPUT_COST + i];
	all |= field[F_TOOL_COST];
	if (all > INT64_MAX)
		return;
	for (int i = 0; i < 4; i++)
	{
		uint64_t	tokens = (uint64_t) field[F_INPUT + i];
		uint64_t	cost = (uint64_t) field[F_INPUT_COST + i];

		if (tokens > 1 && cost != 0 && cost % tokens == 0)
		{
			field[F_INPUT_COST + i] = cost / tokens;
			*rates |= (uint8_t) (1 << i);
		}
	}
	for (*exponent = 3; *exponent > 0; (*exponent)--)
	{
		uint64_t	unit = power_of_100[*exponent];

		if ((uint64_t) field[F_INPUT_COST] % unit == 0 && (uint64_t) field[F_CACHE_READ_COST] % unit == 0 &&
			(uint64_t) field[F_CACHE_WRITE_COST] % unit == 0 && (uint64_t) field[F_OUTPUT_COST] % unit == 0 &&
			(uint64_t) field[F_TOOL_COST] % unit == 0)
			break;
	}
	if (*exponent > 0)
	{
		for (int i = 0; i < 4; i++)
			field[F_INPUT_COST + i] = (uint64_t) field[F_INPUT_COST + i] / power_of_100[*exponent];
		field[F_TOOL_COST] = (uint64_t) field[F_TOOL_COST] / power_of_100[*exponent];
	}
}

size_t
cell_pack(CellTotal *total, uint8_t *bytes)
{
	const CellNumbers *numbers = &total->numbers;
	cell_uint128 field[FIELDS] = {0};
	uint8_t    *to;
	uint8_t    *sizes;
	bool		is_signed = false;
	bool		rare = false;
	uint8_t		rates = 0;
	uint8_t		exponent = 0;
	uint32_t	mask = 0;

	for (int i = 0; i < CELL_SUMS; i++)
	{
		if (numbers->sum[i] < -CELL_SUM_MAX || numbers->sum[i] > CELL_SUM_MAX)
			return 0;
		is_signed |= numbers->sum[i] < 0;
	}
	for (int i = 0; i < CELL_LATENCIES; i++)
		is_signed |= numbers->n[i] > 0 && (i == CELL_RESPONSE || numbers->detail) && numbers->min_us[i] < 0;

	for (int i = 0; i < CELL_SUMS; i++)
		field[sum_field[i]] = is_signed ? zigzag(numbers->sum[i]) : (cell_uint128) numbers->sum[i];
	for (int i = 0; i < CELL_LATENCIES; i++)
	{
		int			f = i == CELL_RESPONSE ? F_MIN_RESPONSE : F_MIN_TTFT;

		if (i == CELL_TTFT && !numbers->detail)
			continue;
		if (numbers->n[i] > 1)
			field[f] = is_signed ? zigzag(numbers->min_us[i]) : (cell_uint128) numbers->min_us[i];
		if (numbers->n[i] > 2)
			field[f + 1] = (uint64_t) numbers->max_us[i] - (uint64_t) numbers->min_us[i];
	}
	field[F_REQUESTS] = numbers->requests;
	field[F_N_TTFT] = numbers->n[CELL_TTFT];
	field[F_FAILED] = numbers->failed;
	field[F_IN_FLIGHT] = numbers->in_flight;
	field[F_NOT_PRICED] = numbers->requests - numbers->priced;
	field[F_UNPRICED] = numbers->unpriced;
	field[F_NO_RESPONSE] = numbers->requests - numbers->n[CELL_RESPONSE];
	field[F_REPORTED] = numbers->reported;
	if (!is_signed)
		shrink_costs(field, &rates, &exponent);
	for (int i = COMMON; i < FIELDS; i++)
		rare |= field[i] != 0;
	if (numbers->detail)
		for (int i = 0; i < CELL_BOUNDARIES; i++)
			if (numbers->at_most[i] != 0)
				mask |= 1u << i;

	bytes[0] = (uint8_t) (VERSION << 5 | (numbers->detail ? FLAG_DETAIL : 0) | (rare ? FLAG_RARE : 0) |
						  (is_signed ? FLAG_SIGNED : 0) | exponent);
	bytes[1] = (uint8_t) (rates | (mask != 0 ? FLAG_AT_MOST : 0));
	sizes = bytes + 2;
	to = sizes + COMMON / 2 + (rare ? RARE_BYTES : 0);
	memset(sizes, 0, (size_t) (to - sizes));
	for (int i = 0; i < (rare ? FIELDS : COMMON); i++)
	{
		uint32_t	size;

		to = put_field(to, field[i], &size);
		sizes[i / 2] |= (uint8_t) (size << (i % 2 * 4));
	}
	if (mask != 0)
	{
		to = put_varint(to, mask);
		for (int i = 0; i < CELL_BOUNDARIES; i++)
			if (numbers->at_most[i] != 0)
				to = put_varint(to, numbers->at_most[i]);
	}
	to = put_tokens(total, CELL_RESPONSE, to);
	if (numbers->detail)
		to = put_tokens(total, CELL_TTFT, to);
	return (size_t) (to - bytes);
}

/* ---- as a sketch ---- */

static uint8_t *
put_double(uint8_t *to, double value)
{
	uint64_t	bits = sketch_double_bits(value);

	for (int i = 0; i < 8; i++)
		*to++ = (uint8_t) (bits >> (8 * i));
	return to;
}

size_t
cell_sketch_bound(const CellTotal *total, int latency)
{
	return 1 + VARINT_MAX_BYTES + 3 * sizeof(double) + tokens_bound(total, latency) * TOKEN_MAX_BYTES;
}

size_t
cell_pack_sketch(const CellTotal *total, int latency, uint8_t *bytes)
{
	const CellNumbers *numbers = &total->numbers;
	const uint64_t *slots = total->slots[latency];
	double		min = cell_ms(numbers->min_us[latency]);
	double		max = cell_ms(numbers->max_us[latency]);
	uint32_t	high = total->high[latency];
	int32_t		next = cell_slot_key(total->low[latency]);
	uint8_t    *to = bytes;

	*to++ = min == max ? SKETCH_PACKED_ONE : SKETCH_PACKED_MANY;
	to = put_varint(to, numbers->n[latency]);
	to = put_double(to, min);
	if (min == max)
		return (size_t) (to - bytes);
	to = put_double(to, max);
	to = put_double(to, (double) numbers->sum[latency] / 1000.0);
	for (uint32_t base = total->low[latency]; base <= high; base += 64)
	{
		uint64_t	occupied = occupied_slots(slots + base, high - base + 1);

		for (; occupied != 0; occupied &= occupied - 1)
		{
			uint32_t	slot = base + (uint32_t) __builtin_ctzll(occupied);
			int32_t		key = cell_slot_key(slot);

			to = put_token(to, (uint32_t) (key - next), slots[slot]);
			next = key + 1;
		}
	}
	return (size_t) (to - bytes);
}
