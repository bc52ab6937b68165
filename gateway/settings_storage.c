/*
 * Where events go (settings.h): metrics_storage and metrics_db_url together.
 * Main thread, before any other exists.
 */
#include <stdio.h>
#include <string.h>

#include "gateway/settings.h"

#define SQLITE_SCHEME "sqlite:///"

static bool
fail(char error[SETTINGS_ERROR_SIZE], const char *message)
{
	snprintf(error, SETTINGS_ERROR_SIZE, "%s", message);
	return false;
}

bool
settings_check_storage(struct settings *s, char error[SETTINGS_ERROR_SIZE])
{
	const bool	sqlite_url = strncmp(s->metrics_db_url, "sqlite:", 7) == 0;

	if (strcmp(s->metrics_storage, "sqlite") == 0 || (sqlite_url && s->origin[SETTING_metrics_storage] == ORIGIN_DEFAULT))
		s->storage = STORAGE_SQLITE;
	else if (strcmp(s->metrics_storage, "memory") == 0)
		s->storage = STORAGE_MEMORY;
	else if (strcmp(s->metrics_storage, "postgres") == 0)
		s->storage = STORAGE_POSTGRES;
	else
	{
		snprintf(error, SETTINGS_ERROR_SIZE, "metrics_storage must be postgres, sqlite or memory, not \"%.200s\"", s->metrics_storage);
		return false;
	}
	if (s->storage != STORAGE_SQLITE)
		return !sqlite_url || fail(error, "metrics_db_url is an SQLite file: set metrics_storage to sqlite, or give a PostgreSQL database");
	s->metrics_storage = "sqlite";
	if (sqlite_url)
	{
		if (strncmp(s->metrics_db_url, SQLITE_SCHEME, strlen(SQLITE_SCHEME)) != 0 || s->metrics_db_url[strlen(SQLITE_SCHEME)] == '\0')
			return fail(error, "metrics_db_url must name a file, such as sqlite:///metrics.db, or sqlite:////var/lib/metrics.db");
		s->spool_path = s->metrics_db_url + strlen(SQLITE_SCHEME);
	}
	else if (s->metrics_db_url[0] != '\0')
		return fail(error, "metrics_storage is sqlite and metrics_db_url is PostgreSQL: choose one (with postgres, spool_path may be "
					"the file of before: what is in it is forwarded)");
	if (s->spool_path[0] == '\0')
		return fail(error, "metrics_storage is sqlite: name the file, with metrics_db_url=sqlite:///metrics.db or spool_path");
	return true;
}
