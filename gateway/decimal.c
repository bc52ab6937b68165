/*
 * Exact decimals; see decimal.h. The digits are gathered without their point,
 * the power of ten beside them; then digits are dropped or zeros added.
 */
#include "gateway/decimal.h"

#include <stdbool.h>

#include "gateway/json_check.h"

#define PLAIN_DIGITS 18

/* Plain digits, few enough not to overflow: most numbers there are. */
static bool
plain_digits(const char *text, size_t len, int64_t *out)
{
	int64_t		value = 0;

	if (len > PLAIN_DIGITS)
		return false;
	for (size_t i = 0; i < len; i++)
	{
		if (text[i] < '0' || text[i] > '9')
			return false;
		value = value * 10 + (text[i] - '0');
	}
	*out = value;
	return true;
}

enum decimal_result
decimal_scaled(const char *text, size_t len, int scale, int64_t *out)
{
	char		digits[JSON_MAX_NUMBER_CHARS];
	int			ndigits = 0;
	int			power = 0;		/* value = digits * 10^power */
	bool		negative = false;
	bool		fraction = false;
	bool		inexact = false;
	int			kept;
	uint64_t	value = 0;
	const uint64_t limit = INT64_MAX;
	size_t		i = 0;

	if (scale == 0 && plain_digits(text, len, out))
		return DECIMAL_EXACT;
	if (i < len && text[i] == '-')
	{
		negative = true;
		i++;
	}
	for (; i < len; i++)
	{
		char		c = text[i];

		if (c == '.')
			fraction = true;
		else if (c >= '0' && c <= '9')
		{
			if (ndigits == JSON_MAX_NUMBER_CHARS)
				return DECIMAL_OVERFLOW;
			if (fraction)
				power--;
			if (ndigits > 0 || c != '0')
				digits[ndigits++] = c;
		}
		else
			break;				/* e or E */
	}
	if (i < len)
	{
		bool		exponent_negative = false;
		int			exponent = 0;

		i++;
		if (i < len && (text[i] == '-' || text[i] == '+'))
			exponent_negative = text[i++] == '-';
		for (; i < len; i++)
		{
			exponent = exponent * 10 + (text[i] - '0');
			if (exponent > JSON_MAX_EXPONENT)
				return DECIMAL_OVERFLOW;
		}
		power += exponent_negative ? -exponent : exponent;
	}
	if (ndigits == 0)
	{
		*out = 0;
		return DECIMAL_EXACT;
	}

	power += scale;
	kept = power < 0 ? ndigits + power : ndigits;
	for (int d = 0; d < kept; d++)
	{
		uint64_t	digit = (uint64_t) (digits[d] - '0');

		if (value > (limit - digit) / 10)
			return DECIMAL_OVERFLOW;
		value = value * 10 + digit;
	}
	for (int zeros = power; zeros > 0; zeros--)
	{
		if (value > limit / 10)
			return DECIMAL_OVERFLOW;
		value *= 10;
	}
	for (int d = kept < 0 ? 0 : kept; d < ndigits; d++)
		inexact = inexact || digits[d] != '0';
	if (kept >= 0 && kept < ndigits && digits[kept] >= '5')
	{
		if (value == limit)
			return DECIMAL_OVERFLOW;
		value++;
	}
	*out = negative ? -(int64_t) value : (int64_t) value;
	return inexact ? DECIMAL_ROUNDED : DECIMAL_EXACT;
}
