/*
 * Batches: order, repetitions, cutting in half, what becomes of whom.
 */
#include <stdlib.h>

#include "gateway/batch.h"
#include "gateway/catalogue.h"
#include "gateway/parked.h"
#include "test/unit/tap.h"

#define MANY 1000
#define VERSION 4711		/* of the prices */

static struct event
complete(const char *id, int64_t ts_us)
{
	return (struct event) {.kind = EVENT_KIND_COMPLETE, .has_ts = true, .ts_us = ts_us,
	.request_id = id, .request_id_len = (uint32_t) strlen(id)};
}

static struct event
part(const char *id)
{
	struct event e = complete(id, 0);

	e.kind = EVENT_KIND_REQUEST;
	return e;
}

/* The ids of a batch in order; direct ones before a bar. */
static const char *
order_of(const struct batch *b)
{
	static char text[200];
	char	   *p = text;
	bool		bar = false;

	for (size_t i = 0; i < b->nitems; i++)
	{
		if (!b->items[i].direct && !bar)
		{
			*p++ = '|';
			bar = true;
		}
		p += sprintf(p, "%.*s", (int) b->items[i].event->request_id_len, b->items[i].event->request_id);
	}
	*p = '\0';
	return text;
}

static void
test_order(void)
{
	struct event first[] = {complete("c", 2), complete("b", 1), part("p"), complete("a", 2)};
	struct event second[] = {complete("d", 0), complete("bb", 1), complete("b", 2)};
	struct submission b2 = {.catalogue_version = VERSION, .events = second, .nevents = 3};
	struct submission b1 = {.catalogue_version = VERSION, .events = first, .nevents = 4, .next = &b2};
	struct batch b;

	batch_init(&b);
	ok(batch_fill(&b, &b1, VERSION, NULL), "two submissions");
	is_str(order_of(&b), "dbbbabc|p", "direct ones by time and id, then the rest");
	is_int(b.nunits, 1, "one unit");
	is_int((int64_t) batch_current(&b)->count, 7, "of all of them");
	for (size_t i = 0; i < b.nitems; i++)
		b.items[i].event->outcome = EVENT_ACCEPTED;
	batch_pop(&b);
	ok(batch_current(&b) == NULL, "done");
	ok(batch_finish(&b, 7) == &b1 && b1.next == &b2, "the submissions come back");
	ok(b1.result == SUBMISSION_STORED && b2.result == SUBMISSION_STORED, "stored");
	ok(b.submissions == NULL && b.nitems == 0, "the batch is empty");
	batch_free(&b);
}

static void
test_repeats(void)
{
	struct event first[] = {complete("a", 1), complete("a", 1), complete("b", 1), complete("a", 2)};
	struct event second[] = {complete("a", 1), complete("b", 1), part("x"), part("x")};
	struct submission s2 = {.catalogue_version = VERSION, .events = second, .nevents = 4};
	struct submission s1 = {.catalogue_version = VERSION, .events = first, .nevents = 4, .next = &s2};
	struct batch b;

	batch_init(&b);
	ok(batch_fill(&b, &s1, VERSION, NULL), "events with repetitions");
	is_str(order_of(&b), "aba|xx", "the same key is stored once; parts are the server's affair");
	is_int((int64_t) b.nrepeats, 3, "the others are kept aside");
	for (size_t i = 0; i < b.nitems; i++)
		b.items[i].event->outcome = EVENT_ACCEPTED;
	/* the server refuses b */
	for (size_t i = 0; i < b.nitems; i++)
		if (b.items[i].event->request_id[0] == 'b')
		{
			b.items[i].event->outcome = EVENT_REJECTED;
			b.items[i].event->reject_reason = "no";
		}
	batch_pop(&b);
	(void) batch_finish(&b, 7);
	{
		int			accepted = 0;
		int			duplicate = 0;
		int			rejected = 0;

		for (int i = 0; i < 4; i++)
			for (int s = 0; s < 2; s++)
			{
				const struct event *e = s ? &second[i] : &first[i];

				accepted += e->outcome == EVENT_ACCEPTED;
				duplicate += e->outcome == EVENT_DUPLICATE;
				rejected += e->outcome == EVENT_REJECTED && strcmp(e->reject_reason, "no") == 0;
			}
		ok(accepted == 4 && duplicate == 2 && rejected == 2, "repetitions share the fate of the first");
	}
	batch_free(&b);
}

