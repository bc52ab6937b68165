/*
 * Fuzz: any body. Taking texts from where they stand and taking all of them
 * from cJSON must come to the same; what is accepted is well-formed COPY data
 * with valid UTF-8 in it.
 */
#include <stdlib.h>
#include <string.h>

#include "gateway/decode.h"
#include "gateway/json_check.h"

#define NOW_US	INT64_C(1738324800000000)

int			LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
require(bool condition)
{
	if (!condition)
		abort();
}

static enum decode_status
decode(struct arena *arena, const uint8_t *data, size_t size, bool always_cjson, char **body,
	   struct decode_result *result)
{
	static const struct store_facts facts = {.known = true, .retention_us = INT64_C(7776000000000),
	.hash_secret = "0123456789abcdef", .hash_secret_len = 16};
	struct decode_options options = {.facts = &facts, .prices = price_shipped_catalogue(), .now_us = NOW_US, .max_events = 50,
	.max_event_bytes = 4096, .always_cjson = always_cjson, .hash_user_ids = size % 2};

	*body = malloc(size + 1);
	require(*body != NULL);
	if (size > 0)
		memcpy(*body, data, size);
	(*body)[size] = '\0';
	arena_init(arena, (size_t) 64 << 20);
	return decode_events(arena, *body, size, &options, result);
}

static bool
is_text(int column)
{
	return column >= EVENT_COL_request_id && column != EVENT_COL_client_ip && column != EVENT_COL_api_key_hash;
}

/* Walks a row; every text in it is text, metadata is one JSON object. */
static void
check_row(const struct event *e)
{
	const uint8_t *p = e->row;
	const uint8_t *end = e->row + e->row_len;

	for (int i = EVENT_COL_ts + 1; i < EVENT_COLUMNS; i++)
	{
		int32_t		len;

		require(end - p >= 4);
		len = (int32_t) ((uint32_t) p[0] << 24 | (uint32_t) p[1] << 16 | (uint32_t) p[2] << 8 | p[3]);
		p += 4;
		require(len >= -1 && (len < 0 || len <= end - p));
		if (len < 0)
		{
			require(i != EVENT_COL_request_id);
			continue;
		}
		if (is_text(i))
			require(memchr(p, '\0', (size_t) len) == NULL);
		if (i == EVENT_COL_api_key_hash)
			require(len == 16);
		if (i == EVENT_COL_request_id)
			require(len > 0 && len <= 256 && (const uint8_t *) e->request_id == p && e->request_id_len == (uint32_t) len);
		if (i == EVENT_COL_metadata)
		{
			struct json_scan scan = {0};
			const char *text = (const char *) p + 1;
			const char *text_end = (const char *) p + len;

			require(p[0] == 1 && json_scan_value(text, text_end, &scan) && scan.type == JSON_OBJECT &&
					scan.fault == NULL && json_skip_space(scan.end, text_end) == text_end);
		}
		p += len;
	}
	require(p == end);
}

static bool
id_was_made(const struct decode_result *r, int32_t index)
{
	for (size_t i = 0; i < r->nmade_ids; i++)
		if (r->made_ids[i].index == index)
			return true;
	return false;
}

static void
compare(const struct decode_result *a, const struct decode_result *b)
{
	require(a->nevents == b->nevents && a->nrejected == b->nrejected && a->total == b->total);
	require(a->nahead == b->nahead && a->nmade_ids == b->nmade_ids && a->nignored == b->nignored);
	require(a->nevents + a->nrejected == a->total);
	for (size_t i = 0; i < a->nevents; i++)
	{
		const struct event *x = &a->events[i];
		const struct event *y = &b->events[i];

		check_row(x);
		require(x->index == y->index && x->kind == y->kind && x->has_ts == y->has_ts && x->ts_us == y->ts_us);
		require(x->row_len == y->row_len);
		require(id_was_made(a, x->index) || memcmp(x->row, y->row, x->row_len) == 0);
	}
	require(a->nerrors_listed == b->nerrors_listed);
	for (size_t i = 0; i < a->nerrors_listed; i++)
		require(a->errors[i].index == b->errors[i].index &&
				strcmp(a->errors[i].field, b->errors[i].field) == 0 &&
				strcmp(a->errors[i].reason, b->errors[i].reason) == 0);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct arena arenas[2];
	struct decode_result results[2];
	char	   *bodies[2];
	enum decode_status status = decode(&arenas[0], data, size, false, &bodies[0], &results[0]);

	require(status == decode(&arenas[1], data, size, true, &bodies[1], &results[1]));
	require(status != DECODE_NOT_READY && status != DECODE_NO_MEMORY);
	if (status == DECODE_OK)
		compare(&results[0], &results[1]);
	else
		require(results[0].message != NULL && strcmp(results[0].message, results[1].message) == 0);
	for (int i = 0; i < 2; i++)
	{
		arena_free(&arenas[i]);
		free(bodies[i]);
	}
	return 0;
}
