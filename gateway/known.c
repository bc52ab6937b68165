/*
 * What is stored already; see known.h.
 */
#include "gateway/known.h"

#include <endian.h>
#include <stdio.h>
#include <stdlib.h>

#include "gateway/timestamp.h"

/* Types of the parameters' elements, as every PostgreSQL numbers them. */
#define TEXT_OID		25
#define TIMESTAMPTZ_OID 1184

/*
 * One index look-up a key, in the partitions between the bounds alone, which are
 * there when it is planned. LIMIT keeps the planner from any other way.
 */
static const char ask_sql[] =
"SELECT k.n, l.parts IS NULL AND NOT EXISTS ("
"SELECT FROM ccproxy.request_key AS r WHERE r.request_id OPERATOR(pg_catalog.=) k.id)"
" FROM ROWS FROM (pg_catalog.unnest($1::pg_catalog.timestamptz[]), pg_catalog.unnest($2::pg_catalog.text[]))"
" WITH ORDINALITY AS k (ts, id, n)"
" CROSS JOIN LATERAL (SELECT q.parts FROM ccproxy.request_log AS q"
" WHERE q.ts OPERATOR(pg_catalog.=) k.ts AND q.request_id OPERATOR(pg_catalog.=) k.id"
" AND q.ts OPERATOR(pg_catalog.>=) $3::pg_catalog.timestamptz"
" AND q.ts OPERATOR(pg_catalog.<=) $4::pg_catalog.timestamptz LIMIT 1) AS l ORDER BY k.n";

/* A timestamptz on its own. */
static uint64_t
binary_time(int64_t unix_us)
{
	return htobe64((uint64_t) (unix_us - PG_EPOCH_US));
}

/* The suspects' keys as two arrays; the first and the last of their times. */
static bool
put_keys(struct committer *c, const struct batch_item *items, size_t n, size_t nsuspects,
		 uint64_t bounds[2])
{
	int64_t		first = INT64_MAX;
	int64_t		last = INT64_MIN;

	copy_array_begin(&c->times, TIMESTAMPTZ_OID, nsuspects);
	copy_array_begin(&c->buffer, TEXT_OID, nsuspects);
	for (size_t i = 0; i < n; i++)
	{
		const struct event *e = items[i].event;

		if (!items[i].suspect)
			continue;
		copy_array_put_timestamp(&c->times, e->ts_us);
		copy_array_put_bytes(&c->buffer, e->request_id, e->request_id_len);
		if (e->ts_us < first)
			first = e->ts_us;
		if (e->ts_us > last)
			last = e->ts_us;
	}
	bounds[0] = binary_time(first);
	bounds[1] = binary_time(last);
	return !c->times.failed && !c->buffer.failed;
}

/* What the server said of the suspects, which it counts from 1. */
static void
take_answer(struct batch_item *items, size_t n, const PGresult *answer)
{
	int			row = 0;
	long		nth = 0;

	for (size_t i = 0; i < n; i++)
	{
		struct batch_item *item = &items[i];

		if (!item->suspect)
			continue;
		nth++;
		item->known = false;
		item->direct = true;
		if (row < PQntuples(answer) && strtol(PQgetvalue(answer, row, 0), NULL, 10) == nth)
		{
			item->direct = false;
			item->known = PQgetvalue(answer, row, 1)[0] == 't';
			row++;
		}
	}
}

bool
known_ask(struct committer *c, struct batch *b, struct pgfailure *failure)
{
	const struct batch_unit *unit = batch_current(b);
	struct batch_item *items = b->items + unit->first;
	size_t		nsuspects = 0;
	uint64_t	bounds[2];
	PGresult   *answer;

	for (size_t i = 0; i < unit->count; i++)
		nsuspects += items[i].suspect;
	if (!put_keys(c, items, unit->count, nsuspects, bounds))
	{
		*failure = (struct pgfailure) {.class = PGERROR_TRANSIENT};
		snprintf(failure->message, sizeof(failure->message), "out of memory");
		return false;
	}
	answer = pgsession_exec_binary(&c->session, ask_sql, 4, (const struct pgparam[]) {
		{c->times.data, c->times.len}, {c->buffer.data, c->buffer.len},
		{&bounds[0], sizeof(bounds[0])}, {&bounds[1], sizeof(bounds[1])}
	}, failure);
	if (answer == NULL)
		return false;
	take_answer(items, unit->count, answer);
	PQclear(answer);
	batch_sort_unit(b);
	return true;
}
