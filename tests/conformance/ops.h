/* SPDX-License-Identifier: MIT
 * ops.h - what the conformance suite runs: every operation of the tile vocabulary, the inputs it
 * gets, what it must give, and how far the GPU may be from that.
 */
#ifndef MKC_CONFORMANCE_OPS_H
#define MKC_CONFORMANCE_OPS_H

#include <stddef.h>

enum { MAX_WORDS = 4096 };

enum compare {
  COMPARE_BITS,    /* data movement */
  COMPARE_ULP,     /* floats: distance in units of the last place; all NaN are one */
  COMPARE_ABSOLUTE /* floats: the difference in units of 2^-23, for sums that cancel */
};

struct op {
  const char *name, *file, *kernel;
  int in_words, out_words, blocks, smem_bytes;
  void (*fill)(unsigned *in, int words, double lo, double hi);
  double lo, hi; /* of the inputs, where they are numbers */
  void (*expect)(const struct op *op, const unsigned *in, unsigned *ret_out);
  double (*function)(double x, double y); /* of a pointwise op */
  enum compare compare;
  double cpu_limit, gpu_limit; /* distance allowed from what is expected, and from the CPU device */
};

extern const struct op ops[];
extern const int nops;

#endif
