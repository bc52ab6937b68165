/*
 * Binary COPY, key hashes, arenas, classes of errors: bytes against bytes.
 */
#include <stdlib.h>

#include "gateway/arena.h"
#include "gateway/copy.h"
#include "gateway/keyhash.h"
#include "gateway/pgerror.h"
#include "gateway/rejected.h"
#include "gateway/timestamp.h"
#include "gateway/uuid.h"
#include "test/unit/tap.h"

static void
same_bytes(const void *got, size_t got_len, const void *expected, size_t len, const char *name)
{
	if (!ok(got_len == len && memcmp(got, expected, len) == 0, name))
	{
		printf("# got %zu bytes:", got_len);
		for (size_t i = 0; i < got_len; i++)
			printf(" %02x", ((const unsigned char *) got)[i]);
		printf("\n");
	}
}

static struct copy_value values[EVENT_COLUMNS];

static void
set_text(int column, const char *text)
{
	values[column] = (struct copy_value) {true, (uint32_t) strlen(text), text, 0};
}

static void
set_number(int column, int64_t number)
{
	values[column] = (struct copy_value) {true, 0, NULL, number};
}

/* The i-th field of a row, which starts with the column after ts. */
static const uint8_t *
field_of(const uint8_t *row, int column, int32_t *len)
{
	for (int i = EVENT_COL_ts + 1;; i++)
	{
		*len = (int32_t) ((uint32_t) row[0] << 24 | (uint32_t) row[1] << 16 | (uint32_t) row[2] << 8 | row[3]);
		row += 4;
		if (i == column)
			return row;
		row += *len > 0 ? *len : 0;
	}
}

static void
field_is(const uint8_t *row, int column, const void *expected, size_t expected_len, const char *name)
{
	int32_t		len;
	const uint8_t *field = field_of(row, column, &len);

	same_bytes(field, len < 0 ? 0 : (size_t) len, expected, expected_len, name);
}

static void
test_row(void)
{
	char		inet[COPY_INET_BYTES_MAX];
	const char *request_id;
	uint8_t    *row;
	size_t		size;
	int32_t		len;

	memset(values, 0, sizeof(values));
	size = copy_row_size(values);
	is_int((int64_t) size, (EVENT_COLUMNS - 1) * 4, "a row of NULLs is lengths only");

	set_number(EVENT_COL_input_tokens, 0x0102030405060708);
	set_number(EVENT_COL_status_code, 599);
	set_number(EVENT_COL_price_id, 0x01020304);
	set_number(EVENT_COL_streaming, 1);
	set_text(EVENT_COL_request_id, "r\xc3\xa4");
	set_text(EVENT_COL_metadata, "{}");
	values[EVENT_COL_client_ip] = (struct copy_value) {true, copy_inet("192.168.0.1", 11, inet), inet, 0};
	size = copy_row_size(values);
	row = malloc(size);
	copy_row_encode(values, row, &request_id);
	field_is(row, EVENT_COL_input_tokens, "\1\2\3\4\5\6\7\x8", 8, "bigint");
	field_is(row, EVENT_COL_status_code, "\x02\x57", 2, "smallint");
	field_is(row, EVENT_COL_price_id, "\1\2\3\4", 4, "the domain over integer");
	field_is(row, EVENT_COL_streaming, "\1", 1, "boolean");
	field_is(row, EVENT_COL_request_id, "r\xc3\xa4", 3, "text");
	field_is(row, EVENT_COL_metadata, "\1{}", 3, "jsonb with its version");
	field_is(row, EVENT_COL_client_ip, "\x02\x20\x00\x04\xc0\xa8\x00\x01", 8, "inet");
	(void) field_of(row, EVENT_COL_model, &len);
	is_int(len, -1, "NULL");
	ok(memcmp(request_id, "r\xc3\xa4", 3) == 0, "where the id stands");
	field_of(row, EVENT_COLUMNS - 1, &len);
	ok(field_of(row, EVENT_COLUMNS - 1, &len) + len == row + size, "the size was right");

	{
		struct event event = {.kind = EVENT_KIND_RESPONSE, .has_ts = false, .ts_us = PG_EPOCH_US + 1,
		.row = row, .row_len = (uint32_t) size};
		struct copy_buffer b = {0};

		copy_begin(&b);
		copy_put_row(&b, &event);
		ok(copy_end(&b), "a COPY");
		same_bytes(b.data, 19, "PGCOPY\n\377\r\n\0\0\0\0\0\0\0\0\0", 19, "header");
		same_bytes(b.data + 19, 14, "\0\x24\0\0\0\x8\0\0\0\0\0\0\0\1", 14, "field count and time");
		is_int((int64_t) b.len, (int64_t) (19 + 14 + size + 2), "length");
		same_bytes(b.data + b.len - 2, 2, "\377\377", 2, "trailer");
		copy_begin(&b);
		copy_put_staged(&b, &event, 7);
		ok(copy_end(&b), "a staged COPY");
		same_bytes(b.data + 19, 32,
				   "\0\x27" "\0\0\0\4\0\0\0\7" "\0\0\0\2\0\2" "\377\377\377\377" "\0\0\0\x8\0\0\0\0\0\0\0\1", 32,
				   "ord, kind, no time of its own, time");
		event.has_ts = true;
		copy_begin(&b);
		copy_put_staged(&b, &event, 7);
		same_bytes(b.data + 35, 12, "\0\0\0\x8\0\0\0\0\0\0\0\1", 12, "a time of its own");
		/* grows */
		copy_begin(&b);
		for (int i = 0; i < 10000; i++)
			copy_put_row(&b, &event);
		ok(copy_end(&b) && b.len == 19 + 10000 * (14 + size) + 2, "ten thousand rows");
		copy_buffer_free(&b);
	}
	free(row);
	ok(strncmp(copy_column_list(), "ts, response_time_us, ttft_us, ", 31) == 0, "columns, from the first");
	has_str(copy_column_list(), ", error_message, metadata", "... to the last");
}

