/*
 * Request targets (query.h): percent-decoding. Pure; what it returns lives in
 * the arena. The fuzz target test/fuzz/gateway_query.c calls it directly.
 */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "gateway/query.h"
#include "gateway/text.h"

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
	/* of years before 1000 strftime's %Y has fewer digits, which are another year's */
	snprintf(out, QUERY_TIME_BYTES, "%04d", tm.tm_year + 1900);
	len = 4 + strftime(out + 4, QUERY_TIME_BYTES - 4, "-%m-%dT%H:%M:%S", &tm);
	snprintf(out + len, QUERY_TIME_BYTES - len, ".%06dZ", (int) fraction);
}
