/*
 * Tokens, Host and Origin (auth.h). The token lists are replaced whole under a
 * read-write lock; struct auth owns them.
 */
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

struct token_list
{
	size_t		n;
	unsigned char hashes[TOKENS_MAX][SHA256_DIGEST_LENGTH];
};

struct auth
{
	pthread_rwlock_t lock;
	struct token_list ingest;
	struct token_list read;
};

static bool
add_token(void *context, const char *token, size_t len)
{
	struct token_list *list = context;

	if (list->n == TOKENS_MAX)
		return false;
	SHA256((const unsigned char *) token, len, list->hashes[list->n++]);
	return true;
}

bool
auth_parse_tokens(const char *text, size_t len, bool (*add) (void *, const char *, size_t), void *context)
{
	const char *p = text;
	const char *stop = text + len;

	while (p < stop)
	{
		const char *newline = memchr(p, '\n', (size_t) (stop - p));
		const char *end = newline ? newline : stop;
		const char *begin = p;

		p = newline ? newline + 1 : stop;
		while (begin < end && (*begin == ' ' || *begin == '\t'))
			begin++;
		while (end > begin && (end[-1] == ' ' || end[-1] == '\t' || end[-1] == '\r'))
			end--;
		if (begin == end || *begin == '#')
			continue;
		if (end - begin < TOKEN_MIN_BYTES || end - begin > TOKEN_MAX_BYTES)
			return false;
		for (const char *c = begin; c < end; c++)
			if (*c <= ' ' || *c >= 0x7f)
				return false;
		if (!add(context, begin, (size_t) (end - begin)))
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
					 "printable characters without blanks", key, path, TOKENS_MAX, TOKEN_MIN_BYTES, TOKEN_MAX_BYTES);
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
	return load_tokens(ingest, "ingest_token_file", settings->ingest_token_file, error) &&
		load_tokens(read, "read_token_file", settings->read_token_file, error);
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
	OPENSSL_cleanse(a, sizeof(*a));
	free(a);
}

static bool
matches(const struct token_list *list, const unsigned char *hash)
{
	int			found = 0;

	for (size_t i = 0; i < list->n; i++)
		found |= CRYPTO_memcmp(list->hashes[i], hash, SHA256_DIGEST_LENGTH) == 0;
	return found != 0;
}

enum auth_result
auth_check(struct auth *a, enum auth_scope scope, const char *authorization)
{
	static const char scheme[] = "Bearer ";
	enum auth_result result = AUTH_MISSING;
	const struct token_list *own = scope == AUTH_INGEST ? &a->ingest : &a->read;
	const struct token_list *other = scope == AUTH_INGEST ? &a->read : &a->ingest;

	if (scope == AUTH_OPEN)
		return AUTH_ALLOWED;
	pthread_rwlock_rdlock(&a->lock);
	if (own->n == 0)
		result = AUTH_ALLOWED;
	else if (authorization && strncasecmp(authorization, scheme, sizeof(scheme) - 1) == 0)
	{
		unsigned char hash[SHA256_DIGEST_LENGTH];
		const char *token = authorization + sizeof(scheme) - 1;

		while (*token == ' ')
			token++;
		SHA256((const unsigned char *) token, strlen(token), hash);
		if (matches(own, hash))
			result = AUTH_ALLOWED;
		else if (matches(other, hash))
			result = AUTH_WRONG_SCOPE;
	}
	pthread_rwlock_unlock(&a->lock);
	return result;
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
