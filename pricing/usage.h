/*
 * Usage objects of providers, turned into disjoint buckets.
 *
 * Providers count the same tokens differently: Anthropic and Bedrock count
 * cached tokens beside the input, OpenAI, Gemini and OpenTelemetry inside it;
 * Gemini and xAI count reasoning beside the output, the others inside it. Names
 * do not tell (Anthropic and OpenAI both say input_tokens), so the caller does.
 *
 * Pure functions over JSON text; any thread. What cannot be is refused, naming
 * the field; what is absent is 0 and not in present.
 */
#ifndef PRICE_USAGE_H
#define PRICE_USAGE_H

#include "pricing/price.h"

#pragma GCC visibility push(hidden)

enum price_convention
{
	PRICE_USAGE_ANTHROPIC,		/* messages API: cached beside input, writes by TTL */
	PRICE_USAGE_OPENAI,			/* chat completions, responses, realtime; DeepSeek: cached inside */
	PRICE_USAGE_XAI,			/* as OpenAI, but reasoning beside completion tokens */
	PRICE_USAGE_GEMINI,			/* usageMetadata: cached inside, thoughts beside candidates */
	PRICE_USAGE_BEDROCK,		/* converse API: cached beside input */
	PRICE_USAGE_OTEL,			/* gen_ai.usage.* attributes: cached inside */
	PRICE_USAGE_LITELLM,		/* OpenAI's names with Anthropic's cache fields: cached inside */
	PRICE_CONVENTIONS
};

enum price_usage_status
{
	PRICE_USAGE_OK = 0,
	PRICE_USAGE_NO_OBJECT,		/* the text is no JSON object */
	PRICE_USAGE_NO_COUNT,		/* a field is no whole number from 0 to PRICE_USAGE_MAX_COUNT */
	PRICE_USAGE_IMPOSSIBLE		/* a part is greater than the whole it is of */
};

/* Bits of price_usage_result.present. */
#define PRICE_HAS_INPUT				0x01u
#define PRICE_HAS_CACHE_READ		0x02u
#define PRICE_HAS_CACHE_WRITE		0x04u
#define PRICE_HAS_CACHE_WRITE_1H	0x08u
#define PRICE_HAS_OUTPUT			0x10u
#define PRICE_HAS_REASONING			0x20u

/* No request uses more tokens than this; a larger number is a mistake. */
#define PRICE_USAGE_MAX_COUNT	INT64_C(1000000000000)

struct price_usage_result
{
	struct price_usage usage;
	uint32_t	present;		/* PRICE_HAS_*: buckets the object spoke of */
	const char *field;			/* of an error: which field; static text */
};

extern enum price_usage_status price_usage_from_json(enum price_convention convention, struct price_text json,
													 struct price_usage_result *result) PRICE_MUST_CHECK;

extern const char *price_usage_status_text(enum price_usage_status status);
extern const char *price_convention_name(enum price_convention convention);

/* By name, ASCII case ignored; false when there is no such convention. */
extern bool price_convention_named(struct price_text name, enum price_convention *convention);

#pragma GCC visibility pop

#endif
