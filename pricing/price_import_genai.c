/*
 * genai-prices' data: providers, their models, prices by date and time of day.
 *
 * A model's match becomes rows: equals an exact name, starts_with a prefix, and
 * so on; regular expressions and conjunctions are left out, and the model's id is
 * always a name. Prices of a list are in effect from their start_date to the next
 * one's; prices by time of day become daily windows.
 */
#include <string.h>

#include "pricing/json.h"
#include "pricing/price_import.h"
#include "pricing/price_parse.h"

#define MAX_STARTS		8		/* prompt sizes of one price, the smallest included */
#define MAX_MATCH_DEPTH	8		/* or within or ... */

static const struct
{
	const char *name;
	enum price_rate rate;
}			rates[] = {
	{"input_mtok", PRICE_INPUT},
	{"cache_read_mtok", PRICE_CACHE_READ},
	{"cache_write_mtok", PRICE_CACHE_WRITE},
	{"cache_write_1h_mtok", PRICE_CACHE_WRITE_1H},
	{"output_mtok", PRICE_OUTPUT},
	{"output_reasoning_mtok", PRICE_REASONING},
	{"input_audio_mtok", PRICE_INPUT_AUDIO},
	{"cache_audio_read_mtok", PRICE_CACHE_READ_AUDIO},
	{"output_audio_mtok", PRICE_OUTPUT_AUDIO},
	{"input_image_mtok", PRICE_INPUT_IMAGE},
	{"output_image_mtok", PRICE_OUTPUT_IMAGE},
	{"web_searches_kcount", PRICE_WEB_SEARCH},
	{"storage_searches_kcount", PRICE_FILE_SEARCH},
	{"requests_kcount", PRICE_PER_REQUEST},
};
#define N_RATES	(sizeof(rates) / sizeof(rates[0]))

/* One model on its way to the sink. */
struct model
{
	const struct price_import_sink *sink;
	struct price_text entry;	/* its id, for messages */
	struct price_text match;	/* JSON, or absent */
	struct price_text id;		/* in lower case */
	struct price_row row;
	int			rows;
	const char *reason;
};

static int64_t
max_rate(enum price_rate rate)
{
	return rate < PRICE_FIRST_CALL_RATE ? PRICE_MAX_USD_MTOK * PRICE_ATTO_PER_USD_MTOK :
		PRICE_MAX_USD_KCALL * PRICE_ATTO_PER_USD_KCALL;
}

/* A rate: a number, or {"base": n, "tiers": [{"start": tokens, "price": n}]}.
 * For prompts of more than start tokens; the base for -1. */
static bool
rate_at(struct model *m, struct price_text value, enum price_rate rate, int64_t start, int64_t *result)
{
	int			scale = rate < PRICE_FIRST_CALL_RATE ? 12 : 15;
	struct price_text part;
	struct price_json walk;
	struct price_text tier;
	int64_t		best = -1;
	const char *reason = NULL;

	if (price_json_type_of(value) != PRICE_JSON_OBJECT)
		reason = price_import_rate(value, scale, max_rate(rate), result);
	else if (!price_json_member(value, "base", &part))
		reason = "a rate has no base";
	else
	{
		reason = price_import_rate(part, scale, max_rate(rate), result);
		if (start >= 0 && reason == NULL && price_json_member(value, "tiers", &part) && price_json_open(part, &walk))
			while (reason == NULL && price_json_next(&walk, NULL, &tier))
			{
				int64_t		from;
				struct price_text v;

				if (!price_json_member(tier, "start", &v) || !price_json_count(v, &from) || !price_json_member(tier, "price", &v))
					reason = "a tier of a rate has no start or price";
				else if (from <= start && from > best)
				{
					best = from;
					reason = price_import_rate(v, scale, max_rate(rate), result);
				}
			}
	}
	if (reason != NULL)
		m->reason = reason;
	return reason == NULL;
}

/* The prompt sizes at which any rate of these prices changes. */
static int
find_starts(struct price_text prices, int64_t starts[MAX_STARTS])
{
	int			n = 0;

	for (size_t i = 0; i < N_RATES; i++)
	{
		struct price_text value;
		struct price_text tiers;
		struct price_text tier;
		struct price_text v;
		struct price_json walk;
		int64_t		start;

		if (!price_json_member(prices, rates[i].name, &value) || !price_json_member(value, "tiers", &tiers) ||
			!price_json_open(tiers, &walk))
			continue;
		while (price_json_next(&walk, NULL, &tier))
		{
			int			at = 0;

			if (!price_json_member(tier, "start", &v) || !price_json_count(v, &start))
				continue;
			while (at < n && starts[at] != start)
				at++;
			if (at == n && n < MAX_STARTS)
				starts[n++] = start;
		}
	}
	return n;
}

