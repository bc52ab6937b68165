/*
 * _parse_prices(): a public price catalogue as rows, and what could not be one.
 *
 * Entered by backends. pricing/price_import*.c does the reading; whether a row is
 * new, and putting it into the table, is import_prices()'s (sql/34_import.sql).
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/typcache.h"

#include "extension/pricing.h"
#include "pricing/price_import.h"

#define COLUMNS	4				/* ord, entry, reason, price */

PG_FUNCTION_INFO_V1(ccproxy_parse_prices);

struct parsing
{
	struct pricing_result result;
	TupleDesc	price_desc;
	int32		ord;
	MemoryContext scratch;		/* reset after every row */
};

static void
add(struct parsing *p, struct price_text entry, const char *reason, Datum price)
{
	Datum		v[COLUMNS];
	bool		null[COLUMNS] = {false};

	v[0] = Int32GetDatum(++p->ord);
	v[1] = PointerGetDatum(cstring_to_text_with_len(entry.p, entry.len));
	null[2] = reason == NULL;
	v[2] = null[2] ? (Datum) 0 : CStringGetTextDatum(reason);
	null[3] = price == (Datum) 0;
	v[3] = price;
	pricing_add_result(&p->result, v, null);
}

static void
add_price(void *arg, struct price_text entry, const struct price_row *row)
{
	struct parsing *p = arg;
	MemoryContext caller = MemoryContextSwitchTo(p->scratch);
	Datum		v[PRICING_ROW_COLUMNS];
	bool		null[PRICING_ROW_COLUMNS];

	CHECK_FOR_INTERRUPTS();
	pricing_row_values(row, v, null);
	null[0] = true;				/* its id is not given yet */
	add(p, entry, NULL, HeapTupleGetDatum(heap_form_tuple(p->price_desc, v, null)));
	MemoryContextSwitchTo(caller);
	MemoryContextReset(p->scratch);
}

static void
add_skipped(void *arg, struct price_text entry, const char *reason)
{
	add(arg, entry, reason, (Datum) 0);
}

Datum
ccproxy_parse_prices(PG_FUNCTION_ARGS)
{
	struct price_text json = pricing_text_arg(fcinfo, 0);
	struct price_text name = pricing_text_arg(fcinfo, 1);
	struct parsing p = {.result = pricing_begin_result(fcinfo)};
	struct price_import_sink sink = {add_price, add_skipped, &p};
	enum price_import_format format = PRICE_IMPORT_LITELLM;
	enum price_import_status status;

	if (name.p == NULL)
	{
		if (!price_import_detect(json, &format))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("price catalogue is neither a JSON object nor an array")));
	}
	else
	{
		while (format < PRICE_IMPORT_FORMATS &&
			   (strlen(price_import_format_name(format)) != name.len ||
				memcmp(price_import_format_name(format), name.p, name.len) != 0))
			format++;
		if (format == PRICE_IMPORT_FORMATS)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("unknown format of a price catalogue: \"%.*s\"", (int) Min(name.len, 64), name.p),
					 errhint("Formats are litellm and genai-prices.")));
	}
	p.price_desc = lookup_rowtype_tupdesc_copy(TupleDescAttr(p.result.desc, COLUMNS - 1)->atttypid, -1);
	p.price_desc = BlessTupleDesc(p.price_desc);
	p.scratch = AllocSetContextCreate(CurrentMemoryContext, "a price being imported", ALLOCSET_DEFAULT_SIZES);
	status = price_import(format, json, &sink);
	if (status != PRICE_IMPORT_OK)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("cannot import prices: %s", price_import_status_text(status)),
				 errdetail("The format is %s.", price_import_format_name(format))));
	PG_RETURN_NULL();
}
