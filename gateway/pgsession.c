/*
 * The writer's session; see pgsession.h.
 */
#include "gateway/pgsession.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "gateway/copy.h"
#include "gateway/log.h"
#include "gateway/settings.h"

#define UNIX_SEND_BUFFER_BYTES	(1024 * 1024)	/* the kernel gives what it allows */
#define PGSESSION_MAX_PARAMS	8
#define WAIT_SLICE_MS	100		/* how late giving up may be noticed */
#define US_PER_MS		1000

/* Columns of the question asked of every new session. */
enum check_column
{
	CHECK_SYNC_COMMIT,
	CHECK_FSYNC,
	CHECK_READ_ONLY,
	CHECK_EXTENSION,
	CHECK_TABLE
};

enum facts_column
{
	FACTS_RETENTION,
	FACTS_SECRET,
	FACTS_CATALOGUE,
	FACTS_BACKEND,
	FACTS_LISTENING
};

enum privileges_column
{
	PRIVILEGES_GRANTED,
	PRIVILEGES_ROLE,
	PRIVILEGES_EACH
};

#define PRICES_CHANNEL "ccproxy_prices"

#define STRINGIFY(x) #x
#define TO_STRING(x) STRINGIFY(x)

static const char setup_sql[] =
"SET synchronous_commit = on;"
"SET client_min_messages = warning;"
"SET search_path = pg_catalog, pg_temp;"
"SET client_encoding = 'UTF8';"
"SET statement_timeout = " TO_STRING(PGSESSION_STATEMENT_TIMEOUT_MS) ";"
"SET lock_timeout = " TO_STRING(PGSESSION_LOCK_TIMEOUT_MS) ";"
"SET idle_in_transaction_session_timeout = " TO_STRING(PGSESSION_STATEMENT_TIMEOUT_MS) ";"
"SELECT current_setting('synchronous_commit'), current_setting('fsync'),"
" current_setting('transaction_read_only'),"
" (SELECT extversion FROM pg_catalog.pg_extension WHERE extname = 'ccproxy_metrics'),"
" pg_catalog.to_regclass('ccproxy.request_log') IS NOT NULL";

/* The backend is asked for so that a pooler shows itself: libpq knows another. */
static const char facts_sql[] =
"SELECT (extract(epoch FROM retention) * 1000000)::pg_catalog.int8,"
" pg_catalog.encode(hash_secret, 'hex'), catalogue_version, pg_catalog.pg_backend_pid(),"
" EXISTS (SELECT FROM pg_catalog.pg_listening_channels() AS c WHERE c = '" PRICES_CHANNEL "')"
" FROM ccproxy.gateway_configuration()";

static const char listen_sql[] = "LISTEN " PRICES_CHANNEL;

/* What grant_gateway() gives; without it every batch would fail. */
static const char privileges_sql[] =
"SELECT pg_catalog.has_table_privilege('ccproxy.request_log', 'INSERT')"
" AND pg_catalog.has_table_privilege('ccproxy.ingest_batch', 'INSERT')"
" AND pg_catalog.has_table_privilege('ccproxy.request_key', 'SELECT')"
" AND pg_catalog.has_function_privilege('ccproxy.merge_events(ccproxy.request_event[])', 'EXECUTE'),"
" current_user,"
" coalesce(pg_catalog.has_function_privilege(pg_catalog.to_regprocedure('ccproxy.merge_each(ccproxy.request_event[])'), 'EXECUTE'), false)";

void
pgsession_message(struct pgfailure *failure, const char *message)
{
	size_t		len = 0;

	for (; *message != '\0' && len < sizeof(failure->message) - 1; message++)
	{
		bool		blank = *message == '\n' || *message == '\t' || *message == ' ';

		if (!blank)
			failure->message[len++] = *message;
		else if (len > 0 && failure->message[len - 1] != ' ')
			failure->message[len++] = ' ';
	}
	if (len > 0 && failure->message[len - 1] == ' ')
		len--;
	failure->message[len] = '\0';
}

static void
set_failure(struct pgfailure *failure, enum pgerror_class class, const char *message)
{
	failure->class = class;
	failure->sqlstate[0] = failure->constraint[0] = '\0';
	pgsession_message(failure, message);
}

