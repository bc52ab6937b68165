/*
 * Spooled units as bytes; see spool_record.h.
 */
#include "gateway/spool_record.h"

#include <endian.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#define RECORD_MAGIC		0x31525343u	/* "CSR1" */
#define RECORD_STAGED		1
#define HEADER_BYTES		(4 + 4 + 8 + 1 + 4 + 4)
#define EVENT_HEADER_BYTES	(8 + 1 + 1 + 4)
#define LENGTH_BYTES		4
#define MAX_REQUEST_ID_BYTES 256
/* every field's length, and an id of one byte */
#define SMALLEST_ROW_BYTES	((EVENT_COLUMNS - 1) * LENGTH_BYTES + 1)

#define COLUMN_AND_TYPE(column, key, type, limit) #column ":" #type ","

static const char columns[] = EVENT_FIELDS(COLUMN_AND_TYPE);

struct reader
{
	const uint8_t *at;
	size_t		left;
	bool		failed;
};

static uint8_t *
put_u8(uint8_t *p, uint8_t v)
{
	*p = v;
	return p + 1;
}

static uint8_t *
put_u32(uint8_t *p, uint32_t v)
{
	v = htole32(v);
	memcpy(p, &v, sizeof(v));
	return p + sizeof(v);
}

static uint8_t *
put_u64(uint8_t *p, uint64_t v)
{
	v = htole64(v);
	memcpy(p, &v, sizeof(v));
	return p + sizeof(v);
}

/* The next n bytes; NULL once there were not enough. */
static const uint8_t *
take(struct reader *r, size_t n)
{
	const uint8_t *p = r->at;

	if (r->failed || r->left < n)
	{
		r->failed = true;
		return NULL;
	}
	r->at += n;
	r->left -= n;
	return p;
}

static uint8_t
take_u8(struct reader *r)
{
	const uint8_t *p = take(r, 1);

	return p ? *p : 0;
}

static uint32_t
take_u32(struct reader *r)
{
	const uint8_t *p = take(r, sizeof(uint32_t));
	uint32_t	v = 0;

	if (p)
		memcpy(&v, p, sizeof(v));
	return le32toh(v);
}

static uint64_t
take_u64(struct reader *r)
{
	const uint8_t *p = take(r, sizeof(uint64_t));
	uint64_t	v = 0;

	if (p)
		memcpy(&v, p, sizeof(v));
	return le64toh(v);
}

uint32_t
spool_columns_fingerprint(void)
{
	return (uint32_t) crc32_z(0, (const Bytef *) columns, sizeof(columns) - 1);
}

size_t
spool_record_size(const struct batch *b, const struct batch_unit *unit)
{
	size_t		size = HEADER_BYTES + unit->count * EVENT_HEADER_BYTES;

	for (size_t i = 0; i < unit->count; i++)
		size += b->items[unit->first + i].event->row_len;
	return size;
}

void
spool_record_encode(const struct batch *b, const struct batch_unit *unit, uint8_t *out)
{
	uint32_t	ndirect = 0;
	uint8_t    *p = out;

	while (ndirect < unit->count && b->items[unit->first + ndirect].direct)
		ndirect++;
	p = put_u32(p, RECORD_MAGIC);
	p = put_u32(p, spool_columns_fingerprint());
	p = put_u64(p, (uint64_t) b->catalogue_version);
	p = put_u8(p, unit->staged ? RECORD_STAGED : 0);
	p = put_u32(p, (uint32_t) unit->count);
	p = put_u32(p, ndirect);
	for (size_t i = 0; i < unit->count; i++)
	{
		const struct event *e = b->items[unit->first + i].event;

		p = put_u64(p, (uint64_t) e->ts_us);
		p = put_u8(p, (uint8_t) e->kind);
		p = put_u8(p, e->has_ts);
		p = put_u32(p, e->row_len);
		memcpy(p, e->row, e->row_len);
		p += e->row_len;
	}
}

