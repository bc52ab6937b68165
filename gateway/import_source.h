/*
 * What is imported: a file of NDJSON, or the table `metrics` of an SQLite
 * database; either way row after row as one JSON object each, in the file's
 * order. One thread at a time.
 *
 * A row without a request_id gets one made of its number and its content, so
 * that it is the same row when it is read again.
 */
#ifndef GATEWAY_IMPORT_SOURCE_H
#define GATEWAY_IMPORT_SOURCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "gateway/text.h"

#define IMPORT_ERROR_BYTES		512
#define IMPORT_DIGEST_CHARS		64
#define IMPORT_MAX_LINE_BYTES	((size_t) 64 * 1024 * 1024)

struct import_source;

struct import_row
{
	int64_t		number;			/* line, or rowid */
	int64_t		position;			/* where to go on after it */
	const char *reason;			/* static: it is no row; nothing was appended */
};

enum import_next
{
	IMPORT_ROW,
	IMPORT_END,
	IMPORT_FAILED
};

/* NULL with error set when it cannot be read. */
struct import_source *import_source_open(const char *path, char error[IMPORT_ERROR_BYTES]);
void		import_source_close(struct import_source *s);
/* SHA-256 of its first row, in hexadecimal: tells files apart. */
const char *import_source_identity(const struct import_source *s);
/* Goes on after a row that was read before. False when it is not there any more. */
bool		import_source_seek(struct import_source *s, int64_t position, int64_t number)
			__attribute__((warn_unused_result));
/* Appends the next row and a line feed. */
enum import_next import_source_next(struct import_source *s, struct text *out, struct import_row *row,
									char error[IMPORT_ERROR_BYTES])
			__attribute__((warn_unused_result));
/* How much of it lies before a position, 0 .. 1. */
double		import_source_share(const struct import_source *s, int64_t position);

#endif
