/*
 * Pages and their cache (page.h). One lock for the cache; nothing slow is done
 * under it.
 */
#include <openssl/sha.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "gateway/page.h"
#include "gateway/selfmetrics.h"

/* shorter bodies do not gain what the header costs */
#define GZIP_MIN_BYTES 512
/* measured on statistics: level 1 compresses 8 times at 200 MB/s, level 6 10 times at 60 */
#define GZIP_LEVEL 1
#define GZIP_WINDOW_BITS (15 + 16)
#define TAG_HASH_BYTES 12
#define CACHE_BUCKETS 1024		/* a power of two */
/* what an entry weighs beside its texts */
#define ENTRY_BYTES 256

struct entry
{
	char	   *key;
	size_t		weight;
	struct page *page;
	struct entry *chain;
	struct entry *newer;
	struct entry *older;
};

struct page_cache
{
	pthread_mutex_t lock;
	size_t		limit;
	size_t		held;
	struct entry *newest;
	struct entry *oldest;
	struct entry *buckets[CACHE_BUCKETS];
};

/* ---------------------------------------------------------------- pages */

static void
make_tag(struct page *p, size_t from)
{
	unsigned char hash[SHA256_DIGEST_LENGTH];
	char	   *out = p->etag;

	SHA256((const unsigned char *) p->body + from, p->len - from, hash);
	out += sprintf(out, "W/\"");
	for (int i = 0; i < TAG_HASH_BYTES; i++)
		out += sprintf(out, "%02x", hash[i]);
	strcpy(out, "\"");
}

struct page *
page_new(int status, const char *content_type, struct text *body, size_t tag_from)
{
	struct page *p = body->failed ? NULL : calloc(1, sizeof(*p));

	if (p == NULL)
	{
		text_free(body);
		return NULL;
	}
	atomic_init(&p->references, 1);
	p->status = status;
	p->content_type = content_type;
	p->body = body->data;
	p->len = body->len;
	text_init(body);
	if (status == 200 && tag_from < p->len)
		make_tag(p, tag_from);
	return p;
}

/* Compresses len bytes into out, which it makes; flush is Z_FINISH or Z_FULL_FLUSH. */
static bool
compress_bytes(const char *data, size_t len, int window_bits, int flush, char **out, size_t *out_len)
{
	z_stream	z = {0};
	size_t		size;
	int			rc;

	if (deflateInit2(&z, GZIP_LEVEL, Z_DEFLATED, window_bits, 8, Z_DEFAULT_STRATEGY) != Z_OK)
		return false;
	size = deflateBound(&z, len) + 16;	/* and the empty block of a flush */
	*out = malloc(size);
	if (*out)
	{
		z.next_in = (Bytef *) (uintptr_t) data;
		z.avail_in = (uInt) len;
		z.next_out = (Bytef *) *out;
		z.avail_out = (uInt) size;
		rc = deflate(&z, flush);
		if ((flush == Z_FINISH && rc != Z_STREAM_END) || z.avail_in > 0)
		{
			free(*out);
			*out = NULL;
		}
		else
			*out_len = size - z.avail_out;
	}
	deflateEnd(&z);
	return *out != NULL;
}

bool
page_gzip(struct page *p)
{
	char	   *out;
	size_t		len;

	if (p->len < GZIP_MIN_BYTES || p->len > UINT32_MAX / 2)
		return true;
	if (!compress_bytes(p->body, p->len, GZIP_WINDOW_BITS, Z_FINISH, &out, &len))
		return false;
	free(p->body);
	p->body = out;
	p->len = len;
	p->gzip = true;
	return true;
}

bool
page_deflate_open(struct page *p)
{
	char	   *out;
	size_t		len;

	if (p->len > UINT32_MAX / 2)
		return true;
	if (!compress_bytes(p->body, p->len, -15, Z_FULL_FLUSH, &out, &len))
		return false;
	p->crc = (uint32_t) crc32(crc32(0, Z_NULL, 0), (const Bytef *) p->body, (uInt) p->len);
	p->plain_len = p->len;
	free(p->body);
	p->body = out;
	p->len = len;
	p->gzip = true;
	return true;
}

static void
append_le32(struct text *out, uint32_t n)
{
	for (int i = 0; i < 4; i++)
		text_putc(out, (char) (n >> (8 * i)));
}