void
pgsession_set_failure(struct pgfailure *failure, const char *sqlstate, const char *message, const char *constraint)
{
	failure->class = pgerror_classify(sqlstate, constraint);
	snprintf(failure->sqlstate, sizeof(failure->sqlstate), "%s", sqlstate ? sqlstate : "");
	snprintf(failure->constraint, sizeof(failure->constraint), "%s", constraint ? constraint : "");
	pgsession_message(failure, message);
}

void
pgsession_failure(const struct pgsession *s, const PGresult *result, struct pgfailure *failure)
{
	const char *sqlstate = result ? PQresultErrorField(result, PG_DIAG_SQLSTATE) : NULL;
	const char *message = result ? PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY) : NULL;
	const char *constraint = result ? PQresultErrorField(result, PG_DIAG_CONSTRAINT_NAME) : NULL;

	if (message == NULL)
		message = PQerrorMessage(s->conn);
	pgsession_set_failure(failure, sqlstate, message, constraint);
	if (PQstatus(s->conn) == CONNECTION_BAD)
		failure->class = PGERROR_LOST;
}

/* Waits until the socket is ready. False at the deadline or when giving up. */
static bool
wait_socket(struct pgsession *s, short events, int64_t deadline_us)
{
	struct pollfd pfd = {.fd = PQsocket(s->conn), .events = events};

	if (pfd.fd < 0)
		return false;
	for (;;)
	{
		int64_t		give_up = atomic_load_explicit(s->give_up_us, memory_order_relaxed);
		int64_t		left = (deadline_us < give_up ? deadline_us : give_up) - monotonic_us();
		int			timeout_ms = WAIT_SLICE_MS;
		int			n;

		if (left <= 0)
			return false;
		if (left < WAIT_SLICE_MS * US_PER_MS)
			timeout_ms = (int) (left / US_PER_MS) + 1;
		n = poll(&pfd, 1, timeout_ms);
		if (n > 0)
			return true;
		if (n < 0 && errno != EINTR)
			return false;
	}
}

bool
pgsession_flush(struct pgsession *s, int64_t deadline_us)
{
	for (;;)
	{
		int			rc = PQflush(s->conn);

		if (rc == 0)
			return true;
		if (rc < 0 || !wait_socket(s, POLLIN | POLLOUT, deadline_us) || !PQconsumeInput(s->conn))
			return false;
	}
}

PGresult *
pgsession_next_result(struct pgsession *s, int64_t deadline_us, bool *lost)
{
	*lost = false;
	while (PQisBusy(s->conn))
	{
		if (!wait_socket(s, POLLIN, deadline_us) || !PQconsumeInput(s->conn))
		{
			*lost = true;
			return NULL;
		}
	}
	return PQgetResult(s->conn);
}

bool
pgsession_put_copy(struct pgsession *s, const void *data, size_t len, int64_t deadline_us)
{
	int			rc;

	while ((rc = PQputCopyData(s->conn, data, (int) len)) == 0)
		if (!pgsession_flush(s, deadline_us))
			return false;
	return rc > 0 && pgsession_flush(s, deadline_us);
}

bool
pgsession_end_copy(struct pgsession *s, const char *error, int64_t deadline_us)
{
	int			rc;

	while ((rc = PQputCopyEnd(s->conn, error)) == 0)
		if (!pgsession_flush(s, deadline_us))
			return false;
	return rc > 0 && pgsession_flush(s, deadline_us);
}

/* The last result of what was sent, NULL with failure set when anything failed. */
static PGresult *
last_result(struct pgsession *s, bool sent, struct pgfailure *failure)
{
	int64_t		deadline_us = monotonic_us() + PGSESSION_TIMEOUT_US;
	PGresult   *last = NULL;
	PGresult   *result;
	bool		failed = false;
	bool		lost = false;

	if (!sent || !pgsession_flush(s, deadline_us))
	{
		pgsession_failure(s, NULL, failure);
		failure->class = PGERROR_LOST;
		return NULL;
	}
	while ((result = pgsession_next_result(s, deadline_us, &lost)) != NULL)
	{
		ExecStatusType status = PQresultStatus(result);

		if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK && !failed)
		{
			failed = true;
			pgsession_failure(s, result, failure);
		}
		PQclear(last);
		last = result;
	}
	if (lost)
	{
		pgsession_failure(s, NULL, failure);
		failure->class = PGERROR_LOST;
		failed = true;
	}
	else if (last == NULL && !failed)
	{
		pgsession_failure(s, NULL, failure);
		failed = true;
	}
	if (failed)
	{
		PQclear(last);
		return NULL;
	}
	return last;
}

