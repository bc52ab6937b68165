/*
 * Decimal text to scaled integers, exactly. Pure; any thread.
 */
#include <string.h>

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

#define MAX_DIGITS	19		/* of a uint64_t that always fit */

/* A number's digits, as many as can matter, and where its point is. */
struct number
{
	uint64_t	digits;			/* significant ones, at most MAX_DIGITS */
	int			exponent;		/* value is digits * 10^exponent */
	bool		more;			/* digits were left away ... */
	bool		more_is_half;	/* ... that amount to at least half of the last one */
	bool		negative;
};

/* Take a digit: into the number while it has room, else note what is lost. */
static void
take_digit(struct number *n, int *count, int digit, bool fraction)
{
	if (*count == 0 && digit == 0)
	{
		n->exponent -= fraction;	/* leading zeros only move the point */
		return;
	}
	if (*count < MAX_DIGITS)
	{
		n->digits = n->digits * 10 + (uint64_t) digit;
		n->exponent -= fraction;
	}
	else
	{
		if (*count == MAX_DIGITS)
			n->more_is_half = digit >= 5;
		n->more |= digit != 0;
		n->exponent += !fraction;
	}
	(*count)++;
}

static bool
parse_number(struct price_text text, struct number *n)
{
	const char *p = text.p;
	const char *end = text.p + text.len;
	int			count = 0;
	int			exponent = 0;
	bool		any = false;
	bool		fraction = false;

	memset(n, 0, sizeof(*n));
	if (text.p == NULL)
		return false;
	if (p < end && (*p == '-' || *p == '+'))
		n->negative = *p++ == '-';
	for (; p < end && (is_digit(*p) || (*p == '.' && !fraction)); p++)
	{
		if (*p == '.')
			fraction = true;
		else
		{
			take_digit(n, &count, *p - '0', fraction);
			any = true;
		}
	}
	if (!any)
		return false;
	if (p < end && (*p == 'e' || *p == 'E'))
	{
		p++;
		if (!parse_exponent(&p, end, &exponent))
			return false;
	}
	n->exponent = n->digits == 0 ? 0 : n->exponent + exponent;
	return p == end;
}

enum price_decimal
price_round_decimal(struct price_text text, int scale, int64_t *value, bool *rounded)
{
	struct number n;
	int			shift;
	bool		half = false;

	*value = 0;
	*rounded = false;
	if (!parse_number(text, &n))
		return PRICE_DECIMAL_MALFORMED;
	if (n.digits == 0)
		return PRICE_DECIMAL_OK;
	if (n.negative)
		return PRICE_DECIMAL_NEGATIVE;
	*rounded = n.more;
	half = n.more_is_half;
	for (shift = scale + n.exponent; shift > 0; shift--)
	{
		half = false;			/* digits left away would be behind this many zeros */
		if (__builtin_mul_overflow(n.digits, 10, &n.digits))
			return PRICE_DECIMAL_TOO_LARGE;
	}
	for (; shift < 0 && (n.digits != 0 || half); shift++)
	{
		int			digit = (int) (n.digits % 10);

		*rounded |= digit != 0;
		half = digit >= 5;
		n.digits /= 10;
	}
	n.digits += half;
	if (n.digits > INT64_MAX)
		return PRICE_DECIMAL_TOO_LARGE;
	*value = (int64_t) n.digits;
	return PRICE_DECIMAL_OK;
}

enum price_decimal
price_parse_decimal(struct price_text text, int scale, int64_t *value)
{
	bool		rounded;
	enum price_decimal status = price_round_decimal(text, scale, value, &rounded);

	if (status != PRICE_DECIMAL_OK || !rounded)
		return status;
	*value = 0;
	return PRICE_DECIMAL_INEXACT;
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
