/*
 * Measures as they are gathered: the state that takes rows, and the total that takes
 * states. No PostgreSQL here; see cell_core.h for forms and ownership. Entered by
 * whoever holds the block, one thread at a time for each.
 */
#include <math.h>

#include "extension/cell_core.h"

/* Free slots left on either side when a window of counters is made or moved. */
#define WINDOW_MARGIN 64

const int64_t cell_boundary_us[CELL_BOUNDARIES] = {
	10000, 50000, 100000, 500000, 1000000, 2500000, 5000000, 10000000, 30000000,
	60000000, 120000000, 300000000, 600000000
};

const CellBoundary cell_boundary_at[CELL_SLOTS / 64] = {
	[77] = {10000, 4947, 0},
	[79] = {50000, 5096, 1},
	[80] = {100000, 5160, 2},
	[82] = {500000, 5308, 3},
	[83] = {1000000, 5372, 4},
	[85] = {2500000, 5457, 5},
	[86] = {5000000, 5521, 6},
	[87] = {10000000, 5585, 7},
	[88] = {30000000, 5686, 8},
	[89] = {60000000, 5750, 9},
	[90] = {120000000, 5814, 10},
	[92] = {300000000, 5899, 11},
	[93] = {600000000, 5963, 12},
};

uint32_t
cell_boundary_slot(int boundary)
{
	return cell_slot(cell_boundary_us[boundary]);
}

/* ---- the state ---- */

static inline uint16_t *
listed(const CellState *state, int latency)
{
	return (uint16_t *) ((uint8_t *) state + state->slots[latency].offset);
}

static inline uint64_t *
window(const CellState *state, int latency)
{
	return (uint64_t *) ((uint8_t *) state + state->slots[latency].offset);
}

static uint32_t
slots_bytes(const CellSlots *slots)
{
	uint32_t	bytes = slots->capacity * (uint32_t) (slots->window ? sizeof(uint64_t) : sizeof(uint16_t));

	return (bytes + 7) & ~7u;
}

void
cell_state_init(CellState *state, bool detail)
{
	state->form = CELL_FORM_STATE;
	state->bytes = CELL_STATE_MIN_BYTES(detail);
	state->numbers.detail = detail;
	state->slots[CELL_RESPONSE].offset = sizeof(CellState);
	state->slots[CELL_RESPONSE].capacity = CELL_LIST_FIRST;
	state->slots[CELL_TTFT].offset = sizeof(CellState) + CELL_LIST_FIRST * sizeof(uint16_t);
	state->slots[CELL_TTFT].capacity = detail ? CELL_LIST_FIRST : 0;
}

bool
cell_state_check(const CellState *state, size_t bytes)
{
	if (bytes < sizeof(CellState) || state->form != CELL_FORM_STATE || state->bytes != bytes)
		return false;
	for (int i = 0; i < CELL_LATENCIES; i++)
	{
		const CellSlots *slots = &state->slots[i];

		if (slots->offset < sizeof(CellState) || slots->offset % 8 != 0 ||
			slots->offset > bytes || slots_bytes(slots) > bytes - slots->offset)
			return false;
		if (slots->window)
		{
			if (slots->first + slots->capacity > CELL_SLOTS)
				return false;
			continue;
		}
		if (slots->length > slots->capacity)
			return false;
		for (uint32_t j = 0; j < slots->length; j++)
			if (listed(state, i)[j] >= CELL_SLOTS)
				return false;
	}
	return true;
}

static inline bool
slots_have_room(const CellSlots *slots, uint32_t slot)
{
	return slots->window ? slot - slots->first < slots->capacity : slots->length < slots->capacity;
}

static inline void
slots_count(CellState *state, int latency, uint32_t slot)
{
	CellSlots  *slots = &state->slots[latency];

	if (slots->window)
		window(state, latency)[slot - slots->first]++;
	else
		listed(state, latency)[slots->length++] = (uint16_t) slot;
}

