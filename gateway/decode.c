/*
 * The native decoder; see decode.h. This file finds the events in a body and
 * gathers what becomes of them; decode_event.c reads one.
 */
#include "gateway/decode.h"

#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "gateway/decode_event.h"

#define MESSAGE_BYTES		160
/* For the first guess at how many events a body holds. */
#define TYPICAL_EVENT_BYTES 256
/* Room for so many errors, doubled as they come. */
#define FIRST_ERRORS		16

/* One call of decode_events. */
struct decoding
{
	struct event_decoder decoder;
	struct arena *arena;
	const struct decode_options *options;
	struct decode_result *result;
	char	   *body;
	size_t		len;
	size_t		max_errors;
	size_t		event_slots;
	size_t		error_slots;
	size_t		made_id_slots;
};

static const char out_of_memory[] = "out of memory for this request";

/* Formats a text in the arena. */
static const char *
arena_format(struct arena *arena, const char *format,...) __attribute__((format(printf, 2, 3)));

static const char *
arena_format(struct arena *arena, const char *format,...)
{
	char		text[MESSAGE_BYTES];
	const char *copy;
	va_list		args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	copy = arena_strndup(arena, text, strlen(text));
	return copy ? copy : out_of_memory;
}

/* Ends the call with nothing decoded. */
static enum decode_status
fail(struct decoding *d, enum decode_status status, const char *message)
{
	*d->result = (struct decode_result) {.message = message};
	return status;
}

static enum decode_status
fail_memory(struct decoding *d)
{
	return fail(d, DECODE_NO_MEMORY, out_of_memory);
}

/* Room for one more element of an arena array; false when memory runs out. */
static bool
reserve_slot(struct arena *arena, void **array, size_t *slots, size_t used, size_t size,
			 size_t first)
{
	size_t		wanted = *slots ? *slots * 2 : first;
	void	   *grown;

	if (used < *slots)
		return true;
	grown = arena_alloc(arena, wanted * size);
	if (grown == NULL)
		return false;
	if (used > 0)
		memcpy(grown, *array, used * size);
	*array = grown;
	*slots = wanted;
	return true;
}

/* Counts a refused event and lists it while there is room. */
static bool
add_error(struct decoding *d, size_t index, const char *field, const char *reason)
{
	struct decode_result *r = d->result;
	void	   *slots = r->errors;

	r->nrejected++;
	if (r->nerrors_listed == d->max_errors)
		return true;
	if (!reserve_slot(d->arena, &slots, &d->error_slots, r->nerrors_listed, sizeof(*r->errors), FIRST_ERRORS))
		return false;
	r->errors = slots;
	r->errors[r->nerrors_listed++] = (struct event_error) {(int32_t) index, field, reason};
	return true;
}

/* Decodes the value of a scan as the next event. */
static bool
add_event(struct decoding *d, struct json_scan *scan)
{
	struct decode_result *r = d->result;
	size_t		index = r->total++;
	size_t		guess = d->len / TYPICAL_EVENT_BYTES + 1;
	struct decoded_event decoded;
	struct event *event;
	void	   *slots = r->events;

	if (guess > d->options->max_events)
		guess = d->options->max_events;
	if (!reserve_slot(d->arena, &slots, &d->event_slots, r->nevents, sizeof(*event), guess))
		return false;
	r->events = slots;
	event = &r->events[r->nevents];
	event->index = (int32_t) index;
	decode_event(&d->decoder, scan, event, &decoded);
	if (decoded.status == DECODE_EVENT_NO_MEMORY)
		return false;
	r->ntoo_long += decoded.too_long;
	r->ntoo_deep += decoded.too_deep;
	r->ntoo_wide += decoded.too_wide;
	if (decoded.status == DECODE_EVENT_REFUSED)
		return add_error(d, index, decoded.field, decoded.reason);
	r->nevents++;
	r->nahead += decoded.ahead;
	if (decoded.made_id)
	{
		slots = r->made_ids;
		if (!reserve_slot(d->arena, &slots, &d->made_id_slots, r->nmade_ids,
						  sizeof(*r->made_ids), 4))
			return false;
		r->made_ids = slots;
		r->made_ids[r->nmade_ids++] = (struct made_id) {(int32_t) index, decoded.made_id_text};
	}
	return true;
}

static struct json_scan
scan_for(struct decoding *d)
{
	return (struct json_scan) {.members = d->decoder.members, .max_members = d->decoder.max_fields,
		.max_depth = d->options->max_depth};
}

