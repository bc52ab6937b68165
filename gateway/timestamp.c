/*
 * Timestamps; see timestamp.h.
 */
#include "gateway/timestamp.h"

#include "gateway/decimal.h"

#define US_PER_SECOND	INT64_C(1000000)
#define EPOCH_SECONDS_BELOW		INT64_C(100000000000)		/* 10^11 */
#define EPOCH_MILLIS_BELOW		INT64_C(100000000000000)	/* 10^14 */
#define EPOCH_MICROS_BELOW		INT64_C(100000000000000000) /* 10^17 */

/* What is left to read. */
struct reader
{
	const char *p;
	const char *end;
};

/* Reads exactly n digits. */
static bool
read_digits(struct reader *r, int n, int *value)
{
	if (r->end - r->p < n)
		return false;
	*value = 0;
	for (int i = 0; i < n; i++, r->p++)
	{
		if (*r->p < '0' || *r->p > '9')
			return false;
		*value = *value * 10 + (*r->p - '0');
	}
	return true;
}

static bool
read_char(struct reader *r, char c)
{
	if (r->p >= r->end || *r->p != c)
		return false;
	r->p++;
	return true;
}

/* Days from 1970-01-01 in the proleptic Gregorian calendar. */
static int64_t
days_from_civil(int year, int month, int day)
{
	int			y = month <= 2 ? year - 1 : year;
	int			era = y / 400;
	int			year_of_era = y - era * 400;
	int			day_of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
	int			day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;

	return (int64_t) era * 146097 + day_of_era - 719468;
}

static int
days_in_month(int year, int month)
{
	static const int8_t days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};

	if (month == 2 && (year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)))
		return 29;
	return days[month - 1];
}

/* Reads ".ddd", rounding half up to microseconds (may give a full second). */
static bool
read_fraction(struct reader *r, int64_t *us)
{
	int			ndigits = 0;
	bool		up = false;

	*us = 0;
	if (!read_char(r, '.'))
		return true;
	for (; r->p < r->end && *r->p >= '0' && *r->p <= '9'; r->p++, ndigits++)
	{
		if (ndigits < 6)
			*us = *us * 10 + (*r->p - '0');
		else if (ndigits == 6)
			up = *r->p >= '5';
	}
	if (ndigits == 0)
		return false;
	for (int i = ndigits; i < 6; i++)
		*us *= 10;
	*us += up;
	return true;
}

/* Reads the zone, if any, into minutes east of UTC. */
static bool
read_zone(struct reader *r, int *minutes_east)
{
	int			sign;
	int			hours;
	int			minutes = 0;

	*minutes_east = 0;
	if (r->p == r->end)
		return true;
	if (read_char(r, 'Z') || read_char(r, 'z'))
		return true;
	if (read_char(r, '+'))
		sign = 1;
	else if (read_char(r, '-'))
		sign = -1;
	else
		return false;
	if (!read_digits(r, 2, &hours))
		return false;
	if (r->p < r->end)
	{
		(void) read_char(r, ':');
		if (!read_digits(r, 2, &minutes))
			return false;
	}
	if (hours > 23 || minutes > 59)
		return false;
	*minutes_east = sign * (hours * 60 + minutes);
	return true;
}

bool
timestamp_parse(const char *text, size_t len, int64_t *us)
{
	struct reader r = {text, text + len};
	int			year,
				month,
				day,
				hour,
				minute,
				second,
				minutes_east;
	int64_t		fraction_us;

	if (!read_digits(&r, 4, &year) || !read_char(&r, '-') ||
		!read_digits(&r, 2, &month) || !read_char(&r, '-') ||
		!read_digits(&r, 2, &day) ||
		!(read_char(&r, 'T') || read_char(&r, 't') || read_char(&r, ' ')) ||
		!read_digits(&r, 2, &hour) || !read_char(&r, ':') ||
		!read_digits(&r, 2, &minute) || !read_char(&r, ':') ||
		!read_digits(&r, 2, &second) ||
		!read_fraction(&r, &fraction_us) ||
		!read_zone(&r, &minutes_east) ||
		r.p != r.end)
		return false;
	if (month < 1 || month > 12 || day < 1 || day > days_in_month(year, month) ||
		hour > 23 || minute > 59 || second > 60)
		return false;
	*us = (((days_from_civil(year, month, day) * 24 + hour) * 60 + minute - minutes_east) * 60 +
		   second) * US_PER_SECOND + fraction_us;
	return true;
}

bool
timestamp_parse_epoch(const char *text, size_t len, int64_t *us)
{
	int64_t		whole;
	int			scale;

	if (decimal_scaled(text, len, 0, &whole) == DECIMAL_OVERFLOW)
		return false;
	if (whole < EPOCH_SECONDS_BELOW)
		scale = 6;
	else if (whole < EPOCH_MILLIS_BELOW)
		scale = 3;
	else if (whole < EPOCH_MICROS_BELOW)
		scale = 0;
	else
		scale = -3;
	return decimal_scaled(text, len, scale, us) != DECIMAL_OVERFLOW;
}
