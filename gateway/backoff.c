/*
 * Exponential back-off with full jitter; see backoff.h.
 */
#include "gateway/backoff.h"

#include <sys/random.h>

int64_t
backoff_us(int failures, int64_t first_us, int64_t max_us)
{
	int64_t		cap = first_us;
	uint32_t	random = 0;

	for (int i = 1; i < failures && cap < max_us; i++)
		cap *= 2;
	if (cap > max_us)
		cap = max_us;
	if (getrandom(&random, sizeof(random), GRND_NONBLOCK) != (ssize_t) sizeof(random))
		return cap;
	return cap * (int64_t) (random >> 8) >> 24;
}
