/*
 * Partitions for a unit; see partitions.h.
 */
#include "gateway/partitions.h"

#include <stdio.h>
#include <stdlib.h>

#define US_PER_SECOND		INT64_C(1000000)
#define SECONDS_PER_HOUR	3600
/* Partitions begin on full hours; one transaction makes at most these. */
#define PARTITION_RUN_HOURS	(7 * 24)

static int
compare_hours(const void *pa, const void *pb)
{
	int64_t		a = *(const int64_t *) pa;
	int64_t		b = *(const int64_t *) pb;

	return (a > b) - (a < b);
}

/* Makes the partitions for these hours, in a transaction of its own. */
static enum pgerror_class
make_run(struct pgsession *s, int64_t first_hour, int64_t last_hour, struct pgfailure *failure)
{
	char		from[24];
	char		to[24];
	const char *params[] = {from, to};
	PGresult   *result;

	snprintf(from, sizeof(from), "%lld", (long long) (first_hour * SECONDS_PER_HOUR));
	snprintf(to, sizeof(to), "%lld", (long long) (last_hour * SECONDS_PER_HOUR));
	result = pgsession_exec(s, "SELECT ccproxy.ensure_partitions(pg_catalog.to_timestamp($1::float8),"
							" pg_catalog.to_timestamp($2::float8))", 2, params, failure);
	if (result == NULL)
		return failure->class;
	PQclear(result);
	return PGERROR_NONE;
}

/*
 * Run of hours by run of hours: a batch with one old event must not make all that
 * lies between.
 */
enum pgerror_class
partitions_make(struct pgsession *s, struct batch *b, struct pgfailure *failure)
{
	const struct batch_unit *unit = batch_current(b);
	size_t		n = unit->count;
	int64_t    *hours = malloc(n * sizeof(*hours));
	enum pgerror_class class = PGERROR_NONE;

	if (hours == NULL)
	{
		*failure = (struct pgfailure) {.class = PGERROR_TRANSIENT};
		pgsession_message(failure, "out of memory");
		return failure->class;
	}
	for (size_t i = 0; i < n; i++)
		hours[i] = b->items[unit->first + i].event->ts_us / (SECONDS_PER_HOUR * US_PER_SECOND);
	qsort(hours, n, sizeof(*hours), compare_hours);
	for (size_t i = 0; i < n && class == PGERROR_NONE; i++)
	{
		size_t		first = i;

		while (i + 1 < n && hours[i + 1] <= hours[i] + 1 && hours[i + 1] < hours[first] + PARTITION_RUN_HOURS)
			i++;
		class = make_run(s, hours[first], hours[i], failure);
	}
	free(hours);
	return class;
}
