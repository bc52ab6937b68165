/*
 * What is imported; see import_source.h.
 */
#include "gateway/import_source.h"

#include <errno.h>
#include <math.h>
#include <openssl/evp.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "extension/event_fields.h"
#include "gateway/json_check.h"
#include "gateway/settings.h"

#define SQLITE_MAGIC		"SQLite format 3"	/* with its NUL, 16 bytes */
#define MADE_ID_CHARS		32
#define NUMBER_BYTES		40
#define MAX_MEMBERS			SETTINGS_EVENT_FIELDS_MAX

enum value_kind
{
	VALUE_OTHER,				/* as it is */
	VALUE_TEXT,
	VALUE_NUMBER,
	VALUE_BOOL,
	VALUE_TIME,
	VALUE_OBJECT
};

struct import_source
{
	char		identity[IMPORT_DIGEST_CHARS + 1];
	int64_t		number;			/* of the last row */
	int64_t		first;			/* of positions: for the share */
	int64_t		last;
	/* NDJSON */
	FILE	   *file;
	char	   *line;
	size_t		line_size;
	/* SQLite */
	sqlite3    *db;
	sqlite3_stmt *select;
	struct json_member members[MAX_MEMBERS];
};

struct known_column
{
	const char *name;
	enum value_kind kind;
};

#define KIND_TS			VALUE_TIME
#define KIND_MS			VALUE_NUMBER
#define KIND_COUNT		VALUE_NUMBER
#define KIND_USD		VALUE_NUMBER
#define KIND_STATUS		VALUE_NUMBER
#define KIND_BOOL		VALUE_BOOL
#define KIND_ID			VALUE_TEXT
#define KIND_TEXT		VALUE_TEXT
#define KIND_PATH		VALUE_TEXT
#define KIND_INET		VALUE_TEXT
#define KIND_SECRET		VALUE_TEXT
#define KIND_OBJECT		VALUE_OBJECT
#define KIND_COMPUTED	VALUE_OTHER
#define KNOWN_COLUMN(column, key, type, limit) {key, KIND_##type},

static const struct known_column known_columns[] = {
	EVENT_FIELDS(KNOWN_COLUMN)
	{"ts", VALUE_TIME}, {"total_cost", VALUE_NUMBER}, {"kind", VALUE_TEXT},
	{"api_key", VALUE_TEXT}, {"authorization", VALUE_TEXT},
};

static bool
fail(char error[IMPORT_ERROR_BYTES], const char *what, const char *why)
{
	snprintf(error, IMPORT_ERROR_BYTES, "%s%s%s", what, why[0] ? ": " : "", why);
	return false;
}

/* SHA-256 of a row's number and text, as hexadecimal. */
static void
digest_row(int64_t number, const char *text, size_t len, char out[IMPORT_DIGEST_CHARS + 1])
{
	unsigned char digest[EVP_MAX_MD_SIZE];
	char		prefix[NUMBER_BYTES];
	EVP_MD_CTX *context = EVP_MD_CTX_new();
	unsigned int n = 0;

	snprintf(prefix, sizeof(prefix), "%lld ", (long long) number);
	out[0] = '\0';
	if (context == NULL || !EVP_DigestInit_ex(context, EVP_sha256(), NULL) ||
		!EVP_DigestUpdate(context, prefix, strlen(prefix)) || !EVP_DigestUpdate(context, text, len) ||
		!EVP_DigestFinal_ex(context, digest, &n))
		abort();				/* out of memory: an id made otherwise would double the row */
	EVP_MD_CTX_free(context);
	for (unsigned int i = 0; i < n && 2 * i < IMPORT_DIGEST_CHARS; i++)
		sprintf(out + 2 * i, "%02x", digest[i]);
}

static bool
member_is(const struct json_member *m, const char *key)
{
	return m->key_len == strlen(key) && memcmp(m->key, key, m->key_len) == 0;
}

