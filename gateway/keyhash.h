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
/* Cuts the scheme word and the blanks after it ("Bearer ") from an
 * Authorization header; returns how many bytes to skip. */
size_t		keyhash_scheme_len(const char *text, size_t len);

#endif