PGresult *
pgsession_exec(struct pgsession *s, const char *sql, int nparams, const char *const *params,
			   struct pgfailure *failure)
{
	return last_result(s, nparams > 0
					   ? PQsendQueryParams(s->conn, sql, nparams, NULL, params, NULL, NULL, 0)
					   : PQsendQuery(s->conn, sql), failure);
}

/* Parameters as libpq takes them. */
static void
spread(const struct pgparam *params, int nparams, const char **values, int *lengths, int *formats)
{
	for (int i = 0; i < nparams; i++)
	{
		values[i] = params[i].data;
		lengths[i] = (int) params[i].len;
		formats[i] = !params[i].is_text;
	}
}

bool
pgsession_prepare(struct pgsession *s, const char *name, const char *sql)
{
	struct pgfailure ignored;
	PGresult   *result = last_result(s, PQsendPrepare(s->conn, name, sql, 0, NULL), &ignored);

	PQclear(result);
	return result != NULL;
}

bool
pgsession_send_prepared(struct pgsession *s, const char *name, int nparams, const struct pgparam *params)
{
	const char *values[PGSESSION_MAX_PARAMS];
	int			lengths[PGSESSION_MAX_PARAMS];
	int			formats[PGSESSION_MAX_PARAMS];

	spread(params, nparams, values, lengths, formats);
	return PQsendQueryPrepared(s->conn, name, nparams, values, lengths, formats, 0) == 1;
}

PGresult *
pgsession_exec_binary(struct pgsession *s, const char *sql, int nparams, const struct pgparam *params,
					  struct pgfailure *failure)
{
	const char *values[PGSESSION_MAX_PARAMS];
	int			lengths[PGSESSION_MAX_PARAMS];
	int			formats[PGSESSION_MAX_PARAMS];

	spread(params, nparams, values, lengths, formats);
	return last_result(s, PQsendQueryParams(s->conn, sql, nparams, NULL, values, lengths, formats, 0), failure);
}

bool
pgsession_alive(struct pgsession *s)
{
	if (s->conn == NULL || !PQconsumeInput(s->conn))
		return false;
	/* a notice about a shutdown comes as a result nobody asked for */
	return PQstatus(s->conn) == CONNECTION_OK;
}

bool
pgsession_notified(struct pgsession *s)
{
	PGnotify   *notify;
	bool		notified = false;

	while ((notify = PQnotifies(s->conn)) != NULL)
	{
		notified |= strcmp(notify->relname, PRICES_CHANNEL) == 0;
		PQfreemem(notify);
	}
	return notified;
}

void
pgsession_close(struct pgsession *s)
{
	PQfinish(s->conn);
	s->conn = NULL;
}

static void
ignore_notice(void *arg, const char *message)
{
	(void) arg;
	(void) message;
}

/*
 * Room for rows the server has not read yet, so that it need not wait for us to
 * wake up. TCP sees to that itself; a Unix socket holds 0.2 MB unless asked.
 */
static void
enlarge_unix_buffer(PGconn *conn)
{
	struct sockaddr address;
	socklen_t	len = sizeof(address);
	const int	bytes = UNIX_SEND_BUFFER_BYTES;

	if (getsockname(PQsocket(conn), &address, &len) == 0 && address.sa_family == AF_UNIX)
		setsockopt(PQsocket(conn), SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes));
}

/* Brings the connection up; it may be half open on failure. */
static bool
start_connection(struct pgsession *s, const char *db_url, const char *application_name,
				 struct pgfailure *failure)
{
	/* the last of equal keywords counts: what the URL says wins */
	static const char *const keywords[] = {
		"application_name", "keepalives_idle", "keepalives_interval", "keepalives_count",
		"tcp_user_timeout", "target_session_attrs", "dbname", NULL
	};
	const char *const values[] = {
		application_name, "30", "10", "3", "30000", "read-write", db_url, NULL
	};
	int64_t		deadline_us = monotonic_us() + PGSESSION_CONNECT_TIMEOUT_US;
	PostgresPollingStatusType polling = PGRES_POLLING_WRITING;

