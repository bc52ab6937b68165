/*
 * Batches that wait between two slices of work on them (commit.h). The first to come
 * is the first to be through: its turn comes again before the next one's. Owned and entered by the committer's thread.
 */
#ifndef GATEWAY_PARKED_H
#define GATEWAY_PARKED_H

#include "gateway/batch.h"

struct parked_batch;

struct parked
{
	struct parked_batch *first;
	struct parked_batch **end;	/* NULL: there has been none */
};

/* Takes a batch over, which is empty then: as the last one, or as the first, where it
 * was popped from. False when out of memory. */
bool		parked_push(struct parked *p, struct batch *b, int64_t deadline_us, bool first)
			__attribute__((warn_unused_result));
/* Gives the first one back into an empty batch. False when there is none. */
bool		parked_pop(struct parked *p, struct batch *b, int64_t *deadline_us)
			__attribute__((warn_unused_result));

#endif
