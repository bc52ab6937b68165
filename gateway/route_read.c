/*
 * What the reading routes share: one query on the reader, the connection
 * suspended meanwhile, and the answers for everything but rows (route_read.h).
 */
#include <string.h>

#include "gateway/route_read.h"

static void
read_done(struct read_job *job)
{
	request_complete(job->owner);
}

void
read_prepare(struct request *r, const char *sql)
{
	memset(&r->job, 0, sizeof(r->job));
	r->job.sql = sql;
	r->job.done = read_done;
	r->job.owner = r;
}

void
read_parameter(struct request *r, const char *value)
{
	r->job.parameters[r->job.nparameters++] = value;
}

bool
read_publish(struct request *r)
{
	if (r->gateway->settings->storage == STORAGE_SQLITE)
	{
		request_error(r, MHD_HTTP_NOT_FOUND, "metrics_storage is sqlite: statistics need PostgreSQL. Query the file with sqlite3.");
		return false;
	}
	if (reader_submit(r->gateway->reader, &r->job))
		return true;
	request_unavailable(r, METRIC_REFUSED_FULL, 1, "Too many queries are waiting.");
	return false;
}

bool
read_succeeded(struct request *r, bool expired)
{
	if (expired)
	{
		request_unavailable(r, METRIC_REFUSED_DEADLINE, 1, "The database did not answer in time.");
		return false;
	}
	switch (r->job.status)
	{
		case READ_OK:
			return true;
		case READ_INVALID:
			{
				bool		zone = strstr(r->job.message, "time zone") != NULL;
				struct query_error error = {zone ? "time_zone" : "", r->job.message,
				zone ? "names such as UTC or Europe/Berlin" : ""};

				request_error_parameter(r, &error);
				return false;
			}
		case READ_TIMEOUT:
			request_unavailable(r, METRIC_REFUSED_DEADLINE, 1, "The query took longer than statement_timeout_ms.");
			return false;
		case READ_PENDING:
		case READ_UNAVAILABLE:
			request_unavailable(r, METRIC_REFUSED_CLOSED, r->job.retry_after_s, "The database cannot be read at the moment.");
			return false;
		case READ_FAILED:
			break;
	}
	request_error(r, MHD_HTTP_INTERNAL_SERVER_ERROR, "The query failed; the gateway's log tells why.");
	return false;
}
