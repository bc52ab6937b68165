/*
 * How far an import has come; see import_progress.h.
 */
#include "gateway/import_progress.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "gateway/log.h"

#define SAVE_US		INT64_C(200000)
#define BAR_US		INT64_C(200000)
#define LINE_US		INT64_C(10000000)
#define BAR_CHARS	30
#define PATH_BYTES	4096

static int64_t
rows(const struct import_progress *p)
{
	return p->accepted + p->duplicates + p->rejected;
}

bool
import_progress_load(struct import_progress *p)
{
	struct import_progress saved = *p;
	FILE	   *f = fopen(p->path, "re");
	long long	position;
	long long	number;
	long long	accepted;
	long long	duplicates;
	long long	rejected;
	bool		ok;

	p->start_us = p->shown_us = monotonic_us();
	if (f == NULL)
		return false;
	ok = fscanf(f, "ccproxy-import 1 source %64[0-9a-f] target %64[0-9a-f] position %lld row %lld accepted %lld duplicates %lld rejected %lld end",
				saved.source, saved.target, &position, &number, &accepted, &duplicates, &rejected) == 7;
	fclose(f);
	if (!ok || strcmp(saved.source, p->source) != 0 || strcmp(saved.target, p->target) != 0)
		return false;
	p->position = position;
	p->number = number;
	p->accepted = accepted;
	p->duplicates = duplicates;
	p->rejected = rejected;
	p->start_rows = rows(p);
	return true;
}

/* Writes it beside and renames: there is an old one or a new one, whole. */
static bool
save(const struct import_progress *p)
{
	char		name[PATH_BYTES];
	FILE	   *f;
	bool		ok;

	if ((size_t) snprintf(name, sizeof(name), "%s.new", p->path) >= sizeof(name))
		return false;
	f = fopen(name, "we");
	if (f == NULL)
		return false;
	ok = fprintf(f, "ccproxy-import 1\nsource %s\ntarget %s\nposition %lld\nrow %lld\naccepted %lld\nduplicates %lld\nrejected %lld\nend\n",
				 p->source, p->target, (long long) p->position, (long long) p->number, (long long) p->accepted,
				 (long long) p->duplicates, (long long) p->rejected) > 0;
	ok &= fflush(f) == 0 && fsync(fileno(f)) == 0;
	ok &= fclose(f) == 0;
	return ok && rename(name, p->path) == 0;
}

void
import_progress_save(struct import_progress *p, bool force)
{
	int64_t		now_us = monotonic_us();

	if (!force && now_us - p->saved_us < SAVE_US)
		return;
	p->saved_us = now_us;
	if (save(p) || p->save_failed)
		return;
	p->save_failed = true;
	import_progress_break(p);
	fprintf(stderr, "progress cannot be kept in \"%s\": %s; run again, it would begin at the first row (nothing would be there twice)\n",
			p->path, strerror(errno));
}

void
import_progress_show(struct import_progress *p, double share, bool force)
{
	const bool	terminal = isatty(STDERR_FILENO);
	int64_t		now_us = monotonic_us();
	double		seconds = (double) (now_us - p->start_us) / 1e6;
	double		rate = seconds > 0 ? (double) (rows(p) - p->start_rows) / seconds : 0;

	if (!force && now_us - p->shown_us < (terminal ? BAR_US : LINE_US))
		return;
	p->shown_us = now_us;
	if (terminal)
	{
		char		bar[BAR_CHARS + 1];
		int			full = (int) (share * BAR_CHARS);

		memset(bar, '.', BAR_CHARS);
		memset(bar, '#', (size_t) full);
		bar[BAR_CHARS] = '\0';
		fprintf(stderr, "\r[%s] %3.0f%%  %lld rows, %.0f/s ", bar, share * 100, (long long) rows(p), rate);
		p->bar_open = true;
	}
	else
		fprintf(stderr, "%.0f%%, %lld rows, %.0f rows/s\n", share * 100, (long long) rows(p), rate);
	fflush(stderr);
}

void
import_progress_break(struct import_progress *p)
{
	if (p->bar_open)
		fputc('\n', stderr);
	p->bar_open = false;
}
