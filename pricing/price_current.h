/*
 * The catalogue a process prices with, replaced while threads use it.
 *
 * A gateway loads the server's prices (price_loader) and makes them current; until
 * then the shipped catalogue is. Any thread may take the current one; it stays
 * what it is until it is let go, even when another has become current meanwhile,
 * and the last one to let go of an old one frees it.
 */
#ifndef PRICE_CURRENT_H
#define PRICE_CURRENT_H

#include "pricing/price_parse.h"

#pragma GCC visibility push(hidden)

/* The current catalogue, to be let go of with price_current_release(). */
extern const struct price_catalogue *price_current_acquire(void);
extern void price_current_release(const struct price_catalogue *catalogue);

/*
 * Make a loader's catalogue current, under the version the server gave it. Takes
 * the loader over. False, and the old one stays, when there is no memory or it
 * has no rows.
 */
extern bool price_current_replace(struct price_loader *loader, int64_t version) PRICE_MUST_CHECK;

/* The version of the current catalogue; 0 while it is the shipped one. */
extern int64_t price_current_version(void);

#pragma GCC visibility pop

#endif
