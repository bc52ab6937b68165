/*
 * How many requests a client (an IPv4 address, an IPv6 /64) may send per
 * second: a bucket of one second's worth for each, in a table of fixed size.
 * Any thread. Where more clients than it has room for are at work at once, the
 * one that has been quiet for longest starts afresh.
 */
#ifndef GATEWAY_RATE_H
#define GATEWAY_RATE_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#define RATE_SETS	1024
#define RATE_WAYS	4

struct rate_client
{
	uint64_t	address;		/* 0: free */
	int64_t		full_us;		/* when its bucket is full again: monotonic */
};

struct rate
{
	pthread_mutex_t lock;
	struct rate_client clients[RATE_SETS][RATE_WAYS];
};

void		rate_init(struct rate *r);
void		rate_destroy(struct rate *r);
/* True when a request of that client may pass now; else *retry_after_s says when. */
bool		rate_admit(struct rate *r, const struct sockaddr *client, int64_t per_second, int64_t now_us,
					   int *retry_after_s)
	__attribute__((warn_unused_result));

#endif
