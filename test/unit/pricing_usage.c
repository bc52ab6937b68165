/*
 * Usage objects as providers send them, turned into disjoint buckets. The
 * objects are shaped as in the providers' own documentation.
 */
#include "test/unit/pricing_tap.h"
#include "pricing/json.h"
#include "pricing/usage.h"

static void
becomes(enum price_convention convention, const char *json, struct price_usage expected, const char *name)
{
	struct price_usage_result r;
	enum price_usage_status status = price_usage_from_json(convention, text_of(json), &r);

	if (!ok(status == PRICE_USAGE_OK && memcmp(&r.usage, &expected, sizeof(expected)) == 0, "%s: %s",
			price_convention_name(convention), name))
		printf("# %s %s: input %" PRId64 " read %" PRId64 " write %" PRId64 " 1h %" PRId64 " output %" PRId64 " reasoning %" PRId64
			   " audio %" PRId64 "/%" PRId64 "/%" PRId64 " image %" PRId64 "/%" PRId64 " searches %" PRId64 "\n",
			   price_usage_status_text(status), r.field ? r.field : "", r.usage.input, r.usage.cache_read, r.usage.cache_write,
			   r.usage.cache_write_1h, r.usage.output, r.usage.reasoning, r.usage.audio_of_input, r.usage.audio_of_cache_read,
			   r.usage.audio_of_output, r.usage.image_of_input, r.usage.image_of_output, r.usage.web_searches);
}

static void
refused(enum price_convention convention, const char *json, enum price_usage_status expected, const char *field, const char *name)
{
	struct price_usage_result r;
	enum price_usage_status status = price_usage_from_json(convention, text_of(json), &r);

	if (!ok(status == expected && (field == NULL ? r.field == NULL : r.field != NULL && strcmp(r.field, field) == 0), "%s: %s",
			price_convention_name(convention), name))
		printf("# got %s at %s\n", price_usage_status_text(status), r.field ? r.field : "nothing");
}

static void
test_anthropic(void)
{
	becomes(PRICE_USAGE_ANTHROPIC,
			"{\"input_tokens\": 21, \"cache_creation_input_tokens\": 188086, \"cache_read_input_tokens\": 50, \"output_tokens\": 393,"
			" \"cache_creation\": {\"ephemeral_5m_input_tokens\": 188000, \"ephemeral_1h_input_tokens\": 86},"
			" \"server_tool_use\": {\"web_search_requests\": 3, \"web_fetch_requests\": 1}, \"service_tier\": \"standard\"}",
			(struct price_usage) {.input = 21,.cache_read = 50,.cache_write = 188000,.cache_write_1h = 86,.output = 393,.web_searches = 3},
			"cached tokens are beside input_tokens");
	becomes(PRICE_USAGE_ANTHROPIC, "{\"input_tokens\":1,\"cache_creation_input_tokens\":100,\"output_tokens\":2}",
			(struct price_usage) {.input = 1,.cache_write = 100,.output = 2}, "writes without a split live five minutes");
	becomes(PRICE_USAGE_ANTHROPIC,
			"{\"input_tokens\":1,\"cache_creation_input_tokens\":100,\"cache_creation\":{\"ephemeral_1h_input_tokens\":30},\"output_tokens\":2}",
			(struct price_usage) {.input = 1,.cache_write = 70,.cache_write_1h = 30,.output = 2}, "a remainder of the split lives five minutes");
	becomes(PRICE_USAGE_ANTHROPIC, "{\"input_tokens\":1,\"cache_creation\":{\"ephemeral_1h_input_tokens\":30},\"output_tokens\":2}",
			(struct price_usage) {.input = 1,.cache_write_1h = 30,.output = 2}, "a split without a total is the total");
	becomes(PRICE_USAGE_ANTHROPIC, "{\"input_tokens\":1,\"output_tokens\":20,\"output_tokens_details\":{\"thinking_tokens\":15},\"cache_read_input_tokens\":null}",
			(struct price_usage) {.input = 1,.output = 20,.reasoning = 15}, "thinking is part of output; null is absent");
	refused(PRICE_USAGE_ANTHROPIC,
			"{\"cache_creation_input_tokens\":10,\"cache_creation\":{\"ephemeral_5m_input_tokens\":5,\"ephemeral_1h_input_tokens\":6}}",
			PRICE_USAGE_IMPOSSIBLE, "cache_creation/ephemeral_1h_input_tokens", "a split greater than the total");
	refused(PRICE_USAGE_ANTHROPIC, "{\"output_tokens\":1,\"output_tokens_details\":{\"thinking_tokens\":2}}",
			PRICE_USAGE_IMPOSSIBLE, "output_tokens_details/thinking_tokens", "more thinking than output");
}

