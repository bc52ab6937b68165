/*
 * What an LLM request costs: the price catalogue and the arithmetic over it.
 *
 * Plain C: no PostgreSQL, no locale, no I/O, and no allocation while pricing.
 * The extension and the gateway link the same objects, so both arrive at the
 * same picodollar. A catalogue is read-only once it has been built: any number
 * of threads may price from it at once. Whoever builds one owns its memory and
 * the rows and texts it was built from, which must outlive it.
 *
 * Money is integer: rates are attodollars (1e-18 USD) per unit, costs are
 * picodollars (1e-12 USD). 1 USD per million tokens is 1e12 attodollars per
 * token, so a rate keeps twelve decimals of USD per million tokens exactly. A
 * cost is sum(units * rate) in 128 bits, rounded once per part, half away from
 * zero; total_pico is the exact sum of the rounded parts.
 */
#ifndef PRICE_H
#define PRICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Linked into whatever uses it: calls need no indirection. */
#pragma GCC visibility push(hidden)

#define PRICE_MUST_CHECK __attribute__((warn_unused_result))

/* Text that need not be terminated; p is NULL when it is absent. */
struct price_text
{
	const char *p;
	size_t		len;
};

/* "literal" as a price_text */
#define PRICE_TEXT(literal) ((struct price_text) {(literal), sizeof(literal) - 1})

/* Longest model, provider or service tier name that is looked at, in bytes. */
#define PRICE_MAX_NAME_BYTES	256

/*
 * What a request used. The token buckets input, cache_read, cache_write,
 * cache_write_1h and output are disjoint; the *_of_* members are the share of
 * a bucket that may have a rate of its own.
 */
struct price_usage
{
	int64_t		input;			/* prompt tokens neither read from nor written to a cache */
	int64_t		cache_read;		/* prompt tokens read from a cache */
	int64_t		cache_write;	/* prompt tokens written for 5 minutes (or with no TTL known) */
	int64_t		cache_write_1h; /* prompt tokens written for an hour */
	int64_t		output;			/* everything generated, reasoning included */
	int64_t		reasoning;		/* of output */
	int64_t		audio_of_input;
	int64_t		audio_of_cache_read;
	int64_t		audio_of_output;
	int64_t		image_of_input;
	int64_t		image_of_output;
	int64_t		web_searches;	/* calls of a server-side web search */
	int64_t		file_searches;	/* calls of a server-side file search */
};

struct price_request
{
	struct price_text provider;	/* absent: the model's name decides */
	struct price_text model;	/* as requested */
	struct price_text model_version;	/* as served; looked up first */
	/*
	 * The tier that served it: standard (also '', default, auto), batch, flex,
	 * priority, fast ... and, after '+' each, modifiers of the price: 'us' for
	 * US-only inference, as in 'standard+us'.
	 */
	struct price_text service_tier;
	int64_t		at_us;			/* when it began, Unix epoch, microseconds */
	struct price_usage usage;
};

/* Rates of a price. The order is that of price_rate_name(). */
enum price_rate
{
	PRICE_INPUT,
	PRICE_CACHE_READ,
	PRICE_CACHE_WRITE,
	PRICE_CACHE_WRITE_1H,
	PRICE_OUTPUT,
	PRICE_REASONING,
	PRICE_INPUT_AUDIO,
	PRICE_CACHE_READ_AUDIO,
	PRICE_OUTPUT_AUDIO,
	PRICE_INPUT_IMAGE,
	PRICE_OUTPUT_IMAGE,
	PRICE_WEB_SEARCH,			/* per call from here on */
	PRICE_FILE_SEARCH,
	PRICE_PER_REQUEST,			/* charged once for every request */
	PRICE_RATES
};
#define PRICE_FIRST_CALL_RATE PRICE_WEB_SEARCH

/* A rate the price does not have. */
#define PRICE_NO_RATE	(-1)

