/*
 * Fuzz: any bytes as a spooled unit. What is taken is written again as the very
 * same bytes, and every id lies within its row. The first byte says whether the
 * magic and the fingerprint are put right, so that the rest gets its turn.
 */
#include <stdlib.h>
#include <string.h>

#include "gateway/spool_record.h"

int			LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
require(bool condition)
{
	if (!condition)
		abort();
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct spool_unit unit;
	struct submission s;
	struct batch b;
	bool		no_memory;
	uint8_t    *payload;
	uint8_t    *again;
	size_t		len = size > 0 ? size - 1 : 0;

	payload = malloc(len + 1);
	require(payload != NULL);
	if (len > 0)
		memcpy(payload, data + 1, len);
	if (size > 0 && data[0] % 2 == 0 && len >= 8)
	{
		uint32_t	fingerprint = spool_columns_fingerprint();

		memcpy(payload, "CSR1", 4);
		for (int i = 0; i < 4; i++)
			payload[4 + i] = (uint8_t) (fingerprint >> (8 * i));
	}
	if (spool_record_decode(payload, len, &unit, &no_memory))
	{
		for (size_t i = 0; i < unit.nevents; i++)
		{
			const struct event *e = &unit.events[i];
			const uint8_t *id = (const uint8_t *) e->request_id;

			require(e->row >= payload && e->row + e->row_len <= payload + len);
			require(id >= e->row && id + e->request_id_len <= e->row + e->row_len);
		}
		s = (struct submission) {.events = unit.events, .nevents = unit.nevents, .catalogue_version = unit.catalogue_version};
		batch_init(&b);
		require(batch_restore(&b, &s, unit.ndirect, unit.staged, "01234567-89ab-cdef-0123-456789abcdef"));
		require(spool_record_size(&b, batch_current(&b)) == len);
		again = malloc(len);
		require(again != NULL);
		spool_record_encode(&b, batch_current(&b), again);
		require(memcmp(again, payload, len) == 0);
		free(again);
		(void) batch_finish(&b, 0);
		batch_free(&b);
		spool_unit_free(&unit);
	}
	free(payload);
	return 0;
}
