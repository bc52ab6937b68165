/*
 * What decoding needs and only the database says (store.h), kept in the spool's
 * file from the last connection, so that a gateway that starts while PostgreSQL
 * is away takes events all the same. It includes the secret that API keys are
 * hashed with: the file is readable by its owner alone. The spooler's thread.
 */
#ifndef GATEWAY_SPOOL_FACTS_H
#define GATEWAY_SPOOL_FACTS_H

#include "gateway/catalogue.h"
#include "gateway/spool_file.h"

/* c may be NULL: prices stay as they are. */
enum spool_status spool_facts_save(struct spool_file *f, const struct store_facts *facts, const struct catalogue *c)
			__attribute__((warn_unused_result));
/* What was saved: facts->known says whether anything was; *c is a reference, or NULL. */
void		spool_facts_load(struct spool_file *f, struct store_facts *facts, struct catalogue **c);

#endif
