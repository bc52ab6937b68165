/*
 * The arithmetic: from a matched name, a time and a usage to picodollars.
 *
 * Pure functions over a read-only catalogue; any thread. Nothing here rounds
 * but round_to_pico(), once per part of the cost.
 */
#include "pricing/price_index.h"

typedef unsigned __int128 uint128;

#define ATTO_PER_PICO	1000000
#define PPM				1000000
#define MAX_MODIFIERS	3		/* of a service tier: 'batch+us' has one */
#define US_PER_MINUTE	INT64_C(60000000)
#define MINUTES_PER_DAY	1440

/* A product of multipliers, in lowest terms. */
struct fraction
{
	uint64_t	num;
	uint64_t	den;
};

/* What a service tier's text says, in lower case. */
struct tier
{
	char		buffer[PRICE_NAME_BUFFER];
	struct price_text name;
	struct price_text modifier[MAX_MODIFIERS];
	int			n_modifiers;
	bool		too_many;
	bool		standard;		/* the standard tier and no modifiers */
};

static const char *const standard_names[] = {
	"standard", "default", "auto", "standard_only", "on_demand", "on-demand", "ondemand", NULL
};

static void
parse_tier(struct price_text text, struct tier *tier)
{
	struct price_text rest;

	tier->name = PRICE_TEXT("standard");
	tier->n_modifiers = 0;
	tier->too_many = false;
	tier->standard = true;
	if (!price_lower(text, tier->buffer, &rest))
		return;
	for (bool first = true; rest.len > 0 || first; first = false)
	{
		const char *plus = rest.len > 0 ? memchr(rest.p, '+', rest.len) : NULL;
		struct price_text word = {rest.p, plus != NULL ? (size_t) (plus - rest.p) : rest.len};

		rest = plus != NULL ? (struct price_text) {plus + 1, rest.len - word.len - 1} : (struct price_text) {NULL, 0};
		if (word.len == 0)
			continue;
		if (first)
		{
			const char *const *s = standard_names;

			while (*s != NULL && !price_text_equal(word, (struct price_text) {*s, strlen(*s)}))
				s++;
			if (*s == NULL)
				tier->name = word;
			if (price_text_equal(word, PRICE_TEXT("batches")))
				tier->name = PRICE_TEXT("batch");
		}
		else if (tier->n_modifiers < MAX_MODIFIERS)
			tier->modifier[tier->n_modifiers++] = word;
		else
			tier->too_many = true;
	}
	tier->standard = tier->n_modifiers == 0 && price_text_equal(tier->name, PRICE_TEXT("standard"));
}

static bool
in_window(const struct price_row *row, int64_t at_us)
{
	int64_t		minute;

	if (row->window_from_min == row->window_to_min)
		return true;
	minute = at_us / US_PER_MINUTE - (at_us % US_PER_MINUTE < 0);
	minute = (minute % MINUTES_PER_DAY + MINUTES_PER_DAY) % MINUTES_PER_DAY;
	if (row->window_from_min < row->window_to_min)
		return minute >= row->window_from_min && minute < row->window_to_min;
	return minute >= row->window_from_min || minute < row->window_to_min;
}

/* Is a the better row of two that both apply? Tier, then window, then prompt
 * size, then the later start, then the later id. */
static bool
better_row(const struct price_row *a, const struct price_row *b, struct price_text tier)
{
	bool		a_tier = price_text_equal(a->tier, tier);
	bool		b_tier = price_text_equal(b->tier, tier);
	bool		a_window = a->window_from_min != a->window_to_min;
	bool		b_window = b->window_from_min != b->window_to_min;

	if (a_tier != b_tier)
		return a_tier;
	if (a_window != b_window)
		return a_window;
	if (a->context_from != b->context_from)
		return a->context_from > b->context_from;
	if (a->context_inclusive != b->context_inclusive)
		return !a->context_inclusive;
	if (a->from_us != b->from_us)
		return a->from_us > b->from_us;
	return a->id > b->id;
}

