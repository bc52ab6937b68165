/*
 * What a sketch promises, against the values themselves: quantiles within 0.55 %
 * over many distributions, exact count, min and max, merges that are the same in
 * any order and any split, bounds of the distribution function.
 */
#include "test/unit/sketch_distributions.h"
#include "test/unit/tap.h"

#define RELATIVE_ERROR 0.0055
#define SUM_ERROR 1e-12

static const double fractions[] = {0, 0.01, 0.5, 0.9, 0.95, 0.99, 0.999, 1};

#define FRACTIONS (sizeof(fractions) / sizeof(fractions[0]))

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

int
main(void)
{
	for (size_t i = 0; i < DISTRIBUTIONS; i++)
		test_distribution(&distributions[i]);
	for (size_t i = 0; i < DISTRIBUTIONS; i++)
		test_splits(&distributions[i]);
	test_inequality();
	return done_testing();
}
