/*
 * Tokens, Host and Origin (auth.h). The token lists are replaced whole under a
 * read-write lock; struct auth owns them.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/sha.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "gateway/auth.h"

#define TOKENS_MAX 64
#define TOKEN_MIN_BYTES 8
#define TOKEN_MAX_BYTES 512
#define TOKEN_FILE_MAX_BYTES (128 * 1024)

struct token
{
	unsigned char hash[SHA256_DIGEST_LENGTH];
	uint8_t		session_key[SESSION_KEY_BYTES];
	char		user[AUTH_USER_SIZE];	/* all it may read of; "": everything */
};

struct token_list
{
	size_t		n;
	struct token tokens[TOKENS_MAX];
};

struct auth
{
	pthread_rwlock_t lock;
	struct token_list ingest;
	struct token_list read;
	pthread_mutex_t used_lock;
	struct session_used used;	/* under used_lock */
};

static bool
add_token(void *context, const char *token, size_t len, const char *user, size_t user_len)
{
	struct token_list *list = context;
	struct token *t = &list->tokens[list->n];

	if (list->n == TOKENS_MAX || user_len >= AUTH_USER_SIZE)
		return false;
	SHA256((const unsigned char *) token, len, t->hash);
	session_key(t->hash, t->session_key);
	memcpy(t->user, user, user_len);
	t->user[user_len] = '\0';
	list->n++;
	return true;
}

bool
auth_parse_tokens(const char *text, size_t len,
				  bool (*add) (void *, const char *, size_t, const char *, size_t), void *context)
{
	static const char limit[] = "user=";
	const char *p = text;
	const char *stop = text + len;

	while (p < stop)
	{
		const char *newline = memchr(p, '\n', (size_t) (stop - p));
		const char *end = newline ? newline : stop;
		const char *begin = p;
		const char *user = "";
		const char *rest;

		p = newline ? newline + 1 : stop;
		while (begin < end && (*begin == ' ' || *begin == '\t'))
			begin++;
		while (end > begin && (end[-1] == ' ' || end[-1] == '\t' || end[-1] == '\r'))
			end--;
		if (begin == end || *begin == '#')
			continue;
		/* blanks, then what it is limited to, to the end of the line */
		for (rest = begin; rest < end && *rest != ' ' && *rest != '\t';)
			rest++;
		for (user = rest; user < end && (*user == ' ' || *user == '\t');)
			user++;
		if (user < end)
		{
			if ((size_t) (end - user) <= sizeof(limit) - 1 || memcmp(user, limit, sizeof(limit) - 1) != 0)
				return false;
			user += sizeof(limit) - 1;
		}
		if (rest - begin < TOKEN_MIN_BYTES || rest - begin > TOKEN_MAX_BYTES)
			return false;
		for (const char *c = begin; c < rest; c++)
			if (*c <= ' ' || *c >= 0x7f)
				return false;
		if (!add(context, begin, (size_t) (rest - begin), user, (size_t) (end - user)))
			return false;
	}
	return true;
}

static bool
load_tokens(struct token_list *list, const char *key, const char *path, char error[SETTINGS_ERROR_SIZE])
{
	FILE	   *f;
	char	   *text;
	size_t		len;
	bool		ok = true;

	list->n = 0;
	if (path[0] == '\0')
		return true;
	f = fopen(path, "re");
	text = malloc(TOKEN_FILE_MAX_BYTES);
	if (f == NULL || text == NULL)
	{
		snprintf(error, SETTINGS_ERROR_SIZE, "%s: could not open \"%s\": %s", key, path, strerror(errno));
		ok = false;
	}
	else
	{
		len = fread(text, 1, TOKEN_FILE_MAX_BYTES, f);
		if (ferror(f))
		{
			snprintf(error, SETTINGS_ERROR_SIZE, "%s: could not read \"%s\": %s", key, path, strerror(errno));
			ok = false;
		}
		else if (len == TOKEN_FILE_MAX_BYTES || !auth_parse_tokens(text, len, add_token, list))
		{
			snprintf(error, SETTINGS_ERROR_SIZE, "%s: \"%s\" must hold one token per line, at most %d, each %d to %d "
					 "printable characters without blanks, a read token perhaps followed by user=USER_ID", key, path, TOKENS_MAX, TOKEN_MIN_BYTES, TOKEN_MAX_BYTES);
			ok = false;
		}
		else if (list->n == 0)
		{
			snprintf(error, SETTINGS_ERROR_SIZE, "%s: \"%s\" holds no token", key, path);
			ok = false;
		}
		OPENSSL_cleanse(text, TOKEN_FILE_MAX_BYTES);
	}
	free(text);
	if (f)
		fclose(f);
	return ok;
}

