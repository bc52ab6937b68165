/*
 * The native decoder: bodies, fields, refusals. Written against the rules of
 * extension/event_fields.h; every refusal names field and reason.
 */
#include <locale.h>
#include <stdlib.h>

#include "gateway/decode.h"
#include "gateway/decode_event.h"
#include "test/unit/tap.h"

#define NOW_US		INT64_C(1738324800000000)	/* 2025-01-31 12:00 UTC */
#define DAY_US		INT64_C(86400000000)
#define PG_NOW_US	(NOW_US - INT64_C(946684800000000))

static struct arena arena;
static struct store_facts facts;
static struct decode_options options;
static struct decode_result result;

/* Decodes a copy that is exactly as long as it has to be. */
static enum decode_status
decode_bytes(const char *text, size_t len)
{
	static char *body;

	free(body);
	body = malloc(len + 1);
	memcpy(body, text, len);
	body[len] = '\0';
	arena_free(&arena);
	return decode_events(&arena, body, len, &options, &result);
}

static enum decode_status
decode(const char *text)
{
	return decode_bytes(text, strlen(text));
}

/* The bytes of a column of an event; len is -1 for NULL. */
static const uint8_t *
column(const struct event *e, int wanted, int32_t *len)
{
	const uint8_t *p = e->row;

	for (int i = EVENT_COL_ts + 1;; i++)
	{
		*len = (int32_t) ((uint32_t) p[0] << 24 | (uint32_t) p[1] << 16 | (uint32_t) p[2] << 8 | p[3]);
		p += 4;
		if (i == wanted)
			return p;
		p += *len > 0 ? *len : 0;
	}
}

static void
column_text(const struct event *e, int wanted, const char *expected, const char *name)
{
	int32_t		len;
	const uint8_t *p = column(e, wanted, &len);
	size_t		expected_len = expected ? strlen(expected) : 0;

	if (!ok(expected ? len == (int32_t) expected_len && memcmp(p, expected, expected_len) == 0 : len == -1, name))
		printf("# got '%.*s' (%d)\n", len > 0 ? len : 0, (const char *) p, len);
}

static void
column_number(const struct event *e, int wanted, int64_t expected, const char *name)
{
	int32_t		len;
	const uint8_t *p = column(e, wanted, &len);
	uint64_t	got = 0;

	for (int32_t i = 0; i < len; i++)
		got = got << 8 | p[i];
	if (!ok(len > 0 && (int64_t) got == expected, name))
		printf("# got %lld (%d bytes)\n", (long long) got, len);
}

/* A body whose only event is accepted. */
static const struct event *
accepted(const char *text)
{
	if (!ok(decode(text) == DECODE_OK && result.nevents == 1 && result.nrejected == 0, text))
	{
		printf("# %s; %s: %s\n", result.message ? result.message : "",
			   result.nerrors_listed ? result.errors[0].field : "", result.nerrors_listed ? result.errors[0].reason : "");
		exit(1);
	}
	return &result.events[0];
}

static void
refused(const char *text, const char *field, const char *reason)
{
	char		name[120];

	snprintf(name, sizeof(name), "%.110s", text);
	if (ok(decode(text) == DECODE_OK && result.nevents == 0 && result.nerrors_listed == 1, name))
	{
		is_str(result.errors[0].field, field, "... names the field");
		has_str(result.errors[0].reason, reason, "... and the reason");
	}
}

