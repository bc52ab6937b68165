/*
 * The prices in effect: the one place decoders get a catalogue from, and the
 * committer puts a newer one into.
 *
 * A lock guards the pointer, for as long as it takes to count a reference; a
 * catalogue itself never changes, so pricing takes no lock.
 */
#ifndef GATEWAY_PRICES_H
#define GATEWAY_PRICES_H

#include <pthread.h>
#include <stdbool.h>

#include "gateway/catalogue.h"
#include "gateway/pgsession.h"

struct prices
{
	pthread_mutex_t lock;
	struct catalogue *current;	/* NULL: none could be loaded, the server prices */
	bool		unnotified_logged;	/* the committer's */
};

void		prices_init(struct prices *p);
void		prices_free(struct prices *p);
/* A reference, or NULL. Any thread. */
struct catalogue *prices_get(struct prices *p) __attribute__((warn_unused_result));
/* CATALOGUE_NONE while there are none. Any thread. */
int64_t		prices_version(struct prices *p);
/* Puts a catalogue (its reference) there while there is none; any thread. */
void		prices_offer(struct prices *p, struct catalogue *catalogue);

/* The rest is for the committer's thread. */

/* Puts a catalogue (its reference, or NULL) in the place of the present one. */
void		prices_replace(struct prices *p, struct catalogue *catalogue);
/*
 * Loads what the server has now; where that fails there are no prices until it
 * is tried again. False, with failure set, when the session got lost over it.
 */
bool		prices_load(struct prices *p, struct pgsession *s, struct pgfailure *failure)
			__attribute__((warn_unused_result));
/* The same, unless the session's facts name the version that is there already. */
bool		prices_check(struct prices *p, struct pgsession *s, struct pgfailure *failure)
			__attribute__((warn_unused_result));

#endif
