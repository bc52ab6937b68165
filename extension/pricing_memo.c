/*
 * What names led to, remembered: a small table per backend, so that pricing
 * millions of rows of a dozen models matches each name once.
 *
 * Entered by backends and parallel workers. An entry is good for one load of the
 * catalogue (pricing_state.generation); a newer name simply takes its place.
 */
#include "postgres.h"

#include "extension/pricing.h"

#define MEMO_SLOTS			256		/* a power of two */
#define MEMO_NAME_BYTES		160		/* all three names; longer ones are matched each time */

struct memo_slot
{
	uint64		generation;		/* 0: free */
	uint32		hash;
	uint16		provider_len;
	uint16		model_len;
	uint16		version_len;
	uint8		status;			/* enum price_status */
	char		names[MEMO_NAME_BYTES];
	struct price_match match;
};

static struct memo_slot memo[MEMO_SLOTS];

/* The beginning, the end and the length: enough to spread names of models, and
 * whatever collides is told apart by comparing. */
static inline uint64
mix(uint64 h, struct price_text t)
{
	uint64		head = 0;
	uint64		tail = 0;

	if (t.len >= 8)
	{
		memcpy(&head, t.p, 8);
		memcpy(&tail, t.p + t.len - 8, 8);
	}
	else if (t.len > 0)
		for (size_t i = 0; i < t.len; i++)
			head = head << 8 | (unsigned char) t.p[i];
	return (h ^ head ^ (tail + t.len) * UINT64CONST(0xFF51AFD7ED558CCD)) * UINT64CONST(0x9E3779B97F4A7C15);
}

static inline bool
same_names(const struct memo_slot *slot, const struct price_request *r)
{
	const char *p = slot->names;

	return slot->model_len == r->model.len && slot->provider_len == r->provider.len &&
		slot->version_len == r->model_version.len &&
		memcmp(p, r->model.p, slot->model_len) == 0 &&
		(slot->provider_len == 0 || memcmp(p + slot->model_len, r->provider.p, slot->provider_len) == 0) &&
		(slot->version_len == 0 ||
		 memcmp(p + slot->model_len + slot->provider_len, r->model_version.p, slot->version_len) == 0);
}

static void
remember(struct memo_slot *slot, uint64 generation, uint32 hash, const struct price_request *r)
{
	char	   *p = slot->names;

	slot->generation = generation;
	slot->hash = hash;
	slot->model_len = (uint16) r->model.len;
	slot->provider_len = (uint16) r->provider.len;
	slot->version_len = (uint16) r->model_version.len;
	memcpy(p, r->model.p, r->model.len);
	if (r->provider.len > 0)
		memcpy(p + r->model.len, r->provider.p, r->provider.len);
	if (r->model_version.len > 0)
		memcpy(p + r->model.len + r->provider.len, r->model_version.p, r->model_version.len);
}

enum price_status
pricing_price(const struct price_request *request, struct price_cost *cost)
{
	const struct pricing_state *state = pricing_state();
	struct memo_slot *slot;
	uint64		h;

	if (request->model.len == 0 || request->model.len > MEMO_NAME_BYTES ||
		request->model.len + request->provider.len + request->model_version.len > MEMO_NAME_BYTES)
		return price_request_cost(state->catalogue, request, cost);

	h = mix(0, request->model);
	if (request->provider.len > 0)
		h = mix(h, request->provider);
	if (request->model_version.len > 0)
		h = mix(h ^ h >> 32, request->model_version);
	slot = &memo[(h >> 40) & (MEMO_SLOTS - 1)];
	if (unlikely(slot->generation != state->generation || slot->hash != (uint32) h || !same_names(slot, request)))
	{
		remember(slot, state->generation, (uint32) h, request);
		slot->status = (uint8) price_resolve(state->catalogue, request->provider, request->model,
											 request->model_version, &slot->match);
	}
	if (slot->status != PRICE_PRICED)
	{
		memset(cost, 0, sizeof(*cost));
		return (enum price_status) slot->status;
	}
	return price_resolved_cost(state->catalogue, &slot->match, request, cost, NULL);
}
