/*
 * Sifting: a unit some of whose rows the server refuses is stored row by row in
 * one transaction (ccproxy.merge_each()), so that however many are refused, nobody
 * waits for a transaction a row. Entered by the committer's thread; what it sends
 * and when it commits is commit.c's.
 */
#ifndef GATEWAY_SIFT_H
#define GATEWAY_SIFT_H

#include "gateway/commit.h"

/* A larger unit is cut in two first: most of it may be taken at full speed. */
#define SIFT_MAX_ROWS	128

/* Whether the current unit, which was refused as a whole, is to be sifted next. */
bool		sift_possible(const struct committer *c, const struct batch_unit *unit);
/*
 * Sets the outcomes of the current unit's events as merge_each() gave them:
 * PGERROR_NONE, to be committed then; or the class of an error that lies outside
 * of its row, with failure set, to be rolled back.
 */
enum pgerror_class sift_read(struct batch *b, const PGresult *answers, struct pgfailure *failure)
			__attribute__((warn_unused_result));
/* It has been committed: notes what was refused. */
void		sift_note(struct committer *c, struct batch *b, const PGresult *answers);
/* One item is what the server refuses: its outcome and its reason. */
void		sift_reject(struct batch_item *item, const struct pgfailure *failure);

#endif
