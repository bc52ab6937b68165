/*
 * The writer's session: one libpq connection, set up so that a COMMIT means
 * durable. Entered by one thread only: the committer's, and for sessions that
 * are but connected, whoever connected them.
 *
 * Every wait is a poll() in slices that watches the session's give_up_us, so
 * that shutting down never hangs on a server that does not answer.
 */
#ifndef GATEWAY_PGSESSION_H
#define GATEWAY_PGSESSION_H

#include <libpq-fe.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "gateway/pgerror.h"
#include "gateway/store.h"

#define PGSESSION_MESSAGE_BYTES	256

/* Why something failed. */
struct pgfailure
{
	enum pgerror_class class;
	char		sqlstate[6];	/* "" when the server sent none */
	char		message[PGSESSION_MESSAGE_BYTES];	/* primary message, one line */
	char		constraint[64]; /* "" when it was none's */
};

/* What a session has of prepared statements. */
enum pgsession_prepared
{
	PGSESSION_NOT_PREPARED,
	PGSESSION_PREPARED,
	PGSESSION_UNPREPARABLE
};

struct pgsession
{
	PGconn	   *conn;			/* NULL while not connected */
	_Atomic int64_t *give_up_us;	/* monotonic clock; waits end there */
	/* as of the last reading of the facts: */
	int64_t		catalogue_version;	/* of the server's prices */
	bool		listening;		/* the backend is ours alone, and changes of prices are notified */
	enum pgsession_prepared prepared;	/* the statements of express.h */
	bool		merges_each;	/* the server has merge_each(), and lets us */
};

/* What opening needs to know. */
struct pgsession_options
{
	const char *db_url;
	int64_t		retention_days;	/* 0: leave it as it is */
	bool		unlogged;		/* new partitions are to be UNLOGGED */
};

/*
 * Connects, checks and prepares the session, makes the tables where they are
 * missing, and reads the facts. Closed again on failure.
 */
bool		pgsession_open(struct pgsession *s, const struct pgsession_options *options,
						   struct store_facts *facts, struct pgfailure *failure)
			__attribute__((warn_unused_result));
void		pgsession_close(struct pgsession *s);
/* Only the connection, under that name, for a session of another kind. */
bool		pgsession_connect(struct pgsession *s, const char *db_url, const char *application_name,
							  struct pgfailure *failure)
			__attribute__((warn_unused_result));
/* Reads the facts again, and what the session knows with them. */
bool		pgsession_read_facts(struct pgsession *s, struct store_facts *facts,
								 struct pgfailure *failure)
			__attribute__((warn_unused_result));

/*
 * Runs sql (several statements when there are no parameters) and returns the
 * last result, which the caller clears; NULL with failure set when anything
 * failed. Parameters are text.
 */
PGresult   *pgsession_exec(struct pgsession *s, const char *sql, int nparams,
						   const char *const *params, struct pgfailure *failure)
			__attribute__((warn_unused_result));
/* A parameter, of a type the server infers: binary, or a string. */
struct pgparam
{
	const void *data;
	size_t		len;			/* of a binary one */
	bool		is_text;
};

/* Prepares a statement. False when the server refuses it. */
bool		pgsession_prepare(struct pgsession *s, const char *name, const char *sql)
			__attribute__((warn_unused_result));
/* Sends a prepared statement, in pipeline mode. False when the connection is gone. */
bool		pgsession_send_prepared(struct pgsession *s, const char *name, int nparams,
									const struct pgparam *params)
			__attribute__((warn_unused_result));
/* The same with typed parameters; the result is text. */
PGresult   *pgsession_exec_binary(struct pgsession *s, const char *sql, int nparams,
								  const struct pgparam *params, struct pgfailure *failure)
			__attribute__((warn_unused_result));
/* Sends what libpq has buffered. False when the connection is gone. */
bool		pgsession_flush(struct pgsession *s, int64_t deadline_us)
			__attribute__((warn_unused_result));
/*
 * The next result of the command under way, NULL when there is none left or
 * the connection is gone (*lost).
 */
PGresult   *pgsession_next_result(struct pgsession *s, int64_t deadline_us, bool *lost);
/* Sends some COPY data (less than 1 GiB); then its end, or with error its failure. */
bool		pgsession_put_copy(struct pgsession *s, const void *data, size_t len, int64_t deadline_us)
			__attribute__((warn_unused_result));
bool		pgsession_end_copy(struct pgsession *s, const char *error, int64_t deadline_us)
			__attribute__((warn_unused_result));
/* Fills failure from a result in error, or from the connection when NULL. */
void		pgsession_failure(const struct pgsession *s, const PGresult *result,
							  struct pgfailure *failure);
/* Fills failure from what an error says of itself. */
void		pgsession_set_failure(struct pgfailure *failure, const char *sqlstate, const char *message,
								  const char *constraint);
/* Sets the message alone, as one line: any run of blanks is one, none at the end. */
void		pgsession_message(struct pgfailure *failure, const char *message);
/* True while the connection is there; looks at the socket without waiting. */
bool		pgsession_alive(struct pgsession *s);
/* True when a change of prices has been notified since it was last asked. */
bool		pgsession_notified(struct pgsession *s);

/* Makes the staging table where the session has none; empties with each transaction. */
#define PGSESSION_STAGING_SQL \
	"CREATE TEMP TABLE IF NOT EXISTS ccproxy_staging" \
	"(ord integer,kind smallint,part_ts timestamptz,LIKE ccproxy.request_metric)ON COMMIT DELETE ROWS;"

/* Longest one transaction, or setting up, may take before we call it lost. */
#define PGSESSION_TIMEOUT_US	INT64_C(60000000)
/* Server-side limits of one statement and one lock wait, below that. */
#define PGSESSION_STATEMENT_TIMEOUT_MS	30000
#define PGSESSION_LOCK_TIMEOUT_MS		5000
#define PGSESSION_CONNECT_TIMEOUT_US	INT64_C(10000000)

#endif
