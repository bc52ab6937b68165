/*
 * Usage objects to disjoint buckets; see usage.h.
 *
 * First the fields a convention has are collected, by a table of paths; then one
 * function per way of counting makes buckets of them.
 */
#include <string.h>

#include "pricing/json.h"
#include "pricing/usage.h"

/* What a field counts. Where several paths count the same, the first present wins. */
enum slot
{
	INPUT,						/* prompt tokens, as the convention counts them */
	CACHE_READ,
	CACHE_WRITE,				/* all writes, or those without a known TTL */
	CACHE_WRITE_5M,
	CACHE_WRITE_1H,
	OUTPUT,
	REASONING,
	TOOL_PROMPT,				/* prompt tokens of tools, beside the prompt */
	AUDIO_INPUT,				/* of all prompt tokens, cached ones included */
	AUDIO_CACHED,
	AUDIO_OUTPUT,
	IMAGE_INPUT,
	IMAGE_CACHED,
	IMAGE_OUTPUT,
	WEB_SEARCHES,
	SLOTS
};

/*
 * A path: names of members, '/' between. A last name in brackets picks from an
 * array of {key, count} objects: "promptTokensDetails[modality=AUDIO]tokenCount".
 */
struct field
{
	enum slot	slot;
	const char *path;
};

static const struct field anthropic_fields[] = {
	{INPUT, "input_tokens"},
	{CACHE_READ, "cache_read_input_tokens"},
	{CACHE_WRITE, "cache_creation_input_tokens"},
	{CACHE_WRITE_5M, "cache_creation/ephemeral_5m_input_tokens"},
	{CACHE_WRITE_1H, "cache_creation/ephemeral_1h_input_tokens"},
	{OUTPUT, "output_tokens"},
	{REASONING, "output_tokens_details/thinking_tokens"},
	{WEB_SEARCHES, "server_tool_use/web_search_requests"},
	{SLOTS, NULL}
};

static const struct field openai_fields[] = {
	{INPUT, "prompt_tokens"},
	{INPUT, "input_tokens"},
	{CACHE_READ, "prompt_tokens_details/cached_tokens"},
	{CACHE_READ, "input_tokens_details/cached_tokens"},
	{CACHE_READ, "input_token_details/cached_tokens"},
	{CACHE_READ, "prompt_cache_hit_tokens"},
	{CACHE_WRITE, "prompt_tokens_details/cache_write_tokens"},
	{CACHE_WRITE, "input_tokens_details/cache_write_tokens"},
	{OUTPUT, "completion_tokens"},
	{OUTPUT, "output_tokens"},
	{REASONING, "completion_tokens_details/reasoning_tokens"},
	{REASONING, "output_tokens_details/reasoning_tokens"},
	{AUDIO_INPUT, "prompt_tokens_details/audio_tokens"},
	{AUDIO_INPUT, "input_token_details/audio_tokens"},
	{AUDIO_CACHED, "input_token_details/cached_tokens_details/audio_tokens"},
	{AUDIO_OUTPUT, "completion_tokens_details/audio_tokens"},
	{AUDIO_OUTPUT, "output_token_details/audio_tokens"},
	{IMAGE_INPUT, "input_tokens_details/image_tokens"},
	{IMAGE_INPUT, "input_token_details/image_tokens"},
	{IMAGE_CACHED, "input_token_details/cached_tokens_details/image_tokens"},
	{IMAGE_OUTPUT, "output_tokens_details/image_tokens"},
	{SLOTS, NULL}
};

static const struct field gemini_fields[] = {
	{INPUT, "promptTokenCount"},
	{INPUT, "prompt_token_count"},
	{CACHE_READ, "cachedContentTokenCount"},
	{CACHE_READ, "cached_content_token_count"},
	{OUTPUT, "candidatesTokenCount"},
	{OUTPUT, "candidates_token_count"},
	{REASONING, "thoughtsTokenCount"},
	{REASONING, "thoughts_token_count"},
	{TOOL_PROMPT, "toolUsePromptTokenCount"},
	{TOOL_PROMPT, "tool_use_prompt_token_count"},
	{AUDIO_INPUT, "promptTokensDetails[modality=AUDIO]tokenCount"},
	{AUDIO_INPUT, "prompt_tokens_details[modality=AUDIO]token_count"},
	{AUDIO_CACHED, "cacheTokensDetails[modality=AUDIO]tokenCount"},
	{AUDIO_CACHED, "cache_tokens_details[modality=AUDIO]token_count"},
	{AUDIO_OUTPUT, "candidatesTokensDetails[modality=AUDIO]tokenCount"},
	{AUDIO_OUTPUT, "candidates_tokens_details[modality=AUDIO]token_count"},
	{IMAGE_INPUT, "promptTokensDetails[modality=IMAGE]tokenCount"},
	{IMAGE_INPUT, "prompt_tokens_details[modality=IMAGE]token_count"},
	{IMAGE_CACHED, "cacheTokensDetails[modality=IMAGE]tokenCount"},
	{IMAGE_CACHED, "cache_tokens_details[modality=IMAGE]token_count"},
	{IMAGE_OUTPUT, "candidatesTokensDetails[modality=IMAGE]tokenCount"},
	{IMAGE_OUTPUT, "candidates_tokens_details[modality=IMAGE]token_count"},
	{SLOTS, NULL}
};