static inline void
numbers_reach(CellNumbers *numbers, int latency, int64_t least, int64_t most)
{
	bool		first = numbers->n[latency] == 0;

	if (first || least < numbers->min_us[latency])
		numbers->min_us[latency] = least;
	if (first || most > numbers->max_us[latency])
		numbers->max_us[latency] = most;
}

static inline bool
row_has(const CellRow *row, int sum)
{
	return (row->present >> sum) & 1;
}

/* Rows whose tokens should have a price. */
#define ROW_TOKENS \
	(1u << CELL_SUM_INPUT | 1u << CELL_SUM_CACHE_READ | 1u << CELL_SUM_CACHE_WRITE | \
	 1u << CELL_SUM_CACHE_WRITE_1H | 1u << CELL_SUM_OUTPUT)

CellStatus
cell_state_add(CellState *state, const CellRow *row)
{
	CellNumbers *numbers = &state->numbers;
	bool		response = row_has(row, CELL_SUM_RESPONSE);
	bool		ttft = row_has(row, CELL_SUM_TTFT);
	uint32_t	response_slot = 0;
	uint32_t	ttft_slot = 0;

	if (response)
	{
		response_slot = cell_slot(row->value[CELL_SUM_RESPONSE]);
		if (!slots_have_room(&state->slots[CELL_RESPONSE], response_slot))
			return CELL_NO_ROOM;
	}
	if (ttft && numbers->detail)
	{
		ttft_slot = cell_slot(row->value[CELL_SUM_TTFT]);
		if (!slots_have_room(&state->slots[CELL_TTFT], ttft_slot))
			return CELL_NO_ROOM;
	}
	if (numbers->requests >= CELL_COUNT_MAX)
		return CELL_TOO_LARGE;

	if (response)
	{
		int64_t		us = row->value[CELL_SUM_RESPONSE];
		const CellBoundary *boundary = &cell_boundary_at[response_slot / 64];

		slots_count(state, CELL_RESPONSE, response_slot);
		if (numbers->detail && response_slot == boundary->slot && us <= boundary->us)
			numbers->at_most[boundary->index]++;
		numbers_reach(numbers, CELL_RESPONSE, us, us);
		numbers->n[CELL_RESPONSE]++;
	}
	if (ttft)
	{
		if (numbers->detail)
		{
			int64_t		us = row->value[CELL_SUM_TTFT];

			slots_count(state, CELL_TTFT, ttft_slot);
			numbers_reach(numbers, CELL_TTFT, us, us);
		}
		numbers->n[CELL_TTFT]++;
	}

	/* 2^63 requests of 2^63 each are within CELL_SUM_MAX */
	for (int i = 0; i < CELL_SUMS; i++)
		numbers->sum[i] += row->value[i];
	numbers->requests++;
	numbers->failed += row->failed;
	numbers->in_flight += row->in_flight;
	numbers->priced += row->priced;
	numbers->unpriced += !row->priced && (row->present & ROW_TOKENS) != 0;
	numbers->reported += row_has(row, CELL_SUM_REPORTED_COST);
	return CELL_OK;
}

/* The window that has these slots and this one, with margins. */
static void
plan_window(CellSlots *plan, uint32_t least, uint32_t most)
{
	uint32_t	margin = plan->window && plan->capacity / 4 > WINDOW_MARGIN ? plan->capacity / 4 : WINDOW_MARGIN;
	uint32_t	first;
	uint32_t	end;

	/* of a window that is there only the side that is too short gets more room */
	first = least;
	end = most + 1;
	if (!plan->window || least < plan->first)
		first = least > margin ? least - margin : 0;
	if (!plan->window || most >= (uint32_t) plan->first + plan->capacity)
		end = end + margin < CELL_SLOTS ? end + margin : CELL_SLOTS;
	plan->window = true;
	plan->first = (uint16_t) (first & ~63u);
	plan->capacity = (uint16_t) (((end + 63) & ~63u) - plan->first);
	plan->length = 0;
}