static bool
load_both(const struct settings *settings, struct token_list *ingest, struct token_list *read,
		  char error[SETTINGS_ERROR_SIZE])
{
	if (!load_tokens(ingest, "ingest_token_file", settings->ingest_token_file, error) ||
		!load_tokens(read, "read_token_file", settings->read_token_file, error))
		return false;
	for (size_t i = 0; i < ingest->n; i++)
		if (ingest->tokens[i].user[0])
		{
			snprintf(error, SETTINGS_ERROR_SIZE, "ingest_token_file: only read tokens can be limited to a user");
			return false;
		}
	return true;
}

struct auth *
auth_open(const struct settings *settings, char error[SETTINGS_ERROR_SIZE])
{
	struct auth *a = calloc(1, sizeof(*a));

	if (a == NULL)
	{
		snprintf(error, SETTINGS_ERROR_SIZE, "out of memory");
		return NULL;
	}
	if (!load_both(settings, &a->ingest, &a->read, error))
	{
		free(a);
		return NULL;
	}
	pthread_rwlock_init(&a->lock, NULL);
	pthread_mutex_init(&a->used_lock, NULL);
	return a;
}

bool
auth_reload(struct auth *a, const struct settings *settings, char error[SETTINGS_ERROR_SIZE])
{
	struct token_list ingest;
	struct token_list read;

	if (!load_both(settings, &ingest, &read, error))
		return false;
	pthread_rwlock_wrlock(&a->lock);
	a->ingest = ingest;
	a->read = read;
	pthread_rwlock_unlock(&a->lock);
	return true;
}

void
auth_free(struct auth *a)
{
	if (a == NULL)
		return;
	pthread_rwlock_destroy(&a->lock);
	pthread_mutex_destroy(&a->used_lock);
	OPENSSL_cleanse(a, sizeof(*a));
	free(a);
}

/* The token with this hash, or NULL. */
static const struct token *
find_token(const struct token_list *list, const unsigned char *hash)
{
	const struct token *found = NULL;

	for (size_t i = 0; i < list->n; i++)
		if (CRYPTO_memcmp(list->tokens[i].hash, hash, SHA256_DIGEST_LENGTH) == 0)
			found = &list->tokens[i];
	return found;
}

/* The token whose key verifies a stamp, or NULL. */
static const struct token *
find_stamp(const struct token_list *list, enum session_purpose purpose, const char *text, size_t len,
		   int64_t *time_ms, uint8_t nonce[SESSION_NONCE_BYTES])
{
	for (size_t i = 0; i < list->n; i++)
		if (session_verify(purpose, list->tokens[i].session_key, text, len, time_ms, nonce))
			return &list->tokens[i];
	return NULL;
}

/* The token of the session that a Cookie header carries, or NULL. */
static const struct token *
find_session(const struct token_list *list, const char *cookie, int64_t now_ms)
{
	static const char name[] = AUTH_COOKIE "=";

	for (const char *p = cookie; p && *p;)
	{
		size_t		len = strcspn(p, ";");

		if (len > sizeof(name) - 1 && memcmp(p, name, sizeof(name) - 1) == 0)
		{
			uint8_t		nonce[SESSION_NONCE_BYTES];
			int64_t		expires_ms;
			const struct token *token = find_stamp(list, SESSION_COOKIE, p + sizeof(name) - 1, len - (sizeof(name) - 1),
												   &expires_ms, nonce);

			if (token && now_ms < expires_ms)
				return token;
		}
		p += len;
		p += strspn(p, "; ");
	}
	return NULL;
}

enum auth_result
auth_check(struct auth *a, enum auth_scope scope, const char *authorization, const char *cookie,
		   int64_t now_ms, char user[AUTH_USER_SIZE])
{
	static const char scheme[] = "Bearer ";
	enum auth_result result = AUTH_MISSING;
	const struct token_list *own = scope == AUTH_INGEST ? &a->ingest : &a->read;
	const struct token_list *other = scope == AUTH_INGEST ? &a->read : &a->ingest;
	const struct token *token = NULL;

	user[0] = '\0';
	if (scope == AUTH_OPEN)
		return AUTH_ALLOWED;
	pthread_rwlock_rdlock(&a->lock);
	if (own->n == 0)
		result = AUTH_ALLOWED;
	else if (authorization && strncasecmp(authorization, scheme, sizeof(scheme) - 1) == 0)
	{
		unsigned char hash[SHA256_DIGEST_LENGTH];
		const char *text = authorization + sizeof(scheme) - 1;

		while (*text == ' ')
			text++;
		SHA256((const unsigned char *) text, strlen(text), hash);
		token = find_token(own, hash);
		if (token == NULL && find_token(other, hash))
			result = AUTH_WRONG_SCOPE;
	}
	else if (scope == AUTH_READ)
		token = find_session(own, cookie, now_ms);
	if (token)
	{
		memcpy(user, token->user, AUTH_USER_SIZE);
		result = AUTH_ALLOWED;
	}
	pthread_rwlock_unlock(&a->lock);
	return result;
}

