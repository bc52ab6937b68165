/*
 * Draining the spool: its records become batches again, one at a time, each
 * under the batch id it was spooled with. Entered by the committer's thread.
 *
 * Whatever happens to a record on its way, it stays in the file until the
 * server has said COMMIT, or that it knows the batch.
 */
#ifndef GATEWAY_DRAIN_H
#define GATEWAY_DRAIN_H

#include "gateway/arena.h"
#include "gateway/commit.h"
#include "gateway/spool.h"

struct drain
{
	struct spool *spool;
	struct batch batch;			/* of row, while there is one */
	struct spool_row *row;
	struct submission submission;
	struct arena arena;			/* reasons of refusals */
	int			failures;		/* in a row that were the record's own */
	int64_t		retry_at_us;	/* monotonic */
};

void		drain_init(struct drain *d, struct spool *spool);
/* A record under way stays in the spool. */
void		drain_free(struct drain *d);
/* True when there is a record to work on, and it is time to. */
bool		drain_next(struct drain *d) __attribute__((warn_unused_result));
/* Works on it: PGERROR_NONE when it is stored, or there will be more to do. Otherwise
 * it is tried again, later. */
enum pgerror_class drain_run(struct drain *d, struct committer *c, struct pgfailure *failure)
			__attribute__((warn_unused_result));

#endif