/* Appends an object, which gets an id where it has none. NULL, or why it is none. */
static const char *
append_object(struct import_source *s, struct text *out, const char *line, size_t len, int64_t number)
{
	struct json_scan scan = {.members = s->members, .max_members = MAX_MEMBERS};
	const char *end = line + len;
	char		digest[IMPORT_DIGEST_CHARS + 1];
	const char *cut = NULL;
	const char *resume = NULL;
	size_t		n;

	if (!json_scan_value(line, end, &scan))
		return "is not valid JSON";
	if (json_skip_space(scan.end, end) != end)
		return "has text after the object";
	if (scan.type != JSON_OBJECT)
		return "is not a JSON object";
	n = scan.nmembers < MAX_MEMBERS ? scan.nmembers : MAX_MEMBERS;
	for (size_t i = 0; i < n && resume == NULL; i++)
	{
		const struct json_member *m = &s->members[i];

		if (!member_is(m, "request_id"))
			continue;
		cut = m->value;
		resume = m->value + m->value_len;
		if (m->type == JSON_STRING && m->value_len == 0)
		{
			cut--;				/* its quotes */
			resume++;
		}
		else if (m->type != JSON_NULL)
		{
			text_append(out, line, len);
			text_putc(out, '\n');
			return NULL;
		}
	}
	digest_row(number, line, len, digest);
	digest[MADE_ID_CHARS] = '\0';
	if (resume != NULL)
	{
		text_append(out, line, (size_t) (cut - line));
		text_printf(out, "\"import-%s\"", digest);
	}
	else
	{
		resume = scan.start + 1;
		text_append(out, line, (size_t) (resume - line));
		text_printf(out, "\"request_id\":\"import-%s\"%s", digest, scan.nmembers > 0 ? "," : "");
	}
	text_append(out, resume, (size_t) (end - resume));
	text_putc(out, '\n');
	return NULL;
}

/* ------------------------------------------------------------------- NDJSON */

/* The next line without its end, in s->line; its length, or -1 at the end of the file, -2 when it is too long. */
static ssize_t
read_line(struct import_source *s)
{
	size_t		len = 0;
	int			c;

	flockfile(s->file);
	while ((c = getc_unlocked(s->file)) != EOF && c != '\n')
	{
		if (len + 1 >= s->line_size)
		{
			size_t		size = s->line_size ? s->line_size * 2 : 4096;
			char	   *grown = size > IMPORT_MAX_LINE_BYTES ? NULL : realloc(s->line, size);

			if (grown == NULL)
			{
				funlockfile(s->file);
				return -2;
			}
			s->line = grown;
			s->line_size = size;
		}
		s->line[len++] = (char) c;
	}
	funlockfile(s->file);
	return c == EOF && len == 0 ? -1 : (ssize_t) len;
}

static enum import_next
next_line(struct import_source *s, struct text *out, struct import_row *row, char error[IMPORT_ERROR_BYTES])
{
	for (;;)
	{
		ssize_t		len = read_line(s);
		char		where[64];

		snprintf(where, sizeof(where), "line %lld", (long long) s->number + 1);
		if (len == -2)
			return fail(error, where, "is longer than 64 MiB") ? IMPORT_ROW : IMPORT_FAILED;
		if (len < 0 && ferror(s->file))
			return fail(error, where, strerror(errno)) ? IMPORT_ROW : IMPORT_FAILED;
		if (len < 0)
			return IMPORT_END;
		s->number++;
		if (json_skip_space(s->line, s->line + len) == s->line + len)
			continue;
		*row = (struct import_row) {.number = s->number, .position = ftello(s->file)};
		row->reason = append_object(s, out, s->line, (size_t) len, s->number);
		return IMPORT_ROW;
	}
}

/* ------------------------------------------------------------------- SQLite */

static enum value_kind
kind_of(const char *name)
{
	for (size_t i = 0; i < sizeof(known_columns) / sizeof(known_columns[0]); i++)
		if (known_columns[i].name[0] && strcmp(known_columns[i].name, name) == 0)
			return known_columns[i].kind;
	return VALUE_OTHER;
}