/* What room a latency's slots should have for this slot. */
static void
plan_slots(CellSlots *plan, const CellState *state, int latency, uint32_t slot)
{
	uint32_t	least = slot;
	uint32_t	most = slot;

	if (plan->window)
	{
		if (plan->first < least)
			least = plan->first;
		if ((uint32_t) plan->first + plan->capacity - 1 > most)
			most = (uint32_t) plan->first + plan->capacity - 1;
		plan_window(plan, least, most);
	}
	else if (plan->capacity < CELL_LIST_MAX)
		plan->capacity = (uint16_t) (plan->capacity < CELL_LIST_MAX / 4 ? plan->capacity * 4 : CELL_LIST_MAX);
	else
	{
		for (uint32_t i = 0; i < plan->length; i++)
		{
			uint32_t	other = listed(state, latency)[i];

			least = other < least ? other : least;
			most = other > most ? other : most;
		}
		plan_window(plan, least, most);
	}
}

CellState *
cell_state_enlarge(const CellState *state, const CellRow *row, const SketchMemory *memory)
{
	CellSlots	plan[CELL_LATENCIES];
	size_t		bytes = sizeof(CellState);
	CellState  *larger;

	for (int i = 0; i < CELL_LATENCIES; i++)
	{
		plan[i] = state->slots[i];
		if (row_has(row, i) && (i == CELL_RESPONSE || state->numbers.detail) &&
			!slots_have_room(&plan[i], cell_slot(row->value[i])))
			plan_slots(&plan[i], state, i, cell_slot(row->value[i]));
		plan[i].offset = (uint32_t) bytes;
		bytes += slots_bytes(&plan[i]);
	}
	larger = memory->allocate(bytes);
	if (larger == NULL)
		return NULL;
	memcpy(larger, state, sizeof(CellState));
	larger->bytes = bytes;
	for (int i = 0; i < CELL_LATENCIES; i++)
	{
		const CellSlots *old = &state->slots[i];

		larger->slots[i] = plan[i];
		if (old->window)
			memcpy(window(larger, i) + (old->first - plan[i].first), window(state, i),
				   old->capacity * sizeof(uint64_t));
		else if (plan[i].window)
			for (uint32_t j = 0; j < old->length; j++)
				window(larger, i)[listed(state, i)[j] - plan[i].first]++;
		else
			memcpy(listed(larger, i), listed(state, i), old->length * sizeof(uint16_t));
	}
	return larger;
}

/* ---- the total ---- */

static void
total_clear_numbers(CellTotal *total)
{
	memset(&total->numbers, 0, sizeof(total->numbers));
	total->numbers.detail = true;
	for (int i = 0; i < CELL_LATENCIES; i++)
	{
		total->low[i] = CELL_SLOTS;
		total->high[i] = 0;
	}
}

void
cell_total_init(CellTotal *total)
{
	memset(total->slots, 0, sizeof(total->slots));
	total_clear_numbers(total);
}

void
cell_total_reset(CellTotal *total)
{
	for (int i = 0; i < CELL_LATENCIES; i++)
		if (total->low[i] <= total->high[i])
			memset(&total->slots[i][total->low[i]], 0,
				   (total->high[i] - total->low[i] + 1) * sizeof(uint64_t));
	total_clear_numbers(total);
}

void
cell_total_add_slots(CellTotal *to, const CellTotal *from)
{
	for (int i = 0; i < CELL_LATENCIES; i++)
	{
		for (uint32_t slot = from->low[i]; slot <= from->high[i]; slot++)
			to->slots[i][slot] += from->slots[i][slot];
		if (from->low[i] < to->low[i])
			to->low[i] = from->low[i];
		if (from->high[i] > to->high[i])
			to->high[i] = from->high[i];
	}
}

static bool
sum_in_range(cell_int128 sum)
{
	return sum >= -CELL_SUM_MAX && sum <= CELL_SUM_MAX;
}

