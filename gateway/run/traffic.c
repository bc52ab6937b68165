/*
 * See traffic.h. Shares and medians are invented, but keep the proportions one
 * sees: agents cache nearly all of their prompt, a few users make most of the
 * traffic, the large model is slow and seldom, the night is quiet.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "gateway/run/traffic.h"

#define MINUTES_PER_DAY	(24 * 60)
#define DAY_S			(24 * 60 * 60)
#define DAY_US			(DAY_S * 1000000LL)
#define ERROR_SHARE		0.0275	/* and the outages' share on top */
#define OUTAGE_DAYS		5		/* one day in so many has an outage */
#define OUTAGE_ERRORS	0.45	/* of the provider's requests while it lasts */

enum provider
{
	ANTHROPIC,
	OPENAI,
	GOOGLE,
	PROVIDERS
};

static const char *const provider_names[PROVIDERS] = {"anthropic", "openai", "google"};

static const struct model
{
	const char *name;
	enum provider provider;
	double		share;			/* of all requests, in percent */
	double		input;			/* median prompt tokens, cached ones included */
	double		output;			/* median */
	double		ttft_ms;		/* median */
	double		ms_per_token;	/* median */
	double		cached;			/* share of the prompt that a hit reads from the cache */
}			models[TRAFFIC_MODELS] = {
	{"claude-sonnet-4-5", ANTHROPIC, 26, 9000, 420, 1100, 14, 0.88},
	{"claude-haiku-4-5", ANTHROPIC, 14, 3200, 260, 480, 6.5, 0.75},
	{"claude-opus-4-1", ANTHROPIC, 5, 12000, 620, 1900, 24, 0.86},
	{"claude-sonnet-4", ANTHROPIC, 8, 7800, 400, 1150, 15, 0.85},
	{"claude-3-haiku", ANTHROPIC, 4, 1100, 180, 420, 7, 0},
	{"gpt-5", OPENAI, 9, 4200, 900, 2600, 11, 0.6},
	{"gpt-4.1", OPENAI, 7, 2600, 330, 750, 12, 0.5},
	{"gpt-4.1-mini", OPENAI, 8, 1400, 210, 460, 7, 0.4},
	{"gpt-4o", OPENAI, 6, 1800, 280, 620, 13, 0.4},
	{"gpt-4o-mini", OPENAI, 7, 900, 190, 410, 8, 0.3},
	{"gemini-2.5-pro", GOOGLE, 2, 5200, 780, 2200, 10, 0.5},
	{"gemini-2.5-flash", GOOGLE, 4, 2100, 320, 520, 5, 0.4},
};

static const struct client
{
	const char *endpoint_type;
	const char *path;
	const char *user_agent;
}			clients[] = {
	{"anthropic", "/v1/messages", "Anthropic/Python 0.39.0"},
	{"claude_sdk", "/sdk/v1/messages", "claude-cli/2.0.14 (external, cli)"},
	{"openai", "/v1/chat/completions", "OpenAI/Python 1.54.3"},
	{"openai_responses", "/v1/responses", "codex-cli/0.42.0"},
	{"google", "/v1beta/models:generateContent", "google-genai-sdk/1.11.0"},
};

static const struct failure
{
	int			status;
	const char *type;
	const char *message;
	double		share;			/* of ordinary errors, in percent */
	double		median_ms;
}			failures[] = {
	{429, "rate_limit_error", "Number of request tokens has exceeded your rate limit", 44, 90},
	{400, "invalid_request_error", "prompt is too long", 20, 140},
	{500, "api_error", "Internal server error", 14, 2200},
	{529, "overloaded_error", "Overloaded", 12, 1300},
	{401, "authentication_error", "invalid x-api-key", 6, 60},
	{504, "timeout_error", "Request timed out", 4, 60000},
};

/* Shares of an hour of the day, UTC, on a working day. */
static const double hours[24] = {
	8, 6, 5, 5, 6, 10, 22, 48, 82, 100, 104, 96, 84, 98, 108, 106, 98, 84, 62, 46, 36, 28, 20, 13
};

