/*
 * Cells: merging equals adding up key by key, in any order; text and bytes come back;
 * what is cut short or changed is refused or still obeys every rule.
 */
#include "test/unit/cell_test.h"

#define KEYS 300

static CellTotal total;
static CellTotal by_key[KEYS];
static bool key_seen[KEYS];

static Packed
random_measures(size_t requests)
{
	CellState  *state = new_state(true);
	CellRow		row;
	Packed		packed;

	while (requests-- > 0)
	{
		random_row(&row, (int) random_below(2));
		state = add_row(state, &row);
	}
	cell_total_reset(&total);
	if (cell_total_add_state(&total, state) != CELL_OK)
		abort();
	packed = pack_total(&total);
	free(state);
	return packed;
}

/* Keys that are dense, sparse or at the end of what there is. */
static uint32_t
key_of(int spread, uint32_t i)
{
	static const uint32_t step[] = {1, 1000, CELL_KEY_MAX / (KEYS - 1)};

	return i == KEYS - 1 && spread == 2 ? CELL_KEY_MAX : i * step[spread];
}

static Packed
merge(CellEntry *entries, size_t n)
{
	CellEntry  *copy = malloc((n + 1) * sizeof(*copy));
	CellEntry  *spare = malloc((n + 1) * sizeof(*spare));
	CellsWriter writer = {.reserve = reserve};

	memcpy(copy, entries, n * sizeof(*copy));
	cell_total_reset(&total);
	if (cells_merge(copy, spare, n, &total, &writer) != CELL_OK)
		abort();
	free(copy);
	free(spare);
	return (Packed) {writer.bytes, writer.length};
}

/* The cells as entries. */
static size_t
read_entries(Packed cells, CellEntry *entries)
{
	CellsReader reader;
	size_t		n = 0;

	if (!cells_reader_start(&reader, cells.bytes, cells.length))
		abort();
	while (cells_reader_next(&reader))
		entries[n++] = (CellEntry) {.key = (uint32_t) reader.key, .length = (uint32_t) reader.length, .tight = 1, .bytes = reader.bytes};
	if (reader.corrupt || n != reader.count)
		abort();
	return n;
}

static void
test_merge(int spread, size_t n)
{
	CellEntry  *entries = calloc(n + 1, sizeof(*entries));
	CellEntry  *again = calloc(2 * (size_t) KEYS, sizeof(*again));
	Packed	   *measures = calloc(n + 1, sizeof(*measures));
	Packed		merged;
	Packed		other;
	Packed		halves[2];
	CellsReader reader;
	int			wrong = 0;
	size_t		keys = 0;
	char		name[100];

	for (int i = 0; i < KEYS; i++)
	{
		cell_total_reset(&by_key[i]);
		key_seen[i] = false;
	}
	for (size_t i = 0; i < n; i++)
	{
		uint32_t	key = (uint32_t) random_below(KEYS);

		measures[i] = random_measures(random_below(20));
		entries[i] = (CellEntry) {.key = key_of(spread, key), .length = (uint32_t) measures[i].length, .tight = 1, .bytes = measures[i].bytes};
		if (cell_total_add_packed(&by_key[key], measures[i].bytes, measures[i].length, measures[i].length) != CELL_OK)
			abort();
		keys += !key_seen[key];
		key_seen[key] = true;
	}
	merged = merge(entries, n);
	if (!cells_reader_start(&reader, merged.bytes, merged.length))
		abort();
	wrong += reader.count != keys;
	for (uint32_t key = 0; key < KEYS; key++)
	{
		Packed		expected;

		if (!key_seen[key])
			continue;
		expected = pack_total(&by_key[key]);
		wrong += !cells_reader_next(&reader) || reader.key != key_of(spread, key) ||
			reader.length != expected.length || memcmp(reader.bytes, expected.bytes, expected.length) != 0;
		free(expected.bytes);
	}
	wrong += cells_reader_next(&reader) || reader.corrupt;
	snprintf(name, sizeof(name), "%zu cells of %zu keys, spread %d, are added up by key", n, keys, spread);
	is_int(wrong, 0, name);

	for (size_t i = n; i > 1; i--)
	{
		size_t		j = random_below(i);
		CellEntry	entry = entries[i - 1];

		entries[i - 1] = entries[j];
		entries[j] = entry;
	}
	other = merge(entries, n);
	ok(same(merged, other), "in any order");
	free(other.bytes);
	halves[0] = merge(entries, n / 2);
	halves[1] = merge(entries + n / 2, n - n / 2);
	keys = read_entries(halves[0], again);
	keys += read_entries(halves[1], again + keys);
	other = merge(again, keys);
	ok(same(merged, other), "in two steps");
	free(other.bytes);
	free(halves[0].bytes);
	free(halves[1].bytes);

	{
		Text		text = {0};
		CellsWriter writer = {.reserve = reserve};
		CellsWriter copy = {.reserve = reserve};
		CellError	error;

		cell_total_reset(&total);
		wrong = cells_print(merged.bytes, merged.length, &total, put, &text) != CELL_OK;
		wrong += cells_parse(text.text, text.length, &total, &writer, &error) != CELL_OK;
		ok(wrong == 0 && same(merged, (Packed) {writer.bytes, writer.length}), "printed and parsed they are the same");
		wrong = cells_copy_checked(merged.bytes, merged.length, &total, &copy, &error) != CELL_OK;
		ok(wrong == 0 && same(merged, (Packed) {copy.bytes, copy.length}), "checked and copied, too");
		free(text.text);
		free(writer.bytes);
		free(copy.bytes);
	}

	for (size_t i = 0; i < n; i++)
		free(measures[i].bytes);
	free(measures);
	free(entries);
	free(again);
	free(merged.bytes);
}

