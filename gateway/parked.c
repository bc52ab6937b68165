/*
 * Batches between two slices of work; see parked.h.
 */
#include "gateway/parked.h"

#include <stdlib.h>

struct parked_batch
{
	struct parked_batch *next;
	struct batch batch;
	int64_t		deadline_us;	/* when its oldest submission expires */
};

bool
parked_push(struct parked *p, struct batch *b, int64_t deadline_us, bool first)
{
	struct parked_batch *one = malloc(sizeof(*one));
	struct parked_batch **place;

	if (one == NULL)
		return false;
	*one = (struct parked_batch) {.batch = *b, .deadline_us = deadline_us};
	batch_init(b);
	if (p->first == NULL)
		p->end = &p->first;
	place = first ? &p->first : p->end;
	one->next = *place;
	*place = one;
	if (one->next == NULL)
		p->end = &one->next;
	return true;
}

bool
parked_pop(struct parked *p, struct batch *b, int64_t *deadline_us)
{
	struct parked_batch *one = p->first;

	if (one == NULL)
		return false;
	p->first = one->next;
	batch_free(b);
	*b = one->batch;
	*deadline_us = one->deadline_us;
	free(one);
	return true;
}
