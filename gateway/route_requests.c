/*
 * GET /metrics/api/requests: a list of requests, page by page (cursor.h).
 * query_read.c says what the parameters mean.
 */
#include <stdlib.h>
#include <string.h>

#include "gateway/log.h"
#include "gateway/route_read.h"
#include "gateway/rows.h"
#include "gateway/timestamp.h"

/*
 * One row more than asked for tells whether another page follows. A page ends
 * before read_max_bytes (metadata is anybody's), but holds a row.
 */
static const char list_sql[] =
"SELECT p.us, p.found, (p.q).* FROM (SELECT (extract(epoch FROM q.ts) * 1000000)::bigint AS us, count(*) OVER () AS found, q, "
"row_number() OVER () AS nth, sum(octet_length(q::text)) OVER (ROWS UNBOUNDED PRECEDING) AS bytes "
"FROM ccproxy.list_requests($1::timestamptz, $2::timestamptz, $3::jsonb, $4, $5::integer, $6::numeric, $7::timestamptz, $8) AS q) AS p "
"WHERE p.bytes <= $9::bigint OR p.nth = 1 ORDER BY p.nth";

enum list_column
{
	LIST_COL_TS_US,
	LIST_COL_FOUND,				/* rows there were, those that are left out included */
	LIST_COL_ROW				/* from here on */
};

static enum request_handled
handle(struct request *r)
{
	struct query_error error;
	struct list_query *list = &r->list;
	enum query_status status = list_query_parse(&r->arena, &r->target, wall_clock_us(), list, &error);

	if (status != QUERY_OK)
		return read_refuse(r, status, &error);
	read_negotiate(r, list->format);
	r->key_extra = list->span.period;
	read_prepare(r, list_sql);
	read_parameter_time(r, list->span.from_us);
	read_parameter_time(r, list->span.to_us);
	read_parameter(r, list->filters);
	read_parameter(r, list->order);
	read_parameter_int(r, list->limit + 1);
	read_parameter(r, list->has_after ? list->after.value : NULL);
	if (list->has_after)
		read_parameter_time(r, list->after.ts_us);
	else
		read_parameter(r, NULL);
	read_parameter(r, list->has_after ? list->after.request_id : NULL);
	read_parameter_int(r, r->gateway->settings->read_max_bytes);
	return read_begin(r);
}

/* The value of a row that the list is ordered by besides its time; NULL for none. */
static const char *
order_value(const struct request *r, const PGresult *rows, int row)
{
	const char *name = strcmp(r->list.order, "slowest") == 0 ? "response_time_ms" :
		strcmp(r->list.order, "dearest") == 0 ? "total_cost" : NULL;
	int			column = name ? PQfnumber(rows, name) : -1;

	return column < 0 || PQgetisnull(rows, row, column) ? NULL : PQgetvalue(rows, row, column);
}

static void
write_cursor(const struct request *r, const PGresult *rows, int row, struct text *t)
{
	struct cursor cursor = {
		.from_us = r->list.span.from_us,
		.to_us = r->list.span.to_us,
		.value = order_value(r, rows, row),
		.ts_us = strtoll(PQgetvalue(rows, row, LIST_COL_TS_US), NULL, 10),
		.request_id = PQgetvalue(rows, row, PQfnumber(rows, "request_id")),
	};

	text_putc(t, '"');
	cursor_write(t, &cursor, r->list.order, r->list.filters);
	text_putc(t, '"');
}

static int
render(struct request *r, const PGresult *rows, struct text *t, size_t *tag_from)
{
	int			n = PQntuples(rows);
	int			shown = n > r->list.limit ? r->list.limit : n;
	int			found = n > 0 ? atoi(PQgetvalue(rows, 0, LIST_COL_FOUND)) : 0;

	if (n < found)
		metric_add(METRIC_READ_PAGES_CUT, 1);
	/* a file has no cursor to go on with */
	if (r->csv && n < found && n < r->list.limit)
	{
		text_puts(t, "{\"error\": \"The rows are larger than read_max_bytes: give a lower limit, filters or a shorter range.\", "
				  "\"parameter\": \"limit\"}\n");
		return MHD_HTTP_BAD_REQUEST;
	}
	if (r->csv)
	{
		rows_csv_header(t, rows, LIST_COL_ROW, PQnfields(rows));
		for (int i = 0; i < shown; i++)
			rows_csv_row(t, rows, i, LIST_COL_ROW, PQnfields(rows));
		return MHD_HTTP_OK;
	}
	text_putc(t, '{');
	read_json_time(t, "as_of", wall_clock_us());
	*tag_from = t->len;
	text_puts(t, ", \"period\": ");
	read_json_or_null(t, r->list.span.period);
	text_puts(t, ", ");
	read_json_time(t, "start_time", r->list.span.from_us);
	text_puts(t, ", ");
	read_json_time(t, "end_time", r->list.span.to_us);
	text_puts(t, ", \"order\": ");
	text_json(t, r->list.order);
	text_puts(t, ", \"filters\": ");
	text_puts(t, r->list.filters);
	text_puts(t, ", \"next_cursor\": ");
	if (found > shown)
		write_cursor(r, rows, shown - 1, t);
	else
		text_puts(t, "null");
	text_puts(t, ", \"requests\": ");
	rows_json_array(t, rows, 0, shown, LIST_COL_ROW);
	text_puts(t, "}\n");
	return MHD_HTTP_OK;
}

const struct route route_requests = {
	.metric = METRIC_ROUTE_REQUESTS,
	.path = "/metrics/api/requests",
	.methods = "GET, HEAD",
	.scope = AUTH_READ,
	.limit = LIMIT_BY_FILTER,
	.handle = handle,
	.publish = read_publish,
	.render = render,
	.finish = read_finish,
};