static const struct price_row *
choose_row(const struct price_group *group, struct price_text tier, int64_t at_us, int64_t prompt_tokens)
{
	const struct price_row *best = NULL;

	if (group->plain)
		return group->rows[0];	/* any tier may fall back to it */
	for (uint32_t i = 0; i < group->n_rows; i++)
	{
		const struct price_row *row = group->rows[i];

		if (at_us < row->from_us || at_us >= row->to_us)
			continue;
		if (prompt_tokens < row->context_from ||
			(prompt_tokens == row->context_from && !row->context_inclusive))
			continue;
		if (!price_text_equal(row->tier, tier) && !price_text_equal(row->tier, PRICE_TEXT("standard")))
			continue;
		if (!in_window(row, at_us))
			continue;
		if (best == NULL || better_row(row, best, tier))
			best = row;
	}
	return best;
}

static uint64_t
gcd(uint64_t a, uint64_t b)
{
	while (b != 0)
	{
		uint64_t	r = a % b;

		a = b;
		b = r;
	}
	return a;
}

/* Multiply by a named multiplier of the row; false when it has none so named.
 * At most 1 + MAX_MODIFIERS are applied, and the importers keep each below a
 * thousand, so the reduced terms stay below 2^64. */
static bool
multiply(const struct price_row *row, struct price_text name, struct fraction *f)
{
	for (int i = 0; i < row->n_multipliers; i++)
	{
		uint64_t	ppm;
		uint64_t	g;

		if (!price_text_equal(row->multipliers[i].name, name))
			continue;
		ppm = (uint64_t) row->multipliers[i].ppm;
		g = gcd(ppm, PPM);
		if (__builtin_mul_overflow(f->num, ppm / g, &f->num) ||
			__builtin_mul_overflow(f->den, PPM / g, &f->den))
			*f = (struct fraction) {UINT64_MAX, 1};	/* ends as PRICE_OVERFLOW */
		return true;
	}
	return false;
}

/* The multipliers a tier brings to the row chosen for it. */
static struct fraction
multipliers_for(const struct price_row *row, const struct tier *tier, uint32_t *flags)
{
	struct fraction f = {1, 1};

	if (!price_text_equal(row->tier, tier->name) && !multiply(row, tier->name, &f))
		*flags |= PRICE_FELL_TIER;
	for (int i = 0; i < tier->n_modifiers; i++)
		if (!multiply(row, tier->modifier[i], &f))
			*flags |= PRICE_FELL_MODIFIER;
	if (tier->too_many)
		*flags |= PRICE_FELL_MODIFIER;
	return f;
}

/* Attodollars times the multipliers, to picodollars, half away from zero: what
 * is too much for one word, or multiplied. */
static bool __attribute__((noinline))
round_large(uint128 atto, struct fraction f, int64_t *pico)
{
	uint128		den = (uint128) f.den * ATTO_PER_PICO;
	uint128		rounded;

	if (__builtin_mul_overflow(atto, (uint128) f.num, &atto) ||
		__builtin_add_overflow(atto, den / 2, &atto))
		return false;
	rounded = atto / den;
	if (rounded > INT64_MAX)
		return false;
	*pico = (int64_t) rounded;
	return true;
}

/* The same; most costs are this short. */
static inline bool
round_to_pico(uint128 atto, struct fraction f, int64_t *pico)
{
	if (f.num != 1 || f.den != 1 || atto > UINT64_MAX - ATTO_PER_PICO / 2)
		return round_large(atto, f, pico);
	*pico = (int64_t) (((uint64_t) atto + ATTO_PER_PICO / 2) / ATTO_PER_PICO);
	return true;
}

/* Rates after falling back, where each came from, and units per rate. */
struct bill
{
	int64_t		units[PRICE_RATES];
	int64_t		rate[PRICE_RATES];
	uint8_t		from[PRICE_RATES];
	uint32_t	flags;
	bool		missing;		/* tokens without any rate */
};

/* Take a bucket's rate from the row, or from the rate it falls back to, which
 * has been settled before. Tokens of no rate at all make the bill impossible. */
static inline void
charge(struct bill *bill, const struct price_row *row, enum price_rate rate, int64_t units,
	   enum price_rate fallback, uint32_t flag)
{
	bill->units[rate] = units;
	bill->rate[rate] = row->rate_atto[rate];
	bill->from[rate] = (uint8_t) rate;
	if (bill->rate[rate] == PRICE_NO_RATE && fallback != rate)
	{
		bill->rate[rate] = bill->rate[fallback];
		bill->from[rate] = bill->from[fallback];
		if (units > 0)
			bill->flags |= flag;
	}
	if (bill->rate[rate] == PRICE_NO_RATE && units > 0)
		bill->missing = true;
}

