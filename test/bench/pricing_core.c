/*
 * How many prices per second the C core makes on one core, beside a plain loop
 * of the same multiplications. Built and run by test/bench/pricing.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "pricing/price.h"

#define REQUESTS	4096
#define ROUNDS		2000

static const char *const models[] = {
	"claude-3-5-sonnet-20241022", "gpt-4o", "gpt-4o-mini", "claude-3-opus-20240229", "gemini-2.5-pro", "gpt-5",
	"claude-sonnet-4-5", "mistral-large-latest", "grok-4", "gpt-4.1", "claude-haiku-4-5", "gpt-3.5-turbo"
};
#define MODELS	(sizeof(models) / sizeof(models[0]))

static struct price_request requests[REQUESTS];
static int64_t rates[REQUESTS][3];

static double
now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double) t.tv_sec + (double) t.tv_nsec / 1e9;
}

int
main(void)
{
	const struct price_catalogue *cat = price_shipped_catalogue();
	struct price_match matches[MODELS];
	struct price_cost cost;
	uint64_t	sum = 0;
	double		start;
	double		whole,
				matched,
				plain;
	const double n = (double) REQUESTS * ROUNDS;

	for (size_t i = 0; i < MODELS; i++)
		if (price_resolve(cat, (struct price_text) {0}, (struct price_text) {models[i], strlen(models[i])},
						  (struct price_text) {0}, &matches[i]) != PRICE_PRICED)
			return 1;
	for (uint64_t i = 0; i < REQUESTS; i++)
	{
		const char *m = models[i % MODELS];

		requests[i] = (struct price_request) {
			.model = {m, strlen(m)},
			.at_us = INT64_C(1760000000000000),
			.usage = {.input = (int64_t) (i * 7919 % 20000),.cache_read = (int64_t) (i * 31 % 9000),.output = (int64_t) (i * 104729 % 4000)},
		};
		rates[i][0] = (int64_t) (i % 7 + 1) * 500000000000;
		rates[i][1] = rates[i][0] / 10;
		rates[i][2] = rates[i][0] * 5;
	}

	start = now();
	for (int r = 0; r < ROUNDS; r++)
		for (size_t i = 0; i < REQUESTS; i++)
			if (price_request_cost(cat, &requests[i], &cost) == PRICE_PRICED)
				sum += (uint64_t) cost.total_pico;
	whole = now() - start;

	start = now();
	for (int r = 0; r < ROUNDS; r++)
		for (size_t i = 0; i < REQUESTS; i++)
			if (price_resolved_cost(cat, &matches[i % MODELS], &requests[i], &cost, NULL) == PRICE_PRICED)
				sum += (uint64_t) cost.total_pico;
	matched = now() - start;

	start = now();
	for (int r = 0; r < ROUNDS; r++)
		for (size_t i = 0; i < REQUESTS; i++)
		{
			const struct price_usage *u = &requests[i].usage;
			uint64_t	pico = ((uint64_t) u->input * (uint64_t) rates[i][0] + 500000) / 1000000 +
				((uint64_t) u->cache_read * (uint64_t) rates[i][1] + 500000) / 1000000 +
				((uint64_t) u->output * (uint64_t) rates[i][2] + 500000) / 1000000;

			__asm__ volatile("" : "+r"(pico));
			sum += pico;
		}
	plain = now() - start;

	printf("core, name to cost       %6.1f M/s  %6.1f ns\n", n / whole / 1e6, whole / n * 1e9);
	printf("core, matched name       %6.1f M/s  %6.1f ns\n", n / matched / 1e6, matched / n * 1e9);
	printf("plain multiplications    %6.1f M/s  %6.1f ns\n", n / plain / 1e6, plain / n * 1e9);
	printf("ratio to plain           %6.1f x from the name, %.1f x once matched\n", whole / plain, matched / plain);
	printf("checksum %" PRIu64 "\n", sum);
	return 0;
}
