/*
 * The line format of catalogues: writing in the server, reading in gateways.
 *
 * Writing is pure. A loader belongs to one thread; the catalogue it finishes is
 * read-only and open to all threads until the loader is freed.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pricing/price_parse.h"

#define LOADER_BLOCK_BYTES	65536
#define LOADER_MAX_ROWS		1000000

/*
 * Goes into every digest. To be raised when the rules change: when the same
 * lines would match or cost anything else than before.
 */
#define RULES_VERSION		1

#define FNV_OFFSET			UINT64_C(0xcbf29ce484222325)
#define FNV_PRIME			UINT64_C(0x100000001b3)

/* Memory for texts and multipliers: blocks that never move. */
struct block
{
	struct block *next;
	size_t		used;
	char		bytes[LOADER_BLOCK_BYTES];
};

struct price_loader
{
	struct block *blocks;
	struct price_row *rows;
	size_t		n_rows;
	size_t		row_room;
	struct price_alias *aliases;
	size_t		n_aliases;
	size_t		alias_room;
	uint64_t	digest;			/* sum over the lines added */
	const struct price_row **list;	/* made by finish */
	void	   *catalogue;
};

/* A text up to its first control character, which the format cannot carry. */
static size_t
put_text(char *line, size_t at, struct price_text text)
{
	for (size_t i = 0; i < text.len && (unsigned char) text.p[i] >= ' ' && at < PRICE_MAX_LINE_BYTES - 1; i++)
		line[at++] = text.p[i];
	return at;
}

static size_t
put_int(char *line, size_t at, int64_t value)
{
	int			n = snprintf(line + at, PRICE_MAX_LINE_BYTES - at, "%" PRId64, value);

	return n < 0 || at + (size_t) n >= PRICE_MAX_LINE_BYTES ? PRICE_MAX_LINE_BYTES - 1 : at + (size_t) n;
}

static size_t
put_tab(char *line, size_t at)
{
	if (at < PRICE_MAX_LINE_BYTES - 1)
		line[at++] = '\t';
	return at;
}

size_t
price_write_row(const struct price_row *row, char line[PRICE_MAX_LINE_BYTES])
{
	size_t		at = 0;

	line[at++] = 'P';
	at = put_int(line, put_tab(line, at), row->id);
	at = put_int(line, put_tab(line, at), row->precedence);
	at = put_text(line, put_tab(line, at), row->provider);
	at = put_text(line, put_tab(line, at), row->model);
	at = put_int(line, put_tab(line, at), row->match);
	at = put_text(line, put_tab(line, at), row->tier);
	at = put_int(line, put_tab(line, at), row->context_from);
	at = put_int(line, put_tab(line, at), row->context_inclusive);
	at = put_int(line, put_tab(line, at), row->from_us);
	at = put_int(line, put_tab(line, at), row->to_us);
	at = put_int(line, put_tab(line, at), row->window_from_min);
	at = put_int(line, put_tab(line, at), row->window_to_min);
	at = put_tab(line, at);
	for (int i = 0; i < row->n_multipliers; i++)
	{
		if (i > 0)
			at = put_text(line, at, PRICE_TEXT(","));
		at = put_text(line, at, row->multipliers[i].name);
		at = put_text(line, at, PRICE_TEXT("="));
		at = put_int(line, at, row->multipliers[i].ppm);
	}
	for (int i = 0; i < PRICE_RATES; i++)
	{
		at = put_tab(line, at);
		if (row->rate_atto[i] != PRICE_NO_RATE)
			at = put_int(line, at, row->rate_atto[i]);
	}
	line[at] = '\0';
	return at;
}

size_t
price_write_alias(const struct price_alias *alias, char line[PRICE_MAX_LINE_BYTES])
{
	size_t		at = 0;

	line[at++] = 'A';
	at = put_text(line, put_tab(line, at), alias->provider);
	at = put_text(line, put_tab(line, at), alias->alias);
	at = put_text(line, put_tab(line, at), alias->model);
	line[at] = '\0';
	return at;
}

/* FNV-1a, its bits mixed once more, because the digests of lines are added up. */
uint64_t
price_digest_line(struct price_text line)
{
	uint64_t	h = FNV_OFFSET;

	for (size_t i = 0; i < line.len; i++)
		h = (h ^ (unsigned char) line.p[i]) * FNV_PRIME;
	h = (h ^ h >> 32) * UINT64_C(0x9e3779b97f4a7c15);
	h = (h ^ h >> 29) * UINT64_C(0xbf58476d1ce4e5b9);
	return h ^ h >> 32;
}

