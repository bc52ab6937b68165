/*
 * The catalogue a backend prices with, loaded once and dropped when it changes.
 *
 * Entered by backends and parallel workers. The shipped catalogue is compiled
 * in; what users added lives in ccproxy.price and ccproxy.price_closing, which
 * may not exist. The statement trigger on both (pricing_trigger.c) sends relcache
 * invalidations; creating, dropping or renaming a table of that name sends
 * catalogue ones. Either marks what is loaded stale, and the next call loads
 * again, under a snapshot taken then: a transaction with an old snapshot prices
 * with what is committed now, and never leaves an old catalogue behind for the
 * transactions after it. A rolled back change invalidates too.
 *
 * Everything loaded lives in one memory context below CacheMemoryContext, which
 * replaces the one before only when it is complete.
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "utils/builtins.h"
#include "utils/catcache.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/syscache.h"

#include "extension/pricing.h"
#include "pricing/price_parse.h"

static struct pricing_state current;
static MemoryContext current_context;	/* NULL: shipped prices only */
static bool loaded;
static bool stale;
static bool registered;
static Oid	price_table;
static Oid	closing_table;

/* Catalogue hashes of the tables' names, to recognise their coming and going. */
static uint32 price_name_hash_value;
static uint32 closing_name_hash_value;
static Oid	hashed_schema;

static void
relation_changed(Datum arg, Oid relid)
{
	if (relid == InvalidOid || relid == price_table || relid == closing_table)
		stale = true;
}

static void
name_changed(Datum arg, int cacheid, uint32 hashvalue)
{
	if (hashvalue == 0 || hashvalue == price_name_hash_value || hashvalue == closing_name_hash_value)
		stale = true;
}

/* The schema came, went or changed its name. */
static void
schema_changed(Datum arg, int cacheid, uint32 hashvalue)
{
	stale = true;
}

static uint32
name_hash(const char *name, Oid schema)
{
	return GetSysCacheHashValue2(RELNAMENSP, CStringGetDatum(name), ObjectIdGetDatum(schema));
}

static void
find_tables(void)
{
	Oid			schema = get_namespace_oid(PRICING_SCHEMA, true);

	if (schema != hashed_schema || price_name_hash_value == 0)
	{
		NameData	name;

		namestrcpy(&name, PRICING_TABLE);
		price_name_hash_value = name_hash(NameStr(name), schema);
		namestrcpy(&name, PRICING_CLOSING_TABLE);
		closing_name_hash_value = name_hash(NameStr(name), schema);
		hashed_schema = schema;
	}
	price_table = OidIsValid(schema) ? get_relname_relid(PRICING_TABLE, schema) : InvalidOid;
	closing_table = OidIsValid(schema) ? get_relname_relid(PRICING_CLOSING_TABLE, schema) : InvalidOid;
}

/* When a row ends, closings considered. */
static int64
closed_at(const struct pricing_user_rows *user, const struct price_row *row)
{
	int64		to_us = row->to_us;

	for (size_t i = 0; i < user->n_closings; i++)
		if (user->closings[i].price_id == row->id && user->closings[i].to_us < to_us)
			to_us = user->closings[i].to_us;
	return to_us;
}

/* Shipped rows, those with a closing copied, and users' own, in one list. */
static const struct price_row **
merge_rows(const struct pricing_user_rows *user, size_t *n)
{
	size_t		n_shipped;
	const struct price_row *shipped = price_shipped_rows(&n_shipped);
	const struct price_row **rows = palloc_extended((n_shipped + user->n_rows) * sizeof(*rows), MCXT_ALLOC_HUGE);

	*n = 0;
	for (size_t i = 0; i < n_shipped; i++)
	{
		int64		to_us = closed_at(user, &shipped[i]);

		rows[*n] = &shipped[i];
		if (to_us < shipped[i].to_us)
		{
			struct price_row *closed = palloc(sizeof(*closed));

			*closed = shipped[i];
			closed->to_us = to_us;
			rows[*n] = closed;
		}
		(*n)++;
	}
	for (size_t i = 0; i < user->n_rows; i++)
		rows[(*n)++] = &user->rows[i];
	return rows;
}

/* Digest of rows and aliases, the same in every backend and gateway. */
static int64
digest(const struct price_row *const *rows, size_t n_rows)
{
	char		line[PRICE_MAX_LINE_BYTES];
	size_t		n_aliases;
	const struct price_alias *aliases = price_shipped_aliases(&n_aliases);
	uint64		sum = 0;

	for (size_t i = 0; i < n_rows; i++)
	{
		size_t		len = price_write_row(rows[i], line);

		sum += price_digest_line((struct price_text) {line, len});
	}
	for (size_t i = 0; i < n_aliases; i++)
	{
		size_t		len = price_write_alias(&aliases[i], line);

		sum += price_digest_line((struct price_text) {line, len});
	}
	return price_digest_version(sum);
}

static void
load(void)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "ccproxy prices", ALLOCSET_DEFAULT_SIZES);
	MemoryContext caller = MemoryContextSwitchTo(context);
	struct pricing_user_rows user = pricing_read_tables(price_table, closing_table);
	struct pricing_state next;
	size_t		n_aliases;
	const struct price_alias *aliases = price_shipped_aliases(&n_aliases);
	void	   *memory;

	next.rows = merge_rows(&user, &next.n_rows);
	if (user.n_rows == 0 && user.n_closings == 0)
		next.catalogue = price_shipped_catalogue();
	else
	{
		memory = palloc_extended(price_catalogue_bytes(next.n_rows, n_aliases), MCXT_ALLOC_HUGE);
		next.catalogue = price_catalogue_build(memory, next.rows, next.n_rows, aliases, n_aliases);
	}
	next.generation = current.generation + 1;
	MemoryContextSwitchTo(caller);

	MemoryContextSetParent(context, CacheMemoryContext);
	if (current_context != NULL)
		MemoryContextDelete(current_context);
	current_context = context;
	current = next;
	loaded = true;
}

const struct pricing_state *
pricing_state(void)
{
	if (likely(loaded && !stale))
		return &current;
	if (!registered)
	{
		CacheRegisterRelcacheCallback(relation_changed, (Datum) 0);
		CacheRegisterSyscacheCallback(RELNAMENSP, name_changed, (Datum) 0);
		CacheRegisterSyscacheCallback(NAMESPACEOID, schema_changed, (Datum) 0);
		registered = true;
	}
	/* a change that arrives while loading makes it stale again, for the next call;
	 * an error while loading leaves nothing loaded */
	loaded = false;
	stale = false;
	find_tables();
	load();
	return &current;
}

/* Made when it is asked for: it costs as much as loading. */
int64
pricing_version(void)
{
	static uint64 generation;
	static int64 version;
	const struct pricing_state *state = pricing_state();

	if (generation != state->generation)
	{
		version = digest(state->rows, state->n_rows);
		generation = state->generation;
	}
	return version;
}
