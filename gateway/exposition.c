/*
 * Prometheus text (exposition.h). Pure; the fuzz target
 * test/fuzz/gateway_exposition.c reads back what this writes.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/exposition.h"

void
exposition_init(struct exposition *x, bool openmetrics)
{
	text_init(&x->text);
	x->openmetrics = openmetrics;
}

void
exposition_free(struct exposition *x)
{
	text_free(&x->text);
}

void
exposition_family(struct exposition *x, const char *family, const char *type, const char *help)
{
	size_t		len = strlen(family);

	/* OpenMetrics names a counter's family without the suffix of its sample */
	if (x->openmetrics && strcmp(type, "counter") == 0)
		len -= strlen("_total");
	text_printf(&x->text, "# HELP %.*s %s\n# TYPE %.*s %s\n", (int) len, family, help, (int) len, family, type);
}

void
exposition_end(struct exposition *x)
{
	if (x->openmetrics)
		text_puts(&x->text, "# EOF\n");
}

/* How a byte of a label value is written when not as it is; NULL: as it is. */
static const char *
escape_of(char c)
{
	return c == '\\' ? "\\\\" : c == '"' ? "\\\"" : c == '\n' ? "\\n" : NULL;
}

void
exposition_escape(struct text *out, const char *value)
{
	size_t		len = strlen(value);
	size_t		copied = 0;		/* what stands before has been written */
	size_t		i = 0;

	while (i < len)
	{
		size_t		n = utf8_length((const unsigned char *) value + i, len - i);
		const char *escape = n == 0 ? "\xef\xbf\xbd" : escape_of(value[i]);

		if (i + (n ? n : 1) > EXPOSITION_LABEL_BYTES)
			break;
		if (escape)
		{
			text_append(out, value + copied, i - copied);
			text_puts(out, escape);
			copied = i + 1;
		}
		i += n ? n : 1;
	}
	text_append(out, value + copied, i - copied);
}

/* a="b",c="d" */
static void
write_labels(struct text *out, const struct exposition_label *labels, size_t n)
{
	for (size_t i = 0; i < n; i++)
	{
		if (i > 0)
			text_putc(out, ',');
		text_puts(out, labels[i].name);
		text_append(out, "=\"", 2);
		exposition_escape(out, labels[i].value);
		text_putc(out, '"');
	}
}

/* One line; labels as write_labels makes them. */
static void
write_line(struct text *t, const char *family, const char *suffix, const struct text *labels, const char *le, const char *value)
{
	text_puts(t, family);
	text_puts(t, suffix);
	if (labels->len > 0 || le)
	{
		text_putc(t, '{');
		if (labels->len > 0)
			text_append(t, labels->data, labels->len);
		if (le)
		{
			text_puts(t, labels->len > 0 ? ",le=\"" : "le=\"");
			text_puts(t, le);
			text_putc(t, '"');
		}
		text_putc(t, '}');
	}
	text_putc(t, ' ');
	text_puts(t, value);
	text_putc(t, '\n');
}

void
exposition_sample(struct exposition *x, const char *family, const char *suffix,
				  const struct exposition_label *labels, size_t nlabels,
				  const char *le, const char *value)
{
	struct text written;

	text_init(&written);
	write_labels(&written, labels, nlabels);
	x->text.failed |= written.failed;
	write_line(&x->text, family, suffix, &written, le, value);
	text_free(&written);
}

void
exposition_sample_raw(struct exposition *x, const char *family, const char *suffix,
					  const char *labels, const char *value)
{
	text_printf(&x->text, labels[0] ? "%s%s{%s} %s\n" : "%s%s%s %s\n", family, suffix, labels, value);
}

