/*
 * Adds packed measures to a total; cell_core_format.h describes the form. Trusts
 * nothing but the length. No PostgreSQL here. Pure.
 */
#include "extension/cell_core_format.h"

static uint64_t
lowest_first(uint64_t bits)
{
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
	return bits;
#else
	return __builtin_bswap64(bits);
#endif
}

static inline uint64_t
load(const uint8_t *from)
{
	uint64_t	bits;

	memcpy(&bits, from, sizeof(bits));
	return lowest_first(bits);
}

static cell_int128
unzigzag(cell_uint128 value)
{
	return (cell_int128) (value >> 1) ^ -(cell_int128) (value & 1);
}

/* Reads a token of more than one byte; NULL if it is malformed. */
static const uint8_t *
get_long_token(const uint8_t *from, const uint8_t *end, uint64_t *gap, uint64_t *count)
{
	uint8_t		kind = *from++;

	*gap = 0;
	*count = 1;
	if (kind == 250 && end - from >= 1)
		*gap = 112 + (uint64_t) *from++;
	else if (kind == 251 && end - from >= 1)
		*count = 62 + (uint64_t) *from++;
	else if (kind == 252 && end - from >= 2)
	{
		*count = 62 + 256 + ((uint64_t) from[0] | (uint64_t) from[1] << 8);
		from += 2;
	}
	else if (kind == 253)
	{
		from = get_varint(from, end, gap);
		if (from != NULL)
			from = get_varint(from, end, count);
		if (from == NULL || *count == 0)
			return NULL;
	}
	else
		return NULL;
	return from;
}

static const uint64_t low_bytes[9] = {
	0, 0xFF, 0xFFFF, 0xFFFFFF, 0xFFFFFFFF, UINT64_C(0xFFFFFFFFFF), UINT64_C(0xFFFFFFFFFFFF),
	UINT64_C(0xFFFFFFFFFFFFFF), UINT64_MAX
};

/* The sum of 16 nibbles. */
static inline uint32_t
nibbles(uint64_t sizes)
{
	uint64_t	pairs = (sizes & UINT64_C(0x0F0F0F0F0F0F0F0F)) + (sizes >> 4 & UINT64_C(0x0F0F0F0F0F0F0F0F));

	return (uint32_t) ((pairs * UINT64_C(0x0101010101010101)) >> 56);
}

/* Whether any nibble is above 8. */
static inline bool
any_wide(uint64_t sizes)
{
	return (sizes & (sizes << 1 | sizes << 2 | sizes << 3) & UINT64_C(0x8888888888888888)) != 0;
}

static const uint8_t *
read_field(const uint8_t *from, const uint8_t *end, uint32_t size, cell_uint128 *value)
{
	uint32_t	bytes = size <= 8 ? size : size + 1;
	cell_uint128 result = 0;

	if ((size_t) (end - from) < bytes)
		return NULL;
	for (uint32_t i = 0; i < bytes; i++)
		result |= (cell_uint128) from[i] << (8 * i);
	*value = result;
	return from + bytes;
}

/* Any fields, slowly; the byte after them, or NULL. */
static const uint8_t *
read_fields(cell_uint128 *field, const uint8_t *bytes, const uint8_t *end, bool rare, bool is_signed)
{
	int			n = rare ? FIELDS : COMMON;
	const uint8_t *from = bytes + 2 + n / 2;

	if (end - bytes < 2 + n / 2)
		return NULL;
	for (int i = 0; i < n; i++)
	{
		from = read_field(from, end, bytes[2 + i / 2] >> (i % 2 * 4) & 0xF, &field[i]);
		if (from == NULL || (!is_signed && field[i] >> 127 != 0))
			return NULL;
	}
	return from;
}

/* Fields of at most eight bytes each, where eight more may be read. */
static inline const uint8_t *
read_small_fields(cell_uint128 *field, int n, const uint8_t *from, uint64_t sizes)
{
#pragma GCC unroll 16
	for (int i = 0; i < n; i++)
	{
		uint32_t	size = sizes & 0xF;

		field[i] = load(from) & low_bytes[size];
		from += size;
		sizes >>= 4;
	}
	return from;
}

/*
 * Adds n values of this latency with their tokens. Returns the byte after the tokens,
 * NULL if they are malformed.
 */
