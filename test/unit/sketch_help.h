/*
 * What the tests of the sketch share: sketches in plain memory, and failing loudly
 * where the test itself is at fault.
 */
#ifndef TEST_UNIT_SKETCH_HELP_H
#define TEST_UNIT_SKETCH_HELP_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "extension/sketch_core.h"

#define MUST(condition) \
	do { \
		if (!(condition)) { \
			fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition); \
			abort(); \
		} \
	} while (0)

static inline void *
help_allocate(size_t bytes)
{
	return calloc(1, bytes);
}

static const SketchMemory help_memory = {help_allocate, free};

static inline SketchState *
help_new(void)
{
	SketchState *state = calloc(1, SKETCH_STATE_MIN_BYTES);

	MUST(state != NULL);
	sketch_state_init(state, SKETCH_STATE_MIN_BYTES);
	return state;
}

static inline void
help_add(SketchState **state, double value)
{
	SketchStatus status;

	while ((status = sketch_add(*state, value)) == SKETCH_NO_ROOM)
	{
		SketchState *larger = sketch_enlarge(*state, sketch_key(value), 1, &help_memory);

		MUST(larger != NULL);
		free(*state);
		*state = larger;
	}
	MUST(status == SKETCH_OK);
}

static inline SketchState *
help_sketch(const double *values, size_t n)
{
	SketchState *state = help_new();

	for (size_t i = 0; i < n; i++)
		help_add(&state, values[i]);
	return state;
}

/* A packed sketch; free bytes. */
typedef struct Packed
{
	uint8_t    *bytes;
	size_t		length;
} Packed;

static inline Packed
help_pack(const SketchView *view)
{
	size_t		bound = sketch_packed_bound(view);
	Packed		packed;
	uint8_t    *scratch = malloc(bound);

	MUST(scratch != NULL);
	packed.length = sketch_pack(view, scratch);
	MUST(packed.length > 0 && packed.length <= bound);
	/* a block of exactly that size, so that a sanitizer sees a byte too many */
	packed.bytes = malloc(packed.length);
	MUST(packed.bytes != NULL);
	memcpy(packed.bytes, scratch, packed.length);
	free(scratch);
	return packed;
}

static inline Packed
help_pack_state(const SketchState *state)
{
	SketchScratch scratch;
	SketchView	view;

	sketch_view_state(&view, state, &scratch);
	return help_pack(&view);
}

typedef struct Text
{
	char	   *text;
	size_t		length;
	size_t		capacity;
} Text;

static inline void
help_put(void *to, const char *piece, size_t length)
{
	Text	   *text = to;

	if (text->length + length + 1 > text->capacity)
	{
		text->capacity = 2 * (text->length + length) + 256;
		text->text = realloc(text->text, text->capacity);
		MUST(text->text != NULL);
	}
	memcpy(text->text + text->length, piece, length);
	text->length += length;
	text->text[text->length] = '\0';
}

static inline Text
help_print(const SketchView *view)
{
	Text		text = {NULL, 0, 0};

	MUST(sketch_print(view, help_put, &text, &help_memory) == SKETCH_OK);
	return text;
}

/* xorshift: the same numbers everywhere */
static uint64_t help_random_state = 88172645463325252;

static inline uint64_t
help_random(void)
{
	help_random_state ^= help_random_state << 13;
	help_random_state ^= help_random_state >> 7;
	help_random_state ^= help_random_state << 17;
	return help_random_state;
}

/* in (0, 1) */
static inline double
help_uniform(void)
{
	return ((double) (help_random() >> 11) + 0.5) / 9007199254740992.0;
}

/* any finite double */
static inline double
help_any_double(void)
{
	uint64_t	bits;
	double		value;

	do
		bits = help_random();
	while (((bits >> 52) & 0x7FF) == 0x7FF);
	memcpy(&value, &bits, sizeof(value));
	return value;
}

/* Merges src into *to, as a state or packed. */
static inline void
merge_into(SketchState **to, const SketchState *src, bool packed)
{
	SketchScratch scratch;
	SketchView	view;
	Packed		bytes = {NULL, 0};

	if (packed)
	{
		bytes = help_pack_state(src);
		MUST(sketch_view_packed(&view, bytes.bytes, bytes.length));
	}
	else
		sketch_view_state(&view, src, &scratch);
	MUST(sketch_merge_growing(to, &view, true, &help_memory) == SKETCH_OK);
	free(bytes.bytes);
}

/* Which rule is broken, if any. */
static inline const char *
check_rules(const SketchView *view)
{
	SketchError error = {NULL, 0};

	return sketch_view_check(view, &error) == SKETCH_OK ? NULL : error.reason;
}

#endif
