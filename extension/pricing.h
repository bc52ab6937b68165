/*
 * What the extension's pricing files share: arguments in, dollars out, the
 * catalogue this backend prices with and the tables it comes from.
 */
#ifndef EXTENSION_PRICING_H
#define EXTENSION_PRICING_H

#include "fmgr.h"
#include "datatype/timestamp.h"
#include "utils/jsonb.h"

#include "pricing/price.h"

/* Ours alone: calls between our files need no indirection. */
#pragma GCC visibility push(hidden)

/* Schema and tables of users' prices, made by _create_pricing_tables(). */
#define PRICING_SCHEMA			"ccproxy"
#define PRICING_TABLE			"price"
#define PRICING_CLOSING_TABLE	"price_closing"

/* NOTIFY on this channel says that prices changed. */
#define PRICING_CHANNEL			"ccproxy_prices"

/* What a backend prices with; see pricing_cache.c. */
struct pricing_state
{
	const struct price_catalogue *catalogue;
	const struct price_row *const *rows;	/* all rows of it, shipped and users' */
	size_t		n_rows;
	uint64		generation;		/* counts loads in this backend */
};

/*
 * The prices in effect. Valid until the next call of this function: callers
 * must not run queries while they use it.
 */
extern const struct pricing_state *pricing_state(void);

/* A digest of them all, which changes when any price does. */
extern int64 pricing_version(void);

/* Price a request with them, remembering what names lead to (pricing_memo.c). */
extern enum price_status pricing_price(const struct price_request *request, struct price_cost *cost);

/* Arguments and results (pricing.c). */
extern int64 pricing_time_us(TimestampTz at);
extern TimestampTz pricing_timestamp(int64 us);
extern Datum pricing_usd(int64 pico);
extern void pricing_report(enum price_status status);
extern Datum pricing_cost_datum(FunctionCallInfo fcinfo, const struct price_cost *cost);

/* ccproxy.request_cost_pico: the parts of a cost and the price's id, as rows keep them. */
#define PRICING_PICO_COLUMNS	6
extern void pricing_pico_values(struct price_request *request, Jsonb *metadata, Datum values[PRICING_PICO_COLUMNS], bool nulls[PRICING_PICO_COLUMNS]);

/* A text argument where it lies, or absent. */
static inline struct price_text
pricing_text_arg(FunctionCallInfo fcinfo, int n)
{
	text	   *t;

	if (PG_ARGISNULL(n))
		return (struct price_text) {NULL, 0};
	t = PG_GETARG_TEXT_PP(n);
	return (struct price_text) {VARDATA_ANY(t), VARSIZE_ANY_EXHDR(t)};
}

static inline int64
pricing_count_arg(FunctionCallInfo fcinfo, int n)
{
	return PG_ARGISNULL(n) ? 0 : PG_GETARG_INT64(n);
}

/* A set-returning function's result, collected (pricing_rows.c). */
struct pricing_result
{
	struct Tuplestorestate *store;
	struct TupleDescData *desc;
};
extern struct pricing_result pricing_begin_result(FunctionCallInfo fcinfo);
extern void pricing_add_result(const struct pricing_result *result, Datum *values, bool *nulls);

/* A price as ccproxy.price_row. */
#define PRICING_ROW_COLUMNS	(16 + PRICE_RATES)
extern void pricing_row_values(const struct price_row *row, Datum values[PRICING_ROW_COLUMNS], bool nulls[PRICING_ROW_COLUMNS]);

/* Users' prices and closings, read from their tables (pricing_table.c). */
struct pricing_user_rows
{
	struct price_row *rows;
	size_t		n_rows;
	struct pricing_closing
	{
		int32		price_id;
		int64		to_us;
	}		   *closings;
	size_t		n_closings;
};
extern struct pricing_user_rows pricing_read_tables(Oid price_table, Oid closing_table);

#pragma GCC visibility pop

#endif
