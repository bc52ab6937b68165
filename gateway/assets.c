/*
 * Files (assets.h) put into the program by the assembler.
 * Paths are relative to the top of the source tree, where make compiles.
 */
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "gateway/assets.h"

#define EMBED(symbol, file) \
	__asm__(".section .rodata\n" \
			".global asset_" #symbol "\n.balign 16\nasset_" #symbol ":\n.incbin \"gateway/" file "\"\n" \
			".global asset_" #symbol "_end\nasset_" #symbol "_end:\n.byte 0\n.previous\n"); \
	extern const char asset_##symbol[]; \
	extern const char asset_##symbol##_end[]

EMBED(index_html, "dashboard/index.html");
EMBED(app_js, "dashboard/app.js");
EMBED(style_css, "dashboard/style.css");
EMBED(openapi_json, "openapi.json");

static struct asset assets[] = {
	{.name = "index.html", .content_type = "text/html; charset=utf-8", .data = asset_index_html},
	{.name = "app.js", .content_type = "text/javascript; charset=utf-8", .data = asset_app_js},
	{.name = "style.css", .content_type = "text/css; charset=utf-8", .data = asset_style_css},
	{.name = "openapi.json", .content_type = "application/json", .data = asset_openapi_json},
};
static const char *const ends[] = {asset_index_html_end, asset_app_js_end, asset_style_css_end, asset_openapi_json_end};

#define ASSETS (sizeof(assets) / sizeof(assets[0]))

void
assets_init(void)
{
	for (size_t i = 0; i < ASSETS; i++)
	{
		uint64_t	hash = UINT64_C(14695981039346656037);	/* FNV-1a */

		assets[i].len = (size_t) (ends[i] - assets[i].data);
		for (size_t k = 0; k < assets[i].len; k++)
			hash = (hash ^ (unsigned char) assets[i].data[k]) * UINT64_C(1099511628211);
		snprintf(assets[i].etag, sizeof(assets[i].etag), "\"%016" PRIx64 "\"", hash);
	}
}

const struct asset *
asset_find(const char *name)
{
	for (size_t i = 0; i < ASSETS; i++)
		if (strcmp(assets[i].name, name) == 0)
			return &assets[i];
	return NULL;
}
