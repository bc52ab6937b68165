/*
 * POST /metrics/api/events: decode, hand to the store, answer after COMMIT.
 *
 * handle and finish run in the worker, publish too, with the connection
 * suspended; stored is called by the committer. The events live in the
 * request's arena until the request is let go by both.
 */
#include <string.h>

#include "gateway/ingest_options.h"
#include "gateway/log.h"
#include "gateway/request.h"

#define ARENA_PER_BODY_BYTE 8
#define ARENA_PER_EVENT_BYTES 1024
#define ARENA_BASE_BYTES (1024 * 1024)
#define SMALLEST_EVENT_BYTES 3	/* "{}," */

static void
write_errors(struct text *t, const struct event_error *errors, size_t n, size_t already)
{
	for (size_t i = 0; i < n; i++)
	{
		text_puts(t, i + already > 0 ? ", " : "");
		text_puts(t, "{\"index\": ");
		text_i64(t, errors[i].index);
		text_puts(t, ", \"field\": ");
		text_json(t, errors[i].field ? errors[i].field : "");
		text_puts(t, ", \"reason\": ");
		text_json(t, errors[i].reason ? errors[i].reason : "");
		text_putc(t, '}');
	}
}

/* The answer's counts, errors, made ids and ignored fields. */
static void
answer_counts(struct request *r, bool stored)
{
	const struct settings *settings = r->gateway->settings;
	const struct decode_result *d = &r->decoded;
	size_t		accepted = 0;
	size_t		duplicates = 0;
	size_t		spooled = 0;
	size_t		rejected = d->nrejected;
	size_t		listed = d->nerrors_listed;
	struct text t;

	for (size_t i = 0; stored && i < d->nevents; i++)
	{
		if (d->events[i].outcome == EVENT_ACCEPTED || d->events[i].outcome == EVENT_SPOOLED)
		{
			accepted++;
			spooled += d->events[i].outcome == EVENT_SPOOLED;
		}
		else if (d->events[i].outcome == EVENT_DUPLICATE)
			duplicates++;
		else
			rejected++;
	}
	metric_add(METRIC_EVENTS_ACCEPTED, accepted);
	metric_add(METRIC_EVENTS_DUPLICATE, duplicates);
	metric_add(METRIC_EVENTS_REJECTED, rejected);

	text_init(&t);
	text_puts(&t, "{\"accepted\": ");
	text_i64(&t, (int64_t) accepted);
	text_puts(&t, ", \"duplicates\": ");
	text_i64(&t, (int64_t) duplicates);
	text_puts(&t, ", \"rejected\": ");
	text_i64(&t, (int64_t) rejected);
	text_puts(&t, ", \"errors\": [");
	write_errors(&t, d->errors, listed, 0);
	for (size_t i = 0; stored && i < d->nevents && listed < (size_t) settings->max_listed_errors; i++)
	{
		const struct event *e = &d->events[i];
		struct event_error error = {e->index, "", e->reject_reason ? e->reject_reason : "The database refused it."};

		if (e->outcome != EVENT_REJECTED)
			continue;
		write_errors(&t, &error, 1, listed);
		listed++;
	}
	text_puts(&t, "]");
	metric_add(METRIC_ERRORS_UNLISTED, rejected - listed);
	if (d->nmade_ids > 0)
	{
		text_puts(&t, ", \"request_ids\": {");
		for (size_t i = 0; i < d->nmade_ids; i++)
		{
			text_printf(&t, "%s\"%d\": ", i ? ", " : "", d->made_ids[i].index);
			text_json(&t, d->made_ids[i].request_id);
		}
		text_putc(&t, '}');
	}
	if (d->nignored > 0)
	{
		text_puts(&t, ", \"ignored_fields\": [");
		for (size_t i = 0; i < d->nignored; i++)
		{
			text_puts(&t, i ? ", " : "");
			text_json(&t, d->ignored[i]);
		}
		text_putc(&t, ']');
	}
	if (spooled > 0 && settings->storage != STORAGE_SQLITE)
	{
		text_puts(&t, ", \"spooled\": ");
		text_i64(&t, (int64_t) spooled);
	}
	text_printf(&t, ", \"stored\": %s, \"durable\": %s}\n", stored ? "true" : "false",
				stored && settings->storage != STORAGE_MEMORY ? "true" : "false");
	/* 400 only where nothing at all was accepted or known already */
	request_answer(r, stored && d->total > 0 && accepted + duplicates == 0 ? MHD_HTTP_BAD_REQUEST : MHD_HTTP_OK,
				   CONTENT_JSON, &t);
}

