/*
 * Pricing a complete event while it is decoded, with the core that the server
 * links too. Pure; any thread.
 */
#ifndef GATEWAY_DECODE_COST_H
#define GATEWAY_DECODE_COST_H

#include "gateway/copy.h"
#include "pricing/price.h"

/*
 * Sets the cost columns and price_id when the row has tokens and the catalogue
 * a price; leaves them NULL otherwise.
 */
void		decode_cost(const struct price_catalogue *prices, struct copy_value values[EVENT_COLUMNS],
						int64_t ts_us);

#endif
