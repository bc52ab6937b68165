/*
 * What an error of PostgreSQL means for a batch. Pure.
 *
 * Nothing is ever dropped for a reason that lies outside the rows: a wrong
 * password, a missing grant, a failover, a full disk or a deadlock are waited
 * out; only values the server refuses are taken out of a batch.
 */
#ifndef GATEWAY_PGERROR_H
#define GATEWAY_PGERROR_H

#include <stdbool.h>

enum pgerror_class
{
	PGERROR_NONE = 0,
	PGERROR_LOST,				/* no answer: a COMMIT on the way may have happened */
	PGERROR_RETRY,				/* deadlock, serialisation: again, at once */
	PGERROR_TRANSIENT,			/* will pass: back off, then again */
	PGERROR_OPERATOR,			/* someone has to act (grants, schema); hold, then again */
	PGERROR_POISON,				/* a value the server refuses: find the row */
	PGERROR_DUPLICATE,			/* a row with this key exists: merge instead */
	PGERROR_BATCH_KNOWN,		/* this batch has been committed already */
	PGERROR_NO_PARTITION		/* make it, then again */
};

/* Names of the constraint that tells a replayed batch. */
#define PGERROR_BATCH_CONSTRAINT "ingest_batch_pkey"

/* SQLSTATE of a statement_timeout and of pg_cancel_backend(). */
#define PGERROR_CANCELED "57014"

/* sqlstate and constraint as the server sent them; NULL when it did not. */
enum pgerror_class pgerror_classify(const char *sqlstate, const char *constraint);
/* True when code of the user's says so, in words of its own. */
bool		pgerror_is_raised(const char *sqlstate);
/* True when the session is of no use after this error, though it may be open. */
bool		pgerror_needs_reconnect(const char *sqlstate);
const char *pgerror_class_name(enum pgerror_class c);

#endif
