/*
 * How far an import has come: kept in a small file beside the source, so that
 * running it again goes on, and shown while it runs (a bar on a terminal, lines
 * otherwise). main's thread.
 */
#ifndef GATEWAY_IMPORT_PROGRESS_H
#define GATEWAY_IMPORT_PROGRESS_H

#include "gateway/import_source.h"

struct import_progress
{
	/* what the file says */
	char		source[IMPORT_DIGEST_CHARS + 1];	/* identity of the source */
	char		target[IMPORT_DIGEST_CHARS + 1];	/* of the database */
	int64_t		position;
	int64_t		number;
	int64_t		accepted;
	int64_t		duplicates;
	int64_t		rejected;
	/* showing and saving */
	const char *path;
	int64_t		saved_us;
	int64_t		shown_us;
	int64_t		start_us;
	int64_t		start_rows;
	bool		bar_open;
	bool		save_failed;
};

/* Takes up what an earlier run of the same source into the same database left;
 * false when there is nothing of the kind. */
bool		import_progress_load(struct import_progress *p);
/* Saves now and then, and always when forced. */
void		import_progress_save(struct import_progress *p, bool force);
void		import_progress_show(struct import_progress *p, double share, bool force);
/* Ends the bar's line, before something else is written. */
void		import_progress_break(struct import_progress *p);

#endif