/* As snprintf does, at a tenth of its time: most samples are counts. */
static void
write_integer(char *out, int64_t n)
{
	char		digits[24];
	size_t		len = 0;
	uint64_t	left = n < 0 ? -(uint64_t) n : (uint64_t) n;

	do
		digits[len++] = (char) ('0' + left % 10);
	while ((left /= 10) > 0);
	if (n < 0)
		*out++ = '-';
	while (len > 0)
		*out++ = digits[--len];
	*out = '\0';
}

void
exposition_number(char out[EXPOSITION_NUMBER_BYTES], double value)
{
	if (isnan(value))
		strcpy(out, "NaN");
	else if (isinf(value))
		strcpy(out, value > 0 ? "+Inf" : "-Inf");
	else if (value == floor(value) && fabs(value) < 9007199254740992.0)
		write_integer(out, (int64_t) value);
	else
	{
		for (int precision = 15; precision <= 17; precision++)
		{
			snprintf(out, EXPOSITION_NUMBER_BYTES, "%.*g", precision, value);
			if (strtod(out, NULL) == value)
				break;
		}
	}
}

/* ------------------------------------------------------------- traffic */

enum traffic_value
{
	VALUE_COUNTER,				/* count is the value */
	VALUE_GAUGE,				/* likewise */
	VALUE_HISTOGRAM
};

static const char *const value_types[] = {"counter", "gauge", "histogram"};

struct traffic_family
{
	const char *name;			/* in the database */
	const char *family;
	const char *help;
	enum traffic_value value;
	int			nlabels;
	const char *labels[TRAFFIC_LABELS_MAX];
};

static const struct traffic_family families[TRAFFIC_FAMILIES] = {
	{"requests", "ccproxy_requests_total", "LLM requests finished.", VALUE_COUNTER,
	4, {"method", "endpoint_type", "status_code", "model"}},
	{"response_time", "ccproxy_response_time_seconds", "Response time of LLM requests.", VALUE_HISTOGRAM,
	3, {"method", "endpoint_type", "model"}},
	{"tokens", "ccproxy_tokens_total", "Tokens used.", VALUE_COUNTER,
	2, {"model", "token_type"}},
	{"cost", "ccproxy_cost_dollars_total", "Cost in US dollars.", VALUE_COUNTER,
	2, {"model", "user_id"}},
	/* instead of the last one, where users are not to be shown */
	{"model_cost", "ccproxy_cost_dollars_total", "Cost in US dollars.", VALUE_COUNTER,
	1, {"model"}},
	{"errors", "ccproxy_errors_total", "LLM requests that failed.", VALUE_COUNTER,
	2, {"error_type", "endpoint_type"}},
	{"budget_limit", "ccproxy_budget_limit_dollars", "What may be spent in the budget's current period.", VALUE_GAUGE,
	4, {"budget", "scope", "value", "period"}},
	{"budget_warn", "ccproxy_budget_warn_dollars", "Spending from which the budget's state is warning.", VALUE_GAUGE,
	4, {"budget", "scope", "value", "period"}},
	{"budget_spent", "ccproxy_budget_spent_dollars", "What has been spent in the budget's current period.", VALUE_GAUGE,
	4, {"budget", "scope", "value", "period"}},
	{"budget_projected", "ccproxy_budget_projected_dollars", "What will be spent by the end of the period at the same pace.", VALUE_GAUGE,
	4, {"budget", "scope", "value", "period"}},
	{"budget_unpriced", "ccproxy_budget_unpriced_requests", "Requests in the budget's current period with tokens but without a price.", VALUE_GAUGE,
	4, {"budget", "scope", "value", "period"}},
	{"unpriced", "ccproxy_unpriced_requests", "Requests of the last 24 hours with tokens but without a price.", VALUE_GAUGE,
	1, {"model"}},
	{"refresh_lag", "ccproxy_refresh_lag_seconds", "How long minutes have waited to be rolled up.", VALUE_GAUGE, 0, {NULL}},
	{"partitions_ahead", "ccproxy_partitions_ahead", "Partitions that exist for times to come.", VALUE_GAUGE, 0, {NULL}},
	{"dirty_minutes", "ccproxy_refresh_backlog", "Minutes that wait to be rolled up.", VALUE_GAUGE, 0, {NULL}},
};

