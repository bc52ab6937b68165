/*
 * Importing public price catalogues: JSON text in, price rows out.
 *
 * Two formats people already have:
 *	litellm			model_prices_and_context_window.json: an object, one member per
 *					model, costs in USD per token
 *	genai-prices	its data.json: an array of providers with models, USD per
 *					million tokens, by date and time of day
 *
 * Pure; any thread. Rows are handed over one by one and are valid during the
 * call only. An entry that cannot be a price is handed to the other callback
 * with its reason, and the import goes on.
 */
#ifndef PRICE_IMPORT_H
#define PRICE_IMPORT_H

#include "pricing/price.h"

#pragma GCC visibility push(hidden)

enum price_import_format
{
	PRICE_IMPORT_LITELLM,
	PRICE_IMPORT_GENAI_PRICES,
	PRICE_IMPORT_FORMATS
};

enum price_import_status
{
	PRICE_IMPORT_OK = 0,
	PRICE_IMPORT_NO_JSON,		/* the text is no JSON */
	PRICE_IMPORT_NO_CATALOGUE	/* it is JSON, but not of this format */
};

/* Where rows and refusals go. entry is the name the source has for it. */
struct price_import_sink
{
	void		(*row) (void *arg, struct price_text entry, const struct price_row *row);
	void		(*skipped) (void *arg, struct price_text entry, const char *reason);
	void	   *arg;
};

extern enum price_import_status price_import(enum price_import_format format, struct price_text json,
											 const struct price_import_sink *sink) PRICE_MUST_CHECK;

/* Which format a text is in, by its shape; false when it is neither. */
extern bool price_import_detect(struct price_text json, enum price_import_format *format);

extern const char *price_import_format_name(enum price_import_format format);
extern const char *price_import_status_text(enum price_import_status status);

/* The formats, one file each. */
extern enum price_import_status price_import_litellm(struct price_text json, const struct price_import_sink *sink);
extern enum price_import_status price_import_genai(struct price_text json, const struct price_import_sink *sink);

/* Shared by the formats. */

/* An empty row: standard tier, always, no rates. */
extern void price_import_blank(struct price_row *row);

/*
 * A rate from a JSON number or a string that is one, times 10^scale. NULL and
 * absent are no rate. NULL is returned, or why the value cannot be a rate.
 */
extern const char *price_import_rate(struct price_text value, int scale, int64_t max, int64_t *rate_atto);

/* A name in lower case, in a buffer; false when it is too long or not text. */
#define PRICE_IMPORT_NAME_BYTES	(PRICE_MAX_NAME_BYTES + 8)
extern bool price_import_name(struct price_text json_string, char buffer[PRICE_IMPORT_NAME_BYTES], struct price_text *name);

/* Has the row any rate for tokens, calls or images? */
extern bool price_import_has_rate(const struct price_row *row);

#pragma GCC visibility pop

#endif
