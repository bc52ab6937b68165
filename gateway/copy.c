/*
 * Binary COPY; see copy.h.
 */
#include "gateway/copy.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/timestamp.h"

#define JSONB_VERSION		1
#define PG_AF_INET			2	/* PGSQL_AF_INET, whatever AF_INET is here */
#define PG_AF_INET6			3
#define STAGED_EXTRA_FIELDS	3	/* ord, kind, part_ts */
#define COPY_BUFFER_FIRST_BYTES ((size_t) 64 * 1024)
/* header, field count, ts and the staged fields, with their lengths */
#define TUPLE_OVERHEAD_BYTES 64

enum wire_type
{
	WIRE_INT2,
	WIRE_INT4,
	WIRE_INT8,
	WIRE_TIMESTAMPTZ,
	WIRE_BOOL,
	WIRE_BYTES,
	WIRE_JSONB
};

/* The wire type of each field type; COMPUTED ones are given by column below. */
#define WIRE_OF_TS			WIRE_TIMESTAMPTZ
#define WIRE_OF_MS			WIRE_INT8
#define WIRE_OF_COUNT		WIRE_INT8
#define WIRE_OF_USD			WIRE_INT8
#define WIRE_OF_STATUS		WIRE_INT2
#define WIRE_OF_BOOL		WIRE_BOOL
#define WIRE_OF_ID			WIRE_BYTES
#define WIRE_OF_TEXT		WIRE_BYTES
#define WIRE_OF_PATH		WIRE_BYTES
#define WIRE_OF_INET		WIRE_BYTES
#define WIRE_OF_SECRET		WIRE_BYTES
#define WIRE_OF_OBJECT		WIRE_JSONB
#define WIRE_OF_COMPUTED	WIRE_INT8	/* costs */

#define WIRE_ENTRY(column, key, type, limit) [EVENT_COL_##column] = WIRE_OF_##type,
#define COLUMN_NAME(column, key, type, limit) ", " #column

static const uint8_t wire_types[EVENT_COLUMNS] = {EVENT_FIELDS(WIRE_ENTRY)};

static const char column_names[] = EVENT_FIELDS(COLUMN_NAME);

static inline enum wire_type
wire_type_of(int column)
{
	if (column == EVENT_COL_price_id)
		return WIRE_INT4;
	if (column == EVENT_COL_parts)
		return WIRE_INT2;
	return (enum wire_type) wire_types[column];
}

static inline uint8_t *
put_int2(uint8_t *p, uint16_t v)
{
	v = htons(v);
	memcpy(p, &v, sizeof(v));
	return p + sizeof(v);
}

static inline uint8_t *
put_int4(uint8_t *p, uint32_t v)
{
	v = htonl(v);
	memcpy(p, &v, sizeof(v));
	return p + sizeof(v);
}

static inline uint8_t *
put_int8(uint8_t *p, uint64_t v)
{
	p = put_int4(p, (uint32_t) (v >> 32));
	return put_int4(p, (uint32_t) v);
}

/* A timestamptz field with its length. */
static inline uint8_t *
put_timestamp(uint8_t *p, int64_t unix_us)
{
	p = put_int4(p, 8);
	return put_int8(p, (uint64_t) (unix_us - PG_EPOCH_US));
}

uint32_t
copy_inet(const char *text, size_t len, char out[COPY_INET_BYTES_MAX])
{
	char		address[INET6_ADDRSTRLEN];
	bool		v6;

	if (len == 0 || len >= sizeof(address) || memchr(text, '\0', len) != NULL)
		return 0;
	memcpy(address, text, len);
	address[len] = '\0';
	v6 = strchr(address, ':') != NULL;
	if (inet_pton(v6 ? AF_INET6 : AF_INET, address, out + 4) != 1)
		return 0;
	out[0] = v6 ? PG_AF_INET6 : PG_AF_INET;
	out[1] = v6 ? (char) 128 : 32;
	out[2] = 0;					/* inet, not cidr */
	out[3] = v6 ? 16 : 4;
	return v6 ? 20 : 8;
}

