/*
 * The store; see store.h.
 *
 * Submissions wait in a queue (queue.h). The committer's thread alone touches
 * the connection and the batch; it sleeps in poll() on the queue's eventfd and on
 * the connection's socket, so that a server that goes away is noticed at once.
 * What cannot wait for it the spooler takes (spool.h): a batch that could not be
 * committed in time, all that comes while PostgreSQL is away. `lock` guards the
 * facts and the words for /readyz.
 */
#include "gateway/store.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/backoff.h"
#include "gateway/commit.h"
#include "gateway/drain.h"
#include "gateway/log.h"
#include "gateway/parked.h"
#include "gateway/prices.h"
#include "gateway/queue.h"
#include "gateway/selfmetrics.h"
#include "gateway/settings.h"
#include "gateway/spool.h"

#define BACKOFF_FIRST_US	INT64_C(100000)
#define BACKOFF_MAX_US		INT64_C(10000000)
#define FACTS_REFRESH_US	INT64_C(60000000)
#define IDLE_WAIT_US		INT64_C(1000000)
#define US_PER_MS			INT64_C(1000)
#define US_PER_SECOND		INT64_C(1000000)

/* Attempts in a row that failed: from then on nothing waits for PostgreSQL. */
#define AWAY_FAILURES		2
/* Of the time for closing, what is left for the spool. */
#define CLOSE_SPOOL_MS		2000

struct store
{
	/* constant after store_open */
	struct pgsession_options session_options;
	struct spool_host spool_host;
	struct spool *spool;
	size_t		batch_rows;
	bool		spool_configured;
	bool		file_only;		/* metrics_storage is sqlite: there is no committer */
	bool		not_durable;	/* it is memory */
	pthread_t	thread;

	_Atomic int64_t give_up_us; /* monotonic: the committer must be done by then */
	_Atomic int64_t retry_at_us;	/* monotonic: the next attempt to connect */
	struct prices prices;		/* has a lock of its own */
	struct queue queue;			/* likewise */

	pthread_mutex_t lock;
	/* under lock */
	bool		connected;
	const char *state;			/* static text */
	struct store_facts facts;

	/* the committer's */
	struct committer committer;
	struct batch batch;
	int64_t		batch_deadline_us;	/* when the oldest submission of it expires */
	struct parked parked;		/* batches that are worked on by slices */
	bool		parked_turn;	/* theirs, not the queue's */
	bool		was_parked;		/* the batch in work */
	struct drain drain;
	int64_t		facts_read_us;
	int64_t		down_since_us;
	int			failures;		/* attempts in a row that failed */
	bool		prove;			/* only a COMMIT shows that the trouble is over */
	bool		outage_logged;
	char		last_reason[PGSESSION_MESSAGE_BYTES];
};

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
	queue_answer(&s->queue, list);
}

/*
 * What is left of the batch goes to the spool, under its batch ids: a COMMIT of
 * it may have been sent. Without a spool it is refused.
 */
static void
give_up_batch(struct store *s)
{
	if (s->batch.submissions == NULL)
		return;
	if (!queue_is_spoolable(&s->queue) || !spool_divert(s->spool, &s->batch))
		finish_batch(s);
}

/* True when the batch must not wait for PostgreSQL any longer. */
static bool
batch_is_due(struct store *s, int64_t now_us)
{
	return s->batch.submissions != NULL &&
		(s->batch_deadline_us <= now_us ||
		 (s->failures >= AWAY_FAILURES && queue_is_spoolable(&s->queue)));
}

/* A batch to work on, of those that have waited for it. */
static bool
unpark(struct store *s)
{
	if (s->batch.submissions != NULL)
		return true;
	s->was_parked = parked_pop(&s->parked, &s->batch, &s->batch_deadline_us);
	return s->was_parked;
}

/* Lets go of what cannot wait. */
static void
give_up_due(struct store *s, int64_t now_us)
{
	while (unpark(s) && batch_is_due(s, now_us))
		give_up_batch(s);
}

/* Waits after a failure, letting go of a batch that cannot. False to leave. */
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
		bool		empty = queue_is_empty(&s->queue, &closing);

		atomic_store(&s->committer.beat_us, now_us);
		give_up_due(s, now_us);
		if (closing && (now_us >= atomic_load(&s->give_up_us) || queue_is_spoolable(&s->queue) ||
						(empty && s->batch.submissions == NULL)))
			return false;
		if (now_us >= until_us)
			return true;
		queue_sleep(s->queue.committer_fd, -1, slice_us < until_us ? slice_us : until_us);
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
	queue_set_connected(&s->queue, connected, s->failures >= AWAY_FAILURES);
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

/* What an outage means for those who post. */
static const char *
consequence(struct store *s)
{
	struct store_facts facts;

	store_get_facts(s, &facts);
	if (!facts.known)
		return "events are refused (503): a gateway that has never reached its database cannot take any";
	return queue_is_spoolable(&s->queue) ? "events go to the spool" : "events are refused (503)";
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
			  LOG_STR("reason", failure->message),
			  LOG_STR("consequence", consequence(s)));
}

