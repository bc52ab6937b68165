/*
 * Exact decimals and timestamps.
 */
#include <locale.h>
#include <stdlib.h>
#include <time.h>

#include "gateway/decimal.h"
#include "gateway/timestamp.h"
#include "test/unit/tap.h"

static void
scaled(const char *text, int scale, int64_t expected, enum decimal_result how)
{
	int64_t		got = -999;
	char		name[128];

	snprintf(name, sizeof(name), "%s * 10^%d", text, scale);
	if (ok(decimal_scaled(text, strlen(text), scale, &got) == how, name) && how != DECIMAL_OVERFLOW)
		is_int(got, expected, "... is exact");
}

static void
test_decimals(void)
{
	scaled("0", 0, 0, DECIMAL_EXACT);
	scaled("-0", 3, 0, DECIMAL_EXACT);
	scaled("0.000", 12, 0, DECIMAL_EXACT);
	scaled("123", 0, 123, DECIMAL_EXACT);
	scaled("123.0", 0, 123, DECIMAL_EXACT);
	scaled("1e3", 0, 1000, DECIMAL_EXACT);
	scaled("1500e-3", 3, 1500, DECIMAL_EXACT);
	scaled("1.5", 0, 2, DECIMAL_ROUNDED);
	scaled("-1.5", 0, -2, DECIMAL_ROUNDED);
	scaled("1.4999999999999999999999", 0, 1, DECIMAL_ROUNDED);
	scaled("0.5", 0, 1, DECIMAL_ROUNDED);
	scaled("0.05", 0, 0, DECIMAL_ROUNDED);
	scaled("123.4565", 3, 123457, DECIMAL_ROUNDED);
	scaled("0.000001", 12, 1000000, DECIMAL_EXACT);
	scaled("0.0000000000005", 12, 1, DECIMAL_ROUNDED);
	scaled("0.00000000000049", 12, 0, DECIMAL_ROUNDED);
	scaled("1e-308", 12, 0, DECIMAL_ROUNDED);
	scaled("9223372036854775807", 0, INT64_MAX, DECIMAL_EXACT);
	scaled("9223372036854775808", 0, 0, DECIMAL_OVERFLOW);
	scaled("-9223372036854775807", 0, -INT64_MAX, DECIMAL_EXACT);
	scaled("9223372036854775807.5", 0, 0, DECIMAL_OVERFLOW);
	scaled("9007199254740993", 0, INT64_C(9007199254740993), DECIMAL_EXACT);
	scaled("1e19", 0, 0, DECIMAL_OVERFLOW);
	scaled("1e308", 12, 0, DECIMAL_OVERFLOW);
	scaled("100000000000000000000000000000000000e-30", 0, 100000, DECIMAL_EXACT);
	scaled("0.00000000000000000000000000000000000000000000000000000000001", 0, 0, DECIMAL_ROUNDED);
}

static void
at(const char *text, int64_t expected)
{
	int64_t		us = -1;

	ok(timestamp_parse(text, strlen(text), &us), text);
	is_int(us, expected, "... is that time");
}

static void
no_time(const char *text)
{
	int64_t		us;

	ok(!timestamp_parse(text, strlen(text), &us), text);
}

static void
epoch(const char *text, int64_t expected)
{
	int64_t		us = -1;

	ok(timestamp_parse_epoch(text, strlen(text), &us), text);
	is_int(us, expected, "... is that time");
}

#define NOON INT64_C(1738324800000000)	/* 2025-01-31 12:00 UTC */

