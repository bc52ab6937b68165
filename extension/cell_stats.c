/*
 * ccproxy._stats_groups(): the groups of stats(), from buckets of cells and from raw rows
 * (cell_rows.c), in one pass. Each cell is decoded once, into the total of its
 * group; what a model or an error contributes is the difference it makes there.
 *
 * Entered by backends. The queries run through SPI, read only, in the snapshot and with
 * the rights of the caller.
 *
 * Groups go by time: the buckets come ordered by it, and the cells of one time are let go
 * before the next. When those of one time are many they are merged on the way, key by key,
 * which bounds the memory. The groups of a time whose buckets are as they were are
 * remembered (cell_memo.h).
 */
#include "extension/cell_stats.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

#include "extension/cell_rows.h"

#if PG_VERSION_NUM >= 160000
#include "varatt.h"
#endif

PG_FUNCTION_INFO_V1(ccproxy_stats_of_groups);

static const struct
{
	const char *name;
	uint32		flag;
}			wants[] = {
	{"response", WANT_RESPONSE}, {"ttft", WANT_TTFT}, {"models", WANT_MODELS}, {"errors", WANT_ERRORS}, {"total", WANT_TOTAL}
};

/* ---- reading ---- */

/* Runs a query whose columns have these types; none when it is NULL. */
static SPITupleTable *
run(const char *sql, int columns, const Oid *types, uint64 *n)
{
	TupleDesc	desc;

	*n = 0;
	if (sql == NULL)
		return NULL;
	if (SPI_execute(sql, true, 0) != SPI_OK_SELECT)
		elog(ERROR, "not a query: %s", sql);
	desc = SPI_tuptable->tupdesc;
	if (desc->natts != columns)
		elog(ERROR, "a query of %d columns instead of %d", desc->natts, columns);
	for (int i = 0; i < columns; i++)
		if (TupleDescAttr(desc, i)->atttypid != types[i])
			elog(ERROR, "column %d of the query has the wrong type", i + 1);
	*n = SPI_processed;
	return SPI_tuptable;
}

/* The text of a column, bytes NULL for NULL; it stays where it is. */
static LabelText
text_of(Datum value, bool is_null)
{
	struct varlena *text;

	if (is_null)
		return (LabelText) {NULL, 0};
	text = PG_DETOAST_DATUM_PACKED(value);
	return (LabelText) {VARDATA_ANY(text), VARSIZE_ANY_EXHDR(text)};
}

/* Labels of a group and of what is told within it: k1, k2, model, error, limited. */
static void
read_labels(Stats *stats, const LabelText texts[LABELS], Key *key)
{
	LabelText	model = texts[2];

	key->group = (uint64) label_index(&stats->k1, texts[0]) << 32 | (uint32) label_index(&stats->k2, texts[1]);
	if (model.length == 0)
		model = (LabelText) {"unknown", strlen("unknown")};
	key->model = label_index(&stats->models.labels, model);
	key->error = texts[3].bytes == NULL ? NONE : label_index(&stats->errors.labels, texts[3]);
	key->limited = texts[4].length > 0;
}

/*
 * Makes what a key stands for part of the question: what this caller sees of it now,
 * wherever policies, names or rights make that differ. In any order.
 */
static void
question_add_key(Stats *stats, int32 id, const LabelText texts[LABELS])
{
	MemoKey		key = {{0}};

	memo_key_add(&key, &id, sizeof(id));
	for (int i = 0; i < LABELS; i++)
	{
		uint32		length = texts[i].bytes ? texts[i].length : PG_UINT32_MAX;

		memo_key_add(&key, &length, sizeof(length));
		if (texts[i].bytes)
			memo_key_add(&key, texts[i].bytes, texts[i].length);
	}
	for (int i = 0; i < lengthof(key.hash); i++)
		stats->question.hash[i] += key.hash[i];
}

