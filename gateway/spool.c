/*
 * The spooler; see spool.h. `lock` guards what the committer hands over and
 * takes; it is never held while the file is worked on.
 */
#include "gateway/spool.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "gateway/log.h"
#include "gateway/selfmetrics.h"
#include "gateway/settings.h"
#include "gateway/spool_facts.h"
#include "gateway/spool_table.h"
#include "gateway/timestamp.h"

#define REOPEN_US			INT64_C(5000000)	/* between attempts to open the file */
#define FULL_RETRY_US		INT64_C(1000000)	/* after the disk was full */
#define RECOVER_PAUSE_US	INT64_C(60000000)	/* one damaged file a minute */
#define GAUGES_US			INT64_C(1000000)
#define AHEAD_BYTES			((size_t) 8 * 1024 * 1024)	/* read ahead for the committer */
#define AHEAD_RECORDS		64
#define DELETE_RECORDS		64	/* drained records are deleted by so many, or when it is quiet */
#define US_PER_MS			INT64_C(1000)
#define OWN_SECRET_BYTES	32
#define FULL_HYSTERESIS		16	/* a full spool takes events again when 1/16 is free */

/* A batch the committer has handed over. */
struct diverted
{
	struct diverted *next;
	struct batch batch;
};

/* A record on its way to the committer. */
struct ahead
{
	struct ahead *next;
	struct spool_row row;
};

struct spool
{
	const struct spool_host *host;
	bool		configured;
	bool		keeps;			/* metrics_storage is sqlite: nothing is drained */
	int64_t		retention_us;	/* then */
	size_t		batch_rows;
	pthread_t	thread;

	pthread_mutex_t lock;
	/* under lock */
	struct diverted *diverted;
	struct diverted **diverted_tail;
	struct ahead *ahead;
	struct ahead **ahead_tail;
	size_t		ahead_bytes;
	size_t		ahead_records;
	int64_t		done_id;		/* drained up to here, still in the file */
	int64_t		done_records;
	int64_t		done_events;
	int64_t		done_bytes;
	struct store_facts facts;
	bool		facts_new;
	bool		closing;
	struct spool_counts counts;

	/* the spooler's */
	struct spool_file file;
	struct batch batch;
	int64_t		read_id;		/* read ahead up to here */
	int64_t		open_at_us;		/* monotonic: the next attempt */
	int64_t		full_until_us;	/* no room before that; 0: there is */
	int64_t		recovered_us;	/* monotonic: when a file was set aside */
	int64_t		in_use_since_us;	/* monotonic; 0: empty */
	int64_t		gauges_us;
	bool		full;
	bool		full_logged;
	bool		open_failure_logged;
};

/* ---------------------------------------------------------------- the file */

static bool
is_open(const struct spool *sp)
{
	return sp->file.db != NULL;
}

/* Whether new events may be taken; said to those who submit. */
static void
update_spoolable(struct spool *sp)
{
	int64_t		free_bytes = sp->file.max_bytes - sp->file.bytes;

	if (sp->full && monotonic_us() >= sp->full_until_us && free_bytes >= sp->file.max_bytes / FULL_HYSTERESIS)
		sp->full = false;		/* it is tried again */
	queue_set_spoolable(sp->host->queue, is_open(sp) && !sp->full);
	metric_set(METRIC_SPOOL_USABLE, is_open(sp) && !sp->full);
}

static void
update_gauges(struct spool *sp)
{
	int64_t		age_us = sp->file.records > 0 ? wall_clock_us() - sp->file.oldest_us : 0;

	sp->gauges_us = monotonic_us();
	metric_set(METRIC_SPOOL_RECORDS, sp->file.records);
	metric_set(METRIC_SPOOL_EVENTS, sp->file.events);
	metric_set(METRIC_SPOOL_BYTES, sp->file.bytes);
	metric_set(METRIC_SPOOL_OLDEST_US, age_us > 0 ? age_us : 0);
	pthread_mutex_lock(&sp->lock);
	sp->counts = (struct spool_counts) {sp->file.records, sp->file.events, sp->file.bytes};
	pthread_mutex_unlock(&sp->lock);
}

