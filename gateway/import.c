/*
 * The import command; see import.h.
 *
 * Rows are read in small chunks, many of which are under way at a time, so that
 * the committer makes large transactions of them. A chunk is done when the store
 * has answered it; progress is what has been done without a gap. A chunk the
 * store cannot take is submitted again until it can: the database may be away
 * for a while. There is no spool: the file is one already.
 */
#include "gateway/import.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "gateway/import_progress.h"
#include "gateway/ingest_options.h"
#include "gateway/keyhash.h"
#include "gateway/log.h"
#include "gateway/settings.h"

#define EXIT_STOPPED		1
#define EXIT_ARGUMENTS		2
#define EXIT_REJECTED		3
#define CHUNK_ROWS			100
#define CHUNK_BYTES			((size_t) 1024 * 1024)
#define CHUNKS				128
#define ARENA_BYTES			((size_t) 256 * 1024 * 1024)
#define REACH_MS			30000	/* the database must be reached within this at first */
#define PAUSE_MS			100
#define CLOSE_MS			10000
#define NS_PER_MS			1000000L

/* Some rows on their way. */
struct chunk
{
	struct submission submission;
	struct arena arena;
	struct decode_result decoded;
	struct text body;
	int64_t		numbers[CHUNK_ROWS];	/* of the rows in the body */
	size_t		nrows;
	size_t		nread;			/* with those that were no rows */
	size_t		nbad;
	int64_t		bad_numbers[CHUNK_ROWS];
	const char *bad_reasons[CHUNK_ROWS];
	int64_t		position;		/* after it */
	int64_t		number;
	bool		finished;		/* under the import's lock */
	struct import *import;
};

struct import
{
	const struct settings *settings;
	struct store *store;
	struct import_source *source;
	struct import_progress progress;
	FILE	   *rejects;
	struct chunk *chunks;
	size_t		first;			/* the oldest chunk under way */
	size_t		nchunks;
	char		error[IMPORT_ERROR_BYTES];
	pthread_mutex_t lock;
	pthread_cond_t wake;
};

static volatile sig_atomic_t stopped;

static void
stop(int signal_number)
{
	(void) signal_number;
	stopped = 1;
}

static void
pause_ms(int ms)
{
	const struct timespec t = {ms / 1000, ms % 1000 * NS_PER_MS};

	nanosleep(&t, NULL);
}

/* A refused row: to the file, or to standard error. */
static void
reject(struct import *im, int64_t number, const char *field, const char *reason)
{
	struct text line;

	im->progress.rejected++;
	text_init(&line);
	text_printf(&line, "{\"row\": %lld, \"field\": ", (long long) number);
	text_json(&line, field ? field : "");
	text_puts(&line, ", \"reason\": ");
	text_json(&line, reason ? reason : "");
	text_puts(&line, "}\n");
	import_progress_break(&im->progress);
	if (!line.failed)
		fputs(line.data, im->rejects);
	text_free(&line);
}

static void
done(struct submission *sub)
{
	struct chunk *c = sub->owner;
	struct import *im = c->import;

	pthread_mutex_lock(&im->lock);
	c->finished = true;
	pthread_cond_signal(&im->wake);
	pthread_mutex_unlock(&im->lock);
}

static bool
fail(struct import *im, const char *message)
{
	snprintf(im->error, sizeof(im->error), "%s", message);
	return false;
}

/* Hands a chunk to the store, however long that takes. False when stopped. */
static bool
submit(struct import *im, struct chunk *c)
{
	c->finished = false;
	while (!stopped)
	{
		if (store_submit(im->store, &c->submission) == STORE_SUBMITTED)
			return true;
		pause_ms(PAUSE_MS);
	}
	return fail(im, "stopped");
}

/* Waits for a chunk's answer. */
static void
await(struct import *im, struct chunk *c)
{
	pthread_mutex_lock(&im->lock);
	while (!c->finished)
		pthread_cond_wait(&im->wake, &im->lock);
	pthread_mutex_unlock(&im->lock);
}

