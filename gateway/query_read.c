/*
 * The parameters of the reading routes (query.h). Pure; what it returns lives
 * in the arena. The fuzz target test/fuzz/gateway_query.c calls it directly.
 *
 * One table says which route knows which parameter; what a route does not know
 * is refused, with the list of those it does.
 */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/cursor.h"
#include "gateway/query.h"
#include "gateway/text.h"
#include "gateway/timestamp.h"

#define SPAN_MAX_US (INT64_C(3660) * US_PER_DAY)	/* ten years */
#define TIME_ZONE_BYTES 64
#define SEARCH_BYTES 256
#define US_PER_S INT64_C(1000000)

static const struct
{
	const char *name;
	int64_t		us;
}			periods[] = {
	{"1h", US_PER_DAY / 24}, {"6h", US_PER_DAY / 4}, {"24h", US_PER_DAY},
	{"7d", 7 * US_PER_DAY}, {"30d", 30 * US_PER_DAY}
};
#define PERIODS_ALLOWED "1h, 6h, 24h, 7d, 30d"
#define PERIOD_DEFAULT "24h"

/* ccproxy.stats() knows the same. */
static const char *const groups[] = {
	"minute", "quarter", "hour", "day", "model", "user", "endpoint", "method", "status", "error_type",
	"team", "api_key", "session", "provider", "service_tier"
};
#define GROUPS_ALLOWED "one or two, with a comma between, of minute, quarter, hour, day, model, user, endpoint, method, " \
	"status, error_type, team, api_key, session, provider, service_tier"
#define TIME_GROUPS 4			/* the first of them */

static const char *const filters[] = {
	"model", "user", "endpoint", "status", "error_type", "team", "api_key",
	"session", "provider", "method", "service_tier", "state"
};
#define FILTERS (sizeof(filters) / sizeof(filters[0]))
#define FILTERS_ALLOWED "model, user, endpoint, status, error_type, team, api_key, session, provider, method, " \
	"service_tier, state"
#define TIMES_ALLOWED "RFC 3339 such as 2025-01-31T12:00:00Z, a date such as 2025-01-31 (UTC), or epoch seconds"
#define STATS_ALLOWED "period, from, to, group_by, time_zone, compare, total, fields, limit, format, " FILTERS_ALLOWED
#define SAVINGS_ALLOWED "period, from, to, " FILTERS_ALLOWED
#define LIST_ALLOWED "period, from, to, order, limit, cursor, format, " FILTERS_ALLOWED
#define LIMITS_ALLOWED "1 to 10000"
#define ORDERS_ALLOWED "newest, slowest, dearest, failed"
#define VALUES_ALLOWED "model, user, endpoint, status, error_type, team, api_key, method"

#define VALUE_FIELDS(F, LAST) \
	F(total_requests) F(successful_requests) F(failed_requests) F(in_flight_requests) F(avg_response_time_ms) \
	F(p50_response_time_ms) F(p95_response_time_ms) F(p99_response_time_ms) F(avg_ttft_ms) F(p50_ttft_ms) F(p95_ttft_ms) \
	F(p99_ttft_ms) F(input_tokens) F(cache_read_tokens) F(cache_write_tokens) F(output_tokens) F(total_tokens) \
	F(total_cost) F(avg_cost_per_request) F(unpriced_requests) F(model_usage) F(model_costs) F(error_rate) \
	F(errors_by_type) LAST(rate_limited_requests)
#define NAME(field) #field,
#define LISTED(field) #field ", "
#define LISTED_LAST(field) #field

const char *const stats_fields[] = {
	"group_key", "group_key2", "period_start", "period_end", VALUE_FIELDS(NAME, NAME) NULL
};

static enum query_status
bad(struct query_error *error, const char *parameter, const char *message, const char *allowed)
{
	error->parameter = parameter;
	error->message = message;
	error->allowed = allowed;
	return QUERY_BAD;
}

