/*
 * ccproxy-gateway: start, signals, stop.
 *
 * main blocks the signals before the first thread exists and waits for them:
 * SIGTERM and SIGINT drain (a second one leaves at once), SIGHUP reloads settings,
 * tokens and certificate, all or nothing. Meanwhile main tells systemd, where there
 * is one, how things are. Order of starting: store, maintenance, reader, HTTP; of
 * stopping: no new events, maintenance, store (commits or refuses what it has),
 * reader, HTTP, because
 * libmicrohttpd must not be stopped with a suspended connection.
 */
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "gateway/assets.h"
#include "gateway/http.h"
#include "gateway/import.h"
#include "gateway/log.h"
#include "gateway/login_link.h"
#include "gateway/maintenance.h"
#include "gateway/notify.h"
#include "gateway/tls.h"

#define EXIT_SETTINGS 2
#define EXIT_FORCED 1
/* how long bodies on their way may still arrive once draining */
#define DRAIN_BODIES_MS 1000
#define DRAIN_ANSWERS_MS 5000
#define DRAIN_POLL_MS 10
/* how often systemd's status line may change */
#define STATUS_PERIOD_US INT64_C(5000000)
#define US_PER_SECOND INT64_C(1000000)
/* what systemd is asked to wait beside shutdown_deadline_s */
#define STOP_MARGIN_US (10 * US_PER_SECOND)

/* Settings of earlier reloads: somebody may still be looking at them. */
struct old_settings
{
	struct old_settings *next;
	struct settings settings;
};

struct server
{
	struct gateway gateway;
	struct http *http;
	const struct settings_input *input;
	const sigset_t *signals;
	struct old_settings *reloaded;
	const char *last_status;	/* static texts */
	const char *last_durable_in;
};

static void
print_error(const char *message)
{
	fprintf(stderr, "ccproxy-gateway: %s\n", message);
}

/* The second signal. */
static void *
leave_at_once(void *arg)
{
	int			signal_number;

	sigwait(arg, &signal_number);
	log_event(LOG_LEVEL_WARNING, "forced_exit", LOG_STR("signal", strsignal(signal_number)));
	_exit(EXIT_FORCED);
	return NULL;
}

static void
wait_for_bodies(struct gateway *g)
{
	const struct timespec pause = {0, DRAIN_POLL_MS * 1000000L};

	for (int waited = 0; atomic_load(&g->bodies) > 0 && waited < DRAIN_BODIES_MS; waited += DRAIN_POLL_MS)
		nanosleep(&pause, NULL);
}

/* What is allowed, but hardly what is meant. */
static void
warn_of_settings(const struct settings *s)
{
	if (s->spool_path[0] != '\0' && s->storage != STORAGE_SQLITE && s->metrics_flush_interval_ms >= s->request_deadline_ms)
		log_event(LOG_LEVEL_WARNING, "spool_too_late",
				  LOG_STR("reason", "metrics_flush_interval is not shorter than request_deadline_s"),
				  LOG_STR("consequence", "while PostgreSQL is slow, events are refused (503) before they go to the spool"));
}

/* Sets, tokens and certificate as the files say now, or all of it as it was. */
static bool
reload(struct server *server, char error[SETTINGS_ERROR_SIZE])
{
	struct gateway *g = &server->gateway;
	const struct settings *old = g->settings;
	struct old_settings *new = calloc(1, sizeof(*new));
	struct tls_certificate *certificate = NULL;
	enum settings_action action;
	enum log_level level = LOG_LEVEL_INFO;
	char		fixed[SETTINGS_ERROR_SIZE];

	snprintf(error, SETTINGS_ERROR_SIZE, "out of memory");
	if (new == NULL)
		return false;
	if (!settings_load(&new->settings, server->input, &action, error) ||
		!settings_keep_fixed(&new->settings, old, fixed, sizeof(fixed)) ||
		!settings_check(&new->settings, error))
		goto failed;
	if (tls_enabled(&new->settings) != tls_enabled(old))
	{
		snprintf(error, SETTINGS_ERROR_SIZE, "tls_cert_file: turning TLS on or off needs a restart");
		goto failed;
	}
	if (tls_enabled(old) && (certificate = tls_load(&new->settings, error)) == NULL)
		goto failed;
	if (!auth_reload(g->auth, &new->settings, error))
		goto failed;

	/* nothing fails any more */
	if (certificate)
		tls_adopt(certificate);
	(void) log_level_parse(new->settings.log_level, &level);
	log_set_level(level);
	new->next = server->reloaded;
	server->reloaded = new;
	atomic_store(&g->settings, &new->settings);
	warn_of_settings(&new->settings);
	if (fixed[0] != '\0')
		log_event(LOG_LEVEL_WARNING, "restart_needed", LOG_STR("settings", fixed));
	return true;

failed:
	tls_free(certificate);
	settings_free(&new->settings);
	free(new);
	return false;
}

