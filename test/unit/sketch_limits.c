/*
 * A sketch at its limits: the greatest count, values that are refused, sums that
 * overflow or need compensation, octaves out of order, and memory.
 */
#include "test/unit/sketch_distributions.h"
#include "test/unit/tap.h"

#define RELATIVE_ERROR 0.0055

static void
test_count_limit(void)
{
	char		text[200];
	SketchState *state = NULL;
	SketchState *other = help_new();
	SketchError error;
	SketchScratch scratch;
	SketchView	view;

	snprintf(text, sizeof(text), "{\"scale\":6,\"count\":%" PRId64 ",\"sum\":%.17g,\"min\":1,\"max\":1,\"positive\":[[-1,%" PRId64 "]]}",
			 INT64_MAX, (double) INT64_MAX, INT64_MAX);
	is_int(sketch_parse(text, strlen(text), &state, &help_memory, &error), SKETCH_OK, "a sketch of 2^63 - 1 values");
	is_int(sketch_add(state, 1), SKETCH_TOO_MANY, "takes no other value");
	is_int(sketch_add(state, 0), SKETCH_TOO_MANY, "nor a zero");
	help_add(&other, 5);
	sketch_view_state(&view, other, &scratch);
	is_int(sketch_merge_growing(&state, &view, true, &help_memory), SKETCH_TOO_MANY, "nor another sketch");
	is_int((int64_t) state->count, INT64_MAX, "and stays as it was");
	free(state);
	free(other);
}

static void
test_refused(void)
{
	SketchState *state = help_new();
	const double bad[] = {NAN, -NAN, INFINITY, -INFINITY};
	bool		refused = true;

	for (size_t i = 0; i < 4; i++)
		refused &= sketch_add(state, bad[i]) == SKETCH_INVALID;
	ok(refused && state->count == 0, "NaN and infinities are refused");
	free(state);
}

static void
test_overflowing_sum(void)
{
	const double values[] = {DBL_MAX, DBL_MAX, 1};
	SketchState *state = help_sketch(values, 3);
	SketchScratch scratch;
	SketchView	view;
	double		got;

	sketch_view_state(&view, state, &scratch);
	ok(isinf(view.sum) && view.sum > 0, "a sum beyond double is Infinity");
	ok(check_rules(&view) == NULL, "which is no error");
	ok(sketch_quantile(&view, 0.5, &got) == SKETCH_OK && fabs(got / DBL_MAX - 1) < RELATIVE_ERROR, "quantiles are right");
	help_add(&state, -DBL_MAX);
	sketch_view_state(&view, state, &scratch);
	ok(check_rules(&view) == NULL, "nor is what follows from there");
	free(state);
}

static void
test_compensated_sum(void)
{
	SketchState *state = help_new();
	SketchState *half = help_new();
	SketchScratch scratch;
	SketchView	view;

	help_add(&state, 1e16);
	for (int i = 0; i < 1000; i++)
		help_add(i % 2 ? &state : &half, 1);
	merge_into(&state, half, false);
	sketch_view_state(&view, state, &scratch);
	ok(view.sum == 1e16 + 1000, "a thousand ones are not lost beside 1e16");
	free(state);
	free(half);
}

static void
test_negative_zero(void)
{
	const double values[] = {-0.0, -0.0};
	const double below[] = {-1, -0.0};
	SketchState *state = help_sketch(values, 2);
	SketchScratch scratch;
	SketchView	view;

	sketch_view_state(&view, state, &scratch);
	ok(!signbit(view.min) && !signbit(view.max) && check_rules(&view) == NULL, "negative zeros are zeros");
	free(state);
	state = help_sketch(below, 2);
	sketch_view_state(&view, state, &scratch);
	ok(!signbit(view.max) && check_rules(&view) == NULL, "also as the greatest value");
	free(state);
}

/*
 * Many pages are not kept in order: octaves 300, 301 and 302 get pages p, p + 3
 * and p + 2, which must not pass for three in a row.
 */
