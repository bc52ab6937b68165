/*
 * Building a catalogue: rows are sorted into groups, groups indexed by name.
 *
 * Entered by one thread per catalogue, which owns the memory it is built in and
 * the rows it refers to; read-only and open to all threads afterwards.
 */
#include <stdlib.h>

#include "pricing/price_index.h"

#define ALIGN_UP(n) (((n) + 15) & ~(size_t) 15)

/* Slots for names: exact names twice (own namespace, HOME), aliases likewise,
 * providers; at most three quarters full. */
static size_t
slots_needed(size_t n_rows, size_t n_aliases)
{
	size_t		names = 2 * n_rows + 2 * n_aliases + n_rows;
	size_t		slots = 64;

	for (size_t i = 0; i < price_n_providers; i++)
	{
		names++;
		for (const char *const *a = price_providers[i].aliases; *a != NULL; a++)
			names++;
	}
	while (slots * 3 < names * 4)
		slots *= 2;
	return slots;
}

size_t
price_catalogue_bytes(size_t n_rows, size_t n_aliases)
{
	return ALIGN_UP(sizeof(struct price_catalogue)) +
		ALIGN_UP(n_rows * sizeof(struct price_row *)) +
		ALIGN_UP(n_rows * sizeof(struct price_group)) +
		slots_needed(n_rows, n_aliases) * sizeof(struct price_slot);
}

/* Rows of a group side by side; exact ones first; patterns longest first. The
 * id makes the order total, so that the input's order never shows. */
static int
compare_rows(const void *pa, const void *pb)
{
	const struct price_row *a = *(const struct price_row *const *) pa;
	const struct price_row *b = *(const struct price_row *const *) pb;
	int			c;

	if ((a->match == PRICE_MATCH_EXACT) != (b->match == PRICE_MATCH_EXACT))
		return a->match == PRICE_MATCH_EXACT ? -1 : 1;
	if (a->match != PRICE_MATCH_EXACT)
	{
		if (a->model.len != b->model.len)
			return a->model.len > b->model.len ? -1 : 1;
		if (a->match != b->match)
			return a->match < b->match ? -1 : 1;
	}
	if ((c = price_text_compare(a->model, b->model)) != 0)
		return c;
	if ((c = price_text_compare(a->provider, b->provider)) != 0)
		return c;
	if (a->precedence != b->precedence)
		return a->precedence > b->precedence ? -1 : 1;
	return (a->id > b->id) - (a->id < b->id);
}

static bool
same_group(const struct price_row *a, const struct price_row *b)
{
	return a->match == b->match && a->precedence == b->precedence &&
		price_text_equal(a->model, b->model) && price_text_equal(a->provider, b->provider);
}

static void
add_name(struct price_catalogue *cat, uint32_t ns, struct price_text name, uint32_t value)
{
	uint32_t	i = price_name_hash(ns, name.p, name.len) & cat->slot_mask;

	while (cat->slots[i].name != NULL)
		i = (i + 1) & cat->slot_mask;
	cat->slots[i] = (struct price_slot) {name.p, (uint16_t) name.len, (uint16_t) ns, value};
}

static const struct price_slot *
find_name(const struct price_catalogue *cat, uint32_t ns, struct price_text name)
{
	uint32_t	i = price_name_hash(ns, name.p, name.len) & cat->slot_mask;

	for (; cat->slots[i].name != NULL; i = (i + 1) & cat->slot_mask)
	{
		const struct price_slot *slot = &cat->slots[i];

		if (slot->ns == ns && slot->len == name.len && memcmp(slot->name, name.p, name.len) == 0)
			return slot;
	}
	return NULL;
}

uint32_t
price_provider_number(const struct price_catalogue *cat, struct price_text lower)
{
	const struct price_slot *slot = find_name(cat, PRICE_NS_PROVIDER, lower);

	return slot == NULL ? 0 : slot->value;
}

/* The number of a row's provider, which becomes known by having a price. */
static uint32_t
provider_of_row(struct price_catalogue *cat, struct price_text name)
{
	uint32_t	number;

	if (name.len == 0)
	{
		cat->has_any = true;
		return PRICE_NS_ANY;
	}
	number = price_provider_number(cat, name);
	if (number == 0 && cat->n_providers < UINT16_MAX)
	{
		number = cat->n_providers++;
		add_name(cat, PRICE_NS_PROVIDER, name, number);
	}
	return number;
}

static bool
is_home(uint32_t provider)
{
	return provider >= PRICE_NS_FIRST && provider - PRICE_NS_FIRST < price_n_providers &&
		price_providers[provider - PRICE_NS_FIRST].home;
}

/* Whose name is this among HOME's? 0 when it is nobody's yet. */
static uint32_t
home_owner(const struct price_catalogue *cat, struct price_text name)
{
	const struct price_slot *slot = find_name(cat, PRICE_NS_HOME, name);

	if (slot == NULL)
		return 0;
	if ((slot->value & PRICE_SLOT_ALIAS) != 0)
		return price_provider_number(cat, cat->aliases[slot->value & ~PRICE_SLOT_ALIAS].provider);
	return cat->groups[slot->value].provider;
}

