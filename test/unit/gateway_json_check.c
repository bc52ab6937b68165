/*
 * The JSON check: what is JSON, what is an error, what is only a fault, where
 * an object's members are.
 */
#include <stdlib.h>

#include "gateway/json_check.h"
#include "test/unit/tap.h"

#define MAX_MEMBERS 8

static struct json_member members[MAX_MEMBERS];
static struct json_scan scan;

/* Scans a copy of exactly len bytes, so that a sanitizer sees any over-read. */
static bool
scan_bytes(const char *text, size_t len)
{
	static char *copy;
	bool		result;

	free(copy);
	copy = malloc(len + (len == 0));
	memcpy(copy, text, len);
	scan = (struct json_scan) {.members = members, .max_members = MAX_MEMBERS};
	result = json_scan_value(copy, copy + len, &scan);
	if (result && json_skip_space(scan.end, copy + len) != copy + len)
	{
		scan.error = "text after the value";
		return false;
	}
	return result;
}

static bool
scan_text(const char *text)
{
	return scan_bytes(text, strlen(text));
}

static void
good(const char *text)
{
	bool		passed = scan_text(text) && scan.fault == NULL;

	if (!ok(passed, text))
		printf("# error %s, fault %s\n", scan.error ? scan.error : "-", scan.fault ? scan.fault : "-");
}

static void
bad(const char *text)
{
	ok(!scan_text(text) && scan.error != NULL, text);
}

static void
faulty(const char *text, const char *fault)
{
	if (!ok(scan_text(text), "a fault is no error"))
		printf("# %s: %s\n", text, scan.error);
	is_str(scan.fault, fault, "... and told");
}

static void
test_values(void)
{
	static const char *const values[] = {
		"null", "true", "false", "0", "-0", "1", "-12.5", "1e3", "1E+3", "0.5e-3", "\"\"", "\"a\"",
		"\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u00e9\"", "\"\\ud83d\\ude00\"", "\"gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x98\x80\"",
		"[]", "{}", "[1]", "[[],{},[[]]]", " \t\r\n{ \"a\" : [ 1 , 2 ] , \"b\" : { } } ",
		"{\"a\":{\"b\":{\"c\":[{\"d\":null}]}}}", "\"\x7f\"", "\"12345678901234567890\"",
	};
	static const char *const errors[] = {
		"", " ", "nul", "nulll", "True", "tru", "NaN", "Infinity", "-", "+1", "01", "-01", "1.", ".5", "1.e3", "1e", "1e+",
		"0x10", "1 2", "\"", "\"abc", "\"\\", "\"\\\"", "\"\\x\"", "\"\\u12\"", "\"\\u12G4\"", "\"\\u", "'a'",
		"[", "]", "[1", "[1,", "[1,]", "[,1]", "[1 2]", "[1}", "{", "}", "{1:2}", "{\"a\"", "{\"a\":", "{\"a\":1", "{\"a\":1,",
		"{\"a\":1,}", "{,}", "{\"a\" 1}", "{\"a\":1 \"b\":2}", "{\"a\":1]", "{a:1}", "[1]]", "{}}", "{\"a\":}", "[:]",
		"// comment", "[1/**/]", "{\"a\":1}x", "\xef\xbb\xbf{}", "[\"a\" \"b\"]",
	};

	for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++)
		good(values[i]);
	for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++)
		bad(errors[i]);
	ok(!scan_bytes("[1\0]", 4), "NUL between values");
	ok(scan_bytes("[\"a\0b\"]", 7) && scan.fault != NULL, "NUL in a string is a fault");
}

static void
test_faults(void)
{
	static const char *const bad_utf8[] = {
		"\"\x80\"", "\"\xc3\"", "\"\xc0\xaf\"", "\"\xe0\x80\xaf\"", "\"\xed\xa0\x80\"", "\"\xf0\x80\x80\xaf\"",
		"\"\xf4\x90\x80\x80\"", "\"\xff\"", "\"\xe2\x82\"", "\"\xf0\x9f\x98\"", "\"\xc3\\n\"",
	};

	for (size_t i = 0; i < sizeof(bad_utf8) / sizeof(bad_utf8[0]); i++)
		faulty(bad_utf8[i], "invalid UTF-8");
	faulty("\"a\\u0000b\"", "contains \\u0000");
	faulty("\"\\ud800\"", "unpaired surrogate escape");
	faulty("\"\\udc00\"", "unpaired surrogate escape");
	faulty("\"\\ud800\\ud800\"", "unpaired surrogate escape");
	faulty("\"\\ud800x\"", "unpaired surrogate escape");
	faulty("\"a\nb\"", "raw control character in a string");
	faulty("\"\x1f\"", "raw control character in a string");
	faulty("1e309", "number out of range");
	faulty("1e999", "number out of range");
	faulty("-1e-999999999999999999999", "number out of range");
	faulty("1111111111222222222233333333334444444444555555555566666666667777", "number out of range");
	good("1e308");
	good("111111111122222222223333333333444444444455555555556666666666777");
}

