/*
 * The table `metrics`; see spool_table.h.
 */
#include "gateway/spool_table.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "gateway/text.h"

#define US_PER_SECOND	INT64_C(1000000)
#define LENGTH_BYTES	4
#define INET_HEAD_BYTES	4		/* family, bits, is_cidr, length of the address */
#define MAX_HASH_BYTES	64
#define PICO_PER_USD	1e12
#define US_PER_MS		1000.0

/* How a column is shown. */
enum shown
{
	SHOWN_NOT,					/* computed: total_cost is their sum */
	SHOWN_TIME,
	SHOWN_MS,
	SHOWN_NUMBER,
	SHOWN_USD,
	SHOWN_TEXT,
	SHOWN_INET,
	SHOWN_HASH,
	SHOWN_JSON
};

#define SHOWN_TS		SHOWN_TIME
#define SHOWN_COUNT		SHOWN_NUMBER
#define SHOWN_STATUS	SHOWN_NUMBER
#define SHOWN_BOOL		SHOWN_NUMBER
#define SHOWN_ID		SHOWN_TEXT
#define SHOWN_PATH		SHOWN_TEXT
#define SHOWN_SECRET	SHOWN_HASH
#define SHOWN_OBJECT	SHOWN_JSON
#define SHOWN_COMPUTED	SHOWN_NOT
#define SHOWN_ROW(column, key, type, limit) {key, SHOWN_##type},

static const struct
{
	const char *name;
	enum shown	shown;
}			shown_columns[EVENT_COLUMNS] = {EVENT_FIELDS(SHOWN_ROW)};

/* A field of a row as binary COPY has it; NULL: absent. */
struct field
{
	const uint8_t *data;
	uint32_t	len;
};

static void
append_column(struct text *sql, const char *name, bool create)
{
	text_printf(sql, "%s%s", name,
				!create ? "" : strcmp(name, "request_id") == 0 ? " TEXT PRIMARY KEY" : "");
}

/* The shown columns, then the derived ones. */
static void
append_columns(struct text *sql, bool create)
{
	for (int i = 0; i < EVENT_COLUMNS; i++)
		if (shown_columns[i].shown != SHOWN_NOT)
		{
			append_column(sql, shown_columns[i].name, create);
			text_puts(sql, ", ");
		}
	text_puts(sql, "total_tokens, total_cost");
}

enum spool_status
spool_table_create(struct spool_file *f)
{
	struct text sql;
	enum spool_status status = SPOOL_OK;

	text_init(&sql);
	text_puts(&sql, "CREATE TABLE IF NOT EXISTS metrics (");
	append_columns(&sql, true);
	text_puts(&sql, "); CREATE INDEX IF NOT EXISTS metrics_timestamp ON metrics (timestamp)");
	if (sql.failed || sqlite3_exec(f->db, sql.data, NULL, NULL, NULL) != SQLITE_OK)
		status = spool_file_failed(f, sqlite3_errcode(f->db));
	text_free(&sql);
	return status;
}

static bool
prepare(struct spool_file *f)
{
	struct text sql;
	bool		ok;

	if (f->insert_row != NULL)
		return true;
	text_init(&sql);
	text_puts(&sql, "INSERT INTO metrics (");
	append_columns(&sql, false);
	text_puts(&sql, ") VALUES (?");
	for (int i = 1; i < EVENT_COLUMNS; i++)
		if (shown_columns[i].shown != SHOWN_NOT)
			text_puts(&sql, ", ?");
	text_puts(&sql, ", ?, ?) ON CONFLICT (request_id) DO UPDATE SET total_tokens = coalesce(excluded.total_tokens, total_tokens), "
			  "total_cost = coalesce(excluded.total_cost, total_cost)");
	for (int i = EVENT_COL_ts + 1; i < EVENT_COLUMNS; i++)
		if (shown_columns[i].shown != SHOWN_NOT && i != EVENT_COL_request_id)
			text_printf(&sql, ", %s = coalesce(excluded.%s, %s)", shown_columns[i].name, shown_columns[i].name, shown_columns[i].name);
	ok = !sql.failed && sqlite3_prepare_v3(f->db, sql.data, -1, SQLITE_PREPARE_PERSISTENT, &f->insert_row, NULL) == SQLITE_OK;
	text_free(&sql);
	return ok;
}

/* Big-endian, of 1, 2, 4 or 8 bytes. */
static int64_t
number_of(const struct field *field)
{
	uint64_t	v = 0;

	for (uint32_t i = 0; i < field->len && i < sizeof(v); i++)
		v = v << 8 | field->data[i];
	return (int64_t) v;
}

