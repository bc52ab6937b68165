/*
 * Decoding the texts of an object's members; see json_object.h. cJSON 1.7.15
 * reads past a length it is given, so it gets terminated text that has been
 * checked before.
 */
#include "gateway/json_object.h"

#include <cjson/cJSON.h>
#include <string.h>

static bool
needs_decoding(const struct json_scan *scan)
{
	for (size_t i = 0; i < scan->nmembers; i++)
		if (scan->members[i].key_escaped || scan->members[i].value_escaped)
			return true;
	return false;
}

/* A copy of a terminated text. */
static bool
copy_text(struct arena *arena, const char *text, const char **out, uint32_t *out_len)
{
	size_t		len = strlen(text);

	*out = arena_strndup(arena, text, len);
	*out_len = (uint32_t) len;
	return *out != NULL;
}

bool
json_object_decode_texts(struct arena *arena, char *body, struct json_scan *scan, bool always)
{
	char	   *end = body + (scan->end - body);
	char		saved;
	cJSON	   *object;
	cJSON	   *child;
	bool		ok = false;

	if (!always && !needs_decoding(scan))
		return true;

	saved = *end;
	*end = '\0';
	object = cJSON_ParseWithOpts(scan->start, NULL, true);
	*end = saved;
	if (object == NULL)
		return false;			/* the text is valid, so it is memory */

	child = object->child;
	for (size_t i = 0; i < scan->nmembers; i++, child = child->next)
	{
		struct json_member *m = &scan->members[i];

		if (child == NULL || child->string == NULL)
			goto done;
		if ((always || m->key_escaped) &&
			!copy_text(arena, child->string, &m->key, &m->key_len))
			goto done;
		if (m->type == JSON_STRING && (always || m->value_escaped))
		{
			if (!cJSON_IsString(child) ||
				!copy_text(arena, child->valuestring, &m->value, &m->value_len))
				goto done;
		}
		m->key_escaped = m->value_escaped = false;
	}
	ok = true;

done:
	cJSON_Delete(object);
	return ok;
}
