/*
 * What the extension's pricing files share: arguments in, dollars out, and the
 * catalogue this backend prices with.
 */
#ifndef EXTENSION_PRICING_H
#define EXTENSION_PRICING_H

#include "fmgr.h"
#include "datatype/timestamp.h"

#include "pricing/price.h"

/* The catalogue in effect, for use until the next call that may run a query. */
extern const struct price_catalogue *pricing_catalogue(void);

extern struct price_text pricing_text_arg(FunctionCallInfo fcinfo, int n);
extern int64 pricing_count_arg(FunctionCallInfo fcinfo, int n);
extern int64 pricing_time_us(TimestampTz at);
extern Datum pricing_usd(int64 pico);
extern void pricing_report(enum price_status status);

#endif