static const char *const bounds[TRAFFIC_BOUNDS] = {
	"0.01", "0.05", "0.1", "0.5", "1.0", "2.5", "5.0", "10.0",
	"30.0", "60.0", "120.0", "300.0", "600.0"
};

int
traffic_family_find(const char *name)
{
	for (int i = 0; i < TRAFFIC_FAMILIES; i++)
		if (strcmp(families[i].name, name) == 0)
			return i;
	return -1;
}

int
traffic_family_labels(int family)
{
	return families[family].nlabels;
}

bool
traffic_family_is_histogram(int family)
{
	return families[family].value == VALUE_HISTOGRAM;
}

static int
compare_samples(const void *a, const void *b)
{
	const struct traffic_sample *l = a;
	const struct traffic_sample *r = b;

	if (l->family != r->family)
		return l->family - r->family;
	for (int i = 0; i < families[l->family].nlabels; i++)
	{
		int			c = strcmp(l->labels[i], r->labels[i]);

		if (c != 0)
			return c;
	}
	return 0;
}

static void
write_histogram(struct text *t, const struct traffic_family *f, const struct text *labels, const struct traffic_sample *s)
{
	char		number[EXPOSITION_NUMBER_BYTES];
	char		count[EXPOSITION_NUMBER_BYTES];

	for (int i = 0; i < TRAFFIC_BOUNDS; i++)
	{
		exposition_number(number, s->buckets[i]);
		write_line(t, f->family, "_bucket", labels, bounds[i], number);
	}
	exposition_number(count, s->count);
	write_line(t, f->family, "_bucket", labels, "+Inf", count);
	exposition_number(number, s->sum);
	write_line(t, f->family, "_sum", labels, NULL, number);
	write_line(t, f->family, "_count", labels, NULL, count);
}

void
traffic_write(struct exposition *x, struct traffic_sample *samples, size_t n)
{
	int			open = -1;
	struct text written;

	text_init(&written);
	for (size_t i = 0; i < n; i++)
	{
		const struct traffic_family *f = &families[samples[i].family];

		for (int k = 0; k < f->nlabels; k++)
			if (samples[i].labels[k] == NULL || samples[i].labels[k][0] == '\0')
				samples[i].labels[k] = strcmp(f->labels[k], "user_id") == 0 ? "anonymous" : "unknown";
	}
	if (n > 0)
		qsort(samples, n, sizeof(*samples), compare_samples);
	for (size_t i = 0; i < n;)
	{
		struct traffic_sample s = samples[i];
		const struct traffic_family *f = &families[s.family];
		struct exposition_label labels[TRAFFIC_LABELS_MAX];
		char		number[EXPOSITION_NUMBER_BYTES];

		for (i++; i < n && compare_samples(&s, &samples[i]) == 0; i++)
		{
			s.sum += samples[i].sum;
			s.count += samples[i].count;
			for (int k = 0; k < TRAFFIC_BOUNDS; k++)
				s.buckets[k] += samples[i].buckets[k];
		}
		for (int k = 0; k < f->nlabels; k++)
			labels[k] = (struct exposition_label) {f->labels[k], s.labels[k]};
		/* once for all lines of the set */
		written.len = 0;
		write_labels(&written, labels, (size_t) f->nlabels);
		if (s.family != open)
			exposition_family(x, f->family, value_types[f->value], f->help);
		open = s.family;
		if (f->value == VALUE_HISTOGRAM)
			write_histogram(&x->text, f, &written, &s);
		else
		{
			exposition_number(number, s.count);
			write_line(&x->text, f->family, "", &written, NULL, number);
		}
	}
	x->text.failed |= written.failed;
	text_free(&written);
}
