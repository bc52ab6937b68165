/*
 * The store: makes submissions durable, in PostgreSQL or, while that is away or
 * too slow, in the spool.
 *
 * HTTP workers (and nobody else) call store_submit; one committer thread owns
 * the PostgreSQL connection, another one the spool. Group commit: whatever has been submitted while
 * the committer was busy is its next batch (up to metrics_batch_size rows), so
 * an idle store commits at once and a busy one commits in large batches; there
 * is no timer.
 *
 * Results are final before done() is called: a submission is durable (COMMIT
 * has been acknowledged, synchronous_commit on, or the spool's) or it is not.
 */
#ifndef GATEWAY_STORE_H
#define GATEWAY_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "gateway/event.h"

struct catalogue;				/* catalogue.h */
struct settings;				/* settings.h */
struct store;

enum submission_result
{
	SUBMISSION_PENDING = 0,
	SUBMISSION_STORED,			/* every event has its outcome */
	SUBMISSION_UNAVAILABLE		/* nothing is known to be stored: 503, retry */
};

/*
 * The events of one HTTP request. Owned by the request; the store borrows it
 * from store_submit until it calls done, which is its last touch.
 */
struct submission
{
	struct event *events;
	size_t		nevents;
	size_t		nbytes;			/* memory it holds, for the in-flight limit */
	/*
	 * The catalogue its complete events were priced with. Where the server's is
	 * another one when they are stored, or this is 0, the server prices them.
	 */
	int64_t		catalogue_version;
	enum submission_result result;
	int			retry_after_s;	/* for SUBMISSION_UNAVAILABLE */
	/* called once, from the committer's or the spooler's thread, must not block */
	void		(*done) (struct submission *);
	void	   *owner;			/* the submitter's */
	struct arena *arena;		/* for the texts of reject_reason; NULL: static ones only */
	struct submission *next;	/* the store's */
	int64_t		deadline_us;	/* the store's: monotonic clock */
	int			set_aside;		/* the store's: batches it has let pass */
};

enum store_submit_result
{
	STORE_SUBMITTED,			/* done will be called */
	STORE_FULL,					/* in-flight limit or queue length reached: 503 */
	STORE_CLOSED				/* draining or not connected and nowhere to keep it: 503 */
};

/* What decoders must know that only the database says. */
struct store_facts
{
	bool		known;			/* false until the first connection */
	int64_t		retention_us;	/* events older than this are refused; 0: no limit */
	uint8_t		hash_secret[64];
	size_t		hash_secret_len;
};

/* What /readyz says. */
struct store_state
{
	const char *word;
	const char *durable_in;		/* postgres, spool, sqlite, memory (not durable) or nowhere */
	const char *spool;			/* ok, unavailable or off */
	int64_t		spooled_events;
};

/* Starts the committer. It connects by itself, for ever, with back-off. NULL
 * and a logged reason when out of memory or threads. */
struct store *store_open(const struct settings *settings);
enum store_submit_result store_submit(struct store *s, struct submission *sub)
	__attribute__((warn_unused_result));
/* A copy of the current facts; cheap; any thread. */
void		store_get_facts(struct store *s, struct store_facts *facts);
/* The prices in effect, to be let go of with catalogue_release(); NULL while
 * there are none. Cheap; any thread. */
struct catalogue *store_get_prices(struct store *s) __attribute__((warn_unused_result));
/* True while the committer is at work: for a watchdog, not for readiness. */
bool		store_alive(struct store *s);
/* True while events can be made durable. */
bool		store_ready(struct store *s, struct store_state *state);
/* Seconds a client should wait before trying again (from the real back-off). */
int			store_retry_after_s(struct store *s);
/* No more submissions; commits what is queued for at most deadline_ms, spools
 * the rest or finishes it as SUBMISSION_UNAVAILABLE; joins the threads. */
void		store_close(struct store *s, int deadline_ms);
/* Frees it, after store_close and when nobody can call it any more. */
void		store_free(struct store *s);

#endif
