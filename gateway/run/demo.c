/*
 * ccproxy-demo: posts the last thirty days of synthetic traffic (traffic.h) to
 * a running gateway, as any proxy would: NDJSON bodies over HTTP.
 *
 * A day's events are the same whenever they are made, so posting again changes
 * nothing; and it posts only what is missing. Run again a week later, it adds that
 * week.
 */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "gateway/run/http_client.h"
#include "gateway/run/traffic.h"

#define DEMO_DAYS		30		/* today included: inside any retention of 30 days */
#define DEMO_SEED		20250131
#define EVENTS_PER_BODY	1000
#define PATIENCE_S		120
#define DAY_S			86400

struct demo
{
	struct http_client client;
	char		ingest_token[256];
	char		read_token[256];
	long		per_day;
	long		planned;		/* events of the days to post */
	long		posted;
	long		accepted;
	long		duplicates;
	long		rejected;
	time_t		shown;
};

static void
fail(const struct demo *d, const char *what, int status)
{
	if (isatty(STDOUT_FILENO))
		putchar('\n');
	if (status < 0)
		fprintf(stderr, "ccproxy-demo: %s: %s\n", what, d->client.error);
	else
		fprintf(stderr, "ccproxy-demo: %s: the gateway answered %d %.300s\n", what, status, d->client.body);
	exit(1);
}

static void
show_progress(struct demo *d, bool last)
{
	time_t		now = time(NULL);
	bool		tty = isatty(STDOUT_FILENO);

	if (!last && now - d->shown < (tty ? 1 : 10))
		return;
	d->shown = now;
	printf("%sdemo traffic: %ld of %ld events%s", tty ? "\r" : "", d->posted, d->planned,
		   tty && !last ? "   " : "\n");
	fflush(stdout);
}

/* Is this event stored already? */
static bool
is_there(struct demo *d, const struct traffic_day *day, long i)
{
	char		path[TRAFFIC_ID_BYTES + 32];
	char		id[TRAFFIC_ID_BYTES];
	int			status;

	traffic_event_id(day, i, id);
	snprintf(path, sizeof(path), "/metrics/api/requests/%s", id);
	strcpy(d->client.token, d->read_token);
	status = http_client_patient(&d->client, "GET", path, NULL, NULL, 0, PATIENCE_S);
	if (status != 200 && status != 404)
		fail(d, "looking for what is there", status);
	return status == 200;
}

/*
 * The first of events 0 .. count - 1 that is not stored. They were posted in
 * order, so those that are there come first.
 */
static long
first_missing(struct demo *d, const struct traffic_day *day, long count)
{
	long		low = 0;
	long		high = count;

	if (count == 0 || is_there(d, day, count - 1))
		return count;
	if (!is_there(d, day, 0))
		return 0;
	while (high - low > 1)
	{
		long		middle = low + (high - low) / 2;

		if (is_there(d, day, middle))
			low = middle;
		else
			high = middle;
	}
	return high;
}

static void
post_day(struct demo *d, const struct traffic_day *day, long from, long events, char *body)
{
	struct traffic_totals totals = {0};

	strcpy(d->client.token, d->ingest_token);
	for (long i = from; i < events;)
	{
		size_t		len = 0;
		long		until = i + EVENTS_PER_BODY < events ? i + EVENTS_PER_BODY : events;
		int			status;

		for (; i < until; i++)
		{
			len += traffic_event(day, i, body + len, &totals);
			body[len++] = '\n';
			d->posted++;
		}
		status = http_client_patient(&d->client, "POST", "/metrics/api/events",
									 "application/x-ndjson", body, len, PATIENCE_S);
		/* 400 with a count: all of them refused, such as older than the retention */
		if (status != 200 && !(status == 400 && http_client_count(&d->client, "rejected") > 0))
			fail(d, "posting", status);
		d->accepted += http_client_count(&d->client, "accepted");
		d->duplicates += http_client_count(&d->client, "duplicates");
		d->rejected += http_client_count(&d->client, "rejected");
		show_progress(d, false);
	}
}

int
main(int argc, char **argv)
{
	static const struct option options[] = {
		{"url", required_argument, NULL, 'u'},
		{"ingest-token-file", required_argument, NULL, 'i'},
		{"read-token-file", required_argument, NULL, 'r'},
		{"events", required_argument, NULL, 'e'},
		{NULL, 0, NULL, 0}
	};
	static struct demo d;
	static struct traffic_day days[DEMO_DAYS];
	long		count[DEMO_DAYS];
	long		from[DEMO_DAYS];
	const char *url = "http://127.0.0.1:8787";
	long		events = 300000;
	time_t		now = time(NULL);
	char	   *body;
	int			c;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1)
	{
		bool		ok = true;

		switch (c)
		{
			case 'u':
				url = optarg;
				break;
			case 'i':
				ok = http_client_read_token(optarg, d.ingest_token, sizeof(d.ingest_token));
				break;
			case 'r':
				ok = http_client_read_token(optarg, d.read_token, sizeof(d.read_token));
				break;
			case 'e':
				events = strtol(optarg, NULL, 10);
				ok = events > 0 && events <= 100000000;
				break;
			default:
				return 2;
		}
		if (!ok)
		{
			fprintf(stderr, "ccproxy-demo: cannot use %s\n", optarg);
			return 2;
		}
	}
	if (!http_client_init(&d.client, url, NULL))
		fail(&d, "starting", -1);
	body = malloc((size_t) EVENTS_PER_BODY * TRAFFIC_EVENT_BYTES);
	if (body == NULL)
	{
		fprintf(stderr, "ccproxy-demo: out of memory\n");
		return 1;
	}

	d.per_day = (events + DEMO_DAYS - 1) / DEMO_DAYS;
	d.shown = now;
	for (int k = 0; k < DEMO_DAYS; k++)
	{
		struct traffic_day *day = &days[k];

		traffic_day_init(day, DEMO_SEED, now / DAY_S - (DEMO_DAYS - 1) + k, d.per_day, TRAFFIC_IDS_SPEAKING, false);
		count[k] = day->events;
		while (count[k] > 0 && traffic_event_ts_us(day, count[k] - 1) > (int64_t) now * 1000000)
			count[k]--;
		from[k] = first_missing(&d, day, count[k]);
		d.planned += count[k] - from[k];
	}
	if (d.planned == 0)
	{
		printf("demo traffic: the month is there already, nothing to post\n");
		return 0;
	}
	for (int k = 0; k < DEMO_DAYS; k++)
		post_day(&d, &days[k], from[k], count[k], body);
	show_progress(&d, true);
	printf("demo traffic: %ld accepted, %ld were there already, %ld rejected\n", d.accepted, d.duplicates, d.rejected);
	free(body);
	http_client_close(&d.client);
	return 0;
}
