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
};

/* NULL when there is none of this name. Any thread. */
const struct asset *asset_find(const char *name);
/* Computes the tags; once, before threads. */
void		assets_init(void);

#endif