static void
test_bodies(void)
{
	ok(decode("") == DECODE_BAD_BODY, "an empty body");
	ok(decode(" \n\t ") == DECODE_BAD_BODY, "a blank body");
	ok(decode("garbage") == DECODE_BAD_BODY, "garbage");
	has_str(result.message, "not valid JSON", "... told so");
	ok(decode("{\"request_id\":\"a\"") == DECODE_BAD_BODY, "a broken object");
	ok(decode("[{\"request_id\":\"a\"},{\"request_id\":}]") == DECODE_BAD_BODY && result.nevents == 0, "a broken array is refused whole");
	has_str(result.message, "at byte 34", "... told where");
	ok(decode("[{\"request_id\":\"a\"}") == DECODE_BAD_BODY, "an array that does not end");
	ok(decode("[{\"request_id\":\"a\"}] x") == DECODE_BAD_BODY, "text after an array");
	ok(decode("[{\"request_id\":\"a\"},]") == DECODE_BAD_BODY, "a comma too many");
	ok(decode("[]") == DECODE_OK && result.total == 0, "an empty array is fine");
	ok(decode(" [ ] \n") == DECODE_OK && result.total == 0, "... with blanks");
	refused("{}", "", "no known field has a value");
	refused("{\"request_id\":\"\",\"model\":null,\"kind\":\"request\",\"other\":1,\"total_tokens\":7}", "", "no known field has a value");
	options.drop_client_ip = true;
	ok(decode("{\"client_ip\":\"1.2.3.4\"}") == DECODE_OK && result.nevents == 1 && result.nmade_ids == 1, "one that is dropped did");
	options.drop_client_ip = false;
	ok(decode("\xef\xbb\xbf{\"request_id\":\"a\"}") == DECODE_OK && result.nevents == 1, "a byte order mark");
	ok(decode("{\n \"request_id\" : \"a\",\n \"model\":\"m\"\n}\n") == DECODE_OK && result.nevents == 1 && result.total == 1,
	   "an object over several lines");

	ok(decode("{\"request_id\":\"a\"}\n{\"request_id\":\"b\"}\r\n\n  \n{\"request_id\":\"c\"}") == DECODE_OK && result.nevents == 3,
	   "NDJSON, empty lines skipped");
	is_int(result.events[2].index, 2, "index");
	ok(decode("{\"request_id\":\"a\"}\n{oops}\n{\"request_id\":\"c\"} x\n7\n{\"request_id\":\"d\"}\n") == DECODE_OK, "NDJSON with bad lines");
	is_int((int64_t) result.nevents, 2, "good ones");
	is_int((int64_t) result.nrejected, 3, "bad ones");
	is_int(result.errors[0].index, 1, "index of the first");
	has_str(result.errors[0].reason, "is not valid JSON", "its reason");
	has_str(result.errors[1].reason, "text after the value", "the second's");
	is_str(result.errors[2].reason, "must be an object", "the third's");
	is_int(result.events[1].index, 4, "the last good one's index");
	ok(decode("oops\n{\"request_id\":\"a\"}") == DECODE_OK && result.nevents == 1 && result.nrejected == 1, "NDJSON whose first line is bad");
	ok(decode("{\"request_id\":\"a\n{\"request_id\":\"b\"}") == DECODE_OK && result.nevents == 1, "NDJSON with a string that does not end");
	ok(decode("oops\nno\n") == DECODE_BAD_BODY, "no line is JSON");

	ok(decode("[{\"request_id\":\"a\"},null,[],\"x\",{\"request_id\":\"\xff\"},{\"request_id\":\"b\"}]") == DECODE_OK, "an array with odd elements");
	is_int((int64_t) result.nevents, 2, "good ones");
	is_int((int64_t) result.nerrors_listed, 4, "odd ones");
	is_int(result.errors[3].index, 4, "index");
	is_str(result.errors[3].field, "request_id", "field");
	is_str(result.errors[3].reason, "invalid UTF-8", "reason");

	ok(decode_bytes("{\"request_id\":\"a\"}\0", 19) != DECODE_OK || result.nevents == 0, "NUL after an object");
	ok(decode_bytes("{\"request_id\":\"a\0b\"}", 20) == DECODE_OK && result.nevents == 0, "NUL in a string");
}

