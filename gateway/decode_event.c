/*
 * One checked JSON object to one event; see decode_event.h.
 *
 * Reading goes member by member: the key is looked up (first where the event
 * before had it), its value goes through the getter of the field's type into
 * a table of column values, and the row is encoded when all are there.
 */
#include "gateway/decode_event.h"

#include <stdlib.h>
#include <string.h>

#include "gateway/copy.h"
#include "gateway/decimal.h"
#include "gateway/decode_cost.h"
#include "gateway/json_object.h"
#include "gateway/timestamp.h"
#include "gateway/uuid.h"

#define US_PER_SECOND	INT64_C(1000000)

enum field_type
{
	FIELD_TS, FIELD_MS, FIELD_COUNT, FIELD_USD, FIELD_STATUS, FIELD_BOOL,
	FIELD_ID, FIELD_TEXT, FIELD_PATH, FIELD_INET, FIELD_SECRET, FIELD_OBJECT,
	FIELD_COMPUTED
};

/* Keys that are no column of their own; columns come before them. */
enum special_key
{
	KEY_KIND = EVENT_COLUMNS,
	KEY_TS,
	KEY_API_KEY,
	KEY_AUTHORIZATION,
	KEY_TOTAL_COST,
	KEY_FIRST_IGNORED
};

struct key
{
	const char *name;
	uint8_t		len;
	uint8_t		type;			/* enum field_type, of columns */
	int64_t		limit;			/* of columns: bytes, or the greatest stored value */
};

/* Limits of numbers are given in the unit of the JSON; these are the stored ones. */
#define STORED_LIMIT_TS(limit)		0
#define STORED_LIMIT_MS(limit)		((int64_t) ((limit) * 1000))
#define STORED_LIMIT_COUNT(limit)	(limit)
#define STORED_LIMIT_USD(limit)		((int64_t) ((limit) * 1000000000000.0))
#define STORED_LIMIT_STATUS(limit)	(limit)
#define STORED_LIMIT_BOOL(limit)	0
#define STORED_LIMIT_ID(limit)		(limit)
#define STORED_LIMIT_TEXT(limit)	(limit)
#define STORED_LIMIT_PATH(limit)	(limit)
#define STORED_LIMIT_INET(limit)	0
#define STORED_LIMIT_SECRET(limit)	(limit)
#define STORED_LIMIT_OBJECT(limit)	(limit)
#define STORED_LIMIT_COMPUTED(limit) 0

