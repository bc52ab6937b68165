/*
 * Refused rows; see rejected.h.
 */
#include "gateway/rejected.h"

#include <openssl/sha.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/log.h"
#include "gateway/selfmetrics.h"
#include "gateway/text.h"

static const char insert_sql[] =
"INSERT INTO ccproxy.rejected_event(sqlstate, reason, digest, request_id_digest)"
" SELECT r.sqlstate, r.reason, r.digest, r.request_id_digest FROM pg_catalog.json_to_recordset($1::pg_catalog.json)"
" AS r(sqlstate pg_catalog.text, reason pg_catalog.text, digest pg_catalog.text, request_id_digest pg_catalog.text)";

void
rejected_reason(const struct pgfailure *failure, char *out, size_t size)
{
	const char *p = failure->message;
	size_t		len = 0;

	/* the message may be of whatever it liked */
	if (pgerror_is_raised(failure->sqlstate))
		p = "an exception was raised by a trigger";
	for (; *p != '\0' && len + 2 < size; p++)
	{
		out[len++] = *p;
		if (*p != '"')
			continue;
		while (p[1] != '\0' && p[1] != '"')
			p++;
		if (p[1] == '\0')
			break;				/* the message was cut */
		out[len++] = *++p;
	}
	out[len] = '\0';
	if (failure->constraint[0] != '\0')
		snprintf(out + len, size - len, " (constraint %s)", failure->constraint);
}

static void
digest(const void *data, size_t len, char out[REJECTED_DIGEST_CHARS + 1])
{
	unsigned char bytes[SHA256_DIGEST_LENGTH];

	SHA256(data, len, bytes);
	for (int i = 0; i < SHA256_DIGEST_LENGTH; i++)
		snprintf(out + 2 * i, 3, "%02x", bytes[i]);
}

void
rejected_note(struct rejected_list *list, const struct event *event, const struct pgfailure *failure)
{
	static struct log_limit limit;
	struct rejected_event here;
	struct rejected_event *r = &here;

	metric_add(METRIC_EVENTS_REFUSED_BY_DATABASE, 1);
	if (list->events == NULL)
		list->events = malloc(REJECTED_MAX * sizeof(*list->events));
	if (list->events != NULL && list->n < REJECTED_MAX)
		r = &list->events[list->n++];
	else
		metric_add(METRIC_REJECTED_UNRECORDED, 1);
	memcpy(r->sqlstate, failure->sqlstate, sizeof(r->sqlstate));
	rejected_reason(failure, r->reason, sizeof(r->reason));
	digest(event->row, event->row_len, r->digest);
	digest(event->request_id, event->request_id_len, r->request_id_digest);
	log_limited(&limit, LOG_LEVEL_WARNING, "event_refused_by_database", LOG_STR("sqlstate", r->sqlstate),
				LOG_STR("reason", r->reason), LOG_STR("request_id_digest", r->request_id_digest));
}

static void
put_member(struct text *t, const char *key, const char *value, const char *end)
{
	text_json(t, key);
	text_putc(t, ':');
	text_json(t, value);
	text_puts(t, end);
}

void
rejected_write(struct rejected_list *list, struct pgsession *session)
{
	static struct log_limit limit;
	struct pgfailure failure = {0};
	PGresult   *result = NULL;
	struct text json;

	if (list->n == 0)
		return;
	text_init(&json);
	text_putc(&json, '[');
	for (size_t i = 0; i < list->n; i++)
	{
		const struct rejected_event *r = &list->events[i];

		text_puts(&json, i > 0 ? ",{" : "{");
		put_member(&json, "sqlstate", r->sqlstate, ",");
		put_member(&json, "reason", r->reason, ",");
		put_member(&json, "digest", r->digest, ",");
		put_member(&json, "request_id_digest", r->request_id_digest, "}");
	}
	text_putc(&json, ']');
	if (!json.failed)
	{
		const char *const params[] = {json.data};

		result = pgsession_exec(session, insert_sql, 1, params, &failure);
	}
	if (result == NULL)
	{
		metric_add(METRIC_REJECTED_UNRECORDED, list->n);
		log_limited(&limit, LOG_LEVEL_WARNING, "refusals_not_recorded", LOG_I64("events", list->n),
					LOG_STR("sqlstate", failure.sqlstate), LOG_STR("reason", failure.message));
	}
	PQclear(result);
	text_free(&json);
	list->n = 0;
}

void
rejected_free(struct rejected_list *list)
{
	free(list->events);
	*list = (struct rejected_list) {0};
}
