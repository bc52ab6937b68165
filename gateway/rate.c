/*
 * Rate of requests by client; see rate.h. A bucket is kept as the time it will
 * be full again: it is empty when that is a second away.
 */
#include "gateway/rate.h"

#include <netinet/in.h>
#include <string.h>

#define US_PER_SECOND INT64_C(1000000)

void
rate_init(struct rate *r)
{
	memset(r, 0, sizeof(*r));
	pthread_mutex_init(&r->lock, NULL);
}

void
rate_destroy(struct rate *r)
{
	pthread_mutex_destroy(&r->lock);
}

/* Never 0. */
static uint64_t
address_of(const struct sockaddr *client)
{
	uint64_t	prefix = 0;

	if (client->sa_family == AF_INET6)
	{
		const struct in6_addr *a = &((const struct sockaddr_in6 *) client)->sin6_addr;

		if (!IN6_IS_ADDR_V4MAPPED(a))
		{
			memcpy(&prefix, a, sizeof(prefix));
			return prefix | 1;
		}
		memcpy(&prefix, &a->s6_addr[12], 4);
	}
	else if (client->sa_family == AF_INET)
		memcpy(&prefix, &((const struct sockaddr_in *) client)->sin_addr, 4);
	return prefix << 8 | 2;
}

bool
rate_admit(struct rate *r, const struct sockaddr *client, int64_t per_second, int64_t now_us, int *retry_after_s)
{
	uint64_t	address = address_of(client);
	struct rate_client *set = r->clients[(address * UINT64_C(0x9e3779b97f4a7c15)) >> 54];
	struct rate_client *mine = &set[0];
	int64_t		full_us;
	bool		admitted;

	_Static_assert(RATE_SETS == 1024, "ten bits choose the set");
	pthread_mutex_lock(&r->lock);
	for (int i = 0; i < RATE_WAYS; i++)
	{
		if (set[i].address == address)
		{
			mine = &set[i];
			break;
		}
		if (set[i].full_us < mine->full_us)
			mine = &set[i];
	}
	full_us = mine->address == address && mine->full_us > now_us ? mine->full_us : now_us;
	full_us += US_PER_SECOND / per_second;
	admitted = full_us <= now_us + US_PER_SECOND;
	if (admitted)
		*mine = (struct rate_client) {address, full_us};
	pthread_mutex_unlock(&r->lock);
	*retry_after_s = 1;			/* the most an empty bucket takes for one more */
	return admitted;
}
