/*
 * The log (log.h). Any thread; the level is set by main. A line is built
 * on the stack and written with one write(2), so lines never mix.
 */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

#include "gateway/log.h"
#include "gateway/selfmetrics.h"

#define LOG_LINE_BYTES 2048
#define LOG_FIELDS_MAX 24

static const char *const level_names[LOG_LEVELS] = {"debug", "info", "warning", "error"};
static const int syslog_priorities[LOG_LEVELS] = {LOG_DEBUG, LOG_INFO, LOG_WARNING, LOG_ERR};
static _Atomic int minimum_level = LOG_LEVEL_INFO;

bool
log_level_parse(const char *name, enum log_level *level)
{
	for (int i = 0; i < LOG_LEVELS; i++)
	{
		if (strcmp(name, level_names[i]) == 0)
		{
			*level = (enum log_level) i;
			return true;
		}
	}
	return false;
}

void
log_set_level(enum log_level level)
{
	atomic_store(&minimum_level, (int) level);
}

/* Is stderr the journal? It reads a line's priority from "<n>" before it. */
static bool
stderr_is_journal(void)
{
	const char *stream = getenv("JOURNAL_STREAM");
	unsigned long long device;
	unsigned long long inode;
	struct stat st;

	return stream != NULL && sscanf(stream, "%llu:%llu", &device, &inode) == 2 &&
		fstat(STDERR_FILENO, &st) == 0 && st.st_dev == device && st.st_ino == inode;
}

static int64_t
clock_us(clockid_t id)
{
	struct timespec t;

	clock_gettime(id, &t);
	return (int64_t) t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

int64_t
monotonic_us(void)
{
	return clock_us(CLOCK_MONOTONIC);
}

int64_t
monotonic_ms(void)
{
	return clock_us(CLOCK_MONOTONIC) / 1000;
}

int64_t
wall_clock_us(void)
{
	return clock_us(CLOCK_REALTIME);
}

/* A line under construction; what does not fit is left out. */
struct line
{
	char	   *out;
	size_t		size;
	size_t		len;
};

static void
put(struct line *l, const char *s, size_t n)
{
	size_t		room = l->size - 1 - l->len;

	if (n > room)
		n = room;
	memcpy(l->out + l->len, s, n);
	l->len += n;
}

static void
puts_line(struct line *l, const char *s)
{
	put(l, s, strlen(s));
}

/* Bare when it is one plain word, quoted with escapes otherwise. */
static void
put_value(struct line *l, const char *s)
{
	bool		plain = *s != '\0';

	for (const char *p = s; *p && plain; p++)
		plain = (unsigned char) *p > ' ' && *p != '"' && *p != '=' && *p != '\\' && (unsigned char) *p < 0x7f;
	if (plain)
	{
		puts_line(l, s);
		return;
	}
	put(l, "\"", 1);
	for (const char *p = s; *p; p++)
	{
		unsigned char c = (unsigned char) *p;
		char		buf[8];

		if (c == '"' || c == '\\')
		{
			buf[0] = '\\';
			buf[1] = (char) c;
			put(l, buf, 2);
		}
		else if (c == '\n')
			put(l, "\\n", 2);
		else if (c < ' ' || c == 0x7f)
			put(l, buf, (size_t) snprintf(buf, sizeof(buf), "\\x%02x", c));
		else
			put(l, p, 1);
	}
	put(l, "\"", 1);
}

size_t
log_format(char *out, size_t size, int64_t unix_ms, enum log_level level,
		   const struct log_field *fields)
{
	struct line l = {out, size, 0};
	time_t		seconds = (time_t) (unix_ms / 1000);
	struct tm	tm;
	char		buf[64];

	gmtime_r(&seconds, &tm);
	strftime(buf, sizeof(buf), "ts=%Y-%m-%dT%H:%M:%S", &tm);
	puts_line(&l, buf);
	snprintf(buf, sizeof(buf), ".%03dZ level=", (int) (unix_ms % 1000));
	puts_line(&l, buf);
	puts_line(&l, level_names[level]);
	for (; fields->type != LOG_FIELD_END; fields++)
	{
		put(&l, " ", 1);
		puts_line(&l, fields->key);
		put(&l, "=", 1);
		switch (fields->type)
		{
			case LOG_FIELD_STR:
				put_value(&l, fields->value.str ? fields->value.str : "");
				break;
			case LOG_FIELD_I64:
				snprintf(buf, sizeof(buf), "%" PRId64, fields->value.i64);
				puts_line(&l, buf);
				break;
			case LOG_FIELD_F64:
				snprintf(buf, sizeof(buf), "%.6g", fields->value.f64);
				puts_line(&l, buf);
				break;
			case LOG_FIELD_END:
				break;
		}
	}
	out[l.len] = '\0';
	return l.len;
}

void
log_fields(enum log_level level, const char *event, struct log_limit *limit,
		   const struct log_field *fields)
{
	struct log_field all[LOG_FIELDS_MAX + 2];
	char		line[LOG_LINE_BYTES];
	size_t		prefix = 0;
	size_t		len;
	int			n = 0;

	(void) event;
	if ((int) level < atomic_load_explicit(&minimum_level, memory_order_relaxed))
		return;
	if (level == LOG_LEVEL_WARNING)
		metric_add(METRIC_LOG_WARNINGS, 1);
	else if (level == LOG_LEVEL_ERROR)
		metric_add(METRIC_LOG_ERRORS, 1);

	while (n < LOG_FIELDS_MAX && fields[n].type != LOG_FIELD_END)
	{
		all[n] = fields[n];
		n++;
	}
	if (limit)
	{
		int64_t		now = monotonic_ms();
		int64_t		next = atomic_load(&limit->next_ms);
		uint32_t	suppressed;

		if (now < next ||
			!atomic_compare_exchange_strong(&limit->next_ms, &next, now + LOG_LIMIT_MS))
		{
			atomic_fetch_add(&limit->suppressed, 1);
			return;
		}
		suppressed = atomic_exchange(&limit->suppressed, 0);
		if (suppressed > 0)
			all[n++] = LOG_I64("suppressed", suppressed);
	}
	all[n] = LOG_NONE;
	if (stderr_is_journal())
		prefix = (size_t) snprintf(line, sizeof(line), "<%d>", syslog_priorities[level]);
	len = prefix + log_format(line + prefix, sizeof(line) - 1 - prefix, wall_clock_us() / 1000, level, all);
	line[len++] = '\n';
	/* nobody to tell when stderr is gone */
	if (write(STDERR_FILENO, line, len) < 0)
		return;
}
