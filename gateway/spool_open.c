/*
 * Opening the spool's file (spool_file.h), and taking over what can be read of
 * a damaged one: into a new file, which takes the place of the damaged one when
 * it is complete, so that neither a crash nor a full disk on the way costs records.
 */
#include "gateway/spool_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "gateway/log.h"
#include "gateway/selfmetrics.h"

#define SPOOL_APPLICATION_ID	0x63637370	/* "ccsp" */
#define SPOOL_SCHEMA_VERSION	1
#define PATH_BYTES				4096
#define SUFFIX_BYTES			80
#define COLUMNS_FACT			"columns"
#define SALVAGING_SUFFIX		".salvaging"	/* being written */
#define SALVAGED_SUFFIX			".salvaged"	/* complete: takes the place of the file */
#define SQLITE_MAGIC			"SQLite format 3"	/* with its NUL, 16 bytes */

#define STRINGIFY(x) #x
#define TO_STRING(x) STRINGIFY(x)

/* what opening came to */
enum opened
{
	OPENED,
	OPENED_DAMAGED,				/* set it aside, begin anew */
	OPENED_FAILED				/* there can be no spool */
};

/* Before anything is read: the page size counts for a new file only. */
static const char pragmas[] =
"PRAGMA page_size = 32768;"
"PRAGMA journal_mode = WAL;"
"PRAGMA synchronous = FULL;"
"PRAGMA wal_autocheckpoint = 1000;"
"PRAGMA journal_size_limit = 67108864;"
"PRAGMA cell_size_check = ON;"
"PRAGMA trusted_schema = OFF;"
"PRAGMA temp_store = MEMORY;";

static const char schema[] =
"BEGIN IMMEDIATE;"
"CREATE TABLE spool (id INTEGER PRIMARY KEY, batch_id TEXT NOT NULL, received_us INTEGER NOT NULL,"
" events INTEGER NOT NULL, checksum INTEGER NOT NULL, payload BLOB NOT NULL);"
"CREATE TABLE fact (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;"
"PRAGMA application_id = " TO_STRING(SPOOL_APPLICATION_ID) ";"
"PRAGMA user_version = " TO_STRING(SPOOL_SCHEMA_VERSION) ";"
"COMMIT;";

#define RECORD_COLUMNS "id, batch_id, received_us, events, checksum, payload"

static const char *const statement_texts[SPOOL_STATEMENTS] = {
	[SPOOL_BEGIN] = "BEGIN IMMEDIATE",
	[SPOOL_COMMIT] = "COMMIT",
	[SPOOL_ROLLBACK] = "ROLLBACK",
	[SPOOL_APPEND] = "INSERT INTO spool (" RECORD_COLUMNS ") VALUES (?, ?, ?, ?, ?, ?)",
	[SPOOL_READ] = "SELECT " RECORD_COLUMNS " FROM spool WHERE id > ? ORDER BY id LIMIT 1",
	[SPOOL_DELETE] = "DELETE FROM spool WHERE id <= ?",
	[SPOOL_COUNT] = "SELECT count(*), coalesce(sum(events), 0), coalesce(sum(length(payload)), 0), coalesce(min(received_us), 0) FROM spool",
	[SPOOL_OLDEST] = "SELECT received_us FROM spool ORDER BY id LIMIT 1",
	[SPOOL_PUT_FACT] = "INSERT INTO fact VALUES (?, ?) ON CONFLICT DO UPDATE SET value = excluded.value",
	[SPOOL_GET_FACT] = "SELECT value FROM fact WHERE name = ?",
};

static enum opened fail(struct spool_file *f, enum opened how, const char *fmt,...)
			__attribute__((format(printf, 3, 4)));

static enum opened
fail(struct spool_file *f, enum opened how, const char *fmt,...)
{
	va_list		ap;

	va_start(ap, fmt);
	vsnprintf(f->error, sizeof(f->error), fmt, ap);
	va_end(ap);
	return how;
}

