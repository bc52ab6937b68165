/*
 * LiteLLM's model_prices_and_context_window.json.
 *
 * One member per model. A cost is named what[_above_Nk_tokens][_tier]: every
 * combination of prompt size and service tier that appears becomes a row, and a
 * cost that a combination lacks is that of the smaller prompt, then that of the
 * standard tier, as LiteLLM computes it; cached tokens keep their proportion to
 * the tier's input. "above_1hr" is a lifetime, not a size.
 */
#include <string.h>

#include "pricing/json.h"
#include "pricing/price_import.h"
#include "pricing/price_parse.h"

#define USD_SCALE	18			/* USD per token or call to attodollars */
#define MAX_SIZES	8			/* prompt sizes of one model, the smallest included */
#define TOKENS_PER_K	1000

struct cost
{
	const char *name;			/* without size and tier */
	enum price_rate rate;
};

static const struct cost costs[] = {
	{"input_cost_per_token", PRICE_INPUT},
	{"output_cost_per_token", PRICE_OUTPUT},
	{"cache_read_input_token_cost", PRICE_CACHE_READ},
	{"input_cost_per_token_cache_hit", PRICE_CACHE_READ},
	{"cache_creation_input_token_cost", PRICE_CACHE_WRITE},
	{"cache_creation_input_token_cost_above_1hr", PRICE_CACHE_WRITE_1H},
	{"output_cost_per_reasoning_token", PRICE_REASONING},
	{"input_cost_per_audio_token", PRICE_INPUT_AUDIO},
	{"cache_read_input_audio_token_cost", PRICE_CACHE_READ_AUDIO},
	{"output_cost_per_audio_token", PRICE_OUTPUT_AUDIO},
	{"input_cost_per_image_token", PRICE_INPUT_IMAGE},
	{"output_cost_per_image_token", PRICE_OUTPUT_IMAGE},
	{"input_cost_per_request", PRICE_PER_REQUEST},
};
#define COSTS	(sizeof(costs) / sizeof(costs[0]))

static const struct
{
	const char *suffix;
	const char *tier;
}			tiers[] = {
	{"", "standard"}, {"_batches", "batch"}, {"_flex", "flex"}, {"_priority", "priority"}, {"_ultrafast", "ultrafast"},
};
#define TIERS	(sizeof(tiers) / sizeof(tiers[0]))

/* The costs of one model by tier and prompt size; PRICE_NO_RATE where not given. */
struct model
{
	int64_t		size[MAX_SIZES];	/* more than this many tokens; size[0] is 0 */
	int			n_sizes;
	bool		has[TIERS];
	int64_t		rate[TIERS][MAX_SIZES][PRICE_RATES];
	struct price_multiplier multipliers[PRICE_MAX_MULTIPLIERS];
	int			n_multipliers;
	char		multiplier_names[PRICE_MAX_MULTIPLIERS][32];
	const char *reason;			/* why it cannot be a price */
};

static bool
ends_with(struct price_text t, const char *suffix)
{
	size_t		n = strlen(suffix);

	return t.len >= n && memcmp(t.p + t.len - n, suffix, n) == 0;
}

static bool
is(struct price_text t, const char *name)
{
	return t.len == strlen(name) && memcmp(t.p, name, t.len) == 0;
}

/* Cut "_above_200k_tokens" off; the size in tokens, 0 without it, -1 for nonsense. */
static int64_t
cut_size(struct price_text *name)
{
	static const char tail[] = "k_tokens";
	static const char head[] = "_above_";
	size_t		n;
	int64_t		size = 0;
	size_t		digits = 0;

	if (!ends_with(*name, tail))
		return 0;
	n = name->len - (sizeof(tail) - 1);
	while (digits < n && digits < 7 && name->p[n - digits - 1] >= '0' && name->p[n - digits - 1] <= '9')
		digits++;
	if (digits == 0)
		return 0;
	for (size_t i = n - digits; i < n; i++)
		size = size * 10 + (name->p[i] - '0');
	n -= digits;
	if (n < sizeof(head) - 1 || memcmp(name->p + n - (sizeof(head) - 1), head, sizeof(head) - 1) != 0)
		return 0;
	name->len = n - (sizeof(head) - 1);
	return size > 0 ? size * TOKENS_PER_K : -1;
}

static int
size_index(struct model *m, int64_t size)
{
	for (int i = 0; i < m->n_sizes; i++)
		if (m->size[i] == size)
			return i;
	if (m->n_sizes == MAX_SIZES)
		return -1;
	m->size[m->n_sizes] = size;
	for (size_t t = 0; t < TIERS; t++)
		for (int r = 0; r < PRICE_RATES; r++)
			m->rate[t][m->n_sizes][r] = PRICE_NO_RATE;
	return m->n_sizes++;
}

static int64_t
max_rate(enum price_rate rate)
{
	return rate < PRICE_FIRST_CALL_RATE ? PRICE_MAX_USD_MTOK * PRICE_ATTO_PER_USD_MTOK :
		PRICE_MAX_USD_KCALL * PRICE_ATTO_PER_USD_KCALL;
}