static const struct field bedrock_fields[] = {
	{INPUT, "inputTokens"},
	{CACHE_READ, "cacheReadInputTokens"},
	{CACHE_READ, "cacheReadInputTokenCount"},
	{CACHE_WRITE, "cacheWriteInputTokens"},
	{CACHE_WRITE, "cacheWriteInputTokenCount"},
	{CACHE_WRITE_5M, "cacheDetails[ttl=5m]inputTokens"},
	{CACHE_WRITE_1H, "cacheDetails[ttl=1h]inputTokens"},
	{OUTPUT, "outputTokens"},
	{SLOTS, NULL}
};

/* Attribute names have dots; the names changed over time, all are in use. */
static const struct field otel_fields[] = {
	{INPUT, "gen_ai.usage.input_tokens"},
	{INPUT, "gen_ai.usage.prompt_tokens"},
	{CACHE_READ, "gen_ai.usage.cache_read.input_tokens"},
	{CACHE_READ, "gen_ai.usage.cache_read_input_tokens"},
	{CACHE_READ, "gen_ai.usage.cached_tokens"},
	{CACHE_WRITE, "gen_ai.usage.cache_write.input_tokens"},
	{CACHE_WRITE, "gen_ai.usage.cache_creation.input_tokens"},
	{CACHE_WRITE, "gen_ai.usage.cache_creation_input_tokens"},
	{OUTPUT, "gen_ai.usage.output_tokens"},
	{OUTPUT, "gen_ai.usage.completion_tokens"},
	{REASONING, "gen_ai.usage.reasoning.output_tokens"},
	{REASONING, "gen_ai.usage.reasoning_tokens"},
	{SLOTS, NULL}
};

static const struct field litellm_fields[] = {
	{INPUT, "prompt_tokens"},
	{CACHE_READ, "prompt_tokens_details/cached_tokens"},
	{CACHE_READ, "cache_read_input_tokens"},
	{CACHE_WRITE, "prompt_tokens_details/cache_creation_tokens"},
	{CACHE_WRITE, "cache_creation_input_tokens"},
	{CACHE_WRITE_5M, "prompt_tokens_details/cache_creation_token_details/ephemeral_5m_input_tokens"},
	{CACHE_WRITE_1H, "prompt_tokens_details/cache_creation_token_details/ephemeral_1h_input_tokens"},
	{OUTPUT, "completion_tokens"},
	{REASONING, "completion_tokens_details/reasoning_tokens"},
	{AUDIO_INPUT, "prompt_tokens_details/audio_tokens"},
	{AUDIO_OUTPUT, "completion_tokens_details/audio_tokens"},
	{IMAGE_INPUT, "prompt_tokens_details/image_tokens"},
	{IMAGE_OUTPUT, "completion_tokens_details/image_tokens"},
	{WEB_SEARCHES, "prompt_tokens_details/web_search_requests"},
	{WEB_SEARCHES, "server_tool_use/web_search_requests"},
	{SLOTS, NULL}
};

/* How a convention counts. */
static const struct
{
	const char *name;
	const struct field *fields;
	bool		cached_inside;	/* of INPUT */
	bool		reasoning_inside;	/* of OUTPUT */
}			conventions[PRICE_CONVENTIONS] = {
	[PRICE_USAGE_ANTHROPIC] = {"anthropic", anthropic_fields, false, true},
	[PRICE_USAGE_OPENAI] = {"openai", openai_fields, true, true},
	[PRICE_USAGE_XAI] = {"xai", openai_fields, true, false},
	[PRICE_USAGE_GEMINI] = {"gemini", gemini_fields, true, false},
	[PRICE_USAGE_BEDROCK] = {"bedrock", bedrock_fields, false, true},
	[PRICE_USAGE_OTEL] = {"otel", otel_fields, true, true},
	[PRICE_USAGE_LITELLM] = {"litellm", litellm_fields, true, true},
};

