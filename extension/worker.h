/*
 * The background worker: what its files and _PG_init share. worker.c says how
 * the processes work together.
 */
#ifndef CCPROXY_WORKER_H
#define CCPROXY_WORKER_H

#include "storage/dsm.h"

/* as in module_pathname: a plain name would not follow extension_destdir */
#define WORKER_LIBRARY			"$libdir/ccproxy_metrics"
#define WORKER_EXTENSION		"ccproxy_metrics"
#define WORKER_SCHEMA			"ccproxy"
#define WORKER_TABLE			"request_log"
#define WORKER_LEADER_TYPE		"ccproxy leader"
#define WORKER_TYPE				"ccproxy worker"

/*
 * Limits. A worker begins no repetition of a job after its slice, and DROP
 * DATABASE waits five seconds for other sessions to go. A step, one transaction,
 * is cancelled after ccproxy.worker_step_timeout. A worker that is still there
 * after its slice, two such times and a grace is terminated by the leader, so
 * that nothing in one database can keep the worker from the others.
 */
#define WORKER_SLICE_MS			4000
#define WORKER_GRACE_MS			5000
#define WORKER_LOCK_TIMEOUT		"2s"
#define WORKER_PAUSE_MAX_MS		1000
#define WORKER_JOBS_MAX			16
#define WORKER_BACKOFF_MAX_S	60	/* between rounds of a database that fails */
#define WORKER_LEADER_RESTART_S	5

/* How a worker left its database. */
enum worker_outcome
{
	WORKER_DIED,				/* set by the leader before: no answer */
	WORKER_DONE,				/* every job had its turn */
	WORKER_FAILED,				/* a job failed; the worker has logged why */
	WORKER_ABSENT,				/* no extension, or no metrics table */
	WORKER_REFUSED,				/* schema and table have different owners */
	WORKER_BUSY					/* the extension is being dropped */
};

/* In a segment of the leader's, which outlives its workers. */
struct worker_report
{
	volatile int outcome;		/* enum worker_outcome; the worker writes it */
	bool		refused_before; /* so that a refusal is logged once */
};

/* What the leader hands over in bgw_extra. */
struct worker_order
{
	dsm_handle	segment;
};

/* Settings: see worker.c. */
extern bool worker_enabled;
extern int	worker_interval_s;
extern int	worker_discovery_interval_s;
extern int	worker_step_timeout_ms;

/* From _PG_init: defines the settings; when preloading, registers the leader. */
extern void worker_init(void);

/* Entered by the postmaster's children, by these names. */
extern PGDLLEXPORT void ccproxy_leader_main(Datum main_arg);
extern PGDLLEXPORT void ccproxy_worker_main(Datum main_arg);

#endif