/* A call without a rate costs nothing, and says so. */
static inline void
charge_calls(struct bill *bill, const struct price_row *row, enum price_rate rate, int64_t calls, uint32_t flag)
{
	bool		has = row->rate_atto[rate] != PRICE_NO_RATE;

	bill->units[rate] = calls;
	bill->rate[rate] = has ? row->rate_atto[rate] : 0;
	bill->from[rate] = (uint8_t) rate;
	if (!has && calls > 0)
		bill->flags |= flag;
}

static void
make_bill(const struct price_row *row, const struct price_usage *u, struct bill *bill)
{
	bill->flags = 0;
	bill->missing = false;
	charge(bill, row, PRICE_INPUT, u->input - u->audio_of_input - u->image_of_input, PRICE_INPUT, 0);
	charge(bill, row, PRICE_INPUT_AUDIO, u->audio_of_input, PRICE_INPUT, 0);
	charge(bill, row, PRICE_INPUT_IMAGE, u->image_of_input, PRICE_INPUT, 0);
	charge(bill, row, PRICE_CACHE_READ, u->cache_read - u->audio_of_cache_read, PRICE_INPUT, PRICE_FELL_CACHE_READ);
	charge(bill, row, PRICE_CACHE_READ_AUDIO, u->audio_of_cache_read, PRICE_CACHE_READ, 0);
	charge(bill, row, PRICE_CACHE_WRITE, u->cache_write, PRICE_INPUT, PRICE_FELL_CACHE_WRITE);
	charge(bill, row, PRICE_CACHE_WRITE_1H, u->cache_write_1h, PRICE_CACHE_WRITE, PRICE_FELL_CACHE_WRITE_1H);
	charge(bill, row, PRICE_OUTPUT, u->output - u->reasoning - u->audio_of_output - u->image_of_output, PRICE_OUTPUT, 0);
	charge(bill, row, PRICE_REASONING, u->reasoning, PRICE_OUTPUT, 0);
	charge(bill, row, PRICE_OUTPUT_AUDIO, u->audio_of_output, PRICE_OUTPUT, 0);
	charge(bill, row, PRICE_OUTPUT_IMAGE, u->image_of_output, PRICE_OUTPUT, 0);
	charge_calls(bill, row, PRICE_WEB_SEARCH, u->web_searches, PRICE_FELL_TOOL);
	charge_calls(bill, row, PRICE_FILE_SEARCH, u->file_searches, PRICE_FELL_TOOL);
	charge_calls(bill, row, PRICE_PER_REQUEST, row->rate_atto[PRICE_PER_REQUEST] != PRICE_NO_RATE, 0);
}

/* The sum of units * rate over some rates, as picodollars. Each product is
 * below 2^126, so four of them are checked as they are added. */
static bool
part(const struct bill *bill, const enum price_rate *rates, int n, struct fraction f, int64_t *pico)
{
	uint128		atto = 0;

	for (int i = 0; i < n; i++)
		if (__builtin_add_overflow(atto, (uint128) bill->units[rates[i]] * (uint128) bill->rate[rates[i]], &atto))
			return false;
	return round_to_pico(atto, f, pico);
}

static bool
add_up(const struct bill *bill, struct fraction f, struct price_cost *cost)
{
	static const enum price_rate input[] = {PRICE_INPUT, PRICE_INPUT_AUDIO, PRICE_INPUT_IMAGE};
	static const enum price_rate cache_read[] = {PRICE_CACHE_READ, PRICE_CACHE_READ_AUDIO};
	static const enum price_rate cache_write[] = {PRICE_CACHE_WRITE, PRICE_CACHE_WRITE_1H};
	static const enum price_rate output[] = {PRICE_OUTPUT, PRICE_REASONING, PRICE_OUTPUT_AUDIO, PRICE_OUTPUT_IMAGE};
	static const enum price_rate tool[] = {PRICE_WEB_SEARCH, PRICE_FILE_SEARCH, PRICE_PER_REQUEST};

	return part(bill, input, 3, f, &cost->input_pico) &&
		part(bill, cache_read, 2, f, &cost->cache_read_pico) &&
		part(bill, cache_write, 2, f, &cost->cache_write_pico) &&
		part(bill, output, 4, f, &cost->output_pico) &&
		part(bill, tool, 3, (struct fraction) {1, 1}, &cost->tool_pico) &&
		!__builtin_add_overflow(cost->input_pico, cost->cache_read_pico, &cost->total_pico) &&
		!__builtin_add_overflow(cost->total_pico, cost->cache_write_pico, &cost->total_pico) &&
		!__builtin_add_overflow(cost->total_pico, cost->output_pico, &cost->total_pico) &&
		!__builtin_add_overflow(cost->total_pico, cost->tool_pico, &cost->total_pico);
}