static void
test_inet(void)
{
	char		out[COPY_INET_BYTES_MAX];
	static const char *const wrong[] = {
		"", "1", "1.2.3", "1.2.3.256", "1.2.3.4/32", "1.2.3.4 ", " 1.2.3.4", "::1%eth0", "[::1]", "1.2.3.4:80", "::g",
		"0000:0000:0000:0000:0000:0000:0000:0000:0000:0000", "localhost",
	};

	same_bytes(out, copy_inet("2001:db8::1", 11, out), "\3\x80\0\x10\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\1", 20, "IPv6");
	is_int(copy_inet("::ffff:1.2.3.4", 14, out), 20, "IPv4 in IPv6");
	is_int(copy_inet("1.2.3.4\0x", 9, out), 0, "NUL inside");
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		is_int(copy_inet(wrong[i], strlen(wrong[i]), out), 0, wrong[i]);
}

static void
test_keyhash(void)
{
	static const char question[] = "what do ya want for nothing?";
	struct keyhash_cache cache;
	uint8_t		secret[20];
	char		hex[KEYHASH_HEX_CHARS];

	/* RFC 4231, test cases 1 and 2 */
	memset(secret, 0x0b, sizeof(secret));
	keyhash_cache_init(&cache, secret, 20);
	keyhash_hex(keyhash_cached(&cache, "Hi There", 8), hex);
	same_bytes(hex, sizeof(hex), "b0344c61d8db38535ca8afceaf0bf12b", 32, "is HMAC-SHA-256's first half");
	keyhash_cache_free(&cache);
	keyhash_cache_init(&cache, (const uint8_t *) "Jefe", 4);
	for (int i = 0; i < 3; i++)
	{
		keyhash_hex(keyhash_cached(&cache, question, 28), hex);
		same_bytes(hex, sizeof(hex), "5bdcc146bf60754e6a042426089575c7", 32, "at first, again, and remembered");
		if (i == 0)
			memset(cache.texts, 0, sizeof(cache.texts));
	}
	keyhash_hex(keyhash_cached(&cache, question, 27), hex);
	ok(memcmp(hex, "5bdcc146bf60754e6a042426089575c7", 32) != 0, "another text has another hash");
	keyhash_cache_free(&cache);
	is_int((int64_t) keyhash_scheme_len("Bearer sk-1", 11), 7, "scheme word");
	is_int((int64_t) keyhash_scheme_len("Bearer   sk-1", 13), 9, "and the blanks after it");
	is_int((int64_t) keyhash_scheme_len("sk-1", 4), 0, "no scheme word");
	is_int((int64_t) keyhash_scheme_len("Bearer ", 7), 7, "no key");
}

static void
test_arena(void)
{
	struct arena a;
	char	   *p;

	arena_init(&a, 0);
	p = arena_alloc(&a, 1);
	ok(p != NULL && (uintptr_t) p % 16 == 0, "aligned");
	p = arena_alloc(&a, 3);
	ok((uintptr_t) p % 16 == 0, "aligned again");
	p = arena_alloc(&a, 10000000);
	ok(p != NULL, "larger than a block");
	memset(p, 1, 10000000);
	is_str(arena_strndup(&a, "abcdef", 3), "abc", "a copy");
	ok(arena_alloc(&a, SIZE_MAX) == NULL && arena_alloc(&a, SIZE_MAX - 20) == NULL, "absurd sizes");
	arena_free(&a);
	arena_init(&a, 10000);
	for (int i = 0; i < 100 && arena_alloc(&a, 100) != NULL; i++)
		;
	ok(a.total <= 10000 && a.total > 4000, "a limit is kept");
	ok(arena_alloc(&a, 9000) == NULL, "and refused beyond");
	arena_free(&a);
	ok(arena_alloc(&a, 100) != NULL, "and usable again");
	arena_free(&a);
}

