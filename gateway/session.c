/*
 * Stamps of one-time links and sessions (session.h).
 */
#include "gateway/session.h"

#include <inttypes.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <string.h>

#define TIME_HEX_CHARS	16
#define MAC_AT			(3 + TIME_HEX_CHARS + 1 + 2 * SESSION_NONCE_BYTES + 1)

static void
hmac(const uint8_t *key, const void *data, size_t len, uint8_t mac[SESSION_MAC_BYTES])
{
	unsigned int n = SESSION_MAC_BYTES;

	/* cannot fail for SHA-256 and so little data; a MAC of zeros would be guessed */
	if (HMAC(EVP_sha256(), key, SESSION_KEY_BYTES, data, len, mac, &n) == NULL)
		RAND_bytes(mac, SESSION_MAC_BYTES);
}

void
session_key(const uint8_t *token_hash, uint8_t key[SESSION_KEY_BYTES])
{
	static const char label[] = "ccproxy_metrics dashboard session v1";

	hmac(token_hash, label, sizeof(label) - 1, key);
}

static void
put_hex(char *out, const uint8_t *bytes, size_t n)
{
	static const char digits[] = "0123456789abcdef";

	for (size_t i = 0; i < n; i++)
	{
		*out++ = digits[bytes[i] >> 4];
		*out++ = digits[bytes[i] & 15];
	}
}

static int
hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return -1;
}

static bool
get_hex(const char *text, uint8_t *bytes, size_t n)
{
	for (size_t i = 0; i < n; i++)
	{
		int			high = hex_digit(text[2 * i]);
		int			low = hex_digit(text[2 * i + 1]);

		if (high < 0 || low < 0)
			return false;
		bytes[i] = (uint8_t) (high << 4 | low);
	}
	return true;
}

/* The MAC of what stands before it, under the purpose. */
static void
stamp_mac(enum session_purpose purpose, const uint8_t *key, const char *stamp, uint8_t mac[SESSION_MAC_BYTES])
{
	char		signed_text[1 + MAC_AT];

	signed_text[0] = purpose == SESSION_LINK ? 'L' : 'C';
	memcpy(signed_text + 1, stamp, MAC_AT);
	hmac(key, signed_text, sizeof(signed_text), mac);
}

bool
session_stamp(enum session_purpose purpose, const uint8_t key[SESSION_KEY_BYTES], int64_t time_ms,
			  char stamp[SESSION_STAMP_SIZE])
{
	uint8_t		nonce[SESSION_NONCE_BYTES];
	uint8_t		mac[SESSION_MAC_BYTES];

	if (RAND_bytes(nonce, sizeof(nonce)) != 1)
		return false;
	snprintf(stamp, SESSION_STAMP_SIZE, "v1.%016" PRIx64 ".", (uint64_t) time_ms);
	put_hex(stamp + 3 + TIME_HEX_CHARS + 1, nonce, sizeof(nonce));
	stamp[MAC_AT - 1] = '.';
	stamp_mac(purpose, key, stamp, mac);
	put_hex(stamp + MAC_AT, mac, sizeof(mac));
	stamp[SESSION_STAMP_SIZE - 1] = '\0';
	return true;
}

bool
session_verify(enum session_purpose purpose, const uint8_t key[SESSION_KEY_BYTES], const char *text, size_t len,
			   int64_t *time_ms, uint8_t nonce[SESSION_NONCE_BYTES])
{
	uint8_t		time[TIME_HEX_CHARS / 2];
	uint8_t		given[SESSION_MAC_BYTES];
	uint8_t		mac[SESSION_MAC_BYTES];
	uint64_t	value = 0;

	if (len != SESSION_STAMP_SIZE - 1 || memcmp(text, "v1.", 3) != 0 || text[3 + TIME_HEX_CHARS] != '.' ||
		text[MAC_AT - 1] != '.' || !get_hex(text + 3, time, sizeof(time)) ||
		!get_hex(text + 3 + TIME_HEX_CHARS + 1, nonce, SESSION_NONCE_BYTES) || !get_hex(text + MAC_AT, given, sizeof(given)))
		return false;
	stamp_mac(purpose, key, text, mac);
	if (CRYPTO_memcmp(mac, given, sizeof(mac)) != 0)
		return false;
	for (size_t i = 0; i < sizeof(time); i++)
		value = value << 8 | time[i];
	*time_ms = (int64_t) value;
	return true;
}

bool
session_use(struct session_used *used, const uint8_t nonce[SESSION_NONCE_BYTES], int64_t until_ms, int64_t now_ms)
{
	size_t		kept = 0;

	for (size_t i = 0; i < used->n; i++)
	{
		if (memcmp(used->links[i].nonce, nonce, SESSION_NONCE_BYTES) == 0)
			return false;
		if (used->links[i].until_ms > now_ms)
			used->links[kept++] = used->links[i];
	}
	used->n = kept;
	if (kept == SESSION_MAX_USED)
		return false;
	memcpy(used->links[kept].nonce, nonce, SESSION_NONCE_BYTES);
	used->links[kept].until_ms = until_ms;
	used->n++;
	return true;
}