/* The pair of lines that says when the spool held events. */
static void
note_use(struct spool *sp)
{
	int64_t		now_us = monotonic_us();

	if (sp->keeps)
		;						/* it always is */
	else if (sp->file.records > 0 && sp->in_use_since_us == 0)
	{
		sp->in_use_since_us = now_us;
		log_event(LOG_LEVEL_WARNING, "spool_in_use", LOG_STR("file", sp->file.path),
				  LOG_I64("events", sp->file.events), LOG_I64("records", sp->file.records));
	}
	else if (sp->file.records == 0 && sp->in_use_since_us != 0 && is_open(sp))
	{
		log_event(LOG_LEVEL_INFO, "spool_drained",
				  LOG_I64("in_use_ms", (now_us - sp->in_use_since_us) / US_PER_MS));
		sp->in_use_since_us = 0;
		spool_file_shrink(&sp->file);
	}
	update_gauges(sp);
	update_spoolable(sp);
}

/* Without a database the file has a secret of its own, and the table. */
static bool
own_facts(struct spool *sp, struct store_facts *facts)
{
	enum spool_status status = spool_table_create(&sp->file);

	if (status == SPOOL_OK && !facts->known)
	{
		facts->hash_secret_len = OWN_SECRET_BYTES;
		facts->known = getrandom(facts->hash_secret, OWN_SECRET_BYTES, 0) == OWN_SECRET_BYTES;
		status = facts->known ? spool_facts_save(&sp->file, facts, NULL) : SPOOL_FULL;
	}
	facts->retention_us = sp->retention_us;
	if (status != SPOOL_OK)
		log_event(LOG_LEVEL_ERROR, "spool_unavailable", LOG_STR("file", sp->file.path), LOG_STR("reason", sp->file.error));
	return status == SPOOL_OK;
}

/*
 * The file has been opened again, or is a new one with the old one's records
 * under their ids: what has been drained goes, if it is still there.
 */
static bool
drop_drained(struct spool *sp)
{
	int64_t		id;
	int64_t		records;
	int64_t		events;
	int64_t		bytes;

	pthread_mutex_lock(&sp->lock);
	id = sp->done_id;
	records = sp->done_records;
	events = sp->done_events;
	bytes = sp->done_bytes;
	sp->done_records = sp->done_events = sp->done_bytes = 0;
	pthread_mutex_unlock(&sp->lock);
	if (records == 0)
		return true;
	if (spool_file_delete(&sp->file, id, 0, 0, 0) == SPOOL_OK && spool_file_recount(&sp->file) == SPOOL_OK)
		return true;
	pthread_mutex_lock(&sp->lock);
	sp->done_records += records;
	sp->done_events += events;
	sp->done_bytes += bytes;
	pthread_mutex_unlock(&sp->lock);
	return false;
}

/* The file is there: what it knows is offered to those who know nothing yet. */
static void
opened(struct spool *sp)
{
	struct store_facts facts;
	struct catalogue *catalogue;

	sp->open_failure_logged = false;
	sp->full = false;
	spool_facts_load(&sp->file, &facts, &catalogue);
	if ((sp->keeps && !own_facts(sp, &facts)) || !drop_drained(sp))
	{
		catalogue_release(catalogue);
		spool_file_shut(&sp->file);
		sp->open_at_us = monotonic_us() + REOPEN_US;
		return;
	}
	if (catalogue != NULL)
		prices_offer(sp->host->prices, catalogue);
	if (facts.known)
		sp->host->facts(sp->host->arg, &facts);
	log_event(LOG_LEVEL_INFO, "spool_open", LOG_STR("file", sp->file.path), LOG_I64("events", sp->file.events),
			  LOG_I64("bytes", sp->file.bytes));
	note_use(sp);
}

static void
try_open(struct spool *sp)
{
	if (!sp->configured || is_open(sp) || monotonic_us() < sp->open_at_us)
		return;
	if (spool_file_open(&sp->file))
	{
		opened(sp);
		return;
	}
	sp->open_at_us = monotonic_us() + REOPEN_US;
	metric_add(METRIC_SPOOL_FAILURES, 1);
	if (!sp->open_failure_logged)
		log_event(LOG_LEVEL_ERROR, "spool_unavailable", LOG_STR("file", sp->file.path), LOG_STR("reason", sp->file.error),
				  LOG_STR("consequence", "while PostgreSQL is away, events are refused (503)"));
	sp->open_failure_logged = true;
}

