/*
 * GET /metrics/api/openapi.json: what this server serves, as OpenAPI 3.1. A
 * static document, which needs no token.
 */
#include "gateway/assets.h"
#include "gateway/request.h"

static enum request_handled
handle(struct request *r)
{
	const struct asset *asset = asset_find("openapi.json");

	r->answer.set = true;
	r->answer.etag = asset->etag;
	r->answer.cache_control = "no-cache";
	r->answer.fixed = asset->data;
	if (page_tag_matches(request_header(r, "If-None-Match"), asset->etag))
	{
		r->answer.status = MHD_HTTP_NOT_MODIFIED;
		return REQUEST_ANSWERED;
	}
	r->answer.status = MHD_HTTP_OK;
	r->answer.content_type = CONTENT_JSON;
	r->answer.fixed_len = asset->len;
	return REQUEST_ANSWERED;
}

const struct route route_openapi = {
	.metric = METRIC_ROUTE_OPENAPI,
	.path = "/metrics/api/openapi.json",
	.methods = "GET, HEAD",
	.scope = AUTH_OPEN,
	.limit = LIMIT_NOTHING,
	.handle = handle,
};