/* What the keys of the cube stand for: rows of id and labels. */
static void
read_keys(Stats *stats, const char *sql)
{
	const Oid	types[1 + LABELS] = {INT4OID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID};
	Datum		values[lengthof(types)];
	bool		nulls[lengthof(types)];
	uint64		n;
	SPITupleTable *table = run(sql, lengthof(types), types, &n);

	for (uint64 i = 0; i < n; i++)
	{
		LabelText	texts[LABELS];
		int64		id;

		heap_deform_tuple(table->vals[i], table->tupdesc, values, nulls);
		id = nulls[0] ? NONE : DatumGetInt32(values[0]);
		if (id < 0)
			continue;
		if (id >= stats->n_keys)
		{
			int64		length = Max(id + 1, Max(1024, stats->n_keys * 2));

			stats->keys = stats->keys ? repalloc_huge(stats->keys, length * sizeof(Key)) :
				MemoryContextAllocHuge(CurrentMemoryContext, length * sizeof(Key));
			for (int64 j = stats->n_keys; j < length; j++)
				stats->keys[j] = (Key) {.model = NONE};
			stats->n_keys = length;
		}
		for (int j = 0; j < LABELS; j++)
			texts[j] = text_of(values[j + 1], nulls[j + 1]);
		read_labels(stats, texts, &stats->keys[id]);
		question_add_key(stats, (int32) id, texts);
	}
}

/* ---- writing ---- */

static const double quantiles[] = {0.5, 0.95, 0.99};

enum
{
	COL_TIME, COL_K1, COL_K2,
	COL_REQUESTS, COL_SUCCESSFUL, COL_FAILED, COL_IN_FLIGHT, COL_PRICED, COL_UNPRICED,
	COL_N_RESPONSE, COL_SUM_RESPONSE, COL_MAX_RESPONSE, COL_N_TTFT, COL_SUM_TTFT,
	COL_INPUT, COL_CACHE_READ, COL_CACHE_WRITE, COL_OUTPUT, COL_TOKENS, COL_COST,
	COL_RESPONSE_QUANTILES,
	COL_TTFT_QUANTILES = COL_RESPONSE_QUANTILES + lengthof(quantiles),
	COL_USAGE = COL_TTFT_QUANTILES + lengthof(quantiles),
	COL_COSTS, COL_ERRORS, COL_LIMITED, COLUMNS
};

static void
put_quantiles(const CellTotal *total, int latency, bool known, Datum *values, bool *nulls)
{
	double		found[lengthof(quantiles)];

	known = known && total->numbers.n[latency] > 0;
	if (known)
		cell_total_quantiles(total, latency, quantiles, found, lengthof(quantiles));
	for (int i = 0; i < lengthof(quantiles); i++)
	{
		nulls[i] = !known;
		if (known)
			values[i] = Float8GetDatum(found[i]);
	}
}

/* What was measured. */
static void
put_measured(const CellTotal *total, uint32 wanted, Datum *values, bool *nulls)
{
	const CellNumbers *numbers = &total->numbers;
	cell_int128 written = numbers->sum[CELL_SUM_CACHE_WRITE] + numbers->sum[CELL_SUM_CACHE_WRITE_1H];

	cell_put_counts(numbers, &values[COL_REQUESTS]);
	values[COL_N_RESPONSE] = Int64GetDatum(numbers->n[CELL_RESPONSE]);
	values[COL_SUM_RESPONSE] = cell_numeric(numbers->sum[CELL_SUM_RESPONSE]);
	values[COL_MAX_RESPONSE] = Int64GetDatum(numbers->max_us[CELL_RESPONSE]);
	nulls[COL_MAX_RESPONSE] = numbers->n[CELL_RESPONSE] == 0;
	values[COL_N_TTFT] = Int64GetDatum(numbers->n[CELL_TTFT]);
	values[COL_SUM_TTFT] = cell_numeric(numbers->sum[CELL_SUM_TTFT]);
	values[COL_INPUT] = cell_numeric(numbers->sum[CELL_SUM_INPUT]);
	values[COL_CACHE_READ] = cell_numeric(numbers->sum[CELL_SUM_CACHE_READ]);
	values[COL_CACHE_WRITE] = cell_numeric(written);
	values[COL_OUTPUT] = cell_numeric(numbers->sum[CELL_SUM_OUTPUT]);
	values[COL_TOKENS] = cell_numeric(numbers->sum[CELL_SUM_INPUT] + numbers->sum[CELL_SUM_CACHE_READ] + written +
									  numbers->sum[CELL_SUM_OUTPUT]);
	values[COL_COST] = cell_usd(cell_cost(numbers));
	put_quantiles(total, CELL_RESPONSE, wanted & WANT_RESPONSE, &values[COL_RESPONSE_QUANTILES], &nulls[COL_RESPONSE_QUANTILES]);
	put_quantiles(total, CELL_TTFT, wanted & WANT_TTFT && numbers->detail, &values[COL_TTFT_QUANTILES], &nulls[COL_TTFT_QUANTILES]);
}

