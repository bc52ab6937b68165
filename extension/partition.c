/*
 * The partitions of ccproxy.request_log and the gaps between them, from the
 * server's own description of the table: exact whatever made them and whatever
 * they are called, and cheap enough to ask for every event.
 *
 * Entered by backends. Reads the relation cache, which knows what has been
 * committed even where the transaction's snapshot does not; keeps no lock.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/relation.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "nodes/execnodes.h"
#include "partitioning/partbounds.h"
#include "partitioning/partdesc.h"
#include "utils/lsyscache.h"
#include "utils/partcache.h"
#include "utils/rel.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

PG_FUNCTION_INFO_V1(ccproxy_partition_at);
PG_FUNCTION_INFO_V1(ccproxy_partitions);

/* The table, open, or NULL when there is none that is partitioned by range. */
static Relation
open_request_log(void)
{
	Oid			schema = get_namespace_oid("ccproxy", true);
	Oid			oid = OidIsValid(schema) ? get_relname_relid("request_log", schema) : InvalidOid;
	Relation	rel = OidIsValid(oid) ? try_relation_open(oid, AccessShareLock) : NULL;

	if (rel == NULL)
		return NULL;
	if (rel->rd_rel->relkind == RELKIND_PARTITIONED_TABLE &&
		RelationGetPartitionKey(rel)->strategy == PARTITION_STRATEGY_RANGE)
		return rel;
	relation_close(rel, AccessShareLock);
	return NULL;
}

static int
count_bounds(PartitionDesc desc)
{
	return desc->nparts > 0 ? desc->boundinfo->ndatums : 0;
}

/* The i-th bound, in ascending order. */
static TimestampTz
get_bound(PartitionDesc desc, int i)
{
	switch (desc->boundinfo->kind[i][0])
	{
		case PARTITION_RANGE_DATUM_MINVALUE:
			return DT_NOBEGIN;
		case PARTITION_RANGE_DATUM_MAXVALUE:
			return DT_NOEND;
		case PARTITION_RANGE_DATUM_VALUE:
			break;
	}
	return DatumGetTimestampTz(desc->boundinfo->datums[i][0]);
}

/* The partition that ends at the i-th bound; invalid for a gap. */
static Oid
partition_below(PartitionDesc desc, int i)
{
	int			index = desc->nparts > 0 ? desc->boundinfo->indexes[i] : -1;

	return index >= 0 ? desc->oids[index] : InvalidOid;
}

/* ccproxy._partition_at(ts): the partition that takes ts, or the gap it falls into */
Datum
ccproxy_partition_at(PG_FUNCTION_ARGS)
{
	TimestampTz ts = PG_GETARG_TIMESTAMPTZ(0);
	TimestampTz lower = DT_NOBEGIN;
	TimestampTz upper = DT_NOEND;
	Oid			partition = InvalidOid;
	Relation	rel = open_request_log();
	TupleDesc	tuple_desc;
	Datum		values[3];
	bool		nulls[3] = {false, false, false};

	if (get_call_result_type(fcinfo, NULL, &tuple_desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "_partition_at() must return a row type");
	if (rel != NULL)
	{
		PartitionDesc desc = RelationGetPartitionDesc(rel, false);
		int			low = 0;
		int			high = count_bounds(desc);

		/* the first bound above ts */
		while (low < high)
		{
			int			middle = low + (high - low) / 2;

			if (get_bound(desc, middle) <= ts)
				low = middle + 1;
			else
				high = middle;
		}
		if (low > 0)
			lower = get_bound(desc, low - 1);
		if (low < count_bounds(desc))
			upper = get_bound(desc, low);
		partition = partition_below(desc, low);
		relation_close(rel, AccessShareLock);
	}
	values[0] = ObjectIdGetDatum(partition);
	nulls[0] = !OidIsValid(partition);
	values[1] = TimestampTzGetDatum(lower);
	values[2] = TimestampTzGetDatum(upper);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(tuple_desc), values, nulls)));
}

/* ccproxy._partitions(): all of them, in ascending order */
Datum
ccproxy_partitions(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	MemoryContext old;
	Relation	rel;

	if (rsinfo == NULL || !IsA(rsinfo, ReturnSetInfo) || (rsinfo->allowedModes & SFRM_Materialize) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("set-valued function called in context that cannot accept a set")));
	old = MemoryContextSwitchTo(rsinfo->econtext->ecxt_per_query_memory);
	if (get_call_result_type(fcinfo, NULL, &rsinfo->setDesc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "_partitions() must return a row type");
	rsinfo->returnMode = SFRM_Materialize;
	rsinfo->setResult = tuplestore_begin_heap((rsinfo->allowedModes & SFRM_Materialize_Random) != 0, false, work_mem);
	MemoryContextSwitchTo(old);

	rel = open_request_log();
	if (rel != NULL)
	{
		PartitionDesc desc = RelationGetPartitionDesc(rel, false);

		for (int i = 0; i <= count_bounds(desc); i++)
		{
			Oid			partition = partition_below(desc, i);
			Datum		values[4];
			bool		nulls[4] = {false, false, false, false};

			if (!OidIsValid(partition))
				continue;
			values[0] = ObjectIdGetDatum(partition);
			values[1] = TimestampTzGetDatum(i > 0 ? get_bound(desc, i - 1) : DT_NOBEGIN);
			values[2] = TimestampTzGetDatum(i < count_bounds(desc) ? get_bound(desc, i) : DT_NOEND);
			values[3] = BoolGetDatum(get_rel_persistence(partition) == RELPERSISTENCE_UNLOGGED);
			tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
		}
		relation_close(rel, AccessShareLock);
	}
	return (Datum) 0;
}
