/*
 * The memory of stats(); see cell_memo.h. Entered by backends.
 *
 * A key has all that the rows depend on: what is worked out, the labels of the cells
 * that are wanted as the caller sees them, and the TOAST pointers of the buckets. A
 * value out of line is never changed in place: a bucket that is recomputed, also in a
 * transaction that fails, gets a pointer of its own. So nothing has to be invalidated,
 * by whomever and in whatever snapshot the question is asked. Values that are stored
 * in line have no such identity and are not remembered; they are small.
 *
 * Numbers of TOAST values come round again after 2^32 of them, so all is forgotten
 * after MEMO_SECONDS, or when it is more than ccproxy.stats_memory. Keys are hashed
 * to 128 bits: of the few thousand that there are at a time two agree by chance once
 * in 10^30.
 */
#include "extension/cell_memo.h"

#include "access/detoast.h"
#include "access/htup_details.h"
#include "common/hashfn.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#if PG_VERSION_NUM >= 160000
#include "varatt.h"
#endif

#define MEMO_SECONDS	600

/* More rows of one time are not worth remembering. */
#define MEMO_MAX_ROWS	64

int			cell_memo_kb = MEMO_DEFAULT_KB;

static MemoryContext memo_context = NULL;
static HTAB *memos = NULL;
static TimestampTz memo_began;

void
memo_key_add(MemoKey *key, const void *bytes, size_t length)
{
	for (int i = 0; i < lengthof(key->hash); i++)
		key->hash[i] = hash_bytes_extended(bytes, (int) length, key->hash[i] + (uint64) i * UINT64CONST(0x9E3779B97F4A7C15));
}

bool
memo_key_add_value(MemoKey *key, Datum value)
{
	struct varlena *attribute = (struct varlena *) DatumGetPointer(value);
	struct varatt_external pointer;

	if (!VARATT_IS_EXTERNAL_ONDISK(attribute))
		return false;
	VARATT_EXTERNAL_GET_POINTER(pointer, attribute);
	memo_key_add(key, &pointer, sizeof(pointer));
	return true;
}

/* An empty memory, when there is none or it has had its time. */
static void
renew(void)
{
	HASHCTL		options = {.keysize = sizeof(MemoKey), .entrysize = sizeof(Memo)};
	TimestampTz now = GetCurrentTimestamp();

	if (memos != NULL && now >= memo_began && now - memo_began < MEMO_SECONDS * USECS_PER_SEC &&
		MemoryContextMemAllocated(memo_context, true) <= (Size) cell_memo_kb * 1024)
		return;
	memos = NULL;
	if (memo_context == NULL)
		memo_context = AllocSetContextCreate(TopMemoryContext, "ccproxy.stats memory", ALLOCSET_DEFAULT_SIZES);
	MemoryContextReset(memo_context);
	memo_began = now;
	options.hcxt = memo_context;
	memos = hash_create("ccproxy.stats memory", 256, &options, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
}

const Memo *
memo_find(const MemoKey *key)
{
	renew();
	return hash_search(memos, key, HASH_FIND, NULL);
}

void
memo_begin(Memo *memo, const MemoKey *key)
{
	*memo = (Memo) {.key = *key};
}

void
memo_add(Memo *memo, TupleDesc desc, Datum *values, bool *nulls)
{
	MemoryContext old;

	if (memo->length++ >= MEMO_MAX_ROWS)
		return;
	/* what an error leaves behind goes with all the rest */
	old = MemoryContextSwitchTo(memo_context);
	if (memo->length > memo->capacity)
	{
		memo->capacity = memo->capacity ? 4 * memo->capacity : 1;
		memo->rows = memo->rows ? repalloc(memo->rows, memo->capacity * sizeof(HeapTuple)) :
			palloc(memo->capacity * sizeof(HeapTuple));
	}
	memo->rows[memo->length - 1] = heap_form_tuple(desc, values, nulls);
	MemoryContextSwitchTo(old);
}

void
memo_keep(const Memo *memo)
{
	Memo	   *kept;

	if (memo->length > MEMO_MAX_ROWS)
	{
		for (int i = 0; i < MEMO_MAX_ROWS; i++)
			heap_freetuple(memo->rows[i]);
		pfree(memo->rows);
		return;
	}
	kept = hash_search(memos, &memo->key, HASH_ENTER, NULL);
	*kept = *memo;
}
