/*
 * The store; see store.h.
 *
 * Locking: `lock` guards the queue, the facts and the words for /readyz; it is
 * never held while anything waits. The committer's thread alone touches the
 * connection and the batch. It sleeps in poll() on an eventfd, which a
 * submission to an empty queue writes, and on the connection's socket, so that
 * a server that goes away is noticed at once.
 */
#include "gateway/store.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "gateway/backoff.h"
#include "gateway/commit.h"
#include "gateway/log.h"
#include "gateway/prices.h"
#include "gateway/selfmetrics.h"
#include "gateway/settings.h"

#define BACKOFF_FIRST_US	INT64_C(100000)
#define BACKOFF_MAX_US		INT64_C(10000000)
#define FACTS_REFRESH_US	INT64_C(60000000)
#define IDLE_WAIT_US		INT64_C(1000000)
#define US_PER_MS			INT64_C(1000)
#define US_PER_SECOND		INT64_C(1000000)

struct store
{
	/* constant after store_open */
	struct pgsession_options session_options;
	size_t		batch_rows;
	size_t		max_requests;
	size_t		max_bytes;
	int64_t		wait_us;		/* longest a submission waits */
	int			wake_fd;
	pthread_t	thread;

	_Atomic int64_t give_up_us; /* monotonic: the committer must be done by then */
	_Atomic int64_t retry_at_us;	/* monotonic: the next attempt to connect */
	struct prices prices;		/* has a lock of its own */

	pthread_mutex_t lock;
	/* under lock */
	struct submission *head;
	struct submission **tail;
	size_t		queued;			/* submissions in the queue */
	size_t		inflight_bytes;	/* of all submissions not yet answered */
	bool		closing;
	bool		connected;
	int64_t		down_since_us;
	const char *state;			/* static text */
	struct store_facts facts;

	/* the committer's */
	struct committer committer;
	struct batch batch;
	int64_t		batch_deadline_us;	/* when the oldest submission of it expires */
	int64_t		facts_read_us;
	int			failures;		/* attempts in a row that failed */
	bool		outage_logged;
	char		last_reason[PGSESSION_MESSAGE_BYTES];
};

static void
wake(struct store *s)
{
	const uint64_t one = 1;

	/* the counter cannot overflow: it is reset with every read */
	if (write(s->wake_fd, &one, sizeof(one)) < 0)
		return;
}

/* Sleeps until woken, the socket speaks (when fd >= 0) or a time is reached. */
static void
sleep_until(struct store *s, int fd, int64_t until_us)
{
	struct pollfd pfds[2] = {{.fd = s->wake_fd, .events = POLLIN}, {.fd = fd, .events = POLLIN}};
	int64_t		left = until_us - monotonic_us();
	uint64_t	count;

	if (left < 0)
		left = 0;
	if (poll(pfds, fd >= 0 ? 2 : 1, (int) ((left + US_PER_MS - 1) / US_PER_MS)) > 0 &&
		(pfds[0].revents & POLLIN) &&
		read(s->wake_fd, &count, sizeof(count)) < 0)
		return;
}

/* Answers a list of submissions whose results are set. */
static void
answer(struct store *s, struct submission *list)
{
	size_t		bytes = 0;

	for (const struct submission *sub = list; sub != NULL; sub = sub->next)
		bytes += sub->nbytes;
	if (bytes > 0)
	{
		pthread_mutex_lock(&s->lock);
		s->inflight_bytes -= bytes;
		metric_set(METRIC_QUEUE_BYTES, (int64_t) s->inflight_bytes);
		pthread_mutex_unlock(&s->lock);
	}
	while (list != NULL)
	{
		struct submission *sub = list;

		list = sub->next;
		sub->done(sub);			/* its last touch */
	}
}

/* Takes submissions off the queue: up to batch_rows events, one at least. */
static struct submission *
take_queue(struct store *s)
{
	struct submission *list;
	struct submission **end;
	size_t		rows = 0;

	pthread_mutex_lock(&s->lock);
	list = s->head;
	end = &list;
	while (*end != NULL && (end == &list || rows + (*end)->nevents <= s->batch_rows))
	{
		rows += (*end)->nevents;
		s->queued--;
		end = &(*end)->next;
	}
	s->head = *end;
	*end = NULL;
	if (s->head == NULL)
		s->tail = &s->head;
	metric_set(METRIC_QUEUE_REQUESTS, (int64_t) s->queued);
	pthread_mutex_unlock(&s->lock);
	return list;
}

