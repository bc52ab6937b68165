/*
 * The queue of submissions; see queue.h.
 */
#include "gateway/queue.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "gateway/log.h"
#include "gateway/selfmetrics.h"

#define US_PER_MS			INT64_C(1000)
#define OVERDUE_MAX_BYTES	((size_t) 64 * 1024 * 1024)	/* taken at once */

bool
queue_init(struct queue *q, size_t max_requests, size_t max_bytes, int64_t wait_us)
{
	*q = (struct queue) {.max_requests = max_requests, .max_bytes = max_bytes, .wait_us = wait_us,
	.down_since_us = monotonic_us()};
	q->tail = &q->head;
	pthread_mutex_init(&q->lock, NULL);
	q->committer_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	q->spooler_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	return q->committer_fd >= 0 && q->spooler_fd >= 0;
}

void
queue_free(struct queue *q)
{
	if (q->committer_fd >= 0)
		close(q->committer_fd);
	if (q->spooler_fd >= 0)
		close(q->spooler_fd);
	pthread_mutex_destroy(&q->lock);
}

void
queue_wake(int wake_fd)
{
	const uint64_t one = 1;

	/* the counter cannot overflow: it is reset with every read */
	if (write(wake_fd, &one, sizeof(one)) < 0)
		return;
}

void
queue_sleep(int wake_fd, int fd, int64_t until_us)
{
	struct pollfd pfds[2] = {{.fd = wake_fd, .events = POLLIN}, {.fd = fd, .events = POLLIN}};
	int64_t		left = until_us - monotonic_us();
	uint64_t	count;

	if (left < 0)
		left = 0;
	if (poll(pfds, fd >= 0 ? 2 : 1, (int) ((left + US_PER_MS - 1) / US_PER_MS)) > 0 &&
		(pfds[0].revents & POLLIN) &&
		read(wake_fd, &count, sizeof(count)) < 0)
		return;
}

enum store_submit_result
queue_submit(struct queue *q, struct submission *sub)
{
	int64_t		now_us = monotonic_us();
	enum store_submit_result result = STORE_SUBMITTED;
	bool		was_empty = false;
	bool		spools = false;

	sub->result = SUBMISSION_PENDING;
	sub->retry_after_s = 0;
	sub->next = NULL;
	sub->set_aside = 0;
	sub->deadline_us = now_us + q->wait_us;

	pthread_mutex_lock(&q->lock);
	if (q->closing || (!q->connected && !q->spoolable && now_us - q->down_since_us >= q->wait_us))
		result = STORE_CLOSED;
	else if (q->queued >= q->max_requests ||
			 (q->inflight_bytes > 0 && sub->nbytes > q->max_bytes - q->inflight_bytes) ||
			 sub->nbytes > q->max_bytes)
		result = STORE_FULL;
	else
	{
		was_empty = q->head == NULL;
		spools = q->away && q->spoolable;
		*q->tail = sub;
		q->tail = &sub->next;
		q->queued++;
		q->inflight_bytes += sub->nbytes;
		metric_set(METRIC_QUEUE_REQUESTS, (int64_t) q->queued);
		metric_set(METRIC_QUEUE_BYTES, (int64_t) q->inflight_bytes);
	}
	pthread_mutex_unlock(&q->lock);
	if (was_empty)
		queue_wake(spools ? q->spooler_fd : q->committer_fd);
	return result;
}

/* Takes off everything before *end. Under lock. */
static struct submission *
cut(struct queue *q, struct submission **end, size_t n)
{
	struct submission *list = q->head;

	if (end == &q->head)
		return NULL;
	q->head = *end;
	*end = NULL;
	if (q->head == NULL)
		q->tail = &q->head;
	q->queued -= n;
	metric_set(METRIC_QUEUE_REQUESTS, (int64_t) q->queued);
	return list;
}

struct submission *
queue_take(struct queue *q, size_t max_rows)
{
	struct submission *list;
	struct submission **end = &q->head;
	size_t		rows = 0;
	size_t		n = 0;

	pthread_mutex_lock(&q->lock);
	for (; *end != NULL && (n == 0 || rows + (*end)->nevents <= max_rows); end = &(*end)->next)
	{
		rows += (*end)->nevents;
		n++;
	}
	list = cut(q, end, n);
	pthread_mutex_unlock(&q->lock);
	return list;
}