/* ------------------------------------------------------------- randomness */

/* splitmix64: a stream for every (seed, day, i). */
struct dice
{
	uint64_t	state;
};

static uint64_t
mix(uint64_t z)
{
	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
	return z ^ (z >> 31);
}

static uint64_t
next_bits(struct dice *d)
{
	d->state += 0x9e3779b97f4a7c15ULL;
	return mix(d->state);
}

static struct dice
dice_for(uint64_t seed, uint64_t a, uint64_t b)
{
	struct dice d = {mix(mix(seed + 0x9e3779b97f4a7c15ULL) ^ mix(a * 0xd1342543de82ef95ULL + 1) ^ (b + 1) * 0x2545f4914f6cdd1dULL)};

	next_bits(&d);
	return d;
}

/* [0, 1) */
static double
uniform(struct dice *d)
{
	return (double) (next_bits(d) >> 11) * 0x1p-53;
}

static double
log_normal(struct dice *d, double median, double sigma)
{
	double		u = 1.0 - uniform(d);
	double		v = uniform(d);

	return median * exp(sigma * sqrt(-2.0 * log(u)) * cos(2.0 * M_PI * v));
}

static int64_t
tokens(struct dice *d, double median, double sigma)
{
	return 1 + (int64_t) log_normal(d, median, sigma);
}

/* ------------------------------------------------------------------- days */

void
traffic_day_init(struct traffic_day *d, uint64_t seed, int64_t day, long per_day,
				 enum traffic_ids ids, bool flat)
{
	struct dice dice = dice_for(seed, (uint64_t) day, UINT64_MAX);
	int			weekday = (int) ((day + 4) % 7);	/* 0 is Sunday */
	bool		weekend = weekday == 0 || weekday == 6;
	double		total = 0;

	memset(d, 0, sizeof(*d));
	d->seed = seed;
	d->ids = ids;
	d->per_day = per_day;
	d->start_s = day * DAY_S;
	d->flat = flat;
	/* five working days and two quiet ones make seven average days */
	d->events = flat ? per_day :
		lround((double) per_day * (weekend ? 0.35 : 1.26) * (0.93 + 0.14 * uniform(&dice)));

	for (int m = 0; m < MINUTES_PER_DAY; m++)
	{
		int			hour = m / 60;
		double		from = hours[hour];
		double		to = hours[(hour + 1) % 24];
		double		level = flat ? 1 : from + (to - from) * (m % 60) / 60.0;

		if (!flat)
			level = (weekend ? 20 + 0.4 * level : level) * (0.85 + 0.3 * uniform(&dice));
		d->cumulative[m] = total;
		total += level;
	}
	d->cumulative[MINUTES_PER_DAY] = total;
	for (int m = 0; m <= MINUTES_PER_DAY; m++)
		d->cumulative[m] /= total;

	total = 0;
	for (int u = 0; u < TRAFFIC_USERS; u++)
		total += pow(u + 6.0, -0.95);
	for (int u = 0; u < TRAFFIC_USERS; u++)
		d->users[u] = (u == 0 ? 0 : d->users[u - 1]) + pow(u + 6.0, -0.95) / total;

	d->outage_provider = -1;
	if (!flat && !weekend && next_bits(&dice) % OUTAGE_DAYS == 0)
	{
		d->outage_provider = next_bits(&dice) % 3 == 0 ? OPENAI : ANTHROPIC;
		d->outage_from_minute = 8 * 60 + (int) (next_bits(&dice) % (9 * 60));
		d->outage_to_minute = d->outage_from_minute + 15 + (int) (next_bits(&dice) % 50);
	}
}

