/*
 * One batch to PostgreSQL; see commit.h.
 *
 * Direct rows carry costs the gateway computed, with prices that may have been
 * changed since. So the transaction asks for the version of the prices before
 * it copies them, and when it is not the one the rows were priced with, the COPY
 * is called off and the unit goes the way of merging, where the server prices.
 * The server answers from a transaction that began after the events arrived:
 * prices that were committed before an event was posted always count.
 */
#include "gateway/commit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/express.h"
#include "gateway/known.h"
#include "gateway/log.h"
#include "gateway/partitions.h"
#include "gateway/selfmetrics.h"
#include "gateway/sift.h"
#include "gateway/text.h"
#include "gateway/timestamp.h"

#define COPY_CHUNK_BYTES	((size_t) 128 * 1024)
#define US_PER_MINUTE		INT64_C(60000000)

/* One transaction on its way. */
struct attempt
{
	struct committer *c;
	struct batch *b;
	struct batch_unit *unit;
	struct pgfailure *failure;
	int64_t		deadline_us;
	size_t		ndirect;		/* items at the unit's start that are copied straight */
	size_t		end;			/* behind those that are merged: the rest is known */
	bool		begun;			/* the batch id is written already */
	size_t		copies_done;
	bool		version_seen;	/* of the prices; asked for when ndirect > 0 */
	bool		prices_stale;
	bool		committed;
	bool		failed;			/* failure is set */
	PGresult   *sifted;			/* what merge_each() answered, until the unit is settled */
};

static struct batch_item *
unit_item(const struct attempt *a, size_t i)
{
	return &a->b->items[a->unit->first + i];
}

/*
 * Marks the minutes of the rows that are copied straight, so that the rollups
 * follow: as runs of minutes since the epoch. The items are sorted by time.
 */
static void
put_marks(const struct attempt *a, struct text *sql)
{
	int64_t		first = unit_item(a, 0)->event->ts_us / US_PER_MINUTE;
	int64_t		last = first;

	text_puts(sql, "INSERT INTO ccproxy.dirty_minute(minute)"
			  "SELECT pg_catalog.to_timestamp(m OPERATOR(pg_catalog.*) 60)FROM(VALUES");
	for (size_t i = 1; i <= a->ndirect; i++)
	{
		int64_t		minute = i < a->ndirect ? unit_item(a, i)->event->ts_us / US_PER_MINUTE : last + 2;

		if (minute > last + 1)
		{
			text_printf(sql, "(%lld,%lld)%s", (long long) first, (long long) last, i < a->ndirect ? "," : "");
			first = minute;
		}
		last = minute;
	}
	text_puts(sql, ")AS run(a,b),pg_catalog.generate_series(a,b)AS m;");
}

/* How the transaction begins. */
static void
put_begin(const struct attempt *a, struct text *sql)
{
	/* SET LOCAL: neither a pooler nor a role's setting can get between */
	text_printf(sql, "BEGIN;SET LOCAL synchronous_commit=on;"
				"INSERT INTO ccproxy.ingest_batch(batch_id)VALUES('%s');", a->unit->id);
}

static bool
is_sifted(const struct attempt *a)
{
	return a->unit->sift == SIFT_NOW;
}

/* The whole transaction, or what is left of it, as one query string. */
static void
build_sql(const struct attempt *a, struct text *sql)
{
	const char *columns = copy_column_list();

	if (!a->begun)
		put_begin(a, sql);
	if (a->ndirect > 0)
	{
		text_printf(sql, "SELECT ccproxy.price_catalogue_version();"
					"COPY ccproxy.request_log(%s)FROM STDIN(FORMAT binary);", columns);
		put_marks(a, sql);
	}
	if (a->ndirect < a->end)
		text_printf(sql, PGSESSION_STAGING_SQL
					"COPY pg_temp.ccproxy_staging(ord,kind,part_ts,%s)FROM STDIN(FORMAT binary);"
					"SELECT %s(ARRAY("
					"SELECT ROW(ord,kind,part_ts,ROW(%s)::ccproxy.request_metric)::ccproxy.request_event "
					"FROM pg_temp.ccproxy_staging ORDER BY ord));", columns,
					is_sifted(a) ? "ord,outcome,code,reason,\"constraint\" FROM ccproxy.merge_each"
					: "ord,outcome FROM ccproxy.merge_events", columns);
	/* what merge_each() says is looked at first */
	if (!is_sifted(a))
		text_puts(sql, "COMMIT");
}

