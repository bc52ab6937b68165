/*
 * The statement trigger on users' prices: tells everyone that they changed.
 *
 * Entered by backends. Plain DML neither invalidates caches nor notifies, so
 * this does both: relcache invalidation for the catalogues of all backends (this
 * one's included, at the end of the statement), NOTIFY for gateways. Both are
 * transactional: they go out with the commit, and are forgotten by a rollback.
 */
#include "postgres.h"

#include "commands/async.h"
#include "commands/trigger.h"
#include "utils/inval.h"
#include "utils/rel.h"

#include "extension/pricing.h"

PG_FUNCTION_INFO_V1(ccproxy_price_changed);

Datum
ccproxy_price_changed(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;

	if (!CALLED_AS_TRIGGER(fcinfo) || !TRIGGER_FIRED_FOR_STATEMENT(trigger->tg_event) ||
		!TRIGGER_FIRED_AFTER(trigger->tg_event))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("ccproxy._price_changed() must be an AFTER trigger for each statement")));
	CacheInvalidateRelcache(trigger->tg_relation);
	Async_Notify(PRICING_CHANNEL, "");
	PG_RETURN_POINTER(NULL);
}
