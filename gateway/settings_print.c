/*
 * What main prints of the settings: --help and --print-config. Main thread
 * only; no secret leaves through here.
 */
#include <inttypes.h>
#include <libpq-fe.h>
#include <string.h>

#include "gateway/settings_table.h"

static const char *const origin_names[] = {"default", "file", "environment", "flag"};

void
settings_redact_url(const char *url, char *out, size_t size)
{
	PQconninfoOption *options = PQconninfoParse(url, NULL);
	size_t		len = 0;

	out[0] = '\0';
	if (options == NULL)
	{
		snprintf(out, size, "***");
		return;
	}
	/* as key=value pairs; libpq marks what is secret */
	for (PQconninfoOption *o = options; o->keyword; o++)
	{
		bool		hide;
		int			n;

		if (o->val == NULL || len >= size)
			continue;
		hide = strchr(o->dispchar, '*') != NULL || strstr(o->keyword, "password") != NULL;
		n = snprintf(out + len, size - len, "%s%s=%s", len ? " " : "", o->keyword, hide ? "***" : o->val);
		len += n > 0 ? (size_t) n : 0;
	}
	PQconninfoFree(options);
}

void
settings_print_help(FILE *out, const char *program)
{
	fprintf(out,
			"Usage: %s [--config FILE] [--SETTING VALUE]...\n"
			"       %s import FILE [--rejects FILE] [--progress FILE] [--SETTING VALUE]...\n"
			"\n"
			"Receives events of LLM requests over HTTP and stores them in PostgreSQL.\n"
			"\n"
			"  --config FILE     read settings from FILE (key = value)\n"
			"  --check-config    check the settings and exit\n"
			"  --print-config    print every setting, its origin, secrets redacted, and exit\n"
			"  --help, --version\n"
			"\n"
			"Settings: flag, else environment CCPROXY_<NAME>, else file, else default.\n", program, program);
	for (int i = 0; i < SETTINGS_NUMBER; i++)
	{
		char		flag[80];

		snprintf(flag, sizeof(flag), "--%s", settings_table[i].key);
		for (char *p = flag; *p; p++)
			if (*p == '_')
				*p = '-';
		fprintf(out, "  %-26s %s%s%s%s\n", flag, settings_table[i].help,
				settings_table[i].dflt[0] ? " [" : "", settings_table[i].dflt, settings_table[i].dflt[0] ? "]" : "");
	}
}

void
settings_print(FILE *out, const struct settings *s)
{
	for (int i = 0; i < SETTINGS_NUMBER; i++)
	{
		const struct setting *st = &settings_table[i];
		const void *field = (const char *) s + st->offset;
		char		value[1024];

		switch (st->type)
		{
			case SETTING_TYPE_TEXT:
				if (st->secret && **(const char *const *) field)
					settings_redact_url(*(const char *const *) field, value, sizeof(value));
				else
					snprintf(value, sizeof(value), "%s", *(const char *const *) field);
				break;
			case SETTING_TYPE_FLAG:
				snprintf(value, sizeof(value), "%s", *(const bool *) field ? "true" : "false");
				break;
			case SETTING_TYPE_MILLIS:
			case SETTING_TYPE_SECONDS:
				snprintf(value, sizeof(value), "%" PRId64 "ms", *(const int64_t *) field);
				break;
			default:
				snprintf(value, sizeof(value), "%" PRId64, *(const int64_t *) field);
				break;
		}
		fprintf(out, "%s = %s\t# %s\n", st->key, value, origin_names[s->origin[i]]);
	}
}
