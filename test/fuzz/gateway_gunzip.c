/*
 * Fuzz: any bytes as a gzip body, in pieces and into rooms of any size, come to
 * what they come to at once; and whatever is compressed comes back.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/gunzip.h"

#define OUTPUT_MAX ((size_t) 1 << 20)

int			LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct output
{
	char	   *data;
	size_t		len;
	bool		good;
	bool		complete;
	bool		full;
};

static void
require(bool condition)
{
	if (!condition)
		abort();
}

/* Pieces and rooms of at most so many bytes. */
static struct output
run(const uint8_t *data, size_t size, size_t piece, size_t room)
{
	struct gunzip *g = gunzip_new();
	struct output out = {.data = malloc(OUTPUT_MAX), .good = true};

	require(g != NULL && out.data != NULL);
	while (size > 0 && out.good && !out.full)
	{
		const char *in = (const char *) data;
		size_t		given = size < piece ? size : piece;
		size_t		left = given;

		while (left > 0 && out.good && !out.full)
		{
			size_t		n = OUTPUT_MAX - out.len < room ? OUTPUT_MAX - out.len : room;

			out.full = n == 0;
			if (!out.full)
				out.good = gunzip_step(g, &in, &left, out.data + out.len, &n);
			if (!out.full)
				out.len += n;
			require(out.len <= OUTPUT_MAX && left <= given);
		}
		data += given;
		size -= given;
	}
	out.complete = out.good && !out.full && g->complete;
	gunzip_free(g);
	return out;
}

static void
round_trip(const uint8_t *data, size_t size)
{
	z_stream	z = {0};
	uint8_t    *packed = malloc(size + size / 100 + 1000);
	struct output out;

	require(packed != NULL && deflateInit2(&z, 1, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) == Z_OK);
	z.next_in = (Bytef *) (uintptr_t) data;
	z.avail_in = (uInt) size;
	z.next_out = packed;
	z.avail_out = (uInt) (size + size / 100 + 1000);
	require(deflate(&z, Z_FINISH) == Z_STREAM_END);
	out = run(packed, z.total_out, 7, 64);
	require(out.complete && out.len == size && memcmp(out.data, data, size) == 0);
	free(out.data);
	deflateEnd(&z);
	free(packed);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const uint8_t none;
	struct output once;
	struct output parts;

	if (size == 0)
		data = &none;
	once = run(data, size, SIZE_MAX, OUTPUT_MAX);
	parts = run(data, size, 1 + (size > 0 ? data[size - 1] % 16 : 0), 1 + (size > 0 ? data[0] : 0));
	require(once.complete == parts.complete && once.full == parts.full && once.good == parts.good);
	require(!once.complete || (once.len == parts.len && memcmp(once.data, parts.data, once.len) == 0));
	free(once.data);
	free(parts.data);
	if (size < OUTPUT_MAX / 2)
		round_trip(data, size);
	return 0;
}
