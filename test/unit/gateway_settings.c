/*
 * Settings: precedence, types, bounds, errors, redaction.
 */
#include <stdlib.h>
#include <unistd.h>

#include "gateway/log.h"
#include "gateway/settings.h"
#include "test/unit/tap.h"

#define URL "postgres://u:sekret@h/db"
#define MAX_ARGS 16

static struct settings s;
static enum settings_action action;
static char error[SETTINGS_ERROR_SIZE];

/* Loads from NULL-terminated flags and environment. */
static bool
load(char **flags, char **envp)
{
	char	   *argv[MAX_ARGS] = {"ccproxy-gateway"};
	struct settings_input in = {1, argv, envp};

	settings_free(&s);
	for (; *flags; flags++)
		argv[in.argc++] = *flags;
	return settings_load(&s, &in, &action, error);
}

#define FLAGS(...) ((char *[]) {__VA_ARGS__, NULL})
#define NONE ((char *[]) {NULL})

static void
refused(char **flags, char **envp, const char *part, const char *name)
{
	error[0] = '\0';
	if (ok(!load(flags, envp), name))
		has_str(error, part, "... and says so");
	ok(strchr(error, '\n') == NULL, "... in one line");
}

static void
test_precedence(const char *file)
{
	char		config[300];

	snprintf(config, sizeof(config), "--config=%s", file);
	ok(load(FLAGS("--metrics-db-url", URL), NONE), "a url is enough");
	is_int(s.metrics_batch_size, 10000, "default batch size");
	is_str(s.listen_host, "127.0.0.1", "default listen address");
	is_int(s.listen_port, 8787, "default port");
	ok(s.listen_loopback, "which is loopback");
	is_int(s.origin[SETTING_metrics_batch_size], ORIGIN_DEFAULT, "origin: default");

	ok(load(FLAGS(config), NONE), "from a file");
	is_int(s.metrics_batch_size, 100, "the file beats the default");
	is_str(s.metrics_db_url, "host=fromfile", "values are trimmed");
	is_int(s.origin[SETTING_metrics_batch_size], ORIGIN_FILE, "origin: file");

	ok(load(FLAGS(config), FLAGS("CCPROXY_METRICS_BATCH_SIZE=200")), "from the environment");
	is_int(s.metrics_batch_size, 200, "the environment beats the file");
	is_int(s.origin[SETTING_metrics_batch_size], ORIGIN_ENVIRONMENT, "origin: environment");

	ok(load(FLAGS(config, "--metrics-batch-size=300"), FLAGS("CCPROXY_METRICS_BATCH_SIZE=200")), "from a flag");
	is_int(s.metrics_batch_size, 300, "the flag beats the environment");
	is_int(s.origin[SETTING_metrics_batch_size], ORIGIN_FLAG, "origin: flag");

	ok(load(FLAGS(config), FLAGS("CCPROXY_METRICS_BATCH_SIZE=")) && s.metrics_batch_size == 100,
	   "an empty variable is as good as none");
	ok(load(FLAGS("--metrics-db-url=" URL), FLAGS("CCPROXY_CONFIG=/dev/null")), "the file may come from the environment");
}

static void
test_types(void)
{
	static const struct
	{
		char	   *flag;
		int64_t		expected;
	}			sizes[] = {
		{"--max-body-bytes=20MiB", 20971520}, {"--max-body-bytes=2097152", 2097152},
		{"--max-body-bytes=2048 KiB", 2097152}, {"--max-body-bytes=2MB", 2097152}
	}, times[] = {
		{"--metrics-flush-interval=10s", 10000}, {"--metrics-flush-interval=10", 10000},
		{"--metrics-flush-interval=500ms", 500}, {"--metrics-flush-interval=2min", 120000}
	};

	for (size_t i = 0; i < 4; i++)
	{
		ok(load(FLAGS("--metrics-db-url=" URL, sizes[i].flag), NONE) && s.max_body_bytes == sizes[i].expected, sizes[i].flag);
		ok(load(FLAGS("--metrics-db-url=" URL, times[i].flag), NONE) && s.metrics_flush_interval_ms == times[i].expected,
		   times[i].flag);
	}
	ok(load(FLAGS("--metrics-db-url=" URL, "--statement-timeout-ms=250"), NONE) && s.statement_timeout_ms == 250,
	   "a bare number of milliseconds");
	ok(load(FLAGS("--metrics-db-url=" URL, "--dashboard-enabled=off"), NONE) && !s.dashboard_enabled, "off is false");
	ok(load(FLAGS("--metrics-db-url=" URL, "--listen=[::1]:1"), NONE) && s.listen_loopback && s.listen_port == 1 &&
	   strcmp(s.listen_host, "::1") == 0, "an IPv6 address");
	ok(load(FLAGS("--metrics-db-url=" URL, "--listen=127.1.2.3:80"), NONE) && s.listen_loopback, "all of 127/8 is loopback");
	ok(load(FLAGS("--metrics-db-url=" URL, "--listen=0.0.0.0:80", "--ingest-token-file=a", "--read-token-file=b"), NONE) &&
	   !s.listen_loopback, "beyond loopback with both token files");
	ok(load(FLAGS("--help"), NONE) && action == ACTION_HELP, "--help needs no url");
	ok(load(FLAGS("--version"), NONE) && action == ACTION_VERSION, "--version neither");
	ok(load(FLAGS("--check-config", "--metrics-db-url=" URL), NONE) && action == ACTION_CHECK_CONFIG, "--check-config");
	ok(load(FLAGS("--print-config"), FLAGS("PGHOST=/tmp")) && action == ACTION_PRINT_CONFIG, "libpq's variables do instead of a url");
}

