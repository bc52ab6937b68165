/*
 * The spool: keeps events safe in a file of its own while PostgreSQL is away or
 * slow, and gives them back in order.
 *
 * One thread, the spooler, owns the file (spool_file.h). It takes from the queue
 * what cannot wait any longer, and the batches the committer could not finish,
 * writes them in one transaction of SQLite (fsync) and answers them; without a
 * file that can be written it answers them as unavailable. Records it reads
 * ahead are drained by the committer, each under the batch id it was stored
 * with: one whose COMMIT took place unnoticed is known, one that was drained but
 * not deleted as well.
 */
#ifndef GATEWAY_SPOOL_H
#define GATEWAY_SPOOL_H

#include "gateway/batch.h"
#include "gateway/prices.h"
#include "gateway/queue.h"
#include "gateway/spool_file.h"

struct spool;

/* What it needs of the store; constant, and longer-lived than the spool. */
struct spool_host
{
	struct queue *queue;
	struct prices *prices;
	/* the facts of the last connection are known; the spooler's thread */
	void		(*facts) (void *arg, const struct store_facts *facts);
	/* seconds a client should wait; any thread */
	int			(*retry_after_s) (void *arg);
	void	   *arg;
};

struct spool_counts
{
	int64_t		records;
	int64_t		events;
	int64_t		bytes;
};

/* Starts the spooler. NULL and a logged reason when out of memory or threads. */
struct spool *spool_open(const struct settings *settings, const struct spool_host *host);
/* Spools or refuses all that is left, ends the thread and closes the file. */
void		spool_close(struct spool *sp);
/* Frees it, after spool_close and when nobody can ask for its counts any more. */
void		spool_free(struct spool *sp);
/* Lets the readers of gauges see the present. */
void		spool_counts(struct spool *sp, struct spool_counts *counts);

/* The rest is for the committer. */

/* Hands over what is left of a batch, which is empty then. False when out of memory. */
bool		spool_divert(struct spool *sp, struct batch *b) __attribute__((warn_unused_result));
/* The next record to drain, which the caller owns and gives to spool_done; NULL
 * when there is none now. */
struct spool_row *spool_next(struct spool *sp) __attribute__((warn_unused_result));
/* It is in PostgreSQL: may be deleted. Frees it. */
void		spool_done(struct spool *sp, struct spool_row *row);
/* It could not be stored now: it stays in the file. Frees it. */
void		spool_keep(struct spool_row *row);
/* Keeps what decoding needs for a start without PostgreSQL. */
void		spool_remember(struct spool *sp, const struct store_facts *facts);

#endif
