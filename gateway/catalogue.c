/*
 * Catalogues of prices; see catalogue.h.
 */
#include "gateway/catalogue.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/pgsession.h"
#include "gateway/text.h"

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

struct catalogue *
catalogue_shipped(void)
{
	struct catalogue *c = malloc(sizeof(*c));

	if (c == NULL)
		return NULL;
	*c = (struct catalogue) {.prices = price_shipped_catalogue(), .version = CATALOGUE_NONE};
	atomic_init(&c->references, 1);
	return c;
}

struct catalogue *
catalogue_parse(const char *lines, size_t len)
{
	struct price_loader *loader = price_loader_new();
	struct catalogue *c = NULL;
	const char *end = lines + len;
	bool		ok = loader != NULL;

	for (const char *line = lines; ok && line < end;)
	{
		const char *newline = memchr(line, '\n', (size_t) (end - line));
		struct price_text text = {line, (size_t) ((newline ? newline : end) - line)};

		/* one price less would make wrong costs, not fewer */
		ok = price_loader_add(loader, text);
		line = newline ? newline + 1 : end;
	}
	if (ok)
		c = catalogue_new(loader);
	else
		price_loader_free(loader);
	if (c == NULL)
		return NULL;
	c->lines = malloc(len + 1);
	if (c->lines == NULL)
	{
		catalogue_release(c);
		return NULL;
	}
	memcpy(c->lines, lines, len);
	c->lines[len] = '\0';
	c->lines_len = len;
	return c;
}

static struct catalogue *
read_lines(const PGresult *result, struct pgfailure *failure)
{
	struct text lines;
	struct catalogue *c;

	text_init(&lines);
	for (int i = 0; i < PQntuples(result); i++)
	{
		text_append(&lines, PQgetvalue(result, i, 0), (size_t) PQgetlength(result, i, 0));
		text_putc(&lines, '\n');
	}
	if (lines.failed)
	{
		text_free(&lines);
		return fail(failure, PGERROR_TRANSIENT, "out of memory");
	}
	c = catalogue_parse(lines.data ? lines.data : "", lines.len);
	text_free(&lines);
	return c != NULL ? c : fail(failure, PGERROR_OPERATOR, "there is a price this version of the gateway cannot read");
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
	free(c->lines);
	free(c);
}
