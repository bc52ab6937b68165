/*
 * Spooled units: what is written is read again, and nothing else is.
 */
#include <stdlib.h>

#include "gateway/copy.h"
#include "gateway/spool_record.h"
#include "test/unit/tap.h"

#define VERSION 4711
#define IDS 3

static const char *const ids[IDS] = {"first", "second", "a third one"};
static uint8_t rows[IDS][1024];
static struct event events[IDS];
static struct submission submission = {.events = events, .nevents = IDS, .catalogue_version = VERSION};

static void
make_events(void)
{
	for (int i = 0; i < IDS; i++)
	{
		struct copy_value values[EVENT_COLUMNS] = {
			[EVENT_COL_request_id] = {.present = true, .text = ids[i], .len = (uint32_t) strlen(ids[i])},
			[EVENT_COL_model] = {.present = true, .text = "gpt-4", .len = 5},
			[EVENT_COL_input_tokens] = {.present = true, .number = 1000 + i},
			[EVENT_COL_metadata] = {.present = i == 1, .text = "{}", .len = 2},
		};

		events[i] = (struct event) {.index = i, .kind = EVENT_KIND_COMPLETE, .has_ts = true, .ts_us = 1000 + i,
		.row = rows[i], .row_len = (uint32_t) copy_row_size(values), .request_id_len = (uint32_t) strlen(ids[i])};
		copy_row_encode(values, rows[i], &events[i].request_id);
	}
	events[2].kind = EVENT_KIND_REQUEST;
	events[2].has_ts = false;
}

static uint8_t *
encode(struct batch *b, size_t *len)
{
	uint8_t    *payload;

	*len = spool_record_size(b, batch_current(b));
	payload = malloc(*len);
	spool_record_encode(b, batch_current(b), payload);
	return payload;
}

static void
test_round(void)
{
	struct batch b;
	struct batch again;
	struct spool_unit unit;
	bool		no_memory;
	size_t		len;
	uint8_t    *payload;
	uint8_t    *second;
	size_t		second_len;
	struct submission restored;

	batch_init(&b);
	batch_init(&again);
	ok(batch_fill(&b, &submission, VERSION, NULL), "a batch");
	payload = encode(&b, &len);
	ok(spool_record_decode(payload, len, &unit, &no_memory), "is read again");
	is_int((int64_t) unit.nevents, IDS, "with all events");
	is_int((int64_t) unit.ndirect, 2, "the direct ones first");
	is_int(unit.catalogue_version, VERSION, "and the version of their prices");
	ok(!unit.staged, "not all through merging");
	for (int i = 0; i < IDS; i++)
	{
		const struct event *e = &unit.events[i];

		ok(e->request_id_len == strlen(ids[i]) && memcmp(e->request_id, ids[i], e->request_id_len) == 0, "an event's id");
		ok(e->ts_us == events[i].ts_us && e->kind == events[i].kind && e->has_ts == events[i].has_ts &&
		   e->row_len == events[i].row_len && memcmp(e->row, events[i].row, e->row_len) == 0, "its time, kind and row");
	}

	restored = (struct submission) {.events = unit.events, .nevents = unit.nevents, .catalogue_version = unit.catalogue_version};
	ok(batch_restore(&again, &restored, unit.ndirect, unit.staged, batch_current(&b)->id), "it becomes a batch again");
	is_str(batch_current(&again)->id, batch_current(&b)->id, "under the same id");
	second = encode(&again, &second_len);
	ok(second_len == len && memcmp(second, payload, len) == 0, "which is written the same way");
	free(second);

	batch_current(&b)->staged = true;
	second = encode(&b, &second_len);
	(void) batch_finish(&again, 1);
	spool_unit_free(&unit);
	ok(spool_record_decode(second, second_len, &unit, &no_memory) && unit.staged, "one that is to be merged stays so");
	spool_unit_free(&unit);
	free(second);

	/* whatever is cut off or changed in what holds it together, it is none */
	{
		int			taken = 0;
		uint8_t    *cut = malloc(len);

		for (size_t n = 0; n < len; n++)
		{
			memcpy(cut, payload, n);
			if (spool_record_decode(cut, n, &unit, &no_memory))
			{
				taken++;
				spool_unit_free(&unit);
			}
		}
		is_int(taken, 0, "no shorter one is taken");
		memcpy(cut, payload, len);
		cut[4] ^= 1;
		ok(!spool_record_decode(cut, len, &unit, &no_memory) && !no_memory, "nor one of other columns");
		free(cut);
	}
	(void) batch_finish(&b, 1);
	batch_free(&b);
	batch_free(&again);
	free(payload);
}

static void
test_checksum(void)
{
	struct spool_head head = {.batch_id = "01234567-89ab-cdef-0123-456789abcdef", .received_us = 77, .events = 3};
	const uint8_t payload[] = "payload";
	uint32_t	sum = spool_record_checksum(&head, payload, sizeof(payload));
	struct spool_head other = head;

	is_int(sum, spool_record_checksum(&other, payload, sizeof(payload)), "the same bytes, the same checksum");
	other.batch_id[3]++;
	ok(spool_record_checksum(&other, payload, sizeof(payload)) != sum, "it covers the batch id");
	other = head;
	other.received_us++;
	ok(spool_record_checksum(&other, payload, sizeof(payload)) != sum, "the time");
	other = head;
	other.events++;
	ok(spool_record_checksum(&other, payload, sizeof(payload)) != sum, "the count");
	ok(spool_record_checksum(&head, payload, sizeof(payload) - 1) != sum, "and the payload");
}

static void
test_outcomes(void)
{
	struct event twice[2];
	struct submission s = {.events = twice, .nevents = 2, .catalogue_version = VERSION};
	struct batch b;

	twice[0] = twice[1] = events[0];
	batch_init(&b);
	ok(batch_fill(&b, &s, VERSION, NULL), "an event twice");
	batch_set_spooled(&b);
	(void) batch_finish(&b, 5);
	is_int(s.result, SUBMISSION_STORED, "spooled is stored");
	ok((twice[0].outcome == EVENT_SPOOLED && twice[1].outcome == EVENT_DUPLICATE) ||
	   (twice[1].outcome == EVENT_SPOOLED && twice[0].outcome == EVENT_DUPLICATE), "once; the other is a duplicate");
	batch_free(&b);
}

int
main(void)
{
	make_events();
	test_round();
	test_checksum();
	test_outcomes();
	return done_testing();
}