bool
page_deflate_end(const struct page *p, struct text *out, const char *more, size_t len)
{
	static const char header[] = {0x1f, (char) 0x8b, 8, 0, 0, 0, 0, 0, 0, (char) 0xff};
	uLong		crc = crc32(crc32(0, Z_NULL, 0), (const Bytef *) more, (uInt) len);
	char	   *end;
	size_t		end_len;

	if (!compress_bytes(more, len, -15, Z_FINISH, &end, &end_len))
		return false;
	text_append(out, header, sizeof(header));
	text_append(out, p->body, p->len);
	text_append(out, end, end_len);
	free(end);
	append_le32(out, (uint32_t) crc32_combine(p->crc, crc, (z_off_t) len));
	append_le32(out, (uint32_t) (p->plain_len + len));
	return !out->failed;
}

struct page *
page_hold(struct page *p)
{
	atomic_fetch_add(&p->references, 1);
	return p;
}

void
page_drop(struct page *p)
{
	if (p == NULL || atomic_fetch_sub(&p->references, 1) != 1)
		return;
	free(p->body);
	free(p->version);
	free(p);
}

void
page_drop_untyped(void *p)
{
	page_drop(p);
}

bool
page_tag_matches(const char *if_none_match, const char *etag)
{
	size_t		len = strlen(etag);

	if (if_none_match == NULL || len == 0)
		return false;
	if (strcmp(if_none_match, "*") == 0)
		return true;
	/* weak comparison: the quoted part alone; none of ours is part of another */
	etag += strncmp(etag, "W/", 2) == 0 ? 2 : 0;
	return strstr(if_none_match, etag) != NULL;
}

/* ---------------------------------------------------------------- cache */

static size_t
bucket_of(const char *key)
{
	uint64_t	hash = UINT64_C(14695981039346656037);	/* FNV-1a */

	for (const char *c = key; *c; c++)
		hash = (hash ^ (unsigned char) *c) * UINT64_C(1099511628211);
	return (size_t) (hash ^ (hash >> 32)) & (CACHE_BUCKETS - 1);
}

static struct entry **
find(struct page_cache *c, const char *key)
{
	struct entry **e = &c->buckets[bucket_of(key)];

	while (*e && strcmp((*e)->key, key) != 0)
		e = &(*e)->chain;
	return e;
}

static void
unlink_age(struct page_cache *c, struct entry *e)
{
	*(e->newer ? &e->newer->older : &c->newest) = e->older;
	*(e->older ? &e->older->newer : &c->oldest) = e->newer;
}

static void
link_newest(struct page_cache *c, struct entry *e)
{
	e->newer = NULL;
	e->older = c->newest;
	*(c->newest ? &c->newest->newer : &c->oldest) = e;
	c->newest = e;
}

/* Takes an entry out and frees it. */
static void
discard(struct page_cache *c, struct entry **place)
{
	struct entry *e = *place;

	*place = e->chain;
	unlink_age(c, e);
	c->held -= e->weight;
	page_drop(e->page);
	free(e->key);
	free(e);
}

struct page_cache *
page_cache_new(size_t limit_bytes)
{
	struct page_cache *c = calloc(1, sizeof(*c));

	if (c == NULL)
		return NULL;
	pthread_mutex_init(&c->lock, NULL);
	c->limit = limit_bytes;
	return c;
}

void
page_cache_free(struct page_cache *c)
{
	if (c == NULL)
		return;
	while (c->oldest)
		discard(c, find(c, c->oldest->key));
	pthread_mutex_destroy(&c->lock);
	free(c);
}

struct page *
page_cache_get(struct page_cache *c, const char *key)
{
	struct page *page = NULL;
	struct entry *e;

	pthread_mutex_lock(&c->lock);
	e = *find(c, key);
	if (e)
	{
		unlink_age(c, e);
		link_newest(c, e);
		page = page_hold(e->page);
	}
	pthread_mutex_unlock(&c->lock);
	return page;
}

void
page_cache_put(struct page_cache *c, const char *key, struct page *p)
{
	size_t		weight = ENTRY_BYTES + sizeof(*p) + strlen(key) + p->len + (p->version ? strlen(p->version) : 0);
	struct entry *e = weight > c->limit ? NULL : calloc(1, sizeof(*e));
	struct entry **place;

	if (e)
		e->key = strdup(key);
	if (e == NULL || e->key == NULL)
	{
		free(e);
		return;					/* it will be asked for again */
	}
	e->weight = weight;
	e->page = page_hold(p);
	pthread_mutex_lock(&c->lock);
	place = find(c, key);
	if (*place)
		discard(c, place);
	while (c->held + weight > c->limit)
	{
		discard(c, find(c, c->oldest->key));
		metric_add(METRIC_READ_CACHE_EVICTIONS, 1);
	}
	place = find(c, key);
	e->chain = *place;
	*place = e;
	link_newest(c, e);
	c->held += weight;
	metric_set(METRIC_READ_CACHE_BYTES, (int64_t) c->held);
	pthread_mutex_unlock(&c->lock);
}