static void
reload_and_tell(struct server *server)
{
	char		error[SETTINGS_ERROR_SIZE];
	bool		done;

	notify_send("RELOADING=1\nMONOTONIC_USEC=%lld", (long long) monotonic_us());
	done = reload(server, error);
	metric_add(done ? METRIC_RELOADS : METRIC_RELOADS_FAILED, 1);
	if (done)
		log_event(LOG_LEVEL_INFO, "reloaded");
	else
		log_event(LOG_LEVEL_ERROR, "reload_failed", LOG_STR("reason", error),
				  LOG_STR("kept", "all settings, tokens and the certificate as they were"));
	notify_send("READY=1");
}

/* What systemd may want to hear while nothing happens. */
static void
tell_how_it_goes(struct server *server)
{
	struct store_state state;

	(void) store_ready(server->gateway.store, &state);
	if (server->last_status != state.word || server->last_durable_in != state.durable_in)
		notify_send("STATUS=%s, events go to: %s", state.word, state.durable_in);
	server->last_status = state.word;
	server->last_durable_in = state.durable_in;
	if (store_alive(server->gateway.store) && http_alive(server->http))
		notify_send("WATCHDOG=1");
}

/* Waits for the signal to stop. */
static void
serve(struct server *server)
{
	int64_t		period_us = notify_watchdog_us() / 2;

	if (period_us == 0 || period_us > STATUS_PERIOD_US)
		period_us = STATUS_PERIOD_US;
	for (;;)
	{
		const struct timespec period = {period_us / US_PER_SECOND, period_us % US_PER_SECOND * 1000};
		int			signal_number;

		signal_number = notify_wanted() ? sigtimedwait(server->signals, NULL, &period)
			: sigwaitinfo(server->signals, NULL);
		if (signal_number == SIGHUP)
			reload_and_tell(server);
		else if (signal_number > 0)
		{
			log_event(LOG_LEVEL_INFO, "draining", LOG_STR("signal", strsignal(signal_number)),
					  LOG_I64("requests", atomic_load(&server->gateway.requests)));
			return;
		}
		if (notify_wanted())
			tell_how_it_goes(server);
	}
}

static void
free_reloaded(struct server *server)
{
	while (server->reloaded != NULL)
	{
		struct old_settings *old = server->reloaded;

		server->reloaded = old->next;
		settings_free(&old->settings);
		free(old);
	}
}