/* Negative counts, and shares greater than the bucket they are of. */
static enum price_status
check_usage(const struct price_usage *u)
{
	uint64_t	share;

	if ((u->input | u->cache_read | u->cache_write | u->cache_write_1h | u->output | u->reasoning |
		 u->audio_of_input | u->audio_of_cache_read | u->audio_of_output | u->image_of_input |
		 u->image_of_output | u->web_searches | u->file_searches) < 0)
		return PRICE_NEGATIVE_TOKENS;
	share = (uint64_t) u->audio_of_input + (uint64_t) u->image_of_input;
	if (share > (uint64_t) u->input || u->audio_of_cache_read > u->cache_read)
		return PRICE_IMPOSSIBLE_USAGE;
	if (u->audio_of_output > u->output || u->image_of_output > u->output || u->reasoning > u->output)
		return PRICE_IMPOSSIBLE_USAGE;
	share = (uint64_t) u->audio_of_output + (uint64_t) u->image_of_output;
	if (share > (uint64_t) (u->output - u->reasoning))
		return PRICE_IMPOSSIBLE_USAGE;
	return PRICE_PRICED;
}

/* All prompt tokens, cached ones included; INT64_MAX when there are more. */
static int64_t
prompt_tokens(const struct price_usage *u)
{
	int64_t		n;

	if (__builtin_add_overflow(u->input, u->cache_read, &n) ||
		__builtin_add_overflow(n, u->cache_write, &n) ||
		__builtin_add_overflow(n, u->cache_write_1h, &n))
		return INT64_MAX;
	return n;
}

/* No shares with rates of their own, no calls: what most requests are. */
static inline bool
is_simple(const struct price_row *row, const struct price_usage *u)
{
	return (u->audio_of_input | u->audio_of_cache_read | u->audio_of_output | u->image_of_input |
			u->image_of_output | u->web_searches | u->file_searches) == 0 &&
		(u->reasoning == 0 || row->rate_atto[PRICE_REASONING] == PRICE_NO_RATE) &&
		row->rate_atto[PRICE_PER_REQUEST] == PRICE_NO_RATE;
}

/* A rate, or what it falls back to; says so when it matters. */
static inline int64_t
rate_or(const struct price_row *row, enum price_rate rate, int64_t fallback, int64_t units, uint32_t flag, uint32_t *flags)
{
	if (row->rate_atto[rate] != PRICE_NO_RATE)
		return row->rate_atto[rate];
	if (units > 0)
		*flags |= flag;
	return fallback;
}

/*
 * make_bill() and add_up() for a simple usage without multipliers, several times
 * as fast. False when it is for them to say what is wrong.
 */
static inline bool
simple_cost(const struct price_row *row, const struct price_usage *u, struct price_cost *cost)
{
	const struct fraction one = {1, 1};
	int64_t		input = row->rate_atto[PRICE_INPUT];
	int64_t		output = row->rate_atto[PRICE_OUTPUT];
	int64_t		read = rate_or(row, PRICE_CACHE_READ, input, u->cache_read, PRICE_FELL_CACHE_READ, &cost->flags);
	int64_t		write = rate_or(row, PRICE_CACHE_WRITE, input, u->cache_write, PRICE_FELL_CACHE_WRITE, &cost->flags);
	int64_t		hour = rate_or(row, PRICE_CACHE_WRITE_1H, write, u->cache_write_1h, PRICE_FELL_CACHE_WRITE_1H, &cost->flags);
	uint128		written;

	if (((u->input > 0) & (input < 0)) | ((u->output > 0) & (output < 0)) |
		((u->cache_read > 0) & (read < 0)) | (((u->cache_write | u->cache_write_1h) > 0) & ((write | hour) < 0)))
		return false;
	written = (uint128) u->cache_write * (uint128) write + (uint128) u->cache_write_1h * (uint128) hour;
	return round_to_pico((uint128) u->input * (uint128) input, one, &cost->input_pico) &&
		round_to_pico((uint128) u->cache_read * (uint128) read, one, &cost->cache_read_pico) &&
		round_to_pico(written, one, &cost->cache_write_pico) &&
		round_to_pico((uint128) u->output * (uint128) output, one, &cost->output_pico) &&
		!__builtin_add_overflow(cost->input_pico, cost->cache_read_pico, &cost->total_pico) &&
		!__builtin_add_overflow(cost->total_pico, cost->cache_write_pico, &cost->total_pico) &&
		!__builtin_add_overflow(cost->total_pico, cost->output_pico, &cost->total_pico);
}

