/*
 * Content negotiation (accept.h).
 */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "gateway/accept.h"

#define WEIGHT_MAX 1000

/* How well element[0 .. len) names it: 0 not at all, 1 *, 2 type/ *, 3 exactly. */
static int
match(const char *element, size_t len, const char *name)
{
	const char *slash = strchr(name, '/');

	if (len == strlen(name) && strncasecmp(element, name, len) == 0)
		return 3;
	if (slash && len == (size_t) (slash - name) + 2 && strncasecmp(element, name, len - 1) == 0 && element[len - 1] == '*')
		return 2;
	return (len == 1 && element[0] == '*') || (len == 3 && memcmp(element, "*/*", 3) == 0);
}

/* The q among the parameters p[0 .. len). */
static int
weight_of(const char *p, size_t len)
{
	for (size_t i = 0; i + 2 < len; i++)
	{
		if (p[i] == ';')
		{
			size_t		k = i + 1;

			while (k < len && (p[k] == ' ' || p[k] == '\t'))
				k++;
			if (k + 1 < len && (p[k] == 'q' || p[k] == 'Q') && p[k + 1] == '=')
			{
				double		q = strtod(p + k + 2, NULL);

				return q >= 1 ? WEIGHT_MAX : q > 0 ? (int) (q * WEIGHT_MAX) : 0;
			}
		}
	}
	return WEIGHT_MAX;
}

int
accept_weight(const char *header, const char *name)
{
	int			best = 0;
	int			weight = 0;

	if (header == NULL || header[strspn(header, " \t")] == '\0')
		return WEIGHT_MAX;
	for (const char *p = header; *p;)
	{
		size_t		len = strcspn(p, ",");
		size_t		name_len = strcspn(p, ";, \t");
		int			m = match(p, name_len, name);

		if (m > best)
		{
			best = m;
			weight = weight_of(p, len);
		}
		p += len;
		p += strspn(p, ", \t");
	}
	return weight;
}

bool
accept_gzip(const char *accept_encoding)
{
	return accept_encoding && accept_weight(accept_encoding, "gzip") > 0;
}