static int
run(const struct settings *settings, const struct settings_input *input, const sigset_t *signals)
{
	static struct server server;
	struct gateway *g = &server.gateway;
	char		error[SETTINGS_ERROR_SIZE] = "out of memory or threads";
	static sigset_t stop_signals;	/* the thread of the second signal outlives run() */
	struct maintenance *maintenance = NULL;
	bool		maintained = true;
	struct tls_certificate *certificate;
	struct http *http;
	pthread_t	thread;
	int64_t		started_ms = monotonic_ms();

	server.input = input;
	server.signals = signals;
	atomic_store(&g->settings, settings);
	rate_init(&g->rate);
	g->started_ms = wall_clock_us() / 1000;
	warn_of_settings(settings);
	g->auth = auth_open(settings, error);
	if (g->auth == NULL)
	{
		print_error(error);
		return EXIT_SETTINGS;
	}
	if (tls_enabled(settings))
	{
		certificate = tls_load(settings, error);
		if (certificate == NULL)
		{
			print_error(error);
			auth_free(g->auth);
			return EXIT_SETTINGS;
		}
		tls_adopt(certificate);
	}
	assets_init();
	g->store = store_open(settings);
	if (g->store == NULL)
	{
		print_error("could not start the store");
		return EXIT_FAILURE;
	}
	if (settings->maintenance_interval_ms > 0 && settings->storage != STORAGE_SQLITE)
	{
		maintenance = maintenance_open(settings, g->store);
		maintained = maintenance != NULL;
	}
	g->reader = maintained ? reader_open(settings) : NULL;
	g->budgets = g->reader ? budgets_open(settings) : NULL;
	http = g->budgets ? http_start(g, error) : NULL;
	if (http == NULL)
	{
		print_error(error);
		if (g->budgets)
		{
			budgets_close(g->budgets);
			budgets_free(g->budgets);
		}
		if (g->reader)
		{
			reader_close(g->reader);
			reader_free(g->reader);
		}
		maintenance_close(maintenance);
		store_close(g->store, 0);
		store_free(g->store);
		auth_free(g->auth);
		return EXIT_FAILURE;
	}
	log_event(LOG_LEVEL_INFO, "listening", LOG_STR("address", settings->listen_host), LOG_I64("port", http_port(http)),
			  LOG_I64("workers", http_workers(settings)), LOG_STR("tls", tls_enabled(settings) ? "on" : "off"),
			  LOG_STR("version", GATEWAY_VERSION));
	server.http = http;
	notify_send("READY=1\nSTATUS=listening on port %d", http_port(http));

	serve(&server);
	settings = g->settings;
	notify_send("STOPPING=1\nSTATUS=draining\nEXTEND_TIMEOUT_USEC=%lld",
				(long long) (settings->shutdown_deadline_ms * 1000 + STOP_MARGIN_US));

	sigemptyset(&stop_signals);
	sigaddset(&stop_signals, SIGTERM);
	sigaddset(&stop_signals, SIGINT);
	if (pthread_create(&thread, NULL, leave_at_once, &stop_signals) == 0)
		pthread_detach(thread);
	atomic_store(&g->draining, true);
	maintenance_close(maintenance);
	wait_for_bodies(g);
	store_close(g->store, (int) settings->shutdown_deadline_ms);
	reader_close(g->reader);
	budgets_close(g->budgets);
	if (!http_stop(http, DRAIN_ANSWERS_MS))
	{
		log_event(LOG_LEVEL_ERROR, "stopped_with_suspended_requests", LOG_I64("requests", atomic_load(&g->suspended)));
		_exit(EXIT_FORCED);
	}
	reader_free(g->reader);
	budgets_free(g->budgets);
	store_free(g->store);
	auth_free(g->auth);
	tls_free_all();
	rate_destroy(&g->rate);
	free_reloaded(&server);
	assets_free();
	log_event(LOG_LEVEL_INFO, "stopped", LOG_I64("uptime_ms", monotonic_ms() - started_ms));
	return EXIT_SUCCESS;
}

int
main(int argc, char **argv)
{
	struct settings_input input = {argc, argv, environ};
	struct settings settings;
	enum settings_action action;
	enum log_level level = LOG_LEVEL_INFO;
	char		error[SETTINGS_ERROR_SIZE];
	sigset_t	signals;
	int			rc = EXIT_SUCCESS;

	if (argc > 1 && strcmp(argv[1], "import") == 0)
		return import_main(argc, argv);
	if (argc > 1 && strcmp(argv[1], "login-link") == 0)
		return login_link_main(argc, argv);
	if (!settings_load(&settings, &input, &action, error))
	{
		print_error(error);
		settings_free(&settings);
		return EXIT_SETTINGS;
	}
	switch (action)
	{
		case ACTION_HELP:
			settings_print_help(stdout, "ccproxy-gateway");
			break;
		case ACTION_VERSION:
			printf("ccproxy-gateway %s\n", GATEWAY_VERSION);
			break;
		case ACTION_PRINT_CONFIG:
			settings_print(stdout, &settings);
			break;
		case ACTION_CHECK_CONFIG:
			{
				struct auth *auth = auth_open(&settings, error);
				struct tls_certificate *certificate = auth && tls_enabled(&settings) ? tls_load(&settings, error) : NULL;

				if (auth == NULL || (tls_enabled(&settings) && certificate == NULL))
				{
					print_error(error);
					rc = EXIT_SETTINGS;
				}
				else
					printf("settings are valid\n");
				auth_free(auth);
				tls_free(certificate);
				break;
			}
		case ACTION_RUN:
			(void) log_level_parse(settings.log_level, &level);
			log_set_level(level);
			signal(SIGPIPE, SIG_IGN);
			signal(SIGXFSZ, SIG_IGN);	/* the spool is told: too large */
			sigemptyset(&signals);
			sigaddset(&signals, SIGTERM);
			sigaddset(&signals, SIGINT);
			sigaddset(&signals, SIGHUP);
			pthread_sigmask(SIG_BLOCK, &signals, NULL);
			rc = run(&settings, &input, &signals);
			break;
	}
	settings_free(&settings);
	return rc;
}
