/*
 * The spool's file; see spool_file.h. Opening, locking and taking over from a
 * damaged one is spool_open.c's.
 */
#include "gateway/spool_file.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define SHRINK_FROM_BYTES	((off_t) 16 * 1024 * 1024)
/* so that a deletion never lacks the room that an append took */
#define RECORD_OVERHEAD_BYTES 128

/* Quotas and limits of a file's size are I/O errors to SQLite, in the file or its log. */
static bool
is_out_of_space(sqlite3 *db)
{
	static const int which[] = {SQLITE_FCNTL_FILE_POINTER, SQLITE_FCNTL_JOURNAL_POINTER};

	for (int i = 0; i < 2; i++)
	{
		sqlite3_file *file = NULL;
		int			error = 0;

		if (sqlite3_file_control(db, "main", which[i], &file) == SQLITE_OK && file != NULL && file->pMethods != NULL &&
			file->pMethods->xFileControl(file, SQLITE_FCNTL_LAST_ERRNO, &error) == SQLITE_OK &&
			(error == ENOSPC || error == EDQUOT || error == EFBIG))
			return true;
	}
	return false;
}

enum spool_status
spool_file_failed(struct spool_file *f, int rc)
{
	snprintf(f->error, sizeof(f->error), "%s", sqlite3_errmsg(f->db));
	switch (rc & 0xff)
	{
		case SQLITE_FULL:
		case SQLITE_NOMEM:
		case SQLITE_TOOBIG:
		case SQLITE_BUSY:
		case SQLITE_LOCKED:
		case SQLITE_CANTOPEN:
			return SPOOL_FULL;	/* nothing is wrong with the file */
		case SQLITE_IOERR:
			if (is_out_of_space(f->db))
				return SPOOL_FULL;
			/* what cannot be read is as good as damaged */
			if (sqlite3_extended_errcode(f->db) != SQLITE_IOERR_READ)
				return SPOOL_IO_ERROR;
			break;
		default:
			break;
	}
	return SPOOL_BROKEN;
}

/* Runs a statement that returns no rows. */
static enum spool_status
step(struct spool_file *f, enum spool_statement which)
{
	sqlite3_stmt *statement = f->statements[which];
	int			rc = sqlite3_step(statement);
	enum spool_status status = rc == SQLITE_DONE || rc == SQLITE_ROW ? SPOOL_OK : spool_file_failed(f, rc);

	sqlite3_reset(statement);
	sqlite3_clear_bindings(statement);
	return status;
}

enum spool_status
spool_file_begin(struct spool_file *f)
{
	f->new_records = f->new_events = f->new_bytes = f->new_oldest_us = 0;
	return step(f, SPOOL_BEGIN);
}

enum spool_status
spool_file_append(struct spool_file *f, const struct spool_head *head, const uint8_t *payload, size_t len)
{
	sqlite3_stmt *statement = f->statements[SPOOL_APPEND];
	int64_t		bytes = (int64_t) len + RECORD_OVERHEAD_BYTES;
	enum spool_status status;

	if (f->bytes + f->new_bytes + bytes > f->max_bytes)
	{
		snprintf(f->error, sizeof(f->error), "spool_max_bytes is reached");
		return SPOOL_FULL;
	}
	sqlite3_bind_int64(statement, 1, ++f->last_id);
	sqlite3_bind_text(statement, 2, head->batch_id, UUID_TEXT_CHARS, SQLITE_STATIC);
	sqlite3_bind_int64(statement, 3, head->received_us);
	sqlite3_bind_int64(statement, 4, head->events);
	sqlite3_bind_int64(statement, 5, spool_record_checksum(head, payload, len));
	/* the row would be NULL, not refused, when the value is too large */
	if (sqlite3_bind_blob64(statement, 6, payload, len, SQLITE_STATIC) != SQLITE_OK)
	{
		sqlite3_reset(statement);
		sqlite3_clear_bindings(statement);
		snprintf(f->error, sizeof(f->error), "the record is too large");
		return SPOOL_FULL;
	}
	status = step(f, SPOOL_APPEND);
	if (status == SPOOL_OK)
	{
		f->new_records++;
		f->new_events += head->events;
		f->new_bytes += bytes;
		if (f->new_oldest_us == 0)
			f->new_oldest_us = head->received_us;
	}
	return status;
}

