/*
 * What the importers share, and the choice between them; see price_import.h.
 */
#include <string.h>

#include "pricing/json.h"
#include "pricing/price_import.h"
#include "pricing/price_parse.h"

const char *
price_import_format_name(enum price_import_format format)
{
	switch (format)
	{
		case PRICE_IMPORT_LITELLM:
			return "litellm";
		case PRICE_IMPORT_GENAI_PRICES:
			return "genai-prices";
		case PRICE_IMPORT_FORMATS:
			break;
	}
	return "unknown format";
}

const char *
price_import_status_text(enum price_import_status status)
{
	switch (status)
	{
		case PRICE_IMPORT_OK:
			return "ok";
		case PRICE_IMPORT_NO_JSON:
			return "the text is no JSON";
		case PRICE_IMPORT_NO_CATALOGUE:
			return "the JSON is no price catalogue of this format";
	}
	return "unknown status";
}

/* LiteLLM's is an object of models; genai-prices' an array, or an object with one. */
bool
price_import_detect(struct price_text json, enum price_import_format *format)
{
	struct price_text root;
	struct price_text member;

	switch (price_json_value(json, &root))
	{
		case PRICE_JSON_ARRAY:
			*format = PRICE_IMPORT_GENAI_PRICES;
			return true;
		case PRICE_JSON_OBJECT:
			*format = price_json_member(root, "providers", &member) && price_json_type_of(member) == PRICE_JSON_ARRAY ?
				PRICE_IMPORT_GENAI_PRICES : PRICE_IMPORT_LITELLM;
			return true;
		default:
			return false;
	}
}

enum price_import_status
price_import(enum price_import_format format, struct price_text json, const struct price_import_sink *sink)
{
	struct price_text root;

	if (price_json_value(json, &root) == PRICE_JSON_INVALID)
		return PRICE_IMPORT_NO_JSON;
	if (format == PRICE_IMPORT_LITELLM)
		return price_import_litellm(root, sink);
	return price_import_genai(root, sink);
}

void
price_import_blank(struct price_row *row)
{
	memset(row, 0, sizeof(*row));
	row->tier = PRICE_TEXT("standard");
	row->provider = PRICE_TEXT("");
	row->source = PRICE_TEXT("");
	row->note = PRICE_TEXT("");
	row->context_inclusive = true;
	row->from_us = PRICE_ALWAYS_FROM;
	row->to_us = PRICE_ALWAYS_TO;
	for (int i = 0; i < PRICE_RATES; i++)
		row->rate_atto[i] = PRICE_NO_RATE;
}

const char *
price_import_rate(struct price_text value, int scale, int64_t max, int64_t *rate_atto)
{
	char		buffer[64];
	bool		rounded;

	if (price_json_type_of(value) == PRICE_JSON_NULL)
		return NULL;
	if (price_json_type_of(value) == PRICE_JSON_STRING && !price_json_string(value, buffer, sizeof(buffer), &value))
		return "a rate is no number";
	/* floating point noise behind the last decimal is rounded away */
	switch (price_round_decimal(value, scale, rate_atto, &rounded))
	{
		case PRICE_DECIMAL_OK:
			if (*rate_atto <= max)
				return NULL;
			break;
		case PRICE_DECIMAL_NEGATIVE:
			*rate_atto = PRICE_NO_RATE;
			return "a rate is negative";
		case PRICE_DECIMAL_TOO_LARGE:
			break;
		default:
			*rate_atto = PRICE_NO_RATE;
			return "a rate is no number";
	}
	*rate_atto = PRICE_NO_RATE;
	return "a rate is too large";
}

bool
price_import_name(struct price_text json_string, char buffer[PRICE_IMPORT_NAME_BYTES], struct price_text *name)
{
	if (!price_json_string(json_string, buffer, PRICE_MAX_NAME_BYTES, name) || name->len == 0)
		return false;
	for (size_t i = 0; i < name->len; i++)
	{
		unsigned char c = (unsigned char) buffer[i];

		if (c < ' ' || c == 0x7f)
			return false;
		if (c >= 'A' && c <= 'Z')
			buffer[i] = (char) (c + 32);
	}
	return true;
}

bool
price_import_has_rate(const struct price_row *row)
{
	for (int i = 0; i < PRICE_RATES; i++)
		if (row->rate_atto[i] != PRICE_NO_RATE && i != PRICE_WEB_SEARCH && i != PRICE_FILE_SEARCH)
			return true;
	return false;
}
