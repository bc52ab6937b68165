/*
 * Batches; see batch.h.
 */
#include "gateway/batch.h"

#include <stdlib.h>
#include <string.h>

#include "gateway/catalogue.h"

void
batch_init(struct batch *b)
{
	*b = (struct batch) {0};
}

void
batch_free(struct batch *b)
{
	free(b->items);
	free(b->repeats);
	batch_init(b);
}

/* Order of ids as bytes. */
static int
compare_ids(const struct event *a, const struct event *b)
{
	uint32_t	len = a->request_id_len < b->request_id_len ? a->request_id_len : b->request_id_len;
	int			c = memcmp(a->request_id, b->request_id, len);

	if (c != 0)
		return c;
	return (a->request_id_len > b->request_id_len) - (a->request_id_len < b->request_id_len);
}

static int
compare_keys(const struct batch_item *a, const struct batch_item *b)
{
	if (a->ts_us != b->ts_us)
		return a->ts_us < b->ts_us ? -1 : 1;
	return compare_ids(a->event, b->event);
}

/* Whether the key of the item alone tells what it is: nothing of it is merged. */
static inline bool
is_whole(const struct batch_item *item)
{
	return item->direct || item->suspect;
}

/* Direct items first, by key; those the server has last. */
static int
compare_items(const void *pa, const void *pb)
{
	const struct batch_item *a = pa;
	const struct batch_item *b = pb;

	if (a->direct != b->direct)
		return a->direct ? -1 : 1;
	if (a->known != b->known)
		return a->known ? 1 : -1;
	return compare_keys(a, b);
}

static int
compare_id_pointers(const void *pa, const void *pb)
{
	return compare_ids(*(const struct event *const *) pa, *(const struct event *const *) pb);
}

static bool
reserve(void **array, size_t *slots, size_t wanted, size_t size)
{
	void	   *grown;

	if (wanted <= *slots)
		return true;
	if (wanted > SIZE_MAX / size)
		return false;
	grown = realloc(*array, wanted * size);
	if (grown == NULL)
		return false;
	*array = grown;
	*slots = wanted;
	return true;
}

/*
 * A request that comes complete and in parts within one batch has to be merged
 * as a whole: straight COPY would not see the parts beside it.
 */
static bool
merge_what_has_parts(struct batch *b)
{
	const struct event **parts;
	size_t		nparts = 0;

	for (size_t i = 0; i < b->nitems; i++)
		nparts += !is_whole(&b->items[i]);
	if (nparts == 0 || nparts == b->nitems)
		return true;
	parts = malloc(nparts * sizeof(*parts));
	if (parts == NULL)
		return false;
	nparts = 0;
	for (size_t i = 0; i < b->nitems; i++)
		if (!is_whole(&b->items[i]))
			parts[nparts++] = b->items[i].event;
	qsort(parts, nparts, sizeof(*parts), compare_id_pointers);
	for (size_t i = 0; i < b->nitems; i++)
	{
		const struct event *event = b->items[i].event;

		if (is_whole(&b->items[i]) &&
			bsearch(&event, parts, nparts, sizeof(*parts), compare_id_pointers) != NULL)
			b->items[i].direct = b->items[i].suspect = false;
	}
	free(parts);
	return true;
}

/* Sorts, unless they came sorted. */
static void
sort_items(struct batch_item *items, size_t n)
{
	for (size_t i = 1; i < n; i++)
		if (compare_items(&items[i - 1], &items[i]) > 0)
		{
			qsort(items, n, sizeof(*items), compare_items);
			return;
		}
}

/* Moves whole items whose key repeats out of the way. */
static bool
take_out_repeats(struct batch *b)
{
	size_t		kept = 0;

	for (size_t i = 0; i < b->nitems; i++)
	{
		struct batch_item *item = &b->items[i];
		struct batch_item *last = kept > 0 ? &b->items[kept - 1] : NULL;

		if (is_whole(item) && last != NULL && compare_keys(last, item) == 0)
		{
			void	   *repeats = b->repeats;

			if (!reserve(&repeats, &b->repeat_slots, b->nrepeats + 1 + b->nrepeats / 2, sizeof(*b->repeats)))
				return false;
			b->repeats = repeats;
			b->repeats[b->nrepeats++] = (struct batch_repeat) {item->event, last->event};
		}
		else
			b->items[kept++] = *item;
	}
	b->nitems = kept;
	return true;
}

/* A unit that is treated like another one (NULL: a new batch). */
static bool
new_unit(struct batch *b, size_t first, size_t count, const struct batch_unit *like)
{
	struct batch_unit *unit = &b->units[b->nunits];

	*unit = (struct batch_unit) {.first = first, .count = count,
	.staged = like != NULL && like->staged, .asked = like != NULL && like->asked,
	.sift = like != NULL ? like->sift : SIFT_UNTRIED};
	if (!uuid_random(unit->id))
		return false;
	b->nunits++;
	return true;
}

/* Whether the submission seems to bring nothing new. */
static bool
is_repetition(const struct submission *s, const struct recent *recent)
{
	for (size_t i = 0; i < s->nevents; i++)
		if (!event_is_direct(&s->events[i]) || !recent_has(recent, recent_key(recent, &s->events[i])))
			return false;
	return s->nevents > 0;
}

struct submission *
batch_set_aside(struct submission **list, const struct recent *recent)
{
	struct submission *kept[2] = {NULL, NULL};	/* new, nothing but repetitions */
	struct submission **ends[2] = {&kept[0], &kept[1]};
	bool		due = false;

	for (struct submission *s = *list; s != NULL; s = s->next)
	{
		bool		repetition = is_repetition(s, recent);

		due |= repetition && s->set_aside >= BATCH_MAX_ASIDE;
		*ends[repetition] = s;
		ends[repetition] = &s->next;
	}
	*ends[0] = *ends[1] = NULL;
	if (kept[0] == NULL || (due && kept[1] != NULL))
	{
		*list = kept[1];
		return kept[0];
	}
	for (struct submission *s = kept[1]; s != NULL; s = s->next)
		s->set_aside++;
	*list = kept[0];
	return kept[1];
}

