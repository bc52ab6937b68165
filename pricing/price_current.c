/*
 * The current catalogue; see price_current.h. One mutex guards the list of
 * catalogues that are in use; it is held for a few instructions.
 */
#include <pthread.h>
#include <stdlib.h>

#include "pricing/price_current.h"
#include "pricing/price_index.h"

struct loaded
{
	struct loaded *next;
	struct price_loader *loader;
	const struct price_catalogue *catalogue;
	int64_t		version;
	long		users;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct loaded *all;		/* the current one first */
static bool any_current;		/* else the shipped one is */

const struct price_catalogue *
price_current_acquire(void)
{
	const struct price_catalogue *catalogue = NULL;

	pthread_mutex_lock(&lock);
	if (any_current)
	{
		all->users++;
		catalogue = all->catalogue;
	}
	pthread_mutex_unlock(&lock);
	return catalogue != NULL ? catalogue : price_shipped_catalogue();
}

/* Unlink the catalogues that nobody uses and that are not current; lock held. */
static struct loaded *
take_unused(void)
{
	struct loaded *unused = NULL;

	for (struct loaded **at = any_current ? &all->next : &all; *at != NULL;)
	{
		struct loaded *l = *at;

		if (l->users > 0)
		{
			at = &l->next;
			continue;
		}
		*at = l->next;
		l->next = unused;
		unused = l;
	}
	return unused;
}

static void
free_unused(struct loaded *unused)
{
	while (unused != NULL)
	{
		struct loaded *next = unused->next;

		price_loader_free(unused->loader);
		free(unused);
		unused = next;
	}
}

void
price_current_release(const struct price_catalogue *catalogue)
{
	struct loaded *unused = NULL;

	pthread_mutex_lock(&lock);
	for (struct loaded *l = all; l != NULL; l = l->next)
		if (l->catalogue == catalogue)
		{
			if (--l->users == 0 && l != all)
				unused = take_unused();
			break;
		}
	pthread_mutex_unlock(&lock);
	free_unused(unused);
}

bool
price_current_replace(struct price_loader *loader, int64_t version)
{
	const struct price_catalogue *catalogue = price_loader_finish(loader);
	struct loaded *l = catalogue == NULL || catalogue->n_rows == 0 ? NULL : malloc(sizeof(*l));
	struct loaded *unused;

	if (l == NULL)
	{
		price_loader_free(loader);
		return false;
	}
	*l = (struct loaded) {.loader = loader,.catalogue = catalogue,.version = version};
	pthread_mutex_lock(&lock);
	l->next = all;
	all = l;
	any_current = true;
	unused = take_unused();
	pthread_mutex_unlock(&lock);
	free_unused(unused);
	return true;
}

int64_t
price_current_version(void)
{
	int64_t		version;

	pthread_mutex_lock(&lock);
	version = any_current ? all->version : 0;
	pthread_mutex_unlock(&lock);
	return version;
}
