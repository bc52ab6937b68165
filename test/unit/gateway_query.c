/*
 * Request targets, the parameters of the reading routes, cursors.
 */
#include "gateway/query.h"
#include "gateway/timestamp.h"
#include "test/unit/tap.h"

#define NOW_US INT64_C(1738324800000000)	/* 2025-01-31 12:00 UTC */

static struct arena arena;
static struct target target;
static struct stats_query stats;
static struct query_error error;

static enum query_status
parse(const char *raw)
{
	enum query_status status = target_parse(&arena, raw, &target, &error);

	return status == QUERY_OK ? stats_query_parse(&arena, &target, NOW_US, &stats, &error) : status;
}

static void
accepted(const char *raw, const char *name)
{
	if (!ok(parse(raw) == QUERY_OK, name))
		printf("# %s: %s %s\n", raw, error.parameter, error.message);
}

static void
refused(const char *raw, const char *parameter, const char *allowed)
{
	char		name[200];

	snprintf(name, sizeof(name), "refused: %.150s", raw);
	if (ok(parse(raw) == QUERY_BAD, name))
	{
		is_str(error.parameter, parameter, "... naming the parameter");
		has_str(error.allowed, allowed, "... and what is allowed");
	}
}

static void
test_target(void)
{
	char		many[1000] = "/?";

	ok(target_parse(&arena, "/a%2Fb%20c+d?x=1+2&y=%C3%A4&&z&=v#f", &target, &error) == QUERY_OK, "a target");
	is_str(target.path, "/a/b c+d", "the path is decoded, + stays");
	is_int((int64_t) target.nparameters, 4, "parameters");
	is_str(target.parameters[0].value, "1 2", "+ is a space in the query");
	is_str(target.parameters[1].value, "ä", "UTF-8");
	is_str(target.parameters[2].name, "z", "a name alone");
	is_str(target.parameters[2].value, "", "has an empty value");
	is_str(target.parameters[3].name, "", "an empty name");
	ok(target_parse(&arena, "http://host:1/x?y=z", &target, &error) == QUERY_OK && strcmp(target.path, "/x") == 0, "absolute form");
	ok(target_parse(&arena, "http://host", &target, &error) == QUERY_OK && strcmp(target.path, "") == 0, "absolute form without path");
	ok(target_parse(&arena, "/%00", &target, &error) == QUERY_BAD, "NUL in the path");
	ok(target_parse(&arena, "/%ff", &target, &error) == QUERY_BAD, "not UTF-8");
	ok(target_parse(&arena, "/%c0%af", &target, &error) == QUERY_BAD, "overlong UTF-8");
	ok(target_parse(&arena, "/%ed%a0%80", &target, &error) == QUERY_BAD, "a surrogate");
	ok(target_parse(&arena, "/a%2", &target, &error) == QUERY_BAD, "a cut escape");
	ok(target_parse(&arena, "/a%", &target, &error) == QUERY_BAD, "a bare %");
	ok(target_parse(&arena, "/?a=%zz", &target, &error) == QUERY_BAD, "an escape that is none");
	for (int i = 0; i <= QUERY_MAX_PARAMETERS; i++)
		strcat(many, "a&");
	ok(target_parse(&arena, many, &target, &error) == QUERY_BAD, "too many parameters");
}

