/*
 * One HTTP request: from its request line to its last byte answered.
 *
 * Made by the worker that reads the request line, freed after the answer has
 * been sent or the connection has gone. A request that has to wait (for a
 * COMMIT, for a query) is suspended:
 *
 *	worker:		handle() returns REQUEST_WAIT; the connection is suspended first,
 *				then publish() hands the request to the store or a reader;
 *	completer:	calls request_complete once, as its last touch;
 *	watchdog:	calls request_expire when the deadline has passed;
 *	worker:		whoever of the two came first has resumed the connection; the
 *				worker calls finish() and sends the answer.
 *
 * An expired request still belongs to the completer as well: whoever lets go
 * last frees it.
 */
#ifndef GATEWAY_REQUEST_H
#define GATEWAY_REQUEST_H

#include <microhttpd.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "gateway/arena.h"
#include "gateway/auth.h"
#include "gateway/budget.h"
#include "gateway/decode.h"
#include "gateway/exposition.h"
#include "gateway/gunzip.h"
#include "gateway/page.h"
#include "gateway/query.h"
#include "gateway/rate.h"
#include "gateway/reader.h"
#include "gateway/selfmetrics.h"
#include "gateway/settings.h"
#include "gateway/store.h"
#include "gateway/text.h"

#define REQUEST_ID_BYTES 128	/* a longer x-request-id is replaced */

/* Everything the routes need; made by main. */
struct gateway
{
	_Atomic(const struct settings *) settings;	/* a reload puts others here; none are freed before the end */
	struct auth *auth;
	struct store *store;
	struct reader *reader;
	struct budgets *budgets;
	_Atomic bool draining;
	_Atomic int64_t body_bytes; /* held by bodies being received */
	_Atomic int64_t requests;	/* being served, suspended ones included */
	_Atomic int64_t bodies;		/* of them, those whose body is being received */
	_Atomic int64_t suspended;
	struct rate rate;
	int64_t		started_ms;		/* wall clock */
};

enum request_handled
{
	REQUEST_ANSWERED,			/* the answer is set */
	REQUEST_WAIT				/* suspend, then publish */
};

struct request;

/* What a token that is limited to one user gets of a route. */
enum route_limit
{
	LIMIT_REFUSED,				/* nothing: 403 */
	LIMIT_BY_FILTER,			/* the parameter user is set to its user */
	LIMIT_BY_ROUTE,				/* the route looks at r->limited_user */
	LIMIT_NOTHING				/* everything: it says nothing of anybody */
};

struct route
{
	enum metric_route metric;
	const char *path;
	bool		prefix;			/* path and whatever follows it */
	const char *methods;		/* "GET, HEAD": also the Allow header */
	enum auth_scope scope;
	enum route_limit limit;
	bool		takes_body;
	bool		(*enabled) (const struct settings *settings);	/* NULL: always */
	/* worker; the body, if any, is complete */
	enum request_handled (*handle) (struct request *r);
	/* worker; the connection is suspended. False: answered after all, nobody
	 * will call request_complete. */
	bool		(*publish) (struct request *r);
	/* worker; expired: the deadline passed first */
	void		(*finish) (struct request *r, bool expired);
	/*
	 * Reading routes; a reader's thread: writes the answer made of the rows.
	 * Returns its status; *tag_from: what stands before in body is not part of
	 * what it says (see page_new).
	 */
	int			(*render) (struct request *r, const PGresult *rows, struct text *body, size_t *tag_from);
};

enum wait_state
{
	WAIT_NONE,
	WAIT_PENDING,
	WAIT_DONE,
	WAIT_EXPIRED
};

struct connection;				/* http.c */