/* The items of a submission. */
static void
add_items(struct batch *b, struct submission *s, const struct recent *recent)
{
	bool		priced = b->catalogue_version != CATALOGUE_NONE && s->catalogue_version == b->catalogue_version;

	for (size_t i = 0; i < s->nevents; i++)
	{
		struct event *event = &s->events[i];
		struct batch_item *item = &b->items[b->nitems++];

		*item = (struct batch_item) {.ts_us = event->ts_us, .event = event, .submission = s};
		if (!event_is_direct(event))
			continue;
		item->direct = priced;
		if (recent == NULL)
			continue;
		item->key = recent_key(recent, event);
		if (recent_has(recent, item->key))
		{
			item->direct = false;
			item->suspect = priced;
			b->nsuspects++;
		}
	}
}

bool
batch_fill(struct batch *b, struct submission *list, int64_t catalogue_version,
		   const struct recent *recent)
{
	size_t		total = 0;
	void	   *items = b->items;

	for (struct submission *s = list; s != NULL; s = s->next)
		total += s->nevents;
	b->nitems = b->nrepeats = b->nsuspects = 0;
	b->nunits = 0;
	b->worked_us = 0;
	b->submissions = list;
	b->catalogue_version = catalogue_version;
	if (!reserve(&items, &b->item_slots, total, sizeof(*b->items)))
		goto fail;
	b->items = items;
	for (struct submission *s = list; s != NULL; s = s->next)
		add_items(b, s, recent);
	if (!merge_what_has_parts(b))
		goto fail;
	sort_items(b->items, b->nitems);
	if (!take_out_repeats(b))
		goto fail;
	if (b->nitems > 0 && !new_unit(b, 0, b->nitems, NULL))
		goto fail;
	return true;

fail:
	b->submissions = NULL;
	b->nitems = b->nrepeats = 0;
	b->nunits = 0;
	return false;
}

bool
batch_restore(struct batch *b, struct submission *s, size_t ndirect, bool staged, const char *id)
{
	void	   *items = b->items;

	if (!reserve(&items, &b->item_slots, s->nevents, sizeof(*b->items)))
		return false;
	b->items = items;
	b->submissions = s;
	b->catalogue_version = s->catalogue_version;
	b->nitems = s->nevents;
	b->nrepeats = 0;
	b->worked_us = 0;
	for (size_t i = 0; i < s->nevents; i++)
		b->items[i] = (struct batch_item) {.ts_us = s->events[i].ts_us, .event = &s->events[i], .submission = s,
		.direct = i < ndirect};
	b->units[0] = (struct batch_unit) {.first = 0, .count = s->nevents, .staged = staged, .tried = true};
	memcpy(b->units[0].id, id, UUID_TEXT_CHARS);
	b->nunits = 1;
	return true;
}

struct batch_unit *
batch_current(struct batch *b)
{
	return b->nunits > 0 ? &b->units[b->nunits - 1] : NULL;
}

void
batch_suspect_all(struct batch *b)
{
	struct batch_unit *unit = batch_current(b);

	for (size_t i = unit->first; i < unit->first + unit->count; i++)
		b->items[i].suspect |= b->items[i].direct;
	unit->asked = true;
}

void
batch_sort_unit(struct batch *b)
{
	const struct batch_unit *unit = batch_current(b);

	sort_items(b->items + unit->first, unit->count);
}

void
batch_pop(struct batch *b)
{
	b->nunits--;
}

bool
batch_split(struct batch *b)
{
	struct batch_unit whole = b->units[b->nunits - 1];
	size_t		half = whole.count / 2;

	b->nunits--;
	if (b->nunits + 2 <= BATCH_MAX_UNITS &&
		new_unit(b, whole.first + half, whole.count - half, &whole))
	{
		if (new_unit(b, whole.first, half, &whole))
			return true;
		b->nunits--;
	}
	b->units[b->nunits++] = whole;
	return false;
}

void
batch_set_spooled(struct batch *b)
{
	for (int u = 0; u < b->nunits; u++)
		for (size_t i = 0; i < b->units[u].count; i++)
			b->items[b->units[u].first + i].event->outcome = EVENT_SPOOLED;
	b->nunits = 0;
}

struct submission *
batch_finish(struct batch *b, int retry_after_s)
{
	struct submission *list = b->submissions;

	for (int u = 0; u < b->nunits; u++)
		for (size_t i = 0; i < b->units[u].count; i++)
			b->items[b->units[u].first + i].event->outcome = EVENT_PENDING;
	for (size_t i = 0; i < b->nrepeats; i++)
	{
		struct event *event = b->repeats[i].event;
		const struct event *first = b->repeats[i].first;

		event->outcome = first->outcome == EVENT_ACCEPTED || first->outcome == EVENT_SPOOLED
			? EVENT_DUPLICATE : first->outcome;
		event->reject_reason = first->reject_reason;
	}
	for (struct submission *s = list; s != NULL; s = s->next)
	{
		s->result = SUBMISSION_STORED;
		for (size_t i = 0; i < s->nevents; i++)
			if (s->events[i].outcome == EVENT_PENDING)
			{
				s->result = SUBMISSION_UNAVAILABLE;
				s->retry_after_s = retry_after_s;
				break;
			}
	}
	b->submissions = NULL;
	b->nitems = b->nrepeats = 0;
	b->nunits = 0;
	return list;
}