/* Attodollars in a rate of 1 USD per million tokens, or per 1,000 calls. */
#define PRICE_ATTO_PER_USD_MTOK		INT64_C(1000000000000)
#define PRICE_ATTO_PER_USD_KCALL	INT64_C(1000000000000000)

/*
 * What fell back, in price_cost.flags. The rules:
 *	no cache_read rate		the input rate
 *	no cache_write rate		the input rate
 *	no cache_write_1h rate	the cache_write rate, else the input rate
 *	no search rate			calls cost nothing
 *	no such service tier	the standard rates
 *	unknown modifier		times one
 *	not the provider's		the price of the model's maker
 * A missing reasoning, audio or image rate is the bucket's own rate, which is
 * how models without such a rate are sold, and no flag. A missing input or
 * output rate is PRICE_NO_RATE_FOR_USE when there are such tokens.
 */
#define PRICE_FELL_CACHE_READ		0x01u
#define PRICE_FELL_CACHE_WRITE		0x02u
#define PRICE_FELL_CACHE_WRITE_1H	0x04u
#define PRICE_FELL_TOOL				0x08u
#define PRICE_FELL_TIER				0x10u
#define PRICE_FELL_MODIFIER			0x20u
#define PRICE_FELL_PROVIDER			0x40u
#define PRICE_FLAG_BITS				7

struct price_cost
{
	int64_t		input_pico;
	int64_t		cache_read_pico;
	int64_t		cache_write_pico;	/* both lifetimes */
	int64_t		output_pico;	/* reasoning included */
	int64_t		tool_pico;		/* searches and charges per request */
	int64_t		total_pico;
	int32_t		price_id;		/* > 0; never changes between releases */
	uint32_t	flags;			/* PRICE_FELL_* */
};

enum price_status
{
	PRICE_PRICED = 0,
	PRICE_NO_MODEL,				/* the request names no model */
	PRICE_UNKNOWN_MODEL,		/* no price matches its name */
	PRICE_NO_PRICE_AT_TIME,		/* one matches, but none was in effect then */
	PRICE_NO_RATE_FOR_USE,		/* the price has no rate for tokens it used */
	PRICE_NEGATIVE_TOKENS,
	PRICE_IMPOSSIBLE_USAGE,		/* a share is greater than its bucket */
	PRICE_OVERFLOW				/* more than INT64_MAX picodollars (9.2 million USD) */
};

/* How a price's model text is compared with a request's, both in lower case. */
enum price_match_kind
{
	PRICE_MATCH_EXACT,
	PRICE_MATCH_PREFIX,
	PRICE_MATCH_SUFFIX,
	PRICE_MATCH_CONTAINS
};

/* A named factor on the token rates: a service tier (batch) or a modifier (us). */
struct price_multiplier
{
	struct price_text name;
	int64_t		ppm;			/* millionths: 500000 halves */
};

#define PRICE_MAX_MULTIPLIERS	8
#define PRICE_ALWAYS_FROM		INT64_MIN
#define PRICE_ALWAYS_TO			INT64_MAX

/* One row of a catalogue. Texts are in lower case. */
struct price_row
{
	int32_t		id;
	int32_t		precedence;		/* higher wins; shipped rows have 0 */
	struct price_text provider;	/* '' is any provider */
	struct price_text model;
	enum price_match_kind match;
	struct price_text tier;		/* 'standard', 'batch', ... */
	int64_t		context_from;	/* for prompts of more tokens than this ... */
	bool		context_inclusive;	/* ... or of exactly this many, too */
	int64_t		from_us;		/* in effect from here, inclusive */
	int64_t		to_us;			/* to here, exclusive */
	int16_t		window_from_min;	/* daily, UTC, minutes: [from, to), may wrap;
									 * both 0 is the whole day */
	int16_t		window_to_min;
	int16_t		n_multipliers;
	const struct price_multiplier *multipliers;
	int64_t		rate_atto[PRICE_RATES];
	struct price_text source;
	struct price_text note;
};

