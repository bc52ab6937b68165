/*
 * Request targets and query strings (query.h). Pure; what it returns lives in
 * the arena. The fuzz target test/fuzz/gateway_query.c calls it directly.
 */
#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "gateway/query.h"
#include "gateway/text.h"
#include "gateway/timestamp.h"

#define STATS_MAX_SPAN_US (INT64_C(3660) * US_PER_DAY)	/* ten years */
#define TIME_ZONE_BYTES 64

static enum query_status
bad(struct query_error *error, const char *parameter, const char *message, const char *allowed)
{
	error->parameter = parameter;
	error->message = message;
	error->allowed = allowed;
	return QUERY_BAD;
}

static int
hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

/*
 * Decodes raw[0 .. len) into the arena; '+' is a space in queries. *out is
 * NULL when memory ran out; false when it is no text.
 */
static bool
decode(struct arena *arena, const char *raw, size_t len, bool plus, const char **out)
{
	char	   *copy = arena_alloc(arena, len + 1);
	size_t		n = 0;

	*out = copy;
	if (copy == NULL)
		return true;
	for (size_t i = 0; i < len; i++)
	{
		char		c = raw[i];

		if (c == '%')
		{
			int			high = len - i > 2 ? hex_digit(raw[i + 1]) : -1;
			int			low = len - i > 2 ? hex_digit(raw[i + 2]) : -1;

			if (high < 0 || low < 0)
				return false;
			c = (char) (high * 16 + low);
			i += 2;
		}
		else if (c == '+' && plus)
			c = ' ';
		if (c == '\0')
			return false;
		copy[n++] = c;
	}
	copy[n] = '\0';
	for (size_t i = 0; i < n;)
	{
		size_t		step = utf8_length((const unsigned char *) copy + i, n - i);

		if (step == 0)
			return false;
		i += step;
	}
	return true;
}

enum query_status
target_parse(struct arena *arena, const char *raw, struct target *target, struct query_error *error)
{
	const char *path_end;
	const char *p;

	target->nparameters = 0;
	/* absolute form: a proxy's */
	if (strncmp(raw, "http://", 7) == 0 || strncmp(raw, "https://", 8) == 0)
	{
		raw = strchr(raw, ':') + 3;
		raw += strcspn(raw, "/?#");
	}
	path_end = raw + strcspn(raw, "?#");
	if (!decode(arena, raw, (size_t) (path_end - raw), false, &target->path))
		return bad(error, "", "The path is not valid percent-encoded UTF-8.", "");
	if (target->path == NULL)
		return QUERY_NO_MEMORY;
	if (*path_end != '?')
		return QUERY_OK;
	for (p = path_end + 1; *p && *p != '#';)
	{
		size_t		len = strcspn(p, "&#");
		const char *equals = memchr(p, '=', len);
		size_t		name_len = equals ? (size_t) (equals - p) : len;
		const char *value = equals ? equals + 1 : p + len;
		struct query_parameter *q;

		if (len > 0)
		{
			if (target->nparameters == QUERY_MAX_PARAMETERS)
				return bad(error, "", "There are too many parameters.", "");
			q = &target->parameters[target->nparameters];
			if (!decode(arena, p, name_len, true, &q->name) ||
				!decode(arena, value, (size_t) (p + len - value), true, &q->value))
				return bad(error, "", "The query string is not valid percent-encoded UTF-8.", "");
			if (q->name == NULL || q->value == NULL)
				return QUERY_NO_MEMORY;
			target->nparameters++;
		}
		p += len;
		if (*p == '&')
			p++;
	}
	return QUERY_OK;
}

/* ---------------------------------------------------------------- stats */

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

static const char *const groups[] = {"hour", "day", "model", "user", "endpoint"};
#define GROUPS_ALLOWED "hour, day, model, user, endpoint"

/* ccproxy.stats() knows the same. */
static const char *const filters[] = {
	"model", "user", "endpoint", "status", "error_type", "team", "api_key",
	"session", "provider", "method", "service_tier", "state"
};
#define FILTERS (sizeof(filters) / sizeof(filters[0]))
#define PARAMETERS_ALLOWED \
	"period, from, to, group_by, time_zone, model, user, endpoint, status, error_type, " \
	"team, api_key, session, provider, method, service_tier, state"
#define TIMES_ALLOWED "RFC 3339 such as 2025-01-31T12:00:00Z, a date such as 2025-01-31 (UTC), or epoch seconds"

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
static enum query_status
single(const struct target *target, const char *name, const char **value, struct query_error *error)
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

