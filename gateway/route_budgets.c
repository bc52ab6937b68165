/*
 * GET /metrics/api/budgets: every budget in its current period, the rows of
 * ccproxy.budget_status. What one request may do is budget/check's answer.
 */
#include "gateway/log.h"
#include "gateway/route_read.h"
#include "gateway/rows.h"

static const char budgets_sql[] = "SELECT b.* FROM ccproxy.budget_status AS b ORDER BY b.used_percent DESC NULLS FIRST, b.name";

static enum request_handled
handle(struct request *r)
{
	struct query_error error;
	enum query_status status = query_check_names(&r->target, "", &error);

	if (status != QUERY_OK)
		return read_refuse(r, status, &error);
	read_negotiate(r, FORMAT_JSON);
	read_prepare(r, budgets_sql);
	r->job.timely = true;
	return read_begin(r);
}

static int
render(struct request *r, const PGresult *rows, struct text *t, size_t *tag_from)
{
	(void) r;
	text_putc(t, '{');
	read_json_time(t, "as_of", wall_clock_us());
	*tag_from = t->len;
	text_puts(t, ", \"budgets\": ");
	rows_json_array(t, rows, 0, PQntuples(rows), 0);
	text_puts(t, "}\n");
	return MHD_HTTP_OK;
}

const struct route route_budgets = {
	.metric = METRIC_ROUTE_BUDGET,
	.path = "/metrics/api/budgets",
	.methods = "GET, HEAD",
	.scope = AUTH_READ,
	.handle = handle,
	.publish = read_publish,
	.render = render,
	.finish = read_finish,
};
