/*
 * Packed cells, many measures keyed by small integers: walking, writing, merging.
 * No PostgreSQL here. Pure; blocks are the caller's.
 *
 *	byte 0	CELLS_VERSION
 *	varint	number of cells
 *	cells, keys ascending: varint key less the key before less 1 (the key before the
 *	first is -1), varint length, packed measures
 */
#include "extension/cell_core_format.h"

#define CELLS_VERSION	0x01

/* Byte 0 and a count. */
#define CELLS_HEADER_MAX_BYTES (1 + VARINT_MAX_BYTES)

/* Keys are ordered by so many bits at a time. */
#define RADIX_BITS		11
#define RADIX			(1 << RADIX_BITS)
#define RADIX_DIGITS	3

/* ---- walking ---- */

bool
cells_reader_start(CellsReader *reader, const uint8_t *bytes, size_t length)
{
	reader->at = NULL;
	reader->end = bytes + length;
	reader->left = reader->count = 0;
	reader->key = -1;
	reader->corrupt = false;
	reader->bytes = NULL;
	reader->length = 0;
	if (length < 2 || bytes[0] != CELLS_VERSION)
		return false;
	reader->at = get_varint(bytes + 1, reader->end, &reader->count);
	reader->left = reader->count;

	/* no cell has less than a key, a length and a byte */
	return reader->at != NULL && reader->count <= length / 3;
}

bool
cells_reader_next(CellsReader *reader)
{
	const uint8_t *at = reader->at;
	const uint8_t *end = reader->end;
	uint64_t	step;
	uint64_t	length;

	if (reader->left == 0)
	{
		reader->corrupt |= at != end;
		return false;
	}
	/* nearly always a byte for the key and one or two for the length */
	if (end - at >= 3 && (at[0] & 0x80) == 0 && ((at[1] & 0x80) == 0 || (at[2] & 0x80) == 0))
	{
		bool		longer = at[1] >> 7;

		step = at[0];
		length = (at[1] & 0x7Fu) | (longer ? (uint32_t) at[2] << 7 : 0);
		at += 2 + longer;
	}
	else
	{
		at = get_varint(at, end, &step);
		if (at != NULL)
			at = get_varint(at, end, &length);
	}
	if (at == NULL || step > (uint64_t) (CELL_KEY_MAX - 1 - reader->key) ||
		length == 0 || length > CELL_PACKED_MAX_BYTES || length > (size_t) (end - at))
	{
		reader->corrupt = true;
		reader->left = 0;
		reader->at = end;
		return false;
	}
	reader->key += (int64_t) step + 1;
	reader->bytes = at;
	reader->length = (size_t) length;
	reader->at = at + length;
	reader->left--;
	return true;
}

/* ---- writing ---- */

static inline bool
room(CellsWriter *writer, size_t more)
{
	return writer->capacity - writer->length >= more || writer->reserve(writer, more);
}

CellStatus
cells_writer_start(CellsWriter *writer, uint64_t count)
{
	writer->key = -1;
	if (!room(writer, CELLS_HEADER_MAX_BYTES))
		return CELL_NO_MEMORY;
	writer->bytes[writer->length++] = CELLS_VERSION;
	writer->length = (size_t) (put_varint(writer->bytes + writer->length, count) - writer->bytes);
	return CELL_OK;
}

CellStatus
cells_writer_put(CellsWriter *writer, uint32_t key, const uint8_t *bytes, size_t length)
{
	uint8_t    *to;

	if (!room(writer, 2 * VARINT_MAX_BYTES + length))
		return CELL_NO_MEMORY;
	to = put_varint(writer->bytes + writer->length, (uint64_t) (key - writer->key - 1));
	to = put_varint(to, length);
	memcpy(to, bytes, length);
	writer->length = (size_t) (to + length - writer->bytes);
	writer->key = key;
	return CELL_OK;
}

