/*
 * The forms of a sketch as they come from outside: what is a sketch is read, what
 * is none is refused with its reason, whatever the bytes.
 */
#include <math.h>

#include "test/unit/sketch_help.h"
#include "test/unit/tap.h"

static SketchStatus
parse(const char *text, SketchState **state, SketchError *error)
{
	/* a copy without a final zero, so that a sanitizer sees a byte too many */
	size_t		length = strlen(text);
	char	   *copy = malloc(length + 1);
	SketchStatus status;

	MUST(copy != NULL);
	memcpy(copy, text, length);
	copy = realloc(copy, length > 0 ? length : 1);
	MUST(copy != NULL);
	status = sketch_parse(copy, length, state, &help_memory, error);
	free(copy);
	return status;
}

static void
printed_as(const char *text, const char *expected)
{
	SketchState *state = NULL;
	SketchError error;
	SketchScratch scratch;
	SketchView	view;
	Text		again;

	if (!ok(parse(text, &state, &error) == SKETCH_OK, text))
	{
		printf("# at byte %zu: %s\n", error.position, error.reason);
		return;
	}
	sketch_view_state(&view, state, &scratch);
	again = help_print(&view);
	is_str(again.text, expected, "  is printed so");
	free(again.text);
	free(state);
}

static void
refused(const char *text, const char *reason)
{
	SketchState *state = NULL;
	SketchError error = {"", 0};

	if (!ok(parse(text, &state, &error) == SKETCH_INVALID && strstr(error.reason, reason) != NULL, text))
		printf("# at byte %zu: %s\n", error.position, error.reason);
	if (error.position > strlen(text))
		ok(false, "  position beyond the text");
}

static void
test_texts(void)
{
	printed_as("{\"scale\":6,\"count\":0}", "{\"scale\": 6, \"count\": 0}");
	printed_as(" { \"count\" : 0 , \"positive\" : [ ] ,\t\"negative\":[],\"zero\":0, \"scale\" : 6 } ",
			   "{\"scale\": 6, \"count\": 0}");
	printed_as("{\"positive\": [[-1, 1]], \"max\": 1.0, \"min\": 1e0, \"sum\": 1, \"count\": 1, \"scale\": 6}",
			   "{\"scale\": 6, \"count\": 1, \"sum\": 1, \"min\": 1, \"max\": 1, \"positive\": [[-1, 1]]}");
	printed_as("{\"scale\":6,\"count\":6,\"sum\":0.5,\"min\":-4,\"max\":4,\"zero\":1,\"negative\":[[63,1],[127,1]],\"positive\":[[-65,1,1],[127,1]]}",
			   "{\"scale\": 6, \"count\": 6, \"sum\": 0.5, \"min\": -4, \"max\": 4, \"zero\": 1, \"negative\": [[63, 1], [127, 1]], \"positive\": [[-65, 1, 1], [127, 1]]}");
	printed_as("{\"scale\":6,\"count\":1,\"sum\":0,\"min\":-0,\"max\":0,\"zero\":1}",
			   "{\"scale\": 6, \"count\": 1, \"sum\": 0, \"min\": 0, \"max\": 0, \"zero\": 1}");
	printed_as("{\"scale\":6,\"count\":3,\"sum\":0.6,\"min\":0.1,\"max\":0.3,\"positive\":[[-213,1],[-149,1],[-112,1]]}",
			   "{\"scale\": 6, \"count\": 3, \"sum\": 0.6, \"min\": 0.1, \"max\": 0.3, \"positive\": [[-213, 1], [-149, 1], [-112, 1]]}");
	printed_as("{\"scale\":6,\"count\":2,\"sum\":\"Infinity\",\"min\":1.7976931348623157e308,\"max\":1.7976931348623157e308,\"positive\":[[65535,2]]}",
			   "{\"scale\": 6, \"count\": 2, \"sum\": \"Infinity\", \"min\": 1.7976931348623157e+308, \"max\": 1.7976931348623157e+308, \"positive\": [[65535, 2]]}");
	printed_as("{\"scale\":6,\"count\":1,\"sum\":5e-324,\"min\":5e-324,\"max\":5e-324,\"positive\":[[-68737,1]]}",
			   "{\"scale\": 6, \"count\": 1, \"sum\": 4.94065645841247e-324, \"min\": 4.94065645841247e-324, \"max\": 4.94065645841247e-324, \"positive\": [[-68737, 1]]}");
}

#define ONE "\"scale\":6,\"count\":1,\"sum\":1,\"min\":1,\"max\":1"