static inline const uint8_t *
add_tokens(CellTotal *total, int latency, uint64_t n, int64_t least, int64_t most,
		   const uint8_t *from, const uint8_t *end)
{
	CellNumbers *numbers = &total->numbers;
	uint64_t   *slots = total->slots[latency];
	uint32_t	low = cell_slot(least);
	uint32_t	high = cell_slot(most);
	uint32_t	slot = low - 1;
	uint64_t	left;

	if (numbers->n[latency] == 0 || least < numbers->min_us[latency])
		numbers->min_us[latency] = least;
	if (numbers->n[latency] == 0 || most > numbers->max_us[latency])
		numbers->max_us[latency] = most;
	if (low < total->low[latency])
		total->low[latency] = low;
	if (high > total->high[latency])
		total->high[latency] = high;
	slots[low]++;
	if (n == 1)
		return from;
	slots[high]++;
	left = n - 2;

	/* by fours: the last lies within only if all do, and none of them is long */
	for (; left >= 4 && end - from >= 4; from += 4)
	{
		SketchToken a = sketch_token[from[0]];
		SketchToken b = sketch_token[from[1]];
		SketchToken c = sketch_token[from[2]];
		SketchToken d = sketch_token[from[3]];
		uint32_t	slot_a = slot + a.step;
		uint32_t	slot_b = slot_a + b.step;
		uint32_t	slot_c = slot_b + c.step;
		uint32_t	slot_d = slot_c + d.step;
		uint64_t	count = (uint64_t) (a.count + b.count) + (c.count + d.count);

		if (slot_d > high || count > left)
			break;
		slots[slot_a] += a.count;
		slots[slot_b] += b.count;
		slots[slot_c] += c.count;
		slots[slot_d] += d.count;
		left -= count;
		slot = slot_d;
	}
	while (left > 0)
	{
		SketchToken token;

		if (from == end)
			return NULL;
		token = sketch_token[*from];
		if (__builtin_expect(token.count == 0, 0))
		{
			uint64_t	gap;
			uint64_t	count;

			from = get_long_token(from, end, &gap, &count);
			if (from == NULL || gap >= CELL_SLOTS || count > left)
				return NULL;
			slot += (uint32_t) gap + 1;
			if (slot > high)
				return NULL;
			slots[slot] += count;
			left -= count;
			continue;
		}
		from++;
		slot += token.step;
		if (__builtin_expect(slot > high || token.count > left, 0))
			return NULL;
		slots[slot] += token.count;
		left -= token.count;
	}
	return from;
}

/* Least and most of a latency, from what is kept of them. */
static inline bool
latency_range(uint64_t n, cell_int128 sum, cell_int128 min, cell_uint128 range, int64_t *least, int64_t *most)
{
	cell_int128 low = n == 1 ? sum : min;
	cell_int128 high;

	if (range > UINT64_MAX || low < INT64_MIN || low > INT64_MAX ||
		sum < -CELL_SUM_MAX || sum > CELL_SUM_MAX)
		return false;
	high = n == 1 ? sum : n == 2 ? sum - low : low + (cell_int128) range;
	if (high < low || high > INT64_MAX)
		return false;
	*least = (int64_t) low;
	*most = (int64_t) high;
	return true;
}

/* Undoes rates and exponent. Costs that were shrunk were below 2^63. */
static inline bool
grow_costs(cell_uint128 *field, uint8_t rates, uint64_t unit, bool rare)
{
	cell_uint128 all = field[F_INPUT_COST] | field[F_CACHE_READ_COST] | field[F_CACHE_WRITE_COST] | field[F_OUTPUT_COST] |
		field[F_INPUT] | field[F_CACHE_READ] | field[F_CACHE_WRITE] | field[F_OUTPUT];

	if (rare)
		all |= field[F_TOOL_COST];
	if (__builtin_expect(all > UINT64_MAX, 0))
		return rates == 0 && unit == 1;
	for (int i = 0; i < 4; i++)
	{
		uint64_t	tokens = rates >> i & 1 ? (uint64_t) field[F_INPUT + i] : 1;
		uint64_t	cost;

		if (__builtin_mul_overflow((uint64_t) field[F_INPUT_COST + i], unit, &cost) ||
			__builtin_mul_overflow(cost, tokens, &cost))
			return false;
		field[F_INPUT_COST + i] = cost;
	}
	if (rare)
		field[F_TOOL_COST] *= unit;
	return true;
}

/* What is measured but for at_most and tokens, checked. */
typedef struct Header
{
	bool		detail;
	bool		rare;
	bool		small;			/* no field is negative or beyond 64 bits */
	uint64_t	requests;
	uint64_t	n[CELL_LATENCIES];
	int64_t		least[CELL_LATENCIES];
	int64_t		most[CELL_LATENCIES];
} Header;

