/*
 * Settings: one table, four origins.
 *
 * A value comes from the first of: flag (--metrics-db-url X or
 * --metrics-db-url=X), environment (CCPROXY_METRICS_DB_URL), file (--config
 * FILE, lines "key = value"), default. SETTINGS below is the only list: the
 * struct, the flags, the environment names, the file's keys, --help and
 * --print-config all come from it.
 *
 * settings_load runs in main; afterwards the struct is read-only and any thread
 * may read it. A reload makes another one and the old one stays as it is.
 */
#ifndef GATEWAY_SETTINGS_H
#define GATEWAY_SETTINGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/*
 * Types:
 *	TEXT		const char *, never NULL
 *	FLAG		bool: true/false, on/off, yes/no, 1/0
 *	COUNT		int64_t, min..max
 *	BYTES		int64_t, min..max; suffix KiB, MiB, GiB (also kB, MB, GB: the same)
 *	MILLIS		int64_t milliseconds, min..max; suffix ms, s, min, h; bare is ms
 *	SECONDS		int64_t milliseconds, min..max (of ms); as MILLIS, bare is seconds
 * SECRET: shown redacted (passwords only, where it is a connection string).
 *
 * S(type, field, key, default, min, max, secret, help)
 * The flag is --key with - for _, the environment variable CCPROXY_KEY.
 */
#define SETTINGS_KiB	1024LL
#define SETTINGS_MiB	(1024LL * 1024)
#define SETTINGS_GiB	(1024LL * 1024 * 1024)

/*
 * libmicrohttpd 0.9.75 takes at most 128 events from one epoll_wait, and when
 * it gets all 128 it waits again before it looks at them: a worker with that
 * many busy connections stalls for its whole timeout. Keep below, by a margin.
 */
#define HTTP_CONNECTIONS_PER_WORKER 120
#define HTTP_WORKERS_MIN 6

/* The most max_event_fields can be: room for each is kept while a body is decoded. */
#define SETTINGS_EVENT_FIELDS_MAX 4096

