/*
 * The packed form of measures: bytes without padding or byte order, canonical. For
 * cell_core_pack.c and cell_core_unpack.c only.
 *
 *	byte 0	version (3 bits, 1), detail, rare, signed (1 bit each), exponent (2 bits)
 *	byte 1	rates (4 bits), at_most (1 bit), zeros
 *	sizes	one nibble for each field, lowest first: 16 common ones and, if rare is
 *			set, 12 more
 *	fields	so many bytes of each, lowest first; 9 to 15 stand for 10 to 16 bytes,
 *			a field of 9 has a zero more
 *	at_most	if set: varint mask of boundaries, then a varint for each
 *	tokens	of the response time, then with detail of the time to first token
 *
 * Fields that usually are small or zero are made so: what is not there is counted,
 * max is kept as its distance from min. A cost that is a whole multiple of the
 * tokens it is for is kept as that rate (bit in rates); costs and rates are divided
 * by 100^exponent. Signed says that fields other than counts and distances are
 * zigzagged, because one of them is negative.
 *
 * Of one latency min, max and buckets follow from the sum; of two, max follows from
 * sum and min, and nothing else is needed. Of more there is a token for each occupied
 * slot, the values of min and max left out; tokens are those of ccproxy.sketch
 * (sketch_core_packed.c), their gaps counted in slots from the one before min on.
 */
#ifndef CCPROXY_CELL_CORE_FORMAT_H
#define CCPROXY_CELL_CORE_FORMAT_H

#include "extension/cell_core.h"

#define VERSION			1

#define FLAG_DETAIL		0x10
#define FLAG_RARE		0x08
#define FLAG_SIGNED		0x04
#define FLAG_EXPONENT	0x03

#define FLAG_RATES		0x0F
#define FLAG_AT_MOST	0x10

enum Field
{
	F_REQUESTS, F_SUM_RESPONSE, F_MIN_RESPONSE, F_RANGE_RESPONSE, F_N_TTFT, F_SUM_TTFT, F_MIN_TTFT, F_RANGE_TTFT,
	F_INPUT, F_CACHE_READ, F_CACHE_WRITE, F_OUTPUT, F_INPUT_COST, F_CACHE_READ_COST, F_CACHE_WRITE_COST, F_OUTPUT_COST,
	/* rare */
	F_FAILED, F_IN_FLIGHT, F_NOT_PRICED, F_UNPRICED, F_NO_RESPONSE, F_CACHE_WRITE_1H, F_REASONING, F_TOOL_COST,
	F_REPORTED, F_REPORTED_COST, F_SPARE_1, F_SPARE_2,
	FIELDS
};

#define COMMON			16
#define RARE_BYTES		6

/* The fields of the sums, which may be negative. */
static const uint8_t sum_field[CELL_SUMS] = {
	F_SUM_RESPONSE, F_SUM_TTFT, F_INPUT, F_CACHE_READ, F_CACHE_WRITE, F_CACHE_WRITE_1H, F_OUTPUT, F_REASONING,
	F_INPUT_COST, F_CACHE_READ_COST, F_CACHE_WRITE_COST, F_OUTPUT_COST, F_TOOL_COST, F_REPORTED_COST
};

static const uint64_t power_of_100[4] = {1, 100, 10000, 1000000};

#define VARINT_MAX_BYTES 10
#define TOKEN_MAX_BYTES	13		/* its first byte, a gap of three, a count of nine */


static inline uint8_t *
put_varint(uint8_t *to, uint64_t value)
{
	for (; value >= 0x80; value >>= 7)
		*to++ = (uint8_t) (value | 0x80);
	*to++ = (uint8_t) value;
	return to;
}

/* The byte after the varint, or NULL if there is none of at most 63 bits. */
static inline const uint8_t *
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

#endif
