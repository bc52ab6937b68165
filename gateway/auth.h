/*
 * Who may: bearer tokens, and the checks that keep a browser from being used
 * against a loopback gateway (Host and Origin).
 *
 * Tokens are kept as SHA-256 and compared in constant time, each with every
 * one, so that neither the time nor the length of a wrong token tells anything.
 * auth_reload swaps them while workers look: any thread may call auth_check.
 *
 * A read token may be limited to what one user_id did ("TOKEN user=alice" in
 * the file). Browsers sign in with a one-time link and carry a cookie
 * (session.h); a session sees what the token sees that its link was made with.
 */
#ifndef GATEWAY_AUTH_H
#define GATEWAY_AUTH_H

#include <stdbool.h>
#include <stddef.h>

#include "gateway/session.h"
#include "gateway/settings.h"

enum auth_scope
{
	AUTH_OPEN,					/* needs no token */
	AUTH_INGEST,
	AUTH_READ
};

enum auth_result
{
	AUTH_ALLOWED,
	AUTH_MISSING,				/* 401: no token, or one nobody knows */
	AUTH_WRONG_SCOPE			/* 403: a token for the other scope */
};

/* Room for the user_id that a token is limited to; "" for none. */
#define AUTH_USER_SIZE 257

/* The cookie of a session, and how long it and a link live. */
#define AUTH_COOKIE "ccproxy_session"
#define AUTH_SESSION_MS INT64_C(2592000000) /* 30 days */
#define AUTH_LINK_MS INT64_C(900000)	/* 15 minutes */

struct auth;

/* Reads the token files. NULL with one line in error. */
struct auth *auth_open(const struct settings *settings, char error[SETTINGS_ERROR_SIZE])
			__attribute__((warn_unused_result));
/* Reads the files these settings name, all or nothing: keeps the old ones on failure. */
bool		auth_reload(struct auth *a, const struct settings *settings, char error[SETTINGS_ERROR_SIZE])
			__attribute__((warn_unused_result));
void		auth_free(struct auth *a);

/*
 * authorization, cookie: the headers' values or NULL; now_ms: wall clock. When
 * allowed, user is set to the user_id that all reading is limited to, or "".
 */
enum auth_result auth_check(struct auth *a, enum auth_scope scope, const char *authorization, const char *cookie,
							int64_t now_ms, char user[AUTH_USER_SIZE]);
/*
 * A one-time link's stamp: made by the first read token limited to that user
 * ("": the first that is not limited). False without such a token, or without
 * randomness.
 */
bool		auth_make_link(struct auth *a, const char *user, int64_t now_ms, char stamp[SESSION_STAMP_SIZE])
			__attribute__((warn_unused_result));
/* Changes a link's stamp (NULL: none) for that of a session, once. Links made
 * before started_ms are refused: which of them were used is not known. */
bool		auth_sign_in(struct auth *a, const char *link, int64_t started_ms, int64_t now_ms, char stamp[SESSION_STAMP_SIZE])
			__attribute__((warn_unused_result));
/* True when the scope has tokens at all. */
bool		auth_required(struct auth *a, enum auth_scope scope);

/*
 * Is this Host header one of ours? Without tokens only loopback names, the
 * address listened on and allowed_hosts are (a foreign name that resolves to
 * 127.0.0.1 is how a web page would reach us). Pure.
 */
bool		auth_host_allowed(const struct settings *settings, bool has_tokens, const char *host);
/* Is it an address? No name, so nobody can make it resolve to something else. Pure. */
bool		auth_host_is_address(const char *host);
/* Is this Origin (NULL: none) that of the host itself? Pure. */
bool		auth_origin_allowed(const char *origin, const char *host);
/* Takes a token file apart: calls add for each token and the user it is
 * limited to ("" for none); false when add does or there is a line that cannot
 * be a token. Pure. */
bool		auth_parse_tokens(const char *text, size_t len,
							  bool (*add) (void *, const char *, size_t, const char *, size_t), void *context);

#endif
