/*
 * The arithmetic of pricing: rates to picodollars, rounding, tiers, fallbacks,
 * refusals. Costs are worked out by hand from the providers' price pages.
 */
#include <stdlib.h>

#include "test/unit/pricing_tap.h"

#define USD(x)	((int64_t) ((x) * 1e6 + 0.5) * 1000000)	/* dollars of at most six decimals */
#define RATE(x)	((int64_t) ((x) * 1e6 + 0.5) * 1000000)	/* USD per million tokens, likewise */

static enum price_status
price(const char *model, struct price_usage usage, const char *tier, struct price_cost *cost)
{
	struct price_request request = {
		.model = text_of(model),
		.service_tier = text_of(tier),
		.at_us = INT64_C(1760000000000000),
		.usage = usage,
	};

	return price_request_cost(price_shipped_catalogue(), &request, cost);
}

static void
total(const char *model, struct price_usage usage, const char *tier, int64_t pico, const char *name)
{
	struct price_cost cost;
	enum price_status status = price(model, usage, tier, &cost);

	if (status != PRICE_PRICED)
		ok(false, "%s: %s", name, price_status_text(status));
	else
		is_int(cost.total_pico, pico, name);
}

static void
refused(const char *model, struct price_usage usage, enum price_status expected, const char *name)
{
	struct price_cost cost;

	is_int(price(model, usage, NULL, &cost), expected, name);
	ok(cost.total_pico == 0 && cost.price_id == 0, "%s: no cost is left behind", name);
}

/* A catalogue of a test's own rows, in memory that lasts as long as the test. */
static const struct price_catalogue *
catalogue(const struct price_row *rows, size_t n)
{
	static char memory[65536] __attribute__((aligned(16)));
	static const struct price_row *list[16];

	if (n > 16 || price_catalogue_bytes(n, 0) > sizeof(memory))
		abort();
	for (size_t i = 0; i < n; i++)
		list[i] = &rows[i];
	return price_catalogue_build(memory, list, n, NULL, 0);
}

/* A price of acme's: always in effect, 1 USD per million in, 2 out. */
static struct price_row
row(int32_t id, const char *model)
{
	struct price_row r = {
		.id = id,
		.provider = PRICE_TEXT("acme"),
		.model = text_of(model),
		.tier = PRICE_TEXT("standard"),
		.context_inclusive = true,
		.from_us = PRICE_ALWAYS_FROM,
		.to_us = PRICE_ALWAYS_TO,
	};

	for (int i = 0; i < PRICE_RATES; i++)
		r.rate_atto[i] = PRICE_NO_RATE;
	r.rate_atto[PRICE_INPUT] = RATE(1);
	r.rate_atto[PRICE_OUTPUT] = RATE(2);
	return r;
}

static enum price_status
price_from(const struct price_catalogue *cat, const char *model, int64_t at_us, const char *tier,
		   struct price_usage usage, struct price_cost *cost)
{
	struct price_request request = {
		.provider = PRICE_TEXT("acme"),
		.model = text_of(model),
		.service_tier = text_of(tier),
		.at_us = at_us,
		.usage = usage,
	};

	return price_request_cost(cat, &request, cost);
}

static void
test_rates(void)
{
	struct price_usage million = {.input = 1000000, .output = 1000000};
	struct price_cost cost;

	total("claude-3-opus", million, NULL, USD(90), "claude-3-opus is 15 in, 75 out");
	total("claude-3-sonnet", million, NULL, USD(18), "claude-3-sonnet is 3 in, 15 out");
	total("claude-3-haiku", million, NULL, USD(1.5), "claude-3-haiku is 0.25 in, 1.25 out");
	total("gpt-4", million, NULL, USD(90), "gpt-4 is 30 in, 60 out");
	total("gpt-3.5-turbo", million, NULL, USD(2), "gpt-3.5-turbo is 0.5 in, 1.5 out");
	total("claude-3-opus", (struct price_usage) {0}, NULL, 0, "nothing used costs nothing");

	is_int(price("claude-3-5-sonnet", (struct price_usage) {
		.input = 1000, .cache_read = 20000, .cache_write = 4000, .cache_write_1h = 500,
			.output = 700, .reasoning = 300, .web_searches = 2
	}, NULL, &cost), PRICE_PRICED, "an Anthropic request with everything is priced");
	is_int(cost.input_pico, INT64_C(3000000000), "1,000 input at 3 USD/Mtok");
	is_int(cost.cache_read_pico, INT64_C(6000000000), "20,000 cache reads at 0.30");
	is_int(cost.cache_write_pico, INT64_C(18000000000), "4,000 five-minute writes at 3.75 and 500 one-hour writes at 6");
	is_int(cost.output_pico, INT64_C(10500000000), "700 output at 15; reasoning is part of it");
	is_int(cost.tool_pico, INT64_C(20000000000), "two web searches at 10 USD per thousand");
	is_int(cost.total_pico, INT64_C(57500000000), "the total is the sum of the parts");
	is_int(cost.flags, 0, "and nothing fell back");
}

