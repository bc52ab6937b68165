/*
 * loader: posts synthetic events as NDJSON over keep-alive connections and says
 * how long that took and what the events add up to.
 *
 * Every body is made before the clock starts, so that the load generator costs
 * the machine as little as it can. One thread per connection; bodies are taken
 * from a shared counter. Ends non-zero when an answer was not 200, or when not
 * every event was accepted.
 *
 *	loader --url URL [--token-file F] [--events N] [--per-body N]
 *	       [--connections N] [--days N] [--seed N] [--resend]
 *
 * --resend is a client gone mad: it posts its first body again and again until
 * SIGTERM, and takes every answer of 200 for right.
 *
 * The events lie in the last --days whole days before today, evenly.
 */
#include <getopt.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "gateway/run/http_client.h"
#include "gateway/run/traffic.h"

#define DAY_S			86400
#define PATIENCE_S		60
#define CONNECTIONS_MAX	1024

struct body
{
	char	   *text;
	size_t		len;
	long		events;
};

struct connection
{
	struct http_client client;
	pthread_t	thread;
	long		accepted;
	long		duplicates;
	long		rejected;
	long		refused;		/* answers that were not 200 */
};

static struct body *bodies;
static float *answer_ms;		/* of each body, how long its answer took */
static long nbodies;
static _Atomic long next_body;
static bool resend;				/* post the first body again until stopped */
static volatile sig_atomic_t stopped;

static void
stop(int signal_number)
{
	(void) signal_number;
	stopped = 1;
}


static double
now_s(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double) t.tv_sec + (double) t.tv_nsec / 1e9;
}

