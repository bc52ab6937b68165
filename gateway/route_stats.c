/*
 * GET /metrics/api/stats: ccproxy.stats() as JSON or CSV, with compare=previous
 * also of as long a range before, with total=true a row of all groups together.
 * query_read.c says what the parameters mean.
 */
#include <string.h>

#include "gateway/log.h"
#include "gateway/route_read.h"
#include "gateway/rows.h"

/*
 * The columns that are asked for, in place of each %s; of compare_sql one statement, one
 * snapshot, and with a limit the groups of the first range. A total is the first row.
 */
static const char stats_sql[] =
"SELECT 'current' AS span%s FROM ccproxy.stats($1::timestamptz, $2::timestamptz, $3, $4::jsonb, $5, $6::text[], $7::boolean) AS s "
"LIMIT $8::bigint";

static const char compare_sql[] =
"WITH current AS MATERIALIZED (SELECT * FROM ccproxy.stats($1::timestamptz, $2::timestamptz, $3, $4::jsonb, $5, $6::text[], $7::boolean) "
"LIMIT $8::bigint) "
"SELECT 'current' AS span%s FROM current AS s "
"UNION ALL "
"(SELECT 'previous'%s FROM ccproxy.stats($9::timestamptz, $10::timestamptz, $3, $4::jsonb, $5, $6::text[], $7::boolean) WITH ORDINALITY AS s "
"WHERE NOT $11::boolean OR s.ordinality <= $7::boolean::integer "
"OR EXISTS (SELECT FROM (SELECT * FROM current OFFSET $7::boolean::integer) AS c WHERE c.group_key IS NOT DISTINCT FROM s.group_key "
"AND c.group_key2 IS NOT DISTINCT FROM s.group_key2) LIMIT $8::bigint)";

/* A text of the request's own; NULL without memory. */
static const char *
keep(struct request *r, struct text *t)
{
	const char *kept = t->failed ? NULL : arena_strndup(&r->arena, t->data, t->len);

	text_free(t);
	return kept;
}

static const char *
make_sql(struct request *r)
{
	struct text columns;
	struct text sql;

	text_init(&columns);
	text_init(&sql);
	for (int i = 0; stats_fields[i]; i++)
		if (r->stats.fields >> i & 1)
			text_printf(&columns, ", s.%s", stats_fields[i]);
	text_putc(&columns, '\0');
	if (columns.failed)
		sql.failed = true;
	else if (r->stats.compare)
		text_printf(&sql, compare_sql, columns.data, columns.data);
	else
		text_printf(&sql, stats_sql, columns.data);
	text_free(&columns);
	return keep(r, &sql);
}

/* For ccproxy.stats(): NULL is all. */
static const char *
make_fields(struct request *r)
{
	struct text t;

	text_init(&t);
	for (int i = 0; stats_fields[i]; i++)
		if (r->stats.fields >> i & 1)
			text_printf(&t, "%c%s", t.len > 0 ? ',' : '{', stats_fields[i]);
	text_putc(&t, '}');
	return keep(r, &t);
}

static enum request_handled
handle(struct request *r)
{
	struct query_error error;
	struct text extra;
	const struct query_span *span = &r->stats.span;
	enum query_status status = stats_query_parse(&r->arena, &r->target, wall_clock_us(), &r->stats, &error);
	const char *sql = status == QUERY_OK ? make_sql(r) : NULL;
	const char *fields = status == QUERY_OK && r->stats.fields != UINT64_MAX ? make_fields(r) : NULL;

	if (status == QUERY_OK && (sql == NULL || (fields == NULL && r->stats.fields != UINT64_MAX)))
		status = QUERY_NO_MEMORY;
	if (status != QUERY_OK)
		return read_refuse(r, status, &error);
	read_negotiate(r, r->stats.format);
	if (r->csv && r->stats.total)
	{
		error = (struct query_error) {"total", "A total goes with JSON.", ""};
		return read_refuse(r, QUERY_BAD, &error);
	}
	/* the limit: as many rows are too many for a question without one */
	text_init(&extra);
	text_printf(&extra, "%s %d", span->period ? span->period : "", r->stats.limit);
	r->key_extra = keep(r, &extra);
	if (r->key_extra == NULL)
		return read_refuse(r, QUERY_NO_MEMORY, &error);
	read_prepare(r, sql);
	read_parameter_time(r, span->from_us);
	read_parameter_time(r, span->to_us);
	read_parameter(r, r->stats.group_by);
	read_parameter(r, r->stats.filters);
	read_parameter(r, r->stats.time_zone);
	read_parameter(r, fields);
	read_parameter(r, r->stats.total ? "true" : "false");
	/* one more tells that there are too many */
	read_parameter_int(r, r->stats.total + (r->stats.limit > 0 ? r->stats.limit : r->gateway->settings->read_max_rows + 1));
	if (r->stats.compare)
	{
		read_parameter_time(r, span->from_us - (span->to_us - span->from_us));
		read_parameter_time(r, span->from_us);
		read_parameter(r, r->stats.limit > 0 ? "true" : "false");
	}
	return read_begin(r);
}