CellStatus
cell_total_add_state(CellTotal *total, const CellState *state)
{
	CellNumbers *to = &total->numbers;
	const CellNumbers *from = &state->numbers;

	if (from->requests > CELL_COUNT_MAX - to->requests)
		return CELL_TOO_LARGE;
	to->detail &= from->detail;
	for (int i = 0; i < CELL_LATENCIES; i++)
	{
		const CellSlots *slots = &state->slots[i];
		uint32_t	low;
		uint32_t	high;

		if (from->n[i] == 0)
			continue;
		if (i == CELL_RESPONSE || from->detail)
		{
			numbers_reach(to, i, from->min_us[i], from->max_us[i]);
			low = cell_slot(from->min_us[i]);
			high = cell_slot(from->max_us[i]);
			total->low[i] = low < total->low[i] ? low : total->low[i];
			total->high[i] = high > total->high[i] ? high : total->high[i];
			if (slots->window)
				for (uint32_t j = 0; j < slots->capacity; j++)
					total->slots[i][slots->first + j] += window(state, i)[j];
			else
				for (uint32_t j = 0; j < slots->length; j++)
					total->slots[i][listed(state, i)[j]]++;
		}
		to->n[i] += from->n[i];
	}
	for (int i = 0; i < CELL_SUMS; i++)
	{
		if (__builtin_add_overflow(to->sum[i], from->sum[i], &to->sum[i]) || !sum_in_range(to->sum[i]))
			return CELL_TOO_LARGE;
	}
	for (int i = 0; i < CELL_BOUNDARIES; i++)
		to->at_most[i] += from->at_most[i];
	to->requests += from->requests;
	to->failed += from->failed;
	to->in_flight += from->in_flight;
	to->priced += from->priced;
	to->unpriced += from->unpriced;
	to->reported += from->reported;
	return CELL_OK;
}

void
cell_total_buckets(const CellTotal *total, int64_t counts[CELL_BOUNDARIES])
{
	uint64_t	below = 0;
	uint32_t	slot = total->low[CELL_RESPONSE];

	for (int i = 0; i < CELL_BOUNDARIES; i++)
	{
		uint32_t	boundary = cell_boundary_slot(i);

		for (; slot < boundary && slot <= total->high[CELL_RESPONSE]; slot++)
			below += total->slots[CELL_RESPONSE][slot];
		counts[i] = (int64_t) (below + total->numbers.at_most[i]);
	}
}

void
cell_total_quantiles(const CellTotal *total, int latency, const double *fractions, double *values, int length)
{
	uint64_t	n = total->numbers.n[latency];
	double		min = cell_ms(total->numbers.min_us[latency]);
	double		max = cell_ms(total->numbers.max_us[latency]);
	uint64_t	given = 0;
	uint32_t	slot = total->low[latency];

	for (int i = 0; i < length; i++)
	{
		double		wanted = ceil(fractions[i] * (double) n);
		uint64_t	rank = wanted < 1 ? 1 : wanted >= (double) n ? n : (uint64_t) wanted;

		if (rank == 1 || rank == n)
		{
			values[i] = rank == 1 ? min : max;
			continue;
		}
		while (given < rank && slot <= total->high[latency])
			given += total->slots[latency][slot++];
		values[i] = fmin(fmax(sketch_key_value(cell_slot_key(slot - 1)), min), max);
	}
}

/* ---- checking ---- */

static CellStatus
invalid(CellError *error, const char *reason)
{
	error->reason = reason;
	return CELL_INVALID;
}

