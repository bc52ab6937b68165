/*
 * Catalogues of prices; see catalogue.h.
 */
#include "gateway/catalogue.h"

#include <stdio.h>
#include <stdlib.h>

#include "gateway/pgsession.h"

static const char lines_sql[] = "SELECT * FROM ccproxy.price_lines()";

static struct catalogue *
fail(struct pgfailure *failure, enum pgerror_class class, const char *message)
{
	failure->class = class;
	failure->sqlstate[0] = '\0';
	snprintf(failure->message, sizeof(failure->message), "%s", message);
	return NULL;
}

struct catalogue *
catalogue_new(struct price_loader *loader)
{
	const struct price_catalogue *prices = price_loader_finish(loader);
	struct catalogue *c = prices == NULL ? NULL : malloc(sizeof(*c));

	if (c == NULL)
	{
		price_loader_free(loader);
		return NULL;
	}
	*c = (struct catalogue) {.prices = prices, .version = price_loader_version(loader), .loader = loader};
	atomic_init(&c->references, 1);
	return c;
}

static struct catalogue *
read_lines(const PGresult *lines, struct pgfailure *failure)
{
	struct price_loader *loader = price_loader_new();
	struct catalogue *c;

	for (int i = 0; loader != NULL && i < PQntuples(lines); i++)
	{
		struct price_text line = {PQgetvalue(lines, i, 0), (size_t) PQgetlength(lines, i, 0)};

		/* one price less would make wrong costs, not fewer */
		if (!price_loader_add(loader, line))
		{
			price_loader_free(loader);
			return fail(failure, PGERROR_OPERATOR, "there is a price this version of the gateway cannot read");
		}
	}
	c = loader == NULL ? NULL : catalogue_new(loader);
	return c != NULL ? c : fail(failure, PGERROR_TRANSIENT, "out of memory");
}

struct catalogue *
catalogue_load(struct pgsession *s, struct pgfailure *failure)
{
	PGresult   *lines = pgsession_exec(s, lines_sql, 0, NULL, failure);
	struct catalogue *c;

	if (lines == NULL)
		return NULL;
	c = read_lines(lines, failure);
	PQclear(lines);
	return c;
}

struct catalogue *
catalogue_acquire(struct catalogue *c)
{
	if (c != NULL)
		atomic_fetch_add_explicit(&c->references, 1, memory_order_relaxed);
	return c;
}

void
catalogue_release(struct catalogue *c)
{
	if (c == NULL || atomic_fetch_sub_explicit(&c->references, 1, memory_order_acq_rel) > 1)
		return;
	price_loader_free(c->loader);
	free(c);
}
