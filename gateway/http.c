/*
 * The HTTP server (http.h): a pool of libmicrohttpd epoll workers on one
 * listening socket, the dispatch of requests to routes, and their answers.
 *
 * Everything below "callbacks" runs in a worker; a handler never blocks. What
 * suspends and who resumes is told in request.h.
 */
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "gateway/admission.h"
#include "gateway/connection.h"
#include "gateway/http.h"
#include "gateway/log.h"
#include "gateway/tls.h"

#define LISTEN_BACKLOG 4096
#define DESCRIPTORS_BESIDE_CONNECTIONS 256
/* A refused body this small is read to its end, so that the client surely sees
 * the answer and keeps its connection; a larger one ends the connection. */
#define REFUSED_BODY_BYTES ((uint64_t) 64 * 1024)
/* A chunked body over the limit is read so many times the limit before the
 * connection is cut without an answer. */
#define OVERSIZE_READ_FACTOR 2
#define STOP_POLL_MS 10
#define SECURITY_POLICY \
	"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; " \
	"base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; "

struct http
{
	struct gateway *gateway;
	struct MHD_Daemon *daemon;
	struct connections *connections;
	uint16_t	port;
};

int
http_workers(const struct settings *s)
{
	int64_t		needed = (s->max_connections + HTTP_CONNECTIONS_PER_WORKER - 1) / HTTP_CONNECTIONS_PER_WORKER;

	if (s->workers > 0)
		return (int) s->workers;
	if (needed < HTTP_WORKERS_MIN)
		needed = s->max_connections < HTTP_WORKERS_MIN ? s->max_connections : HTTP_WORKERS_MIN;
	return (int) needed;
}

/* --------------------------------------------------------------- answer */

static void
add_header(struct MHD_Response *response, const char *name, const char *value)
{
	/* only fails without memory; the answer is right all the same */
	(void) !MHD_add_response_header(response, name, value);
}

static enum MHD_Result
send_answer(struct request *r)
{
	struct answer *a = &r->answer;
	struct MHD_Response *response;
	enum MHD_Result queued;
	char		number[32];
	int64_t		elapsed_us = monotonic_us() - r->start_us;

	if (a->fixed)
		response = MHD_create_response_from_buffer(a->fixed_len, (void *) (uintptr_t) a->fixed, MHD_RESPMEM_PERSISTENT);
	else if (a->page)
	{
		response = MHD_create_response_from_buffer_with_free_callback_cls(a->page->len, a->page->body, page_drop_untyped, a->page);
		if (response)
			a->page = NULL;		/* the callback's */
	}
	else
	{
		response = MHD_create_response_from_buffer(a->body.len, a->body.data, MHD_RESPMEM_MUST_FREE);
		if (response)
			text_init(&a->body);
	}
	if (response == NULL)
		return MHD_NO;
	if (a->content_type)
		add_header(response, "Content-Type", a->content_type);
	add_header(response, "X-Request-Id", r->id);
	snprintf(number, sizeof(number), "%lld.%03d", (long long) (elapsed_us / 1000), (int) (elapsed_us % 1000));
	add_header(response, "X-Response-Time-Ms", number);
	add_header(response, "Cache-Control", a->cache_control ? a->cache_control : "no-store");
	add_header(response, "X-Content-Type-Options", "nosniff");
	if (a->etag)
		add_header(response, "ETag", a->etag);
	if (a->varies)
		add_header(response, "Vary", "Accept, Accept-Encoding");
	if (a->gzip)
		add_header(response, "Content-Encoding", "gzip");
	if (a->disposition)
		add_header(response, "Content-Disposition", a->disposition);
	if (a->allow)
		add_header(response, "Allow", a->allow);
	if (a->bearer)
		add_header(response, "WWW-Authenticate", "Bearer realm=\"ccproxy_metrics\"");
	if (a->dashboard_headers)
	{
		add_header(response, "Content-Security-Policy", a->forms ? SECURITY_POLICY "form-action 'self'" : SECURITY_POLICY "form-action 'none'");
		/* without any, a browser posts a form with the origin "null" */
		add_header(response, "Referrer-Policy", a->forms ? "same-origin" : "no-referrer");
		add_header(response, "X-Frame-Options", "DENY");
	}
	if (a->cookie.len > 0 && !a->cookie.failed)
		add_header(response, "Set-Cookie", a->cookie.data);
	if (a->location)
		add_header(response, "Location", a->location);
	if (a->retry_after_s > 0)
	{
		snprintf(number, sizeof(number), "%d", a->retry_after_s);
		add_header(response, "Retry-After", number);
	}
	if (a->close || atomic_load(&r->gateway->draining))
		add_header(response, "Connection", "close");
	connection_phase(r->connection, PHASE_ANSWERING);
	metric_request(r->route ? r->route->metric : METRIC_ROUTE_OTHER, a->status);
	if (r->route == &route_events && r->body_done_us)
		metric_observe_us(METRIC_INGEST_SECONDS, monotonic_us() - r->body_done_us);
	queued = MHD_queue_response(r->mhd, (unsigned) a->status, response);
	MHD_destroy_response(response);
	return queued;
}