/* What the file did not do; goes on with a new one where it is broken. */
static void
file_failed(struct spool *sp, enum spool_status status)
{
	static struct log_limit limit;
	int64_t		now_us = monotonic_us();

	metric_add(METRIC_SPOOL_FAILURES, 1);
	if (status == SPOOL_FULL)
	{
		if (!sp->full_logged)
			log_event(LOG_LEVEL_WARNING, "spool_full", LOG_STR("file", sp->file.path), LOG_STR("reason", sp->file.error));
		sp->full_logged = true;
		return;
	}
	log_limited(&limit, LOG_LEVEL_ERROR, "spool_failed", LOG_STR("file", sp->file.path), LOG_STR("reason", sp->file.error));
	if (status == SPOOL_IO_ERROR)
	{
		spool_file_shut(&sp->file);
		sp->open_at_us = now_us;
	}
	else if ((sp->recovered_us == 0 || now_us - sp->recovered_us >= RECOVER_PAUSE_US) && spool_file_recover(&sp->file))
	{
		sp->recovered_us = now_us;
		opened(sp);
		return;
	}
	else
	{
		spool_file_shut(&sp->file);
		sp->open_at_us = now_us + REOPEN_US;
	}
	try_open(sp);
	update_spoolable(sp);
}

/* ------------------------------------------------------------------ writing */

/* The units of a batch, into the open transaction. */
static enum spool_status
append_batch(struct spool *sp, const struct batch *b)
{
	for (int u = b->nunits - 1; u >= 0; u--)
	{
		const struct batch_unit *unit = &b->units[u];
		struct spool_head head = {.received_us = wall_clock_us(), .events = (uint32_t) unit->count};
		size_t		len = spool_record_size(b, unit);
		uint8_t    *payload = malloc(len);
		enum spool_status status;

		if (payload == NULL)
			return SPOOL_FULL;
		memcpy(head.batch_id, unit->id, sizeof(head.batch_id));
		spool_record_encode(b, unit, payload);
		status = spool_file_append(&sp->file, &head, payload, len);
		free(payload);
		if (status == SPOOL_OK && sp->keeps)
			status = spool_table_write(&sp->file, b, unit);
		if (status != SPOOL_OK)
			return status;
	}
	return SPOOL_OK;
}

/* Answers the submissions of a batch that is in the file, or is not. */
static void
answer_batch(struct spool *sp, struct batch *b, bool spooled)
{
	struct submission *list;

	if (spooled)
		batch_set_spooled(b);
	list = batch_finish(b, sp->host->retry_after_s(sp->host->arg));
	for (const struct submission *sub = list; sub != NULL; sub = sub->next)
		metric_add(METRIC_REFUSED_DEADLINE, sub->result == SUBMISSION_UNAVAILABLE);
	queue_answer(sp->host->queue, list);
}

/* One transaction for all that is there; false when it failed. */
static bool
write_group(struct spool *sp, const struct diverted *diverted, const struct batch *batch)
{
	enum spool_status status;
	uint64_t	events;

	if (!is_open(sp))
		return false;
	status = spool_file_begin(&sp->file);
	for (const struct diverted *d = diverted; d != NULL && status == SPOOL_OK; d = d->next)
		status = append_batch(sp, &d->batch);
	if (status == SPOOL_OK)
		status = append_batch(sp, batch);
	events = (uint64_t) sp->file.new_events;
	if (status == SPOOL_OK)
		status = spool_file_commit(&sp->file);
	else
		spool_file_rollback(&sp->file);
	if (status == SPOOL_OK)
	{
		metric_add(METRIC_SPOOL_EVENTS_SPOOLED, events);
		if (sp->full_logged)
			log_event(LOG_LEVEL_INFO, "spool_has_room", LOG_I64("bytes", sp->file.bytes));
		sp->full_logged = false;
		return true;
	}
	if (status == SPOOL_FULL)
	{
		sp->full = true;
		sp->full_until_us = monotonic_us() + FULL_RETRY_US;
	}
	file_failed(sp, status);
	return false;
}

/* Spools, or refuses, what the committer gave up and what waited too long. */
static bool
take_events(struct spool *sp, bool all, int64_t *until_us)
{
	struct queue *queue = sp->host->queue;
	struct submission *list = queue_take_overdue(queue, sp->batch_rows, all, until_us);
	struct diverted *diverted;
	bool		done;

	pthread_mutex_lock(&sp->lock);
	diverted = sp->diverted;
	sp->diverted = NULL;
	sp->diverted_tail = &sp->diverted;
	pthread_mutex_unlock(&sp->lock);
	if (list == NULL && diverted == NULL)
		return false;

	if (list != NULL && (!is_open(sp) || !batch_fill(&sp->batch, list, prices_version(sp->host->prices), NULL)))
	{
		queue_answer_unavailable(queue, list, sp->host->retry_after_s(sp->host->arg));
		list = NULL;
	}
	done = write_group(sp, diverted, &sp->batch);
	/* who is answered may ask how full it is */
	note_use(sp);
	while (diverted != NULL)
	{
		struct diverted *next = diverted->next;

		answer_batch(sp, &diverted->batch, done);
		batch_free(&diverted->batch);
		free(diverted);
		diverted = next;
	}
	if (list != NULL)
		answer_batch(sp, &sp->batch, done);
	return true;
}

