/*
 * GET /metrics/api/budget/check: may this request be forwarded, as far as money
 * goes? Answered from memory (budget.h), with 200 whatever the answer: a proxy
 * that fails on errors must not fail on "no".
 */
#include <string.h>

#include "gateway/keyhash.h"
#include "gateway/route_read.h"

static bool
refuse(struct request *r, const char *parameter, const char *message)
{
	struct query_error error = {parameter, message, "user, model, endpoint, team, api_key"};

	request_error_parameter(r, &error);
	return false;
}

static bool
parse(struct request *r, struct budget_question *question)
{
	memset(question, 0, sizeof(*question));
	for (size_t p = 0; p < r->target.nparameters; p++)
	{
		const struct query_parameter *given = &r->target.parameters[p];
		int			i = 0;

		while (i < BUDGET_SCOPES && strcmp(given->name, budget_scope_names[i]) != 0)
			i++;
		if (i == BUDGET_SCOPES)
			return refuse(r, given->name, "There is no such parameter.");
		if (question->values[i])
			return refuse(r, given->name, "A request has one of it: give it once.");
		question->values[i] = given->value;
	}
	return true;
}

/* Where user ids are stored as keyed hashes, budgets name those. */
static bool
hash_user(struct request *r)
{
	const char *user = r->budget.values[BUDGET_USER];
	struct store_facts facts;
	struct keyhash_cache cache;
	const uint8_t *hash;
	char		hex[KEYHASH_HEX_CHARS];

	if (user == NULL || !r->gateway->settings->hash_user_ids)
		return true;
	store_get_facts(r->gateway->store, &facts);
	if (!facts.known)
		return true;			/* nor are budgets */
	keyhash_cache_init(&cache, facts.hash_secret, facts.hash_secret_len);
	hash = keyhash_cached(&cache, user, (uint32_t) strlen(user));
	if (hash)
		keyhash_hex(hash, hex);
	keyhash_cache_free(&cache);
	user = hash ? arena_strndup(&r->arena, hex, sizeof(hex)) : NULL;
	r->budget.values[BUDGET_USER] = user;
	if (user)
		return true;
	request_unavailable(r, METRIC_REFUSED_MEMORY, 1, "Out of memory.");
	return false;
}

static void
answer(struct request *r)
{
	struct text t;

	text_init(&t);
	budgets_write(r->gateway->budgets, &r->budget, &t);
	request_answer(r, MHD_HTTP_OK, CONTENT_JSON, &t);
}

static void
waited(struct budget_waiter *waiter)
{
	request_complete(waiter->owner);
}

static enum request_handled
handle(struct request *r)
{
	if (!parse(r, &r->budget) || !hash_user(r))
		return REQUEST_ANSWERED;
	if (budgets_ask(r->gateway->budgets))
	{
		answer(r);
		return REQUEST_ANSWERED;
	}
	r->wait_limit_ms = r->gateway->settings->budget_wait_ms;
	r->budget_waiter = (struct budget_waiter) {.done = waited, .owner = r};
	return REQUEST_WAIT;
}

static bool
publish(struct request *r)
{
	if (budgets_wait(r->gateway->budgets, &r->budget_waiter))
		return true;
	answer(r);
	return false;
}

/* In time or not: what is known by now. */
static void
finish(struct request *r, bool expired)
{
	(void) expired;
	answer(r);
}

/* What is only in a file has not been counted. */
static bool
enabled(const struct settings *settings)
{
	return settings->storage != STORAGE_SQLITE;
}

const struct route route_budget = {
	.metric = METRIC_ROUTE_BUDGET,
	.path = "/metrics/api/budget/check",
	.methods = "GET, HEAD",
	.scope = AUTH_READ,
	.enabled = enabled,
	.handle = handle,
	.publish = publish,
	.finish = finish,
};
