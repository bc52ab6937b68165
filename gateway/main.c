/*
 * ccproxy-gateway: start, signals, stop.
 *
 * main blocks the signals before the first thread exists and waits for them:
 * SIGTERM and SIGINT drain (a second one leaves at once), SIGHUP reads the
 * token files again. Order of starting: store, maintenance, reader, HTTP; of
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
#include "gateway/maintenance.h"

#define EXIT_SETTINGS 2
#define EXIT_FORCED 1
/* how long bodies on their way may still arrive once draining */
#define DRAIN_BODIES_MS 1000
#define DRAIN_ANSWERS_MS 5000
#define DRAIN_POLL_MS 10

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

/* Waits for the signal to stop; true when it came. */
static void
serve(struct gateway *g, const sigset_t *signals)
{
	for (;;)
	{
		char		error[SETTINGS_ERROR_SIZE];
		int			signal_number;

		if (sigwait(signals, &signal_number) != 0)
			continue;
		if (signal_number != SIGHUP)
		{
			log_event(LOG_LEVEL_INFO, "draining", LOG_STR("signal", strsignal(signal_number)),
					  LOG_I64("requests", atomic_load(&g->requests)));
			return;
		}
		if (auth_reload(g->auth, g->settings, error))
			log_event(LOG_LEVEL_INFO, "tokens_reloaded");
		else
			log_event(LOG_LEVEL_ERROR, "reload_failed", LOG_STR("reason", error));
	}
}

static int
run(const struct settings *settings, const sigset_t *signals)
{
	static struct gateway gateway;
	struct gateway *g = &gateway;
	char		error[SETTINGS_ERROR_SIZE] = "out of memory or threads";
	static sigset_t stop_signals;	/* the thread of the second signal outlives run() */
	struct maintenance *maintenance = NULL;
	bool		maintained = true;
	struct http *http;
	pthread_t	thread;
	int64_t		started_ms = monotonic_ms();

	g->settings = settings;
	g->auth = auth_open(settings, error);
	if (g->auth == NULL)
	{
		print_error(error);
		return EXIT_SETTINGS;
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
	http = g->reader ? http_start(g, error) : NULL;
	if (http == NULL)
	{
		print_error(error);
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
			  LOG_I64("workers", http_workers(settings)), LOG_STR("version", GATEWAY_VERSION));

	serve(g, signals);

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
	if (!http_stop(http, DRAIN_ANSWERS_MS))
	{
		log_event(LOG_LEVEL_ERROR, "stopped_with_suspended_requests", LOG_I64("requests", atomic_load(&g->suspended)));
		_exit(EXIT_FORCED);
	}
	reader_free(g->reader);
	store_free(g->store);
	auth_free(g->auth);
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

				if (auth == NULL)
				{
					print_error(error);
					rc = EXIT_SETTINGS;
				}
				else
					printf("settings are valid\n");
				auth_free(auth);
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
			rc = run(&settings, &signals);
			break;
	}
	settings_free(&settings);
	return rc;
}
