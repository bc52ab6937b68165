/*
 * Budgets in memory (budget.h). The thread owns the session; `lock` guards what
 * is current, whether it is being read and who waits for that. Rows are looked
 * up in the query's own result, which the database has sorted.
 */
#include "gateway/budget.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/log.h"
#include "gateway/pgsession.h"
#include "gateway/selfmetrics.h"

/*
 * $1, $2: what unpriced requests and those in flight count as. Amounts are
 * compared by the server, which is exact. Rows are sorted as find_budgets()
 * compares.
 */
#define BUDGET_SQL \
	"SELECT s.scope, s.value, (extract(epoch FROM s.period_end) * 1000000)::bigint, x.reason, " \
	"json_build_object('name', s.name, 'scope', s.scope, 'value', nullif(s.value, ''), 'period', s.period, " \
	"'time_zone', s.time_zone, 'period_start', s.period_start, 'period_end', s.period_end, 'limit_usd', s.limit_usd, " \
	"'spent_usd', s.spent_usd, 'estimated_usd', s.estimated_usd, 'remaining_usd', s.remaining_usd, " \
	"'used_percent', s.used_percent, 'state', s.state, 'unpriced_requests', s.unpriced_requests, " \
	"'in_flight_requests', s.in_flight_requests, 'allowed', x.reason IS NULL, 'reason', x.reason) " \
	"FROM (SELECT b.*, coalesce(trim_scale(round(b.spent_usd * " \
	"(CASE $1 WHEN 'average' THEN b.unpriced_requests ELSE 0 END + CASE $2 WHEN 'average' THEN b.in_flight_requests ELSE 0 END)" \
	" / nullif(b.priced_requests, 0), 12)), 0) AS estimated_usd FROM ccproxy.budget_status AS b) AS s " \
	"CROSS JOIN LATERAL (SELECT CASE WHEN s.state = 'exceeded' THEN 'budget_exceeded' " \
	"WHEN $1 = 'deny' AND s.unpriced_requests > 0 THEN 'unpriced_traffic' " \
	"WHEN s.spent_usd + s.estimated_usd >= s.limit_usd THEN 'budget_exceeded_by_estimate' END AS reason) AS x " \
	"ORDER BY s.scope COLLATE \"C\", s.value COLLATE \"C\", s.name COLLATE \"C\""

enum budget_column
{
	BUDGET_COL_SCOPE,
	BUDGET_COL_VALUE,
	BUDGET_COL_PERIOD_END,
	BUDGET_COL_REASON,
	BUDGET_COL_JSON
};

#define US_PER_MS INT64_C(1000)

const char *const budget_scope_names[BUDGET_SCOPES] = {"model", "user", "endpoint", "team", "api_key"};

/* What one query has told. */
struct budget_state
{
	_Atomic int references;
	int64_t		started_ms;		/* when it was asked: how old it is */
	int64_t		started_us;		/* the same, wall clock */
	int64_t		first_end_us;	/* when the first of its periods ends */
	PGresult   *rows;
};

struct budgets
{
	const struct settings *settings;
	pthread_t	thread;
	_Atomic int64_t give_up_us;	/* 0: at once */
	pthread_mutex_t lock;
	pthread_cond_t wanted;
	struct budget_state *current;	/* the last that was read; NULL: none yet */
	bool		reading;
	bool		closing;
	int64_t		started_ms;		/* when the last query began */
	struct budget_waiter *waiters;
	/* the thread's */
	struct pgsession session;
	bool		failing;		/* for the lost/recovered pair of log lines */
};

static void
release_state(struct budget_state *s)
{
	if (s == NULL || atomic_fetch_sub(&s->references, 1) != 1)
		return;
	PQclear(s->rows);
	free(s);
}

static PGresult *
query(struct budgets *b, struct pgfailure *failure)
{
	const char *const parameters[] = {b->settings->budget_unpriced, b->settings->budget_in_flight};
	char		setup[256];
	PGresult   *result;

	/* an idle connection may have died long ago */
	if (b->session.conn && !pgsession_alive(&b->session))
		pgsession_close(&b->session);
	if (b->session.conn == NULL)
	{
		if (!pgsession_connect(&b->session, b->settings->metrics_db_url, "ccproxy-gateway-budgets", failure))
			return NULL;
		snprintf(setup, sizeof(setup), "SET default_transaction_read_only = on; SET search_path = pg_catalog, pg_temp; "
				 "SET client_encoding = 'UTF8'; SET TimeZone = 'UTC'; SET statement_timeout = %lld; SET lock_timeout = %lld",
				 (long long) b->settings->statement_timeout_ms, (long long) b->settings->statement_timeout_ms);
		result = pgsession_exec(&b->session, setup, 0, NULL, failure);
		PQclear(result);
		if (result == NULL)
			return NULL;
	}
	return pgsession_exec(&b->session, BUDGET_SQL, 2, parameters, failure);
}