static void
test_pages_out_of_order(void)
{
	static const int later[] = {300, 500, 302, 301};
	SketchState *state = help_new();
	SketchState *direct = help_new();
	SketchState *three = help_new();
	SketchScratch scratch;
	SketchScratch other_scratch;
	SketchView	view;
	SketchView	other;

	for (int i = 0; i < 1200; i++)
	{
		double		value = ldexp(1.5, i == 0 ? -600 : i == 1 ? 600 : 2 * (i % 64));

		help_add(&state, value);
		help_add(&direct, value);
	}
	for (size_t i = 0; i < sizeof(later) / sizeof(later[0]); i++)
	{
		help_add(&state, ldexp(1.5, later[i]));
		help_add(&direct, ldexp(1.5, later[i]));
	}
	for (int i = 0; i < 300; i++)
	{
		double		value = ldexp(1 + help_uniform(), 300 + i % 3);

		help_add(&three, value);
		help_add(&direct, value);
	}
	merge_into(&state, three, true);
	sketch_view_state(&view, state, &scratch);
	sketch_view_state(&other, direct, &other_scratch);
	ok(sketch_equal(&view, &other), "pages out of order are not merged as if in order");
	free(state);
	free(direct);
	free(three);
}

/* A sketch across zero, all its tokens short, into pages that leave no gap there. */
static void
test_merge_across_zero(void)
{
	SketchState *state = help_new();
	SketchState *nine = help_new();
	SketchState *direct = help_new();
	SketchScratch scratch;
	SketchScratch other_scratch;
	SketchView	view;
	SketchView	other;

	for (int i = 0; i < 2009; i++)
	{
		double		value = (i % 9 - 4) * DBL_TRUE_MIN;

		help_add(&direct, value);
		help_add(i < 2000 ? &state : &nine, value);
	}
	MUST(state->form == SKETCH_FORM_PAGES);
	merge_into(&state, nine, true);
	sketch_view_state(&view, state, &scratch);
	sketch_view_state(&other, direct, &other_scratch);
	ok(view.zeros == other.zeros && sketch_equal(&view, &other), "zeros are merged as zeros");
	free(state);
	free(nine);
	free(direct);
}

static size_t
bytes_of(double (*draw) (size_t i), size_t n)
{
	SketchState *state = help_new();
	size_t		bytes;

	for (size_t i = 0; i < n; i++)
		help_add(&state, draw(i));
	bytes = sketch_state_bytes(state);
	free(state);
	return bytes;
}

static size_t
packed_bytes_of(double (*draw) (size_t i), size_t n)
{
	SketchState *state = help_new();
	Packed		packed;

	for (size_t i = 0; i < n; i++)
		help_add(&state, draw(i));
	packed = help_pack_state(state);
	free(packed.bytes);
	free(state);
	return packed.length;
}

static void
test_memory(void)
{
	static const size_t counts[] = {1, 10, 50, 100, 1000, 10000, 1000000};
	size_t		most = 0;

	for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++)
		printf("# %zu log-normal values: %zu bytes of state, %zu packed\n", counts[i],
			   bytes_of(d_lognormal, counts[i]), packed_bytes_of(d_lognormal, counts[i]));
	ok(bytes_of(d_lognormal, 10) <= 128, "ten values take 128 bytes");
	ok(bytes_of(d_every_octave, 10) <= 128, "however far apart they are");
	ok(bytes_of(d_lognormal, 10000) <= 8192, "10,000 log-normal values take 8 KiB");
	ok(bytes_of(d_every_octave, 300000) <= 4400 * 1024, "300,000 values of all sizes take little over 4 MiB");
	for (int i = 0; i < 100; i++)
	{
		size_t		bytes = packed_bytes_of(d_lognormal, 10);

		most = bytes > most ? bytes : most;
	}
	ok(most + 1 <= 64, "ten values are stored in 64 bytes");
	ok(packed_bytes_of(d_lognormal, 10000) + 4 <= 1024, "10,000 in 1 KiB");
}

int
main(void)
{
	test_count_limit();
	test_refused();
	test_overflowing_sum();
	test_compensated_sum();
	test_negative_zero();
	test_pages_out_of_order();
	test_merge_across_zero();
	test_memory();
	return done_testing();
}