	s->prepared = PGSESSION_NOT_PREPARED;
	s->conn = PQconnectStartParams(keywords, values, 1);
	if (s->conn == NULL)
	{
		set_failure(failure, PGERROR_TRANSIENT, "out of memory");
		return false;
	}
	PQsetNoticeProcessor(s->conn, ignore_notice, NULL);
	while (PQstatus(s->conn) != CONNECTION_BAD && polling != PGRES_POLLING_OK &&
		   polling != PGRES_POLLING_FAILED)
	{
		if (!wait_socket(s, polling == PGRES_POLLING_READING ? POLLIN : POLLOUT, deadline_us))
		{
			set_failure(failure, PGERROR_TRANSIENT, "the server does not answer");
			return false;
		}
		polling = PQconnectPoll(s->conn);
	}
	if (PQstatus(s->conn) != CONNECTION_OK)
	{
		set_failure(failure, PGERROR_TRANSIENT, PQerrorMessage(s->conn));
		return false;
	}
	PQsetnonblocking(s->conn, 1);
	enlarge_unix_buffer(s->conn);
	return true;
}

bool
pgsession_connect(struct pgsession *s, const char *db_url, const char *application_name,
				  struct pgfailure *failure)
{
	if (start_connection(s, db_url, application_name, failure))
		return true;
	pgsession_close(s);
	return false;
}

/* Two hexadecimal digits each; the number of bytes, 0 when there are too many. */
static size_t
read_hex(const char *hex, uint8_t *out, size_t size)
{
	size_t		n = strlen(hex) / 2;

	if (n > size)
		return 0;
	for (size_t i = 0; i < n; i++)
	{
		char		digits[3] = {hex[2 * i], hex[2 * i + 1], '\0'};

		out[i] = (uint8_t) strtoul(digits, NULL, 16);
	}
	return n;
}

bool
pgsession_read_facts(struct pgsession *s, struct store_facts *facts, struct pgfailure *failure)
{
	PGresult   *result = pgsession_exec(s, facts_sql, 0, NULL, failure);

	if (result == NULL)
		return false;
	*facts = (struct store_facts) {0};
	if (PQntuples(result) == 1)
	{
		facts->retention_us = PQgetisnull(result, 0, FACTS_RETENTION) ? 0
			: strtoll(PQgetvalue(result, 0, FACTS_RETENTION), NULL, 10);
		facts->hash_secret_len = read_hex(PQgetvalue(result, 0, FACTS_SECRET), facts->hash_secret,
										  sizeof(facts->hash_secret));
		facts->known = facts->hash_secret_len > 0;
		s->catalogue_version = strtoll(PQgetvalue(result, 0, FACTS_CATALOGUE), NULL, 10);
		s->listening = strcmp(PQgetvalue(result, 0, FACTS_LISTENING), "t") == 0 &&
			PQbackendPID(s->conn) == atoi(PQgetvalue(result, 0, FACTS_BACKEND));
	}
	PQclear(result);
	if (!facts->known)
		set_failure(failure, PGERROR_OPERATOR, "the database has no configuration: run SELECT ccproxy.create_metrics_table()");
	return facts->known;
}

/* Sets the session up and looks at where it has come to. */
static bool
check_session(struct pgsession *s, bool *has_table, struct pgfailure *failure)
{
	static struct log_limit fsync_limit;
	PGresult   *result = pgsession_exec(s, setup_sql, 0, NULL, failure);
	bool		ok = false;

	if (result == NULL)
		return false;
	*has_table = strcmp(PQgetvalue(result, 0, CHECK_TABLE), "t") == 0;
	if (strcmp(PQgetvalue(result, 0, CHECK_SYNC_COMMIT), "on") != 0)
		set_failure(failure, PGERROR_OPERATOR, "synchronous_commit cannot be switched on in this session");
	else if (strcmp(PQgetvalue(result, 0, CHECK_READ_ONLY), "on") == 0)
		set_failure(failure, PGERROR_TRANSIENT, "the server is read-only");
	else if (PQgetisnull(result, 0, CHECK_EXTENSION))
		set_failure(failure, PGERROR_OPERATOR, "the extension is not in this database: run CREATE EXTENSION ccproxy_metrics");
	else
		ok = true;
	if (ok && strcmp(PQgetvalue(result, 0, CHECK_FSYNC), "on") != 0)
		log_limited(&fsync_limit, LOG_LEVEL_WARNING, "pg_fsync_off",
					LOG_STR("reason", "fsync is off: a crash of the server's machine loses acknowledged events"));
	if (ok && strcmp(PQgetvalue(result, 0, CHECK_EXTENSION), GATEWAY_VERSION) != 0)
		log_event(LOG_LEVEL_WARNING, "pg_extension_version",
				  LOG_STR("extension", PQgetvalue(result, 0, CHECK_EXTENSION)),
				  LOG_STR("gateway", GATEWAY_VERSION));
	PQclear(result);
	return ok;
}

