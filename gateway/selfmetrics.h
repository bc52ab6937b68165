/*
 * What the gateway counts about itself: served by /metrics/prometheus even
 * while the database is away. One table; a value is an atomic that any thread
 * adds to. Every limit, drop and error has its counter here.
 */
#ifndef GATEWAY_SELFMETRICS_H
#define GATEWAY_SELFMETRICS_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

/*
 * SELF_COUNTERS(C): C(symbol, family, labels, help). Rows of one family stand
 * together; labels is exposition text without braces.
 */
#define SELF_COUNTERS(C) \
	C(EVENTS_ACCEPTED, "ccproxy_gateway_events_total", "outcome=\"accepted\"", "Events received, by what became of them.") \
	C(EVENTS_DUPLICATE, "ccproxy_gateway_events_total", "outcome=\"duplicate\"", "") \
	C(EVENTS_REJECTED, "ccproxy_gateway_events_total", "outcome=\"rejected\"", "") \
	C(EVENTS_DROPPED, "ccproxy_gateway_events_total", "outcome=\"not_stored\"", "") \
	C(EVENTS_REFUSED_BY_DATABASE, "ccproxy_gateway_events_refused_by_database_total", "", "Rejected events that were valid but that the database refused (see ccproxy.rejected_event).") \
	C(REJECTED_UNRECORDED, "ccproxy_gateway_refusals_unrecorded_total", "", "Of them, those that could not be written to ccproxy.rejected_event.") \
	C(EVENTS_AHEAD, "ccproxy_gateway_events_ahead_total", "", "Events whose timestamp lay too far ahead: stored at the time of receipt.") \
	C(INGEST_BODY_BYTES, "ccproxy_gateway_ingest_body_bytes_total", "", "Bytes of event bodies received.") \
	C(REFUSED_FULL, "ccproxy_gateway_refused_total", "reason=\"full\"", "Requests refused, by reason.") \
	C(REFUSED_CLOSED, "ccproxy_gateway_refused_total", "reason=\"unavailable\"", "") \
	C(REFUSED_DEADLINE, "ccproxy_gateway_refused_total", "reason=\"deadline\"", "") \
	C(REFUSED_DRAINING, "ccproxy_gateway_refused_total", "reason=\"draining\"", "") \
	C(REFUSED_TOO_LARGE, "ccproxy_gateway_refused_total", "reason=\"too_large\"", "") \
	C(REFUSED_AUTH, "ccproxy_gateway_refused_total", "reason=\"auth\"", "") \
	C(REFUSED_HOST, "ccproxy_gateway_refused_total", "reason=\"host_or_origin\"", "") \
	C(REFUSED_MEMORY, "ccproxy_gateway_refused_total", "reason=\"memory\"", "") \
	C(REFUSED_RATE, "ccproxy_gateway_refused_total", "reason=\"rate\"", "") \
	C(REFUSED_HEADER, "ccproxy_gateway_refused_total", "reason=\"header\"", "") \
	C(LIMIT_EVENT_BYTES, "ccproxy_gateway_events_over_limit_total", "limit=\"max_event_bytes\"", "Rejected events that were beyond a limit.") \
	C(LIMIT_DEPTH, "ccproxy_gateway_events_over_limit_total", "limit=\"max_depth\"", "") \
	C(LIMIT_FIELDS, "ccproxy_gateway_events_over_limit_total", "limit=\"max_event_fields\"", "") \
	C(ERRORS_UNLISTED, "ccproxy_gateway_errors_unlisted_total", "", "Rejected events whose reason the answer did not list (max_listed_errors).") \
	C(RELOADS, "ccproxy_gateway_reloads_total", "outcome=\"ok\"", "Reloads of the settings, by outcome.") \
	C(RELOADS_FAILED, "ccproxy_gateway_reloads_total", "outcome=\"failed\"", "") \
	C(CONNECTION_LIMIT, "ccproxy_gateway_connection_limit_reached_total", "", "Times the last free connection was taken: further clients wait to be accepted.") \
	C(CONNECTIONS_OPENED, "ccproxy_gateway_connections_opened_total", "", "Client connections accepted.") \
	C(TIMEOUT_HEADER, "ccproxy_gateway_timeouts_total", "phase=\"header\"", "Connections closed for being too slow, by phase.") \
	C(TIMEOUT_BODY, "ccproxy_gateway_timeouts_total", "phase=\"body\"", "") \
	C(TIMEOUT_ANSWER, "ccproxy_gateway_timeouts_total", "phase=\"answer\"", "") \
	C(READ_QUERIES, "ccproxy_gateway_read_queries_total", "outcome=\"ok\"", "Queries for readers, by outcome.") \
	C(READ_ERRORS, "ccproxy_gateway_read_queries_total", "outcome=\"error\"", "") \
	C(READ_UNAVAILABLE, "ccproxy_gateway_read_queries_total", "outcome=\"unavailable\"", "") \
	C(READ_CACHE_HITS, "ccproxy_gateway_read_answers_total", "source=\"cache\"", "Answers to reads, by where they came from: kept and not asked about, kept and confirmed by the database, queried.") \
	C(READ_CACHE_CONFIRMED, "ccproxy_gateway_read_answers_total", "source=\"confirmed\"", "") \
	C(READ_CACHE_MISSES, "ccproxy_gateway_read_answers_total", "source=\"query\"", "") \
	C(READ_PAGES_CUT, "ccproxy_gateway_read_pages_cut_total", "", "Pages of requests that ended before their limit because of their size (read_max_bytes).") \
	C(READ_CACHE_EVICTIONS, "ccproxy_gateway_read_cache_evictions_total", "", "Kept answers that had to go for newer ones (read_cache_bytes).") \
	C(BUDGET_CHECKS_ALLOWED, "ccproxy_gateway_budget_checks_total", "outcome=\"allowed\"", "Budget checks answered, by outcome; unknown: without a recent state of the budgets.") \
	C(BUDGET_CHECKS_DENIED, "ccproxy_gateway_budget_checks_total", "outcome=\"denied\"", "") \
	C(BUDGET_CHECKS_UNKNOWN, "ccproxy_gateway_budget_checks_total", "outcome=\"unknown\"", "") \
	C(BUDGET_REFRESHES, "ccproxy_gateway_budget_refreshes_total", "outcome=\"ok\"", "Times the budgets were read, by outcome.") \
	C(BUDGET_REFRESHES_FAILED, "ccproxy_gateway_budget_refreshes_total", "outcome=\"failed\"", "") \
	C(STORE_BATCHES, "ccproxy_gateway_batches_total", "outcome=\"committed\"", "Batches of events, by outcome.") \
	C(STORE_BATCHES_FAILED, "ccproxy_gateway_batches_total", "outcome=\"failed\"", "") \
	C(EVENTS_SUSPECTED, "ccproxy_gateway_events_suspected_total", "", "Events whose key was stored lately: the server is asked about them.") \
	C(STORE_COLLISIONS, "ccproxy_gateway_batch_collisions_total", "", "Batches that met a stored key nobody had suspected, and were sent again after asking about every key.") \
	C(STORE_BATCHES_INSERTED, "ccproxy_gateway_batches_inserted_total", "", "Small batches that were inserted in one round trip instead of copied.") \
	C(STORE_BATCHES_STAGED, "ccproxy_gateway_batches_staged_total", "", "Batches that went through the staging path.") \
	C(STORE_BATCHES_SIFTED, "ccproxy_gateway_batches_sifted_total", "", "Batches, and parts of batches, that were stored row by row because the database refused one of their rows.") \
	C(STORE_BATCHES_REPRICED, "ccproxy_gateway_batches_repriced_total", "", "Batches the server had to price because prices had changed since the events came.") \
	C(PRICE_LOADS, "ccproxy_gateway_price_loads_total", "outcome=\"ok\"", "Times the prices were loaded, by outcome.") \
	C(PRICE_LOADS_FAILED, "ccproxy_gateway_price_loads_total", "outcome=\"failed\"", "") \
	C(MAINTENANCE_RUNS, "ccproxy_gateway_maintenance_runs_total", "outcome=\"ok\"", "Calls of ccproxy.maintain(), by outcome.") \
	C(MAINTENANCE_FAILED, "ccproxy_gateway_maintenance_runs_total", "outcome=\"failed\"", "") \
	C(MAINTENANCE_WARNINGS, "ccproxy_gateway_maintenance_warnings_total", "", "Warnings of ccproxy.maintain(): jobs of it that failed.") \
	C(STORE_RETRIES, "ccproxy_gateway_batch_retries_total", "", "Batches tried again after a transient error.") \
	C(STORE_CONNECTS, "ccproxy_gateway_pg_connects_total", "outcome=\"ok\"", "Attempts to connect for writing, by outcome.") \
	C(STORE_CONNECT_FAILURES, "ccproxy_gateway_pg_connects_total", "outcome=\"failed\"", "") \
	C(SPOOL_EVENTS_SPOOLED, "ccproxy_gateway_spooled_events_total", "outcome=\"spooled\"", "Events that went to the spool, and what became of them there.") \
	C(SPOOL_EVENTS_DRAINED, "ccproxy_gateway_spooled_events_total", "outcome=\"drained\"", "") \
	C(SPOOL_EVENTS_REJECTED, "ccproxy_gateway_spooled_events_total", "outcome=\"rejected\"", "") \
	C(SPOOL_EVENTS_SALVAGED, "ccproxy_gateway_spooled_events_total", "outcome=\"salvaged\"", "") \
	C(SPOOL_FAILURES, "ccproxy_gateway_spool_failures_total", "", "Times the spool could not be opened, written or read.") \
	C(SPOOL_SET_ASIDE, "ccproxy_gateway_spool_files_set_aside_total", "", "Damaged spool files that were renamed.") \
	C(LOG_WARNINGS, "ccproxy_gateway_log_lines_total", "level=\"warning\"", "Log lines by level, left-out ones included.") \
	C(LOG_ERRORS, "ccproxy_gateway_log_lines_total", "level=\"error\"", "")

