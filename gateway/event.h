/*
 * One decoded event: what the decoder makes, the batch sorts, the store writes.
 *
 * An event is encoded once, by the worker that parsed it, into the binary COPY
 * form of its row; from there on only its key is looked at. All memory belongs
 * to the arena of the HTTP request that brought it, which lives until the
 * request has been answered, so a batch holds pointers and copies nothing.
 */
#ifndef GATEWAY_EVENT_H
#define GATEWAY_EVENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "extension/event_fields.h"

#define EVENT_KIND_ENUM(symbol, name, rank) EVENT_KIND_##symbol = rank,
enum event_kind
{
	EVENT_KINDS(EVENT_KIND_ENUM)
};

#define EVENT_COLUMN_ENUM(column, key, type, limit) EVENT_COL_##column,
enum event_column
{
	EVENT_FIELDS(EVENT_COLUMN_ENUM)
	EVENT_COLUMNS			/* how many there are */
};

/* What became of an event. */
enum event_outcome
{
	EVENT_PENDING = 0,
	EVENT_ACCEPTED,			/* durable */
	EVENT_DUPLICATE,		/* was there already; nothing changed */
	EVENT_REJECTED,			/* the server refused it in spite of validation */
	EVENT_SPOOLED			/* durable, in the spool */
};

struct event
{
	int32_t		index;			/* position in the request's body, from 0 */
	int8_t		kind;			/* enum event_kind */
	bool		has_ts;			/* the event carried a timestamp */
	uint8_t		outcome;		/* enum event_outcome; written by the committer */
	int64_t		ts_us;			/* Unix epoch, microseconds; of receipt when !has_ts */
	const char *request_id;		/* not terminated; points into row */
	uint32_t	request_id_len;
	/*
	 * The fields after ts, in column order, as binary COPY has them (int32
	 * length or -1, then the bytes). The tuple's field count and its ts are
	 * put before it by whoever sends it, because parts and late events get
	 * theirs later.
	 */
	const uint8_t *row;
	uint32_t	row_len;
	const char *reject_reason;	/* static text or arena; for EVENT_REJECTED */
};

/* Why an event was refused: one entry of the answer's errors. */
struct event_error
{
	int32_t		index;
	const char *field;			/* "" when it is the event as a whole */
	const char *reason;
};

/*
 * A complete event with a timestamp goes straight into ccproxy.request_log by
 * COPY; everything else (parts, events without a timestamp) is merged by the
 * server through staging.
 */
static inline bool
event_is_direct(const struct event *e)
{
	return e->kind == EVENT_KIND_COMPLETE && e->has_ts;
}

#endif
