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

static bool
take(void *context, const char *token, size_t len)
{
	int		   *n = context;

	(void) token;
	*n += (int) len;
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
	is_int(auth_check(a, AUTH_INGEST, NULL), AUTH_ALLOWED, "then all may");
	ok(!auth_required(a, AUTH_READ), "and no token is needed");
	auth_free(a);

	s->ingest_token_file = ingest_file;
	s->read_token_file = read_file;
	write_file(ingest_file, "# rotation: old, new\nold-ingest-token\n  new-ingest-token \r\n");
	write_file(read_file, "the-read-token");
	a = auth_open(s, error);
	ok(a != NULL, "two token files");
	is_int(auth_check(a, AUTH_OPEN, NULL), AUTH_ALLOWED, "open routes stay open");
	is_int(auth_check(a, AUTH_INGEST, NULL), AUTH_MISSING, "no token");
	is_int(auth_check(a, AUTH_INGEST, "Bearer old-ingest-token"), AUTH_ALLOWED, "the old token");
	is_int(auth_check(a, AUTH_INGEST, "bearer  new-ingest-token"), AUTH_ALLOWED, "the new token, in another spelling of Bearer");
	is_int(auth_check(a, AUTH_INGEST, "Bearer new-ingest-toke"), AUTH_MISSING, "a token cut short");
	is_int(auth_check(a, AUTH_INGEST, "Bearer new-ingest-tokenx"), AUTH_MISSING, "a token too long");
	is_int(auth_check(a, AUTH_INGEST, "Bearer "), AUTH_MISSING, "an empty token");
	is_int(auth_check(a, AUTH_INGEST, "Bearer # rotation: old, new"), AUTH_MISSING, "a comment is no token");
	is_int(auth_check(a, AUTH_INGEST, "Basic old-ingest-token"), AUTH_MISSING, "another scheme");
	is_int(auth_check(a, AUTH_INGEST, "Bearer the-read-token"), AUTH_WRONG_SCOPE, "a read token posts nothing");
	is_int(auth_check(a, AUTH_READ, "Bearer old-ingest-token"), AUTH_WRONG_SCOPE, "an ingest token reads nothing");
	is_int(auth_check(a, AUTH_READ, "Bearer the-read-token"), AUTH_ALLOWED, "a read token reads");

	write_file(ingest_file, "third-token\n");
	ok(auth_reload(a, s, error), "reload");
	is_int(auth_check(a, AUTH_INGEST, "Bearer old-ingest-token"), AUTH_MISSING, "the old token is gone");
	is_int(auth_check(a, AUTH_INGEST, "Bearer third-token"), AUTH_ALLOWED, "the third is there");
	write_file(read_file, "\n# nothing\n");
	ok(!auth_reload(a, s, error), "a file without tokens is refused");
	has_str(error, "holds no token", "... and says so");
	is_int(auth_check(a, AUTH_READ, "Bearer the-read-token"), AUTH_ALLOWED, "the tokens of before still hold");
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
	ok(!tokens("k\xc3\xa4sekuchen\n", &n), "a token beyond ASCII");
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
	test_parse();
	test_hosts(&s);
	unlink(ingest_file);
	unlink(read_file);
	return done_testing();
}