static Datum
label_datum(const Labels *labels, int32 index)
{
	return PointerGetDatum(cstring_to_text_with_len(labels->texts[index].bytes, (int) labels->texts[index].length));
}

/*
 * Adds the cells of a group up, in memory that is let go afterwards; NULL: those of all
 * groups, which have been put.
 */
static void
put_group(Stats *stats, StatsGroup *group, const Entry *ordered)
{
	bool		distributions = group != NULL && stats->wanted & (WANT_RESPONSE | WANT_TTFT);
	CellTotal  *total = group ? cell_total_take() : stats->all;
	const CellNumbers *numbers = &total->numbers;
	bool		with_errors = true;
	uint64		limited = 0;
	Datum		values[COLUMNS] = {0};
	bool		nulls[COLUMNS] = {false};

	/* without it, distributions of the time to first token are left alone */
	total->numbers.detail = stats->wanted & WANT_TTFT;
	for (int32 i = group ? group->cells : stats->n_cells - 1; i != NONE; i = group ? stats->cells[i].next : i - 1)
	{
		const Cell *cell = &stats->cells[i];
		LabelCount *count = label_count(&stats->models, cell->model);
		uint64		requests = numbers->requests;

		count->priced -= numbers->priced;
		count->cost -= cell_cost(numbers);
		stats_total_add_cell(total, stats, cell, ordered, distributions);
		count->requests += numbers->requests - requests;
		count->priced += numbers->priced;
		count->cost += cell_cost(numbers);
		if (cell->error == NONE)
			with_errors = false;
		else if (stats->errors.labels.texts[cell->error].length > 0)
			label_count(&stats->errors, cell->error)->requests += numbers->requests - requests;
		if (cell->limited)
			limited += numbers->requests - requests;
	}

	values[COL_TIME] = TimestampTzGetDatum(stats->time);
	nulls[COL_K1] = nulls[COL_K2] = group == NULL;
	if (group != NULL)
	{
		group->cells = NONE;
		values[COL_K1] = label_datum(&stats->k1, (int32) (group->key >> 32));
		values[COL_K2] = label_datum(&stats->k2, (int32) (uint32) group->key);
	}
	put_measured(total, stats->wanted, values, nulls);
	if (group == NULL)
		cell_total_reset(total);
	else
	{
		if (stats->all != NULL)
			cell_total_add_slots(stats->all, total);
		cell_total_give(total);
	}
	nulls[COL_USAGE] = nulls[COL_COSTS] = !(stats->wanted & WANT_MODELS);
	if (stats->wanted & WANT_MODELS)
	{
		values[COL_USAGE] = counts_object(&stats->models, false);
		values[COL_COSTS] = counts_object(&stats->models, true);
	}
	nulls[COL_LIMITED] = !with_errors;
	values[COL_LIMITED] = Int64GetDatum((int64) limited);
	nulls[COL_ERRORS] = !with_errors || !(stats->wanted & WANT_ERRORS);
	if (!nulls[COL_ERRORS])
		values[COL_ERRORS] = counts_object(&stats->errors, false);
	counts_forget(&stats->models);
	counts_forget(&stats->errors);
	pricing_add_result(&stats->result, values, nulls);
	if (stats->remembered)
		memo_add(&stats->memo, stats->result.desc, values, nulls);
}

