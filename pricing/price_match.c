/*
 * From a model's name to the prices it may mean.
 *
 * Pure functions over a read-only catalogue; any thread.
 *
 * The order, which price_match.level[] keeps:
 *	1. higher precedence before lower (users' own prices before shipped ones);
 *	2. the served name (model_version) before the requested one;
 *	3. for each name: the name itself; it without what a deployment puts behind
 *	   it (date, @version, -latest, :0, -001, [1m]), one thing after the other;
 *	   then the same without what a router or cloud puts before it (provider/,
 *	   region., arn:, models/), again one thing after the other; then patterns
 *	   of the catalogue, longest first;
 *	4. for each form: prices of the provider itself, prices for any provider,
 *	   prices of the maker where the provider resells at the maker's price.
 * What is cut off is only ever a known form, so a digit that names a generation
 * is never lost; and what remains must be a name of the catalogue, so a new
 * model is unknown rather than its predecessor.
 */
#include "pricing/price_index.h"

#define MAX_PREFIXES	6		/* openrouter/anthropic/..., bedrock/us-east-1/us.anthropic.... */
#define MAX_SUFFIXES	4		/* -20241022, -v2, :0, [1m] */

struct search
{
	const struct price_catalogue *cat;
	struct price_match *match;
	bool		served;
	uint32_t	provider;		/* 0: none, home names apply */
	uint32_t	maker;			/* of the provider's makers, only this; 0: all */
};

static bool
done(const struct search *s)
{
	return (uint32_t) s->match->n_levels >= s->cat->n_precedences;
}

/* Keep a group unless its precedence is already taken by a better match. */
static void
keep(struct search *s, uint32_t group, enum price_rule rule, bool fell_to_maker)
{
	struct price_match *m = s->match;
	int32_t		precedence = s->cat->groups[group].precedence;
	int			at = 0;

	while (at < m->n_levels && m->level[at].precedence > precedence)
		at++;
	if (at < m->n_levels && m->level[at].precedence == precedence)
		return;
	if (at >= PRICE_MAX_LEVELS)
		return;
	if (m->n_levels < PRICE_MAX_LEVELS)
		m->n_levels++;
	for (int i = m->n_levels - 1; i > at; i--)
		m->level[i] = m->level[i - 1];
	m->level[at] = (struct price_level) {
		.group = group,
		.precedence = precedence,
		.rule = (uint8_t) rule,
		.served = s->served,
		.fell_to_maker = fell_to_maker,
	};
}

/* All groups of that name in that namespace; an alias is followed once. */
static void
look_up(struct search *s, uint32_t ns, struct price_text name, enum price_rule rule, bool fell_to_maker, bool is_alias)
{
	const struct price_catalogue *cat = s->cat;
	uint32_t	i = price_name_hash(ns, name.p, name.len) & cat->slot_mask;

	for (; cat->slots[i].name != NULL; i = (i + 1) & cat->slot_mask)
	{
		const struct price_slot *slot = &cat->slots[i];

		if (slot->ns != ns || slot->len != name.len || memcmp(slot->name, name.p, name.len) != 0)
			continue;
		if ((slot->value & PRICE_SLOT_ALIAS) == 0)
			keep(s, slot->value, rule, fell_to_maker);
		else if (!is_alias)
			look_up(s, ns, cat->aliases[slot->value & ~PRICE_SLOT_ALIAS].model,
					rule == PRICE_RULE_EXACT ? PRICE_RULE_ALIAS : rule, fell_to_maker, true);
	}
}

/* The provider's makers, as numbers; ends with 0. */
static void
makers_of(const struct search *s, uint32_t makers[PRICE_MAX_MAKERS + 1])
{
	int			n = 0;

	if (s->provider >= PRICE_NS_FIRST && s->provider - PRICE_NS_FIRST < price_n_providers)
	{
		const char *const *name = price_providers[s->provider - PRICE_NS_FIRST].makers;

		for (; *name != NULL && n < PRICE_MAX_MAKERS; name++)
			makers[n++] = price_provider_number(s->cat, (struct price_text) {*name, strlen(*name)});
	}
	makers[n] = 0;
}

