/*
 * One checked JSON object to one event: the typed getters, driven by the table
 * in extension/event_fields.h. Used by decode.c only.
 *
 * A decoder lives on the stack of one decode_events() call; what it remembers
 * between events (key order, hashes) only saves work.
 */
#ifndef GATEWAY_DECODE_EVENT_H
#define GATEWAY_DECODE_EVENT_H

#include "gateway/decode.h"
#include "gateway/json_check.h"
#include "gateway/keyhash.h"

#define EVENT_NAME_BYTES		64		/* of a field's name in an answer */

struct event_decoder
{
	struct arena *arena;
	const struct decode_options *options;
	struct decode_result *result;	/* for ignored names */
	char	   *body;
	size_t		max_fields;
	/* for so many, of one piece of memory */
	struct json_member *members;
	uint16_t   *unknown;		/* a table of the unknown ones: places, from 1 */
	uint8_t    *expected;		/* key of each place last time */
	struct keyhash_cache hashes;
};

enum decode_event_status
{
	DECODE_EVENT_OK,
	DECODE_EVENT_REFUSED,		/* field and reason are set */
	DECODE_EVENT_NO_MEMORY
};

/* What became of one object. */
struct decoded_event
{
	enum decode_event_status status;
	bool		made_id;		/* event->request_id was made here */
	bool		too_long;		/* why it is refused: beyond a limit */
	bool		too_deep;
	bool		too_wide;
	bool		ahead;			/* its time was replaced by that of receipt */
	const char *made_id_text;	/* terminated copy, when made_id */
	const char *field;
	const char *reason;
};

/* False, with nothing to free, when memory runs out. */
bool		event_decoder_init(struct event_decoder *d, struct arena *arena, char *body,
							   const struct decode_options *options, struct decode_result *result)
			__attribute__((warn_unused_result));
void		event_decoder_free(struct event_decoder *d);
/* scan is of one value, made with d->members; event->index is the caller's. */
void		decode_event(struct event_decoder *d, struct json_scan *scan, struct event *event,
						 struct decoded_event *out);

#endif
