/*
 * TAP for the unit tests of pricing: each file includes this, calls is_*() and
 * ok(), and returns done_testing().
 */
#ifndef PRICING_TAP_H
#define PRICING_TAP_H

#include <inttypes.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "pricing/price.h"

static int	tap_run;
static int	tap_failed;

static inline bool __attribute__((format(printf, 2, 3)))
ok(bool passed, const char *format, ...)
{
	va_list		args;

	printf("%s %d - ", passed ? "ok" : "not ok", ++tap_run);
	va_start(args, format);
	vprintf(format, args);
	va_end(args);
	printf("\n");
	tap_failed += !passed;
	return passed;
}

static inline void
is_int(int64_t got, int64_t expected, const char *name)
{
	if (!ok(got == expected, "%s", name))
		printf("# got %" PRId64 ", expected %" PRId64 "\n", got, expected);
}

static inline void
is_text(struct price_text got, const char *expected, const char *name)
{
	if (!ok(got.len == strlen(expected) && memcmp(got.p, expected, got.len) == 0, "%s", name))
		printf("# got '%.*s', expected '%s'\n", (int) got.len, got.p, expected);
}

static inline int
done_testing(void)
{
	printf("1..%d\n", tap_run);
	return tap_failed != 0;
}

/* A terminated string as a price_text; NULL is absent. */
static inline struct price_text
text_of(const char *s)
{
	return (struct price_text) {s, s == NULL ? 0 : strlen(s)};
}

#endif