/* Sends the rows of one COPY, a chunk at a time. False when the session is gone. */
static bool
send_copy(struct attempt *a, bool direct)
{
	struct pgsession *s = &a->c->session;
	struct copy_buffer *buffer = &a->c->buffer;
	size_t		first = direct ? 0 : a->ndirect;
	size_t		end = direct ? a->ndirect : a->end;

	copy_begin(buffer);
	for (size_t i = first; i < end && !buffer->failed; i++)
	{
		if (direct)
			copy_put_row(buffer, unit_item(a, i)->event);
		else
			copy_put_staged(buffer, unit_item(a, i)->event, (int32_t) i);
		if (buffer->len >= COPY_CHUNK_BYTES)
		{
			if (!pgsession_put_copy(s, buffer->data, buffer->len, a->deadline_us))
				return false;
			buffer->len = 0;
		}
	}
	if (!copy_end(buffer))
		return pgsession_end_copy(s, "the gateway is out of memory", a->deadline_us);
	return pgsession_put_copy(s, buffer->data, buffer->len, a->deadline_us) &&
		pgsession_end_copy(s, NULL, a->deadline_us);
}

void
commit_take_outcome(struct event *event, const char *outcome)
{
	event->outcome = EVENT_ACCEPTED;
	if (outcome[0] == 'd')
		event->outcome = EVENT_DUPLICATE;
	else if (outcome[0] == 'r')
	{
		event->outcome = EVENT_REJECTED;
		event->reject_reason = "is one part too many of its request";
	}
}

/* The rows merge_events() returned. */
static void
read_outcomes(struct attempt *a, const PGresult *result)
{
	for (int row = 0; row < PQntuples(result); row++)
	{
		long		ord = strtol(PQgetvalue(result, row, 0), NULL, 10);

		if (ord >= (long) a->ndirect && ord < (long) a->end)
			commit_take_outcome(unit_item(a, (size_t) ord)->event, PQgetvalue(result, row, 1));
	}
}

/* The version of the prices the server works with now. */
static void
read_version(struct attempt *a, const PGresult *result)
{
	a->version_seen = true;
	a->prices_stale = PQntuples(result) != 1 ||
		strtoll(PQgetvalue(result, 0, 0), NULL, 10) != a->b->catalogue_version;
}

/* One result of the transaction; it may be kept. False when the session is gone. */
static bool
take_result(struct attempt *a, PGresult *result)
{
	switch (PQresultStatus(result))
	{
		case PGRES_COPY_IN:
			if (a->prices_stale)
				return pgsession_end_copy(&a->c->session, "prices have changed", a->deadline_us);
			return send_copy(a, a->copies_done++ == 0 && a->ndirect > 0);
		case PGRES_TUPLES_OK:
			if (a->ndirect > 0 && !a->version_seen)
				read_version(a, result);
			else if (is_sifted(a))
				a->sifted = result;
			else
				read_outcomes(a, result);
			return true;
		case PGRES_COMMAND_OK:
			if (strcmp(PQcmdStatus(result), "COMMIT") == 0)
				a->committed = true;
			return true;
		default:
			if (!a->failed)
				pgsession_failure(&a->c->session, result, a->failure);
			a->failed = true;
			return true;
	}
}

/* The session is gone, perhaps with a COMMIT on its way. */
static enum pgerror_class
lost(struct attempt *a)
{
	if (!a->failed)
	{
		pgsession_failure(&a->c->session, NULL, a->failure);
		if (a->failure->message[0] == '\0')
			snprintf(a->failure->message, sizeof(a->failure->message), "the server does not answer");
	}
	return a->failure->class = PGERROR_LOST;
}

/* Leaves a failed transaction. */
static bool
roll_back(struct pgsession *s)
{
	struct pgfailure ignored;
	PGresult   *result;

	if (PQtransactionStatus(s->conn) == PQTRANS_IDLE)
		return true;
	result = pgsession_exec(s, "ROLLBACK", 0, NULL, &ignored);
	if (result == NULL)
		return false;
	PQclear(result);
	return true;
}

/* Sets the outcome of events that have none of their own; their keys are known now. */
static void
settle_unit(struct attempt *a)
{
	for (size_t i = 0; i < a->unit->count; i++)
	{
		struct batch_item *item = unit_item(a, i);
		struct event *event = item->event;

		if (i < a->ndirect || event->outcome == EVENT_PENDING)
			event->outcome = EVENT_ACCEPTED;
		if (i >= a->end)
			event->outcome = EVENT_DUPLICATE;
		if (event_is_direct(event))
			recent_add(&a->c->recent, item->key != 0 ? item->key : recent_key(&a->c->recent, event));
	}
}

/* How the unit's items are stored, as they are sorted now. */
static void
count_items(struct attempt *a)
{
	a->ndirect = 0;
	a->end = a->unit->count;
	if (a->unit->staged)
		return;
	while (a->ndirect < a->unit->count && unit_item(a, a->ndirect)->direct)
		a->ndirect++;
	while (a->end > a->ndirect && unit_item(a, a->end - 1)->known)
		a->end--;
}

