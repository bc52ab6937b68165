/*
 * The gateway's own counters (selfmetrics.h). Relaxed atomics: any thread adds,
 * a scrape reads them one by one, which is all Prometheus asks for. Nothing is
 * freed; they live as long as the process.
 */
#include <inttypes.h>
#include <stdio.h>
#include <time.h>

#include "gateway/exposition.h"
#include "gateway/selfmetrics.h"
#include "gateway/settings.h"

#define HISTOGRAM_BOUNDS 12

struct self_row
{
	const char *family;
	const char *labels;
	const char *help;
};

struct self_histogram_values
{
	_Atomic uint64_t buckets[HISTOGRAM_BOUNDS + 1];	/* not cumulative */
	_Atomic uint64_t sum_us;
};

#define COUNTER_ROW(symbol, family, labels, help) {family, labels, help},
#define GAUGE_ROW(symbol, family, help) {family, "", help},
#define ROUTE_NAME(symbol, name) name,

static const struct self_row counter_rows[] = {SELF_COUNTERS(COUNTER_ROW)};
static const struct self_row gauge_rows[] = {SELF_GAUGES(GAUGE_ROW) SELF_DURATIONS(GAUGE_ROW)};
static const struct self_row histogram_rows[] = {SELF_HISTOGRAMS(GAUGE_ROW)};
static const char *const route_names[] = {SELF_ROUTES(ROUTE_NAME)};

static const int64_t bounds_us[HISTOGRAM_BOUNDS] = {
	500, 1000, 2500, 5000, 10000, 25000, 50000, 100000, 250000, 1000000, 5000000, 30000000
};
static const char *const bound_names[HISTOGRAM_BOUNDS] = {
	"0.0005", "0.001", "0.0025", "0.005", "0.01", "0.025", "0.05", "0.1", "0.25", "1.0", "5.0", "30.0"
};

/* The statuses the gateway answers with; anything else counts as the last. */
static const int statuses[] = {200, 304, 400, 401, 403, 404, 405, 413, 415, 429, 431, 500, 503, 0};
#define STATUSES (sizeof(statuses) / sizeof(statuses[0]))

static _Atomic uint64_t counters[SELF_COUNTERS_NUMBER];
static _Atomic int64_t gauges[SELF_GAUGES_NUMBER];
static struct self_histogram_values histograms[SELF_HISTOGRAMS_NUMBER];
static _Atomic uint64_t requests[METRIC_ROUTES][STATUSES];

void
metric_add(enum self_counter counter, uint64_t n)
{
	atomic_fetch_add_explicit(&counters[counter], n, memory_order_relaxed);
}

uint64_t
metric_get(enum self_counter counter)
{
	return atomic_load_explicit(&counters[counter], memory_order_relaxed);
}

void
metric_set(enum self_gauge gauge, int64_t value)
{
	atomic_store_explicit(&gauges[gauge], value, memory_order_relaxed);
}

void
metric_change(enum self_gauge gauge, int64_t delta)
{
	atomic_fetch_add_explicit(&gauges[gauge], delta, memory_order_relaxed);
}

int64_t
metric_gauge(enum self_gauge gauge)
{
	return atomic_load_explicit(&gauges[gauge], memory_order_relaxed);
}

void
metric_observe_us(enum self_histogram histogram, int64_t us)
{
	struct self_histogram_values *h = &histograms[histogram];
	int			i = 0;

	if (us < 0)
		us = 0;
	while (i < HISTOGRAM_BOUNDS && us > bounds_us[i])
		i++;
	atomic_fetch_add_explicit(&h->buckets[i], 1, memory_order_relaxed);
	atomic_fetch_add_explicit(&h->sum_us, (uint64_t) us, memory_order_relaxed);
}

void
metric_request(enum metric_route route, int status)
{
	size_t		i = 0;

	while (statuses[i] != status && statuses[i] != 0)
		i++;
	atomic_fetch_add_explicit(&requests[route][i], 1, memory_order_relaxed);
}

static void
write_requests(struct exposition *x)
{
	const char *family = "ccproxy_gateway_http_requests_total";

	exposition_family(x, family, "counter", "HTTP requests answered, by route and status.");
	for (int r = 0; r < METRIC_ROUTES; r++)
	{
		for (size_t i = 0; i < STATUSES; i++)
		{
			uint64_t	n = atomic_load_explicit(&requests[r][i], memory_order_relaxed);
			char		labels[80];
			char		value[24];

			if (n == 0)
				continue;
			if (statuses[i])
				snprintf(labels, sizeof(labels), "route=\"%s\",code=\"%d\"", route_names[r], statuses[i]);
			else
				snprintf(labels, sizeof(labels), "route=\"%s\",code=\"other\"", route_names[r]);
			snprintf(value, sizeof(value), "%" PRIu64, n);
			exposition_sample_raw(x, family, "", labels, value);
		}
	}
}

static void
write_histogram(struct exposition *x, int index)
{
	const char *family = histogram_rows[index].family;
	struct self_histogram_values *h = &histograms[index];
	uint64_t	total = 0;
	char		value[EXPOSITION_NUMBER_BYTES];

	exposition_family(x, family, "histogram", histogram_rows[index].help);
	for (int i = 0; i <= HISTOGRAM_BOUNDS; i++)
	{
		total += atomic_load_explicit(&h->buckets[i], memory_order_relaxed);
		snprintf(value, sizeof(value), "%" PRIu64, total);
		exposition_sample(x, family, "_bucket", NULL, 0, i < HISTOGRAM_BOUNDS ? bound_names[i] : "+Inf", value);
	}
	exposition_sample(x, family, "_count", NULL, 0, NULL, value);
	exposition_number(value, (double) atomic_load_explicit(&h->sum_us, memory_order_relaxed) / 1e6);
	exposition_sample(x, family, "_sum", NULL, 0, NULL, value);
}

void
selfmetrics_write(struct exposition *x)
{
	char		value[EXPOSITION_NUMBER_BYTES];

	exposition_family(x, "ccproxy_gateway_build_info", "gauge", "Always 1; the version is a label.");
	exposition_sample_raw(x, "ccproxy_gateway_build_info", "", "version=\"" GATEWAY_VERSION "\"", "1");
	for (int i = 0; i < SELF_COUNTERS_NUMBER; i++)
	{
		if (counter_rows[i].help[0])
			exposition_family(x, counter_rows[i].family, "counter", counter_rows[i].help);
		snprintf(value, sizeof(value), "%" PRIu64, metric_get((enum self_counter) i));
		exposition_sample_raw(x, counter_rows[i].family, "", counter_rows[i].labels, value);
	}
	for (int i = 0; i < SELF_GAUGES_NUMBER; i++)
	{
		exposition_family(x, gauge_rows[i].family, "gauge", gauge_rows[i].help);
		if (i >= SELF_FIRST_DURATION)
			exposition_number(value, (double) metric_gauge((enum self_gauge) i) / 1e6);
		else
			snprintf(value, sizeof(value), "%" PRId64, metric_gauge((enum self_gauge) i));
		exposition_sample_raw(x, gauge_rows[i].family, "", "", value);
	}
	for (int i = 0; i < SELF_HISTOGRAMS_NUMBER; i++)
		write_histogram(x, i);
	write_requests(x);
}