static void
test_parts(void)
{
	struct event events[] = {complete("a", 1), complete("b", 1), part("b"), complete("b", 2), complete("c", 1)};
	struct submission s = {.catalogue_version = VERSION, .events = events, .nevents = 5};
	struct batch b;

	batch_init(&b);
	ok(batch_fill(&b, &s, VERSION, NULL), "a request complete and in parts");
	is_str(order_of(&b), "ac|bbb", "is merged as a whole");
	(void) batch_finish(&b, 7);
	batch_free(&b);
}

/* Costs that were computed with other prices are the server's to compute again. */
static void
test_prices(void)
{
	struct event first[] = {complete("a", 1), complete("b", 1)};
	struct event second[] = {complete("b", 1), complete("c", 1)};
	struct event third[] = {complete("d", 1)};
	struct submission s3 = {.catalogue_version = CATALOGUE_NONE, .events = third, .nevents = 1};
	struct submission s2 = {.catalogue_version = VERSION + 1, .events = second, .nevents = 2, .next = &s3};
	struct submission s1 = {.catalogue_version = VERSION, .events = first, .nevents = 2, .next = &s2};
	struct batch b;

	batch_init(&b);
	ok(batch_fill(&b, &s1, VERSION, NULL), "events priced with three catalogues");
	is_str(order_of(&b), "a|bbcd", "only those of the right one are copied as they are");
	is_int(b.catalogue_version, VERSION, "which the batch remembers");
	(void) batch_finish(&b, 7);
	ok(batch_fill(&b, &s1, CATALOGUE_NONE, NULL), "no catalogue");
	is_str(order_of(&b), "|abbcd", "nothing is copied as it is, not even what was never priced");
	(void) batch_finish(&b, 7);
	batch_free(&b);
}

static void
test_recent(void)
{
	struct event first[] = {complete("a", 1), complete("a", 2), complete("known", 1), part("p")};
	struct submission s1 = {.catalogue_version = VERSION, .events = first, .nevents = 4};
	struct event second[] = {complete("known", 1), complete("known", 1), complete("p", 3), part("p")};
	struct submission s2 = {.catalogue_version = VERSION, .events = second, .nevents = 4};
	struct event suspected = complete("p", 3);
	struct event known = complete("known", 1);
	struct event later = complete("known", 2);
	struct recent recent;
	struct recent none;
	struct batch b;
	int			kept = 0;

	ok(recent_init(&recent, 1000), "a filter");
	recent_add(&recent, recent_key(&recent, &known));
	recent_add(&recent, recent_key(&recent, &known));
	recent_add(&recent, recent_key(&recent, &suspected));
	ok(recent_has(&recent, recent_key(&recent, &known)), "a key is remembered");
	ok(!recent_has(&recent, recent_key(&recent, &later)), "the same id at another time is another key");

	batch_init(&b);
	ok(batch_fill(&b, &s1, VERSION, &recent), "one that is known among others");
	is_int((int64_t) b.nsuspects, 1, "is suspected");
	is_str(order_of(&b), "aa|pknown", "and not copied");
	b.items[3].known = true;
	batch_suspect_all(&b);
	ok(b.items[0].suspect && b.items[1].suspect && !b.items[2].suspect && b.items[3].suspect, "direct ones may all be suspected");
	b.items[0].direct = false;
	b.items[0].known = true;
	batch_sort_unit(&b);
	is_str(order_of(&b), "a|paknown", "what is known comes last");
	is_int(b.items[0].ts_us, 2, "what is new first");
	batch_pop(&b);
	(void) batch_finish(&b, 7);
	ok(batch_fill(&b, &s2, VERSION, &recent), "a suspect twice, and one beside its part");
	is_str(order_of(&b), "|pknownp", "is asked about once; what has a part is merged");
	ok(b.items[1].suspect && !b.items[0].suspect && !b.items[2].suspect, "and not asked about");
	is_int((int64_t) b.nrepeats, 1, "the repetition is kept aside");
	batch_pop(&b);
	(void) batch_finish(&b, 7);
	ok(recent_init(&none, 0) && batch_fill(&b, &s1, VERSION, &none), "no filter");
	is_str(order_of(&b), "aknowna|p", "suspects nobody");
	batch_pop(&b);
	(void) batch_finish(&b, 7);
	batch_free(&b);
	recent_free(&none);

	/* twenty times what there is room for: it stays bounded and keeps the newest */
	for (int i = 0; i < 20480; i++)
	{
		struct event e = complete("x", i);

		recent_add(&recent, recent_key(&recent, &e));
	}
	for (int i = 0; i < 20480; i++)
	{
		struct event e = complete("x", i);
		bool		has = recent_has(&recent, recent_key(&recent, &e));

		kept += has;
		if (i == 20479)
			ok(has, "the newest is known");
	}
	ok(recent.buckets * 8 == 1024 && kept > 1000 && kept <= 1024, "as many are known as there is room for");
	ok(!recent_has(&recent, recent_key(&recent, &known)), "the oldest is forgotten");
	recent_free(&recent);
}