static void
test_errors(void)
{
	is_int(pgerror_classify("23505", "ingest_batch_pkey"), PGERROR_BATCH_KNOWN, "a replayed batch");
	is_int(pgerror_classify("23505", "request_log_p20250131_ts_request_id_key"), PGERROR_DUPLICATE, "a duplicate row");
	is_int(pgerror_classify("23514", NULL), PGERROR_NO_PARTITION, "no partition");
	is_int(pgerror_classify("23514", "some_check"), PGERROR_POISON, "a failed check");
	is_int(pgerror_classify("22P05", NULL), PGERROR_POISON, "an untranslatable character");
	is_int(pgerror_classify("23502", NULL), PGERROR_POISON, "not null");
	is_int(pgerror_classify("54000", NULL), PGERROR_POISON, "too large a value");
	is_int(pgerror_classify("P0001", NULL), PGERROR_POISON, "a trigger that refuses");
	is_int(pgerror_classify("45000", NULL), PGERROR_POISON, "... in the standard's words");
	is_int(pgerror_classify("U0001", NULL), PGERROR_POISON, "... in its own");
	is_int(pgerror_classify("99999", NULL), PGERROR_POISON, "... and in figures");
	is_int(pgerror_classify("58030", NULL), PGERROR_TRANSIENT, "an I/O error is the server's");
	is_int(pgerror_classify("P0002", NULL), PGERROR_TRANSIENT, "so is what PL/pgSQL says");
	is_int(pgerror_classify("HV000", NULL), PGERROR_TRANSIENT, "and what the standard knows");
	is_int(pgerror_classify("40P01", NULL), PGERROR_RETRY, "deadlock");
	is_int(pgerror_classify("40001", NULL), PGERROR_RETRY, "serialisation");
	is_int(pgerror_classify("28P01", NULL), PGERROR_OPERATOR, "wrong password");
	is_int(pgerror_classify("42501", NULL), PGERROR_OPERATOR, "missing grant");
	is_int(pgerror_classify("42P01", NULL), PGERROR_OPERATOR, "missing table");
	is_int(pgerror_classify("3D000", NULL), PGERROR_OPERATOR, "missing database");
	is_int(pgerror_classify("53100", NULL), PGERROR_TRANSIENT, "disk full");
	is_int(pgerror_classify("57014", NULL), PGERROR_TRANSIENT, "statement timeout");
	is_int(pgerror_classify("25006", NULL), PGERROR_TRANSIENT, "read-only server");
	is_int(pgerror_classify("57P01", NULL), PGERROR_TRANSIENT, "shutdown");
	is_int(pgerror_classify("XX000", NULL), PGERROR_TRANSIENT, "internal error");
	is_int(pgerror_classify("", NULL), PGERROR_TRANSIENT, "no state at all");
	ok(pgerror_needs_reconnect("25006") && pgerror_needs_reconnect("25P03") && pgerror_needs_reconnect("57P01") && pgerror_needs_reconnect(NULL), "reconnect");
	ok(!pgerror_needs_reconnect("53100") && !pgerror_needs_reconnect("57014"), "stay");
}

static void
reason_is(const char *sqlstate, const char *message, const char *constraint, const char *expected)
{
	struct pgfailure failure = {0};
	char		reason[80];

	snprintf(failure.sqlstate, sizeof(failure.sqlstate), "%s", sqlstate);
	snprintf(failure.message, sizeof(failure.message), "%s", message);
	snprintf(failure.constraint, sizeof(failure.constraint), "%s", constraint);
	rejected_reason(&failure, reason, sizeof(reason));
	is_str(reason, expected, expected);
}

static void
test_rejected_reasons(void)
{
	reason_is("22003", "integer out of range", "", "integer out of range");
	reason_is("22P02", "invalid input syntax for type x: \"secret\" is \"odd\"", "", "invalid input syntax for type x: \"\" is \"\"");
	reason_is("22P02", "cut within: \"secr", "", "cut within: \"");
	reason_is("23514", "new row for relation \"r\" violates check constraint \"c\"", "c",
			  "new row for relation \"\" violates check constraint \"\" (constraint c)");
	reason_is("P0001", "secret", "", "an exception was raised by a trigger");
	reason_is("U0001", "secret", "", "an exception was raised by a trigger");
	reason_is("22000", "01234567890123456789012345678901234567890123456789012345678901234567890123456789", "c",
			  "012345678901234567890123456789012345678901234567890123456789012345678901234567 ");
}

static void
test_uuid(void)
{
	char		a[UUID_TEXT_CHARS + 1];
	char		b[UUID_TEXT_CHARS + 1];

	ok(uuid_random(a) && uuid_random(b), "two ids");
	ok(strlen(a) == 36 && a[8] == '-' && a[13] == '-' && a[18] == '-' && a[23] == '-', "their form");
	ok(a[14] == '4' && strchr("89ab", a[19]) != NULL, "version 4");
	ok(strcmp(a, b) != 0, "they differ");
}

int
main(void)
{
	test_row();
	test_inet();
	test_keyhash();
	test_arena();
	test_errors();
	test_rejected_reasons();
	test_uuid();
	return done_testing();
}
