/*
 * The module itself: the magic block, and what happens when it is loaded, in
 * the postmaster (shared_preload_libraries) or in a backend.
 */
#include "postgres.h"

#include "fmgr.h"

#include "extension/cell_rows.h"
#include "extension/worker.h"

PG_MODULE_MAGIC;

PGDLLEXPORT void _PG_init(void);

void
_PG_init(void)
{
	cell_define_settings();
	worker_init();
}
