/*
 * Exact decimals and the line format in which a catalogue travels from the
 * server to gateways. Pure; any thread.
 */
#ifndef PRICE_PARSE_H
#define PRICE_PARSE_H

#include "pricing/price.h"

/* Linked into whatever uses it: calls need no indirection. */
#pragma GCC visibility push(hidden)

/* Shipped prices have ids below this, users' own from it on. */
#define PRICE_FIRST_USER_ID		1000000

/* Rates that fit an int64 of attodollars with room to spare. */
#define PRICE_MAX_USD_MTOK		9000000
#define PRICE_MAX_USD_KCALL		9000
#define PRICE_MAX_MULTIPLIER_PPM	INT64_C(1000000000)

enum price_decimal
{
	PRICE_DECIMAL_OK = 0,
	PRICE_DECIMAL_MALFORMED,
	PRICE_DECIMAL_NEGATIVE,
	PRICE_DECIMAL_INEXACT,		/* more decimals than the scale keeps */
	PRICE_DECIMAL_TOO_LARGE
};

/*
 * A decimal number, with or without fraction and exponent, times 10^scale, as a
 * whole number. Never through floating point: a digit that does not fit is
 * PRICE_DECIMAL_INEXACT, not rounded away.
 */
extern enum price_decimal price_parse_decimal(struct price_text text, int scale, int64_t *value) PRICE_MUST_CHECK;

/* The same, but decimals beyond the scale are rounded, half up; *rounded says so. */
extern enum price_decimal price_round_decimal(struct price_text text, int scale, int64_t *value, bool *rounded) PRICE_MUST_CHECK;

extern const char *price_decimal_text(enum price_decimal status);

/*
 * Lines: tab-separated, no escapes; texts that contain a tab or line break are
 * cut there when written.
 *
 *	P id precedence provider model match tier context_from context_inclusive
 *	  from_us to_us window_from window_to multipliers rate*14
 *	A provider alias model
 *
 * Times are microseconds of 1970, rates attodollars, '' where there is none;
 * multipliers are name=ppm, comma between. Source and note stay at home.
 */
#define PRICE_LINE_FIELDS	(14 + PRICE_RATES)
#define PRICE_MAX_LINE_BYTES	4096

/*
 * Which prices a set of lines stands for: price_digest_version() of the sum of
 * price_digest_line() over all of them, in any order. Never 0. The server and
 * gateways compare it: the same number means the same prices, matched and
 * multiplied by the same rules.
 */
#define PRICE_NO_VERSION	0
extern uint64_t price_digest_line(struct price_text line);
extern int64_t price_digest_version(uint64_t sum);

/* Write a line; the length without the terminating zero. */
extern size_t price_write_row(const struct price_row *row, char line[PRICE_MAX_LINE_BYTES]);
extern size_t price_write_alias(const struct price_alias *alias, char line[PRICE_MAX_LINE_BYTES]);

/*
 * A catalogue read from lines, in memory of its own (malloc). Add every line,
 * then finish; a line that is refused (false) leaves the loader as it was.
 * The catalogue lives until the loader is freed.
 */
struct price_loader;

extern struct price_loader *price_loader_new(void);
extern bool price_loader_add(struct price_loader *loader, struct price_text line) PRICE_MUST_CHECK;
extern const struct price_catalogue *price_loader_finish(struct price_loader *loader) PRICE_MUST_CHECK;
/* Of the lines added so far. */
extern int64_t price_loader_version(const struct price_loader *loader);
extern void price_loader_free(struct price_loader *loader);

#pragma GCC visibility pop

#endif
