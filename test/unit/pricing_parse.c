/*
 * Exact decimals, and the line format that carries a catalogue to gateways.
 */
#include <stdlib.h>

#include "test/unit/pricing_tap.h"
#include "pricing/price_parse.h"

static void
decimal(const char *text, int scale, enum price_decimal status, int64_t value)
{
	int64_t		got;

	is_int(price_parse_decimal(text_of(text), scale, &got), status, text == NULL ? "no text" : text);
	if (status == PRICE_DECIMAL_OK)
		is_int(got, value, "  is exact");
}

static void
test_decimals(void)
{
	decimal("3", 12, PRICE_DECIMAL_OK, INT64_C(3000000000000));
	decimal("0.075", 12, PRICE_DECIMAL_OK, INT64_C(75000000000));
	decimal("3e-7", 18, PRICE_DECIMAL_OK, INT64_C(300000000000));
	decimal("1.5E-06", 18, PRICE_DECIMAL_OK, INT64_C(1500000000000));
	decimal("1.5e+2", 0, PRICE_DECIMAL_OK, 150);
	decimal(".5", 1, PRICE_DECIMAL_OK, 5);
	decimal("5.", 1, PRICE_DECIMAL_OK, 50);
	decimal("0.10000000000000000000000", 1, PRICE_DECIMAL_OK, 1);
	decimal("100e-2", 0, PRICE_DECIMAL_OK, 1);
	decimal("0", 12, PRICE_DECIMAL_OK, 0);
	decimal("-0.0", 12, PRICE_DECIMAL_OK, 0);
	decimal("0e999999999999", 12, PRICE_DECIMAL_OK, 0);
	decimal("9223372036854775807", 0, PRICE_DECIMAL_OK, INT64_MAX);
	decimal("9223372036854775808", 0, PRICE_DECIMAL_TOO_LARGE, 0);
	decimal("1e19", 0, PRICE_DECIMAL_TOO_LARGE, 0);
	decimal("1e999999999999", 0, PRICE_DECIMAL_TOO_LARGE, 0);
	decimal("1e-999999999999", 0, PRICE_DECIMAL_INEXACT, 0);
	decimal("0.0000000000001", 12, PRICE_DECIMAL_INEXACT, 0);
	decimal("000000000000000000000000000000.1", 1, PRICE_DECIMAL_OK, 1);
	decimal("0.000000000000000000000000000001e30", 0, PRICE_DECIMAL_OK, 1);
	decimal("10000000000000000000000000000e-28", 0, PRICE_DECIMAL_OK, 1);
	decimal("1.6666666666666666667e-07", 18, PRICE_DECIMAL_INEXACT, 0);
	decimal("-1", 12, PRICE_DECIMAL_NEGATIVE, 0);
	decimal("", 12, PRICE_DECIMAL_MALFORMED, 0);
	decimal(NULL, 12, PRICE_DECIMAL_MALFORMED, 0);
	decimal("-", 12, PRICE_DECIMAL_MALFORMED, 0);
	decimal(".", 12, PRICE_DECIMAL_MALFORMED, 0);
	decimal("1.2.3", 12, PRICE_DECIMAL_MALFORMED, 0);
	decimal("1e", 12, PRICE_DECIMAL_MALFORMED, 0);
	decimal("1 ", 12, PRICE_DECIMAL_MALFORMED, 0);
	decimal("NaN", 12, PRICE_DECIMAL_MALFORMED, 0);
	decimal("Infinity", 12, PRICE_DECIMAL_MALFORMED, 0);
	decimal("0x10", 12, PRICE_DECIMAL_MALFORMED, 0);
}

static void
rounds(const char *text, int scale, int64_t value, bool rounded)
{
	int64_t		got;
	bool		was_rounded;

	is_int(price_round_decimal(text_of(text), scale, &got, &was_rounded), PRICE_DECIMAL_OK, text);
	is_int(got, value, "  rounds");
	is_int(was_rounded, rounded, "  and says whether");
}

static void
test_rounding(void)
{
	rounds("1.6666666666666667e-07", 18, INT64_C(166666666667), true);
	rounds("1.00000000000000000000000000001", 2, 100, true);
	rounds("0.4999999999999999999999999", 0, 0, true);
	rounds("0.5", 0, 1, true);
	rounds("2.5", 0, 3, true);
	rounds("9.99", 1, 100, true);
	rounds("0.05", 1, 1, true);
	rounds("0.04", 1, 0, true);
	rounds("0.25", 2, 25, false);
	rounds("1e-30", 18, 0, true);
}

static bool
same_cost(const struct price_catalogue *a, const struct price_catalogue *b, const struct price_row *row, int64_t prompt)
{
	struct price_request request = {
		.provider = row->provider,
		.model = row->model,
		.service_tier = PRICE_TEXT("batch"),
		.at_us = row->from_us == PRICE_ALWAYS_FROM ? row->to_us - 1 : row->from_us,
		.usage = {.input = prompt,.output = row->rate_atto[PRICE_OUTPUT] == PRICE_NO_RATE ? 0 : 7777},
	};
	struct price_cost ca,
				cb;

	return price_request_cost(a, &request, &ca) == price_request_cost(b, &request, &cb) &&
		memcmp(&ca, &cb, sizeof(ca)) == 0;
}

