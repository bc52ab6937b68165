/*
 * Decompression of a gzip body that arrives piece by piece, into room the caller
 * provides: limits are the caller's. Several members in a row are one body. Pure.
 */
#ifndef GATEWAY_GUNZIP_H
#define GATEWAY_GUNZIP_H

#include <stdbool.h>
#include <stddef.h>
#include <zlib.h>

struct gunzip
{
	z_stream	z;
	bool		complete;		/* at the end of a member: the body may end here */
};

/* NULL when out of memory. */
struct gunzip *gunzip_new(void) __attribute__((warn_unused_result));
void		gunzip_free(struct gunzip *g);
/*
 * Decompresses from [*in, *in + *in_len) into out, moving both on; *out_len is
 * the room before and what was written after. Stops when either is used up.
 * False when it is not gzip.
 */
bool		gunzip_step(struct gunzip *g, const char **in, size_t *in_len, char *out, size_t *out_len)
			__attribute__((warn_unused_result));

#endif
