/*
 * One batch to PostgreSQL. Entered by the committer's thread only.
 *
 * A unit is one transaction, sent in as few round trips as COPY allows: its
 * batch id, what of it is stored already (known.h) when there is a suspicion,
 * binary COPY of the direct rows, the others through a temporary table and
 * ccproxy.merge_events(), COMMIT. A few direct rows go another way (express.h). What the server answers decides
 * how it goes on: see commit_batch().
 */
#ifndef GATEWAY_COMMIT_H
#define GATEWAY_COMMIT_H

#include <stdatomic.h>

#include "gateway/batch.h"
#include "gateway/copy.h"
#include "gateway/pgsession.h"
#include "gateway/rejected.h"

/* Deadlocks and lost races of one unit before it counts as transient. */
#define COMMIT_MAX_RETRIES			10
/* Times partitions are made for one unit before its rows count as refused. */
#define COMMIT_MAX_PARTITION_TRIES	3

/* What the committer keeps between batches; owned by its thread. */
struct committer
{
	struct pgsession session;
	struct copy_buffer buffer;
	struct copy_buffer times;	/* beside it, for parameters */
	uint32_t	row_type;		/* once the session is prepared (express.h) */
	uint32_t	column_types[EVENT_COLUMNS];
	struct rejected_list rejected;
	struct recent recent;		/* keys that have been stored */
	_Atomic int64_t beat_us;	/* monotonic: when it was last seen at work */
	int64_t		deadline_us;	/* monotonic: no transaction waits beyond */
	bool		prices_stale;	/* the server's are others than a batch was priced with */
};

/* A batch that had to be cut, for rows the server refuses, is worked on for so long
 * at a time: others have their turn in between. */
#define COMMIT_SLICE_US			INT64_C(100000)

/*
 * Works until every event of the batch has its outcome, or it has been cut and its
 * slice of time is used up (PGERROR_NONE; batch_current() tells which), or
 * something stands in the way (LOST, TRANSIENT, OPERATOR; failure says what):
 * the batch then holds what is left, to be tried again, in the same session or
 * in another.
 */
enum pgerror_class commit_batch(struct committer *c, struct batch *b, struct pgfailure *failure)
	__attribute__((warn_unused_result));
/* What merge_events() says became of an event. */
void		commit_take_outcome(struct event *event, const char *outcome);

#endif