static void
hand_over(struct model *m, struct price_text name, enum price_match_kind kind)
{
	m->row.model = name;
	m->row.match = kind;
	m->sink->row(m->sink->arg, m->entry, &m->row);
	m->rows++;
}

/* A row for every name that a match accepts. */
static void
hand_over_match(struct model *m, struct price_text match, int depth)
{
	static const struct
	{
		const char *name;
		enum price_match_kind kind;
	}			kinds[] = {
		{"equals", PRICE_MATCH_EXACT}, {"starts_with", PRICE_MATCH_PREFIX},
		{"ends_with", PRICE_MATCH_SUFFIX}, {"contains", PRICE_MATCH_CONTAINS},
	};
	struct price_text value;
	struct price_json walk;
	char		buffer[PRICE_IMPORT_NAME_BYTES];
	struct price_text name;

	if (price_json_type_of(match) != PRICE_JSON_OBJECT || depth == MAX_MATCH_DEPTH)
		return;
	if (price_json_member(match, "or", &value) && price_json_open(value, &walk))
		while (price_json_next(&walk, NULL, &value))
			hand_over_match(m, value, depth + 1);
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
		if (price_json_member(match, kinds[i].name, &value) && price_import_name(value, buffer, &name) &&
			!(kinds[i].kind == PRICE_MATCH_EXACT && name.len == m->id.len && memcmp(name.p, m->id.p, name.len) == 0))
			hand_over(m, name, kinds[i].kind);
}

/* One set of prices: a row by prompt size and name. */
static void
take_prices(struct model *m, struct price_text prices)
{
	int64_t		starts[MAX_STARTS];
	int			n_starts;

	if (price_json_type_of(prices) != PRICE_JSON_OBJECT)
	{
		m->reason = "its prices are no object";
		return;
	}
	n_starts = find_starts(prices, starts);
	for (int s = -1; s < n_starts && m->reason == NULL; s++)
	{
		struct price_text value;
		struct price_json walk;
		bool		empty = price_json_open(prices, &walk) && !price_json_next(&walk, NULL, &value);

		m->row.context_from = s < 0 ? 0 : starts[s];
		m->row.context_inclusive = s < 0;
		for (size_t i = 0; i < N_RATES; i++)
		{
			m->row.rate_atto[rates[i].rate] = PRICE_NO_RATE;
			if (price_json_member(prices, rates[i].name, &value) &&
				!rate_at(m, value, rates[i].rate, s < 0 ? -1 : starts[s], &m->row.rate_atto[rates[i].rate]))
				return;
		}
		if (empty)				/* no prices at all: free */
			m->row.rate_atto[PRICE_INPUT] = m->row.rate_atto[PRICE_OUTPUT] = 0;
		if (!price_import_has_rate(&m->row))
			continue;
		hand_over(m, m->id, PRICE_MATCH_EXACT);
		hand_over_match(m, m->match, 0);
	}
}

static bool
two_digits(const char *p, int *n)
{
	*n = (p[0] - '0') * 10 + (p[1] - '0');
	return p[0] >= '0' && p[0] <= '9' && p[1] >= '0' && p[1] <= '9';
}

