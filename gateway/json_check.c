/*
 * The JSON check; see json_check.h. One loop over an explicit stack of bits
 * (1: object), because recursion depth would be the client's to choose.
 */
#include "gateway/json_check.h"

#include <string.h>

static const char fault_utf8[] = "invalid UTF-8";
static const char fault_nul[] = "contains \\u0000";
static const char fault_surrogate[] = "unpaired surrogate escape";
static const char fault_control[] = "raw control character in a string";
const char	json_fault_depth[] = "nested deeper than allowed";
static const char fault_number[] = "number out of range";

/* What one walk needs to remember. */
struct walk
{
	const char *p;
	const char *end;
	struct json_scan *scan;
	int32_t		member;			/* top-level member being read, or -1 */
};

const char *
json_skip_space(const char *p, const char *end)
{
	while (p < end && (*p == ' ' || *p == '\n' || *p == '\t' || *p == '\r'))
		p++;
	return p;
}

/* Notes the first fault. */
static void
note_fault(struct walk *w, const char *fault)
{
	if (w->scan->fault == NULL)
	{
		w->scan->fault = fault;
		w->scan->fault_member = w->member;
	}
}

static bool
syntax_error(struct walk *w, const char *message)
{
	w->scan->error = message;
	w->scan->end = w->p;
	return false;
}

/* Length of the valid multi-byte sequence at p, 0 when there is none. */
static int
utf8_sequence(const unsigned char *p, const unsigned char *end)
{
	size_t		left = (size_t) (end - p);
	unsigned char c = p[0];

	if (c < 0xc2)
		return 0;
	if (c < 0xe0)
		return left >= 2 && (p[1] & 0xc0) == 0x80 ? 2 : 0;
	if (c < 0xf0)
	{
		if (left < 3 || (p[1] & 0xc0) != 0x80 || (p[2] & 0xc0) != 0x80)
			return 0;
		if (c == 0xe0 && p[1] < 0xa0)
			return 0;			/* overlong */
		if (c == 0xed && p[1] >= 0xa0)
			return 0;			/* surrogate */
		return 3;
	}
	if (c < 0xf5)
	{
		if (left < 4 || (p[1] & 0xc0) != 0x80 || (p[2] & 0xc0) != 0x80 || (p[3] & 0xc0) != 0x80)
			return 0;
		if (c == 0xf0 && p[1] < 0x90)
			return 0;			/* overlong */
		if (c == 0xf4 && p[1] >= 0x90)
			return 0;			/* beyond U+10FFFF */
		return 4;
	}
	return 0;
}

size_t
json_utf8_prefix(const char *s, size_t len, size_t max)
{
	if (len <= max)
		return len;
	while (max > 0 && ((unsigned char) s[max] & 0xc0) == 0x80)
		max--;
	return max;
}

/*
 * Not zero when one of the eight bytes needs a closer look: a quote, a backslash,
 * below space or not ASCII. The lowest bit set is then in the first such byte
 * (borrows only run upwards), counted from the least significant.
 */
static inline uint64_t
special_bytes(uint64_t v)
{
	const uint64_t ones = 0x0101010101010101ULL;
	const uint64_t high = 0x8080808080808080ULL;
	uint64_t	quote = v ^ (ones * '"');
	uint64_t	slash = v ^ (ones * '\\');

	return (((quote - ones) & ~quote) | ((slash - ones) & ~slash) |
			((v - ones * 0x20) & ~v) | v) & high;
}

/* Eight bytes, the first one least significant. */
static inline uint64_t
load_bytes(const char *p)
{
	uint64_t	v;

	memcpy(&v, p, sizeof(v));
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
	v = __builtin_bswap64(v);
#endif
	return v;
}

/* Four hexadecimal digits at p, or -1. */
static int
hex4(const char *p, const char *end)
{
	int			v = 0;

	if (end - p < 4)
		return -1;
	for (int i = 0; i < 4; i++)
	{
		char		c = p[i];
		int			digit;

		if (c >= '0' && c <= '9')
			digit = c - '0';
		else if (c >= 'a' && c <= 'f')
			digit = c - 'a' + 10;
		else if (c >= 'A' && c <= 'F')
			digit = c - 'A' + 10;
		else
			return -1;
		v = v * 16 + digit;
	}
	return v;
}