/* Reads fields as they are to be added; the byte after them, or NULL. */
static inline const uint8_t *
read_header(Header *header, cell_uint128 *field, const uint8_t *bytes, const uint8_t *end, size_t readable)
{
	const uint8_t *from;
	uint64_t	sizes;
	uint64_t	rare_sizes = 0;
	size_t		fixed = 2 + COMMON / 2;
	bool		is_signed;
	cell_uint128 counts;

	if (end - bytes < 2 + COMMON / 2 || bytes[0] >> 5 != VERSION ||
		(bytes[1] & ~(FLAG_RATES | FLAG_AT_MOST)) != 0)
		return NULL;
	memset(header, 0, sizeof(*header));
	header->detail = bytes[0] & FLAG_DETAIL;
	header->rare = bytes[0] & FLAG_RARE;
	is_signed = bytes[0] & FLAG_SIGNED;
	sizes = load(bytes + 2);
	if (header->rare)
	{
		fixed += RARE_BYTES;
		if (readable >= fixed + 8)
			rare_sizes = load(bytes + 2 + COMMON / 2) & UINT64_C(0xFFFFFFFFFFFF);
	}
	if (any_wide(sizes) || any_wide(rare_sizes) ||
		readable < fixed + nibbles(sizes) + nibbles(rare_sizes) + 8)
		from = read_fields(field, bytes, end, header->rare, is_signed);
	else
	{
		from = read_small_fields(field, COMMON, bytes + fixed, sizes);
		if (header->rare)
			from = read_small_fields(field + COMMON, FIELDS - COMMON, from, rare_sizes);
		if (from > end)
			from = NULL;
		header->small = !is_signed;
	}
	if (from == NULL)
		return NULL;

	counts = field[F_REQUESTS] | field[F_N_TTFT];
	if (header->rare)
		counts |= field[F_FAILED] | field[F_IN_FLIGHT] | field[F_NOT_PRICED] | field[F_UNPRICED] |
			field[F_NO_RESPONSE] | field[F_REPORTED];
	if (counts > CELL_COUNT_MAX || field[F_N_TTFT] > field[F_REQUESTS])
		return NULL;
	header->requests = (uint64_t) field[F_REQUESTS];
	header->n[CELL_RESPONSE] = header->requests;
	header->n[CELL_TTFT] = (uint64_t) field[F_N_TTFT];
	if (header->rare)
	{
		if (field[F_FAILED] > header->requests || field[F_IN_FLIGHT] > header->requests - field[F_FAILED] ||
			field[F_NOT_PRICED] > header->requests || field[F_UNPRICED] > field[F_NOT_PRICED] ||
			field[F_NO_RESPONSE] > header->requests || field[F_REPORTED] > header->requests ||
			field[F_SPARE_1] != 0 || field[F_SPARE_2] != 0)
			return NULL;
		header->n[CELL_RESPONSE] -= (uint64_t) field[F_NO_RESPONSE];
	}

	if (is_signed)
	{
		if (bytes[1] & FLAG_RATES || bytes[0] & FLAG_EXPONENT)
			return NULL;
		for (int i = 0; i < CELL_SUMS; i++)
			if (header->rare || sum_field[i] < COMMON)
				field[sum_field[i]] = (cell_uint128) unzigzag(field[sum_field[i]]);
		field[F_MIN_RESPONSE] = (cell_uint128) unzigzag(field[F_MIN_RESPONSE]);
		field[F_MIN_TTFT] = (cell_uint128) unzigzag(field[F_MIN_TTFT]);
	}
	else if (!grow_costs(field, bytes[1] & FLAG_RATES, power_of_100[bytes[0] & FLAG_EXPONENT], header->rare))
		return NULL;

	if (header->n[CELL_RESPONSE] > 0 &&
		!latency_range(header->n[CELL_RESPONSE], (cell_int128) field[F_SUM_RESPONSE],
					   (cell_int128) field[F_MIN_RESPONSE], field[F_RANGE_RESPONSE],
					   &header->least[CELL_RESPONSE], &header->most[CELL_RESPONSE]))
		return NULL;
	if (header->n[CELL_TTFT] > 0 && header->detail &&
		!latency_range(header->n[CELL_TTFT], (cell_int128) field[F_SUM_TTFT],
					   (cell_int128) field[F_MIN_TTFT], field[F_RANGE_TTFT],
					   &header->least[CELL_TTFT], &header->most[CELL_TTFT]))
		return NULL;
	return from;
}

static const uint8_t *
add_at_most(CellNumbers *numbers, uint64_t n, const uint8_t *from, const uint8_t *end)
{
	uint64_t	mask;

	from = get_varint(from, end, &mask);
	if (from == NULL || mask >> CELL_BOUNDARIES != 0)
		return NULL;
	for (; mask != 0; mask &= mask - 1)
	{
		uint64_t	at_most;

		from = get_varint(from, end, &at_most);
		if (from == NULL || at_most > n)
			return NULL;
		numbers->at_most[__builtin_ctzll(mask)] += at_most;
	}
	return from;
}

