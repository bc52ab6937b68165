/*
 * GET /metrics/api/stats: ccproxy.stats() as JSON. query.c says what the
 * parameters mean; the rows come from the database as one JSON text.
 */
#include <string.h>

#include "gateway/log.h"
#include "gateway/route_read.h"

static enum request_handled
handle(struct request *r)
{
	struct query_error error;
	char		time[QUERY_TIME_BYTES];
	const char *from;
	const char *to;

	switch (stats_query_parse(&r->arena, &r->target, wall_clock_us(), &r->stats, &error))
	{
		case QUERY_OK:
			break;
		case QUERY_BAD:
			request_error_parameter(r, &error);
			return REQUEST_ANSWERED;
		case QUERY_NO_MEMORY:
			request_unavailable(r, METRIC_REFUSED_MEMORY, 1, "Out of memory.");
			return REQUEST_ANSWERED;
	}
	query_format_time(time, r->stats.from_us);
	from = arena_strndup(&r->arena, time, strlen(time));
	query_format_time(time, r->stats.to_us);
	to = arena_strndup(&r->arena, time, strlen(time));
	if (from == NULL || to == NULL)
	{
		request_unavailable(r, METRIC_REFUSED_MEMORY, 1, "Out of memory.");
		return REQUEST_ANSWERED;
	}
	read_prepare(r, "SELECT coalesce(json_agg(s), '[]') "
				 "FROM ccproxy.stats($1::timestamptz, $2::timestamptz, $3, $4::jsonb, $5) AS s");
	read_parameter(r, from);
	read_parameter(r, to);
	read_parameter(r, r->stats.group_by);
	read_parameter(r, r->stats.filters);
	read_parameter(r, r->stats.time_zone);
	return REQUEST_WAIT;
}

static void
text_json_or_null(struct text *t, const char *s)
{
	if (s)
		text_json(t, s);
	else
		text_puts(t, "null");
}

static void
finish(struct request *r, bool expired)
{
	struct text t;

	if (!read_succeeded(r, expired))
		return;
	text_init(&t);
	text_puts(&t, "{\"period\": ");
	text_json_or_null(&t, r->stats.period);
	text_puts(&t, ", \"start_time\": ");
	text_json(&t, r->job.parameters[0]);
	text_puts(&t, ", \"end_time\": ");
	text_json(&t, r->job.parameters[1]);
	text_puts(&t, ", \"time_zone\": ");
	text_json(&t, r->stats.time_zone);
	text_puts(&t, ", \"group_by\": ");
	text_json_or_null(&t, r->stats.group_by);
	text_puts(&t, ", \"filters\": ");
	text_puts(&t, r->stats.filters);
	text_puts(&t, ", \"stats\": ");
	text_append(&t, PQgetvalue(r->job.result, 0, 0), (size_t) PQgetlength(r->job.result, 0, 0));
	text_puts(&t, "}\n");
	request_answer(r, MHD_HTTP_OK, CONTENT_JSON, &t);
}

const struct route route_stats = {
	.metric = METRIC_ROUTE_STATS,
	.path = "/metrics/api/stats",
	.methods = "GET, HEAD",
	.scope = AUTH_READ,
	.handle = handle,
	.publish = read_publish,
	.finish = finish,
};