static void
try_name(struct search *s, struct price_text name, enum price_rule rule)
{
	if (name.len == 0 || done(s))
		return;
	if (s->provider == 0)
	{
		look_up(s, PRICE_NS_HOME, name, rule, false, false);
		if (s->cat->has_any && !done(s))
			look_up(s, PRICE_NS_ANY, name, rule, false, false);
		return;
	}
	look_up(s, s->provider, name, rule, false, false);
	if (s->cat->has_any && !done(s))
		look_up(s, PRICE_NS_ANY, name, rule, false, false);
	if (!done(s))
	{
		uint32_t	makers[PRICE_MAX_MAKERS + 1];

		makers_of(s, makers);
		for (int i = 0; makers[i] != 0; i++)
			if (s->maker == 0 || s->maker == makers[i])
				look_up(s, makers[i], name, rule, true, false);
	}
}

static bool
starts_with(struct price_text t, const char *prefix)
{
	size_t		n = strlen(prefix);

	return t.len > n && memcmp(t.p, prefix, n) == 0;
}

static bool
one_of(struct price_text t, const char *const *names)
{
	for (; *names != NULL; names++)
		if (strlen(*names) == t.len && memcmp(*names, t.p, t.len) == 0)
			return true;
	return false;
}

static bool
is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static bool
all_digits(const char *p, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (!is_digit(p[i]))
			return false;
	return n > 0;
}

/* us-east-1, eu-central-2, us-gov-west-1: letters and dashes, then one digit */
static bool
is_cloud_region(struct price_text t)
{
	size_t		dashes = 0;

	if (t.len < 9 || !is_digit(t.p[t.len - 1]) || t.p[t.len - 2] != '-')
		return false;
	for (size_t i = 0; i + 1 < t.len; i++)
	{
		if (t.p[i] == '-')
			dashes++;
		else if (t.p[i] < 'a' || t.p[i] > 'z')
			return false;
	}
	return dashes >= 2;
}

static struct price_text
skip(struct price_text t, size_t n)
{
	return (struct price_text) {t.p + n, t.len - n};
}

static struct price_text
after_last(struct price_text t, char c)
{
	size_t		i = t.len;

	while (i > 0 && t.p[i - 1] != c)
		i--;
	return skip(t, i);
}

static uint32_t
provider_named(const struct search *s, const char *name)
{
	return price_provider_number(s->cat, (struct price_text) {name, strlen(name)});
}

static const char *const bedrock_regions[] = {
	"us", "eu", "ap", "apac", "global", "us-gov", "jp", "au", "ca", "sa", "me", "af", "in", NULL
};
static const char *const bedrock_makers[] = {
	"anthropic", "amazon", "meta", "mistral", "cohere", "ai21", "deepseek", "stability", "qwen", "openai",
	"google", "minimax", "moonshot", "moonshotai", "nvidia", "twelvelabs", "writer", "zai", "luma", NULL
};
static const char *const bedrock_routes[] = {
	"converse", "converse_like", "invoke", "async_invoke", "mantle", NULL
};

/*
 * us. or anthropic. of Bedrock's model ids, one at a time: prices differ between
 * global. and regional endpoints, and are kept under the maker's name.
 */
static bool
strip_bedrock(struct search *s, struct price_text *name)
{
	const char *dot = memchr(name->p, '.', name->len);
	struct price_text head;
	struct price_text rest;
	uint32_t	aws;

	if (dot == NULL)
		return false;
	aws = provider_named(s, "aws");
	if (s->provider != 0 && s->provider != aws)
		return false;
	head = (struct price_text) {name->p, (size_t) (dot - name->p)};
	rest = skip(*name, head.len + 1);
	if (one_of(head, bedrock_regions))
	{
		dot = memchr(rest.p, '.', rest.len);
		if (dot == NULL || !one_of((struct price_text) {rest.p, (size_t) (dot - rest.p)}, bedrock_makers))
			return false;
	}
	else if (!one_of(head, bedrock_makers))
		return false;
	s->provider = aws;
	*name = rest;
	return true;
}

/*
 * Cut one thing off the front of a name that says where it is served. It may
 * settle the provider; it never contradicts one that is known, except that a
 * reseller's name may be followed by the maker's.
 */
