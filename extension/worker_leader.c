/*
 * The leader: which databases there are, whose turn it is, one worker at a time.
 *
 * A process of its own, started by the postmaster (worker.c); connected to no
 * database. It owns the table of databases below and the segment that workers
 * answer in. Signals: SIGTERM ends it where it waits, SIGHUP reloads the
 * settings there, SIGINT (pg_cancel_backend) is ignored, for there is no
 * statement to cancel.
 */
#include "postgres.h"

#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_database.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/proc.h"
#include "utils/backend_status.h"
#include "utils/guc.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#if PG_VERSION_NUM >= 170000
#include "utils/wait_event.h"
#endif

#include "extension/worker.h"

/* pg_database.datconnlimit of a database whose DROP was interrupted */
#define INVALID_DATABASE_LIMIT	(-2)

#define DATABASES_EXPECTED		16

/* What the leader remembers of a database from round to round. */
struct database
{
	Oid			oid;			/* hash key: must be first */
	NameData	name;
	TimestampTz due;			/* not visited before */
	int			failures;		/* in a row */
	int			outcome;		/* the last: enum worker_outcome */
	uint64		round;			/* in which it was listed last */
};

static HTAB *databases;
static uint64 round_number;
static dsm_segment *segment;
static struct worker_report *report;
static bool slots_missing;

static uint32
wait_event(void)
{
#if PG_VERSION_NUM >= 170000
	static uint32 event;

	if (event == 0)
		event = WaitEventExtensionNew("CcproxyLeaderMain");
	return event;
#else
	return PG_WAIT_EXTENSION;
#endif
}

/* Sleeps until something happens; -1 waits without end. */
static void
wait_ms(long timeout_ms)
{
	int			events = WL_LATCH_SET | WL_EXIT_ON_PM_DEATH | (timeout_ms >= 0 ? WL_TIMEOUT : 0);

	(void) WaitLatch(MyLatch, events, timeout_ms, wait_event());
	ResetLatch(MyLatch);
	CHECK_FOR_INTERRUPTS();
	if (ShutdownRequestPending)
		proc_exit(1);			/* 0 would mean: never start it again */
	if (ConfigReloadPending)
	{
		ConfigReloadPending = false;
		ProcessConfigFile(PGC_SIGHUP);
	}
}

/* Notes which databases there are now; forgets those that have gone. */
static void
list_databases(void)
{
	Relation	rel;
	TableScanDesc scan;
	HeapTuple	tuple;
	HASH_SEQ_STATUS all;
	struct database *db;

	pgstat_report_activity(STATE_RUNNING, "listing databases");
	round_number++;
	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	(void) GetTransactionSnapshot();
	rel = table_open(DatabaseRelationId, AccessShareLock);
	scan = table_beginscan_catalog(rel, 0, NULL);
	while ((tuple = heap_getnext(scan, ForwardScanDirection)) != NULL)
	{
		Form_pg_database row = (Form_pg_database) GETSTRUCT(tuple);
		bool		found;

		if (!row->datallowconn || row->datistemplate || row->datconnlimit == INVALID_DATABASE_LIMIT)
			continue;
		db = hash_search(databases, &row->oid, HASH_ENTER, &found);
		if (!found)
		{
			db->due = 0;
			db->failures = 0;
			db->outcome = WORKER_DONE;
		}
		db->name = row->datname;
		db->round = round_number;
	}
	table_endscan(scan);
	table_close(rel, AccessShareLock);
	CommitTransactionCommand();

	hash_seq_init(&all, databases);
	while ((db = hash_seq_search(&all)) != NULL)
		if (db->round != round_number)
			(void) hash_search(databases, &db->oid, HASH_REMOVE, NULL);
}

/* When a database is next due, by how its worker left it. */
static void
schedule(struct database *db)
{
	int64		delay_s = 0;

	db->outcome = report->outcome;
	switch (db->outcome)
	{
		case WORKER_ABSENT:
		case WORKER_REFUSED:
			delay_s = worker_discovery_interval_s;
			break;
		case WORKER_FAILED:
		case WORKER_DIED:
			delay_s = worker_interval_s;
			for (int i = 0; i < db->failures && delay_s < WORKER_BACKOFF_MAX_S; i++)
				delay_s *= 2;
			delay_s = Max(Min(delay_s, WORKER_BACKOFF_MAX_S), worker_interval_s);
			break;
		default:
			break;
	}
	db->failures = db->outcome == WORKER_FAILED || db->outcome == WORKER_DIED ? db->failures + 1 : 0;
	db->due = delay_s == 0 ? 0 : GetCurrentTimestamp() + delay_s * USECS_PER_SEC;
}