bool
auth_make_link(struct auth *a, const char *user, int64_t now_ms, char stamp[SESSION_STAMP_SIZE])
{
	bool		made = false;

	pthread_rwlock_rdlock(&a->lock);
	for (size_t i = 0; i < a->read.n && !made; i++)
		if (strcmp(a->read.tokens[i].user, user) == 0)
			made = session_stamp(SESSION_LINK, a->read.tokens[i].session_key, now_ms, stamp);
	pthread_rwlock_unlock(&a->lock);
	return made;
}

bool
auth_sign_in(struct auth *a, const char *link, int64_t started_ms, int64_t now_ms, char stamp[SESSION_STAMP_SIZE])
{
	const struct token *token;
	uint8_t		nonce[SESSION_NONCE_BYTES];
	int64_t		made_ms;
	bool		done;

	if (link == NULL)
		return false;
	pthread_rwlock_rdlock(&a->lock);
	token = find_stamp(&a->read, SESSION_LINK, link, strlen(link), &made_ms, nonce);
	/* a clock that was set back makes links of the future: no older than their life either way */
	done = token && made_ms >= started_ms && now_ms - made_ms < AUTH_LINK_MS && made_ms - now_ms < AUTH_LINK_MS;
	if (done)
	{
		pthread_mutex_lock(&a->used_lock);
		done = session_use(&a->used, nonce, now_ms + 2 * AUTH_LINK_MS, now_ms);
		pthread_mutex_unlock(&a->used_lock);
	}
	done = done && session_stamp(SESSION_COOKIE, token->session_key, now_ms + AUTH_SESSION_MS, stamp);
	pthread_rwlock_unlock(&a->lock);
	return done;
}

bool
auth_required(struct auth *a, enum auth_scope scope)
{
	bool		required;

	pthread_rwlock_rdlock(&a->lock);
	required = scope == AUTH_INGEST ? a->ingest.n > 0 : scope == AUTH_READ ? a->read.n > 0 : false;
	pthread_rwlock_unlock(&a->lock);
	return required;
}

/* Length of the name in "name:port" or "[v6]:port", brackets included. */
static size_t
host_name_length(const char *host)
{
	if (host[0] == '[')
	{
		const char *close = strchr(host, ']');

		return close ? (size_t) (close - host) + 1 : strlen(host);
	}
	return strcspn(host, ":");
}

static bool
name_is(const char *name, size_t len, const char *wanted)
{
	return strlen(wanted) == len && strncasecmp(name, wanted, len) == 0;
}

bool
auth_host_allowed(const struct settings *settings, bool has_tokens, const char *host)
{
	size_t		len;
	const char *p;

	/* HTTP/1.0 needs none, and no browser leaves it out */
	if (has_tokens || host == NULL)
		return true;
	len = host_name_length(host);
	if (name_is(host, len, "localhost") || name_is(host, len, "127.0.0.1") ||
		name_is(host, len, "[::1]") || name_is(host, len, settings->listen_host))
		return true;
	for (p = settings->allowed_hosts; *p;)
	{
		size_t		n;

		p += strspn(p, ", ");
		n = strcspn(p, ", ");
		if (n > 0 && n == len && strncasecmp(p, host, n) == 0)
			return true;
		p += n;
	}
	return false;
}

bool
auth_host_is_address(const char *host)
{
	char		name[INET6_ADDRSTRLEN];
	size_t		len = host_name_length(host);
	unsigned char address[sizeof(struct in6_addr)];
	bool		v6 = len >= 2 && host[0] == '[' && host[len - 1] == ']';

	if (v6)
	{
		host++;
		len -= 2;
	}
	if (len >= sizeof(name))
		return false;
	memcpy(name, host, len);
	name[len] = '\0';
	return inet_pton(v6 ? AF_INET6 : AF_INET, name, address) == 1;
}

bool
auth_origin_allowed(const char *origin, const char *host)
{
	const char *authority;

	if (origin == NULL)
		return true;
	if (host == NULL)
		return false;
	if (strncasecmp(origin, "http://", 7) == 0)
		authority = origin + 7;
	else if (strncasecmp(origin, "https://", 8) == 0)
		authority = origin + 8;
	else
		return false;			/* "null" and the like */
	return strcasecmp(authority, host) == 0;
}
