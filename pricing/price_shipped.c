/*
 * The catalogue compiled in: the rows of pricing/catalogue/ and their index.
 *
 * price_shipped_catalogue() may be called by any thread; the first call builds
 * the index in static memory, the others wait for it.
 */
#include <pthread.h>

#include "pricing/price_index.h"
#include "pricing/price_shipped_data.h"

#define N_ROWS		(sizeof(shipped_rows) / sizeof(shipped_rows[0]))
#define N_ALIASES	(sizeof(shipped_aliases) / sizeof(shipped_aliases[0]))

static pthread_once_t once = PTHREAD_ONCE_INIT;
static const struct price_catalogue *shipped;

static void
build(void)
{
	/* once per process, for its life: 600 bytes a row leave room for index and names */
	static char memory[65536 + 600 * (N_ROWS + N_ALIASES)] __attribute__((aligned(16)));
	static const struct price_row *rows[N_ROWS];

	_Static_assert(N_ROWS > 0, "the catalogue is empty");
	for (size_t i = 0; i < N_ROWS; i++)
		rows[i] = &shipped_rows[i];
	if (price_catalogue_bytes(N_ROWS, N_ALIASES) > sizeof(memory))
		__builtin_trap();		/* the unit test builds it, so this cannot ship */
	shipped = price_catalogue_build(memory, rows, N_ROWS, shipped_aliases, N_ALIASES);
}

const struct price_catalogue *
price_shipped_catalogue(void)
{
	pthread_once(&once, build);
	return shipped;
}

const struct price_row *
price_shipped_rows(size_t *n_rows)
{
	*n_rows = N_ROWS;
	return shipped_rows;
}

const struct price_alias *
price_shipped_aliases(size_t *n_aliases)
{
	*n_aliases = N_ALIASES;
	return shipped_aliases;
}
