/*
 * What a sketch promises, against the values themselves: quantiles within 0.55 %
 * over many distributions, exact count, min and max, merges that are the same in
 * any order and any split, bounds of the distribution function, and memory.
 */
#include <float.h>
#include <math.h>

#include "test/unit/sketch_help.h"
#include "test/unit/tap.h"

#define RELATIVE_ERROR 0.0055
#define SUM_ERROR 1e-12
#define MOST 20000

static const double fractions[] = {0, 0.01, 0.5, 0.9, 0.95, 0.99, 0.999, 1};

#define FRACTIONS (sizeof(fractions) / sizeof(fractions[0]))

/* ---- distributions ---- */

static double
normal(void)
{
	return sqrt(-2 * log(help_uniform())) * cos(2 * 3.14159265358979 * help_uniform());
}

static double
d_uniform(size_t i)
{
	return help_uniform() * 1000;
}

static double
d_lognormal(size_t i)
{
	return exp(6 + normal());
}

static double
d_lognormal_wide(size_t i)
{
	return exp(3 * normal());
}

static double
d_pareto(size_t i)
{
	return 10 * pow(help_uniform(), -1 / 1.1);
}

static double
d_bimodal(size_t i)
{
	return i % 5 == 0 ? 30000 + 500 * normal() : 20 + 2 * normal();
}

static double
d_constant(size_t i)
{
	return 123.456;
}

static double
d_subnormal(size_t i)
{
	return ldexp(help_uniform(), -1022);
}

static double
d_huge(size_t i)
{
	return ldexp(1 + help_uniform(), 1000 + (int) (help_random() % 24));
}

static double
d_mixed_sign(size_t i)
{
	return normal() * 100;
}

static double
d_mixed_with_zeros(size_t i)
{
	return i % 4 == 0 ? 0 : i % 4 == 1 ? -0.0 : normal();
}

static double
d_negative(size_t i)
{
	return -exp(normal());
}

static double
d_ascending(size_t i)
{
	return (double) i + 1;
}

static double
d_descending(size_t i)
{
	return (double) (MOST - i);
}

static double
d_integers(size_t i)
{
	return (double) (help_random() % 50);
}

/* on an edge, just above it and just below it */
static double
d_edges(size_t i)
{
	double		edge = sketch_edge_value((int32_t) (help_random() % 1920) - 640);

	return i % 3 == 0 ? edge : nextafter(edge, i % 3 == 1 ? INFINITY : 0);
}

static double
d_every_octave(size_t i)
{
	return help_any_double();
}

static double
d_domain(size_t i)
{
	return pow(10, -6 + 15 * help_uniform());
}

/* the buckets next to zero, from both sides */
static double
d_tiny(size_t i)
{
	return ((double) (help_random() % 9) - 4) * DBL_TRUE_MIN;
}

/* ever wider to both sides, so that the directory grows and grows */
static double
d_widening(size_t i)
{
	return ldexp(1 + help_uniform(), (int) (i % 2000) * (i % 2 ? 1 : -1) / 2);
}

typedef struct Distribution
{
	const char *name;
	double		(*draw) (size_t i);
	bool		subnormal;		/* the guarantee is one spacing of doubles wider there */
} Distribution;

static const Distribution distributions[] = {
	{"uniform", d_uniform, false},
	{"log-normal, sigma 1", d_lognormal, false},
	{"log-normal, sigma 3", d_lognormal_wide, false},
	{"Pareto", d_pareto, false},
	{"bimodal", d_bimodal, false},
	{"constant", d_constant, false},
	{"subnormal", d_subnormal, true},
	{"huge", d_huge, false},
	{"mixed sign", d_mixed_sign, false},
	{"mixed sign with zeros", d_mixed_with_zeros, false},
	{"negative", d_negative, false},
	{"ascending", d_ascending, false},
	{"descending", d_descending, false},
	{"few integers", d_integers, false},
	{"on and beside edges", d_edges, false},
	{"any double", d_every_octave, true},
	{"1e-6 to 1e9", d_domain, false},
	{"widening", d_widening, false},
	{"least doubles and zeros", d_tiny, true},
};

