/*
 * Fuzz: any request target. What is accepted is sane: a JSON object of filters,
 * a range the right way round.
 */
#include <stdlib.h>
#include <string.h>

#include "gateway/query.h"
#include "gateway/text.h"
#include <cJSON.h>

int			LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct arena arena;
	struct target target;
	struct stats_query stats;
	struct query_error error = {"", "", ""};
	char	   *raw = malloc(size + 1);

	if (raw == NULL)
		return 0;
	memcpy(raw, data, size);
	raw[size] = '\0';
	arena_init(&arena, 0);
	if (target_parse(&arena, raw, &target, &error) == QUERY_OK)
	{
		if (target.nparameters > QUERY_MAX_PARAMETERS)
			abort();
		for (const char *p = target.path; *p;)
		{
			size_t		n = utf8_length((const unsigned char *) p, strlen(p));

			if (n == 0)
				abort();
			p += n;
		}
		if (stats_query_parse(&arena, &target, INT64_C(1738324800000000), &stats, &error) == QUERY_OK)
		{
			cJSON	   *filters = cJSON_Parse(stats.filters);

			if (!cJSON_IsObject(filters) || stats.from_us >= stats.to_us || stats.time_zone == NULL)
				abort();
			cJSON_Delete(filters);
		}
		else if (error.message[0] == '\0')
			abort();
	}
	arena_free(&arena);
	free(raw);
	return 0;
}
