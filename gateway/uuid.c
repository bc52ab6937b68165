/*
 * Random UUIDs; see uuid.h.
 */
#include "gateway/uuid.h"

#include <sys/random.h>

bool
uuid_random(char out[UUID_TEXT_CHARS + 1])
{
	static const char hex[] = "0123456789abcdef";
	unsigned char random[16];
	char	   *p = out;

	if (getrandom(random, sizeof(random), 0) != (ssize_t) sizeof(random))
		return false;
	random[6] = (random[6] & 0x0f) | 0x40;	/* version 4 */
	random[8] = (random[8] & 0x3f) | 0x80;	/* RFC 4122 */
	for (int i = 0; i < 16; i++)
	{
		if (i == 4 || i == 6 || i == 8 || i == 10)
			*p++ = '-';
		*p++ = hex[random[i] >> 4];
		*p++ = hex[random[i] & 15];
	}
	*p = '\0';
	return true;
}
