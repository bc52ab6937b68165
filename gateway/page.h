/*
 * Pages: answers to reads, made once and sent to many. A page counts its
 * references; whoever drops the last one frees it. Its bytes never change.
 *
 * The cache keeps pages by the text of their question, within a number of
 * bytes; those unused longest go first. Any thread.
 *
 * A page knows the version of the data it shows: the snapshot that was taken
 * before its query (pg_current_snapshot()), and of how many connections. As long
 * as the server gives the same one and none was lost, nothing has been committed
 * since, and the page is still right.
 */
#ifndef GATEWAY_PAGE_H
#define GATEWAY_PAGE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "gateway/text.h"

#define PAGE_ETAG_BYTES 40

struct page
{
	_Atomic int references;
	int			status;
	const char *content_type;	/* static */
	bool		gzip;			/* body is */
	char		etag[PAGE_ETAG_BYTES];	/* weak: the same whatever the encoding; "" for none */
	char	   *body;
	size_t		len;
	uint32_t	crc;			/* of what was compressed, and how long it was: */
	size_t		plain_len;		/*  for who goes on compressing; see page_deflate */
	char	   *version;		/* NULL: unknown, never the same */
	int64_t		cost_us;		/* of its query */
	_Atomic int64_t current_until_ms;	/* monotonic clock: may be served unasked until then */
};

/*
 * Takes the body over (it is empty afterwards). tag_from: where the part of
 * the body begins that the tag is made of; what stands before may differ
 * between answers that say the same. NULL without memory.
 */
struct page *page_new(int status, const char *content_type, struct text *body, size_t tag_from);
/* Compresses the body, if that is worth it; false without memory (it is as before). */
bool		page_gzip(struct page *p);
/*
 * Compresses the body to a piece of a gzip stream that is left open, so that
 * more may follow: see page_deflate_end.
 */
bool		page_deflate_open(struct page *p);
/* Appends to out, which holds such a body, this text and the stream's end. */
bool		page_deflate_end(const struct page *p, struct text *out, const char *more, size_t len);
struct page *page_hold(struct page *p);
void		page_drop(struct page *p);
/* As page_drop, for libmicrohttpd. */
void		page_drop_untyped(void *p);
/* Does an If-None-Match header (NULL: none) name this tag? */
bool		page_tag_matches(const char *if_none_match, const char *etag);

struct page_cache;

/* limit_bytes 0: keeps nothing. NULL without memory. */
struct page_cache *page_cache_new(size_t limit_bytes);
void		page_cache_free(struct page_cache *c);
/* A reference to the page of this question, or NULL. */
struct page *page_cache_get(struct page_cache *c, const char *key);
/* Keeps a reference, in place of an older page of the question. */
void		page_cache_put(struct page_cache *c, const char *key, struct page *p);

#endif
