/*
 * Decoding events from jsonb: ccproxy.decode_events().
 *
 * Entered by any backend; no state survives a call. What is accepted and what
 * is refused is said in event_fields.h, which the gateway's decoder reads too.
 * A bad event becomes a row with a reason, never an error: one must not harm
 * the others of its call.
 */
#include "postgres.h"

#include <arpa/inet.h>
#include <math.h>
#include <sys/socket.h>

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "common/cryptohash.h"
#include "common/hmac.h"
#include "common/sha2.h"
#include "fmgr.h"
#include "funcapi.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "port/pg_bswap.h"
#include "utils/builtins.h"
#include "utils/inet.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/numeric.h"
#include "utils/timestamp.h"
#include "utils/typcache.h"
#include "utils/uuid.h"

#include "extension/event_fields.h"
#include "gateway/timestamp.h"

PG_FUNCTION_INFO_V1(ccproxy_decode_events);

typedef enum FieldType
{
	FIELD_TS, FIELD_MS, FIELD_COUNT, FIELD_USD, FIELD_STATUS, FIELD_BOOL,
	FIELD_ID, FIELD_TEXT, FIELD_PATH, FIELD_INET, FIELD_SECRET, FIELD_OBJECT,
	FIELD_COMPUTED
} FieldType;

typedef struct Field
{
	const char *key;
	int			key_len;
	FieldType	type;
	double		limit;
} Field;

#define FIELD_ENTRY(column, json_key, ftype, flimit) \
	{json_key, sizeof(json_key) - 1, FIELD_##ftype, (double) (flimit)},
#define FIELD_NUMBER(column, json_key, ftype, flimit) COL_##column,
#define FIELD_KIND(symbol, kname, krank) {kname, sizeof(kname) - 1, krank},
#define FIELD_IGNORED(key) {key, sizeof(key) - 1},

static const Field fields[] = {EVENT_FIELDS(FIELD_ENTRY)};
enum
{
	EVENT_FIELDS(FIELD_NUMBER) COL_COUNT
};

static const struct
{
	const char *name;
	int			len;
	int			rank;
}			kinds[] = {EVENT_KINDS(FIELD_KIND)};

static const struct
{
	const char *name;
	int			len;
}			ignored_keys[] = {EVENT_IGNORED_KEYS(FIELD_IGNORED)};

#define UNIX_TO_PG_EPOCH_US \
	((int64) (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * SECS_PER_DAY * USECS_PER_SEC)
#define KIND_COMPLETE 6
#define MAX_UNKNOWN_KEYS 20		/* named in the warning */
#define MAX_EPOCH_CHARS 63		/* what timestamp_parse_epoch takes */

/* What one call keeps at hand. */
typedef struct Decoder
{
	TimestampTz oldest;
	TimestampTz received;
	bytea	   *secret;
	TupleDesc	event_desc;
	TupleDesc	metric_desc;
	Numeric		million;		/* for picodollars, squared */
	Numeric		thousand;		/* milliseconds to microseconds */
	StringInfoData unknown;		/* names of keys nobody knows */
	int			nunknown;
} Decoder;

/* One event while it is read. */
typedef struct Event
{
	Datum		values[COL_COUNT];
	bool		nulls[COL_COUNT];
	int			kind;
	bool		has_secret;		/* rank of what gave api_key_hash, below */
	int			secret_rank;
	bool		has_total_cost;
	Datum		total_cost;
	bool		timed;			/* by timestamp or by ts */
	char	   *claimed_ts;		/* text of a timestamp too far ahead */
	const char *field;			/* set with reason when the event is refused */
	const char *reason;
} Event;

static bool
refuse(Event *event, const char *field, const char *reason)
{
	event->field = field;
	event->reason = reason;
	return false;
}

static bool
key_is(const JsonbValue *key, const char *name, int len)
{
	return key->val.string.len == len && memcmp(key->val.string.val, name, len) == 0;
}

/* The number, or false for anything else (NaN cannot occur in jsonb). */
static bool
get_number(const JsonbValue *v, Numeric *result, double *approximate)
{
	if (v->type != jbvNumeric)
		return false;
	*result = v->val.numeric;
	*approximate = DatumGetFloat8(DirectFunctionCall1(numeric_float8_no_overflow,
													  NumericGetDatum(*result)));
	return true;
}

/* round(n * factor), as bigint; the caller has checked the magnitude */
static Datum
scaled_int8(Numeric n, Numeric factor)
{
	return DirectFunctionCall1(numeric_int8,
							   DirectFunctionCall2(numeric_mul, NumericGetDatum(n), NumericGetDatum(factor)));
}

/* Longest prefix of at most limit bytes that ends between two characters. */
static int
clip_text(const char *s, int len, int limit)
{
	return len <= limit ? len : pg_mbcliplen(s, len, limit);
}

/* The first bytes of HMAC-SHA-256(secret, s). */
static Datum
keyed_hash(const Decoder *d, const char *s, int len)
{
	uint8		digest[PG_SHA256_DIGEST_LENGTH];
	bytea	   *result = palloc(VARHDRSZ + EVENT_KEY_HASH_BYTES);
	pg_hmac_ctx *ctx = pg_hmac_create(PG_SHA256);

	if (ctx == NULL ||
		pg_hmac_init(ctx, (const uint8 *) VARDATA_ANY(d->secret), VARSIZE_ANY_EXHDR(d->secret)) < 0 ||
		pg_hmac_update(ctx, (const uint8 *) s, len) < 0 ||
		pg_hmac_final(ctx, digest, sizeof(digest)) < 0)
	{
		pg_hmac_free(ctx);
		ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg("could not compute the hash of an API key")));
	}
	pg_hmac_free(ctx);
	SET_VARSIZE(result, VARHDRSZ + EVENT_KEY_HASH_BYTES);
	memcpy(VARDATA(result), digest, EVENT_KEY_HASH_BYTES);
	return PointerGetDatum(result);
}