enum spool_status
spool_file_commit(struct spool_file *f)
{
	enum spool_status status = step(f, SPOOL_COMMIT);

	if (status != SPOOL_OK)
	{
		spool_file_rollback(f);
		return status;
	}
	if (f->records == 0)
		f->oldest_us = f->new_oldest_us;
	f->records += f->new_records;
	f->events += f->new_events;
	f->bytes += f->new_bytes;
	return SPOOL_OK;
}

void
spool_file_rollback(struct spool_file *f)
{
	char		error[SPOOL_ERROR_BYTES];

	/* some errors have rolled back by themselves */
	if (sqlite3_get_autocommit(f->db))
		return;
	memcpy(error, f->error, sizeof(error));
	if (step(f, SPOOL_ROLLBACK) != SPOOL_OK)
		memcpy(f->error, error, sizeof(error));
}

enum spool_status
spool_file_read(struct spool_file *f, int64_t after, struct spool_row *row)
{
	sqlite3_stmt *statement = f->statements[SPOOL_READ];
	enum spool_status status = SPOOL_OK;
	int			rc;

	*row = (struct spool_row) {0};
	sqlite3_bind_int64(statement, 1, after);
	rc = sqlite3_step(statement);
	if (rc == SQLITE_ROW)
		status = spool_row_take(f, statement, row);
	else
		status = rc == SQLITE_DONE ? SPOOL_EMPTY : spool_file_failed(f, rc);
	sqlite3_reset(statement);
	return status;
}

/* What a row of the table says, without its payload's meaning. */
static void
read_columns(sqlite3_stmt *statement, struct spool_row *row, const void **payload, int64_t *checksum)
{
	const char *batch_id = (const char *) sqlite3_column_text(statement, 1);
	int64_t		events = sqlite3_column_int64(statement, 3);

	*payload = sqlite3_column_blob(statement, 5);
	*checksum = sqlite3_column_int64(statement, 4);
	*row = (struct spool_row) {.id = sqlite3_column_int64(statement, 0), .len = (size_t) sqlite3_column_bytes(statement, 5)};
	snprintf(row->head.batch_id, sizeof(row->head.batch_id), "%s", batch_id ? batch_id : "");
	row->head.received_us = sqlite3_column_int64(statement, 2);
	row->head.events = events > 0 && events <= UINT32_MAX ? (uint32_t) events : 0;
}

enum spool_status
spool_row_take(struct spool_file *f, sqlite3_stmt *statement, struct spool_row *row)
{
	const void *payload;
	int64_t		checksum;
	bool		no_memory = false;

	read_columns(statement, row, &payload, &checksum);
	if (payload == NULL && (sqlite3_errcode(f->db) & 0xff) == SQLITE_NOMEM)
		return spool_file_failed(f, SQLITE_NOMEM);
	if (strlen(row->head.batch_id) != UUID_TEXT_CHARS || payload == NULL || row->head.events == 0 ||
		checksum != spool_record_checksum(&row->head, payload, row->len))
	{
		snprintf(f->error, sizeof(f->error), "the checksum of record %lld is wrong", (long long) row->id);
		return SPOOL_BROKEN;
	}
	row->payload = malloc(row->len);
	if (row->payload != NULL)
		memcpy(row->payload, payload, row->len);
	if (row->payload != NULL && spool_record_decode(row->payload, row->len, &row->unit, &no_memory) &&
		row->unit.nevents == row->head.events)
		return SPOOL_OK;
	no_memory |= row->payload == NULL;
	spool_row_free(row);
	snprintf(f->error, sizeof(f->error), no_memory ? "out of memory" : "there is a record that cannot be decoded");
	return no_memory ? SPOOL_FULL : SPOOL_BROKEN;
}

void
spool_row_free(struct spool_row *row)
{
	spool_unit_free(&row->unit);
	free(row->payload);
	*row = (struct spool_row) {0};
}

