/*
 * Providers: which of them make the models that carry their name, which resell
 * others' at the maker's price, and what else they are called.
 *
 * Constant data; any thread. A provider that is listed but has no prices of its
 * own and no makers (ollama, a host of open models) makes its models unknown:
 * that is the point of listing it, because 'llama' or 'deepseek' served there
 * does not cost what the maker charges.
 */
#include "pricing/price_index.h"

#define LIST(...) ((const char *const[]) {__VA_ARGS__ __VA_OPT__(,) NULL})

const struct price_provider price_providers[] = {
	{"anthropic", true, LIST(), LIST("claude", "claude_sdk", "claude-sdk", "claude_code", "anthropic_messages"), LIST()},
	{"openai", true, LIST(), LIST("openai_chat", "openai_responses", "text-completion-openai", "openai.chat", "openai.responses"), LIST("gpt-oss-")},
	{"google", true, LIST("anthropic"), LIST("gemini", "vertex", "vertex_ai", "vertexai", "vertex-ai", "google_ai_studio",
											 "google-ai-studio", "google-vertex", "google-genai", "google_genai", "googleai", "gcp.vertex_ai", "gcp.gemini",
											 "gcp.gen_ai", "vertex_ai_beta", "vertex_ai-language-models", "vertex_ai-anthropic_models"), LIST("gemma-")},
	{"mistral", true, LIST(), LIST("mistralai", "mistral_ai", "mistral-ai"), LIST("mixtral-", "open-", "mistral-7b")},
	{"deepseek", true, LIST(), LIST("deepseek-ai"), LIST()},
	{"xai", true, LIST(), LIST("x-ai", "x_ai", "grok"), LIST()},
	{"cohere", true, LIST(), LIST("cohere_chat"), LIST()},
	{"moonshotai", true, LIST(), LIST("moonshot"), LIST()},
	{"azure", false, LIST("openai", "anthropic", "deepseek", "xai", "moonshotai"), LIST("azure_openai", "azure-openai", "azure_ai",
																					   "azure-ai", "azure.ai.openai", "az.ai.openai", "azure.ai.inference", "az.ai.inference", "azure_text"), LIST()},
	{"aws", false, LIST("anthropic"), LIST("bedrock", "aws_bedrock", "aws-bedrock", "aws.bedrock", "amazon", "amazon-bedrock",
										   "amazon_bedrock", "amazon_nova", "bedrock_converse", "bedrock_mantle"), LIST()},
	{"openrouter", false, LIST("anthropic", "openai", "google", "mistral", "deepseek", "xai", "moonshotai", "cohere"), LIST(), LIST()},
	{"groq", false, LIST(), LIST(), LIST()},
	{"cerebras", false, LIST(), LIST(), LIST()},
	{"together", false, LIST(), LIST("together_ai", "together-ai", "togetherai"), LIST()},
	{"fireworks", false, LIST(), LIST("fireworks_ai", "fireworks-ai"), LIST()},
	{"perplexity", false, LIST(), LIST(), LIST()},
	{"github-copilot", false, LIST(), LIST("github_copilot", "copilot", "github"), LIST()},
	{"novita", false, LIST(), LIST("novita-ai", "novita_ai"), LIST()},
	{"baseten", false, LIST(), LIST(), LIST()},
	{"cloudflare", false, LIST(), LIST("workers-ai"), LIST()},
	{"ovhcloud", false, LIST(), LIST(), LIST()},
	{"deepinfra", false, LIST(), LIST(), LIST()},
	{"nebius", false, LIST(), LIST(), LIST()},
	{"hyperbolic", false, LIST(), LIST(), LIST()},
	{"sambanova", false, LIST(), LIST(), LIST()},
	{"huggingface", false, LIST(), LIST("hugging_face", "hf"), LIST()},
	{"replicate", false, LIST(), LIST(), LIST()},
	{"databricks", false, LIST(), LIST(), LIST()},
	{"snowflake", false, LIST(), LIST(), LIST()},
	{"watsonx", false, LIST(), LIST("ibm.watsonx.ai", "ibm_watsonx"), LIST()},
	{"nvidia", false, LIST(), LIST("nvidia_nim", "nim"), LIST()},
	{"ollama", false, LIST(), LIST("ollama_chat"), LIST()},
	{"vllm", false, LIST(), LIST("hosted_vllm"), LIST()},
	{"lm_studio", false, LIST(), LIST("lmstudio", "lm-studio"), LIST()},
	{"llamafile", false, LIST(), LIST("llama.cpp", "llamacpp", "localai", "local"), LIST()},
	{"cursor", false, LIST(), LIST(), LIST()},
	{"zai", false, LIST(), LIST("z-ai", "z.ai"), LIST()},
	{"zhipuai", false, LIST(), LIST("zhipu"), LIST()},
	{"minimax", false, LIST(), LIST("minimaxai"), LIST()},
	{"voyage", false, LIST(), LIST("voyageai"), LIST()},
	{"alibaba", false, LIST(), LIST("dashscope", "qwen"), LIST()},
	{"meta", false, LIST(), LIST("meta_llama", "meta-llama"), LIST()},
};

const size_t price_n_providers = sizeof(price_providers) / sizeof(price_providers[0]);

/* The name under which a provider's prices are kept; the given one when it is not known. */
struct price_text
price_provider_canonical(struct price_text provider)
{
	char		buffer[PRICE_NAME_BUFFER];
	struct price_text lower;

	if (!price_lower(provider, buffer, &lower))
		return provider;
	for (size_t i = 0; i < price_n_providers; i++)
	{
		const struct price_provider *p = &price_providers[i];
		struct price_text name = {p->name, strlen(p->name)};

		if (price_text_equal(name, lower))
			return name;
		for (const char *const *alias = p->aliases; *alias != NULL; alias++)
			if (price_text_equal((struct price_text) {*alias, strlen(*alias)}, lower))
				return name;
	}
	return provider;
}
