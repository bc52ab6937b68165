/*
 * The parts of a request: what tells one from another (_digest()) and the row
 * they amount to (the aggregate _fold_parts()).
 *
 * Entered by any backend. The fold is a pure function of the set of parts: a
 * state keeps, of every field, the value that has won so far and the rank it won
 * with, so that parts may come in any order. The state and what it refers to live
 * in the aggregate's memory; a value that loses its place is freed.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "common/hashfn.h"
#include "fmgr.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/inet.h"
#include "utils/jsonb.h"
#include "utils/timestamp.h"
#include "utils/typcache.h"

#include "extension/event_fields.h"
#include "extension/pricing.h"

#if PG_VERSION_NUM >= 160000
#include "varatt.h"
#endif

PG_FUNCTION_INFO_V1(ccproxy_digest);
PG_FUNCTION_INFO_V1(ccproxy_fold_step);
PG_FUNCTION_INFO_V1(ccproxy_fold_final);

/* How the field's value comes about. */
typedef enum FieldRule
{
	RULE_OWN,					/* computed, or a rule of its own */
	RULE_GREATEST,				/* a count: the greatest */
	RULE_INT8, RULE_INT2, RULE_BOOL,	/* the rest: of the highest rank */
	RULE_BYTES,					/* text in byte order, or bytea */
	RULE_INET
} FieldRule;

#define RULE_OF_TS			RULE_OWN
#define RULE_OF_MS			RULE_INT8
#define RULE_OF_COUNT		RULE_GREATEST
#define RULE_OF_USD			RULE_INT8
#define RULE_OF_STATUS		RULE_INT2
#define RULE_OF_BOOL		RULE_BOOL
#define RULE_OF_ID			RULE_BYTES
#define RULE_OF_TEXT		RULE_BYTES
#define RULE_OF_PATH		RULE_BYTES
#define RULE_OF_INET		RULE_INET
#define RULE_OF_SECRET		RULE_BYTES
#define RULE_OF_OBJECT		RULE_OWN
#define RULE_OF_COMPUTED	RULE_OWN

#define FIELD_NUMBER(column, key, type, limit) COL_##column,
#define FIELD_RULE(column, key, type, limit) RULE_OF_##type,

enum
{
	EVENT_FIELDS(FIELD_NUMBER) COL_COUNT
};
static const uint8 rules[COL_COUNT] = {EVENT_FIELDS(FIELD_RULE)};

#define KIND_FOLDED		0		/* the row of parts that are no longer on record */
#define KIND_REQUEST	1
#define KIND_MAX		6

/* Where two parts give the same field, the higher kind wins, then the later. */
typedef struct Rank
{
	int16		kind;
	TimestampTz ts;
} Rank;

typedef struct Object
{
	Rank		rank;
	Jsonb	   *jsonb;
} Object;

typedef struct Fold
{
	TupleDesc	desc;
	TimestampTz received;		/* DT_NOBEGIN: unknown */
	TimestampTz request_ts;		/* DT_NOEND: none */
	TimestampTz earliest;		/* DT_NOEND: none */
	int16		parts;			/* bits of kinds */
	Datum		values[COL_COUNT];
	bool		nulls[COL_COUNT];
	Rank		ranks[COL_COUNT];
	Object	   *objects;		/* metadata that is not empty */
	int			nobjects;
} Fold;

/* The description of ccproxy.request_metric, looked up once per call site. */
static TupleDesc
metric_descriptor(FunctionCallInfo fcinfo, HeapTupleHeader row)
{
	TupleDesc	desc = fcinfo->flinfo->fn_extra;

	if (desc == NULL)
	{
		MemoryContext caller = MemoryContextSwitchTo(fcinfo->flinfo->fn_mcxt);

		desc = lookup_rowtype_tupdesc_copy(HeapTupleHeaderGetTypeId(row), HeapTupleHeaderGetTypMod(row));
		if (desc->natts != COL_COUNT)
			elog(ERROR, "a request_metric has %d columns, not %d", desc->natts, COL_COUNT);
		fcinfo->flinfo->fn_extra = desc;
		MemoryContextSwitchTo(caller);
	}
	return desc;
}

