/*
 * Any bytes into the importers and the usage reader: no crash, no row that a
 * catalogue could not hold, and a catalogue built of them prices.
 *
 * The first byte chooses what reads the rest.
 */
#include <stdlib.h>
#include <string.h>

#include "pricing/price_import.h"
#include "pricing/price_parse.h"
#include "pricing/usage.h"

extern int	LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define CHECK(condition) do { if (!(condition)) abort(); } while (0)

static void
check_row(void *arg, struct price_text entry, const struct price_row *row)
{
	struct price_loader *loader = arg;
	char		line[PRICE_MAX_LINE_BYTES];

	(void) entry;
	CHECK(row->model.len > 0 && row->model.len <= PRICE_MAX_NAME_BYTES);
	CHECK(row->provider.len <= PRICE_MAX_NAME_BYTES && row->tier.len > 0);
	CHECK(row->context_from >= 0 && row->n_multipliers <= PRICE_MAX_MULTIPLIERS);
	CHECK(row->window_from_min >= 0 && row->window_from_min < 1440 && row->window_to_min >= 0 && row->window_to_min < 1440);
	for (int i = 0; i < PRICE_RATES; i++)
		CHECK(row->rate_atto[i] >= PRICE_NO_RATE);
	for (int i = 0; i < row->n_multipliers; i++)
		CHECK(row->multipliers[i].ppm > 0 && row->multipliers[i].name.len > 0);

	/* what the importer makes can travel, but that an id is for others to give */
	{
		struct price_row with_id = *row;

		with_id.id = PRICE_FIRST_USER_ID;
		CHECK(price_loader_add(loader, (struct price_text) {line, price_write_row(&with_id, line)}));
	}
}

static void
check_skipped(void *arg, struct price_text entry, const char *reason)
{
	(void) arg;
	CHECK(entry.p != NULL && reason != NULL);
}

static void
import(enum price_import_format format, struct price_text text)
{
	struct price_loader *loader = price_loader_new();
	struct price_import_sink sink = {check_row, check_skipped, loader};
	struct price_request request = {
		.provider = PRICE_TEXT("openai"),.model = {text.p, text.len < 40 ? text.len : 40},
		.service_tier = PRICE_TEXT("batch+us"),.usage = {.input = 300000,.cache_read = 7,.output = 11},
	};
	struct price_cost cost;
	const struct price_catalogue *catalogue;
	enum price_import_format detected;

	CHECK(loader != NULL);
	if (price_import(format, text, &sink) == PRICE_IMPORT_OK)
		CHECK(price_import_detect(text, &detected));
	catalogue = price_loader_finish(loader);
	CHECK(catalogue != NULL);
	if (price_request_cost(catalogue, &request, &cost) == PRICE_PRICED)
		CHECK(cost.total_pico == cost.input_pico + cost.cache_read_pico + cost.cache_write_pico + cost.output_pico + cost.tool_pico);
	price_loader_free(loader);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct price_text text = {(const char *) data + 1, size - 1};

	if (size == 0)
		return 0;
	switch (data[0] % 4)
	{
		case 0:
			import(PRICE_IMPORT_LITELLM, text);
			break;
		case 1:
			import(PRICE_IMPORT_GENAI_PRICES, text);
			break;
		case 2:
			for (int c = 0; c < PRICE_CONVENTIONS; c++)
			{
				struct price_usage_result r;

				if (price_usage_from_json((enum price_convention) c, text, &r) == PRICE_USAGE_OK)
				{
					CHECK(r.usage.input >= 0 && r.usage.cache_read >= 0 && r.usage.cache_write >= 0 && r.usage.cache_write_1h >= 0);
					CHECK(r.usage.reasoning + r.usage.audio_of_output + r.usage.image_of_output <= r.usage.output);
					CHECK(r.usage.audio_of_input + r.usage.image_of_input <= r.usage.input);
					CHECK(r.usage.audio_of_cache_read <= r.usage.cache_read && r.usage.audio_of_cache_read >= 0);
				}
			}
			break;
		default:
			{
				struct price_loader *loader = price_loader_new();

				for (size_t at = 0; at < text.len;)
				{
					const char *line = text.p + at;
					const char *end = memchr(line, '\n', text.len - at);
					size_t		len = end == NULL ? text.len - at : (size_t) (end - line);

					(void) !price_loader_add(loader, (struct price_text) {line, len});
					at += len + 1;
				}
				CHECK(price_loader_finish(loader) != NULL);
				price_loader_free(loader);
			}
	}
	return 0;
}