/* The groups of the time at hand; then there is none. */
static void
put_time(Stats *stats)
{
	MemoryContext scratch = AllocSetContextCreate(CurrentMemoryContext, "ccproxy.stats group", ALLOCSET_DEFAULT_SIZES);
	Entry	   *ordered = stats_order_entries(stats);
	MemoryContext old = MemoryContextSwitchTo(scratch);

	for (int32 i = 0; i < stats->n_seen; i++)
	{
		put_group(stats, groups_lookup(stats->groups, stats->seen[i]), ordered);
		MemoryContextReset(scratch);
		CHECK_FOR_INTERRUPTS();
	}
	if (stats->all != NULL)
		put_group(stats, NULL, ordered);
	if (stats->remembered)
		memo_keep(&stats->memo);
	MemoryContextSwitchTo(old);
	MemoryContextDelete(scratch);
	pfree(ordered);
	stats_end_time(stats);
}

static char *
text_arg(FunctionCallInfo fcinfo, int n)
{
	return PG_ARGISNULL(n) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(n));
}

/* The flags of an array of names. */
static uint32
wanted_arg(FunctionCallInfo fcinfo, int n)
{
	ArrayIterator iterator;
	Datum		name;
	bool		is_null;
	uint32		wanted = 0;

	if (PG_ARGISNULL(n))
		elog(ERROR, "what is wanted must not be null");
	iterator = array_create_iterator(PG_GETARG_ARRAYTYPE_P(n), 0, NULL);
	while (array_iterate(iterator, &name, &is_null))
	{
		const char *want = is_null ? "" : TextDatumGetCString(name);
		uint32		flag = 0;

		for (int i = 0; i < lengthof(wants); i++)
			if (strcmp(wants[i].name, want) == 0)
				flag = wants[i].flag;
		if (flag == 0)
			elog(ERROR, "there is no \"%s\" to be worked out", want);
		wanted |= flag;
	}
	return wanted;
}

static TimestampTz
time_of(const SPITupleTable *table, uint64 row)
{
	bool		is_null;
	Datum		time = SPI_getbinval(table->vals[row], table->tupdesc, 1, &is_null);

	if (is_null)
		elog(ERROR, "a group's time must not be null");
	return DatumGetTimestampTz(time);
}

/* Raw rows as cells, in order of time. */
typedef struct RawCell
{
	TimestampTz time;
	int32		label;
	const struct varlena *measures;
} RawCell;

static int
compare_times(const void *a, const void *b)
{
	TimestampTz x = ((const RawCell *) a)->time;
	TimestampTz y = ((const RawCell *) b)->time;

	return x < y ? -1 : x > y;
}

static RawCell *
raw_cells(const Folded *folded)
{
	RawCell    *cells = MemoryContextAllocHuge(CurrentMemoryContext, Max(folded->length, 1) * sizeof(RawCell));

	for (size_t i = 0; i < folded->length; i++)
		cells[i] = (RawCell) {folded_time(folded, folded->cells[i].bucket), folded->cells[i].label, folded->cells[i].measures};
	qsort(cells, folded->length, sizeof(RawCell), compare_times);
	return cells;
}

static void
gather_raw(Stats *stats, const Folded *folded, const RawCell *cell)
{
	LabelText	texts[FOLD_MAX_LABELS];
	Key			key;

	folded_texts(folded, cell->label, texts);
	read_labels(stats, texts, &key);
	stats_add_entry(stats, stats_add_cell(stats, &key),
			  (const uint8_t *) VARDATA(cell->measures), VARSIZE(cell->measures) - VARHDRSZ, true);
}

/* The cells of a row of buckets. */
static Datum
cells_of(const SPITupleTable *table, uint64 row, bool *is_null)
{
	return SPI_getbinval(table->vals[row], table->tupdesc, 2, is_null);
}

/*
 * The groups of the time at hand as they were worked out before from the same rows,
 * from this one on; false when they have to be, and are to be remembered then if
 * all of the rows can be told from others.
 */
