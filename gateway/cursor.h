/*
 * Cursors of paged lists: opaque to whoever holds one, base64url of where a
 * page ended. They are not secret and not signed: what one says is checked and
 * then handed to the query as values. Pure; any thread.
 */
#ifndef GATEWAY_CURSOR_H
#define GATEWAY_CURSOR_H

#include <stdbool.h>
#include <stdint.h>

#include "gateway/arena.h"
#include "gateway/text.h"

#define CURSOR_VALUE_BYTES 64

/* The last row of a page, and the range the list is of. */
struct cursor
{
	int64_t		from_us;
	int64_t		to_us;
	const char *value;			/* what it is ordered by, a number's text; NULL for none */
	int64_t		ts_us;
	const char *request_id;
};

enum cursor_status
{
	CURSOR_OK,
	CURSOR_BAD,
	CURSOR_OTHER,				/* of a list with another order or other filters */
	CURSOR_NO_MEMORY
};

enum cursor_status cursor_parse(struct arena *arena, const char *text, const char *order, const char *filters,
								struct cursor *cursor)
			__attribute__((warn_unused_result));
/* Appends the cursor's text. */
void		cursor_write(struct text *t, const struct cursor *cursor, const char *order, const char *filters);

#endif