static size_t
count_suspects(const struct attempt *a)
{
	size_t		n = 0;

	for (size_t i = 0; i < a->unit->count && !a->unit->staged; i++)
		n += unit_item(a, i)->suspect;
	return n;
}

/*
 * Asks about a unit that seems to bring nothing new, outside of a transaction: there
 * is nothing to commit when it does not. Only at first: once a COMMIT of it may
 * have been sent, its batch id tells what is known and what was accepted.
 */
static bool
ask_alone(struct attempt *a)
{
	if (!known_ask(a->c, a->b, a->failure))
		return false;
	count_items(a);
	return true;
}

/* Begins the transaction and asks what is stored already. */
static bool
begin_and_ask(struct attempt *a)
{
	struct text sql;
	PGresult   *result = NULL;

	text_init(&sql);
	put_begin(a, &sql);
	if (sql.failed)
	{
		snprintf(a->failure->message, sizeof(a->failure->message), "out of memory");
		a->failure->class = PGERROR_TRANSIENT;
	}
	else
		result = pgsession_exec(&a->c->session, sql.data, 0, NULL, a->failure);
	text_free(&sql);
	if (result == NULL)
		return false;
	PQclear(result);
	a->begun = true;
	if (!known_ask(a->c, a->b, a->failure))
		return false;
	count_items(a);
	return true;
}

/* Ends the transaction of a sifted unit, as its answers say. */
static enum pgerror_class
commit_sifted(struct attempt *a)
{
	enum pgerror_class class = sift_read(a->b, a->sifted, a->failure);
	PGresult   *result;

	if (class != PGERROR_NONE)
		return roll_back(&a->c->session) ? class : lost(a);
	result = pgsession_exec(&a->c->session, "COMMIT", 0, NULL, a->failure);
	if (result == NULL)
		return a->failure->class;
	PQclear(result);
	sift_note(a->c, a->b, a->sifted);
	settle_unit(a);
	return a->failure->class = PGERROR_NONE;
}

/* One transaction for the unit: a few rows in one round trip, else COPY. */
static enum pgerror_class
try_unit(struct attempt *a)
{
	struct pgsession *s = &a->c->session;
	struct text sql;
	PGresult   *result;
	size_t		nsuspects = count_suspects(a);
	bool		gone = false;
	bool		sent;

	count_items(a);
	a->copies_done = 0;
	a->begun = a->committed = a->failed = a->version_seen = a->prices_stale = false;
	a->deadline_us = monotonic_us() + PGSESSION_TIMEOUT_US;
	if (a->deadline_us > a->c->deadline_us)
		a->deadline_us = a->c->deadline_us;
	if (nsuspects > 0 && nsuspects == a->unit->count && !a->unit->tried)
	{
		if (!ask_alone(a))
			return a->failure->class;
		if (a->end == 0)
		{
			settle_unit(a);
			return a->failure->class = PGERROR_NONE;
		}
	}
	a->unit->tried = true;
	if (nsuspects > 0 && !begin_and_ask(a))
	{
		if (a->failure->class == PGERROR_LOST || !roll_back(s))
			return a->failure->class = PGERROR_LOST;
		return a->failure->class;
	}
	if (a->ndirect < a->end)
		metric_add(METRIC_STORE_BATCHES_STAGED, 1);
	else if (!a->begun && a->ndirect == a->unit->count && express_possible(a->c, a->ndirect))
	{
		if (express_commit(a->c, a->b, a->deadline_us, a->failure))
		{
			metric_add(METRIC_STORE_BATCHES_INSERTED, 1);
			settle_unit(a);
			return a->failure->class = PGERROR_NONE;
		}
		if (a->failure->class == PGERROR_LOST || a->failure->class == PGERROR_DUPLICATE ||
			a->failure->class == PGERROR_BATCH_KNOWN)
			return a->failure->class;
		/* for whatever reason: the ordinary way finds it out */
	}

	text_init(&sql);
	build_sql(a, &sql);
	if (sql.failed)
	{
		text_free(&sql);
		snprintf(a->failure->message, sizeof(a->failure->message), "out of memory");
		return a->failure->class = PGERROR_TRANSIENT;
	}
	sent = PQsendQuery(s->conn, sql.data);
	text_free(&sql);
	if (!sent || !pgsession_flush(s, a->deadline_us))
		return lost(a);
	while ((result = pgsession_next_result(s, a->deadline_us, &gone)) != NULL)
	{
		bool		there = take_result(a, result);

		if (a->sifted != result)
			PQclear(result);
		if (!there)
			return lost(a);
	}
	if (a->committed)
	{
		settle_unit(a);
		return a->failure->class = PGERROR_NONE;
	}
	if (gone || PQstatus(s->conn) == CONNECTION_BAD)
		return lost(a);
	if (a->sifted != NULL && !a->failed)
		return commit_sifted(a);
	if (!a->failed)
	{
		snprintf(a->failure->message, sizeof(a->failure->message), "the transaction was rolled back");
		a->failure->sqlstate[0] = '\0';
		a->failure->class = PGERROR_TRANSIENT;
	}
	if (!roll_back(s))
		return lost(a);
	return a->failure->class;
}

