/*
 * Small units; see express.h.
 */
#include "gateway/express.h"

#include <endian.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/text.h"

#define TIMESTAMPTZ_OID 1184
#define US_PER_MINUTE	INT64_C(60000000)
#define STATEMENTS		3

#define BATCH_STATEMENT "ccproxy_batch"
#define ROWS_STATEMENT	"ccproxy_rows"
#define MARKS_STATEMENT "ccproxy_marks"

/* NULL, which is no batch id, when the prices are others. */
static const char batch_sql[] =
"INSERT INTO ccproxy.ingest_batch(batch_id)"
"SELECT CASE WHEN ccproxy.price_catalogue_version() OPERATOR(pg_catalog.=) $2::pg_catalog.int8"
" THEN $1::pg_catalog.uuid END";

static const char marks_sql[] =
"INSERT INTO ccproxy.dirty_minute(minute)SELECT pg_catalog.unnest($1::pg_catalog.timestamptz[])";

/* The types of a row and of its columns. */
static const char types_sql[] =
"SELECT 'ccproxy.request_metric'::pg_catalog.regtype::pg_catalog.oid, a.atttypid"
" FROM pg_catalog.pg_attribute AS a WHERE a.attrelid = 'ccproxy.request_metric'::pg_catalog.regclass"
" AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum";

static bool
read_types(struct committer *c)
{
	struct pgfailure ignored;
	PGresult   *result = pgsession_exec(&c->session, types_sql, 0, NULL, &ignored);
	bool		ok = result != NULL && PQntuples(result) == EVENT_COLUMNS;

	for (int i = 0; ok && i < EVENT_COLUMNS; i++)
	{
		c->row_type = (uint32_t) strtoul(PQgetvalue(result, i, 0), NULL, 10);
		c->column_types[i] = (uint32_t) strtoul(PQgetvalue(result, i, 1), NULL, 10);
	}
	PQclear(result);
	return ok;
}

/* Once a session. A server that refuses is served in the ordinary way. */
static bool
prepare(struct committer *c)
{
	struct pgsession *s = &c->session;
	struct text rows_sql;
	bool		ok = read_types(c);

	text_init(&rows_sql);
	text_printf(&rows_sql, "INSERT INTO ccproxy.request_log(%s)"
				"SELECT r.* FROM pg_catalog.unnest($1::ccproxy.request_metric[])AS r", copy_column_list());
	ok = ok && !rows_sql.failed &&
		pgsession_prepare(s, BATCH_STATEMENT, batch_sql) &&
		pgsession_prepare(s, ROWS_STATEMENT, rows_sql.data) &&
		pgsession_prepare(s, MARKS_STATEMENT, marks_sql);
	text_free(&rows_sql);
	s->prepared = ok ? PGSESSION_PREPARED : PGSESSION_UNPREPARABLE;
	return ok;
}

bool
express_possible(const struct committer *c, size_t nrows)
{
	return nrows <= EXPRESS_MAX_ROWS && c->session.listening &&
		c->session.prepared != PGSESSION_UNPREPARABLE;
}

/* The rows as an array, and the minutes they lie in as another. */
static bool
put_rows(struct committer *c, const struct batch_item *items, size_t n)
{
	size_t		nminutes = 1;

	for (size_t i = 1; i < n; i++)
		nminutes += items[i].ts_us / US_PER_MINUTE != items[i - 1].ts_us / US_PER_MINUTE;
	copy_array_begin(&c->buffer, c->row_type, n);
	copy_array_begin(&c->times, TIMESTAMPTZ_OID, nminutes);
	for (size_t i = 0; i < n; i++)
	{
		int64_t		minute = items[i].ts_us / US_PER_MINUTE;

		copy_array_put_row(&c->buffer, items[i].event, c->column_types);
		if (i == 0 || minute != items[i - 1].ts_us / US_PER_MINUTE)
			copy_array_put_timestamp(&c->times, minute * US_PER_MINUTE);
	}
	return !c->buffer.failed && !c->times.failed;
}

/* Reads to the end of the pipeline. False when the session is gone. */
static bool
read_pipeline(struct pgsession *s, int64_t deadline_us, bool *failed, struct pgfailure *failure)
{
	/* an error of the COMMIT itself, of a deferred constraint, ends like one more */
	for (int ended = 0; ended <= STATEMENTS + 1;)
	{
		bool		lost;
		PGresult   *result = pgsession_next_result(s, deadline_us, &lost);
		ExecStatusType status = PQresultStatus(result);

		if (result == NULL)
		{
			if (lost || PQstatus(s->conn) == CONNECTION_BAD)
				return false;
			ended++;			/* one statement's end */
			continue;
		}
		if (status != PGRES_COMMAND_OK && status != PGRES_PIPELINE_SYNC &&
			status != PGRES_PIPELINE_ABORTED && !*failed)
		{
			*failed = true;
			pgsession_failure(s, result, failure);
		}
		PQclear(result);
		if (status == PGRES_PIPELINE_SYNC)
			return true;
	}
	return false;
}

/*
 * Ends the pipeline, and with it the transaction it is. True when it has been
 * committed, else failure says why not; LOST: nobody knows.
 */
static bool
end_pipeline(struct pgsession *s, int64_t deadline_us, struct pgfailure *failure)
{
	bool		failed = false;

	if (PQpipelineSync(s->conn) == 1 && pgsession_flush(s, deadline_us) &&
		read_pipeline(s, deadline_us, &failed, failure) && PQexitPipelineMode(s->conn) == 1)
		return !failed;
	if (!failed)
	{
		pgsession_failure(s, NULL, failure);
		if (failure->message[0] == '\0')
			pgsession_message(failure, "the server does not answer");
	}
	failure->class = PGERROR_LOST;
	return false;
}

bool
express_commit(struct committer *c, struct batch *b, int64_t deadline_us, struct pgfailure *failure)
{
	const struct batch_unit *unit = batch_current(b);
	struct pgsession *s = &c->session;
	uint64_t	version = htobe64((uint64_t) b->catalogue_version);

	*failure = (struct pgfailure) {.class = PGERROR_TRANSIENT, .message = "no prepared statements"};
	if (s->prepared == PGSESSION_NOT_PREPARED && !prepare(c))
		return false;
	if (!put_rows(c, b->items + unit->first, unit->count))
	{
		snprintf(failure->message, sizeof(failure->message), "out of memory");
		return false;
	}
	if (PQenterPipelineMode(s->conn) == 1 &&
		pgsession_send_prepared(s, BATCH_STATEMENT, 2, (const struct pgparam[]) {
			{.data = unit->id, .is_text = true}, {.data = &version, .len = sizeof(version)}}) &&
		pgsession_send_prepared(s, ROWS_STATEMENT, 1, (const struct pgparam[]) {
			{.data = c->buffer.data, .len = c->buffer.len}}) &&
		pgsession_send_prepared(s, MARKS_STATEMENT, 1, (const struct pgparam[]) {
			{.data = c->times.data, .len = c->times.len}}))
		return end_pipeline(s, deadline_us, failure);
	pgsession_failure(s, NULL, failure);
	failure->class = PGERROR_LOST;
	return false;
}
