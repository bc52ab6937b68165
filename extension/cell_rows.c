/*
 * Raw rows as cells: what the refresh and statistics do with every row. A row goes from
 * the scan's slot straight into the state of its bucket and label, without a copy, a sort
 * or a hash of its columns in the executor.
 *
 * Entered by backends; ccproxy._fold_rows() by one at a time: the refresh holds its lock,
 * for the query that gives the labels their keys adds those that are missing.
 *
 * When the states are large they are packed, which bounds the memory to little more than
 * what is returned.
 */
#include "extension/cell.h"

#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "tcop/dest.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "extension/cell_gather.h"
#include "extension/cell_memo.h"
#include "extension/cell_rows.h"
#include "extension/pricing.h"
#include "extension/sketch.h"

#if PG_VERSION_NUM >= 160000
#include "varatt.h"
#endif

PG_FUNCTION_INFO_V1(ccproxy_fold_rows);

#define GATHER_DEFAULT_KB	(64 * 1024)
#define GATHER_MIN_KB		64
#define GATHER_MAX_KB		(1024 * 1024)

/* States are counted so many at a time: to look at their memory costs more than one does. */
#define STATES_BETWEEN_LOOKS	128

int			cell_gather_kb = GATHER_DEFAULT_KB;

/* Columns of a row after the bucket and the labels. */
enum
{
	MEASURED_PRICE_ID = CELL_SUMS, MEASURED_STATUS_CODE, MEASURED_ERROR_TYPE, MEASURED_ERROR_MESSAGE, MEASURED
};

/* Where a text's length is: the text is NULL. */
#define NULL_TEXT UINT32_MAX

typedef struct StateSlot
{
	uint64		key;			/* bucket and label */
	uint32		hash;
	char		status;
	CellState  *state;
} StateSlot;

#define SH_PREFIX states
#define SH_ELEMENT_TYPE StateSlot
#define SH_KEY_TYPE uint64
#define SH_KEY key
#define SH_HASH_KEY(tb, key) hash_combine(murmurhash32((uint32) ((key) >> 32)), murmurhash32((uint32) (key)))
#define SH_EQUAL(tb, a, b) ((a) == (b))
#define SH_STORE_HASH
#define SH_GET_HASH(tb, slot) (slot)->hash
#define SH_SCOPE static inline
#define SH_DECLARE
#define SH_DEFINE
#include "lib/simplehash.h"

typedef struct Folding
{
	DestReceiver receiver;		/* first: it is what the executor knows */
	bool		detail;
	MemoryContext context;		/* all of the following */
	Folded		folded;			/* a bucket's label is the bytes of its TimestampTz */
	TimestampTz last_time;		/* rows of a bucket mostly follow each other */
	int32		last_bucket;
	char	   *buffer;			/* a label's texts, each with its length before it */
	size_t		buffer_size;
	states_hash *states;
	MemoryContext blocks;		/* where states are */
	uint32		states_added;
	bool		packed_early;
	size_t		max_cells;
} Folding;

void
cell_define_settings(void)
{
	DefineCustomIntVariable("ccproxy.gather_memory",
							"How much a refresh or statistics gather before it is merged on the way.",
							"What is merged may be more.",
							&cell_gather_kb, GATHER_DEFAULT_KB, GATHER_MIN_KB, GATHER_MAX_KB,
							PGC_USERSET, GUC_UNIT_KB, NULL, NULL, NULL);
	DefineCustomIntVariable("ccproxy.stats_memory",
							"How much of what statistics have worked out a session remembers.",
							"0 to work everything out each time.",
							&cell_memo_kb, MEMO_DEFAULT_KB, 0, MEMO_MAX_KB,
							PGC_USERSET, GUC_UNIT_KB, NULL, NULL, NULL);
}

/* ---- states and packed ---- */

static void
start_states(Folding *folding)
{
	folding->blocks = AllocSetContextCreate(folding->context, "ccproxy.measures", ALLOCSET_DEFAULT_SIZES);
	folding->states = states_create(folding->blocks, 1024, NULL);
}

