/*
 * Words for the pricing core's enumerations: what explain_cost(), views and
 * logs say. Constant data; any thread.
 */
#include "pricing/price.h"

const char *
price_status_text(enum price_status status)
{
	switch (status)
	{
		case PRICE_PRICED:
			return "priced";
		case PRICE_NO_MODEL:
			return "the request names no model";
		case PRICE_UNKNOWN_MODEL:
			return "no price matches the model's name";
		case PRICE_NO_PRICE_AT_TIME:
			return "no price of the model was in effect at that time";
		case PRICE_NO_RATE_FOR_USE:
			return "the price has no rate for tokens that were used";
		case PRICE_NEGATIVE_TOKENS:
			return "a token count is negative";
		case PRICE_IMPOSSIBLE_USAGE:
			return "a share of the tokens is greater than the tokens it is of";
		case PRICE_OVERFLOW:
			return "the cost is greater than a bigint of picodollars";
	}
	return "unknown status";
}

const char *
price_rate_name(enum price_rate rate)
{
	static const char *const names[PRICE_RATES] = {
		[PRICE_INPUT] = "input",
		[PRICE_CACHE_READ] = "cache_read",
		[PRICE_CACHE_WRITE] = "cache_write",
		[PRICE_CACHE_WRITE_1H] = "cache_write_1h",
		[PRICE_OUTPUT] = "output",
		[PRICE_REASONING] = "reasoning",
		[PRICE_INPUT_AUDIO] = "input_audio",
		[PRICE_CACHE_READ_AUDIO] = "cache_read_audio",
		[PRICE_OUTPUT_AUDIO] = "output_audio",
		[PRICE_INPUT_IMAGE] = "input_image",
		[PRICE_OUTPUT_IMAGE] = "output_image",
		[PRICE_WEB_SEARCH] = "web_search",
		[PRICE_FILE_SEARCH] = "file_search",
		[PRICE_PER_REQUEST] = "per_request",
	};

	return (unsigned) rate < PRICE_RATES ? names[rate] : "unknown rate";
}

const char *
price_rule_text(enum price_rule rule)
{
	switch (rule)
	{
		case PRICE_RULE_EXACT:
			return "exact name";
		case PRICE_RULE_ALIAS:
			return "alias";
		case PRICE_RULE_PREFIX_STRIPPED:
			return "name without provider or region prefix";
		case PRICE_RULE_SUFFIX_STRIPPED:
			return "name without date or version suffix";
		case PRICE_RULE_PATTERN:
			return "pattern";
	}
	return "unknown rule";
}

const char *
price_match_name(enum price_match_kind kind)
{
	switch (kind)
	{
		case PRICE_MATCH_EXACT:
			return "exact";
		case PRICE_MATCH_PREFIX:
			return "prefix";
		case PRICE_MATCH_SUFFIX:
			return "suffix";
		case PRICE_MATCH_CONTAINS:
			return "contains";
	}
	return "unknown match";
}

const char *
price_flag_name(int bit)
{
	static const char *const names[PRICE_FLAG_BITS] = {
		"cache_read at the input rate",
		"cache_write at the input rate",
		"cache_write_1h at the cache_write rate",
		"a tool without a rate",
		"service tier without a price: standard rates",
		"unknown modifier ignored",
		"price of the model's maker",
	};

	return bit >= 0 && bit < PRICE_FLAG_BITS ? names[bit] : "unknown flag";
}
