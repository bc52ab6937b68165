/*
 * GET /metrics/api/requests/{request_id}: one request as the view shows it,
 * with its cost explained line by line.
 */
#include <string.h>

#include "gateway/route_read.h"
#include "gateway/rows.h"

#define REQUEST_ID_MAX_BYTES 256	/* of an event, event_fields.h */

/* the newest of several with this id, and when the others were */
static const char request_sql[] =
"SELECT q.*, (SELECT coalesce(json_agg(e), '[]') FROM ccproxy.explain_request(q) AS e) AS cost_lines, "
"(SELECT coalesce(json_agg(o.ts ORDER BY o.ts DESC), '[]') FROM ccproxy.request($1) AS o WHERE o.ts <> q.ts AND ($3 = '' OR o.user_id = $3)) AS other_ts "
"FROM ccproxy.request($1) AS q WHERE ($2::timestamptz IS NULL OR q.ts = $2::timestamptz) AND ($3 = '' OR q.user_id = $3) ORDER BY q.ts DESC LIMIT 1";

static enum request_handled
handle(struct request *r)
{
	struct query_error error;
	bool		has_ts;
	int64_t		ts_us = 0;
	enum query_status status = detail_query_parse(&r->target, &has_ts, &ts_us, &error);

	if (status != QUERY_OK)
		return read_refuse(r, status, &error);
	if (strlen(r->path_rest) > REQUEST_ID_MAX_BYTES)
	{
		request_error(r, MHD_HTTP_NOT_FOUND, "There is no such request.");
		return REQUEST_ANSWERED;
	}
	read_negotiate(r, FORMAT_JSON);
	read_prepare(r, request_sql);
	read_parameter(r, r->path_rest);
	if (has_ts)
		read_parameter_time(r, ts_us);
	else
		read_parameter(r, NULL);
	read_parameter(r, r->limited_user);
	return read_begin(r);
}

static int
render(struct request *r, const PGresult *rows, struct text *t, size_t *tag_from)
{
	(void) r;
	(void) tag_from;
	if (PQntuples(rows) == 0)
	{
		text_puts(t, "{\"error\": \"There is no such request.\"}\n");
		return MHD_HTTP_NOT_FOUND;
	}
	text_putc(t, '{');
	rows_json_members(t, rows, 0, 0, PQnfields(rows));
	text_puts(t, "}\n");
	return MHD_HTTP_OK;
}

const struct route route_request = {
	.metric = METRIC_ROUTE_REQUEST,
	.path = "/metrics/api/requests/",
	.prefix = true,
	.methods = "GET, HEAD",
	.scope = AUTH_READ,
	.limit = LIMIT_BY_ROUTE,
	.handle = handle,
	.publish = read_publish,
	.render = render,
	.finish = read_finish,
};