static void
test_tiers(void)
{
	struct price_usage u = {.input = 1000000, .cache_read = 1000000, .output = 1000000};
	struct price_cost cost;
	struct price_usage edge = {.input = 100000, .cache_read = 60000, .cache_write = 39999, .cache_write_1h = 1};

	total("gpt-4o", u, NULL, USD(13.75), "standard tier");
	total("gpt-4o", u, "default", USD(13.75), "default is standard");
	total("gpt-4o", u, "batch", USD(6.875), "batch halves cached tokens too");
	total("gpt-4o", u, "PRIORITY", USD(23.375), "priority is 1.7 times, whatever its case");
	is_int(price("gpt-4o", u, "ultra", &cost), PRICE_PRICED, "an unknown tier is priced");
	is_int(cost.total_pico, USD(13.75), "at the standard rates");
	is_int(cost.flags, PRICE_FELL_TIER, "and says so");

	is_int(price("claude-sonnet-4-5", edge, NULL, &cost), PRICE_PRICED, "a prompt of exactly 200,000");
	is_int(cost.input_pico, USD(0.3), "pays the base rate: the tier is for more than 200,000");
	edge.cache_write_1h++;
	is_int(price("claude-sonnet-4-5", edge, NULL, &cost), PRICE_PRICED, "one more token, and a cached one at that");
	is_int(cost.input_pico, USD(0.6), "doubles the whole prompt's input");
	is_int(cost.cache_read_pico, USD(0.036), "its cache reads");
	is_int(cost.cache_write_pico, INT64_C(299992500000) + INT64_C(24000000), "and both kinds of cache writes (7.50 and 12)");
	is_int(price("claude-sonnet-4-5", edge, "batch", &cost), PRICE_PRICED, "batch and long context together");
	is_int(cost.input_pico, USD(0.3), "multiply");
}

static void
test_fallbacks(void)
{
	struct price_row rows[] = {row(1, "plain"), row(2, "write"), row(3, "free"), row(4, "embedding"), row(5, "thinker"), row(6, "metered"), row(7, "speech")};
	const struct price_catalogue *cat;
	struct price_cost cost;

	rows[1].rate_atto[PRICE_CACHE_WRITE] = RATE(1.25);
	rows[2].rate_atto[PRICE_INPUT] = 0;
	rows[2].rate_atto[PRICE_OUTPUT] = 0;
	rows[3].rate_atto[PRICE_OUTPUT] = PRICE_NO_RATE;
	rows[4].rate_atto[PRICE_REASONING] = RATE(8);
	rows[5].rate_atto[PRICE_PER_REQUEST] = 5 * PRICE_ATTO_PER_USD_KCALL;
	rows[6].rate_atto[PRICE_INPUT_AUDIO] = RATE(10);
	rows[6].rate_atto[PRICE_CACHE_READ] = RATE(0.5);
	cat = catalogue(rows, sizeof(rows) / sizeof(rows[0]));

	is_int(price_from(cat, "plain", 0, NULL, (struct price_usage) {.cache_read = 1000000,.cache_write = 1000000,
					  .cache_write_1h = 1000000}, &cost), PRICE_PRICED, "cached tokens of a model without cache rates");
	is_int(cost.total_pico, USD(3), "cost what input costs");
	is_int(cost.flags, PRICE_FELL_CACHE_READ | PRICE_FELL_CACHE_WRITE | PRICE_FELL_CACHE_WRITE_1H, "and each says so");
	is_int(price_from(cat, "write", 0, NULL, (struct price_usage) {.cache_write_1h = 1000000}, &cost), PRICE_PRICED,
		   "one-hour writes without a rate of their own");
	is_int(cost.cache_write_pico, USD(1.25), "cost what five-minute writes cost");
	is_int(cost.flags, PRICE_FELL_CACHE_WRITE_1H, "and say so");
	is_int(price_from(cat, "free", 0, NULL, (struct price_usage) {.input = 5,.output = 5}, &cost), PRICE_PRICED, "free is priced");
	is_int(cost.total_pico, 0, "at zero");
	is_int(cost.price_id, 3, "with a price to name");
	is_int(price_from(cat, "embedding", 0, NULL, (struct price_usage) {.input = 1000000}, &cost), PRICE_PRICED,
		   "no output rate is no harm without output");
	is_int(price_from(cat, "embedding", 0, NULL, (struct price_usage) {.input = 1,.output = 1}, &cost),
		   PRICE_NO_RATE_FOR_USE, "with output there is no cost");
	is_int(price_from(cat, "thinker", 0, NULL, (struct price_usage) {.output = 3000000,.reasoning = 1000000}, &cost),
		   PRICE_PRICED, "reasoning may have a rate of its own");
	is_int(cost.output_pico, USD(12), "for its share of the output");
	is_int(price_from(cat, "metered", 0, "batch", (struct price_usage) {.input = 1000000,.web_searches = 1}, &cost),
		   PRICE_PRICED, "a charge per request");
	is_int(cost.tool_pico, USD(0.005), "is charged once");
	is_int(cost.flags, PRICE_FELL_TOOL | PRICE_FELL_TIER, "and a search without a price says so");
	is_int(price_from(cat, "speech", 0, NULL, (struct price_usage) {.input = 2000000,.audio_of_input = 1000000,
					  .cache_read = 2000000,.audio_of_cache_read = 1000000}, &cost), PRICE_PRICED, "audio in the prompt");
	is_int(cost.input_pico, USD(11), "has its own rate");
	is_int(cost.cache_read_pico, USD(1), "and cached audio that of the cache when it has none");
}

