/*
 * GET /metrics/api/values: what a filter can be set to, for lists to pick from.
 */
#include "gateway/route_read.h"

static const char values_sql[] = "SELECT v FROM ccproxy.filter_values($1, $2, $3::integer) AS v";

static enum request_handled
handle(struct request *r)
{
	struct query_error error;
	enum query_status status = values_query_parse(&r->target, &r->values, &error);

	if (status != QUERY_OK)
		return read_refuse(r, status, &error);
	read_negotiate(r, FORMAT_JSON);
	read_prepare(r, values_sql);
	read_parameter(r, r->values.of);
	read_parameter(r, r->values.search);
	/* one more tells whether there are more */
	read_parameter_int(r, r->values.limit + 1);
	return read_begin(r);
}

static int
render(struct request *r, const PGresult *rows, struct text *t, size_t *tag_from)
{
	int			n = PQntuples(rows);
	int			shown = n > r->values.limit ? r->values.limit : n;

	(void) tag_from;
	text_puts(t, "{\"of\": ");
	text_json(t, r->values.of);
	text_puts(t, ", \"search\": ");
	read_json_or_null(t, r->values.search);
	text_printf(t, ", \"complete\": %s, \"values\": [", n > shown ? "false" : "true");
	for (int i = 0; i < shown; i++)
	{
		text_puts(t, i > 0 ? ", " : "");
		text_json_n(t, PQgetvalue(rows, i, 0), (size_t) PQgetlength(rows, i, 0));
	}
	text_puts(t, "]}\n");
	return MHD_HTTP_OK;
}

const struct route route_values = {
	.metric = METRIC_ROUTE_VALUES,
	.path = "/metrics/api/values",
	.methods = "GET, HEAD",
	.scope = AUTH_READ,
	.handle = handle,
	.publish = read_publish,
	.render = render,
	.finish = read_finish,
};
