/*
 * One-time links and session cookies.
 */
#include <stdlib.h>
#include <string.h>

#include "gateway/session.h"
#include "test/unit/tap.h"

#define NOW INT64_C(1770000000000)

static uint8_t key[SESSION_KEY_BYTES];
static uint8_t other[SESSION_KEY_BYTES];

static bool
verify(enum session_purpose purpose, const uint8_t *with, const char *text, size_t len)
{
	uint8_t		nonce[SESSION_NONCE_BYTES];
	int64_t		time;

	return session_verify(purpose, with, text, len, &time, nonce);
}

static void
test_stamps(void)
{
	char		link[SESSION_STAMP_SIZE];
	char		second[SESSION_STAMP_SIZE];
	char		changed[SESSION_STAMP_SIZE];
	uint8_t		nonce[SESSION_NONCE_BYTES];
	int64_t		time = 0;
	size_t		len = SESSION_STAMP_SIZE - 1;
	int			accepted = 0;

	ok(session_stamp(SESSION_LINK, key, NOW, link), "a stamp is made");
	is_int((int64_t) strlen(link), (int64_t) len, "of the promised length");
	ok(session_verify(SESSION_LINK, key, link, len, &time, nonce), "and verified");
	is_int(time, NOW, "with its time");
	ok(!verify(SESSION_LINK, other, link, len), "not under another key");
	ok(!verify(SESSION_COOKIE, key, link, len), "a link is no cookie");
	ok(!verify(SESSION_LINK, key, link, len - 1), "nor when it is short");
	ok(!verify(SESSION_LINK, key, link, 0), "nor when it is empty");
	ok(session_stamp(SESSION_LINK, key, NOW, second) && strcmp(link, second) != 0, "two of one moment differ");
	for (size_t i = 0; i < len; i++)
	{
		memcpy(changed, link, sizeof(changed));
		changed[i] = changed[i] == '0' ? '1' : '0';
		accepted += verify(SESSION_LINK, key, changed, len);
		changed[i] = 'G';
		accepted += verify(SESSION_LINK, key, changed, len);
	}
	is_int(accepted, 0, "no character of it may change");
}

static void
test_keys(void)
{
	uint8_t		hash[32] = {1};
	uint8_t		again[SESSION_KEY_BYTES];

	session_key(hash, key);
	session_key(hash, again);
	ok(memcmp(key, again, sizeof(key)) == 0, "a token's key is always the same");
	ok(memcmp(key, hash, sizeof(key)) != 0, "and not the token's hash");
	hash[0] = 2;
	session_key(hash, other);
	ok(memcmp(key, other, sizeof(key)) != 0, "another token has another");
}

static void
test_use(void)
{
	struct session_used *used = calloc(1, sizeof(*used));
	uint8_t		nonce[SESSION_NONCE_BYTES] = {0};
	int			refused = 0;

	ok(session_use(used, nonce, NOW + 1000, NOW), "a link may be used");
	ok(!session_use(used, nonce, NOW + 1000, NOW + 1), "once");
	for (int i = 1; i < SESSION_MAX_USED; i++)
	{
		memcpy(nonce, &i, sizeof(i));
		refused += !session_use(used, nonce, NOW + 1000, NOW);
	}
	is_int(refused, 0, "so may others, up to the limit");
	memset(nonce, 0xff, sizeof(nonce));
	ok(!session_use(used, nonce, NOW + 2000, NOW + 1), "beyond it none");
	ok(session_use(used, nonce, NOW + 2000, NOW + 1000), "until the first have expired");
	is_int((int64_t) used->n, 1, "which are forgotten then");
	free(used);
}

int
main(void)
{
	test_keys();
	test_stamps();
	test_use();
	return done_testing();
}
