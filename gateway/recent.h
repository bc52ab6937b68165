/*
 * The keys that were stored lately, so that an event that comes again is
 * suspected: the server is asked about it first (known.h), for a duplicate in
 * the straight COPY would abort it for everybody.
 *
 * A guess, never an answer: a key may be forgotten (the table has a fixed size,
 * and another gateway's keys are not in it) and, once in 2^44, be confused with
 * another; both only cost time. Owned and entered by the committer's thread.
 */
#ifndef GATEWAY_RECENT_H
#define GATEWAY_RECENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "gateway/event.h"

struct recent
{
	uint64_t   *slots;			/* 0: free; NULL: nothing is remembered */
	size_t		buckets;		/* a power of two */
	uint64_t	seed;
};

/* Room for at least that many keys, eight bytes each; 0 remembers nothing.
 * False when memory or randomness runs out: it remembers nothing then. */
bool		recent_init(struct recent *r, size_t keys);
void		recent_free(struct recent *r);
/* The fingerprint of an event's key, never 0. */
uint64_t	recent_key(const struct recent *r, const struct event *e);
bool		recent_has(const struct recent *r, uint64_t key);
/* Remembers it; the oldest of its bucket is forgotten. */
void		recent_add(struct recent *r, uint64_t key);

#endif