/* The fields of one usage object. */
struct counts
{
	int64_t		value[SLOTS];
	const char *path[SLOTS];	/* where it came from; NULL: absent */
};

/* "details[key=VALUE]count": the count of the element whose key is VALUE. */
static bool
pick_element(struct price_text array, const char *key, size_t key_len, const char *value, size_t value_len,
			 const char *count, struct price_text *found)
{
	struct price_json walk;
	struct price_text element;
	char		name[32];
	struct price_text v;

	if (price_json_type_of(array) != PRICE_JSON_ARRAY || key_len >= sizeof(name) || !price_json_open(array, &walk))
		return false;
	memcpy(name, key, key_len);
	name[key_len] = '\0';
	while (price_json_next(&walk, NULL, &element))
		if (price_json_member(element, name, &v) && v.len == value_len + 2 && v.p[0] == '"' &&
			memcmp(v.p + 1, value, value_len) == 0)
			return price_json_member(element, count, found);
	return false;
}

/* Follow a path; false when there is nothing there, or null. */
static bool
follow(struct price_text object, const char *path, struct price_text *found)
{
	struct price_text at = object;

	for (;;)
	{
		size_t		len = strcspn(path, "/[");
		char		name[64];

		if (len >= sizeof(name))
			return false;
		memcpy(name, path, len);
		name[len] = '\0';
		if (!price_json_member(at, name, &at))
			return false;
		if (path[len] == '[')
		{
			const char *key = path + len + 1;
			const char *value = strchr(key, '=') + 1;
			const char *close = strchr(value, ']');

			if (!pick_element(at, key, (size_t) (value - 1 - key), value, (size_t) (close - value), close + 1, &at))
				return false;
		}
		if (path[len] != '/')
			break;
		path += len + 1;
	}
	*found = at;
	return price_json_type_of(at) != PRICE_JSON_NULL;
}

static enum price_usage_status
collect(const struct field *fields, struct price_text object, struct counts *c, const char **bad)
{
	memset(c, 0, sizeof(*c));
	for (; fields->path != NULL; fields++)
	{
		struct price_text value;

		if (c->path[fields->slot] != NULL || !follow(object, fields->path, &value))
			continue;
		if (!price_json_count(value, &c->value[fields->slot]) || c->value[fields->slot] > PRICE_USAGE_MAX_COUNT)
		{
			*bad = fields->path;
			return PRICE_USAGE_NO_COUNT;
		}
		c->path[fields->slot] = fields->path;
	}
	return PRICE_USAGE_OK;
}

/*
 * Writes by lifetime. What is not said to live an hour lives five minutes; a
 * split that is less than all writes leaves a remainder, of five minutes too.
 */
static bool
split_writes(const struct counts *c, struct price_usage *u)
{
	int64_t		split = c->value[CACHE_WRITE_5M] + c->value[CACHE_WRITE_1H];
	int64_t		all = c->path[CACHE_WRITE] == NULL ? split : c->value[CACHE_WRITE];

	u->cache_write_1h = c->value[CACHE_WRITE_1H];
	u->cache_write = all - c->value[CACHE_WRITE_1H];
	return split <= all;
}

static enum price_usage_status
impossible(const struct counts *c, enum slot slot, struct price_usage_result *result)
{
	result->field = c->path[slot];
	return PRICE_USAGE_IMPOSSIBLE;
}

/* Shares by kind of token; the rest of each bucket is text. */
static enum price_usage_status
split_kinds(const struct counts *c, struct price_usage *u, struct price_usage_result *result)
{
	/* shares of the prompt include those of its cached part */
	u->audio_of_cache_read = c->value[AUDIO_CACHED];
	u->audio_of_input = c->value[AUDIO_INPUT] - c->value[AUDIO_CACHED];
	u->image_of_input = c->value[IMAGE_INPUT] - c->value[IMAGE_CACHED];
	u->audio_of_output = c->value[AUDIO_OUTPUT];
	u->image_of_output = c->value[IMAGE_OUTPUT];
	if (u->audio_of_input < 0 || c->value[AUDIO_CACHED] > u->cache_read)
		return impossible(c, AUDIO_CACHED, result);
	if (u->image_of_input < 0 || c->value[IMAGE_CACHED] > u->cache_read)
		return impossible(c, IMAGE_CACHED, result);
	if (c->value[AUDIO_INPUT] + c->value[IMAGE_INPUT] > u->input + u->cache_read + u->cache_write + u->cache_write_1h)
		return impossible(c, c->path[AUDIO_INPUT] != NULL ? AUDIO_INPUT : IMAGE_INPUT, result);
	if (u->audio_of_output + u->image_of_output > u->output - u->reasoning)
		return impossible(c, c->path[AUDIO_OUTPUT] != NULL ? AUDIO_OUTPUT : IMAGE_OUTPUT, result);

	/*
	 * Some providers say how much of the prompt is audio but not how much of
	 * that was cached: what does not fit beside the uncached tokens was.
	 */
	if (u->audio_of_input + u->image_of_input > u->input)
	{
		int64_t		over = u->audio_of_input + u->image_of_input - u->input;
		int64_t		audio = over < u->audio_of_input ? over : u->audio_of_input;

		u->audio_of_input -= audio;
		u->image_of_input -= over - audio;
		u->audio_of_cache_read += audio;
		if (u->audio_of_cache_read > u->cache_read)
			u->audio_of_cache_read = u->cache_read;
	}
	return PRICE_USAGE_OK;
}

