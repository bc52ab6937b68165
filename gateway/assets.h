/*
 * Files that are compiled in: the dashboard's and the description of the API.
 */
#ifndef GATEWAY_ASSETS_H
#define GATEWAY_ASSETS_H

#include <stddef.h>

struct asset
{
	const char *name;			/* "app.js" */
	const char *content_type;
	const char *data;
	size_t		len;
	char		etag[24];		/* of the content; with quotes */
	char	   *gzip;			/* the same compressed; NULL without memory */
	size_t		gzip_len;
};

/* of a hash in hexadecimal */
#define ASSETS_VERSION_CHARS 16

/* NULL when there is none of this name. Any thread. */
const struct asset *asset_find(const char *name);
/* Of all files together: what the page puts before their names. Any thread. */
const char *assets_version(void);
/* Computes the tags and compresses; once, before threads. */
void		assets_init(void);
/* Gives the compressed copies back; after all threads. */
void		assets_free(void);

#endif