void
spool_file_count(struct spool_file *f, const struct spool_row *row)
{
	if (f->records++ == 0)
		f->oldest_us = row->head.received_us;
	if (row->id > f->last_id)
		f->last_id = row->id;
	f->events += row->head.events;
	f->bytes += (int64_t) row->len + RECORD_OVERHEAD_BYTES;
}

enum spool_status
spool_file_delete(struct spool_file *f, int64_t id, int64_t records, int64_t events, int64_t bytes)
{
	enum spool_status status;

	sqlite3_bind_int64(f->statements[SPOOL_DELETE], 1, id);
	status = step(f, SPOOL_DELETE);
	if (status != SPOOL_OK)
		return status;
	f->records -= records;
	f->events -= events;
	f->bytes -= bytes + records * RECORD_OVERHEAD_BYTES;
	if (sqlite3_step(f->statements[SPOOL_OLDEST]) == SQLITE_ROW)
		f->oldest_us = sqlite3_column_int64(f->statements[SPOOL_OLDEST], 0);
	sqlite3_reset(f->statements[SPOOL_OLDEST]);
	return SPOOL_OK;
}

enum spool_status
spool_file_recount(struct spool_file *f)
{
	sqlite3_stmt *statement = f->statements[SPOOL_COUNT];
	int			rc = sqlite3_step(statement);
	enum spool_status status = rc == SQLITE_ROW ? SPOOL_OK : spool_file_failed(f, rc);

	if (status == SPOOL_OK)
	{
		f->records = sqlite3_column_int64(statement, 0);
		f->events = sqlite3_column_int64(statement, 1);
		f->bytes = sqlite3_column_int64(statement, 2) + f->records * RECORD_OVERHEAD_BYTES;
		f->oldest_us = sqlite3_column_int64(statement, 3);
	}
	sqlite3_reset(statement);
	return status;
}

bool
spool_file_has_table(struct spool_file *f)
{
	return sqlite3_table_column_metadata(f->db, NULL, "metrics", NULL, NULL, NULL, NULL, NULL, NULL) == SQLITE_OK;
}

void
spool_file_shrink(struct spool_file *f)
{
	struct stat st;

	/* a disk that is full may forbid it; it is tried again after the next use. A
	 * file with a table of metrics in it is left as it is: that may be large. */
	if (stat(f->path, &st) == 0 && st.st_size > SHRINK_FROM_BYTES && !spool_file_has_table(f))
		(void) sqlite3_exec(f->db, "VACUUM", NULL, NULL, NULL);
	(void) sqlite3_exec(f->db, "PRAGMA wal_checkpoint(TRUNCATE)", NULL, NULL, NULL);
}

enum spool_status
spool_file_put_fact(struct spool_file *f, const char *name, const void *value, size_t len)
{
	sqlite3_stmt *statement = f->statements[SPOOL_PUT_FACT];

	sqlite3_bind_text(statement, 1, name, -1, SQLITE_STATIC);
	sqlite3_bind_blob64(statement, 2, value, len, SQLITE_STATIC);
	return step(f, SPOOL_PUT_FACT);
}

enum spool_status
spool_file_get_fact(struct spool_file *f, const char *name, void **value, size_t *len)
{
	sqlite3_stmt *statement = f->statements[SPOOL_GET_FACT];
	enum spool_status status = SPOOL_EMPTY;
	int			rc;

	*value = NULL;
	*len = 0;
	sqlite3_bind_text(statement, 1, name, -1, SQLITE_STATIC);
	rc = sqlite3_step(statement);
	if (rc == SQLITE_ROW)
	{
		*len = (size_t) sqlite3_column_bytes(statement, 0);
		*value = malloc(*len + 1);
		if (*value != NULL)
		{
			if (*len > 0)
				memcpy(*value, sqlite3_column_blob(statement, 0), *len);
			((char *) *value)[*len] = '\0';
			status = SPOOL_OK;
		}
	}
	else if (rc != SQLITE_DONE)
		status = spool_file_failed(f, rc);
	sqlite3_reset(statement);
	sqlite3_clear_bindings(statement);
	return status;
}
