/*
 * Agreement with genai-prices: the same usages, priced by both.
 *
 * Their arithmetic is floating point, so a difference up to one part in 10^9 is
 * none. Every other difference is explained below, or fails.
 */
#include <math.h>
#include <stdlib.h>

#include "test/unit/pricing_tap.h"

struct agreement
{
	const char *provider;
	const char *name;
	int64_t		at_us;
	struct price_usage usage;
	double		usd;
};

#include "test/unit/pricing_agreement_data.h"

#define N	(sizeof(agreements) / sizeof(agreements[0]))

static bool
same(double ours, double theirs)
{
	return fabs(ours - theirs) <= 1e-9 * fabs(theirs) + 1e-11;
}

/*
 * Why our cost differs from theirs, or NULL when it should not: and then by
 * exactly that much.
 *
 * One-hour cache writes of Anthropic's models on Bedrock and Vertex AI cost
 * twice input, as at Anthropic; genai-prices has no rate for them there and
 * takes that of five-minute writes (overrides.json, cache_write_1h_of_input).
 */
static const char *
explanation(const struct agreement *a, const struct price_cost *cost, const struct price_choice *choice)
{
	bool		cloud = strcmp(a->provider, "aws") == 0 || strcmp(a->provider, "google") == 0;
	double		hour = (double) choice->rate_atto[PRICE_CACHE_WRITE_1H];
	double		minutes = (double) choice->rate_atto[PRICE_CACHE_WRITE];
	double		difference = (double) a->usage.cache_write_1h * (hour - minutes) / 1e18;

	if (cloud && strstr(a->name, "claude") != NULL && a->usage.cache_write_1h > 0 &&
		same((double) cost->total_pico / 1e12 - difference, a->usd))
		return "one-hour cache writes on a cloud";
	return NULL;
}

int
main(void)
{
	const struct price_catalogue *cat = price_shipped_catalogue();
	size_t		agreed = 0;
	size_t		explained = 0;
	size_t		unexplained = 0;

	for (size_t i = 0; i < N; i++)
	{
		const struct agreement *a = &agreements[i];
		struct price_request request = {
			.provider = text_of(a->provider),
			.model = text_of(a->name),
			.at_us = a->at_us,
			.usage = a->usage,
		};
		struct price_match match;
		struct price_choice choice;
		struct price_cost cost = {0};
		enum price_status status = price_resolve(cat, request.provider, request.model, request.model_version, &match);
		double		usd;
		const char *why;

		if (status == PRICE_PRICED)
			status = price_resolved_cost(cat, &match, &request, &cost, &choice);
		usd = (double) cost.total_pico / 1e12;
		if (status == PRICE_PRICED && same(usd, a->usd))
		{
			agreed++;
			continue;
		}
		why = status == PRICE_PRICED ? explanation(a, &cost, &choice) : NULL;
		if (why != NULL)
		{
			explained++;
			continue;
		}
		unexplained++;
		printf("# %s %s at %" PRId64 ": ours %.12f (price %d, %s), theirs %.12f\n", a->provider, a->name, a->at_us,
			   usd, (int) cost.price_id, price_status_text(status), a->usd);
	}
	ok(N >= 3000, "%zu usages to compare", N);
	ok(unexplained == 0, "%zu agree, %zu differ for a known reason, %zu for none", agreed, explained, unexplained);
	return done_testing();
}
