/*
 * Certificates; see tls.h.
 */
#include "gateway/tls.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#define CHAIN_MAX 16

struct tls_certificate
{
	struct tls_certificate *older;
	gnutls_pcert_st chain[CHAIN_MAX];
	unsigned int length;
	gnutls_privkey_t key;
};

/* libmicrohttpd's callback has no argument of ours */
static _Atomic(struct tls_certificate *) current;

bool
tls_enabled(const struct settings *settings)
{
	return settings->tls_cert_file[0] != '\0';
}

static bool
failed(int rc, const char *key, const char *path, char error[SETTINGS_ERROR_SIZE])
{
	if (rc >= 0)
		return false;
	snprintf(error, SETTINGS_ERROR_SIZE, "%s: \"%s\": %s", key, path, gnutls_strerror(rc));
	return true;
}

/* Reading both as a server would tells whether they fit. */
static bool
check_pair(const struct settings *s, char error[SETTINGS_ERROR_SIZE])
{
	gnutls_certificate_credentials_t credentials;
	int			rc;

	if (failed(gnutls_certificate_allocate_credentials(&credentials), "tls_cert_file", s->tls_cert_file, error))
		return false;
	rc = gnutls_certificate_set_x509_key_file(credentials, s->tls_cert_file, s->tls_key_file, GNUTLS_X509_FMT_PEM);
	gnutls_certificate_free_credentials(credentials);
	return !failed(rc, "tls_cert_file and tls_key_file", s->tls_cert_file, error);
}

static bool
load_chain(struct tls_certificate *c, const char *path, char error[SETTINGS_ERROR_SIZE])
{
	gnutls_datum_t pem;
	unsigned int length = CHAIN_MAX;
	int			rc;

	if (failed(gnutls_load_file(path, &pem), "tls_cert_file", path, error))
		return false;
	rc = gnutls_pcert_list_import_x509_raw(c->chain, &length, &pem, GNUTLS_X509_FMT_PEM, 0);
	gnutls_free(pem.data);
	if (failed(rc, "tls_cert_file", path, error))
		return false;
	c->length = length;
	return true;
}

static bool
load_key(struct tls_certificate *c, const char *path, char error[SETTINGS_ERROR_SIZE])
{
	gnutls_datum_t pem;
	int			rc;

	if (failed(gnutls_privkey_init(&c->key), "tls_key_file", path, error) ||
		failed(gnutls_load_file(path, &pem), "tls_key_file", path, error))
		return false;
	rc = gnutls_privkey_import_x509_raw(c->key, &pem, GNUTLS_X509_FMT_PEM, NULL, 0);
	gnutls_memset(pem.data, 0, pem.size);
	gnutls_free(pem.data);
	return !failed(rc, "tls_key_file", path, error);
}

struct tls_certificate *
tls_load(const struct settings *settings, char error[SETTINGS_ERROR_SIZE])
{
	struct tls_certificate *c = calloc(1, sizeof(*c));

	if (c == NULL)
		snprintf(error, SETTINGS_ERROR_SIZE, "out of memory");
	else if (check_pair(settings, error) && load_chain(c, settings->tls_cert_file, error) &&
			 load_key(c, settings->tls_key_file, error))
		return c;
	tls_free(c);
	return NULL;
}

void
tls_adopt(struct tls_certificate *c)
{
	c->older = atomic_load(&current);
	atomic_store(&current, c);
}

void
tls_free(struct tls_certificate *c)
{
	if (c == NULL)
		return;
	for (unsigned int i = 0; i < c->length; i++)
		gnutls_pcert_deinit(&c->chain[i]);
	if (c->key)
		gnutls_privkey_deinit(c->key);
	free(c);
}

void
tls_free_all(void)
{
	struct tls_certificate *c = atomic_exchange(&current, NULL);

	while (c != NULL)
	{
		struct tls_certificate *older = c->older;

		tls_free(c);
		c = older;
	}
}

int
tls_certificate(gnutls_session_t session, const gnutls_datum_t *requested, int nrequested,
				const gnutls_pk_algorithm_t *algorithms, int nalgorithms,
				gnutls_pcert_st **chain, unsigned int *length, gnutls_privkey_t *key)
{
	struct tls_certificate *c = atomic_load(&current);

	(void) session;
	(void) requested;
	(void) nrequested;
	(void) algorithms;
	(void) nalgorithms;
	if (c == NULL)
		return -1;
	*chain = c->chain;
	*length = c->length;
	*key = c->key;
	return 0;
}