static void
note_success(struct store *s)
{
	int64_t		outage_us = monotonic_us() - s->down_since_us;

	s->failures = 0;
	s->prove = false;
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
	spool_remember(s->spool, facts);
	return true;
}

/* What the spool knows from an earlier connection, while nothing else is known. */
static void
offer_facts(void *arg, const struct store_facts *facts)
{
	struct store *s = arg;

	pthread_mutex_lock(&s->lock);
	if (!s->facts.known)
		s->facts = *facts;
	pthread_mutex_unlock(&s->lock);
}

static int
host_retry_after_s(void *arg)
{
	return store_retry_after_s(arg);
}

/* Loads the prices where there has been word of a change. */
static bool
refresh_prices(struct store *s)
{
	struct pgfailure failure = {0};

	if (!pgsession_notified(&s->committer.session) && !s->committer.prices_stale)
		return true;
	s->committer.prices_stale = false;
	if (!prices_load(&s->prices, &s->committer.session, &failure))
		return leave_session(s, &failure);
	spool_remember(s->spool, &s->facts);
	return true;
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
	if (s->parked_turn && unpark(s))
	{
		s->parked_turn = false;
		/* slices take their time: what is left may be for the spool */
		if (s->batch_deadline_us > monotonic_us() + COMMIT_SLICE_US || !queue_is_spoolable(&s->queue))
			return true;
		give_up_batch(s);
	}
	s->parked_turn = true;
	list = queue_take(&s->queue, s->batch_rows);
	if (list == NULL)
		return unpark(s);
	s->was_parked = false;
	queue_put_back(&s->queue, batch_set_aside(&list, &s->committer.recent));
	s->batch_deadline_us = list->deadline_us;
	if (!batch_fill(&s->batch, list, prices_version(&s->prices), &s->committer.recent))
	{
		queue_answer_unavailable(&s->queue, list, store_retry_after_s(s));
		return false;
	}
	metric_add(METRIC_EVENTS_SUSPECTED, s->batch.nsuspects);
	return true;
}

/* After work on a batch that did not end well. */
static void
note_trouble(struct store *s, enum pgerror_class class, const struct pgfailure *failure)
{
	if (class == PGERROR_LOST || pgerror_needs_reconnect(failure->sqlstate))
		pgsession_close(&s->committer.session);
	s->prove = class != PGERROR_LOST;
	note_failure(s, failure);
}

/* Works on the batch; on trouble, closes the session if it is of no use. */
static void
run_batch(struct store *s)
{
	struct pgfailure failure = {0};
	enum pgerror_class class;

	s->committer.deadline_us = queue_is_spoolable(&s->queue) ? s->batch_deadline_us : INT64_MAX;
	class = commit_batch(&s->committer, &s->batch, &failure);
	if (class == PGERROR_NONE)
	{
		if (!is_up(s))
			note_success(s);
		if (batch_current(&s->batch) == NULL)
			finish_batch(s);
		else
			(void) !parked_push(&s->parked, &s->batch, s->batch_deadline_us, s->was_parked);	/* without memory, the next slice is its own */
		return;
	}
	metric_add(METRIC_STORE_RETRIES, 1);
	note_trouble(s, class, &failure);
}

/* Drains a record; true when there was one to work on. */
static bool
drain_step(struct store *s)
{
	struct pgfailure failure = {0};
	enum pgerror_class class;

	if (!drain_next(&s->drain))
		return false;
	class = drain_run(&s->drain, &s->committer, &failure);
	if (class == PGERROR_NONE)
	{
		if (!is_up(s))
			note_success(s);
	}
	else if (class == PGERROR_LOST || pgerror_needs_reconnect(failure.sqlstate))
		note_trouble(s, class, &failure);
	else if (!is_up(s))
	{
		/* perhaps the record's own, which must not keep new events away: the next
		 * batch of them shows it */
		s->failures = 0;
		note_trouble(s, class, &failure);
	}
	return true;
}

/*
 * Whether a session that has just come up may be relied on. After a batch that
 * failed in a session that worked, its COMMIT must show it: its own, or, when it
 * has been spooled, that of the first record.
 */
static bool
is_proven(struct store *s)
{
	struct spool_counts counts;

	if (s->batch.submissions != NULL)
		return false;
	spool_counts(s->spool, &counts);
	return !s->prove || counts.records == 0;
}