static void
test_time(void)
{
	const int64_t hour = INT64_C(3600000000);
	struct price_row rows[] = {row(1, "m"), row(2, "m"), row(3, "m")};
	const struct price_catalogue *cat;
	struct price_usage u = {.input = 1000000};
	struct price_cost cost;

	rows[0].to_us = 100 * hour;
	rows[1].from_us = 100 * hour;
	rows[1].to_us = 200 * hour;
	rows[1].rate_atto[PRICE_INPUT] = RATE(2);
	rows[2].from_us = 100 * hour;
	rows[2].to_us = 200 * hour;
	rows[2].window_from_min = 16 * 60 + 30;
	rows[2].window_to_min = 30;
	rows[2].rate_atto[PRICE_INPUT] = RATE(0.5);
	cat = catalogue(rows, 3);

	is_int(price_from(cat, "m", 100 * hour - 1, NULL, u, &cost), PRICE_PRICED, "the last moment of the old price");
	is_int(cost.price_id, 1, "has the old price");
	is_int(price_from(cat, "m", 100 * hour, NULL, u, &cost), PRICE_PRICED, "the first moment of the new one");
	is_int(cost.price_id, 2, "has the new price");
	is_int(price_from(cat, "m", 112 * hour + hour / 2, NULL, u, &cost), PRICE_PRICED, "16:30 UTC");
	is_int(cost.price_id, 3, "is off peak");
	is_int(price_from(cat, "m", 120 * hour + hour / 2 - 1, NULL, u, &cost), PRICE_PRICED, "past midnight, before 00:30");
	is_int(cost.price_id, 3, "still is");
	is_int(price_from(cat, "m", 120 * hour + hour / 2, NULL, u, &cost), PRICE_PRICED, "00:30");
	is_int(cost.price_id, 2, "no longer");
	is_int(price_from(cat, "m", 200 * hour, NULL, u, &cost), PRICE_NO_PRICE_AT_TIME, "after the last price there is none");
	is_int(price_from(cat, "m", -30 * hour, NULL, u, &cost), PRICE_PRICED, "times before 1970 are times");
}