static void
test_openai(void)
{
	becomes(PRICE_USAGE_OPENAI,
			"{\"prompt_tokens\": 2006, \"completion_tokens\": 300, \"total_tokens\": 2306,"
			" \"prompt_tokens_details\": {\"cached_tokens\": 1920, \"audio_tokens\": 0},"
			" \"completion_tokens_details\": {\"reasoning_tokens\": 128, \"audio_tokens\": 0, \"accepted_prediction_tokens\": 0}}",
			(struct price_usage) {.input = 86,.cache_read = 1920,.output = 300,.reasoning = 128},
			"chat: cached tokens are inside prompt_tokens");
	becomes(PRICE_USAGE_OPENAI,
			"{\"input_tokens\": 328, \"input_tokens_details\": {\"cached_tokens\": 300, \"cache_write_tokens\": 20}, \"output_tokens\": 52,"
			" \"output_tokens_details\": {\"reasoning_tokens\": 40}, \"total_tokens\": 380}",
			(struct price_usage) {.input = 8,.cache_read = 300,.cache_write = 20,.output = 52,.reasoning = 40},
			"responses: cached tokens are inside input_tokens, though Anthropic's name is the same");
	becomes(PRICE_USAGE_OPENAI,
			"{\"input_tokens\": 127, \"output_tokens\": 148, \"input_token_details\": {\"text_tokens\": 119, \"audio_tokens\": 8, \"image_tokens\": 0,"
			" \"cached_tokens\": 64, \"cached_tokens_details\": {\"text_tokens\": 60, \"audio_tokens\": 4}},"
			" \"output_token_details\": {\"text_tokens\": 36, \"audio_tokens\": 112}}",
			(struct price_usage) {.input = 63,.cache_read = 64,.output = 148,.audio_of_input = 4,.audio_of_cache_read = 4,.audio_of_output = 112},
			"realtime: audio, cached and not");
	becomes(PRICE_USAGE_OPENAI, "{\"prompt_tokens\":100,\"completion_tokens\":5,\"prompt_cache_hit_tokens\":64,\"prompt_cache_miss_tokens\":36}",
			(struct price_usage) {.input = 36,.cache_read = 64,.output = 5}, "DeepSeek: hits are inside prompt_tokens");
	becomes(PRICE_USAGE_OPENAI, "{\"prompt_tokens\":100,\"completion_tokens\":5,\"prompt_tokens_details\":{\"cached_tokens\":90,\"audio_tokens\":40}}",
			(struct price_usage) {.input = 10,.cache_read = 90,.output = 5,.audio_of_input = 10,.audio_of_cache_read = 30},
			"audio that does not fit beside the cached tokens was cached");
	refused(PRICE_USAGE_OPENAI, "{\"prompt_tokens\":10,\"prompt_tokens_details\":{\"cached_tokens\":11}}",
			PRICE_USAGE_IMPOSSIBLE, "prompt_tokens_details/cached_tokens", "more cached than prompted");
	refused(PRICE_USAGE_OPENAI, "{\"prompt_tokens\":10,\"prompt_tokens_details\":{\"audio_tokens\":11}}",
			PRICE_USAGE_IMPOSSIBLE, "prompt_tokens_details/audio_tokens", "more audio than prompted");
	refused(PRICE_USAGE_OPENAI, "{\"completion_tokens\":10,\"completion_tokens_details\":{\"reasoning_tokens\":8,\"audio_tokens\":3}}",
			PRICE_USAGE_IMPOSSIBLE, "completion_tokens_details/audio_tokens", "more reasoning and audio than completed");
	becomes(PRICE_USAGE_XAI, "{\"prompt_tokens\":32,\"completion_tokens\":9,\"prompt_tokens_details\":{\"cached_tokens\":2},"
			"\"completion_tokens_details\":{\"reasoning_tokens\":94}}",
			(struct price_usage) {.input = 30,.cache_read = 2,.output = 103,.reasoning = 94}, "reasoning is beside completion_tokens");
}

