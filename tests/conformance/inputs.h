/* SPDX-License-Identifier: MIT
 * inputs.h - what the conformance suite's kernels get: whole words at random, or numbers chosen to
 * round, overflow and vanish. The same in every run, so that outputs can be recorded.
 */
#ifndef MKC_CONFORMANCE_INPUTS_H
#define MKC_CONFORMANCE_INPUTS_H

unsigned bits_of(float x);
float float_of(unsigned bits);
unsigned bf16_of(double x); /* toward zero */
unsigned f16_of(double x);  /* to the nearest, ties to even, as nearbyint has it */
float f16_value(unsigned half);

/* A struct op's fill: `words` words, from numbers in [lo, hi] where they are numbers. */

void fill_bits(unsigned *in, int words, double lo, double hi);

/* Two operands: all pairs of ten special values, then uniform ones. */
void fill_floats(unsigned *in, int words, double lo, double hi);

/* Two operands, the second the first backwards: fp16's range, its ties, its subnormals, each with
 * both signs, then numbers of magnitude 2^lo to 2^hi. */
void fill_f16_rounding(unsigned *in, int words, double lo, double hi);

/* Pairs of fp16, the high ones the low ones backwards: every sign and exponent, with mantissas 0,
 * 1, some and all ones. */
void fill_f16(unsigned *in, int words, double lo, double hi);

/* (lanes, 10): six pairs of 16-bit floats, four floats. Whole numbers up to hi when lo is 0, so
 * that every sum is exact; else from [lo, hi]. */
void fill_mma_bf16(unsigned *in, int words, double lo, double hi);
void fill_mma_f16(unsigned *in, int words, double lo, double hi);

/* (lanes, 16): floats, likewise. */
void fill_mma_f32(unsigned *in, int words, double lo, double hi);

/* (lanes, 10) with subnormal fp16: whole numbers of 2^-24, their sums of 2^-48. */
void fill_mma_subnormal(unsigned *in, int words, double lo, double hi);

#endif