#define SETTINGS(S) \
	S(TEXT, listen, "listen", "127.0.0.1:8787", 0, 0, false, \
	  "address and port to listen on; beyond loopback both token files are required") \
	S(TEXT, allowed_hosts, "allowed_hosts", "", 0, 0, false, \
	  "further names, comma-separated, that a request's Host may carry (a proxy in front)") \
	S(TEXT, tls_cert_file, "tls_cert_file", "", 0, 0, false, \
	  "certificate chain (PEM): serve HTTPS, TLS 1.2 or later") \
	S(TEXT, tls_key_file, "tls_key_file", "", 0, 0, false, \
	  "its private key (PEM)") \
	S(FLAG, metrics_enabled, "metrics_enabled", "true", 0, 0, false, \
	  "false: events are answered 200 with \"stored\": false and dropped") \
	S(TEXT, metrics_storage, "metrics_storage", "postgres", 0, 0, false, \
	  "where events go: postgres, sqlite (a file, without PostgreSQL) or memory (UNLOGGED tables)") \
	S(TEXT, metrics_db_url, "metrics_db_url", "", 0, 0, true, \
	  "PostgreSQL connection: postgres://user@host/db or a libpq connection string; or sqlite:///metrics.db") \
	S(COUNT, metrics_retention_days, "metrics_retention_days", "0", 0, 36500, false, \
	  "0: leave the retention in the database as it is") \
	S(FLAG, prometheus_enabled, "prometheus_enabled", "true", 0, 0, false, \
	  "serve /metrics/prometheus") \
	S(FLAG, dashboard_enabled, "dashboard_enabled", "true", 0, 0, false, \
	  "serve /metrics/dashboard") \
	S(FLAG, dashboard_auth_required, "dashboard_auth_required", "true", 0, 0, false, \
	  "false: what the dashboard reads (/metrics/api/) needs no sign-in and no token") \
	S(TEXT, dashboard_url, "dashboard_url", "", 0, 0, false, \
	  "where browsers reach the dashboard, for login-link: https://host/prefix/metrics/dashboard") \
	S(COUNT, metrics_batch_size, "metrics_batch_size", "10000", 1, 1000000, false, \
	  "most events in one transaction") \
	S(SECONDS, metrics_flush_interval_ms, "metrics_flush_interval", "10s", 100, 3600000, false, \
	  "longest an event waits for PostgreSQL before it goes elsewhere or is refused; never a delay") \
	S(TEXT, spool_path, "spool_path", "ccproxy-spool.db", 0, 0, false, \
	  "file that keeps events while PostgreSQL is away; empty: no spool, they are refused (503)") \
	S(BYTES, spool_max_bytes, "spool_max_bytes", "1GiB", SETTINGS_MiB, 1024 * SETTINGS_GiB, false, \
	  "most bytes of events in the spool; beyond it 503") \
	S(BYTES, max_body_bytes, "max_body_bytes", "20MiB", 1024, SETTINGS_GiB, false, \
	  "largest request body, after decompression") \
	S(BYTES, max_event_bytes, "max_event_bytes", "1MiB", 256, 64 * SETTINGS_MiB, false, \
	  "largest single event") \
	S(COUNT, max_events_per_request, "max_events_per_request", "10000", 1, 1000000, false, \
	  "most events in one request") \
	S(COUNT, max_event_fields, "max_event_fields", "256", 1, SETTINGS_EVENT_FIELDS_MAX, false, \
	  "fields of an event, known or not; one with more is rejected") \
	S(COUNT, max_listed_errors, "max_listed_errors", "100", 1, 1000000, false, \
	  "rejected events an answer lists; all are counted") \
	S(COUNT, max_depth, "max_depth", "64", 1, 512, false, \
	  "deepest nesting of an event; a deeper one is rejected") \
	S(COUNT, max_gzip_ratio, "max_gzip_ratio", "200", 2, 10000, false, \
	  "most a compressed body of more than 1 MiB may grow by; beyond it 413") \
	S(BYTES, max_header_bytes, "max_header_bytes", "16KiB", 4096, SETTINGS_MiB, false, \
	  "memory for a request's line and headers; beyond it 431") \
	S(COUNT, max_requests_per_second, "max_requests_per_second", "0", 0, 1000000, false, \
	  "requests a second from one client address (IPv6: a /64); beyond it 429; 0: no limit") \
	S(COUNT, max_connections, "max_connections", "960", 1, 30000, false, \
	  "most client connections at a time") \
	S(COUNT, workers, "workers", "0", 0, 256, false, \
	  "HTTP threads; 0: as many as max_connections needs") \
	S(SECONDS, header_timeout_ms, "header_timeout_s", "10", 100, 3600000, false, \
	  "a request's headers must be complete within this") \
	S(SECONDS, body_timeout_ms, "body_timeout_s", "60", 100, 3600000, false, \
	  "a request's body must be complete within this") \
	S(SECONDS, idle_timeout_ms, "idle_timeout_s", "60", 1000, 3600000, false, \
	  "an idle keep-alive connection is closed after this") \
	S(SECONDS, request_deadline_ms, "request_deadline_s", "30", 100, 3600000, false, \
	  "a request that waits longer for the database is answered 503") \
	S(SECONDS, shutdown_deadline_ms, "shutdown_deadline_s", "20", 0, 3600000, false, \
	  "SIGTERM: longest time to finish what has been received") \
	S(BYTES, inflight_bytes, "inflight_bytes", "256MiB", SETTINGS_MiB, 1024 * SETTINGS_GiB, false, \
	  "memory for requests not yet answered; beyond it 503") \
	S(COUNT, queue_requests, "queue_requests", "8192", 1, 1000000, false, \
	  "requests waiting to be stored; beyond it 503") \
	S(COUNT, recent_keys, "recent_keys", "1048576", 0, 1073741824, false, \
	  "stored events remembered, 8 bytes each, so that those posted again slow nobody down; 0: none") \
	S(COUNT, read_connections, "read_connections", "2", 1, 64, false, \
	  "database connections for reading") \
	S(COUNT, read_queue, "read_queue", "256", 1, 100000, false, \
	  "reads waiting for a connection; beyond it 503") \
	S(COUNT, read_max_rows, "read_max_rows", "50000", 1, 10000000, false, \
	  "most groups in an answer of statistics; beyond it 400, and a limit has to be given") \
	S(BYTES, read_max_bytes, "read_max_bytes", "16MiB", 1024, SETTINGS_GiB, false, \
	  "a page of /metrics/api/requests ends before it is larger, and the next one goes on there") \
	S(SECONDS, read_refresh_ms, "read_refresh", "1s", 0, 3600000, false, \
	  "an answer to a read is given again for so long before the database is asked whether it still holds; 0: always asked") \
	S(BYTES, read_cache_bytes, "read_cache_bytes", "64MiB", 0, 64 * SETTINGS_GiB, false, \
	  "answers to reads that are kept") \
	S(SECONDS, maintenance_interval_ms, "maintenance_interval_s", "10", 0, 3600000, false, \
	  "the database's housekeeping (CALL ccproxy.maintain()) is done every so often; 0: not by this gateway") \
	S(MILLIS, statement_timeout_ms, "statement_timeout_ms", "10000", 10, 3600000, false, \
	  "longest a reading query may run") \
	S(TEXT, budget_unpriced, "budget_unpriced", "average", 0, 0, false, \
	  "what a budget's requests without a price count as in /metrics/api/budget/check: average (of its priced ones), ignore, or deny (any one denies)") \
	S(TEXT, budget_in_flight, "budget_in_flight", "average", 0, 0, false, \
	  "what a budget's requests in flight count as: average (of its priced ones) or ignore") \
	S(TEXT, budget_unreachable, "budget_unreachable", "allow", 0, 0, false, \
	  "while budgets cannot be read: allow (what was exceeded stays denied) or deny") \
	S(SECONDS, budget_stale_ms, "budget_stale_s", "10", 1000, 3600000, false, \
	  "budgets that were read longer ago cannot be read, as far as budget_unreachable goes") \
	S(MILLIS, budget_wait_ms, "budget_wait_ms", "250", 1, 60000, false, \
	  "longest a check waits for budgets when none were read lately") \
	S(TEXT, ingest_token_file, "ingest_token_file", "", 0, 0, false, \
	  "file of tokens, one per line, that may post events; none: no token needed (loopback only)") \
	S(TEXT, read_token_file, "read_token_file", "", 0, 0, false, \
	  "file of tokens, one per line, that may read; none: no token needed (loopback only)") \
	S(FLAG, hash_user_ids, "hash_user_ids", "false", 0, 0, false, \
	  "store a keyed hash of user_id instead of it") \
	S(FLAG, drop_client_ip, "drop_client_ip", "false", 0, 0, false, \
	  "do not store client_ip") \
	S(FLAG, drop_user_agent, "drop_user_agent", "false", 0, 0, false, \
	  "do not store user_agent") \
	S(FLAG, drop_error_message, "drop_error_message", "false", 0, 0, false, \
	  "do not store error_message") \
	S(TEXT, log_level, "log_level", "info", 0, 0, false, \
	  "debug, info, warning or error")

