/*
 * Maintenance; see maintenance.h.
 *
 * The thread owns the session and everything about failures; `lock` guards
 * closing, which it sleeps on.
 */
#include "gateway/maintenance.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "gateway/backoff.h"
#include "gateway/log.h"
#include "gateway/pgsession.h"
#include "gateway/selfmetrics.h"
#include "gateway/settings.h"
#include "gateway/store.h"

#define FIRST_LOOK_US		INT64_C(200000) /* how often it asks whether the store has connected */
#define BEHIND_PAUSE_US		INT64_C(100000) /* between runs while there is a backlog, and the least at all */
#define US_PER_MS			INT64_C(1000)
#define US_PER_SECOND		INT64_C(1000000)
#define NS_PER_US			1000

#define STRINGIFY(x) #x
#define TO_STRING(x) STRINGIFY(x)

/* The server's limits are below PGSESSION_TIMEOUT_US: it gives up first. */
static const char setup_sql[] =
"SET client_min_messages = warning;"
"SET search_path = pg_catalog, pg_temp;"
"SET client_encoding = 'UTF8';"
"SET statement_timeout = " TO_STRING(PGSESSION_STATEMENT_TIMEOUT_MS) ";"
"SET lock_timeout = " TO_STRING(PGSESSION_LOCK_TIMEOUT_MS);

struct maintenance
{
	/* constant after maintenance_open */
	const char *db_url;
	int64_t		interval_us;
	struct store *store;
	pthread_t	thread;
	_Atomic int64_t give_up_us;	/* 0: at once */

	pthread_mutex_t lock;
	pthread_cond_t changed;
	bool		closing;		/* under lock */

	/* the thread's */
	struct pgsession session;
	bool		behind;			/* the last run left work behind */
	int			failures;		/* runs in a row that failed */
	int64_t		lost_since_us;
	char		last_reason[PGSESSION_MESSAGE_BYTES];
};

/* Waits, at most that long. False when it is time to leave. */
static bool
rest(struct maintenance *m, int64_t us)
{
	struct timespec until;
	bool		closing;

	clock_gettime(CLOCK_MONOTONIC, &until);
	us += until.tv_nsec / NS_PER_US;
	until.tv_sec += us / US_PER_SECOND;
	until.tv_nsec = us % US_PER_SECOND * NS_PER_US;
	pthread_mutex_lock(&m->lock);
	while (!m->closing && pthread_cond_timedwait(&m->changed, &m->lock, &until) != ETIMEDOUT)
		continue;
	closing = m->closing;
	pthread_mutex_unlock(&m->lock);
	return !closing;
}

/* A job that failed is a warning of maintain(), which goes on with the others. */
static void
log_warning(void *arg, const char *message)
{
	static struct log_limit limit;
	struct pgfailure line;

	pgsession_message(&line, message);
	metric_add(METRIC_MAINTENANCE_WARNINGS, 1);
	log_limited(&limit, LOG_LEVEL_WARNING, "maintenance_warning", LOG_STR("reason", line.message));
}

static bool
connect_session(struct maintenance *m, struct pgfailure *failure)
{
	PGresult   *result;

	if (!pgsession_connect(&m->session, m->db_url, "ccproxy-gateway-maintenance", failure))
		return false;
	PQsetNoticeProcessor(m->session.conn, log_warning, NULL);
	result = pgsession_exec(&m->session, setup_sql, 0, NULL, failure);
	PQclear(result);
	return result != NULL;
}

static bool
run_once(struct maintenance *m, struct pgfailure *failure)
{
	PGresult   *result;

	/* an idle connection may have died long ago */
	if (m->session.conn != NULL && !pgsession_alive(&m->session))
		pgsession_close(&m->session);
	if (m->session.conn == NULL && !connect_session(m, failure))
		return false;
	result = pgsession_exec(&m->session, "CALL ccproxy.maintain()", 0, NULL, failure);
	PQclear(result);
	if (result != NULL)
		result = pgsession_exec(&m->session, "SELECT h.behind FROM ccproxy.health AS h", 0, NULL, failure);
	if (result == NULL)
		return false;
	m->behind = PQntuples(result) == 1 && PQgetvalue(result, 0, 0)[0] == 't';
	PQclear(result);
	return true;
}

