/*
 * A spooled unit as bytes: what one transaction is to store, with the batch id
 * it is stored under. Pure; any thread. Trusts nothing that it reads: a fuzzer
 * calls it directly.
 *
 * Little-endian: magic, fingerprint of the columns, version of the prices,
 * flags, count, how many are direct; then of each event ts, kind, whether the ts
 * is its own, length of the row, the row as binary COPY has it (event.h). The
 * checksum covers these bytes and what is stored beside them.
 */
#ifndef GATEWAY_SPOOL_RECORD_H
#define GATEWAY_SPOOL_RECORD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "gateway/batch.h"

/* What is kept beside the payload. */
struct spool_head
{
	char		batch_id[UUID_TEXT_CHARS + 1];
	int64_t		received_us;	/* Unix epoch: when it was spooled */
	uint32_t	events;
};

/* What a payload says; the events are in its order, direct ones first. */
struct spool_unit
{
	struct event *events;		/* rows and ids point into the payload */
	size_t		nevents;
	size_t		ndirect;
	int64_t		catalogue_version;
	bool		staged;
};

/* Tells which columns rows have: another number, another version of the program. */
uint32_t	spool_columns_fingerprint(void);

size_t		spool_record_size(const struct batch *b, const struct batch_unit *unit);
/* Writes exactly that many bytes. */
void		spool_record_encode(const struct batch *b, const struct batch_unit *unit, uint8_t *out);
uint32_t	spool_record_checksum(const struct spool_head *head, const uint8_t *payload, size_t len);
/*
 * Reads a payload; it must live as long as the unit. False, with nothing to
 * free, when it is none or memory runs out (then *no_memory).
 */
bool		spool_record_decode(const uint8_t *payload, size_t len, struct spool_unit *unit, bool *no_memory)
			__attribute__((warn_unused_result));
void		spool_unit_free(struct spool_unit *unit);

#endif
