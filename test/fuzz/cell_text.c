/*
 * Fuzz: any text as measures and as cells. What is accepted prints as a text that is
 * accepted again and means the same; what is refused says why.
 */
#include <stdlib.h>

#include "extension/cell_core.h"
#include "test/fuzz/cell_fuzz.h"

int			LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
measures(const char *source, size_t size)
{
	CellError	error = {0};
	CellStatus	status;
	Bytes		packed = {0};
	Bytes		again = {0};
	Text		text = {0};

	cell_total_init(&fuzz_total);
	status = cell_parse(source, size, &fuzz_total, &error);
	if (status != CELL_OK)
	{
		if (status != CELL_INVALID || error.reason == NULL || error.position > size)
			abort();
		return;
	}
	pack(&fuzz_total, &packed);
	cell_print(&fuzz_total, put_text, &text);
	cell_total_reset(&fuzz_total);
	if (cell_parse(text.text, text.length, &fuzz_total, &error) != CELL_OK)
		abort();
	pack(&fuzz_total, &again);
	must_be_same(&packed, &again);
	free(packed.bytes);
	free(again.bytes);
	free(text.text);
}

static void
cells(const char *source, size_t size)
{
	CellError	error = {0};
	CellStatus	status;
	CellsWriter writer;
	Bytes		packed;
	Bytes		again;
	Text		text = {0};

	cell_total_init(&fuzz_total);
	start_writer(&writer);
	status = cells_parse(source, size, &fuzz_total, &writer, &error);
	packed = (Bytes) {writer.bytes, writer.length};
	if (status != CELL_OK)
	{
		if (status != CELL_INVALID || error.reason == NULL || error.position > size)
			abort();
		free(packed.bytes);
		return;
	}
	if (cells_print(packed.bytes, packed.length, &fuzz_total, put_text, &text) != CELL_OK)
		abort();
	start_writer(&writer);
	if (cells_copy_checked(packed.bytes, packed.length, &fuzz_total, &writer, &error) != CELL_OK)
		abort();
	again = (Bytes) {writer.bytes, writer.length};
	must_be_same(&packed, &again);
	free(again.bytes);
	start_writer(&writer);
	if (cells_parse(text.text, text.length, &fuzz_total, &writer, &error) != CELL_OK)
		abort();
	again = (Bytes) {writer.bytes, writer.length};
	must_be_same(&packed, &again);
	free(again.bytes);
	free(packed.bytes);
	free(text.text);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char	   *exact = malloc(size ? size : 1);

	memcpy(exact, data, size);
	measures(exact, size);
	cells(exact, size);
	free(exact);
	return 0;
}