static void
test_limits(void)
{
	char	   *body = malloc(400000);
	char	   *p = body;

	options.max_events = 3;
	ok(decode("[{},{},{}]") == DECODE_OK && result.nrejected == 3, "as many events as allowed");
	ok(decode("[{},{},{},{}]") == DECODE_TOO_MANY && result.nevents == 0, "one more");
	ok(decode("{}\n{}\n{}\n{}") == DECODE_TOO_MANY, "one more line");
	options.max_events = DECODE_MAX_EVENTS;
	options.max_event_bytes = 30;
	refused("{\"request_id\":\"12345678901234567890\"}", "", "is too long");
	options.max_event_bytes = DECODE_MAX_EVENT_BYTES;

	for (int i = 0; i < 150; i++)
		p += sprintf(p, "{\"status_code\":%d}\n", i == 149 ? 200 : 99);
	ok(decode(body) == DECODE_OK && result.nrejected == 149, "149 refusals are counted");
	is_int((int64_t) result.nerrors_listed, DECODE_MAX_ERRORS, "the first hundred listed");
	is_int(result.errors[99].index, 99, "in order");
	options.max_errors = 147;
	ok(decode(body) == DECODE_OK && result.nrejected == 149 && result.nerrors_listed == 147, "or as many as asked for");
	is_int(result.errors[146].index, 146, "in order");
	options.max_errors = 0;
	is_int((int64_t) result.nevents, 1, "the good one kept");

	p = body + sprintf(body, "{\"model\":\"m\"");
	for (int i = 1; i < DECODE_MAX_FIELDS; i++)
		p += sprintf(p, ",\"x%d\":1", i);
	strcpy(p, "}");
	ok(decode(body) == DECODE_OK && result.nevents == 1, "256 fields");
	is_int((int64_t) result.nignored, DECODE_MAX_IGNORED, "32 unknown ones are named");
	strcpy(p, ",\"y\":1}");
	refused(body, "", "has too many fields");
	is_int((int64_t) result.ntoo_wide, 1, "... counted");
	options.max_fields = DECODE_MAX_FIELDS + 1;
	ok(decode(body) == DECODE_OK && result.nevents == 1, "unless more are allowed");
	strcpy(p, ",\"x137\":1}");
	refused(body, "x137", "is there twice");
	options.max_fields = 2;
	ok(decode("{\"model\":\"m\",\"x\":1}") == DECODE_OK && result.nevents == 1, "or fewer");
	refused("{\"model\":\"m\",\"x\":1,\"y\":1}", "", "has too many fields");
	options.max_fields = 0;
	p = body;
	for (int i = 0; i < 40; i++)
		p += sprintf(p, "{\"model\":\"m\",\"%c\":1,\"%s\":2}\n", 'a' + i % 26, i % 2 ? "z2" : "z3");
	ok(decode(body) == DECODE_OK && result.nevents == 40 && result.nignored == 28, "what stood in another event is nobody's repetition");
	free(body);

	facts.known = false;
	ok(decode("{}") == DECODE_NOT_READY, "the facts are not known");
	facts.known = true;
	arena_free(&arena);
	arena_init(&arena, 2000);
	{
		char		small[] = "{\"request_id\":\"a\",\"model\":\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\"}";
		enum decode_status status = DECODE_OK;

		for (int i = 0; i < 50 && status == DECODE_OK; i++)
			status = decode_events(&arena, small, strlen(small), &options, &result);
		ok(status == DECODE_NO_MEMORY && result.nevents == 0, "an arena that is full");
	}
	arena_free(&arena);
	arena_init(&arena, 0);
}

