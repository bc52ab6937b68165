/*
 * The spool's file: an SQLite database of one table, a record a unit
 * (spool_record.h), in the order of their ids, and what decoding needs to know
 * while the database is away. Entered by the spooler's thread only (or before
 * it starts).
 *
 * One connection, write-ahead log, synchronous=FULL: once spool_file_commit has
 * returned SPOOL_OK the records survive a crash. A lock file beside it keeps
 * two gateways apart. What cannot be read is renamed, never deleted: see
 * spool_file_open and spool_file_recover.
 */
#ifndef GATEWAY_SPOOL_FILE_H
#define GATEWAY_SPOOL_FILE_H

#include <sqlite3.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "gateway/spool_record.h"
#include "gateway/store.h"

#define SPOOL_ERROR_BYTES 512

enum spool_status
{
	SPOOL_OK,
	SPOOL_EMPTY,				/* no record after that one */
	SPOOL_FULL,					/* its bound or the disk's: nothing was written */
	SPOOL_IO_ERROR,				/* whether it was written is not known: open it anew */
	SPOOL_BROKEN				/* damaged: recover */
};

enum spool_statement
{
	SPOOL_BEGIN,
	SPOOL_COMMIT,
	SPOOL_ROLLBACK,
	SPOOL_APPEND,
	SPOOL_READ,
	SPOOL_DELETE,
	SPOOL_COUNT,
	SPOOL_OLDEST,
	SPOOL_PUT_FACT,
	SPOOL_GET_FACT,
	SPOOL_STATEMENTS
};

struct spool_file
{
	const char *path;
	int64_t		max_bytes;
	int			lock_fd;		/* -1: not locked */
	sqlite3    *db;				/* NULL: not open */
	sqlite3_stmt *statements[SPOOL_STATEMENTS];
	bool		shared;			/* others may read it with sqlite3 meanwhile */
	sqlite3_stmt *insert_row;	/* spool_table.c's */
	int64_t		last_id;		/* never given twice while the gateway runs */
	/* what is in it, by the last commit */
	int64_t		records;
	int64_t		events;
	int64_t		bytes;
	int64_t		oldest_us;		/* when its first record was spooled; 0: none */
	/* within the transaction */
	int64_t		new_records;
	int64_t		new_events;
	int64_t		new_bytes;
	int64_t		new_oldest_us;
	bool		other_version;	/* what opening found is not ours to read */
	char		error[SPOOL_ERROR_BYTES];	/* of the last failure */
};

/* A record as read and decoded; owns its memory. */
struct spool_row
{
	int64_t		id;
	struct spool_head head;
	uint8_t    *payload;
	size_t		len;
	struct spool_unit unit;
};

void		spool_file_init(struct spool_file *f, const char *path, int64_t max_bytes);
/*
 * Opens it, makes it where there is none, looks at every record. A file that is
 * damaged, or of a later version, is renamed, and what can be read of it is
 * taken over into a new one. False with error set when there can be no spool:
 * another gateway has it, the folder cannot be written, it is somebody else's
 * database.
 */
bool		spool_file_open(struct spool_file *f) __attribute__((warn_unused_result));
/* After SPOOL_BROKEN: renames the file and goes on in a new one, as opening does. */
bool		spool_file_recover(struct spool_file *f) __attribute__((warn_unused_result));
/* Until it is opened again: keeps the lock, so that nobody else goes on with it. */
void		spool_file_shut(struct spool_file *f);
void		spool_file_close(struct spool_file *f);

/* What it means that SQLite returned that; sets error. */
enum spool_status spool_file_failed(struct spool_file *f, int rc);

enum spool_status spool_file_begin(struct spool_file *f) __attribute__((warn_unused_result));
enum spool_status spool_file_append(struct spool_file *f, const struct spool_head *head,
									const uint8_t *payload, size_t len)
			__attribute__((warn_unused_result));
/* Any failure has rolled back. */
enum spool_status spool_file_commit(struct spool_file *f) __attribute__((warn_unused_result));
void		spool_file_rollback(struct spool_file *f);
/* The first record after that id. */
enum spool_status spool_file_read(struct spool_file *f, int64_t after, struct spool_row *row)
			__attribute__((warn_unused_result));
/* The record a statement of such columns stands at; SPOOL_BROKEN when it is none. */
enum spool_status spool_row_take(struct spool_file *f, sqlite3_stmt *statement, struct spool_row *row)
			__attribute__((warn_unused_result));
void		spool_row_free(struct spool_row *row);
/* Counts a record that is there already. */
void		spool_file_count(struct spool_file *f, const struct spool_row *row);
/* Deletes what comes up to that id, which are so many records, events, bytes. */
enum spool_status spool_file_delete(struct spool_file *f, int64_t id, int64_t records, int64_t events, int64_t bytes)
			__attribute__((warn_unused_result));
/* All that is in it has been drained: begins anew with an empty one. False when
 * there is more in it than records, or none can be made. */
bool		spool_file_renew(struct spool_file *f) __attribute__((warn_unused_result));
/* Has a table of metrics (spool_table.h). */
bool		spool_file_has_table(struct spool_file *f);
/* Counts anew what is in it. */
enum spool_status spool_file_recount(struct spool_file *f) __attribute__((warn_unused_result));
/* An empty one gives its room back. */
void		spool_file_shrink(struct spool_file *f);

enum spool_status spool_file_put_fact(struct spool_file *f, const char *name, const void *value, size_t len)
			__attribute__((warn_unused_result));
/* malloc'ed; SPOOL_EMPTY when there is none. */
enum spool_status spool_file_get_fact(struct spool_file *f, const char *name, void **value, size_t *len)
			__attribute__((warn_unused_result));

#endif
