/*
 * Decompression; see gunzip.h.
 */
#include "gateway/gunzip.h"

#include <limits.h>
#include <stdint.h>
#include <stdlib.h>

#define WINDOW_BITS_GZIP (15 + 16)

struct gunzip *
gunzip_new(void)
{
	struct gunzip *g = calloc(1, sizeof(*g));

	if (g != NULL && inflateInit2(&g->z, WINDOW_BITS_GZIP) != Z_OK)
	{
		free(g);
		return NULL;
	}
	return g;
}

void
gunzip_free(struct gunzip *g)
{
	if (g == NULL)
		return;
	inflateEnd(&g->z);
	free(g);
}

bool
gunzip_step(struct gunzip *g, const char **in, size_t *in_len, char *out, size_t *out_len)
{
	uInt		given = *in_len > UINT_MAX ? UINT_MAX : (uInt) *in_len;
	uInt		room = *out_len > UINT_MAX ? UINT_MAX : (uInt) *out_len;
	int			rc;

	if (g->complete && given > 0)
	{
		/* another member follows */
		if (inflateReset(&g->z) != Z_OK)
			return false;
		g->complete = false;
	}
	g->z.next_in = (Bytef *) (uintptr_t) *in;
	g->z.avail_in = given;
	g->z.next_out = (Bytef *) out;
	g->z.avail_out = room;
	rc = inflate(&g->z, Z_NO_FLUSH);
	*in += given - g->z.avail_in;
	*in_len -= given - g->z.avail_in;
	*out_len = room - g->z.avail_out;
	if (rc == Z_STREAM_END)
		g->complete = true;
	return rc == Z_OK || rc == Z_STREAM_END || rc == Z_BUF_ERROR;
}
