/*
 * Decimal text to scaled integers, exactly. Pure; any thread.
 */
#include "pricing/price_parse.h"

/* An exponent beyond this can only be zero, too large or inexact. */
#define MAX_EXPONENT	400

static bool
is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* The exponent after 'e', bounded; false when there are no digits. */
static bool
parse_exponent(const char **p, const char *end, int *exponent)
{
	bool		negative = false;
	int			value = 0;

	if (*p < end && (**p == '+' || **p == '-'))
		negative = *(*p)++ == '-';
	if (*p == end || !is_digit(**p))
		return false;
	for (; *p < end && is_digit(**p); (*p)++)
		if (value <= MAX_EXPONENT)
			value = value * 10 + (**p - '0');
	*exponent = negative ? -value : value;
	return true;
}

enum price_decimal
price_parse_decimal(struct price_text text, int scale, int64_t *value)
{
	const char *p = text.p;
	const char *end = text.p + text.len;
	const char *digits;
	const char *point = NULL;
	const char *digits_end;
	int			exponent = 0;
	int			shift;
	int64_t		result = 0;
	bool		negative = false;
	bool		any = false;

	*value = 0;
	if (text.p == NULL)
		return PRICE_DECIMAL_MALFORMED;
	if (p < end && (*p == '-' || *p == '+'))
		negative = *p++ == '-';
	digits = p;
	for (; p < end && (is_digit(*p) || (*p == '.' && point == NULL)); p++)
	{
		if (*p == '.')
			point = p;
		else
			any = true;
	}
	digits_end = p;
	if (!any)
		return PRICE_DECIMAL_MALFORMED;
	if (p < end && (*p == 'e' || *p == 'E'))
	{
		p++;
		if (!parse_exponent(&p, end, &exponent))
			return PRICE_DECIMAL_MALFORMED;
	}
	if (p != end)
		return PRICE_DECIMAL_MALFORMED;

	/* zeros behind the point are no decimals */
	if (point != NULL)
		while (digits_end > point + 1 && digits_end[-1] == '0')
			digits_end--;
	for (const char *d = digits; d < digits_end; d++)
		if (*d != '.' && (__builtin_mul_overflow(result, 10, &result) ||
						  __builtin_add_overflow(result, *d - '0', &result)))
			return negative ? PRICE_DECIMAL_NEGATIVE : PRICE_DECIMAL_TOO_LARGE;
	if (result == 0)
		return PRICE_DECIMAL_OK;
	if (negative)
		return PRICE_DECIMAL_NEGATIVE;

	shift = scale + exponent - (point == NULL ? 0 : (int) (digits_end - point - 1));
	for (; shift > 0; shift--)
		if (__builtin_mul_overflow(result, 10, &result))
			return PRICE_DECIMAL_TOO_LARGE;
	for (; shift < 0; shift++)
	{
		if (result % 10 != 0)
			return PRICE_DECIMAL_INEXACT;
		result /= 10;
	}
	*value = result;
	return PRICE_DECIMAL_OK;
}

const char *
price_decimal_text(enum price_decimal status)
{
	switch (status)
	{
		case PRICE_DECIMAL_OK:
			return "ok";
		case PRICE_DECIMAL_MALFORMED:
			return "is no number";
		case PRICE_DECIMAL_NEGATIVE:
			return "is negative";
		case PRICE_DECIMAL_INEXACT:
			return "has more decimals than a rate can have";
		case PRICE_DECIMAL_TOO_LARGE:
			return "is too large";
	}
	return "unknown status";
}
