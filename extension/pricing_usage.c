/*
 * usage_tokens(): a provider's usage object as disjoint buckets; price_usage():
 * what it costs, with the shares of audio and images that the buckets have.
 *
 * Entered by backends and parallel workers; pricing/usage.c does the work.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "fmgr.h"
#include "funcapi.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/timestamp.h"

#include "extension/pricing.h"
#include "pricing/usage.h"

#define COLUMNS	12

PG_FUNCTION_INFO_V1(ccproxy_usage_tokens);
PG_FUNCTION_INFO_V1(ccproxy_price_usage);

static void
report_convention(struct price_text name)
{
	StringInfoData list;

	initStringInfo(&list);
	for (int i = 0; i < PRICE_CONVENTIONS; i++)
		appendStringInfo(&list, "%s%s", i > 0 ? ", " : "", price_convention_name(i));
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("unknown usage convention \"%.*s\"", (int) Min(name.len, 64), name.p),
			 errhint("Conventions are: %s.", list.data)));
}

/* The buckets of arguments 0 (jsonb) and 1 (convention), or an error. */
static struct price_usage_result
read_usage(FunctionCallInfo fcinfo)
{
	Jsonb	   *usage = PG_GETARG_JSONB_P(0);
	struct price_text name = pricing_text_arg(fcinfo, 1);
	char	   *json = JsonbToCString(NULL, &usage->root, VARSIZE(usage));
	struct price_usage_result r;
	enum price_convention convention;
	enum price_usage_status status;

	if (!price_convention_named(name, &convention))
		report_convention(name);
	status = price_usage_from_json(convention, (struct price_text) {json, strlen(json)}, &r);
	if (status != PRICE_USAGE_OK)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("usage %s%s%s %s", r.field == NULL ? "object" : "field \"", r.field == NULL ? "" : r.field,
						r.field == NULL ? "" : "\"", price_usage_status_text(status))));
	pfree(json);
	return r;
}

Datum
ccproxy_usage_tokens(PG_FUNCTION_ARGS)
{
	struct price_usage_result r = read_usage(fcinfo);
	TupleDesc	desc;
	Datum		v[COLUMNS];
	bool		null[COLUMNS] = {false};

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	v[0] = Int64GetDatum(r.usage.input);
	v[1] = Int64GetDatum(r.usage.cache_read);
	v[2] = Int64GetDatum(r.usage.cache_write);
	v[3] = Int64GetDatum(r.usage.cache_write_1h);
	v[4] = Int64GetDatum(r.usage.output);
	v[5] = Int64GetDatum(r.usage.reasoning);
	for (int i = 0; i < 6; i++)
		null[i] = (r.present & (1u << i)) == 0;
	v[6] = Int64GetDatum(r.usage.audio_of_input);
	v[7] = Int64GetDatum(r.usage.audio_of_cache_read);
	v[8] = Int64GetDatum(r.usage.audio_of_output);
	v[9] = Int64GetDatum(r.usage.image_of_input);
	v[10] = Int64GetDatum(r.usage.image_of_output);
	v[11] = Int64GetDatum(r.usage.web_searches);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), v, null)));
}

/*
 * price_usage(usage, convention, model, provider, service_tier, at, model_version)
 */
Datum
ccproxy_price_usage(PG_FUNCTION_ARGS)
{
	struct price_request request = {
		.model = pricing_text_arg(fcinfo, 2),
		.provider = pricing_text_arg(fcinfo, 3),
		.service_tier = pricing_text_arg(fcinfo, 4),
		.model_version = pricing_text_arg(fcinfo, 6),
	};
	struct price_cost cost = {0};
	enum price_status status = PRICE_NO_PRICE_AT_TIME;

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		PG_RETURN_NULL();
	request.usage = read_usage(fcinfo).usage;
	if (!PG_ARGISNULL(5))
	{
		request.at_us = pricing_time_us(PG_GETARG_TIMESTAMPTZ(5));
		status = pricing_price(&request, &cost);
		pricing_report(status);
	}
	PG_RETURN_DATUM(pricing_cost_datum(fcinfo, status == PRICE_PRICED ? &cost : NULL));
}
