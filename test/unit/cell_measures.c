/*
 * Measures: what is gathered from rows is what a plain sum over them says; packed and
 * text forms keep it; parts added in any order are the whole, to the byte.
 */
#include "test/unit/cell_test.h"

#define FRACTIONS 7

static CellTotal total;
static CellTotal other;
static CellTotal apart;

/* ---- slots ---- */

static void
check_slot(int64_t us, int64_t *wrong)
{
	uint32_t	slot = cell_slot(us);

	*wrong += slot == 0 || slot >= CELL_SLOTS || cell_slot_key(slot) != sketch_key(cell_ms(us));
}

static void
test_slots(void)
{
	int64_t		wrong = 0;
	int			boundaries = 0;

	is_int(sketch_key(cell_ms(1)), CELL_KEY_LEAST, "1 us has the least key");
	for (int64_t us = -300000; us <= 300000; us++)
		check_slot(us, &wrong);
	for (int shift = 0; shift < 63; shift++)
		for (int64_t d = -2; d <= 2; d++)
		{
			check_slot((INT64_C(1) << shift) + d, &wrong);
			check_slot(-(INT64_C(1) << shift) - d, &wrong);
		}
	for (int i = 0; i < 1000000; i++)
		check_slot((int64_t) (random_next() >> random_below(64)), &wrong);
	check_slot(INT64_MAX, &wrong);
	check_slot(INT64_MIN, &wrong);
	is_int(wrong, 0, "a latency's slot is its bucket in ccproxy.sketch");

	wrong = 0;
	for (int i = 0; i < CELL_SLOTS / 64; i++)
	{
		const CellBoundary *boundary = &cell_boundary_at[i];

		if (boundary->slot == 0)
			continue;
		wrong += boundary->slot / 64 != i || boundary->us != cell_boundary_us[boundary->index] ||
			boundary->slot != cell_boundary_slot(boundary->index);
		boundaries |= 1 << boundary->index;
	}
	is_int(wrong, 0, "boundaries lie in the slots the table says");
	is_int(boundaries, (1 << CELL_BOUNDARIES) - 1, "every boundary is in the table");
}

/* ---- rows ---- */

static int
compare_us(const void *a, const void *b)
{
	int64_t		x = *(const int64_t *) a;
	int64_t		y = *(const int64_t *) b;

	return x < y ? -1 : x > y;
}

/* Whether the total's distribution is that of the values, by the sketch's own means. */
static bool
same_distribution(CellTotal *t, int latency, const int64_t *us, size_t n)
{
	static SketchScratch scratch;
	SketchState *expected;
	SketchView	view;
	Packed		packed[2];
	const double fractions[FRACTIONS] = {0, 0.001, 0.25, 0.5, 0.95, 0.99, 1};
	double		quantiles[FRACTIONS];
	double		quantile;
	bool		good;
	double		sum = 0;

	if (n == 0)
		return t->numbers.n[latency] == 0;
	expected = calloc(1, SKETCH_STATE_MIN_BYTES);
	sketch_state_init(expected, SKETCH_STATE_MIN_BYTES);
	for (size_t i = 0; i < n; i++)
	{
		while (sketch_add(expected, cell_ms(us[i])) == SKETCH_NO_ROOM)
		{
			SketchState *larger = sketch_enlarge(expected, sketch_key(cell_ms(us[i])), 1, &memory);

			free(expected);
			expected = larger;
		}
		sum += fabs(cell_ms(us[i]));
	}
	/* the sums are equal but for what rounding does to that of doubles */
	good = fabs(expected->sum + expected->sum_low - (double) t->numbers.sum[latency] / 1000.0) <= 1e-9 * sum;
	expected->sum = (double) t->numbers.sum[latency] / 1000.0;
	expected->sum_low = 0;
	sketch_view_state(&view, expected, &scratch);
	packed[0].bytes = malloc(sketch_packed_bound(&view));
	packed[0].length = sketch_pack(&view, packed[0].bytes);
	packed[1].bytes = malloc(cell_sketch_bound(t, latency));
	packed[1].length = cell_pack_sketch(t, latency, packed[1].bytes);
	good &= packed[1].length <= cell_sketch_bound(t, latency) && same(packed[0], packed[1]);
	cell_total_quantiles(t, latency, fractions, quantiles, FRACTIONS);
	for (int i = 0; i < FRACTIONS; i++)
		good &= sketch_quantile(&view, fractions[i], &quantile) == SKETCH_OK && quantile == quantiles[i];
	free(packed[0].bytes);
	free(packed[1].bytes);
	free(expected);
	return good;
}