static void
test_modifiers(void)
{
	static const struct price_multiplier factors[] = {{PRICE_TEXT("batch"), 500000}, {PRICE_TEXT("us"), 1100000},
		{PRICE_TEXT("fast"), 6000000}};
	struct price_row rows[] = {row(1, "m"), row(2, "m")};
	const struct price_catalogue *cat;
	struct price_usage u = {.input = 1000000,.cache_read = 1000000,.web_searches = 1};
	struct price_cost cost;

	rows[0].n_multipliers = 3;
	rows[0].multipliers = factors;
	rows[0].rate_atto[PRICE_CACHE_READ] = RATE(0.1);
	rows[0].rate_atto[PRICE_WEB_SEARCH] = 10 * PRICE_ATTO_PER_USD_KCALL;
	rows[1].tier = PRICE_TEXT("flex");
	rows[1].rate_atto[PRICE_INPUT] = RATE(0.7);
	cat = catalogue(rows, 2);

	is_int(price_from(cat, "m", 0, "batch+us", u, &cost), PRICE_PRICED, "batch with US-only inference");
	is_int(cost.input_pico, USD(0.55), "multiplies both");
	is_int(cost.cache_read_pico, USD(0.055), "on cached tokens too");
	is_int(cost.tool_pico, USD(0.01), "but not on calls of tools");
	is_int(price_from(cat, "m", 0, "fast", u, &cost), PRICE_PRICED, "fast mode");
	is_int(cost.input_pico, USD(6), "is a multiplier like any other");
	is_int(price_from(cat, "m", 0, "standard+mars", u, &cost), PRICE_PRICED, "an unknown modifier");
	is_int(cost.flags, PRICE_FELL_MODIFIER, "is said to be ignored");
	is_int(price_from(cat, "m", 0, "flex", u, &cost), PRICE_PRICED, "a tier with rates of its own");
	is_int(cost.price_id, 2, "has its own price");
	is_int(cost.input_pico, USD(0.7), "and its own rates");
}

static void
test_exactness(void)
{
	struct price_row rows[] = {row(1, "third"), row(2, "dear")};
	const struct price_catalogue *cat;
	struct price_cost cost;

	rows[0].rate_atto[PRICE_INPUT] = 333333;
	rows[0].rate_atto[PRICE_OUTPUT] = 500000;
	rows[1].rate_atto[PRICE_INPUT] = INT64_MAX;
	rows[1].rate_atto[PRICE_OUTPUT] = INT64_MAX;
	cat = catalogue(rows, 2);

	is_int(price_from(cat, "third", 0, NULL, (struct price_usage) {.input = 3,.output = 1}, &cost), PRICE_PRICED, "tiny rates");
	is_int(cost.input_pico, 1, "999,999 millionths of a picodollar round to one");
	is_int(cost.output_pico, 1, "half a picodollar rounds up");
	is_int(price_from(cat, "third", 0, NULL, (struct price_usage) {.input = 1}, &cost), PRICE_PRICED, "a third");
	is_int(cost.input_pico, 0, "of a picodollar rounds down");
	is_int(price_from(cat, "third", 0, NULL, (struct price_usage) {.input = INT64_MAX}, &cost), PRICE_PRICED, "9.2e18 tokens");
	ok(cost.input_pico == (int64_t) (((unsigned __int128) INT64_MAX * 333333 + 500000) / 1000000), "are multiplied in 128 bits");
	is_int(price_from(cat, "dear", 0, NULL, (struct price_usage) {.input = INT64_MAX}, &cost), PRICE_OVERFLOW, "too much for a bigint");
	is_int(price_from(cat, "dear", 0, NULL, (struct price_usage) {.input = INT64_C(700000),.output = INT64_C(700000)}, &cost),
		   PRICE_OVERFLOW, "a total too much for a bigint");
	is_int(cost.total_pico, 0, "leaves nothing behind");
}

static void
test_refusals(void)
{
	struct price_cost cost;
	struct price_request nameless = {.usage = {.input = 1}};

	refused("no-such-model", (struct price_usage) {.input = 1}, PRICE_UNKNOWN_MODEL, "an unknown model");
	refused("gpt-4", (struct price_usage) {.input = -1}, PRICE_NEGATIVE_TOKENS, "negative input");
	refused("gpt-4", (struct price_usage) {.web_searches = INT64_MIN}, PRICE_NEGATIVE_TOKENS, "negative searches");
	refused("gpt-4", (struct price_usage) {.output = 1,.reasoning = 2}, PRICE_IMPOSSIBLE_USAGE, "more reasoning than output");
	refused("gpt-4", (struct price_usage) {.input = 1,.audio_of_input = 1,.image_of_input = 1}, PRICE_IMPOSSIBLE_USAGE,
			"more audio and images than input");
	is_int(price_request_cost(price_shipped_catalogue(), &nameless, &cost), PRICE_NO_MODEL, "no model at all");
}

int
main(void)
{
	test_rates();
	test_tiers();
	test_fallbacks();
	test_time();
	test_modifiers();
	test_exactness();
	test_refusals();
	return done_testing();
}