/* w->p is at a backslash; passes the escape. */
static bool
scan_escape(struct walk *w)
{
	int			unit;

	if (w->end - w->p < 2)
		return syntax_error(w, "a string does not end");
	switch (w->p[1])
	{
		case '"':
		case '\\':
		case '/':
		case 'b':
		case 'f':
		case 'n':
		case 'r':
		case 't':
			w->p += 2;
			return true;
		case 'u':
			break;
		default:
			return syntax_error(w, "invalid escape in a string");
	}
	unit = hex4(w->p + 2, w->end);
	if (unit < 0)
		return syntax_error(w, "invalid \\u escape in a string");
	w->p += 6;
	if (unit == 0)
		note_fault(w, fault_nul);
	else if (unit >= 0xdc00 && unit <= 0xdfff)
		note_fault(w, fault_surrogate);
	else if (unit >= 0xd800 && unit <= 0xdbff)
	{
		int			low = -1;

		if (w->end - w->p >= 2 && w->p[0] == '\\' && w->p[1] == 'u')
			low = hex4(w->p + 2, w->end);
		if (low >= 0xdc00 && low <= 0xdfff)
			w->p += 6;
		else
			note_fault(w, fault_surrogate);
	}
	return true;
}

/* w->p is just after the opening quote; passes the closing one. */
static bool
scan_string(struct walk *w, bool *escaped)
{
	*escaped = false;
	for (;;)
	{
		unsigned char c;

		while (w->end - w->p >= 8)
		{
			uint64_t	special = special_bytes(load_bytes(w->p));

			if (special != 0)
			{
				w->p += __builtin_ctzll(special) / 8;
				break;
			}
			w->p += 8;
		}
		if (w->p >= w->end)
			return syntax_error(w, "a string does not end");
		c = (unsigned char) *w->p;
		if (c == '"')
		{
			w->p++;
			return true;
		}
		if (c == '\\')
		{
			*escaped = true;
			if (!scan_escape(w))
				return false;
		}
		else if (c < 0x20)
		{
			note_fault(w, fault_control);
			w->p++;
		}
		else if (c < 0x80)
			w->p++;
		else
		{
			int			n = utf8_sequence((const unsigned char *) w->p,
										  (const unsigned char *) w->end);

			if (n == 0)
			{
				note_fault(w, fault_utf8);
				n = 1;
			}
			w->p += n;
		}
	}
}

static const char *
skip_digits(const char *p, const char *end)
{
	while (p < end && *p >= '0' && *p <= '9')
		p++;
	return p;
}

/* w->p is at '-' or a digit; passes the number. */
static bool
scan_number(struct walk *w)
{
	const char *start = w->p;
	const char *digits;

	if (*w->p == '-')
		w->p++;
	digits = w->p;
	w->p = skip_digits(w->p, w->end);
	if (w->p == digits || (*digits == '0' && w->p - digits > 1))
		return syntax_error(w, "invalid number");
	if (w->p < w->end && *w->p == '.')
	{
		digits = ++w->p;
		w->p = skip_digits(w->p, w->end);
		if (w->p == digits)
			return syntax_error(w, "invalid number");
	}
	if (w->p < w->end && (*w->p == 'e' || *w->p == 'E'))
	{
		int			exponent = 0;

		w->p++;
		if (w->p < w->end && (*w->p == '+' || *w->p == '-'))
			w->p++;
		digits = w->p;
		w->p = skip_digits(w->p, w->end);
		if (w->p == digits)
			return syntax_error(w, "invalid number");
		for (; digits < w->p && exponent <= JSON_MAX_EXPONENT; digits++)
			exponent = exponent * 10 + (*digits - '0');
		if (exponent > JSON_MAX_EXPONENT)
			note_fault(w, fault_number);
	}
	if (w->p - start > JSON_MAX_NUMBER_CHARS)
		note_fault(w, fault_number);
	return true;
}

static bool
scan_word(struct walk *w, const char *word, size_t len)
{
	if ((size_t) (w->end - w->p) < len || memcmp(w->p, word, len) != 0)
		return syntax_error(w, "invalid JSON value");
	w->p += len;
	return true;
}

/* The text of a member as its value begins and ends. */
static inline struct json_member *
current_member(struct walk *w)
{
	if (w->member < 0 || (size_t) w->member >= w->scan->max_members)
		return NULL;
	return &w->scan->members[w->member];
}

