/*
 * A request's memory, body and answer (request.h). Entered by the worker of
 * its connection; request_complete by a completer, request_expire by the
 * watchdog, request_release by whoever lets go.
 */
#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "gateway/connection.h"
#include "gateway/log.h"
#include "gateway/request.h"

#define BODY_FIRST_BYTES 1024
/* for target and parameters; a route that needs more says so */
#define ARENA_HEADERS_BYTES ((size_t) 1024 * 1024)
/* gzip: up to here the ratio of output to input does not matter */
#define GZIP_RATIO_FREE_BYTES (1024 * 1024)

static bool
is_sane_id(const char *id)
{
	size_t		len = 0;

	for (; id[len]; len++)
		if (len == REQUEST_ID_BYTES || (!isalnum((unsigned char) id[len]) && !strchr("-_.:/+=@", id[len])))
			return false;
	return len > 0;
}

/* Unique: random per process, then counted. */
static void
make_id(char *out, size_t size)
{
	static _Atomic uint64_t counter;
	static _Atomic uint64_t prefix;
	uint64_t	p = atomic_load(&prefix);

	if (p == 0)
	{
		uint64_t	none = 0;

		if (getrandom(&p, sizeof(p), 0) != sizeof(p))
			p = (uint64_t) wall_clock_us();
		p |= 1;
		if (!atomic_compare_exchange_strong(&prefix, &none, p))
			p = none;
	}
	snprintf(out, size, "%016" PRIx64 "%08" PRIx64, p, atomic_fetch_add(&counter, 1) & 0xffffffff);
}

const char *
request_header(struct request *r, const char *name)
{
	return MHD_lookup_connection_value(r->mhd, MHD_HEADER_KIND, name);
}

struct request *
request_new(struct gateway *g, struct connection *c, struct MHD_Connection *mhd, const char *uri)
{
	struct request *r = calloc(1, sizeof(*r));
	char	   *copy;

	if (r == NULL)
		return NULL;
	r->gateway = g;
	r->connection = c;
	r->mhd = mhd;
	r->start_us = monotonic_us();
	atomic_init(&r->references, 1);
	arena_init(&r->arena, ARENA_HEADERS_BYTES);
	copy = arena_strndup(&r->arena, uri, strlen(uri));
	if (copy == NULL)
	{
		free(r);
		return NULL;
	}
	r->target.path = copy;		/* raw until the headers are complete */
	atomic_fetch_add(&g->requests, 1);
	return r;
}

void
request_body_free(struct request *r)
{
	atomic_fetch_sub(&r->gateway->body_bytes, (int64_t) r->body_size);
	free(r->body);
	r->body = NULL;
	r->body_size = 0;
	gunzip_free(r->gunzip);
	r->gunzip = NULL;
}

void
request_release(struct request *r)
{
	if (atomic_fetch_sub(&r->references, 1) != 1)
		return;
	request_body_free(r);
	text_free(&r->answer.body);
	text_free(&r->answer.cookie);
	page_drop(r->answer.page);
	read_job_clear(&r->job);
	arena_free(&r->arena);
	free(r);
}

void
request_complete(struct request *r)
{
	struct MHD_Connection *mhd = r->mhd;
	int			pending = WAIT_PENDING;

	if (atomic_compare_exchange_strong(&r->wait, &pending, WAIT_DONE))
	{
		/* never the last one: the worker's is released after the answer */
		request_release(r);
		MHD_resume_connection(mhd);
	}
	else
		request_release(r);
}

bool
request_expire(struct request *r)
{
	int			pending = WAIT_PENDING;

	if (!atomic_compare_exchange_strong(&r->wait, &pending, WAIT_EXPIRED))
		return false;
	atomic_store(&r->job.abandoned, true);
	MHD_resume_connection(r->mhd);
	return true;
}

/* ----------------------------------------------------------------- body */