/* What the rows say, against the total. */
static bool
agrees(CellTotal *t, const CellRow *rows, size_t n, bool detail)
{
	CellNumbers expected = {0};
	int64_t    *us[CELL_LATENCIES] = {malloc((n + 1) * sizeof(int64_t)), malloc((n + 1) * sizeof(int64_t))};
	int64_t		buckets[CELL_BOUNDARIES] = {0};
	int64_t		got[CELL_BOUNDARIES];
	const CellNumbers *numbers = &t->numbers;
	bool		good;

	for (size_t i = 0; i < n; i++)
	{
		const CellRow *row = &rows[i];

		expected.requests++;
		expected.failed += row->failed;
		expected.in_flight += row->in_flight;
		expected.priced += row->priced;
		expected.unpriced += !row->priced && (row->present >> CELL_SUM_INPUT & 0x1F) != 0;
		expected.reported += row->present >> CELL_SUM_REPORTED_COST & 1;
		for (int j = 0; j < CELL_SUMS; j++)
			expected.sum[j] += row->value[j];
		for (int j = 0; j < CELL_LATENCIES; j++)
			if (row->present >> j & 1)
				us[j][expected.n[j]++] = row->value[j];
		for (int j = 0; j < CELL_BOUNDARIES; j++)
			buckets[j] += (row->present & 1) && row->value[0] <= cell_boundary_us[j];
	}
	good = numbers->detail == detail && numbers->requests == expected.requests && numbers->failed == expected.failed &&
		numbers->in_flight == expected.in_flight && numbers->priced == expected.priced &&
		numbers->unpriced == expected.unpriced && numbers->reported == expected.reported &&
		memcmp(numbers->n, expected.n, sizeof(expected.n)) == 0 && memcmp(numbers->sum, expected.sum, sizeof(expected.sum)) == 0;
	for (int j = 0; j < (detail ? CELL_LATENCIES : 1); j++)
	{
		qsort(us[j], expected.n[j], sizeof(int64_t), compare_us);
		if (expected.n[j] > 0)
			good &= numbers->min_us[j] == us[j][0] && numbers->max_us[j] == us[j][expected.n[j] - 1];
		good &= same_distribution(t, j, us[j], expected.n[j]);
	}
	cell_total_buckets(t, got);
	if (detail)
		good &= memcmp(got, buckets, sizeof(buckets)) == 0;
	free(us[0]);
	free(us[1]);
	return good;
}

static bool
prints_back(const CellTotal *t, Packed packed)
{
	Text		text = {0};
	CellError	error;
	Packed		again;
	bool		good;

	cell_print(t, put, &text);
	cell_total_reset(&other);
	good = cell_parse(text.text, text.length, &other, &error) == CELL_OK;
	again = pack_total(&other);
	good &= same(packed, again);
	free(again.bytes);
	free(text.text);
	return good;
}

static bool
same_numbers(const CellNumbers *a, const CellNumbers *b)
{
	return a->requests == b->requests && a->failed == b->failed && a->in_flight == b->in_flight && a->priced == b->priced &&
		a->unpriced == b->unpriced && a->reported == b->reported && a->detail == b->detail &&
		memcmp(a->n, b->n, sizeof(a->n)) == 0 && memcmp(a->min_us, b->min_us, sizeof(a->min_us)) == 0 &&
		memcmp(a->max_us, b->max_us, sizeof(a->max_us)) == 0 && memcmp(a->sum, b->sum, sizeof(a->sum)) == 0;
}

static bool
unpacks(Packed packed, size_t slack)
{
	uint8_t    *bytes = malloc(packed.length + slack);
	Packed		again;
	CellError	error;
	CellNumbers numbers;
	bool		good;

	memcpy(bytes, packed.bytes, packed.length);
	memset(bytes + packed.length, 0xA5, slack);
	cell_total_reset(&other);
	good = cell_total_add_packed(&other, bytes, packed.length, packed.length + slack) == CELL_OK &&
		cell_total_check(&other, &error) == CELL_OK;
	again = pack_total(&other);
	good &= same(packed, again);
	good &= cell_read_numbers(&numbers, bytes, packed.length) == CELL_OK;
	memcpy(numbers.at_most, other.numbers.at_most, sizeof(numbers.at_most));
	good &= same_numbers(&numbers, &other.numbers);
	free(again.bytes);
	free(bytes);
	return good;
}