int64_t
traffic_event_ts_us(const struct traffic_day *d, long i)
{
	struct dice dice = dice_for(d->seed ^ 0x74696d65, (uint64_t) d->start_s, (uint64_t) i);
	double		share = ((double) i + uniform(&dice)) / (double) d->events;
	int			low = 0;
	int			high = MINUTES_PER_DAY - 1;
	double		within;
	int64_t		us;

	while (low < high)
	{
		int			middle = (low + high + 1) / 2;

		if (d->cumulative[middle] <= share)
			low = middle;
		else
			high = middle - 1;
	}
	within = (share - d->cumulative[low]) / (d->cumulative[low + 1] - d->cumulative[low]);
	us = (int64_t) ((low + within) * 60e6);
	return d->start_s * 1000000 + (us < DAY_US ? us : DAY_US - 1);
}

static void
format_ts(int64_t ts_us, char *out, size_t size)
{
	time_t		s = (time_t) (ts_us / 1000000);
	struct tm	tm;
	size_t		n;

	gmtime_r(&s, &tm);
	n = strftime(out, size, "%Y-%m-%dT%H:%M:%S", &tm);
	snprintf(out + n, size - n, ".%06dZ", (int) (ts_us % 1000000));
}

void
traffic_event_id(const struct traffic_day *d, long i, char out[TRAFFIC_ID_BYTES])
{
	if (d->ids == TRAFFIC_IDS_RANDOM)
	{
		struct dice dice = dice_for(d->seed ^ 0x6964, (uint64_t) d->start_s, (uint64_t) i);
		uint64_t	a = next_bits(&dice);
		uint64_t	b = next_bits(&dice);

		snprintf(out, TRAFFIC_ID_BYTES, "%08x-%04x-4%03x-%04x-%012llx",
				 (unsigned) (a >> 32), (unsigned) (a >> 16) & 0xffff, (unsigned) a & 0xfff,
				 (unsigned) (0x8000 | ((b >> 48) & 0x3fff)), (unsigned long long) (b & 0xffffffffffffULL));
	}
	else
	{
		time_t		s = (time_t) d->start_s;
		struct tm	tm;

		gmtime_r(&s, &tm);
		snprintf(out, TRAFFIC_ID_BYTES, "demo-%04d%02d%02d-%ld-%06ld",
				 tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday, d->per_day, i);
	}
}

/* ----------------------------------------------------------------- events */

static const struct failure *
pick_failure(struct dice *dice)
{
	double		left = uniform(dice) * 100;
	size_t		f = 0;

	while (f + 1 < sizeof(failures) / sizeof(failures[0]) && left >= failures[f].share)
		left -= failures[f++].share;
	return &failures[f];
}

static const struct client *
pick_client(struct dice *dice, const struct model *m)
{
	switch (m->provider)
	{
		case ANTHROPIC:
			return &clients[m->cached > 0.8 && uniform(dice) < 0.7 ? 1 : 0];
		case OPENAI:
			return &clients[uniform(dice) < 0.3 ? 3 : 2];
		default:
			return &clients[4];
	}
}