/* Another name for a model of the same provider. */
struct price_alias
{
	struct price_text provider;
	struct price_text alias;
	struct price_text model;
};

struct price_catalogue;

/* Which rule made a name match, for explaining. */
enum price_rule
{
	PRICE_RULE_EXACT,			/* the name itself */
	PRICE_RULE_ALIAS,			/* another name of the same model */
	PRICE_RULE_PREFIX_STRIPPED,	/* provider/, region., arn:, models/ removed */
	PRICE_RULE_SUFFIX_STRIPPED,	/* date, -latest, :0, @version removed as well */
	PRICE_RULE_PATTERN			/* a pattern of the catalogue */
};

/* Which prices a name leads to: the best one of each precedence. */
#define PRICE_MAX_LEVELS	8

struct price_level
{
	uint32_t	group;
	int32_t		precedence;
	uint8_t		rule;			/* enum price_rule */
	bool		served;			/* matched model_version rather than model */
	bool		fell_to_maker;	/* not a price of the provider itself */
};

struct price_match
{
	int			n_levels;
	struct price_level level[PRICE_MAX_LEVELS];
};

/* How a cost came about, for explaining. */
struct price_choice
{
	const struct price_row *row;
	enum price_rule rule;
	bool		served;
	int64_t		prompt_tokens;	/* what the context tier was judged by */
	int64_t		multiplier_ppm; /* all multipliers together, rounded for display */
	int64_t		units[PRICE_RATES];
	int64_t		rate_atto[PRICE_RATES];	/* before multipliers, after falling back */
	uint8_t		rate_from[PRICE_RATES];	/* the rate it was taken from */
};

/* ---- pricing ---- */

/*
 * Price a request. The cost is filled in only when the answer is PRICE_PRICED;
 * otherwise it is zeroed and price_id is 0.
 */
extern enum price_status price_request_cost(const struct price_catalogue *catalogue,
											const struct price_request *request,
											struct price_cost *cost) PRICE_MUST_CHECK;

/* The two halves of it, for callers that price one model many times. */
extern enum price_status price_resolve(const struct price_catalogue *catalogue,
									   struct price_text provider,
									   struct price_text model,
									   struct price_text model_version,
									   struct price_match *match) PRICE_MUST_CHECK;
extern enum price_status price_resolved_cost(const struct price_catalogue *catalogue,
											 const struct price_match *match,
											 const struct price_request *request,
											 struct price_cost *cost,
											 struct price_choice *choice	/* or NULL */
	) PRICE_MUST_CHECK;

extern const char *price_status_text(enum price_status status);
extern const char *price_rate_name(enum price_rate rate);
extern const char *price_rule_text(enum price_rule rule);
extern const char *price_match_name(enum price_match_kind kind);
extern const char *price_flag_name(int bit);

/* ---- catalogues ---- */

/*
 * The catalogue compiled in. Built on first use, once, by whichever thread
 * comes first; never freed.
 */
extern const struct price_catalogue *price_shipped_catalogue(void);
extern const struct price_row *price_shipped_rows(size_t *n_rows);
extern const struct price_alias *price_shipped_aliases(size_t *n_aliases);

/*
 * Build a catalogue in memory of the caller's: price_catalogue_bytes() says how
 * much, aligned as malloc aligns. Rows and aliases are referred to, not copied.
 * Rows may come in any order; what is chosen never depends on it.
 */
extern size_t price_catalogue_bytes(size_t n_rows, size_t n_aliases);
extern const struct price_catalogue *price_catalogue_build(void *memory,
														   const struct price_row *const *rows, size_t n_rows,
														   const struct price_alias *aliases, size_t n_aliases);

/* The name under which a provider's prices are kept: 'bedrock' is 'aws'. */
extern struct price_text price_provider_canonical(struct price_text provider);

#pragma GCC visibility pop

#endif