static void
test_refusals(const char *bad_file)
{
	char		config[300];

	snprintf(config, sizeof(config), "--config=%s", bad_file);
	refused(NONE, NONE, "metrics_db_url is not set", "no url");
	refused(FLAGS("--metrics-db-url=" URL, "--nonsense=1"), NONE, "nonsense", "an unknown flag");
	refused(FLAGS("--metrics-db-url=" URL, "extra"), NONE, "extra", "an argument that is no flag");
	refused(FLAGS("--metrics-db-url"), NONE, "needs a value", "a flag without value");
	refused(FLAGS(config), NONE, ":3: unknown setting \"metrics_batchsize\"", "an unknown key in a file");
	refused(FLAGS("--config=/nonexistent/file"), NONE, "/nonexistent/file", "a file that is not there");
	refused(FLAGS("--metrics-db-url=" URL, "--metrics-batch-size=0"), NONE, "between 1 and", "below the least");
	refused(FLAGS("--metrics-db-url=" URL, "--metrics-batch-size=99999999999999999999"), NONE, "whole number", "beyond 64 bits");
	refused(FLAGS("--metrics-db-url=" URL, "--metrics-batch-size=-1"), NONE, "whole number", "a negative number");
	refused(FLAGS("--metrics-db-url=" URL, "--metrics-batch-size=10x"), NONE, "whole number", "rubbish after a number");
	refused(FLAGS("--metrics-db-url=" URL, "--max-body-bytes=9999999999GiB"), NONE, "size", "a size that overflows");
	refused(FLAGS("--metrics-db-url=" URL, "--prometheus-enabled=maybe"), NONE, "true or false", "no truth value");
	refused(FLAGS("--metrics-db-url=" URL, "--log-level=loud"), NONE, "log_level", "an unknown log level");
	refused(FLAGS("--metrics-db-url=" URL, "--metrics-storage=sqlite"), NONE, "choose one", "sqlite storage and a PostgreSQL url");
	refused(FLAGS("--metrics-db-url=sqlite:///x.db", "--metrics-storage=memory"), NONE, "is an SQLite file", "memory storage and a file");
	refused(FLAGS("--metrics-storage=sqlite", "--spool-path="), NONE, "name the file", "sqlite storage without a file");
	refused(FLAGS("--metrics-db-url=" URL, "--metrics-storage=mysql"), NONE, "must be postgres", "unknown storage");
	refused(FLAGS("--metrics-db-url=sqlite:x.db"), NONE, "must name a file", "an sqlite url without a path");
	refused(FLAGS("--metrics-db-url=postgres://u:sekret@h/db?nonsense=%zz"), NONE, "connection string", "a broken url");
	ok(strstr(error, "sekret") == NULL, "... whose password is not shown");
	refused(FLAGS("--metrics-db-url=" URL, "--listen=0.0.0.0:80"), NONE, "beyond loopback", "no tokens beyond loopback");
	refused(FLAGS("--metrics-db-url=" URL, "--listen=:80"), NONE, "beyond loopback", "every address is beyond loopback");
	refused(FLAGS("--metrics-db-url=" URL, "--listen=0.0.0.0:80", "--ingest-token-file=a"), NONE, "beyond loopback",
			"one kind of token is not enough");
	refused(FLAGS("--metrics-db-url=" URL, "--listen=8787"), NONE, "address:port", "a port alone");
	refused(FLAGS("--metrics-db-url=" URL, "--listen=::1:80"), NONE, "brackets", "IPv6 without brackets");
	refused(FLAGS("--metrics-db-url=" URL, "--listen=127.0.0.1:99999"), NONE, "port", "a port too high");
	refused(FLAGS("--metrics-db-url=" URL, "--workers=2", "--max-connections=500"), NONE, "workers",
			"too few workers for the connections");
	refused(FLAGS("--metrics-db-url=" URL, "--max-event-bytes=2MiB", "--max-body-bytes=1MiB"), NONE, "max_event_bytes",
			"an event larger than a body");
}