/* CPU this process has used, all threads. */
static double
cpu_s(void)
{
	struct rusage u;

	getrusage(RUSAGE_SELF, &u);
	return (double) (u.ru_utime.tv_sec + u.ru_stime.tv_sec) + (double) (u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

static void *
post_bodies(void *arg)
{
	struct connection *c = arg;
	long		i;

	while (!stopped && (i = resend ? 0 : atomic_fetch_add(&next_body, 1)) < nbodies)
	{
		double		start = now_s();
		int			status;

		status = http_client_patient(&c->client, "POST", "/metrics/api/events", "application/x-ndjson",
									 bodies[i].text, bodies[i].len, PATIENCE_S);
		answer_ms[i] = (float) ((now_s() - start) * 1000);
		if (status != 200)
		{
			if (c->refused++ == 0)
				fprintf(stderr, "loader: answer %d: %.300s\n", status, status < 0 ? c->client.error : c->client.body);
			continue;
		}
		c->accepted += http_client_count(&c->client, "accepted");
		c->duplicates += http_client_count(&c->client, "duplicates");
		c->rejected += http_client_count(&c->client, "rejected");
	}
	return NULL;
}

static bool
make_bodies(long events, long per_body, long ndays, uint64_t seed, struct traffic_totals *totals)
{
	int64_t		today = time(NULL) / DAY_S;
	long		per_day = (events + ndays - 1) / ndays;
	struct traffic_day *day = malloc(sizeof(*day));
	char	   *text = malloc((size_t) per_body * TRAFFIC_EVENT_BYTES);
	long		made = 0;
	long		current = -1;
	bool		ok = day != NULL && text != NULL;

	nbodies = (events + per_body - 1) / per_body;
	bodies = calloc((size_t) nbodies, sizeof(*bodies));
	answer_ms = calloc((size_t) nbodies, sizeof(*answer_ms));
	ok = ok && bodies != NULL && answer_ms != NULL;
	for (long b = 0; ok && b < nbodies; b++)
	{
		size_t		len = 0;
		long		n;

		for (n = 0; n < per_body && made < events; n++, made++)
		{
			if (made / per_day != current)
			{
				current = made / per_day;
				traffic_day_init(day, seed, today - ndays + current, per_day, TRAFFIC_IDS_RANDOM, true);
			}
			len += traffic_event(day, made % per_day, text + len, totals);
			text[len++] = '\n';
		}
		bodies[b].text = malloc(len);
		ok = bodies[b].text != NULL;
		if (ok)
			memcpy(bodies[b].text, text, len);
		bodies[b].len = len;
		bodies[b].events = n;
	}
	free(text);
	free(day);
	return ok;
}

static int
compare_floats(const void *pa, const void *pb)
{
	float		a = *(const float *) pa;
	float		b = *(const float *) pb;

	return (a > b) - (a < b);
}

static long
number(const char *text, long min, long max)
{
	char	   *end;
	long		n = strtol(text, &end, 10);

	if (*end != '\0' || n < min || n > max)
	{
		fprintf(stderr, "loader: %s is not a number from %ld to %ld\n", text, min, max);
		exit(2);
	}
	return n;
}

int
main(int argc, char **argv)
{
	static const struct option options[] = {
		{"url", required_argument, NULL, 'u'},
		{"token-file", required_argument, NULL, 't'},
		{"events", required_argument, NULL, 'e'},
		{"per-body", required_argument, NULL, 'b'},
		{"connections", required_argument, NULL, 'c'},
		{"days", required_argument, NULL, 'd'},
		{"seed", required_argument, NULL, 's'},
		{"resend", no_argument, NULL, 'r'},
		{NULL, 0, NULL, 0}
	};
	const char *url = "http://127.0.0.1:8787";
	char		token[256] = "";
	long		events = 1000000;
	long		per_body = 1000;
	long		nconnections = 8;
	long		ndays = 3;
	uint64_t	seed = (uint64_t) time(NULL);
	struct traffic_totals totals = {0};
	struct connection *connections;
	struct connection sum = {0};
	double		start;
	double		took;
	double		cpu;
	size_t		bytes = 0;
	int			c;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1)
	{
		switch (c)
		{
			case 'u':
				url = optarg;
				break;
			case 't':
				if (!http_client_read_token(optarg, token, sizeof(token)))
				{
					fprintf(stderr, "loader: cannot read a token from %s\n", optarg);
					return 2;
				}
				break;
			case 'e':
				events = number(optarg, 1, 100000000);
				break;
			case 'b':
				per_body = number(optarg, 1, 100000);
				break;
			case 'c':
				nconnections = number(optarg, 1, CONNECTIONS_MAX);
				break;
			case 'd':
				ndays = number(optarg, 1, 29);
				break;
			case 's':
				seed = (uint64_t) number(optarg, 0, 1000000000);
				break;
			case 'r':
				resend = true;
				signal(SIGTERM, stop);
				break;
			default:
				return 2;
		}
	}

	connections = calloc((size_t) nconnections, sizeof(*connections));
	if (connections == NULL || !make_bodies(events, per_body, ndays, seed, &totals))
	{
		fprintf(stderr, "loader: out of memory\n");
		return 1;
	}
	for (long i = 0; i < nbodies; i++)
		bytes += bodies[i].len;
	for (long i = 0; i < nconnections; i++)
	{
		if (!http_client_init(&connections[i].client, url, token))
		{
			fprintf(stderr, "loader: %s\n", connections[i].client.error);
			return 2;
		}
	}

	cpu = cpu_s();
	start = now_s();
	for (long i = 0; i < nconnections; i++)
	{
		if (pthread_create(&connections[i].thread, NULL, post_bodies, &connections[i]) != 0)
		{
			fprintf(stderr, "loader: cannot start thread %ld\n", i);
			return 1;
		}
	}
	for (long i = 0; i < nconnections; i++)
	{
		struct connection *n = &connections[i];

		pthread_join(n->thread, NULL);
		sum.accepted += n->accepted;
		sum.duplicates += n->duplicates;
		sum.rejected += n->rejected;
		sum.refused += n->refused;
		http_client_close(&n->client);
	}
	took = now_s() - start;
	cpu = cpu_s() - cpu;
	qsort(answer_ms, (size_t) nbodies, sizeof(*answer_ms), compare_floats);

	printf("events=%lld\nbytes=%zu\nseconds=%.3f\ncpu_seconds=%.3f\nevents_per_second=%.0f\np50_ms=%.3f\np99_ms=%.3f\nslowest_answer_ms=%.0f\n"
		   "accepted=%ld\nduplicates=%ld\nrejected=%ld\nrefused=%ld\n"
		   "failed=%lld\nresponse_time_us=%lld\ninput_tokens=%lld\ncache_read_tokens=%lld\n"
		   "cache_write_tokens=%lld\noutput_tokens=%lld\n",
		   (long long) totals.events, bytes, took, cpu, (double) totals.events / took,
		   answer_ms[nbodies / 2], answer_ms[nbodies * 99 / 100], answer_ms[nbodies - 1],
		   sum.accepted, sum.duplicates, sum.rejected, sum.refused,
		   (long long) totals.failed, (long long) totals.response_time_us, (long long) totals.input_tokens,
		   (long long) totals.cache_read_tokens, (long long) totals.cache_write_tokens, (long long) totals.output_tokens);
	return sum.refused == 0 && (resend || sum.accepted == totals.events) ? 0 : 1;
}
