/*
 * Classes of PostgreSQL's errors; see pgerror.h.
 */
#include "gateway/pgerror.h"

#include <stddef.h>
#include <string.h>

struct rule
{
	const char *prefix;			/* of the SQLSTATE */
	enum pgerror_class result;
};

/* The first rule that fits; whatever fits none is waited out, unless the class is
 * nobody's but the user's. */
static const struct rule rules[] = {
	{"40001", PGERROR_RETRY},	/* serialization_failure */
	{"40P01", PGERROR_RETRY},	/* deadlock_detected */
	{"22", PGERROR_POISON},		/* data exception */
	{"23", PGERROR_POISON},		/* integrity constraint violation */
	{"54", PGERROR_POISON},		/* program limit exceeded: a value too large */
	{"P0001", PGERROR_POISON},	/* a trigger of the user's refuses the row */
	{"45", PGERROR_POISON},		/* likewise */
	{"28", PGERROR_OPERATOR},	/* invalid authorization */
	{"3D", PGERROR_OPERATOR},	/* no such database */
	{"3F", PGERROR_OPERATOR},	/* no such schema */
	{"42", PGERROR_OPERATOR},	/* no such table, column, function; no privilege */
	{"0A", PGERROR_OPERATOR},	/* feature not supported */
	{"55000", PGERROR_OPERATOR},	/* extension and library disagree */
};

static bool
starts_with(const char *s, const char *prefix)
{
	return strncmp(s, prefix, strlen(prefix)) == 0;
}

/* A class that is neither the standard's nor PostgreSQL's. */
static bool
is_class_of_users(const char *sqlstate)
{
	static const char *const servers[] = {"53", "54", "55", "57", "58", "72", "P0", "XX"};
	const char	first = sqlstate[0];

	for (size_t i = 0; i < sizeof(servers) / sizeof(servers[0]); i++)
		if (starts_with(sqlstate, servers[i]))
			return false;
	return (first >= '5' && first <= '9') || (first >= 'I' && first <= 'Z');
}

bool
pgerror_is_raised(const char *sqlstate)
{
	return starts_with(sqlstate, "P0001") || starts_with(sqlstate, "45") || is_class_of_users(sqlstate);
}

enum pgerror_class
pgerror_classify(const char *sqlstate, const char *constraint)
{
	if (sqlstate == NULL || sqlstate[0] == '\0')
		return PGERROR_TRANSIENT;
	if (strcmp(sqlstate, "23505") == 0)
		return constraint != NULL && strcmp(constraint, PGERROR_BATCH_CONSTRAINT) == 0
			? PGERROR_BATCH_KNOWN : PGERROR_DUPLICATE;
	/* a check has a name, "no partition of relation found for row" has none */
	if (strcmp(sqlstate, "23514") == 0 && (constraint == NULL || constraint[0] == '\0'))
		return PGERROR_NO_PARTITION;
	for (size_t i = 0; i < sizeof(rules) / sizeof(rules[0]); i++)
		if (starts_with(sqlstate, rules[i].prefix))
			return rules[i].result;
	return is_class_of_users(sqlstate) ? PGERROR_POISON : PGERROR_TRANSIENT;
}

bool
pgerror_needs_reconnect(const char *sqlstate)
{
	return sqlstate == NULL || sqlstate[0] == '\0' ||
		starts_with(sqlstate, "08") ||		/* connection exception */
		starts_with(sqlstate, "57P") ||		/* shutdown, crash, starting up */
		starts_with(sqlstate, "25") ||		/* read-only: a standby after a failover; timed out in a transaction */
		starts_with(sqlstate, "42") ||		/* what was checked at the start has changed */
		starts_with(sqlstate, "28") ||
		starts_with(sqlstate, "XX");
}

const char *
pgerror_class_name(enum pgerror_class c)
{
	switch (c)
	{
		case PGERROR_NONE:
			return "none";
		case PGERROR_LOST:
			return "lost";
		case PGERROR_RETRY:
			return "retry";
		case PGERROR_TRANSIENT:
			return "transient";
		case PGERROR_OPERATOR:
			return "operator";
		case PGERROR_POISON:
			return "poison";
		case PGERROR_DUPLICATE:
			return "duplicate";
		case PGERROR_BATCH_KNOWN:
			return "batch_known";
		case PGERROR_NO_PARTITION:
			return "no_partition";
	}
	return "unknown";
}
