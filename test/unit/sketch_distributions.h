/*
 * The distributions that sketches are tried with.
 */
#ifndef TEST_UNIT_SKETCH_DISTRIBUTIONS_H
#define TEST_UNIT_SKETCH_DISTRIBUTIONS_H

#include <float.h>
#include <math.h>

#include "test/unit/sketch_help.h"

/* The most values drawn from one. */
#define MOST 20000

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

#endif