static void
test_fields(void)
{
	const struct event *e = accepted(
									 "{\"request_id\":\"id\",\"timestamp\":\"2025-01-31T11:00:00Z\",\"response_time_ms\":123.4567,"
									 "\"ttft_ms\":0.0005,\"input_tokens\":1000,\"output_tokens\":5e2,\"cache_read_tokens\":0,"
									 "\"reported_cost\":0.000123456789012,\"status_code\":200,\"streaming\":false,\"user_id\":\"u\","
									 "\"team_id\":\"\",\"method\":\"POST\",\"path\":\"/v1/messages?key=secret#x\",\"endpoint_type\":\"anthropic\","
									 "\"client_ip\":\"10.0.0.1\",\"model\":\"claude-3-opus\",\"metadata\":{\"a\":[1,2]},\"user_agent\":null}");

	ok(event_is_direct(e), "complete, with a time");
	is_int(e->ts_us, NOW_US - 3600 * INT64_C(1000000), "its time");
	ok(e->request_id_len == 2 && memcmp(e->request_id, "id", 2) == 0, "its id");
	column_number(e, EVENT_COL_response_time_us, 123457, "milliseconds to microseconds, rounded");
	column_number(e, EVENT_COL_ttft_us, 1, "half away from zero");
	column_number(e, EVENT_COL_input_tokens, 1000, "a count");
	column_number(e, EVENT_COL_output_tokens, 500, "a count in scientific notation");
	column_number(e, EVENT_COL_cache_read_tokens, 0, "zero is a value");
	column_number(e, EVENT_COL_reported_cost, 123456789, "dollars to picodollars, exact");
	column_number(e, EVENT_COL_status_code, 200, "a status");
	column_number(e, EVENT_COL_streaming, 0, "false is a value");
	column_text(e, EVENT_COL_user_id, "u", "text");
	column_text(e, EVENT_COL_team_id, NULL, "'' is absent");
	column_text(e, EVENT_COL_user_agent, NULL, "null is absent");
	column_text(e, EVENT_COL_path, "/v1/messages", "a path without its query");
	column_text(e, EVENT_COL_metadata, "\1{\"a\":[1,2]}", "metadata as it came");
	column_text(e, EVENT_COL_parts, NULL, "not made of parts");
	column_number(e, EVENT_COL_input_cost, INT64_C(15000000000), "priced: 1000 tokens at 15 USD per million");
	column_number(e, EVENT_COL_output_cost, INT64_C(37500000000), "500 at 75");
	column_text(e, EVENT_COL_cache_read_cost, NULL, "a part that is 0 is not stored");
	column_text(e, EVENT_COL_tool_cost, NULL, "nor are tools");
	column_number(e, EVENT_COL_price_id, 1, "the price is named");

	e = accepted("{\"request_id\":\"x\",\"model\":\"no-such-model\",\"input_tokens\":5}");
	column_text(e, EVENT_COL_input_cost, NULL, "an unknown model costs NULL");
	column_text(e, EVENT_COL_price_id, NULL, "and has no price");
	e = accepted("{\"request_id\":\"x\",\"model\":\"gpt-4\",\"status_code\":500}");
	column_text(e, EVENT_COL_input_cost, NULL, "no tokens, no cost");
	e = accepted("{\"request_id\":\"x\",\"model\":\"gpt-4\",\"input_tokens\":5,\"kind\":\"token_usage\"}");
	column_text(e, EVENT_COL_input_cost, NULL, "parts are priced by the server");
	is_int(e->kind, EVENT_KIND_TOKEN_USAGE, "kind");
	ok(!event_is_direct(e), "a part is merged");
	options.prices = NULL;
	e = accepted("{\"request_id\":\"x\",\"model\":\"claude-3-opus\",\"input_tokens\":1}");
	column_text(e, EVENT_COL_input_cost, NULL, "so is everything while there are no prices");
	options.prices = price_shipped_catalogue();

	e = accepted("{\"request_id\":\"x\",\"total_cost\":1.5}");
	column_number(e, EVENT_COL_reported_cost, INT64_C(1500000000000), "total_cost is the reported cost");
	e = accepted("{\"request_id\":\"x\",\"total_cost\":1.5,\"reported_cost\":0.5}");
	column_number(e, EVENT_COL_reported_cost, INT64_C(500000000000), "unless that is there");
	e = accepted("{\"request_id\":\"x\",\"total_tokens\":7,\"state\":\"failed\",\"input_cost\":1,\"price_id\":3,\"Model\":\"m\",\"b\\u00fc\":1,\"b\":2}");
	is_int((int64_t) result.nignored, 3, "derived fields are no news, unknown ones are; case matters");
	is_str(result.ignored[0], "Model", "named");
	is_str(result.ignored[1], "", "but only in ASCII");
	is_int((int64_t) result.nmade_ids, 0, "no id was made");
}

static void
test_text(void)
{
	const struct event *e;
	char	   *body = malloc(200000);
	int32_t		len;

	e = accepted("{\"request\\u005fid\":\"a\\u00e9\\n\\\"\\ud83d\\ude00\",\"error_message\":\"line\\nline\",\"model\":\"plain\"}");
	column_text(e, EVENT_COL_request_id, "a\xc3\xa9\n\"\xf0\x9f\x98\x80", "escapes in key and value");
	column_text(e, EVENT_COL_error_message, "line\nline", "a line break");
	column_text(e, EVENT_COL_model, "plain", "text without any");
	refused("{\"request_id\":\"a\\u0000b\"}", "request_id", "contains \\u0000");
	refused("{\"model\":\"\\ud800\"}", "model", "unpaired surrogate escape");
	refused("{\"model\":\"a\tb\"}", "model", "raw control character");
	refused("{\"metadata\":{\"a\":\"\\u0000\"}}", "metadata", "contains \\u0000");
	refused("{\"metadata\":{\"a\":1e999}}", "metadata", "number out of range");

	sprintf(body, "{\"request_id\":\"%0256d\"}", 0);
	e = accepted(body);
	is_int(e->request_id_len, 256, "256 bytes of id");
	sprintf(body, "{\"request_id\":\"%0257d\"}", 0);
	refused(body, "request_id", "is too long");
	sprintf(body, "{\"request_id\":\"x\",\"error_message\":\"%08191d\xc3\xa4\"}", 0);
	e = accepted(body);
	(void) column(e, EVENT_COL_error_message, &len);
	is_int(len, 8191, "longer text is cut between characters");
	sprintf(body, "{\"request_id\":\"x\",\"metadata\":{\"a\":\"%065528d\"}}", 0);
	e = accepted(body);
	(void) column(e, EVENT_COL_metadata, &len);
	is_int(len, 65537, "64 KiB of metadata");
	sprintf(body, "{\"request_id\":\"x\",\"metadata\":{\"a\":\"%065529d\"}}", 0);
	refused(body, "metadata", "is too long");
	{
		char	   *p = body + sprintf(body, "{\"metadata\":");

		for (int i = 0; i < 64; i++)
			p += sprintf(p, "{\"a\":");
		p += sprintf(p, "1");
		for (int i = 0; i < 65; i++)
			*p++ = '}';
		*p = '\0';
		refused(body, "metadata", "nested deeper");
	}
	free(body);
}

