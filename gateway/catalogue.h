/*
 * The prices events are decoded with: what ccproxy.price_lines() said at one
 * moment, shipped prices and users' own.
 *
 * Loaded by the committer's thread, never changed afterwards. Whoever prices
 * holds a reference (store_get_prices), so that a newer one may be put in its
 * place at any time; whoever lets go last frees it. That it may be stale does no
 * harm: its version travels with what was priced, and the transaction that
 * stores that compares the version with the server's (commit.c).
 */
#ifndef GATEWAY_CATALOGUE_H
#define GATEWAY_CATALOGUE_H

#include <stdatomic.h>
#include <stdint.h>

#include "pricing/price_parse.h"

struct pgfailure;
struct pgsession;

#define CATALOGUE_NONE PRICE_NO_VERSION	/* the version of no catalogue */

struct catalogue
{
	const struct price_catalogue *prices;
	int64_t		version;		/* ccproxy.price_catalogue_version() of it */
	_Atomic int references;
	struct price_loader *loader;	/* owns the memory */
	char	   *lines;			/* what it was read from, a line each; NULL when it was not */
	size_t		lines_len;
};

/* A catalogue of what a loader was given, and its first reference; takes the
 * loader over. NULL when out of memory. */
struct catalogue *catalogue_new(struct price_loader *loader) __attribute__((warn_unused_result));
/* Reads the server's prices: the first reference to them, or NULL with failure set. */
struct catalogue *catalogue_load(struct pgsession *s, struct pgfailure *failure)
			__attribute__((warn_unused_result));
/* The same from the lines of another one; NULL when they are none or memory runs out. */
struct catalogue *catalogue_parse(const char *lines, size_t len) __attribute__((warn_unused_result));
/* The shipped prices, as of no server; NULL when out of memory. */
struct catalogue *catalogue_shipped(void) __attribute__((warn_unused_result));
/* Takes another reference; c may be NULL. */
struct catalogue *catalogue_acquire(struct catalogue *c);
/* Lets go of one; c may be NULL. */
void		catalogue_release(struct catalogue *c);

#endif