/*
 * An API key in any of its three forms. api_key counts before authorization,
 * that before a producer's own api_key_hash.
 */
static bool
read_secret(const Decoder *d, Event *event, const JsonbValue *v, const char *key, int rank)
{
	const char *s = v->val.string.val;
	int			len = v->val.string.len;

	if (v->type != jbvString)
		return refuse(event, key, "must be a string");
	if (len > fields[COL_api_key_hash].limit)
		return refuse(event, key, "is too long");
	if (strcmp(key, "authorization") == 0)
	{
		const char *space = memchr(s, ' ', len);

		if (space != NULL)
		{
			len -= space + 1 - s;
			s = space + 1;
			while (len > 0 && *s == ' ')
				s++, len--;
		}
	}
	if (len == 0 || (event->has_secret && event->secret_rank < rank))
		return true;
	event->has_secret = true;
	event->secret_rank = rank;
	event->values[COL_api_key_hash] = keyed_hash(d, s, len);
	event->nulls[COL_api_key_hash] = false;
	return true;
}

static bool
read_timestamp(const Decoder *d, Event *event, const JsonbValue *v, const char *name)
{
	int64_t		unix_us;
	TimestampTz ts;
	const char *text;
	int			len;

	if (event->timed)
		return refuse(event, fields[COL_ts].key, "is there twice");
	event->timed = true;
	if (v->type == jbvString)
	{
		text = v->val.string.val;
		len = v->val.string.len;
		if (!timestamp_parse(text, len, &unix_us))
			return refuse(event, name, "is not an RFC 3339 time");
	}
	else if (v->type == jbvNumeric)
	{
		text = DatumGetCString(DirectFunctionCall1(numeric_out, NumericGetDatum(v->val.numeric)));
		len = strlen(text);
		if (len > MAX_EPOCH_CHARS || !timestamp_parse_epoch(text, len, &unix_us))
			return refuse(event, name, "is out of range");
	}
	else
		return refuse(event, name, "must be a string or a number");

	if (unix_us < EVENT_MIN_TS * USECS_PER_SEC)
		return refuse(event, name, "is out of range");
	ts = unix_us - UNIX_TO_PG_EPOCH_US;
	if (ts < d->oldest)
		return refuse(event, name, "is older than the retention");
	if (ts > d->received + EVENT_MAX_AHEAD_SECONDS * USECS_PER_SEC)
	{
		/* no time of its own then: stored under that of its first receipt */
		event->claimed_ts = pnstrdup(text, len);
		return true;
	}
	event->values[COL_ts] = TimestampTzGetDatum(ts);
	event->nulls[COL_ts] = false;
	return true;
}

/* USD as picodollars. */
static bool
read_usd(const Decoder *d, Event *event, const JsonbValue *v, const char *key, Datum *result)
{
	Numeric		number;
	double		x;

	if (!get_number(v, &number, &x))
		return refuse(event, key, "must be a number");
	if (x < 0 || x > EVENT_MAX_USD)
		return refuse(event, key, "is out of range");
	*result = scaled_int8(DatumGetNumeric(DirectFunctionCall2(numeric_mul, NumericGetDatum(number),
															  NumericGetDatum(d->million))),
						  d->million);
	return true;
}