struct answer
{
	bool		set;
	int			status;
	const char *content_type;	/* static */
	struct text body;			/* given to libmicrohttpd */
	const void *fixed;			/* instead of body: static bytes */
	size_t		fixed_len;
	struct page *page;			/* or this; a reference of its own */
	const char *allow;			/* 405 */
	const char *etag;			/* static, or the page's */
	const char *disposition;	/* static; NULL: none */
	bool		gzip;			/* the body is */
	bool		varies;			/* with Accept and Accept-Encoding */
	const char *cache_control;	/* NULL: no-store */
	bool		dashboard_headers;	/* content security policy */
	bool		forms;			/* which lets the page post forms to us */
	struct text cookie;			/* to set; empty: none */
	const char *location;		/* static; NULL: none */
	bool		bearer;			/* 401 */
	int			retry_after_s;	/* 0: none */
	bool		close;
};

struct request
{
	struct gateway *gateway;
	struct connection *connection;
	struct MHD_Connection *mhd;
	const struct route *route;	/* NULL until the headers are complete */
	bool		started;		/* the headers have been looked at */
	bool		is_post;
	bool		counted_body;	/* in gateway->bodies */
	bool		counted_wait;	/* in gateway->suspended */
	int64_t		wait_limit_ms;	/* longest wait, when shorter than request_deadline; 0: none */
	_Atomic int wait;			/* enum wait_state */
	_Atomic int references;
	int64_t		start_us;
	int64_t		body_done_us;
	char		id[REQUEST_ID_BYTES + 1];

	struct arena arena;			/* lives as long as the request */
	struct target target;
	const char *path_rest;		/* what follows a prefix route */
	char		limited_user[AUTH_USER_SIZE];	/* the token sees only this user's; "": all */

	/* body: grows, terminated by a NUL when complete */
	char	   *body;
	size_t		body_len;
	size_t		body_size;
	size_t		received;		/* before decompression */
	size_t		body_limit;		/* max_body_bytes, as it was when the headers came */
	struct gunzip *gunzip;		/* NULL: it comes as it is */

	struct answer answer;

	/* routes' own */
	struct decode_result decoded;
	struct submission submission;
	struct read_job job;
	const char *key_extra;		/* what the answer depends on besides the query's parameters */
	bool		csv;			/* what the client wants */
	bool		gzip;
	struct stats_query stats;
	struct list_query list;
	struct values_query values;
	enum exposition_part part;
	bool		openmetrics;
	struct budget_question budget;
	struct budget_waiter budget_waiter;
};

struct request *request_new(struct gateway *g, struct connection *c, struct MHD_Connection *mhd, const char *uri);
/* Lets go of one reference. */
void		request_release(struct request *r);

/* The completer: the result is there. The request must not be touched after. */
void		request_complete(struct request *r);
/* The watchdog: too late. False when it has been completed already. */
bool		request_expire(struct request *r);

/* Appends to the body, decompressing; false when the answer was set instead. */
bool		request_body_append(struct request *r, const char *data, size_t len);
bool		request_body_finish(struct request *r);
void		request_body_free(struct request *r);

/* The answer as a whole; body is taken over (and empty afterwards). */
void		request_answer(struct request *r, int status, const char *content_type, struct text *body);
/* {"error": message, "field"...}: the form of every refusal. */
void		request_error(struct request *r, int status, const char *message);
void		request_error_parameter(struct request *r, const struct query_error *e);
/* 503 with Retry-After. */
void		request_unavailable(struct request *r, enum self_counter counter, int retry_after_s, const char *message);
const char *request_header(struct request *r, const char *name);
/* Sets id, from x-request-id or made; once, when the headers are complete. */
void		request_identify(struct request *r);

#define CONTENT_JSON "application/json"

/* The routes, ended by one without a path; each lives in its route_*.c. */
extern const struct route route_events;
extern const struct route route_stats;
extern const struct route route_requests;
extern const struct route route_request;
extern const struct route route_savings;
extern const struct route route_budgets;
extern const struct route route_values;
extern const struct route route_api_health;
extern const struct route route_openapi;
extern const struct route route_budget;
extern const struct route route_prometheus;
extern const struct route route_dashboard;
extern const struct route route_login;
extern const struct route route_logout;
extern const struct route route_static;
extern const struct route route_livez;
extern const struct route route_readyz;

#endif
