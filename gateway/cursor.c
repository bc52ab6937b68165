/*
 * Cursors (cursor.h): "1 FROM TO LIST VALUE TS ID", LIST being a hash of order
 * and filters and VALUE - for none, as base64url.
 */
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/cursor.h"

#define CURSOR_VERSION "1 "
#define CURSOR_MAX_BYTES 1024	/* of its text */
#define REQUEST_ID_MAX_BYTES 256
/* years 1 to 9999 */
#define TIME_MIN_US INT64_C(-62135596800000000)
#define TIME_MAX_US INT64_C(253402300800000000)
#define NUMBER_CHARACTERS "0123456789+-.eE"
/* what a bigint of microseconds or picodollars can hold, in the API's units */
#define SLOWEST_MAX_MS 9.2e15
#define DEAREST_MAX_USD 9.2e6

static uint32_t
list_hash(const char *order, const char *filters)
{
	uint32_t	hash = 2166136261u; /* FNV-1a */

	for (const char *p = order; *p; p++)
		hash = (hash ^ (unsigned char) *p) * 16777619u;
	hash = (hash ^ ' ') * 16777619u;
	for (const char *p = filters; *p; p++)
		hash = (hash ^ (unsigned char) *p) * 16777619u;
	return hash;
}

/* A whole number and the space after it; false when that is not what stands there. */
static bool
take_i64(const char **p, int64_t *out)
{
	char	   *end;

	if (**p != '-' && (**p < '0' || **p > '9'))
		return false;
	errno = 0;
	*out = strtoll(*p, &end, 10);
	if (errno != 0 || end == *p || *end != ' ')
		return false;
	*p = end + 1;
	return true;
}

/* Decodes into out, which has room for len bytes; -1 when it is no base64url. */
static int
decode(const char *text, size_t len, char *out)
{
	char		padded[CURSOR_MAX_BYTES + 4];
	size_t		fill = (4 - len % 4) % 4;
	int			n;

	if (len == 0 || len > CURSOR_MAX_BYTES || fill == 3)
		return -1;
	for (size_t i = 0; i < len; i++)
	{
		char		c = text[i];

		/* what the library would skip or take for the other alphabet */
		if (c == '+' || c == '/' || c == '=' || (unsigned char) c <= ' ')
			return -1;
		padded[i] = c == '-' ? '+' : c == '_' ? '/' : c;
	}
	memset(padded + len, '=', fill);
	n = EVP_DecodeBlock((unsigned char *) out, (const unsigned char *) padded, (int) (len + fill));
	return n < 0 ? -1 : n - (int) fill;
}

/* Can a row of the list be ordered by this value? */
static bool
is_value(const char *text, const char *order)
{
	char	   *end;
	double		value = strtod(text, &end);

	return *end == '\0' && text[strspn(text, NUMBER_CHARACTERS)] == '\0' &&
		fabs(value) < (strcmp(order, "dearest") == 0 ? DEAREST_MAX_USD : SLOWEST_MAX_MS);
}

static bool
is_text(const char *s, size_t len)
{
	for (size_t i = 0; i < len;)
	{
		size_t		n = s[i] ? utf8_length((const unsigned char *) s + i, len - i) : 0;

		if (n == 0)
			return false;
		i += n;
	}
	return true;
}

enum cursor_status
cursor_parse(struct arena *arena, const char *text, const char *order, const char *filters, struct cursor *cursor)
{
	size_t		len = strlen(text);
	char	   *plain = arena_alloc(arena, CURSOR_MAX_BYTES + 8);
	const char *p = plain;
	int64_t		hash;
	size_t		value_len;
	int			n;

	if (plain == NULL)
		return CURSOR_NO_MEMORY;
	n = decode(text, len, plain);
	if (n < 0 || !is_text(plain, (size_t) n))
		return CURSOR_BAD;
	plain[n] = '\0';
	if (strncmp(p, CURSOR_VERSION, strlen(CURSOR_VERSION)) != 0)
		return CURSOR_BAD;
	p += strlen(CURSOR_VERSION);
	if (!take_i64(&p, &cursor->from_us) || !take_i64(&p, &cursor->to_us) || !take_i64(&p, &hash))
		return CURSOR_BAD;
	value_len = strcspn(p, " ");
	if (value_len == 0 || value_len > CURSOR_VALUE_BYTES || p[value_len] != ' ')
		return CURSOR_BAD;
	cursor->value = NULL;
	if (value_len != 1 || *p != '-')
	{
		char	   *value = arena_strndup(arena, p, value_len);

		if (value == NULL)
			return CURSOR_NO_MEMORY;
		if (!is_value(value, order))
			return CURSOR_BAD;
		cursor->value = value;
	}
	p += value_len + 1;
	if (!take_i64(&p, &cursor->ts_us) || strlen(p) == 0 || strlen(p) > REQUEST_ID_MAX_BYTES)
		return CURSOR_BAD;
	cursor->request_id = p;
	if (cursor->from_us < TIME_MIN_US || cursor->to_us > TIME_MAX_US || cursor->from_us >= cursor->to_us ||
		cursor->ts_us < cursor->from_us || cursor->ts_us >= cursor->to_us)
		return CURSOR_BAD;
	return hash == (int64_t) list_hash(order, filters) ? CURSOR_OK : CURSOR_OTHER;
}

void
cursor_write(struct text *t, const struct cursor *c, const char *order, const char *filters)
{
	char		plain[CURSOR_MAX_BYTES];
	char		encoded[CURSOR_MAX_BYTES * 4 / 3 + 8];
	int			len = snprintf(plain, sizeof(plain), CURSOR_VERSION "%" PRId64 " %" PRId64 " %" PRIu32 " %s %" PRId64 " %s",
							   c->from_us, c->to_us, list_hash(order, filters), c->value ? c->value : "-", c->ts_us, c->request_id);

	EVP_EncodeBlock((unsigned char *) encoded, (const unsigned char *) plain, len);
	for (char *p = encoded; *p && *p != '='; p++)
		text_putc(t, *p == '+' ? '-' : *p == '/' ? '_' : *p);
}