static void
test_setting_aside(void)
{
	struct event old[] = {complete("a", 1), complete("b", 1)};
	struct event mixed[] = {complete("a", 1), complete("new", 1)};
	struct event parts[] = {part("a")};
	struct submission s3 = {.events = parts, .nevents = 1};
	struct submission s2 = {.events = mixed, .nevents = 2, .next = &s3};
	struct submission s1 = {.events = old, .nevents = 2, .next = &s2};
	struct submission *list = &s1;
	struct recent recent;

	ok(recent_init(&recent, 1000), "room for keys");
	ok(batch_set_aside(&list, &recent) == NULL && list == &s1, "nothing is known: all go on");
	for (int i = 0; i < 2; i++)
		recent_add(&recent, recent_key(&recent, &old[i]));
	ok(batch_set_aside(&list, &recent) == &s1 && s1.next == NULL, "nothing but repetitions waits");
	ok(list == &s2 && s2.next == &s3 && s3.next == NULL, "while something new and a part go on");
	for (int i = 2; i <= BATCH_MAX_ASIDE; i++)
	{
		s1.next = &s2;
		list = &s1;
		ok(batch_set_aside(&list, &recent) == &s1, "again");
	}
	s1.next = &s2;
	list = &s1;
	ok(batch_set_aside(&list, &recent) == &s2 && s2.next == &s3 && s3.next == NULL, "but not for ever: then the others wait");
	ok(list == &s1 && s1.next == NULL, "while it is asked about");
	s1.set_aside = 0;
	ok(batch_set_aside(&list, &recent) == NULL && list == &s1 && s1.set_aside == 0, "nor when nobody else is there");
	recent_free(&recent);
}

