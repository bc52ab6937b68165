/*
 * Reading users' prices from ccproxy.price and ccproxy.price_closing.
 *
 * Entered by backends and parallel workers. The scan takes its own fresh
 * snapshot (the one for catalogue scans, which works in parallel workers too and
 * sees the transaction's own changes). It does not check privileges: whoever may
 * ask for a cost is priced by all prices, as whoever inserts is checked by all
 * constraints. A row that cannot be a price, which only a table altered by hand
 * can hold, is skipped with a warning.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/pg_type.h"
#include "commands/defrem.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/numeric.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

#include "extension/pricing.h"
#include "pricing/price_parse.h"

/* Columns of ccproxy.price, in the order of its definition (sql/31_prices.sql). */
enum price_column
{
	COL_ID,
	COL_PRECEDENCE,
	COL_PROVIDER,
	COL_MODEL,
	COL_MATCH,
	COL_TIER,
	COL_CONTEXT_FROM,
	COL_CONTEXT_INCLUSIVE,
	COL_FROM,
	COL_TO,
	COL_WINDOW_FROM,
	COL_WINDOW_TO,
	COL_MULTIPLIERS,
	COL_FIRST_RATE,
	COL_SOURCE = COL_FIRST_RATE + PRICE_RATES,
	COL_NOTE,
	PRICE_COLUMNS
};

static const char *const column_names[PRICE_COLUMNS] = {
	"price_id", "precedence", "provider", "model", "match", "service_tier", "context_from", "context_inclusive",
	"effective_from", "effective_to", "window_from", "window_to", "multipliers",
	"input_mtok", "cache_read_mtok", "cache_write_mtok", "cache_write_1h_mtok", "output_mtok", "reasoning_mtok",
	"input_audio_mtok", "cache_read_audio_mtok", "output_audio_mtok", "input_image_mtok", "output_image_mtok",
	"web_search_kcount", "file_search_kcount", "per_request_kcount", "source", "note"
};

/* What the columns' base types must be, or the row is not read. */
static Oid
column_type(int column)
{
	switch (column)
	{
		case COL_ID:
		case COL_PRECEDENCE:
			return INT4OID;
		case COL_CONTEXT_FROM:
			return INT8OID;
		case COL_CONTEXT_INCLUSIVE:
			return BOOLOID;
		case COL_FROM:
		case COL_TO:
			return TIMESTAMPTZOID;
		case COL_WINDOW_FROM:
		case COL_WINDOW_TO:
			return TIMEOID;
		case COL_MULTIPLIERS:
			return JSONBOID;
		default:
			return column >= COL_FIRST_RATE && column < COL_SOURCE ? NUMERICOID : TEXTOID;
	}
}

/* A column by name and base type; false, with a warning, when there is none such. */
static bool
find_column(Relation rel, const char *name, Oid type, AttrNumber *attnum)
{
	*attnum = get_attnum(RelationGetRelid(rel), name);
	if (*attnum > 0 && getBaseType(TupleDescAttr(RelationGetDescr(rel), *attnum - 1)->atttypid) == type)
		return true;
	ereport(WARNING,
			(errcode(ERRCODE_WRONG_OBJECT_TYPE),
			 errmsg("table \"%s\" is not used for pricing: its column \"%s\" is missing or of another type",
					RelationGetRelationName(rel), name)));
	return false;
}

/* Where each column is; false when the table is not as we made it. */
static bool
find_columns(Relation rel, AttrNumber attnums[PRICE_COLUMNS])
{
	for (int i = 0; i < PRICE_COLUMNS; i++)
		if (!find_column(rel, column_names[i], column_type(i), &attnums[i]))
			return false;
	return true;
}

/* The table, or NULL, with a warning, when something else has its name. */
static Relation
open_table(Oid oid)
{
	Relation	rel = table_open(oid, AccessShareLock);

	if (rel->rd_rel->relkind == RELKIND_RELATION)
		return rel;
	ereport(WARNING,
			(errcode(ERRCODE_WRONG_OBJECT_TYPE),
			 errmsg("relation \"%s\" is not used for pricing: it is no table", RelationGetRelationName(rel))));
	table_close(rel, AccessShareLock);
	return NULL;
}