/* The first call. */
static enum MHD_Result
start(struct request *r, const char *method)
{
	const char *length_text = request_header(r, "Content-Length");
	bool		chunked = request_header(r, "Transfer-Encoding") != NULL;
	uint64_t	length = length_text ? strtoull(length_text, NULL, 10) : 0;

	r->started = true;
	admit(r, method, length);
	if (r->answer.set && (r->answer.close || chunked || length > REFUSED_BODY_BYTES || request_header(r, "Expect")))
	{
		r->answer.close = true;
		return send_answer(r);
	}
	r->counted_body = true;
	atomic_fetch_add(&r->gateway->bodies, 1);
	connection_phase(r->connection, PHASE_BODY);
	return MHD_YES;
}

/* ------------------------------------------------------------ callbacks */

/* A piece of the body. */
static enum MHD_Result
receive(struct request *r, const char *data, size_t len)
{
	uint64_t	cap = (uint64_t) r->body_limit * OVERSIZE_READ_FACTOR + REFUSED_BODY_BYTES;

	if (!r->answer.set && r->route->takes_body)
	{
		if (!request_body_append(r, data, len))
			r->answer.close = true;
		return MHD_YES;
	}
	/* refused already, or a body nobody asked for: read and forget */
	r->received += len;
	return r->received > cap ? MHD_NO : MHD_YES;
}

static void
body_is_complete(struct request *r)
{
	if (r->counted_body)
		atomic_fetch_sub(&r->gateway->bodies, 1);
	r->counted_body = false;
	r->body_done_us = monotonic_us();
}

static void
suspend(struct request *r)
{
	int			pending = WAIT_PENDING;
	struct MHD_Connection *mhd = r->mhd;

	r->counted_wait = true;
	atomic_fetch_add(&r->gateway->suspended, 1);
	metric_change(METRIC_REQUESTS_WAITING, 1);
	/* suspend first, publish second: nobody may resume what is not suspended */
	MHD_suspend_connection(mhd);
	atomic_store(&r->references, 2);
	atomic_store(&r->wait, WAIT_PENDING);
	connection_phase(r->connection, PHASE_WAITING);
	connection_wait(r->connection, r);
	if (r->route->publish(r))
		return;					/* r may be anyone's by now */
	request_release(r);
	if (atomic_compare_exchange_strong(&r->wait, &pending, WAIT_DONE))
		MHD_resume_connection(mhd);
}

/* The connection is no longer suspended: its client gets the answer, or has
 * gone meanwhile. */
static void
end_wait(struct request *r)
{
	if (!r->counted_wait)
		return;
	r->counted_wait = false;
	connection_wait(r->connection, NULL);
	atomic_fetch_sub(&r->gateway->suspended, 1);
	metric_change(METRIC_REQUESTS_WAITING, -1);
}

static enum MHD_Result
resumed(struct request *r)
{
	bool		expired = atomic_load(&r->wait) == WAIT_EXPIRED;

	end_wait(r);
	if (!r->answer.set)
		r->route->finish(r, expired);
	return send_answer(r);
}

static enum MHD_Result
handle(void *cls, struct MHD_Connection *mhd, const char *url, const char *method,
	   const char *version, const char *data, size_t *len, void **context)
{
	struct request *r = *context;
	size_t		n = *len;

	(void) cls;
	(void) mhd;
	(void) url;
	(void) version;
	if (r == NULL)
		return MHD_NO;			/* no memory for it */
	if (!r->started)
		return start(r, method);
	if (n > 0)
	{
		*len = 0;
		return receive(r, data, n);
	}
	if (atomic_load(&r->wait) != WAIT_NONE)
		return resumed(r);
	body_is_complete(r);
	connection_phase(r->connection, PHASE_HANDLING);
	if (!r->answer.set && r->route->takes_body)
		(void) request_body_finish(r);
	if (!r->answer.set && r->route->handle(r) == REQUEST_WAIT)
	{
		suspend(r);
		return MHD_YES;
	}
	return send_answer(r);
}

