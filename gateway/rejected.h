/*
 * Rows the server refused in spite of validation: why, and digests to tell
 * which, into ccproxy.rejected_event. The committer's, entered by its thread
 * only; a row's own text is never kept.
 */
#ifndef GATEWAY_REJECTED_H
#define GATEWAY_REJECTED_H

#include "gateway/event.h"
#include "gateway/pgsession.h"

/* Noted between two writings; beyond, they are only counted. */
#define REJECTED_MAX			100
#define REJECTED_DIGEST_CHARS	64		/* SHA-256, hexadecimal */

struct rejected_event
{
	char		sqlstate[6];
	char		reason[PGSESSION_MESSAGE_BYTES];
	char		digest[REJECTED_DIGEST_CHARS + 1];	/* of the row */
	char		request_id_digest[REJECTED_DIGEST_CHARS + 1];
};

struct rejected_list
{
	size_t		n;
	struct rejected_event *events;	/* REJECTED_MAX of them, or NULL so far */
};

/* Notes one event and logs it. */
void		rejected_note(struct rejected_list *list, const struct event *event, const struct pgfailure *failure);
/* Writes what was noted, as a statement of its own, and forgets it; what cannot
 * be written is counted and logged. */
void		rejected_write(struct rejected_list *list, struct pgsession *session);
void		rejected_free(struct rejected_list *list);
/*
 * What may be kept of a failure: its message without what stands in quotes,
 * which may be of the row. Pure.
 */
void		rejected_reason(const struct pgfailure *failure, char *out, size_t size);

#endif