static void
bind_time(sqlite3_stmt *row, int at, int64_t us)
{
	time_t		seconds = (time_t) (us / US_PER_SECOND - (us % US_PER_SECOND < 0));
	char		text[64];
	struct tm	tm;
	size_t		n;

	gmtime_r(&seconds, &tm);
	n = strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &tm);
	snprintf(text + n, sizeof(text) - n, ".%06dZ", (int) (us - (int64_t) seconds * US_PER_SECOND));
	sqlite3_bind_text(row, at, text, -1, SQLITE_TRANSIENT);
}

static void
bind_field(sqlite3_stmt *row, int at, enum shown shown, const struct field *field)
{
	char		text[2 * MAX_HASH_BYTES + 1] = "";

	switch (shown)
	{
		case SHOWN_MS:
			sqlite3_bind_double(row, at, (double) number_of(field) / US_PER_MS);
			break;
		case SHOWN_USD:
			sqlite3_bind_double(row, at, (double) number_of(field) / PICO_PER_USD);
			break;
		case SHOWN_NUMBER:
			sqlite3_bind_int64(row, at, number_of(field));
			break;
		case SHOWN_TEXT:
			sqlite3_bind_text(row, at, (const char *) field->data, (int) field->len, SQLITE_STATIC);
			break;
		case SHOWN_JSON:
			if (field->len > 0)	/* after the version byte */
				sqlite3_bind_text(row, at, (const char *) field->data + 1, (int) field->len - 1, SQLITE_STATIC);
			break;
		case SHOWN_HASH:
			for (uint32_t i = 0; i < field->len && i < MAX_HASH_BYTES; i++)
				sprintf(text + 2 * i, "%02x", field->data[i]);
			sqlite3_bind_text(row, at, text, -1, SQLITE_TRANSIENT);
			break;
		case SHOWN_INET:
			if (field->len > INET_HEAD_BYTES)
				inet_ntop(field->len == INET_HEAD_BYTES + 4 ? AF_INET : AF_INET6, field->data + INET_HEAD_BYTES, text, sizeof(text));
			sqlite3_bind_text(row, at, text, -1, SQLITE_TRANSIENT);
			break;
		case SHOWN_TIME:
		case SHOWN_NOT:
			break;
	}
}

static bool
is_cost(int column)
{
	return column == EVENT_COL_input_cost || column == EVENT_COL_cache_read_cost || column == EVENT_COL_cache_write_cost ||
		column == EVENT_COL_output_cost || column == EVENT_COL_tool_cost;
}

static bool
is_tokens(int column)
{
	return column == EVENT_COL_input_tokens || column == EVENT_COL_cache_read_tokens || column == EVENT_COL_cache_write_tokens ||
		column == EVENT_COL_cache_write_1h_tokens || column == EVENT_COL_output_tokens;
}

static void
bind_event(sqlite3_stmt *row, const struct event *e)
{
	const uint8_t *p = e->row;
	bool		priced = false;
	bool		counted = false;
	int64_t		cost = 0;
	int64_t		tokens = 0;
	int			at = 1;

	sqlite3_clear_bindings(row);
	bind_time(row, at++, e->ts_us);
	for (int i = EVENT_COL_ts + 1; i < EVENT_COLUMNS; i++)
	{
		uint32_t	len = (uint32_t) p[0] << 24 | (uint32_t) p[1] << 16 | (uint32_t) p[2] << 8 | p[3];
		struct field field = {p + LENGTH_BYTES, len};
		bool		present = len != UINT32_MAX;

		p += LENGTH_BYTES + (present ? len : 0);
		if (present && is_cost(i))
			cost += number_of(&field);
		if (present && is_tokens(i))
		{
			tokens += number_of(&field);
			counted = true;
		}
		priced |= present && i == EVENT_COL_price_id;
		if (shown_columns[i].shown == SHOWN_NOT)
			continue;
		if (present)
			bind_field(row, at, shown_columns[i].shown, &field);
		at++;
	}
	if (counted)
		sqlite3_bind_int64(row, at, tokens);
	if (priced)
		sqlite3_bind_double(row, at + 1, (double) cost / PICO_PER_USD);
}

enum spool_status
spool_table_write(struct spool_file *f, const struct batch *b, const struct batch_unit *unit)
{
	if (!prepare(f))
		return spool_file_failed(f, sqlite3_errcode(f->db));
	for (size_t i = 0; i < unit->count; i++)
	{
		bind_event(f->insert_row, b->items[unit->first + i].event);
		if (sqlite3_step(f->insert_row) != SQLITE_DONE)
		{
			enum spool_status status = spool_file_failed(f, sqlite3_errcode(f->db));

			sqlite3_reset(f->insert_row);
			return status;
		}
		sqlite3_reset(f->insert_row);
	}
	return SPOOL_OK;
}