static bool
queue_is_empty(struct store *s, bool *closing)
{
	bool		empty;

	pthread_mutex_lock(&s->lock);
	empty = s->head == NULL;
	*closing = s->closing;
	pthread_mutex_unlock(&s->lock);
	return empty;
}

/* Fails a list of submissions. */
static void
answer_unavailable(struct store *s, struct submission *list)
{
	int			retry_after_s = store_retry_after_s(s);

	for (struct submission *sub = list; sub != NULL; sub = sub->next)
	{
		sub->result = SUBMISSION_UNAVAILABLE;
		sub->retry_after_s = retry_after_s;
		metric_add(METRIC_REFUSED_DEADLINE, 1);
	}
	answer(s, list);
}

/* Answers queued submissions whose time is up; the oldest are at the head. */
static void
expire_queue(struct store *s, int64_t now_us)
{
	struct submission *list;
	struct submission **end;

	pthread_mutex_lock(&s->lock);
	list = s->head;
	end = &list;
	while (*end != NULL && (*end)->deadline_us <= now_us)
	{
		s->queued--;
		end = &(*end)->next;
	}
	s->head = *end;
	*end = NULL;
	if (s->head == NULL)
		s->tail = &s->head;
	pthread_mutex_unlock(&s->lock);
	answer_unavailable(s, list);
}

/* Ends the batch, done or not, and answers it. */
static void
finish_batch(struct store *s)
{
	struct submission *list;
	bool		whole = s->batch.nunits == 0;

	if (s->batch.submissions == NULL)
		return;
	metric_add(whole ? METRIC_STORE_BATCHES : METRIC_STORE_BATCHES_FAILED, 1);
	list = batch_finish(&s->batch, store_retry_after_s(s));
	if (!whole)
		for (const struct submission *sub = list; sub != NULL; sub = sub->next)
			metric_add(METRIC_REFUSED_DEADLINE, sub->result == SUBMISSION_UNAVAILABLE);
	answer(s, list);
}

/* What cannot wait any longer is answered. */
static void
expire(struct store *s, int64_t now_us)
{
	if (s->batch.submissions != NULL && s->batch_deadline_us <= now_us)
		finish_batch(s);
	expire_queue(s, now_us);
}

/* Waits after a failure, answering what expires meanwhile. False to leave. */
static bool
back_off(struct store *s)
{
	int64_t		until_us = monotonic_us() + backoff_us(s->failures, BACKOFF_FIRST_US, BACKOFF_MAX_US);

	atomic_store(&s->retry_at_us, until_us);
	for (;;)
	{
		int64_t		now_us = monotonic_us();
		int64_t		slice_us = now_us + BACKOFF_FIRST_US;
		bool		closing;
		bool		empty = queue_is_empty(s, &closing);

		expire(s, now_us);
		if (closing && (now_us >= atomic_load(&s->give_up_us) ||
						(empty && s->batch.submissions == NULL)))
			return false;
		if (now_us >= until_us)
			return true;
		sleep_until(s, -1, slice_us < until_us ? slice_us : until_us);
	}
}

/* Tells readers how things are. */
static void
set_state(struct store *s, bool connected, const char *state)
{
	pthread_mutex_lock(&s->lock);
	if (s->connected && !connected)
		s->down_since_us = monotonic_us();
	s->connected = connected;
	s->state = state;
	pthread_mutex_unlock(&s->lock);
	metric_set(METRIC_PG_UP, connected);
}

static bool
is_up(struct store *s)
{
	bool		up;

	pthread_mutex_lock(&s->lock);
	up = s->connected;
	pthread_mutex_unlock(&s->lock);
	return up;
}

/* Logs the start of an outage, and again only when its reason changes. */
static void
note_failure(struct store *s, const struct pgfailure *failure)
{
	bool		operator_needed = failure->class == PGERROR_OPERATOR;

	s->failures++;
	set_state(s, false, operator_needed ? "needs_setup" : "unavailable");
	if (s->outage_logged && strcmp(s->last_reason, failure->message) == 0)
		return;
	s->outage_logged = true;
	memcpy(s->last_reason, failure->message, sizeof(s->last_reason));
	log_event(operator_needed ? LOG_LEVEL_ERROR : LOG_LEVEL_WARNING, "pg_lost",
			  LOG_STR("class", pgerror_class_name(failure->class)),
			  LOG_STR("sqlstate", failure->sqlstate),
			  LOG_STR("reason", failure->message));
}

