/*
 * Random (version 4) UUIDs as text: ids of batches and of events without one.
 * Any thread.
 */
#ifndef GATEWAY_UUID_H
#define GATEWAY_UUID_H

#include <stdbool.h>

#define UUID_TEXT_CHARS 36

/* Writes UUID_TEXT_CHARS characters and a NUL. False when the kernel has no
 * random bytes for us. */
bool		uuid_random(char out[UUID_TEXT_CHARS + 1]) __attribute__((warn_unused_result));

#endif
