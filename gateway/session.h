/*
 * Signing in to the dashboard: one-time links and the cookie they are changed
 * for. Both are stamps, "v1.TIME.NONCE.MAC" in hexadecimal: nothing is stored
 * but which links have been used.
 *
 * The key of a stamp is derived from a read token, so that sessions survive a
 * restart, need no secret of their own, end when the token is taken away, and
 * see what the token sees. Pure but for session_stamp() (randomness) and the
 * table of used links, which has a lock of its own: any thread may call.
 */
#ifndef GATEWAY_SESSION_H
#define GATEWAY_SESSION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SESSION_KEY_BYTES	32
#define SESSION_NONCE_BYTES 16
#define SESSION_MAC_BYTES	32
/* "v1." time "." nonce "." mac, and the NUL */
#define SESSION_STAMP_SIZE	(3 + 16 + 1 + 2 * SESSION_NONCE_BYTES + 1 + 2 * SESSION_MAC_BYTES + 1)
/* Links that were used and have not expired yet; beyond this many signing in
 * has to wait for some to expire. */
#define SESSION_MAX_USED	1024

enum session_purpose
{
	SESSION_LINK,				/* time: when it was made */
	SESSION_COOKIE				/* time: when it expires */
};

struct session_used
{
	size_t		n;
	struct
	{
		uint8_t		nonce[SESSION_NONCE_BYTES];
		int64_t		until_ms;
	}			links[SESSION_MAX_USED];
};

/* The key that goes with a token, from the token's SHA-256 (32 bytes). */
void		session_key(const uint8_t *token_hash, uint8_t key[SESSION_KEY_BYTES]);
/* Makes a stamp; time_ms is wall clock. False without randomness. */
bool		session_stamp(enum session_purpose purpose, const uint8_t key[SESSION_KEY_BYTES], int64_t time_ms,
						  char stamp[SESSION_STAMP_SIZE])
			__attribute__((warn_unused_result));
/* Is this len-byte text a stamp of that purpose under that key? Sets its time
 * and nonce. Takes the same time whatever the MAC is. */
bool		session_verify(enum session_purpose purpose, const uint8_t key[SESSION_KEY_BYTES], const char *text, size_t len,
						   int64_t *time_ms, uint8_t nonce[SESSION_NONCE_BYTES])
			__attribute__((warn_unused_result));
/* Notes that a link has been used; until_ms: when it would expire. False when
 * it was used before, or the table is full. */
bool		session_use(struct session_used *used, const uint8_t nonce[SESSION_NONCE_BYTES], int64_t until_ms, int64_t now_ms)
			__attribute__((warn_unused_result));

#endif