/* Is name one of "a, b, c"? */
static bool
is_listed(const char *name, const char *list)
{
	size_t		len = strlen(name);

	for (const char *p = list; *p;)
	{
		size_t		n = strcspn(p, ",");

		if (n == len && memcmp(p, name, n) == 0)
			return true;
		p += n;
		p += strspn(p, ", ");
	}
	return false;
}

enum query_status
query_check_names(const struct target *target, const char *allowed, struct query_error *error)
{
	for (size_t i = 0; i < target->nparameters; i++)
		if (!is_listed(target->parameters[i].name, allowed))
			return bad(error, target->parameters[i].name, "There is no such parameter.",
					   allowed[0] ? allowed : "none");
	return QUERY_OK;
}

static bool
is_state(const char *value)
{
	return strcmp(value, "successful") == 0 || strcmp(value, "failed") == 0 || strcmp(value, "in_flight") == 0;
}

static bool
is_status(const char *value)
{
	return strlen(value) == 3 && value[0] >= '1' && value[0] <= '5' &&
		isdigit((unsigned char) value[1]) && isdigit((unsigned char) value[2]);
}

static bool
parse_time(const char *value, int64_t *us)
{
	size_t		len = strlen(value);
	size_t		digits = strspn(value, "0123456789");

	if (len == 0)
		return false;
	if (digits == len || (value[digits] == '.' && strspn(value + digits + 1, "0123456789") == len - digits - 1 && len > digits + 1))
		return timestamp_parse_epoch(value, len, us);
	if (len == 10)
	{
		char		midnight[32];

		snprintf(midnight, sizeof(midnight), "%sT00:00:00Z", value);
		return timestamp_parse(midnight, strlen(midnight), us);
	}
	/* the + of an offset, unescaped in the query, has become a space */
	if (len > 19 && len < 64)
	{
		char		copy[64];
		char	   *space;

		memcpy(copy, value, len + 1);
		space = strchr(copy + 19, ' ');
		if (space)
			*space = '+';
		return timestamp_parse(copy, len, us);
	}
	return timestamp_parse(value, len, us);
}

static bool
is_time_zone(const char *value)
{
	size_t		len = strlen(value);

	if (len == 0 || len > TIME_ZONE_BYTES)
		return false;
	for (const char *p = value; *p; p++)
		if (!isalnum((unsigned char) *p) && !strchr("_+-/:", *p))
			return false;
	return true;
}

/* A single-valued parameter; an error when it comes twice. */
enum query_status
query_single(const struct target *target, const char *name, const char **value, struct query_error *error)
{
	*value = NULL;
	for (size_t i = 0; i < target->nparameters; i++)
	{
		if (strcmp(target->parameters[i].name, name) != 0)
			continue;
		if (*value)
			return bad(error, name, "The parameter is given twice.", "");
		*value = target->parameters[i].value;
	}
	return QUERY_OK;
}

/*
 * How finely the end of a range moves with the clock: so that the same question
 * is the same question for a while, and begins and ends on whole minutes or
 * quarter hours, which the rollups hold.
 */
static int64_t
refresh_step(int64_t span_us)
{
	static const int64_t steps_s[] = {900, 60, 10};

	for (size_t i = 0; i < sizeof(steps_s) / sizeof(steps_s[0]); i++)
		if (span_us / 360 >= steps_s[i] * US_PER_S)
			return steps_s[i] * US_PER_S;
	return US_PER_S;
}

/* The next whole step that is not before us. */
static int64_t
snap_up(int64_t us, int64_t step_us)
{
	return (us + step_us - 1) / step_us * step_us;
}