static void
test_spans(void)
{
	accepted("/s", "no parameters at all");
	is_str(stats.span.period, "24h", "the default period");
	is_int(stats.span.to_us - stats.span.from_us, US_PER_DAY, "is a day long");
	is_str(stats.group_by, NULL, "everything in one row");
	is_str(stats.time_zone, "UTC", "UTC");
	is_str(stats.filters, "{}", "no filters");
	accepted("/s?period=1h", "1h");
	is_int(stats.span.to_us - stats.span.from_us, US_PER_DAY / 24, "is an hour");
	accepted("/s?period=30d", "30d");
	is_int(stats.span.to_us - stats.span.from_us, 30 * US_PER_DAY, "is thirty days");
	is_int(stats.span.to_us, NOW_US, "up to now");
	accepted("/s?from=2025-01-01&to=2025-01-02", "two dates");
	is_int(stats.span.from_us, INT64_C(1735689600000000), "midnight UTC");
	is_int(stats.span.to_us - stats.span.from_us, US_PER_DAY, "a day apart");
	is_str(stats.span.period, NULL, "no period then");
	accepted("/s?from=2025-01-01T00:00:00%2B02:00", "from alone, with an offset");
	is_int(stats.span.from_us, INT64_C(1735682400000000), "in UTC");
	is_int(stats.span.to_us, NOW_US, "to is now");
	accepted("/s?from=2025-01-01T00:00:00+02:00", "an offset whose + was not escaped");
	is_int(stats.span.from_us, INT64_C(1735682400000000), "means the same");
	accepted("/s?from=1735689600", "epoch seconds");
	is_int(stats.span.from_us, INT64_C(1735689600000000), "exactly");
	refused("/s?period=2h", "period", "1h, 6h, 24h, 7d, 30d");
	refused("/s?period=", "period", "1h, 6h");
	refused("/s?period=1h&period=6h", "period", "");
	refused("/s?period=1h&from=2025-01-01", "period", "1h");
	refused("/s?to=2025-01-01", "from", "RFC 3339");
	refused("/s?from=yesterday", "from", "RFC 3339");
	refused("/s?from=2025-13-01", "from", "RFC 3339");
	refused("/s?from=", "from", "RFC 3339");
	refused("/s?from=2025-01-01&to=x", "to", "RFC 3339");
	refused("/s?from=2025-01-02&to=2025-01-01", "to", "");
	refused("/s?from=2026-01-01", "from", "");
	refused("/s?from=2001-01-01", "from", "");
}

static void
test_groups_and_filters(void)
{
	static const char *const groups[] = {"hour", "day", "model", "user", "endpoint"};
	char		raw[64];

	for (int i = 0; i < 5; i++)
	{
		snprintf(raw, sizeof(raw), "/s?group_by=%s", groups[i]);
		accepted(raw, raw);
		is_str(stats.group_by, groups[i], "... is taken");
	}
	refused("/s?group_by=color", "group_by", "hour, day, model, user, endpoint");
	refused("/s?group_by=model%20", "group_by", "model");
	refused("/s?groupby=model", "groupby", "group_by");
	refused("/s?time_zone=", "time_zone", "Europe/Berlin");
	refused("/s?time_zone='%3b--", "time_zone", "Europe/Berlin");
	accepted("/s?time_zone=America/Argentina/Buenos_Aires", "a zone");
	accepted("/s?model=gpt-4&status=200&model=o1&user=a%22b%5C&team=", "filters");
	is_str(stats.filters, "{\"model\": [\"gpt-4\", \"o1\"], \"user\": [\"a\\\"b\\\\\"], \"status\": [\"200\"], \"team\": [null]}",
		   "become JSON, quoted");
	refused("/s?status=abc", "status", "100 to 599");
	refused("/s?status=600", "status", "100 to 599");
	refused("/s?state=lost", "state", "successful");
	accepted("/s?state=in_flight&api_key=0&session=1&provider=p&method=POST&service_tier=x&endpoint=e&error_type=t", "the others");
	refused("/s?tenant=1", "tenant", "model, user, endpoint");
}

static int
field(const char *name)
{
	int			i = 0;

	while (strcmp(stats_fields[i], name) != 0)
		i++;
	return i;
}

static void
test_stats_more(void)
{
	accepted("/s?group_by=hour,model", "two levels");
	is_str(stats.group_by, "hour,model", "... are taken");
	accepted("/s?group_by=user,day", "time second");
	refused("/s?group_by=hour,day", "group_by", "one or two");
	refused("/s?group_by=model,model", "group_by", "one or two");
	refused("/s?group_by=model,user,team", "group_by", "one or two");
	refused("/s?group_by=", "group_by", "one or two");
	refused("/s?group_by=model,", "group_by", "one or two");
	refused("/s?group_by=state", "group_by", "one or two");
	accepted("/s?compare=previous&limit=10&group_by=user&format=csv", "compare, limit, format");
	ok(stats.compare && stats.limit == 10 && stats.format == FORMAT_CSV, "... are taken");
	refused("/s?compare=next", "compare", "previous");
	ok(stats.fields == UINT64_MAX && !stats.total, "without fields there are all, and no total");
	accepted("/s?fields=total_cost,total_requests&group_by=model&total=true", "fields, total");
	ok(stats.total && stats.fields == (15 | 1 << field("total_cost") | 1 << field("total_requests")), "... are taken, the keys besides");
	accepted("/s?fields=total_cost,total_cost&total=false", "a field twice, no total");
	ok(!stats.total && stats.fields == (15 | 1 << field("total_cost")), "... are taken");
	refused("/s?fields=", "fields", "total_requests, ");
	refused("/s?fields=total_cost,", "fields", "model_costs");
	refused("/s?fields=total_cos", "fields", "errors_by_type, rate_limited_requests");
	refused("/s?fields=group_key", "fields", "total_cost");
	refused("/s?fields=total_cost&fields=model_usage", "fields", "");
	refused("/s?total=1&group_by=model", "total", "true, false");
	refused("/s?total=true", "total", "");
	refused("/s?total=true&group_by=hour,model", "total", "");
	refused("/s?limit=0", "limit", "1 to 10000");
	refused("/s?limit=10001", "limit", "1 to 10000");
	refused("/s?limit=99999999999999999999", "limit", "1 to 10000");
	refused("/s?limit=-1", "limit", "1 to 10000");
	refused("/s?limit=", "limit", "1 to 10000");
	refused("/s?limit=5&group_by=hour", "limit", "");
	refused("/s?format=xml", "format", "json, csv");
	refused("/s?cursor=x", "cursor", "group_by");
}