static void
empty_chunk(struct chunk *c)
{
	text_free(&c->body);
	arena_free(&c->arena);
	c->nrows = c->nread = 0;
}

/* Counts what became of a chunk's rows. */
static void
settle(struct import *im, struct chunk *c)
{
	const struct decode_result *d = &c->decoded;

	for (size_t i = 0; i < c->nbad; i++)
		reject(im, c->bad_numbers[i], "", c->bad_reasons[i]);
	for (size_t i = 0; i < d->nerrors_listed; i++)
		reject(im, c->numbers[d->errors[i].index], d->errors[i].field, d->errors[i].reason);
	for (size_t i = 0; i < d->nevents; i++)
	{
		const struct event *e = &d->events[i];

		if (e->outcome == EVENT_REJECTED)
			reject(im, c->numbers[e->index], "", e->reject_reason);
		else if (e->outcome == EVENT_DUPLICATE)
			im->progress.duplicates++;
		else
			im->progress.accepted++;
	}
	im->progress.position = c->position;
	im->progress.number = c->number;
}

/* The oldest chunk is finished with, one way or the other. */
static bool
finish_oldest(struct import *im)
{
	struct chunk *c = &im->chunks[im->first];

	if (c->decoded.nevents > 0)
	{
		await(im, c);
		while (c->submission.result == SUBMISSION_UNAVAILABLE)
		{
			pause_ms(PAUSE_MS);
			if (!submit(im, c))
				return false;
			await(im, c);
		}
	}
	settle(im, c);
	empty_chunk(c);
	im->first = (im->first + 1) % CHUNKS;
	im->nchunks--;
	import_progress_save(&im->progress, false);
	import_progress_show(&im->progress, import_source_share(im->source, im->progress.position), false);
	return true;
}

/* Reads the rows of a chunk. */
static enum import_next
read_chunk(struct import *im, struct chunk *c)
{
	enum import_next next = IMPORT_ROW;

	text_init(&c->body);
	c->nrows = c->nread = c->nbad = 0;
	while (c->nread < CHUNK_ROWS && c->body.len < CHUNK_BYTES)
	{
		struct import_row row;

		next = import_source_next(im->source, &c->body, &row, im->error);
		if (next != IMPORT_ROW)
			break;
		c->nread++;
		c->position = row.position;
		c->number = row.number;
		if (row.reason == NULL)
			c->numbers[c->nrows++] = row.number;
		else
		{
			c->bad_numbers[c->nbad] = row.number;
			c->bad_reasons[c->nbad++] = row.reason;
		}
	}
	if (!c->body.failed)
		return next;
	fail(im, "out of memory");
	return IMPORT_FAILED;
}

/* Decodes and submits it. */
static bool
start_chunk(struct import *im, struct chunk *c)
{
	struct ingest_options options;
	enum decode_status status;

	c->import = im;
	c->decoded = (struct decode_result) {0};
	if (c->nrows == 0)
		return true;
	arena_init(&c->arena, ARENA_BYTES);
	ingest_options_open(&options, im->settings, im->store);
	options.decode.max_events = options.decode.max_errors = CHUNK_ROWS;	/* every refused row has its reason */
	status = decode_events(&c->arena, c->body.data, c->body.len, &options.decode, &c->decoded);
	c->submission = (struct submission) {
		.events = c->decoded.events, .nevents = c->decoded.nevents, .nbytes = c->arena.total,
		.catalogue_version = options.catalogue_version, .done = done, .owner = c, .arena = &c->arena,
	};
	ingest_options_close(&options);
	if (status != DECODE_OK)
		return fail(im, c->decoded.message ? c->decoded.message : "out of memory");
	return c->decoded.nevents == 0 || submit(im, c);
}