static enum query_status
parse_span(const struct target *target, int64_t now_us, struct query_span *span, struct query_error *error)
{
	const char *from;
	const char *to;
	enum query_status status;

	if ((status = query_single(target, "period", &span->period, error)) != QUERY_OK ||
		(status = query_single(target, "from", &from, error)) != QUERY_OK ||
		(status = query_single(target, "to", &to, error)) != QUERY_OK)
		return status;
	if (from || to)
	{
		if (span->period)
			return bad(error, "period", "Give either period or from and to.", PERIODS_ALLOWED);
		if (!from)
			return bad(error, "from", "to needs from beside it.", TIMES_ALLOWED);
		if (!parse_time(from, &span->from_us))
			return bad(error, "from", "This is not a time.", TIMES_ALLOWED);
		span->to_us = now_us;
		if (to && !parse_time(to, &span->to_us))
			return bad(error, "to", "This is not a time.", TIMES_ALLOWED);
		if (span->from_us >= span->to_us)
			return bad(error, to ? "to" : "from", "from must be before to.", "");
		if (span->to_us - span->from_us > SPAN_MAX_US)
			return bad(error, "from", "The range must not be longer than ten years.", "");
		if (!to)
			span->to_us = snap_up(now_us, refresh_step(now_us - span->from_us));
		return QUERY_OK;
	}
	if (span->period == NULL)
		span->period = PERIOD_DEFAULT;
	for (size_t i = 0; i < sizeof(periods) / sizeof(periods[0]); i++)
	{
		if (strcmp(span->period, periods[i].name) == 0)
		{
			span->to_us = snap_up(now_us, refresh_step(periods[i].us));
			span->from_us = span->to_us - periods[i].us;
			return QUERY_OK;
		}
	}
	return bad(error, "period", "There is no such period.", PERIODS_ALLOWED);
}

/* Writes {"model": ["a", "b"], ...}; '' asks for requests without the field. */
static enum query_status
write_filters(struct text *t, const struct target *target, struct query_error *error)
{
	bool		first = true;

	text_putc(t, '{');
	for (size_t f = 0; f < FILTERS; f++)
	{
		size_t		values = 0;

		for (size_t i = 0; i < target->nparameters; i++)
		{
			const char *value = target->parameters[i].value;

			if (strcmp(target->parameters[i].name, filters[f]) != 0)
				continue;
			if (*value && strcmp(filters[f], "status") == 0 && !is_status(value))
				return bad(error, "status", "This is not an HTTP status.", "100 to 599");
			if (*value && strcmp(filters[f], "state") == 0 && !is_state(value))
				return bad(error, "state", "There is no such state.", "successful, failed, in_flight");
			if (values++ == QUERY_MAX_VALUES)
				return bad(error, filters[f], "The parameter has too many values.", "");
			if (values == 1)
			{
				text_puts(t, first ? "" : ", ");
				text_json(t, filters[f]);
				text_puts(t, ": [");
				first = false;
			}
			else
				text_puts(t, ", ");
			if (*value)
				text_json(t, value);
			else
				text_puts(t, "null");
		}
		if (values > 0)
			text_putc(t, ']');
	}
	text_putc(t, '}');
	return QUERY_OK;
}

/* The filters, as a JSON object in the arena. */
static enum query_status
parse_filters(struct arena *arena, const struct target *target, const char **json, struct query_error *error)
{
	struct text t;
	enum query_status status;

	text_init(&t);
	status = write_filters(&t, target, error);
	if (status == QUERY_OK)
	{
		*json = t.failed ? NULL : arena_strndup(arena, t.data, t.len);
		if (*json == NULL)
			status = QUERY_NO_MEMORY;
	}
	text_free(&t);
	return status;
}

static enum query_status
parse_format(const struct target *target, enum query_format *format, struct query_error *error)
{
	const char *value;
	enum query_status status = query_single(target, "format", &value, error);

	*format = FORMAT_ANY;
	if (status != QUERY_OK || value == NULL)
		return status;
	if (strcmp(value, "json") == 0)
		*format = FORMAT_JSON;
	else if (strcmp(value, "csv") == 0)
		*format = FORMAT_CSV;
	else
		return bad(error, "format", "There is no such format.", "json, csv");
	return QUERY_OK;
}

static enum query_status
parse_limit(const struct target *target, int *limit, struct query_error *error)
{
	const char *value;
	enum query_status status = query_single(target, "limit", &value, error);

	if (status != QUERY_OK || value == NULL)
		return status;
	if (strspn(value, "0123456789") != strlen(value) || strlen(value) > 5 || atoi(value) < 1 || atoi(value) > QUERY_MAX_LIMIT)
		return bad(error, "limit", "This is not a number of rows.", LIMITS_ALLOWED);
	*limit = atoi(value);
	return QUERY_OK;
}