/* In parts, packed or not, in any order; and distributions and numbers apart. */
static bool
adds_up(const CellRow *rows, size_t n, bool detail, Packed whole)
{
	size_t		parts = 1 + random_below(12);
	CellState **part = calloc(parts, sizeof(*part));
	Packed		sum;
	bool		good = true;

	for (size_t i = 0; i < parts; i++)
		part[i] = new_state(detail);
	for (size_t i = 0; i < n; i++)
	{
		size_t		to = random_below(parts);

		part[to] = add_row(part[to], &rows[i]);
	}
	cell_total_reset(&total);
	cell_total_reset(&apart);
	for (size_t left = parts; left > 0; left--)
	{
		size_t		i = random_below(left);
		Packed		packed;

		cell_total_reset(&other);
		good &= cell_total_add_state(&other, part[i]) == CELL_OK;
		packed = pack_total(&other);
		if (random_below(2))
			good &= cell_total_add_state(&total, part[i]) == CELL_OK;
		else
			good &= cell_total_add_packed(&total, packed.bytes, packed.length, packed.length) == CELL_OK;
		cell_total_add_slots(&apart, &other);
		good &= cell_add_numbers(&apart.numbers, packed.bytes, packed.length, packed.length) == CELL_OK;
		free(packed.bytes);
		free(part[i]);
		part[i] = part[left - 1];
	}
	memcpy(apart.numbers.at_most, total.numbers.at_most, sizeof(apart.numbers.at_most));
	for (int i = 0; i < 2; i++)
	{
		sum = pack_total(i == 0 ? &total : &apart);
		good &= same(sum, whole);
		free(sum.bytes);
	}
	free(part);
	return good;
}

static void
test_rows(int kind, bool detail, const char *name)
{
	static const size_t sizes[] = {0, 1, 2, 3, 4, 5, 14, 16, 17, 64, 65, 500, 513, 3000, 20000};
	int			wrong[6] = {0};
	char		what[200];

	for (size_t s = 0; s < sizeof(sizes) / sizeof(*sizes); s++)
		for (int round = 0; round < (sizes[s] < 100 ? 60 : 4); round++)
		{
			size_t		n = sizes[s];
			CellRow    *rows = calloc(n + 1, sizeof(*rows));
			CellState  *state = new_state(detail);
			Packed		packed;
			CellError	error;

			for (size_t i = 0; i < n; i++)
			{
				random_row(&rows[i], kind);
				state = add_row(state, &rows[i]);
			}
			cell_total_reset(&total);
			if (cell_total_add_state(&total, state) != CELL_OK)
				abort();
			wrong[0] += !agrees(&total, rows, n, detail);
			wrong[1] += cell_total_check(&total, &error) != CELL_OK;
			packed = pack_total(&total);
			wrong[2] += !unpacks(packed, 0);
			wrong[3] += !unpacks(packed, 8);
			wrong[4] += !prints_back(&total, packed);
			wrong[5] += !adds_up(rows, n, detail, packed);
			free(packed.bytes);
			free(state);
			free(rows);
		}
	for (int i = 0; i < 6; i++)
	{
		static const char *const checks[] = {"sums and distributions are the rows'", "obeys every rule", "unpacks",
			"unpacks with room to read on", "prints and parses", "parts in any order are the whole"};

		snprintf(what, sizeof(what), "%s, %s: %s", name, detail ? "detail" : "no detail", checks[i]);
		is_int(wrong[i], 0, what);
	}
}

/* ---- sizes ---- */

static double
mean_bytes(int kind, bool detail, size_t requests)
{
	double		bytes = 0;

	for (int i = 0; i < 500; i++)
	{
		CellState  *state = new_state(detail);
		CellRow		row;
		Packed		packed;

		for (size_t j = 0; j < requests; j++)
		{
			random_row(&row, kind);
			state = add_row(state, &row);
		}
		cell_total_reset(&total);
		if (cell_total_add_state(&total, state) != CELL_OK)
			abort();
		packed = pack_total(&total);
		bytes += (double) packed.length / 500;
		free(packed.bytes);
		free(state);
	}
	return bytes;
}

static void
test_sizes(void)
{
	double		one = mean_bytes(TYPICAL, true, 1);
	double		three = mean_bytes(TYPICAL, false, 3);
	double		fourteen = mean_bytes(TYPICAL, true, 14);

	printf("# bytes: %.1f of one request, %.1f of three without detail, %.1f of fourteen, %.1f of fourteen that fail, %.1f of 1000\n",
		   one, three, fourteen, mean_bytes(FAILING, true, 14), mean_bytes(TYPICAL, true, 1000));
	ok(one <= 60, "a cell of one request has at most 60 bytes");
	ok(three <= 65, "a cell of three requests without detail has at most 65 bytes");
	ok(fourteen <= 150, "a cell of fourteen requests has at most 150 bytes");
}

