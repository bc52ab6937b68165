/*
 * What stats() has worked out before in this backend: the groups of one time, by
 * the question and what stored values they were made of. A dashboard asks the same
 * every few seconds, and all buckets but the last are the same values. cell_memo.c
 * says why a remembered answer is never an old one.
 */
#ifndef CCPROXY_CELL_MEMO_H
#define CCPROXY_CELL_MEMO_H

#include "postgres.h"

#include "access/htup.h"
#include "access/tupdesc.h"
#include "datatype/timestamp.h"

#pragma GCC visibility push(hidden)

/* ccproxy.stats_memory: how much a backend remembers, in kB; 0 for nothing. */
#define MEMO_DEFAULT_KB	(4 * 1024)
#define MEMO_MAX_KB		(1024 * 1024)
extern int	cell_memo_kb;

/* Identifies what is being worked out; all of it counts. */
typedef struct MemoKey
{
	uint64		hash[2];
} MemoKey;

typedef struct Memo
{
	MemoKey		key;
	HeapTuple  *rows;
	int			length;
	int			capacity;
} Memo;

extern void memo_key_add(MemoKey *key, const void *bytes, size_t length);

/* Adds a stored value by its identity; false when it has none to tell. */
extern bool memo_key_add_value(MemoKey *key, Datum value);

/* The rows that this key stands for; NULL when they are not remembered. */
extern const Memo *memo_find(const MemoKey *key);

/* Rows to be remembered: begun after memo_find(), kept when they are complete. */
extern void memo_begin(Memo *memo, const MemoKey *key);
extern void memo_add(Memo *memo, TupleDesc desc, Datum *values, bool *nulls);
extern void memo_keep(const Memo *memo);

#pragma GCC visibility pop

#endif