/* SELF_GAUGES(G): G(symbol, family, help) */
#define SELF_GAUGES(G) \
	G(CONNECTIONS, "ccproxy_gateway_connections", "Client connections open.") \
	G(REQUESTS_WAITING, "ccproxy_gateway_requests_waiting", "Requests waiting for the database.") \
	G(READ_CACHE_BYTES, "ccproxy_gateway_read_cache_bytes", "Memory of kept answers to reads.") \
	G(PG_UP, "ccproxy_gateway_pg_up", "1 while the writer is connected to PostgreSQL.") \
	G(QUEUE_REQUESTS, "ccproxy_gateway_queue_requests", "Requests whose events wait to be stored.") \
	G(QUEUE_BYTES, "ccproxy_gateway_queue_bytes", "Memory of the requests whose events wait to be stored.") \
	G(SPOOL_USABLE, "ccproxy_gateway_spool_usable", "1 while the spool can take events.") \
	G(SPOOL_RECORDS, "ccproxy_gateway_spool_records", "Records in the spool.") \
	G(SPOOL_EVENTS, "ccproxy_gateway_spool_events", "Events in the spool.") \
	G(SPOOL_BYTES, "ccproxy_gateway_spool_bytes", "Bytes of the records in the spool.")

/* SELF_DURATIONS(D): D(symbol, family, help): gauges set in microseconds, shown in seconds */
#define SELF_DURATIONS(D) \
	D(SPOOL_OLDEST_US, "ccproxy_gateway_spool_oldest_seconds", "Age of the oldest record in the spool.") \
	D(MAINTENANCE_LAST_US, "ccproxy_gateway_maintenance_last_seconds", "Time the last successful call of ccproxy.maintain() took.")