/* Waits until the worker has ended; ends it when it takes too long. */
static void
await(BackgroundWorkerHandle *handle, const struct database *db)
{
	TimestampTz started = GetCurrentTimestamp();
	long		patience_ms = WORKER_SLICE_MS + 2L * worker_step_timeout_ms + WORKER_GRACE_MS;
	bool		told = false;
	pid_t		pid;

	for (;;)
	{
		BgwHandleStatus status = GetBackgroundWorkerPid(handle, &pid);
		long		left_ms;

		if (status == BGWH_STOPPED)
			return;
		if (status == BGWH_POSTMASTER_DIED)
			proc_exit(1);
		left_ms = patience_ms - TimestampDifferenceMilliseconds(started, GetCurrentTimestamp());
		if (left_ms <= 0 && !told)
		{
			ereport(LOG,
					(errmsg("terminating the ccproxy worker in database \"%s\" after %ld s",
							NameStr(db->name), patience_ms / 1000)));
			TerminateBackgroundWorker(handle);
			told = true;
		}
		wait_ms(told ? -1 : left_ms);
	}
}

/* Runs a worker in the database; false when there is no slot for one. */
static bool
visit(struct database *db)
{
	BackgroundWorker worker = {0};
	BackgroundWorkerHandle *handle;
	struct worker_order order = {.segment = dsm_segment_handle(segment)};
	char		activity[NAMEDATALEN + 32];

	snprintf(activity, sizeof(activity), "waiting for the worker in %s", NameStr(db->name));
	pgstat_report_activity(STATE_RUNNING, activity);

	report->outcome = WORKER_DIED;
	report->refused_before = db->outcome == WORKER_REFUSED;

	worker.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker.bgw_start_time = BgWorkerStart_RecoveryFinished;
	worker.bgw_restart_time = BGW_NEVER_RESTART;
	strlcpy(worker.bgw_library_name, WORKER_LIBRARY, sizeof(worker.bgw_library_name));
	strlcpy(worker.bgw_function_name, "ccproxy_worker_main", sizeof(worker.bgw_function_name));
	snprintf(worker.bgw_name, sizeof(worker.bgw_name), WORKER_TYPE ": %s", NameStr(db->name));
	strlcpy(worker.bgw_type, WORKER_TYPE, sizeof(worker.bgw_type));
	worker.bgw_main_arg = ObjectIdGetDatum(db->oid);
	worker.bgw_notify_pid = MyProcPid;
	StaticAssertStmt(sizeof(order) <= sizeof(worker.bgw_extra), "bgw_extra is too small");
	memcpy(worker.bgw_extra, &order, sizeof(order));

	if (!RegisterDynamicBackgroundWorker(&worker, &handle))
	{
		if (!slots_missing)
			ereport(LOG,
					(errcode(ERRCODE_INSUFFICIENT_RESOURCES),
					 errmsg("no background worker slot for the maintenance of metrics tables"),
					 errdetail("Tried again every %d s.", worker_interval_s),
					 errhint("Consider increasing the configuration parameter \"max_worker_processes\".")));
		slots_missing = true;
		return false;
	}
	if (slots_missing)
		ereport(LOG,
				(errmsg("there are background worker slots for the maintenance of metrics tables again")));
	slots_missing = false;

	await(handle, db);
	pfree(handle);
	schedule(db);
	return true;
}

/* One worker after the other, in every database that is due. */
static void
visit_databases(void)
{
	HASH_SEQ_STATUS all;
	struct database *db;

	list_databases();
	hash_seq_init(&all, databases);
	while ((db = hash_seq_search(&all)) != NULL)
	{
		if (db->due > GetCurrentTimestamp())
			continue;
		if (!worker_enabled || !visit(db))
		{
			hash_seq_term(&all);
			break;
		}
	}
	pgstat_report_activity(STATE_IDLE, "waiting for the next round");
}

void
ccproxy_leader_main(Datum main_arg)
{
	HASHCTL		ctl = {.keysize = sizeof(Oid),.entrysize = sizeof(struct database)};
	TimestampTz round_end = 0;

	pqsignal(SIGTERM, SignalHandlerForShutdownRequest);
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGINT, SIG_IGN);
	BackgroundWorkerUnblockSignals();

	SetConfigOption("application_name", WORKER_LEADER_TYPE, PGC_USERSET, PGC_S_OVERRIDE);
	BackgroundWorkerInitializeConnection(NULL, NULL, 0);

	databases = hash_create("ccproxy databases", DATABASES_EXPECTED, &ctl, HASH_ELEM | HASH_BLOBS);
	segment = dsm_create(sizeof(struct worker_report), 0);
	dsm_pin_mapping(segment);
	report = dsm_segment_address(segment);

	for (;;)
	{
		long		left_ms = -1;

		if (worker_enabled)
		{
			TimestampTz now = GetCurrentTimestamp();

			left_ms = round_end == 0 ? 0 :
				TimestampDifferenceMilliseconds(now, round_end + worker_interval_s * USECS_PER_SEC);
			/* a clock set back must not stop the rounds */
			left_ms = Min(left_ms, worker_interval_s * 1000L);
			if (left_ms <= 0)
			{
				visit_databases();
				round_end = GetCurrentTimestamp();
				continue;
			}
		}
		else
			pgstat_report_activity(STATE_IDLE, "switched off by ccproxy.worker");
		wait_ms(left_ms);
	}
}
