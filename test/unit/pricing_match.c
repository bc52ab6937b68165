/*
 * Which price a model's name leads to, and which names lead nowhere.
 */
#include "test/unit/pricing_tap.h"

/* The model whose price a name leads to; '' when there is none. */
static struct price_text
matched(const char *provider, const char *model, const char *version, struct price_text *of, enum price_rule *rule)
{
	struct price_match match;
	struct price_choice choice;
	struct price_cost cost;
	struct price_request request = {
		.provider = text_of(provider),
		.model = text_of(model),
		.model_version = text_of(version),
		.at_us = INT64_C(1760000000000000),
	};
	const struct price_catalogue *cat = price_shipped_catalogue();

	*of = PRICE_TEXT("");
	if (price_resolve(cat, request.provider, request.model, request.model_version, &match) != PRICE_PRICED ||
		price_resolved_cost(cat, &match, &request, &cost, &choice) != PRICE_PRICED)
		return PRICE_TEXT("");
	*of = choice.row->provider;
	*rule = choice.rule;
	return choice.row->model;
}

static void
leads_to(const char *provider, const char *model, const char *expected)
{
	struct price_text of;
	enum price_rule rule;
	char		name[600];

	snprintf(name, sizeof(name), "%s%s%s", provider == NULL ? "" : provider, provider == NULL ? "" : ": ", model);
	is_text(matched(provider, model, NULL, &of, &rule), expected, name);
}

