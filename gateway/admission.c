/*
 * Admission (admission.h): the table of routes and the checks of headers. Runs
 * in the request's worker, before any of its body is read.
 */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "gateway/admission.h"
#include "gateway/log.h"

static const struct route *const routes[] = {
	&route_events, &route_stats, &route_requests, &route_request, &route_savings, &route_values, &route_budget, &route_budgets, &route_api_health, &route_openapi,
	&route_prometheus,
	&route_dashboard, &route_login, &route_logout, &route_static, &route_livez, &route_readyz
};

/* Is method one of "GET, HEAD"? */
static bool
has_method(const char *methods, const char *method)
{
	size_t		len = strlen(method);

	for (const char *p = methods; *p;)
	{
		size_t		n = strcspn(p, ",");

		if (n == len && memcmp(p, method, n) == 0)
			return true;
		p += n;
		p += strspn(p, ", ");
	}
	return false;
}

static const struct route *
find_route(const struct gateway *g, const char *path, const char **rest)
{
	for (size_t i = 0; i < sizeof(routes) / sizeof(routes[0]); i++)
	{
		const struct route *route = routes[i];
		size_t		len = strlen(route->path);

		if (route->enabled && !route->enabled(g->settings))
			continue;
		if (route->prefix ? strncmp(path, route->path, len) == 0 && path[len] : strcmp(path, route->path) == 0)
		{
			*rest = path + len;
			return route;
		}
	}
	return NULL;
}

/* How often the headers came that say where the message ends and whom it is for. */
struct framing
{
	int			lengths;
	int			encodings;
	int			hosts;
	bool		chunked;		/* the only encoding there is */
};

static enum MHD_Result
count_header(void *cls, enum MHD_ValueKind kind, const char *name, const char *value)
{
	struct framing *f = cls;

	(void) kind;
	if (strcasecmp(name, "Content-Length") == 0)
		f->lengths++;
	else if (strcasecmp(name, "Transfer-Encoding") == 0)
	{
		f->encodings++;
		f->chunked = value && strcasecmp(value, "chunked") == 0;
	}
	else if (strcasecmp(name, "Host") == 0)
		f->hosts++;
	return MHD_YES;
}

/*
 * libmicrohttpd takes the first of contradicting headers; a proxy in front may
 * take another, and then the two disagree on where the next request begins.
 */
static void
check_framing(struct request *r)
{
	struct framing f = {0};

	MHD_get_connection_values(r->mhd, MHD_HEADER_KIND, count_header, &f);
	if (f.hosts <= 1 && f.lengths + f.encodings <= 1 && (f.encodings == 0 || f.chunked))
		return;
	r->answer.close = true;
	request_error(r, MHD_HTTP_BAD_REQUEST,
				  "Host, and Content-Length or Transfer-Encoding: chunked, may each be given once.");
}

/* Is the request meant for this gateway, which goes by whatever name or by its own? Sets
 * the answer when it is not. */
static bool
is_for_us(struct request *r, const char *host, bool any_name)
{
	if (auth_host_allowed(r->gateway->settings, any_name, host) && auth_origin_allowed(request_header(r, "Origin"), host))
		return true;
	metric_add(METRIC_REFUSED_HOST, 1);
	request_error(r, MHD_HTTP_FORBIDDEN,
				  "The Host or Origin header names a place this gateway does not serve (see allowed_hosts).");
	return false;
}

static void
check_host(struct request *r)
{
	struct auth *auth = r->gateway->auth;

	(void) is_for_us(r, request_header(r, "Host"), auth_required(auth, AUTH_INGEST) && auth_required(auth, AUTH_READ));
}

/* A token that is limited to one user reads nothing else. */
static void
limit_to_user(struct request *r)
{
	struct target *t = &r->target;
	bool		given = false;

	if (r->limited_user[0] == '\0' || r->route->limit == LIMIT_NOTHING || r->route->limit == LIMIT_BY_ROUTE)
		return;
	for (size_t i = 0; i < t->nparameters && r->route->limit == LIMIT_BY_FILTER; i++)
		if (strcmp(t->parameters[i].name, "user") == 0)
		{
			given = true;
			if (strcmp(t->parameters[i].value, r->limited_user) != 0)
				r->answer.set = true;	/* until it is refused below */
		}
	if (r->answer.set || r->route->limit == LIMIT_REFUSED || (!given && t->nparameters == QUERY_MAX_PARAMETERS))
	{
		metric_add(METRIC_REFUSED_AUTH, 1);
		request_error(r, MHD_HTTP_FORBIDDEN, "This token may only read what its own user did.");
	}
	else if (!given)
		t->parameters[t->nparameters++] = (struct query_parameter) {"user", r->limited_user};
}

/* The dashboard's own reads need no token where dashboard_auth_required is off. */
static bool
is_open(const struct request *r)
{
	static const char api[] = "/metrics/api/";

	return !r->gateway->settings->dashboard_auth_required && r->route->scope == AUTH_READ &&
		strncmp(r->route->path, api, sizeof(api) - 1) == 0;
}

