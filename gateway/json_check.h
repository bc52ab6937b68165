/*
 * The JSON check: walks one value of untrusted text, strictly by RFC 8259, and
 * notes where the members of a top-level object are.
 *
 * It runs before anything else looks at the text, so that what follows may
 * trust it. Two kinds of trouble are told apart:
 *	error	the text is not JSON; where the value ends is unknown
 *	fault	the value can be skipped but not used: invalid UTF-8, \u0000, an
 *			unpaired surrogate, a raw control character, too deep, a number
 *			out of range. In an array only that element is lost.
 *
 * Pure, no allocation, no recursion; any thread.
 */
#ifndef GATEWAY_JSON_CHECK_H
#define GATEWAY_JSON_CHECK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define JSON_MAX_DEPTH			64		/* default of max_depth; deeper is a fault */
#define JSON_MAX_SKIP_DEPTH		1024	/* deeper is an error */
#define JSON_MAX_NUMBER_CHARS	63		/* longer is a fault; cJSON reads no more */
#define JSON_MAX_EXPONENT		308		/* beyond, either way, is a fault */

enum json_type
{
	JSON_NULL,
	JSON_FALSE,
	JSON_TRUE,
	JSON_NUMBER,
	JSON_STRING,
	JSON_ARRAY,
	JSON_OBJECT
};

/* One member of the object. Texts point into the input. */
struct json_member
{
	const char *key;			/* between the quotes */
	const char *value;			/* a string's is between its quotes */
	uint32_t	key_len;
	uint32_t	value_len;
	uint8_t		type;			/* enum json_type */
	bool		key_escaped;	/* has backslashes: needs decoding */
	bool		value_escaped;	/* the same of a string value */
};

struct json_scan
{
	/* in: room for members; what does not fit is only counted */
	struct json_member *members;
	size_t		max_members;
	int			max_depth;		/* 0: JSON_MAX_DEPTH */
	/* out */
	const char *start;			/* the value's first byte */
	const char *end;			/* just after the value */
	uint8_t		type;			/* enum json_type */
	size_t		nmembers;		/* all members of a top-level object */
	const char *error;			/* static text or NULL; end is then where */
	const char *fault;			/* static text or NULL: the first one */
	int32_t		fault_member;	/* the member it was found in, or -1 */
};

/* The fault of a value that is nested deeper than max_depth. */
extern const char json_fault_depth[];

/*
 * Scans the value that starts at p, after white space; nothing at or beyond end
 * is read. False when it is not JSON (scan->error).
 */
bool		json_scan_value(const char *p, const char *end, struct json_scan *scan)
	__attribute__((warn_unused_result));
/* The first byte in [p, end) that is not JSON white space, or end. */
const char *json_skip_space(const char *p, const char *end);
/* Length of the longest valid UTF-8 prefix of s that has at most max bytes. */
size_t		json_utf8_prefix(const char *s, size_t len, size_t max);

#endif
