/*
 * The current catalogue, replaced while threads price with it.
 */
#include <pthread.h>
#include <stdlib.h>

#include "test/unit/pricing_tap.h"
#include "pricing/price_current.h"

#define THREADS		4
#define REPLACES	300

/* A catalogue with one model, at a given rate. */
static struct price_loader *
loader(int64_t usd_mtok)
{
	struct price_loader *l = price_loader_new();
	char		line[PRICE_MAX_LINE_BYTES];
	struct price_row row = {.id = PRICE_FIRST_USER_ID + (int32_t) usd_mtok,.precedence = 100,.model = PRICE_TEXT("m"),
		.tier = PRICE_TEXT("standard"),.context_inclusive = true,.from_us = PRICE_ALWAYS_FROM,.to_us = PRICE_ALWAYS_TO};

	for (int i = 0; i < PRICE_RATES; i++)
		row.rate_atto[i] = PRICE_NO_RATE;
	row.rate_atto[PRICE_INPUT] = usd_mtok * PRICE_ATTO_PER_USD_MTOK;
	if (!price_loader_add(l, (struct price_text) {line, price_write_row(&row, line)}))
		abort();
	return l;
}

static int64_t
cost_of_a_million(const struct price_catalogue *cat, int32_t *id)
{
	struct price_request r = {.model = PRICE_TEXT("m"),.usage = {.input = 1000000}};
	struct price_cost c;

	if (price_request_cost(cat, &r, &c) != PRICE_PRICED)
		return -1;
	*id = c.price_id;
	return c.total_pico;
}

static volatile bool stop;

/* Price until told to stop; every cost must be of one whole catalogue. */
static void *
work(void *arg)
{
	long	   *bad = arg;

	while (!stop)
	{
		const struct price_catalogue *cat = price_current_acquire();
		int32_t		id = 0;
		int64_t		cost = cost_of_a_million(cat, &id);

		if (cost != (int64_t) (id - PRICE_FIRST_USER_ID) * INT64_C(1000000000000) && cost != -1)
			(*bad)++;
		price_current_release(cat);
	}
	return NULL;
}

int
main(void)
{
	pthread_t	threads[THREADS];
	long		bad[THREADS] = {0};
	long		all_bad = 0;
	const struct price_catalogue *cat = price_current_acquire();
	const struct price_catalogue *old;
	int32_t		id;

	ok(cat == price_shipped_catalogue(), "the shipped catalogue is current to begin with");
	is_int(price_current_version(), 0, "under version 0");
	price_current_release(cat);
	ok(!price_current_replace(price_loader_new(), 1), "an empty catalogue does not become current");
	ok(price_current_acquire() == price_shipped_catalogue(), "and changes nothing");

	ok(price_current_replace(loader(1), 11), "a loaded one does");
	is_int(price_current_version(), 11, "under its version");
	old = price_current_acquire();
	is_int(cost_of_a_million(old, &id), INT64_C(1000000000000), "and prices");
	ok(price_current_replace(loader(2), 12), "another takes its place");
	is_int(cost_of_a_million(old, &id), INT64_C(1000000000000), "the old one stays good for whoever has it");
	cat = price_current_acquire();
	is_int(cost_of_a_million(cat, &id), INT64_C(2000000000000), "while others get the new one");
	price_current_release(old);
	price_current_release(cat);

	for (int i = 0; i < THREADS; i++)
		if (pthread_create(&threads[i], NULL, work, &bad[i]) != 0)
			abort();
	for (int i = 0; i < REPLACES; i++)
		if (!price_current_replace(loader(1 + i % 7), i))
			all_bad++;
	stop = true;
	for (int i = 0; i < THREADS; i++)
	{
		pthread_join(threads[i], NULL);
		all_bad += bad[i];
	}
	is_int(all_bad, 0, "threads price with whole catalogues while they change");
	return done_testing();
}