/* What an SQLite error says about the file. */
static enum opened
fail_sqlite(struct spool_file *f)
{
	int			rc = sqlite3_errcode(f->db);

	return fail(f, rc == SQLITE_CORRUPT || rc == SQLITE_NOTADB ? OPENED_DAMAGED : OPENED_FAILED,
				"%s", sqlite3_errmsg(f->db));
}

void
spool_file_init(struct spool_file *f, const char *path, int64_t max_bytes)
{
	*f = (struct spool_file) {.path = path, .max_bytes = max_bytes, .lock_fd = -1};
}

static void
close_database(struct spool_file *f)
{
	for (int i = 0; i < SPOOL_STATEMENTS; i++)
	{
		sqlite3_finalize(f->statements[i]);
		f->statements[i] = NULL;
	}
	sqlite3_finalize(f->insert_row);
	f->insert_row = NULL;
	sqlite3_close(f->db);
	f->db = NULL;
	f->records = f->events = f->bytes = f->oldest_us = 0;
	f->other_version = false;
}

void
spool_file_shut(struct spool_file *f)
{
	close_database(f);
}

void
spool_file_close(struct spool_file *f)
{
	close_database(f);
	if (f->lock_fd >= 0)
		close(f->lock_fd);
	f->lock_fd = -1;
}

/* Two gateways on one file would lose and double events. */
static bool
lock_file(struct spool_file *f)
{
	char		name[PATH_BYTES];

	if (f->lock_fd >= 0)
		return true;
	if ((size_t) snprintf(name, sizeof(name), "%s.lock", f->path) >= sizeof(name))
		return fail(f, OPENED_FAILED, "the path is too long") == OPENED;
	f->lock_fd = open(name, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (f->lock_fd < 0)
		return fail(f, OPENED_FAILED, "could not open \"%s\": %s", name, strerror(errno)) == OPENED;
	if (flock(f->lock_fd, LOCK_EX | LOCK_NB) == 0)
		return true;
	fail(f, OPENED_FAILED, errno == EWOULDBLOCK ? "another gateway uses it" : "it cannot be locked: %s",
		 strerror(errno));
	close(f->lock_fd);
	f->lock_fd = -1;
	return false;
}

/* Makes the file, readable by us alone, or looks at its first bytes. */
static enum opened
look_at_file(struct spool_file *f, bool *is_new)
{
	char		magic[sizeof(SQLITE_MAGIC)];
	struct stat st;
	ssize_t		n;
	int			fd = open(f->path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	enum opened how = OPENED;

	if (fd < 0)
		return fail(f, OPENED_FAILED, "could not open it: %s", strerror(errno));
	if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode))
		how = fail(f, OPENED_FAILED, "it is not a regular file");
	else if ((st.st_mode & 077) != 0 && fchmod(fd, st.st_mode & 0700) != 0)
		how = fail(f, OPENED_FAILED, "others may read it, and that cannot be changed: %s", strerror(errno));
	else if ((*is_new = st.st_size == 0) == false)
	{
		n = pread(fd, magic, sizeof(magic), 0);
		if (n < 0)
			how = fail(f, OPENED_FAILED, "could not read it: %s", strerror(errno));
		else if (n < (ssize_t) sizeof(magic) || memcmp(magic, SQLITE_MAGIC, sizeof(magic)) != 0)
			how = fail(f, OPENED_DAMAGED, "it does not begin as an SQLite database");
	}
	close(fd);
	return how;
}

/* The first number a query returns. */
static bool
ask(struct spool_file *f, const char *sql, int64_t *value)
{
	sqlite3_stmt *statement = NULL;
	bool		ok = sqlite3_prepare_v2(f->db, sql, -1, &statement, NULL) == SQLITE_OK &&
		sqlite3_step(statement) == SQLITE_ROW;

	if (ok)
		*value = sqlite3_column_int64(statement, 0);
	sqlite3_finalize(statement);
	return ok;
}