/* A bare name is its first owner's alone, and an open model's is nobody's. */
static void
add_home_name(struct price_catalogue *cat, uint32_t provider, struct price_text name, uint32_t value)
{
	uint32_t	owner = home_owner(cat, name);

	if (owner != 0 && owner != provider)
		return;
	for (const char *const *open = price_providers[provider - PRICE_NS_FIRST].open; *open != NULL; open++)
		if (name.len >= strlen(*open) && memcmp(name.p, *open, strlen(*open)) == 0)
			return;
	add_name(cat, PRICE_NS_HOME, name, value);
}

static void
index_providers(struct price_catalogue *cat)
{
	for (size_t i = 0; i < price_n_providers; i++)
	{
		const struct price_provider *p = &price_providers[i];
		uint32_t	number = (uint32_t) (PRICE_NS_FIRST + i);

		add_name(cat, PRICE_NS_PROVIDER, (struct price_text) {p->name, strlen(p->name)}, number);
		for (const char *const *a = p->aliases; *a != NULL; a++)
			add_name(cat, PRICE_NS_PROVIDER, (struct price_text) {*a, strlen(*a)}, number);
	}
	cat->n_providers = (uint32_t) (PRICE_NS_FIRST + price_n_providers);
}

static void
make_groups(struct price_catalogue *cat)
{
	for (uint32_t i = 0; i < cat->n_rows; i++)
	{
		const struct price_row *row = cat->rows[i];
		struct price_group *group;

		if (i > 0 && same_group(cat->rows[i - 1], row))
		{
			group = &cat->groups[cat->n_groups - 1];
			group->n_rows++;
			group->plain = false;
			continue;
		}
		group = &cat->groups[cat->n_groups++];
		*group = (struct price_group) {
			.rows = &cat->rows[i],
			.n_rows = 1,
			.precedence = row->precedence,
			.provider = (uint16_t) provider_of_row(cat, row->provider),
			.match = (uint8_t) row->match,
			.plain = price_text_equal(row->tier, PRICE_TEXT("standard")) &&
				row->context_from == 0 && row->context_inclusive &&
				row->from_us == PRICE_ALWAYS_FROM && row->to_us == PRICE_ALWAYS_TO &&
				row->window_from_min == row->window_to_min,
			.model = row->model,
		};
		if (group->match != PRICE_MATCH_EXACT)
			cat->n_patterns++;
	}
}

static void
index_home(struct price_catalogue *cat, uint32_t provider, bool users)
{
	for (uint32_t g = 0; g < cat->n_groups - cat->n_patterns; g++)
		if (cat->groups[g].provider == provider && (cat->groups[g].precedence != 0) == users)
			add_home_name(cat, provider, cat->groups[g].model, g);
	if (users)
		return;
	for (uint32_t a = 0; a < cat->n_aliases; a++)
		if (price_provider_number(cat, cat->aliases[a].provider) == provider)
			add_home_name(cat, provider, cat->aliases[a].alias, PRICE_SLOT_ALIAS | a);
}

static void
index_names(struct price_catalogue *cat)
{
	uint32_t	n_exact = cat->n_groups - cat->n_patterns;

	for (uint32_t g = 0; g < n_exact; g++)
		add_name(cat, cat->groups[g].provider, cat->groups[g].model, g);
	for (uint32_t a = 0; a < cat->n_aliases; a++)
	{
		uint32_t	provider = price_provider_number(cat, cat->aliases[a].provider);

		if (provider != 0)
			add_name(cat, provider, cat->aliases[a].alias, PRICE_SLOT_ALIAS | a);
	}
	/* shipped names first, in the order of the table of providers; then users' */
	for (int users = 0; users <= 1; users++)
		for (uint32_t p = PRICE_NS_FIRST; p < PRICE_NS_FIRST + price_n_providers; p++)
			if (is_home(p))
				index_home(cat, p, users != 0);
}

static void
count_precedences(struct price_catalogue *cat)
{
	for (uint32_t g = 0; g < cat->n_groups && cat->n_precedences < PRICE_MAX_LEVELS; g++)
	{
		uint32_t	earlier = 0;

		while (earlier < g && cat->groups[earlier].precedence != cat->groups[g].precedence)
			earlier++;
		if (earlier == g)
			cat->n_precedences++;
	}
}

const struct price_catalogue *
price_catalogue_build(void *memory, const struct price_row *const *rows, size_t n_rows,
					  const struct price_alias *aliases, size_t n_aliases)
{
	struct price_catalogue *cat = memory;
	char	   *p = memory;
	size_t		n_slots = slots_needed(n_rows, n_aliases);

	memset(cat, 0, sizeof(*cat));
	p += ALIGN_UP(sizeof(*cat));
	cat->rows = (void *) p;
	p += ALIGN_UP(n_rows * sizeof(struct price_row *));
	cat->groups = (void *) p;
	p += ALIGN_UP(n_rows * sizeof(struct price_group));
	cat->slots = (void *) p;
	cat->slot_mask = (uint32_t) (n_slots - 1);
	memset(cat->slots, 0, n_slots * sizeof(struct price_slot));
	cat->n_rows = (uint32_t) n_rows;
	cat->aliases = aliases;
	cat->n_aliases = (uint32_t) n_aliases;

	if (n_rows > 0)
		memcpy(cat->rows, rows, n_rows * sizeof(struct price_row *));
	qsort(cat->rows, n_rows, sizeof(struct price_row *), compare_rows);
	index_providers(cat);
	make_groups(cat);
	index_names(cat);
	count_precedences(cat);
	return cat;
}