#define DISTRIBUTIONS (sizeof(distributions) / sizeof(distributions[0]))

static int
compare_doubles(const void *a, const void *b)
{
	double		x = *(const double *) a;
	double		y = *(const double *) b;

	return (x > y) - (x < y);
}

/* The exact value of that rank: percentile_disc. */
static double
exact_quantile(const double *sorted, size_t n, double fraction)
{
	double		rank = ceil(fraction * (double) n);

	return sorted[rank < 1 ? 0 : (size_t) rank - 1];
}

/* ---- checks; each says in words what is broken ---- */

static const char *
check_quantiles(const SketchView *view, const double *sorted, size_t n, bool subnormal)
{
	double		before = -INFINITY;

	for (size_t i = 0; i < FRACTIONS; i++)
	{
		double		exact = exact_quantile(sorted, n, fractions[i]);
		double		got;
		double		allowed = RELATIVE_ERROR * fabs(exact) + (subnormal ? DBL_TRUE_MIN : 0);

		if (sketch_quantile(view, fractions[i], &got) != SKETCH_OK)
			return "a quantile fails";
		if (!(fabs(got - exact) <= allowed))
		{
			printf("# quantile %g of %zu: got %.17g, exact %.17g\n", fractions[i], n, got, exact);
			return "a quantile is out of bounds";
		}
		if (got < before)
			return "quantiles do not ascend";
		if (got < sorted[0] || got > sorted[n - 1])
			return "a quantile is outside [min, max]";
		before = got;
	}
	return NULL;
}