/* Packs all states and starts anew. */
static void
pack_states(Folding *folding)
{
	CellTotal  *total = cell_total_take();
	Folded	   *folded = &folding->folded;
	states_iterator iterator;
	StateSlot  *slot;

	if (folded->length + folding->states->members > folding->max_cells)
	{
		folding->max_cells = Max(folded->length + folding->states->members, 2 * folding->max_cells);
		folded->cells = folded->cells ? repalloc_huge(folded->cells, folding->max_cells * sizeof(FoldedCell)) :
			MemoryContextAllocHuge(folding->context, folding->max_cells * sizeof(FoldedCell));
	}
	states_start_iterate(folding->states, &iterator);
	while ((slot = states_iterate(folding->states, &iterator)) != NULL)
	{
		CellStatus	status = cell_total_add_state(total, slot->state);
		struct varlena *measures;

		if (status != CELL_OK)
			cell_report(status);
		measures = cell_total_pack(total);
		cell_total_reset(total);
		/* in a block of just its size */
		folded->cells[folded->length++] = (FoldedCell) {.bucket = (int32) (slot->key >> 32), .label = (int32) (uint32) slot->key,
			.measures = memcpy(palloc(VARSIZE(measures)), measures, VARSIZE(measures))};
		pfree(measures);
	}
	cell_total_give(total);
	MemoryContextDelete(folding->blocks);
	start_states(folding);
}

static CellState *
state_of(Folding *folding, uint64 key)
{
	bool		found;
	StateSlot  *slot = states_insert(folding->states, key, &found);

	if (found)
		return slot->state;
	if (++folding->states_added % STATES_BETWEEN_LOOKS == 0 &&
		MemoryContextMemAllocated(folding->blocks, true) > (Size) cell_gather_kb * 1024)
	{
		if (!folding->packed_early)
			elog(DEBUG1, "rows are folded in parts");
		folding->packed_early = true;
		slot->state = NULL;
		states_delete(folding->states, key);
		pack_states(folding);
		slot = states_insert(folding->states, key, &found);
	}
	slot->state = MemoryContextAllocZero(folding->blocks, CELL_STATE_MIN_BYTES(folding->detail));
	cell_state_init(slot->state, folding->detail);
	return slot->state;
}

static void
add_row(Folding *folding, uint64 key, const CellRow *row)
{
	CellState  *state = state_of(folding, key);
	CellStatus	status;

	while ((status = cell_state_add(state, row)) == CELL_NO_ROOM)
	{
		MemoryContext old = MemoryContextSwitchTo(folding->blocks);
		CellState  *larger = cell_state_enlarge(state, row, &sketch_palloc);

		MemoryContextSwitchTo(old);
		pfree(state);
		state = states_lookup(folding->states, key)->state = larger;
	}
	if (status != CELL_OK)
		cell_report(status);
}

/* ---- rows ---- */

static int32
bucket_of(Folding *folding, TimestampTz time)
{
	if (folding->folded.buckets.length == 0 || time != folding->last_time)
	{
		folding->last_time = time;
		folding->last_bucket = label_index(&folding->folded.buckets, (LabelText) {(const char *) &time, sizeof(time)});
	}
	return folding->last_bucket;
}

/* The number of a row's label. */
static int32
label_of(Folding *folding, const Datum *values, const bool *nulls)
{
	size_t		length = 0;

	for (int i = 0; i < folding->folded.n_texts; i++)
	{
		struct varlena *text = nulls[i] ? NULL : PG_DETOAST_DATUM_PACKED(values[i]);
		uint32		size = text ? VARSIZE_ANY_EXHDR(text) : 0;
		uint32		told = text ? size : NULL_TEXT;

		if (folding->buffer_size - length < size + sizeof(told))
		{
			folding->buffer_size = Max(2 * folding->buffer_size, length + size + sizeof(told));
			folding->buffer = repalloc(folding->buffer, folding->buffer_size);
		}
		memcpy(folding->buffer + length, &told, sizeof(told));
		if (size > 0)
			memcpy(folding->buffer + length + sizeof(told), VARDATA_ANY(text), size);
		length += sizeof(told) + size;
	}
	return label_index(&folding->folded.labels, (LabelText) {folding->buffer, (uint32) length});
}

