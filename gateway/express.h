/*
 * A small unit in one round trip. Entered by the committer's thread.
 *
 * For a few direct rows COPY costs more in parsing and in waiting for the
 * server to ask for data than the rows themselves. They are inserted by
 * statements prepared once a session, sent as one pipeline, which the server
 * runs as one transaction: batch id first, rows, marks. Prices other than those
 * the rows carry leave no batch id to insert, and that ends it.
 *
 * Only where the backend is the session's own: a pooler's next one has neither
 * the statements nor this session's synchronous_commit.
 */
#ifndef GATEWAY_EXPRESS_H
#define GATEWAY_EXPRESS_H

#include "gateway/commit.h"

/* Rows up to which it is the faster way. */
#define EXPRESS_MAX_ROWS	64

/*
 * Commits the current unit, all of whose items are direct: true when it has
 * been. Else nothing of it was stored, failure says why, and unless the session
 * is gone (PGERROR_LOST: perhaps after a COMMIT) the ordinary way is open.
 */
bool		express_commit(struct committer *c, struct batch *b, int64_t deadline_us,
						   struct pgfailure *failure)
			__attribute__((warn_unused_result));
/* Whether it can be tried for so many rows. */
bool		express_possible(const struct committer *c, size_t nrows);

#endif
