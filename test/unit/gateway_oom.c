/*
 * What the gateway's pure code does without memory: each test runs again and
 * again, the first, second, third ... allocation failing, until it gets through
 * whole. Every time it must say so clearly, and with sanitizers nothing may leak
 * or break. malloc and its kin are wrapped by the linker (test/native.mk).
 */
#include <cJSON.h>
#include <stdlib.h>

#include "gateway/batch.h"
#include "gateway/catalogue.h"
#include "gateway/decode.h"
#include "gateway/gunzip.h"
#include "gateway/query.h"
#include "gateway/settings.h"
#include "gateway/text.h"
#include "test/unit/tap.h"

#define NOW_US	INT64_C(1738324800000000)
#define MOST_ALLOCATIONS 5000

static long countdown = -1;		/* allocations until one fails; negative: none does */

void	   *__real_malloc(size_t size);
void	   *__real_calloc(size_t n, size_t size);
void	   *__real_realloc(void *p, size_t size);
char	   *__real_strdup(const char *s);
char	   *__real_strndup(const char *s, size_t n);
void	   *__wrap_malloc(size_t size);
void	   *__wrap_calloc(size_t n, size_t size);
void	   *__wrap_realloc(void *p, size_t size);
char	   *__wrap_strdup(const char *s);
char	   *__wrap_strndup(const char *s, size_t n);

static bool
fails(void)
{
	return countdown >= 0 && countdown-- == 0;
}

void *
__wrap_malloc(size_t size)
{
	return fails() ? NULL : __real_malloc(size);
}

void *
__wrap_calloc(size_t n, size_t size)
{
	return fails() ? NULL : __real_calloc(n, size);
}

void *
__wrap_realloc(void *p, size_t size)
{
	return fails() ? NULL : __real_realloc(p, size);
}

char *
__wrap_strdup(const char *s)
{
	return fails() ? NULL : __real_strdup(s);
}

char *
__wrap_strndup(const char *s, size_t n)
{
	return fails() ? NULL : __real_strndup(s, n);
}

/* The library's own malloc is not wrapped. */
static void *
cjson_malloc(size_t size)
{
	return __wrap_malloc(size);
}

/*
 * A test returns true when it got through and false when it was told, as it
 * should be, that memory is out; anything else it reports itself.
 */
static void
until_it_passes(bool (*test) (void), const char *name)
{
	long		n = 0;
	bool		passed = false;

	for (; n < MOST_ALLOCATIONS && !passed; n++)
	{
		countdown = n;
		passed = test();
		/* got through though one had failed: that one may */
		passed = passed && countdown >= 0;
	}
	countdown = -1;
	ok(passed && n > 1, name);
	printf("# %ld allocations\n", n - 1);
}

static bool
test_decode(void)
{
	static const char text[] = "[{\"request_id\":\"a\",\"model\":\"gpt-4\",\"input_tokens\":5,\"user_id\":\"\\u00e9\\n\",\"client_ip\":\"::1\",\"api_key\":\"k\"},"
		"{\"model\":\"b\",\"timestamp\":\"2999-01-01T00:00:00Z\",\"metadata\":{\"a\":1},\"unknown\":1},{\"model\":5},{}]";
	static const struct store_facts facts = {.known = true, .hash_secret = "0123456789abcdef", .hash_secret_len = 16};
	struct decode_options options = {.facts = &facts, .prices = price_shipped_catalogue(), .now_us = NOW_US, .max_events = 100,
	.max_event_bytes = 10000, .hash_user_ids = true};
	char		body[sizeof(text)];
	struct decode_result result;
	struct arena arena;
	enum decode_status status;

	memcpy(body, text, sizeof(text));
	arena_init(&arena, 0);
	status = decode_events(&arena, body, sizeof(text) - 1, &options, &result);
	if (status == DECODE_OK && (result.nevents != 2 || result.nrejected != 2))
		ok(false, "a decoder without memory loses events");
	if (status == DECODE_NO_MEMORY && (result.nevents != 0 || result.message == NULL))
		ok(false, "a decoder without memory says so");
	if (status != DECODE_OK && status != DECODE_NO_MEMORY)
		ok(false, "a decoder without memory blames the client");
	arena_free(&arena);
	return status == DECODE_OK;
}

