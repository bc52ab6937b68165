/*
 * The certificate of the listening socket, which may be replaced while
 * connections are open: GnuTLS asks for it with each handshake. Older ones are
 * kept until the end, since a handshake under way may still use them.
 *
 * Main loads and adopts; libmicrohttpd's workers call tls_certificate(). There
 * is one listening socket, so there is one certificate: it is the file's.
 */
#ifndef GATEWAY_TLS_H
#define GATEWAY_TLS_H

#include <gnutls/abstract.h>
#include <gnutls/gnutls.h>
#include <stdbool.h>

#include "gateway/settings.h"

/* TLS 1.2 and later. */
#define TLS_PRIORITIES "NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2:%SERVER_PRECEDENCE"

struct tls_certificate;

/* True when the settings ask for TLS. */
bool		tls_enabled(const struct settings *settings);
/* Reads certificate chain and key and checks that they belong together. NULL
 * with one line in error. Not in use until it is adopted. */
struct tls_certificate *tls_load(const struct settings *settings, char error[SETTINGS_ERROR_SIZE])
			__attribute__((warn_unused_result));
/* New handshakes get it from now on; it is the module's then. */
void		tls_adopt(struct tls_certificate *c);
void		tls_free(struct tls_certificate *c);
/* Frees all that were adopted; no connection may be left. */
void		tls_free_all(void);
/* gnutls_certificate_retrieve_function2, for MHD_OPTION_HTTPS_CERT_CALLBACK. */
int			tls_certificate(gnutls_session_t session, const gnutls_datum_t *requested, int nrequested,
							const gnutls_pk_algorithm_t *algorithms, int nalgorithms,
							gnutls_pcert_st **chain, unsigned int *length, gnutls_privkey_t *key);

#endif
