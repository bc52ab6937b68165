/*
 * A worker in one database: finds the metrics table, runs its jobs as its owner.
 *
 * A process of its own, started by the leader for one visit (worker.c). It is
 * connected as the bootstrap superuser and runs no SQL as such: it reads
 * pg_extension, pg_namespace and pg_class through the catalogue's own scans and
 * caches, where no search_path, operator, trigger or index function of anybody
 * takes part. Everything else runs in run_as_owner(): as the owner of the
 * metrics, in a security-restricted operation (no SET ROLE or SESSION
 * AUTHORIZATION, no cursor WITH HOLD, no deferred trigger: nothing that would run
 * later with more rights), inside a level of settings that is rolled back.
 * Settings of the database that could bend a job are overridden before it
 * connects.
 *
 * The owner meant is the schema's: the extension's functions belong to him
 * (sql/80_grants.sql), and he may replace every table. That is the extension's
 * owner, unless the schema was there before, as after a superuser's pg_restore.
 * Where the metrics table belongs to a third, that one's triggers would run with
 * the owner's rights: the worker refuses.
 *
 * In each transaction it first takes the lock on the extension that DROP
 * EXTENSION waits for, or leaves when somebody holds it: so neither sees the
 * other half-way, and they cannot deadlock over the tables.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/indexing.h"
#include "catalog/pg_class.h"
#include "catalog/pg_extension.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/lock.h"
#include "storage/proc.h"
#include "tcop/tcopprot.h"
#include "utils/array.h"
#include "utils/backend_status.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "utils/timeout.h"
#include "utils/timestamp.h"

#include "extension/worker.h"

/*
 * Whatever ALTER DATABASE says. A function's own SET clause still counts.
 */
static const struct
{
	const char *name;
	const char *value;
}			overrides[] =
{
	{"application_name", WORKER_TYPE},
	{"search_path", "pg_catalog, pg_temp"},
	{"default_transaction_isolation", "read committed"},
	{"default_transaction_read_only", "off"},
	{"default_transaction_deferrable", "off"},
	{"lock_timeout", WORKER_LOCK_TIMEOUT},
	{"idle_in_transaction_session_timeout", "0"},
#if PG_VERSION_NUM >= 170000
	{"transaction_timeout", "0"},
#endif
	{"TimeZone", "UTC"},
	{"DateStyle", "ISO, YMD"},
	{"IntervalStyle", "postgres"},
	{"exit_on_error", "off"},
	/* each visit is a new process: compiling would cost more than it saves */
	{"jit", "off"},
	/* background work leaves the parallel workers to others */
	{"max_parallel_workers_per_gather", "0"},
	{"max_parallel_maintenance_workers", "0"},
};

/* What look() found. */
struct target
{
	Oid			extension;
	Oid			schema;
	Oid			owner;
};

/* For messages: the leader has named the process after it. */
static const char *
database_name(void)
{
	return MyBgworkerEntry->bgw_name + strlen(WORKER_TYPE ": ");
}