static bool
test_text(void)
{
	struct text t;
	bool		passed;

	text_init(&t);
	for (int i = 0; i < 100; i++)
	{
		text_json(&t, "a \"text\"\n");
		text_printf(&t, "%d of %d", i, 100);
		text_i64(&t, i);
	}
	passed = !t.failed;
	text_free(&t);
	return passed;
}

static bool
test_settings(void)
{
	static char *argv[] = {"gateway", "--max-depth=3", "--metrics-db-url=postgres://u@h/d", NULL};
	static char *envp[] = {"CCPROXY_LOG_LEVEL=debug", NULL};
	static const char file[] = "allowed_hosts = a, b\nmax_body_bytes = 3MiB\n";
	struct settings_input input = {3, argv, envp};
	struct settings s;
	struct settings other;
	enum settings_action action;
	char		error[SETTINGS_ERROR_SIZE] = "";
	char		list[100];
	bool		loaded;
	bool		kept = false;

	settings_defaults(&other);
	loaded = settings_load(&s, &input, &action, error) && settings_parse_file(&s, file, sizeof(file) - 1, "f", error);
	if (loaded)
		kept = settings_keep_fixed(&s, &other, list, sizeof(list));
	else if (error[0] == '\0')
		ok(false, "settings without memory say so");
	settings_free(&s);
	settings_free(&other);
	return kept;
}

static bool
test_query(void)
{
	struct arena arena;
	struct target target;
	struct stats_query query;
	struct query_error error;
	enum query_status status;

	arena_init(&arena, 0);
	status = target_parse(&arena, "/metrics/api/stats?period=24h&user=%C3%A9&model=a+b&group_by=model", &target, &error);
	if (status == QUERY_OK)
		status = stats_query_parse(&arena, &target, NOW_US, &query, &error);
	if (status == QUERY_BAD)
		ok(false, "a query without memory blames the client");
	arena_free(&arena);
	return status == QUERY_OK;
}

static bool
test_batch(void)
{
	struct event events[] = {
		{.request_id = "b", .request_id_len = 1, .ts_us = 1, .has_ts = true, .kind = EVENT_KIND_COMPLETE},
		{.request_id = "a", .request_id_len = 1, .ts_us = 1, .has_ts = true, .kind = EVENT_KIND_COMPLETE},
		{.request_id = "a", .request_id_len = 1, .ts_us = 1, .has_ts = true, .kind = EVENT_KIND_COMPLETE},
		{.request_id = "a", .request_id_len = 1, .ts_us = 2, .has_ts = true, .kind = EVENT_KIND_COMPLETE},
		{.request_id = "c", .request_id_len = 1, .ts_us = 1, .kind = EVENT_KIND_COMPLETE}
	};
	struct submission s = {.events = events, .nevents = 5, .catalogue_version = 1};
	struct batch b;
	bool		filled;

	batch_init(&b);
	filled = batch_fill(&b, &s, 1, NULL);
	if (filled ? b.nitems + b.nrepeats != 5 : b.nitems + b.nrepeats + (size_t) b.nunits != 0)
		ok(false, "a batch without memory is whole or empty");
	batch_free(&b);
	return filled;
}

static bool
test_gunzip(void)
{
	struct gunzip *g = gunzip_new();
	bool		made = g != NULL;

	gunzip_free(g);
	return made;
}

int
main(void)
{
	cJSON_Hooks hooks = {cjson_malloc, free};

	cJSON_InitHooks(&hooks);
	(void) test_decode();		/* what is made once is made now */
	until_it_passes(test_decode, "decoding");
	until_it_passes(test_text, "text");
	until_it_passes(test_settings, "settings");
	until_it_passes(test_query, "queries");
	until_it_passes(test_batch, "batches");
	until_it_passes(test_gunzip, "decompression");
	return done_testing();
}
