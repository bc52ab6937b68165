/*
 * The background worker: process model, settings, registration.
 *
 * With the library in shared_preload_libraries the postmaster runs one
 * "ccproxy leader" (worker_leader.c), from the end of recovery on: none on a
 * standby until it is promoted, none during a binary upgrade. The leader is
 * connected to no database; it reads shared catalogues only and runs no SQL.
 * Each round, every ccproxy.worker_interval, it lists the databases that take
 * connections and are no templates, and starts one dynamic "ccproxy worker"
 * (worker_database.c) for each that is due, one after the other, waiting for
 * each to end. So there is at most one connection at a time, none between
 * rounds (DROP DATABASE finds nobody), and two slots of max_worker_processes
 * are in use at most.
 *
 * A worker looks for the extension in its database's catalogues as the bootstrap
 * superuser, without running a line of SQL, and leaves at once when there is
 * nothing to do. Otherwise it runs the jobs that the installed extension lists
 * (sql/71_worker.sql), one transaction a step, each as the owner of the metrics
 * in a security-restricted operation. It answers with an outcome in a shared memory
 * segment of the leader's, and with exit status 0; a worker that died without
 * one counts as failed. The leader looks again after the discovery interval
 * where there is no extension, and ever less often where jobs fail.
 *
 * The procedure ccproxy.maintain() does the same jobs for whoever calls it. A
 * worker does not call it: it commits, and a security context does not outlive
 * the transaction it was set in.
 *
 * Nothing is recovered by hand: each job is idempotent and each step atomic.
 * A leader that dies of whatever cause is started again by the postmaster; it
 * exits with status 1 even when asked to terminate, because 0 would mean never
 * again. After a crash of the server the postmaster starts it anew.
 *
 * Loaded otherwise (CREATE EXTENSION, LOAD) the library only defines the
 * settings, so that SHOW and postgresql.conf agree.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "postmaster/bgworker.h"
#include "utils/guc.h"

#include "extension/worker.h"

#define INTERVAL_DEFAULT_S		5
#define INTERVAL_MAX_S			3600
#define DISCOVERY_DEFAULT_S		60
#define DISCOVERY_MAX_S			86400
#define STEP_TIMEOUT_DEFAULT_MS	60000
#define STEP_TIMEOUT_MIN_MS		100
#define STEP_TIMEOUT_MAX_MS		3600000

bool		worker_enabled = true;
int			worker_interval_s = INTERVAL_DEFAULT_S;
int			worker_discovery_interval_s = DISCOVERY_DEFAULT_S;
int			worker_step_timeout_ms = STEP_TIMEOUT_DEFAULT_MS;

static void
define_settings(void)
{
	DefineCustomBoolVariable("ccproxy.worker",
							 "Runs the maintenance of metrics tables in the background.",
							 "Takes effect only if ccproxy_metrics is in \"shared_preload_libraries\".",
							 &worker_enabled, true,
							 PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("ccproxy.worker_interval",
							"Time between two rounds of background maintenance.",
							"A database whose jobs fail is visited ever less often, once a minute at least.",
							&worker_interval_s, INTERVAL_DEFAULT_S, 1, INTERVAL_MAX_S,
							PGC_SIGHUP, GUC_UNIT_S, NULL, NULL, NULL);
	DefineCustomIntVariable("ccproxy.worker_discovery_interval",
							"Time between two looks into a database that had no metrics table.",
							NULL,
							&worker_discovery_interval_s, DISCOVERY_DEFAULT_S, 1, DISCOVERY_MAX_S,
							PGC_SIGHUP, GUC_UNIT_S, NULL, NULL, NULL);
	DefineCustomIntVariable("ccproxy.worker_step_timeout",
							"Longest time a step of background maintenance may take.",
							"Steps are made to take less than five seconds; this ends one that is stuck.",
							&worker_step_timeout_ms, STEP_TIMEOUT_DEFAULT_MS, STEP_TIMEOUT_MIN_MS, STEP_TIMEOUT_MAX_MS,
							PGC_SIGHUP, GUC_UNIT_MS, NULL, NULL, NULL);
#if PG_VERSION_NUM >= 150000
	MarkGUCPrefixReserved("ccproxy");
#else
	EmitWarningsOnPlaceholders("ccproxy");
#endif
}

void
worker_init(void)
{
	BackgroundWorker leader = {0};

	define_settings();
	if (!process_shared_preload_libraries_in_progress || IsBinaryUpgrade)
		return;

	leader.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	leader.bgw_start_time = BgWorkerStart_RecoveryFinished;
	leader.bgw_restart_time = WORKER_LEADER_RESTART_S;
	strlcpy(leader.bgw_library_name, WORKER_LIBRARY, sizeof(leader.bgw_library_name));
	strlcpy(leader.bgw_function_name, "ccproxy_leader_main", sizeof(leader.bgw_function_name));
	strlcpy(leader.bgw_name, WORKER_LEADER_TYPE, sizeof(leader.bgw_name));
	strlcpy(leader.bgw_type, WORKER_LEADER_TYPE, sizeof(leader.bgw_type));
	RegisterBackgroundWorker(&leader);
}
