/*
 * What the decoder is told (decode.h) by settings and store: once for all who
 * take events, so that no privacy switch is forgotten by one of them. Any thread.
 */
#ifndef GATEWAY_INGEST_OPTIONS_H
#define GATEWAY_INGEST_OPTIONS_H

#include "gateway/catalogue.h"
#include "gateway/decode.h"
#include "gateway/settings.h"

struct ingest_options
{
	struct decode_options decode;	/* points into the rest: do not copy */
	struct store_facts facts;
	struct catalogue *catalogue;	/* a reference, or NULL */
	int64_t		catalogue_version;	/* for the submission */
};

void		ingest_options_open(struct ingest_options *o, const struct settings *settings, struct store *store);
void		ingest_options_close(struct ingest_options *o);

#endif