/* Bytes of a present value, its length word left out. */
static inline uint32_t
value_size(const struct copy_value *v, enum wire_type type)
{
	switch (type)
	{
		case WIRE_BOOL:
			return 1;
		case WIRE_INT2:
			return 2;
		case WIRE_INT4:
			return 4;
		case WIRE_INT8:
		case WIRE_TIMESTAMPTZ:
			return 8;
		case WIRE_BYTES:
			return v->len;
		case WIRE_JSONB:
			return 1 + v->len;
	}
	return 0;
}

size_t
copy_row_size(const struct copy_value values[EVENT_COLUMNS])
{
	size_t		size = (EVENT_COLUMNS - 1) * sizeof(int32_t);

	for (int i = EVENT_COL_ts + 1; i < EVENT_COLUMNS; i++)
		if (values[i].present)
			size += value_size(&values[i], wire_type_of(i));
	return size;
}

void
copy_row_encode(const struct copy_value values[EVENT_COLUMNS], uint8_t *out,
				const char **request_id)
{
	uint8_t    *p = out;

	*request_id = NULL;
	for (int i = EVENT_COL_ts + 1; i < EVENT_COLUMNS; i++)
	{
		const struct copy_value *v = &values[i];
		enum wire_type type = wire_type_of(i);

		if (!v->present)
		{
			p = put_int4(p, UINT32_MAX);
			continue;
		}
		p = put_int4(p, value_size(v, type));
		switch (type)
		{
			case WIRE_BOOL:
				*p++ = v->number != 0;
				break;
			case WIRE_INT2:
				p = put_int2(p, (uint16_t) v->number);
				break;
			case WIRE_INT4:
				p = put_int4(p, (uint32_t) v->number);
				break;
			case WIRE_INT8:
				p = put_int8(p, (uint64_t) v->number);
				break;
			case WIRE_TIMESTAMPTZ:
				p = put_int8(p, (uint64_t) (v->number - PG_EPOCH_US));
				break;
			case WIRE_JSONB:
				*p++ = JSONB_VERSION;
				memcpy(p, v->text, v->len);
				p += v->len;
				break;
			case WIRE_BYTES:
				if (i == EVENT_COL_request_id)
					*request_id = (const char *) p;
				memcpy(p, v->text, v->len);
				p += v->len;
				break;
		}
	}
}

void
copy_buffer_free(struct copy_buffer *b)
{
	free(b->data);
	*b = (struct copy_buffer) {0};
}

/* Makes room for n more bytes; NULL once memory has run out. */
static uint8_t *
copy_reserve(struct copy_buffer *b, size_t n)
{
	if (b->failed)
		return NULL;
	if (b->size - b->len < n)
	{
		size_t		size = b->size ? b->size : COPY_BUFFER_FIRST_BYTES;
		uint8_t    *data;

		while (size - b->len < n && size <= SIZE_MAX / 2)
			size *= 2;
		data = size - b->len < n ? NULL : realloc(b->data, size);
		if (data == NULL)
		{
			b->failed = true;
			return NULL;
		}
		b->data = data;
		b->size = size;
	}
	return b->data + b->len;
}

void
copy_begin(struct copy_buffer *b)
{
	/* signature, flags, length of the header's extension */
	static const char header[19] = "PGCOPY\n\377\r\n\0\0\0\0\0\0\0\0\0";
	uint8_t    *p;

	b->len = 0;
	b->failed = false;
	p = copy_reserve(b, sizeof(header));
	if (p == NULL)
		return;
	memcpy(p, header, sizeof(header));
	b->len = sizeof(header);
}

/* The columns after ts, and how much has been written. */
static void
put_rest(struct copy_buffer *b, uint8_t *p, const struct event *e)
{
	memcpy(p, e->row, e->row_len);
	b->len = (size_t) (p - b->data) + e->row_len;
}