static bool
read_inet(Event *event, const JsonbValue *v, int column)
{
	char		buf[64];
	unsigned char address[16];
	inet	   *ip;
	bool		v6;

	if (v->type != jbvString)
		return refuse(event, fields[column].key, "must be a string");
	if (v->val.string.len == 0)
		return true;
	if (v->val.string.len >= (int) sizeof(buf))
		return refuse(event, fields[column].key, "is not an IP address");
	memcpy(buf, v->val.string.val, v->val.string.len);
	buf[v->val.string.len] = '\0';
	v6 = strchr(buf, ':') != NULL;
	if (inet_pton(v6 ? AF_INET6 : AF_INET, buf, address) != 1)
		return refuse(event, fields[column].key, "is not an IP address");
	ip = (inet *) palloc0(sizeof(inet));
	ip_family(ip) = v6 ? PGSQL_AF_INET6 : PGSQL_AF_INET;
	ip_bits(ip) = ip_maxbits(ip);
	memcpy(ip_addr(ip), address, ip_addrsize(ip));
	SET_INET_VARSIZE(ip);
	event->values[column] = InetPGetDatum(ip);
	event->nulls[column] = false;
	return true;
}

/* Any field but the special keys. */
static bool
read_field(const Decoder *d, Event *event, const JsonbValue *v, int column)
{
	const Field *f = &fields[column];
	Numeric		number;
	double		x;
	const char *s;
	int			len;

	switch (f->type)
	{
		case FIELD_TS:
			return read_timestamp(d, event, v, f->key);

		case FIELD_MS:
			if (!get_number(v, &number, &x))
				return refuse(event, f->key, "must be a number");
			if (x < 0 || x > f->limit)
				return refuse(event, f->key, "is out of range");
			event->values[column] = scaled_int8(number, d->thousand);
			break;

		case FIELD_COUNT:
		case FIELD_STATUS:
			if (!get_number(v, &number, &x))
				return refuse(event, f->key, "must be a whole number");
			if (x < (f->type == FIELD_STATUS ? 100 : 0) || x > f->limit)
				return refuse(event, f->key, "is out of range");
			if (x != floor(x))
				return refuse(event, f->key, "must be a whole number");
			event->values[column] = f->type == FIELD_STATUS ? Int16GetDatum((int16) x) : Int64GetDatum((int64) x);
			break;

		case FIELD_USD:
			if (!read_usd(d, event, v, f->key, &event->values[column]))
				return false;
			break;

		case FIELD_BOOL:
			if (v->type != jbvBool)
				return refuse(event, f->key, "must be true or false");
			event->values[column] = BoolGetDatum(v->val.boolean);
			break;

		case FIELD_ID:
		case FIELD_TEXT:
		case FIELD_PATH:
			if (v->type != jbvString)
				return refuse(event, f->key, "must be a string");
			s = v->val.string.val;
			len = v->val.string.len;
			if (f->type == FIELD_PATH)
			{
				int			n = 0;

				while (n < len && s[n] != '?' && s[n] != '#')
					n++;
				len = n;
			}
			if (f->type == FIELD_ID && len > f->limit)
				return refuse(event, f->key, "is too long");
			len = clip_text(s, len, (int) f->limit);
			if (len == 0)
				return true;
			event->values[column] = PointerGetDatum(cstring_to_text_with_len(s, len));
			break;

		case FIELD_INET:
			return read_inet(event, v, column);

		case FIELD_SECRET:
			return read_secret(d, event, v, f->key, 3);

		case FIELD_OBJECT:
			{
				Jsonb	   *object;

				if (v->type != jbvBinary || !JsonContainerIsObject(v->val.binary.data))
					return refuse(event, f->key, "must be an object");
				object = JsonbValueToJsonb((JsonbValue *) v);
				if (VARSIZE(object) > f->limit)
					return refuse(event, f->key, "is too long");
				event->values[column] = JsonbPGetDatum(object);
				break;
			}

		case FIELD_COMPUTED:
			return true;
	}
	event->nulls[column] = false;
	return true;
}