static bool
receive(TupleTableSlot *slot, DestReceiver *self)
{
	Folding    *folding = (Folding *) self;
	MemoryContext old = MemoryContextSwitchTo(folding->context);
	const Datum *values;
	const bool *nulls;
	uint64		key;
	CellRow		row;

	slot_getallattrs(slot);
	key = (uint64) bucket_of(folding, DatumGetTimestampTz(slot->tts_values[0])) << 32 |
		(uint32) label_of(folding, slot->tts_values + 1, slot->tts_isnull + 1);
	values = slot->tts_values + 1 + folding->folded.n_texts;
	nulls = slot->tts_isnull + 1 + folding->folded.n_texts;
	row.present = 0;
	for (int i = 0; i < CELL_SUMS; i++)
	{
		row.value[i] = nulls[i] ? 0 : DatumGetInt64(values[i]);
		row.present |= (uint32_t) !nulls[i] << i;
	}
	cell_row_judge(&row, !nulls[MEASURED_PRICE_ID], !nulls[MEASURED_STATUS_CODE], DatumGetInt16(values[MEASURED_STATUS_CODE]),
				   !nulls[MEASURED_ERROR_TYPE] || !nulls[MEASURED_ERROR_MESSAGE]);
	add_row(folding, key, &row);
	MemoryContextSwitchTo(old);
	return true;
}

/* The columns must be what receive() takes them for. */
static void
start(DestReceiver *self, int operation, TupleDesc desc)
{
	Folding    *folding = (Folding *) self;

	int			n_texts = desc->natts - 1 - MEASURED;

	if (n_texts < 1 || n_texts > FOLD_MAX_LABELS)
		elog(ERROR, "wrong number of columns: %d", desc->natts);
	for (int i = 0; i < desc->natts; i++)
	{
		int			measured = i - 1 - n_texts;
		Oid			type = i == 0 ? TIMESTAMPTZOID : measured < 0 ? TEXTOID : measured < CELL_SUMS ? INT8OID :
			measured == MEASURED_PRICE_ID ? INT4OID : measured == MEASURED_STATUS_CODE ? INT2OID : TEXTOID;

		if (TupleDescAttr(desc, i)->atttypid != type)
			elog(ERROR, "column %d has the wrong type", i + 1);
	}
	folding->folded.n_texts = n_texts;
}

static void
ignore(DestReceiver *self)
{
}

const Folded *
fold_rows(const char *sql, bool detail, bool read_only)
{
	Folding    *folding = palloc0(sizeof(Folding));
	SPIExecuteOptions options = {.dest = &folding->receiver, .read_only = read_only};

	folding->receiver = (DestReceiver) {.receiveSlot = receive, .rStartup = start, .rShutdown = ignore, .rDestroy = ignore, .mydest = DestTuplestore};
	folding->detail = detail;
	folding->context = CurrentMemoryContext;
	labels_init(&folding->folded.labels);
	labels_init(&folding->folded.buckets);
	folding->buffer_size = 256;
	folding->buffer = palloc(folding->buffer_size);
	start_states(folding);
	if (SPI_execute_extended(sql, &options) != SPI_OK_SELECT)
		elog(ERROR, "not a query: %s", sql);
	pack_states(folding);
	return &folding->folded;
}

TimestampTz
folded_time(const Folded *folded, int32 bucket)
{
	TimestampTz time;

	memcpy(&time, folded->buckets.texts[bucket].bytes, sizeof(time));
	return time;
}

void
folded_texts(const Folded *folded, int32 label, LabelText texts[FOLD_MAX_LABELS])
{
	const char *at = folded->labels.texts[label].bytes;

	for (int i = 0; i < folded->n_texts; i++)
	{
		uint32		size;

		memcpy(&size, at, sizeof(size));
		at += sizeof(size);
		texts[i] = (LabelText) {size == NULL_TEXT ? NULL : at, size == NULL_TEXT ? 0 : size};
		at += texts[i].length;
	}
}

/* ---- the result ---- */