/* "hour,model": known, at most two, one of them a time, none twice. */
static enum query_status
check_group_by(const char *value, bool *by_time, struct query_error *error)
{
	int			seen[2] = {-1, -1};
	int			n = 0;
	const char *p = value;

	*by_time = false;
	for (;;)
	{
		size_t		len = strcspn(p, ",");
		int			found = -1;

		for (size_t i = 0; i < sizeof(groups) / sizeof(groups[0]); i++)
			if (strlen(groups[i]) == len && memcmp(p, groups[i], len) == 0)
				found = (int) i;
		if (found < 0 || n == 2 || found == seen[0] || (found < TIME_GROUPS && *by_time))
			return bad(error, "group_by", "One cannot group by this.", GROUPS_ALLOWED);
		seen[n++] = found;
		*by_time |= found < TIME_GROUPS;
		if (p[len] == '\0')
			return QUERY_OK;
		p += len + 1;
	}
}

/* "total_requests,total_cost": columns of the answer besides the keys. */
static enum query_status
parse_fields(const struct target *target, uint64_t *fields, struct query_error *error)
{
	const char *value;
	enum query_status status = query_single(target, "fields", &value, error);

	*fields = UINT64_MAX;
	if (status != QUERY_OK || value == NULL)
		return status;
	*fields = (1 << STATS_KEY_FIELDS) - 1;
	for (const char *p = value;; p++)
	{
		size_t		len = strcspn(p, ",");
		int			i = STATS_KEY_FIELDS;

		while (stats_fields[i] && !(strlen(stats_fields[i]) == len && memcmp(p, stats_fields[i], len) == 0))
			i++;
		if (stats_fields[i] == NULL)
			return bad(error, "fields", "The answer has no such field.", VALUE_FIELDS(LISTED, LISTED_LAST));
		*fields |= UINT64_C(1) << i;
		p += len;
		if (*p == '\0')
			return QUERY_OK;
	}
}

static enum query_status
parse_total(const struct target *target, bool *total, struct query_error *error)
{
	const char *value;
	enum query_status status = query_single(target, "total", &value, error);

	*total = value && strcmp(value, "true") == 0;
	if (status == QUERY_OK && value && !*total && strcmp(value, "false") != 0)
		return bad(error, "total", "Say whether there is to be one.", "true, false");
	return status;
}

enum query_status
stats_query_parse(struct arena *arena, const struct target *target, int64_t now_us,
				  struct stats_query *query, struct query_error *error)
{
	const char *compare;
	bool		by_time = false;
	enum query_status status;

	memset(query, 0, sizeof(*query));
	if ((status = query_check_names(target, STATS_ALLOWED, error)) != QUERY_OK ||
		(status = parse_span(target, now_us, &query->span, error)) != QUERY_OK ||
		(status = query_single(target, "group_by", &query->group_by, error)) != QUERY_OK ||
		(status = query_single(target, "time_zone", &query->time_zone, error)) != QUERY_OK ||
		(status = query_single(target, "compare", &compare, error)) != QUERY_OK ||
		(status = parse_total(target, &query->total, error)) != QUERY_OK ||
		(status = parse_fields(target, &query->fields, error)) != QUERY_OK ||
		(status = parse_limit(target, &query->limit, error)) != QUERY_OK ||
		(status = parse_format(target, &query->format, error)) != QUERY_OK)
		return status;
	if (query->group_by && (status = check_group_by(query->group_by, &by_time, error)) != QUERY_OK)
		return status;
	if (query->limit > 0 && by_time)
		return bad(error, "limit", "A limit goes with groups that are no times: it keeps those with most requests.", "");
	if (query->total && (query->group_by == NULL || by_time))
		return bad(error, "total", "A total goes with groups that are no times.", "");
	if (compare && strcmp(compare, "previous") != 0)
		return bad(error, "compare", "One cannot compare with this.", "previous");
	query->compare = compare != NULL;
	if (query->time_zone == NULL)
		query->time_zone = "UTC";
	if (!is_time_zone(query->time_zone))
		return bad(error, "time_zone", "This is not the name of a time zone.", "names such as UTC or Europe/Berlin");
	return parse_filters(arena, target, &query->filters, error);
}

