/*
 * Connections and the watchdog (connection.h). Lock order: the list's lock,
 * then a connection's, then whatever libmicrohttpd takes in resume; a worker
 * takes one of them at a time.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>

#include "gateway/connection.h"
#include "gateway/log.h"
#include "gateway/request.h"
#include "gateway/selfmetrics.h"

#define WATCHDOG_PERIOD_MS 100
#define WATCHDOG_LATE_MS 10000

struct connections
{
	const struct gateway *gateway;
	_Atomic int64_t looked_ms;
	pthread_mutex_t lock;
	pthread_cond_t wake;
	struct connection *first;
	bool		stop;
	pthread_t	thread;
};

/* Milliseconds a connection may stay in a phase. */
static int64_t
phase_limit_ms(const struct settings *s, enum connection_phase phase)
{
	switch (phase)
	{
		case PHASE_NEW:
		case PHASE_HEADER:
			return s->header_timeout_ms;
		case PHASE_BODY:
		case PHASE_ANSWERING:
			return s->body_timeout_ms;
		case PHASE_IDLE:
			/* libmicrohttpd ends silent ones; this ends a dripping header */
			return s->idle_timeout_ms + s->header_timeout_ms;
		case PHASE_HANDLING:
		case PHASE_WAITING:		/* has a limit of its own */
			break;
	}
	return INT64_MAX;
}

static void
watch_waiting(struct connections *cs, struct connection *c, int64_t now)
{
	pthread_mutex_lock(&c->lock);
	if (c->waiting)
	{
		int64_t		limit_ms = cs->gateway->settings->request_deadline_ms;

		if (c->waiting->wait_limit_ms > 0 && c->waiting->wait_limit_ms < limit_ms)
			limit_ms = c->waiting->wait_limit_ms;
		if (now - atomic_load(&c->since_ms) > limit_ms && request_expire(c->waiting))
			c->waiting = NULL;
	}
	pthread_mutex_unlock(&c->lock);
}

static void
watch(struct connections *cs, struct connection *c, int64_t now)
{
	static struct log_limit limit;
	int			phase = atomic_load(&c->phase);

	if (phase == PHASE_WAITING)
	{
		watch_waiting(cs, c, now);
		return;
	}
	if (c->shut || now - atomic_load(&c->since_ms) <= phase_limit_ms(cs->gateway->settings, (enum connection_phase) phase))
		return;
	c->shut = true;
	metric_add(phase == PHASE_NEW || phase == PHASE_HEADER || phase == PHASE_IDLE ?
			   METRIC_TIMEOUT_HEADER : phase == PHASE_BODY ? METRIC_TIMEOUT_BODY : METRIC_TIMEOUT_ANSWER, 1);
	log_limited(&limit, LOG_LEVEL_INFO, "client_too_slow",
				LOG_STR("phase", phase == PHASE_BODY ? "body" : phase == PHASE_ANSWERING ? "answer" : "header"));
	shutdown(c->fd, SHUT_RDWR);
}

static void *
watchdog_main(void *arg)
{
	struct connections *cs = arg;

	pthread_mutex_lock(&cs->lock);
	while (!cs->stop)
	{
		struct timespec until;
		int64_t		now = monotonic_ms();

		atomic_store(&cs->looked_ms, now);
		for (struct connection *c = cs->first; c; c = c->next)
			watch(cs, c, now);
		clock_gettime(CLOCK_MONOTONIC, &until);
		until.tv_nsec += WATCHDOG_PERIOD_MS * 1000000L;
		until.tv_sec += until.tv_nsec / 1000000000L;
		until.tv_nsec %= 1000000000L;
		pthread_cond_timedwait(&cs->wake, &cs->lock, &until);
	}
	pthread_mutex_unlock(&cs->lock);
	return NULL;
}

struct connections *
connections_open(const struct gateway *gateway)
{
	struct connections *cs = calloc(1, sizeof(*cs));
	pthread_condattr_t attr;

	if (cs == NULL)
		return NULL;
	cs->gateway = gateway;
	atomic_init(&cs->looked_ms, monotonic_ms());
	pthread_mutex_init(&cs->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&cs->wake, &attr);
	pthread_condattr_destroy(&attr);
	if (pthread_create(&cs->thread, NULL, watchdog_main, cs) != 0)
	{
		pthread_cond_destroy(&cs->wake);
		pthread_mutex_destroy(&cs->lock);
		free(cs);
		return NULL;
	}
	return cs;
}

void
connections_close(struct connections *cs)
{
	if (cs == NULL)
		return;
	pthread_mutex_lock(&cs->lock);
	cs->stop = true;
	pthread_cond_signal(&cs->wake);
	pthread_mutex_unlock(&cs->lock);
	pthread_join(cs->thread, NULL);
	pthread_cond_destroy(&cs->wake);
	pthread_mutex_destroy(&cs->lock);
	free(cs);
}

bool
connections_watched(struct connections *cs)
{
	return monotonic_ms() - atomic_load(&cs->looked_ms) < WATCHDOG_LATE_MS;
}

struct connection *
connection_add(struct connections *cs, int fd)
{
	struct connection *c = calloc(1, sizeof(*c));

	if (c == NULL)
		return NULL;
	c->fd = fd;
	pthread_mutex_init(&c->lock, NULL);
	connection_phase(c, PHASE_NEW);
	pthread_mutex_lock(&cs->lock);
	c->next = cs->first;
	if (cs->first)
		cs->first->previous = c;
	cs->first = c;
	pthread_mutex_unlock(&cs->lock);
	metric_add(METRIC_CONNECTIONS_OPENED, 1);
	metric_change(METRIC_CONNECTIONS, 1);
	return c;
}

void
connection_remove(struct connections *cs, struct connection *c)
{
	pthread_mutex_lock(&cs->lock);
	if (c->previous)
		c->previous->next = c->next;
	else
		cs->first = c->next;
	if (c->next)
		c->next->previous = c->previous;
	pthread_mutex_unlock(&cs->lock);
	metric_change(METRIC_CONNECTIONS, -1);
	pthread_mutex_destroy(&c->lock);
	free(c);
}

void
connection_phase(struct connection *c, enum connection_phase phase)
{
	atomic_store(&c->since_ms, monotonic_ms());
	atomic_store(&c->phase, (int) phase);
}

void
connection_wait(struct connection *c, struct request *r)
{
	pthread_mutex_lock(&c->lock);
	c->waiting = r;
	pthread_mutex_unlock(&c->lock);
}