/* One key of an event; false when that refuses the event. */
static bool
read_key(Decoder *d, Event *event, const JsonbValue *key, const JsonbValue *v)
{
	if (v->type == jbvNull)
		return true;

	for (int i = 0; i < COL_COUNT; i++)
		if (fields[i].key_len > 0 && key_is(key, fields[i].key, fields[i].key_len))
			return read_field(d, event, v, i);

	if (key_is(key, "kind", 4))
	{
		if (v->type == jbvString)
			for (int i = 0; i < (int) lengthof(kinds); i++)
				if (v->val.string.len == kinds[i].len &&
					memcmp(v->val.string.val, kinds[i].name, kinds[i].len) == 0)
				{
					event->kind = kinds[i].rank;
					return true;
				}
		return refuse(event, "kind", "must be request, response, error, token_usage, cost or complete");
	}
	if (key_is(key, "ts", 2))
		return read_timestamp(d, event, v, "ts");
	if (key_is(key, "api_key", 7))
		return read_secret(d, event, v, "api_key", 1);
	if (key_is(key, "authorization", 13))
		return read_secret(d, event, v, "authorization", 2);
	if (key_is(key, "total_cost", 10))
	{
		event->has_total_cost = true;
		return read_usd(d, event, v, "total_cost", &event->total_cost);
	}
	for (int i = 0; i < (int) lengthof(ignored_keys); i++)
		if (key_is(key, ignored_keys[i].name, ignored_keys[i].len))
			return true;

	if (d->nunknown < MAX_UNKNOWN_KEYS)
	{
		char	   *name = pnstrdup(key->val.string.val, Min(key->val.string.len, NAMEDATALEN));

		/* a warning the client's encoding cannot say would be an error */
		for (char *c = name; *c; c++)
			if (*c < ' ' || *c > '~')
				*c = '?';
		appendStringInfo(&d->unknown, "%s\"%s\"", d->nunknown ? ", " : "", name);
		d->nunknown++;
	}
	return true;
}

/* metadata || {"claimed_timestamp": text} */
static Datum
with_claimed_timestamp(Datum metadata, bool isnull, const char *text)
{
	JsonbParseState *state = NULL;
	JsonbValue	key,
				value;
	Datum		object;

	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	key.type = jbvString;
	key.val.string.val = EVENT_CLAIMED_TIMESTAMP_KEY;
	key.val.string.len = strlen(EVENT_CLAIMED_TIMESTAMP_KEY);
	pushJsonbValue(&state, WJB_KEY, &key);
	value.type = jbvString;
	value.val.string.val = (char *) text;
	value.val.string.len = strlen(text);
	pushJsonbValue(&state, WJB_VALUE, &value);
	object = JsonbPGetDatum(JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL)));
	return isnull ? object : DirectFunctionCall2(jsonb_concat, metadata, object);
}

/* True when no field has a value. */
static bool
says_nothing(const Event *event)
{
	for (int i = 0; i < COL_COUNT; i++)
		if (!event->nulls[i])
			return false;
	return true;
}

/* Reads one element of the input; false when it is refused. */
static bool
read_event(Decoder *d, Event *event, const JsonbValue *element, bool *id_made)
{
	JsonbIterator *it;
	JsonbValue	key,
				v;
	JsonbIteratorToken token;

	memset(event, 0, sizeof(*event));
	memset(event->nulls, true, sizeof(event->nulls));
	event->kind = KIND_COMPLETE;
	*id_made = false;

	if (element->type != jbvBinary || !JsonContainerIsObject(element->val.binary.data))
		return refuse(event, "", "must be an object");

	it = JsonbIteratorInit(element->val.binary.data);
	token = JsonbIteratorNext(&it, &key, true);
	Assert(token == WJB_BEGIN_OBJECT);
	while ((token = JsonbIteratorNext(&it, &key, true)) == WJB_KEY)
	{
		(void) JsonbIteratorNext(&it, &v, true);
		if (!read_key(d, event, &key, &v))
			return false;
	}

	if (event->has_total_cost && event->nulls[COL_reported_cost])
	{
		event->values[COL_reported_cost] = event->total_cost;
		event->nulls[COL_reported_cost] = false;
	}
	if (event->claimed_ts != NULL)
	{
		event->values[COL_metadata] = with_claimed_timestamp(event->values[COL_metadata],
															 event->nulls[COL_metadata],
															 event->claimed_ts);
		event->nulls[COL_metadata] = false;
	}
	if (says_nothing(event))
		return refuse(event, "", EVENT_SAYS_NOTHING);
	if (event->nulls[COL_request_id])
	{
		Datum		uuid = DirectFunctionCall1(gen_random_uuid, (Datum) 0);
		char	   *text = DatumGetCString(DirectFunctionCall1(uuid_out, uuid));

		event->values[COL_request_id] = CStringGetTextDatum(text);
		event->nulls[COL_request_id] = false;
		*id_made = true;
	}
	return true;
}