static enum query_status
parse_span(const struct target *target, int64_t now_us, struct stats_query *query, struct query_error *error)
{
	const char *from;
	const char *to;
	enum query_status status;

	if ((status = single(target, "period", &query->period, error)) != QUERY_OK ||
		(status = single(target, "from", &from, error)) != QUERY_OK ||
		(status = single(target, "to", &to, error)) != QUERY_OK)
		return status;
	if (from || to)
	{
		if (query->period)
			return bad(error, "period", "Give either period or from and to.", PERIODS_ALLOWED);
		if (!from)
			return bad(error, "from", "to needs from beside it.", TIMES_ALLOWED);
		if (!parse_time(from, &query->from_us))
			return bad(error, "from", "This is not a time.", TIMES_ALLOWED);
		query->to_us = now_us;
		if (to && !parse_time(to, &query->to_us))
			return bad(error, "to", "This is not a time.", TIMES_ALLOWED);
		if (query->from_us >= query->to_us)
			return bad(error, to ? "to" : "from", "from must be before to.", "");
		if (query->to_us - query->from_us > STATS_MAX_SPAN_US)
			return bad(error, "from", "The range must not be longer than ten years.", "");
		return QUERY_OK;
	}
	if (query->period == NULL)
		query->period = PERIOD_DEFAULT;
	for (size_t i = 0; i < sizeof(periods) / sizeof(periods[0]); i++)
	{
		if (strcmp(query->period, periods[i].name) == 0)
		{
			query->to_us = now_us;
			query->from_us = now_us - periods[i].us;
			return QUERY_OK;
		}
	}
	return bad(error, "period", "There is no such period.", PERIODS_ALLOWED);
}

static int
filter_find(const char *name)
{
	for (size_t i = 0; i < FILTERS; i++)
		if (strcmp(filters[i], name) == 0)
			return (int) i;
	return -1;
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

enum query_status
stats_query_parse(struct arena *arena, const struct target *target, int64_t now_us,
				  struct stats_query *query, struct query_error *error)
{
	static const char *const known[] = {"period", "from", "to", "group_by", "time_zone"};
	enum query_status status;
	struct text t;

	memset(query, 0, sizeof(*query));
	for (size_t i = 0; i < target->nparameters; i++)
	{
		bool		found = filter_find(target->parameters[i].name) >= 0;

		for (size_t k = 0; k < sizeof(known) / sizeof(known[0]); k++)
			found |= strcmp(known[k], target->parameters[i].name) == 0;
		if (!found)
			return bad(error, target->parameters[i].name, "There is no such parameter.", PARAMETERS_ALLOWED);
	}
	if ((status = parse_span(target, now_us, query, error)) != QUERY_OK ||
		(status = single(target, "group_by", &query->group_by, error)) != QUERY_OK ||
		(status = single(target, "time_zone", &query->time_zone, error)) != QUERY_OK)
		return status;
	if (query->group_by)
	{
		bool		found = false;

		for (size_t i = 0; i < sizeof(groups) / sizeof(groups[0]); i++)
			found |= strcmp(query->group_by, groups[i]) == 0;
		if (!found)
			return bad(error, "group_by", "One cannot group by this.", GROUPS_ALLOWED);
	}
	if (query->time_zone == NULL)
		query->time_zone = "UTC";
	if (!is_time_zone(query->time_zone))
		return bad(error, "time_zone", "This is not the name of a time zone.", "names such as UTC or Europe/Berlin");
	text_init(&t);
	status = write_filters(&t, target, error);
	if (status == QUERY_OK)
	{
		query->filters = t.failed ? NULL : arena_strndup(arena, t.data, t.len);
		if (query->filters == NULL)
			status = QUERY_NO_MEMORY;
	}
	text_free(&t);
	return status;
}

void
query_format_time(char out[QUERY_TIME_BYTES], int64_t us)
{
	int64_t		seconds = us / 1000000;
	int64_t		fraction = us % 1000000;
	time_t		t;
	struct tm	tm;
	size_t		len;

	if (fraction < 0)
	{
		fraction += 1000000;
		seconds--;
	}
	t = (time_t) seconds;
	gmtime_r(&t, &tm);
	len = strftime(out, QUERY_TIME_BYTES, "%Y-%m-%dT%H:%M:%S", &tm);
	snprintf(out + len, QUERY_TIME_BYTES - len, ".%06dZ", (int) fraction);
}