static void
test_bad_texts(void)
{
	refused("", "a JSON object");
	refused("{", "a member");
	refused("{}", "a member");
	refused("[]", "a JSON object");
	refused("null", "a JSON object");
	refused("{\"scale\":6}", "scale and count are required");
	refused("{\"count\":0}", "scale and count are required");
	refused("{\"scale\":5,\"count\":0}", "out of range");
	refused("{\"scale\":6,\"count\":0} x", "nothing may follow");
	refused("{\"scale\":6,\"count\":0,}", "a member");
	refused("{\"scale\":6,\"count\":0", "a closing brace");
	refused("{\"scale\":6,\"count\":0,\"count\":0}", "given twice");
	refused("{\"scale\":6,\"count\":0,\"color\":1}", "a member");
	refused("{\"scale\" 6,\"count\":0}", "a colon");
	refused("{\"scale\":6,\"count\":1}", "sum, min and max are required");
	refused("{\"scale\":6,\"count\":0,\"min\":1}", "sum, min and max are required");
	refused("{\"scale\":6,\"count\":-1}", "out of range");
	refused("{\"scale\":6,\"count\":9223372036854775808}", "out of range");
	refused("{\"scale\":6,\"count\":99999999999999999999}", "out of range");
	refused("{\"scale\":6,\"count\":01}", "an integer");
	refused("{\"scale\":6,\"count\":1.0," , "a closing brace");
	refused("{\"scale\":6,\"count\":+1}", "an integer");
	refused("{\"scale\":6,\"count\":0x1}", "a closing brace");
	refused("{" ONE "}", "do not hold as many values");
	refused("{" ONE ",\"positive\":[[-1,2]]}", "do not hold as many values");
	refused("{" ONE ",\"positive\":[[0,1]]}", "min does not lie in the first bucket");
	refused("{" ONE ",\"negative\":[[-1,1]]}", "min does not lie in the first bucket");
	refused("{" ONE ",\"zero\":1}", "min does not lie in the first bucket");
	refused("{" ONE ",\"positive\":[[-1]]}", "an index and at least one count");
	refused("{" ONE ",\"positive\":[[-1,0]]}", "out of range");
	refused("{" ONE ",\"positive\":[[-1,-1]]}", "out of range");
	refused("{" ONE ",\"positive\":[-1,1]}", "a bucket run is expected");
	refused("{" ONE ",\"positive\":[[-1,1}", "a bucket run is not closed");
	refused("{" ONE ",\"positive\":[[-1,1]}", "is not closed");
	refused("{" ONE ",\"positive\":1}", "a list of bucket runs");
	refused("{" ONE ",\"positive\":[[65536,1]]}", "out of range");
	refused("{" ONE ",\"positive\":[[-68738,1]]}", "out of range");
	refused("{" ONE ",\"positive\":[[65535,1,1]]}", "too long");
	refused("{" ONE ",\"positive\":[[-1,9223372036854775807,1]]}", "too many values");
	refused("{\"scale\":6,\"count\":2,\"sum\":3,\"min\":1,\"max\":2,\"positive\":[[63,1],[-1,1]]}", "out of range");
	refused("{\"scale\":6,\"count\":2,\"sum\":2,\"min\":1,\"max\":1.005,\"positive\":[[-1,1],[0,1]]}", "out of range");
	refused("{\"scale\":6,\"count\":2,\"sum\":3,\"min\":1,\"max\":3,\"positive\":[[-1,1],[63,1]]}", "max does not lie in the last bucket");
	refused("{\"scale\":6,\"count\":2,\"sum\":2,\"min\":1,\"max\":0.999,\"positive\":[[-1,2]]}", "");
	refused("{\"scale\":6,\"count\":2,\"sum\":4.1,\"min\":1,\"max\":2,\"positive\":[[-1,1],[63,1]]}", "the sum is not possible");
	refused("{\"scale\":6,\"count\":2,\"sum\":1.9,\"min\":1,\"max\":2,\"positive\":[[-1,1],[63,1]]}", "the sum is not possible");
	refused("{\"scale\":6,\"count\":2,\"sum\":\"Infinity\",\"min\":1,\"max\":2,\"positive\":[[-1,1],[63,1]]}", "the sum is not possible");
	refused("{\"scale\":6,\"count\":2,\"sum\":\"NaN\",\"min\":1,\"max\":2,\"positive\":[[-1,1],[63,1]]}", "the sum is not possible");
	refused("{\"scale\":6,\"count\":1,\"sum\":1,\"min\":0.995,\"max\":1,\"positive\":[[-1,1]]}", "of a single value must be equal");
	refused("{\"scale\":6,\"count\":1,\"sum\":1,\"min\":NaN,\"max\":1,\"positive\":[[-1,1]]}", "a number");
	refused("{\"scale\":6,\"count\":1,\"sum\":1,\"min\":Infinity,\"max\":1,\"positive\":[[-1,1]]}", "a number");
	refused("{\"scale\":6,\"count\":1,\"sum\":1,\"min\":\"NaN\",\"max\":1,\"positive\":[[-1,1]]}", "a number");
	refused("{\"scale\":6,\"count\":1,\"sum\":1,\"min\":1e999,\"max\":1,\"positive\":[[-1,1]]}", "out of range");
	refused("{\"scale\":6,\"count\":1,\"sum\":1,\"min\":0x1p3,\"max\":1,\"positive\":[[-1,1]]}", "");
	refused("{\"scale\":6,\"count\":1,\"sum\":1,\"min\":.5,\"max\":1,\"positive\":[[-1,1]]}", "a number");
	refused("{\"scale\":6,\"count\":1,\"sum\":1,\"min\":1.,\"max\":1,\"positive\":[[-1,1]]}", "a number");
	refused("{\"scale\":6,\"count\":1,\"sum\":1,\"min\":1e,\"max\":1,\"positive\":[[-1,1]]}", "a number");
}