/* Room for n more bytes and the NUL; false with the answer set. */
static bool
body_reserve(struct request *r, size_t n)
{
	const struct settings *s = r->gateway->settings;
	size_t		size = r->body_size ? r->body_size : BODY_FIRST_BYTES;
	int64_t		held;
	char	   *grown;

	if (n > r->body_limit - r->body_len)
	{
		metric_add(METRIC_REFUSED_TOO_LARGE, 1);
		request_error(r, MHD_HTTP_CONTENT_TOO_LARGE, "The body is larger than max_body_bytes.");
		request_body_free(r);
		return false;
	}
	if (r->body_len + n < r->body_size)
		return true;
	while (size <= r->body_len + n)
		size *= 2;
	held = atomic_fetch_add(&r->gateway->body_bytes, (int64_t) (size - r->body_size)) + (int64_t) (size - r->body_size);
	if (held + metric_gauge(METRIC_QUEUE_BYTES) > s->inflight_bytes)
	{
		atomic_fetch_sub(&r->gateway->body_bytes, (int64_t) (size - r->body_size));
		request_body_free(r);
		request_unavailable(r, METRIC_REFUSED_FULL, 1, "Too much is being received at the moment.");
		return false;
	}
	grown = realloc(r->body, size);
	if (grown == NULL)
	{
		atomic_fetch_sub(&r->gateway->body_bytes, (int64_t) (size - r->body_size));
		request_body_free(r);
		request_unavailable(r, METRIC_REFUSED_MEMORY, 1, "Out of memory.");
		return false;
	}
	r->body = grown;
	r->body_size = size;
	return true;
}

static bool
bad_gzip(struct request *r)
{
	request_body_free(r);
	request_error(r, MHD_HTTP_BAD_REQUEST, "The body is not valid gzip.");
	return false;
}

static bool
body_inflate(struct request *r, const char *data, size_t len)
{
	const size_t ratio = (size_t) r->gateway->settings->max_gzip_ratio;

	while (len > 0)
	{
		size_t		room;

		if (!body_reserve(r, 1))
			return false;
		room = r->body_size - 1 - r->body_len;
		if (room > r->body_limit - r->body_len)
			room = r->body_limit - r->body_len;
		if (!gunzip_step(r->gunzip, &data, &len, r->body + r->body_len, &room))
			return bad_gzip(r);
		r->body_len += room;
		if (r->body_len > GZIP_RATIO_FREE_BYTES && r->body_len / ratio > r->received)
		{
			metric_add(METRIC_REFUSED_TOO_LARGE, 1);
			request_body_free(r);
			request_error(r, MHD_HTTP_CONTENT_TOO_LARGE, "The body expands too much.");
			return false;
		}
	}
	return true;
}

bool
request_body_append(struct request *r, const char *data, size_t len)
{
	r->received += len;
	if (r->gunzip)
		return body_inflate(r, data, len);
	if (!body_reserve(r, len))
		return false;
	memcpy(r->body + r->body_len, data, len);
	r->body_len += len;
	return true;
}

bool
request_body_finish(struct request *r)
{
	if (r->gunzip && !r->gunzip->complete)
		return bad_gzip(r);
	if (r->body == NULL && !body_reserve(r, 0))
		return false;
	r->body[r->body_len] = '\0';
	return true;
}

/* --------------------------------------------------------------- answer */

void
request_answer(struct request *r, int status, const char *content_type, struct text *body)
{
	text_free(&r->answer.body);
	if (body->failed)
	{
		text_free(body);
		request_unavailable(r, METRIC_REFUSED_MEMORY, 1, "Out of memory.");
		return;
	}
	r->answer.set = true;
	r->answer.status = status;
	r->answer.content_type = content_type;
	r->answer.body = *body;
	text_init(body);
}

void
request_error(struct request *r, int status, const char *message)
{
	struct text t;

	text_init(&t);
	text_puts(&t, "{\"error\": ");
	text_json(&t, message);
	text_puts(&t, "}\n");
	if (t.failed)
		text_free(&t);			/* a bare status is better than none */
	request_answer(r, status, CONTENT_JSON, &t);
}

void
request_error_parameter(struct request *r, const struct query_error *e)
{
	struct text t;

	text_init(&t);
	text_puts(&t, "{\"error\": ");
	text_json(&t, e->message);
	if (e->parameter[0])
	{
		text_puts(&t, ", \"parameter\": ");
		text_json(&t, e->parameter);
	}
	if (e->allowed[0])
	{
		text_puts(&t, ", \"allowed\": ");
		text_json(&t, e->allowed);
	}
	text_puts(&t, "}\n");
	request_answer(r, MHD_HTTP_BAD_REQUEST, CONTENT_JSON, &t);
}

void
request_unavailable(struct request *r, enum self_counter counter, int retry_after_s, const char *message)
{
	metric_add(counter, 1);
	r->answer.retry_after_s = retry_after_s > 0 ? retry_after_s : 1;
	request_error(r, MHD_HTTP_SERVICE_UNAVAILABLE, message);
}

/* The id, from the client or made; called once the headers are there. */
void
request_identify(struct request *r)
{
	const char *id = request_header(r, "x-request-id");

	if (id && is_sane_id(id))
		strcpy(r->id, id);
	else
		make_id(r->id, sizeof(r->id));
}
