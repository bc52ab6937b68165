/*
 * What a client accepts: Accept and Accept-Encoding (RFC 9110). Pure.
 */
#ifndef GATEWAY_ACCEPT_H
#define GATEWAY_ACCEPT_H

#include <stdbool.h>

/*
 * How much the header (NULL: none, which accepts all) wants this media type
 * ("text/csv") or coding ("gzip"): 0 to 1000. What names it counts more than a
 * range that holds it, and that more than what holds everything.
 */
int			accept_weight(const char *header, const char *name);
/* True when gzip is wanted; without a header it is not. */
bool		accept_gzip(const char *accept_encoding);

#endif