size_t
traffic_event(const struct traffic_day *d, long i, char *out, struct traffic_totals *totals)
{
	struct dice dice = dice_for(d->seed, (uint64_t) d->start_s, (uint64_t) i);
	int64_t		ts_us = traffic_event_ts_us(d, i);
	int			minute = (int) ((ts_us / 1000000 - d->start_s) / 60);
	double		share = uniform(&dice) * 100;
	const struct model *m = models;
	const struct client *client;
	const struct failure *failure = NULL;
	bool		outage;
	bool		streaming;
	int			user = 0;
	int			high = TRAFFIC_USERS - 1;
	int64_t		input = 0;
	int64_t		cache_read = 0;
	int64_t		cache_write = 0;
	int64_t		output = 0;
	int64_t		reasoning = 0;
	int64_t		response_us;
	int64_t		ttft_us = 0;
	char		id[TRAFFIC_ID_BYTES];
	char		ts[40];
	int			n;

	while (m + 1 < models + TRAFFIC_MODELS && share >= m->share)
		share -= (m++)->share;

	share = uniform(&dice);
	while (user < high)
	{
		int			middle = (user + high) / 2;

		if (d->users[middle] > share)
			high = middle;
		else
			user = middle + 1;
	}

	client = pick_client(&dice, m);
	streaming = uniform(&dice) < 0.72;
	outage = d->outage_provider == (int) m->provider &&
		minute >= d->outage_from_minute && minute < d->outage_to_minute;
	if (uniform(&dice) < (outage ? OUTAGE_ERRORS : ERROR_SHARE))
		failure = outage ? &failures[3] : pick_failure(&dice);

	if (failure != NULL)
		response_us = (int64_t) (log_normal(&dice, failure->median_ms, failure->status == 504 ? 0.02 : 0.5) * 1000);
	else
	{
		int64_t		prompt = tokens(&dice, m->input, 1.0);
		double		fate = uniform(&dice);

		output = tokens(&dice, m->output, 0.9);
		if (m->cached > 0 && fate < 0.78)
			cache_read = (int64_t) ((double) prompt * m->cached);
		if (m->provider == ANTHROPIC && m->cached > 0)
			cache_write = (int64_t) ((double) (prompt - cache_read) * (fate < 0.78 ? 0.6 : 0.9));
		input = prompt - cache_read - cache_write;
		if (strcmp(m->name, "gpt-5") == 0 || strcmp(m->name, "gemini-2.5-pro") == 0)
			reasoning = output * 6 / 10;
		ttft_us = (int64_t) (log_normal(&dice, m->ttft_ms * (outage ? 3 : 1), 0.45) * 1000);
		response_us = ttft_us + (int64_t) (log_normal(&dice, m->ms_per_token, 0.3) * 1000 * (double) output);
	}

	traffic_event_id(d, i, id);
	format_ts(ts_us, ts, sizeof(ts));
	n = snprintf(out, TRAFFIC_EVENT_BYTES,
				 "{\"request_id\":\"%s\",\"timestamp\":\"%s\",\"user_id\":\"user-%03d\",\"team_id\":\"team-%02d\","
				 "\"session_id\":\"s-%03d-%llx\",\"method\":\"POST\",\"path\":\"%s\",\"endpoint_type\":\"%s\","
				 "\"provider\":\"%s\",\"user_agent\":\"%s\",\"client_ip\":\"10.20.%d.%d\",\"api_key\":\"sk-demo-%03d\","
				 "\"model\":\"%s\",\"streaming\":%s,\"status_code\":%d,\"response_time_ms\":%lld.%03d",
				 id, ts, user, user % 14,
				 user, (unsigned long long) (ts_us / 5400000000LL), client->path, client->endpoint_type,
				 provider_names[m->provider], client->user_agent, user / 250, user % 250, user,
				 m->name, streaming ? "true" : "false", failure ? failure->status : 200,
				 (long long) (response_us / 1000), (int) (response_us % 1000));
	if (failure != NULL)
		n += snprintf(out + n, TRAFFIC_EVENT_BYTES - (size_t) n, ",\"error_type\":\"%s\",\"error_message\":\"%s\"}",
					  failure->type, failure->message);
	else
	{
		n += snprintf(out + n, TRAFFIC_EVENT_BYTES - (size_t) n,
					  ",\"input_tokens\":%lld,\"cache_read_tokens\":%lld,\"cache_write_tokens\":%lld,\"output_tokens\":%lld",
					  (long long) input, (long long) cache_read, (long long) cache_write, (long long) output);
		if (reasoning > 0)
			n += snprintf(out + n, TRAFFIC_EVENT_BYTES - (size_t) n, ",\"reasoning_tokens\":%lld", (long long) reasoning);
		if (streaming)
			n += snprintf(out + n, TRAFFIC_EVENT_BYTES - (size_t) n, ",\"ttft_ms\":%lld.%03d",
						  (long long) (ttft_us / 1000), (int) (ttft_us % 1000));
		n += snprintf(out + n, TRAFFIC_EVENT_BYTES - (size_t) n, "}");
	}

	totals->events++;
	totals->failed += failure != NULL;
	totals->response_time_us += response_us;
	totals->input_tokens += input;
	totals->cache_read_tokens += cache_read;
	totals->cache_write_tokens += cache_write;
	totals->output_tokens += output;
	return (size_t) n;
}