#define COLUMN_KEY(column, key, type, limit) \
	{key, sizeof(key) - 1, FIELD_##type, STORED_LIMIT_##type(limit)},
#define IGNORED_KEY(key) {key, sizeof(key) - 1, 0, 0},

static const struct key keys[] = {
	EVENT_FIELDS(COLUMN_KEY)
	{"kind", 4, 0, 0},
	{"ts", 2, 0, 0},
	{"api_key", 7, 0, 0},
	{"authorization", 13, 0, 0},
	{"total_cost", 10, FIELD_USD, STORED_LIMIT_USD(EVENT_MAX_USD)},
	EVENT_IGNORED_KEYS(IGNORED_KEY)
};

#define NKEYS		(sizeof(keys) / sizeof(keys[0]))
#define KEY_UNKNOWN UINT8_MAX

_Static_assert(NKEYS <= 64, "the keys seen are bits of a word");

#define KIND_NAME(symbol, name, rank) {name, sizeof(name) - 1, rank},

static const struct
{
	const char *name;
	uint8_t		len;
	int8_t		rank;
}			kinds[] = {EVENT_KINDS(KIND_NAME)};

/* Which member gave api_key_hash: the first present of these counts. */
enum secret_source
{
	SECRET_API_KEY,
	SECRET_AUTHORIZATION,
	SECRET_API_KEY_HASH,
	SECRET_SOURCES
};

/* One event while it is read. */
struct reading
{
	struct event_decoder *d;
	struct decoded_event *out;
	struct copy_value values[EVENT_COLUMNS];
	uint64_t	seen;			/* keys, by their place in the table */
	int			kind;
	struct copy_value total_cost;
	struct
	{
		const char *text;
		uint32_t	len;
	}			secrets[SECRET_SOURCES];
	size_t		unknown_mask;	/* of the table of unknown members; 0: not begun */
	bool		timed;			/* by timestamp or by ts */
	const struct json_member *timestamp;	/* when it was too far ahead */
};

static bool
refuse(struct reading *r, const char *field, const char *reason)
{
	r->out->status = DECODE_EVENT_REFUSED;
	r->out->field = field;
	r->out->reason = reason;
	return false;
}

static bool
no_memory(struct reading *r)
{
	r->out->status = DECODE_EVENT_NO_MEMORY;
	return false;
}

/*
 * A key as it may appear in an answer: at most EVENT_NAME_BYTES of printable
 * ASCII, else "".
 */
static const char *
printable_name(struct arena *arena, const char *key, uint32_t len)
{
	const char *copy;

	if (len > EVENT_NAME_BYTES)
		len = EVENT_NAME_BYTES;
	for (uint32_t i = 0; i < len; i++)
		if (key[i] < 0x20 || key[i] > 0x7e)
			return "";
	copy = arena_strndup(arena, key, len);
	return copy ? copy : "";
}

/* The place of a key in the table, or KEY_UNKNOWN. */
static uint8_t
find_key(const char *key, uint32_t len)
{
	for (size_t i = 0; i < NKEYS; i++)
		if (keys[i].len == len && len > 0 && memcmp(keys[i].name, key, len) == 0)
			return (uint8_t) i;
	return KEY_UNKNOWN;
}

/* A number between min and the key's limit, scaled. */
static bool
get_scaled(struct reading *r, const struct json_member *m, const struct key *k, int scale,
		   int64_t min, bool whole, struct copy_value *v)
{
	enum decimal_result result;

	if (m->type != JSON_NUMBER)
		return refuse(r, k->name, whole ? "must be a whole number" : "must be a number");
	result = decimal_scaled(m->value, m->value_len, scale, &v->number);
	if (result == DECIMAL_OVERFLOW || v->number < min || v->number > k->limit)
		return refuse(r, k->name, "is out of range");
	/* a tiny negative number must not pass as the zero it rounds to */
	if (v->number == 0 && result == DECIMAL_ROUNDED && m->value[0] == '-')
		return refuse(r, k->name, "is out of range");
	if (whole && result == DECIMAL_ROUNDED)
		return refuse(r, k->name, "must be a whole number");
	v->present = true;
	return true;
}

static bool
get_bool(struct reading *r, const struct json_member *m, const struct key *k, struct copy_value *v)
{
	if (m->type != JSON_TRUE && m->type != JSON_FALSE)
		return refuse(r, k->name, "must be true or false");
	v->number = m->type == JSON_TRUE;
	v->present = true;
	return true;
}

/* Text; '' is absent. */
static bool
get_text(struct reading *r, const struct json_member *m, const struct key *k, struct copy_value *v)
{
	uint32_t	len = m->value_len;

	if (m->type != JSON_STRING)
		return refuse(r, k->name, "must be a string");
	if (k->type == FIELD_PATH)
	{
		for (uint32_t i = 0; i < len; i++)
			if (m->value[i] == '?' || m->value[i] == '#')
				len = i;
	}
	if (k->type == FIELD_ID)
	{
		if (len > k->limit)
			return refuse(r, k->name, "is too long");
	}
	else
		len = (uint32_t) json_utf8_prefix(m->value, len, (size_t) k->limit);
	v->text = m->value;
	v->len = len;
	v->present = len > 0;
	return true;
}

static bool
get_inet(struct reading *r, const struct json_member *m, const struct key *k, struct copy_value *v)
{
	char	   *inet;

	if (m->type != JSON_STRING)
		return refuse(r, k->name, "must be a string");
	if (m->value_len == 0)
		return true;
	inet = arena_alloc(r->d->arena, COPY_INET_BYTES_MAX);
	if (inet == NULL)
		return no_memory(r);
	v->len = copy_inet(m->value, m->value_len, inet);
	if (v->len == 0)
		return refuse(r, k->name, "is not an IP address");
	v->text = inet;
	v->present = true;
	return true;
}

static bool
get_object(struct reading *r, const struct json_member *m, const struct key *k, struct copy_value *v)
{
	if (m->type != JSON_OBJECT)
		return refuse(r, k->name, "must be an object");
	if (m->value_len > k->limit)
		return refuse(r, k->name, "is too long");
	v->text = m->value;
	v->len = m->value_len;
	v->present = true;
	return true;
}

/* Remembers one of the forms an API key comes in; hashed when all are known. */
static bool
get_secret(struct reading *r, const struct json_member *m, const char *name,
		   enum secret_source source)
{
	size_t		skip = 0;

	if (m->type != JSON_STRING)
		return refuse(r, name, "must be a string");
	if (m->value_len > keys[EVENT_COL_api_key_hash].limit)
		return refuse(r, name, "is too long");
	if (source == SECRET_AUTHORIZATION)
		skip = keyhash_scheme_len(m->value, m->value_len);
	r->secrets[source].text = m->value + skip;
	r->secrets[source].len = m->value_len - (uint32_t) skip;
	return true;
}

/* The event's time, judged by that of receipt. */
static bool
get_timestamp(struct reading *r, const struct json_member *m, const struct key *k)
{
	const struct decode_options *o = r->d->options;
	struct copy_value *v = &r->values[EVENT_COL_ts];

	if (r->timed)
		return refuse(r, keys[EVENT_COL_ts].name, "is there twice");
	r->timed = true;
	if (m->type == JSON_STRING)
	{
		if (!timestamp_parse(m->value, m->value_len, &v->number))
			return refuse(r, k->name, "is not an RFC 3339 time");
	}
	else if (m->type == JSON_NUMBER)
	{
		if (!timestamp_parse_epoch(m->value, m->value_len, &v->number))
			return refuse(r, k->name, "is out of range");
	}
	else
		return refuse(r, k->name, "must be a string or a number");
	if (v->number < EVENT_MIN_TS * US_PER_SECOND)
		return refuse(r, k->name, "is out of range");
	if (o->facts->retention_us > 0 && v->number < o->now_us - o->facts->retention_us)
		return refuse(r, k->name, "is older than the retention");
	if (v->number > o->now_us + EVENT_MAX_AHEAD_SECONDS * US_PER_SECOND)
		r->timestamp = m;		/* as if it had none, but the claim is kept */
	else
		v->present = true;
	return true;
}

static bool
get_kind(struct reading *r, const struct json_member *m)
{
	if (m->type == JSON_STRING)
		for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
			if (m->value_len == kinds[i].len && memcmp(m->value, kinds[i].name, kinds[i].len) == 0)
			{
				r->kind = kinds[i].rank;
				return true;
			}
	return refuse(r, "kind", "must be request, response, error, token_usage, cost or complete");
}

/* The value of a column's key. */
static bool
read_column(struct reading *r, const struct json_member *m, int column)
{
	const struct key *k = &keys[column];
	struct copy_value *v = &r->values[column];

	switch ((enum field_type) k->type)
	{
		case FIELD_TS:
			return get_timestamp(r, m, k);
		case FIELD_MS:
			return get_scaled(r, m, k, 3, 0, false, v);
		case FIELD_COUNT:
			return get_scaled(r, m, k, 0, 0, true, v);
		case FIELD_USD:
			return get_scaled(r, m, k, 12, 0, false, v);
		case FIELD_STATUS:
			return get_scaled(r, m, k, 0, 100, true, v);
		case FIELD_BOOL:
			return get_bool(r, m, k, v);
		case FIELD_ID:
		case FIELD_TEXT:
		case FIELD_PATH:
			return get_text(r, m, k, v);
		case FIELD_INET:
			return get_inet(r, m, k, v);
		case FIELD_SECRET:
			return get_secret(r, m, k->name, SECRET_API_KEY_HASH);
		case FIELD_OBJECT:
			return get_object(r, m, k, v);
		case FIELD_COMPUTED:
			break;
	}
	return true;
}

/* Names a field nobody knows, once; too many are only ignored. */
static bool
note_ignored(struct reading *r, const struct json_member *m)
{
	struct decode_result *result = r->d->result;
	const char *name;

	if (result->nignored == DECODE_MAX_IGNORED)
		return true;
	for (size_t i = 0; i < result->nignored; i++)
		if (strlen(result->ignored[i]) == m->key_len && memcmp(result->ignored[i], m->key, m->key_len) == 0)
			return true;
	name = printable_name(r->d->arena, m->key, m->key_len);
	for (size_t i = 0; i < result->nignored; i++)
		if (strcmp(result->ignored[i], name) == 0)
			return true;
	if (result->ignored == NULL)
	{
		result->ignored = arena_alloc(r->d->arena, DECODE_MAX_IGNORED * sizeof(char *));
		if (result->ignored == NULL)
			return no_memory(r);
	}
	result->ignored[result->nignored++] = name;
	return true;
}

/* A hash nobody can aim at who does not know the installation's secret. */
static uint64_t
hash_key(const struct event_decoder *d, const char *key, uint32_t len)
{
	uint64_t	h = len;

	memcpy(&h, d->options->facts->hash_secret, sizeof(h));
	for (uint32_t i = 0; i < len; i++)
	{
		h = (h ^ (unsigned char) key[i]) * UINT64_C(0x9e3779b97f4a7c15);
		h ^= h >> 29;
	}
	return h ^ h >> 32;
}

/* Room for so many keys, half of it empty: a power of two. */
static size_t
unknown_slots(size_t nkeys)
{
	size_t		slots = 2;

	while (slots < 2 * nkeys)
		slots *= 2;
	return slots;
}

/* True when an unknown key stood in the event before; else it has now. */
static bool
unknown_repeats(struct reading *r, size_t nmembers, size_t i)
{
	const struct json_member *m = &r->d->members[i];
	uint16_t   *table = r->d->unknown;
	size_t		slot;

	if (r->unknown_mask == 0)
	{
		r->unknown_mask = unknown_slots(nmembers) - 1;
		memset(table, 0, (r->unknown_mask + 1) * sizeof(*table));
	}
	for (slot = hash_key(r->d, m->key, m->key_len) & r->unknown_mask; table[slot] != 0; slot = (slot + 1) & r->unknown_mask)
	{
		const struct json_member *other = &r->d->members[table[slot] - 1];

		if (other->key_len == m->key_len && memcmp(other->key, m->key, m->key_len) == 0)
			return true;
	}
	table[slot] = (uint16_t) (i + 1);
	return false;
}

/* One member of so many: which key it is, then its value. */
static bool
read_member(struct reading *r, size_t nmembers, size_t i)
{
	const struct json_member *m = &r->d->members[i];
	uint8_t		key = r->d->expected[i];

	if (key == KEY_UNKNOWN || keys[key].len != m->key_len ||
		memcmp(keys[key].name, m->key, m->key_len) != 0)
		key = r->d->expected[i] = find_key(m->key, m->key_len);
	if (key == KEY_UNKNOWN)
	{
		if (unknown_repeats(r, nmembers, i))
			return refuse(r, printable_name(r->d->arena, m->key, m->key_len), "is there twice");
		return m->type == JSON_NULL ? true : note_ignored(r, m);
	}
	if (r->seen >> key & 1)
		return refuse(r, keys[key].name, "is there twice");
	r->seen |= UINT64_C(1) << key;
	if (m->type == JSON_NULL)
		return true;
	if (key < EVENT_COLUMNS)
		return read_column(r, m, key);
	switch (key)
	{
		case KEY_KIND:
			return get_kind(r, m);
		case KEY_TS:
			return get_timestamp(r, m, &keys[key]);
		case KEY_API_KEY:
			return get_secret(r, m, "api_key", SECRET_API_KEY);
		case KEY_AUTHORIZATION:
			return get_secret(r, m, "authorization", SECRET_AUTHORIZATION);
		case KEY_TOTAL_COST:
			return get_scaled(r, m, &keys[key], 12, 0, false, &r->total_cost);
		default:
			return true;		/* derived here; an exported row carries them */
	}
}

/* The keyed hash of a text as a column's value: its bytes, or hex for a column of text. */
static bool
set_hash(struct reading *r, int column, const char *text, uint32_t len, bool hex)
{
	const uint8_t *hash = keyhash_cached(&r->d->hashes, text, len);
	uint32_t	size = hex ? KEYHASH_HEX_CHARS : EVENT_KEY_HASH_BYTES;
	char	   *copy = hash ? arena_alloc(r->d->arena, size) : NULL;

	if (copy == NULL)
		return no_memory(r);
	if (hex)
		keyhash_hex(hash, copy);
	else
		memcpy(copy, hash, size);
	r->values[column] = (struct copy_value) {true, size, copy, 0};
	return true;
}

/* Gives the event an id of its own. */
static bool
make_request_id(struct reading *r)
{
	char	   *text = arena_alloc(r->d->arena, UUID_TEXT_CHARS + 1);

	if (text == NULL || !uuid_random(text))
		return no_memory(r);
	r->values[EVENT_COL_request_id] = (struct copy_value) {true, UUID_TEXT_CHARS, text, 0};
	r->out->made_id = true;
	r->out->made_id_text = text;
	return true;
}

/* Adds "claimed_timestamp" to metadata; the last of equal keys is the one kept. */
static bool
keep_claimed_timestamp(struct reading *r)
{
	static const char key[] = "\"" EVENT_CLAIMED_TIMESTAMP_KEY "\":\"";
	struct copy_value *metadata = &r->values[EVENT_COL_metadata];
	const char *old = metadata->present ? metadata->text : "{}";
	uint32_t	old_len = metadata->present ? metadata->len : 2;
	uint32_t	claim_len = r->timestamp->value_len;
	char	   *text = arena_alloc(r->d->arena, (size_t) old_len + sizeof(key) + claim_len + 3);
	char	   *p = text;
	const char *inner;

	if (text == NULL)
		return no_memory(r);
	memcpy(p, old, old_len - 1);	/* without the closing brace */
	p += old_len - 1;
	inner = json_skip_space(old + 1, old + old_len);
	if (*inner != '}')
		*p++ = ',';
	memcpy(p, key, sizeof(key) - 1);
	p += sizeof(key) - 1;
	/* it has been read as a time, so nothing in it needs escaping */
	memcpy(p, r->timestamp->value, claim_len);
	p += claim_len;
	*p++ = '"';
	*p++ = '}';
	*metadata = (struct copy_value) {true, (uint32_t) (p - text), text, 0};
	return true;
}

/* True when no field has a value; asked before anything is made up or dropped. */
static bool
says_nothing(const struct reading *r)
{
	for (int i = 0; i < EVENT_COLUMNS; i++)
		if (r->values[i].present)
			return false;
	return true;
}

/* What follows from the members together. */
static bool
complete_values(struct reading *r)
{
	const struct decode_options *o = r->d->options;
	struct copy_value *v = r->values;

	for (int i = 0; i < SECRET_SOURCES; i++)
		if (r->secrets[i].len > 0)
		{
			if (!set_hash(r, EVENT_COL_api_key_hash, r->secrets[i].text, r->secrets[i].len, false))
				return false;
			break;
		}
	if (!v[EVENT_COL_reported_cost].present)
		v[EVENT_COL_reported_cost] = r->total_cost;
	if (r->timestamp != NULL && !keep_claimed_timestamp(r))
		return false;
	if (!v[EVENT_COL_request_id].present)
	{
		if (says_nothing(r))
			return refuse(r, "", EVENT_SAYS_NOTHING);
		if (!make_request_id(r))
			return false;
	}
	if (o->hash_user_ids && v[EVENT_COL_user_id].present &&
		!set_hash(r, EVENT_COL_user_id, v[EVENT_COL_user_id].text, v[EVENT_COL_user_id].len, true))
		return false;
	if (o->drop_client_ip)
		v[EVENT_COL_client_ip].present = false;
	if (o->drop_user_agent)
		v[EVENT_COL_user_agent].present = false;
	if (o->drop_error_message)
		v[EVENT_COL_error_message].present = false;
	return true;
}

/* Encodes the row and fills the event. */
static bool
finish_event(struct reading *r, struct event *event)
{
	struct copy_value *v = r->values;
	bool		has_ts = v[EVENT_COL_ts].present;
	int64_t		ts_us = has_ts ? v[EVENT_COL_ts].number : r->d->options->now_us;
	size_t		size;
	uint8_t    *row;

	if (r->kind == EVENT_KIND_COMPLETE && r->d->options->prices != NULL)
		decode_cost(r->d->options->prices, v, ts_us);
	size = copy_row_size(v);
	row = arena_alloc(r->d->arena, size);
	if (row == NULL)
		return no_memory(r);
	copy_row_encode(v, row, &event->request_id);
	event->request_id_len = v[EVENT_COL_request_id].len;
	event->kind = (int8_t) r->kind;
	event->has_ts = has_ts;
	event->outcome = EVENT_PENDING;
	event->ts_us = ts_us;
	event->row = row;
	event->row_len = (uint32_t) size;
	event->reject_reason = NULL;
	r->out->ahead = r->timestamp != NULL;
	return true;
}

bool
event_decoder_init(struct event_decoder *d, struct arena *arena, char *body,
				   const struct decode_options *options, struct decode_result *result)
{
	const size_t max = options->max_fields > 0 ? options->max_fields : DECODE_MAX_FIELDS;
	const size_t slots = unknown_slots(max);

	d->max_fields = max;
	d->members = malloc(max * sizeof(*d->members) + slots * sizeof(*d->unknown) + max);
	if (d->members == NULL)
		return false;
	d->unknown = (uint16_t *) (d->members + max);
	d->expected = (uint8_t *) (d->unknown + slots);
	d->arena = arena;
	d->options = options;
	d->result = result;
	d->body = body;
	keyhash_cache_init(&d->hashes, options->facts->hash_secret, options->facts->hash_secret_len);
	memset(d->expected, KEY_UNKNOWN, max);
	return true;
}

void
event_decoder_free(struct event_decoder *d)
{
	keyhash_cache_free(&d->hashes);
	free(d->members);
}

void
decode_event(struct event_decoder *d, struct json_scan *scan, struct event *event,
			 struct decoded_event *out)
{
	struct reading r = {.d = d, .out = out, .kind = EVENT_KIND_COMPLETE};

	*out = (struct decoded_event) {.status = DECODE_EVENT_OK};
	if (scan->type != JSON_OBJECT)
		refuse(&r, "", "must be an object");
	else if (scan->fault != NULL)
	{
		const char *field = "";

		if (scan->fault_member >= 0 && (size_t) scan->fault_member < d->max_fields)
			field = printable_name(d->arena, d->members[scan->fault_member].key,
								   d->members[scan->fault_member].key_len);
		out->too_deep = scan->fault == json_fault_depth;
		refuse(&r, field, scan->fault);
	}
	else if ((size_t) (scan->end - scan->start) > d->options->max_event_bytes)
	{
		out->too_long = true;
		refuse(&r, "", "is too long");
	}
	else if (scan->nmembers > d->max_fields)
	{
		out->too_wide = true;
		refuse(&r, "", "has too many fields");
	}
	else if (!json_object_decode_texts(d->arena, d->body, scan, d->options->always_cjson))
		no_memory(&r);
	else
	{
		for (size_t i = 0; i < scan->nmembers; i++)
			if (!read_member(&r, scan->nmembers, i))
				return;
		if (complete_values(&r))
			finish_event(&r, event);
	}
}