/*
 * R(field): what a running gateway takes from its file (or environment) with
 * SIGHUP; a change of any other setting needs a restart.
 */
#define SETTINGS_RELOADABLE(R) \
	R(allowed_hosts) R(tls_cert_file) R(tls_key_file) R(metrics_enabled) R(prometheus_enabled) R(dashboard_enabled) \
	R(max_body_bytes) R(max_event_bytes) R(max_events_per_request) R(max_event_fields) R(max_listed_errors) R(max_depth) R(max_gzip_ratio) \
	R(max_requests_per_second) R(header_timeout_ms) R(body_timeout_ms) R(request_deadline_ms) \
	R(shutdown_deadline_ms) R(ingest_token_file) R(read_token_file) R(hash_user_ids) R(drop_client_ip) \
	R(drop_user_agent) R(drop_error_message) R(log_level)

#define SETTINGS_C_TYPE_TEXT	const char *
#define SETTINGS_C_TYPE_FLAG	bool
#define SETTINGS_C_TYPE_COUNT	int64_t
#define SETTINGS_C_TYPE_BYTES	int64_t
#define SETTINGS_C_TYPE_MILLIS	int64_t
#define SETTINGS_C_TYPE_SECONDS	int64_t

#define SETTINGS_FIELD(type, field, key, dflt, min, max, secret, help) \
	SETTINGS_C_TYPE_##type field;