static struct connection *
connection_of(struct MHD_Connection *mhd)
{
	const union MHD_ConnectionInfo *info = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_SOCKET_CONTEXT);

	return info ? info->socket_context : NULL;
}

/* The request line has been read. */
static void *
request_line(void *cls, const char *uri, struct MHD_Connection *mhd)
{
	struct http *h = cls;
	struct connection *c = connection_of(mhd);

	if (c == NULL)
		return NULL;
	connection_phase(c, PHASE_HEADER);
	return request_new(h->gateway, c, mhd, uri);
}

static void
completed(void *cls, struct MHD_Connection *mhd, void **context, enum MHD_RequestTerminationCode code)
{
	struct request *r = *context;
	struct http *h = cls;

	(void) mhd;
	(void) code;
	if (r == NULL)
		return;
	*context = NULL;
	/* libmicrohttpd has refused the headers itself, or they never came */
	if (!r->started)
		metric_add(METRIC_REFUSED_HEADER, 1);
	if (r->counted_body)
		atomic_fetch_sub(&h->gateway->bodies, 1);
	end_wait(r);
	connection_phase(r->connection, PHASE_IDLE);
	request_release(r);
	atomic_fetch_sub(&h->gateway->requests, 1);
}

static void
connection_event(void *cls, struct MHD_Connection *mhd, void **context, enum MHD_ConnectionNotificationCode code)
{
	static struct log_limit limit;
	struct http *h = cls;

	if (code == MHD_CONNECTION_NOTIFY_STARTED)
	{
		const union MHD_ConnectionInfo *info = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CONNECTION_FD);

		*context = info ? connection_add(h->connections, info->connect_fd) : NULL;
		if (metric_gauge(METRIC_CONNECTIONS) >= h->gateway->settings->max_connections)
		{
			metric_add(METRIC_CONNECTION_LIMIT, 1);
			log_limited(&limit, LOG_LEVEL_WARNING, "connection_limit_reached",
						LOG_I64("max_connections", h->gateway->settings->max_connections));
		}
	}
	else if (*context)
	{
		connection_remove(h->connections, *context);
		*context = NULL;
	}
}

static void
library_log(void *cls, const char *fmt, va_list ap)
{
	static struct log_limit limit;
	char		message[256];

	(void) cls;
	vsnprintf(message, sizeof(message), fmt, ap);
	message[strcspn(message, "\n")] = '\0';
	log_limited(&limit, LOG_LEVEL_DEBUG, "http_library", LOG_STR("message", message));
}

/* ------------------------------------------------------- start and stop */

static int
open_socket(const struct settings *s, uint16_t *port, bool *v6, char error[SETTINGS_ERROR_SIZE])
{
	struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
	struct addrinfo *list = NULL;
	struct sockaddr_storage bound;
	socklen_t	bound_len = sizeof(bound);
	char		service[8];
	int			one = 1;
	int			fd = -1;
	int			rc;

	snprintf(service, sizeof(service), "%u", s->listen_port);
	rc = getaddrinfo(s->listen_host[0] ? s->listen_host : NULL, service, &hints, &list);
	if (rc != 0)
	{
		snprintf(error, SETTINGS_ERROR_SIZE, "could not listen on \"%s\": %s", s->listen, gai_strerror(rc));
		return -1;
	}
	for (struct addrinfo *a = list; a && fd < 0; a = a->ai_next)
	{
		fd = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
		if (fd < 0)
			continue;
		setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
		setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof(one));
		*v6 = a->ai_family == AF_INET6;
		if (bind(fd, a->ai_addr, a->ai_addrlen) != 0 || listen(fd, LISTEN_BACKLOG) != 0 ||
			getsockname(fd, (struct sockaddr *) &bound, &bound_len) != 0)
		{
			int			saved = errno;

			close(fd);
			fd = -1;
			errno = saved;
		}
	}
	freeaddrinfo(list);
	if (fd < 0)
	{
		snprintf(error, SETTINGS_ERROR_SIZE, "could not listen on \"%s\": %s", s->listen, strerror(errno));
		return -1;
	}
	*port = ntohs(bound.ss_family == AF_INET6 ? ((struct sockaddr_in6 *) &bound)->sin6_port :
				  ((struct sockaddr_in *) &bound)->sin_port);
	return fd;
}

