/*
 * The reader (reader.h): read_connections threads take jobs from one bounded
 * queue, each with a connection of its own. Workers enter through
 * reader_submit only; main opens and closes. The queue links jobs it does not
 * own.
 *
 * Waits for the server are polls in slices with a deadline, that watch for the
 * reader's end: a server that has stopped answering (a frozen host, a network
 * that drops packets) holds neither a thread nor the gateway's shutdown.
 */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/log.h"
#include "gateway/reader.h"
#include "gateway/selfmetrics.h"

#define READER_CONNECT_TIMEOUT_S "5"
#define READER_BACKOFF_FIRST_MS 100
#define READER_BACKOFF_MAX_MS 5000
/* beyond statement_timeout_ms: then the server itself does not answer */
#define READER_GRACE_MS 5000
#define READER_WAIT_SLICE_MS 100

/* What is visible: it differs whenever an answer could. */
static const char version_sql[] = "SELECT pg_catalog.pg_current_snapshot()";

struct reader_thread
{
	struct reader *reader;
	pthread_t	thread;
	PGconn	   *connection;		/* the thread's own */
	int64_t		retry_at_ms;
	int			backoff_ms;
};

struct reader
{
	const struct settings *settings;
	struct page_cache *cache;
	pthread_mutex_t lock;
	pthread_cond_t wake;
	struct read_job *first;
	struct read_job *last;
	int64_t		queued;
	_Atomic unsigned epoch;		/* connections made so far */
	struct read_job *shared;	/* queued or running ones that others may join */
	bool		stop;
	bool		down;			/* for the lost/recovered pair of log lines */
	int			nthreads;
	struct reader_thread threads[];
};

static void
copy_line(char *out, size_t size, const char *message)
{
	snprintf(out, size, "%s", message ? message : "");
	out[strcspn(out, "\n")] = '\0';
}

static void
set_down(struct reader *r, bool down, const char *reason)
{
	bool		changed;

	pthread_mutex_lock(&r->lock);
	changed = r->down != down;
	r->down = down;
	pthread_mutex_unlock(&r->lock);
	if (!changed)
		return;
	if (down)
		log_event(LOG_LEVEL_WARNING, "read_connection_lost", LOG_STR("reason", reason));
	else
		log_event(LOG_LEVEL_INFO, "read_connection_recovered");
}

static bool
is_stopping(struct reader *r)
{
	bool		stop;

	pthread_mutex_lock(&r->lock);
	stop = r->stop;
	pthread_mutex_unlock(&r->lock);
	return stop;
}

/* Waits until the connection is not busy any more. False when it never will be. */
static bool
wait_for_result(struct reader_thread *t)
{
	int64_t		deadline_ms = monotonic_ms() + t->reader->settings->statement_timeout_ms + READER_GRACE_MS;

	while (PQisBusy(t->connection))
	{
		struct pollfd pfd = {.fd = PQsocket(t->connection), .events = POLLIN};
		int			n;

		if (is_stopping(t->reader) || monotonic_ms() >= deadline_ms)
			return false;
		n = poll(&pfd, 1, READER_WAIT_SLICE_MS);
		if ((n < 0 && errno != EINTR) || (n > 0 && !PQconsumeInput(t->connection)))
			return false;
	}
	return true;
}

/* As PQexecParams, but with an end: NULL when the server does not answer in
 * time or the reader ends. */
static PGresult *
execute(struct reader_thread *t, const char *sql, int nparameters, const char *const *parameters)
{
	PGresult   *last = NULL;

	if (!(nparameters < 0 ? PQsendQuery(t->connection, sql) :
		  PQsendQueryParams(t->connection, sql, nparameters, NULL, parameters, NULL, NULL, 0)))
		return NULL;
	for (;;)
	{
		PGresult   *result;

		if (!wait_for_result(t))
		{
			PQclear(last);
			return NULL;
		}
		result = PQgetResult(t->connection);
		if (result == NULL)
			return last;
		if (last && PQresultStatus(last) != PGRES_COMMAND_OK && PQresultStatus(last) != PGRES_TUPLES_OK)
			PQclear(result);	/* the first failure is the one to tell */
		else
		{
			PQclear(last);
			last = result;
		}
	}
}

/* Settings of the session; the server's defaults may say anything. */
static bool
prepare_session(struct reader_thread *t)
{
	char		sql[512];
	PGresult   *result;
	bool		ok;

	snprintf(sql, sizeof(sql),
			 "SET default_transaction_read_only = on; SET statement_timeout = %lld; SET lock_timeout = %lld; "
			 "SET idle_in_transaction_session_timeout = 60000; SET search_path = pg_catalog; "
			 "SET TimeZone = 'UTC'; SET DateStyle = 'ISO, YMD'; SET IntervalStyle = 'postgres'; "
			 "SET extra_float_digits = 1; SET client_min_messages = warning",
			 (long long) t->reader->settings->statement_timeout_ms,
			 (long long) t->reader->settings->statement_timeout_ms);
	result = execute(t, sql, -1, NULL);
	ok = PQresultStatus(result) == PGRES_COMMAND_OK;
	PQclear(result);
	/* so that a query nobody waits for ends early; not every server can */
	if (ok)
		PQclear(execute(t, "SET client_connection_check_interval = 1000", -1, NULL));
	return ok;
}

