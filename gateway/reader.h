/*
 * Reading: queries on threads and connections of their own, so that a worker
 * never waits for PostgreSQL. Connections are read-only, with a statement
 * timeout, and reconnect by themselves with back-off.
 *
 * A job belongs to its request; the reader borrows it from reader_submit until
 * it calls done, which is its last touch.
 */
#ifndef GATEWAY_READER_H
#define GATEWAY_READER_H

#include <libpq-fe.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "gateway/settings.h"

#define READ_JOB_PARAMETERS 6
#define READ_JOB_MESSAGE_BYTES 256

enum read_status
{
	READ_PENDING = 0,
	READ_OK,					/* result holds the rows */
	READ_INVALID,				/* the server refused a value: 400; message */
	READ_UNAVAILABLE,			/* no connection, or not now: 503 */
	READ_TIMEOUT,				/* statement_timeout: 503 */
	READ_FAILED					/* something is wrong in here: 500 */
};

struct read_job
{
	const char *sql;			/* static */
	/*
	 * True: the rows of the same sql (which has no parameters then) that is
	 * waiting or running already will do, so that many who ask at once cost one
	 * query. They may be older than the question.
	 */
	bool		shared;
	_Atomic bool abandoned;		/* by its request: need not be run any more */
	int			nparameters;
	const char *parameters[READ_JOB_PARAMETERS];
	enum read_status status;
	const PGresult *result;		/* until read_job_clear */
	int			retry_after_s;
	char		sqlstate[6];
	char		message[READ_JOB_MESSAGE_BYTES];	/* one line */
	/* once, from a reader's thread, must not block */
	void		(*done) (struct read_job *);
	void	   *owner;
	/* the reader's */
	struct read_rows *rows;
	struct read_job *next;
	struct read_job *followers; /* want the rows of this one */
	struct read_job *next_shared;
};

struct reader;

/* Starts the threads; NULL and a logged reason when it cannot. */
struct reader *reader_open(const struct settings *settings);
/* False when the queue is full or the reader is closing: done is not called. */
bool		reader_submit(struct reader *r, struct read_job *job) __attribute__((warn_unused_result));
/* The owner has done with the result. */
void		read_job_clear(struct read_job *job);
/* Finishes every job (running ones are left to the server) and joins the threads. */
void		reader_close(struct reader *r);
void		reader_free(struct reader *r);

#endif