int64_t
price_digest_version(uint64_t sum)
{
	int64_t		version = (int64_t) ((sum + price_digest_line(PRICE_TEXT("rules")) * RULES_VERSION) & INT64_MAX);

	return version == PRICE_NO_VERSION ? 1 : version;
}

struct price_loader *
price_loader_new(void)
{
	return calloc(1, sizeof(struct price_loader));
}

void
price_loader_free(struct price_loader *loader)
{
	if (loader == NULL)
		return;
	while (loader->blocks != NULL)
	{
		struct block *next = loader->blocks->next;

		free(loader->blocks);
		loader->blocks = next;
	}
	free(loader->rows);
	free(loader->aliases);
	free(loader->list);
	free(loader->catalogue);
	free(loader);
}

/* Room in a block, aligned for a multiplier; NULL when there is no memory. */
static void *
take(struct price_loader *loader, size_t size)
{
	struct block *b = loader->blocks;
	size_t		at = b == NULL ? LOADER_BLOCK_BYTES : (b->used + 15) & ~(size_t) 15;

	if (size > LOADER_BLOCK_BYTES)
		return NULL;
	if (at + size > LOADER_BLOCK_BYTES)
	{
		b = malloc(sizeof(*b));
		if (b == NULL)
			return NULL;
		b->next = loader->blocks;
		b->used = 0;
		loader->blocks = b;
		at = 0;
	}
	b->used = at + size;
	return b->bytes + at;
}

/* A field of a line, kept. */
static bool
keep_text(struct price_loader *loader, struct price_text field, struct price_text *kept)
{
	char	   *copy;

	if (field.len > PRICE_MAX_NAME_BYTES || (copy = take(loader, field.len + 1)) == NULL)
		return false;
	if (field.len > 0)
		memcpy(copy, field.p, field.len);
	copy[field.len] = '\0';
	*kept = (struct price_text) {copy, field.len};
	return true;
}

static bool
read_int(struct price_text field, int64_t min, int64_t max, int64_t *value)
{
	bool		negative = field.len > 0 && field.p[0] == '-';
	int64_t		n = 0;

	if (field.len == (size_t) negative)
		return false;
	for (size_t i = negative; i < field.len; i++)
	{
		int			digit = field.p[i] - '0';

		if (digit < 0 || digit > 9 || __builtin_mul_overflow(n, 10, &n) ||
			__builtin_sub_overflow(n, digit, &n))	/* downwards, so that INT64_MIN fits */
			return false;
	}
	if (!negative && __builtin_sub_overflow(0, n, &n))
		return false;
	*value = n;
	return n >= min && n <= max;
}

static bool
read_multipliers(struct price_loader *loader, struct price_text field, struct price_row *row)
{
	struct price_multiplier *list;
	int			n = 0;

	if (field.len == 0)
		return true;
	list = take(loader, PRICE_MAX_MULTIPLIERS * sizeof(*list));
	if (list == NULL)
		return false;
	while (field.len > 0)
	{
		const char *comma = memchr(field.p, ',', field.len);
		struct price_text item = {field.p, comma == NULL ? field.len : (size_t) (comma - field.p)};
		const char *equals = memchr(item.p, '=', item.len);

		if (equals == NULL || n == PRICE_MAX_MULTIPLIERS ||
			!keep_text(loader, (struct price_text) {item.p, (size_t) (equals - item.p)}, &list[n].name) ||
			!read_int((struct price_text) {equals + 1, (size_t) (item.p + item.len - equals - 1)}, 1,
					  PRICE_MAX_MULTIPLIER_PPM, &list[n].ppm))
			return false;
		n++;
		field.p += item.len + (comma != NULL);
		field.len -= item.len + (comma != NULL);
	}
	row->multipliers = list;
	row->n_multipliers = (int16_t) n;
	return true;
}

