/*
 * The decoder's options; see ingest_options.h.
 */
#include "gateway/ingest_options.h"

#include "gateway/log.h"

void
ingest_options_open(struct ingest_options *o, const struct settings *settings, struct store *store)
{
	store_get_facts(store, &o->facts);
	o->catalogue = store_get_prices(store);
	o->catalogue_version = o->catalogue ? o->catalogue->version : CATALOGUE_NONE;
	o->decode = (struct decode_options) {
		.facts = &o->facts,
		.prices = o->catalogue ? o->catalogue->prices : NULL,
		.now_us = wall_clock_us(),
		.max_events = (size_t) settings->max_events_per_request,
		.max_event_bytes = (size_t) settings->max_event_bytes,
		.max_depth = (int) settings->max_depth,
		.max_fields = (size_t) settings->max_event_fields,
		.max_errors = (size_t) settings->max_listed_errors,
		.hash_user_ids = settings->hash_user_ids,
		.drop_client_ip = settings->drop_client_ip,
		.drop_user_agent = settings->drop_user_agent,
		.drop_error_message = settings->drop_error_message,
	};
}

void
ingest_options_close(struct ingest_options *o)
{
	catalogue_release(o->catalogue);
}