/* Whose database, and of which version. */
static enum opened
check_identity(struct spool_file *f)
{
	int64_t		application;
	int64_t		version;
	int64_t		tables;

	if (!ask(f, "PRAGMA application_id", &application) || !ask(f, "PRAGMA user_version", &version) ||
		!ask(f, "SELECT count(*) FROM sqlite_schema", &tables))
		return fail_sqlite(f);
	if (application == 0 && tables == 0)
		return sqlite3_exec(f->db, schema, NULL, NULL, NULL) == SQLITE_OK ? OPENED : fail_sqlite(f);
	if (application != SPOOL_APPLICATION_ID)
		return fail(f, OPENED_FAILED, "it is the database of another program");
	f->other_version = version != SPOOL_SCHEMA_VERSION;
	if (f->other_version)
		return fail(f, OPENED_DAMAGED, "it has version %lld, this gateway writes %d", (long long) version, SPOOL_SCHEMA_VERSION);
	return OPENED;
}

/* Rows have the columns of the version that wrote them. */
static enum opened
check_columns(struct spool_file *f)
{
	const uint32_t ours = spool_columns_fingerprint();
	void	   *theirs;
	size_t		len;
	bool		same;

	switch (spool_file_get_fact(f, COLUMNS_FACT, &theirs, &len))
	{
		case SPOOL_EMPTY:
			return spool_file_put_fact(f, COLUMNS_FACT, &ours, sizeof(ours)) == SPOOL_OK ? OPENED : fail_sqlite(f);
		case SPOOL_OK:
			same = len == sizeof(ours) && memcmp(theirs, &ours, len) == 0;
			free(theirs);
			f->other_version = !same;
			return same ? OPENED : fail(f, OPENED_DAMAGED, "its records have other columns than this gateway writes");
		default:
			return fail_sqlite(f);
	}
}

/* Reads all records and counts them. */
static enum opened
check_records(struct spool_file *f)
{
	int64_t		id = INT64_MIN;
	struct spool_row row;
	enum spool_status status;

	while ((status = spool_file_read(f, id, &row)) == SPOOL_OK)
	{
		id = row.id;
		spool_file_count(f, &row);
		spool_row_free(&row);
	}
	return status == SPOOL_EMPTY ? OPENED : status == SPOOL_BROKEN ? OPENED_DAMAGED : OPENED_FAILED;
}

static enum opened
open_database(struct spool_file *f)
{
	bool		is_new = false;
	enum opened how = look_at_file(f, &is_new);
	int			rc;

	if (how != OPENED)
		return how;
	if (sqlite3_open_v2(f->path, &f->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL) != SQLITE_OK)
		return f->db ? fail_sqlite(f) : fail(f, OPENED_FAILED, "out of memory");
	/* one connection needs no shared memory; the lock file keeps gateways apart */
	if (sqlite3_exec(f->db, f->shared ? "PRAGMA busy_timeout = 5000" : "PRAGMA locking_mode = EXCLUSIVE", NULL, NULL, NULL) != SQLITE_OK ||
		sqlite3_exec(f->db, pragmas, NULL, NULL, NULL) != SQLITE_OK)
		return fail_sqlite(f);
	/* after a failed fsync, here or before a crash, nobody knows what of the log is
	 * on the disk: all of it is written once more, into the file */
	rc = sqlite3_wal_checkpoint_v2(f->db, NULL, SQLITE_CHECKPOINT_TRUNCATE, NULL, NULL);
	/* a full disk or a reader may forbid it, and spoil nothing */
	if (rc != SQLITE_OK && spool_file_failed(f, rc) != SPOOL_FULL)
		return fail_sqlite(f);
	how = check_identity(f);
	if (how != OPENED)
		return how;
	for (int i = 0; i < SPOOL_STATEMENTS; i++)
		if (sqlite3_prepare_v3(f->db, statement_texts[i], -1, SQLITE_PREPARE_PERSISTENT, &f->statements[i], NULL) != SQLITE_OK)
			return sqlite3_errcode(f->db) == SQLITE_ERROR
				? fail(f, OPENED_DAMAGED, "%s", sqlite3_errmsg(f->db)) : fail_sqlite(f);
	how = check_columns(f);
	return how == OPENED ? check_records(f) : how;
}

