/*
 * Request targets and their query strings: percent-decoding, and the meaning of
 * the parameters of the reading routes. Pure: bytes in, a struct or an error
 * that names the parameter out; all memory is the arena's. Any thread.
 */
#ifndef GATEWAY_QUERY_H
#define GATEWAY_QUERY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "gateway/arena.h"
#include "gateway/cursor.h"

#define QUERY_MAX_PARAMETERS 64
#define QUERY_MAX_VALUES 100	/* of one filter */

struct query_parameter
{
	const char *name;
	const char *value;
};

/* "/metrics/api/stats?period=24h", decoded: valid UTF-8 without NUL. */
struct target
{
	const char *path;
	size_t		nparameters;
	struct query_parameter parameters[QUERY_MAX_PARAMETERS];
};

enum query_status
{
	QUERY_OK,
	QUERY_BAD,					/* 400; see query_error */
	QUERY_NO_MEMORY
};

/* What is wrong: the answer of a 400. */
struct query_error
{
	const char *parameter;		/* "" when it is the target as a whole */
	const char *message;		/* static, one sentence */
	const char *allowed;		/* static, "" when there is nothing to list */
};

enum query_status target_parse(struct arena *arena, const char *raw, struct target *target,
							   struct query_error *error)
			__attribute__((warn_unused_result));

/* A range of time. */
struct query_span
{
	const char *period;			/* NULL when from and to were given */
	int64_t		from_us;		/* Unix epoch */
	int64_t		to_us;
};

enum query_format
{
	FORMAT_ANY,					/* whatever Accept says */
	FORMAT_JSON,
	FORMAT_CSV
};

#define QUERY_MAX_LIMIT 10000
#define QUERY_DEFAULT_LIMIT 100

/* /metrics/api/stats */
struct stats_query
{
	struct query_span span;
	const char *group_by;		/* NULL: everything in one row */
	const char *time_zone;		/* "UTC" when not given */
	const char *filters;		/* JSON object: {"model": ["a", "b"]} */
	bool		compare;		/* with as long a range before */
	bool		total;			/* with a row of all groups together */
	uint64_t	fields;			/* bit i: stats_fields[i] is wanted */
	int			limit;			/* 0: all groups */
	enum query_format format;
};

/* The columns of ccproxy.stats() in the order of the answer, NULL at the end; the first are always there. */
extern const char *const stats_fields[];
#define STATS_KEY_FIELDS 4

enum query_status stats_query_parse(struct arena *arena, const struct target *target, int64_t now_us,
									struct stats_query *query, struct query_error *error)
			__attribute__((warn_unused_result));

/* /metrics/api/savings: a range, a zone and filters */
enum query_status savings_query_parse(struct arena *arena, const struct target *target, int64_t now_us,
									  struct stats_query *query, struct query_error *error)
			__attribute__((warn_unused_result));

/* /metrics/api/requests */
struct list_query
{
	struct query_span span;
	const char *order;			/* newest, slowest, dearest or failed */
	const char *filters;		/* as above */
	int			limit;
	bool		has_after;
	struct cursor after;		/* the row before the first */
	enum query_format format;
};

enum query_status list_query_parse(struct arena *arena, const struct target *target, int64_t now_us,
								   struct list_query *query, struct query_error *error)
			__attribute__((warn_unused_result));

/* /metrics/api/values */
struct values_query
{
	const char *of;				/* a filter's name */
	const char *search;			/* NULL: all */
	int			limit;
};

enum query_status values_query_parse(const struct target *target, struct values_query *query, struct query_error *error)
			__attribute__((warn_unused_result));

/* /metrics/api/requests/{id}: which of several with this id. */
enum query_status detail_query_parse(const struct target *target, bool *has_ts, int64_t *ts_us, struct query_error *error)
			__attribute__((warn_unused_result));

/* Are all parameters among "a, b, c"? */
enum query_status query_check_names(const struct target *target, const char *allowed, struct query_error *error)
			__attribute__((warn_unused_result));
/* The parameter's value, NULL when it is absent; an error when it is there twice. */
enum query_status query_single(const struct target *target, const char *name, const char **value, struct query_error *error)
			__attribute__((warn_unused_result));

/* "2025-01-31T12:00:00.000000Z" */
#define QUERY_TIME_BYTES 40
void		query_format_time(char out[QUERY_TIME_BYTES], int64_t us);

#endif
