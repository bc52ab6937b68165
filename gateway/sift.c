/*
 * Sifting; see sift.h.
 */
#include "gateway/sift.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/arena.h"

#define REASON_BYTES	320

/* Columns of merge_each(). */
enum answer_column
{
	ANSWER_ORD,
	ANSWER_OUTCOME,
	ANSWER_CODE,
	ANSWER_REASON,
	ANSWER_CONSTRAINT
};

bool
sift_possible(const struct committer *c, const struct batch_unit *unit)
{
	return c->session.merges_each && unit->sift == SIFT_UNTRIED && unit->count <= SIFT_MAX_ROWS;
}

/* The item an answer is about, or NULL. */
static struct batch_item *
item_of(struct batch *b, const PGresult *answers, int row)
{
	const struct batch_unit *unit = batch_current(b);
	long		ord = strtol(PQgetvalue(answers, row, ANSWER_ORD), NULL, 10);

	return ord >= 0 && ord < (long) unit->count ? &b->items[unit->first + (size_t) ord] : NULL;
}

/* Why the row of an answer was refused; false when it was not. */
static bool
read_failure(const PGresult *answers, int row, struct pgfailure *failure)
{
	if (PQgetisnull(answers, row, ANSWER_CODE))
		return false;
	pgsession_set_failure(failure, PQgetvalue(answers, row, ANSWER_CODE), PQgetvalue(answers, row, ANSWER_REASON),
						  PQgetvalue(answers, row, ANSWER_CONSTRAINT));
	return true;
}

enum pgerror_class
sift_read(struct batch *b, const PGresult *answers, struct pgfailure *failure)
{
	for (int row = 0; row < PQntuples(answers); row++)
	{
		struct batch_item *item = item_of(b, answers, row);

		if (item == NULL)
			continue;
		if (!read_failure(answers, row, failure))
			commit_take_outcome(item->event, PQgetvalue(answers, row, ANSWER_OUTCOME));
		else if (failure->class == PGERROR_POISON)
			sift_reject(item, failure);
		else
			return failure->class;
	}
	return PGERROR_NONE;
}

void
sift_note(struct committer *c, struct batch *b, const PGresult *answers)
{
	struct pgfailure failure;

	for (int row = 0; row < PQntuples(answers); row++)
	{
		const struct batch_item *item = item_of(b, answers, row);

		if (item != NULL && read_failure(answers, row, &failure))
			rejected_note(&c->rejected, item->event, &failure);
	}
}

void
sift_reject(struct batch_item *item, const struct pgfailure *failure)
{
	char		reason[REASON_BYTES];
	const char *text;

	item->event->outcome = EVENT_REJECTED;
	item->event->reject_reason = "refused by the database";
	if (item->submission->arena == NULL)
		return;
	snprintf(reason, sizeof(reason), "refused by the database: %s", failure->message);
	text = arena_strndup(item->submission->arena, reason, strlen(reason));
	if (text != NULL)
		item->event->reject_reason = text;
}
