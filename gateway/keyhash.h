/*
 * Keyed hashes of API keys: lower-case hex of the first EVENT_KEY_HASH_BYTES
 * bytes of HMAC-SHA-256(installation secret, text). Pure; any thread.
 */
#ifndef GATEWAY_KEYHASH_H
#define GATEWAY_KEYHASH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "extension/event_fields.h"

#define KEYHASH_HEX_CHARS (2 * EVENT_KEY_HASH_BYTES)

/* out gets KEYHASH_HEX_CHARS characters, not terminated. False when OpenSSL
 * fails (memory). */
bool		keyhash_hex(const uint8_t *secret, size_t secret_len,
						const char *text, size_t len, char out[KEYHASH_HEX_CHARS])
	__attribute__((warn_unused_result));
/*
 * Remembers hashes, for one secret: few keys make many events, and a hash costs
 * more than all else about an event. Texts must stay where they are.
 */
#define KEYHASH_CACHE_SLOTS 256

struct keyhash_cached
{
	uint32_t	len;
	char		hex[KEYHASH_HEX_CHARS];
};

struct keyhash_cache
{
	const char *texts[KEYHASH_CACHE_SLOTS];	/* NULL: the slot is free */
	struct keyhash_cached slots[KEYHASH_CACHE_SLOTS];
};

void		keyhash_cache_init(struct keyhash_cache *cache);
/* KEYHASH_HEX_CHARS characters, until the next call; NULL when OpenSSL fails. */
const char *keyhash_cached_hex(struct keyhash_cache *cache, const uint8_t *secret, size_t secret_len,
							   const char *text, uint32_t len);

/* Cuts the scheme word and the blanks after it ("Bearer ") from an
 * Authorization header; returns how many bytes to skip. */
size_t		keyhash_scheme_len(const char *text, size_t len);

#endif