static void
note_success(struct store *s)
{
	int64_t		outage_us;

	pthread_mutex_lock(&s->lock);
	outage_us = monotonic_us() - s->down_since_us;
	pthread_mutex_unlock(&s->lock);
	s->failures = 0;
	set_state(s, true, "ok");
	if (s->outage_logged)
		log_event(LOG_LEVEL_INFO, "pg_recovered", LOG_I64("outage_ms", outage_us / US_PER_MS));
	else
		log_event(LOG_LEVEL_INFO, "pg_connected");
	s->outage_logged = false;
	s->last_reason[0] = '\0';
}

/* The session is of no use any more. */
static bool
leave_session(struct store *s, const struct pgfailure *failure)
{
	pgsession_close(&s->committer.session);
	note_failure(s, failure);
	return false;
}

/* What the session has just read, for everyone. */
static bool
publish_facts(struct store *s, const struct store_facts *facts)
{
	struct pgfailure failure = {0};

	if (!prices_check(&s->prices, &s->committer.session, &failure))
		return leave_session(s, &failure);
	pthread_mutex_lock(&s->lock);
	s->facts = *facts;
	pthread_mutex_unlock(&s->lock);
	s->facts_read_us = monotonic_us();
	return true;
}

/* Loads the prices where there has been word of a change. */
static bool
refresh_prices(struct store *s)
{
	struct pgfailure failure = {0};

	if (!pgsession_notified(&s->committer.session) && !s->committer.prices_stale)
		return true;
	s->committer.prices_stale = false;
	return prices_load(&s->prices, &s->committer.session, &failure) || leave_session(s, &failure);
}

/* One attempt to connect. */
static bool
try_connect(struct store *s)
{
	struct pgfailure failure = {0};
	struct store_facts facts;

	if (!pgsession_open(&s->committer.session, &s->session_options, &facts, &failure))
	{
		metric_add(METRIC_STORE_CONNECT_FAILURES, 1);
		note_failure(s, &failure);
		return false;
	}
	metric_add(METRIC_STORE_CONNECTS, 1);
	return publish_facts(s, &facts);
}

/* Settings in the database may change under us; also shows that it answers. */
static bool
refresh_facts(struct store *s)
{
	struct pgfailure failure = {0};
	struct store_facts facts;

	return pgsession_read_facts(&s->committer.session, &facts, &failure)
		? publish_facts(s, &facts) : leave_session(s, &failure);
}

/* Makes the next batch of what is queued. False when there is none to work on. */
static bool
next_batch(struct store *s)
{
	struct submission *list;

	if (s->batch.submissions != NULL)
		return true;			/* one that is being tried again */
	list = take_queue(s);
	if (list == NULL)
		return false;
	s->batch_deadline_us = list->deadline_us;
	if (!batch_fill(&s->batch, list, prices_version(&s->prices)))
	{
		answer_unavailable(s, list);
		return false;
	}
	return true;
}

/* Works on the batch; on trouble, closes the session if it is of no use. */
static void
run_batch(struct store *s)
{
	struct pgfailure failure = {0};
	enum pgerror_class class = commit_batch(&s->committer, &s->batch, &failure);

	if (class == PGERROR_NONE)
	{
		if (!is_up(s))
			note_success(s);
		finish_batch(s);
		return;
	}
	metric_add(METRIC_STORE_RETRIES, 1);
	if (class == PGERROR_LOST || pgerror_needs_reconnect(failure.sqlstate))
		pgsession_close(&s->committer.session);
	note_failure(s, &failure);
}

/* Nothing to do: waits for work, and notices when the server goes away. */
static void
idle(struct store *s)
{
	sleep_until(s, PQsocket(s->committer.session.conn), monotonic_us() + IDLE_WAIT_US);
	if (!pgsession_alive(&s->committer.session))
	{
		struct pgfailure failure = {0};

		pgsession_failure(&s->committer.session, NULL, &failure);
		pgsession_close(&s->committer.session);
		note_failure(s, &failure);
		s->failures = 0;		/* try at once */
	}
}

static void *
committer_main(void *arg)
{
	struct store *s = arg;

	for (;;)
	{
		bool		closing;
		bool		empty = queue_is_empty(s, &closing);

		if (closing && ((empty && s->batch.submissions == NULL) ||
						monotonic_us() >= atomic_load(&s->give_up_us)))
			break;
		if (s->failures > 0 && !back_off(s))
			break;
		if (s->committer.session.conn == NULL)
		{
			if (!try_connect(s))
				continue;
		}
		else if ((monotonic_us() - s->facts_read_us >= FACTS_REFRESH_US ||
				  (s->failures > 0 && s->batch.submissions == NULL)) &&
				 !refresh_facts(s))
			continue;
		if (!refresh_prices(s))
			continue;
		/* while a batch is stuck, only its COMMIT shows that the trouble is over */
		if (!is_up(s) && s->batch.submissions == NULL)
			note_success(s);
		if (next_batch(s))
			run_batch(s);
		else if (queue_is_empty(s, &closing) && !closing)
			idle(s);
	}
	finish_batch(s);
	expire_queue(s, INT64_MAX);
	pgsession_close(&s->committer.session);
	return NULL;
}