/* A loader of these lines; its version. */
static int64_t
version_of(const char *const *lines, int n)
{
	struct price_loader *loader = price_loader_new();
	int64_t		version;

	for (int i = 0; i < n; i++)
		ok(price_loader_add(loader, (struct price_text) {lines[i], strlen(lines[i])}), lines[i]);
	version = price_loader_version(loader);
	price_loader_free(loader);
	return version;
}

/* Versions: whatever may change a cost changes them, order does not. */
static void
test_versions(void)
{
	static const char *const a[] = {"A\tp\tx\ty", "P\t9\t0\tp\tm\t0\tstandard\t0\t1\t0\t1\t0\t0\t\t1\t\t\t\t1\t\t\t\t\t\t\t\t\t"};
	static const char *const b[] = {a[1], a[0]};
	static const char *const dearer[] = {a[0], "P\t9\t0\tp\tm\t0\tstandard\t0\t1\t0\t1\t0\t0\t\t2\t\t\t\t1\t\t\t\t\t\t\t\t\t"};
	static const char *const closed[] = {a[0], "P\t9\t0\tp\tm\t0\tstandard\t0\t1\t0\t0\t0\t0\t\t1\t\t\t\t1\t\t\t\t\t\t\t\t\t"};
	int64_t		version = version_of(a, 2);

	ok(version_of(b, 2) == version, "lines in another order are the same prices");
	ok(version_of(dearer, 2) != version, "another rate is another version");
	ok(version_of(closed, 2) != version, "so is another end");
	ok(version_of(a, 1) != version, "so is one line less");
	ok(version_of(NULL, 0) != PRICE_NO_VERSION && version > 0, "and none is no number");
}

/* A catalogue that went through lines prices as the one it came from. */
static void
test_lines(void)
{
	struct price_loader *loader = price_loader_new();
	size_t		n_rows,
				n_aliases;
	const struct price_row *rows = price_shipped_rows(&n_rows);
	const struct price_alias *aliases = price_shipped_aliases(&n_aliases);
	const struct price_catalogue *loaded;
	char		line[PRICE_MAX_LINE_BYTES];
	int64_t		version;
	bool		all_added = true;
	bool		all_same = true;

	/* backwards: the order must not matter */
	for (size_t i = n_rows; i-- > 0;)
		all_added &= price_loader_add(loader, (struct price_text) {line, price_write_row(&rows[i], line)});
	for (size_t i = n_aliases; i-- > 0;)
		all_added &= price_loader_add(loader, (struct price_text) {line, price_write_alias(&aliases[i], line)});
	ok(all_added, "every shipped row and alias can be written and read");
	version = price_loader_version(loader);
	loaded = price_loader_finish(loader);
	for (size_t i = 0; i < n_rows; i++)
		for (int64_t prompt = 1000; prompt <= 1000000; prompt *= 1000)
			if (!same_cost(price_shipped_catalogue(), loaded, &rows[i], prompt))
			{
				printf("# %.*s\n", (int) rows[i].model.len, rows[i].model.p);
				all_same = false;
			}
	ok(all_same, "and prices the same as before");

	ok(!price_loader_add(loader, PRICE_TEXT("")), "an empty line is refused");
	ok(!price_loader_add(loader, PRICE_TEXT("P\t1\t2")), "a short line is refused");
	ok(!price_loader_add(loader, PRICE_TEXT("A\ta\tb")), "a short alias is refused");
	ok(!price_loader_add(loader, PRICE_TEXT("X\ta\tb\tc")), "an unknown kind is refused");
	ok(!price_loader_add(loader, PRICE_TEXT("P\t1\t0\tp\tm\t0\tstandard\t0\t1\t0\t1\t0\t0\tbatch\t1\t\t\t\t1\t\t\t\t\t\t\t\t\t")),
	   "a multiplier without a factor is refused");
	ok(!price_loader_add(loader, PRICE_TEXT("P\t0\t0\tp\tm\t0\tstandard\t0\t1\t0\t1\t0\t0\t\t1\t\t\t\t1\t\t\t\t\t\t\t\t\t")),
	   "an id of 0 is refused");
	ok(price_loader_version(loader) == version, "what is refused leaves the version as it was");
	ok(price_loader_add(loader, PRICE_TEXT("P\t9\t0\tp\tm\t0\tstandard\t0\t1\t0\t1\t0\t0\tbatch=5\t1\t\t\t\t1\t\t\t\t\t\t\t\t\t")),
	   "and a good line after them is not");
	ok(price_loader_version(loader) != version, "one price more is another version");
	ok(!price_loader_add(loader, PRICE_TEXT("P\t9\t0\tp\tm\t0\tstandard\t0\t1\t0\t1\t0\t0\tbatch=5\t1\t\t\t\t1\t\t\t\t\t\t\t\t\t\t")),
	   "but one field too many is");
	price_loader_free(loader);
	price_loader_free(NULL);
}

int
main(void)
{
	test_decimals();
	test_rounding();
	test_lines();
	test_versions();
	return done_testing();
}
