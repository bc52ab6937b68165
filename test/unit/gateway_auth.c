/*
 * Tokens, Host and Origin.
 */
#include <stdlib.h>
#include <unistd.h>

#include "gateway/auth.h"
#include "test/unit/tap.h"

static char ingest_file[] = "/tmp/gateway_authXXXXXX";
static char read_file[] = "/tmp/gateway_authXXXXXX";

static void
write_file(const char *path, const char *content)
{
	FILE	   *f = fopen(path, "w");

	fputs(content, f);
	fclose(f);
}

static char limited[AUTH_USER_SIZE];	/* what the last check was limited to */

static enum auth_result
check(struct auth *a, enum auth_scope scope, const char *authorization)
{
	return auth_check(a, scope, authorization, NULL, 0, limited);
}

static bool
take(void *context, const char *token, size_t len, const char *user, size_t user_len)
{
	int		   *n = context;

	(void) token;
	(void) user;
	*n += (int) len + 1000 * (int) user_len;
	return true;
}

static bool
tokens(const char *text, int *n)
{
	*n = 0;
	return auth_parse_tokens(text, strlen(text), take, n);
}

static void
test_tokens(struct settings *s)
{
	char		error[SETTINGS_ERROR_SIZE];
	struct auth *a = auth_open(s, error);

	ok(a != NULL, "no token files");
	is_int(check(a, AUTH_INGEST, NULL), AUTH_ALLOWED, "then all may");
	ok(!auth_required(a, AUTH_READ), "and no token is needed");
	auth_free(a);

	s->ingest_token_file = ingest_file;
	s->read_token_file = read_file;
	write_file(ingest_file, "# rotation: old, new\nold-ingest-token\n  new-ingest-token \r\n");
	write_file(read_file, "the-read-token");
	a = auth_open(s, error);
	ok(a != NULL, "two token files");
	is_int(check(a, AUTH_OPEN, NULL), AUTH_ALLOWED, "open routes stay open");
	is_int(check(a, AUTH_INGEST, NULL), AUTH_MISSING, "no token");
	is_int(check(a, AUTH_INGEST, "Bearer old-ingest-token"), AUTH_ALLOWED, "the old token");
	is_int(check(a, AUTH_INGEST, "bearer  new-ingest-token"), AUTH_ALLOWED, "the new token, in another spelling of Bearer");
	is_int(check(a, AUTH_INGEST, "Bearer new-ingest-toke"), AUTH_MISSING, "a token cut short");
	is_int(check(a, AUTH_INGEST, "Bearer new-ingest-tokenx"), AUTH_MISSING, "a token too long");
	is_int(check(a, AUTH_INGEST, "Bearer "), AUTH_MISSING, "an empty token");
	is_int(check(a, AUTH_INGEST, "Bearer # rotation: old, new"), AUTH_MISSING, "a comment is no token");
	is_int(check(a, AUTH_INGEST, "Basic old-ingest-token"), AUTH_MISSING, "another scheme");
	is_int(check(a, AUTH_INGEST, "Bearer the-read-token"), AUTH_WRONG_SCOPE, "a read token posts nothing");
	is_int(check(a, AUTH_READ, "Bearer old-ingest-token"), AUTH_WRONG_SCOPE, "an ingest token reads nothing");
	is_int(check(a, AUTH_READ, "Bearer the-read-token"), AUTH_ALLOWED, "a read token reads");

	write_file(ingest_file, "third-token\n");
	ok(auth_reload(a, s, error), "reload");
	is_int(check(a, AUTH_INGEST, "Bearer old-ingest-token"), AUTH_MISSING, "the old token is gone");
	is_int(check(a, AUTH_INGEST, "Bearer third-token"), AUTH_ALLOWED, "the third is there");
	write_file(read_file, "\n# nothing\n");
	ok(!auth_reload(a, s, error), "a file without tokens is refused");
	has_str(error, "holds no token", "... and says so");
	is_int(check(a, AUTH_READ, "Bearer the-read-token"), AUTH_ALLOWED, "the tokens of before still hold");
	auth_free(a);

	s->read_token_file = "/nonexistent/tokens";
	ok(auth_open(s, error) == NULL, "a file that is not there");
	has_str(error, "/nonexistent/tokens", "... is named");
}

static void
test_parse(void)
{
	int			n;

	ok(tokens("", &n) && n == 0, "an empty file");
	ok(tokens("aaaaaaaa\n\nbbbbbbbb", &n) && n == 16, "two tokens");
	ok(!tokens("short\n", &n), "a token too short to be one");
	ok(!tokens("two words here\n", &n), "a token with a blank");
	ok(tokens("aaaaaaaa user=al ice \n", &n) && n == 8 + 6000, "a token limited to a user, to the line's end");
	ok(!tokens("aaaaaaaa user=\n", &n), "limited to nobody");
	ok(!tokens("aaaaaaaa team=x\n", &n), "limited to what cannot be");
	ok(!tokens("k\xc3\xa4sekuchen\n", &n), "a token beyond ASCII");
}

/* What a Cookie header with this stamp may read. */
static enum auth_result
check_cookie(struct auth *a, const char *before, const char *stamp, int64_t now_ms)
{
	char		cookie[512];

	snprintf(cookie, sizeof(cookie), "%s" AUTH_COOKIE "=%s; theme=dark", before, stamp);
	return auth_check(a, AUTH_READ, NULL, cookie, now_ms, limited);
}