static bool
find_extension(struct target *target)
{
	Relation	rel = table_open(ExtensionRelationId, AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;
	bool		found;

	ScanKeyInit(&key, Anum_pg_extension_extname, BTEqualStrategyNumber, F_NAMEEQ,
				CStringGetDatum(WORKER_EXTENSION));
	scan = systable_beginscan(rel, ExtensionNameIndexId, true, NULL, 1, &key);
	tuple = systable_getnext(scan);
	found = HeapTupleIsValid(tuple);
	if (found)
	{
		Form_pg_extension row = (Form_pg_extension) GETSTRUCT(tuple);

		target->extension = row->oid;
		target->schema = row->extnamespace;
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return found;
}

/* Owner of a row in a system cache, InvalidOid when it is gone. */
static Oid
schema_owner(Oid schema)
{
	HeapTuple	tuple = SearchSysCache1(NAMESPACEOID, ObjectIdGetDatum(schema));
	Oid			owner = InvalidOid;

	if (HeapTupleIsValid(tuple))
	{
		owner = ((Form_pg_namespace) GETSTRUCT(tuple))->nspowner;
		ReleaseSysCache(tuple);
	}
	return owner;
}

static Oid
table_owner(Oid table)
{
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(table));
	Oid			owner = InvalidOid;

	if (HeapTupleIsValid(tuple))
	{
		owner = ((Form_pg_class) GETSTRUCT(tuple))->relowner;
		ReleaseSysCache(tuple);
	}
	return owner;
}

/*
 * Looks whether there is something to do, and for whom: WORKER_DONE. In a
 * transaction, which keeps the lock on the extension.
 */
static enum worker_outcome
look(struct target *target, bool log_refusal)
{
	LOCKTAG		tag;
	char	   *schema;
	Oid			locked;
	Oid			table;
	Oid			other;

	if (!find_extension(target))
		return WORKER_ABSENT;
	locked = target->extension;
	SET_LOCKTAG_OBJECT(tag, MyDatabaseId, ExtensionRelationId, locked, 0);
	if (LockAcquire(&tag, AccessShareLock, false, true) == LOCKACQUIRE_NOT_AVAIL)
		return WORKER_BUSY;
	AcceptInvalidationMessages();
	if (!find_extension(target) || target->extension != locked)
		return WORKER_BUSY;

	schema = get_namespace_name(target->schema);
	table = get_relname_relid(WORKER_TABLE, target->schema);
	if (schema == NULL || strcmp(schema, WORKER_SCHEMA) != 0 || !OidIsValid(table))
		return WORKER_ABSENT;

	target->owner = schema_owner(target->schema);
	other = table_owner(table);
	if (!OidIsValid(target->owner) || !OidIsValid(other))
		return WORKER_ABSENT;
	if (target->owner != other)
	{
		if (log_refusal)
			ereport(LOG,
					(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
					 errmsg("no background maintenance in database \"%s\": schema \"%s\" belongs to \"%s\", but table \"%s\" to \"%s\"",
							database_name(), WORKER_SCHEMA, GetUserNameFromId(target->owner, true),
							WORKER_TABLE, GetUserNameFromId(other, true)),
					 errhint("Give the schema and its tables to one owner.")));
		return WORKER_REFUSED;
	}
	return WORKER_DONE;
}

/*
 * One SELECT of one value, of the type expected, as the owner; copied into the
 * context given. Within the caller's transaction; user, security context and
 * settings are as before when it returns, and after an error once the
 * transaction is aborted.
 */
static Datum
run_as_owner(Oid owner, const char *sql, int n_args, Oid *types, Datum *values,
			 Oid result_type, bool *isnull, MemoryContext context)
{
	Oid			saved_user;
	int			saved_context;
	int			nest_level;
	Datum		result = (Datum) 0;

	SPI_connect();
	PushActiveSnapshot(GetTransactionSnapshot());
	GetUserIdAndSecContext(&saved_user, &saved_context);
	nest_level = NewGUCNestLevel();
	SetUserIdAndSecContext(owner, saved_context | SECURITY_LOCAL_USERID_CHANGE | SECURITY_RESTRICTED_OPERATION);
	enable_timeout_after(STATEMENT_TIMEOUT, worker_step_timeout_ms);

	if (SPI_execute_with_args(sql, n_args, types, values, NULL, false, 1) != SPI_OK_SELECT || SPI_processed != 1)
		elog(ERROR, "unexpected result of \"%s\"", sql);
	/* the owner may have put another function there */
	if (SPI_tuptable->tupdesc->natts != 1 || SPI_gettypeid(SPI_tuptable->tupdesc, 1) != result_type)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("\"%s\" must return type %s", sql, format_type_be(result_type))));
	result = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, isnull);
	if (!*isnull && result_type == TEXTARRAYOID)
	{
		MemoryContext before = MemoryContextSwitchTo(context);

		result = PointerGetDatum(DatumGetArrayTypePCopy(result));
		MemoryContextSwitchTo(before);
	}

	disable_timeout(STATEMENT_TIMEOUT, false);
	AtEOXact_GUC(false, nest_level);
	SetUserIdAndSecContext(saved_user, saved_context);
	PopActiveSnapshot();
	SPI_finish();
	return result;
}

/* The jobs that the installed version has, in order; in a transaction. */
static int
list_jobs(Oid owner, char **jobs, MemoryContext context)
{
	bool		isnull;
	Datum		list;
	Datum	   *elements;
	bool	   *nulls;
	int			n_elements;
	int			n = 0;
	MemoryContext before;

	list = run_as_owner(owner, "SELECT ccproxy._worker_jobs()", 0, NULL, NULL, TEXTARRAYOID, &isnull, context);
	if (isnull)
		return 0;
	before = MemoryContextSwitchTo(context);
	deconstruct_array(DatumGetArrayTypeP(list), TEXTOID, -1, false, TYPALIGN_INT, &elements, &nulls, &n_elements);
	for (int i = 0; i < n_elements && n < WORKER_JOBS_MAX; i++)
		if (!nulls[i])
			jobs[n++] = TextDatumGetCString(elements[i]);
	MemoryContextSwitchTo(before);
	return n;
}

/*
 * One step of a job: how many milliseconds later the next should follow, or -1
 * when the job is done for this visit. In a transaction.
 */