/* When the first of the budgets' periods ends, wall clock. */
static int64_t
first_end(const PGresult *rows)
{
	int64_t		first_us = INT64_MAX;

	for (int i = 0; i < PQntuples(rows); i++)
	{
		int64_t		end_us = strtoll(PQgetvalue(rows, i, BUDGET_COL_PERIOD_END), NULL, 10);

		if (end_us < first_us)
			first_us = end_us;
	}
	return first_us;
}

/* NULL when they cannot be read. */
static struct budget_state *
read_state(struct budgets *b, int64_t started_ms)
{
	struct budget_state *s = calloc(1, sizeof(*s));
	struct pgfailure failure = {0};

	if (s == NULL)
		return NULL;
	atomic_init(&s->references, 1);
	s->started_ms = started_ms;
	s->started_us = wall_clock_us();
	s->rows = query(b, &failure);
	metric_add(s->rows ? METRIC_BUDGET_REFRESHES : METRIC_BUDGET_REFRESHES_FAILED, 1);
	if (s->rows)
	{
		s->first_end_us = first_end(s->rows);
		if (b->failing)
			log_event(LOG_LEVEL_INFO, "budgets_recovered");
		b->failing = false;
		return s;
	}
	pgsession_close(&b->session);
	if (!b->failing && atomic_load(&b->give_up_us) != 0)
		log_event(LOG_LEVEL_WARNING, "budgets_lost", LOG_STR("sqlstate", failure.sqlstate), LOG_STR("reason", failure.message));
	b->failing = true;
	release_state(s);
	return NULL;
}

static void
tell(struct budget_waiter *waiter)
{
	while (waiter)
	{
		struct budget_waiter *next = waiter->next;

		waiter->done(waiter);
		waiter = next;
	}
}

static void *
budgets_main(void *arg)
{
	struct budgets *b = arg;

	pthread_mutex_lock(&b->lock);
	while (!b->closing)
	{
		struct budget_state *s;
		struct budget_state *old = NULL;
		struct budget_waiter *waiters;

		if (!b->reading)
		{
			pthread_cond_wait(&b->wanted, &b->lock);
			continue;
		}
		pthread_mutex_unlock(&b->lock);
		s = read_state(b, b->started_ms);
		pthread_mutex_lock(&b->lock);
		if (s)
		{
			old = b->current;
			b->current = s;
		}
		b->reading = false;
		waiters = b->waiters;
		b->waiters = NULL;
		pthread_mutex_unlock(&b->lock);
		release_state(old);
		tell(waiters);
		pthread_mutex_lock(&b->lock);
	}
	b->reading = false;
	pthread_mutex_unlock(&b->lock);
	pgsession_close(&b->session);
	return NULL;
}

bool
budgets_ask(struct budgets *b)
{
	int64_t		now_ms = monotonic_ms();
	int64_t		now_us = wall_clock_us();
	bool		fresh;
	bool		late;
	bool		ended;

	pthread_mutex_lock(&b->lock);
	/* a period has ended since it was read; what was read after that but says
	 * otherwise comes from a clock that is behind, and is read no more often */
	ended = b->current && b->current->first_end_us <= now_us && b->current->started_us < b->current->first_end_us;
	if (!b->reading && !b->closing && (ended || now_ms - b->started_ms >= BUDGET_REFRESH_MS))
	{
		b->reading = true;
		b->started_ms = now_ms;
		pthread_cond_signal(&b->wanted);
	}
	fresh = b->current && !ended && now_ms - b->current->started_ms < BUDGET_FRESH_MS;
	/* a query that takes this long is not worth waiting for again and again */
	late = !b->reading || now_ms - b->started_ms >= b->settings->budget_wait_ms;
	pthread_mutex_unlock(&b->lock);
	return fresh || late;
}

bool
budgets_wait(struct budgets *b, struct budget_waiter *waiter)
{
	bool		waits;

	pthread_mutex_lock(&b->lock);
	waits = b->reading;
	if (waits)
	{
		waiter->next = b->waiters;
		b->waiters = waiter;
	}
	pthread_mutex_unlock(&b->lock);
	return waits;
}

static int
compare_row(const PGresult *rows, int row, const char *scope, const char *value)
{
	int			c = strcmp(PQgetvalue(rows, row, BUDGET_COL_SCOPE), scope);

	return c != 0 ? c : strcmp(PQgetvalue(rows, row, BUDGET_COL_VALUE), value);
}