static void
deform_metric(HeapTupleHeader row, TupleDesc desc, Datum *values, bool *nulls)
{
	HeapTupleData tuple = {.t_len = HeapTupleHeaderGetDatumLength(row), .t_data = row};

	ItemPointerSetInvalid(&tuple.t_self);
	heap_deform_tuple(&tuple, desc, values, nulls);
}

/*
 * ccproxy._digest(metric): of a part's content. What is computed is not content,
 * nor is its time, which is kept beside the digest.
 */
Datum
ccproxy_digest(PG_FUNCTION_ARGS)
{
	HeapTupleHeader row = PG_GETARG_HEAPTUPLEHEADER(0);
	TupleDesc	desc = metric_descriptor(fcinfo, row);
	Datum		values[COL_COUNT];
	bool		nulls[COL_COUNT];
	uint64		digest = 0;

	deform_metric(row, desc, values, nulls);
	for (int i = 0; i < COL_COUNT; i++)
	{
		if (nulls[i] || (rules[i] == RULE_OWN && i != COL_metadata))
			continue;
		/* the column's number keeps equal values of two columns apart */
		digest = hash_combine64(digest, i);
		if (TupleDescAttr(desc, i)->attlen == -1)
		{
			struct varlena *bytes = PG_DETOAST_DATUM_PACKED(values[i]);

			digest = DatumGetUInt64(hash_any_extended((unsigned char *) VARDATA_ANY(bytes), VARSIZE_ANY_EXHDR(bytes), digest));
		}
		else
			digest = DatumGetUInt64(hash_any_extended((unsigned char *) &values[i], sizeof(Datum), digest));
	}
	PG_RETURN_INT64((int64) digest);
}

static int
compare_ranks(Rank a, Rank b)
{
	if (a.kind != b.kind)
		return a.kind < b.kind ? -1 : 1;
	return a.ts < b.ts ? -1 : a.ts > b.ts;
}

static int
compare_values(FieldRule rule, Datum a, Datum b)
{
	struct varlena *x;
	struct varlena *y;
	int			order;

	switch (rule)
	{
		case RULE_GREATEST:
		case RULE_INT8:
			return DatumGetInt64(a) < DatumGetInt64(b) ? -1 : DatumGetInt64(a) > DatumGetInt64(b);
		case RULE_INT2:
			return (int) DatumGetInt16(a) - (int) DatumGetInt16(b);
		case RULE_BOOL:
			return (int) DatumGetBool(a) - (int) DatumGetBool(b);
		case RULE_INET:
			return DatumGetInt32(DirectFunctionCall2(network_cmp, a, b));
		case RULE_BYTES:
			x = (struct varlena *) DatumGetPointer(a);
			y = (struct varlena *) DatumGetPointer(b);
			order = memcmp(VARDATA_ANY(x), VARDATA_ANY(y), Min(VARSIZE_ANY_EXHDR(x), VARSIZE_ANY_EXHDR(y)));
			return order != 0 ? order : (int) VARSIZE_ANY_EXHDR(x) - (int) VARSIZE_ANY_EXHDR(y);
		case RULE_OWN:
			break;
	}
	elog(ERROR, "a field without an order");
	return 0;
}

/* Takes the value if it wins; it is copied then. */
static void
offer_value(Fold *fold, int column, Datum value, Rank rank)
{
	FieldRule	rule = rules[column];
	bool		by_reference = rule == RULE_BYTES || rule == RULE_INET;

	if (by_reference)
		value = PointerGetDatum(PG_DETOAST_DATUM_PACKED(value));
	if (!fold->nulls[column])
	{
		int			order = rule == RULE_GREATEST ? 0 : compare_ranks(rank, fold->ranks[column]);

		if (order < 0 || (order == 0 && compare_values(rule, value, fold->values[column]) <= 0))
			return;
		if (by_reference)
			pfree(DatumGetPointer(fold->values[column]));
	}
	if (by_reference)
	{
		struct varlena *from = (struct varlena *) DatumGetPointer(value);
		struct varlena *copy = palloc(VARSIZE_ANY(from));

		memcpy(copy, from, VARSIZE_ANY(from));
		value = PointerGetDatum(copy);
	}
	fold->values[column] = value;
	fold->nulls[column] = false;
	fold->ranks[column] = rank;
}