static void
ignore_notice(void *arg, const PGresult *result)
{
	(void) arg;
	(void) result;
}

static void
disconnect(struct reader_thread *t)
{
	PQfinish(t->connection);
	t->connection = NULL;
}

/* Connected? Tries at most once per back-off. */
static bool
ensure_connected(struct reader_thread *t)
{
	const char *const keywords[] = {"dbname", "application_name", "client_encoding", "connect_timeout", NULL};
	const char *const values[] = {t->reader->settings->metrics_db_url, "ccproxy-gateway-read", "UTF8",
	READER_CONNECT_TIMEOUT_S, NULL};
	char		reason[READ_JOB_MESSAGE_BYTES];

	if (t->connection && PQstatus(t->connection) == CONNECTION_OK)
		return true;
	if (t->connection)
		disconnect(t);
	if (monotonic_ms() < t->retry_at_ms)
		return false;
	t->connection = PQconnectdbParams(keywords, values, 1);
	if (t->connection)
		PQsetNoticeReceiver(t->connection, ignore_notice, NULL);
	if (PQstatus(t->connection) == CONNECTION_OK && prepare_session(t))
	{
		t->backoff_ms = 0;
		t->retry_at_ms = 0;
		/* who knows what the server went through: a crash, another one's data */
		atomic_fetch_add(&t->reader->epoch, 1);
		set_down(t->reader, false, NULL);
		return true;
	}
	copy_line(reason, sizeof(reason), t->connection ? PQerrorMessage(t->connection) : "out of memory");
	set_down(t->reader, true, reason);
	disconnect(t);
	t->backoff_ms = t->backoff_ms == 0 ? READER_BACKOFF_FIRST_MS : t->backoff_ms * 2;
	if (t->backoff_ms > READER_BACKOFF_MAX_MS)
		t->backoff_ms = READER_BACKOFF_MAX_MS;
	t->retry_at_ms = monotonic_ms() + t->backoff_ms;
	return false;
}

static enum read_status
classify(const char *sqlstate)
{
	if (strcmp(sqlstate, "57014") == 0 || strcmp(sqlstate, "55P03") == 0)
		return READ_TIMEOUT;
	if (strncmp(sqlstate, "22", 2) == 0)
		return READ_INVALID;
	/*
	 * Connection trouble, resources, shutdown, conflicts; and what an
	 * administrator still has to do (extension, grants, password): it may
	 * succeed later.
	 */
	if (sqlstate[0] == '\0' || strncmp(sqlstate, "08", 2) == 0 || strncmp(sqlstate, "53", 2) == 0 ||
		strncmp(sqlstate, "57", 2) == 0 || strncmp(sqlstate, "58", 2) == 0 || strncmp(sqlstate, "40", 2) == 0 ||
		strncmp(sqlstate, "42", 2) == 0 || strncmp(sqlstate, "3F", 2) == 0 || strncmp(sqlstate, "3D", 2) == 0 ||
		strncmp(sqlstate, "28", 2) == 0)
		return READ_UNAVAILABLE;
	return READ_FAILED;
}

/* What the job says when its statement failed; takes the result over. */
static void
take_failure(struct reader_thread *t, struct read_job *job, PGresult *result)
{
	const char *sqlstate = PQresultErrorField(result, PG_DIAG_SQLSTATE);

	job->retry_after_s = 1;
	if (result == NULL && PQstatus(t->connection) == CONNECTION_OK)
	{
		/* no answer: what still may come is not for the next job */
		disconnect(t);
		job->status = is_stopping(t->reader) ? READ_UNAVAILABLE : READ_TIMEOUT;
		return;
	}
	snprintf(job->sqlstate, sizeof(job->sqlstate), "%s", sqlstate ? sqlstate : "");
	copy_line(job->message, sizeof(job->message), sqlstate ?
			  PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY) : PQerrorMessage(t->connection));
	PQclear(result);
	job->status = classify(job->sqlstate);
	/* whatever state the session is in (a transaction that hangs open): not ours */
	if (PQstatus(t->connection) == CONNECTION_OK && PQtransactionStatus(t->connection) != PQTRANS_IDLE)
		disconnect(t);
}

