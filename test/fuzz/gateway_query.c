/*
 * Fuzz: any request target, taken for one of every reading route. What is
 * accepted is sane: a JSON object of filters, a range the right way round, a
 * cursor that is written as it was read.
 */
#include <stdlib.h>
#include <string.h>

#include "gateway/query.h"
#include "gateway/text.h"
#include <cJSON.h>
#include <openssl/evp.h>

#define NOW_US INT64_C(1738324800000000)

int			LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
check_span(const struct query_span *span)
{
	if (span->from_us >= span->to_us)
		abort();
}

static void
check_list(struct arena *arena, const struct target *target)
{
	struct list_query list;
	struct query_error error = {"", "", ""};
	struct cursor again;
	struct text t;

	if (list_query_parse(arena, target, NOW_US, &list, &error) != QUERY_OK)
	{
		if (error.message[0] == '\0')
			abort();
		return;
	}
	check_span(&list.span);
	if (!list.has_after)
		return;
	text_init(&t);
	cursor_write(&t, &list.after, list.order, list.filters);
	if (cursor_parse(arena, t.data, list.order, list.filters, &again) != CURSOR_OK || again.ts_us != list.after.ts_us ||
		strcmp(again.request_id, list.after.request_id) != 0)
		abort();
	text_free(&t);
}

/* The bytes as the inside of a cursor, which no fuzzer would guess encoded. */
static void
check_cursor(struct arena *arena, const uint8_t *data, size_t size)
{
	struct cursor cursor;
	unsigned char encoded[1400];

	if (size == 0 || size > 1000)
		return;
	EVP_EncodeBlock(encoded, data, (int) size);
	encoded[strcspn((char *) encoded, "=")] = '\0';
	for (unsigned char *p = encoded; *p; p++)
		*p = *p == '+' ? '-' : *p == '/' ? '_' : *p;
	if (cursor_parse(arena, (char *) encoded, "newest", "{}", &cursor) == CURSOR_OK &&
		(cursor.from_us > cursor.ts_us || cursor.ts_us >= cursor.to_us || cursor.request_id[0] == '\0'))
		abort();
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct arena arena;
	struct target target;
	struct stats_query stats;
	struct values_query values;
	struct query_error error = {"", "", ""};
	char	   *raw = malloc(size + 1);

	if (raw == NULL)
		return 0;
	memcpy(raw, data, size);
	raw[size] = '\0';
	arena_init(&arena, 0);
	check_cursor(&arena, data, size);
	if (target_parse(&arena, raw, &target, &error) == QUERY_OK)
	{
		if (target.nparameters > QUERY_MAX_PARAMETERS)
			abort();
		for (const char *p = target.path; *p;)
		{
			size_t		n = utf8_length((const unsigned char *) p, strlen(p));

			if (n == 0)
				abort();
			p += n;
		}
		check_list(&arena, &target);
		(void) !values_query_parse(&target, &values, &error);
		if (stats_query_parse(&arena, &target, NOW_US, &stats, &error) == QUERY_OK)
		{
			cJSON	   *filters = cJSON_Parse(stats.filters);

			if (!cJSON_IsObject(filters) || stats.span.from_us >= stats.span.to_us || stats.time_zone == NULL)
				abort();
			if ((~stats.fields & ((1 << STATS_KEY_FIELDS) - 1)) != 0 || (stats.total && stats.group_by == NULL))
				abort();
			cJSON_Delete(filters);
		}
		else if (error.message[0] == '\0')
			abort();
	}
	arena_free(&arena);
	free(raw);
	return 0;
}