static void
test_long_number(void)
{
	char		text[2000];
	SketchState *state = NULL;
	SketchError error;

	snprintf(text, sizeof(text), "{\"scale\":6,\"count\":1,\"sum\":1,\"min\":1.%01000d,\"max\":1,\"positive\":[[-1,1]]}", 0);
	ok(parse(text, &state, &error) == SKETCH_INVALID, "a number of 1,000 digits is refused");
	has_str(error.reason, "too many digits", "  with the reason");
}

/* ---- bytes ---- */

static const char *
check_bytes(const uint8_t *bytes, size_t length)
{
	uint8_t    *copy = malloc(length > 0 ? length : 1);
	SketchError error = {"the header is malformed", 0};
	const char *reason = NULL;
	SketchView	view;

	MUST(copy != NULL);
	memcpy(copy, bytes, length);
	if (!sketch_view_packed(&view, copy, length) || sketch_view_check(&view, &error) != SKETCH_OK)
		reason = error.reason;
	else
	{
		/* what is accepted is written again as the same sketch */
		Packed		again = help_pack(&view);
		SketchView	other;

		if (!sketch_view_packed(&other, again.bytes, again.length) || !sketch_equal(&view, &other))
			reason = "accepted, but not the same when written again";
		free(again.bytes);
	}
	free(copy);
	return reason;
}

static void
bad_bytes(const char *name, const uint8_t *bytes, size_t length)
{
	const char *reason = check_bytes(bytes, length);

	ok(reason != NULL && strstr(reason, "accepted") == NULL, name);
}

#define BAD(name, ...) \
	bad_bytes(name, (const uint8_t[]) {__VA_ARGS__}, sizeof((const uint8_t[]) {__VA_ARGS__}))

#define D_ONE 0, 0, 0, 0, 0, 0, 0xF0, 0x3F
#define D_TWO 0, 0, 0, 0, 0, 0, 0, 0x40
#define D_THREE 0, 0, 0, 0, 0, 0, 0x08, 0x40
#define D_NAN 0, 0, 0, 0, 0, 0, 0xF8, 0x7F
#define D_INFINITY 0, 0, 0, 0, 0, 0, 0xF0, 0x7F
#define D_NEGATIVE_ZERO 0, 0, 0, 0, 0, 0, 0, 0x80