static void
test_refusals(void)
{
	refused("{\"request_id\":5}", "request_id", "must be a string");
	refused("{\"request_id\":\"a\",\"model\":[]}", "model", "must be a string");
	refused("{\"request_id\":\"a\",\"model\":\"x\",\"model\":\"y\"}", "model", "is there twice");
	refused("{\"request_id\":\"a\",\"mod\\u0065l\":\"x\",\"model\":null}", "model", "is there twice");
	refused("{\"q\":1,\"w\":2,\"q\":1}", "q", "is there twice");
	refused("{\"input_tokens\":-1}", "input_tokens", "is out of range");
	refused("{\"input_tokens\":-0.2}", "input_tokens", "is out of range");
	refused("{\"input_tokens\":1.5}", "input_tokens", "must be a whole number");
	refused("{\"input_tokens\":\"5\"}", "input_tokens", "must be a whole number");
	refused("{\"input_tokens\":true}", "input_tokens", "must be a whole number");
	refused("{\"input_tokens\":1000000000001}", "input_tokens", "is out of range");
	refused("{\"input_tokens\":9007199254740993}", "input_tokens", "is out of range");
	refused("{\"input_tokens\":99999999999999999999}", "input_tokens", "is out of range");
	refused("{\"input_tokens\":1e308}", "input_tokens", "is out of range");
	refused("{\"input_tokens\":1e999}", "input_tokens", "number out of range");
	refused("{\"response_time_ms\":-1}", "response_time_ms", "is out of range");
	refused("{\"response_time_ms\":-0.0001}", "response_time_ms", "is out of range");
	refused("{\"response_time_ms\":1e13}", "response_time_ms", "is out of range");
	refused("{\"response_time_ms\":{}}", "response_time_ms", "must be a number");
	refused("{\"reported_cost\":1000001}", "reported_cost", "is out of range");
	refused("{\"total_cost\":-1}", "total_cost", "is out of range");
	refused("{\"status_code\":99}", "status_code", "is out of range");
	refused("{\"status_code\":600}", "status_code", "is out of range");
	refused("{\"status_code\":200.5}", "status_code", "must be a whole number");
	refused("{\"streaming\":1}", "streaming", "must be true or false");
	refused("{\"client_ip\":\"10.0.0.0/8\"}", "client_ip", "is not an IP address");
	refused("{\"client_ip\":\"fe80::1%eth0\"}", "client_ip", "is not an IP address");
	refused("{\"metadata\":[]}", "metadata", "must be an object");
	refused("{\"metadata\":\"{}\"}", "metadata", "must be an object");
	refused("{\"kind\":\"end\"}", "kind", "must be request");
	refused("{\"kind\":1}", "kind", "must be request");
	refused("{\"api_key\":1}", "api_key", "must be a string");
	(void) accepted("{\"request_id\":\"a\",\"input_tokens\":-0,\"response_time_ms\":0.0,\"status_code\":2e2}");
	(void) accepted("{\"request_id\":\"a\",\"input_tokens\":1000000000000,\"response_time_ms\":1e12,\"reported_cost\":1e6,\"client_ip\":\"\"}");
}