/* Bytes changed at random: refused, or cells that obey every rule. */
static void
test_damage(void)
{
	CellEntry	entries[6];
	Packed		measures[6];
	Packed		cells;
	int			wrong = 0;
	int			refused = 0;

	for (int i = 0; i < 6; i++)
	{
		measures[i] = random_measures(1 + random_below(20));
		entries[i] = (CellEntry) {.key = (uint32_t) i * 3, .length = (uint32_t) measures[i].length, .tight = 1, .bytes = measures[i].bytes};
	}
	cells = merge(entries, 6);
	for (int round = 0; round < 20000; round++)
	{
		size_t		length = random_below(10) ? cells.length : random_below(cells.length);
		uint8_t    *bytes = malloc(length + 1);
		CellsWriter writer = {.reserve = reserve};
		CellsWriter again = {.reserve = reserve};
		CellError	error;

		bytes = realloc(bytes, length ? length : 1);
		memcpy(bytes, cells.bytes, length);
		for (size_t changes = random_below(4); length > 0 && changes-- > 0;)
			bytes[random_below(length)] = (uint8_t) random_next();
		cell_total_init(&total);
		if (cells_copy_checked(bytes, length, &total, &writer, &error) != CELL_OK)
			refused++;
		else
		{
			wrong += cells_copy_checked(writer.bytes, writer.length, &total, &again, &error) != CELL_OK ||
				!same((Packed) {writer.bytes, writer.length}, (Packed) {again.bytes, again.length});
			free(again.bytes);
		}
		free(writer.bytes);
		free(bytes);
	}
	cell_total_init(&total);
	is_int(wrong, 0, "what is accepted of damaged cells obeys every rule");
	ok(refused > 10000, "most damage is noticed");
	for (int i = 0; i < 6; i++)
		free(measures[i].bytes);
	free(cells.bytes);
}

static bool
no_room(CellsWriter *writer, size_t more)
{
	return false;
}

static void
test_room(void)
{
	Packed		measures = random_measures(3);
	CellEntry	entries[2] = {
		{.key = 1, .length = (uint32_t) measures.length, .tight = 1, .bytes = measures.bytes},
		{.key = 1, .length = (uint32_t) measures.length, .tight = 1, .bytes = measures.bytes}
	};
	CellEntry	spare[2];
	uint8_t		bytes[40];
	CellsWriter writer = {.bytes = bytes, .capacity = 0, .reserve = no_room};

	is_int(cells_merge(entries, spare, 2, &total, &writer), CELL_NO_MEMORY, "no room for the header");
	cell_total_init(&total);
	writer.capacity = sizeof(bytes);
	is_int(cells_merge(entries, spare, 2, &total, &writer), CELL_NO_MEMORY, "no room for a cell");
	cell_total_init(&total);
	free(measures.bytes);
}

int
main(void)
{
	cell_total_init(&total);
	for (int i = 0; i < KEYS; i++)
		cell_total_init(&by_key[i]);
	for (int spread = 0; spread < 3; spread++)
		for (size_t n = 0; n <= 3000; n = n * 3 + 1)
			test_merge(spread, n);
	test_damage();
	test_room();
	return done_testing();
}
