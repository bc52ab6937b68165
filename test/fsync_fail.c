/*
 * Makes fsync() and fdatasync() fail with EIO, as a disk does that goes bad:
 * preloaded into the gateway by test/t/027_fsync_crash.pl.
 *
 * Of files whose path contains $FSYNC_FAIL_PATH, the calls fail that the file
 * $FSYNC_FAIL_ORDER tells: "SKIP COUNT", so many are let pass, then so many
 * fail. What is left of the order is written back; done, it is removed.
 */
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static int
is_watched(int fd)
{
	const char *wanted = getenv("FSYNC_FAIL_PATH");
	char		link[64];
	char		path[4096];
	ssize_t		n;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	n = readlink(link, path, sizeof(path) - 1);
	if (wanted == NULL || n < 0)
		return 0;
	path[n] = '\0';
	return strstr(path, wanted) != NULL;
}

/* Follows the order; true when this call is one that fails. */
static int
must_fail(void)
{
	const char *order = getenv("FSYNC_FAIL_ORDER");
	FILE	   *f = order ? fopen(order, "r+") : NULL;
	int			skip = 0;
	int			count = 0;
	int			fails = 0;

	if (f == NULL)
		return 0;
	if (fscanf(f, "%d %d", &skip, &count) == 2 && count > 0)
	{
		fails = skip == 0;
		if (fails)
			count--;
		else
			skip--;
		rewind(f);
		fprintf(f, "%d %d          \n", skip, count);
	}
	fclose(f);
	if (fails && count == 0)
		unlink(order);
	return fails;
}

static int
sync_or_fail(const char *name, int fd)
{
	int			(*real) (int) = (int (*) (int)) dlsym(RTLD_NEXT, name);
	int			fails = 0;

	if (is_watched(fd))
	{
		pthread_mutex_lock(&lock);
		fails = must_fail();
		pthread_mutex_unlock(&lock);
	}
	if (!fails)
		return real(fd);
	errno = EIO;
	return -1;
}

int
fsync(int fd)
{
	return sync_or_fail("fsync", fd);
}

int
fdatasync(int fd)
{
	return sync_or_fail("fdatasync", fd);
}
