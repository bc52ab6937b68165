/*
 * The native decoder: the bytes of a request body in, events and errors out.
 *
 * Pure: no I/O but random bytes for ids it has to make, no global state, no
 * clock but options.now_us. Any thread; what it returns lives in the arena
 * (the texts of `reason` may also be static). A fuzzer calls it directly.
 *
 * The body is sniffed, Content-Type is not trusted: one object, an array of
 * objects, or NDJSON (one object a line, empty lines skipped). One bad event is
 * reported by index, field and reason and harms no other; a body that is no
 * JSON at all, or a broken array, is refused whole.
 */
#ifndef GATEWAY_DECODE_H
#define GATEWAY_DECODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "gateway/arena.h"
#include "gateway/event.h"
#include "gateway/store.h"
#include "pricing/price.h"

#define DECODE_MAX_EVENTS		10000		/* default of options.max_events */
#define DECODE_MAX_EVENT_BYTES	(1 << 20)	/* default of options.max_event_bytes */
#define DECODE_MAX_ERRORS		100			/* default of options.max_errors */
#define DECODE_MAX_FIELDS		256			/* default of options.max_fields */
#define DECODE_MAX_IGNORED		32			/* ignored field names listed */

struct decode_options
{
	const struct store_facts *facts;	/* known, or DECODE_NOT_READY comes back */
	const struct price_catalogue *prices;	/* NULL: events stay unpriced, the server does it */
	int64_t		now_us;			/* time of receipt, Unix epoch, microseconds */
	size_t		max_events;		/* more than this: DECODE_TOO_MANY */
	size_t		max_event_bytes;	/* a longer event is refused by index */
	int			max_depth;		/* a deeper one too; 0: JSON_MAX_DEPTH */
	size_t		max_fields;		/* one with more too; 0: DECODE_MAX_FIELDS */
	size_t		max_errors;		/* errors listed, all are counted; 0: DECODE_MAX_ERRORS */
	/* what is private never leaves the decoder */
	bool		hash_user_ids;
	bool		drop_client_ip;
	bool		drop_user_agent;
	bool		drop_error_message;
	/* for the differential fuzz target: take every text from cJSON */
	bool		always_cjson;
};

enum decode_status
{
	DECODE_OK,					/* look at events and errors; either may be empty */
	DECODE_BAD_BODY,			/* 400: nothing in it can be used; message says why */
	DECODE_TOO_MANY,			/* 413: more than max_events */
	DECODE_NOT_READY,			/* 503: facts are not known yet */
	DECODE_NO_MEMORY			/* 503: the arena's limit or malloc */
};

/* An id the decoder made for an event that had none; goes into the answer. */
struct made_id
{
	int32_t		index;
	const char *request_id;
};

struct decode_result
{
	struct event *events;		/* passed validation, in the body's order */
	size_t		nevents;
	struct event_error *errors;	/* the first max_errors, by index */
	size_t		nerrors_listed;
	size_t		nrejected;		/* events refused: total - nevents */
	size_t		total;			/* events in the body */
	size_t		ntoo_long;		/* of the refused: beyond max_event_bytes */
	size_t		ntoo_deep;		/* ... beyond max_depth */
	size_t		ntoo_wide;		/* ... beyond max_fields */
	size_t		nahead;			/* had a timestamp too far ahead: stored as now */
	const char **ignored;		/* distinct names of fields nobody knows */
	size_t		nignored;
	struct made_id *made_ids;
	size_t		nmade_ids;
	const char *message;		/* for any status but DECODE_OK: one sentence */
};

/*
 * Decodes body[0 .. len). body[len] must be a readable NUL; the bytes may be
 * modified. *result is filled whatever the status.
 */
enum decode_status decode_events(struct arena *arena, char *body, size_t len,
								 const struct decode_options *options,
								 struct decode_result *result)
	__attribute__((warn_unused_result));

#endif
