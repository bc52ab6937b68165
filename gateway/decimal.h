/*
 * Exact decimals: the text of a JSON number to a scaled 64-bit integer, without
 * a double on the way, so that money, times and counts mean what was written
 * and no locale has a say. Pure; any thread.
 */
#ifndef GATEWAY_DECIMAL_H
#define GATEWAY_DECIMAL_H

#include <stddef.h>
#include <stdint.h>

enum decimal_result
{
	DECIMAL_EXACT,
	DECIMAL_ROUNDED,			/* half away from zero */
	DECIMAL_OVERFLOW			/* does not fit; *out is untouched */
};

/*
 * *out = text * 10^scale. text is a number json_scan_value accepted without
 * fault (at most JSON_MAX_NUMBER_CHARS, exponent within JSON_MAX_EXPONENT).
 */
enum decimal_result decimal_scaled(const char *text, size_t len, int scale, int64_t *out)
	__attribute__((warn_unused_result));

#endif
