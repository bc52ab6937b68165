/*
 * The queue of submissions: HTTP workers put them in, the committer takes what
 * it can commit, the spooler what cannot wait any longer. It also counts the
 * memory of all that has not been answered yet.
 *
 * Its lock is never held while anything waits. Whoever took submissions must
 * give each back with queue_answer, exactly once.
 */
#ifndef GATEWAY_QUEUE_H
#define GATEWAY_QUEUE_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "gateway/store.h"

struct queue
{
	/* constant */
	size_t		max_requests;
	size_t		max_bytes;
	int64_t		wait_us;		/* longest a submission waits for the committer */
	int			committer_fd;	/* eventfds that wake the two takers */
	int			spooler_fd;

	pthread_mutex_t lock;
	/* under lock */
	struct submission *head;
	struct submission **tail;
	size_t		queued;			/* submissions in the queue */
	size_t		inflight_bytes;	/* of all submissions not yet answered */
	bool		closing;
	bool		connected;		/* the committer is at work */
	bool		away;			/* it will not be soon: nothing needs to wait for it */
	bool		spoolable;		/* the spooler takes events */
	int64_t		down_since_us;
};

/* False when there are no descriptors. */
bool		queue_init(struct queue *q, size_t max_requests, size_t max_bytes, int64_t wait_us)
			__attribute__((warn_unused_result));
void		queue_free(struct queue *q);
/* Wakes a taker that sleeps in queue_sleep on that descriptor. */
void		queue_wake(int wake_fd);
/* Sleeps until woken, another descriptor (when fd >= 0) speaks or a time is reached. */
void		queue_sleep(int wake_fd, int fd, int64_t until_us);

enum store_submit_result queue_submit(struct queue *q, struct submission *sub)
			__attribute__((warn_unused_result));
/* Up to max_rows events, one submission at least; NULL when there is none. */
struct submission *queue_take(struct queue *q, size_t max_rows) __attribute__((warn_unused_result));
/* Puts a list that was just taken back at the front. */
void		queue_put_back(struct queue *q, struct submission *list);
/*
 * What has waited too long, or all of it when the committer is away and the
 * spooler may take events, or all of it when told so; up to max_rows events and
 * some memory. *until_us gets when to look again.
 */
struct submission *queue_take_overdue(struct queue *q, size_t max_rows, bool all, int64_t *until_us)
			__attribute__((warn_unused_result));
/* Answers a list of submissions whose results are set. */
void		queue_answer(struct queue *q, struct submission *list);
/* Answers them as unavailable. */
void		queue_answer_unavailable(struct queue *q, struct submission *list, int retry_after_s);
bool		queue_is_empty(struct queue *q, bool *closing);
void		queue_close(struct queue *q);
void		queue_set_connected(struct queue *q, bool connected, bool away);
void		queue_set_spoolable(struct queue *q, bool spoolable);
bool		queue_is_spoolable(struct queue *q);

#endif
