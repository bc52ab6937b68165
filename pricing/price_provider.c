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
	{"anthropic", true, LIST(), LIST("claude", "claude_sdk", "claude-sdk", "claude_code", "anthropic_messages")},
	{"openai", true, LIST(), LIST("openai_chat", "openai_responses", "text-completion-openai", "openai.chat", "openai.responses")},
	{"google", true, LIST("anthropic"), LIST("gemini", "vertex", "vertex_ai", "vertexai", "vertex-ai", "google_ai_studio",
											 "google-ai-studio", "google-vertex", "google-genai", "google_genai", "googleai", "gcp.vertex_ai", "gcp.gemini",
											 "gcp.gen_ai", "vertex_ai_beta", "vertex_ai-language-models", "vertex_ai-anthropic_models")},
	{"mistral", true, LIST(), LIST("mistralai", "mistral_ai", "mistral-ai")},
	{"deepseek", true, LIST(), LIST("deepseek-ai")},
	{"xai", true, LIST(), LIST("x-ai", "x_ai", "grok")},
	{"cohere", true, LIST(), LIST("cohere_chat")},
	{"moonshotai", true, LIST(), LIST("moonshot")},
	{"azure", false, LIST("openai", "anthropic", "deepseek", "xai", "moonshotai"), LIST("azure_openai", "azure-openai", "azure_ai",
																					   "azure-ai", "azure.ai.openai", "az.ai.openai", "azure.ai.inference", "az.ai.inference", "azure_text")},
	{"aws", false, LIST("anthropic"), LIST("bedrock", "aws_bedrock", "aws-bedrock", "aws.bedrock", "amazon", "amazon-bedrock",
										   "amazon_bedrock", "amazon_nova", "bedrock_converse", "bedrock_mantle")},
	{"openrouter", false, LIST("anthropic", "openai", "google", "mistral", "deepseek", "xai", "moonshotai", "cohere"), LIST()},
	{"groq", false, LIST(), LIST()},
	{"cerebras", false, LIST(), LIST()},
	{"together", false, LIST(), LIST("together_ai", "together-ai", "togetherai")},
	{"fireworks", false, LIST(), LIST("fireworks_ai", "fireworks-ai")},
	{"perplexity", false, LIST(), LIST()},
	{"github-copilot", false, LIST(), LIST("github_copilot", "copilot", "github")},
	{"novita", false, LIST(), LIST("novita-ai", "novita_ai")},
	{"baseten", false, LIST(), LIST()},
	{"cloudflare", false, LIST(), LIST("workers-ai")},
	{"ovhcloud", false, LIST(), LIST()},
	{"deepinfra", false, LIST(), LIST()},
	{"nebius", false, LIST(), LIST()},
	{"hyperbolic", false, LIST(), LIST()},
	{"sambanova", false, LIST(), LIST()},
	{"huggingface", false, LIST(), LIST("hugging_face", "hf")},
	{"replicate", false, LIST(), LIST()},
	{"databricks", false, LIST(), LIST()},
	{"snowflake", false, LIST(), LIST()},
	{"watsonx", false, LIST(), LIST("ibm.watsonx.ai", "ibm_watsonx")},
	{"nvidia", false, LIST(), LIST("nvidia_nim", "nim")},
	{"ollama", false, LIST(), LIST("ollama_chat")},
	{"vllm", false, LIST(), LIST("hosted_vllm")},
	{"lm_studio", false, LIST(), LIST("lmstudio", "lm-studio")},
	{"llamafile", false, LIST(), LIST("llama.cpp", "llamacpp", "localai", "local")},
	{"cursor", false, LIST(), LIST()},
	{"zai", false, LIST(), LIST("z-ai", "z.ai")},
	{"zhipuai", false, LIST(), LIST("zhipu")},
	{"minimax", false, LIST(), LIST("minimaxai")},
	{"voyage", false, LIST(), LIST("voyageai")},
	{"alibaba", false, LIST(), LIST("dashscope", "qwen")},
	{"meta", false, LIST(), LIST("meta_llama", "meta-llama")},
};

const size_t price_n_providers = sizeof(price_providers) / sizeof(price_providers[0]);

/* The name under which a provider's prices are kept; the given one when it is not known. */
struct price_text
price_provider_canonical(struct price_text provider)
{
	char		buffer[PRICE_MAX_NAME_BYTES];
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