static CellStatus
check_latency(const CellTotal *total, int latency, CellError *error)
{
	const CellNumbers *numbers = &total->numbers;
	uint64_t	n = numbers->n[latency];
	cell_int128 sum = numbers->sum[latency];
	cell_int128 least = numbers->min_us[latency];
	cell_int128 most = numbers->max_us[latency];
	uint64_t	counted = 0;

	if (n == 0)
		return sum == 0 && total->low[latency] > total->high[latency] ? CELL_OK :
			invalid(error, "a latency that no request has cannot have a sum or buckets");
	if (latency == CELL_TTFT && !numbers->detail)
		return CELL_OK;
	if (least > most)
		return invalid(error, "min_us is above max_us");
	if (total->low[latency] != cell_slot(numbers->min_us[latency]) ||
		total->slots[latency][total->low[latency]] == 0)
		return invalid(error, "min_us does not lie in the first bucket");
	if (total->high[latency] != cell_slot(numbers->max_us[latency]) ||
		total->slots[latency][total->high[latency]] == 0)
		return invalid(error, "max_us does not lie in the last bucket");
	for (uint32_t slot = total->low[latency]; slot <= total->high[latency]; slot++)
	{
		if (total->slots[latency][slot] > n - counted)
			return invalid(error, "the buckets of a latency hold more values than its count says");
		counted += total->slots[latency][slot];
	}
	if (counted != n)
		return invalid(error, "the buckets of a latency do not hold as many values as its count says");
	if (n == 1 ? sum != least || sum != most :
		sum < (cell_int128) (n - 1) * least + most || sum > (cell_int128) (n - 1) * most + least)
		return invalid(error, "the sum of a latency is not possible with its count, min_us and max_us");
	return CELL_OK;
}

static CellStatus
check_boundaries(const CellTotal *total, CellError *error)
{
	const CellNumbers *numbers = &total->numbers;

	for (int i = 0; i < CELL_BOUNDARIES; i++)
	{
		uint32_t	slot = cell_boundary_slot(i);
		uint64_t	within = total->slots[CELL_RESPONSE][slot];
		uint64_t	least = 0;
		uint64_t	most = within;

		if (numbers->n[CELL_RESPONSE] == 0 || !numbers->detail)
			within = most = 0;
		/* min and max themselves may lie in the boundary's bucket */
		if (within > 0 && total->low[CELL_RESPONSE] == slot)
		{
			if (numbers->min_us[CELL_RESPONSE] <= cell_boundary_us[i])
				least = 1;
			else
				most = 0;
		}
		if (within > 0 && total->high[CELL_RESPONSE] == slot)
		{
			if (numbers->max_us[CELL_RESPONSE] <= cell_boundary_us[i])
				least = within;
			else if (most == within)
				most--;
		}
		if (numbers->at_most[i] < least || numbers->at_most[i] > most)
			return invalid(error, "response_time_buckets do not agree with the latencies");
	}
	return CELL_OK;
}

CellStatus
cell_total_check(const CellTotal *total, CellError *error)
{
	const CellNumbers *numbers = &total->numbers;
	CellStatus	status;

	if (numbers->requests > CELL_COUNT_MAX)
		return invalid(error, "there are too many requests");
	if (numbers->failed > numbers->requests || numbers->in_flight > numbers->requests - numbers->failed)
		return invalid(error, "more requests failed or are in flight than there are");
	if (numbers->priced > numbers->requests || numbers->unpriced > numbers->requests - numbers->priced)
		return invalid(error, "more requests are priced or unpriced than there are");
	if (numbers->reported > numbers->requests || numbers->n[CELL_RESPONSE] > numbers->requests ||
		numbers->n[CELL_TTFT] > numbers->requests)
		return invalid(error, "more requests have a value than there are");
	for (int i = 0; i < CELL_SUMS; i++)
	{
		if (!sum_in_range(numbers->sum[i]))
			return invalid(error, "a sum is out of range");
		if (numbers->sum[i] != 0 &&
			(numbers->requests == 0 ||
			 (i >= CELL_SUM_INPUT_COST && i <= CELL_SUM_TOOL_COST && numbers->priced == 0) ||
			 (i == CELL_SUM_REPORTED_COST && numbers->reported == 0)))
			return invalid(error, "a sum over no requests is not 0");
	}
	for (int i = 0; i < CELL_LATENCIES; i++)
	{
		status = check_latency(total, i, error);
		if (status != CELL_OK)
			return status;
	}
	return check_boundaries(total, error);
}