/* Nothing to do: waits for work, and notices when the server goes away. */
static void
idle(struct store *s)
{
	queue_sleep(s->queue.committer_fd, PQsocket(s->committer.session.conn), monotonic_us() + IDLE_WAIT_US);
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
		bool		empty = queue_is_empty(&s->queue, &closing);

		atomic_store(&s->committer.beat_us, monotonic_us());
		if (closing && ((empty && s->batch.submissions == NULL && s->parked.first == NULL) ||
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
		if (!is_up(s) && is_proven(s))
			note_success(s);
		/* the new and the old by turns: neither waits for all of the other */
		if (next_batch(s))
		{
			run_batch(s);
			if (s->failures > 0)
				continue;
		}
		if (!closing && drain_step(s))
			continue;
		if (queue_is_empty(&s->queue, &closing) && !closing && s->parked.first == NULL)
			idle(s);
	}
	while (unpark(s))
		give_up_batch(s);
	pgsession_close(&s->committer.session);
	return NULL;
}

struct store *
store_open(const struct settings *settings)
{
	struct store *s = calloc(1, sizeof(*s));
	const char *reason = "out of memory or descriptors";
	int			rc;

	if (s == NULL)
	{
		log_event(LOG_LEVEL_ERROR, "store_failed", LOG_STR("reason", reason));
		return NULL;
	}
	s->session_options.db_url = settings->metrics_db_url;
	s->session_options.retention_days = settings->metrics_retention_days;
	s->batch_rows = (size_t) settings->metrics_batch_size;
	s->spool_configured = settings->spool_path[0] != '\0';
	s->file_only = settings->storage == STORAGE_SQLITE;
	s->not_durable = settings->storage == STORAGE_MEMORY;
	s->session_options.unlogged = s->not_durable;
	s->state = s->file_only ? "ok" : "connecting";
	s->down_since_us = monotonic_us();
	s->committer.session.give_up_us = &s->give_up_us;
	atomic_init(&s->give_up_us, INT64_MAX);
	atomic_init(&s->retry_at_us, 0);
	atomic_init(&s->committer.beat_us, monotonic_us());
	batch_init(&s->batch);
	prices_init(&s->prices);
	pthread_mutex_init(&s->lock, NULL);
	if (queue_init(&s->queue, (size_t) settings->queue_requests, (size_t) settings->inflight_bytes,
				   settings->metrics_flush_interval_ms * US_PER_MS))
	{
		s->spool_host = (struct spool_host) {.queue = &s->queue, .prices = &s->prices, .facts = offer_facts,
		.retry_after_s = host_retry_after_s, .arg = s};
		s->spool = spool_open(settings, &s->spool_host);
	}
	drain_init(&s->drain, s->spool);
	if (s->spool != NULL && s->file_only)
	{
		prices_offer(&s->prices, catalogue_shipped());
		queue_set_connected(&s->queue, false, true);
		return s;
	}
	if (!recent_init(&s->committer.recent, (size_t) settings->recent_keys))
		log_event(LOG_LEVEL_WARNING, "recent_keys_off", LOG_STR("reason", "out of memory"),
				  LOG_STR("consequence", "events that come twice slow the others down"));
	if (s->spool != NULL)
	{
		rc = pthread_create(&s->thread, NULL, committer_main, s);
		if (rc == 0)
			return s;
		reason = strerror(rc);
	}
	log_event(LOG_LEVEL_ERROR, "store_failed", LOG_STR("reason", reason));
	spool_close(s->spool);
	store_free(s);
	return NULL;
}

enum store_submit_result
store_submit(struct store *s, struct submission *sub)
{
	return queue_submit(&s->queue, sub);
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
store_alive(struct store *s)
{
	/* a batch may take several statements of the longest kind */
	return s->file_only || monotonic_us() - atomic_load(&s->committer.beat_us) < 4 * PGSESSION_TIMEOUT_US;
}

bool
store_ready(struct store *s, struct store_state *state)
{
	struct spool_counts counts;
	bool		closing;
	bool		spoolable = queue_is_spoolable(&s->queue);

	(void) queue_is_empty(&s->queue, &closing);
	spool_counts(s->spool, &counts);
	pthread_mutex_lock(&s->lock);
	*state = (struct store_state) {.word = closing ? "draining" : s->state, .durable_in = "nowhere",
	.spool = !s->spool_configured ? "off" : spoolable ? "ok" : "unavailable",
	.spooled_events = counts.events};
	if (s->connected)
		state->durable_in = s->not_durable ? "memory" : "postgres";
	else if (spoolable && s->facts.known)
		state->durable_in = s->file_only ? "sqlite" : "spool";
	else if (!s->facts.known && strcmp(s->state, "unavailable") == 0)
		state->word = "never_reached";
	pthread_mutex_unlock(&s->lock);
	return !closing && state->durable_in[0] != 'n';
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
	int			spool_ms = deadline_ms / 2 < CLOSE_SPOOL_MS ? deadline_ms / 2 : CLOSE_SPOOL_MS;

	atomic_store(&s->give_up_us, monotonic_us() + (int64_t) (deadline_ms - spool_ms) * US_PER_MS);
	queue_close(&s->queue);
	if (!s->file_only)
		pthread_join(s->thread, NULL);
	drain_free(&s->drain);
	drain_init(&s->drain, NULL);
	spool_close(s->spool);
}

void
store_free(struct store *s)
{
	if (s == NULL)
		return;
	spool_free(s->spool);
	batch_free(&s->batch);
	copy_buffer_free(&s->committer.buffer);
	copy_buffer_free(&s->committer.times);
	recent_free(&s->committer.recent);
	rejected_free(&s->committer.rejected);
	prices_free(&s->prices);
	queue_free(&s->queue);
	pthread_mutex_destroy(&s->lock);
	free(s);
}