CellStatus
cells_writer_put_total(CellsWriter *writer, uint32_t key, CellTotal *total)
{
	uint8_t    *to;
	uint8_t    *packed;
	size_t		bound = cell_pack_bound(total);
	size_t		length;

	if (!room(writer, 2 * VARINT_MAX_BYTES + bound))
		return CELL_NO_MEMORY;
	to = put_varint(writer->bytes + writer->length, (uint64_t) (key - writer->key - 1));

	/* the length is known afterwards: leave two bytes, which nearly always do */
	packed = to + 2;
	length = cell_pack(total, packed);
	if (length == 0)
		return CELL_TOO_LARGE;
	if (length >= 0x80 && length < 0x4000)
		put_varint(to, length);
	else
	{
		uint8_t		prefix[VARINT_MAX_BYTES];
		size_t		prefix_length = (size_t) (put_varint(prefix, length) - prefix);

		memmove(to + prefix_length, packed, length);
		memcpy(to, prefix, prefix_length);
		packed = to + prefix_length;
	}
	writer->length = (size_t) (packed + length - writer->bytes);
	writer->key = key;
	return CELL_OK;
}

/* ---- merging ---- */

/* Orders entries by key; returns the entries or the spare. */
static CellEntry *
sort_entries(CellEntry *entries, CellEntry *spare, size_t n)
{
	uint32_t	start[RADIX_DIGITS][RADIX] = {0};
	bool		ordered = true;
	uint32_t	before = 0;

	for (size_t i = 0; i < n; i++)
	{
		uint32_t	key = entries[i].key;

		ordered &= before <= key;
		before = key;
		for (int digit = 0; digit < RADIX_DIGITS; digit++)
			start[digit][key >> (digit * RADIX_BITS) & (RADIX - 1)]++;
	}
	for (int digit = 0; !ordered && digit < RADIX_DIGITS; digit++)
	{
		uint32_t   *at = start[digit];
		uint32_t	shift = (uint32_t) digit * RADIX_BITS;
		uint32_t	below = 0;
		CellEntry  *sorted = spare;

		if (at[entries[0].key >> shift & (RADIX - 1)] == n)
			continue;
		for (uint32_t i = 0; i < RADIX; i++)
		{
			uint32_t	count = at[i];

			at[i] = below;
			below += count;
		}
		for (size_t i = 0; i < n; i++)
			sorted[at[entries[i].key >> shift & (RADIX - 1)]++] = entries[i];
		spare = entries;
		entries = sorted;
	}
	return entries;
}

CellStatus
cells_merge(CellEntry *entries, CellEntry *spare, size_t n, CellTotal *total, CellsWriter *writer)
{
	const CellEntry *sorted = sort_entries(entries, spare, n);
	uint64_t	count = 0;
	CellStatus	status;

	for (size_t i = 0; i < n; i++)
		count += i == 0 || sorted[i - 1].key != sorted[i].key;
	status = cells_writer_start(writer, count);
	for (size_t i = 0; status == CELL_OK && i < n;)
	{
		uint32_t	key = sorted[i].key;

		if (i + 1 == n || sorted[i + 1].key != key)
		{
			status = cells_writer_put(writer, key, sorted[i].bytes, sorted[i].length);
			i++;
			continue;
		}
		for (; status == CELL_OK && i < n && sorted[i].key == key; i++)
		{
			/* cells of one key come from as many places in memory */
			if (i + 8 < n)
				__builtin_prefetch(sorted[i + 8].bytes);
			status = cell_total_add_packed(total, sorted[i].bytes, sorted[i].length,
										   sorted[i].length + (sorted[i].tight ? 0 : sizeof(uint64_t)));
		}
		if (status == CELL_OK)
			status = cells_writer_put_total(writer, key, total);
		if (status == CELL_OK)
			cell_total_reset(total);
	}
	return status;
}

CellStatus
cells_copy_checked(const uint8_t *bytes, size_t length, CellTotal *total, CellsWriter *writer, CellError *error)
{
	CellsReader reader;
	CellStatus	status;

	error->reason = "the cells are malformed";
	if (!cells_reader_start(&reader, bytes, length))
		return CELL_INVALID;
	status = cells_writer_start(writer, reader.count);
	while (status == CELL_OK && cells_reader_next(&reader))
	{
		status = cell_total_add_packed(total, reader.bytes, reader.length, reader.length);
		if (status == CELL_OK)
			status = cell_total_check(total, error);
		if (status == CELL_OK)
			status = cells_writer_put_total(writer, (uint32_t) reader.key, total);
		if (status == CELL_OK)
			cell_total_reset(total);
	}
	return status == CELL_OK && reader.corrupt ? CELL_INVALID : status;
}