/* The key of each label, from a query that is given the texts as arrays and returns their numbers (from 1) and keys. */
static uint32 *
label_keys(const Folded *folded, const char *sql)
{
	int32		n = folded->labels.length;
	uint32	   *keys = MemoryContextAllocHuge(CurrentMemoryContext, n * sizeof(uint32));
	bool	   *known = palloc0(n);
	Datum	   *elements[FOLD_MAX_LABELS];
	Oid			types[FOLD_MAX_LABELS];
	Datum		arrays[FOLD_MAX_LABELS];

	for (int i = 0; i < folded->n_texts; i++)
		elements[i] = MemoryContextAllocHuge(CurrentMemoryContext, n * sizeof(Datum));
	for (int32 j = 0; j < n; j++)
	{
		LabelText	texts[FOLD_MAX_LABELS];

		folded_texts(folded, j, texts);
		for (int i = 0; i < folded->n_texts; i++)
			elements[i][j] = PointerGetDatum(cstring_to_text_with_len(texts[i].bytes, (int) texts[i].length));
	}
	for (int i = 0; i < folded->n_texts; i++)
	{
		types[i] = TEXTARRAYOID;
		arrays[i] = PointerGetDatum(construct_array(elements[i], n, TEXTOID, -1, false, TYPALIGN_INT));
	}
	if (SPI_execute_with_args(sql, folded->n_texts, types, arrays, NULL, false, 0) != SPI_OK_SELECT)
		elog(ERROR, "not a query: %s", sql);
	if (SPI_gettypeid(SPI_tuptable->tupdesc, 1) != INT8OID || SPI_gettypeid(SPI_tuptable->tupdesc, 2) != INT4OID)
		elog(ERROR, "wrong columns of keys");
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		bool		is_null;
		int64		label = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1, &is_null)) - 1;

		if (is_null || label < 0 || label >= n)
			elog(ERROR, "wrong number of a label");
		keys[label] = DatumGetUInt32(SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 2, &is_null));
		known[label] = !is_null;
	}
	for (int32 j = 0; j < n; j++)
		if (!known[j])
			elog(ERROR, "a label has no key");
	return keys;
}

/* One row for each bucket. */
static void
put_buckets(const Folded *folded, const uint32 *keys, const struct pricing_result *result)
{
	int32		n_buckets = folded->buckets.length;
	size_t	   *end = palloc0((n_buckets + 1) * sizeof(size_t));
	CellEntry  *entries = MemoryContextAllocHuge(CurrentMemoryContext, Max(folded->length, 1) * sizeof(CellEntry));
	size_t		first = 0;

	for (size_t i = 0; i < folded->length; i++)
		end[folded->cells[i].bucket + 1]++;
	for (int32 b = 0; b < n_buckets; b++)
		end[b + 1] += end[b];
	for (size_t i = 0; i < folded->length; i++)
	{
		const FoldedCell *cell = &folded->cells[i];

		entries[end[cell->bucket]++] = (CellEntry) {.key = keys[cell->label],
			.length = VARSIZE(cell->measures) - VARHDRSZ, .tight = 1, .bytes = (const uint8_t *) VARDATA(cell->measures)};
	}
	for (int32 b = 0; b < n_buckets; first = end[b++])
	{
		Datum		values[2];
		bool		nulls[2] = {false, false};

		values[0] = TimestampTzGetDatum(folded_time(folded, b));
		values[1] = PointerGetDatum(cell_entries_merge(entries + first, end[b] - first));
		pricing_add_result(result, values, nulls);
		pfree(DatumGetPointer(values[1]));
		CHECK_FOR_INTERRUPTS();
	}
}

/*
 * ccproxy._fold_rows(rows, keys, detail)
 *	rows	a query: the bucket, the texts of the label, the measured columns
 *	keys	a query: given arrays of these texts, their numbers and keys
 */
Datum
ccproxy_fold_rows(PG_FUNCTION_ARGS)
{
	struct pricing_result result = pricing_begin_result(fcinfo);
	char	   *rows = text_to_cstring(PG_GETARG_TEXT_PP(0));
	char	   *keys = text_to_cstring(PG_GETARG_TEXT_PP(1));
	const Folded *folded;

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	folded = fold_rows(rows, PG_GETARG_BOOL(2), false);
	if (folded->length > 0)
		put_buckets(folded, label_keys(folded, keys), &result);
	SPI_finish();
	PG_RETURN_NULL();
}