static bool
read_row(struct price_loader *loader, const struct price_text *f, struct price_row *row)
{
	int64_t		id,
				precedence,
				match,
				inclusive,
				from_min,
				to_min;

	memset(row, 0, sizeof(*row));
	if (!read_int(f[1], 1, INT32_MAX, &id) || !read_int(f[2], INT32_MIN, INT32_MAX, &precedence) ||
		!keep_text(loader, f[3], &row->provider) || !keep_text(loader, f[4], &row->model) || f[4].len == 0 ||
		!read_int(f[5], 0, PRICE_MATCH_CONTAINS, &match) || !keep_text(loader, f[6], &row->tier) ||
		!read_int(f[7], 0, INT64_MAX, &row->context_from) || !read_int(f[8], 0, 1, &inclusive) ||
		!read_int(f[9], INT64_MIN, INT64_MAX, &row->from_us) || !read_int(f[10], INT64_MIN, INT64_MAX, &row->to_us) ||
		!read_int(f[11], 0, 1439, &from_min) || !read_int(f[12], 0, 1439, &to_min) ||
		!read_multipliers(loader, f[13], row))
		return false;
	row->id = (int32_t) id;
	row->precedence = (int32_t) precedence;
	row->match = (enum price_match_kind) match;
	row->context_inclusive = inclusive != 0;
	row->window_from_min = (int16_t) from_min;
	row->window_to_min = (int16_t) to_min;
	for (int i = 0; i < PRICE_RATES; i++)
	{
		row->rate_atto[i] = PRICE_NO_RATE;
		if (f[14 + i].len > 0 && !read_int(f[14 + i], 0, INT64_MAX, &row->rate_atto[i]))
			return false;
	}
	return true;
}

/* Make room for one more element; false when there is no memory. */
static bool
grow(void **array, size_t element, size_t n, size_t *room)
{
	size_t		bigger = *room == 0 ? 256 : *room * 2;
	void	   *moved;

	if (n < *room)
		return true;
	if (n >= LOADER_MAX_ROWS || (moved = realloc(*array, bigger * element)) == NULL)
		return false;
	*array = moved;
	*room = bigger;
	return true;
}

bool
price_loader_add(struct price_loader *loader, struct price_text line)
{
	struct price_text field[PRICE_LINE_FIELDS];
	int			n = 0;

	for (const char *p = line.p; n < PRICE_LINE_FIELDS && p != NULL;)
	{
		const char *end = line.p + line.len;
		const char *tab = memchr(p, '\t', (size_t) (end - p));

		field[n++] = (struct price_text) {p, (size_t) ((tab != NULL ? tab : end) - p)};
		p = tab != NULL ? tab + 1 : NULL;
		if (n == PRICE_LINE_FIELDS && p != NULL)
			return false;
	}
	if (n == PRICE_LINE_FIELDS && field[0].len == 1 && field[0].p[0] == 'P')
	{
		struct price_row row;

		if (!read_row(loader, field, &row) ||
			!grow((void **) &loader->rows, sizeof(row), loader->n_rows, &loader->row_room))
			return false;
		loader->rows[loader->n_rows++] = row;
		loader->digest += price_digest_line(line);
		return true;
	}
	if (n == 4 && field[0].len == 1 && field[0].p[0] == 'A')
	{
		struct price_alias alias;

		if (!keep_text(loader, field[1], &alias.provider) || !keep_text(loader, field[2], &alias.alias) ||
			!keep_text(loader, field[3], &alias.model) || field[2].len == 0 ||
			!grow((void **) &loader->aliases, sizeof(alias), loader->n_aliases, &loader->alias_room))
			return false;
		loader->aliases[loader->n_aliases++] = alias;
		loader->digest += price_digest_line(line);
		return true;
	}
	return false;
}

const struct price_catalogue *
price_loader_finish(struct price_loader *loader)
{
	free(loader->list);
	free(loader->catalogue);
	loader->list = malloc((loader->n_rows + 1) * sizeof(*loader->list));
	loader->catalogue = malloc(price_catalogue_bytes(loader->n_rows, loader->n_aliases));
	if (loader->list == NULL || loader->catalogue == NULL)
		return NULL;
	for (size_t i = 0; i < loader->n_rows; i++)
		loader->list[i] = &loader->rows[i];
	return price_catalogue_build(loader->catalogue, loader->list, loader->n_rows, loader->aliases, loader->n_aliases);
}

int64_t
price_loader_version(const struct price_loader *loader)
{
	return price_digest_version(loader->digest);
}
