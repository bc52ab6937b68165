/*
 * The Prometheus text: escaping, numbers, families, repeated label sets.
 */
#include <math.h>

#include "gateway/exposition.h"
#include "gateway/selfmetrics.h"
#include "test/unit/tap.h"

static void
escapes(const char *value, const char *expected, const char *name)
{
	struct text t;

	text_init(&t);
	exposition_escape(&t, value);
	is_str(t.data ? t.data : "", expected, name);
	text_free(&t);
}

static void
number(double value, const char *expected)
{
	char		out[EXPOSITION_NUMBER_BYTES];

	exposition_number(out, value);
	is_str(out, expected, expected);
}

static size_t
count(const char *text, const char *part)
{
	size_t		n = 0;

	for (const char *p = text; (p = strstr(p, part)); p++)
		n++;
	return n;
}

static void
test_traffic(void)
{
	struct exposition x;
	struct traffic_sample samples[] = {
		{.family = traffic_family_find("cost"), .labels = {"gpt-4", NULL}, .count = 0.25},
		{.family = traffic_family_find("requests"), .labels = {"POST", "openai", "200", "gpt-4"}, .count = 3},
		{.family = traffic_family_find("requests"), .labels = {"POST", "", "200", "gpt-4"}, .count = 4},
		{.family = traffic_family_find("requests"), .labels = {"POST", "unknown", "200", "gpt-4"}, .count = 5},
		{.family = traffic_family_find("response_time"), .labels = {"POST", "openai", "a\"b\\c\nd"},
			.buckets = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13}, .sum = 12.5, .count = 14},
	};

	exposition_init(&x, false);
	traffic_write(&x, samples, sizeof(samples) / sizeof(samples[0]));
	is_str(x.text.data,
		   "# HELP ccproxy_requests_total LLM requests finished.\n"
		   "# TYPE ccproxy_requests_total counter\n"
		   "ccproxy_requests_total{method=\"POST\",endpoint_type=\"openai\",status_code=\"200\",model=\"gpt-4\"} 3\n"
		   "ccproxy_requests_total{method=\"POST\",endpoint_type=\"unknown\",status_code=\"200\",model=\"gpt-4\"} 9\n"
		   "# HELP ccproxy_response_time_seconds Response time of LLM requests.\n"
		   "# TYPE ccproxy_response_time_seconds histogram\n"
		   "ccproxy_response_time_seconds_bucket{method=\"POST\",endpoint_type=\"openai\",model=\"a\\\"b\\\\c\\nd\",le=\"0.01\"} 1\n"
		   "ccproxy_response_time_seconds_bucket{method=\"POST\",endpoint_type=\"openai\",model=\"a\\\"b\\\\c\\nd\",le=\"0.05\"} 2\n"
		   "ccproxy_response_time_seconds_bucket{method=\"POST\",endpoint_type=\"openai\",model=\"a\\\"b\\\\c\\nd\",le=\"0.1\"} 3\n"
		   "ccproxy_response_time_seconds_bucket{method=\"POST\",endpoint_type=\"openai\",model=\"a\\\"b\\\\c\\nd\",le=\"0.5\"} 4\n"
		   "ccproxy_response_time_seconds_bucket{method=\"POST\",endpoint_type=\"openai\",model=\"a\\\"b\\\\c\\nd\",le=\"1.0\"} 5\n"
		   "ccproxy_response_time_seconds_bucket{method=\"POST\",endpoint_type=\"openai\",model=\"a\\\"b\\\\c\\nd\",le=\"2.5\"} 6\n"
		   "ccproxy_response_time_seconds_bucket{method=\"POST\",endpoint_type=\"openai\",model=\"a\\\"b\\\\c\\nd\",le=\"5.0\"} 7\n"
		   "ccproxy_response_time_seconds_bucket{method=\"POST\",endpoint_type=\"openai\",model=\"a\\\"b\\\\c\\nd\",le=\"10.0\"} 8\n"
		   "ccproxy_response_time_seconds_bucket{method=\"POST\",endpoint_type=\"openai\",model=\"a\\\"b\\\\c\\nd\",le=\"30.0\"} 9\n"
		   "ccproxy_response_time_seconds_bucket{method=\"POST\",endpoint_type=\"openai\",model=\"a\\\"b\\\\c\\nd\",le=\"60.0\"} 10\n"
		   "ccproxy_response_time_seconds_bucket{method=\"POST\",endpoint_type=\"openai\",model=\"a\\\"b\\\\c\\nd\",le=\"120.0\"} 11\n"
		   "ccproxy_response_time_seconds_bucket{method=\"POST\",endpoint_type=\"openai\",model=\"a\\\"b\\\\c\\nd\",le=\"300.0\"} 12\n"
		   "ccproxy_response_time_seconds_bucket{method=\"POST\",endpoint_type=\"openai\",model=\"a\\\"b\\\\c\\nd\",le=\"600.0\"} 13\n"
		   "ccproxy_response_time_seconds_bucket{method=\"POST\",endpoint_type=\"openai\",model=\"a\\\"b\\\\c\\nd\",le=\"+Inf\"} 14\n"
		   "ccproxy_response_time_seconds_sum{method=\"POST\",endpoint_type=\"openai\",model=\"a\\\"b\\\\c\\nd\"} 12.5\n"
		   "ccproxy_response_time_seconds_count{method=\"POST\",endpoint_type=\"openai\",model=\"a\\\"b\\\\c\\nd\"} 14\n"
		   "# HELP ccproxy_cost_dollars_total Cost in US dollars.\n"
		   "# TYPE ccproxy_cost_dollars_total counter\n"
		   "ccproxy_cost_dollars_total{model=\"gpt-4\",user_id=\"anonymous\"} 0.25\n",
		   "families together, sorted, missing labels named, repeated ones added up");
	exposition_free(&x);
	exposition_init(&x, false);
	traffic_write(&x, NULL, 0);
	ok(x.text.len == 0, "no samples, no text");
	exposition_free(&x);
}

