/*
 * Reading JSON text where it lies; see json.h.
 */
#include <string.h>

#include "pricing/json.h"
#include "pricing/price_parse.h"

static const char *
skip_space(const char *p, const char *end)
{
	while (p < end && (*p == ' ' || *p == '\t' || *p == '\n' || *p == '\r'))
		p++;
	return p;
}

static bool
is_hex(char c)
{
	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

/* Past the string that begins at p; NULL when it is none. */
static const char *
skip_string(const char *p, const char *end)
{
	for (p++; p < end; p++)
	{
		if (*p == '"')
			return p + 1;
		if ((unsigned char) *p < ' ')
			return NULL;
		if (*p != '\\')
			continue;
		if (++p == end || memchr("\"\\/bfnrtu", *p, 9) == NULL)
			return NULL;
		if (*p == 'u')
		{
			if (end - p < 5 || !is_hex(p[1]) || !is_hex(p[2]) || !is_hex(p[3]) || !is_hex(p[4]))
				return NULL;
			p += 4;
		}
	}
	return NULL;
}

static const char *
skip_digits(const char *p, const char *end)
{
	const char *start = p;

	while (p < end && *p >= '0' && *p <= '9')
		p++;
	return p == start ? NULL : p;
}

static const char *
skip_number(const char *p, const char *end)
{
	if (p < end && *p == '-')
		p++;
	if (p < end && *p == '0')
		p++;
	else if ((p = skip_digits(p, end)) == NULL)
		return NULL;
	if (p < end && *p == '.' && (p = skip_digits(p + 1, end)) == NULL)
		return NULL;
	if (p < end && (*p == 'e' || *p == 'E'))
	{
		p++;
		if (p < end && (*p == '+' || *p == '-'))
			p++;
		p = skip_digits(p, end);
	}
	return p;
}

static const char *
skip_word(const char *p, const char *end, const char *word)
{
	size_t		n = strlen(word);

	return (size_t) (end - p) >= n && memcmp(p, word, n) == 0 ? p + n : NULL;
}

static const char *
skip_scalar(const char *p, const char *end)
{
	switch (*p)
	{
		case '"':
			return skip_string(p, end);
		case 't':
			return skip_word(p, end, "true");
		case 'f':
			return skip_word(p, end, "false");
		case 'n':
			return skip_word(p, end, "null");
		default:
			return skip_number(p, end);
	}
}

/* Past "key" and its colon; NULL when that is not what is there. */
static const char *
skip_key(const char *p, const char *end)
{
	if (p == end || *p != '"' || (p = skip_string(p, end)) == NULL)
		return NULL;
	p = skip_space(p, end);
	return p < end && *p == ':' ? skip_space(p + 1, end) : NULL;
}

/* Past the value that begins at p, without recursion; NULL when it is none. */
static const char *
skip_value(const char *p, const char *end)
{
	char		close[PRICE_JSON_MAX_DEPTH];
	int			depth = 0;

	for (;;)
	{
		if (p == NULL || p == end)
			return NULL;
		if (*p == '{' || *p == '[')
		{
			if (depth == PRICE_JSON_MAX_DEPTH)
				return NULL;
			close[depth++] = *p == '{' ? '}' : ']';
			p = skip_space(p + 1, end);
			if (p < end && *p != close[depth - 1])
			{
				if (close[depth - 1] == '}')
					p = skip_key(p, end);
				continue;
			}
		}
		else if ((p = skip_scalar(p, end)) == NULL)
			return NULL;

		/* a value is complete: close what ends here, or go on to the next one */
		for (;;)
		{
			if (depth == 0)
				return p;
			p = skip_space(p, end);
			if (p == end)
				return NULL;
			if (*p == close[depth - 1])
			{
				depth--;
				p++;
				continue;
			}
			if (*p != ',')
				return NULL;
			p = skip_space(p + 1, end);
			if (close[depth - 1] == '}')
				p = skip_key(p, end);
			break;
		}
	}
}

enum price_json_type
price_json_type_of(struct price_text value)
{
	if (value.len == 0)
		return PRICE_JSON_INVALID;
	switch (value.p[0])
	{
		case '{':
			return PRICE_JSON_OBJECT;
		case '[':
			return PRICE_JSON_ARRAY;
		case '"':
			return PRICE_JSON_STRING;
		case 't':
			return PRICE_JSON_TRUE;
		case 'f':
			return PRICE_JSON_FALSE;
		case 'n':
			return PRICE_JSON_NULL;
		default:
			return PRICE_JSON_NUMBER;
	}
}

enum price_json_type
price_json_value(struct price_text text, struct price_text *value)
{
	const char *end = text.p + text.len;
	const char *start;
	const char *after;

	*value = (struct price_text) {NULL, 0};
	if (text.p == NULL)
		return PRICE_JSON_INVALID;
	start = skip_space(text.p, end);
	after = skip_value(start, end);
	if (after == NULL || skip_space(after, end) != end)
		return PRICE_JSON_INVALID;
	*value = (struct price_text) {start, (size_t) (after - start)};
	return price_json_type_of(*value);
}

bool
price_json_open(struct price_text value, struct price_json *walk)
{
	if (value.len < 2 || (value.p[0] != '{' && value.p[0] != '['))
		return false;
	*walk = (struct price_json) {
		.p = value.p + 1,
		.end = value.p + value.len,
		.close = value.p[0] == '{' ? '}' : ']',
		.first = true,
	};
	return true;
}

bool
price_json_next(struct price_json *walk, struct price_text *key, struct price_text *value)
{
	const char *p = skip_space(walk->p, walk->end);
	const char *start;

	if (walk->failed || p == walk->end || *p == walk->close)
	{
		walk->failed |= p == walk->end;
		return false;
	}
	walk->failed = true;		/* until the whole member has been seen */
	if (!walk->first)
	{
		if (*p != ',')
			return false;
		p = skip_space(p + 1, walk->end);
	}
	if (walk->close == '}')
	{
		start = p;
		if ((p = skip_key(p, walk->end)) == NULL)
			return false;
		if (key != NULL)
		{
			/* without its quotes, escapes as they are */
			const char *quote = skip_string(start, walk->end);

			*key = (struct price_text) {start + 1, (size_t) (quote - start - 2)};
		}
	}
	start = p;
	if ((p = skip_value(p, walk->end)) == NULL)
		return false;
	*value = (struct price_text) {start, (size_t) (p - start)};
	walk->p = p;
	walk->first = false;
	walk->failed = false;
	return true;
}

bool
price_json_member(struct price_text object, const char *name, struct price_text *value)
{
	struct price_json walk;
	struct price_text key;
	struct price_text v;
	size_t		len = strlen(name);
	bool		found = false;

	if (price_json_type_of(object) != PRICE_JSON_OBJECT || !price_json_open(object, &walk))
		return false;
	while (price_json_next(&walk, &key, &v))
		if (key.len == len && memcmp(key.p, name, len) == 0)
		{
			*value = v;
			found = true;
		}
	return found;
}

bool
price_json_string_is(struct price_text string, const char *text)
{
	size_t		len = strlen(text);

	return string.len == len + 2 && string.p[0] == '"' && memcmp(string.p + 1, text, len) == 0;
}

static unsigned
hex4(const char *p)
{
	unsigned	n = 0;

	for (int i = 0; i < 4; i++)
		n = n * 16 + (unsigned) (p[i] <= '9' ? p[i] - '0' : (p[i] | 32) - 'a' + 10);
	return n;
}

/* A code point as UTF-8; how many bytes. */
static size_t
put_utf8(unsigned c, char out[4])
{
	if (c < 0x80)
		return out[0] = (char) c, 1;
	if (c < 0x800)
		return out[0] = (char) (0xc0 | c >> 6), out[1] = (char) (0x80 | (c & 0x3f)), 2;
	if (c < 0x10000)
		return out[0] = (char) (0xe0 | c >> 12), out[1] = (char) (0x80 | (c >> 6 & 0x3f)),
			out[2] = (char) (0x80 | (c & 0x3f)), 3;
	return out[0] = (char) (0xf0 | c >> 18), out[1] = (char) (0x80 | (c >> 12 & 0x3f)),
		out[2] = (char) (0x80 | (c >> 6 & 0x3f)), out[3] = (char) (0x80 | (c & 0x3f)), 4;
}

/* The character that an escape stands for; *p is behind the backslash, and past it afterwards. */
static size_t
unescape(const char **p, const char *end, char out[4])
{
	static const char from[] = "bfnrt";
	static const char to[] = "\b\f\n\r\t";
	const char *found;
	unsigned	c;

	if (**p != 'u')
	{
		found = memchr(from, **p, 5);
		out[0] = found != NULL ? to[found - from] : **p;
		(*p)++;
		return 1;
	}
	c = hex4(*p + 1);
	*p += 5;
	if (c >= 0xd800 && c < 0xdc00 && end - *p >= 6 && (*p)[0] == '\\' && (*p)[1] == 'u')
	{
		unsigned	low = hex4(*p + 2);

		if (low >= 0xdc00 && low < 0xe000)
		{
			*p += 6;
			return put_utf8(0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00), out);
		}
	}
	return put_utf8(c >= 0xd800 && c < 0xe000 ? 0xfffd : c, out);
}

bool
price_json_string(struct price_text value, char *buffer, size_t size, struct price_text *text)
{
	const char *p = value.p + 1;
	const char *end = value.p + value.len - 1;
	size_t		n = 0;

	if (price_json_type_of(value) != PRICE_JSON_STRING || value.len < 2)
		return false;
	while (p < end)
	{
		char		c[4];
		size_t		len = 1;

		if (*p == '\\')
		{
			p++;
			len = unescape(&p, end, c);
		}
		else
			c[0] = *p++;
		if (n + len > size)
			return false;
		memcpy(buffer + n, c, len);
		n += len;
	}
	*text = (struct price_text) {buffer, n};
	return true;
}

bool
price_json_count(struct price_text value, int64_t *count)
{
	return price_json_type_of(value) == PRICE_JSON_NUMBER &&
		price_parse_decimal(value, 0, count) == PRICE_DECIMAL_OK;
}