/* A text of the table, in this context, in lower case where it is a name. */
static struct price_text
copy_text(Datum value, bool lower)
{
	text	   *t = DatumGetTextPP(value);
	struct price_text copy = {NULL, VARSIZE_ANY_EXHDR(t)};
	char	   *p = palloc(copy.len + 1);

	memcpy(p, VARDATA_ANY(t), copy.len);
	if (lower)
		for (size_t i = 0; i < copy.len; i++)
			p[i] = pg_ascii_tolower((unsigned char) p[i]);
	copy.p = p;
	return copy;
}

static bool
scaled_numeric(Datum value, int scale, int64 *result)
{
	char	   *text = DatumGetCString(DirectFunctionCall1(numeric_out, value));
	bool		ok = price_parse_decimal((struct price_text) {text, strlen(text)}, scale, result) == PRICE_DECIMAL_OK;

	pfree(text);
	return ok;
}

/* {"batch": 0.5, "us": 1.1} */
static bool
read_multipliers(Datum value, struct price_row *row)
{
	Jsonb	   *json = DatumGetJsonbP(value);
	JsonbIterator *it;
	JsonbIteratorToken token;
	JsonbValue	v;
	struct price_multiplier *list;

	if (!JB_ROOT_IS_OBJECT(json) || JB_ROOT_COUNT(json) > PRICE_MAX_MULTIPLIERS)
		return false;
	if (JB_ROOT_COUNT(json) == 0)
		return true;
	list = palloc(PRICE_MAX_MULTIPLIERS * sizeof(*list));
	it = JsonbIteratorInit(&json->root);
	while ((token = JsonbIteratorNext(&it, &v, false)) != WJB_DONE)
	{
		if (token == WJB_KEY)
			list[row->n_multipliers].name = copy_text(PointerGetDatum(cstring_to_text_with_len(v.val.string.val,
																							   v.val.string.len)), true);
		else if (token == WJB_VALUE)
		{
			if (v.type != jbvNumeric ||
				!scaled_numeric(NumericGetDatum(v.val.numeric), 6, &list[row->n_multipliers].ppm) ||
				list[row->n_multipliers].ppm <= 0 || list[row->n_multipliers].ppm > PRICE_MAX_MULTIPLIER_PPM)
				return false;
			row->n_multipliers++;
		}
		else if (token != WJB_BEGIN_OBJECT && token != WJB_END_OBJECT)
			return false;
	}
	row->multipliers = list;
	return true;
}

static bool
read_match(Datum value, enum price_match_kind *match)
{
	char	   *name = TextDatumGetCString(value);

	for (*match = PRICE_MATCH_EXACT; *match <= PRICE_MATCH_CONTAINS; (*match)++)
		if (strcmp(name, price_match_name(*match)) == 0)
			return true;
	return false;
}

/* Minutes of the day; the windows of a price begin and end with one. */
static int16
window_minute(Datum value)
{
	return (int16) (DatumGetTimeADT(value) / USECS_PER_MINUTE % (24 * 60));
}

static bool
read_row(const Datum *v, const bool *null, struct price_row *row)
{
	memset(row, 0, sizeof(*row));
	for (int i = 0; i < COL_FIRST_RATE; i++)
		if (null[i] && i != COL_WINDOW_FROM && i != COL_WINDOW_TO)
			return false;
	row->id = DatumGetInt32(v[COL_ID]);
	row->precedence = DatumGetInt32(v[COL_PRECEDENCE]);
	row->provider = price_provider_canonical(copy_text(v[COL_PROVIDER], true));
	row->model = copy_text(v[COL_MODEL], true);
	row->tier = copy_text(v[COL_TIER], true);
	row->context_from = DatumGetInt64(v[COL_CONTEXT_FROM]);
	row->context_inclusive = DatumGetBool(v[COL_CONTEXT_INCLUSIVE]);
	row->from_us = pricing_time_us(DatumGetTimestampTz(v[COL_FROM]));
	row->to_us = TIMESTAMP_IS_NOEND(DatumGetTimestampTz(v[COL_TO])) ? PRICE_ALWAYS_TO :
		pricing_time_us(DatumGetTimestampTz(v[COL_TO]));
	if (!null[COL_WINDOW_FROM] && !null[COL_WINDOW_TO])
	{
		row->window_from_min = window_minute(v[COL_WINDOW_FROM]);
		row->window_to_min = window_minute(v[COL_WINDOW_TO]);
	}
	for (int i = 0; i < PRICE_RATES; i++)
	{
		row->rate_atto[i] = PRICE_NO_RATE;
		if (!null[COL_FIRST_RATE + i] &&
			!scaled_numeric(v[COL_FIRST_RATE + i], i < PRICE_FIRST_CALL_RATE ? 12 : 15, &row->rate_atto[i]))
			return false;
	}
	row->source = null[COL_SOURCE] ? PRICE_TEXT("") : copy_text(v[COL_SOURCE], false);
	row->note = null[COL_NOTE] ? PRICE_TEXT("") : copy_text(v[COL_NOTE], false);
	return row->model.len > 0 && row->model.len <= PRICE_MAX_NAME_BYTES &&
		row->provider.len <= PRICE_MAX_NAME_BYTES && row->tier.len <= PRICE_MAX_NAME_BYTES &&
		read_match(v[COL_MATCH], &row->match) && read_multipliers(v[COL_MULTIPLIERS], row);
}

