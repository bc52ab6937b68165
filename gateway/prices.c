/*
 * The prices in effect; see prices.h.
 */
#include "gateway/prices.h"

#include "gateway/log.h"
#include "gateway/selfmetrics.h"

void
prices_init(struct prices *p)
{
	*p = (struct prices) {.current = NULL};
	pthread_mutex_init(&p->lock, NULL);
}

void
prices_free(struct prices *p)
{
	catalogue_release(p->current);
	pthread_mutex_destroy(&p->lock);
}

struct catalogue *
prices_get(struct prices *p)
{
	struct catalogue *catalogue;

	pthread_mutex_lock(&p->lock);
	catalogue = catalogue_acquire(p->current);
	pthread_mutex_unlock(&p->lock);
	return catalogue;
}

int64_t
prices_version(struct prices *p)
{
	int64_t		version;

	pthread_mutex_lock(&p->lock);
	version = p->current ? p->current->version : CATALOGUE_NONE;
	pthread_mutex_unlock(&p->lock);
	return version;
}

void
prices_offer(struct prices *p, struct catalogue *catalogue)
{
	pthread_mutex_lock(&p->lock);
	if (p->current == NULL)
	{
		p->current = catalogue;
		catalogue = NULL;
	}
	pthread_mutex_unlock(&p->lock);
	catalogue_release(catalogue);
}

void
prices_replace(struct prices *p, struct catalogue *catalogue)
{
	struct catalogue *old;

	pthread_mutex_lock(&p->lock);
	old = p->current;
	p->current = catalogue;
	pthread_mutex_unlock(&p->lock);
	catalogue_release(old);
}

bool
prices_load(struct prices *p, struct pgsession *s, struct pgfailure *failure)
{
	struct catalogue *catalogue = catalogue_load(s, failure);

	metric_add(catalogue ? METRIC_PRICE_LOADS : METRIC_PRICE_LOADS_FAILED, 1);
	if (catalogue == NULL && failure->class == PGERROR_LOST)
		return false;
	if (catalogue == NULL)
		log_event(LOG_LEVEL_WARNING, "prices_not_loaded", LOG_STR("reason", failure->message),
				  LOG_STR("consequence", "the server prices every event, which is slower"));
	prices_replace(p, catalogue);
	return true;
}

bool
prices_check(struct prices *p, struct pgsession *s, struct pgfailure *failure)
{
	if (!s->listening && !p->unnotified_logged)
		log_event(LOG_LEVEL_WARNING, "prices_not_notified",
				  LOG_STR("reason", "a connection pooler is in between: notifications need a direct or session-pooled connection"),
				  LOG_STR("consequence", "the next batch notices a change of prices, and the server prices that one"));
	p->unnotified_logged = !s->listening;
	return prices_version(p) == s->catalogue_version || prices_load(p, s, failure);
}
