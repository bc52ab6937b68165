/*
 * The members of a checked JSON object with their texts decoded.
 *
 * Most texts have no escapes and stand in the body as they are; those are used
 * in place. An object with escapes in a key or a string value goes through
 * cJSON, whose members come in the same order as the scan's.
 */
#ifndef GATEWAY_JSON_OBJECT_H
#define GATEWAY_JSON_OBJECT_H

#include <stdbool.h>

#include "gateway/arena.h"
#include "gateway/json_check.h"

/*
 * Replaces escaped keys and values (all of them when always is true) of
 * scan->members by decoded copies in the arena. The scan must be one of an
 * object without error or fault whose members all fit; body is the writable
 * text it was made from, and *scan->end must be writable: it is a NUL for the
 * time of the call. False when memory runs out.
 */
bool		json_object_decode_texts(struct arena *arena, char *body, struct json_scan *scan, bool always)
	__attribute__((warn_unused_result));

#endif