static void
test_sessions(struct settings *s)
{
	const int64_t now = INT64_C(1770000000000);
	const int64_t started = now - 1000;
	char		error[SETTINGS_ERROR_SIZE];
	char		link[SESSION_STAMP_SIZE];
	char		session[SESSION_STAMP_SIZE];
	char		other[SESSION_STAMP_SIZE];
	struct auth *a;

	s->ingest_token_file = "";
	s->read_token_file = read_file;
	write_file(read_file, "alices-token user=alice\nthe-read-token\n");
	a = auth_open(s, error);
	ok(a != NULL, "a limited and an unlimited token");
	is_int(check(a, AUTH_READ, "Bearer alices-token"), AUTH_ALLOWED, "the limited one reads");
	is_str(limited, "alice", "... what is alice's");
	is_int(check(a, AUTH_READ, "Bearer the-read-token"), AUTH_ALLOWED, "the other one too");
	is_str(limited, "", "... everything");

	ok(auth_make_link(a, "", now, link), "a link");
	ok(!auth_sign_in(a, NULL, started, now, session), "no link, no session");
	ok(!auth_sign_in(a, link, now + 1, now, session), "nor from one older than the gateway's start");
	ok(!auth_sign_in(a, link, started, now + AUTH_LINK_MS, session), "nor from one that has expired");
	ok(auth_sign_in(a, link, started, now + AUTH_LINK_MS - 1, session), "the link signs in");
	ok(!auth_sign_in(a, link, started, now, other), "... once");
	is_int(check_cookie(a, "", session, now), AUTH_ALLOWED, "the session reads");
	is_str(limited, "", "... everything");
	is_int(check_cookie(a, "a=b; ", session, now), AUTH_ALLOWED, "among other cookies");
	is_int(check_cookie(a, "x", session, now), AUTH_MISSING, "not under another name");
	is_int(check_cookie(a, "", link, now), AUTH_MISSING, "a link is no session");
	is_int(check_cookie(a, "", session, now + AUTH_LINK_MS - 1 + AUTH_SESSION_MS), AUTH_MISSING, "it expires");
	is_int(auth_check(a, AUTH_INGEST, NULL, session, now, limited), AUTH_ALLOWED, "ingest needs no token here");

	ok(auth_make_link(a, "alice", now, link) && auth_sign_in(a, link, started, now, other), "alice signs in");
	is_int(check_cookie(a, "", other, now), AUTH_ALLOWED, "she reads");
	is_str(limited, "alice", "... what is hers");
	ok(!auth_make_link(a, "bob", now, link), "nobody has a token for bob");

	write_file(read_file, "the-read-token\n");
	ok(auth_reload(a, s, error), "alice's token is taken away");
	is_int(check_cookie(a, "", other, now), AUTH_MISSING, "her session ends");
	is_int(check_cookie(a, "", session, now), AUTH_ALLOWED, "the other goes on");
	auth_free(a);

	a = auth_open(s, error);
	is_int(check_cookie(a, "", session, now), AUTH_ALLOWED, "over a restart, too");
	auth_free(a);
	s->ingest_token_file = read_file;
	write_file(read_file, "alices-token user=alice\n");
	ok(auth_open(s, error) == NULL, "a token for posting cannot be limited");
	has_str(error, "only read tokens", "... and says so");
}

static void
test_hosts(struct settings *s)
{
	static const char *const good[] = {"localhost", "LOCALHOST:8787", "127.0.0.1:1", "[::1]:8787", "10.1.2.3:80", "metrics.example", "b.example:443"};
	static const char *const bad[] = {"evil.example", "localhost.evil.example", "127.0.0.1.evil.example:80", "", "[::2]", "metrics.example.evil"};

	strcpy(s->listen_host, "10.1.2.3");
	s->allowed_hosts = "metrics.example, b.example";
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
		ok(auth_host_allowed(s, false, good[i]), good[i]);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		ok(!auth_host_allowed(s, false, bad[i]), bad[i]);
	ok(auth_host_allowed(s, true, "evil.example"), "with tokens the host does not matter");
	ok(auth_host_is_address("10.9.8.7:80") && auth_host_is_address("10.9.8.7") && auth_host_is_address("[fe80::1]:80") &&
	   auth_host_is_address("[::2]"), "addresses");
	ok(!auth_host_is_address("10.9.8.7.evil.example:80") && !auth_host_is_address("10.9.8") && !auth_host_is_address("[::2") &&
	   !auth_host_is_address("[10.9.8.7]") && !auth_host_is_address("[") && !auth_host_is_address("") &&
	   !auth_host_is_address("[1111111111111111111111111111111111111111111111111]"), "no addresses");
	ok(auth_origin_allowed(NULL, "a:1"), "no Origin");
	ok(auth_origin_allowed("http://a:1", "a:1"), "our own Origin");
	ok(!auth_origin_allowed("http://a:2", "a:1"), "another port");
	ok(!auth_origin_allowed("http://evil.example", "a:1"), "another host");
	ok(!auth_origin_allowed("null", "a:1"), "a null Origin");
	ok(!auth_origin_allowed("file://a:1", "a:1"), "another scheme");
}

int
main(void)
{
	struct settings s;

	close(mkstemp(ingest_file));
	close(mkstemp(read_file));
	settings_defaults(&s);
	test_tokens(&s);
	test_sessions(&s);
	test_parse();
	test_hosts(&s);
	unlink(ingest_file);
	unlink(read_file);
	return done_testing();
}
