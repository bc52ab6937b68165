/*
 * Pricing a complete event; see decode_cost.h.
 */
#include "gateway/decode_cost.h"

/* A column's text, absent when it has none. */
static struct price_text
text_of(const struct copy_value *v)
{
	return v->present ? (struct price_text) {v->text, v->len} : (struct price_text) {NULL, 0};
}

static int64_t
count_of(const struct copy_value *v)
{
	return v->present ? v->number : 0;
}

static void
set_number(struct copy_value *v, int64_t number)
{
	v->number = number;
	v->present = true;
}

/* Parts of a cost that are 0 are stored as NULL, as ccproxy.cost_pico() gives them. */
static void
set_cost(struct copy_value *value, int64_t pico)
{
	if (pico != 0)
		set_number(value, pico);
}

void
decode_cost(const struct price_catalogue *prices, struct copy_value values[EVENT_COLUMNS], int64_t ts_us)
{
	struct price_request request;
	struct price_cost cost;

	if (!values[EVENT_COL_input_tokens].present && !values[EVENT_COL_output_tokens].present)
		return;
	request = (struct price_request) {
		.provider = text_of(&values[EVENT_COL_provider]),
		.model = text_of(&values[EVENT_COL_model]),
		.model_version = text_of(&values[EVENT_COL_model_version]),
		.service_tier = text_of(&values[EVENT_COL_service_tier]),
		.at_us = ts_us,
		.usage = {
			.input = count_of(&values[EVENT_COL_input_tokens]),
			.cache_read = count_of(&values[EVENT_COL_cache_read_tokens]),
			.cache_write = count_of(&values[EVENT_COL_cache_write_tokens]),
			.cache_write_1h = count_of(&values[EVENT_COL_cache_write_1h_tokens]),
			.output = count_of(&values[EVENT_COL_output_tokens]),
			.reasoning = count_of(&values[EVENT_COL_reasoning_tokens]),
		},
	};
	if (price_request_cost(prices, &request, &cost) != PRICE_PRICED)
		return;
	set_cost(&values[EVENT_COL_input_cost], cost.input_pico);
	set_cost(&values[EVENT_COL_cache_read_cost], cost.cache_read_pico);
	set_cost(&values[EVENT_COL_cache_write_cost], cost.cache_write_pico);
	set_cost(&values[EVENT_COL_output_cost], cost.output_pico);
	set_cost(&values[EVENT_COL_tool_cost], cost.tool_pico);
	set_number(&values[EVENT_COL_price_id], cost.price_id);
}
