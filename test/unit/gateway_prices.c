/*
 * The prices in effect, replaced while threads price with them.
 */
#include <pthread.h>
#include <stdlib.h>

#include "gateway/prices.h"
#include "test/unit/tap.h"

#define THREADS		4
#define REPLACES	300

static struct prices prices;
static _Atomic bool stop;

/* A catalogue with one model, at a given rate. */
static struct catalogue *
catalogue(int64_t usd_mtok)
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
	return catalogue_new(l);
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

/* Price until told to stop; every cost must be of one whole catalogue. */
static void *
work(void *arg)
{
	long	   *bad = arg;

	while (!stop)
	{
		struct catalogue *c = prices_get(&prices);
		int32_t		id = 0;
		int64_t		cost = c ? cost_of_a_million(c->prices, &id) : 0;

		if (c != NULL && cost != (int64_t) (id - PRICE_FIRST_USER_ID) * INT64_C(1000000000000))
			(*bad)++;
		catalogue_release(c);
	}
	return NULL;
}

int
main(void)
{
	pthread_t	threads[THREADS];
	long		bad[THREADS] = {0};
	long		all_bad = 0;
	struct catalogue *old;
	struct catalogue *new;
	int32_t		id;

	prices_init(&prices);
	ok(prices_get(&prices) == NULL, "there are no prices to begin with");
	is_int(prices_version(&prices), CATALOGUE_NONE, "which is a version of its own");

	prices_replace(&prices, catalogue(1));
	old = prices_get(&prices);
	is_int(cost_of_a_million(old->prices, &id), INT64_C(1000000000000), "what is put there prices");
	is_int(prices_version(&prices), old->version, "under its version");
	prices_replace(&prices, catalogue(2));
	new = prices_get(&prices);
	is_int(cost_of_a_million(old->prices, &id), INT64_C(1000000000000), "the old one stays good for whoever has it");
	is_int(cost_of_a_million(new->prices, &id), INT64_C(2000000000000), "while others get the new one");
	ok(old->version != new->version, "whose version is another");
	catalogue_release(old);
	prices_replace(&prices, NULL);
	ok(prices_get(&prices) == NULL && prices_version(&prices) == CATALOGUE_NONE, "prices may go");
	is_int(cost_of_a_million(new->prices, &id), INT64_C(2000000000000), "but not under anyone's hands");
	catalogue_release(new);

	for (int i = 0; i < THREADS; i++)
		if (pthread_create(&threads[i], NULL, work, &bad[i]) != 0)
			abort();
	for (int i = 0; i < REPLACES; i++)
		prices_replace(&prices, i % 5 == 4 ? NULL : catalogue(1 + i % 7));
	stop = true;
	for (int i = 0; i < THREADS; i++)
	{
		pthread_join(threads[i], NULL);
		all_bad += bad[i];
	}
	is_int(all_bad, 0, "threads price with whole catalogues while they change");
	prices_free(&prices);
	return done_testing();
}