int
main(void)
{
	struct price_text of;
	enum price_rule rule;
	char		long_name[400];

	/* the name itself */
	leads_to(NULL, "gpt-4", "gpt-4");
	leads_to(NULL, "GPT-4", "gpt-4");
	leads_to("openai", "gpt-4", "gpt-4");
	leads_to("OpenAI", "gpt-4o-mini", "gpt-4o-mini");
	leads_to("somebodys-proxy", "gpt-4", "gpt-4");

	/* behind it: dates, versions */
	leads_to(NULL, "claude-3-5-sonnet-20241022", "claude-3-5-sonnet");
	leads_to(NULL, "claude-3-5-sonnet-latest", "claude-3-5-sonnet");
	leads_to(NULL, "claude-3-5-sonnet@20241022", "claude-3-5-sonnet");
	leads_to(NULL, "claude-sonnet-4-5-20250929[1m]", "claude-sonnet-4-5");
	leads_to(NULL, "gpt-4o-2024-08-06", "gpt-4o");
	leads_to(NULL, "gemini-2.0-flash-001", "gemini-2.0-flash");
	leads_to(NULL, "claude-opus-4-20250514", "claude-opus-4");
	leads_to(NULL, "claude-opus-4-1-20250805", "claude-opus-4-1");

	/* before it: providers, clouds */
	leads_to(NULL, "openai/gpt-4o", "gpt-4o");
	leads_to(NULL, "anthropic/claude-3.5-sonnet", "claude-3-5-sonnet");
	leads_to(NULL, "openrouter/anthropic/claude-3.5-sonnet", "claude-3-5-sonnet");
	leads_to("openrouter", "openai/gpt-4o-mini", "gpt-4o-mini");
	leads_to(NULL, "azure/gpt-4o", "gpt-4o");
	leads_to("azure", "gpt-35-turbo", "gpt-3.5-turbo");
	leads_to(NULL, "models/gemini-2.5-pro", "gemini-2.5-pro");
	leads_to("vertex_ai", "publishers/google/models/gemini-2.5-flash", "gemini-2.5-flash");
	leads_to("vertex_ai", "projects/p/locations/us-east5/publishers/anthropic/models/claude-sonnet-4@20250514", "claude-4-sonnet");
	leads_to(NULL, "anthropic.claude-3-5-sonnet-20240620-v1:0", "anthropic.claude-3-5-sonnet");
	leads_to(NULL, "global.anthropic.claude-opus-4-5-20251101-v1:0", "global.anthropic.claude-opus-4-5");
	leads_to("aws", "claude-opus-4-5", "anthropic.claude-opus-4-5");
	leads_to("aws", "us.amazon.nova-pro-v1:0", "amazon.nova-pro");
	leads_to(NULL, "accounts/fireworks/models/gpt-oss-20b", "accounts/fireworks/models/gpt-oss-20b");
	leads_to(NULL, "fireworks_ai/accounts/fireworks/models/gpt-oss-20b", "accounts/fireworks/models/gpt-oss-20b");
	leads_to("groq", "openai/gpt-oss-120b", "openai/gpt-oss-120b");
	leads_to(NULL, "groq/openai/gpt-oss-120b", "openai/gpt-oss-120b");
	leads_to(NULL, "ft:gpt-4o-mini-2024-07-18:acme:name:id", "ft:gpt-4o-mini");
	leads_to(NULL, "gpt-4o-2024-05-13", "gpt-4o-2024-05-13");
	leads_to(NULL, "gemini-2.5-flash-lite-preview-09-2025", "gemini-2.5-flash-lite-preview");
	leads_to(NULL, "claude-4-opus", "claude-opus-4");
	leads_to("bedrock", "us.anthropic.claude-3-7-sonnet-20250219-v1:0", "anthropic.claude-3-7-sonnet");
	leads_to(NULL, "bedrock/us-east-1/eu.anthropic.claude-haiku-4-5-20251001-v1:0", "anthropic.claude-haiku-4-5");
	leads_to(NULL, "arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.anthropic.claude-3-haiku-20240307-v1:0", "anthropic.claude-3-haiku");
	leads_to(NULL, "bedrock/arn:aws:bedrock:eu-west-1::foundation-model/anthropic.claude-3-opus-20240229-v1:0", "anthropic.claude-3-opus");

	/* never lose a digit that names a generation, nor guess a successor's price */
	leads_to(NULL, "claude-opus-4-99", "");
	leads_to(NULL, "claude-opus-49", "");
	leads_to(NULL, "gpt-4.9", "");
	leads_to(NULL, "gpt-4-9999", "");
	leads_to(NULL, "gpt-4o-mini-huge", "");
	leads_to(NULL, "claude-3", "");
	leads_to(NULL, "claude-3-5-sonnet-20241399", "");
	leads_to(NULL, "gpt", "");
	leads_to(NULL, "-20240101", "");
	leads_to(NULL, "/", "");
	leads_to(NULL, "ft:", "");

	/* never another provider's model */
	leads_to("anthropic", "gpt-4", "");
	leads_to("openai", "claude-3-opus", "");
	leads_to("anthropic", "openai/gpt-4", "");
	leads_to("ollama", "gpt-4", "");
	leads_to("groq", "openai/gpt-4", "");
	leads_to(NULL, "ollama/gpt-4", "");
	leads_to(NULL, "somewhere/gpt-4", "");
	leads_to(NULL, "gpt-oss-120b", "");
	leads_to("openai", "gpt-oss-120b", "gpt-oss-120b");
	leads_to(NULL, "gemma-4-31b-it", "");
	leads_to("mistral", "claude-3-opus", "");
	leads_to(NULL, "meta.gpt-4", "");
	leads_to(NULL, "ft:gpt-4:acme::id", "");

	/* served before requested */
	is_text(matched(NULL, "gpt-4", "gpt-4o-2024-08-06", &of, &rule), "gpt-4o", "the served model decides");
	is_text(matched(NULL, "gpt-4", "my-deployment", &of, &rule), "gpt-4", "unless it is not known");

	/* what is said about it */
	matched("azure", "gpt-4o", NULL, &of, &rule);
	is_text(of, "openai", "Azure sells at the maker's price");
	matched(NULL, "gpt-4o", NULL, &of, &rule);
	is_int(rule, PRICE_RULE_EXACT, "rule: exact");
	matched(NULL, "claude-3.5-haiku", NULL, &of, &rule);
	is_int(rule, PRICE_RULE_ALIAS, "rule: alias");
	matched(NULL, "openai/gpt-4o", NULL, &of, &rule);
	is_int(rule, PRICE_RULE_PREFIX_STRIPPED, "rule: prefix");
	matched(NULL, "openai/gpt-4o-2024-08-06", NULL, &of, &rule);
	is_int(rule, PRICE_RULE_SUFFIX_STRIPPED, "rule: suffix");

	memset(long_name, 'a', sizeof(long_name) - 1);
	long_name[sizeof(long_name) - 1] = '\0';
	leads_to(NULL, long_name, "");
	return done_testing();
}