static size_t
count_at_most(const double *sorted, size_t n, double limit)
{
	size_t		low = 0;
	size_t		high = n;

	while (low < high)
	{
		size_t		middle = (low + high) / 2;

		if (sorted[middle] <= limit)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static const char *
check_cdf(const SketchView *view, const double *sorted, size_t n)
{
	double		before = 0;
	double		got;

	for (size_t i = 0; i < n; i += 1 + n / 50)
	{
		double		limit = sorted[i];
		double		least = limit * (limit > 0 ? 0.989 : 1.012) - 2 * DBL_TRUE_MIN;
		double		most = limit * (limit > 0 ? 1.012 : 0.989) + 2 * DBL_TRUE_MIN;

		if (sketch_cdf(view, limit, &got) != SKETCH_OK)
			return "cdf fails";
		if (got < before)
			return "cdf does not ascend";
		before = got;
		if (got * (double) n < (double) count_at_most(sorted, n, least) - 1e-6 ||
			got * (double) n > (double) count_at_most(sorted, n, most) + 1e-6)
			return "cdf is off by more than its bucket";
		if (limit >= sorted[0] && got <= 0)
			return "cdf forgets the least value";
	}
	if (sketch_cdf(view, nextafter(sorted[0], -INFINITY), &got) != SKETCH_OK || got != 0)
		return "cdf below min is not 0";
	if (sketch_cdf(view, sorted[n - 1], &got) != SKETCH_OK || got != 1)
		return "cdf at max is not 1";
	if (sketch_cdf(view, 0, &got) != SKETCH_OK || got != (double) count_at_most(sorted, n, 0) / (double) n)
		return "cdf is not exact at 0";
	for (int e = -20; e < 20; e++)
		if (sketch_cdf(view, ldexp(1, e), &got) != SKETCH_OK ||
			fabs(got - (double) count_at_most(sorted, n, ldexp(1, e)) / (double) n) > 1e-15)
			return "cdf is not exact at a power of two";
	return NULL;
}

/* sum against the sum of magnitudes, as the values may cancel out */
static const char *
check_totals(const SketchView *view, const double *sorted, size_t n)
{
	long double sum = 0;
	long double magnitude = 0;

	for (size_t i = 0; i < n; i++)
	{
		sum += sorted[i];
		magnitude += fabsl(sorted[i]);
	}
	if (view->count != n)
		return "the count is wrong";
	if (view->min != sorted[0] || view->max != sorted[n - 1])
		return "min or max is wrong";
	if (isfinite(view->sum) && magnitude < DBL_MAX && fabsl(view->sum - sum) > SUM_ERROR * magnitude)
		return "the sum is wrong";
	if (isfinite((double) sum) && magnitude < DBL_MAX && !isfinite(view->sum))
		return "the sum is not finite";
	if (isfinite(view->sum) && (sketch_mean(view) < view->min || sketch_mean(view) > view->max))
		return "the mean is outside [min, max]";
	return NULL;
}

static const char *
check_rules(const SketchView *view)
{
	SketchError error = {NULL, 0};

	return sketch_view_check(view, &error) == SKETCH_OK ? NULL : error.reason;
}

/* Packed and text forms come back as the same sketch, byte for byte. */
static const char *
check_forms(const SketchView *view, const double *sorted, size_t n, bool subnormal)
{
	Packed		packed = help_pack(view);
	SketchView	unpacked;
	const char *broken = NULL;
	SketchState *parsed = NULL;
	SketchError error;
	Text		text = help_print(view);

	if (!sketch_view_packed(&unpacked, packed.bytes, packed.length))
		broken = "the packed form is not read";
	else if (!sketch_equal(view, &unpacked) || !sketch_equal(&unpacked, view))
		broken = "the packed form is another sketch";
	else if (sketch_hash(view) != sketch_hash(&unpacked))
		broken = "equal sketches have different hashes";
	else if ((broken = check_rules(&unpacked)) == NULL && (broken = check_totals(&unpacked, sorted, n)) == NULL)
		broken = check_quantiles(&unpacked, sorted, n, subnormal);

	if (broken == NULL && sketch_parse(text.text, text.length, &parsed, &help_memory, &error) != SKETCH_OK)
	{
		printf("# %s at byte %zu\n", error.reason, error.position);
		broken = "the text form is not read";
	}
	if (parsed != NULL)
	{
		Packed		again = help_pack_state(parsed);

		if (again.length != packed.length || memcmp(again.bytes, packed.bytes, again.length) != 0)
			broken = "the text form is another sketch";
		free(again.bytes);
		free(parsed);
	}
	free(text.text);
	free(packed.bytes);
	return broken;
}

static const char *
check_sketch(const SketchState *state, const double *sorted, size_t n, bool subnormal)
{
	SketchScratch scratch;
	SketchView	view;
	const char *broken;

	if (!sketch_state_check(state, sketch_state_bytes(state)))
		return "the state is malformed";
	sketch_view_state(&view, state, &scratch);
	if ((broken = check_rules(&view)) == NULL &&
		(broken = check_totals(&view, sorted, n)) == NULL &&
		(broken = check_quantiles(&view, sorted, n, subnormal)) == NULL &&
		(broken = check_cdf(&view, sorted, n)) == NULL)
		broken = check_forms(&view, sorted, n, subnormal);
	return broken;
}

static const size_t sizes[] = {1, 2, 3, 10, 16, 17, 50, 112, 113, 500, 1008, 1009, 5000, MOST};

static void
test_distribution(const Distribution *d)
{
	static double values[MOST];
	char		name[200];
	const char *broken = NULL;

	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]) && broken == NULL; i++)
	{
		SketchState *state = help_new();

		for (size_t j = 0; j < sizes[i]; j++)
		{
			values[j] = d->draw(j);
			help_add(&state, values[j]);
		}
		qsort(values, sizes[i], sizeof(double), compare_doubles);
		broken = check_sketch(state, values, sizes[i], d->subnormal);
		if (broken != NULL)
			printf("# %zu values: %s\n", sizes[i], broken);
		free(state);
	}
	snprintf(name, sizeof(name), "%s: quantiles, cdf, totals, rules, forms", d->name);
	ok(broken == NULL, name);
}