static bool
put_known_time(Stats *stats, const SPITupleTable *table, uint64 row, uint64 n)
{
	MemoKey		key = stats->question;
	const Memo *known;

	stats->remembered = cell_memo_kb > 0 && row < n;
	memo_key_add(&key, &stats->time, sizeof(stats->time));
	for (; stats->remembered && row < n && time_of(table, row) == stats->time; row++)
	{
		bool		is_null;
		Datum		cells = cells_of(table, row, &is_null);

		stats->remembered = !is_null && memo_key_add_value(&key, cells);
	}
	if (!stats->remembered)
		return false;
	known = memo_find(&key);
	if (known == NULL)
	{
		memo_begin(&stats->memo, &key);
		return false;
	}
	for (int i = 0; i < known->length; i++)
		tuplestore_puttuple(stats->result.store, known->rows[i]);
	return true;
}

/*
 * ccproxy._stats_groups(keys, buckets, raw, wanted): three queries, NULL for nothing:
 *	keys	id and labels of the cells that are wanted
 *	buckets	time, cells, in order of time
 *	raw		time and labels of rows, what is measured of them
 * Labels are k1, k2, model, error, limited. error is '' for none, NULL where errors are
 * not known; limited is '' unless the status is 429. wanted: names of what is worked out
 * besides counts and sums. k1 and k2 are NULL for the total.
 */
Datum
ccproxy_stats_of_groups(PG_FUNCTION_ARGS)
{
	Stats		stats = {.result = pricing_begin_result(fcinfo)};
	char	   *keys = text_arg(fcinfo, 0);
	char	   *buckets = text_arg(fcinfo, 1);
	char	   *raw = text_arg(fcinfo, 2);
	const Oid	bucket_types[] = {TIMESTAMPTZOID, GetSysCacheOid2(TYPENAMENSP, Anum_pg_type_oid, CStringGetDatum("cells"),
																  ObjectIdGetDatum(get_func_namespace(fcinfo->flinfo->fn_oid)))};
	const Folded nothing = {0};
	const Folded *folded = &nothing;
	RawCell    *raws;
	SPITupleTable *rows;
	uint64		n;

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	labels_init(&stats.k1);
	labels_init(&stats.k2);
	counts_init(&stats.models);
	counts_init(&stats.errors);
	stats.groups = groups_create(CurrentMemoryContext, 64, NULL);
	stats.blocks = AllocSetContextCreate(CurrentMemoryContext, "ccproxy.stats", ALLOCSET_DEFAULT_SIZES);
	stats_end_time(&stats);

	read_keys(&stats, keys);
	stats.wanted = wanted_arg(fcinfo, 3);
	if (stats.wanted & WANT_TOTAL)
	{
		stats.all = palloc(sizeof(CellTotal));
		cell_total_init(stats.all);
	}
	if (raw != NULL)
		folded = fold_rows(raw, stats.wanted & WANT_TTFT, true);
	if (folded->length > 0 && folded->n_texts != LABELS)
		elog(ERROR, "wrong number of columns of raw rows");
	raws = raw_cells(folded);
	rows = run(buckets, lengthof(bucket_types), bucket_types, &n);
	/* of this function: with other columns it would be another */
	memo_key_add(&stats.question, &fcinfo->flinfo->fn_oid, sizeof(Oid));
	memo_key_add(&stats.question, &stats.wanted, sizeof(stats.wanted));
	for (uint64 b = 0, r = 0; b < n || r < folded->length;)
	{
		stats.time = b < n ? time_of(rows, b) : raws[r].time;
		if (r < folded->length)
			stats.time = Min(stats.time, raws[r].time);
		stats.remembered = false;
		if ((r == folded->length || raws[r].time != stats.time) && put_known_time(&stats, rows, b, n))
		{
			while (b < n && time_of(rows, b) == stats.time)
				b++;
			continue;
		}
		for (; b < n && time_of(rows, b) == stats.time; b++)
		{
			bool		is_null;
			Datum		cells = cells_of(rows, b, &is_null);

			if (!is_null)
				stats_gather_bucket(&stats, cells);
		}
		for (; r < folded->length && raws[r].time == stats.time; r++)
			gather_raw(&stats, folded, &raws[r]);
		put_time(&stats);
	}
	SPI_finish();
	PG_RETURN_NULL();
}
