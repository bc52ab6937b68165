/*
 * The mapping of doubles to buckets: every constant is proved with integers, then
 * every edge of every bucket is tried from both sides.
 */
#include <float.h>
#include <math.h>

#include "test/unit/sketch_help.h"
#include "test/unit/tap.h"

/* ---- numbers of up to 4096 bits ---- */

#define WORDS 128

typedef struct Big
{
	uint32_t	word[WORDS];
} Big;

static Big
big(uint64_t value)
{
	Big			b = {{0}};

	b.word[0] = (uint32_t) value;
	b.word[1] = (uint32_t) (value >> 32);
	return b;
}

static Big
big_square(const Big *a)
{
	Big			r = {{0}};

	for (int i = 0; i < WORDS; i++)
	{
		uint64_t	carry = 0;

		for (int j = 0; i + j < WORDS; j++)
		{
			uint64_t	t = (uint64_t) a->word[i] * a->word[j] + r.word[i + j] + carry;

			r.word[i + j] = (uint32_t) t;
			carry = t >> 32;
		}
		MUST(carry == 0);
	}
	return r;
}

/* value^64 against 2^bits */
static int
compare_64th_power(uint64_t value, int bits)
{
	Big			power = big(value);
	Big			two = {{0}};

	for (int i = 0; i < 6; i++)
		power = big_square(&power);
	two.word[bits / 32] = UINT32_C(1) << (bits % 32);
	for (int i = WORDS - 1; i >= 0; i--)
		if (power.word[i] != two.word[i])
			return power.word[i] < two.word[i] ? -1 : 1;
	return 0;
}

static void
test_edges(void)
{
	bool		floors = true;

	for (int k = 0; k < 64; k++)
	{
		uint64_t	edge = (UINT64_C(1) << 52) + sketch_edge[k];

		/* edge <= 2^52 * 2^(k/64) < edge + 1 */
		floors &= compare_64th_power(edge, 52 * 64 + k) <= 0;
		floors &= compare_64th_power(edge + 1, 52 * 64 + k) > 0;
	}
	ok(floors, "every edge is the integer part of 2^52 * 2^(k/64)");
	ok(sketch_edge[0] == 0, "1 is an edge");
	ok(sketch_edge[64] == UINT64_C(1) << 52, "no mantissa is above the last edge");
}

static void
test_cells(void)
{
	bool		counts = true;
	bool		single = true;

	for (uint64_t cell = 0; cell < 128; cell++)
	{
		int			below = 0;
		int			within = 0;

		for (int k = 0; k < 64; k++)
		{
			below += sketch_edge[k] < cell << 45;
			within += sketch_edge[k] >= cell << 45 && sketch_edge[k] < (cell + 1) << 45;
		}
		counts &= sketch_cell[cell] == below;
		single &= within <= 1;
	}
	ok(counts, "every cell counts the edges below it");
	ok(single, "no cell holds two edges");
}

/* The index by definition: the number of edges below the mantissa. */
static int32_t
slow_key(double value)
{
	int			exponent;
	uint64_t	mantissa;
	int			below = 0;
	int32_t		key;

	if (value == 0)
		return 0;
	mantissa = (uint64_t) ldexp(frexp(fabs(value), &exponent), 53) - (UINT64_C(1) << 52);
	for (int k = 0; k < 64; k++)
		below += mantissa > sketch_edge[k];
	key = (exponent - 1) * 64 + below - 1 + SKETCH_KEY_BIAS;
	return value < 0 ? -key : key;
}

/* The key that the fast path of sketch_add() gives, 0 when it leaves the value to the slow one. */
static int32_t
added_key(double value)
{
	SketchState *state = help_new();
	int32_t		key;

	MUST(sketch_add(state, value) == SKETCH_OK);
	key = state->u.list.length == 1 ? ((int32_t *) state->body)[0] : 0;
	MUST(state->count == 1 && state->zeros == (value == 0));
	free(state);
	return key;
}