/* Logs the start of a row of failures, and again only when the reason changes. */
static void
note_failure(struct maintenance *m, struct pgfailure *failure)
{
	const bool	denied = strcmp(failure->sqlstate, "42501") == 0;
	char		hint[128] = "";

	metric_add(METRIC_MAINTENANCE_FAILED, 1);
	if (failure->message[0] == '\0')
		snprintf(failure->message, sizeof(failure->message), "the server does not answer");
	if (m->failures++ == 0)
		m->lost_since_us = monotonic_us();
	else if (strcmp(m->last_reason, failure->message) == 0)
		return;
	memcpy(m->last_reason, failure->message, sizeof(m->last_reason));
	if (denied && m->session.conn != NULL)
		snprintf(hint, sizeof(hint), "as the extension's owner, run SELECT ccproxy.grant_gateway('%.64s')", PQuser(m->session.conn));
	log_event(denied ? LOG_LEVEL_ERROR : LOG_LEVEL_WARNING, "maintenance_lost",
			  LOG_STR("sqlstate", failure->sqlstate), LOG_STR("reason", failure->message), LOG_STR("hint", hint));
}

static void
note_success(struct maintenance *m)
{
	metric_add(METRIC_MAINTENANCE_RUNS, 1);
	if (m->failures > 0)
		log_event(LOG_LEVEL_INFO, "maintenance_recovered",
				  LOG_I64("outage_ms", (monotonic_us() - m->lost_since_us) / US_PER_MS));
	m->failures = 0;
}

static void
run(struct maintenance *m)
{
	struct pgfailure failure = {0};
	int64_t		start_us = monotonic_us();

	if (run_once(m, &failure))
	{
		metric_set(METRIC_MAINTENANCE_LAST_US, monotonic_us() - start_us);
		note_success(m);
		return;
	}
	if (atomic_load(&m->give_up_us) == 0)
		return;					/* we are being closed */
	note_failure(m, &failure);
	if (failure.class == PGERROR_LOST || pgerror_needs_reconnect(failure.sqlstate))
		pgsession_close(&m->session);
}

static void *
maintenance_main(void *arg)
{
	struct maintenance *m = arg;
	struct store_facts facts;
	int64_t		start_us;
	int64_t		wait_us;

	do
		store_get_facts(m->store, &facts);
	while (!facts.known && rest(m, FIRST_LOOK_US));
	do
	{
		start_us = monotonic_us();
		run(m);
		/* from start to start: what is committed waits no longer for a run that takes long */
		wait_us = m->interval_us - (monotonic_us() - start_us);
		if (wait_us < BEHIND_PAUSE_US || (m->failures == 0 && m->behind))
			wait_us = BEHIND_PAUSE_US;
		if (m->failures > 0)
			wait_us += backoff_us(m->failures, m->interval_us, MAINTENANCE_BACKOFF_MAX_MS * US_PER_MS);
	} while (rest(m, wait_us));
	pgsession_close(&m->session);
	return NULL;
}

struct maintenance *
maintenance_open(const struct settings *settings, struct store *store)
{
	struct maintenance *m = calloc(1, sizeof(*m));
	pthread_condattr_t attributes;
	int			rc;

	if (m == NULL)
	{
		log_event(LOG_LEVEL_ERROR, "maintenance_failed", LOG_STR("reason", "out of memory"));
		return NULL;
	}
	m->db_url = settings->metrics_db_url;
	m->interval_us = settings->maintenance_interval_ms * US_PER_MS;
	m->store = store;
	m->session.give_up_us = &m->give_up_us;
	atomic_init(&m->give_up_us, INT64_MAX);
	pthread_mutex_init(&m->lock, NULL);
	pthread_condattr_init(&attributes);
	pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
	pthread_cond_init(&m->changed, &attributes);
	pthread_condattr_destroy(&attributes);
	rc = pthread_create(&m->thread, NULL, maintenance_main, m);
	if (rc == 0)
		return m;
	log_event(LOG_LEVEL_ERROR, "maintenance_failed", LOG_STR("reason", strerror(rc)));
	pthread_cond_destroy(&m->changed);
	pthread_mutex_destroy(&m->lock);
	free(m);
	return NULL;
}

void
maintenance_close(struct maintenance *m)
{
	if (m == NULL)
		return;
	atomic_store(&m->give_up_us, 0);
	pthread_mutex_lock(&m->lock);
	m->closing = true;
	pthread_cond_signal(&m->changed);
	pthread_mutex_unlock(&m->lock);
	pthread_join(m->thread, NULL);
	pthread_cond_destroy(&m->changed);
	pthread_mutex_destroy(&m->lock);
	free(m);
}