static void
set_rate(struct model *m, size_t tier, int64_t size, enum price_rate rate, struct price_text value)
{
	int			at = size < 0 ? -1 : size_index(m, size);
	const char *reason;

	if (at < 0)
	{
		m->reason = "too many prompt sizes, or a size that is none";
		return;
	}
	reason = price_import_rate(value, USD_SCALE, max_rate(rate), &m->rate[tier][at][rate]);
	if (reason != NULL)
		m->reason = reason;
	else if (m->rate[tier][at][rate] != PRICE_NO_RATE)
		m->has[tier] = true;
}

/* A member of the model's object that may be a cost. */
static void
take_cost(struct model *m, struct price_text key, struct price_text value)
{
	struct price_text name = key;
	size_t		tier = 0;
	int64_t		size;

	for (size_t t = 1; t < TIERS; t++)
		if (ends_with(name, tiers[t].suffix))
		{
			tier = t;
			name.len -= strlen(tiers[t].suffix);
			break;
		}
	size = cut_size(&name);
	for (size_t i = 0; i < COSTS; i++)
		if (is(name, costs[i].name))
		{
			set_rate(m, tier, size, costs[i].rate, value);
			return;
		}
}

static void
add_multiplier(struct model *m, struct price_text name, struct price_text value)
{
	int64_t		ppm;
	char	   *copy;

	if (m->n_multipliers == PRICE_MAX_MULTIPLIERS || name.len == 0 || name.len >= sizeof(m->multiplier_names[0]) ||
		price_json_type_of(value) != PRICE_JSON_NUMBER ||
		price_parse_decimal(value, 6, &ppm) != PRICE_DECIMAL_OK || ppm <= 0 || ppm > PRICE_MAX_MULTIPLIER_PPM)
		return;
	for (size_t i = 0; i < name.len; i++)
		if (!((name.p[i] >= 'a' && name.p[i] <= 'z') || (name.p[i] >= '0' && name.p[i] <= '9') || name.p[i] == '_' || name.p[i] == '-'))
			return;
	copy = m->multiplier_names[m->n_multipliers];
	memcpy(copy, name.p, name.len);
	m->multipliers[m->n_multipliers++] = (struct price_multiplier) {{copy, name.len}, ppm};
}

/* {"us": 1.1, "fast": 2.0} */
static void
take_multipliers(struct model *m, struct price_text object)
{
	struct price_json walk;
	struct price_text key;
	struct price_text value;

	if (price_json_type_of(object) != PRICE_JSON_OBJECT || !price_json_open(object, &walk))
		return;
	while (price_json_next(&walk, &key, &value))
		add_multiplier(m, key, value);
}

/* [{"range": [0, 32000], "input_cost_per_token": ...}, ...] */
static void
take_tiered(struct model *m, struct price_text array)
{
	struct price_json walk;
	struct price_text element;

	if (price_json_type_of(array) != PRICE_JSON_ARRAY || !price_json_open(array, &walk))
		return;
	while (price_json_next(&walk, NULL, &element))
	{
		struct price_text range;
		struct price_text from;
		struct price_text value;
		struct price_json bounds;
		int64_t		size;

		if (!price_json_member(element, "range", &range) || !price_json_open(range, &bounds) ||
			!price_json_next(&bounds, NULL, &from) || !price_json_count(from, &size))
			continue;
		for (size_t i = 0; i < COSTS; i++)
			if (price_json_member(element, costs[i].name, &value))
				set_rate(m, 0, size, costs[i].rate, value);
	}
}

static void
take_member(struct model *m, struct price_text key, struct price_text value)
{
	struct price_text query;

	if (is(key, "search_context_cost_per_query"))
	{
		if (price_json_member(value, "search_context_size_medium", &query))
			set_rate(m, 0, 0, PRICE_WEB_SEARCH, query);
	}
	else if (is(key, "file_search_cost_per_1k_calls"))
	{
		const char *reason = price_import_rate(value, 15, max_rate(PRICE_FILE_SEARCH), &m->rate[0][0][PRICE_FILE_SEARCH]);

		if (reason != NULL)
			m->reason = reason;
	}
	else if (is(key, "provider_specific_entry"))
		take_multipliers(m, value);
	else if (is(key, "regional_processing_uplift_multiplier_eu"))
		add_multiplier(m, PRICE_TEXT("eu"), value);
	else if (is(key, "regional_processing_uplift_multiplier_us"))
		add_multiplier(m, PRICE_TEXT("us"), value);
	else if (is(key, "tiered_pricing"))
		take_tiered(m, value);
	else
		take_cost(m, key, value);
}

/* The size next below, for costs that are not given for this one. */
static int
smaller_size(const struct model *m, int size)
{
	int			best = -1;

	for (int i = 0; i < m->n_sizes; i++)
		if (m->size[i] < m->size[size] && (best < 0 || m->size[i] > m->size[best]))
			best = i;
	return best;
}

static int64_t
given_rate(const struct model *m, size_t tier, int size, int rate)
{
	for (int i = size; i >= 0; i = smaller_size(m, i))
		if (m->rate[tier][i][rate] != PRICE_NO_RATE)
			return m->rate[tier][i][rate];
	return PRICE_NO_RATE;
}