static enum decode_status
too_many(struct decoding *d)
{
	return fail(d, DECODE_TOO_MANY,
				arena_format(d->arena, "more than %zu events in one request", d->options->max_events));
}

static enum decode_status
bad_json(struct decoding *d, const char *what, const char *at)
{
	return fail(d, DECODE_BAD_BODY,
				arena_format(d->arena, "the body is not valid JSON: %s at byte %zu",
							 what, (size_t) (at - d->body)));
}

/* "[" value, ... "]": broken anywhere, it is refused whole. */
static enum decode_status
decode_array(struct decoding *d, const char *p, const char *end)
{
	p = json_skip_space(p + 1, end);
	if (p < end && *p == ']')
		p++;
	else
	{
		for (;;)
		{
			struct json_scan scan = scan_for(d);

			if (!json_scan_value(p, end, &scan))
				return bad_json(d, scan.error, scan.end);
			if (d->result->total == d->options->max_events)
				return too_many(d);
			if (!add_event(d, &scan))
				return fail_memory(d);
			p = json_skip_space(scan.end, end);
			if (p >= end)
				return bad_json(d, "unexpected end of JSON", p);
			if (*p == ']')
			{
				p++;
				break;
			}
			if (*p != ',')
				return bad_json(d, "expected ',' or ']'", p);
			p++;
		}
	}
	p = json_skip_space(p, end);
	if (p < end)
		return bad_json(d, "text after the array", p);
	return DECODE_OK;
}

/* NDJSON: a line that is not JSON is refused by itself. */
static enum decode_status
decode_lines(struct decoding *d, const char *p, const char *end)
{
	bool		any_json = false;
	const char *first_error = NULL;
	const char *first_error_at = NULL;

	while (p < end)
	{
		const char *line = p;
		const char *newline = memchr(p, '\n', (size_t) (end - p));
		const char *line_end = newline ? newline : end;
		struct json_scan scan = scan_for(d);
		const char *rest;

		p = newline ? newline + 1 : end;
		if (json_skip_space(line, line_end) == line_end)
			continue;
		if (d->result->total == d->options->max_events)
			return too_many(d);
		if (json_scan_value(line, line_end, &scan))
		{
			rest = json_skip_space(scan.end, line_end);
			if (rest == line_end)
			{
				any_json = true;
				if (!add_event(d, &scan))
					return fail_memory(d);
				continue;
			}
			scan.error = "text after the value";
			scan.end = rest;
		}
		if (first_error == NULL)
		{
			first_error = scan.error;
			first_error_at = scan.end;
		}
		if (!add_error(d, d->result->total++, "",
					   d->result->nerrors_listed == d->max_errors ? "" :
					   arena_format(d->arena, "is not valid JSON: %s at byte %zu of the line",
									scan.error, (size_t) (scan.end - line))))
			return fail_memory(d);
	}
	if (!any_json && first_error != NULL)
		return bad_json(d, first_error, first_error_at);
	return DECODE_OK;
}

/* One object, an array or lines, whichever begins there. */
static enum decode_status
decode_body(struct decoding *d, const char *p, const char *end)
{
	if (*p == '[')
		return decode_array(d, p, end);
	if (*p == '{')
	{
		struct json_scan scan = scan_for(d);

		/* one object over any number of lines? */
		if (json_scan_value(p, end, &scan) && json_skip_space(scan.end, end) == end)
			return add_event(d, &scan) ? DECODE_OK : fail_memory(d);
	}
	return decode_lines(d, p, end);
}

enum decode_status
decode_events(struct arena *arena, char *body, size_t len,
			  const struct decode_options *options, struct decode_result *result)
{
	static const char byte_order_mark[] = "\xef\xbb\xbf";
	struct decoding d = {.arena = arena, .options = options, .result = result, .body = body, .len = len,
		.max_errors = options->max_errors > 0 ? options->max_errors : DECODE_MAX_ERRORS};
	const char *p = body;
	const char *end = body + len;
	enum decode_status status;

	*result = (struct decode_result) {0};
	if (!options->facts->known)
		return fail(&d, DECODE_NOT_READY, "the database has not been reached yet");
	if (len > INT_MAX)
		return fail(&d, DECODE_TOO_MANY, "the body is too long");
	if (len >= 3 && memcmp(p, byte_order_mark, 3) == 0)
		p += 3;
	p = json_skip_space(p, end);
	if (p == end)
		return fail(&d, DECODE_BAD_BODY, "the body is empty");
	if (!event_decoder_init(&d.decoder, arena, body, options, result))
		return fail_memory(&d);
	status = decode_body(&d, p, end);
	event_decoder_free(&d.decoder);
	return status;
}
