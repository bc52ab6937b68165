/*
 * bare_commit: how long PostgreSQL itself takes to make one event durable. One
 * connection commits, one after the other, the three rows a lone event costs:
 * its batch id, the event, the mark on its minute; all of a transaction in one
 * round trip. Says the median.
 *
 *	bare_commit CONNINFO COUNT
 */
#include <libpq-fe.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static double
now_s(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double) t.tv_sec + (double) t.tv_nsec / 1e9;
}

static int
compare(const void *pa, const void *pb)
{
	double		a = *(const double *) pa;
	double		b = *(const double *) pb;

	return (a > b) - (a < b);
}

int
main(int argc, char **argv)
{
	PGconn	   *conn;
	double	   *took;
	long		count;
	long		today = time(NULL) / 86400 * 86400;

	if (argc != 3 || (count = atol(argv[2])) < 1 || (took = calloc((size_t) count, sizeof(*took))) == NULL)
	{
		fprintf(stderr, "usage: bare_commit CONNINFO COUNT\n");
		return 2;
	}
	conn = PQconnectdb(argv[1]);
	PQclear(PQexec(conn, "SET synchronous_commit = on"));
	srandom((unsigned) time(NULL));
	for (long i = 0; i < count; i++)
	{
		char		sql[1024];
		long		ts = today - random() % 80000;
		double		start;
		PGresult   *result;

		snprintf(sql, sizeof(sql),
				 "BEGIN;"
				 "INSERT INTO ccproxy.ingest_batch(batch_id)VALUES(pg_catalog.gen_random_uuid());"
				 "INSERT INTO ccproxy.request_log(ts,request_id,user_id,method,path,endpoint_type,model,status_code,"
				 "response_time_us,input_tokens,output_tokens,user_agent)"
				 "VALUES(pg_catalog.to_timestamp(%ld),'bare-%lx%lx','someone','POST','/v1/messages','anthropic',"
				 "'claude-sonnet-4',200,1234567,1000,500,'bare_commit');"
				 "INSERT INTO ccproxy.dirty_minute(minute)VALUES(pg_catalog.to_timestamp(%ld));"
				 "COMMIT", ts, random(), random(), ts / 60 * 60);
		start = now_s();
		result = PQexec(conn, sql);
		took[i] = now_s() - start;
		if (PQresultStatus(result) != PGRES_COMMAND_OK)
		{
			fprintf(stderr, "bare_commit: %s", PQerrorMessage(conn));
			return 1;
		}
		PQclear(result);
	}
	PQfinish(conn);
	qsort(took, (size_t) count, sizeof(*took), compare);
	printf("p50_ms=%.3f\np99_ms=%.3f\n", took[count / 2] * 1000, took[count * 99 / 100] * 1000);
	free(took);
	return 0;
}
