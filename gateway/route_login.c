/*
 * /metrics/dashboard/login: changes a one-time link for a session (session.h).
 * GET shows a page that asks to confirm, so that whoever previews links uses
 * none up; POST (the page's button) signs in. /metrics/dashboard/logout takes
 * the cookie away.
 */
#include <string.h>
#include <strings.h>

#include "gateway/log.h"
#include "gateway/request.h"
#include "gateway/tls.h"

#define SECONDS_PER_MS 1000

/* Only characters of a stamp: it is put into the page. */
static const char *
link_stamp(const struct request *r)
{
	struct query_error error;
	const char *stamp;

	return query_single(&r->target, "t", &stamp, &error) == QUERY_OK && stamp && strlen(stamp) == SESSION_STAMP_SIZE - 1 &&
		strspn(stamp, "0123456789abcdef.v") == SESSION_STAMP_SIZE - 1 ? stamp : NULL;
}

static void
page(struct request *r, int status, const char *title, const char *words, const char *stamp)
{
	struct text t;

	text_init(&t);
	text_printf(&t, "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
				"<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
				"<meta name=\"robots\" content=\"noindex\">\n<title>%s</title>\n<link rel=\"icon\" href=\"data:,\">\n"
				"<link rel=\"stylesheet\" href=\"../static/style.css\">\n</head>\n"
				"<body>\n<main class=\"sign-in\">\n<h1>%s</h1>\n<p>%s</p>\n", title, title, words);
	if (stamp)
		text_printf(&t, "<form method=\"post\" action=\"?t=%s\"><button type=\"submit\" class=\"primary\">Sign in</button></form>\n", stamp);
	text_puts(&t, "</main>\n</body>\n</html>\n");
	r->answer.dashboard_headers = true;
	r->answer.forms = true;
	request_answer(r, status, "text/html; charset=utf-8", &t);
}

/* Behind a proxy that speaks TLS the cookie must not travel without it. */
static bool
is_secure(struct request *r)
{
	const char *proto = request_header(r, "X-Forwarded-Proto");

	return tls_enabled(r->gateway->settings) || (proto && strcasecmp(proto, "https") == 0);
}

static void
set_cookie(struct request *r, const char *value, int64_t seconds)
{
	text_init(&r->answer.cookie);
	text_printf(&r->answer.cookie, AUTH_COOKIE "=%s; Path=/; Max-Age=%lld; HttpOnly; SameSite=Lax%s", value,
				(long long) seconds, is_secure(r) ? "; Secure" : "");
}

static enum request_handled
sign_in(struct request *r)
{
	char		stamp[SESSION_STAMP_SIZE];
	struct text nothing;

	if (!auth_sign_in(r->gateway->auth, link_stamp(r), r->gateway->started_ms, wall_clock_us() / 1000, stamp))
	{
		metric_add(METRIC_REFUSED_AUTH, 1);
		page(r, MHD_HTTP_FORBIDDEN, "This link does not work",
			 "It has been used, has expired, or is older than the gateway's last start. Ask for another: "
			 "<code>ccproxy-gateway login-link</code>", NULL);
		return REQUEST_ANSWERED;
	}
	log_event(LOG_LEVEL_INFO, "signed_in");
	set_cookie(r, stamp, AUTH_SESSION_MS / SECONDS_PER_MS);
	text_init(&nothing);
	r->answer.location = "../dashboard";
	request_answer(r, MHD_HTTP_SEE_OTHER, NULL, &nothing);
	return REQUEST_ANSWERED;
}

static enum request_handled
handle_login(struct request *r)
{
	const char *stamp = link_stamp(r);

	if (r->is_post)
		return sign_in(r);
	if (stamp == NULL)
		page(r, MHD_HTTP_BAD_REQUEST, "Sign in", "Open the link that <code>ccproxy-gateway login-link</code> prints.", NULL);
	else
		page(r, MHD_HTTP_OK, "Sign in to LLM traffic", "The link signs this browser in for 30 days. It can be used once.", stamp);
	return REQUEST_ANSWERED;
}

static enum request_handled
handle_logout(struct request *r)
{
	struct text nothing;

	set_cookie(r, "", 0);
	text_init(&nothing);
	r->answer.location = "../dashboard";
	request_answer(r, MHD_HTTP_SEE_OTHER, NULL, &nothing);
	return REQUEST_ANSWERED;
}

static bool
enabled(const struct settings *settings)
{
	return settings->dashboard_enabled;
}

const struct route route_login = {
	.metric = METRIC_ROUTE_DASHBOARD,
	.path = "/metrics/dashboard/login",
	.methods = "GET, HEAD, POST",
	.scope = AUTH_OPEN,
	.enabled = enabled,
	.handle = handle_login,
};

const struct route route_logout = {
	.metric = METRIC_ROUTE_DASHBOARD,
	.path = "/metrics/dashboard/logout",
	.methods = "POST",
	.scope = AUTH_OPEN,
	.enabled = enabled,
	.handle = handle_logout,
};
