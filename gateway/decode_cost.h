/*
 * Pricing a complete event while it is decoded, with the core that the server
 * links too. Pure; any thread.
 */
#ifndef GATEWAY_DECODE_COST_H
#define GATEWAY_DECODE_COST_H

#include "gateway/copy.h"

/*
 * Sets the cost columns and price_id when the row has tokens and the catalogue
 * a price; leaves them NULL otherwise.
 */
void		decode_cost(struct copy_value values[EVENT_COLUMNS], int64_t ts_us);

#endif