static void
test_bad_bytes(void)
{
	const uint8_t good[] = {SKETCH_PACKED_MANY, 2, D_ONE, D_TWO, D_THREE, 0, 63};
	const uint8_t empty[] = {SKETCH_PACKED_EMPTY};
	const uint8_t one[] = {SKETCH_PACKED_ONE, 5, D_ONE};

	is_str(check_bytes(good, sizeof(good)), NULL, "1 and 2, packed by hand");
	is_str(check_bytes(empty, 1), NULL, "the empty sketch");
	is_str(check_bytes(one, sizeof(one)), NULL, "five ones");

	bad_bytes("no bytes", empty, 0);
	BAD("an unknown tag", 0x13, 2, D_ONE);
	BAD("the tag of a list", SKETCH_FORM_LIST, 0, 0, 0);
	BAD("the tag of pages", SKETCH_FORM_PAGES, 0, 0, 0);
	BAD("an empty sketch with more", SKETCH_PACKED_EMPTY, 0);
	BAD("one: count 0", SKETCH_PACKED_ONE, 0, D_ONE);
	BAD("one: no value", SKETCH_PACKED_ONE, 1);
	BAD("one: too long", SKETCH_PACKED_ONE, 1, D_ONE, 0);
	BAD("one: NaN", SKETCH_PACKED_ONE, 1, D_NAN);
	BAD("one: Infinity", SKETCH_PACKED_ONE, 1, D_INFINITY);
	BAD("one: negative zero", SKETCH_PACKED_ONE, 1, D_NEGATIVE_ZERO);
	BAD("one: count of 64 bits", SKETCH_PACKED_ONE, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 1, D_ONE);
	BAD("one: endless count", SKETCH_PACKED_ONE, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF);
	BAD("many: no tokens", SKETCH_PACKED_MANY, 2, D_ONE, D_TWO, D_THREE);
	BAD("many: one token too few", SKETCH_PACKED_MANY, 2, D_ONE, D_TWO, D_THREE, 0);
	BAD("many: one token too many", SKETCH_PACKED_MANY, 2, D_ONE, D_TWO, D_THREE, 0, 63, 0);
	BAD("many: count too small", SKETCH_PACKED_MANY, 1, D_ONE, D_TWO, D_THREE, 0, 63);
	BAD("many: count too large", SKETCH_PACKED_MANY, 3, D_ONE, D_TWO, D_THREE, 0, 63);
	BAD("many: first bucket is not that of min", SKETCH_PACKED_MANY, 2, D_ONE, D_TWO, D_THREE, 1, 62);
	BAD("many: last bucket is not that of max", SKETCH_PACKED_MANY, 2, D_ONE, D_TWO, D_THREE, 0, 62);
	BAD("many: beyond max", SKETCH_PACKED_MANY, 2, D_ONE, D_TWO, D_THREE, 0, 64);
	BAD("many: min above max", SKETCH_PACKED_MANY, 2, D_TWO, D_ONE, D_THREE, 0, 63);
	BAD("many: min equals max", SKETCH_PACKED_MANY, 2, D_ONE, D_ONE, D_TWO, 112);
	BAD("many: max Infinity", SKETCH_PACKED_MANY, 2, D_ONE, D_INFINITY, D_THREE, 0, 63);
	BAD("many: sum NaN", SKETCH_PACKED_MANY, 2, D_ONE, D_TWO, D_NAN, 0, 63);
	BAD("many: sum not possible", SKETCH_PACKED_MANY, 2, D_ONE, D_TWO, D_ONE, 0, 63);
	BAD("many: min negative zero", SKETCH_PACKED_MANY, 2, D_NEGATIVE_ZERO, D_ONE, D_ONE, 0, 253, 0xBE, 0x99, 0x04, 1);
	BAD("many: reserved token", SKETCH_PACKED_MANY, 2, D_ONE, D_TWO, D_THREE, 254, 63);
	BAD("many: token cut off", SKETCH_PACKED_MANY, 2, D_ONE, D_TWO, D_THREE, 0, 250);
	BAD("many: count of a token 0", SKETCH_PACKED_MANY, 2, D_ONE, D_TWO, D_THREE, 0, 253, 63, 0);
	BAD("many: gap of a token endless", SKETCH_PACKED_MANY, 2, D_ONE, D_TWO, D_THREE, 0, 253, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x7F, 1);
}

/* The packed form is for ever: every kind of token, byte for byte. */
static void
test_tokens(void)
{
	static const uint8_t bytes[] = {
		SKETCH_PACKED_MANY, 0xBA, 0x8B, 0x08,	/* 132,538 values */
		D_ONE,
		0, 0, 0, 0, 0, 0, 0x30, 0x41,	/* max 2^20 */
		0, 0, 0, 0, 0xD0, 0x12, 0x63, 0x41, /* sum 1e7 */
		0, 113, 159, 167, 168, 227, 249,
		251, 0, 251, 255, 252, 0, 0, 252, 0xFF, 0xFF, 253, 0, 0xBE, 0x82, 0x04,
		250, 0, 250, 255, 253, 2, 28, 253, 0xF8, 0x05, 1
	};
	static const struct
	{
		int32_t		gap;
		uint64_t	count;
	}			buckets[] = {
		{0, 1}, {1, 2}, {15, 3}, {7, 4}, {0, 5}, {0, 61}, {1, 27},
		{0, 62}, {0, 317}, {0, 318}, {0, 65853}, {0, 65854},
		{112, 1}, {367, 1}, {2, 28}, {760, 1}
	};
	const size_t n = sizeof(buckets) / sizeof(buckets[0]);
	int32_t		key = SKETCH_KEY_BIAS - 2;
	bool		same = true;
	size_t		i = 0;
	SketchCursor cursor;
	SketchView	view;
	Packed		again;

	is_str(check_bytes(bytes, sizeof(bytes)), NULL, "tokens of every kind");
	MUST(sketch_view_packed(&view, bytes, sizeof(bytes)));
	sketch_cursor_start(&cursor, &view);
	for (; sketch_cursor_next(&cursor); i++)
	{
		if (i >= n)
			break;
		key += buckets[i].gap + 1;
		same &= cursor.key == key && cursor.n == buckets[i].count;
	}
	ok(same && i == n, "are the buckets they stand for");
	again = help_pack(&view);
	ok(again.length == sizeof(bytes) && memcmp(again.bytes, bytes, sizeof(bytes)) == 0, "which are packed so again");
	free(again.bytes);
}

