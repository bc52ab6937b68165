/*
 * Keyed hashes of API keys; see keyhash.h.
 */
#include "gateway/keyhash.h"

#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <string.h>

/* With the secret set up, a hash costs a third of HMAC() from scratch. */
static EVP_MAC_CTX *
new_mac(const uint8_t *secret, size_t secret_len)
{
	char		digest[] = "SHA256";
	const OSSL_PARAM params[] = {
		OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0),
		OSSL_PARAM_construct_end()
	};
	EVP_MAC    *hmac = EVP_MAC_fetch(NULL, "HMAC", NULL);
	EVP_MAC_CTX *mac = hmac ? EVP_MAC_CTX_new(hmac) : NULL;

	EVP_MAC_free(hmac);			/* the context holds on to it */
	if (mac != NULL && EVP_MAC_init(mac, secret, secret_len, params) != 1)
	{
		EVP_MAC_CTX_free(mac);
		mac = NULL;
	}
	return mac;
}

static bool
compute(struct keyhash_cache *cache, const char *text, size_t len, uint8_t out[EVENT_KEY_HASH_BYTES])
{
	unsigned char digest[EVP_MAX_MD_SIZE];
	size_t		digest_len = 0;

	if (cache->mac == NULL)
		cache->mac = new_mac(cache->secret, cache->secret_len);
	if (cache->mac == NULL ||
		EVP_MAC_init(cache->mac, NULL, 0, NULL) != 1 ||
		EVP_MAC_update(cache->mac, (const unsigned char *) text, len) != 1 ||
		EVP_MAC_final(cache->mac, digest, &digest_len, sizeof(digest)) != 1 ||
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
keyhash_cache_init(struct keyhash_cache *cache, const uint8_t *secret, size_t secret_len)
{
	cache->secret = secret;
	cache->secret_len = secret_len;
	cache->mac = NULL;
	memset(cache->texts, 0, sizeof(cache->texts));
}

void
keyhash_cache_free(struct keyhash_cache *cache)
{
	EVP_MAC_CTX_free(cache->mac);
	cache->mac = NULL;
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
keyhash_cached(struct keyhash_cache *cache, const char *text, uint32_t len)
{
	unsigned	i = slot_of(text, len);
	struct keyhash_cached *slot = &cache->slots[i];

	if (cache->texts[i] != NULL && slot->len == len && memcmp(cache->texts[i], text, len) == 0)
		return slot->hash;
	cache->texts[i] = NULL;
	if (!compute(cache, text, len, slot->hash))
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