static void
test_splitting(void)
{
	struct event *events = calloc(MANY, sizeof(*events));
	char		(*ids)[12] = calloc(MANY, sizeof(*ids));
	struct submission s1;
	struct submission s2;
	struct batch b;
	int			transactions = 0;

	for (int i = 0; i < MANY; i++)
	{
		snprintf(ids[i], sizeof(ids[i]), "%04d", i);
		events[i] = complete(ids[i], 1);
	}
	s2 = (struct submission) {.catalogue_version = VERSION, .events = events + MANY / 2, .nevents = MANY / 2};
	s1 = (struct submission) {.catalogue_version = VERSION, .events = events, .nevents = MANY / 2, .next = &s2};
	batch_init(&b);
	ok(batch_fill(&b, &s1, VERSION, NULL), "a thousand events");
	/* a server that refuses number 777 and stores whatever else it gets */
	for (struct batch_unit *unit; (unit = batch_current(&b)) != NULL;)
	{
		bool		poisoned = unit->first <= 777 && 777 < unit->first + unit->count;

		transactions++;
		if (poisoned && unit->count > 1)
		{
			char		id[UUID_TEXT_CHARS + 1];

			memcpy(id, unit->id, sizeof(id));
			if (!batch_split(&b) || strcmp(id, batch_current(&b)->id) == 0)
			{
				ok(false, "halves have ids of their own");
				break;
			}
			continue;
		}
		for (size_t i = 0; i < unit->count; i++)
			events[unit->first + i].outcome = poisoned ? EVENT_REJECTED : EVENT_ACCEPTED;
		batch_pop(&b);
		/* then the connection goes */
		if (poisoned)
			break;
	}
	ok(transactions <= 2 * 10 + 1, "found in about 2 log2(n) transactions");
	(void) batch_finish(&b, 7);
	is_int(s1.result, SUBMISSION_STORED, "the first submission had been stored");
	is_int(s2.result, SUBMISSION_UNAVAILABLE, "the second was not done with");
	is_int(s2.retry_after_s, 7, "it is to come again");
	ok(events[777].outcome == EVENT_REJECTED && events[776].outcome == EVENT_ACCEPTED && events[999].outcome == EVENT_PENDING,
	   "events know");

	/* the worst: every row is refused */
	events[0].outcome = EVENT_PENDING;
	s1 = (struct submission) {.catalogue_version = VERSION, .events = events, .nevents = MANY};
	ok(batch_fill(&b, &s1, VERSION, NULL), "the same again");
	for (struct batch_unit *unit; (unit = batch_current(&b)) != NULL;)
	{
		if (unit->count > 1)
		{
			if (!batch_split(&b))
				break;
		}
		else
		{
			events[unit->first].outcome = EVENT_REJECTED;
			batch_pop(&b);
		}
	}
	is_int(b.nunits, 0, "every row refused: no unit is left over");
	(void) batch_finish(&b, 7);
	is_int(s1.result, SUBMISSION_STORED, "and every event has its outcome");
	batch_free(&b);
	free(events);
	free(ids);
}

static void
test_empty(void)
{
	struct submission s = {.nevents = 0};
	struct batch b;

	batch_init(&b);
	ok(batch_fill(&b, &s, VERSION, NULL) && batch_current(&b) == NULL, "no events, no unit");
	ok(batch_finish(&b, 1) == &s && s.result == SUBMISSION_STORED, "answered all the same");
	batch_free(&b);
}

/* Batches told apart by their deadlines. */
static bool
park(struct parked *p, int64_t deadline_us, bool first)
{
	struct batch b;

	batch_init(&b);
	b.worked_us = deadline_us;
	return parked_push(p, &b, deadline_us, first) && b.worked_us == 0;
}

static int64_t
unpark(struct parked *p)
{
	struct batch b;
	int64_t		deadline_us;

	batch_init(&b);
	if (!parked_pop(p, &b, &deadline_us))
		return -1;
	return b.worked_us == deadline_us ? deadline_us : -2;
}

static void
test_parking(void)
{
	struct parked p = {NULL, NULL};

	is_int(unpark(&p), -1, "nothing is parked");
	ok(park(&p, 1, false) && park(&p, 2, false), "two are");
	is_int(unpark(&p), 1, "the first comes first");
	ok(park(&p, 1, true) && park(&p, 3, false), "it is not through, and another comes");
	is_int(unpark(&p), 1, "it is first again");
	is_int(unpark(&p), 2, "then the second");
	ok(park(&p, 2, true), "which is not through either");
	is_int(unpark(&p), 2, "it goes on");
	is_int(unpark(&p), 3, "and the last is last");
	is_int(unpark(&p), -1, "nothing is left");
	ok(park(&p, 4, true) && park(&p, 5, false), "and again");
	is_int(unpark(&p), 4, "in order");
	is_int(unpark(&p), 5, "in order");
}

int
main(void)
{
	test_parking();
	test_order();
	test_repeats();
	test_parts();
	test_prices();
	test_recent();
	test_setting_aside();
	test_splitting();
	test_empty();
	return done_testing();
}
