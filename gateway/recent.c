/*
 * Keys stored lately; see recent.h. A bucket is one cache line of fingerprints,
 * the newest first.
 */
#include "gateway/recent.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#define BUCKET_KEYS 8

bool
recent_init(struct recent *r, size_t keys)
{
	size_t		buckets = 1;

	*r = (struct recent) {0};
	if (keys == 0)
		return true;
	while (buckets * BUCKET_KEYS < keys)
		buckets *= 2;
	if (getrandom(&r->seed, sizeof(r->seed), 0) != sizeof(r->seed))
		return false;
	/* a cache line each; pages nobody has used cost nothing */
	r->slots = calloc(buckets, BUCKET_KEYS * sizeof(uint64_t));
	r->buckets = buckets;
	return r->slots != NULL;
}

void
recent_free(struct recent *r)
{
	free(r->slots);
	*r = (struct recent) {0};
}

static inline uint64_t
mix(uint64_t h, uint64_t v)
{
	h ^= v * UINT64_C(0x9e3779b185ebca87);
	h = (h << 31) | (h >> 33);
	return h * UINT64_C(0xc2b2ae3d27d4eb4f);
}

uint64_t
recent_key(const struct recent *r, const struct event *e)
{
	const char *p = e->request_id;
	size_t		left = e->request_id_len;
	uint64_t	h = mix(r->seed ^ left, (uint64_t) e->ts_us);
	uint64_t	v;

	for (; left >= sizeof(v); p += sizeof(v), left -= sizeof(v))
	{
		memcpy(&v, p, sizeof(v));
		h = mix(h, v);
	}
	v = 0;
	memcpy(&v, p, left);
	h = mix(h, v);
	h ^= h >> 32;
	h *= UINT64_C(0x165667b19e3779f9);
	h ^= h >> 29;
	return h != 0 ? h : 1;
}

static uint64_t *
bucket_of(const struct recent *r, uint64_t key)
{
	return &r->slots[(key & (r->buckets - 1)) * BUCKET_KEYS];
}

bool
recent_has(const struct recent *r, uint64_t key)
{
	const uint64_t *bucket;

	if (r->slots == NULL)
		return false;
	bucket = bucket_of(r, key);
	for (int i = 0; i < BUCKET_KEYS; i++)
		if (bucket[i] == key)
			return true;
	return false;
}

void
recent_add(struct recent *r, uint64_t key)
{
	uint64_t   *bucket;
	int			i = 0;

	if (r->slots == NULL)
		return;
	bucket = bucket_of(r, key);
	/* one that is there already moves to the front */
	while (i < BUCKET_KEYS - 1 && bucket[i] != key)
		i++;
	memmove(bucket + 1, bucket, (size_t) i * sizeof(*bucket));
	bucket[0] = key;
}
