/*
 * TAP for the gateway's unit tests: include it, call ok() and is_*(), return
 * done_testing().
 */
#ifndef TEST_UNIT_TAP_H
#define TEST_UNIT_TAP_H

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

static int	tap_run;
static int	tap_failed;

static inline bool
ok(bool passed, const char *name)
{
	printf("%s %d - %s\n", passed ? "ok" : "not ok", ++tap_run, name);
	tap_failed += !passed;
	return passed;
}

static inline void
is_int(int64_t got, int64_t expected, const char *name)
{
	if (!ok(got == expected, name))
		printf("# got %" PRId64 ", expected %" PRId64 "\n", got, expected);
}

static inline void
is_str(const char *got, const char *expected, const char *name)
{
	bool		same = got && expected ? strcmp(got, expected) == 0 : got == expected;

	if (!ok(same, name))
		printf("# got '%s', expected '%s'\n", got ? got : "(null)", expected ? expected : "(null)");
}

static inline void
has_str(const char *got, const char *part, const char *name)
{
	if (!ok(got && strstr(got, part), name))
		printf("# got '%s', which lacks '%s'\n", got ? got : "(null)", part);
}

static inline int
done_testing(void)
{
	printf("1..%d\n", tap_run);
	return tap_failed != 0;
}

#endif