static void
test_others(void)
{
	becomes(PRICE_USAGE_GEMINI,
			"{\"promptTokenCount\": 1000, \"cachedContentTokenCount\": 800, \"candidatesTokenCount\": 50, \"thoughtsTokenCount\": 450,"
			" \"toolUsePromptTokenCount\": 20, \"totalTokenCount\": 1520, \"promptTokensDetails\": [{\"modality\": \"TEXT\", \"tokenCount\": 900},"
			" {\"modality\": \"AUDIO\", \"tokenCount\": 100}], \"cacheTokensDetails\": [{\"modality\": \"AUDIO\", \"tokenCount\": 60}]}",
			(struct price_usage) {.input = 220,.cache_read = 800,.output = 500,.reasoning = 450,.audio_of_input = 40,.audio_of_cache_read = 60},
			"thoughts are beside candidates, cached inside the prompt, tool prompts beside it");
	becomes(PRICE_USAGE_GEMINI, "{\"prompt_token_count\": 10, \"candidates_token_count\": 1300, \"candidates_tokens_details\": [{\"modality\": \"IMAGE\", \"token_count\": 1290}]}",
			(struct price_usage) {.input = 10,.output = 1300,.image_of_output = 1290}, "names of the Python client; an image made");
	refused(PRICE_USAGE_GEMINI, "{\"promptTokenCount\": 5, \"cachedContentTokenCount\": 6}",
			PRICE_USAGE_IMPOSSIBLE, "cachedContentTokenCount", "more cached than prompted");
	becomes(PRICE_USAGE_BEDROCK, "{\"inputTokens\":10,\"outputTokens\":20,\"totalTokens\":130,\"cacheReadInputTokens\":60,\"cacheWriteInputTokens\":40,"
			"\"cacheDetails\":[{\"ttl\":\"1h\",\"inputTokens\":30},{\"ttl\":\"5m\",\"inputTokens\":10}]}",
			(struct price_usage) {.input = 10,.cache_read = 60,.cache_write = 10,.cache_write_1h = 30,.output = 20}, "cached tokens are beside inputTokens");
	becomes(PRICE_USAGE_OTEL, "{\"gen_ai.usage.input_tokens\":100,\"gen_ai.usage.output_tokens\":7,\"gen_ai.usage.cache_read.input_tokens\":80,"
			"\"gen_ai.usage.cache_creation.input_tokens\":15,\"gen_ai.system\":\"anthropic\"}",
			(struct price_usage) {.input = 5,.cache_read = 80,.cache_write = 15,.output = 7}, "cached tokens are inside input_tokens");
	becomes(PRICE_USAGE_LITELLM, "{\"prompt_tokens\":100,\"completion_tokens\":7,\"cache_read_input_tokens\":80,\"cache_creation_input_tokens\":15,"
			"\"prompt_tokens_details\":{\"cached_tokens\":80,\"cache_creation_token_details\":{\"ephemeral_1h_input_tokens\":5}}}",
			(struct price_usage) {.input = 5,.cache_read = 80,.cache_write = 10,.cache_write_1h = 5,.output = 7}, "Anthropic's fields, inside prompt_tokens");
}

