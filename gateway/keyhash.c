/*
 * Keyed hashes of API keys; see keyhash.h.
 */
#include "gateway/keyhash.h"

#include <limits.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <string.h>

bool
keyhash(const uint8_t *secret, size_t secret_len,
		const char *text, size_t len, uint8_t out[EVENT_KEY_HASH_BYTES])
{
	unsigned char digest[EVP_MAX_MD_SIZE];
	unsigned int digest_len = 0;

	if (secret_len > INT_MAX ||
		HMAC(EVP_sha256(), secret, (int) secret_len,
			 (const unsigned char *) text, len, digest, &digest_len) == NULL ||
		digest_len < EVENT_KEY_HASH_BYTES)
		return false;
	memcpy(out, digest, EVENT_KEY_HASH_BYTES);
	return true;
}

void
keyhash_hex(const uint8_t hash[EVENT_KEY_HASH_BYTES], char out[KEYHASH_HEX_CHARS])
{
	static const char hex[] = "0123456789abcdef";

	for (int i = 0; i < EVENT_KEY_HASH_BYTES; i++)
	{
		out[2 * i] = hex[hash[i] >> 4];
		out[2 * i + 1] = hex[hash[i] & 15];
	}
}

void
keyhash_cache_init(struct keyhash_cache *cache)
{
	memset(cache->texts, 0, sizeof(cache->texts));
}

/* Where a text belongs: keys differ at their end. */
static unsigned
slot_of(const char *text, uint32_t len)
{
	uint32_t	hash = len;

	for (uint32_t i = len > 16 ? len - 16 : 0; i < len; i++)
		hash = hash * 31 + (unsigned char) text[i];
	return (hash ^ hash >> 8 ^ hash >> 16) % KEYHASH_CACHE_SLOTS;
}

const uint8_t *
keyhash_cached(struct keyhash_cache *cache, const uint8_t *secret, size_t secret_len,
			   const char *text, uint32_t len)
{
	unsigned	i = slot_of(text, len);
	struct keyhash_cached *slot = &cache->slots[i];

	if (cache->texts[i] != NULL && slot->len == len && memcmp(cache->texts[i], text, len) == 0)
		return slot->hash;
	cache->texts[i] = NULL;
	if (!keyhash(secret, secret_len, text, len, slot->hash))
		return NULL;
	cache->texts[i] = text;
	slot->len = len;
	return slot->hash;
}

size_t
keyhash_scheme_len(const char *text, size_t len)
{
	size_t		i = 0;

	while (i < len && text[i] != ' ')
		i++;
	if (i == len)
		return 0;				/* one word: it is the key itself */
	while (i < len && text[i] == ' ')
		i++;
	return i;
}
