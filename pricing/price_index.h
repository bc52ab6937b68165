/*
 * Inside of a price catalogue, shared by the files that build, match and price.
 */
#ifndef PRICE_INDEX_H
#define PRICE_INDEX_H

#include <string.h>

#include "pricing/price.h"

/* Linked into whatever uses it: calls need no indirection. */
#pragma GCC visibility push(hidden)

/*
 * Names are kept per namespace. A namespace is a provider's number, or one of:
 *	ANY			prices that name no provider
 *	HOME		models of the providers that made them: what a bare model name
 *				means when no provider is given
 *	PROVIDER	names of providers; the value is the provider's number
 */
#define PRICE_NS_ANY		0
#define PRICE_NS_HOME		1
#define PRICE_NS_PROVIDER	2
#define PRICE_NS_FIRST		3

/* Rows of one precedence, provider, match kind and model: the alternatives
 * among which time, tier and prompt size choose. */
struct price_group
{
	const struct price_row *const *rows;
	uint32_t	n_rows;
	int32_t		precedence;
	uint16_t	provider;		/* namespace */
	uint8_t		match;			/* enum price_match_kind */
	bool		plain;			/* one row, standard tier, always in effect */
	struct price_text model;
};

/* An entry of the name table: open addressing, linear probing. */
struct price_slot
{
	const char *name;			/* NULL: free */
	uint16_t	len;
	uint16_t	ns;
	uint32_t	value;			/* group, provider, or PRICE_SLOT_ALIAS + alias */
};
#define PRICE_SLOT_ALIAS	0x80000000u

struct price_catalogue
{
	const struct price_row **rows;	/* sorted into groups */
	uint32_t	n_rows;
	struct price_group *groups;
	uint32_t	n_groups;
	uint32_t	n_patterns;		/* groups at the end that are no exact ones, the
								 * most specific first */
	uint32_t	n_precedences;	/* how many different ones there are */
	uint32_t	n_providers;
	bool		has_any;		/* there are prices that name no provider */
	const struct price_alias *aliases;
	uint32_t	n_aliases;
	struct price_slot *slots;
	uint32_t	slot_mask;
};

/* A provider we know by name, whether or not we know prices of its own. */
#define PRICE_MAX_MAKERS	8

struct price_provider
{
	const char *name;
	bool		home;			/* bare names of its models mean this provider */
	const char *const *makers;	/* whose prices apply where it has none itself */
	const char *const *aliases;
	const char *const *open;	/* beginnings of names of open models: anybody may
								 * host them, so alone they mean nobody's price */
};								/* lists end with NULL */

extern const struct price_provider price_providers[];
extern const size_t price_n_providers;

/* ASCII lower case of eight bytes at once; other bytes stay as they are. */
static inline uint64_t
price_lower_word(uint64_t w)
{
	const uint64_t ones = UINT64_C(0x0101010101010101);
	uint64_t	seven = w & (ones * 0x7f);
	uint64_t	from_a = seven + ones * (0x80 - 'A');	/* high bit: >= 'A' */
	uint64_t	past_z = seven + ones * (0x80 - 'Z' - 1);	/* high bit: > 'Z' */
	uint64_t	upper = (from_a & ~past_z & ~w) & (ones * 0x80);

	return w | upper >> 2;
}

/* Words have the first byte lowest, whatever the machine does. */
static inline uint64_t
price_little_endian(uint64_t word)
{
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
	return __builtin_bswap64(word);
#else
	return word;
#endif
}

/* Up to eight bytes as a word, zeros after them. */
static inline uint64_t
price_load_word(const char *p, size_t n)
{
	uint64_t	word = 0;

	if (n >= 8)
	{
		memcpy(&word, p, 8);
		return price_little_endian(word);
	}
	if (n >= 4)
	{
		uint64_t	tail = 0;

		memcpy(&word, p, 4);
		memcpy(&tail, p + n - 4, 4);
		return price_little_endian(word) | price_little_endian(tail) << (8 * (n - 4));
	}
	if (n == 0)
		return 0;
	return (unsigned char) p[0] | (uint64_t) (unsigned char) p[n / 2] << (8 * (n / 2)) |
		(uint64_t) (unsigned char) p[n - 1] << (8 * (n - 1));
}

/* Room for a name in lower case, written a word at a time. */
#define PRICE_NAME_BUFFER	(PRICE_MAX_NAME_BYTES + 8)

/* Copy a name in ASCII lower case; false when it is absent or too long. */
static inline bool
price_lower(struct price_text in, char out[PRICE_NAME_BUFFER], struct price_text *lower)
{
	if (in.p == NULL || in.len == 0 || in.len > PRICE_MAX_NAME_BYTES)
		return false;
	for (size_t i = 0; i < in.len; i += 8)
	{
		uint64_t	word = price_little_endian(price_lower_word(price_load_word(in.p + i, in.len - i)));

		memcpy(out + i, &word, 8);
	}
	lower->p = out;
	lower->len = in.len;
	return true;
}

static inline bool
price_text_equal(struct price_text a, struct price_text b)
{
	return a.len == b.len && (a.len == 0 || memcmp(a.p, b.p, a.len) == 0);
}

static inline int
price_text_compare(struct price_text a, struct price_text b)
{
	size_t		n = a.len < b.len ? a.len : b.len;
	int			c = n == 0 ? 0 : memcmp(a.p, b.p, n);

	return c != 0 ? c : (a.len > b.len) - (a.len < b.len);
}

static inline uint32_t
price_name_hash(uint32_t ns, const char *p, size_t len)
{
	uint64_t	h = (ns + 1) * UINT64_C(0x9E3779B97F4A7C15) ^ len;
	uint64_t	word;

	while (len >= 8)
	{
		memcpy(&word, p, 8);
		h = (h ^ word) * UINT64_C(0xFF51AFD7ED558CCD);
		h ^= h >> 32;
		p += 8;
		len -= 8;
	}
	word = price_load_word(p, len);
	h = (h ^ word) * UINT64_C(0xC4CEB9FE1A85EC53);
	return (uint32_t) (h ^ h >> 32);
}

/* The provider's number, or 0 when nobody knows it. */
extern uint32_t price_provider_number(const struct price_catalogue *catalogue, struct price_text lower);

#pragma GCC visibility pop

#endif
