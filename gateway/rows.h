/*
 * Rows of a query as JSON and as CSV, by the types of their columns. Pure but
 * for reading the PGresult; any thread that owns it.
 */
#ifndef GATEWAY_ROWS_H
#define GATEWAY_ROWS_H

#include <libpq-fe.h>

#include "gateway/text.h"

/*
 * Appends one row from column first on, to before column end, as a JSON object
 * (without braces, so that a caller may add members). Numbers, booleans and
 * JSON stay what they are, times become RFC 3339, NULL and what JSON has no
 * number for null.
 */
void		rows_json_members(struct text *t, const PGresult *rows, int row, int first, int end);
/* Appends the rows from .. to as a JSON array of objects, from column first on. */
void		rows_json_array(struct text *t, const PGresult *rows, int from, int to, int first);

/*
 * Appends a header and all rows from column first on as CSV (RFC 4180). NULL is
 * an empty cell. A text that a spreadsheet would take for a formula (it begins
 * with = + - @, a tab or a carriage return) gets a ' before it; numbers do not.
 */
void		rows_csv_header(struct text *t, const PGresult *rows, int first, int end);
void		rows_csv_row(struct text *t, const PGresult *rows, int row, int first, int end);
/* One cell of text. */
void		rows_csv_text(struct text *t, const char *s, size_t len);

#endif
