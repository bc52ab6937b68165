/*
 * Files (assets.h) put into the program by the assembler, and compressed once
 * when it starts. Paths are relative to the top of the source tree, where make
 * compiles.
 */
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "gateway/assets.h"

#define GZIP_WINDOW_BITS (15 + 16)
#define GZIP_MEMORY_LEVEL 9

#define TEXT_HTML	"text/html; charset=utf-8"
#define TEXT_JS		"text/javascript; charset=utf-8"
#define TEXT_CSS	"text/css; charset=utf-8"

/* symbol, name, file below gateway/, content type */
#define ASSETS(A) \
	A(index_html, "index.html", "dashboard/index.html", TEXT_HTML) \
	A(style_css, "style.css", "dashboard/style.css", TEXT_CSS) \
	A(app_js, "app.js", "dashboard/app.js", TEXT_JS) \
	A(api_js, "api.js", "dashboard/api.js", TEXT_JS) \
	A(charts_js, "charts.js", "dashboard/charts.js", TEXT_JS) \
	A(dom_js, "dom.js", "dashboard/dom.js", TEXT_JS) \
	A(format_js, "format.js", "dashboard/format.js", TEXT_JS) \
	A(requests_js, "requests.js", "dashboard/requests.js", TEXT_JS) \
	A(state_js, "state.js", "dashboard/state.js", TEXT_JS) \
	A(table_js, "table.js", "dashboard/table.js", TEXT_JS) \
	A(zone_js, "zone.js", "dashboard/zone.js", TEXT_JS) \
	A(uplot_js, "uPlot.iife.min.js", "dashboard/vendor/uPlot.iife.min.js", TEXT_JS) \
	A(uplot_css, "uPlot.min.css", "dashboard/vendor/uPlot.min.css", TEXT_CSS) \
	A(openapi_json, "openapi.json", "openapi.json", "application/json")

#define EMBED(symbol, name, file, type) \
	__asm__(".section .rodata\n" \
			".global asset_" #symbol "\n.balign 16\nasset_" #symbol ":\n.incbin \"gateway/" file "\"\n" \
			".global asset_" #symbol "_end\nasset_" #symbol "_end:\n.byte 0\n.previous\n"); \
	extern const char asset_##symbol[]; \
	extern const char asset_##symbol##_end[];
ASSETS(EMBED)

#define ASSET(symbol, file_name, file, type) {.name = file_name, .content_type = type, .data = asset_##symbol},
static struct asset assets[] = {ASSETS(ASSET)};

#define END(symbol, name, file, type) asset_##symbol##_end,
static const char *const ends[] = {ASSETS(END)};

#define NASSETS (sizeof(assets) / sizeof(assets[0]))

/* Leaves gzip NULL where there is no memory: it is served as it is. */
static void
compress_asset(struct asset *asset)
{
	z_stream	z = {0};
	size_t		room;

	if (deflateInit2(&z, Z_BEST_COMPRESSION, Z_DEFLATED, GZIP_WINDOW_BITS, GZIP_MEMORY_LEVEL, Z_DEFAULT_STRATEGY) != Z_OK)
		return;
	room = deflateBound(&z, asset->len);
	asset->gzip = malloc(room);
	z.next_in = (Bytef *) (uintptr_t) asset->data;
	z.avail_in = (uInt) asset->len;
	z.next_out = (Bytef *) asset->gzip;
	z.avail_out = (uInt) room;
	if (asset->gzip && deflate(&z, Z_FINISH) == Z_STREAM_END)
		asset->gzip_len = z.total_out;
	else
	{
		free(asset->gzip);
		asset->gzip = NULL;
	}
	deflateEnd(&z);
}

void
assets_init(void)
{
	for (size_t i = 0; i < NASSETS; i++)
	{
		uint64_t	hash = UINT64_C(14695981039346656037);	/* FNV-1a */

		assets[i].len = (size_t) (ends[i] - assets[i].data);
		for (size_t k = 0; k < assets[i].len; k++)
			hash = (hash ^ (unsigned char) assets[i].data[k]) * UINT64_C(1099511628211);
		snprintf(assets[i].etag, sizeof(assets[i].etag), "\"%016" PRIx64 "\"", hash);
		compress_asset(&assets[i]);
	}
}

void
assets_free(void)
{
	for (size_t i = 0; i < NASSETS; i++)
	{
		free(assets[i].gzip);
		assets[i].gzip = NULL;
	}
}

const struct asset *
asset_find(const char *name)
{
	for (size_t i = 0; i < NASSETS; i++)
		if (strcmp(assets[i].name, name) == 0)
			return &assets[i];
	return NULL;
}