/* A whole text that is one JSON value of that type. */
static bool
is_json(const char *text, size_t len, enum json_type type)
{
	struct json_scan scan = {0};

	return json_scan_value(text, text + len, &scan) && scan.type == type && scan.fault == NULL &&
		json_skip_space(scan.end, text + len) == text + len;
}

/* A value as the decoder wants it: SQLite's types say little about what is meant. */
static void
append_value(struct text *out, sqlite3_stmt *row, int column, enum value_kind kind)
{
	const int	type = sqlite3_column_type(row, column);
	char		number[NUMBER_BYTES];
	const char *text = number;
	size_t		len;

	if (type == SQLITE_INTEGER)
		len = (size_t) snprintf(number, sizeof(number), "%lld", (long long) sqlite3_column_int64(row, column));
	else if (type == SQLITE_FLOAT)
	{
		double		value = sqlite3_column_double(row, column);

		/* the shortest text that is the same number */
		len = (size_t) snprintf(number, sizeof(number), "%.15g", value);
		if (strtod(number, NULL) != value)
			len = (size_t) snprintf(number, sizeof(number), "%.17g", value);
		if (isinf(value))
			len = (size_t) snprintf(number, sizeof(number), "%s", value > 0 ? "1e999" : "-1e999");
	}
	else
	{
		text = (const char *) sqlite3_column_text(row, column);
		len = (size_t) sqlite3_column_bytes(row, column);
	}

	if (kind == VALUE_BOOL && (strcmp(text, "0") == 0 || strcmp(text, "1") == 0))
		text_puts(out, text[0] == '1' ? "true" : "false");
	else if (kind == VALUE_OBJECT && is_json(text, len, JSON_OBJECT))
		/* line breaks stand between values only: those within texts are escaped */
		for (size_t i = 0; i < len; i++)
			text_putc(out, text[i] == '\n' || text[i] == '\r' ? ' ' : text[i]);
	else if (kind == VALUE_OBJECT)
	{
		text_puts(out, "{\"metadata\":");
		text_json_n(out, text, len);
		text_putc(out, '}');
	}
	else if (kind != VALUE_TEXT && (text == number || ((kind == VALUE_NUMBER || kind == VALUE_TIME) && is_json(text, len, JSON_NUMBER))))
		text_append(out, text, len);
	else
		text_json_n(out, text, len);
}

static enum import_next
next_row(struct import_source *s, struct text *out, struct import_row *row, char error[IMPORT_ERROR_BYTES])
{
	int			rc = sqlite3_step(s->select);
	struct text object;
	int			values = 0;

	if (rc == SQLITE_DONE)
		return IMPORT_END;
	if (rc != SQLITE_ROW)
		return fail(error, "the database cannot be read", sqlite3_errmsg(s->db)) ? IMPORT_ROW : IMPORT_FAILED;
	s->number = sqlite3_column_int64(s->select, 0);
	*row = (struct import_row) {.number = s->number, .position = s->number};
	text_init(&object);
	text_putc(&object, '{');
	for (int i = 1; i < sqlite3_column_count(s->select); i++)
	{
		const char *name = sqlite3_column_name(s->select, i);

		if (sqlite3_column_type(s->select, i) == SQLITE_NULL || strcmp(name, "id") == 0)
			continue;
		text_puts(&object, values++ > 0 ? "," : "");
		text_json(&object, name);
		text_putc(&object, ':');
		append_value(&object, s->select, i, kind_of(name));
	}
	text_putc(&object, '}');
	if (object.failed)
	{
		text_free(&object);
		return fail(error, "out of memory", "") ? IMPORT_ROW : IMPORT_FAILED;
	}
	row->reason = append_object(s, out, object.data, object.len, s->number);
	text_free(&object);
	return IMPORT_ROW;
}

static bool
prepare(struct import_source *s, const char *sql, sqlite3_stmt **statement, char error[IMPORT_ERROR_BYTES])
{
	return sqlite3_prepare_v2(s->db, sql, -1, statement, NULL) == SQLITE_OK ||
		fail(error, "the database cannot be read", sqlite3_errmsg(s->db));
}