static int
step(Oid owner, const char *job, int round)
{
	Oid			types[] = {TEXTOID, INT4OID};
	Datum		values[] = {CStringGetTextDatum(job), Int32GetDatum(round)};
	bool		isnull;
	Datum		pause_ms;

	pause_ms = run_as_owner(owner, "SELECT ccproxy._worker_step($1, $2)", lengthof(types), types, values,
							INT4OID, &isnull, CurrentMemoryContext);
	return isnull ? -1 : Max(0, Min(DatumGetInt32(pause_ms), WORKER_PAUSE_MAX_MS));
}

static void
job_context(void *job)
{
	errcontext("ccproxy worker, job \"%s\" in database \"%s\"", (const char *) job, database_name());
}

/*
 * One transaction: the list of jobs into jobs and *n_jobs (job is NULL), or a
 * step of a job, whose answer goes to *pause_ms. WORKER_FAILED when it failed,
 * with the error logged; other outcomes end the visit.
 */
static enum worker_outcome
transact(bool log_refusal, const char *job, int round, int *pause_ms,
		 char **jobs, int *n_jobs, MemoryContext context)
{
	volatile enum worker_outcome outcome = WORKER_FAILED;
	ErrorContextCallback callback = {
		.previous = error_context_stack,
		.callback = job_context,
		.arg = unconstify(char *, job != NULL ? job : "list"),
	};

	error_context_stack = &callback;
	pgstat_report_activity(STATE_RUNNING, job != NULL ? job : "looking for the metrics table");
	PG_TRY();
	{
		struct target target;

		SetCurrentStatementStartTimestamp();
		StartTransactionCommand();
		outcome = look(&target, log_refusal);
		if (outcome == WORKER_DONE)
		{
			if (job == NULL)
				*n_jobs = list_jobs(target.owner, jobs, context);
			else
				*pause_ms = step(target.owner, job, round);
		}
		CommitTransactionCommand();
	}
	PG_CATCH();
	{
		HOLD_INTERRUPTS();
		disable_timeout(STATEMENT_TIMEOUT, false);
		QueryCancelPending = false;
		EmitErrorReport();
		AbortOutOfAnyTransaction();
		FlushErrorState();
		outcome = WORKER_FAILED;
		RESUME_INTERRUPTS();
	}
	PG_END_TRY();
	error_context_stack = callback.previous;
	MemoryContextSwitchTo(context);
	return outcome;
}

static enum worker_outcome
run_jobs(bool log_refusal, MemoryContext context)
{
	TimestampTz slice_end = GetCurrentTimestamp() + WORKER_SLICE_MS * INT64CONST(1000);
	char	   *jobs[WORKER_JOBS_MAX];
	int			n_jobs = 0;
	enum worker_outcome result;

	result = transact(log_refusal, NULL, 0, NULL, jobs, &n_jobs, context);
	if (result != WORKER_DONE)
		return result;

	/* Each job gets its turn, whatever the others do; repetitions end with the slice. */
	for (int i = 0; i < n_jobs; i++)
	{
		for (int round = 0;; round++)
		{
			int			pause_ms = -1;
			enum worker_outcome outcome = transact(log_refusal, jobs[i], round, &pause_ms, NULL, NULL, context);

			if (outcome == WORKER_FAILED)
				result = WORKER_FAILED;
			else if (outcome != WORKER_DONE)
				return outcome;
			if (pause_ms < 0 || GetCurrentTimestamp() + pause_ms * INT64CONST(1000) >= slice_end)
				break;
			if (pause_ms > 0)
			{
				(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, pause_ms, PG_WAIT_EXTENSION);
				ResetLatch(MyLatch);
			}
			CHECK_FOR_INTERRUPTS();
		}
	}
	return result;
}

void
ccproxy_worker_main(Datum main_arg)
{
	struct worker_order order;
	struct worker_report *report;
	dsm_segment *segment;
	MemoryContext context;

	pqsignal(SIGTERM, die);
	BackgroundWorkerUnblockSignals();

	memcpy(&order, MyBgworkerEntry->bgw_extra, sizeof(order));
	segment = dsm_attach(order.segment);
	if (segment == NULL)
		return;					/* the leader has gone: its successor will see to it */
	dsm_pin_mapping(segment);
	report = dsm_segment_address(segment);

	for (int i = 0; i < lengthof(overrides); i++)
		SetConfigOption(overrides[i].name, overrides[i].value, PGC_SUSET, PGC_S_OVERRIDE);
	BackgroundWorkerInitializeConnectionByOid(DatumGetObjectId(main_arg), InvalidOid, 0);

	context = AllocSetContextCreate(TopMemoryContext, "ccproxy worker", ALLOCSET_SMALL_SIZES);
	MemoryContextSwitchTo(context);
	report->outcome = run_jobs(!report->refused_before, context);
}