static inline bool
add_sum(CellNumbers *numbers, int i, cell_uint128 field)
{
	cell_int128 sum;

	if (__builtin_add_overflow(numbers->sum[i], (cell_int128) field, &sum) ||
		sum < -CELL_SUM_MAX || sum > CELL_SUM_MAX)
		return false;
	numbers->sum[i] = sum;
	return true;
}

/* Adds counts and sums. */
static inline CellStatus
add_numbers(CellNumbers *numbers, const Header *header, const cell_uint128 *field)
{
	bool		in_range = true;

	numbers->requests += header->requests;
	numbers->priced += header->requests;
	numbers->n[CELL_RESPONSE] += header->n[CELL_RESPONSE];
	numbers->n[CELL_TTFT] += header->n[CELL_TTFT];
	if (header->small)
	{
		/* below 2^64 each: not even 2^62 of them overflow, and cell_pack() checks the sum */
#pragma GCC unroll 16
		for (int i = 0; i < CELL_SUMS; i++)
			if (sum_field[i] < COMMON)
				numbers->sum[i] += (uint64_t) field[sum_field[i]];
	}
	else
		for (int i = 0; i < CELL_SUMS; i++)
			if (sum_field[i] < COMMON)
				in_range &= add_sum(numbers, i, field[sum_field[i]]);
	if (header->rare)
	{
		numbers->failed += (uint64_t) field[F_FAILED];
		numbers->in_flight += (uint64_t) field[F_IN_FLIGHT];
		numbers->priced -= (uint64_t) field[F_NOT_PRICED];
		numbers->unpriced += (uint64_t) field[F_UNPRICED];
		numbers->reported += (uint64_t) field[F_REPORTED];
		for (int i = 0; i < CELL_SUMS; i++)
			if (sum_field[i] >= COMMON)
				in_range &= add_sum(numbers, i, field[sum_field[i]]);
	}
	return in_range ? CELL_OK : CELL_TOO_LARGE;
}

CellStatus
cell_total_add_packed(CellTotal *total, const uint8_t *bytes, size_t length, size_t readable)
{
	CellNumbers *numbers = &total->numbers;
	const uint8_t *end = bytes + length;
	const uint8_t *from;
	cell_uint128 field[FIELDS];
	Header		header;

	from = read_header(&header, field, bytes, end, readable);
	if (from == NULL)
		return CELL_INVALID;
	if (header.requests > CELL_COUNT_MAX - numbers->requests)
		return CELL_TOO_LARGE;

	if (bytes[1] & FLAG_AT_MOST)
	{
		from = add_at_most(numbers, header.n[CELL_RESPONSE], from, end);
		if (from == NULL)
			return CELL_INVALID;
	}
	if (header.n[CELL_RESPONSE] > 0)
	{
		from = add_tokens(total, CELL_RESPONSE, header.n[CELL_RESPONSE], header.least[CELL_RESPONSE],
						  header.most[CELL_RESPONSE], from, end);
		if (from == NULL)
			return CELL_INVALID;
	}
	numbers->detail &= header.detail;
	if (header.n[CELL_TTFT] > 0 && numbers->detail)
	{
		from = add_tokens(total, CELL_TTFT, header.n[CELL_TTFT], header.least[CELL_TTFT],
						  header.most[CELL_TTFT], from, end);
		if (from == NULL)
			return CELL_INVALID;
	}
	if (from != end && numbers->detail == header.detail)
		return CELL_INVALID;
	return add_numbers(numbers, &header, field);
}

CellStatus
cell_add_numbers(CellNumbers *numbers, const uint8_t *bytes, size_t length, size_t readable)
{
	cell_uint128 field[FIELDS];
	Header		header;

	if (read_header(&header, field, bytes, bytes + length, readable) == NULL)
		return CELL_INVALID;
	if (header.requests > CELL_COUNT_MAX - numbers->requests)
		return CELL_TOO_LARGE;
	numbers->detail &= header.detail;
	for (int i = 0; i < CELL_LATENCIES; i++)
	{
		if (header.n[i] == 0)
			continue;
		if (numbers->n[i] == 0 || header.least[i] < numbers->min_us[i])
			numbers->min_us[i] = header.least[i];
		if (numbers->n[i] == 0 || header.most[i] > numbers->max_us[i])
			numbers->max_us[i] = header.most[i];
	}
	return add_numbers(numbers, &header, field);
}

CellStatus
cell_read_numbers(CellNumbers *numbers, const uint8_t *bytes, size_t length)
{
	memset(numbers, 0, sizeof(*numbers));
	numbers->detail = true;
	return cell_add_numbers(numbers, bytes, length, length);
}