/* ---- merging ---- */

static bool
near_sums(double a, double b, double magnitude)
{
	return a == b || (isnan(a) && isnan(b)) || !isfinite(magnitude) || fabs(a - b) <= SUM_ERROR * magnitude;
}

/* Merges src into *to, as a state or packed. */
static void
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

static void
test_splits(const Distribution *d)
{
	enum
	{
		VALUES = 3000, PARTS = 7
	};
	double		values[VALUES];
	double		magnitude = 0;
	char		name[200];
	bool		equal = true;
	bool		sums = true;
	bool		hashes = true;
	SketchState *whole = help_new();
	SketchScratch scratch;
	SketchView	view;

	for (size_t i = 0; i < VALUES; i++)
	{
		values[i] = d->draw(i);
		magnitude += fabs(values[i]);
		help_add(&whole, values[i]);
	}
	sketch_view_state(&view, whole, &scratch);

	for (int round = 0; round < 12; round++)
	{
		SketchState *part[PARTS];
		int			order[PARTS];
		SketchScratch other_scratch;
		SketchView	other;

		for (int p = 0; p < PARTS; p++)
		{
			part[p] = help_new();
			order[p] = p;
		}
		/* uneven parts: some stay small, one may stay empty */
		for (size_t i = 0; i < VALUES; i++)
			help_add(&part[(help_random() % PARTS) * (help_random() % PARTS) / PARTS], values[i]);
		for (int p = PARTS - 1; p > 0; p--)
		{
			int			q = (int) (help_random() % (uint64_t) (p + 1));
			int			t = order[p];

			order[p] = order[q];
			order[q] = t;
		}
		/* into the first, then as a tree: ((a b) (c d)) ... */
		if (round % 2 == 0)
			for (int p = 1; p < PARTS; p++)
				merge_into(&part[order[0]], part[order[p]], round % 3 == 0);
		else
			for (int step = 1; step < PARTS; step *= 2)
				for (int p = 0; p + step < PARTS; p += 2 * step)
					merge_into(&part[order[p]], part[order[p + step]], round % 3 == 0);

		sketch_view_state(&other, part[order[0]], &other_scratch);
		equal &= sketch_equal(&view, &other) && sketch_equal(&other, &view);
		hashes &= sketch_hash(&view) == sketch_hash(&other);
		sums &= near_sums(view.sum, other.sum, magnitude);
		for (int p = 0; p < PARTS; p++)
			free(part[p]);
	}
	snprintf(name, sizeof(name), "%s: any split merged in any order is the same sketch", d->name);
	ok(equal && hashes, name);
	snprintf(name, sizeof(name), "%s: its sum is within 1e-12", d->name);
	ok(sums, name);
	free(whole);
}

static void
test_inequality(void)
{
	double		values[] = {1, 2, 3, 4};
	SketchState *a = help_sketch(values, 4);
	SketchState *b;
	SketchScratch sa;
	SketchScratch sb;
	SketchView	va;
	SketchView	vb;

	sketch_view_state(&va, a, &sa);
	b = help_sketch(values, 3);
	sketch_view_state(&vb, b, &sb);
	ok(!sketch_equal(&va, &vb), "another count is another sketch");
	free(b);
	values[1] = 2.5;
	b = help_sketch(values, 4);
	sketch_view_state(&vb, b, &sb);
	ok(!sketch_equal(&va, &vb), "another bucket is another sketch");
	free(b);
	values[1] = 2;
	values[3] = nextafter(4, 0);
	b = help_sketch(values, 4);
	sketch_view_state(&vb, b, &sb);
	ok(!sketch_equal(&va, &vb), "another max in the same bucket is another sketch");
	free(b);
	free(a);
}

/* ---- limits ---- */

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
	for (size_t i = 0; i < DISTRIBUTIONS; i++)
		test_distribution(&distributions[i]);
	for (size_t i = 0; i < DISTRIBUTIONS; i++)
		test_splits(&distributions[i]);
	test_inequality();
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
