/*
 * Texts by number; see cell_labels.h. Runs in the backend that gathers.
 */
#include "extension/cell_labels.h"

#include "common/hashfn.h"
#include "utils/memutils.h"

typedef struct LabelSlot
{
	LabelText	text;
	uint32		hash;
	int32		index;
	char		status;
} LabelSlot;

#define SH_PREFIX labels
#define SH_ELEMENT_TYPE LabelSlot
#define SH_KEY_TYPE LabelText
#define SH_KEY text
#define SH_HASH_KEY(tb, key) hash_bytes((const unsigned char *) (key).bytes, (int) (key).length)
#define SH_EQUAL(tb, a, b) ((a).length == (b).length && memcmp((a).bytes, (b).bytes, (a).length) == 0)
#define SH_STORE_HASH
#define SH_GET_HASH(tb, slot) (slot)->hash
#define SH_SCOPE static inline
#define SH_DECLARE
#define SH_DEFINE
#include "lib/simplehash.h"

void
labels_init(Labels *labels)
{
	memset(labels, 0, sizeof(*labels));
	labels->context = CurrentMemoryContext;
	labels->capacity = 16;
	labels->texts = palloc(labels->capacity * sizeof(LabelText));
	labels->hash = labels_create(CurrentMemoryContext, labels->capacity, NULL);
}

int32
label_index(Labels *labels, LabelText text)
{
	bool		found;
	LabelSlot  *slot = labels_insert(labels->hash, text, &found);

	if (!found)
	{
		if (labels->length == labels->capacity)
		{
			labels->capacity *= 2;
			labels->texts = repalloc_huge(labels->texts, (size_t) labels->capacity * sizeof(LabelText));
		}
		if (text.length > 0)
			text.bytes = memcpy(MemoryContextAlloc(labels->context, text.length), text.bytes, text.length);
		else
			text.bytes = "";
		slot->text = text;
		slot->index = labels->length;
		labels->texts[labels->length++] = text;
	}
	return slot->index;
}
