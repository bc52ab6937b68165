/*
 * Fuzz: a sketch from outside, as text and as bytes, merging, and adding. What is
 * read obeys every rule and comes back the same from either form; merging is the
 * same in both orders and from both forms; adding keeps count, min, max and the
 * bounds of quantiles.
 *
 * The first byte chooses: text, bytes, two sketches to be merged (the second byte
 * is the length of the first), or doubles to be added.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "test/unit/sketch_help.h"

int			LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
check_view(const SketchView *view)
{
	SketchError error;
	double		before = -INFINITY;

	MUST(sketch_view_check(view, &error) == SKETCH_OK);
	if (view->count == 0)
		return;
	for (int i = 0; i <= 4; i++)
	{
		double		value;
		double		fraction;

		MUST(sketch_quantile(view, i / 4.0, &value) == SKETCH_OK);
		MUST(value >= before && value >= view->min && value <= view->max);
		before = value;
		MUST(sketch_cdf(view, value, &fraction) == SKETCH_OK);
		MUST(fraction >= 0 && fraction <= 1);
	}
}

/* Both forms of what was accepted. */
static void
check_forms(const SketchView *view)
{
	Packed		packed = help_pack(view);
	Text		text = help_print(view);
	SketchView	unpacked;
	SketchState *state = NULL;
	SketchError error;
	SketchScratch scratch;
	SketchView	parsed;

	check_view(view);
	MUST(sketch_view_packed(&unpacked, packed.bytes, packed.length));
	check_view(&unpacked);
	MUST(sketch_equal(view, &unpacked) && sketch_hash(view) == sketch_hash(&unpacked));
	MUST(sketch_parse(text.text, text.length, &state, &help_memory, &error) == SKETCH_OK);
	MUST(sketch_state_check(state, sketch_state_bytes(state)));
	sketch_view_state(&parsed, state, &scratch);
	check_view(&parsed);
	MUST(sketch_equal(view, &parsed));
	free(state);
	free(text.text);
	free(packed.bytes);
}

static void
fuzz_text(const uint8_t *data, size_t size)
{
	SketchState *state = NULL;
	SketchError error;
	SketchScratch scratch;
	SketchView	view;
	SketchStatus status = sketch_parse((const char *) data, size, &state, &help_memory, &error);

	if (status == SKETCH_INVALID)
	{
		MUST(error.reason != NULL && error.position <= size);
		return;
	}
	MUST(status == SKETCH_OK && sketch_state_check(state, sketch_state_bytes(state)));
	sketch_view_state(&view, state, &scratch);
	check_forms(&view);
	free(state);
}

static bool
accepted(SketchView *view, const uint8_t *data, size_t size)
{
	SketchError error;

	return sketch_view_packed(view, data, size) && sketch_view_check(view, &error) == SKETCH_OK;
}

static void
fuzz_bytes(const uint8_t *data, size_t size)
{
	SketchView	view;

	if (accepted(&view, data, size))
		check_forms(&view);
}

static SketchState *
merged(const SketchView *a, const SketchView *b)
{
	SketchState *state = help_new();

	MUST(sketch_merge_growing(&state, a, true, &help_memory) == SKETCH_OK);
	MUST(sketch_merge_growing(&state, b, true, &help_memory) == SKETCH_OK);
	return state;
}

/* Also merges what was not accepted: a damaged row must fail, not more. */
static void
fuzz_merge(const uint8_t *data, size_t size)
{
	size_t		first = size > 0 ? data[0] : 0;
	SketchView	a;
	SketchView	b;
	SketchState *ab;
	SketchState *ba;
	SketchScratch scratch_ab;
	SketchScratch scratch_ba;
	SketchView	view_ab;
	SketchView	view_ba;

	if (size == 0 || first > size - 1)
		return;
	if (!sketch_view_packed(&a, data + 1, first) || !sketch_view_packed(&b, data + 1 + first, size - 1 - first))
		return;
	if (!accepted(&a, data + 1, first) || !accepted(&b, data + 1 + first, size - 1 - first) ||
		a.count > SKETCH_COUNT_MAX - b.count)
	{
		SketchState *state = help_new();

		if (sketch_merge_growing(&state, &a, true, &help_memory) == SKETCH_OK &&
			sketch_merge_growing(&state, &b, true, &help_memory) == SKETCH_OK)
			MUST(sketch_state_check(state, sketch_state_bytes(state)));
		free(state);
		return;
	}
	ab = merged(&a, &b);
	ba = merged(&b, &a);
	MUST(sketch_state_check(ab, sketch_state_bytes(ab)));
	sketch_view_state(&view_ab, ab, &scratch_ab);
	sketch_view_state(&view_ba, ba, &scratch_ba);
	MUST(view_ab.count == a.count + b.count);
	MUST(sketch_equal(&view_ab, &view_ba));
	check_forms(&view_ab);
	free(ab);
	free(ba);
}

/* As far from the value as a bucket is wide, and a spacing of subnormals. */
static bool
near(double got, double value)
{
	return fabs(got - value) <= 0.0055 * fabs(value) + 5e-324;
}

static void
fuzz_add(const uint8_t *data, size_t size)
{
	SketchState *state = help_new();
	SketchState *halves[2] = {help_new(), help_new()};
	size_t		added = 0;
	double		min = INFINITY;
	double		max = -INFINITY;
	double		value = 0;
	double		got;
	SketchScratch scratch;
	SketchScratch other_scratch;
	SketchView	view;
	SketchView	other;

	for (size_t i = 0; i + 8 <= size; i += 8)
	{
		memcpy(&value, data + i, 8);
		if (!isfinite(value))
		{
			MUST(sketch_add(state, value) == SKETCH_INVALID);
			continue;
		}
		/* some values many times: lists fill, counters pass every token */
		for (int n = 1 << (data[i] % 6); n > 0; n--)
		{
			help_add(&state, value);
			help_add(&halves[added++ % 2], value);
		}
		min = fmin(min, value);
		max = fmax(max, value);
	}
	MUST(sketch_state_check(state, sketch_state_bytes(state)));
	sketch_view_state(&view, state, &scratch);
	MUST(view.count == added);
	if (added > 0)
	{
		MUST(view.min == min && view.max == max);
		MUST(sketch_quantile(&view, 0.5, &got) == SKETCH_OK);
		if (view.min == view.max)
			MUST(near(got, min));
	}
	check_forms(&view);
	sketch_view_state(&other, halves[1], &other_scratch);
	MUST(sketch_merge_growing(&halves[0], &other, true, &help_memory) == SKETCH_OK);
	sketch_view_state(&other, halves[0], &other_scratch);
	MUST(sketch_equal(&view, &other));
	free(state);
	free(halves[0]);
	free(halves[1]);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size == 0)
		return 0;
	switch (data[0] % 4)
	{
		case 0:
			fuzz_text(data + 1, size - 1);
			break;
		case 1:
			fuzz_bytes(data + 1, size - 1);
			break;
		case 2:
			fuzz_merge(data + 1, size - 1);
			break;
		default:
			fuzz_add(data + 1, size - 1);
			break;
	}
	return 0;
}
