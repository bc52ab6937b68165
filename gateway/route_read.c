/*
 * What the reading routes share (route_read.h): the question and its key, what
 * is kept, one query on the reader with the connection suspended meanwhile, and
 * the answers for everything but rows.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "gateway/accept.h"
#include "gateway/route_read.h"

/* between the parts of a key; decoded queries may hold it, so lengths go along */
#define KEY_SEPARATOR '\x1f'

static void
read_done(struct read_job *job)
{
	request_complete(job->owner);
}

/* A reader's thread. */
static struct page *
render(struct read_job *job, const PGresult *rows)
{
	struct request *r = job->owner;
	struct text body;
	size_t		tag_from = 0;
	int			status;
	struct page *page;

	text_init(&body);
	status = r->route->render(r, rows, &body, &tag_from);
	page = page_new(status, r->csv && status == MHD_HTTP_OK ? CONTENT_CSV : CONTENT_JSON, &body, tag_from);
	/* without memory to compress it goes out as it is */
	if (page && r->gzip)
		(void) !page_gzip(page);
	metric_add(METRIC_READ_CACHE_MISSES, 1);
	return page;
}

void
read_prepare(struct request *r, const char *sql)
{
	memset(&r->job, 0, sizeof(r->job));
	r->job.sql = sql;
	r->job.render = render;
	r->job.done = read_done;
	r->job.owner = r;
}

void
read_parameter(struct request *r, const char *value)
{
	r->job.parameters[r->job.nparameters++] = value;
}

void
read_parameter_time(struct request *r, int64_t us)
{
	char		time[QUERY_TIME_BYTES];

	query_format_time(time, us);
	read_parameter(r, arena_strndup(&r->arena, time, strlen(time)));
}

void
read_parameter_int(struct request *r, int64_t n)
{
	char		number[24];
	int			len = snprintf(number, sizeof(number), "%" PRId64, n);

	read_parameter(r, arena_strndup(&r->arena, number, (size_t) len));
}

void
read_negotiate(struct request *r, enum query_format format)
{
	const char *accept = request_header(r, "Accept");

	r->csv = format == FORMAT_CSV ||
		(format == FORMAT_ANY && accept_weight(accept, "text/csv") > accept_weight(accept, "application/json"));
	r->gzip = accept_gzip(request_header(r, "Accept-Encoding"));
}

static void
add_key(struct text *t, const char *part)
{
	if (part)
		text_printf(t, "%zu:", strlen(part));
	text_puts(t, part ? part : "-");
	text_putc(t, KEY_SEPARATOR);
}

/*
 * All that the answer depends on but the data: who asks, as far as that decides
 * what is shown (tokens of one scope see the same), what, and in which form.
 */
static const char *
make_key(struct request *r)
{
	struct text t;
	const char *key;

	text_init(&t);
	text_printf(&t, "%d%c", (int) r->route->scope, KEY_SEPARATOR);
	add_key(&t, r->route->path);
	text_putc(&t, r->csv ? 'c' : 'j');
	text_putc(&t, r->gzip ? 'z' : 'p');
	add_key(&t, r->key_extra);
	for (int i = 0; i < r->job.nparameters; i++)
		add_key(&t, r->job.parameters[i]);
	key = t.failed ? NULL : arena_strndup(&r->arena, t.data, t.len);
	text_free(&t);
	return key;
}

/* A client that wants to know what the database says now. */
static bool
wants_fresh(struct request *r)
{
	const char *control = request_header(r, "Cache-Control");

	return control && (strstr(control, "no-cache") || strstr(control, "no-store") || strstr(control, "max-age=0"));
}

