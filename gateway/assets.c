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

#define FNV_START UINT64_C(14695981039346656037)

static char version[ASSETS_VERSION_CHARS + 1];	/* of all of them together */
static char *versioned_page;	/* the first, index.html */

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

/* FNV-1a, carried on. */
static uint64_t
add_to_hash(uint64_t hash, const char *data, size_t len)
{
	for (size_t i = 0; i < len; i++)
		hash = (hash ^ (unsigned char) data[i]) * UINT64_C(1099511628211);
	return hash;
}

/*
 * The page with the version in the addresses of its files, which the browser may
 * keep for good then. Without memory it stays as it is.
 */
static void
put_version(struct asset *page)
{
	static const char folder[] = "=\"static/";
	size_t		folder_len = sizeof(folder) - 1;
	size_t		version_len = strlen(version);
	size_t		n = 0;
	const char *from = page->data;
	const char *found;
	char	   *to;

	for (const char *p = from; (p = strstr(p, folder)) != NULL; p += folder_len)
		n++;
	versioned_page = malloc(page->len + n * (version_len + 1) + 1);
	if (versioned_page == NULL)
		return;
	to = versioned_page;
	while ((found = strstr(from, folder)) != NULL)
	{
		found += folder_len;
		memcpy(to, from, (size_t) (found - from));
		to += found - from;
		memcpy(to, version, version_len);
		to += version_len;
		*to++ = '/';
		from = found;
	}
	strcpy(to, from);
	page->data = versioned_page;
	page->len += n * (version_len + 1);
}

void
assets_init(void)
{
	uint64_t	all = FNV_START;

	for (size_t i = 0; i < NASSETS; i++)
	{
		assets[i].len = (size_t) (ends[i] - assets[i].data);
		all = add_to_hash(all, assets[i].data, assets[i].len);
	}
	snprintf(version, sizeof(version), "%016" PRIx64, all);
	put_version(&assets[0]);
	for (size_t i = 0; i < NASSETS; i++)
	{
		snprintf(assets[i].etag, sizeof(assets[i].etag), "\"%016" PRIx64 "\"", add_to_hash(FNV_START, assets[i].data, assets[i].len));
		compress_asset(&assets[i]);
	}
}

const char *
assets_version(void)
{
	return version;
}

void
assets_free(void)
{
	free(versioned_page);
	versioned_page = NULL;
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