static void
test_texts(void)
{
	static const char *const wrong[] = {
		"", "2025", "2025-01-31", "2025-01-31T12:00", "2025-01-31T12:00:00.", "2025-01-31T12:00:00.Z", "2025-01-31T12:00:00+",
		"2025-01-31T12:00:00+1", "2025-01-31T12:00:00+24:00", "2025-01-31T12:00:00+01:60", "2025-01-31T12:00:00+01:0",
		"2025-01-31T12:00:00Zx", "2025-01-31T12:00:00 Z", " 2025-01-31T12:00:00Z", "2025-02-29T00:00:00Z", "2025-13-01T00:00:00Z",
		"2025-00-01T00:00:00Z", "2025-01-00T00:00:00Z", "2025-01-32T00:00:00Z", "2025-04-31T00:00:00Z", "2100-02-29T00:00:00Z",
		"2025-01-31T24:00:00Z", "2025-01-31T12:60:00Z", "2025-01-31T12:00:61Z", "2025-1-31T12:00:00Z", "20250131T120000Z",
		"-025-01-31T12:00:00Z", "2025-01-31X12:00:00Z", "1738324800", "2025-01-31T12:00:00,5Z", "\xd9\xa2" "025-01-31T12:00:00Z",
	};
	int64_t		us;

	at("2025-01-31T12:00:00Z", NOON);
	at("2025-01-31t12:00:00z", NOON);
	at("2025-01-31 12:00:00", NOON);
	at("2025-01-31T12:00:00", NOON);
	at("2025-01-31T12:00:00+00:00", NOON);
	at("2025-01-31 12:00:00+00", NOON);
	at("2025-01-31T14:30:00+02:30", NOON);
	at("2025-01-31T14:30:00+0230", NOON);
	at("2025-01-31T04:00:00-08:00", NOON);
	at("2025-02-01T02:00:00+14", NOON);
	at("2025-01-31T12:00:00.1Z", NOON + 100000);
	at("2025-01-31T12:00:00.123456Z", NOON + 123456);
	at("2025-01-31T12:00:00.1234565Z", NOON + 123457);
	at("2025-01-31T12:00:00.123456499999999999999999Z", NOON + 123456);
	at("2025-01-31T12:00:00.9999999Z", NOON + 1000000);
	at("2016-12-31T23:59:60Z", INT64_C(1483228800000000));
	at("2000-02-29T00:00:00Z", INT64_C(951782400000000));
	at("1970-01-01T00:00:00Z", 0);
	at("0001-01-01T00:00:00Z", INT64_C(-62135596800000000));
	at("9999-12-31T23:59:59.999999Z", INT64_C(253402300799999999));
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		no_time(wrong[i]);
	ok(!timestamp_parse("2025-01-31T12:00:00\0Z", 21, &us), "NUL inside");
}

/* Against the C library's calendar. */
static void
test_calendar(void)
{
	int			wrong = 0;

	for (int64_t day = -140000; day < 140000; day += 7)
	{
		time_t		t = (time_t) (day * 86400 + 45296);
		struct tm	tm;
		char		text[64];
		int64_t		us;

		gmtime_r(&t, &tm);
		snprintf(text, sizeof(text), "%04d-%02d-%02dT%02d:%02d:%02dZ", tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday,
				 tm.tm_hour, tm.tm_min, tm.tm_sec);
		wrong += !timestamp_parse(text, strlen(text), &us) || us != (int64_t) t * 1000000;
	}
	is_int(wrong, 0, "40,000 days agree with the C library");
}

static void
test_epochs(void)
{
	int64_t		us;

	epoch("1738324800", NOON);
	epoch("1738324800.5", NOON + 500000);
	epoch("1738324800.1234565", NOON + 123457);
	epoch("1738324800000", NOON);
	epoch("1738324800000.25", NOON + 250);
	epoch("1738324800000000", NOON);
	epoch("1738324800000000000", NOON);
	epoch("1738324800123456499", NOON + 123456);
	epoch("1738324800123456500", NOON + 123457);
	epoch("1.7383248e9", NOON);
	epoch("946684800", PG_EPOCH_US);
	epoch("946684800000", PG_EPOCH_US);
	epoch("946684800000000", PG_EPOCH_US);
	epoch("946684800000000000", PG_EPOCH_US);
	epoch("-1", -1000000);
	ok(!timestamp_parse_epoch("1e19", 4, &us), "beyond 64 bits");
	ok(!timestamp_parse_epoch("1e300", 5, &us), "far beyond");
}

int
main(void)
{
	setlocale(LC_ALL, "de_DE.UTF-8");
	setenv("TZ", "America/New_York", 1);
	tzset();
	test_decimals();
	test_texts();
	test_calendar();
	test_epochs();
	return done_testing();
}
