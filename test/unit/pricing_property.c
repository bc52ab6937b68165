/*
 * Properties that hold for every price, usage and name: a seeded generator, so
 * that a failure can be looked at again.
 */
#include <stdlib.h>

#include "test/unit/pricing_tap.h"
#include "pricing/price_parse.h"

#define ROUNDS	20000

static uint64_t state = 88172645463325252u;

static uint64_t
random_below(uint64_t n)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return state % n;
}

static int64_t
tokens(void)
{
	switch (random_below(4))
	{
		case 0:
			return 0;
		case 1:
			return (int64_t) random_below(100);
		case 2:
			return (int64_t) random_below(150000);
		default:
			return (int64_t) random_below(2000000);
	}
}

static struct price_usage
usage(void)
{
	struct price_usage u = {.input = tokens(),.cache_read = tokens(),.cache_write = tokens(),
	.cache_write_1h = tokens(),.output = tokens()};

	if (random_below(3) == 0)
	{
		u.reasoning = (int64_t) random_below((uint64_t) u.output + 1);
		u.audio_of_input = (int64_t) random_below((uint64_t) u.input + 1);
		u.image_of_input = (int64_t) random_below((uint64_t) (u.input - u.audio_of_input) + 1);
		u.audio_of_cache_read = (int64_t) random_below((uint64_t) u.cache_read + 1);
		u.audio_of_output = (int64_t) random_below((uint64_t) (u.output - u.reasoning) + 1);
		u.web_searches = (int64_t) random_below(5);
		u.file_searches = (int64_t) random_below(5);
	}
	return u;
}

static const char *const tiers[] = {NULL, "standard", "batch", "flex", "priority", "batch+us", "nothing+like+this"};

/* A request for a random shipped price, at a time it is in effect. */
static struct price_request
request(void)
{
	size_t		n;
	const struct price_row *rows = price_shipped_rows(&n);
	const struct price_row *row = &rows[random_below(n)];
	struct price_request r = {
		.provider = row->provider,
		.model = row->model,
		.service_tier = text_of(tiers[random_below(sizeof(tiers) / sizeof(tiers[0]))]),
		.at_us = row->from_us != PRICE_ALWAYS_FROM ? row->from_us : row->to_us != PRICE_ALWAYS_TO ? row->to_us - 1 : INT64_C(1760000000000000),
		.usage = usage(),
	};

	return r;
}

static enum price_status
price(const struct price_request *r, struct price_cost *cost)
{
	return price_request_cost(price_shipped_catalogue(), r, cost);
}

/* The long way through the arithmetic, which explain_cost() takes. */
static enum price_status
price_explained(const struct price_request *r, struct price_cost *cost, struct price_choice *choice)
{
	struct price_match match;
	enum price_status status = price_resolve(price_shipped_catalogue(), r->provider, r->model, r->model_version, &match);

	memset(cost, 0, sizeof(*cost));
	return status != PRICE_PRICED ? status : price_resolved_cost(price_shipped_catalogue(), &match, r, cost, choice);
}

static void
test_costs(void)
{
	int			priced = 0;
	int			sums = 0;
	int			same = 0;
	int			exact = 0;
	int			monotone = 0;

	for (int i = 0; i < ROUNDS; i++)
	{
		struct price_request r = request();
		struct price_request more;
		struct price_cost c,
					e,
					m;
		struct price_choice choice = {0};
		enum price_status status = price(&r, &c);
		unsigned __int128 atto = 0;

		if (price_explained(&r, &e, &choice) == status && memcmp(&c, &e, sizeof(c)) == 0)
			same++;
		if (status != PRICE_PRICED)
			continue;
		priced++;
		sums += c.total_pico == c.input_pico + c.cache_read_pico + c.cache_write_pico + c.output_pico + c.tool_pico &&
			c.input_pico >= 0 && c.cache_read_pico >= 0 && c.cache_write_pico >= 0 && c.output_pico >= 0 && c.tool_pico >= 0;

		/* units times rates times multiplier, to within half a picodollar a part */
		if (choice.multiplier_ppm == 1000000)
		{
			for (int k = 0; k < PRICE_RATES; k++)
				if (choice.units[k] > 0)
					atto += (unsigned __int128) choice.units[k] * (unsigned __int128) choice.rate_atto[k];
			exact += (__int128) atto - (__int128) c.total_pico * 1000000 <= 5 * 500000 &&
				(__int128) c.total_pico * 1000000 - (__int128) atto <= 5 * 500000;
		}
		else
			exact++;

		/* another token never makes it cheaper, at the same tier of prompts or the next */
		more = r;
		switch (random_below(5))
		{
			case 0:
				more.usage.input++;
				break;
			case 1:
				more.usage.cache_read++;
				break;
			case 2:
				more.usage.cache_write++;
				break;
			case 3:
				more.usage.cache_write_1h++;
				break;
			default:
				more.usage.output++;
		}
		status = price(&more, &m);
		monotone += status == PRICE_NO_RATE_FOR_USE || (status == PRICE_PRICED && m.total_pico >= c.total_pico);
	}
	ok(priced > ROUNDS / 2, "%d of %d random requests are priced", priced, ROUNDS);
	is_int(sums, priced, "the total is the sum of the parts");
	is_int(same, ROUNDS, "the short way and the explained way agree to the bit");
	is_int(exact, priced, "a cost is units times rates, to within the rounding of its parts");
	is_int(monotone, priced, "one more token never costs less");
}