void
queue_put_back(struct queue *q, struct submission *list)
{
	struct submission **end = &list;
	size_t		n = 0;

	for (; *end != NULL; end = &(*end)->next)
		n++;
	if (n == 0)
		return;
	pthread_mutex_lock(&q->lock);
	*end = q->head;
	if (q->head == NULL)
		q->tail = end;
	q->head = list;
	q->queued += n;
	metric_set(METRIC_QUEUE_REQUESTS, (int64_t) q->queued);
	pthread_mutex_unlock(&q->lock);
}

struct submission *
queue_take_overdue(struct queue *q, size_t max_rows, bool all, int64_t *until_us)
{
	struct submission *list;
	struct submission **end = &q->head;
	int64_t		now_us = monotonic_us();
	size_t		rows = 0;
	size_t		bytes = 0;
	size_t		n = 0;

	pthread_mutex_lock(&q->lock);
	all |= q->away && q->spoolable;
	for (; *end != NULL && (all || (*end)->deadline_us <= now_us) &&
		 (n == 0 || (rows + (*end)->nevents <= max_rows && bytes + (*end)->nbytes <= OVERDUE_MAX_BYTES));
		 end = &(*end)->next)
	{
		rows += (*end)->nevents;
		bytes += (*end)->nbytes;
		n++;
	}
	list = cut(q, end, n);
	/* whatever comes from now on may wait that long at least */
	*until_us = now_us + q->wait_us;
	if (q->head != NULL)
		*until_us = all ? now_us : q->head->deadline_us;
	pthread_mutex_unlock(&q->lock);
	return list;
}

void
queue_answer(struct queue *q, struct submission *list)
{
	size_t		bytes = 0;

	for (const struct submission *sub = list; sub != NULL; sub = sub->next)
		bytes += sub->nbytes;
	if (bytes > 0)
	{
		pthread_mutex_lock(&q->lock);
		q->inflight_bytes -= bytes;
		metric_set(METRIC_QUEUE_BYTES, (int64_t) q->inflight_bytes);
		pthread_mutex_unlock(&q->lock);
	}
	while (list != NULL)
	{
		struct submission *sub = list;

		list = sub->next;
		sub->done(sub);			/* its last touch */
	}
}

void
queue_answer_unavailable(struct queue *q, struct submission *list, int retry_after_s)
{
	for (struct submission *sub = list; sub != NULL; sub = sub->next)
	{
		sub->result = SUBMISSION_UNAVAILABLE;
		sub->retry_after_s = retry_after_s;
		metric_add(METRIC_REFUSED_DEADLINE, 1);
	}
	queue_answer(q, list);
}

bool
queue_is_empty(struct queue *q, bool *closing)
{
	bool		empty;

	pthread_mutex_lock(&q->lock);
	empty = q->head == NULL;
	*closing = q->closing;
	pthread_mutex_unlock(&q->lock);
	return empty;
}

void
queue_close(struct queue *q)
{
	pthread_mutex_lock(&q->lock);
	q->closing = true;
	pthread_mutex_unlock(&q->lock);
	queue_wake(q->committer_fd);
}

void
queue_set_connected(struct queue *q, bool connected, bool away)
{
	pthread_mutex_lock(&q->lock);
	if (q->connected && !connected)
		q->down_since_us = monotonic_us();
	q->connected = connected;
	q->away = away;
	pthread_mutex_unlock(&q->lock);
	queue_wake(q->spooler_fd);
}

void
queue_set_spoolable(struct queue *q, bool spoolable)
{
	pthread_mutex_lock(&q->lock);
	q->spoolable = spoolable;
	pthread_mutex_unlock(&q->lock);
}

bool
queue_is_spoolable(struct queue *q)
{
	bool		spoolable;

	pthread_mutex_lock(&q->lock);
	spoolable = q->spoolable;
	pthread_mutex_unlock(&q->lock);
	return spoolable;
}
