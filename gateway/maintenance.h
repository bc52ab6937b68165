/*
 * Maintenance: CALL ccproxy.maintain() again and again, because nobody else may
 * do it where the extension's background worker is not preloaded.
 *
 * One thread with a connection of its own, so that neither storing nor reading
 * waits for it. Begins when the store has reached the database for the first
 * time; any number of gateways may do it at once, maintain() sorts that out.
 */
#ifndef GATEWAY_MAINTENANCE_H
#define GATEWAY_MAINTENANCE_H

struct maintenance;
struct settings;
struct store;

/* Longest wait after failures, on top of the interval. */
#define MAINTENANCE_BACKOFF_MAX_MS	60000

/* Starts the thread; maintenance_interval_s is not 0. NULL and a logged reason
 * when out of memory or threads. */
struct maintenance *maintenance_open(const struct settings *settings, struct store *store);
/* Ends the thread, leaving a run to the server where it stands, and frees. m may be NULL. */
void		maintenance_close(struct maintenance *m);

#endif
