/*
 * Fuzz: any bytes as packed measures and as packed cells. Reading trusts nothing;
 * what passes every check comes back as the same bytes, through the text form, too.
 */
#include <stdlib.h>

#include "extension/cell_core.h"
#include "test/fuzz/cell_fuzz.h"

int			LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The sketches that are shown obey the rules of sketches. */
static void
sketches(const CellTotal *total)
{
	for (int i = 0; i < CELL_LATENCIES; i++)
	{
		Bytes		sketch;
		SketchView	view;
		SketchError error;

		if (total->numbers.n[i] == 0 || (i == CELL_TTFT && !total->numbers.detail))
			continue;
		sketch.bytes = malloc(cell_sketch_bound(total, i));
		sketch.length = cell_pack_sketch(total, i, sketch.bytes);
		if (sketch.length > cell_sketch_bound(total, i) || !sketch_view_packed(&view, sketch.bytes, sketch.length) ||
			sketch_view_check(&view, &error) != SKETCH_OK)
			abort();
		free(sketch.bytes);
	}
}

static void
measures(const uint8_t *data, size_t size)
{
	CellNumbers numbers;
	uint8_t    *slack = malloc(size + 8);
	CellError	error;
	CellStatus	status;
	CellStatus	faster;
	Bytes		packed = {0};
	Bytes		again = {0};
	Text		text = {0};

	memcpy(slack, data, size);
	memset(slack + size, 0xFF, 8);
	cell_total_init(&fuzz_total);
	status = cell_total_add_packed(&fuzz_total, data, size, size);
	cell_total_init(&fuzz_other);
	faster = cell_total_add_packed(&fuzz_other, slack, size, size + 8);
	if (status != faster || (status == CELL_OK && memcmp(&fuzz_total, &fuzz_other, sizeof(CellTotal)) != 0))
		abort();
	free(slack);
	if (status != CELL_OK || cell_total_check(&fuzz_total, &error) != CELL_OK)
		return;

	sketches(&fuzz_total);
	if (cell_read_numbers(&numbers, data, size) != CELL_OK || numbers.requests != fuzz_total.numbers.requests ||
		memcmp(numbers.sum, fuzz_total.numbers.sum, sizeof(numbers.sum)) != 0)
		abort();
	pack(&fuzz_total, &packed);
	cell_total_reset(&fuzz_other);
	if (cell_total_add_packed(&fuzz_other, packed.bytes, packed.length, packed.length) != CELL_OK)
		abort();
	pack(&fuzz_other, &again);
	must_be_same(&packed, &again);
	cell_print(&fuzz_other, put_text, &text);
	cell_total_reset(&fuzz_other);
	if (cell_parse(text.text, text.length, &fuzz_other, &error) != CELL_OK)
		abort();
	pack(&fuzz_other, &again);
	must_be_same(&packed, &again);

	/* twice the same is all of it twice, unless that is too much */
	cell_total_reset(&fuzz_other);
	for (int i = 0; i < 2; i++)
		status = cell_total_add_packed(&fuzz_other, packed.bytes, packed.length, packed.length);
	if (status == CELL_OK)
	{
		if (fuzz_other.numbers.requests != 2 * fuzz_total.numbers.requests ||
			cell_total_check(&fuzz_other, &error) != CELL_OK)
			if (all_in_range(&fuzz_other))
				abort();
	}
	else if (status != CELL_TOO_LARGE)
		abort();
	free(packed.bytes);
	free(again.bytes);
	free(text.text);
}

static void
cells(const uint8_t *data, size_t size)
{
	CellsReader reader;
	CellEntry  *entries;
	CellEntry  *spare;
	size_t		n = 0;
	CellError	error;
	Bytes		packed = {0};
	Bytes		again = {0};
	Text		text = {0};
	CellsWriter writer;

	if (!cells_reader_start(&reader, data, size))
		return;

	/* merging what was not checked */
	entries = calloc(2 * (size_t) reader.count + 1, sizeof(*entries));
	spare = calloc(2 * (size_t) reader.count + 1, sizeof(*entries));
	while (cells_reader_next(&reader))
		for (int i = 0; i < 2; i++)
			entries[n++] = (CellEntry) {.key = (uint32_t) (reader.key >> i), .length = (uint32_t) reader.length, .tight = 1, .bytes = reader.bytes};
	cell_total_init(&fuzz_total);
	start_writer(&writer);
	if (cells_merge(entries, spare, n, &fuzz_total, &writer) == CELL_OK)
		cell_total_reset(&fuzz_total);
	free(writer.bytes);
	free(entries);
	free(spare);

	cell_total_init(&fuzz_total);
	start_writer(&writer);
	if (cells_copy_checked(data, size, &fuzz_total, &writer, &error) == CELL_OK)
	{
		packed = (Bytes) {writer.bytes, writer.length};
		start_writer(&writer);
		if (cells_copy_checked(packed.bytes, packed.length, &fuzz_total, &writer, &error) != CELL_OK)
			abort();
		again = (Bytes) {writer.bytes, writer.length};
		must_be_same(&packed, &again);
		free(again.bytes);
		if (cells_print(packed.bytes, packed.length, &fuzz_total, put_text, &text) != CELL_OK)
			abort();
		start_writer(&writer);
		if (cells_parse(text.text, text.length, &fuzz_total, &writer, &error) != CELL_OK)
			abort();
		again = (Bytes) {writer.bytes, writer.length};
		must_be_same(&packed, &again);
		free(again.bytes);
		free(text.text);
		free(packed.bytes);
	}
	else
		free(writer.bytes);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t    *exact;

	if (size == 0)
		return 0;

	/* the first byte chooses; the rest in a block of exactly its size */
	exact = malloc(size);
	memcpy(exact, data + 1, size - 1);
	exact = realloc(exact, size > 1 ? size - 1 : 1);
	if (data[0] & 1)
		cells(exact, size - 1);
	else
		measures(exact, size - 1);
	free(exact);
	return 0;
}