bool
spool_divert(struct spool *sp, struct batch *b)
{
	struct diverted *d = malloc(sizeof(*d));

	if (d == NULL)
		return false;
	*d = (struct diverted) {.batch = *b};
	batch_init(b);
	pthread_mutex_lock(&sp->lock);
	*sp->diverted_tail = d;
	sp->diverted_tail = &d->next;
	pthread_mutex_unlock(&sp->lock);
	queue_wake(sp->host->queue->spooler_fd);
	return true;
}

/* ----------------------------------------------------------------- draining */

/* Deletes what has been drained; when nothing else is to be done, every little bit. */
static bool
delete_drained(struct spool *sp, bool quiet)
{
	int64_t		id;
	int64_t		records;
	int64_t		events;
	int64_t		bytes;
	enum spool_status status;

	pthread_mutex_lock(&sp->lock);
	id = sp->done_id;
	records = sp->done_records;
	events = sp->done_events;
	bytes = sp->done_bytes;
	quiet |= sp->ahead == NULL;
	pthread_mutex_unlock(&sp->lock);
	if (!is_open(sp) || records == 0 || (records < DELETE_RECORDS && !quiet))
		return false;
	status = spool_file_delete(&sp->file, id, records, events, bytes);
	/* a spool that has filled its disk leaves no room for a deletion */
	if (status == SPOOL_FULL && records == sp->file.records && spool_file_renew(&sp->file))
	{
		status = SPOOL_OK;
		pthread_mutex_lock(&sp->lock);
		sp->facts_new = sp->facts.known;
		pthread_mutex_unlock(&sp->lock);
	}
	if (status != SPOOL_OK)
	{
		file_failed(sp, status);
		return false;
	}
	pthread_mutex_lock(&sp->lock);
	sp->done_records -= records;
	sp->done_events -= events;
	sp->done_bytes -= bytes;
	pthread_mutex_unlock(&sp->lock);
	note_use(sp);
	return true;
}

/* Reads a record for the committer, which is connected. */
static bool
read_ahead(struct spool *sp)
{
	struct ahead *a;
	enum spool_status status;
	bool		enough;
	bool		was_empty;

	pthread_mutex_lock(&sp->lock);
	enough = sp->closing || sp->keeps || sp->ahead_records >= AHEAD_RECORDS || sp->ahead_bytes >= AHEAD_BYTES;
	was_empty = sp->ahead == NULL;
	pthread_mutex_unlock(&sp->lock);
	if (enough || !is_open(sp) || sp->file.records == 0)
		return false;
	a = malloc(sizeof(*a));
	if (a == NULL)
		return false;
	a->next = NULL;
	status = spool_file_read(&sp->file, sp->read_id, &a->row);
	if (status != SPOOL_OK)
	{
		free(a);
		if (status != SPOOL_EMPTY)
			file_failed(sp, status);
		return false;
	}
	sp->read_id = a->row.id;
	pthread_mutex_lock(&sp->lock);
	*sp->ahead_tail = a;
	sp->ahead_tail = &a->next;
	sp->ahead_records++;
	sp->ahead_bytes += a->row.len;
	pthread_mutex_unlock(&sp->lock);
	if (was_empty)
		queue_wake(sp->host->queue->committer_fd);
	return true;
}

struct spool_row *
spool_next(struct spool *sp)
{
	struct ahead *a;

	pthread_mutex_lock(&sp->lock);
	a = sp->ahead;
	if (a != NULL)
	{
		sp->ahead = a->next;
		if (sp->ahead == NULL)
			sp->ahead_tail = &sp->ahead;
		sp->ahead_records--;
		sp->ahead_bytes -= a->row.len;
	}
	pthread_mutex_unlock(&sp->lock);
	if (a == NULL)
		return NULL;
	queue_wake(sp->host->queue->spooler_fd);
	return &a->row;
}

void
spool_keep(struct spool_row *row)
{
	spool_row_free(row);
	free((char *) row - offsetof(struct ahead, row));
}

void
spool_done(struct spool *sp, struct spool_row *row)
{
	pthread_mutex_lock(&sp->lock);
	sp->done_id = row->id;
	sp->done_records++;
	sp->done_events += row->head.events;
	sp->done_bytes += (int64_t) row->len;
	pthread_mutex_unlock(&sp->lock);
	spool_keep(row);
	queue_wake(sp->host->queue->spooler_fd);
}

/* -------------------------------------------------------------------- facts */