enum query_status
savings_query_parse(struct arena *arena, const struct target *target, int64_t now_us,
					struct stats_query *query, struct query_error *error)
{
	enum query_status status = query_check_names(target, SAVINGS_ALLOWED, error);

	return status != QUERY_OK ? status : stats_query_parse(arena, target, now_us, query, error);
}

enum query_status
list_query_parse(struct arena *arena, const struct target *target, int64_t now_us,
				 struct list_query *query, struct query_error *error)
{
	const char *cursor;
	const char *order;
	enum query_status status;

	memset(query, 0, sizeof(*query));
	query->limit = QUERY_DEFAULT_LIMIT;
	if ((status = query_check_names(target, LIST_ALLOWED, error)) != QUERY_OK ||
		(status = parse_span(target, now_us, &query->span, error)) != QUERY_OK ||
		(status = query_single(target, "order", &order, error)) != QUERY_OK ||
		(status = query_single(target, "cursor", &cursor, error)) != QUERY_OK ||
		(status = parse_limit(target, &query->limit, error)) != QUERY_OK ||
		(status = parse_format(target, &query->format, error)) != QUERY_OK ||
		(status = parse_filters(arena, target, &query->filters, error)) != QUERY_OK)
		return status;
	query->order = order ? order : "newest";
	if (!is_listed(query->order, ORDERS_ALLOWED))
		return bad(error, "order", "There is no such order.", ORDERS_ALLOWED);
	if (cursor == NULL)
		return QUERY_OK;
	switch (cursor_parse(arena, cursor, query->order, query->filters, &query->after))
	{
		case CURSOR_OK:
			break;
		case CURSOR_BAD:
			return bad(error, "cursor", "This is not a cursor.", "the next_cursor of an answer");
		case CURSOR_OTHER:
			return bad(error, "cursor", "The cursor is that of another list.", "the next_cursor of an answer with this order and these filters");
		case CURSOR_NO_MEMORY:
			return QUERY_NO_MEMORY;
	}
	/* all pages are of one range, wherever the clock stands meanwhile */
	query->has_after = true;
	query->span.from_us = query->after.from_us;
	query->span.to_us = query->after.to_us;
	return QUERY_OK;
}

enum query_status
values_query_parse(const struct target *target, struct values_query *query, struct query_error *error)
{
	enum query_status status;

	memset(query, 0, sizeof(*query));
	query->limit = QUERY_DEFAULT_LIMIT;
	if ((status = query_check_names(target, "of, search, limit", error)) != QUERY_OK ||
		(status = query_single(target, "of", &query->of, error)) != QUERY_OK ||
		(status = query_single(target, "search", &query->search, error)) != QUERY_OK ||
		(status = parse_limit(target, &query->limit, error)) != QUERY_OK)
		return status;
	if (query->of == NULL || !is_listed(query->of, VALUES_ALLOWED))
		return bad(error, "of", query->of ? "There are no lists of these." : "Say what the values are to be of.", VALUES_ALLOWED);
	if (query->search && strlen(query->search) > SEARCH_BYTES)
		return bad(error, "search", "The text is too long.", "at most 256 bytes");
	return QUERY_OK;
}

enum query_status
detail_query_parse(const struct target *target, bool *has_ts, int64_t *ts_us, struct query_error *error)
{
	const char *ts;
	enum query_status status;

	*has_ts = false;
	if ((status = query_check_names(target, "ts", error)) != QUERY_OK ||
		(status = query_single(target, "ts", &ts, error)) != QUERY_OK || ts == NULL)
		return status;
	if (!parse_time(ts, ts_us))
		return bad(error, "ts", "This is not a time.", TIMES_ALLOWED);
	*has_ts = true;
	return QUERY_OK;
}