/* ---- limits ---- */

static CellStatus
add_text(CellTotal *to, const char *text, size_t slack)
{
	CellError	error;
	Packed		packed;
	CellStatus	status;

	cell_total_reset(&other);
	if (cell_parse(text, strlen(text), &other, &error) != CELL_OK)
		abort();
	packed = pack_total(&other);
	packed.bytes = realloc(packed.bytes, packed.length + slack);
	status = cell_total_add_packed(to, packed.bytes, packed.length, packed.length + slack);
	free(packed.bytes);
	return status;
}

static void
test_limits(void)
{
	CellState  *state = new_state(true);
	CellRow		row = {.present = 1, .in_flight = true};
	Packed		packed;
	int			accepted = 0;

	cell_total_reset(&total);
	is_int(add_text(&total, "{\"requests\": 9223372036854775807}", 0), CELL_OK, "2^63 - 1 requests");
	is_int(add_text(&total, "{\"requests\": 1}", 0), CELL_TOO_LARGE, "and one more");
	cell_total_init(&total);
	is_int(add_text(&total, "{\"requests\": 1, \"input_tokens\": 85070591730234615865843651857942052864}", 0), CELL_OK, "2^126 tokens");
	is_int(add_text(&total, "{\"requests\": 1, \"input_tokens\": 1}", 0), CELL_TOO_LARGE, "one more, read with care");
	is_int(add_text(&total, "{\"requests\": 1, \"input_tokens\": 1}", 8), CELL_OK, "one more, read in haste");
	packed = pack_total(&total);
	is_int((int64_t) packed.length, 0, "is not packed");
	free(packed.bytes);
	cell_total_init(&total);
	is_int(add_text(&total, "{\"requests\": 1, \"input_tokens\": 85070591730234615865843651857942052864}", 0), CELL_OK, "2^126 tokens");
	is_int(add_text(&total, "{\"requests\": 1, \"input_tokens\": 85070591730234615865843651857942052864}", 0), CELL_TOO_LARGE, "twice");
	cell_total_init(&total);

	state->numbers.requests = CELL_COUNT_MAX;
	is_int(cell_state_add(state, &row), CELL_TOO_LARGE, "a state counts to 2^63 - 1");
	free(state);

	/* every packed form that is cut short is refused, and nothing behind it is read */
	for (int i = 0; i < 200; i++)
	{
		state = new_state(i % 2);
		for (size_t n = random_below(40); n-- > 0;)
		{
			random_row(&row, i % KINDS);
			state = add_row(state, &row);
		}
		cell_total_reset(&total);
		if (cell_total_add_state(&total, state) != CELL_OK)
			abort();
		packed = pack_total(&total);
		for (size_t length = 0; length < packed.length; length++)
		{
			uint8_t    *bytes = malloc(length ? length : 1);

			memcpy(bytes, packed.bytes, length);
			cell_total_init(&other);
			accepted += cell_total_add_packed(&other, bytes, length, length) == CELL_OK;
			free(bytes);
		}
		free(packed.bytes);
		free(state);
	}
	cell_total_init(&other);
	is_int(accepted, 0, "bytes cut short are refused");
}

static void *
no_memory(size_t bytes)
{
	return NULL;
}

static void
test_memory(void)
{
	static const SketchMemory none = {no_memory, release};
	CellState  *state = new_state(true);
	CellRow		row;
	CellNumbers before;

	for (int i = 0; i < CELL_LIST_FIRST; i++)
	{
		random_row(&row, TYPICAL);
		if (cell_state_add(state, &row) != CELL_OK)
			abort();
	}
	before = state->numbers;
	random_row(&row, TYPICAL);
	is_int(cell_state_add(state, &row), CELL_NO_ROOM, "a full list has no room");
	ok(memcmp(&before, &state->numbers, sizeof(before)) == 0, "and stays as it was");
	ok(cell_state_enlarge(state, &row, &none) == NULL, "without memory it does not grow");
	cell_total_reset(&total);
	ok(cell_total_add_state(&total, state) == CELL_OK, "the state is whole");
	free(state);
}

int
main(void)
{
	cell_total_init(&total);
	cell_total_init(&other);
	cell_total_init(&apart);
	test_slots();
	for (int detail = 0; detail < 2; detail++)
	{
		test_rows(TYPICAL, detail, "typical");
		test_rows(FAILING, detail, "failing");
		test_rows(EXTREME, detail, "extreme");
	}
	test_sizes();
	test_limits();
	test_memory();
	return done_testing();
}
