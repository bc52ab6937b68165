/*
 * Client connections and their deadlines.
 *
 * A worker makes a connection when libmicrohttpd accepts it and drops it when
 * libmicrohttpd closes it; workers say what phase it is in. One watchdog thread
 * looks at all of them a few times a second: it shuts down the socket of one
 * that is too slow (libmicrohttpd then sees an end of file and cleans up), and
 * expires a suspended request that waits too long, because libmicrohttpd itself
 * has no deadline for headers, bodies or suspended requests.
 *
 * The list's lock is held while the watchdog looks, so a connection cannot be
 * closed, nor its descriptor reused, under its eyes.
 */
#ifndef GATEWAY_CONNECTION_H
#define GATEWAY_CONNECTION_H

#include <microhttpd.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct gateway;
struct request;

enum connection_phase
{
	PHASE_NEW,					/* accepted; nothing read yet */
	PHASE_HEADER,				/* the request line has been read */
	PHASE_BODY,
	PHASE_HANDLING,				/* a worker is busy with it */
	PHASE_WAITING,				/* suspended */
	PHASE_ANSWERING,
	PHASE_IDLE					/* between two requests */
};

struct connection
{
	struct connection *previous;
	struct connection *next;
	int			fd;
	_Atomic int phase;			/* enum connection_phase */
	_Atomic int64_t since_ms;
	bool		shut;			/* the watchdog's */
	pthread_mutex_t lock;		/* waiting */
	struct request *waiting;
};

struct connections;

/* Starts the watchdog. NULL when out of memory or threads. */
struct connections *connections_open(const struct gateway *gateway);
/* Ends the watchdog and frees; no connection may be left. */
void		connections_close(struct connections *cs);

/* True while the watchdog looks. */
bool		connections_watched(struct connections *cs);

/* NULL when out of memory. */
struct connection *connection_add(struct connections *cs, int fd);
void		connection_remove(struct connections *cs, struct connection *c);
void		connection_phase(struct connection *c, enum connection_phase phase);
/* The request the watchdog may expire from now on; NULL: none any more. */
void		connection_wait(struct connection *c, struct request *r);

#endif
