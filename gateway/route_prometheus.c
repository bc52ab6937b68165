/*
 * GET /metrics/prometheus: the traffic families from the database and the
 * gateway's own, which are served whatever becomes of the query.
 */
#include <stdlib.h>
#include <string.h>

#include "gateway/exposition.h"
#include "gateway/log.h"
#include "gateway/route_read.h"

/* of the time Prometheus says it will wait, what may be spent on the query */
#define SCRAPE_TIMEOUT_SHARE 0.8
#define SCRAPE_TIMEOUT_MAX_S 3600

#define SAMPLES_SQL \
	"SELECT s.family, s.bucket_counts, s.sum, s.count, " \
	"s.label_values[1], s.label_values[2], s.label_values[3], s.label_values[4] " \
	"FROM ccproxy.prometheus_samples() AS s"

enum sample_column
{
	SAMPLE_FAMILY,
	SAMPLE_BUCKETS,
	SAMPLE_SUM,
	SAMPLE_COUNT,
	SAMPLE_LABELS
};

static enum request_handled
handle(struct request *r)
{
	const char *timeout = request_header(r, "X-Prometheus-Scrape-Timeout-Seconds");
	double		seconds = timeout ? strtod(timeout, NULL) : 0;

	read_prepare(r, SAMPLES_SQL);
	r->job.shared = true;
	/* rather without the database's families than too late */
	if (seconds > 0 && seconds < SCRAPE_TIMEOUT_MAX_S)
		r->wait_limit_ms = (int64_t) (seconds * 1000 * SCRAPE_TIMEOUT_SHARE) + 1;
	return REQUEST_WAIT;
}

/* "{1,2,3}" into cumulative counts. */
static void
parse_buckets(const char *array, double *buckets)
{
	const char *p = array + (*array == '{');

	for (int i = 0; i < TRAFFIC_BOUNDS; i++)
	{
		char	   *end;

		buckets[i] = strtod(p, &end);
		p = *end == ',' ? end + 1 : end;
	}
}

/* False without memory. */
static bool
write_traffic(struct exposition *x, const PGresult *rows)
{
	int			n = PQntuples(rows);
	struct traffic_sample *samples = calloc((size_t) n + 1, sizeof(*samples));
	size_t		used = 0;

	if (samples == NULL)
		return false;
	for (int i = 0; i < n; i++)
	{
		struct traffic_sample *s = &samples[used];

		s->family = traffic_family_find(PQgetvalue(rows, i, SAMPLE_FAMILY));
		if (s->family < 0)
			continue;			/* a newer extension's */
		for (int k = 0; k < TRAFFIC_LABELS_MAX; k++)
			s->labels[k] = PQgetvalue(rows, i, SAMPLE_LABELS + k);
		if (traffic_family_is_histogram(s->family))
			parse_buckets(PQgetvalue(rows, i, SAMPLE_BUCKETS), s->buckets);
		s->sum = strtod(PQgetvalue(rows, i, SAMPLE_SUM), NULL);
		s->count = strtod(PQgetvalue(rows, i, SAMPLE_COUNT), NULL);
		used++;
	}
	traffic_write(x, samples, used);
	free(samples);
	return true;
}

static void
write_page(struct request *r, const PGresult *rows)
{
	struct exposition x;
	bool		complete = false;

	exposition_init(&x);
	if (rows)
		complete = write_traffic(&x, rows);
	exposition_family(&x, "ccproxy_gateway_traffic_up", "gauge",
					  "1 when this page holds the families read from the database.");
	exposition_sample_raw(&x, "ccproxy_gateway_traffic_up", "", "", complete ? "1" : "0");
	selfmetrics_write(&x);
	request_answer(r, MHD_HTTP_OK, EXPOSITION_CONTENT_TYPE, &x.text);
	exposition_free(&x);
}

static bool
publish(struct request *r)
{
	if (r->gateway->settings->storage != STORAGE_SQLITE && reader_submit(r->gateway->reader, &r->job))
		return true;
	write_page(r, NULL);
	return false;
}

static void
finish(struct request *r, bool expired)
{
	write_page(r, !expired && r->job.status == READ_OK ? r->job.result : NULL);
}

static bool
enabled(const struct settings *settings)
{
	return settings->prometheus_enabled;
}

const struct route route_prometheus = {
	.metric = METRIC_ROUTE_PROMETHEUS,
	.path = "/metrics/prometheus",
	.methods = "GET, HEAD",
	.scope = AUTH_READ,
	.enabled = enabled,
	.handle = handle,
	.publish = publish,
	.finish = finish,
};