static void
set_current(struct reader *r, struct page *page, int64_t cost_us)
{
	int64_t		rest_ms = cost_us * READER_REST / 1000;

	if (rest_ms > READER_REST_MAX_MS)
		rest_ms = READER_REST_MAX_MS;
	if (r->settings->read_refresh_ms == 0)
		rest_ms = -1;			/* never unasked */
	else if (rest_ms < r->settings->read_refresh_ms)
		rest_ms = r->settings->read_refresh_ms;
	atomic_store(&page->current_until_ms, monotonic_ms() + rest_ms);
}

/* The rows' page, in the cache from now on; takes result and version over. */
static void
take_rows(struct reader *r, struct read_job *job, PGresult *result, char *version, int64_t cost_us)
{
	struct page *page = job->render(job, result);

	PQclear(result);
	if (page == NULL)
	{
		free(version);
		job->status = READ_UNAVAILABLE;
		job->retry_after_s = 1;
		return;
	}
	page->version = version;
	page->cost_us = cost_us;
	set_current(r, page, cost_us);
	page_cache_put(r->cache, job->key, page);
	job->page = page;
	job->status = READ_OK;
}

/* The data's version now, to be freed; NULL when the job has failed. */
static char *
ask_version(struct reader_thread *t, struct read_job *job)
{
	PGresult   *result = execute(t, version_sql, 0, NULL);
	char	   *version = NULL;

	if (PQresultStatus(result) != PGRES_TUPLES_OK || PQntuples(result) != 1)
	{
		take_failure(t, job, result);
		return NULL;
	}
	if (asprintf(&version, "%u %s", atomic_load(&t->reader->epoch), PQgetvalue(result, 0, 0)) < 0)
	{
		version = NULL;
		job->status = READ_UNAVAILABLE;
		job->retry_after_s = 1;
	}
	PQclear(result);
	return version;
}

/* One attempt. */
static void
run_once(struct reader_thread *t, struct read_job *job)
{
	struct page *kept;
	char	   *version;
	PGresult   *result;
	int64_t		began_us;

	if (!ensure_connected(t))
	{
		int64_t		wait_ms = t->retry_at_ms - monotonic_ms();

		job->status = READ_UNAVAILABLE;
		job->retry_after_s = wait_ms > 0 ? (int) (wait_ms / 1000) + 1 : 1;
		return;
	}
	/* before the query: what is committed in between makes the page look old, not new */
	version = ask_version(t, job);
	if (version == NULL)
		return;
	kept = page_cache_get(t->reader->cache, job->key);
	if (kept && kept->version && !job->timely && strcmp(kept->version, version) == 0)
	{
		free(version);
		set_current(t->reader, kept, 0);
		metric_add(METRIC_READ_CACHE_CONFIRMED, 1);
		job->page = kept;
		job->status = READ_OK;
		return;
	}
	page_drop(kept);
	began_us = monotonic_us();
	result = execute(t, job->sql, job->nparameters, job->parameters);
	if (PQresultStatus(result) == PGRES_TUPLES_OK)
	{
		take_rows(t->reader, job, result, version, monotonic_us() - began_us);
		metric_observe_us(METRIC_READ_SECONDS, monotonic_us() - began_us);
		return;
	}
	free(version);
	take_failure(t, job, result);
}

static void
run(struct reader_thread *t, struct read_job *job)
{
	static struct log_limit limit;
	bool		was_connected = t->connection != NULL;

	run_once(t, job);
	/* an idle connection may have died long ago; reading twice harms nobody */
	if (job->status == READ_UNAVAILABLE && was_connected && !is_stopping(t->reader) &&
		(t->connection == NULL || PQstatus(t->connection) != CONNECTION_OK))
		run_once(t, job);
	if (job->status == READ_OK)
		metric_add(METRIC_READ_QUERIES, 1);
	else if (job->status == READ_UNAVAILABLE)
		metric_add(METRIC_READ_UNAVAILABLE, 1);
	else
		metric_add(METRIC_READ_ERRORS, 1);
	if (job->status != READ_OK && job->status != READ_INVALID && job->sqlstate[0])
		log_limited(&limit, LOG_LEVEL_WARNING, "read_failed", LOG_STR("sqlstate", job->sqlstate),
					LOG_STR("reason", job->message));
}

/* Takes a job off the list of those that may be joined; under the lock. */
static void
stop_sharing(struct reader *r, struct read_job *job)
{
	for (struct read_job **p = &r->shared; *p; p = &(*p)->next_shared)
	{
		if (*p == job)
		{
			*p = job->next_shared;
			return;
		}
	}
}

/* The same; the job's followers. */
static struct read_job *
end_sharing(struct reader *r, struct read_job *job)
{
	struct read_job *followers;

	pthread_mutex_lock(&r->lock);
	stop_sharing(r, job);
	followers = job->followers;
	job->followers = NULL;
	pthread_mutex_unlock(&r->lock);
	return followers;
}

