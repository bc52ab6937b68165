/*
 * Settings (settings.h): the table and its four origins. Main thread only,
 * before any other thread exists; owns the texts it copies (settings_free).
 */
#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <libpq-fe.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/log.h"
#include "gateway/settings.h"
#include "gateway/settings_table.h"

#define CONFIG_FILE_MAX_BYTES (1024 * 1024)
#define ENVIRONMENT_PREFIX "CCPROXY_"

#define SETTINGS_ROW(type, field, key, dflt, min, max, secret, help) \
	{SETTING_TYPE_##type, offsetof(struct settings, field), key, dflt, min, max, secret, help},

const struct setting settings_table[SETTINGS_NUMBER] = {
	SETTINGS(SETTINGS_ROW)
};

static bool fail(char error[SETTINGS_ERROR_SIZE], const char *fmt,...)
			__attribute__((format(printf, 2, 3)));

static bool
fail(char error[SETTINGS_ERROR_SIZE], const char *fmt,...)
{
	va_list		ap;

	va_start(ap, fmt);
	vsnprintf(error, SETTINGS_ERROR_SIZE, fmt, ap);
	va_end(ap);
	for (char *p = error; *p; p++)
		if ((unsigned char) *p < ' ')
			*p = ' ';
	return false;
}

/* "KiB" and the like after a number; 0 when unknown. */
static int64_t
unit_factor(enum setting_type type, const char *unit)
{
	static const struct
	{
		const char *name;
		int64_t		factor;
	}			bytes[] = {
		{"", 1}, {"B", 1}, {"KiB", SETTINGS_KiB}, {"MiB", SETTINGS_MiB}, {"GiB", SETTINGS_GiB},
		{"kB", SETTINGS_KiB}, {"MB", SETTINGS_MiB}, {"GB", SETTINGS_GiB}
	}, times[] = {
		{"ms", 1}, {"s", 1000}, {"min", 60000}, {"h", 3600000}
	};

	switch (type)
	{
		case SETTING_TYPE_BYTES:
			for (size_t i = 0; i < sizeof(bytes) / sizeof(bytes[0]); i++)
				if (strcmp(unit, bytes[i].name) == 0)
					return bytes[i].factor;
			return 0;
		case SETTING_TYPE_MILLIS:
		case SETTING_TYPE_SECONDS:
			if (*unit == '\0')
				return type == SETTING_TYPE_MILLIS ? 1 : 1000;
			for (size_t i = 0; i < sizeof(times) / sizeof(times[0]); i++)
				if (strcmp(unit, times[i].name) == 0)
					return times[i].factor;
			return 0;
		default:
			return *unit == '\0' ? 1 : 0;
	}
}

static const char *
type_hint(enum setting_type type)
{
	switch (type)
	{
		case SETTING_TYPE_BYTES:
			return "a size such as 65536, 512KiB or 20MiB";
		case SETTING_TYPE_MILLIS:
		case SETTING_TYPE_SECONDS:
			return "a time such as 500ms, 10s or 2min";
		case SETTING_TYPE_FLAG:
			return "true or false";
		default:
			return "a whole number";
	}
}

static bool
parse_number(const struct setting *st, const char *value, int64_t *out)
{
	const char *p = value;
	int64_t		n = 0;
	int64_t		factor;

	if (!isdigit((unsigned char) *p))
		return false;
	for (; isdigit((unsigned char) *p); p++)
		if (__builtin_mul_overflow(n, 10, &n) || __builtin_add_overflow(n, *p - '0', &n))
			return false;
	while (*p == ' ')
		p++;
	factor = unit_factor(st->type, p);
	return factor != 0 && !__builtin_mul_overflow(n, factor, out);
}

static bool
parse_flag(const char *value, bool *out)
{
	static const char *const yes[] = {"true", "on", "yes", "1"};
	static const char *const no[] = {"false", "off", "no", "0"};

	for (int i = 0; i < 4; i++)
	{
		if (strcasecmp(value, yes[i]) == 0 || strcasecmp(value, no[i]) == 0)
		{
			*out = strcasecmp(value, yes[i]) == 0;
			return true;
		}
	}
	return false;
}

/* Sets one field. where is for errors: the flag, variable, or file and line. */
static bool
assign(struct settings *s, int i, const char *value, enum setting_origin origin,
	   const char *where, char error[SETTINGS_ERROR_SIZE])
{
	const struct setting *st = &settings_table[i];
	void	   *field = (char *) s + st->offset;

	if (st->type == SETTING_TYPE_TEXT)
	{
		char	   *copy = strdup(value);

		if (copy == NULL)
			return fail(error, "out of memory");
		free(s->owned[i]);
		s->owned[i] = copy;
		*(const char **) field = copy;
	}
	else if (st->type == SETTING_TYPE_FLAG)
	{
		if (!parse_flag(value, field))
			return fail(error, "%s: %s must be %s, not \"%s\"", where, st->key, type_hint(st->type), value);
	}
	else
	{
		int64_t		n;

		if (!parse_number(st, value, &n))
			return fail(error, "%s: %s must be %s, not \"%s\"", where, st->key, type_hint(st->type), value);
		if (n < st->min || n > st->max)
		{
			bool		ms = st->type == SETTING_TYPE_MILLIS || st->type == SETTING_TYPE_SECONDS;

			return fail(error, "%s: %s must be between %" PRId64 "%s and %" PRId64 "%s, not \"%s\"",
						where, st->key, st->min, ms ? "ms" : "", st->max, ms ? "ms" : "", value);
		}
		*(int64_t *) field = n;
	}
	s->origin[i] = (uint8_t) origin;
	return true;
}

static int
find_key(const char *key, size_t len)
{
	for (int i = 0; i < SETTINGS_NUMBER; i++)
		if (strlen(settings_table[i].key) == len && memcmp(settings_table[i].key, key, len) == 0)
			return i;
	return -1;
}

void
settings_defaults(struct settings *s)
{
	char		error[SETTINGS_ERROR_SIZE];

	memset(s, 0, sizeof(*s));
	for (int i = 0; i < SETTINGS_NUMBER; i++)
	{
		if (settings_table[i].type == SETTING_TYPE_TEXT)
			*(const char **) ((char *) s + settings_table[i].offset) = settings_table[i].dflt;
		else if (!assign(s, i, settings_table[i].dflt, ORIGIN_DEFAULT, "default", error))
		{
			fprintf(stderr, "%s\n", error);
			abort();			/* the table contradicts itself */
		}
	}
}

void
settings_free(struct settings *s)
{
	for (int i = 0; i < SETTINGS_NUMBER; i++)
	{
		free(s->owned[i]);
		s->owned[i] = NULL;
	}
}

/* Cuts [*begin, *end) of blanks on both sides. */
static void
trim(const char **begin, const char **end)
{
	while (*begin < *end && isspace((unsigned char) **begin))
		(*begin)++;
	while (*end > *begin && isspace((unsigned char) (*end)[-1]))
		(*end)--;
}

bool
settings_parse_file(struct settings *s, const char *text, size_t len,
					const char *name, char error[SETTINGS_ERROR_SIZE])
{
	const char *p = text;
	const char *stop = text + len;
	bool		seen[SETTINGS_NUMBER] = {false};
	int			line = 0;

	if (memchr(text, '\0', len) != NULL)
		return fail(error, "%s: not a text file", name);
	while (p < stop)
	{
		const char *newline = memchr(p, '\n', (size_t) (stop - p));
		const char *begin = p;
		const char *end = newline ? newline : stop;
		const char *equals;
		const char *key_end;
		char		where[256];
		char	   *value;
		int			i;
		bool		ok;

		p = newline ? newline + 1 : stop;
		line++;
		trim(&begin, &end);
		if (begin == end || *begin == '#')
			continue;
		snprintf(where, sizeof(where), "%s:%d", name, line);
		equals = memchr(begin, '=', (size_t) (end - begin));
		if (equals == NULL)
			return fail(error, "%s: expected \"key = value\"", where);
		key_end = equals;
		trim(&begin, &key_end);
		i = find_key(begin, (size_t) (key_end - begin));
		if (i < 0)
			return fail(error, "%s: unknown setting \"%.*s\"", where,
						(int) (key_end - begin > 100 ? 100 : key_end - begin), begin);
		if (seen[i])
			return fail(error, "%s: %s is set twice", where, settings_table[i].key);
		seen[i] = true;
		equals++;
		trim(&equals, &end);
		value = strndup(equals, (size_t) (end - equals));
		if (value == NULL)
			return fail(error, "out of memory");
		ok = assign(s, i, value, ORIGIN_FILE, where, error);
		free(value);
		if (!ok)
			return false;
	}
	return true;
}

static bool
load_file(struct settings *s, const char *path, char error[SETTINGS_ERROR_SIZE])
{
	FILE	   *f = fopen(path, "re");
	char	   *text;
	size_t		len;
	bool		ok;

	if (f == NULL)
		return fail(error, "could not open configuration file \"%s\": %s", path, strerror(errno));
	text = malloc(CONFIG_FILE_MAX_BYTES + 1);
	if (text == NULL)
	{
		fclose(f);
		return fail(error, "out of memory");
	}
	len = fread(text, 1, CONFIG_FILE_MAX_BYTES + 1, f);
	if (ferror(f))
		ok = fail(error, "could not read configuration file \"%s\": %s", path, strerror(errno));
	else if (len > CONFIG_FILE_MAX_BYTES)
		ok = fail(error, "configuration file \"%s\" is larger than %d bytes", path, CONFIG_FILE_MAX_BYTES);
	else
		ok = settings_parse_file(s, text, len, path, error);
	free(text);
	fclose(f);
	return ok;
}

/* The value of one environment variable; NULL when absent or empty. */
static const char *
environment(char **envp, const char *name)
{
	size_t		len = strlen(name);

	for (; envp && *envp; envp++)
		if (strncmp(*envp, name, len) == 0 && (*envp)[len] == '=' && (*envp)[len + 1] != '\0')
			return *envp + len + 1;
	return NULL;
}

static void
environment_name(char *out, size_t size, const char *key)
{
	snprintf(out, size, ENVIRONMENT_PREFIX "%s", key);
	for (char *p = out; *p; p++)
		*p = (char) toupper((unsigned char) *p);
}

/*
 * Walks the command line. With values == false only looks for --config and the
 * actions, with values == true assigns the settings.
 */
static bool
walk_flags(struct settings *s, const struct settings_input *in, bool values,
		   const char **config, enum settings_action *action, char error[SETTINGS_ERROR_SIZE])
{
	static const struct
	{
		const char *flag;
		enum settings_action action;
	}			actions[] = {
		{"--help", ACTION_HELP}, {"-h", ACTION_HELP}, {"--version", ACTION_VERSION},
		{"--check-config", ACTION_CHECK_CONFIG}, {"--print-config", ACTION_PRINT_CONFIG}
	};

	for (int a = 1; a < in->argc; a++)
	{
		const char *arg = in->argv[a];
		const char *value = NULL;
		char		key[64];
		size_t		len;
		bool		is_action = false;
		int			i;

		for (size_t k = 0; k < sizeof(actions) / sizeof(actions[0]); k++)
		{
			if (strcmp(arg, actions[k].flag) == 0)
			{
				*action = actions[k].action;
				is_action = true;
			}
		}
		if (is_action)
			continue;
		if (strncmp(arg, "--", 2) != 0)
			return fail(error, "unexpected argument \"%s\" (see --help)", arg);
		len = strcspn(arg + 2, "=");
		if (len >= sizeof(key))
			return fail(error, "unknown flag \"%.80s\" (see --help)", arg);
		for (size_t k = 0; k < len; k++)
			key[k] = arg[2 + k] == '-' ? '_' : arg[2 + k];
		key[len] = '\0';
		i = find_key(key, len);
		if (i < 0 && strcmp(key, "config") != 0)
			return fail(error, "unknown flag \"--%.*s\" (see --help)", (int) len, arg + 2);
		if (arg[2 + len] == '=')
			value = arg + 2 + len + 1;
		else if (a + 1 < in->argc)
			value = in->argv[++a];
		else
			return fail(error, "--%.*s needs a value", (int) len, arg + 2);
		if (i < 0)
			*config = value;
		else if (values)
		{
			char		where[80];

			snprintf(where, sizeof(where), "--%.*s", (int) len, arg + 2);
			if (!assign(s, i, value, ORIGIN_FLAG, where, error))
				return false;
		}
	}
	return true;
}

bool
settings_load(struct settings *s, const struct settings_input *in,
			  enum settings_action *action, char error[SETTINGS_ERROR_SIZE])
{
	const char *config = environment(in->envp, ENVIRONMENT_PREFIX "CONFIG");

	*action = ACTION_RUN;
	error[0] = '\0';
	settings_defaults(s);
	if (!walk_flags(s, in, false, &config, action, error))
		return false;
	if (*action == ACTION_HELP || *action == ACTION_VERSION)
		return true;
	if (config && !load_file(s, config, error))
		return false;
	for (int i = 0; i < SETTINGS_NUMBER; i++)
	{
		char		name[80];
		const char *value;

		environment_name(name, sizeof(name), settings_table[i].key);
		value = environment(in->envp, name);
		if (value && !assign(s, i, value, ORIGIN_ENVIRONMENT, name, error))
			return false;
	}
	if (!walk_flags(s, in, true, &config, action, error))
		return false;
	if (!settings_check(s, error))
		return false;
	if (!in->no_database && *action != ACTION_PRINT_CONFIG && s->storage != STORAGE_SQLITE && s->metrics_db_url[0] == '\0' && !environment(in->envp, "PGHOST") &&
		!environment(in->envp, "PGSERVICE") && !environment(in->envp, "PGDATABASE"))
		return fail(error, "metrics_db_url is not set: give --metrics-db-url postgres://user@host/database, "
					"CCPROXY_METRICS_DB_URL, or libpq's PGHOST and PGDATABASE");
	return true;
}

#define RELOADABLE(field) [SETTING_##field] = true,

static const bool reloadable[SETTINGS_NUMBER] = {SETTINGS_RELOADABLE(RELOADABLE)};

static size_t
field_size(const struct setting *st)
{
	return st->type == SETTING_TYPE_TEXT ? sizeof(const char *)
		: st->type == SETTING_TYPE_FLAG ? sizeof(bool) : sizeof(int64_t);
}

bool
settings_keep_fixed(struct settings *s, const struct settings *old, char *list, size_t size)
{
	size_t		len = 0;

	list[0] = '\0';
	for (int i = 0; i < SETTINGS_NUMBER; i++)
	{
		const struct setting *st = &settings_table[i];
		char	   *mine = (char *) s + st->offset;
		const char *theirs = (const char *) old + st->offset;
		bool		same = st->type == SETTING_TYPE_TEXT
			? strcmp(*(const char *const *) mine, *(const char *const *) theirs) == 0
			: memcmp(mine, theirs, field_size(st)) == 0;

		if (reloadable[i])
			continue;
		s->origin[i] = old->origin[i];
		if (same)
			continue;
		if (len < size)
			len += (size_t) snprintf(list + len, size - len, "%s%s", len > 0 ? ", " : "", st->key);
		if (st->type == SETTING_TYPE_TEXT)
		{
			char	   *copy = strdup(*(const char *const *) theirs);

			if (copy == NULL)
				return false;
			free(s->owned[i]);
			s->owned[i] = copy;
			*(const char **) mine = copy;
		}
		else
			memcpy(mine, theirs, field_size(st));
	}
	memcpy(s->listen_host, old->listen_host, sizeof(s->listen_host));
	s->listen_port = old->listen_port;
	s->listen_loopback = old->listen_loopback;
	return true;
}

/* host:port, [host]:port, :port (every address). */
static bool
parse_listen(struct settings *s, char error[SETTINGS_ERROR_SIZE])
{
	const char *text = s->listen;
	const char *colon = strrchr(text, ':');
	const char *host = text;
	size_t		len;
	long		port;
	char	   *end;
	struct in_addr v4;

	if (colon == NULL || !isdigit((unsigned char) colon[1]))
		return fail(error, "listen must be address:port, such as 127.0.0.1:8787, not \"%s\"", text);
	port = strtol(colon + 1, &end, 10);
	if (*end != '\0' || port < 0 || port > 65535)
		return fail(error, "listen has no valid port: \"%s\"", text);
	len = (size_t) (colon - text);
	if (len >= 2 && host[0] == '[' && host[len - 1] == ']')
	{
		host++;
		len -= 2;
	}
	else if (memchr(host, ':', len) != NULL)
		return fail(error, "listen: write an IPv6 address in brackets, such as [::1]:8787, not \"%s\"", text);
	if (len >= sizeof(s->listen_host))
		return fail(error, "listen has too long an address");
	memcpy(s->listen_host, host, len);
	s->listen_host[len] = '\0';
	s->listen_port = (uint16_t) port;
	s->listen_loopback = strcmp(s->listen_host, "localhost") == 0 ||
		strcmp(s->listen_host, "::1") == 0 ||
		(inet_pton(AF_INET, s->listen_host, &v4) == 1 && (ntohl(v4.s_addr) >> 24) == 127);
	return true;
}

bool
settings_check(struct settings *s, char error[SETTINGS_ERROR_SIZE])
{
	enum log_level level;

	if (!parse_listen(s, error))
		return false;
	if (!settings_check_storage(s, error))
		return false;
	if (s->metrics_db_url[0] != '\0' && s->storage != STORAGE_SQLITE)
	{
		/* libpq's own message may quote the password: not shown */
		PQconninfoOption *options = PQconninfoParse(s->metrics_db_url, NULL);

		if (options == NULL)
			return fail(error, "metrics_db_url is not a valid connection string: "
						"use postgres://user@host:port/database or host=... dbname=...");
		PQconninfoFree(options);
	}
	if (strcmp(s->budget_unpriced, "average") != 0 && strcmp(s->budget_unpriced, "ignore") != 0 && strcmp(s->budget_unpriced, "deny") != 0)
		return fail(error, "budget_unpriced must be average, ignore or deny, not \"%s\"", s->budget_unpriced);
	if (strcmp(s->budget_in_flight, "average") != 0 && strcmp(s->budget_in_flight, "ignore") != 0)
		return fail(error, "budget_in_flight must be average or ignore, not \"%s\"", s->budget_in_flight);
	if (strcmp(s->budget_unreachable, "allow") != 0 && strcmp(s->budget_unreachable, "deny") != 0)
		return fail(error, "budget_unreachable must be allow or deny, not \"%s\"", s->budget_unreachable);
	if (!log_level_parse(s->log_level, &level))
		return fail(error, "log_level must be debug, info, warning or error, not \"%s\"", s->log_level);
	if (s->workers > 0 && s->workers * HTTP_CONNECTIONS_PER_WORKER < s->max_connections)
		return fail(error, "max_connections %" PRId64 " needs at least %" PRId64 " workers (%d connections each)",
					s->max_connections,
					(s->max_connections + HTTP_CONNECTIONS_PER_WORKER - 1) / HTTP_CONNECTIONS_PER_WORKER,
					HTTP_CONNECTIONS_PER_WORKER);
	if ((s->tls_cert_file[0] == '\0') != (s->tls_key_file[0] == '\0'))
		return fail(error, "tls_cert_file and tls_key_file belong together: set both or neither");
	if (s->max_event_bytes > s->max_body_bytes)
		return fail(error, "max_event_bytes must not be larger than max_body_bytes");
	if (s->inflight_bytes < s->max_body_bytes)
		return fail(error, "inflight_bytes must not be smaller than max_body_bytes");
	if (!s->listen_loopback && (s->ingest_token_file[0] == '\0' || s->read_token_file[0] == '\0'))
		return fail(error, "listen is \"%s\", beyond loopback: set ingest_token_file and read_token_file, "
					"or listen on 127.0.0.1", s->listen);
	return true;
}