static void
check_rate(struct request *r)
{
	static struct log_limit limit;
	int64_t		per_second = r->gateway->settings->max_requests_per_second;
	const union MHD_ConnectionInfo *info;
	int			retry_after_s;

	if (per_second == 0 || r->route->scope == AUTH_OPEN)
		return;
	info = MHD_get_connection_info(r->mhd, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
	if (info == NULL || rate_admit(&r->gateway->rate, info->client_addr, per_second, monotonic_us(), &retry_after_s))
		return;
	metric_add(METRIC_REFUSED_RATE, 1);
	log_limited(&limit, LOG_LEVEL_WARNING, "rate_limited", LOG_I64("max_requests_per_second", per_second));
	r->answer.retry_after_s = retry_after_s;
	request_error(r, MHD_HTTP_TOO_MANY_REQUESTS, "Too many requests a second from this address (max_requests_per_second).");
}

static void
check_token(struct request *r)
{
	enum auth_result result = auth_check(r->gateway->auth, r->route->scope, request_header(r, "Authorization"),
										 request_header(r, "Cookie"), wall_clock_us() / 1000, r->limited_user);

	if (result == AUTH_MISSING && is_open(r))
	{
		/* as without tokens: a page under a name that was made to resolve to us must not read it */
		const char *host = request_header(r, "Host");

		if (!is_for_us(r, host, host != NULL && auth_host_is_address(host)))
			return;
		result = AUTH_ALLOWED;
	}
	switch (result)
	{
		case AUTH_ALLOWED:
			limit_to_user(r);
			return;
		case AUTH_MISSING:
			r->answer.bearer = true;
			request_error(r, MHD_HTTP_UNAUTHORIZED, "A valid token is needed: Authorization: Bearer TOKEN.");
			break;
		case AUTH_WRONG_SCOPE:
			request_error(r, MHD_HTTP_FORBIDDEN, r->route->scope == AUTH_INGEST ?
						  "This token may read but not post events." : "This token may post events but not read.");
			break;
	}
	metric_add(METRIC_REFUSED_AUTH, 1);
}

/* The media types that carry JSON; a browser cannot send them across origins
 * without asking first. */
static bool
is_json_type(const char *type)
{
	static const char *const types[] = {
		"application/json", "application/x-ndjson", "application/ndjson",
		"application/jsonl", "application/json-seq", "application/x-jsonlines"
	};
	size_t		len = strcspn(type, "; \t");

	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++)
		if (strlen(types[i]) == len && strncasecmp(type, types[i], len) == 0)
			return true;
	return len > 5 && strncasecmp(type + len - 5, "+json", 5) == 0;
}

static void
check_body_headers(struct request *r, uint64_t length)
{
	const char *type = request_header(r, "Content-Type");
	const char *encoding = request_header(r, "Content-Encoding");

	if (type && !is_json_type(type))
		request_error(r, MHD_HTTP_UNSUPPORTED_MEDIA_TYPE, "Content-Type must be application/json or application/x-ndjson.");
	else if (length > r->body_limit)
	{
		metric_add(METRIC_REFUSED_TOO_LARGE, 1);
		request_error(r, MHD_HTTP_CONTENT_TOO_LARGE, "The body is larger than max_body_bytes.");
	}
	else if (encoding && (strcasecmp(encoding, "gzip") == 0 || strcasecmp(encoding, "x-gzip") == 0))
	{
		r->gunzip = gunzip_new();
		if (r->gunzip == NULL)
			request_unavailable(r, METRIC_REFUSED_MEMORY, 1, "Out of memory.");
	}
	else if (encoding && *encoding && strcasecmp(encoding, "identity") != 0)
		request_error(r, MHD_HTTP_UNSUPPORTED_MEDIA_TYPE, "Content-Encoding must be gzip or absent.");
}


void
admit(struct request *r, const char *method, uint64_t length)
{
	struct gateway *g = r->gateway;
	struct query_error error;

	r->body_limit = (size_t) g->settings->max_body_bytes;
	request_identify(r);
	check_framing(r);
	if (r->answer.set)
		return;
	switch (target_parse(&r->arena, r->target.path, &r->target, &error))
	{
		case QUERY_OK:
			break;
		case QUERY_BAD:
			request_error_parameter(r, &error);
			return;
		case QUERY_NO_MEMORY:
			request_unavailable(r, METRIC_REFUSED_MEMORY, 1, "Out of memory.");
			return;
	}
	check_host(r);
	if (r->answer.set)
		return;
	r->route = find_route(g, r->target.path, &r->path_rest);
	if (r->route == NULL)
	{
		request_error(r, MHD_HTTP_NOT_FOUND, "There is nothing at this path.");
		return;
	}
	if (!has_method(r->route->methods, method))
	{
		r->answer.allow = r->route->methods;
		request_error(r, MHD_HTTP_METHOD_NOT_ALLOWED, "The method is not allowed here (see Allow).");
		return;
	}
	check_rate(r);
	if (r->answer.set)
		return;
	r->is_post = strcmp(method, "POST") == 0;
	check_token(r);
	if (r->answer.set || !r->route->takes_body)
		return;
	if (atomic_load(&g->draining))
	{
		request_unavailable(r, METRIC_REFUSED_DRAINING, 1, "The gateway is shutting down.");
		return;
	}
	check_body_headers(r, length);
}
