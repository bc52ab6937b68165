/*
 * Timestamps of events, to microseconds since 1970-01-01 UTC.
 *
 * Text is RFC 3339: "2025-01-31T12:00:00.123456Z"; 't', 'z' and a space for the
 * T are accepted, so are offsets written +02, +0200 and +02:00; no zone means
 * UTC. A leap second (:60) is the first of the next minute.
 *
 * A number is seconds, milliseconds, microseconds or nanoseconds by its size:
 * below 10^11 seconds, 10^14 milliseconds, 10^17 microseconds. All four agree
 * on every time from 2000 on (EVENT_MIN_TS, which the caller checks) to 5138.
 *
 * Digits beyond the microsecond are rounded, half up.
 *
 * Pure; any thread; neither locale nor TZ matters.
 */
#ifndef GATEWAY_TIMESTAMP_H
#define GATEWAY_TIMESTAMP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Microseconds from 1970-01-01 to PostgreSQL's epoch, 2000-01-01. */
#define PG_EPOCH_US INT64_C(946684800000000)
#define US_PER_DAY	INT64_C(86400000000)

/* False when it is not such a text or no such time exists. */
bool		timestamp_parse(const char *text, size_t len, int64_t *us)
	__attribute__((warn_unused_result));
/* text is a JSON number (or numeric_out's text), read exactly. False when out of range. */
bool		timestamp_parse_epoch(const char *text, size_t len, int64_t *us)
	__attribute__((warn_unused_result));

#endif