/* Ranges that end now move in steps, so that a question stays the same for a while. */
static void
test_steps(void)
{
	static const struct
	{
		const char *raw;
		int64_t		step_s;
	}			cases[] = {
		{"/s?period=1h", 10}, {"/s?period=6h", 60}, {"/s?period=24h", 60}, {"/s?period=7d", 900},
		{"/s?period=30d", 900}, {"/s?from=2025-01-31T11:59:00Z", 1}, {"/s?from=2025-01-30", 60}
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		int64_t		step_us = cases[i].step_s * 1000000;

		ok(target_parse(&arena, cases[i].raw, &target, &error) == QUERY_OK &&
		   stats_query_parse(&arena, &target, NOW_US + 1, &stats, &error) == QUERY_OK, cases[i].raw);
		is_int(stats.span.to_us, NOW_US + step_us, "... ends with the step that is on");
	}
	ok(target_parse(&arena, "/s?from=2025-01-30&to=2025-01-31T11:11:11.1Z", &target, &error) == QUERY_OK &&
	   stats_query_parse(&arena, &target, NOW_US + 1, &stats, &error) == QUERY_OK, "a given end");
	is_int(stats.span.to_us % 1000000, 100000, "... stays");
}

static struct list_query list;

static enum query_status
parse_list(const char *raw)
{
	enum query_status status = target_parse(&arena, raw, &target, &error);

	return status == QUERY_OK ? list_query_parse(&arena, &target, NOW_US, &list, &error) : status;
}