/* Tells the owner, and those who wait for the same. */
static void
deliver(struct reader *r, struct read_job *job)
{
	struct read_job *follower = end_sharing(r, job);

	while (follower)
	{
		struct read_job *next = follower->next;

		follower->status = job->status;
		follower->retry_after_s = job->retry_after_s;
		memcpy(follower->sqlstate, job->sqlstate, sizeof(job->sqlstate));
		memcpy(follower->message, job->message, sizeof(job->message));
		if (job->page)
			follower->page = page_hold(job->page);
		follower->done(follower);
		follower = next;
	}
	job->done(job);
}

void
read_job_clear(struct read_job *job)
{
	page_drop(job->page);
	job->page = NULL;
}

static void *
reader_main(void *arg)
{
	struct reader_thread *t = arg;
	struct reader *r = t->reader;

	pthread_mutex_lock(&r->lock);
	for (;;)
	{
		struct read_job *job;
		bool		stop;

		while (r->first == NULL && !r->stop)
			pthread_cond_wait(&r->wake, &r->lock);
		job = r->first;
		if (job == NULL)
			break;
		r->first = job->next;
		if (r->first == NULL)
			r->last = NULL;
		r->queued--;
		/* nobody waits for it any more: the next one matters more */
		stop = r->stop || (job->followers == NULL && atomic_load(&job->abandoned));
		if (stop)
			stop_sharing(r, job);
		pthread_mutex_unlock(&r->lock);
		if (stop)
		{
			job->status = READ_UNAVAILABLE;
			job->retry_after_s = 1;
		}
		else
			run(t, job);
		deliver(r, job);
		pthread_mutex_lock(&r->lock);
	}
	pthread_mutex_unlock(&r->lock);
	disconnect(t);
	return NULL;
}

struct reader *
reader_open(const struct settings *settings)
{
	int			n = (int) settings->read_connections;
	struct reader *r = calloc(1, sizeof(*r) + (size_t) n * sizeof(r->threads[0]));

	if (r == NULL)
		return NULL;
	r->settings = settings;
	r->cache = page_cache_new((size_t) settings->read_cache_bytes);
	if (r->cache == NULL)
	{
		free(r);
		return NULL;
	}
	pthread_mutex_init(&r->lock, NULL);
	pthread_cond_init(&r->wake, NULL);
	for (int i = 0; i < n; i++)
	{
		r->threads[i].reader = r;
		if (pthread_create(&r->threads[i].thread, NULL, reader_main, &r->threads[i]) != 0)
		{
			log_event(LOG_LEVEL_ERROR, "reader_start_failed", LOG_STR("reason", "could not create a thread"));
			reader_close(r);
			reader_free(r);
			return NULL;
		}
		r->nthreads++;
	}
	return r;
}

struct page *
reader_page(struct reader *r, const char *key)
{
	struct page *page;
	bool		down;

	pthread_mutex_lock(&r->lock);
	down = r->down;
	pthread_mutex_unlock(&r->lock);
	page = down ? NULL : page_cache_get(r->cache, key);
	if (page && monotonic_ms() < atomic_load(&page->current_until_ms))
		return page;
	page_drop(page);
	return NULL;
}

bool
reader_submit(struct reader *r, struct read_job *job)
{
	bool		taken = false;
	struct read_job *leader = NULL;

	job->next = NULL;
	job->followers = NULL;
	pthread_mutex_lock(&r->lock);
	if (!job->fresh)
	{
		for (leader = r->shared; leader && strcmp(leader->key, job->key) != 0;)
			leader = leader->next_shared;
	}
	if (leader)
	{
		job->next = leader->followers;
		leader->followers = job;
		taken = true;
	}
	else if (!r->stop && (r->queued < r->settings->read_queue || (job->urgent && !job->fresh)))
	{
		if (job->urgent)
		{
			job->next = r->first;
			r->first = job;
		}
		else if (r->last)
			r->last->next = job;
		else
			r->first = job;
		if (job->next == NULL)
			r->last = job;
		r->queued++;
		/* a key's later leader stands first: those who come now join the newer */
		taken = true;
		job->next_shared = r->shared;
		r->shared = job;
		pthread_cond_signal(&r->wake);
	}
	pthread_mutex_unlock(&r->lock);
	return taken;
}

void
reader_close(struct reader *r)
{
	pthread_mutex_lock(&r->lock);
	r->stop = true;
	pthread_cond_broadcast(&r->wake);
	pthread_mutex_unlock(&r->lock);
	for (int i = 0; i < r->nthreads; i++)
		pthread_join(r->threads[i].thread, NULL);
}

void
reader_free(struct reader *r)
{
	if (r == NULL)
		return;
	page_cache_free(r->cache);
	pthread_cond_destroy(&r->wake);
	pthread_mutex_destroy(&r->lock);
	free(r);
}