/* "2025-06-10" as microseconds of 1970 */
static bool
date_us(struct price_text value, int64_t *us)
{
	const char *p = value.p + 1;
	int			century,
				year,
				month,
				day;
	int64_t		y,
				era,
				days;

	if (value.len != 12 || value.p[0] != '"' || p[4] != '-' || p[7] != '-' || !two_digits(p, &century) ||
		!two_digits(p + 2, &year) || !two_digits(p + 5, &month) || !two_digits(p + 8, &day) ||
		month < 1 || month > 12 || day < 1 || day > 31)
		return false;
	y = century * 100 + year - (month <= 2);
	era = y / 400;
	days = era * 146097 + (y - era * 400) * 365 + (y - era * 400) / 4 - (y - era * 400) / 100 +
		(153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1 - 719468;
	*us = days * INT64_C(86400000000);
	return true;
}

/* "16:30:00Z" as a minute of the day */
static bool
time_minute(struct price_text value, int16_t *minute)
{
	const char *p = value.p + 1;
	int			hour,
				min;

	if (value.len < 7 || value.p[0] != '"' || p[2] != ':' || !two_digits(p, &hour) || !two_digits(p + 3, &min) ||
		hour > 23 || min > 59)
		return false;
	*minute = (int16_t) (hour * 60 + min);
	return true;
}

/* When a start_date of the list after this element ends it, if one does. */
static int64_t
next_start(struct price_json rest)
{
	struct price_text element;
	struct price_text constraint;
	struct price_text date;
	int64_t		us;

	while (price_json_next(&rest, NULL, &element))
		if (price_json_member(element, "constraint", &constraint) && price_json_member(constraint, "start_date", &date) &&
			date_us(date, &us))
			return us;
	return PRICE_ALWAYS_TO;
}

/* [{"constraint": {...}, "prices": {...}}, ...], the first without constraint */
static void
take_price_list(struct model *m, struct price_text list)
{
	struct price_json walk;
	struct price_text element;
	struct price_text constraint;
	struct price_text prices;
	struct price_text value;
	int64_t		from_us = PRICE_ALWAYS_FROM;

	if (!price_json_open(list, &walk))
		return;
	while (m->reason == NULL && price_json_next(&walk, NULL, &element))
	{
		bool		constrained = price_json_member(element, "constraint", &constraint) &&
			price_json_type_of(constraint) == PRICE_JSON_OBJECT;

		m->row.window_from_min = m->row.window_to_min = 0;
		m->row.to_us = PRICE_ALWAYS_TO;
		if (constrained && price_json_member(constraint, "start_date", &value))
		{
			if (!date_us(value, &from_us))
				m->reason = "a start_date is no date";
			m->row.to_us = next_start(walk);
		}
		else if (constrained && price_json_member(constraint, "start_time", &value))
		{
			/* a window after a dated price belongs to that price */
			if (!time_minute(value, &m->row.window_from_min) || !price_json_member(constraint, "end_time", &value) ||
				!time_minute(value, &m->row.window_to_min))
				m->reason = "a time of day is none";
		}
		else if (constrained)
			m->reason = "a constraint is neither a date nor a time of day";
		else
			m->row.to_us = next_start(walk);
		m->row.from_us = from_us;
		if (m->reason == NULL && !price_json_member(element, "prices", &prices))
			m->reason = "an element of its prices has no prices";
		if (m->reason == NULL)
			take_prices(m, prices);
	}
}

static void
import_model(struct price_text provider, struct price_text object, const struct price_import_sink *sink)
{
	struct model m = {.sink = sink, .entry = PRICE_TEXT("a model without id")};
	char		buffer[PRICE_IMPORT_NAME_BYTES];
	struct price_text value;

	if (!price_json_member(object, "id", &value) || !price_import_name(value, buffer, &m.id))
	{
		sink->skipped(sink->arg, m.entry, "its id is missing, too long or has control characters");
		return;
	}
	m.entry = (struct price_text) {value.p + 1, value.len - 2};
	price_import_blank(&m.row);
	m.row.provider = provider;
	if (!price_json_member(object, "match", &m.match))
		m.match = (struct price_text) {NULL, 0};
	if (!price_json_member(object, "prices", &value))
		m.reason = "it has no prices";
	else if (price_json_type_of(value) == PRICE_JSON_ARRAY)
		take_price_list(&m, value);
	else
		take_prices(&m, value);
	if (m.reason == NULL && m.rows == 0)
		m.reason = "it has no price per token or request";
	if (m.reason != NULL)
		sink->skipped(sink->arg, m.entry, m.reason);
}

enum price_import_status
price_import_genai(struct price_text root, const struct price_import_sink *sink)
{
	struct price_text list = root;
	struct price_json providers;
	struct price_json models;
	struct price_text provider;
	struct price_text value;

	if (price_json_type_of(root) == PRICE_JSON_OBJECT && !price_json_member(root, "providers", &list))
		return PRICE_IMPORT_NO_CATALOGUE;
	if (price_json_type_of(list) != PRICE_JSON_ARRAY || !price_json_open(list, &providers))
		return PRICE_IMPORT_NO_CATALOGUE;
	while (price_json_next(&providers, NULL, &provider))
	{
		char		buffer[PRICE_IMPORT_NAME_BYTES];
		struct price_text name;

		if (!price_json_member(provider, "id", &value) || !price_import_name(value, buffer, &name))
		{
			sink->skipped(sink->arg, PRICE_TEXT("a provider"), "its id is missing, too long or has control characters");
			continue;
		}
		name = price_provider_canonical(name);
		if (!price_json_member(provider, "models", &value) || price_json_type_of(value) != PRICE_JSON_ARRAY ||
			!price_json_open(value, &models))
		{
			sink->skipped(sink->arg, name, "it has no models");
			continue;
		}
		while (price_json_next(&models, NULL, &value))
			import_model(name, value, sink);
	}
	return PRICE_IMPORT_OK;
}