bool
json_scan_value(const char *p, const char *end, struct json_scan *scan)
{
	uint64_t	stack[JSON_MAX_SKIP_DEPTH / 64];
	int			depth = 0;
	bool		in_object = false;
	const int	max_depth = scan->max_depth > 0 ? scan->max_depth : JSON_MAX_DEPTH;
	struct walk w = {.p = json_skip_space(p, end), .end = end, .scan = scan, .member = -1};

	scan->start = w.p;
	scan->end = w.p;
	scan->type = JSON_NULL;
	scan->nmembers = 0;
	scan->error = NULL;
	scan->fault = NULL;
	scan->fault_member = -1;

	/* one turn per value; a container's first value or its end is the next turn */
	for (;;)
	{
		struct json_member *member = depth == 1 && in_object ? current_member(&w) : NULL;
		const char *start;
		const char *value_end = NULL;
		uint8_t		type;
		bool		escaped = false;

		w.p = json_skip_space(w.p, end);
		if (w.p >= end)
			return syntax_error(&w, "unexpected end of JSON");
		start = w.p;
		switch (*w.p)
		{
			case '"':
				type = JSON_STRING;
				start = ++w.p;
				if (!scan_string(&w, &escaped))
					return false;
				value_end = w.p - 1;
				break;
			case '{':
			case '[':
				type = *w.p == '{' ? JSON_OBJECT : JSON_ARRAY;
				if (depth >= JSON_MAX_SKIP_DEPTH)
					return syntax_error(&w, json_fault_depth);
				if (depth >= max_depth)
					note_fault(&w, json_fault_depth);
				/* the bit of a level says what the level outside it was */
				if (depth % 64 == 0)
					stack[depth / 64] = 0;
				if (in_object)
					stack[depth / 64] |= (uint64_t) 1 << (depth % 64);
				else
					stack[depth / 64] &= ~((uint64_t) 1 << (depth % 64));
				depth++;
				in_object = type == JSON_OBJECT;
				w.p = json_skip_space(w.p + 1, end);
				if (w.p < end && *w.p == (in_object ? '}' : ']'))
					break;		/* empty: closed below */
				if (member != NULL)
				{
					member->type = type;
					member->value = start;
					member->value_escaped = false;
				}
				if (depth == 1)
					scan->type = type;
				if (in_object)
					goto key;
				continue;
			case 't':
				type = JSON_TRUE;
				if (!scan_word(&w, "true", 4))
					return false;
				break;
			case 'f':
				type = JSON_FALSE;
				if (!scan_word(&w, "false", 5))
					return false;
				break;
			case 'n':
				type = JSON_NULL;
				if (!scan_word(&w, "null", 4))
					return false;
				break;
			case '-':
			case '0':
			case '1':
			case '2':
			case '3':
			case '4':
			case '5':
			case '6':
			case '7':
			case '8':
			case '9':
				type = JSON_NUMBER;
				if (!scan_number(&w))
					return false;
				break;
			default:
				return syntax_error(&w, "invalid JSON value");
		}
		if (type != JSON_OBJECT && type != JSON_ARRAY && depth == 0)
			scan->type = type;
		if (member != NULL)
		{
			member->type = type;
			member->value = start;
			member->value_escaped = escaped;
			member->value_len = (uint32_t) ((value_end != NULL ? value_end : w.p) - start);
		}
		else if ((type == JSON_OBJECT || type == JSON_ARRAY) && depth == 1)
			scan->type = type;

		/* after a value: close what ends here, then on to the next value */
		for (;;)
		{
			if (depth == 0)
			{
				scan->end = w.p;
				return true;
			}
			w.p = json_skip_space(w.p, end);
			if (w.p >= end)
				return syntax_error(&w, "unexpected end of JSON");
			if (*w.p == (in_object ? '}' : ']'))
			{
				w.p++;
				depth--;
				in_object = (stack[depth / 64] >> (depth % 64)) & 1;
				if (depth == 1 && in_object)
				{
					member = current_member(&w);
					if (member != NULL)
						member->value_len = (uint32_t) (w.p - member->value);
				}
				continue;
			}
			if (*w.p != ',')
				return syntax_error(&w, in_object ? "expected ',' or '}'" : "expected ',' or ']'");
			w.p++;
			break;
		}
		if (!in_object)
			continue;

key:
		{
			const char *key;
			bool		key_escaped;

			w.p = json_skip_space(w.p, end);
			if (w.p >= end || *w.p != '"')
				return syntax_error(&w, "expected a key in quotes");
			if (depth == 1)
				w.member = (int32_t) scan->nmembers++;
			key = ++w.p;
			if (!scan_string(&w, &key_escaped))
				return false;
			if (depth == 1 && (member = current_member(&w)) != NULL)
			{
				member->key = key;
				member->key_len = (uint32_t) (w.p - 1 - key);
				member->key_escaped = key_escaped;
			}
			w.p = json_skip_space(w.p, end);
			if (w.p >= end || *w.p != ':')
				return syntax_error(&w, "expected ':'");
			w.p++;
		}
	}
}