static void
test_bad(void)
{
	struct price_usage_result r;
	enum price_convention c;

	refused(PRICE_USAGE_OPENAI, "", PRICE_USAGE_NO_OBJECT, NULL, "no text");
	refused(PRICE_USAGE_OPENAI, "[1]", PRICE_USAGE_NO_OBJECT, NULL, "an array");
	refused(PRICE_USAGE_OPENAI, "{\"prompt_tokens\":1", PRICE_USAGE_NO_OBJECT, NULL, "cut off");
	refused(PRICE_USAGE_OPENAI, "{\"prompt_tokens\":-1}", PRICE_USAGE_NO_COUNT, "prompt_tokens", "negative");
	refused(PRICE_USAGE_OPENAI, "{\"prompt_tokens\":1.5}", PRICE_USAGE_NO_COUNT, "prompt_tokens", "a fraction");
	refused(PRICE_USAGE_OPENAI, "{\"prompt_tokens\":\"5\"}", PRICE_USAGE_NO_COUNT, "prompt_tokens", "a string");
	refused(PRICE_USAGE_OPENAI, "{\"prompt_tokens\":1e30}", PRICE_USAGE_NO_COUNT, "prompt_tokens", "too large");
	becomes(PRICE_USAGE_OPENAI, "{\"prompt_tokens\":1e3,\"completion_tokens\":2.0}", (struct price_usage) {.input = 1000,.output = 2}, "whole numbers in any form");
	becomes(PRICE_USAGE_OPENAI, " { } ", (struct price_usage) {0}, "nothing");
	is_int(price_usage_from_json(PRICE_USAGE_OPENAI, PRICE_TEXT("{\"prompt_tokens\":0}"), &r), PRICE_USAGE_OK, "zero");
	is_int(r.present, PRICE_HAS_INPUT, "is present, and the rest is not");
	ok(price_convention_named(PRICE_TEXT("Gemini"), &c) && c == PRICE_USAGE_GEMINI, "conventions have names");
	ok(!price_convention_named(PRICE_TEXT("gemin"), &c) && !price_convention_named(PRICE_TEXT(""), &c), "and only those");
}

/* Text that is JSON, and text that is not. */
static void
test_json(void)
{
	static const char *const good[] = {
		"{}", "[]", "null", "true", "-0.5e+10", "\"\\u00e9\\\"\"", "[1,[2,{\"a\":[]}],{}]", " {\"a\" : 1 , \"b\":\"}\"} ", "0", "\"\""
	};
	static const char *const bad[] = {
		"", "{", "}", "[1,]", "{\"a\"}", "{\"a\":}", "{a:1}", "[1 2]", "01", "1.", "+1", ".5", "1e", "nul", "truee", "\"\\x\"", "\"\\u12g4\"",
		"\"a\nb\"", "{\"a\":1,}", "[}", "{\"a\":1]", "\"abc", "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]", "{} {}", "-"
	};
	struct price_text v;
	char		buffer[16];
	struct price_text text;

	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
		ok(price_json_value(text_of(good[i]), &v) != PRICE_JSON_INVALID, "JSON: %s", good[i]);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		ok(price_json_value(text_of(bad[i]), &v) == PRICE_JSON_INVALID, "not JSON: %s", i == 17 ? "a line break in a string" : bad[i]);
	ok(price_json_string(PRICE_TEXT("\"a\\n\\u00e9\\ud83d\\ude00\\/\""), buffer, sizeof(buffer), &text), "a string with escapes");
	is_text(text, "a\n\xc3\xa9\xf0\x9f\x98\x80/", "is what it stands for");
	ok(!price_json_string(PRICE_TEXT("\"12345678901234567\""), buffer, sizeof(buffer), &text), "a string too long for the buffer is refused");
}

int
main(void)
{
	test_anthropic();
	test_openai();
	test_others();
	test_bad();
	test_json();
	return done_testing();
}
