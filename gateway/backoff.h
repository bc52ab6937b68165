/*
 * How long to wait after failures in a row. Any thread.
 */
#ifndef GATEWAY_BACKOFF_H
#define GATEWAY_BACKOFF_H

#include <stdint.h>

/* A random share of a cap that starts at first_us and doubles with each failure, up to max_us. */
int64_t		backoff_us(int failures, int64_t first_us, int64_t max_us);

#endif