/* The first row of this scope and value, or where it would stand. */
static int
find_budgets(const PGresult *rows, const char *scope, const char *value)
{
	int			low = 0;
	int			high = PQntuples(rows);

	while (low < high)
	{
		int			middle = low + (high - low) / 2;

		if (compare_row(rows, middle, scope, value) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

struct verdict
{
	const char *reason;			/* NULL: nothing speaks against it */
	bool		over;			/* a budget's period has ended since it was read */
	int			written;
};

/* Appends the budgets of one scope and value. */
static void
write_budgets(struct text *out, const PGresult *rows, const char *scope, const char *value, int64_t now_us,
			  struct verdict *verdict)
{
	for (int i = find_budgets(rows, scope, value); i < PQntuples(rows) && compare_row(rows, i, scope, value) == 0; i++)
	{
		if (strtoll(PQgetvalue(rows, i, BUDGET_COL_PERIOD_END), NULL, 10) <= now_us)
		{
			verdict->over = true;
			continue;
		}
		if (verdict->reason == NULL && !PQgetisnull(rows, i, BUDGET_COL_REASON))
			verdict->reason = PQgetvalue(rows, i, BUDGET_COL_REASON);
		if (verdict->written++ > 0)
			text_puts(out, ", ");
		text_append(out, PQgetvalue(rows, i, BUDGET_COL_JSON), (size_t) PQgetlength(rows, i, BUDGET_COL_JSON));
	}
}

void
budgets_write(struct budgets *b, const struct budget_question *question, struct text *out)
{
	struct verdict verdict = {0};
	struct budget_state *s;
	struct text list;
	int64_t		age_ms = 0;
	bool		unknown;

	pthread_mutex_lock(&b->lock);
	s = b->current;
	if (s)
		atomic_fetch_add(&s->references, 1);
	pthread_mutex_unlock(&b->lock);
	text_init(&list);
	if (s)
	{
		int64_t		now_us = wall_clock_us();

		age_ms = monotonic_ms() - s->started_ms;
		write_budgets(&list, s->rows, "all", "", now_us, &verdict);
		for (int i = 0; i < BUDGET_SCOPES; i++)
			if (question->values[i])
				write_budgets(&list, s->rows, budget_scope_names[i], question->values[i], now_us, &verdict);
	}
	unknown = s == NULL || verdict.over || age_ms >= b->settings->budget_stale_ms;
	if (verdict.reason == NULL && unknown && strcmp(b->settings->budget_unreachable, "deny") == 0)
		verdict.reason = "budgets_unknown";
	metric_add(unknown ? METRIC_BUDGET_CHECKS_UNKNOWN : verdict.reason ? METRIC_BUDGET_CHECKS_DENIED : METRIC_BUDGET_CHECKS_ALLOWED, 1);

	text_printf(out, "{\"allowed\": %s, \"reason\": ", verdict.reason ? "false" : "true");
	if (verdict.reason)
		text_json(out, verdict.reason);
	else
		text_puts(out, "null");
	text_printf(out, ", \"known\": %s, \"age_ms\": ", unknown ? "false" : "true");
	if (s)
		text_i64(out, age_ms);
	else
		text_puts(out, "null");
	text_puts(out, ", \"budgets\": [");
	if (list.len > 0)
		text_append(out, list.data, list.len);
	text_puts(out, "]}\n");
	out->failed |= list.failed;
	text_free(&list);
	release_state(s);
}

struct budgets *
budgets_open(const struct settings *settings)
{
	struct budgets *b = calloc(1, sizeof(*b));

	if (b == NULL)
		return NULL;
	b->settings = settings;
	b->started_ms = -BUDGET_REFRESH_MS;
	atomic_init(&b->give_up_us, INT64_MAX);
	b->session.give_up_us = &b->give_up_us;
	pthread_mutex_init(&b->lock, NULL);
	pthread_cond_init(&b->wanted, NULL);
	if (pthread_create(&b->thread, NULL, budgets_main, b) == 0)
		return b;
	log_event(LOG_LEVEL_ERROR, "budgets_start_failed", LOG_STR("reason", "could not create a thread"));
	pthread_cond_destroy(&b->wanted);
	pthread_mutex_destroy(&b->lock);
	free(b);
	return NULL;
}

void
budgets_close(struct budgets *b)
{
	struct budget_waiter *waiters;

	atomic_store(&b->give_up_us, 0);
	pthread_mutex_lock(&b->lock);
	b->closing = true;
	pthread_cond_signal(&b->wanted);
	pthread_mutex_unlock(&b->lock);
	pthread_join(b->thread, NULL);
	pthread_mutex_lock(&b->lock);
	waiters = b->waiters;
	b->waiters = NULL;
	pthread_mutex_unlock(&b->lock);
	tell(waiters);
}

void
budgets_free(struct budgets *b)
{
	if (b == NULL)
		return;
	release_state(b->current);
	pthread_cond_destroy(&b->wanted);
	pthread_mutex_destroy(&b->lock);
	free(b);
}