uint32_t
spool_record_checksum(const struct spool_head *head, const uint8_t *payload, size_t len)
{
	uint8_t		beside[8 + 4];
	uLong		crc = crc32_z(0, (const Bytef *) head->batch_id, UUID_TEXT_CHARS);

	put_u32(put_u64(beside, (uint64_t) head->received_us), head->events);
	crc = crc32_z(crc, beside, sizeof(beside));
	return (uint32_t) crc32_z(crc, payload, len);
}

static uint32_t
field_length(const uint8_t *p)
{
	return (uint32_t) p[0] << 24 | (uint32_t) p[1] << 16 | (uint32_t) p[2] << 8 | p[3];
}

/* Walks the fields of a row and finds the id; false when they do not add up. */
static bool
find_request_id(struct event *e)
{
	struct reader r = {.at = e->row, .left = e->row_len};

	e->request_id = NULL;
	for (int i = EVENT_COL_ts + 1; i < EVENT_COLUMNS; i++)
	{
		const uint8_t *length = take(&r, LENGTH_BYTES);
		const uint8_t *value = NULL;
		uint32_t	len = 0;

		if (length != NULL && field_length(length) != UINT32_MAX)
		{
			len = field_length(length);
			value = take(&r, len);
		}
		if (r.failed)
			return false;
		if (i == EVENT_COL_request_id && value != NULL)
		{
			e->request_id = (const char *) value;
			e->request_id_len = len;
		}
	}
	return r.left == 0 && e->request_id != NULL && e->request_id_len > 0 &&
		e->request_id_len <= MAX_REQUEST_ID_BYTES;
}

static bool
decode_one(struct reader *r, struct event *e, size_t index)
{
	uint8_t		has_ts;

	*e = (struct event) {.index = (int32_t) index};
	e->ts_us = (int64_t) take_u64(r);
	e->kind = (int8_t) take_u8(r);
	has_ts = take_u8(r);
	e->has_ts = has_ts != 0;
	e->row_len = take_u32(r);
	e->row = take(r, e->row_len);
	return !r->failed && has_ts <= 1 && e->kind >= EVENT_KIND_REQUEST && e->kind <= EVENT_KIND_COMPLETE &&
		find_request_id(e);
}

bool
spool_record_decode(const uint8_t *payload, size_t len, struct spool_unit *unit, bool *no_memory)
{
	struct reader r = {.at = payload, .left = len};
	uint32_t	magic = take_u32(&r);
	uint32_t	fingerprint = take_u32(&r);
	uint8_t		flags;

	*unit = (struct spool_unit) {0};
	*no_memory = false;
	unit->catalogue_version = (int64_t) take_u64(&r);
	flags = take_u8(&r);
	unit->staged = flags == RECORD_STAGED;
	unit->nevents = take_u32(&r);
	unit->ndirect = take_u32(&r);
	if (r.failed || magic != RECORD_MAGIC || fingerprint != spool_columns_fingerprint() || flags > RECORD_STAGED ||
		unit->nevents == 0 || unit->nevents > r.left / (EVENT_HEADER_BYTES + SMALLEST_ROW_BYTES) ||
		unit->ndirect > unit->nevents)
		return false;
	unit->events = malloc(unit->nevents * sizeof(*unit->events));
	if (unit->events == NULL)
	{
		*no_memory = true;
		return false;
	}
	for (size_t i = 0; i < unit->nevents; i++)
		if (!decode_one(&r, &unit->events[i], i) ||
			(i < unit->ndirect && !event_is_direct(&unit->events[i])))
		{
			spool_unit_free(unit);
			return false;
		}
	if (r.left == 0)
		return true;
	spool_unit_free(unit);
	return false;
}

void
spool_unit_free(struct spool_unit *unit)
{
	free(unit->events);
	*unit = (struct spool_unit) {0};
}
