/*
 * Keyed hashes of API keys; see keyhash.h.
 */
#include "gateway/keyhash.h"

#include <limits.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

bool
keyhash_hex(const uint8_t *secret, size_t secret_len,
			const char *text, size_t len, char out[KEYHASH_HEX_CHARS])
{
	static const char hex[] = "0123456789abcdef";
	unsigned char digest[EVP_MAX_MD_SIZE];
	unsigned int digest_len = 0;

	if (secret_len > INT_MAX ||
		HMAC(EVP_sha256(), secret, (int) secret_len,
			 (const unsigned char *) text, len, digest, &digest_len) == NULL ||
		digest_len < EVENT_KEY_HASH_BYTES)
		return false;
	for (int i = 0; i < EVENT_KEY_HASH_BYTES; i++)
	{
		out[2 * i] = hex[digest[i] >> 4];
		out[2 * i + 1] = hex[digest[i] & 15];
	}
	return true;
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