/* n times open, then n times close. */
static bool
scan_nested(size_t n, const char *open, const char *close)
{
	char	   *text = malloc(n * (strlen(open) + strlen(close)) + 1);
	bool		result;

	text[0] = '\0';
	for (size_t i = 0; i < n; i++)
		memcpy(text + i * strlen(open), open, strlen(open) + 1);
	for (size_t i = 0; i < n; i++)
		strcpy(text + n * strlen(open) + i, close);
	result = scan_text(text);
	free(text);
	return result;
}

static void
test_depth(void)
{
	ok(scan_nested(JSON_MAX_DEPTH, "[", "]") && scan.fault == NULL, "64 levels");
	ok(scan_nested(JSON_MAX_DEPTH + 1, "[", "]") && scan.fault != NULL, "65 levels are a fault");
	ok(scan_nested(JSON_MAX_SKIP_DEPTH, "[", "]") && scan.fault != NULL, "1024 levels can be skipped");
	ok(!scan_nested(JSON_MAX_SKIP_DEPTH + 1, "[", "]"), "1025 are an error");
	ok(!scan_nested(1000000, "[", "]"), "a million are an error");
	ok(scan_nested(63, "[{\"a\":", "}]") == false, "crossed brackets");
	ok(!scan_text("[[[{\"a\":[}]]]]"), "crossed deep inside");
}

static void
test_members(void)
{
	ok(scan_text(" {\"a\": 1.5, \"b\\n\":\"x\\ty\", \"c\":{\"d\":[1,{}]} ,\"e\":[],\"f\":\"\",\"g\":null} ") && scan.fault == NULL,
	   "an object");
	is_int(scan.type, JSON_OBJECT, "its type");
	is_int((int64_t) scan.nmembers, 6, "members");
	ok(members[0].type == JSON_NUMBER && members[0].value_len == 3 && memcmp(members[0].value, "1.5", 3) == 0, "a number's text");
	ok(members[1].type == JSON_STRING && members[1].key_escaped && members[1].value_escaped && members[1].value_len == 4,
	   "a string's text without its quotes, escapes noted");
	ok(members[2].type == JSON_OBJECT && members[2].value_len == 12 && members[2].value[11] == '}', "an object's text");
	ok(members[3].type == JSON_ARRAY && members[3].value_len == 2, "an empty array's text");
	ok(members[4].type == JSON_STRING && members[4].value_len == 0, "an empty string");
	ok(members[5].type == JSON_NULL && members[5].key_len == 1, "null");
	ok(scan_text("{\"a\":1,\"b\":2,\"c\":3,\"d\":4,\"e\":5,\"f\":6,\"g\":7,\"h\":8,\"i\":{\"x\":[1]},\"j\":10}"), "more members than there is room for");
	is_int((int64_t) scan.nmembers, 10, "are counted");
	is_int(members[7].type, JSON_NUMBER, "the last there was room for");
	ok(scan_text("{\"a\":1,\"b\":\"\\u0000\",\"c\":\"\xff\"}"), "two faults");
	is_int(scan.fault_member, 1, "the first one's member");
	ok(scan_text("[{\"a\":\"\\u0000\"}]") && scan.fault_member == -1, "no member of an array");
	ok(scan_text("[{\"a\":1},{\"b\":2}]") && scan.nmembers == 0, "nor members");
}

static void
test_utf8_prefix(void)
{
	is_int((int64_t) json_utf8_prefix("abc", 3, 5), 3, "short text");
	is_int((int64_t) json_utf8_prefix("abc", 3, 2), 2, "cut");
	is_int((int64_t) json_utf8_prefix("a\xc3\xa4", 3, 2), 1, "not inside a character");
	is_int((int64_t) json_utf8_prefix("\xf0\x9f\x98\x80", 4, 3), 0, "not even the first");
}

int
main(void)
{
	test_values();
	test_faults();
	test_depth();
	test_members();
	test_utf8_prefix();
	return done_testing();
}