/* The event of a unit of one is what the server refuses. */
static void
reject_event(struct attempt *a)
{
	sift_reject(unit_item(a, 0), a->failure);
	rejected_note(&a->c->rejected, unit_item(a, 0)->event, a->failure);
}

/* Looks for the refused rows. False without randomness for new ids. */
static bool
handle_poison(struct attempt *a)
{
	if (a->unit->count == 1)
	{
		reject_event(a);
		batch_pop(a->b);
		return true;
	}
	if (sift_possible(a->c, a->unit))
	{
		metric_add(METRIC_STORE_BATCHES_SIFTED, 1);
		a->unit->sift = SIFT_NOW;
		a->unit->staged = true;
		return true;
	}
	if (is_sifted(a))
		a->unit->sift = SIFT_FAILED;
	return batch_split(a->b);
}

/* Counts another try of the unit; what has been tried too often will wait. */
static enum pgerror_class
retry_unit(struct attempt *a)
{
	metric_add(METRIC_STORE_RETRIES, 1);
	if (++a->unit->retries <= COMMIT_MAX_RETRIES)
		return PGERROR_NONE;
	a->unit->retries = 0;
	return a->failure->class = PGERROR_TRANSIENT;
}

/* Tries the unit once and draws the conclusions; anything but NONE ends the batch. */
static enum pgerror_class
work_on_unit(struct attempt *a)
{
	enum pgerror_class class;

	if (is_sifted(a) && !a->c->session.merges_each)
		a->unit->sift = SIFT_FAILED;	/* another server than before */
	a->sifted = NULL;
	class = try_unit(a);
	PQclear(a->sifted);
	if (a->prices_stale && class != PGERROR_LOST)
	{
		metric_add(METRIC_STORE_BATCHES_REPRICED, 1);
		a->c->prices_stale = true;
		a->unit->staged = true;
		return PGERROR_NONE;
	}
	if (class == PGERROR_NO_PARTITION)
	{
		if (a->unit->partition_tries++ < COMMIT_MAX_PARTITION_TRIES)
		{
			class = partitions_make(&a->c->session, a->b, a->failure);
			if (class == PGERROR_NONE)
				return PGERROR_NONE;
		}
		else
			class = PGERROR_POISON;
	}
	switch (class)
	{
		case PGERROR_NONE:
			batch_pop(a->b);
			return PGERROR_NONE;
		case PGERROR_BATCH_KNOWN:
			/* an earlier COMMIT of it took place though its answer got lost */
			settle_unit(a);
			batch_pop(a->b);
			return PGERROR_NONE;
		case PGERROR_DUPLICATE:
			if (a->unit->staged)
				return retry_unit(a);
			/* ask what is stored; when that does not tell, merge it all */
			if (a->unit->asked)
				a->unit->staged = true;
			else
			{
				metric_add(METRIC_STORE_COLLISIONS, 1);
				batch_suspect_all(a->b);
			}
			return PGERROR_NONE;
		case PGERROR_RETRY:
			return retry_unit(a);
		case PGERROR_POISON:
			if (handle_poison(a))
				return PGERROR_NONE;
			return a->failure->class = PGERROR_TRANSIENT;
		case PGERROR_TRANSIENT:
			/* what takes too long is tried in smaller pieces */
			if (strcmp(a->failure->sqlstate, PGERROR_CANCELED) == 0 && a->unit->count > 1)
				(void) !batch_split(a->b);
			break;
		case PGERROR_NO_PARTITION:
		case PGERROR_LOST:
		case PGERROR_OPERATOR:
			break;
	}
	return class == PGERROR_NO_PARTITION ? PGERROR_TRANSIENT : class;
}

enum pgerror_class
commit_batch(struct committer *c, struct batch *b, struct pgfailure *failure)
{
	struct attempt a = {.c = c, .b = b, .failure = failure};
	int64_t		start_us = monotonic_us();

	while ((a.unit = batch_current(b)) != NULL)
	{
		enum pgerror_class class = work_on_unit(&a);

		atomic_store(&c->beat_us, monotonic_us());
		if (class != PGERROR_NONE)
			return class;
		if (b->nunits > 1 && monotonic_us() - start_us >= COMMIT_SLICE_US)
			break;
	}
	b->worked_us += monotonic_us() - start_us;
	if (a.unit != NULL)
		return PGERROR_NONE;
	rejected_write(&c->rejected, &c->session);
	metric_observe_us(METRIC_COMMIT_SECONDS, b->worked_us);
	return PGERROR_NONE;
}