/* Sees to it that a missing grant is told before the first batch fails. */
static bool
check_privileges(struct pgsession *s, struct pgfailure *failure)
{
	PGresult   *result = pgsession_exec(s, privileges_sql, 0, NULL, failure);
	bool		granted;

	if (result == NULL)
		return false;
	granted = strcmp(PQgetvalue(result, 0, PRIVILEGES_GRANTED), "t") == 0;
	s->merges_each = strcmp(PQgetvalue(result, 0, PRIVILEGES_EACH), "t") == 0;
	if (!granted)
	{
		char		message[PGSESSION_MESSAGE_BYTES];

		snprintf(message, sizeof(message), "no privilege to write: as the extension's owner, run SELECT ccproxy.grant_gateway('%.64s')",
				 PQgetvalue(result, 0, PRIVILEGES_ROLE));
		set_failure(failure, PGERROR_OPERATOR, message);
	}
	PQclear(result);
	return granted;
}

/* Asks for word of changes; a pooler that refuses is no reason to stop. */
static bool
listen_for_prices(struct pgsession *s, struct pgfailure *failure)
{
	PGresult   *result = pgsession_exec(s, listen_sql, 0, NULL, failure);

	PQclear(result);
	return result != NULL || failure->class != PGERROR_LOST;
}

/* Lengthens the retention to what the settings ask for; never shortens it. */
static bool
set_retention(struct pgsession *s, int64_t days, struct store_facts *facts, struct pgfailure *failure)
{
	const int64_t wanted_us = days * INT64_C(86400000000);
	char		text[24];
	const char *params[] = {text};
	PGresult   *result;

	if (facts->retention_us == wanted_us)
		return true;
	if (facts->retention_us > wanted_us)
	{
		log_event(LOG_LEVEL_WARNING, "retention_not_shortened",
				  LOG_I64("wanted_days", days),
				  LOG_I64("kept_days", facts->retention_us / INT64_C(86400000000)),
				  LOG_STR("hint", "run SELECT ccproxy.create_metrics_table(retention => ...) yourself"));
		return true;
	}
	snprintf(text, sizeof(text), "%lld", (long long) days);
	result = pgsession_exec(s, "SELECT ccproxy.create_metrics_table(retention => pg_catalog.make_interval(days => $1::integer))",
							1, params, failure);
	if (result == NULL)
		return false;
	PQclear(result);
	return pgsession_read_facts(s, facts, failure);
}

/* Everything after the connection itself. */
static bool
prepare_session(struct pgsession *s, const struct pgsession_options *options,
				struct store_facts *facts, struct pgfailure *failure)
{
	bool		has_table;
	PGresult   *result;

	if (!check_session(s, &has_table, failure))
		return false;
	if (!has_table)
	{
		result = pgsession_exec(s, "SELECT ccproxy.create_metrics_table()", 0, NULL, failure);
		if (result == NULL)
			return false;
		PQclear(result);
		log_event(LOG_LEVEL_INFO, "metrics_table_created");
	}
	if (!check_privileges(s, failure) || !listen_for_prices(s, failure) ||
		!pgsession_read_facts(s, facts, failure))
		return false;
	if (options->unlogged)
	{
		result = pgsession_exec(s, "SELECT ccproxy.set_storage('unlogged')", 0, NULL, failure);
		if (result == NULL)
			return false;
		PQclear(result);
	}
	if (options->retention_days > 0 && !set_retention(s, options->retention_days, facts, failure))
		return false;
	result = pgsession_exec(s, PGSESSION_STAGING_SQL, 0, NULL, failure);
	if (result == NULL)
		return false;
	PQclear(result);
	return true;
}

bool
pgsession_open(struct pgsession *s, const struct pgsession_options *options,
			   struct store_facts *facts, struct pgfailure *failure)
{
	if (!pgsession_connect(s, options->db_url, "ccproxy-gateway", failure))
		return false;
	if (prepare_session(s, options, facts, failure))
		return true;
	pgsession_close(s);
	return false;
}
