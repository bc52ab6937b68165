/*
 * Keyed hashes of API keys: the first EVENT_KEY_HASH_BYTES bytes of
 * HMAC-SHA-256(installation secret, text). Pure; any thread, one at
 * a time for each cache.
 */
#ifndef GATEWAY_KEYHASH_H
#define GATEWAY_KEYHASH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "extension/event_fields.h"

#define KEYHASH_HEX_CHARS (2 * EVENT_KEY_HASH_BYTES)

/* Lower-case hex, not terminated. */
void		keyhash_hex(const uint8_t hash[EVENT_KEY_HASH_BYTES], char out[KEYHASH_HEX_CHARS]);

/*
 * Hashes with one secret, and remembers them: few keys make many events, and a
 * hash costs more than all else about an event. Secret and texts must stay
 * where they are.
 */
#define KEYHASH_CACHE_SLOTS 256

struct keyhash_cached
{
	uint32_t	len;
	uint8_t		hash[EVENT_KEY_HASH_BYTES];
};

struct evp_mac_ctx_st;

struct keyhash_cache
{
	const uint8_t *secret;
	size_t		secret_len;
	struct evp_mac_ctx_st *mac;	/* OpenSSL's, with the secret in it; made when first needed */
	const char *texts[KEYHASH_CACHE_SLOTS];	/* NULL: the slot is free */
	struct keyhash_cached slots[KEYHASH_CACHE_SLOTS];
};

void		keyhash_cache_init(struct keyhash_cache *cache, const uint8_t *secret, size_t secret_len);
void		keyhash_cache_free(struct keyhash_cache *cache);
/* EVENT_KEY_HASH_BYTES bytes, until the next call; NULL when OpenSSL fails (memory). */
const uint8_t *keyhash_cached(struct keyhash_cache *cache, const char *text, uint32_t len);

/* Cuts the scheme word and the blanks after it ("Bearer ") from an
 * Authorization header; returns how many bytes to skip. */
size_t		keyhash_scheme_len(const char *text, size_t len);

#endif