static void
test_list(void)
{
	struct cursor cursor = {.from_us = NOW_US - 10, .to_us = NOW_US, .value = "12.5", .ts_us = NOW_US - 5, .request_id = "a b\n\xc3\xa4"};
	struct text t;
	char		raw[1024];

	ok(parse_list("/r") == QUERY_OK, "a list");
	is_str(list.order, "newest", "the newest first");
	is_int(list.limit, 100, "a hundred");
	ok(!list.has_after, "from the start");
	ok(parse_list("/r?order=fastest") == QUERY_BAD, "an order that is none");
	is_str(error.allowed, "newest, slowest, dearest, failed", "... those that are");
	ok(parse_list("/r?group_by=model") == QUERY_BAD, "a list has no groups");

	ok(parse_list("/r?order=slowest&user=x") == QUERY_OK, "a list by user");
	text_init(&t);
	cursor_write(&t, &cursor, list.order, list.filters);
	snprintf(raw, sizeof(raw), "/r?order=slowest&user=x&cursor=%s", t.data);
	ok(parse_list(raw) == QUERY_OK && list.has_after, "its cursor");
	is_str(list.after.request_id, cursor.request_id, "... holds the id");
	is_str(list.after.value, "12.5", "... the value");
	is_int(list.after.ts_us, NOW_US - 5, "... the time");
	is_int(list.span.from_us, NOW_US - 10, "... and the range");
	snprintf(raw, sizeof(raw), "/r?order=slowest&user=y&cursor=%s", t.data);
	ok(parse_list(raw) == QUERY_BAD, "with other filters it is refused");
	has_str(error.message, "another list", "... and told why");
	snprintf(raw, sizeof(raw), "/r?order=dearest&user=x&cursor=%s", t.data);
	ok(parse_list(raw) == QUERY_BAD, "and with another order");
	text_free(&t);
	/* what the database could not make a bigint of */
	for (int i = 0; i < 3; i++)
	{
		static const char *const values[] = {"1e99999", "9.3e6", "-1e30"};

		text_init(&t);
		cursor.value = values[i];
		cursor_write(&t, &cursor, "dearest", "{}");
		snprintf(raw, sizeof(raw), "/r?order=dearest&cursor=%s", t.data);
		ok(parse_list(raw) == QUERY_BAD && strcmp(error.parameter, "cursor") == 0, values[i]);
		text_free(&t);
	}
	text_init(&t);
	cursor.value = NULL;
	cursor_write(&t, &cursor, "newest", "{}");
	snprintf(raw, sizeof(raw), "/r?cursor=%s", t.data);
	ok(parse_list(raw) == QUERY_OK && list.after.value == NULL, "a cursor without a value");
	text_free(&t);
	ok(parse_list("/r?cursor=") == QUERY_BAD, "an empty cursor");
	ok(parse_list("/r?cursor=!!!!") == QUERY_BAD, "no base64");
	ok(parse_list("/r?cursor=MSAx") == QUERY_BAD, "a cut cursor");
	/* 1 0 9 0 x 5 id; 1 9 0 0 - 5 id; 1 0 9 0 - 10 id; 1 0 9 0 nan 5 id */
	ok(parse_list("/r?cursor=MSAwIDkgMCB4IDUgaWQ") == QUERY_BAD, "a value that is no number");
	ok(parse_list("/r?cursor=MSA5IDAgMCAtIDUgaWQ") == QUERY_BAD, "a range the wrong way round");
	ok(parse_list("/r?cursor=MSAwIDkgMCAtIDEwIGlk") == QUERY_BAD, "a time outside the range");
	ok(parse_list("/r?cursor=MSAwIDkgMCBuYW4gNSBpZA") == QUERY_BAD, "NaN");
}

static void
test_times(void)
{
	char		time[QUERY_TIME_BYTES];

	accepted("/s?from=0099-01-01&to=0100-01-01", "years of the first century");
	query_format_time(time, stats.span.from_us);
	is_str(time, "0099-01-01T00:00:00.000000Z", "... have four digits");
}

static void
test_values_and_details(void)
{
	struct values_query values;
	bool		has_ts;
	int64_t		ts_us;

	ok(target_parse(&arena, "/v?of=user&search=a%25&limit=5", &target, &error) == QUERY_OK &&
	   values_query_parse(&target, &values, &error) == QUERY_OK, "values");
	is_str(values.search, "a%", "... searched for");
	ok(target_parse(&arena, "/v", &target, &error) == QUERY_OK && values_query_parse(&target, &values, &error) == QUERY_BAD, "of nothing");
	is_str(error.parameter, "of", "... names the parameter");
	ok(target_parse(&arena, "/v?of=session", &target, &error) == QUERY_OK && values_query_parse(&target, &values, &error) == QUERY_BAD,
	   "of what has no list");
	ok(target_parse(&arena, "/r/x?ts=2025-01-01", &target, &error) == QUERY_OK &&
	   detail_query_parse(&target, &has_ts, &ts_us, &error) == QUERY_OK && has_ts, "one of several with an id");
	ok(target_parse(&arena, "/r/x?ts=now", &target, &error) == QUERY_OK &&
	   detail_query_parse(&target, &has_ts, &ts_us, &error) == QUERY_BAD, "by a time that is none");
}

int
main(void)
{
	char		time[QUERY_TIME_BYTES];

	arena_init(&arena, 0);
	test_target();
	test_spans();
	test_groups_and_filters();
	test_stats_more();
	test_steps();
	test_list();
	test_times();
	test_values_and_details();
	query_format_time(time, NOW_US + 1);
	is_str(time, "2025-01-31T12:00:00.000001Z", "a time");
	query_format_time(time, -1);
	is_str(time, "1969-12-31T23:59:59.999999Z", "a time before the epoch");
	arena_free(&arena);
	arena_init(&arena, 8);
	ok(target_parse(&arena, "/aaaaaaaaaaaaaaaaaaaaaaa", &target, &error) == QUERY_NO_MEMORY, "no memory is told apart");
	arena_free(&arena);
	return done_testing();
}