static void
test_openmetrics(void)
{
	struct exposition x;
	struct traffic_sample sample = {.family = traffic_family_find("model_cost"), .labels = {"gpt-4"}, .count = 0.25};

	exposition_init(&x, true);
	traffic_write(&x, &sample, 1);
	exposition_end(&x);
	is_str(x.text.data,
		   "# HELP ccproxy_cost_dollars Cost in US dollars.\n"
		   "# TYPE ccproxy_cost_dollars counter\n"
		   "ccproxy_cost_dollars_total{model=\"gpt-4\"} 0.25\n"
		   "# EOF\n",
		   "OpenMetrics: the family without _total, an end; costs without users");
	exposition_free(&x);
	exposition_init(&x, true);
	selfmetrics_write(&x);
	for (const char *p = x.text.data; (p = strstr(p, "# TYPE ")); p++)
	{
		size_t		len = strcspn(p, "\n");

		if (memmem(p, len, " counter", 8) && memmem(p, len, "_total", 6))
			ok(false, "a counter's family is named with _total");
	}
	ok(!strstr(x.text.data, "_created"), "nothing is called _created");
	for (const char *p = x.text.data; (p = strstr(p, "# HELP ")); p++)
		if (memchr(p, '"', strcspn(p, "\n")) || memchr(p, '\\', strcspn(p, "\n")))
			ok(false, "a help text would need escapes");
	exposition_free(&x);
}

static void
test_own(void)
{
	struct exposition x;

	metric_add(METRIC_EVENTS_ACCEPTED, 3);
	metric_set(METRIC_PG_UP, 1);
	metric_observe_us(METRIC_COMMIT_SECONDS, 700);
	metric_observe_us(METRIC_COMMIT_SECONDS, 60000000);
	metric_request(METRIC_ROUTE_STATS, 200);
	metric_request(METRIC_ROUTE_STATS, 418);
	exposition_init(&x, false);
	selfmetrics_write(&x);
	has_str(x.text.data, "\nccproxy_gateway_events_total{outcome=\"accepted\"} 3\n", "a counter");
	is_int((int64_t) count(x.text.data, "# TYPE ccproxy_gateway_events_total"), 1, "one TYPE a family");
	has_str(x.text.data, "\nccproxy_gateway_pg_up 1\n", "a gauge");
	has_str(x.text.data, "\nccproxy_gateway_commit_seconds_bucket{le=\"0.0005\"} 0\n", "an empty bucket");
	has_str(x.text.data, "\nccproxy_gateway_commit_seconds_bucket{le=\"0.001\"} 1\n", "buckets are cumulative");
	has_str(x.text.data, "\nccproxy_gateway_commit_seconds_bucket{le=\"+Inf\"} 2\n", "up to +Inf");
	has_str(x.text.data, "\nccproxy_gateway_commit_seconds_count 2\n", "the count");
	has_str(x.text.data, "\nccproxy_gateway_commit_seconds_sum 60.0007\n", "the sum in seconds");
	has_str(x.text.data, "{route=\"stats\",code=\"200\"} 1\n", "a request by route and status");
	has_str(x.text.data, "{route=\"stats\",code=\"other\"} 1\n", "an unusual status");
	exposition_free(&x);
}

int
main(void)
{
	char		longest[EXPOSITION_LABEL_BYTES * 2];

	escapes("plain", "plain", "plain");
	escapes("a\"b", "a\\\"b", "a quote");
	escapes("a\\b", "a\\\\b", "a backslash");
	escapes("a\nb", "a\\nb", "a line break");
	escapes("a\xff" "b", "a\xef\xbf\xbd" "b", "invalid UTF-8");
	escapes("\xc3\xa4", "\xc3\xa4", "UTF-8 stays");
	memset(longest, 'x', sizeof(longest));
	memcpy(longest + EXPOSITION_LABEL_BYTES - 1, "\xc3\xa4", 2);
	longest[sizeof(longest) - 1] = '\0';
	{
		struct text t;

		text_init(&t);
		exposition_escape(&t, longest);
		is_int((int64_t) t.len, EXPOSITION_LABEL_BYTES - 1, "a long value is cut before a character");
		text_free(&t);
	}
	number(0, "0");
	number(12, "12");
	number(-3, "-3");
	number(0.1, "0.1");
	number(1e15, "1000000000000000");
	number(1.0 / 3, "0.3333333333333333");
	number(1e300, "1e+300");
	number(INFINITY, "+Inf");
	number(NAN, "NaN");
	is_int(traffic_family_find("nonsense"), -1, "an unknown family");
	test_traffic();
	test_openmetrics();
	test_own();
	return done_testing();
}
