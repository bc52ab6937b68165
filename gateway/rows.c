/*
 * Rows as JSON and CSV (rows.h).
 */
#include <string.h>

#include "gateway/rows.h"

/* pg_type's ids of the types that are not shown as text */
enum type_id
{
	TYPE_BOOL = 16,
	TYPE_INT8 = 20,
	TYPE_INT2 = 21,
	TYPE_INT4 = 23,
	TYPE_JSON = 114,
	TYPE_FLOAT4 = 700,
	TYPE_FLOAT8 = 701,
	TYPE_TIMESTAMPTZ = 1184,
	TYPE_NUMERIC = 1700,
	TYPE_JSONB = 3802
};

static bool
is_number(Oid type)
{
	return type == TYPE_INT8 || type == TYPE_INT2 || type == TYPE_INT4 || type == TYPE_FLOAT4 ||
		type == TYPE_FLOAT8 || type == TYPE_NUMERIC;
}

/* "2025-01-31 12:00:00.5+00" becomes "2025-01-31T12:00:00.5Z"; anything else stays. */
static void
append_time(struct text *t, const char *s, size_t len)
{
	const char *space = memchr(s, ' ', len);

	if (space == NULL || len < 3 || memcmp(s + len - 3, "+00", 3) != 0)
	{
		text_append(t, s, len);
		return;
	}
	text_append(t, s, (size_t) (space - s));
	text_putc(t, 'T');
	text_append(t, space + 1, (size_t) (s + len - 3 - (space + 1)));
	text_putc(t, 'Z');
}

static void
json_value(struct text *t, const PGresult *rows, int row, int column)
{
	const char *value = PQgetvalue(rows, row, column);
	size_t		len = (size_t) PQgetlength(rows, row, column);
	Oid			type = PQftype(rows, column);

	if (PQgetisnull(rows, row, column))
		text_puts(t, "null");
	else if (is_number(type))
	{
		/* NaN, Infinity, -Infinity */
		if (strpbrk(value, "NI"))
			text_puts(t, "null");
		else
			text_append(t, value, len);
	}
	else if (type == TYPE_JSON || type == TYPE_JSONB)
		text_append(t, value, len);
	else if (type == TYPE_BOOL)
		text_puts(t, value[0] == 't' ? "true" : "false");
	else if (type == TYPE_TIMESTAMPTZ)
	{
		text_putc(t, '"');
		append_time(t, value, len);
		text_putc(t, '"');
	}
	else
		text_json_n(t, value, len);
}

void
rows_json_members(struct text *t, const PGresult *rows, int row, int first, int end)
{
	for (int column = first; column < end; column++)
	{
		if (column > first)
			text_puts(t, ", ");
		text_json(t, PQfname(rows, column));
		text_puts(t, ": ");
		json_value(t, rows, row, column);
	}
}

void
rows_json_array(struct text *t, const PGresult *rows, int from, int to, int first)
{
	text_putc(t, '[');
	for (int row = from; row < to; row++)
	{
		text_puts(t, row > from ? ",\n{" : "\n{");
		rows_json_members(t, rows, row, first, PQnfields(rows));
		text_putc(t, '}');
	}
	text_putc(t, ']');
}

/* ------------------------------------------------------------------ CSV */

void
rows_csv_text(struct text *t, const char *s, size_t len)
{
	bool		formula = len > 0 && memchr("=+-@\t\r", s[0], 6) != NULL;
	bool		quoted = false;

	for (size_t i = 0; i < len; i++)
		quoted |= s[i] == ',' || s[i] == '"' || s[i] == '\r' || s[i] == '\n';
	quoted |= len > 0 && (s[0] == ' ' || s[len - 1] == ' ' || s[0] == '\t');
	if (quoted)
		text_putc(t, '"');
	if (formula)
		text_putc(t, '\'');
	if (!quoted)
		text_append(t, s, len);
	else
	{
		for (size_t i = 0; i < len; i++)
		{
			if (s[i] == '"')
				text_putc(t, '"');
			text_putc(t, s[i]);
		}
		text_putc(t, '"');
	}
}

void
rows_csv_header(struct text *t, const PGresult *rows, int first, int end)
{
	for (int column = first; column < end; column++)
	{
		const char *name = PQfname(rows, column);

		if (column > first)
			text_putc(t, ',');
		rows_csv_text(t, name, strlen(name));
	}
	text_puts(t, "\r\n");
}

void
rows_csv_row(struct text *t, const PGresult *rows, int row, int first, int end)
{
	for (int column = first; column < end; column++)
	{
		const char *value = PQgetvalue(rows, row, column);
		size_t		len = (size_t) PQgetlength(rows, row, column);
		Oid			type = PQftype(rows, column);

		if (column > first)
			text_putc(t, ',');
		if (PQgetisnull(rows, row, column))
			continue;
		if (is_number(type))
			text_append(t, value, len);
		else if (type == TYPE_BOOL)
			text_puts(t, value[0] == 't' ? "true" : "false");
		else if (type == TYPE_TIMESTAMPTZ)
			append_time(t, value, len);
		else
			rows_csv_text(t, value, len);
	}
	text_puts(t, "\r\n");
}
