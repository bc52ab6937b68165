/*
 * Texts by number, in order of appearance: what groups and cells are labelled with while
 * they are gathered. Texts are copied; all memory belongs to the context in which
 * labels_init() is called.
 */
#ifndef CCPROXY_CELL_LABELS_H
#define CCPROXY_CELL_LABELS_H

#include "postgres.h"

#pragma GCC visibility push(hidden)

typedef struct LabelText
{
	const char *bytes;
	uint32		length;
} LabelText;

typedef struct Labels
{
	MemoryContext context;
	struct labels_hash *hash;
	LabelText  *texts;			/* by number */
	int32		length;
	int32		capacity;
} Labels;

extern void labels_init(Labels *labels);

/* The number of a text; it is new if that is what length was before. */
extern int32 label_index(Labels *labels, LabelText text);

#pragma GCC visibility pop

#endif