static uint32_t
present_buckets(const struct counts *c)
{
	return (c->path[INPUT] != NULL ? PRICE_HAS_INPUT : 0) |
		(c->path[CACHE_READ] != NULL ? PRICE_HAS_CACHE_READ : 0) |
		(c->path[CACHE_WRITE] != NULL || c->path[CACHE_WRITE_5M] != NULL ? PRICE_HAS_CACHE_WRITE : 0) |
		(c->path[CACHE_WRITE_1H] != NULL ? PRICE_HAS_CACHE_WRITE_1H : 0) |
		(c->path[OUTPUT] != NULL ? PRICE_HAS_OUTPUT : 0) |
		(c->path[REASONING] != NULL ? PRICE_HAS_REASONING : 0);
}

enum price_usage_status
price_usage_from_json(enum price_convention convention, struct price_text json, struct price_usage_result *result)
{
	struct price_usage *u = &result->usage;
	struct price_text object;
	struct counts c;
	enum price_usage_status status;
	int64_t		cached;

	memset(result, 0, sizeof(*result));
	if (price_json_value(json, &object) != PRICE_JSON_OBJECT)
		return PRICE_USAGE_NO_OBJECT;
	status = collect(conventions[convention].fields, object, &c, &result->field);
	if (status != PRICE_USAGE_OK)
		return status;

	if (!split_writes(&c, u))
		return impossible(&c, c.path[CACHE_WRITE_1H] != NULL ? CACHE_WRITE_1H : CACHE_WRITE_5M, result);
	u->cache_read = c.value[CACHE_READ];
	u->input = c.value[INPUT];
	if (conventions[convention].cached_inside)
	{
		cached = u->cache_read + u->cache_write + u->cache_write_1h;
		if (cached > u->input)
			return impossible(&c, u->cache_read > u->input || c.path[CACHE_WRITE] == NULL ? CACHE_READ : CACHE_WRITE, result);
		u->input -= cached;
	}
	u->input += c.value[TOOL_PROMPT];
	u->reasoning = c.value[REASONING];
	u->output = c.value[OUTPUT] + (conventions[convention].reasoning_inside ? 0 : u->reasoning);
	if (u->reasoning > u->output)
		return impossible(&c, REASONING, result);
	u->web_searches = c.value[WEB_SEARCHES];

	status = split_kinds(&c, u, result);
	if (status == PRICE_USAGE_OK)
		result->present = present_buckets(&c);
	return status;
}

const char *
price_usage_status_text(enum price_usage_status status)
{
	switch (status)
	{
		case PRICE_USAGE_OK:
			return "ok";
		case PRICE_USAGE_NO_OBJECT:
			return "is no JSON object";
		case PRICE_USAGE_NO_COUNT:
			return "is no whole number from 0 to 1000000000000";
		case PRICE_USAGE_IMPOSSIBLE:
			return "is more than what it is a part of";
	}
	return "unknown status";
}

const char *
price_convention_name(enum price_convention convention)
{
	return (unsigned) convention < PRICE_CONVENTIONS ? conventions[convention].name : "unknown convention";
}

bool
price_convention_named(struct price_text name, enum price_convention *convention)
{
	for (int i = 0; i < PRICE_CONVENTIONS; i++)
	{
		size_t		n = 0;

		if (strlen(conventions[i].name) != name.len)
			continue;
		while (n < name.len && (name.p[n] | (name.p[n] >= 'A' && name.p[n] <= 'Z' ? 32 : 0)) == conventions[i].name[n])
			n++;
		if (n == name.len)
		{
			*convention = (enum price_convention) i;
			return true;
		}
	}
	return false;
}