static void
read_prices(Oid table, struct pricing_user_rows *user)
{
	Relation	rel = open_table(table);
	AttrNumber	attnums[PRICE_COLUMNS];
	size_t		room = 0;

	if (rel == NULL)
		return;
	if (find_columns(rel, attnums))
	{
		SysScanDesc scan = systable_beginscan(rel, InvalidOid, false, NULL, 0, NULL);
		HeapTuple	tuple;

		while (HeapTupleIsValid(tuple = systable_getnext(scan)))
		{
			Datum		values[PRICE_COLUMNS];
			bool		nulls[PRICE_COLUMNS];

			for (int i = 0; i < PRICE_COLUMNS; i++)
				values[i] = heap_getattr(tuple, attnums[i], RelationGetDescr(rel), &nulls[i]);
			if (user->n_rows == room)
			{
				room = room == 0 ? 64 : room * 2;
				user->rows = user->rows == NULL ? palloc(room * sizeof(*user->rows)) :
					repalloc_huge(user->rows, room * sizeof(*user->rows));
			}
			if (read_row(values, nulls, &user->rows[user->n_rows]))
				user->n_rows++;
			else
				ereport(WARNING,
						(errcode(ERRCODE_DATA_CORRUPTED),
						 errmsg("price %d of table \"%s\" is skipped: it has values that no price can have",
								nulls[COL_ID] ? 0 : DatumGetInt32(values[COL_ID]), RelationGetRelationName(rel))));
		}
		systable_endscan(scan);
	}
	table_close(rel, AccessShareLock);
}

static void
read_closings(Oid table, struct pricing_user_rows *user)
{
	Relation	rel = open_table(table);
	AttrNumber	id;
	AttrNumber	to;
	size_t		room = 0;

	if (rel == NULL)
		return;
	if (find_column(rel, "price_id", INT4OID, &id) && find_column(rel, "effective_to", TIMESTAMPTZOID, &to))
	{
		SysScanDesc scan = systable_beginscan(rel, InvalidOid, false, NULL, 0, NULL);
		HeapTuple	tuple;

		while (HeapTupleIsValid(tuple = systable_getnext(scan)))
		{
			bool		id_null,
						to_null;
			Datum		id_value = heap_getattr(tuple, id, RelationGetDescr(rel), &id_null);
			Datum		to_value = heap_getattr(tuple, to, RelationGetDescr(rel), &to_null);

			if (id_null || to_null)
				continue;
			if (user->n_closings == room)
			{
				room = room == 0 ? 16 : room * 2;
				user->closings = user->closings == NULL ? palloc(room * sizeof(*user->closings)) :
					repalloc(user->closings, room * sizeof(*user->closings));
			}
			user->closings[user->n_closings].price_id = DatumGetInt32(id_value);
			user->closings[user->n_closings++].to_us = pricing_time_us(DatumGetTimestampTz(to_value));
		}
		systable_endscan(scan);
	}
	table_close(rel, AccessShareLock);
}

