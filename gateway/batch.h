/*
 * A batch: the events of some submissions, sorted and without repetitions, and
 * how far storing them has come. Owned and entered by the committer's thread.
 *
 * The work left is a stack of units, each a range of items under a batch id of
 * its own. At first there is one; a unit the server refuses for a value is cut
 * in two until the row is found. A unit whose COMMIT got no answer stays as it
 * is, so that trying it again under the same id tells whether it took place.
 */
#ifndef GATEWAY_BATCH_H
#define GATEWAY_BATCH_H

#include <stdbool.h>
#include <stddef.h>

#include "gateway/recent.h"
#include "gateway/store.h"
#include "gateway/uuid.h"

/* Halving 2^31 events leaves one unit a level, and the one being cut. */
#define BATCH_MAX_UNITS 40
/* Batches that repetitions let pass: a few hundredths of a second. */
#define BATCH_MAX_ASIDE 4

struct batch_item
{
	int64_t		ts_us;			/* the event's, at hand for sorting */
	uint64_t	key;			/* of the filter of recent keys; 0: not made yet */
	struct event *event;
	struct submission *submission;
	bool		direct;			/* straight COPY, as priced; those come first, by key */
	bool		suspect;		/* may be stored already: the server is asked (known.h) */
	bool		known;			/* and said that it is; those come last */
};

/* An event whose key came earlier in the same batch. */
struct batch_repeat
{
	struct event *event;
	const struct event *first;
};

/* Storing a unit row by row (sift.h). */
enum unit_sift
{
	SIFT_UNTRIED = 0,
	SIFT_NOW,
	SIFT_FAILED					/* it is refused all the same: cut it in two */
};

struct batch_unit
{
	size_t		first;
	size_t		count;
	bool		staged;			/* all of it through merging, nothing is asked */
	bool		asked;			/* about every direct item */
	enum unit_sift sift;
	bool		tried;			/* a transaction of it was begun: its COMMIT may have been sent */
	int			retries;
	int			partition_tries;
	char		id[UUID_TEXT_CHARS + 1];
};

struct batch
{
	struct submission *submissions;		/* in order of arrival */
	struct batch_item *items;
	size_t		nitems;
	size_t		item_slots;
	struct batch_repeat *repeats;
	size_t		nrepeats;
	size_t		repeat_slots;
	size_t		nsuspects;		/* complete events whose keys are remembered */
	int64_t		catalogue_version;	/* what all direct items are priced with */
	struct batch_unit units[BATCH_MAX_UNITS];
	int			nunits;			/* 0: everything has its outcome */
	int64_t		worked_us;		/* time spent on it */
};

void		batch_init(struct batch *b);
void		batch_free(struct batch *b);
/*
 * Chooses what the next batch is made of: submissions with something new, or those
 * of nothing but events that were stored lately, when there are no others or they
 * have let BATCH_MAX_ASIDE batches pass. Apart, a client that repeats itself does
 * not make the others wait for the questions it raises. Returns the rest.
 */
struct submission *batch_set_aside(struct submission **list, const struct recent *recent);
/*
 * Fills an empty batch with the events of a list of submissions; what was not
 * priced with that version of the catalogue is merged, so that the server
 * prices it; what was stored lately (recent; NULL: nobody knows) is suspected, so
 * that a duplicate harms nobody.
 * False when memory or randomness runs out; it is empty again then.
 */
bool		batch_fill(struct batch *b, struct submission *list, int64_t catalogue_version,
					   const struct recent *recent)
			__attribute__((warn_unused_result));
/*
 * Fills an empty batch with a unit that was cut from another one: the events of
 * one submission in the unit's order, the first ndirect of them direct, priced
 * with the submission's version, under that id. False when memory runs out.
 */
bool		batch_restore(struct batch *b, struct submission *s, size_t ndirect, bool staged, const char *id)
			__attribute__((warn_unused_result));
/* The unit to work on, or NULL. */
struct batch_unit *batch_current(struct batch *b);
/* Suspects every direct item of the current unit. */
void		batch_suspect_all(struct batch *b);
/* Puts the current unit's items in order again after what was learnt of them. */
void		batch_sort_unit(struct batch *b);
/* The current unit is done with. */
void		batch_pop(struct batch *b);
/* Cuts the current unit (of at least two) in half; the first half is current
 * then. False when there is no randomness for the ids. */
bool		batch_split(struct batch *b) __attribute__((warn_unused_result));
/* All units that are left have been spooled. */
void		batch_set_spooled(struct batch *b);
/*
 * Settles what is left: events of unfinished units become pending, repetitions
 * share the fate of the first. The batch is empty then; returns its
 * submissions, with results set.
 */
struct submission *batch_finish(struct batch *b, int retry_after_s);

#endif
