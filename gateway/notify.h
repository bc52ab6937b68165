/*
 * systemd's notification protocol: datagrams to $NOTIFY_SOCKET, and nothing at
 * all where there is none. Main thread only.
 */
#ifndef GATEWAY_NOTIFY_H
#define GATEWAY_NOTIFY_H

#include <stdbool.h>
#include <stdint.h>

/* True when somebody listens. */
bool		notify_wanted(void);
/* Sends lines such as "READY=1\nSTATUS=...". */
void		notify_send(const char *fmt,...) __attribute__((format(printf, 1, 2)));
/* How often systemd wants to hear WATCHDOG=1 at least; 0: never. */
int64_t		notify_watchdog_us(void);

#endif