static void
write_csv(const struct request *r, const PGresult *rows, struct text *t)
{
	int			first = r->stats.compare ? 0 : 1;

	rows_csv_header(t, rows, first, PQnfields(rows));
	for (int i = 0; i < PQntuples(rows); i++)
		rows_csv_row(t, rows, i, first, PQnfields(rows));
}

/* One range's rows. */
static void
write_rows(const struct request *r, const PGresult *rows, int from, int to, struct text *t)
{
	if (r->stats.total)
	{
		text_puts(t, "\"total\": {");
		rows_json_members(t, rows, from++, 1, PQnfields(rows));
		text_puts(t, "}, ");
	}
	text_puts(t, "\"stats\": ");
	rows_json_array(t, rows, from, to, 1);
}

static int
render(struct request *r, const PGresult *rows, struct text *t, size_t *tag_from)
{
	const struct query_span *span = &r->stats.span;
	int64_t		most = r->gateway->settings->read_max_rows;
	int			end = PQntuples(rows);	/* of the range asked for */

	while (end > 0 && strcmp(PQgetvalue(rows, end - 1, 0), "previous") == 0)
		end--;
	if (r->stats.limit == 0 && (end - r->stats.total > most || PQntuples(rows) - end - r->stats.total > most))
	{
		metric_add(METRIC_REFUSED_TOO_LARGE, 1);
		text_puts(t, "{\"error\": \"The answer has more rows than read_max_rows: give a limit, filters or a shorter range.\", "
				  "\"parameter\": \"group_by\"}\n");
		return MHD_HTTP_BAD_REQUEST;
	}
	if (r->csv)
	{
		write_csv(r, rows, t);
		return MHD_HTTP_OK;
	}
	text_putc(t, '{');
	read_json_time(t, "as_of", wall_clock_us());
	*tag_from = t->len;
	text_puts(t, ", \"period\": ");
	read_json_or_null(t, span->period);
	text_puts(t, ", ");
	read_json_time(t, "start_time", span->from_us);
	text_puts(t, ", ");
	read_json_time(t, "end_time", span->to_us);
	text_puts(t, ", \"time_zone\": ");
	text_json(t, r->stats.time_zone);
	text_puts(t, ", \"group_by\": ");
	read_json_or_null(t, r->stats.group_by);
	text_puts(t, ", \"filters\": ");
	text_puts(t, r->stats.filters);
	text_puts(t, ", ");
	write_rows(r, rows, 0, end, t);
	if (r->stats.compare)
	{
		text_puts(t, ",\n\"previous\": {");
		read_json_time(t, "start_time", span->from_us - (span->to_us - span->from_us));
		text_puts(t, ", ");
		read_json_time(t, "end_time", span->from_us);
		text_puts(t, ", ");
		write_rows(r, rows, end, PQntuples(rows), t);
		text_putc(t, '}');
	}
	text_puts(t, "}\n");
	return MHD_HTTP_OK;
}

const struct route route_stats = {
	.metric = METRIC_ROUTE_STATS,
	.path = "/metrics/api/stats",
	.methods = "GET, HEAD",
	.scope = AUTH_READ,
	.limit = LIMIT_BY_FILTER,
	.handle = handle,
	.publish = read_publish,
	.render = render,
	.finish = read_finish,
};
