/*
 * Constants of the sketch's fixed mapping and of its packed form. Generated;
 * test/unit/sketch_mapping.c proves every entry again with integer arithmetic,
 * so that a wrong digit cannot stay.
 */
#ifndef CCPROXY_SKETCH_CORE_TABLES_H
#define CCPROXY_SKETCH_CORE_TABLES_H

#include <stdint.h>

/*
 * floor((2^(k/64) - 1) * 2^52): the mantissa of the greatest double that is not
 * above 2^(k/64). 2^(k/64) is irrational for k > 0, so for a double m in [1, 2)
 * "m > 2^(k/64)" is exactly "mantissa(m) > sketch_edge[k]". The last entry stands
 * for 2, which no mantissa is above.
 */
static const uint64_t sketch_edge[65] = {
	UINT64_C(0x0000000000000), UINT64_C(0x02c9a3e778060), UINT64_C(0x059b0d3158574), UINT64_C(0x0874518759bc8),
	UINT64_C(0x0b5586cf9890f), UINT64_C(0x0e3ec32d3d1a2), UINT64_C(0x11301d0125b50), UINT64_C(0x1429aaea92ddf),
	UINT64_C(0x172b83c7d517a), UINT64_C(0x1a35beb6fcb75), UINT64_C(0x1d4873168b9aa), UINT64_C(0x2063b88628cd6),
	UINT64_C(0x2387a6e756238), UINT64_C(0x26b4565e27cdd), UINT64_C(0x29e9df51fdee1), UINT64_C(0x2d285a6e4030b),
	UINT64_C(0x306fe0a31b715), UINT64_C(0x33c08b26416ff), UINT64_C(0x371a7373aa9ca), UINT64_C(0x3a7db34e59ff6),
	UINT64_C(0x3dea64c123422), UINT64_C(0x4160a21f72e29), UINT64_C(0x44e086061892d), UINT64_C(0x486a2b5c13cd0),
	UINT64_C(0x4bfdad5362a27), UINT64_C(0x4f9b2769d2ca6), UINT64_C(0x5342b569d4f81), UINT64_C(0x56f4736b527da),
	UINT64_C(0x5ab07dd485429), UINT64_C(0x5e76f15ad2148), UINT64_C(0x6247eb03a5584), UINT64_C(0x6623882552224),
	UINT64_C(0x6a09e667f3bcc), UINT64_C(0x6dfb23c651a2e), UINT64_C(0x71f75e8ec5f73), UINT64_C(0x75feb564267c8),
	UINT64_C(0x7a11473eb0186), UINT64_C(0x7e2f336cf4e62), UINT64_C(0x82589994cce12), UINT64_C(0x868d99b4492ec),
	UINT64_C(0x8ace5422aa0db), UINT64_C(0x8f1ae99157736), UINT64_C(0x93737b0cdc5e4), UINT64_C(0x97d829fde4e4f),
	UINT64_C(0x9c49182a3f090), UINT64_C(0xa0c667b5de564), UINT64_C(0xa5503b23e255c), UINT64_C(0xa9e6b5579fdbf),
	UINT64_C(0xae89f995ad3ad), UINT64_C(0xb33a2b84f15fa), UINT64_C(0xb7f76f2fb5e46), UINT64_C(0xbcc1e904bc1d2),
	UINT64_C(0xc199bdd85529c), UINT64_C(0xc67f12e57d14b), UINT64_C(0xcb720dcef9069), UINT64_C(0xd072d4a07897b),
	UINT64_C(0xd5818dcfba487), UINT64_C(0xda9e603db3285), UINT64_C(0xdfc97337b9b5e), UINT64_C(0xe502ee78b3ff6),
	UINT64_C(0xea4afa2a490d9), UINT64_C(0xefa1bee615a27), UINT64_C(0xf50765b6e4540), UINT64_C(0xfa7c1819e90d8),
	UINT64_C(0x10000000000000)
};

/*
 * How many edges are below every mantissa that starts with these seven bits. A
 * cell of 1/128 is narrower than the narrowest bucket (0.0109), so at most one
 * more edge lies within it, and one comparison settles it.
 */
static const uint8_t sketch_cell[128] = {
	0, 1, 2, 3, 3, 4, 5, 5, 6, 7, 7, 8, 9, 9, 10, 11,
	11, 12, 13, 13, 14, 15, 15, 16, 16, 17, 18, 18, 19, 19, 20, 21,
	21, 22, 22, 23, 23, 24, 25, 25, 26, 26, 27, 27, 28, 28, 29, 29,
	30, 30, 31, 31, 32, 32, 33, 34, 34, 35, 35, 36, 36, 36, 37, 37,
	38, 38, 39, 39, 40, 40, 41, 41, 42, 42, 43, 43, 44, 44, 44, 45,
	45, 46, 46, 47, 47, 48, 48, 48, 49, 49, 50, 50, 51, 51, 51, 52,
	52, 53, 53, 53, 54, 54, 55, 55, 55, 56, 56, 57, 57, 57, 58, 58,
	59, 59, 59, 60, 60, 60, 61, 61, 62, 62, 62, 63, 63, 63, 64, 64,
};