/* Enough descriptors for every connection, or a clear error. */
static bool
raise_descriptor_limit(const struct settings *s, char error[SETTINGS_ERROR_SIZE])
{
	rlim_t		needed = (rlim_t) s->max_connections + DESCRIPTORS_BESIDE_CONNECTIONS;
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= needed)
		return true;
	if (limit.rlim_max != RLIM_INFINITY && limit.rlim_max < needed)
	{
		snprintf(error, SETTINGS_ERROR_SIZE, "max_connections %lld needs %llu file descriptors, but the limit is %llu (ulimit -n)",
				 (long long) s->max_connections, (unsigned long long) needed, (unsigned long long) limit.rlim_max);
		return false;
	}
	limit.rlim_cur = needed;
	setrlimit(RLIMIT_NOFILE, &limit);
	return true;
}

struct http *
http_start(struct gateway *g, char error[SETTINGS_ERROR_SIZE])
{
	const struct settings *s = g->settings;
	int			workers = http_workers(s);
	bool		v6 = false;
	struct http *h;
	struct MHD_OptionItem tls_options[] = {
		{MHD_OPTION_HTTPS_CERT_CALLBACK, 0, (void *) (uintptr_t) tls_certificate},
		{MHD_OPTION_HTTPS_PRIORITIES, 0, (void *) (uintptr_t) TLS_PRIORITIES},
		{MHD_OPTION_END, 0, NULL}
	};
	int			fd;

	if (!tls_enabled(s))
		tls_options[0].option = MHD_OPTION_END;
	if (!raise_descriptor_limit(s, error))
		return NULL;
	h = calloc(1, sizeof(*h));
	if (h)
		h->connections = connections_open(g);
	if (h == NULL || h->connections == NULL)
	{
		free(h);
		snprintf(error, SETTINGS_ERROR_SIZE, "out of memory or threads");
		return NULL;
	}
	h->gateway = g;
	fd = open_socket(s, &h->port, &v6, error);
	if (fd < 0)
	{
		connections_close(h->connections);
		free(h);
		return NULL;
	}
	h->daemon = MHD_start_daemon(MHD_USE_EPOLL_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG |
								 (v6 ? MHD_USE_IPv6 : 0) | (tls_enabled(s) ? MHD_USE_TLS : 0),
								 s->listen_port, NULL, NULL, handle, h,
								 MHD_OPTION_EXTERNAL_LOGGER, library_log, NULL,
								 MHD_OPTION_LISTEN_SOCKET, fd,
								 MHD_OPTION_THREAD_POOL_SIZE, (unsigned) workers,
								 MHD_OPTION_CONNECTION_LIMIT, (unsigned) s->max_connections,
								 MHD_OPTION_CONNECTION_TIMEOUT, (unsigned) ((s->idle_timeout_ms + 999) / 1000),
								 MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t) s->max_header_bytes,
								 MHD_OPTION_STRICT_FOR_CLIENT, 1,
								 MHD_OPTION_URI_LOG_CALLBACK, request_line, h,
								 MHD_OPTION_NOTIFY_COMPLETED, completed, h,
								 MHD_OPTION_NOTIFY_CONNECTION, connection_event, h,
								 MHD_OPTION_ARRAY, tls_options,
								 MHD_OPTION_END);
	if (h->daemon == NULL)
	{
		snprintf(error, SETTINGS_ERROR_SIZE, "could not start the HTTP server");
		close(fd);
		connections_close(h->connections);
		free(h);
		return NULL;
	}
	return h;
}

uint16_t
http_port(const struct http *h)
{
	return h->port;
}

static void
sleep_ms(int ms)
{
	struct timespec t = {ms / 1000, (ms % 1000) * 1000000L};

	nanosleep(&t, NULL);
}

bool
http_alive(const struct http *h)
{
	return connections_watched(h->connections);
}

bool
http_stop(struct http *h, int timeout_ms)
{
	int64_t		until = monotonic_ms() + timeout_ms;

	while (atomic_load(&h->gateway->requests) > 0 && monotonic_ms() < until)
		sleep_ms(STOP_POLL_MS);
	if (atomic_load(&h->gateway->suspended) > 0)
		return false;
	MHD_stop_daemon(h->daemon);
	connections_close(h->connections);
	free(h);
	return true;
}
