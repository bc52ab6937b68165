/*
 * Partitions a unit needs and the server has not got. Entered by the committer's
 * thread, outside of a transaction.
 */
#ifndef GATEWAY_PARTITIONS_H
#define GATEWAY_PARTITIONS_H

#include "gateway/batch.h"
#include "gateway/pgsession.h"

/* Makes them for the current unit. PGERROR_NONE, or failure's class. */
enum pgerror_class partitions_make(struct pgsession *s, struct batch *b, struct pgfailure *failure)
			__attribute__((warn_unused_result));

#endif