/* Every prefix and every change of one byte of real sketches. */
static void
test_damaged_bytes(void)
{
	bool		prefixes = true;
	bool		changes = true;
	size_t		accepted = 0;

	for (int round = 0; round < 6; round++)
	{
		SketchState *state = help_new();
		size_t		n = round == 0 ? 2 : round == 1 ? 10 : 300;
		Packed		packed;

		for (size_t i = 0; i < n; i++)
			help_add(&state, round < 3 ? exp(6 * help_uniform()) : round == 3 ? help_any_double() : floor(help_uniform() * 9) - 4);
		if (round == 5)
			for (int i = 0; i < 100000; i++)
				help_add(&state, exp(help_uniform()));
		packed = help_pack_state(state);
		for (size_t length = 0; length < packed.length; length++)
			prefixes &= check_bytes(packed.bytes, length) != NULL;
		for (size_t i = 0; i < packed.length; i++)
		{
			uint8_t		was = packed.bytes[i];

			for (int value = 0; value < 256; value++)
			{
				const char *reason;

				packed.bytes[i] = (uint8_t) value;
				reason = check_bytes(packed.bytes, packed.length);
				accepted += reason == NULL;
				changes &= reason == NULL || strstr(reason, "accepted") == NULL;
			}
			packed.bytes[i] = was;
		}
		free(packed.bytes);
		free(state);
	}
	ok(prefixes, "no beginning of a sketch is a sketch");
	ok(changes, "a changed byte is refused or gives another sketch");
	printf("# %zu changes gave another sketch\n", accepted);
}

/* A state with a wrong field is seen. */
static void
test_damaged_states(void)
{
	SketchState *list = help_new();
	SketchState *pages = help_new();
	SketchState *copy;
	size_t		bytes;

	for (int i = 1; i <= 10; i++)
		help_add(&list, i);
	for (int i = 1; i <= 5000; i++)
		help_add(&pages, i);
	MUST(list->form == SKETCH_FORM_LIST && pages->form == SKETCH_FORM_PAGES);
	ok(sketch_state_check(list, sketch_state_bytes(list)), "a list");
	ok(!sketch_state_check(list, sketch_state_bytes(list) - 1), "cut short");
	list->u.list.length = list->u.list.capacity + 1;
	ok(!sketch_state_check(list, sketch_state_bytes(list)), "longer than its room");
	list->u.list.length = 10;
	((int32_t *) list->body)[3] = SKETCH_KEY_MAX + 1;
	ok(!sketch_state_check(list, sketch_state_bytes(list)), "with a key that is none");
	list->form = 0;
	ok(!sketch_state_check(list, SKETCH_STATE_MIN_BYTES), "with an unknown form");

	bytes = sketch_state_bytes(pages);
	copy = malloc(bytes);
	MUST(copy != NULL);
	memcpy(copy, pages, bytes);
	ok(sketch_state_check(copy, bytes), "pages");
	ok(!sketch_state_check(copy, bytes - 1), "cut short");
	copy->u.pages.length = copy->u.pages.capacity + 1;
	ok(!sketch_state_check(copy, bytes), "with more pages than room");
	memcpy(copy, pages, bytes);
	((uint16_t *) copy->body)[0] = copy->u.pages.length + 1;
	ok(!sketch_state_check(copy, bytes), "with an entry that has no page");
	memcpy(copy, pages, bytes);
	copy->dir_length = 65532;
	ok(!sketch_state_check(copy, bytes), "with a directory that is too long");
	memcpy(copy, pages, bytes);
	copy->u.pages.dir_first = INT16_MAX;
	ok(!sketch_state_check(copy, bytes), "with octaves that are none");
	free(copy);
	free(pages);
	free(list);
}

int
main(void)
{
	test_texts();
	test_bad_texts();
	test_long_number();
	test_bad_bytes();
	test_tokens();
	test_damaged_bytes();
	test_damaged_states();
	return done_testing();
}
