/*
 * The catalogue a backend prices with.
 *
 * Entered by backends and parallel workers.
 */
#include "postgres.h"

#include "extension/pricing.h"

const struct price_catalogue *
pricing_catalogue(void)
{
	return price_shipped_catalogue();
}