/* SELF_HISTOGRAMS(H): H(symbol, family, help); seconds */
#define SELF_HISTOGRAMS(H) \
	H(INGEST_SECONDS, "ccproxy_gateway_ingest_seconds", "Time from a complete body to its answer.") \
	H(READ_SECONDS, "ccproxy_gateway_read_seconds", "Time of one query for readers, with making its answer.") \
	H(COMMIT_SECONDS, "ccproxy_gateway_commit_seconds", "Time of one batch from its first statement to its COMMIT.")

#define SELF_COUNTER_ENUM(symbol, family, labels, help) METRIC_##symbol,
#define SELF_ONE(symbol, family, help) +1
#define SELF_GAUGE_ENUM(symbol, family, help) METRIC_##symbol,
enum self_counter
{
	SELF_COUNTERS(SELF_COUNTER_ENUM)
	SELF_COUNTERS_NUMBER
};
enum self_gauge
{
	SELF_GAUGES(SELF_GAUGE_ENUM)
	SELF_DURATIONS(SELF_GAUGE_ENUM)
	SELF_GAUGES_NUMBER,
	SELF_FIRST_DURATION = SELF_GAUGES_NUMBER - (0 SELF_DURATIONS(SELF_ONE))
};
enum self_histogram
{
	SELF_HISTOGRAMS(SELF_GAUGE_ENUM)
	SELF_HISTOGRAMS_NUMBER
};

/* SELF_ROUTES(R): R(symbol, name) */
#define SELF_ROUTES(R) \
	R(OTHER, "other") R(EVENTS, "events") R(STATS, "stats") R(REQUEST, "request") \
	R(REQUESTS, "requests") R(VALUES, "values") R(HEALTH, "health") R(OPENAPI, "openapi") R(BUDGET, "budget") \
	R(PROMETHEUS, "prometheus") R(DASHBOARD, "dashboard") R(STATIC, "static") \
	R(LIVEZ, "livez") R(READYZ, "readyz")

#define SELF_ROUTE_ENUM(symbol, name) METRIC_ROUTE_##symbol,
enum metric_route
{
	SELF_ROUTES(SELF_ROUTE_ENUM)
	METRIC_ROUTES
};

void		metric_add(enum self_counter counter, uint64_t n);
uint64_t	metric_get(enum self_counter counter);
void		metric_set(enum self_gauge gauge, int64_t value);
void		metric_change(enum self_gauge gauge, int64_t delta);
int64_t		metric_gauge(enum self_gauge gauge);
void		metric_observe_us(enum self_histogram histogram, int64_t us);
/* One answered request. */
void		metric_request(enum metric_route route, int status);

struct exposition;				/* exposition.h */
/* Writes all families. */
void		selfmetrics_write(struct exposition *x);

#endif
