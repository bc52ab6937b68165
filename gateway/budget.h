/*
 * The state of the budgets (ccproxy.budget_status), kept so that a proxy can be
 * told before it forwards a request whether money is left.
 *
 * Read anew by one query in 0.8 seconds at most (one more when a period ends),
 * and only while somebody asks: on a thread and connection of its own, that
 * dashboards do not keep waiting. Workers ask and write answers; the thread
 * brings new states.
 *
 *	worker:	budgets_ask: true: budgets_write answers from what is known;
 *			false: nothing fresh is, a query is under way: suspend, then
 *			budgets_wait, whose waiter is told once when it has ended.
 *
 * A state is immutable and counted; whoever lets go last frees it.
 */
#ifndef GATEWAY_BUDGET_H
#define GATEWAY_BUDGET_H

#include <stdbool.h>
#include <stdint.h>

#include "gateway/settings.h"
#include "gateway/text.h"

/* How long a state is not read again; the load on the database. */
#define BUDGET_REFRESH_MS 800
/* How long it answers, from then on while its successor is being read. */
#define BUDGET_FRESH_MS 1000

enum budget_scope
{
	BUDGET_MODEL,
	BUDGET_USER,
	BUDGET_ENDPOINT,
	BUDGET_TEAM,
	BUDGET_API_KEY,
	BUDGET_SCOPES				/* besides "all", which takes no value */
};

/* Names of the scopes, as parameters and in the database. */
extern const char *const budget_scope_names[BUDGET_SCOPES];

/* Whose request it is: NULL where that is not said. */
struct budget_question
{
	const char *values[BUDGET_SCOPES];
};

struct budget_waiter
{
	/* once, from the thread that reads, must not block */
	void		(*done) (struct budget_waiter *);
	void	   *owner;
	struct budget_waiter *next;
};

struct budgets;

/* NULL and a logged reason when it cannot. Connects when first asked. */
struct budgets *budgets_open(const struct settings *settings);
bool		budgets_ask(struct budgets *b) __attribute__((warn_unused_result));
/* False when no query is under way any more: done is not called. */
bool		budgets_wait(struct budgets *b, struct budget_waiter *waiter) __attribute__((warn_unused_result));
/* {"allowed": ..., "budgets": [...]}, by what is known now. */
void		budgets_write(struct budgets *b, const struct budget_question *question, struct text *out);
/* Tells every waiter and joins the thread; then nobody may ask any more. */
void		budgets_close(struct budgets *b);
void		budgets_free(struct budgets *b);

#endif