static void
test_times(void)
{
	const struct event *e;

	e = accepted("{\"request_id\":\"a\"}");
	ok(!e->has_ts && e->ts_us == NOW_US && !event_is_direct(e), "no time: that of receipt, merged");
	e = accepted("{\"request_id\":\"a\",\"timestamp\":1738324800123}");
	is_int(e->ts_us, NOW_US + 123000, "epoch milliseconds");
	e = accepted("{\"request_id\":\"a\",\"timestamp\":\"2025-01-31 14:00:00+02\"}");
	is_int(e->ts_us, NOW_US, "text");
	e = accepted("{\"request_id\":\"a\",\"ts\":\"2025-01-31 14:00:00+02\"}");
	ok(e->ts_us == NOW_US && event_is_direct(e), "ts is another name of timestamp");
	is_int((int64_t) result.nignored, 0, "and known");
	e = accepted("{\"ts\":null,\"request_id\":\"a\",\"timestamp\":1738324800123}");
	is_int(e->ts_us, NOW_US + 123000, "null is none");
	refused("{\"ts\":1738324800,\"request_id\":\"a\",\"timestamp\":1738324800}", "timestamp", "is there twice");
	refused("{\"timestamp\":1738324800,\"request_id\":\"a\",\"ts\":1738324800}", "timestamp", "is there twice");
	refused("{\"ts\":null,\"ts\":1738324800}", "ts", "is there twice");
	refused("{\"ts\":\"yesterday\"}", "ts", "is not an RFC 3339 time");
	refused("{\"timestamp\":\"yesterday\"}", "timestamp", "is not an RFC 3339 time");
	refused("{\"timestamp\":true}", "timestamp", "must be a string or a number");
	refused("{\"timestamp\":1e300}", "timestamp", "is out of range");
	refused("{\"timestamp\":\"1999-12-31T23:59:59Z\"}", "timestamp", "is out of range");
	facts.retention_us = 10 * DAY_US;
	refused("{\"timestamp\":\"2025-01-21T11:59:59Z\"}", "timestamp", "is older than the retention");
	(void) accepted("{\"request_id\":\"a\",\"timestamp\":\"2025-01-21T12:00:00Z\"}");
	facts.retention_us = 0;
	(void) accepted("{\"request_id\":\"a\",\"timestamp\":\"2000-01-01T00:00:00Z\"}");

	e = accepted("{\"request_id\":\"a\",\"timestamp\":\"2025-01-31T12:05:00Z\"}");
	is_int(e->ts_us, NOW_US + 300 * INT64_C(1000000), "five minutes ahead are believed");
	is_int((int64_t) result.nahead, 0, "and not counted");
	e = accepted("{\"request_id\":\"a\",\"timestamp\":\"2025-01-31T12:05:01Z\"}");
	ok(e->ts_us == NOW_US && !e->has_ts, "more is not: as if it had none");
	is_int((int64_t) result.nahead, 1, "and counted");
	column_text(e, EVENT_COL_metadata, "\1{\"claimed_timestamp\":\"2025-01-31T12:05:01Z\"}", "the claim is kept");
	e = accepted("{\"request_id\":\"a\",\"timestamp\":99999999999,\"metadata\":{ \"a\" : 1}}");
	column_text(e, EVENT_COL_metadata, "\1{ \"a\" : 1,\"claimed_timestamp\":\"99999999999\"}", "beside other metadata");
	e = accepted("{\"request_id\":\"a\",\"timestamp\":99999999999,\"metadata\":{ }}");
	column_text(e, EVENT_COL_metadata, "\1{ \"claimed_timestamp\":\"99999999999\"}", "or none");
}