/* Copy a text into the pool, or share the copy the row before made of the same. */
static void
keep_text(struct price_text *text, const struct price_text *before, char **pool)
{
	if (before != NULL && text->len == before->len && memcmp(text->p, before->p, text->len) == 0)
		text->p = before->p;
	else if (text->len > 0)
	{
		memcpy(*pool, text->p, text->len);
		text->p = *pool;
		*pool += text->len;
	}
}

static bool
same_multipliers(const struct price_row *a, const struct price_row *b)
{
	if (a->n_multipliers != b->n_multipliers)
		return false;
	for (int i = 0; i < a->n_multipliers; i++)
		if (a->multipliers[i].ppm != b->multipliers[i].ppm ||
			a->multipliers[i].name.len != b->multipliers[i].name.len ||
			memcmp(a->multipliers[i].name.p, b->multipliers[i].name.p, a->multipliers[i].name.len) != 0)
			return false;
	return true;
}

static size_t
text_bytes(const struct price_row *row)
{
	size_t		bytes = row->provider.len + row->model.len + row->tier.len + row->source.len + row->note.len;

	for (int i = 0; i < row->n_multipliers; i++)
		bytes += row->multipliers[i].name.len;
	return bytes;
}

/* Bytes of texts that the row before does not have already, at most. */
static size_t
pool_bytes(const struct price_row *rows, size_t n)
{
	size_t		bytes = 1;

	for (size_t i = 0; i < n; i++)
	{
		bytes += text_bytes(&rows[i]);
		if (i > 0 && rows[i].source.len == rows[i - 1].source.len &&
			memcmp(rows[i].source.p, rows[i - 1].source.p, rows[i].source.len) == 0)
			bytes -= rows[i].source.len;
		if (i > 0 && rows[i].note.len == rows[i - 1].note.len &&
			memcmp(rows[i].note.p, rows[i - 1].note.p, rows[i].note.len) == 0)
			bytes -= rows[i].note.len;
	}
	return bytes;
}

/* The rows, in three pieces of memory: rows, texts, multipliers where they change. */
static void
compact(struct pricing_user_rows *user)
{
	struct price_row *rows = palloc_extended((user->n_rows + 1) * sizeof(*rows), MCXT_ALLOC_HUGE);
	char	   *pool = palloc_extended(pool_bytes(user->rows, user->n_rows), MCXT_ALLOC_HUGE);

	for (size_t i = 0; i < user->n_rows; i++)
	{
		const struct price_row *before = i > 0 ? &rows[i - 1] : NULL;

		rows[i] = user->rows[i];
		keep_text(&rows[i].provider, before != NULL ? &before->provider : NULL, &pool);
		keep_text(&rows[i].model, before != NULL ? &before->model : NULL, &pool);
		keep_text(&rows[i].tier, before != NULL ? &before->tier : NULL, &pool);
		keep_text(&rows[i].source, before != NULL ? &before->source : NULL, &pool);
		keep_text(&rows[i].note, before != NULL ? &before->note : NULL, &pool);
		if (before != NULL && same_multipliers(&rows[i], before))
			rows[i].multipliers = before->multipliers;
		else if (rows[i].n_multipliers > 0)
		{
			struct price_multiplier *list = palloc(rows[i].n_multipliers * sizeof(*list));

			memcpy(list, user->rows[i].multipliers, rows[i].n_multipliers * sizeof(*list));
			for (int m = 0; m < rows[i].n_multipliers; m++)
				keep_text(&list[m].name, NULL, &pool);
			rows[i].multipliers = list;
		}
	}
	user->rows = rows;
}

/*
 * Everything both tables hold now, in the current memory context. Reading leaves
 * its scraps in one that goes away.
 */
struct pricing_user_rows
pricing_read_tables(Oid price_table, Oid closing_table)
{
	struct pricing_user_rows user = {0};
	MemoryContext scratch = AllocSetContextCreate(CurrentMemoryContext, "ccproxy prices being read", ALLOCSET_DEFAULT_SIZES);
	MemoryContext caller = MemoryContextSwitchTo(scratch);

	if (OidIsValid(price_table))
		read_prices(price_table, &user);
	MemoryContextSwitchTo(caller);
	compact(&user);
	if (OidIsValid(closing_table))
		read_closings(closing_table, &user);
	MemoryContextDelete(scratch);
	return user;
}