static bool
import_rows(struct import *im)
{
	enum import_next next = IMPORT_ROW;

	while (next == IMPORT_ROW && !stopped)
	{
		struct chunk *c = &im->chunks[(im->first + im->nchunks) % CHUNKS];

		next = read_chunk(im, c);
		if (next == IMPORT_FAILED)
		{
			empty_chunk(c);
			return false;
		}
		if (c->nread > 0)
		{
			if (!start_chunk(im, c))
			{
				empty_chunk(c);
				return false;
			}
			im->nchunks++;
		}
		else
			empty_chunk(c);
		while (im->nchunks == CHUNKS || (next == IMPORT_END && im->nchunks > 0))
			if (!finish_oldest(im))
				return false;
	}
	return !stopped || fail(im, "stopped");
}

/* ------------------------------------------------------------------ command */

struct arguments
{
	const char *file;
	const char *rejects;
	const char *progress;
	int			argc;			/* what is left, for the settings */
	char	  **argv;
};

/* The value of "--name VALUE" or "--name=VALUE" at *i. */
static const char *
take_value(int argc, char **argv, int *i, const char *name)
{
	size_t		len = strlen(name);

	if (strncmp(argv[*i], name, len) != 0)
		return NULL;
	if (argv[*i][len] == '=')
		return argv[*i] + len + 1;
	return argv[*i][len] == '\0' && *i + 1 < argc ? argv[++*i] : NULL;
}

static bool
parse_arguments(int argc, char **argv, struct arguments *a)
{
	*a = (struct arguments) {.argv = calloc((size_t) argc + 1, sizeof(*argv))};
	if (a->argv == NULL)
		return false;
	a->argv[a->argc++] = argv[0];
	if (argc > 2 && strncmp(argv[2], "--", 2) != 0)
		a->file = argv[2];
	for (int i = a->file ? 3 : 2; i < argc; i++)
	{
		const char *value;

		if ((value = take_value(argc, argv, &i, "--rejects")) != NULL)
			a->rejects = value;
		else if ((value = take_value(argc, argv, &i, "--progress")) != NULL)
			a->progress = value;
		else
			a->argv[a->argc++] = argv[i];
	}
	return true;
}

/* Waits for the first connection: without its facts nothing can be decoded. */
static bool
await_database(struct import *im)
{
	struct store_facts facts;
	struct keyhash_cache cache;
	const uint8_t *hash;

	for (int waited = 0;; waited += PAUSE_MS)
	{
		store_get_facts(im->store, &facts);
		if (facts.known)
			break;
		if (stopped || waited >= REACH_MS)
			return fail(im, stopped ? "stopped" : "the database cannot be reached");
		pause_ms(PAUSE_MS);
	}
	/* tells one installation from another */
	keyhash_cache_init(&cache, facts.hash_secret, facts.hash_secret_len);
	hash = keyhash_cached(&cache, "import", 6);
	if (hash != NULL)
		keyhash_hex(hash, im->progress.target);
	keyhash_cache_free(&cache);
	if (hash == NULL)
		return fail(im, "out of memory");
	return true;
}

static bool
prepare(struct import *im, const struct arguments *a, char progress_path[4096])
{
	if (a->rejects != NULL && (im->rejects = fopen(a->rejects, "ae")) == NULL)
	{
		snprintf(im->error, sizeof(im->error), "could not open \"%.200s\": %s", a->rejects, strerror(errno));
		return false;
	}
	im->chunks = calloc(CHUNKS, sizeof(*im->chunks));
	if (im->chunks == NULL)
		return fail(im, "out of memory");
	im->source = import_source_open(a->file, im->error);
	if (im->source == NULL)
		return false;
	if (a->progress != NULL)
		im->progress.path = a->progress;
	else if ((size_t) snprintf(progress_path, 4096, "%s.ccproxy-import", a->file) < 4096)
		im->progress.path = progress_path;
	else
		return fail(im, "the path is too long");
	snprintf(im->progress.source, sizeof(im->progress.source), "%s", import_source_identity(im->source));
	im->store = store_open(im->settings);
	if (im->store == NULL)
		return fail(im, "could not start the store");
	if (!await_database(im))
		return false;
	if (import_progress_load(&im->progress) && import_source_seek(im->source, im->progress.position, im->progress.number))
		fprintf(stderr, "going on after row %lld\n", (long long) im->progress.number);
	else
		im->progress.accepted = im->progress.duplicates = im->progress.rejected = 0;
	return true;
}