struct store *
store_open(const struct settings *settings)
{
	struct store *s = calloc(1, sizeof(*s));
	int			rc;

	if (s == NULL)
	{
		log_event(LOG_LEVEL_ERROR, "store_failed", LOG_STR("reason", "out of memory"));
		return NULL;
	}
	s->session_options.db_url = settings->metrics_db_url;
	s->session_options.retention_days = settings->metrics_retention_days;
	s->batch_rows = (size_t) settings->metrics_batch_size;
	s->max_requests = (size_t) settings->queue_requests;
	s->max_bytes = (size_t) settings->inflight_bytes;
	s->wait_us = settings->metrics_flush_interval_ms * US_PER_MS;
	s->tail = &s->head;
	s->state = "connecting";
	s->down_since_us = monotonic_us();
	s->committer.session.give_up_us = &s->give_up_us;
	atomic_init(&s->give_up_us, INT64_MAX);
	atomic_init(&s->retry_at_us, 0);
	batch_init(&s->batch);
	prices_init(&s->prices);
	pthread_mutex_init(&s->lock, NULL);
	s->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	rc = s->wake_fd < 0 ? errno : pthread_create(&s->thread, NULL, committer_main, s);
	if (rc != 0)
	{
		log_event(LOG_LEVEL_ERROR, "store_failed", LOG_STR("reason", strerror(rc)));
		store_free(s);
		return NULL;
	}
	return s;
}

enum store_submit_result
store_submit(struct store *s, struct submission *sub)
{
	int64_t		now_us = monotonic_us();
	enum store_submit_result result = STORE_SUBMITTED;
	bool		was_empty = false;

	sub->result = SUBMISSION_PENDING;
	sub->retry_after_s = 0;
	sub->next = NULL;
	sub->deadline_us = now_us + s->wait_us;

	pthread_mutex_lock(&s->lock);
	if (s->closing || (!s->connected && now_us - s->down_since_us >= s->wait_us))
		result = STORE_CLOSED;
	else if (s->queued >= s->max_requests ||
			 (s->inflight_bytes > 0 && sub->nbytes > s->max_bytes - s->inflight_bytes) ||
			 sub->nbytes > s->max_bytes)
		result = STORE_FULL;
	else
	{
		was_empty = s->head == NULL;
		*s->tail = sub;
		s->tail = &sub->next;
		s->queued++;
		s->inflight_bytes += sub->nbytes;
		metric_set(METRIC_QUEUE_REQUESTS, (int64_t) s->queued);
		metric_set(METRIC_QUEUE_BYTES, (int64_t) s->inflight_bytes);
	}
	pthread_mutex_unlock(&s->lock);
	if (was_empty)
		wake(s);
	return result;
}

void
store_get_facts(struct store *s, struct store_facts *facts)
{
	pthread_mutex_lock(&s->lock);
	*facts = s->facts;
	pthread_mutex_unlock(&s->lock);
}

struct catalogue *
store_get_prices(struct store *s)
{
	return prices_get(&s->prices);
}

bool
store_ready(struct store *s, const char **state)
{
	bool		ready;

	pthread_mutex_lock(&s->lock);
	ready = s->connected && !s->closing;
	*state = s->closing ? "draining" : s->state;
	pthread_mutex_unlock(&s->lock);
	return ready;
}

int
store_retry_after_s(struct store *s)
{
	int64_t		left_us = atomic_load(&s->retry_at_us) - monotonic_us();

	return left_us <= 0 ? 1 : (int) (left_us / US_PER_SECOND) + 1;
}

void
store_close(struct store *s, int deadline_ms)
{
	atomic_store(&s->give_up_us, monotonic_us() + (int64_t) deadline_ms * US_PER_MS);
	pthread_mutex_lock(&s->lock);
	s->closing = true;
	pthread_mutex_unlock(&s->lock);
	wake(s);
	pthread_join(s->thread, NULL);
}

void
store_free(struct store *s)
{
	if (s == NULL)
		return;
	if (s->wake_fd >= 0)
		close(s->wake_fd);
	batch_free(&s->batch);
	copy_buffer_free(&s->committer.buffer);
	rejected_free(&s->committer.rejected);
	prices_free(&s->prices);
	pthread_mutex_destroy(&s->lock);
	free(s);
}