/* The event as ccproxy.request_event. */
static Datum
form_event(const Decoder *d, Event *event, int ord)
{
	Datum		values[4];
	bool		nulls[4] = {false, false, false, false};

	values[0] = Int32GetDatum(ord);
	values[1] = Int16GetDatum(event->kind);
	values[2] = event->values[COL_ts];
	nulls[2] = event->nulls[COL_ts];
	values[3] = HeapTupleGetDatum(heap_form_tuple(d->metric_desc, event->values, event->nulls));
	return HeapTupleGetDatum(heap_form_tuple(d->event_desc, values, nulls));
}

/* One row of the answer. */
static void
put_event(Decoder *d, ReturnSetInfo *rsinfo, MemoryContext per_event, const JsonbValue *element, int ord)
{
	MemoryContext old = MemoryContextSwitchTo(per_event);
	Event		event;
	bool		id_made;
	Datum		values[5];
	bool		nulls[5] = {false, true, true, true, false};

	values[0] = Int32GetDatum(ord);
	if (read_event(d, &event, element, &id_made))
	{
		values[1] = form_event(d, &event, ord);
		nulls[1] = false;
	}
	else
	{
		id_made = false;
		values[2] = CStringGetTextDatum(event.field);
		values[3] = CStringGetTextDatum(event.reason);
		nulls[2] = nulls[3] = false;
	}
	values[4] = BoolGetDatum(id_made);
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	MemoryContextSwitchTo(old);
	MemoryContextReset(per_event);
}

/* Sets up rsinfo for materialised rows; PostgreSQL 14 has no helper for it. */
static void
begin_rows(FunctionCallInfo fcinfo)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	MemoryContext old;
	TupleDesc	desc;

	if (rsinfo == NULL || !IsA(rsinfo, ReturnSetInfo) || !(rsinfo->allowedModes & SFRM_Materialize))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("set-valued function called in context that cannot accept a set")));
	old = MemoryContextSwitchTo(rsinfo->econtext->ecxt_per_query_memory);
	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	rsinfo->returnMode = SFRM_Materialize;
	rsinfo->setDesc = desc;
	rsinfo->setResult = tuplestore_begin_heap(rsinfo->allowedModes & SFRM_Materialize_Random, false, work_mem);
	MemoryContextSwitchTo(old);
}

Datum
ccproxy_decode_events(PG_FUNCTION_ARGS)
{
	Jsonb	   *events = PG_GETARG_JSONB_P(0);
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	MemoryContext per_event;
	Decoder		d = {0};
	JsonbValue	element;
	int			ord = 0;

	begin_rows(fcinfo);
	d.secret = PG_GETARG_BYTEA_PP(1);
	d.oldest = PG_GETARG_TIMESTAMPTZ(2);
	d.received = PG_GETARG_TIMESTAMPTZ(3);
	d.million = int64_to_numeric(1000000);
	d.thousand = int64_to_numeric(1000);
	initStringInfo(&d.unknown);
	d.event_desc = lookup_rowtype_tupdesc_copy(TupleDescAttr(rsinfo->setDesc, 1)->atttypid, -1);
	d.metric_desc = lookup_rowtype_tupdesc_copy(TupleDescAttr(d.event_desc, 3)->atttypid, -1);
	if (d.metric_desc->natts != COL_COUNT)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("ccproxy.request_metric has %d columns, this library knows %d",
						d.metric_desc->natts, COL_COUNT),
				 errhint("Run ALTER EXTENSION ccproxy_metrics UPDATE.")));

	per_event = AllocSetContextCreate(CurrentMemoryContext, "ccproxy event", ALLOCSET_DEFAULT_SIZES);
	if (JB_ROOT_IS_OBJECT(events))
	{
		element.type = jbvBinary;
		element.val.binary.data = &events->root;
		element.val.binary.len = VARSIZE(events) - VARHDRSZ;
		put_event(&d, rsinfo, per_event, &element, ord);
	}
	else
	{
		JsonbIterator *it = JsonbIteratorInit(&events->root);

		(void) JsonbIteratorNext(&it, &element, true);
		while (JsonbIteratorNext(&it, &element, true) == WJB_ELEM)
		{
			CHECK_FOR_INTERRUPTS();
			put_event(&d, rsinfo, per_event, &element, ord++);
		}
	}
	MemoryContextDelete(per_event);

	if (d.nunknown > 0)
		ereport(WARNING,
				(errmsg("unknown event fields were ignored: %s", d.unknown.data)));
	return (Datum) 0;
}