/*
 * A token of the packed form: {keys from the bucket before to this one, values in
 * it}. Long tokens, see sketch_core_packed.c, step beyond every key there is.
 */
typedef struct SketchToken
{
	uint32_t	step;
	uint32_t	count;
} SketchToken;

#define LONG SKETCH_TOKEN_LONG
#define SKETCH_TOKEN_LONG (1 << 20)

static const SketchToken sketch_token[256] = {
	{1, 1}, {2, 1}, {3, 1}, {4, 1}, {5, 1}, {6, 1}, {7, 1}, {8, 1},
	{9, 1}, {10, 1}, {11, 1}, {12, 1}, {13, 1}, {14, 1}, {15, 1}, {16, 1},
	{17, 1}, {18, 1}, {19, 1}, {20, 1}, {21, 1}, {22, 1}, {23, 1}, {24, 1},
	{25, 1}, {26, 1}, {27, 1}, {28, 1}, {29, 1}, {30, 1}, {31, 1}, {32, 1},
	{33, 1}, {34, 1}, {35, 1}, {36, 1}, {37, 1}, {38, 1}, {39, 1}, {40, 1},
	{41, 1}, {42, 1}, {43, 1}, {44, 1}, {45, 1}, {46, 1}, {47, 1}, {48, 1},
	{49, 1}, {50, 1}, {51, 1}, {52, 1}, {53, 1}, {54, 1}, {55, 1}, {56, 1},
	{57, 1}, {58, 1}, {59, 1}, {60, 1}, {61, 1}, {62, 1}, {63, 1}, {64, 1},
	{65, 1}, {66, 1}, {67, 1}, {68, 1}, {69, 1}, {70, 1}, {71, 1}, {72, 1},
	{73, 1}, {74, 1}, {75, 1}, {76, 1}, {77, 1}, {78, 1}, {79, 1}, {80, 1},
	{81, 1}, {82, 1}, {83, 1}, {84, 1}, {85, 1}, {86, 1}, {87, 1}, {88, 1},
	{89, 1}, {90, 1}, {91, 1}, {92, 1}, {93, 1}, {94, 1}, {95, 1}, {96, 1},
	{97, 1}, {98, 1}, {99, 1}, {100, 1}, {101, 1}, {102, 1}, {103, 1}, {104, 1},
	{105, 1}, {106, 1}, {107, 1}, {108, 1}, {109, 1}, {110, 1}, {111, 1}, {112, 1},
	{1, 2}, {2, 2}, {3, 2}, {4, 2}, {5, 2}, {6, 2}, {7, 2}, {8, 2},
	{9, 2}, {10, 2}, {11, 2}, {12, 2}, {13, 2}, {14, 2}, {15, 2}, {16, 2},
	{17, 2}, {18, 2}, {19, 2}, {20, 2}, {21, 2}, {22, 2}, {23, 2}, {24, 2},
	{25, 2}, {26, 2}, {27, 2}, {28, 2}, {29, 2}, {30, 2}, {31, 2}, {32, 2},
	{1, 3}, {2, 3}, {3, 3}, {4, 3}, {5, 3}, {6, 3}, {7, 3}, {8, 3},
	{9, 3}, {10, 3}, {11, 3}, {12, 3}, {13, 3}, {14, 3}, {15, 3}, {16, 3},
	{1, 4}, {2, 4}, {3, 4}, {4, 4}, {5, 4}, {6, 4}, {7, 4}, {8, 4},
	{1, 5}, {2, 5}, {3, 5}, {4, 5}, {1, 6}, {1, 7}, {1, 8}, {1, 9},
	{1, 10}, {1, 11}, {1, 12}, {1, 13}, {1, 14}, {1, 15}, {1, 16}, {1, 17},
	{1, 18}, {1, 19}, {1, 20}, {1, 21}, {1, 22}, {1, 23}, {1, 24}, {1, 25},
	{1, 26}, {1, 27}, {1, 28}, {1, 29}, {1, 30}, {1, 31}, {1, 32}, {1, 33},
	{1, 34}, {1, 35}, {1, 36}, {1, 37}, {1, 38}, {1, 39}, {1, 40}, {1, 41},
	{1, 42}, {1, 43}, {1, 44}, {1, 45}, {1, 46}, {1, 47}, {1, 48}, {1, 49},
	{1, 50}, {1, 51}, {1, 52}, {1, 53}, {1, 54}, {1, 55}, {1, 56}, {1, 57},
	{1, 58}, {1, 59}, {1, 60}, {1, 61}, {2, 6}, {2, 7}, {2, 8}, {2, 9},
	{2, 10}, {2, 11}, {2, 12}, {2, 13}, {2, 14}, {2, 15}, {2, 16}, {2, 17},
	{2, 18}, {2, 19}, {2, 20}, {2, 21}, {2, 22}, {2, 23}, {2, 24}, {2, 25},
	{2, 26}, {2, 27}, {LONG, 0}, {LONG, 0}, {LONG, 0}, {LONG, 0}, {LONG, 0}, {LONG, 0},
};

#undef LONG

#endif
