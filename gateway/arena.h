/*
 * A bump allocator: everything one HTTP request needs, freed at once.
 * One thread at a time; no individual free. arena_alloc returns NULL when
 * memory or the arena's limit runs out, and every caller checks.
 */
#ifndef GATEWAY_ARENA_H
#define GATEWAY_ARENA_H

#include <stddef.h>

struct arena_block;

struct arena
{
	struct arena_block *blocks;	/* newest first */
	size_t		used;			/* in the newest block */
	size_t		total;			/* bytes taken from malloc */
	size_t		limit;			/* refuse beyond; 0 is none */
};

void		arena_init(struct arena *a, size_t limit);
/* Aligned to 16 bytes, not zeroed. */
void	   *arena_alloc(struct arena *a, size_t size) __attribute__((warn_unused_result));
/* Copies len bytes and a terminating NUL. */
char	   *arena_strndup(struct arena *a, const char *s, size_t len) __attribute__((warn_unused_result));
/* Gives everything back; the arena may be used again. */
void		arena_free(struct arena *a);

#endif
