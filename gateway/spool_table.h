/*
 * The table `metrics` of metrics_storage = sqlite: beside the records, the same
 * events as rows one can query with sqlite3. Written in the transaction of the
 * records, never read by the gateway. The spooler's thread.
 */
#ifndef GATEWAY_SPOOL_TABLE_H
#define GATEWAY_SPOOL_TABLE_H

#include "gateway/spool_file.h"

/* Makes it where it is missing. */
enum spool_status spool_table_create(struct spool_file *f) __attribute__((warn_unused_result));
/* The rows of a unit, within the open transaction. An event that is there
 * already changes nothing, a part fills in what it knows. */
enum spool_status spool_table_write(struct spool_file *f, const struct batch *b, const struct batch_unit *unit)
			__attribute__((warn_unused_result));

#endif