/* ------------------------------------------------------------ a damaged one */

static const char *const companions[] = {"-wal", "-shm", "-journal"};
#define COMPANIONS (sizeof(companions) / sizeof(companions[0]))

/* path and suffix; false when that is too long. */
static bool
name_of(char name[PATH_BYTES], const char *path, const char *suffix)
{
	return (size_t) snprintf(name, PATH_BYTES, "%s%s", path, suffix) < PATH_BYTES;
}

/* A database and its log. */
static void
remove_files(const char *path)
{
	char		name[PATH_BYTES];

	(void) unlink(path);
	for (size_t i = 0; i < COMPANIONS; i++)
		if (name_of(name, path, companions[i]))
			(void) unlink(name);
}

/* Gives a file another name, if it is there. */
static bool
rename_file(struct spool_file *f, const char *from, const char *to)
{
	if (rename(from, to) == 0 || errno == ENOENT)
		return true;
	fail(f, OPENED_FAILED, "\"%s\" cannot be renamed: %s", from, strerror(errno));
	return false;
}

/* Makes new names durable. */
static bool
sync_folder(struct spool_file *f)
{
	char		folder[PATH_BYTES];
	char	   *slash;
	int			fd;
	bool		ok;

	snprintf(folder, sizeof(folder), "%s", f->path);
	slash = strrchr(folder, '/');
	if (slash != NULL)
		slash[slash == folder ? 1 : 0] = '\0';
	fd = open(slash != NULL ? folder : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	ok = fd >= 0 && fsync(fd) == 0;
	if (!ok)
		fail(f, OPENED_FAILED, "the folder cannot be made durable: %s", strerror(errno));
	if (fd >= 0)
		close(fd);
	return ok;
}

/* Renames the file and its log; aside gets the new name. */
static bool
set_aside(struct spool_file *f, char aside[PATH_BYTES])
{
	char		from[PATH_BYTES];
	char		to[PATH_BYTES];
	struct timespec now;
	struct tm	tm;
	char		stamp[32];

	clock_gettime(CLOCK_REALTIME, &now);
	gmtime_r(&now.tv_sec, &tm);
	strftime(stamp, sizeof(stamp), "%Y%m%dT%H%M%S", &tm);
	if ((size_t) snprintf(aside, PATH_BYTES, "%s.corrupt-%s.%06ld", f->path, stamp, now.tv_nsec / 1000) >= PATH_BYTES)
		return fail(f, OPENED_FAILED, "the path is too long") == OPENED;
	if (!rename_file(f, f->path, aside))
		return false;
	for (size_t i = 0; i < COMPANIONS; i++)
		if (!name_of(from, f->path, companions[i]) || !name_of(to, aside, companions[i]) || !rename_file(f, from, to))
			return false;
	return true;
}

/*
 * Puts what has been salvaged in the place of the damaged file. It may have been
 * interrupted anywhere: as long as the salvaged one has its own name, it is
 * complete and begins anew.
 */
static bool
replace(struct spool_file *f, char aside[PATH_BYTES])
{
	char		salvaged[PATH_BYTES];

	return name_of(salvaged, f->path, SALVAGED_SUFFIX) && set_aside(f, aside) && sync_folder(f) &&
		rename_file(f, salvaged, f->path) && sync_folder(f);
}

/* Ends what a crash has interrupted. */
static bool
finish_replacing(struct spool_file *f)
{
	char		name[PATH_BYTES];
	char		aside[PATH_BYTES];

	if (!name_of(name, f->path, SALVAGED_SUFFIX))
		return fail(f, OPENED_FAILED, "the path is too long") == OPENED;
	if (access(name, F_OK) != 0)
		return true;
	if (!replace(f, aside))
		return false;
	metric_add(METRIC_SPOOL_SET_ASIDE, 1);
	log_event(LOG_LEVEL_ERROR, "spool_set_aside", LOG_STR("reason", "its recovery was interrupted"), LOG_STR("file", aside));
	return true;
}

/* Takes a record over, under its id. */
static enum spool_status
take_over(struct spool_file *f, sqlite3_stmt *insert, const struct spool_row *row)
{
	int			rc;

	sqlite3_bind_int64(insert, 1, row->id);
	sqlite3_bind_text(insert, 2, row->head.batch_id, -1, SQLITE_STATIC);
	sqlite3_bind_int64(insert, 3, row->head.received_us);
	sqlite3_bind_int64(insert, 4, row->head.events);
	sqlite3_bind_int64(insert, 5, spool_record_checksum(&row->head, row->payload, row->len));
	sqlite3_bind_blob64(insert, 6, row->payload, row->len, SQLITE_STATIC);
	rc = sqlite3_step(insert);
	sqlite3_reset(insert);
	if (rc != SQLITE_DONE)
		return SPOOL_FULL;
	if (sqlite3_changes(f->db) > 0)
		spool_file_count(f, row);
	return SPOOL_OK;
}

/* Takes over what a query of the old file returns, until it can be read no further. */
static int
take_over_rows(struct spool_file *f, struct spool_file *old, sqlite3_stmt *insert, const char *sql, int64_t *bad)
{
	sqlite3_stmt *select = NULL;
	int			rc = sqlite3_prepare_v2(old->db, sql, -1, &select, NULL);

	while (rc == SQLITE_OK && (rc = sqlite3_step(select)) == SQLITE_ROW)
	{
		struct spool_row row;
		enum spool_status status = spool_row_take(old, select, &row);

		if (status == SPOOL_OK)
			status = take_over(f, insert, &row);
		else if (status == SPOOL_BROKEN)
		{
			*bad += 1;
			status = SPOOL_OK;
		}
		spool_row_free(&row);
		rc = status == SPOOL_OK ? SQLITE_OK : SQLITE_FULL;
	}
	sqlite3_finalize(select);
	return rc;
}

/* The facts are small and checked by whoever reads them. */
static void
take_over_facts(struct spool_file *f, struct spool_file *old)
{
	sqlite3_stmt *select = NULL;

	if (sqlite3_prepare_v2(old->db, "SELECT name, value FROM fact WHERE name <> '" COLUMNS_FACT "'", -1, &select, NULL) == SQLITE_OK)
		while (sqlite3_step(select) == SQLITE_ROW)
		{
			const char *name = (const char *) sqlite3_column_text(select, 0);

			if (name == NULL ||
				spool_file_put_fact(f, name, sqlite3_column_blob(select, 1), (size_t) sqlite3_column_bytes(select, 1)) != SPOOL_OK)
				break;
		}
	sqlite3_finalize(select);
}

/* What has been found in a damaged file. */
struct salvage
{
	int64_t		bad;
	int64_t		records;
	int64_t		events;
	bool		whole;			/* every other record was read */
};

/*
 * Reads the damaged file from both ends to where it is broken, into a new one.
 * What another version wrote is not ours to read: its records stay there. False
 * when the new one could not be written.
 */
static bool
take_over_all(struct spool_file *f, const char *path, bool readable, struct salvage *found)
{
	static const char insert_text[] = "INSERT OR IGNORE INTO spool (" RECORD_COLUMNS ") VALUES (?, ?, ?, ?, ?, ?)";
	struct spool_file old;
	sqlite3_stmt *insert = NULL;
	int64_t		ignored = 0;
	int			rc = SQLITE_CORRUPT;
	bool		written = true;

	spool_file_init(&old, path, 0);
	/* writable_schema: a file that was cut off can be read to where it ends */
	if (readable && sqlite3_open_v2(path, &old.db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL) == SQLITE_OK &&
		sqlite3_exec(old.db, "PRAGMA writable_schema = ON", NULL, NULL, NULL) == SQLITE_OK)
	{
		written = sqlite3_prepare_v2(f->db, insert_text, -1, &insert, NULL) == SQLITE_OK && spool_file_begin(f) == SPOOL_OK;
		if (written)
		{
			take_over_facts(f, &old);
			rc = take_over_rows(f, &old, insert, "SELECT " RECORD_COLUMNS " FROM spool ORDER BY id", &found->bad);
			if (rc != SQLITE_DONE && rc != SQLITE_FULL)
				written = take_over_rows(f, &old, insert, "SELECT " RECORD_COLUMNS " FROM spool ORDER BY id DESC", &ignored) != SQLITE_FULL;
			written = spool_file_commit(f) == SPOOL_OK && written && rc != SQLITE_FULL;
		}
		if (!written)
			snprintf(f->error, sizeof(f->error), "what can be read of it cannot be written: %s", sqlite3_errmsg(f->db));
	}
	sqlite3_finalize(insert);
	close_database(&old);
	found->records = f->records;
	found->events = f->events;
	found->whole = rc == SQLITE_DONE;
	return written;
}

/* Writes a complete new file beside the damaged one. */
static bool
salvage(struct spool_file *f, bool readable, struct salvage *found)
{
	char		salvaging[PATH_BYTES];
	char		salvaged[PATH_BYTES];
	struct spool_file new_file;
	bool		ok;

	if (!name_of(salvaging, f->path, SALVAGING_SUFFIX) || !name_of(salvaged, f->path, SALVAGED_SUFFIX))
		return fail(f, OPENED_FAILED, "the path is too long") == OPENED;
	remove_files(salvaging);
	spool_file_init(&new_file, salvaging, INT64_MAX);
	ok = open_database(&new_file) == OPENED && take_over_all(&new_file, f->path, readable, found);
	if (ok && sqlite3_wal_checkpoint_v2(new_file.db, NULL, SQLITE_CHECKPOINT_TRUNCATE, NULL, NULL) != SQLITE_OK)
		ok = fail_sqlite(&new_file) == OPENED;
	close_database(&new_file);
	if (!ok)
		fail(f, OPENED_FAILED, "%s", new_file.error);
	return ok && rename_file(f, salvaging, salvaged) && sync_folder(f);
}

bool
spool_file_recover(struct spool_file *f)
{
	char		reason[SPOOL_ERROR_BYTES];
	char		aside[PATH_BYTES];
	struct salvage found = {0};
	bool		readable = !f->other_version;

	memcpy(reason, f->error, sizeof(reason));
	close_database(f);
	if (!salvage(f, readable, &found) || !replace(f, aside))
		return false;
	metric_add(METRIC_SPOOL_SET_ASIDE, 1);
	metric_add(METRIC_SPOOL_EVENTS_SALVAGED, (uint64_t) found.events);
	log_event(LOG_LEVEL_ERROR, "spool_set_aside", LOG_STR("reason", reason), LOG_STR("file", aside),
			  LOG_I64("records_kept", found.records), LOG_I64("events_kept", found.events), LOG_I64("records_damaged", found.bad),
			  LOG_STR("rest", found.whole ? "every other record was read" : "further records may be in that file"));
	if (open_database(f) == OPENED)
		return true;
	close_database(f);
	return false;
}

bool
spool_file_open(struct spool_file *f)
{
	enum opened how = lock_file(f) && finish_replacing(f) ? open_database(f) : OPENED_FAILED;

	if (how == OPENED || (how == OPENED_DAMAGED && spool_file_recover(f)))
		return true;
	close_database(f);
	return false;
}

bool
spool_file_renew(struct spool_file *f)
{
	if (spool_file_has_table(f))
		return false;
	close_database(f);
	remove_files(f->path);
	if (open_database(f) == OPENED)
		return true;
	close_database(f);
	return false;
}