static void
test_redaction(void)
{
	char		out[300];
	char	   *buffer = NULL;
	size_t		size = 0;
	FILE	   *f;

	settings_redact_url("postgres://u:sekret@h:5433/db", out, sizeof(out));
	ok(strstr(out, "sekret") == NULL && strstr(out, "host=h") && strstr(out, "user=u"), "a url's password is redacted");
	settings_redact_url("host=h password='sek ret' dbname=d", out, sizeof(out));
	ok(strstr(out, "sek") == NULL && strstr(out, "dbname=d"), "a connection string's password is redacted");
	settings_redact_url("postgres://u@h/db?password=sekret", out, sizeof(out));
	ok(strstr(out, "sekret") == NULL, "a password in the query part is redacted");
	settings_redact_url("postgres://u:sekret@h/db?%zz", out, sizeof(out));
	is_str(out, "***", "what cannot be parsed is redacted whole");

	if (!load(FLAGS("--metrics-db-url=" URL), FLAGS("CCPROXY_LOG_LEVEL=debug")))
		ok(false, error);
	f = open_memstream(&buffer, &size);
	settings_print(f, &s);
	fclose(f);
	ok(strstr(buffer, "sekret") == NULL, "--print-config shows no password");
	has_str(buffer, "log_level = debug\t# environment", "... but values and origins");
	free(buffer);
}

static void
test_log(void)
{
	char		line[300];
	const struct log_field fields[] = {LOG_STR("event", "x"), LOG_STR("a", "plain"), LOG_STR("b", "two words"),
	LOG_STR("c", "line\nbreak \"q\" \\ \x01\x7f"), LOG_STR("d", ""), LOG_STR("e", NULL), LOG_I64("n", -5), LOG_NONE};

	log_format(line, sizeof(line), INT64_C(1738324800123), LOG_LEVEL_WARNING, fields);
	is_str(line, "ts=2025-01-31T12:00:00.123Z level=warning event=x a=plain b=\"two words\" "
		   "c=\"line\\nbreak \\\"q\\\" \\\\ \\x01\\x7f\" d=\"\" e=\"\" n=-5", "a log line, with everything escaped");
	is_int((int64_t) log_format(line, 20, 0, LOG_LEVEL_INFO, fields), 19, "a log line is cut");
}

static void
test_reload(void)
{
	struct settings old;
	struct settings new;
	char		error[SETTINGS_ERROR_SIZE];
	char		list[SETTINGS_ERROR_SIZE];
	const char *before = "listen = 127.0.0.1:1\nworkers = 8\nmax_depth = 3\nmetrics_db_url = dbname=a\n";
	const char *after = "listen = 127.0.0.1:2\nworkers = 9\nmax_depth = 4\nmetrics_db_url = dbname=b\n";

	settings_defaults(&old);
	settings_defaults(&new);
	ok(settings_parse_file(&old, before, strlen(before), "f", error) && settings_check(&old, error) &&
	   settings_parse_file(&new, after, strlen(after), "f", error) && settings_check(&new, error), "two sets");
	ok(settings_keep_fixed(&new, &old, list, sizeof(list)), "a reload");
	is_str(list, "listen, metrics_db_url, workers", "names what needs a restart");
	is_int(new.max_depth, 4, "takes the rest");
	ok(new.workers == 8 && strcmp(new.metrics_db_url, "dbname=a") == 0 && new.listen_port == 1, "and keeps those");
	settings_free(&old);
	is_str(new.metrics_db_url, "dbname=a", "in texts of its own");
	ok(settings_keep_fixed(&new, &new, list, 10), "nothing has changed");
	is_str(list, "", "... nothing is named");
	settings_free(&new);
}

int
main(void)
{
	char		file[] = "/tmp/gateway_settingsXXXXXX";
	char		bad_file[] = "/tmp/gateway_settingsXXXXXX";
	FILE	   *f = fdopen(mkstemp(file), "w");
	FILE	   *g = fdopen(mkstemp(bad_file), "w");
	static const char twice[] = "metrics_batch_size=1\nmetrics_batch_size=2\n";

	fputs("# comment\n\n  metrics_batch_size = 100\r\nmetrics_db_url =  host=fromfile  \n", f);
	fclose(f);
	fputs("# comment\n\nmetrics_batchsize = 100\n", g);
	fclose(g);
	test_precedence(file);
	test_types();
	test_refusals(bad_file);
	settings_free(&s);
	settings_defaults(&s);
	ok(!settings_parse_file(&s, twice, strlen(twice), "f", error), "a key twice in a file");
	is_str(error, "f:2: metrics_batch_size is set twice", "... is named by line");
	ok(!settings_parse_file(&s, "a\0b", 3, "f", error), "a file with NUL");
	ok(!settings_parse_file(&s, "listen", 6, "f", error), "a line without =");
	test_redaction();
	test_log();
	settings_free(&s);
	unlink(file);
	unlink(bad_file);
	test_reload();
	return done_testing();
}