/* Below a prompt size where the price changes, two requests cost what one does. */
static void
test_additive(void)
{
	int			tried = 0;
	int			additive = 0;

	for (int i = 0; i < ROUNDS; i++)
	{
		struct price_request whole = request();
		struct price_request a = whole;
		struct price_request b = whole;
		struct price_usage *u = &whole.usage;
		struct price_cost cw,
					ca,
					cb;
		int64_t		difference;

		*u = (struct price_usage) {.input = tokens() / 64,.cache_read = tokens() / 64,.cache_write = tokens() / 64,
			.cache_write_1h = tokens() / 64,.output = tokens()};
		a.usage = (struct price_usage) {.input = (int64_t) random_below((uint64_t) u->input + 1),
			.cache_read = (int64_t) random_below((uint64_t) u->cache_read + 1),
			.cache_write = (int64_t) random_below((uint64_t) u->cache_write + 1),
			.cache_write_1h = (int64_t) random_below((uint64_t) u->cache_write_1h + 1),
			.output = (int64_t) random_below((uint64_t) u->output + 1)};
		b.usage = (struct price_usage) {.input = u->input - a.usage.input,.cache_read = u->cache_read - a.usage.cache_read,
			.cache_write = u->cache_write - a.usage.cache_write,.cache_write_1h = u->cache_write_1h - a.usage.cache_write_1h,
			.output = u->output - a.usage.output};
		if (price(&whole, &cw) != PRICE_PRICED || price(&a, &ca) != PRICE_PRICED || price(&b, &cb) != PRICE_PRICED)
			continue;
		tried++;
		/* a charge per request is charged to both halves */
		difference = (cw.total_pico - cw.tool_pico) - (ca.total_pico - ca.tool_pico) - (cb.total_pico - cb.tool_pico);
		additive += difference >= -6 && difference <= 6;
	}
	ok(tried > ROUNDS / 2, "%d usages were split", tried);
	is_int(additive, tried, "the halves cost what the whole does, to within the rounding");
}

/* Names with anything around them: no crash, and what is found is found again by
 * the name it was found under. */
static void
test_names(void)
{
	static const char *const before[] = {
		"", "", "", "anthropic/", "openai/", "bedrock/", "us.", "global.anthropic.", "arn:aws:bedrock:eu-west-1::foundation-model/", "models/",
		"ft:", "azure/", "openrouter/", "\xff", " ", "/", "meta.", "projects/p/locations/l/publishers/google/models/", "bedrock/us-east-1/"
	};
	static const char *const after[] = {
		"", "", "", "-20241022", "-2024-08-06", "-latest", "@20250101", ":0", "-v1:0", "[1m]", "-001", "-mini", "9", "-9", "/", ":", "-20241399", " "
	};
	int			found = 0;
	int			again = 0;
	int			unknown = 0;
	size_t		n;
	const struct price_row *rows = price_shipped_rows(&n);

	for (int i = 0; i < ROUNDS; i++)
	{
		const struct price_row *row = &rows[random_below(n)];
		char		name[600];
		struct price_request r = {.usage = {.input = 1},.at_us = INT64_C(1760000000000000)};
		struct price_cost c;
		struct price_choice choice = {0};

		snprintf(name, sizeof(name), "%s%.*s%s%s", before[random_below(sizeof(before) / sizeof(before[0]))], (int) row->model.len,
				 row->model.p, after[random_below(sizeof(after) / sizeof(after[0]))], after[random_below(sizeof(after) / sizeof(after[0]))]);
		if (random_below(8) == 0)
			name[random_below(strlen(name) + 1)] = '\0';
		r.model = text_of(name);
		r.provider = random_below(3) == 0 ? row->provider : (struct price_text) {NULL, 0};
		if (price_explained(&r, &c, &choice) != PRICE_PRICED)
		{
			unknown++;
			continue;
		}
		found++;
		r.provider = choice.row->provider;
		r.model = choice.row->model;
		again += choice.row->match != PRICE_MATCH_EXACT ||
			(price(&r, &c) == PRICE_PRICED && c.price_id == choice.row->id);
	}
	ok(found > ROUNDS / 10 && unknown > ROUNDS / 10, "%d of %d decorated names are known, %d are not", found, ROUNDS, unknown);
	is_int(again, found, "and lead to the price of the name they lead to");
}

int
main(void)
{
	test_costs();
	test_additive();
	test_names();
	return done_testing();
}