/* ccproxy._fold_step(state, received, kind, part_ts, metric): one part more */
Datum
ccproxy_fold_step(PG_FUNCTION_ARGS)
{
	Fold	   *fold = PG_ARGISNULL(0) ? NULL : (Fold *) PG_GETARG_POINTER(0);
	MemoryContext context;
	MemoryContext caller;
	HeapTupleHeader row;
	TupleDesc	desc;
	Rank		rank;
	Datum		values[COL_COUNT];
	bool		nulls[COL_COUNT];

	if (!AggCheckCallContext(fcinfo, &context))
		elog(ERROR, "_fold_step() called outside an aggregate");
	if (PG_ARGISNULL(2) || PG_ARGISNULL(3) || PG_ARGISNULL(4))
		elog(ERROR, "a part has a kind, a time and a row");
	rank.kind = PG_GETARG_INT16(2);
	rank.ts = PG_GETARG_TIMESTAMPTZ(3);
	if (rank.kind < KIND_FOLDED || rank.kind > KIND_MAX)
		elog(ERROR, "no part is of kind %d", rank.kind);
	row = PG_GETARG_HEAPTUPLEHEADER(4);
	desc = metric_descriptor(fcinfo, row);
	deform_metric(row, desc, values, nulls);

	caller = MemoryContextSwitchTo(context);
	if (fold == NULL)
	{
		fold = palloc0(sizeof(Fold));
		fold->desc = desc;
		fold->received = DT_NOBEGIN;
		fold->request_ts = fold->earliest = DT_NOEND;
		memset(fold->nulls, true, sizeof(fold->nulls));
	}
	if (!PG_ARGISNULL(1))
		fold->received = Max(fold->received, PG_GETARG_TIMESTAMPTZ(1));
	if (!TIMESTAMP_NOT_FINITE(rank.ts))
	{
		fold->earliest = Min(fold->earliest, rank.ts);
		if (rank.kind == KIND_REQUEST)
			fold->request_ts = Min(fold->request_ts, rank.ts);
	}
	if (rank.kind != KIND_FOLDED)
		fold->parts |= 1 << rank.kind;
	else if (!nulls[COL_parts])
		fold->parts |= DatumGetInt16(values[COL_parts]);

	for (int i = 0; i < COL_COUNT; i++)
		if (!nulls[i] && rules[i] != RULE_OWN)
			offer_value(fold, i, values[i], rank);
	if (!nulls[COL_metadata])
	{
		Jsonb	   *object = (Jsonb *) PG_DETOAST_DATUM_COPY(values[COL_metadata]);

		if (!JB_ROOT_IS_OBJECT(object))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("metadata of a request must be an object")));
		if (JB_ROOT_COUNT(object) > 0)
		{
			fold->objects = fold->nobjects == 0 ? palloc(sizeof(Object)) :
				repalloc(fold->objects, sizeof(Object) * (fold->nobjects + 1));
			fold->objects[fold->nobjects++] = (Object) {.rank = rank, .jsonb = object};
		}
		else
			pfree(object);
	}
	MemoryContextSwitchTo(caller);
	PG_RETURN_POINTER(fold);
}

/* A key of some part's metadata. */
typedef struct Member
{
	JsonbValue	key;
	JsonbValue	value;
	Rank		rank;
} Member;

static int
compare_keys(const Member *x, const Member *y)
{
	int			order = memcmp(x->key.val.string.val, y->key.val.string.val, Min(x->key.val.string.len, y->key.val.string.len));

	return order != 0 ? order : x->key.val.string.len - y->key.val.string.len;
}

/* By key, then rank, then value: the last of a key is the one that stays. */
static int
compare_members(const void *a, const void *b)
{
	Member	   *x = (Member *) a;
	Member	   *y = (Member *) b;
	int			order = compare_keys(x, y);

	if (order == 0)
		order = compare_ranks(x->rank, y->rank);
	if (order == 0)
		order = compareJsonbContainers(&JsonbValueToJsonb(&x->value)->root, &JsonbValueToJsonb(&y->value)->root);
	return order;
}