void
copy_put_row(struct copy_buffer *b, const struct event *e)
{
	uint8_t    *p = copy_reserve(b, TUPLE_OVERHEAD_BYTES + e->row_len);

	if (p == NULL)
		return;
	p = put_int2(p, EVENT_COLUMNS);
	p = put_timestamp(p, e->ts_us);
	put_rest(b, p, e);
}

void
copy_put_staged(struct copy_buffer *b, const struct event *e, int32_t ord)
{
	uint8_t    *p = copy_reserve(b, TUPLE_OVERHEAD_BYTES + e->row_len);

	if (p == NULL)
		return;
	p = put_int2(p, STAGED_EXTRA_FIELDS + EVENT_COLUMNS);
	p = put_int4(p, 4);
	p = put_int4(p, (uint32_t) ord);
	p = put_int4(p, 2);
	p = put_int2(p, (uint16_t) e->kind);
	if (e->has_ts)
		p = put_timestamp(p, e->ts_us);
	else
		p = put_int4(p, UINT32_MAX);
	p = put_timestamp(p, e->ts_us);
	put_rest(b, p, e);
}

bool
copy_end(struct copy_buffer *b)
{
	uint8_t    *p = copy_reserve(b, 2);

	if (p == NULL)
		return false;
	put_int2(p, UINT16_MAX);
	b->len += 2;
	return true;
}

void
copy_array_begin(struct copy_buffer *b, uint32_t element_type, size_t n)
{
	uint8_t    *p;

	b->len = 0;
	b->failed = false;
	p = copy_reserve(b, 5 * sizeof(uint32_t));
	if (p == NULL)
		return;
	p = put_int4(p, 1);			/* dimensions */
	p = put_int4(p, 0);			/* no element is NULL */
	p = put_int4(p, element_type);
	p = put_int4(p, (uint32_t) n);
	put_int4(p, 1);				/* the first subscript */
	b->len = 5 * sizeof(uint32_t);
}

void
copy_array_put_bytes(struct copy_buffer *b, const void *data, uint32_t len)
{
	uint8_t    *p = copy_reserve(b, sizeof(len) + len);

	if (p == NULL)
		return;
	p = put_int4(p, len);
	memcpy(p, data, len);
	b->len += sizeof(len) + len;
}

void
copy_array_put_row(struct copy_buffer *b, const struct event *e, const uint32_t column_types[EVENT_COLUMNS])
{
	const size_t ts_bytes = sizeof(uint32_t) + sizeof(e->ts_us);
	size_t		len = sizeof(uint32_t) + EVENT_COLUMNS * sizeof(uint32_t) + ts_bytes + e->row_len;
	const uint8_t *column = e->row;
	uint8_t    *p = copy_reserve(b, sizeof(uint32_t) + len);

	if (p == NULL)
		return;
	p = put_int4(p, (uint32_t) len);
	p = put_int4(p, EVENT_COLUMNS);
	p = put_int4(p, column_types[EVENT_COL_ts]);
	p = put_timestamp(p, e->ts_us);
	for (int i = EVENT_COL_ts + 1; i < EVENT_COLUMNS; i++)
	{
		uint32_t	word;
		size_t		bytes;

		memcpy(&word, column, sizeof(word));
		word = ntohl(word);
		bytes = sizeof(word) + (word == UINT32_MAX ? 0 : word);
		p = put_int4(p, column_types[i]);
		memcpy(p, column, bytes);
		p += bytes;
		column += bytes;
	}
	b->len += sizeof(uint32_t) + len;
}

void
copy_array_put_timestamp(struct copy_buffer *b, int64_t unix_us)
{
	uint8_t    *p = copy_reserve(b, sizeof(uint32_t) + sizeof(unix_us));

	if (p == NULL)
		return;
	put_timestamp(p, unix_us);
	b->len += sizeof(uint32_t) + sizeof(unix_us);
}

const char *
copy_column_list(void)
{
	return column_names + 2;	/* after the first ", " */
}