enum settings_storage
{
	STORAGE_POSTGRES = 0,
	STORAGE_SQLITE,				/* events stay in the file of spool_path */
	STORAGE_MEMORY				/* PostgreSQL, tables that a crash empties */
};

enum setting_origin
{
	ORIGIN_DEFAULT = 0,
	ORIGIN_FILE,
	ORIGIN_ENVIRONMENT,
	ORIGIN_FLAG
};

#define SETTINGS_INDEX(type, field, key, dflt, min, max, secret, help) SETTING_##field,
enum setting_index
{
	SETTINGS(SETTINGS_INDEX)
	SETTINGS_NUMBER
};

struct settings
{
	SETTINGS(SETTINGS_FIELD)

	uint8_t		origin[SETTINGS_NUMBER];	/* enum setting_origin */
	/* from metrics_storage and metrics_db_url */
	enum settings_storage storage;
	/* from listen */
	char		listen_host[256];
	uint16_t	listen_port;
	bool		listen_loopback;
	/* what settings_free gives back */
	char	   *owned[SETTINGS_NUMBER];
};

/* What the command line asks for besides settings. */
enum settings_action
{
	ACTION_RUN,
	ACTION_HELP,
	ACTION_VERSION,
	ACTION_CHECK_CONFIG,
	ACTION_PRINT_CONFIG
};

struct settings_input
{
	int			argc;
	char	  **argv;
	char	  **envp;			/* as environ */
	bool		no_database;	/* metrics_db_url may be left out */
};

#define SETTINGS_ERROR_SIZE 512

/*
 * Fills s. On failure returns false with one line in error; s needs
 * settings_free in either case.
 */
bool		settings_load(struct settings *s, const struct settings_input *in,
						  enum settings_action *action, char error[SETTINGS_ERROR_SIZE])
			__attribute__((warn_unused_result));
/* The text of a configuration file, into s, as ORIGIN_FILE; name is for errors. Pure. */
bool		settings_parse_file(struct settings *s, const char *text, size_t len,
								const char *name, char error[SETTINGS_ERROR_SIZE])
			__attribute__((warn_unused_result));
/* Sets every field to its default. */
void		settings_defaults(struct settings *s);
/* Looks at the values together; fills listen_*. */
bool		settings_check(struct settings *s, char error[SETTINGS_ERROR_SIZE])
			__attribute__((warn_unused_result));
/* Its part of where events go: fills storage, and spool_path from an SQLite URL. */
bool		settings_check_storage(struct settings *s, char error[SETTINGS_ERROR_SIZE])
			__attribute__((warn_unused_result));
void		settings_free(struct settings *s);
/*
 * For a reload: gives s the values of old for what needs a restart, and names
 * those that would have changed in list, separated by commas. False when out of
 * memory.
 */
bool		settings_keep_fixed(struct settings *s, const struct settings *old, char *list, size_t size)
			__attribute__((warn_unused_result));
void		settings_print_help(FILE *out, const char *program);
/* Every setting with its value (secrets redacted) and its origin. */
void		settings_print(FILE *out, const struct settings *s);
/* Copies a connection string with every password replaced by ***. Pure. */
void		settings_redact_url(const char *url, char *out, size_t size);

#define GATEWAY_VERSION "0.1.0"

#endif
