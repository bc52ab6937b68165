/*
 * The table of settings as settings.c fills it and settings_print.c shows it;
 * nobody else includes this.
 */
#ifndef GATEWAY_SETTINGS_TABLE_H
#define GATEWAY_SETTINGS_TABLE_H

#include "gateway/settings.h"

enum setting_type
{
	SETTING_TYPE_TEXT,
	SETTING_TYPE_FLAG,
	SETTING_TYPE_COUNT,
	SETTING_TYPE_BYTES,
	SETTING_TYPE_MILLIS,
	SETTING_TYPE_SECONDS
};

struct setting
{
	enum setting_type type;
	size_t		offset;
	const char *key;
	const char *dflt;
	int64_t		min;
	int64_t		max;
	bool		secret;
	const char *help;
};

extern const struct setting settings_table[SETTINGS_NUMBER];

#endif