static bool
strip_prefix(struct search *s, struct price_text *name)
{
	const char *slash;
	struct price_text head;
	uint32_t	number;

	if (starts_with(*name, "arn:"))
	{
		if (s->provider == 0)
			s->provider = provider_named(s, "aws");
		*name = after_last(*name, '/');
		return true;
	}
	if (starts_with(*name, "projects/") || starts_with(*name, "publishers/") || starts_with(*name, "models/"))
	{
		if (s->provider == 0)
			s->provider = provider_named(s, "google");
		*name = after_last(*name, '/');
		return true;
	}
	if (s->provider == 0 && starts_with(*name, "accounts/fireworks/"))
	{
		s->provider = provider_named(s, "fireworks");
		return true;
	}
	if (starts_with(*name, "ft:"))
	{
		/* ft:base-model:organisation:name:id */
		const char *end = memchr(name->p + 3, ':', name->len - 3);

		if (end == NULL)
			return false;
		name->len = (size_t) (end - name->p);
		return true;
	}
	slash = memchr(name->p, '/', name->len);
	if (slash == NULL)
		return strip_bedrock(s, name);

	head = (struct price_text) {name->p, (size_t) (slash - name->p)};
	number = price_provider_number(s->cat, head);
	if (number != 0 && (s->provider == 0 || s->provider == number))
		s->provider = number;
	else if (number != 0)
	{
		uint32_t	makers[PRICE_MAX_MAKERS + 1];
		int			i = 0;

		makers_of(s, makers);
		while (makers[i] != 0 && makers[i] != number)
			i++;
		if (makers[i] == 0)
			return false;
		s->maker = number;
	}
	else if (s->provider == 0 || s->provider != provider_named(s, "aws") ||
			 !(is_cloud_region(head) || one_of(head, bedrock_routes)))
		return false;
	*name = skip(*name, head.len + 1);
	return true;
}

/* Length of a date at the end of the name with the dash before it, or 0. */
static size_t
date_suffix(struct price_text t)
{
	const char *e = t.p + t.len;
	const char *year = NULL;
	const char *month = NULL;
	const char *day = NULL;
	size_t		n = 0;

	if (t.len > 9 && e[-9] == '-' && all_digits(e - 8, 8))
		n = 9, year = e - 8, month = e - 4, day = e - 2;
	else if (t.len > 11 && e[-11] == '-' && e[-6] == '-' && e[-3] == '-' &&
			 all_digits(e - 10, 4) && all_digits(e - 5, 2) && all_digits(e - 2, 2))
		n = 11, year = e - 10, month = e - 5, day = e - 2;
	if (n == 0 || year[0] != '2' || year[1] != '0')
		return 0;
	n = ((month[0] == '0' && month[1] != '0') || (month[0] == '1' && month[1] <= '2')) ? n : 0;
	return (day[0] == '0' && day[1] == '0') || day[0] > '3' || (day[0] == '3' && day[1] > '1') ? 0 : n;
}

/* Cut one thing off the end of a name that says which deployment it is. */
static bool
strip_suffix(const struct search *s, struct price_text *name)
{
	const char *e = name->p + name->len;
	size_t		digits = 0;
	size_t		date;
	const char *at;

	if (name->len > 4 && memcmp(e - 4, "[1m]", 4) == 0)
	{
		name->len -= 4;			/* Claude Code's long-context marker */
		return true;
	}
	if (name->len > 7 && memcmp(e - 7, "-latest", 7) == 0)
	{
		name->len -= 7;
		return true;
	}
	at = memchr(name->p, '@', name->len);
	if (at != NULL && at > name->p)
	{
		name->len = (size_t) (at - name->p);
		return true;
	}
	if ((date = date_suffix(*name)) > 0)
	{
		name->len -= date;
		return true;
	}
	while (digits < name->len && is_digit(e[-1 - (ptrdiff_t) digits]))
		digits++;
	if (digits == 0 || digits + 2 > name->len)
		return false;
	if (e[-1 - (ptrdiff_t) digits] == ':' ||
		(digits == 3 && e[-4] == '-' && e[-3] == '0'))
	{
		name->len -= digits + 1;	/* :0 of Bedrock, -001 of Google */
		return true;
	}
	if (e[-1 - (ptrdiff_t) digits] == 'v' && e[-2 - (ptrdiff_t) digits] == '-' && digits <= 2 &&
		s->provider != 0 && s->provider == provider_named(s, "aws"))
	{
		name->len -= digits + 2;	/* -v1 of Bedrock */
		return true;
	}
	return false;
}

