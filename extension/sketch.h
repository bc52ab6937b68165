/*
 * ccproxy.sketch as PostgreSQL sees it: a varlena that holds either the packed
 * form (stored, sent, returned by everything users call) or, between the calls
 * of an aggregate, a state. sketch_core.h describes both.
 */
#ifndef CCPROXY_SKETCH_H
#define CCPROXY_SKETCH_H

#include "postgres.h"

#include "fmgr.h"

#include "extension/sketch_core.h"

#pragma GCC visibility push(hidden)

/* A sketch argument, ready to be read. Lives as long as the call. */
typedef struct SketchArgument
{
	SketchView	view;
	SketchScratch scratch;
} SketchArgument;

/* palloc in the current context. */
extern const SketchMemory sketch_palloc;

extern void sketch_open(SketchArgument *argument, Datum datum);

/* A new packed sketch of what the view shows. */
extern struct varlena *sketch_close(const SketchView *view);

/* A block for a state, empty, with its varlena length set. */
extern SketchState *sketch_new_state(void);

/* Reports a status other than SKETCH_OK of something already stored. */
extern void sketch_report(SketchStatus status) __attribute__((noreturn));

extern void sketch_report_value(double value) __attribute__((noreturn));

#pragma GCC visibility pop

#endif
