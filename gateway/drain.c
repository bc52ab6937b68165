/*
 * Draining the spool; see drain.h.
 */
#include "gateway/drain.h"

#include "gateway/backoff.h"
#include "gateway/log.h"
#include "gateway/selfmetrics.h"

#define DRAIN_BACKOFF_FIRST_US	INT64_C(200000)
#define DRAIN_BACKOFF_MAX_US	INT64_C(30000000)
#define DRAIN_ARENA_BYTES		((size_t) 16 * 1024 * 1024)

void
drain_init(struct drain *d, struct spool *spool)
{
	*d = (struct drain) {.spool = spool};
	batch_init(&d->batch);
	arena_init(&d->arena, DRAIN_ARENA_BYTES);
}

void
drain_free(struct drain *d)
{
	if (d->row != NULL)
		spool_keep(d->row);
	batch_free(&d->batch);
	arena_free(&d->arena);
}

bool
drain_next(struct drain *d)
{
	const struct spool_unit *unit;

	if (d->failures > 0 && monotonic_us() < d->retry_at_us)
		return false;
	if (d->row == NULL)
		d->row = spool_next(d->spool);
	if (d->row == NULL)
		return false;
	if (d->batch.submissions != NULL)
		return true;
	unit = &d->row->unit;
	d->submission = (struct submission) {.events = unit->events, .nevents = unit->nevents,
	.catalogue_version = unit->catalogue_version, .arena = &d->arena};
	/* without memory, later */
	return batch_restore(&d->batch, &d->submission, unit->ndirect, unit->staged, d->row->head.batch_id);
}

/* The record is stored. */
static void
finish(struct drain *d)
{
	uint64_t	rejected = 0;

	for (size_t i = 0; i < d->submission.nevents; i++)
		rejected += d->submission.events[i].outcome == EVENT_REJECTED;
	metric_add(METRIC_SPOOL_EVENTS_DRAINED, d->submission.nevents - rejected);
	metric_add(METRIC_SPOOL_EVENTS_REJECTED, rejected);
	metric_add(METRIC_EVENTS_REJECTED, rejected);
	(void) batch_finish(&d->batch, 0);
	arena_free(&d->arena);
	spool_done(d->spool, d->row);
	d->row = NULL;
	d->failures = 0;
}

enum pgerror_class
drain_run(struct drain *d, struct committer *c, struct pgfailure *failure)
{
	static struct log_limit limit;
	enum pgerror_class class;

	c->deadline_us = INT64_MAX;
	class = commit_batch(c, &d->batch, failure);
	if (class == PGERROR_NONE)
	{
		if (batch_current(&d->batch) == NULL)
			finish(d);
		return class;
	}
	metric_add(METRIC_STORE_RETRIES, 1);
	if (class != PGERROR_LOST)
	{
		/* perhaps the record's own trouble: others go on meanwhile */
		d->failures++;
		d->retry_at_us = monotonic_us() + backoff_us(d->failures, DRAIN_BACKOFF_FIRST_US, DRAIN_BACKOFF_MAX_US);
		log_limited(&limit, LOG_LEVEL_WARNING, "spool_record_waits", LOG_STR("class", pgerror_class_name(class)),
					LOG_STR("sqlstate", failure->sqlstate), LOG_STR("reason", failure->message));
	}
	return class;
}