/*
 * A tier's rate, or the standard one where it has none; but cached tokens follow
 * the tier's input: providers halve them in batches too, and the file leaves it out.
 */
static int64_t
rate_of(const struct model *m, size_t tier, int size, int rate)
{
	int64_t		own = given_rate(m, tier, size, rate);
	int64_t		standard = given_rate(m, 0, size, rate);
	int64_t		input = given_rate(m, tier, size, PRICE_INPUT);
	int64_t		standard_input = given_rate(m, 0, size, PRICE_INPUT);

	if (own != PRICE_NO_RATE || standard == PRICE_NO_RATE)
		return own;
	if ((rate == PRICE_CACHE_READ || rate == PRICE_CACHE_WRITE || rate == PRICE_CACHE_WRITE_1H) &&
		input != PRICE_NO_RATE && standard_input > 0)
	{
		__int128	scaled = (__int128) standard * input / standard_input;

		return scaled > max_rate((enum price_rate) rate) ? max_rate((enum price_rate) rate) : (int64_t) scaled;
	}
	return standard;
}

/* Does this tier have a cost of its own for this prompt size? */
static bool
row_exists(const struct model *m, size_t tier, int size)
{
	for (int r = 0; r < PRICE_RATES; r++)
		if (m->rate[tier][size][r] != PRICE_NO_RATE)
			return true;
	return m->size[size] == 0 && m->has[tier];
}

static int
hand_over(const struct model *m, struct price_text entry, struct price_row *row, const struct price_import_sink *sink)
{
	int			rows = 0;

	row->multipliers = m->multipliers;
	row->n_multipliers = (int16_t) m->n_multipliers;
	for (size_t t = 0; t < TIERS; t++)
		for (int s = 0; s < m->n_sizes; s++)
		{
			if (!row_exists(m, t, s))
				continue;
			row->tier = (struct price_text) {tiers[t].tier, strlen(tiers[t].tier)};
			row->context_from = m->size[s];
			/* xAI's higher price begins at the size itself */
			row->context_inclusive = m->size[s] == 0 ||
				(row->provider.len == 3 && memcmp(row->provider.p, "xai", 3) == 0);
			for (int r = 0; r < PRICE_RATES; r++)
				row->rate_atto[r] = rate_of(m, t, s, r);
			if (!price_import_has_rate(row))
				continue;
			sink->row(sink->arg, entry, row);
			rows++;
		}
	return rows;
}

/* The model's name as its provider has it: without the provider's own prefix. */
static struct price_text
own_name(struct price_text name, struct price_text provider)
{
	const char *slash = memchr(name.p, '/', name.len);
	struct price_text head;
	struct price_text canonical;

	if (slash == NULL || slash + 1 == name.p + name.len)
		return name;
	head = (struct price_text) {name.p, (size_t) (slash - name.p)};
	canonical = price_provider_canonical(head);
	if (canonical.len != provider.len || memcmp(canonical.p, provider.p, provider.len) != 0)
		return name;
	return (struct price_text) {slash + 1, name.len - head.len - 1};
}

static void
import_model(struct price_text key, struct price_text object, const struct price_import_sink *sink)
{
	static const struct model blank;
	struct model m;
	struct price_json walk;
	struct price_text member;
	struct price_text value;
	struct price_text quoted = {key.p - 1, key.len + 2};
	struct price_text name;
	char		name_buffer[PRICE_IMPORT_NAME_BYTES];
	char		provider_buffer[PRICE_IMPORT_NAME_BYTES];
	struct price_row row;

	price_import_blank(&row);
	if (price_json_type_of(object) != PRICE_JSON_OBJECT || !price_json_open(object, &walk))
	{
		sink->skipped(sink->arg, key, "it is no object");
		return;
	}
	if (!price_import_name(quoted, name_buffer, &name))
	{
		sink->skipped(sink->arg, key, "its name is empty, too long or has control characters");
		return;
	}
	if (price_json_member(object, "litellm_provider", &value) &&
		price_import_name(value, provider_buffer, &row.provider))
		row.provider = price_provider_canonical(row.provider);
	row.model = own_name(name, row.provider);

	m = blank;
	(void) size_index(&m, 0);
	while (m.reason == NULL && price_json_next(&walk, &member, &value))
		take_member(&m, member, value);
	if (m.reason != NULL)
		sink->skipped(sink->arg, key, m.reason);
	else if (hand_over(&m, key, &row, sink) == 0)
		sink->skipped(sink->arg, key, "it has no price per token or request");
}

enum price_import_status
price_import_litellm(struct price_text root, const struct price_import_sink *sink)
{
	struct price_json walk;
	struct price_text key;
	struct price_text value;

	if (price_json_type_of(root) != PRICE_JSON_OBJECT || !price_json_open(root, &walk))
		return PRICE_IMPORT_NO_CATALOGUE;
	while (price_json_next(&walk, &key, &value))
	{
		if (is(key, "sample_spec") || is(key, "fallback_generalizations"))
			continue;
		import_model(key, value, sink);
	}
	return PRICE_IMPORT_OK;
}
