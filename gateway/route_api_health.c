/*
 * GET /metrics/api/health: ccproxy.health, the state of the database's side,
 * beside the gateway's own. 503 while the database cannot be asked.
 */
#include "gateway/route_read.h"
#include "gateway/rows.h"

static const char health_sql[] = "SELECT h.* FROM ccproxy.health AS h";

static enum request_handled
handle(struct request *r)
{
	struct query_error error;
	enum query_status status = query_check_names(&r->target, "", &error);

	if (status != QUERY_OK)
		return read_refuse(r, status, &error);
	read_negotiate(r, FORMAT_JSON);
	read_prepare(r, health_sql);
	r->job.timely = true;
	return read_begin(r);
}

static int
render(struct request *r, const PGresult *rows, struct text *t, size_t *tag_from)
{
	struct store_state state;
	bool		ready = store_ready(r->gateway->store, &state);

	(void) tag_from;
	text_printf(t, "{\"gateway\": {\"version\": \"" GATEWAY_VERSION "\", \"ready\": %s, \"state\": ", ready ? "true" : "false");
	text_json(t, state.word);
	text_printf(t, ", \"durable_in\": \"%s\", \"spool\": \"%s\", \"spooled_events\": %lld}, \"database\": ", state.durable_in,
				state.spool, (long long) state.spooled_events);
	if (PQntuples(rows) == 0)
		text_puts(t, "null");
	else
	{
		text_putc(t, '{');
		rows_json_members(t, rows, 0, 0, PQnfields(rows));
		text_putc(t, '}');
	}
	text_puts(t, "}\n");
	return MHD_HTTP_OK;
}

const struct route route_api_health = {
	.metric = METRIC_ROUTE_HEALTH,
	.path = "/metrics/api/health",
	.methods = "GET, HEAD",
	.scope = AUTH_READ,
	.limit = LIMIT_NOTHING,
	.handle = handle,
	.publish = read_publish,
	.render = render,
	.finish = read_finish,
};
