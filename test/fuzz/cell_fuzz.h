/*
 * What the fuzz targets of cells share: totals, and growing bytes and texts.
 */
#ifndef TEST_FUZZ_CELL_FUZZ_H
#define TEST_FUZZ_CELL_FUZZ_H

#include <stdlib.h>

#include "extension/cell_core.h"

static CellTotal fuzz_total;
static CellTotal fuzz_other __attribute__((unused));

typedef struct Bytes
{
	uint8_t    *bytes;
	size_t		length;
} Bytes;

typedef struct Text
{
	char	   *text;
	size_t		length;
	size_t		capacity;
} Text;

/* Replaces the bytes with the packed total. */
static inline void
pack(CellTotal *total, Bytes *to)
{
	size_t		bound = cell_pack_bound(total);

	to->bytes = realloc(to->bytes, bound);
	to->length = cell_pack(total, to->bytes);
	if (to->length == 0 || to->length > bound || to->length > CELL_PACKED_MAX_BYTES)
		abort();
	to->bytes = realloc(to->bytes, to->length);
}

static inline void
must_be_same(const Bytes *a, const Bytes *b)
{
	if (a->length != b->length || memcmp(a->bytes, b->bytes, a->length) != 0)
		abort();
}

static inline bool
all_in_range(const CellTotal *total)
{
	for (int i = 0; i < CELL_SUMS; i++)
		if (total->numbers.sum[i] > CELL_SUM_MAX || total->numbers.sum[i] < -CELL_SUM_MAX)
			return false;
	return true;
}

static inline void
put_text(void *to, const char *piece, size_t length)
{
	Text	   *text = to;

	while (text->capacity - text->length < length)
		text->text = realloc(text->text, text->capacity = text->capacity * 2 + 256);
	memcpy(text->text + text->length, piece, length);
	text->length += length;
}

static inline bool
reserve_bytes(CellsWriter *writer, size_t more)
{
	while (writer->capacity - writer->length < more)
		writer->capacity = writer->capacity * 2 + 64;
	writer->bytes = realloc(writer->bytes, writer->capacity);
	return true;
}

static inline void
start_writer(CellsWriter *writer)
{
	*writer = (CellsWriter) {.reserve = reserve_bytes};
}

#endif
