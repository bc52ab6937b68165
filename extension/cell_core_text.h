/*
 * The text forms of measures and cells: JSON, readable, the same everywhere. For
 * cell_core_parse.c and cell_core_print.c only.
 *
 *	{"requests": 3, "failed": 1, "priced": 2, "sum_response_time_us": 5000,
 *	 "input_tokens": 100, "input_cost_pico": 300000000,
 *	 "response_time": {"count": 2, "min_us": 1000, "max_us": 4000, "positive": [[-1, 1], [127, 1]]},
 *	 "response_time_buckets": [2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2]}
 *
 * Members may come in any order; those that are 0 are not written. "detail": false
 * says that there are no response_time_buckets and that ttft has a count only.
 * Buckets of a latency are those of ccproxy.sketch over milliseconds: a run [i, a, b]
 * says that buckets i, i+1 hold a, b values; "zero" counts latencies of 0.
 *
 * Cells are an object of measures by key, ascending: {"1": {...}, "7": {...}}.
 */
#ifndef CCPROXY_CELL_CORE_TEXT_H
#define CCPROXY_CELL_CORE_TEXT_H

#include "extension/cell_core.h"

/* Indexes of the buckets that whole microseconds can fall into. */
#define INDEX_MIN	(CELL_KEY_LEAST - SKETCH_KEY_BIAS)
#define INDEX_MAX	(INDEX_MIN + CELL_SLOTS - CELL_SLOT_ZERO - 2)

static inline uint32_t
index_slot(int sign, int64_t index)
{
	int64_t		distance = index - INDEX_MIN + 1;

	return (uint32_t) (CELL_SLOT_ZERO + sign * distance);
}

/* The index of a slot other than that of zero, whatever its sign. */
static inline int64_t
slot_index(uint32_t slot)
{
	int64_t		distance = (int64_t) slot - CELL_SLOT_ZERO;

	return INDEX_MIN - 1 + (distance < 0 ? -distance : distance);
}

enum
{
	M_DETAIL, M_REQUESTS, M_FAILED, M_IN_FLIGHT, M_PRICED, M_UNPRICED, M_REPORTED,
	M_RESPONSE, M_TTFT, M_BUCKETS, M_SUM, MEMBERS = M_SUM + CELL_SUMS
};

static const char *const member_name[MEMBERS] = {
	"detail", "requests", "failed", "in_flight", "priced", "unpriced", "reported_requests",
	"response_time", "ttft", "response_time_buckets",
	"sum_response_time_us", "sum_ttft_us", "input_tokens", "cache_read_tokens", "cache_write_tokens",
	"cache_write_1h_tokens", "output_tokens", "reasoning_tokens", "input_cost_pico", "cache_read_cost_pico",
	"cache_write_cost_pico", "output_cost_pico", "tool_cost_pico", "reported_cost_pico"
};

/* The counts among the members, in their order from M_REQUESTS on. */
static inline uint64_t *
count_member(CellNumbers *numbers, int member)
{
	switch (member)
	{
		case M_REQUESTS:
			return &numbers->requests;
		case M_FAILED:
			return &numbers->failed;
		case M_IN_FLIGHT:
			return &numbers->in_flight;
		case M_PRICED:
			return &numbers->priced;
		case M_UNPRICED:
			return &numbers->unpriced;
		default:
			return &numbers->reported;
	}
}

#endif
