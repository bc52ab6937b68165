/*
 * Counts by label; see cell_counts.h. Runs in the backend that answers.
 */
#include "extension/cell_counts.h"

#include "utils/jsonb.h"
#include "utils/memutils.h"
#include "utils/numeric.h"

void
counts_init(Counts *counts)
{
	memset(counts, 0, sizeof(*counts));
	labels_init(&counts->labels);
}

static void
counts_enlarge(Counts *counts)
{
	int32		capacity = Max(counts->labels.length, 2 * counts->capacity);
	MemoryContext context = counts->labels.context;
	LabelCount *enlarged = MemoryContextAllocHuge(context, capacity * sizeof(LabelCount));
	int32	   *touched = MemoryContextAllocHuge(context, capacity * sizeof(int32));

	memset(enlarged, 0, capacity * sizeof(LabelCount));
	if (counts->counts != NULL)
	{
		memcpy(enlarged, counts->counts, counts->capacity * sizeof(LabelCount));
		memcpy(touched, counts->touched, counts->n_touched * sizeof(int32));
		pfree(counts->counts);
		pfree(counts->touched);
	}
	counts->counts = enlarged;
	counts->touched = touched;
	counts->capacity = capacity;
}

LabelCount *
label_count(Counts *counts, int32 index)
{
	LabelCount *count;

	if (counts->labels.length > counts->capacity)
		counts_enlarge(counts);
	count = &counts->counts[index];
	if (!count->touched)
	{
		count->touched = true;
		counts->touched[counts->n_touched++] = index;
	}
	return count;
}

static void
put_pair(JsonbParseState **state, LabelText name, Numeric number)
{
	JsonbValue	key = {.type = jbvString};
	JsonbValue	value = {.type = jbvNumeric};

	key.val.string.val = unconstify(char *, name.bytes);
	key.val.string.len = (int) name.length;
	value.val.numeric = number;
	pushJsonbValue(state, WJB_KEY, &key);
	pushJsonbValue(state, WJB_VALUE, &value);
}

Datum
counts_object(const Counts *counts, bool costs)
{
	JsonbParseState *state = NULL;

	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	for (int32 i = 0; i < counts->n_touched; i++)
	{
		int32		index = counts->touched[i];
		const LabelCount *count = &counts->counts[index];

		if (!costs)
			put_pair(&state, counts->labels.texts[index], int64_to_numeric((int64) count->requests));
		else if (count->priced > 0)
			put_pair(&state, counts->labels.texts[index], DatumGetNumeric(cell_usd(count->cost)));
	}
	return JsonbPGetDatum(JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL)));
}

void
counts_forget(Counts *counts)
{
	for (int32 i = 0; i < counts->n_touched; i++)
		memset(&counts->counts[counts->touched[i]], 0, sizeof(LabelCount));
	counts->n_touched = 0;
}