/* Takes the reference over. */
static void
send_page(struct request *r, struct page *page)
{
	struct answer *a = &r->answer;

	a->set = true;
	a->varies = true;
	/* may be kept, but not used again without asking */
	a->cache_control = "private, no-cache";
	a->page = page;
	a->etag = page->etag[0] ? arena_strndup(&r->arena, page->etag, strlen(page->etag)) : NULL;
	if (page_tag_matches(request_header(r, "If-None-Match"), page->etag))
	{
		a->status = MHD_HTTP_NOT_MODIFIED;
		a->page = NULL;
		a->fixed = "";
		page_drop(page);
		return;
	}
	a->status = page->status;
	a->content_type = page->content_type;
	a->gzip = page->gzip;
	if (r->csv && page->status == MHD_HTTP_OK)
		a->disposition = "attachment; filename=\"ccproxy-metrics.csv\"";
}

enum request_handled
read_begin(struct request *r)
{
	struct page *page;

	r->job.key = make_key(r);
	if (r->job.key == NULL)
	{
		request_unavailable(r, METRIC_REFUSED_MEMORY, 1, "Out of memory.");
		return REQUEST_ANSWERED;
	}
	r->job.fresh = wants_fresh(r);
	page = r->job.fresh ? NULL : reader_page(r->gateway->reader, r->job.key);
	if (page == NULL)
		return REQUEST_WAIT;
	metric_add(METRIC_READ_CACHE_HITS, 1);
	if (r->route->finish == read_finish)
		send_page(r, page);
	else
	{
		r->job.page = page;
		r->job.status = READ_OK;
		r->route->finish(r, false);
	}
	return REQUEST_ANSWERED;
}

bool
read_publish(struct request *r)
{
	if (r->gateway->settings->storage == STORAGE_SQLITE)
	{
		request_error(r, MHD_HTTP_NOT_FOUND, "metrics_storage is sqlite: statistics need PostgreSQL. Query the file with sqlite3.");
		return false;
	}
	if (reader_submit(r->gateway->reader, &r->job))
		return true;
	request_unavailable(r, METRIC_REFUSED_FULL, 1, "Too many queries are waiting.");
	return false;
}

bool
read_succeeded(struct request *r, bool expired)
{
	if (expired)
	{
		request_unavailable(r, METRIC_REFUSED_DEADLINE, 1, "The database did not answer in time.");
		return false;
	}
	switch (r->job.status)
	{
		case READ_OK:
			return true;
		case READ_INVALID:
			{
				bool		zone = strstr(r->job.message, "time zone") != NULL;
				struct query_error error = {zone ? "time_zone" : "", r->job.message,
				zone ? "names such as UTC or Europe/Berlin" : ""};

				request_error_parameter(r, &error);
				return false;
			}
		case READ_TIMEOUT:
			request_unavailable(r, METRIC_REFUSED_DEADLINE, 1, "The query took longer than statement_timeout_ms.");
			return false;
		case READ_PENDING:
		case READ_UNAVAILABLE:
			request_unavailable(r, METRIC_REFUSED_CLOSED, r->job.retry_after_s, "The database cannot be read at the moment.");
			return false;
		case READ_FAILED:
			break;
	}
	request_error(r, MHD_HTTP_INTERNAL_SERVER_ERROR, "The query failed; the gateway's log tells why.");
	return false;
}

void
read_finish(struct request *r, bool expired)
{
	struct page *page;

	if (!read_succeeded(r, expired))
		return;
	page = r->job.page;
	r->job.page = NULL;
	send_page(r, page);
}

enum request_handled
read_refuse(struct request *r, enum query_status status, const struct query_error *error)
{
	if (status == QUERY_BAD)
		request_error_parameter(r, error);
	else
		request_unavailable(r, METRIC_REFUSED_MEMORY, 1, "Out of memory.");
	return REQUEST_ANSWERED;
}

void
read_json_or_null(struct text *t, const char *s)
{
	if (s)
		text_json(t, s);
	else
		text_puts(t, "null");
}

void
read_json_time(struct text *t, const char *name, int64_t us)
{
	char		time[QUERY_TIME_BYTES];

	query_format_time(time, us);
	text_printf(t, "\"%s\": \"%s\"", name, time);
}