static bool
open_database(struct import_source *s, const char *path, char error[IMPORT_ERROR_BYTES])
{
	sqlite3_stmt *range = NULL;
	bool		ok;

	if (sqlite3_open_v2(path, &s->db, SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX, NULL) != SQLITE_OK)
		return fail(error, "the database cannot be opened", s->db ? sqlite3_errmsg(s->db) : "out of memory");
	sqlite3_busy_timeout(s->db, 10000);
	if (!prepare(s, "SELECT min(rowid), max(rowid) FROM metrics", &range, error))
		return false;
	ok = sqlite3_step(range) == SQLITE_ROW || fail(error, "the database cannot be read", sqlite3_errmsg(s->db));
	s->first = sqlite3_column_int64(range, 0);
	s->last = sqlite3_column_int64(range, 1);
	sqlite3_finalize(range);
	return ok && prepare(s, "SELECT rowid, * FROM metrics WHERE rowid > ? ORDER BY rowid", &s->select, error);
}

/* ---------------------------------------------------------------------- both */

static bool
open_file(struct import_source *s, const char *path, char error[IMPORT_ERROR_BYTES])
{
	char		magic[sizeof(SQLITE_MAGIC)] = "";
	struct stat st;
	size_t		n;

	s->file = fopen(path, "re");
	if (s->file == NULL)
		return fail(error, "could not open it", strerror(errno));
	if (fstat(fileno(s->file), &st) != 0 || !S_ISREG(st.st_mode))
		return fail(error, "it is not a regular file", "");
	n = fread(magic, 1, sizeof(magic), s->file);
	if (ferror(s->file))
		return fail(error, "could not read it", strerror(errno));
	if (n == sizeof(magic) && memcmp(magic, SQLITE_MAGIC, sizeof(magic)) == 0)
	{
		fclose(s->file);
		s->file = NULL;
		return open_database(s, path, error);
	}
	if (*json_skip_space(magic, magic + n) == '[')
		return fail(error, "it is one JSON array: give one object a line (jq -c '.[]')", "");
	s->last = (int64_t) st.st_size;
	return true;
}

struct import_source *
import_source_open(const char *path, char error[IMPORT_ERROR_BYTES])
{
	struct import_source *s = calloc(1, sizeof(*s));
	struct import_row row;
	struct text first;
	bool		ok;

	if (s == NULL)
	{
		fail(error, "out of memory", "");
		return NULL;
	}
	text_init(&first);
	ok = open_file(s, path, error) && import_source_seek(s, s->file ? 0 : INT64_MIN, 0) &&
		import_source_next(s, &first, &row, error) != IMPORT_FAILED;
	if (ok)
	{
		digest_row(0, first.data ? first.data : "", first.len, s->identity);
		ok = import_source_seek(s, s->file ? 0 : INT64_MIN, 0);
	}
	text_free(&first);
	if (ok)
		return s;
	import_source_close(s);
	return NULL;
}

void
import_source_close(struct import_source *s)
{
	if (s == NULL)
		return;
	if (s->file != NULL)
		fclose(s->file);
	free(s->line);
	sqlite3_finalize(s->select);
	sqlite3_close(s->db);
	free(s);
}

const char *
import_source_identity(const struct import_source *s)
{
	return s->identity;
}

bool
import_source_seek(struct import_source *s, int64_t position, int64_t number)
{
	s->number = number;
	if (s->file != NULL)
		return position >= 0 && position <= s->last && fseeko(s->file, (off_t) position, SEEK_SET) == 0;
	sqlite3_reset(s->select);
	return sqlite3_bind_int64(s->select, 1, position) == SQLITE_OK;
}

enum import_next
import_source_next(struct import_source *s, struct text *out, struct import_row *row, char error[IMPORT_ERROR_BYTES])
{
	return s->file != NULL ? next_line(s, out, row, error) : next_row(s, out, row, error);
}

double
import_source_share(const struct import_source *s, int64_t position)
{
	double		all = (double) s->last - (double) s->first;

	if (position >= s->last || all <= 0)
		return 1;
	return position <= s->first ? 0 : ((double) position - (double) s->first) / all;
}
