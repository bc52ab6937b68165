/*
 * The log: logfmt lines on stderr, one write(2) each.
 *
 *	ts=2025-01-31T12:00:00.123Z level=info event=pg_recovered outage_ms=1200
 *
 *	log_event(LOG_LEVEL_INFO, "pg_recovered", LOG_I64("outage_ms", ms));
 *	log_event(LOG_LEVEL_ERROR, "copy_failed", LOG_STR("reason", msg));
 *
 * Values are quoted where needed and control characters escaped, so text from
 * outside cannot forge a line. Any thread. Never log secrets, event bodies or
 * connection strings.
 *
 * Something that may repeat with traffic goes through log_limited with a
 * static struct log_limit: one line per LOG_LIMIT_MS and site, the next one
 * says how many were left out (suppressed=N).
 */
#ifndef GATEWAY_LOG_H
#define GATEWAY_LOG_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum log_level
{
	LOG_LEVEL_DEBUG,
	LOG_LEVEL_INFO,
	LOG_LEVEL_WARNING,
	LOG_LEVEL_ERROR,
	LOG_LEVELS
};

enum log_field_type
{
	LOG_FIELD_END = 0,
	LOG_FIELD_STR,
	LOG_FIELD_I64,
	LOG_FIELD_F64
};

struct log_field
{
	enum log_field_type type;
	const char *key;
	union
	{
		const char *str;		/* NULL is written as "" */
		int64_t		i64;
		double		f64;
	}			value;
};

#define LOG_STR(k, v) ((struct log_field) {LOG_FIELD_STR, (k), {.str = (v)}})
#define LOG_I64(k, v) ((struct log_field) {LOG_FIELD_I64, (k), {.i64 = (int64_t) (v)}})
#define LOG_F64(k, v) ((struct log_field) {LOG_FIELD_F64, (k), {.f64 = (v)}})
#define LOG_NONE ((struct log_field) {LOG_FIELD_END, NULL, {NULL}})

#define LOG_LIMIT_MS 5000

struct log_limit
{
	_Atomic int64_t next_ms;	/* monotonic clock; 0: at once */
	_Atomic uint32_t suppressed;
};

#define log_event(level, event, ...) \
	log_fields((level), (event), NULL, \
			   (const struct log_field[]) {LOG_STR("event", (event)), ##__VA_ARGS__, LOG_NONE})
#define log_limited(limit, level, event, ...) \
	log_fields((level), (event), (limit), \
			   (const struct log_field[]) {LOG_STR("event", (event)), ##__VA_ARGS__, LOG_NONE})

/* False when the name is none. */
bool		log_level_parse(const char *name, enum log_level *level);
void		log_set_level(enum log_level level);
/* fields end with LOG_NONE; limit may be NULL. Use the macros. */
void		log_fields(enum log_level level, const char *event, struct log_limit *limit,
					   const struct log_field *fields);
/* Formats one line, without newline, into out (always terminated, cut when too
 * long); returns its length. Pure. */
size_t		log_format(char *out, size_t size, int64_t unix_ms, enum log_level level,
					   const struct log_field *fields);
/* Milliseconds of the monotonic clock. */
int64_t		monotonic_ms(void);
int64_t		monotonic_us(void);
/* Microseconds since 1970. */
int64_t		wall_clock_us(void);

#endif
