/*
 * Reading: queries on threads and connections of their own, so that a worker
 * never waits for PostgreSQL. Connections are read-only, with a statement
 * timeout, and reconnect by themselves with back-off.
 *
 * A job belongs to its request; the reader borrows it from reader_submit until
 * it calls done, which is its last touch. Its question is its key: while the
 * same one waits or runs, others join it; its page is kept, and is made again
 * only when the data has changed since (page.h).
 *
 * How old an answer may be: a page is served unasked for read_refresh after the
 * server was last asked about it, or for READER_REST times what its query took,
 * whichever is longer, so that one question never costs more than 1/READER_REST
 * of a connection, however many ask it and however often. A job that is fresh
 * waits for no such time.
 */
#ifndef GATEWAY_READER_H
#define GATEWAY_READER_H

#include <libpq-fe.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "gateway/page.h"
#include "gateway/settings.h"

#define READ_JOB_PARAMETERS 12
#define READER_REST 20
#define READER_REST_MAX_MS 60000
#define READ_JOB_MESSAGE_BYTES 256

enum read_status
{
	READ_PENDING = 0,
	READ_OK,					/* page is the answer */
	READ_INVALID,				/* the server refused a value: 400; message */
	READ_UNAVAILABLE,			/* no connection, or not now: 503 */
	READ_TIMEOUT,				/* statement_timeout: 503 */
	READ_FAILED					/* something is wrong in here: 500 */
};

struct read_job
{
	const char *sql;			/* the owner's */
	const char *key;			/* all that the page depends on but the data */
	bool		fresh;			/* neither joins nor takes what is older than itself */
	bool		urgent;			/* goes before those that wait, and is not refused for their number */
	bool		timely;			/* the answer changes with the time, not only with the data */
	_Atomic bool abandoned;		/* by its request: need not be run any more */
	int			nparameters;
	const char *parameters[READ_JOB_PARAMETERS];
	enum read_status status;
	struct page *page;			/* until read_job_clear */
	int			retry_after_s;
	char		sqlstate[6];
	char		message[READ_JOB_MESSAGE_BYTES];	/* one line */
	/*
	 * From a reader's thread: the rows as a page (NULL without memory). Of
	 * those who share a question only the first one's is called.
	 */
	struct page *(*render) (struct read_job *job, const PGresult *rows);
	/* once, from a reader's thread, must not block */
	void		(*done) (struct read_job *);
	void	   *owner;
	/* the reader's */
	struct read_job *next;
	struct read_job *followers; /* want the page of this one */
	struct read_job *next_shared;
};

struct reader;

/* Starts the threads; NULL and a logged reason when it cannot. */
struct reader *reader_open(const struct settings *settings);
/* The page of this question if it may be served unasked, with a reference; else NULL. */
struct page *reader_page(struct reader *r, const char *key);
/* False when the queue is full or the reader is closing: done is not called. */
bool		reader_submit(struct reader *r, struct read_job *job) __attribute__((warn_unused_result));
/* The owner has done with the page. */
void		read_job_clear(struct read_job *job);
/* Finishes every job (running ones are left to the server) and joins the threads. */
void		reader_close(struct reader *r);
void		reader_free(struct reader *r);

#endif
