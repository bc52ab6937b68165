/*
 * The fields of an event, once, for everyone who reads, writes or stores one.
 *
 * Plain C, no PostgreSQL in it: included by the extension's decoder
 * (extension/event.c, from jsonb) and by the gateway's (gateway/decode.c, from
 * JSON text), so that both accept and refuse the same things.
 *
 * The order is the order of the columns of ccproxy.request_metric
 * (sql/10_types.sql); a regression test compares the two.
 */
#ifndef CCPROXY_EVENT_FIELDS_H
#define CCPROXY_EVENT_FIELDS_H

/*
 * EVENT_FIELDS(F): F(column, json_key, type, limit)
 *
 * type says what the JSON value may be and how it is stored:
 *	TS		the event's time: RFC 3339 (no zone means UTC) or epoch seconds,
 *			milliseconds, microseconds or nanoseconds; timestamptz
 *	MS		milliseconds, finite, 0 .. limit; stored as bigint microseconds,
 *			rounded half away from zero
 *	COUNT	whole number 0 .. limit; bigint
 *	USD		dollars, finite, 0 .. limit; stored as bigint picodollars
 *	STATUS	HTTP status, whole number 100 .. limit; smallint
 *	BOOL	true or false; boolean
 *	ID		text of at most limit bytes, longer is refused; '' is absent
 *	TEXT	text, cut to limit bytes at a character boundary; '' is absent
 *	PATH	as TEXT, after everything from the first '?' or '#' is cut
 *	INET	an IPv4 or IPv6 address without mask; inet
 *	SECRET	text of at most limit bytes; only its keyed hash is kept, bytea
 *	OBJECT	a JSON object of at most limit bytes of text; jsonb
 *	COMPUTED	not read from events (json_key is "")
 */
#define EVENT_FIELDS(F) \
	F(ts,                    "timestamp",             TS,       0) \
	F(response_time_us,      "response_time_ms",      MS,       EVENT_MAX_MS) \
	F(ttft_us,               "ttft_ms",               MS,       EVENT_MAX_MS) \
	F(input_tokens,          "input_tokens",          COUNT,    EVENT_MAX_COUNT) \
	F(cache_read_tokens,     "cache_read_tokens",     COUNT,    EVENT_MAX_COUNT) \
	F(cache_write_tokens,    "cache_write_tokens",    COUNT,    EVENT_MAX_COUNT) \
	F(cache_write_1h_tokens, "cache_write_1h_tokens", COUNT,    EVENT_MAX_COUNT) \
	F(output_tokens,         "output_tokens",         COUNT,    EVENT_MAX_COUNT) \
	F(reasoning_tokens,      "reasoning_tokens",      COUNT,    EVENT_MAX_COUNT) \
	F(input_cost,            "",                      COMPUTED, 0) \
	F(cache_read_cost,       "",                      COMPUTED, 0) \
	F(cache_write_cost,      "",                      COMPUTED, 0) \
	F(output_cost,           "",                      COMPUTED, 0) \
	F(tool_cost,             "",                      COMPUTED, 0) \
	F(reported_cost,         "reported_cost",         USD,      EVENT_MAX_USD) \
	F(price_id,              "",                      COMPUTED, 0) \
	F(status_code,           "status_code",           STATUS,   599) \
	F(parts,                 "",                      COMPUTED, 0) \
	F(streaming,             "streaming",             BOOL,     0) \
	F(request_id,            "request_id",            ID,       256) \
	F(user_id,               "user_id",               ID,       256) \
	F(team_id,               "team_id",               ID,       256) \
	F(session_id,            "session_id",            ID,       256) \
	F(method,                "method",                ID,       16) \
	F(path,                  "path",                  PATH,     2048) \
	F(endpoint_type,         "endpoint_type",         ID,       64) \
	F(provider,              "provider",              ID,       64) \
	F(user_agent,            "user_agent",            TEXT,     1024) \
	F(client_ip,             "client_ip",             INET,     0) \
	F(api_key_hash,          "api_key_hash",          SECRET,   4096) \
	F(model,                 "model",                 ID,       256) \
	F(model_version,         "model_version",         ID,       256) \
	F(service_tier,          "service_tier",          ID,       64) \
	F(error_type,            "error_type",            ID,       256) \
	F(error_message,         "error_message",         TEXT,     8192) \
	F(metadata,              "metadata",              OBJECT,   65536)

/*
 * Other keys an event may carry:
 *	kind				one of EVENT_KINDS; absent means complete
 *	ts					another name of timestamp, the column's; both of them:
 *						timestamp "is there twice"
 *	api_key				SECRET; becomes api_key_hash
 *	authorization		SECRET; an Authorization header, its scheme word
 *						("Bearer ") is cut first; becomes api_key_hash
 *						(first present of api_key, authorization, api_key_hash)
 *	total_cost			USD; taken as reported_cost where that is absent
 *	total_tokens, state, cost_lines, other_ts, input_cost, cache_read_cost, cache_write_cost,
 *	output_cost, tool_cost, price_id
 *						what is derived here and shown with a request:
 *						accepted and ignored, so that an exported row can be
 *						posted again
 * JSON null is the same as absent. Any other key is ignored and named in the
 * answer.
 */
#define EVENT_IGNORED_KEYS(F) \
	F("total_tokens") F("state") F("cost_lines") F("other_ts") F("input_cost") F("cache_read_cost") \
	F("cache_write_cost") F("output_cost") F("tool_cost") F("price_id")

/*
 * EVENT_KINDS(K): K(symbol, name, rank). Where two parts of a request give the
 * same field, the part of the higher rank wins, then the later timestamp.
 */
#define EVENT_KINDS(K) \
	K(REQUEST,     "request",     1) \
	K(RESPONSE,    "response",    2) \
	K(TOKEN_USAGE, "token_usage", 3) \
	K(COST,        "cost",        4) \
	K(ERROR,       "error",       5) \
	K(COMPLETE,    "complete",    6)

/* Why an event is refused that gives no field above a value: it would count as a
 * request of which nothing is known, not even its id. kind alone says nothing. */
#define EVENT_SAYS_NOTHING "no known field has a value"

#define EVENT_MAX_MS	1e12			/* 31 years; microseconds fit a bigint */
#define EVENT_MAX_COUNT	1000000000000LL /* 10^12 tokens: exact in a double */
#define EVENT_MAX_USD	1e6				/* 10^18 picodollars fit a bigint */

/* An event's time must lie in [EVENT_MIN_TS, ...): 2000-01-01, Unix seconds. */
#define EVENT_MIN_TS	946684800LL

/* A timestamp further ahead than this does not count: the event has none (its
 * first receipt decides, so that sending it again changes nothing), and the
 * text of it is kept under this key of metadata. */
#define EVENT_MAX_AHEAD_SECONDS 300
#define EVENT_CLAIMED_TIMESTAMP_KEY "claimed_timestamp"

/* api_key_hash: the first 16 bytes of HMAC-SHA-256(installation secret, text);
 * ccproxy.requests shows them in lower-case hex. */
#define EVENT_KEY_HASH_BYTES 16

#endif