static void
test_privacy(void)
{
	/* HMAC-SHA-256 with the secret of RFC 4231's test case 1 */
	const char *const hi_there = "\xb0\x34\x4c\x61\xd8\xdb\x38\x53\x5c\xa8\xaf\xce\xaf\x0b\xf1\x2b";
	const char *const hi_there_hex = "b0344c61d8db38535ca8afceaf0bf12b";
	const struct event *e;

	e = accepted("{\"request_id\":\"a\",\"api_key\":\"Hi There\"}");
	column_text(e, EVENT_COL_api_key_hash, hi_there, "a key is hashed");
	e = accepted("{\"request_id\":\"a\",\"authorization\":\"Bearer Hi There\"}");
	column_text(e, EVENT_COL_api_key_hash, hi_there, "a header without its scheme word is the same key");
	e = accepted("{\"request_id\":\"a\",\"api_key_hash\":\"Hi There\"}");
	column_text(e, EVENT_COL_api_key_hash, hi_there, "a producer's own hash is hashed again");
	e = accepted("{\"api_key_hash\":\"x\",\"authorization\":\"y\",\"request_id\":\"a\",\"api_key\":\"Hi There\"}");
	column_text(e, EVENT_COL_api_key_hash, hi_there, "api_key goes first");
	e = accepted("{\"api_key_hash\":\"x\",\"authorization\":\"Bearer Hi There\",\"request_id\":\"a\",\"api_key\":\"\"}");
	column_text(e, EVENT_COL_api_key_hash, hi_there, "then authorization");
	ok(decode("[{\"api_key\":\"1\"},{\"api_key\":\"2\"},{\"api_key\":\"1\"},{\"api_key\":\"Hi There\"}]") == DECODE_OK && result.nevents == 4,
	   "several keys");
	column_text(&result.events[3], EVENT_COL_api_key_hash, hi_there, "each its own hash");

	options.hash_user_ids = options.drop_client_ip = options.drop_user_agent = options.drop_error_message = true;
	e = accepted("{\"request_id\":\"a\",\"user_id\":\"Hi There\",\"client_ip\":\"1.2.3.4\",\"user_agent\":\"x\",\"error_message\":\"y\"}");
	column_text(e, EVENT_COL_user_id, hi_there_hex, "user ids are hashed on request");
	column_text(e, EVENT_COL_client_ip, NULL, "addresses dropped");
	column_text(e, EVENT_COL_user_agent, NULL, "user agents");
	column_text(e, EVENT_COL_error_message, NULL, "error messages");
	options.hash_user_ids = options.drop_client_ip = options.drop_user_agent = options.drop_error_message = false;
}

static void
test_ids(void)
{
	ok(decode("[{\"model\":\"a\"},{\"request_id\":\"b\"},{\"request_id\":\"\",\"model\":\"c\"},{\"request_id\":null,\"model\":\"d\"}]") == DECODE_OK &&
	   result.nmade_ids == 3, "ids are made where there are none");
	is_int(result.made_ids[1].index, 2, "told by index");
	ok(strlen(result.made_ids[0].request_id) == 36 && strcmp(result.made_ids[0].request_id, result.made_ids[1].request_id) != 0,
	   "each its own");
	ok(result.events[0].request_id_len == 36 && memcmp(result.events[0].request_id, result.made_ids[0].request_id, 36) == 0,
	   "and stored");
}

/* The order of keys is guessed from the event before; any order must do. */
static void
test_key_order(void)
{
	ok(decode("[{\"request_id\":\"a\",\"model\":\"m1\",\"user_id\":\"u1\"},{\"user_id\":\"u2\",\"request_id\":\"b\",\"model\":\"m2\"},"
			  "{\"model\":\"m3\"},{\"z\":1,\"model\":\"m4\",\"request_id\":\"c\",\"user_id\":\"u4\"}]") == DECODE_OK && result.nevents == 4,
	   "keys in any order");
	column_text(&result.events[1], EVENT_COL_user_id, "u2", "user of the second");
	column_text(&result.events[1], EVENT_COL_model, "m2", "model of the second");
	column_text(&result.events[2], EVENT_COL_model, "m3", "model of the third");
	column_text(&result.events[3], EVENT_COL_user_id, "u4", "user of the fourth");
	column_text(&result.events[3], EVENT_COL_model, "m4", "model of the fourth");
}

int
main(void)
{
	/* a comma between units and fractions, which nothing may care about */
	ok(setlocale(LC_ALL, "de_DE.UTF-8") != NULL && strcmp(localeconv()->decimal_point, ",") == 0, "a locale with a decimal comma");
	facts.known = true;
	facts.hash_secret_len = 20;
	memset(facts.hash_secret, 0x0b, 20);
	options = (struct decode_options) {.facts = &facts, .prices = price_shipped_catalogue(), .now_us = NOW_US, .max_events = DECODE_MAX_EVENTS,
	.max_event_bytes = DECODE_MAX_EVENT_BYTES};
	arena_init(&arena, 0);

	for (int pass = 0; pass < 2; pass++)
	{
		options.always_cjson = pass == 1;
		test_bodies();
		test_limits();
		test_fields();
		test_text();
		test_refusals();
		test_times();
		test_privacy();
		test_ids();
		test_key_order();
	}
	arena_free(&arena);
	return done_testing();
}
