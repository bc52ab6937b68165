/*
 * GET /metrics/api/stats: ccproxy.stats() as JSON or CSV, with compare=previous
 * also of as long a range before. query_read.c says what the parameters mean.
 */
#include <string.h>

#include "gateway/log.h"
#include "gateway/route_read.h"
#include "gateway/rows.h"

/* in the order of the answer; the same for both ranges */
#define COLUMNS(s) \
	s ".group_key, " s ".group_key2, " s ".period_start, " s ".period_end, " s ".total_requests, " s ".successful_requests, " \
	s ".failed_requests, " s ".in_flight_requests, " s ".avg_response_time_ms, " s ".p50_response_time_ms, " \
	s ".p95_response_time_ms, " s ".p99_response_time_ms, " s ".avg_ttft_ms, " s ".p50_ttft_ms, " s ".p95_ttft_ms, " \
	s ".p99_ttft_ms, " s ".input_tokens, " s ".cache_read_tokens, " s ".cache_write_tokens, " s ".output_tokens, " \
	s ".total_tokens, " s ".total_cost, " s ".avg_cost_per_request, " s ".unpriced_requests, " s ".model_usage, " \
	s ".model_costs, " s ".error_rate, " s ".errors_by_type"

static const char stats_sql[] =
"SELECT 'current' AS span, " COLUMNS("s") " FROM ccproxy.stats($1::timestamptz, $2::timestamptz, $3, $4::jsonb, $5) AS s "
"LIMIT $6::bigint";

/* one statement, one snapshot; with a limit, the groups of the first range */
static const char compare_sql[] =
"WITH current AS MATERIALIZED (SELECT * FROM ccproxy.stats($1::timestamptz, $2::timestamptz, $3, $4::jsonb, $5) "
"LIMIT $6::bigint) "
"SELECT 'current' AS span, " COLUMNS("s") " FROM current AS s "
"UNION ALL "
"(SELECT 'previous', " COLUMNS("s") " FROM ccproxy.stats($7::timestamptz, $8::timestamptz, $3, $4::jsonb, $5) AS s "
"WHERE NOT $9::boolean OR EXISTS (SELECT FROM current AS c WHERE c.group_key IS NOT DISTINCT FROM s.group_key "
"AND c.group_key2 IS NOT DISTINCT FROM s.group_key2) LIMIT $6::bigint)";

static enum request_handled
handle(struct request *r)
{
	struct query_error error;
	const struct query_span *span = &r->stats.span;
	enum query_status status = stats_query_parse(&r->arena, &r->target, wall_clock_us(), &r->stats, &error);

	if (status != QUERY_OK)
		return read_refuse(r, status, &error);
	read_negotiate(r, r->stats.format);
	r->key_extra = span->period;
	read_prepare(r, r->stats.compare ? compare_sql : stats_sql);
	read_parameter_time(r, span->from_us);
	read_parameter_time(r, span->to_us);
	read_parameter(r, r->stats.group_by);
	read_parameter(r, r->stats.filters);
	read_parameter(r, r->stats.time_zone);
	/* one more tells that there are too many */
	read_parameter_int(r, r->stats.limit > 0 ? r->stats.limit : r->gateway->settings->read_max_rows + 1);
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

static int
render(struct request *r, const PGresult *rows, struct text *t, size_t *tag_from)
{
	const struct query_span *span = &r->stats.span;
	int64_t		most = r->gateway->settings->read_max_rows;
	int			end = PQntuples(rows);	/* of the range asked for */

	while (end > 0 && strcmp(PQgetvalue(rows, end - 1, 0), "previous") == 0)
		end--;
	if (r->stats.limit == 0 && (end > most || PQntuples(rows) - end > most))
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
	text_puts(t, ", \"stats\": ");
	rows_json_array(t, rows, 0, end, 1);
	if (r->stats.compare)
	{
		text_puts(t, ",\n\"previous\": {");
		read_json_time(t, "start_time", span->from_us - (span->to_us - span->from_us));
		text_puts(t, ", ");
		read_json_time(t, "end_time", span->from_us);
		text_puts(t, ", \"stats\": ");
		rows_json_array(t, rows, end, PQntuples(rows), 1);
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