void
spool_remember(struct spool *sp, const struct store_facts *facts)
{
	pthread_mutex_lock(&sp->lock);
	sp->facts = *facts;
	sp->facts_new = true;
	pthread_mutex_unlock(&sp->lock);
	queue_wake(sp->host->queue->spooler_fd);
}

static void
save_facts(struct spool *sp)
{
	struct store_facts facts;
	struct catalogue *catalogue;
	enum spool_status status;
	bool		wanted;

	pthread_mutex_lock(&sp->lock);
	wanted = sp->facts_new && is_open(sp) && !sp->full;
	if (wanted)
		sp->facts_new = false;
	facts = sp->facts;
	pthread_mutex_unlock(&sp->lock);
	if (!wanted)
		return;
	catalogue = prices_get(sp->host->prices);
	status = spool_facts_save(&sp->file, &facts, catalogue);
	catalogue_release(catalogue);
	if (status != SPOOL_OK)
	{
		pthread_mutex_lock(&sp->lock);
		sp->facts_new = true;
		pthread_mutex_unlock(&sp->lock);
		file_failed(sp, status);
	}
}

/* ------------------------------------------------------------------ the thread */

static void *
spooler_main(void *arg)
{
	struct spool *sp = arg;
	bool		closing = false;

	for (;;)
	{
		int64_t		until_us;
		bool		busy;

		try_open(sp);
		busy = take_events(sp, closing, &until_us);
		save_facts(sp);
		busy |= read_ahead(sp);
		busy |= delete_drained(sp, !busy);
		if (busy)
			continue;
		if (closing)
			break;
		pthread_mutex_lock(&sp->lock);
		closing = sp->closing;
		pthread_mutex_unlock(&sp->lock);
		if (closing)
			continue;
		if (monotonic_us() - sp->gauges_us >= GAUGES_US)
		{
			update_gauges(sp);
			update_spoolable(sp);
		}
		if (until_us > sp->gauges_us + GAUGES_US)
			until_us = sp->gauges_us + GAUGES_US;
		queue_sleep(sp->host->queue->spooler_fd, -1, until_us);
	}
	if (is_open(sp) && sp->file.records > 0 && !sp->keeps)
		log_event(LOG_LEVEL_WARNING, "spool_kept", LOG_STR("file", sp->file.path), LOG_I64("events", sp->file.events));
	spool_file_close(&sp->file);
	return NULL;
}

void
spool_free(struct spool *sp)
{
	if (sp == NULL)
		return;
	while (sp->ahead != NULL)
	{
		struct ahead *next = sp->ahead->next;

		spool_keep(&sp->ahead->row);
		sp->ahead = next;
	}
	batch_free(&sp->batch);
	pthread_mutex_destroy(&sp->lock);
	free(sp);
}

struct spool *
spool_open(const struct settings *settings, const struct spool_host *host)
{
	struct spool *sp = calloc(1, sizeof(*sp));
	int			rc;

	if (sp == NULL)
	{
		log_event(LOG_LEVEL_ERROR, "spool_failed", LOG_STR("reason", "out of memory"));
		return NULL;
	}
	sp->host = host;
	sp->configured = settings->spool_path[0] != '\0';
	sp->keeps = settings->storage == STORAGE_SQLITE;
	sp->retention_us = settings->metrics_retention_days * US_PER_DAY;
	sp->batch_rows = (size_t) settings->metrics_batch_size;
	sp->diverted_tail = &sp->diverted;
	sp->ahead_tail = &sp->ahead;
	sp->read_id = INT64_MIN;
	spool_file_init(&sp->file, settings->spool_path, settings->spool_max_bytes);
	sp->file.shared = sp->keeps;
	batch_init(&sp->batch);
	pthread_mutex_init(&sp->lock, NULL);
	rc = pthread_create(&sp->thread, NULL, spooler_main, sp);
	if (rc == 0)
		return sp;
	log_event(LOG_LEVEL_ERROR, "spool_failed", LOG_STR("reason", strerror(rc)));
	spool_file_close(&sp->file);
	spool_free(sp);
	return NULL;
}

void
spool_close(struct spool *sp)
{
	if (sp == NULL)
		return;
	pthread_mutex_lock(&sp->lock);
	sp->closing = true;
	pthread_mutex_unlock(&sp->lock);
	queue_wake(sp->host->queue->spooler_fd);
	pthread_join(sp->thread, NULL);
}

void
spool_counts(struct spool *sp, struct spool_counts *counts)
{
	pthread_mutex_lock(&sp->lock);
	*counts = sp->counts;
	pthread_mutex_unlock(&sp->lock);
}