static int
run(const struct settings *settings, const struct arguments *a)
{
	static struct import import;
	struct import *im = &import;
	char		progress_path[4096];
	bool		prepared;
	bool		complete = false;

	im->settings = settings;
	im->rejects = stderr;
	pthread_mutex_init(&im->lock, NULL);
	pthread_cond_init(&im->wake, NULL);
	prepared = prepare(im, a, progress_path);
	if (prepared)
	{
		complete = import_rows(im);
		/* what is under way still ends, here or below */
		import_progress_save(&im->progress, true);
		import_progress_show(&im->progress, import_source_share(im->source, im->progress.position), true);
		import_progress_break(&im->progress);
	}
	if (im->store != NULL)
		store_close(im->store, CLOSE_MS);
	store_free(im->store);
	for (; im->nchunks > 0; im->nchunks--)
	{
		empty_chunk(&im->chunks[im->first]);
		im->first = (im->first + 1) % CHUNKS;
	}
	import_source_close(im->source);
	free(im->chunks);
	if (im->rejects != stderr && im->rejects != NULL && fclose(im->rejects) != 0)
		fprintf(stderr, "ccproxy-gateway: the list of refused rows is not complete: %s\n", strerror(errno));
	if (prepared)
		printf("%lld accepted, %lld duplicates, %lld rejected\n", (long long) im->progress.accepted,
			   (long long) im->progress.duplicates, (long long) im->progress.rejected);
	if (!complete)
	{
		fprintf(stderr, "ccproxy-gateway: import of \"%s\": %s%s\n", a->file, im->error, prepared ? "; run it again to go on" : "");
		return EXIT_STOPPED;
	}
	return im->progress.rejected > 0 ? EXIT_REJECTED : EXIT_SUCCESS;
}

int
import_main(int argc, char **argv)
{
	struct arguments a;
	struct settings_input input;
	struct settings settings;
	struct sigaction action = {.sa_handler = stop};
	enum settings_action what;
	enum log_level level = LOG_LEVEL_WARNING;
	char		error[SETTINGS_ERROR_SIZE] = "out of memory";
	int			rc = EXIT_ARGUMENTS;

	if (!parse_arguments(argc, argv, &a))
	{
		fprintf(stderr, "ccproxy-gateway: %s\n", error);
		return EXIT_STOPPED;
	}
	input = (struct settings_input) {a.argc, a.argv, environ};
	if (!settings_load(&settings, &input, &what, error))
		fprintf(stderr, "ccproxy-gateway: %s\n", error);
	else if (what == ACTION_HELP)
	{
		settings_print_help(stdout, "ccproxy-gateway");
		rc = EXIT_SUCCESS;
	}
	else if (a.file == NULL)
		fprintf(stderr, "ccproxy-gateway: usage: ccproxy-gateway import FILE [--rejects FILE] [--progress FILE] [--SETTING VALUE]...\n");
	else
	{
		/* what happens row by row is shown; the log is for trouble */
		if (settings.origin[SETTING_log_level] != ORIGIN_DEFAULT)
			(void) log_level_parse(settings.log_level, &level);
		log_set_level(level);
		settings.spool_path = "";
		signal(SIGPIPE, SIG_IGN);
		sigaction(SIGINT, &action, NULL);
		sigaction(SIGTERM, &action, NULL);
		rc = run(&settings, &a);
	}
	settings_free(&settings);
	free(a.argv);
	return rc;
}
