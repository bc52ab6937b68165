/*
 * Catalogues of prices; see catalogue.h.
 */
#include "gateway/catalogue.h"

#include <stdio.h>
#include <stdlib.h>

#include "gateway/pgsession.h"

static const char lines_sql[] = "SELECT * FROM ccproxy.price_lines()";

static struct catalogue *
fail(struct catalogue *c, struct pgfailure *failure, enum pgerror_class class, const char *message)
{
	failure->class = class;
	failure->sqlstate[0] = '\0';
	snprintf(failure->message, sizeof(failure->message), "%s", message);
	catalogue_release(c);
	return NULL;
}

static struct catalogue *
build(const PGresult *lines, struct pgfailure *failure)
{
	struct catalogue *c = calloc(1, sizeof(*c));

	if (c == NULL)
		return fail(NULL, failure, PGERROR_TRANSIENT, "out of memory");
	atomic_init(&c->references, 1);
	c->loader = price_loader_new();
	if (c->loader == NULL)
		return fail(c, failure, PGERROR_TRANSIENT, "out of memory");
	for (int i = 0; i < PQntuples(lines); i++)
	{
		struct price_text line = {PQgetvalue(lines, i, 0), (size_t) PQgetlength(lines, i, 0)};

		/* one price less would make wrong costs, not fewer */
		if (!price_loader_add(c->loader, line))
			return fail(c, failure, PGERROR_OPERATOR, "there is a price this version of the gateway cannot read");
	}
	c->prices = price_loader_finish(c->loader);
	if (c->prices == NULL)
		return fail(c, failure, PGERROR_TRANSIENT, "out of memory");
	c->version = price_loader_version(c->loader);
	return c;
}

struct catalogue *
catalogue_load(struct pgsession *s, struct pgfailure *failure)
{
	PGresult   *lines = pgsession_exec(s, lines_sql, 0, NULL, failure);
	struct catalogue *c;

	if (lines == NULL)
		return NULL;
	c = build(lines, failure);
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