static void
stored(struct submission *s)
{
	request_complete(s->owner);
}

static enum request_handled
handle_disabled(struct request *r)
{
	memset(&r->decoded, 0, sizeof(r->decoded));
	metric_add(METRIC_EVENTS_DROPPED, 1);
	answer_counts(r, false);
	return REQUEST_ANSWERED;
}

static enum request_handled
handle(struct request *r)
{
	struct gateway *g = r->gateway;
	const struct settings *s = g->settings;
	struct ingest_options options;
	size_t		most = r->body_len / SMALLEST_EVENT_BYTES + 1;
	enum decode_status status;

	metric_add(METRIC_INGEST_BODY_BYTES, r->body_len);
	if (!s->metrics_enabled)
		return handle_disabled(r);
	if (r->body_len == 0)
	{
		request_error(r, MHD_HTTP_BAD_REQUEST, "The body is empty.");
		return REQUEST_ANSWERED;
	}
	if (most > (size_t) s->max_events_per_request)
		most = (size_t) s->max_events_per_request;
	r->arena.limit = r->body_len * ARENA_PER_BODY_BYTE + most * ARENA_PER_EVENT_BYTES + ARENA_BASE_BYTES;
	ingest_options_open(&options, s, g->store);
	r->submission.catalogue_version = options.catalogue_version;
	status = decode_events(&r->arena, r->body, r->body_len, &options.decode, &r->decoded);
	ingest_options_close(&options);
	request_body_free(r);
	switch (status)
	{
		case DECODE_OK:
			break;
		case DECODE_BAD_BODY:
			request_error(r, MHD_HTTP_BAD_REQUEST, r->decoded.message);
			return REQUEST_ANSWERED;
		case DECODE_TOO_MANY:
			metric_add(METRIC_REFUSED_TOO_LARGE, 1);
			request_error(r, MHD_HTTP_CONTENT_TOO_LARGE, r->decoded.message);
			return REQUEST_ANSWERED;
		case DECODE_NOT_READY:
			request_unavailable(r, METRIC_REFUSED_CLOSED, store_retry_after_s(g->store),
								"The database has not been reached yet.");
			return REQUEST_ANSWERED;
		case DECODE_NO_MEMORY:
			request_unavailable(r, METRIC_REFUSED_MEMORY, 1, "Out of memory.");
			return REQUEST_ANSWERED;
	}
	metric_add(METRIC_EVENTS_AHEAD, r->decoded.nahead);
	metric_add(METRIC_LIMIT_EVENT_BYTES, r->decoded.ntoo_long);
	metric_add(METRIC_LIMIT_DEPTH, r->decoded.ntoo_deep);
	metric_add(METRIC_LIMIT_FIELDS, r->decoded.ntoo_wide);
	if (r->decoded.nevents == 0)
	{
		answer_counts(r, true);
		return REQUEST_ANSWERED;
	}
	r->submission.events = r->decoded.events;
	r->submission.nevents = r->decoded.nevents;
	r->submission.nbytes = r->arena.total + sizeof(*r);
	r->submission.done = stored;
	r->submission.owner = r;
	r->submission.arena = &r->arena;
	return REQUEST_WAIT;
}

static bool
publish(struct request *r)
{
	struct gateway *g = r->gateway;

	switch (store_submit(g->store, &r->submission))
	{
		case STORE_SUBMITTED:
			return true;
		case STORE_FULL:
			request_unavailable(r, METRIC_REFUSED_FULL, store_retry_after_s(g->store),
								"Too many events are waiting to be stored.");
			break;
		case STORE_CLOSED:
			request_unavailable(r, METRIC_REFUSED_CLOSED, store_retry_after_s(g->store),
								"Events cannot be stored at the moment.");
			break;
	}
	return false;
}

static void
finish(struct request *r, bool expired)
{
	if (expired)
		request_unavailable(r, METRIC_REFUSED_DEADLINE, store_retry_after_s(r->gateway->store),
							"The database did not confirm in time; the events may have been stored. Post them again: "
							"those with a request_id count once.");
	else if (r->submission.result == SUBMISSION_STORED)
		answer_counts(r, true);
	else
		request_unavailable(r, METRIC_REFUSED_CLOSED, r->submission.retry_after_s,
							"Events cannot be stored at the moment.");
}

const struct route route_events = {
	.metric = METRIC_ROUTE_EVENTS,
	.path = "/metrics/api/events",
	.methods = "POST",
	.scope = AUTH_INGEST,
	.takes_body = true,
	.handle = handle,
	.publish = publish,
	.finish = finish,
};
