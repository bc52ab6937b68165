/*
 * Prometheus text exposition 0.0.4 and OpenMetrics 1.0: one family at a time,
 * its samples together. The two differ in the names of counters' families and
 * in the end; no samples are timed and none are called _created (Prometheus
 * before 2.50 takes those for series of their own). Every label value is escaped here and nowhere else. Pure; one
 * thread at a time; out of memory is seen once, in x->text.failed.
 */
#ifndef GATEWAY_EXPOSITION_H
#define GATEWAY_EXPOSITION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "gateway/text.h"

#define EXPOSITION_CONTENT_TYPE "text/plain; version=0.0.4; charset=utf-8"
#define OPENMETRICS_CONTENT_TYPE "application/openmetrics-text; version=1.0.0; charset=utf-8"
/* A longer label value is cut, at a character boundary. */
#define EXPOSITION_LABEL_BYTES 256

struct exposition
{
	struct text text;
	bool		openmetrics;
};

/* What is asked for: two gateways of one database have its part in common. */
enum exposition_part
{
	EXPOSITION_ALL,
	EXPOSITION_DATABASE,
	EXPOSITION_GATEWAY
};

struct exposition_label
{
	const char *name;
	const char *value;
};

void		exposition_init(struct exposition *x, bool openmetrics);
void		exposition_free(struct exposition *x);
/* Opens a family: HELP and TYPE. type: counter (its name ends with _total), gauge
 * or histogram; help has no backslash, quote or line break. */
void		exposition_family(struct exposition *x, const char *family, const char *type, const char *help);
/* Nothing follows. */
void		exposition_end(struct exposition *x);
/* One sample, family + suffix, labels, and le when it is not NULL; value must be a number's text. */
void		exposition_sample(struct exposition *x, const char *family, const char *suffix,
							  const struct exposition_label *labels, size_t nlabels,
							  const char *le, const char *value);
/* As a sample with ready-made label text (no braces; may be ""). */
void		exposition_sample_raw(struct exposition *x, const char *family, const char *suffix,
								  const char *labels, const char *value);
/* Escapes and cuts a label value. */
void		exposition_escape(struct text *out, const char *value);
/* "12", "0.25", "+Inf": shortest text that reads back the same. */
#define EXPOSITION_NUMBER_BYTES 32
void		exposition_number(char out[EXPOSITION_NUMBER_BYTES], double value);

/*
 * The traffic of the database: rows of ccproxy.prometheus_samples() and
 * prometheus_gauges(). Families by index; label values in the order of the table in exposition.c.
 */
#define TRAFFIC_FAMILIES 15
#define TRAFFIC_LABELS_MAX 4
#define TRAFFIC_BOUNDS 13

struct traffic_sample
{
	int			family;			/* from traffic_family_find */
	const char *labels[TRAFFIC_LABELS_MAX];	/* NULL or "": unknown */
	double		buckets[TRAFFIC_BOUNDS];	/* cumulative counts; histograms only */
	double		sum;
	double		count;
};

/* Index of a family by the name the database gives it; -1 when unknown. */
int			traffic_family_find(const char *name);
int			traffic_family_labels(int family);
bool		traffic_family_is_histogram(int family);
/*
 * Writes all families. Sorts samples; those whose labels are equal once
 * missing ones have become 'unknown' or 'anonymous' are added up, because one
 * repeated series makes Prometheus refuse the whole page.
 */
void		traffic_write(struct exposition *x, struct traffic_sample *samples, size_t n);

#endif