static void
test_keys(void)
{
	bool		same = true;
	bool		added = true;
	bool		symmetric = true;

	for (int i = 0; i < 300000; i++)
	{
		double		value = i % 3 == 0 ? help_any_double() : i % 3 == 1 ? ldexp(1 + help_uniform(), i % 60 - 20)
			: ldexp(help_uniform(), -1022 - i % 52);

		same &= sketch_key(value) == slow_key(value);
		symmetric &= sketch_key(-value) == -sketch_key(value);
		added &= added_key(value) == sketch_key(value);
	}
	ok(same, "keys follow the definition: random doubles, latencies, subnormals");
	ok(added, "the fast path of adding gives the same keys");
	ok(symmetric, "negative values mirror positive ones");
	is_int(sketch_key(0.0), 0, "zero has key 0");
	is_int(sketch_key(-0.0), 0, "so has negative zero");
	is_int(sketch_key(DBL_TRUE_MIN) - SKETCH_KEY_BIAS, SKETCH_INDEX_MIN, "the least double has the least index");
	is_int(sketch_key(DBL_MAX) - SKETCH_KEY_BIAS, SKETCH_INDEX_MAX, "the greatest double has the greatest");
	is_int(sketch_key(1.0) - SKETCH_KEY_BIAS, -1, "1 is the upper end of bucket -1, as in OpenTelemetry");
	is_int(sketch_key(nextafter(1.0, 2)) - SKETCH_KEY_BIAS, 0, "what is above 1 begins bucket 0");
	is_int(sketch_key(2.0) - SKETCH_KEY_BIAS, 63, "2 ends bucket 63");
}

static void
test_powers_of_two(void)
{
	bool		upper = true;

	for (int e = -1074; e <= 1023; e++)
		upper &= sketch_key(ldexp(1, e)) - SKETCH_KEY_BIAS == 64 * e - 1;
	ok(upper, "every power of two is the upper end of its bucket");
}

static void
test_every_edge(void)
{
	bool		exact = true;
	bool		below = true;
	bool		ascending = true;
	double		before = 0;

	/* from the first bucket that is wider than the spacing of doubles */
	for (int32_t index = (-1022 - 40) * 64; index <= SKETCH_INDEX_MAX; index++)
	{
		double		edge = sketch_edge_value(index);

		exact &= sketch_key(edge) - SKETCH_KEY_BIAS == index - 1;
		if (index % 7 == 0 && index > -1022 * 64)
			exact &= added_key(edge) == sketch_key(edge);
		below &= sketch_key(nextafter(edge, INFINITY)) - SKETCH_KEY_BIAS == index;
		ascending &= edge > before;
		before = edge;
	}
	ok(exact, "an edge lies in the bucket it ends");
	ok(below, "the next double lies in the bucket it begins");
	ok(ascending, "edges ascend");

	exact = true;
	for (int32_t index = SKETCH_INDEX_MIN + 1; index < (-1022 - 40) * 64; index++)
	{
		double		edge = sketch_edge_value(index);

		exact &= edge == 0 || sketch_key(edge) - SKETCH_KEY_BIAS < index;
		exact &= sketch_key(nextafter(edge, INFINITY)) - SKETCH_KEY_BIAS >= index;
	}
	ok(exact, "edges between neighbouring subnormals are cut down");
}

static void
test_error(void)
{
	double		worst = 0;
	bool		inside = true;

	for (int32_t index = -1022 * 64; index <= SKETCH_INDEX_MAX; index++)
	{
		double		low = nextafter(sketch_edge_value(index), INFINITY);
		double		high = index == SKETCH_INDEX_MAX ? DBL_MAX : sketch_edge_value(index + 1);
		double		middle = sketch_key_value(index + SKETCH_KEY_BIAS);

		inside &= middle > low && middle < high;
		worst = fmax(worst, fmax((middle - low) / low, (high - middle) / high));
		inside &= sketch_key_value(-index - SKETCH_KEY_BIAS) == -middle;
	}
	ok(inside, "the value of a bucket lies within it");
	printf("# worst relative error %.10f\n", worst);
	ok(worst < 0.0055, "and within 0.55 % of both its ends");
	ok(fabs(worst - 0.0054151594159) < 1e-9, "which is (b - 1) / (b + 1) for b = 2^(1/64)");
}

int
main(void)
{
	test_edges();
	test_cells();
	test_keys();
	test_powers_of_two();
	test_every_edge();
	test_error();
	return done_testing();
}