/* The union of the objects, each key on its own. */
static Jsonb *
fold_objects(const Fold *fold)
{
	JsonbParseState *state = NULL;
	JsonbValue *result;
	Member	   *members;
	int			n = 0;

	if (fold->nobjects == 1)
		return fold->objects[0].jsonb;
	for (int i = 0; i < fold->nobjects; i++)
		n += JB_ROOT_COUNT(fold->objects[i].jsonb);
	members = palloc(sizeof(Member) * n);
	n = 0;
	for (int i = 0; i < fold->nobjects; i++)
	{
		JsonbIterator *it = JsonbIteratorInit(&fold->objects[i].jsonb->root);
		JsonbIteratorToken token;
		JsonbValue	v;

		while ((token = JsonbIteratorNext(&it, &v, true)) != WJB_DONE)
			if (token == WJB_KEY)
			{
				members[n].rank = fold->objects[i].rank;
				members[n].key = v;
				(void) JsonbIteratorNext(&it, &members[n].value, true);
				n++;
			}
	}
	qsort(members, n, sizeof(Member), compare_members);
	(void) pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	for (int i = 0; i < n; i++)
		if (i + 1 == n || compare_keys(&members[i], &members[i + 1]) != 0)
		{
			(void) pushJsonbValue(&state, WJB_KEY, &members[i].key);
			(void) pushJsonbValue(&state, WJB_VALUE, &members[i].value);
		}
	result = pushJsonbValue(&state, WJB_END_OBJECT, NULL);
	return JsonbValueToJsonb(result);
}

static struct price_text
text_of(const Fold *fold, int column)
{
	struct varlena *t = (struct varlena *) DatumGetPointer(fold->values[column]);

	if (fold->nulls[column])
		return (struct price_text) {NULL, 0};
	return (struct price_text) {VARDATA_ANY(t), VARSIZE_ANY_EXHDR(t)};
}

static int64
count_of(const Fold *fold, int column)
{
	return fold->nulls[column] ? 0 : DatumGetInt64(fold->values[column]);
}

static void
price_fold(Fold *fold)
{
	struct price_request request = {
		.model = text_of(fold, COL_model),
		.model_version = text_of(fold, COL_model_version),
		.provider = text_of(fold, COL_provider),
		.service_tier = text_of(fold, COL_service_tier),
		.at_us = pricing_time_us(DatumGetTimestampTz(fold->values[COL_ts])),
		.usage = {
			.input = count_of(fold, COL_input_tokens),
			.cache_read = count_of(fold, COL_cache_read_tokens),
			.cache_write = count_of(fold, COL_cache_write_tokens),
			.cache_write_1h = count_of(fold, COL_cache_write_1h_tokens),
			.output = count_of(fold, COL_output_tokens),
			.reasoning = count_of(fold, COL_reasoning_tokens),
		},
	};
	static const int columns[PRICING_PICO_COLUMNS] = {
		COL_input_cost, COL_cache_read_cost, COL_cache_write_cost, COL_output_cost, COL_tool_cost, COL_price_id
	};
	Datum		values[PRICING_PICO_COLUMNS];
	bool		nulls[PRICING_PICO_COLUMNS];

	if (fold->nulls[COL_input_tokens] && fold->nulls[COL_output_tokens])
		return;
	pricing_pico_values(&request, fold->nulls[COL_metadata] ? NULL : DatumGetJsonbP(fold->values[COL_metadata]), values, nulls);
	for (int i = 0; i < PRICING_PICO_COLUMNS; i++)
	{
		fold->values[columns[i]] = values[i];
		fold->nulls[columns[i]] = nulls[i];
	}
}

/* The row, priced. */
Datum
ccproxy_fold_final(PG_FUNCTION_ARGS)
{
	Fold	   *fold = PG_ARGISNULL(0) ? NULL : (Fold *) PG_GETARG_POINTER(0);
	TimestampTz ts;

	if (fold == NULL)
		PG_RETURN_NULL();
	/* the request's own time, else the earliest known, else that of the first receipt */
	ts = fold->request_ts != DT_NOEND ? fold->request_ts : fold->earliest != DT_NOEND ? fold->earliest : fold->received;
	fold->values[COL_ts] = TimestampTzGetDatum(ts);
	fold->nulls[COL_ts] = false;
	fold->values[COL_parts] = Int16GetDatum(fold->parts);
	fold->nulls[COL_parts] = false;
	if (fold->nobjects > 0)
	{
		fold->values[COL_metadata] = JsonbPGetDatum(fold_objects(fold));
		fold->nulls[COL_metadata] = false;
	}
	price_fold(fold);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(fold->desc, fold->values, fold->nulls)));
}
