/*
 * The arena of one HTTP request; see arena.h. Blocks grow geometrically, so a
 * single event costs one small malloc and a large body a few big ones.
 */
#include "gateway/arena.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define ARENA_ALIGN		16
#define ARENA_FIRST_BLOCK_BYTES	((size_t) 4096)
#define ARENA_MAX_BLOCK_BYTES	((size_t) 1 << 20)

struct arena_block
{
	struct arena_block *next;
	size_t		size;			/* usable bytes of data */
	_Alignas(ARENA_ALIGN) unsigned char data[];
};

/* Makes an empty arena; limit 0 is none. */
void
arena_init(struct arena *a, size_t limit)
{
	a->blocks = NULL;
	a->used = 0;
	a->total = 0;
	a->limit = limit;
}

/* Adds a block with room for at least size bytes. */
static struct arena_block *
arena_grow(struct arena *a, size_t size)
{
	size_t		want = a->blocks ? a->blocks->size * 2 : ARENA_FIRST_BLOCK_BYTES;
	struct arena_block *block;

	if (want > ARENA_MAX_BLOCK_BYTES)
		want = ARENA_MAX_BLOCK_BYTES;
	if (want < size)
		want = size;
	if (want > SIZE_MAX - sizeof(*block))
		return NULL;
	if (a->limit != 0 && sizeof(*block) + want > a->limit - a->total)
	{
		/* the growth step is a wish, the size is a need */
		want = size;
		if (want > SIZE_MAX - sizeof(*block) ||
			sizeof(*block) + want > a->limit - a->total)
			return NULL;
	}
	block = malloc(sizeof(*block) + want);
	if (block == NULL)
		return NULL;
	block->size = want;
	block->next = a->blocks;
	a->blocks = block;
	a->used = 0;
	a->total += sizeof(*block) + want;
	return block;
}

/* Hands out size bytes, aligned to 16, not zeroed; NULL when there are none. */
void *
arena_alloc(struct arena *a, size_t size)
{
	struct arena_block *block = a->blocks;
	void	   *p;

	if (size == 0)
		size = 1;
	if (size > SIZE_MAX - (ARENA_ALIGN - 1))
		return NULL;
	size = (size + ARENA_ALIGN - 1) & ~(size_t) (ARENA_ALIGN - 1);
	if (block == NULL || block->size - a->used < size)
	{
		block = arena_grow(a, size);
		if (block == NULL)
			return NULL;
	}
	p = block->data + a->used;
	a->used += size;
	return p;
}

/* Copies len bytes and a terminating NUL. */
char *
arena_strndup(struct arena *a, const char *s, size_t len)
{
	char	   *p;

	if (len == SIZE_MAX)
		return NULL;
	p = arena_alloc(a, len + 1);
	if (p == NULL)
		return NULL;
	memcpy(p, s, len);
	p[len] = '\0';
	return p;
}

/* Gives everything back; the arena may be used again. */
void
arena_free(struct arena *a)
{
	struct arena_block *block = a->blocks;

	while (block != NULL)
	{
		struct arena_block *next = block->next;

		free(block);
		block = next;
	}
	a->blocks = NULL;
	a->used = 0;
	a->total = 0;
}
