/*
 * GET /livez and /readyz: never touch the database.
 */
#include "gateway/request.h"

static enum request_handled
handle_live(struct request *r)
{
	struct text t;

	text_init(&t);
	text_puts(&t, "{\"live\": true}\n");
	request_answer(r, MHD_HTTP_OK, CONTENT_JSON, &t);
	return REQUEST_ANSWERED;
}

static enum request_handled
handle_ready(struct request *r)
{
	struct gateway *g = r->gateway;
	struct store_state state;
	bool		ready = store_ready(g->store, &state);
	struct text t;

	if (atomic_load(&g->draining))
	{
		ready = false;
		state.word = "draining";
	}
	text_init(&t);
	text_printf(&t, "{\"ready\": %s, \"state\": ", ready ? "true" : "false");
	text_json(&t, state.word);
	text_printf(&t, ", \"durable_in\": \"%s\", \"spool\": \"%s\", \"spooled_events\": %lld", state.durable_in, state.spool,
				(long long) state.spooled_events);
	text_printf(&t, ", \"storage\": \"%s\", \"waiting_requests\": %lld, \"version\": \"" GATEWAY_VERSION "\"}\n",
				g->settings->metrics_storage, (long long) metric_gauge(METRIC_REQUESTS_WAITING));
	if (!ready)
		r->answer.retry_after_s = store_retry_after_s(g->store);
	request_answer(r, ready ? MHD_HTTP_OK : MHD_HTTP_SERVICE_UNAVAILABLE, CONTENT_JSON, &t);
	return REQUEST_ANSWERED;
}

const struct route route_livez = {
	.metric = METRIC_ROUTE_LIVEZ,
	.path = "/livez",
	.methods = "GET, HEAD",
	.scope = AUTH_OPEN,
	.handle = handle_live,
};

const struct route route_readyz = {
	.metric = METRIC_ROUTE_READYZ,
	.path = "/readyz",
	.methods = "GET, HEAD",
	.scope = AUTH_OPEN,
	.handle = handle_ready,
};
