/* SPDX-License-Identifier: MIT
 * inputs.c - numbers in 16 and 32 bits, and the conformance suite's inputs, see inputs.h.
 */
#include "inputs.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

/* ---- numbers ---- */

unsigned bits_of(float x) {
  unsigned bits;
  memcpy(&bits, &x, 4);
  return bits;
}

float float_of(unsigned bits) {
  float x;
  memcpy(&x, &bits, 4);
  return x;
}

unsigned f16_of(double x) {
  const double magnitude = fabs(x);
  const unsigned sign = signbit(x) ? 0x8000 : 0;
  if (isnan(x)) return 0x7fff;
  if (magnitude >= 65536) return sign | 0x7c00;
  const int exponent = magnitude < 0x1p-14 ? -14 : ilogb(magnitude);
  const unsigned quotient = (unsigned)nearbyint(ldexp(magnitude, 10 - exponent));
  return sign | (((unsigned)(exponent + 14) << 10) + quotient);
}

unsigned bf16_of(double x) {
  return bits_of((float)x) >> 16;
}

float f16_value(unsigned half) {
  const int exponent = half >> 10 & 31, mantissa = half & 0x3ff;
  double x = exponent ? ldexp(1024 + mantissa, exponent - 25) : ldexp(mantissa, -24);
  if (exponent == 31) x = mantissa ? NAN : INFINITY;
  return (float)(half & 0x8000 ? -x : x);
}

/* ---- inputs ---- */

static unsigned next(unsigned *seed) {
  *seed = *seed * 1664525u + 1013904223u;
  return *seed ^ *seed >> 15;
}

static double uniform(unsigned *seed, double lo, double hi) {
  return lo + (hi - lo) * ((double)next(seed) / 4294967296.0);
}

void fill_bits(unsigned *in, int words, double lo, double hi) {
  unsigned seed = 1;
  (void)lo;
  (void)hi;
  for (int i = 0; i < words; i++) in[i] = next(&seed);
}

void fill_floats(unsigned *in, int words, double lo, double hi) {
  static const float special[10] = {0.0f,      -0.0f, 1.0f,      -1.0f,      INFINITY,
                                    -INFINITY, NAN,   0x1p-126f, -0x1p-130f, 3e38f};
  const int n = words / 2;
  unsigned seed = 2;
  for (int i = 0; i < n; i++) {
    in[i] = bits_of(i < 100 ? special[i % 10] : (float)uniform(&seed, lo, hi));
    in[n + i] = bits_of(i < 100 ? special[i / 10] : (float)uniform(&seed, lo, hi));
  }
}

static const float f16_special[] = {
    0,
    0x1p-130f, /* subnormal in fp32 */
    0x1p-126f,
    0x1.fffffep-26f, /* below the tie of 0 and the smallest subnormal */
    0x1p-25f,        /* the tie */
    0x1.000002p-25f,
    0x1p-24f,
    0x1.8p-24f, /* the next ties */
    0x1.4p-23f,
    0x1.ff8p-15f, /* the largest subnormal */
    0x1.ffap-15f,
    0x1.ffcp-15f, /* the tie of it and the smallest normal */
    0x1p-14f,
    0x1.002p0f,    /* a tie, to the even one below */
    0x1.002002p0f, /* above it */
    0x1.006p0f,    /* a tie, to the even one above */
    0x1.ffep0f,    /* a tie that carries into the exponent */
    65504,         /* the largest */
    65519.996f,
    65520, /* its tie with what would be next: infinity */
    65535,
    65536,
    3e38f,
    INFINITY,
    NAN,
};
enum { F16_SPECIAL = sizeof f16_special / sizeof f16_special[0] };

void fill_f16_rounding(unsigned *in, int words, double lo, double hi) {
  const int n = words / 2;
  unsigned seed = 4;
  for (int i = 0; i < n; i++) {
    const double random = uniform(&seed, -2, 2) * exp2(floor(uniform(&seed, lo, hi)));
    const float x = i < 2 * F16_SPECIAL ? f16_special[i / 2] : (float)random;
    in[i] = in[2 * n - 1 - i] = bits_of(i % 2 ? -x : x);
  }
}

void fill_f16(unsigned *in, int words, double lo, double hi) {
  unsigned seed = 5;
  (void)lo;
  (void)hi;
  memset(in, 0, sizeof *in * (size_t)words);
  for (int i = 0; i < words; i++) {
    const unsigned mantissas[4] = {0, 1, next(&seed) & 0x3ff, 0x3ff};
    const unsigned x = (unsigned)(i / 4 % 64) << 10 | mantissas[i % 4];
    in[i] |= x;
    in[words - 1 - i] |= x << 16;
  }
}

static void fill_mma(unsigned *in, int words, double lo, double hi, unsigned (*narrow)(double)) {
  const bool whole = lo == 0;
  unsigned seed = 3;
  for (int i = 0; i < words; i++) {
    double x = uniform(&seed, whole ? -hi : lo, hi), y = uniform(&seed, whole ? -hi : lo, hi);
    if (whole) {
      x = floor(x);
      y = floor(y);
    }
    in[i] = i % 10 < 6 ? narrow(x) | narrow(y) << 16 : bits_of((float)x);
  }
}

void fill_mma_bf16(unsigned *in, int words, double lo, double hi) {
  fill_mma(in, words, lo, hi, bf16_of);
}

void fill_mma_f16(unsigned *in, int words, double lo, double hi) {
  fill_mma(in, words, lo, hi, f16_of);
}

void fill_mma_f32(unsigned *in, int words, double lo, double hi) {
  const bool whole = lo == 0;
  unsigned seed = 7;
  for (int i = 0; i < words; i++) {
    const double x = uniform(&seed, whole ? -hi : lo, hi);
    in[i] = bits_of((float)(whole ? floor(x) : x));
  }
}

void fill_mma_subnormal(unsigned *in, int words, double lo, double hi) {
  unsigned seed = 6;
  for (int i = 0; i < words; i++) {
    const double x = floor(uniform(&seed, lo, hi)), y = floor(uniform(&seed, lo, hi));
    in[i] = i % 10 < 6 ? f16_of(ldexp(x, -24)) | f16_of(ldexp(y, -24)) << 16
                       : bits_of((float)ldexp(x, -48));
  }
}