static bool
pattern_matches(const struct price_group *group, struct price_text name)
{
	struct price_text p = group->model;

	if (p.len > name.len)
		return false;
	if (group->match == PRICE_MATCH_PREFIX)
		return memcmp(name.p, p.p, p.len) == 0;
	if (group->match == PRICE_MATCH_SUFFIX)
		return memcmp(name.p + name.len - p.len, p.p, p.len) == 0;
	for (size_t i = 0; i + p.len <= name.len; i++)
		if (memcmp(name.p + i, p.p, p.len) == 0)
			return true;
	return false;
}

static void
try_patterns(struct search *s, struct price_text whole, struct price_text bare)
{
	const struct price_catalogue *cat = s->cat;
	uint32_t	makers[PRICE_MAX_MAKERS + 1];

	if (cat->n_patterns == 0 || done(s))
		return;
	makers_of(s, makers);
	for (uint32_t g = cat->n_groups - cat->n_patterns; g < cat->n_groups && !done(s); g++)
	{
		const struct price_group *group = &cat->groups[g];
		bool		maker = false;

		if (group->provider != PRICE_NS_ANY && group->provider != s->provider)
		{
			if (s->provider == 0)
				maker = group->provider - PRICE_NS_FIRST < (int) price_n_providers &&
					price_providers[group->provider - PRICE_NS_FIRST].home;
			else
				for (int i = 0; makers[i] != 0; i++)
					maker |= group->provider == makers[i] && (s->maker == 0 || s->maker == makers[i]);
			if (!maker)
				continue;
		}
		if (pattern_matches(group, whole) || (bare.len != whole.len && pattern_matches(group, bare)))
			keep(s, g, PRICE_RULE_PATTERN, maker && s->provider != 0);
	}
}

/* Is it one of Bedrock's ids? Then it is looked up whole among Bedrock's prices
 * before anything is cut off: global.anthropic.x costs something else. */
static bool
is_bedrock(const struct search *s, struct price_text name)
{
	struct search copy = *s;

	return strip_bedrock(&copy, &name);
}

static void
resolve_name(struct search *s, struct price_text name)
{
	char		buffer[PRICE_NAME_BUFFER];
	struct price_text whole;
	struct price_text bare;

	if (!price_lower(name, buffer, &whole))
		return;
	bare = whole;
	for (int i = 0; i <= MAX_PREFIXES && bare.len > 0 && !done(s); i++)
	{
		struct price_text stem = bare;

		try_name(s, bare, i == 0 ? PRICE_RULE_EXACT : PRICE_RULE_PREFIX_STRIPPED);
		if (i == 0 && s->provider == 0 && !done(s) && is_bedrock(s, bare))
		{
			s->provider = provider_named(s, "aws");
			try_name(s, bare, PRICE_RULE_EXACT);
		}
		for (int j = 0; j < MAX_SUFFIXES && !done(s) && strip_suffix(s, &stem); j++)
			try_name(s, stem, PRICE_RULE_SUFFIX_STRIPPED);
		if (done(s) || !strip_prefix(s, &bare))
			break;
	}
	try_patterns(s, whole, bare);
}

/*
 * Find what a request's names lead to. An unknown provider counts as absent:
 * proxies put their own name there.
 */
enum price_status
price_resolve(const struct price_catalogue *catalogue, struct price_text provider,
			  struct price_text model, struct price_text model_version, struct price_match *match)
{
	char		buffer[PRICE_NAME_BUFFER];
	struct price_text lower;
	struct search s = {.cat = catalogue, .match = match};
	uint32_t	number = 0;

	match->n_levels = 0;
	if (model.len == 0 && model_version.len == 0)
		return PRICE_NO_MODEL;
	if (price_lower(provider, buffer, &lower))
		number = price_provider_number(catalogue, lower);

	s.provider = number;
	s.served = true;
	resolve_name(&s, model_version);
	if (!done(&s) && !price_text_equal(model, model_version))
	{
		s.provider = number;
		s.maker = 0;
		s.served = false;
		resolve_name(&s, model);
	}
	return match->n_levels == 0 ? PRICE_UNKNOWN_MODEL : PRICE_PRICED;
}
