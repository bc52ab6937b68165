/*
 * What of a unit is stored already. Entered by the committer's thread, within
 * the unit's transaction, after its batch id: an id that was committed before
 * ends it there, and what was learnt then stays.
 *
 * A complete event whose key has a plain row, of a request without parts, is a
 * duplicate: merging would say the same and change nothing, at many times the
 * cost. That answer is final, and durable with this transaction's COMMIT.
 */
#ifndef GATEWAY_KNOWN_H
#define GATEWAY_KNOWN_H

#include "gateway/commit.h"

/*
 * Asks the server about the suspects of the current unit, and sorts it again:
 * what is new is direct, what is known is neither copied nor merged, the rest
 * (rows made of parts) is merged. False with failure set.
 */
bool		known_ask(struct committer *c, struct batch *b, struct pgfailure *failure)
			__attribute__((warn_unused_result));

#endif
