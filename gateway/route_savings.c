/*
 * GET /metrics/api/savings: what caching saved, ccproxy.cache_savings(). Takes
 * a range, a time zone and filters as /metrics/api/stats does.
 */
#include "gateway/log.h"
#include "gateway/route_read.h"
#include "gateway/rows.h"

static const char savings_sql[] =
"SELECT * FROM ccproxy.cache_savings($1::timestamptz, $2::timestamptz, $3::jsonb)";

static enum request_handled
handle(struct request *r)
{
	struct query_error error;
	enum query_status status = savings_query_parse(&r->arena, &r->target, wall_clock_us(), &r->stats, &error);

	if (status != QUERY_OK)
		return read_refuse(r, status, &error);
	read_negotiate(r, FORMAT_JSON);
	r->key_extra = r->stats.span.period;
	read_prepare(r, savings_sql);
	read_parameter_time(r, r->stats.span.from_us);
	read_parameter_time(r, r->stats.span.to_us);
	read_parameter(r, r->stats.filters);
	return read_begin(r);
}

static int
render(struct request *r, const PGresult *rows, struct text *t, size_t *tag_from)
{
	text_putc(t, '{');
	read_json_time(t, "as_of", wall_clock_us());
	*tag_from = t->len;
	text_puts(t, ", ");
	read_json_time(t, "start_time", r->stats.span.from_us);
	text_puts(t, ", ");
	read_json_time(t, "end_time", r->stats.span.to_us);
	text_puts(t, ", \"filters\": ");
	text_puts(t, r->stats.filters);
	text_puts(t, ", ");
	rows_json_members(t, rows, 0, 0, PQnfields(rows));
	text_puts(t, "}\n");
	return MHD_HTTP_OK;
}

const struct route route_savings = {
	.metric = METRIC_ROUTE_STATS,
	.path = "/metrics/api/savings",
	.methods = "GET, HEAD",
	.scope = AUTH_READ,
	.limit = LIMIT_BY_FILTER,
	.handle = handle,
	.publish = read_publish,
	.render = render,
	.finish = read_finish,
};
