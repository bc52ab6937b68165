/*
 * GET /metrics/api/requests/{request_id}: one request as the view shows it.
 */
#include <string.h>

#include "gateway/route_read.h"

#define REQUEST_ID_MAX_BYTES 256	/* of an event, event_fields.h */

static enum request_handled
handle(struct request *r)
{
	if (strlen(r->path_rest) > REQUEST_ID_MAX_BYTES)
	{
		request_error(r, MHD_HTTP_NOT_FOUND, "There is no such request.");
		return REQUEST_ANSWERED;
	}
	read_prepare(r, "SELECT row_to_json(q) FROM ccproxy.request($1) AS q LIMIT 1");
	read_parameter(r, r->path_rest);
	return REQUEST_WAIT;
}

static void
finish(struct request *r, bool expired)
{
	struct text t;

	if (!read_succeeded(r, expired))
		return;
	if (PQntuples(r->job.result) == 0 || PQgetisnull(r->job.result, 0, 0))
	{
		request_error(r, MHD_HTTP_NOT_FOUND, "There is no such request.");
		return;
	}
	text_init(&t);
	text_append(&t, PQgetvalue(r->job.result, 0, 0), (size_t) PQgetlength(r->job.result, 0, 0));
	text_putc(&t, '\n');
	request_answer(r, MHD_HTTP_OK, CONTENT_JSON, &t);
}

const struct route route_request = {
	.metric = METRIC_ROUTE_REQUEST,
	.path = "/metrics/api/requests/",
	.prefix = true,
	.methods = "GET, HEAD",
	.scope = AUTH_READ,
	.handle = handle,
	.publish = read_publish,
	.finish = finish,
};