static void
explain(struct price_choice *choice, const struct price_row *row, const struct price_level *level,
		const struct bill *bill, struct fraction f, int64_t prompt)
{
	*choice = (struct price_choice) {
		.row = row,
		.rule = (enum price_rule) level->rule,
		.served = level->served,
		.prompt_tokens = prompt,
		.multiplier_ppm = (int64_t) (((uint128) f.num * PPM + f.den / 2) / f.den),
	};
	memcpy(choice->units, bill->units, sizeof(choice->units));
	memcpy(choice->rate_atto, bill->rate, sizeof(choice->rate_atto));
	memcpy(choice->rate_from, bill->from, sizeof(choice->rate_from));
}

/* The whole of the arithmetic, for any usage and tier, explained on request. */
static enum price_status
full_cost(const struct price_row *row, const struct price_level *level, const struct price_request *request,
		  const struct tier *tier, int64_t prompt, struct price_cost *cost, struct price_choice *choice)
{
	struct bill bill;
	struct fraction f;

	memset(cost, 0, sizeof(*cost));
	make_bill(row, &request->usage, &bill);
	f = multipliers_for(row, tier, &bill.flags);
	if (choice != NULL)
		explain(choice, row, level, &bill, f, prompt);
	if (bill.missing)
		return PRICE_NO_RATE_FOR_USE;
	if (!add_up(&bill, f, cost))
	{
		memset(cost, 0, sizeof(*cost));
		return PRICE_OVERFLOW;
	}
	cost->price_id = row->id;
	cost->flags = bill.flags | (level->fell_to_maker ? PRICE_FELL_PROVIDER : 0);
	return PRICE_PRICED;
}

enum price_status
price_resolved_cost(const struct price_catalogue *catalogue, const struct price_match *match,
					const struct price_request *request, struct price_cost *cost, struct price_choice *choice)
{
	enum price_status status = check_usage(&request->usage);
	struct tier tier;
	int64_t		prompt;

	memset(cost, 0, sizeof(*cost));
	if (status != PRICE_PRICED)
		return status;
	if (match->n_levels == 0)
		return PRICE_UNKNOWN_MODEL;
	parse_tier(request->service_tier, &tier);
	prompt = prompt_tokens(&request->usage);

	for (int i = 0; i < match->n_levels; i++)
	{
		const struct price_level *level = &match->level[i];
		const struct price_row *row = choose_row(&catalogue->groups[level->group], tier.name, request->at_us, prompt);

		if (row == NULL)
			continue;
		if (choice == NULL && tier.standard && is_simple(row, &request->usage) && simple_cost(row, &request->usage, cost))
		{
			cost->price_id = row->id;
			cost->flags |= level->fell_to_maker ? PRICE_FELL_PROVIDER : 0;
			return PRICE_PRICED;
		}
		return full_cost(row, level, request, &tier, prompt, cost, choice);
	}
	return PRICE_NO_PRICE_AT_TIME;
}

enum price_status
price_request_cost(const struct price_catalogue *catalogue, const struct price_request *request, struct price_cost *cost)
{
	struct price_match match;
	enum price_status status = price_resolve(catalogue, request->provider, request->model,
											 request->model_version, &match);

	if (status != PRICE_PRICED)
	{
		memset(cost, 0, sizeof(*cost));
		return status;
	}
	return price_resolved_cost(catalogue, &match, request, cost, NULL);
}
