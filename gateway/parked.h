/*
 * Batches that wait between two slices of work on them (commit.h), first come first
 * served. Owned and entered by the committer's thread.
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

/* Takes a batch over, which is empty then. False when out of memory. */
bool		parked_push(struct parked *p, struct batch *b, int64_t deadline_us)
			__attribute__((warn_unused_result));
/* Gives the first one back into an empty batch. False when there is none. */
bool		parked_pop(struct parked *p, struct batch *b, int64_t *deadline_us)
			__attribute__((warn_unused_result));

#endif
