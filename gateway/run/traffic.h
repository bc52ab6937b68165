/*
 * Synthetic LLM traffic that looks like a month at a company: 12 models, 500
 * users of very different diligence, working hours and weekends, log-normal
 * latency, 3 % errors with an outage now and then, prompt caching, tool agents.
 *
 * Event i of a day is a pure function of (seed, day, i): no state, any thread,
 * any order, the same again tomorrow. That is what makes a second posting of
 * the same month a row of duplicates. Nothing here is about real people,
 * companies or prices.
 */
#ifndef GATEWAY_RUN_TRAFFIC_H
#define GATEWAY_RUN_TRAFFIC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TRAFFIC_MODELS		12
#define TRAFFIC_USERS		500
#define TRAFFIC_EVENT_BYTES	1024	/* an event's JSON is shorter */
#define TRAFFIC_ID_BYTES	64

enum traffic_ids
{
	TRAFFIC_IDS_SPEAKING,		/* demo-20250131-10000-000042 */
	TRAFFIC_IDS_RANDOM			/* as UUIDs are */
};

/* What the events that were made add up to. */
struct traffic_totals
{
	int64_t		events;
	int64_t		failed;
	int64_t		response_time_us;
	int64_t		input_tokens;
	int64_t		cache_read_tokens;
	int64_t		cache_write_tokens;
	int64_t		output_tokens;
};

struct traffic_day
{
	uint64_t	seed;
	enum traffic_ids ids;
	long		per_day;		/* of an average day */
	long		events;			/* of this day */
	int64_t		start_s;		/* midnight UTC, Unix seconds */
	bool		flat;			/* no rhythm, no weekends: for benchmarks */
	double		cumulative[24 * 60 + 1];	/* share of the day by minute */
	double		users[TRAFFIC_USERS];	/* cumulative share */
	/* the day's outage, if it has one */
	int			outage_provider;	/* -1: none */
	int			outage_from_minute;
	int			outage_to_minute;
};

/* day is days since 1970-01-01. */
void		traffic_day_init(struct traffic_day *d, uint64_t seed, int64_t day, long per_day,
							 enum traffic_ids ids, bool flat);
/* When event i happens: Unix microseconds, rising with i but for ties. */
int64_t		traffic_event_ts_us(const struct traffic_day *d, long i);
void		traffic_event_id(const struct traffic_day *d, long i, char out[TRAFFIC_ID_BYTES]);
/* Writes event i as one JSON object without newline, at most
 * TRAFFIC_EVENT_BYTES with the terminator; adds to totals; returns its length. */
size_t		traffic_event(const struct traffic_day *d, long i, char *out, struct traffic_totals *totals);

#endif
