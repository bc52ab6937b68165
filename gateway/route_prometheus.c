/*
 * GET /metrics/prometheus: the traffic families from the database, and the
 * gateway's own, which are served whatever becomes of the query. part= asks for
 * one of the two. The traffic is a page like other answers, compressed once;
 * each scrape appends what is the gateway's.
 */
#include <stdlib.h>
#include <string.h>

#include "gateway/accept.h"
#include "gateway/exposition.h"
#include "gateway/log.h"
#include "gateway/route_read.h"

/* of the time Prometheus says it will wait, what may be spent on the query */
#define SCRAPE_TIMEOUT_SHARE 0.8
#define SCRAPE_TIMEOUT_MAX_S 3600

#define SAMPLES_SQL \
	"SELECT s.family, s.bucket_counts, s.sum, s.count, " \
	"s.label_values[1], s.label_values[2], s.label_values[3], s.label_values[4] " \
	"FROM (SELECT * FROM ccproxy.prometheus_samples() " \
	"UNION ALL SELECT g.family, g.label_values, NULL, NULL, g.value FROM ccproxy.prometheus_gauges() AS g) AS s"

enum sample_column
{
	SAMPLE_FAMILY,
	SAMPLE_BUCKETS,
	SAMPLE_SUM,
	SAMPLE_COUNT,
	SAMPLE_LABELS
};

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

/* The answer; traffic: NULL when the database's families cannot be had. */
static void
write_page(struct request *r, const struct page *traffic)
{
	struct exposition x;
	struct text whole;

	exposition_init(&x, r->openmetrics);
	if (r->part != EXPOSITION_GATEWAY)
	{
		exposition_family(&x, "ccproxy_gateway_traffic_up", "gauge",
						  "1 when this page holds the families read from the database.");
		exposition_sample_raw(&x, "ccproxy_gateway_traffic_up", "", "", traffic ? "1" : "0");
	}
	if (r->part != EXPOSITION_DATABASE)
		selfmetrics_write(&x);
	exposition_end(&x);
	text_init(&whole);
	r->answer.varies = true;
	if (traffic && traffic->gzip)
	{
		r->answer.gzip = page_deflate_end(traffic, &whole, x.text.data, x.text.len);
		whole.failed |= !r->answer.gzip;
	}
	else
	{
		if (traffic && traffic->len > 0)
			text_append(&whole, traffic->body, traffic->len);
		text_append(&whole, x.text.data, x.text.len);
	}
	whole.failed |= x.text.failed;
	request_answer(r, MHD_HTTP_OK, r->openmetrics ? OPENMETRICS_CONTENT_TYPE : EXPOSITION_CONTENT_TYPE, &whole);
	exposition_free(&x);
}

/* A reader's thread: the traffic families alone, which every scrape may share. */
static struct page *
render(struct read_job *job, const PGresult *rows)
{
	struct request *r = job->owner;
	struct exposition x;
	struct page *page = NULL;

	exposition_init(&x, r->openmetrics);
	if (write_traffic(&x, rows))
		page = page_new(MHD_HTTP_OK, NULL, &x.text, 0);
	exposition_free(&x);
	/* without memory to compress it goes out as it is */
	if (page && r->gzip)
		(void) !page_deflate_open(page);
	metric_add(METRIC_READ_CACHE_MISSES, 1);
	return page;
}

static enum query_status
parse(struct request *r, struct query_error *error)
{
	const char *part;
	enum query_status status;

	if ((status = query_check_names(&r->target, "part", error)) != QUERY_OK ||
		(status = query_single(&r->target, "part", &part, error)) != QUERY_OK)
		return status;
	r->part = part == NULL ? EXPOSITION_ALL : strcmp(part, "database") == 0 ? EXPOSITION_DATABASE : EXPOSITION_GATEWAY;
	if (r->part == EXPOSITION_GATEWAY && strcmp(part, "gateway") != 0)
	{
		*error = (struct query_error) {"part", "There is no such part.", "database, gateway"};
		return QUERY_BAD;
	}
	return QUERY_OK;
}

static enum request_handled
handle(struct request *r)
{
	const char *timeout = request_header(r, "X-Prometheus-Scrape-Timeout-Seconds");
	const char *accept = request_header(r, "Accept");
	double		seconds = timeout ? strtod(timeout, NULL) : 0;
	struct query_error error;
	enum query_status status = parse(r, &error);

	if (status != QUERY_OK)
		return read_refuse(r, status, &error);
	r->openmetrics = accept && accept_weight(accept, "application/openmetrics-text") > accept_weight(accept, "text/plain");
	r->gzip = accept_gzip(request_header(r, "Accept-Encoding"));
	if (r->part == EXPOSITION_GATEWAY)
	{
		write_page(r, NULL);
		return REQUEST_ANSWERED;
	}
	read_prepare(r, SAMPLES_SQL);
	r->job.render = render;
	r->job.urgent = true;		/* a gap in the series is for good; people ask again */
	r->job.timely = true;		/* lag, budgets and the last 24 hours go on without a commit */
	r->key_extra = r->openmetrics ? "openmetrics" : "text";
	/* rather without the database's families than too late */
	if (seconds > 0 && seconds < SCRAPE_TIMEOUT_MAX_S)
		r->wait_limit_ms = (int64_t) (seconds * 1000 * SCRAPE_TIMEOUT_SHARE) + 1;
	return read_begin(r);
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
	write_page(r, !expired && r->job.status == READ_OK ? r->job.page : NULL);
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
