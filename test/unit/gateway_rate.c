/*
 * The rate of requests by client: one second's worth at once, then so many a
 * second; clients do not share; a full table forgets whoever was quiet.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>

#include "gateway/rate.h"
#include "test/unit/tap.h"

#define SECOND INT64_C(1000000)

static struct rate rate;

static int
admitted(const char *address, int n, int64_t per_second, int64_t now_us)
{
	struct sockaddr_in6 v6 = {.sin6_family = AF_INET6};
	struct sockaddr_in v4 = {.sin_family = AF_INET};
	const struct sockaddr *client = (const struct sockaddr *) &v4;
	int			count = 0;
	int			retry_after_s;

	if (inet_pton(AF_INET, address, &v4.sin_addr) != 1)
	{
		inet_pton(AF_INET6, address, &v6.sin6_addr);
		client = (const struct sockaddr *) &v6;
	}
	while (n-- > 0)
		count += rate_admit(&rate, client, per_second, now_us, &retry_after_s);
	return count;
}

int
main(void)
{
	int64_t		now = 1000 * SECOND;
	char		address[32];

	rate_init(&rate);
	is_int(admitted("10.0.0.1", 30, 10, now), 10, "ten at once");
	is_int(admitted("10.0.0.1", 30, 10, now + SECOND / 2), 5, "five half a second later");
	is_int(admitted("10.0.0.2", 30, 10, now + SECOND / 2), 10, "another client has its own");
	is_int(admitted("10.0.0.1", 30, 10, now + 100 * SECOND), 10, "never more than a second's worth");
	is_int(admitted("::ffff:10.0.0.1", 30, 10, now + 100 * SECOND), 0, "an IPv4 address in IPv6 is the same client");
	is_int(admitted("2001:db8::1", 30, 10, now + 100 * SECOND), 10, "an IPv6 client");
	is_int(admitted("2001:db8::2", 30, 10, now + 100 * SECOND), 0, "is its /64");
	is_int(admitted("2001:db8:0:2::2", 30, 10, now + 100 * SECOND), 10, "the next /64 is another");
	is_int(admitted("10.0.0.3", 3, 1, now), 1, "one a second");
	for (int i = 0; i < 100000; i++)
	{
		snprintf(address, sizeof(address), "11.%d.%d.%d", i >> 16, i >> 8 & 255, i & 255);
		if (admitted(address, 1, 10, now + 200 * SECOND + i) != 1)
			break;
		if (i == 99999)
			ok(1, "a hundred thousand clients are served");
	}
	rate_destroy(&rate);
	return done_testing();
}
