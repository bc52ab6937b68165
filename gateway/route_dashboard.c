/*
 * GET /metrics/dashboard and /metrics/static/: the page and its files, all of
 * them static. They hold no data, so they need no token; what the page fetches
 * does.
 *
 * The page asks for static/VERSION/NAME, so that a browser keeps the files until
 * there are others, and a page that is opened again asks for nothing but itself.
 */
#include <string.h>

#include "gateway/accept.h"
#include "gateway/assets.h"
#include "gateway/request.h"

static enum request_handled
serve(struct request *r, const char *name, bool for_good)
{
	const struct asset *asset = asset_find(name);
	const char *known = request_header(r, "If-None-Match");

	if (asset == NULL)
	{
		request_error(r, MHD_HTTP_NOT_FOUND, "There is nothing at this path.");
		return REQUEST_ANSWERED;
	}
	r->answer.set = true;
	r->answer.dashboard_headers = true;
	r->answer.etag = asset->etag;
	r->answer.cache_control = for_good ? "public, max-age=31536000, immutable" : "no-cache";
	r->answer.fixed = asset->data;
	if (known && strstr(known, asset->etag))
	{
		r->answer.status = MHD_HTTP_NOT_MODIFIED;
		return REQUEST_ANSWERED;
	}
	r->answer.status = MHD_HTTP_OK;
	r->answer.content_type = asset->content_type;
	r->answer.fixed_len = asset->len;
	r->answer.varies = true;
	if (asset->gzip && accept_gzip(request_header(r, "Accept-Encoding")))
	{
		r->answer.gzip = true;
		r->answer.fixed = asset->gzip;
		r->answer.fixed_len = asset->gzip_len;
	}
	return REQUEST_ANSWERED;
}

static enum request_handled
handle_page(struct request *r)
{
	return serve(r, "index.html", false);
}

static enum request_handled
handle_static(struct request *r)
{
	const char *name = r->path_rest;
	bool		current = strncmp(name, assets_version(), ASSETS_VERSION_CHARS) == 0;

	/* a page of another version, while gateways are being replaced, gets ours */
	if (strspn(name, "0123456789abcdef") == ASSETS_VERSION_CHARS && name[ASSETS_VERSION_CHARS] == '/')
		return serve(r, name + ASSETS_VERSION_CHARS + 1, current);
	return serve(r, name, false);
}

static bool
enabled(const struct settings *settings)
{
	return settings->dashboard_enabled;
}

const struct route route_dashboard = {
	.metric = METRIC_ROUTE_DASHBOARD,
	.path = "/metrics/dashboard",
	.methods = "GET, HEAD",
	.scope = AUTH_OPEN,
	.enabled = enabled,
	.handle = handle_page,
};

const struct route route_static = {
	.metric = METRIC_ROUTE_STATIC,
	.path = "/metrics/static/",
	.prefix = true,
	.methods = "GET, HEAD",
	.scope = AUTH_OPEN,
	.enabled = enabled,
	.handle = handle_static,
};
