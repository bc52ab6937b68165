/*
 * Reading JSON text where it lies: for usage objects and price catalogues.
 *
 * Pure, no allocation, any thread. A value is a slice of the text; objects and
 * arrays are walked member by member, and whatever is walked over is checked to
 * be JSON. Nesting deeper than PRICE_JSON_MAX_DEPTH is refused. The first error
 * ends a walk with failed set.
 */
#ifndef PRICE_JSON_H
#define PRICE_JSON_H

#include "pricing/price.h"

#pragma GCC visibility push(hidden)

#define PRICE_JSON_MAX_DEPTH	32

enum price_json_type
{
	PRICE_JSON_INVALID = 0,
	PRICE_JSON_OBJECT,
	PRICE_JSON_ARRAY,
	PRICE_JSON_STRING,
	PRICE_JSON_NUMBER,
	PRICE_JSON_TRUE,
	PRICE_JSON_FALSE,
	PRICE_JSON_NULL
};

/* A walk over the members of an object or the elements of an array. */
struct price_json
{
	const char *p;
	const char *end;
	char		close;			/* '}' or ']' */
	bool		first;
	bool		failed;			/* what was walked over so far is no JSON */
};

/* The whole of a text as one value, without the space around it; INVALID when it is none. */
extern enum price_json_type price_json_value(struct price_text text, struct price_text *value);

/* What a value is, from its first byte. */
extern enum price_json_type price_json_type_of(struct price_text value);

/* Begin a walk over an object or array; false when the value is neither. */
extern bool price_json_open(struct price_text value, struct price_json *walk);

/* The next member or element; key may be NULL in arrays. False at the end or on error. */
extern bool price_json_next(struct price_json *walk, struct price_text *key, struct price_text *value);

/* The member of that name (the last, if there are several); false when there is none. */
extern bool price_json_member(struct price_text object, const char *name, struct price_text *value);

/* Is a string, as it lies with its quotes, this text? Escapes are not resolved. */
extern bool price_json_string_is(struct price_text string, const char *text);

/*
 * A string's text, escapes resolved, into a buffer of size bytes; false when it
 * is no string or does not fit.
 */
extern bool price_json_string(struct price_text value, char *buffer, size_t size, struct price_text *text);

/* A number that is whole, not negative and fits; 1e3 and 10.0 are whole. */
extern bool price_json_count(struct price_text value, int64_t *count);

#pragma GCC visibility pop

#endif
