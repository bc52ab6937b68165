/*
 * Binary COPY: the values of an event to the bytes PostgreSQL reads, once, by
 * the worker that decoded it; and the tuples a batch is made of.
 *
 * Pure; any thread. Wire types follow from the fields of event_fields.h and
 * must be those of ccproxy.request_metric.
 */
#ifndef GATEWAY_COPY_H
#define GATEWAY_COPY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "gateway/event.h"

#define COPY_INET_BYTES_MAX	20

/* One value: a number, or text. Which one the column's type says. */
struct copy_value
{
	bool		present;
	uint32_t	len;			/* of text */
	const char *text;			/* text, jsonb as JSON text, inet as copy_inet made it */
	int64_t		number;			/* everything else; timestamps in Unix microseconds */
};

/* Turns an address into inet's binary form; its length, 0 when it is none. */
uint32_t	copy_inet(const char *text, size_t len, char out[COPY_INET_BYTES_MAX]);

/* Bytes that copy_row_encode will write for all columns after ts. */
size_t		copy_row_size(const struct copy_value values[EVENT_COLUMNS]);
/* Writes them; *request_id gets where in out the id's text stands. */
void		copy_row_encode(const struct copy_value values[EVENT_COLUMNS], uint8_t *out,
							const char **request_id);

/* A growing buffer of COPY data. Once failed (memory), writes do nothing. */
struct copy_buffer
{
	uint8_t    *data;
	size_t		len;
	size_t		size;
	bool		failed;
};

void		copy_buffer_free(struct copy_buffer *b);
/* The header; also empties the buffer. */
void		copy_begin(struct copy_buffer *b);
/* A row of ccproxy.request_log. */
void		copy_put_row(struct copy_buffer *b, const struct event *e);
/* A row of the staging table: ord, kind, part_ts, then request_metric's columns. */
void		copy_put_staged(struct copy_buffer *b, const struct event *e, int32_t ord);
/* The trailer. False when memory ran out on the way. */
bool		copy_end(struct copy_buffer *b) __attribute__((warn_unused_result));

/*
 * Arrays in binary form, as parameters: begun for so many elements of a type,
 * then each of them. copy_array_begin empties the buffer; failed tells whether
 * memory ran out.
 */
void		copy_array_begin(struct copy_buffer *b, uint32_t element_type, size_t n);
void		copy_array_put_bytes(struct copy_buffer *b, const void *data, uint32_t len);
/* A ccproxy.request_metric, whose columns have these types. */
void		copy_array_put_row(struct copy_buffer *b, const struct event *e,
							   const uint32_t column_types[EVENT_COLUMNS]);
void		copy_array_put_timestamp(struct copy_buffer *b, int64_t unix_us);

/* "ts, response_time_us, ..." */
const char *copy_column_list(void);

#endif
