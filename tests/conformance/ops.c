/* SPDX-License-Identifier: MIT
 * ops.c - the table of operations, see ops.h. The expectations are written from the PTX manual and
 * <math.h>, not from the CPU device.
 */
#include "ops.h"

#include <math.h>

#include "inputs.h"

/* ---- pointwise ---- */

static void expect_function(const struct op *op, const unsigned *in, unsigned *out) {
  for (int i = 0; i < op->out_words; i++)
    out[i] = bits_of((float)op->function(float_of(in[i]), float_of(in[op->in_words / 2 + i])));
}

#define FUNCTION(name, value)                   \
  static double name##_of(double x, double y) { \
    (void)y;                                    \
    return value;                               \
  }

static double flushed(double x) {
  return fabs(x) < 0x1p-126 ? copysign(0, x) : x;
}

/* no subnormal results */
static double exp2_of(double x, double y) {
  const double r = exp2(x);
  (void)y;
  return r < 0x1p-126 ? 0 : r;
}

/* A number wins against a NaN; -0 is less than +0. */
static double min_of(double x, double y) {
  if (isnan(x) || isnan(y)) return isnan(x) ? y : x;
  return x < y || (x == y && signbit(x)) ? x : y;
}

FUNCTION(exp, exp(x))
FUNCTION(log, log(x))
FUNCTION(log1p, log1p(x))
FUNCTION(sqrt, sqrt(x))
FUNCTION(rcp, flushed(1 / flushed(x)))
FUNCTION(abs, fabs(x))
FUNCTION(max, -min_of(-x, -y))
FUNCTION(pow, pow(x, y))
FUNCTION(sigmoid, 1 / (1 + exp(-x)))
FUNCTION(softplus, fmax(x, 0) + log1p(exp(-fabs(x))))
FUNCTION(silu, x / (1 + exp(-x)))
FUNCTION(tanh, tanh(x))
FUNCTION(elu, x > 0 ? x : expm1(x))
FUNCTION(elu1, x > 0 ? x + 1 : exp(x))
FUNCTION(sin, sin(x))
FUNCTION(cos, cos(x))

static unsigned round_bf16(unsigned bits) {
  if ((bits & 0x7fffffffu) > 0x7f800000u) return 0x7fff;
  const unsigned down = bits >> 16, rest = bits & 0xffff;
  return down + (rest > 0x8000 || (rest == 0x8000 && (down & 1)));
}

static void expect_pack_bf16(const struct op *op, const unsigned *in, unsigned *out) {
  for (int i = 0; i < op->out_words; i++)
    out[i] = round_bf16(in[i]) | round_bf16(in[op->out_words + i]) << 16;
}

static void expect_low_bf16(const struct op *op, const unsigned *in, unsigned *out) {
  for (int i = 0; i < op->out_words; i++) out[i] = in[i] << 16;
}

static void expect_high_bf16(const struct op *op, const unsigned *in, unsigned *out) {
  for (int i = 0; i < op->out_words; i++) out[i] = in[i] & 0xffff0000u;
}

/* The one NaN that the GPU gives, without a sign, where it converts or computes. */
static unsigned canonical(float x) {
  return isnan(x) ? 0x7fffffff : bits_of(x);
}

static void expect_pack_f16(const struct op *op, const unsigned *in, unsigned *out) {
  for (int i = 0; i < op->out_words; i++)
    out[i] = f16_of(float_of(in[i])) | f16_of(float_of(in[op->out_words + i])) << 16;
}

static void expect_low_f16(const struct op *op, const unsigned *in, unsigned *out) {
  for (int i = 0; i < op->out_words; i++) out[i] = canonical(f16_value(in[i] & 0xffff));
}

static void expect_high_f16(const struct op *op, const unsigned *in, unsigned *out) {
  for (int i = 0; i < op->out_words; i++) out[i] = canonical(f16_value(in[i] >> 16));
}

/* ---- threads ---- */

static void expect_ids(const struct op *op, const unsigned *in, unsigned *out) {
  (void)in;
  for (int i = 0; i < op->out_words / 4; i++) {
    const int ids[4] = {i % 128, i % 128 / 32, i % 32, i / 128};
    for (int j = 0; j < 4; j++) out[4 * i + j] = bits_of((float)ids[j]);
  }
}

static void reverse(const struct op *op, const unsigned *in, int group, unsigned *out) {
  for (int i = 0; i < op->out_words; i++) out[i] = in[i - i % group + group - 1 - i % group];
}

static void expect_reverse_128(const struct op *op, const unsigned *in, unsigned *out) {
  reverse(op, in, 128, out);
}

static void expect_reverse_64(const struct op *op, const unsigned *in, unsigned *out) {
  reverse(op, in, 64, out);
}

static void expect_reverse_32(const struct op *op, const unsigned *in, unsigned *out) {
  reverse(op, in, 32, out);
}

static const int shuffles[4] = {1, 4, 16, 31};

static void expect_xor(const struct op *op, const unsigned *in, unsigned *out) {
  for (int i = 0; i < op->out_words; i++) out[i] = in[(i / 4) ^ shuffles[i % 4]];
}

static void expect_up(const struct op *op, const unsigned *in, unsigned *out) {
  for (int i = 0; i < op->out_words; i++) {
    const int lane = i / 4 % 32, d = shuffles[i % 4];
    out[i] = in[i / 4 - (lane < d ? 0 : d)];
  }
}

static void expect_idx(const struct op *op, const unsigned *in, unsigned *out) {
  for (int i = 0; i < op->out_words; i++) {
    const int lane = i / 4 % 32, from[4] = {0, 31, (7 * lane + 3) % 32, lane / 4};
    out[i] = in[i / 4 - lane + from[i % 4]];
  }
}

/* ---- memory ---- */

/* Threads 2 i and 2 i + 1 have swapped their `words` words. */
static void swap(const struct op *op, const unsigned *in, int words, unsigned *out) {
  for (int i = 0; i < op->out_words; i++) out[i] = in[((i / words) ^ 1) * words + i % words];
}

static void expect_swap_1(const struct op *op, const unsigned *in, unsigned *out) {
  swap(op, in, 1, out);
}

static void expect_swap_2(const struct op *op, const unsigned *in, unsigned *out) {
  swap(op, in, 2, out);
}

static void expect_swap_4(const struct op *op, const unsigned *in, unsigned *out) {
  swap(op, in, 4, out);
}

/* Thread t has its first t % (bytes + 1) bytes, of `words` words. Little-endian: byte j of a word
 * is bits 8 j and up. */
static void part(const struct op *op, const unsigned *in, int words, unsigned *out) {
  for (int i = 0; i < op->out_words; i++) {
    const int left = i / words % 128 % (4 * words + 1) - i % words * 4;
    out[i] = left >= 4 ? in[i] : left <= 0 ? 0 : in[i] & ((1u << 8 * left) - 1);
  }
}

static void expect_part_of_16(const struct op *op, const unsigned *in, unsigned *out) {
  part(op, in, 4, out);
}

static void expect_part_of_8(const struct op *op, const unsigned *in, unsigned *out) {
  part(op, in, 2, out);
}

static void expect_part_of_4(const struct op *op, const unsigned *in, unsigned *out) {
  for (int i = 0; i < op->out_words; i++) out[i] = i % 128 % 3 == 0 ? 0 : in[i];
}

static void expect_groups(const struct op *op, const unsigned *in, unsigned *out) {
  for (int i = 0; i < op->out_words; i++) {
    const int other = (i / 8) ^ 1, word = i % 4, second = i % 8 / 4;
    out[i] = second && word >= 2 ? 0 : in[other * 4 + word];
  }
}

/* ---- matrices ---- */

/* Element (row, column) of matrix m of a block whose lane l points at row 5 l % 32. */
static unsigned element(const unsigned *in, int m, int row, int column) {
  return in[5 * (8 * m + row) % 32 * 4 + column / 2] >> 16 * (column % 2) & 0xffff;
}

static void load_matrices(const struct op *op, const unsigned *in, int trans, unsigned *out) {
  for (int i = 0; i < op->out_words; i++) {
    const unsigned *block = in + i / 128 * 128;
    const int lane = i / 4 % 32, m = i % 4, row = lane / 4, column = lane % 4 * 2;
    out[i] = trans ? element(block, m, column, row) | element(block, m, column + 1, row) << 16
                   : element(block, m, row, column) | element(block, m, row, column + 1) << 16;
  }
}

static void expect_ldmatrix(const struct op *op, const unsigned *in, unsigned *out) {
  load_matrices(op, in, 0, out);
}

static void expect_ldmatrix_trans(const struct op *op, const unsigned *in, unsigned *out) {
  load_matrices(op, in, 1, out);
}

struct fragments { /* of a lane */
  double a[8], b[4], d[4];
};

/* Where element e of a lane's fragment lies: PTX manual, "Matrix Fragments for mma.m16n8k16". */
static void multiply(const struct fragments f[32], unsigned *out) {
  double A[16][16], B[16][8];
  for (int lane = 0; lane < 32; lane++) {
    const int group = lane >> 2, member = lane & 3;
    for (int e = 0; e < 8; e++) {
      const int row = e < 2 || (e >= 4 && e < 6) ? group : group + 8;
      const int column = member * 2 + (e & 1) + (e < 4 ? 0 : 8);
      A[row][column] = f[lane].a[e];
    }
    for (int e = 0; e < 4; e++) {
      const int row = member * 2 + (e & 1) + (e < 2 ? 0 : 8);
      B[row][group] = f[lane].b[e];
    }
  }
  for (int i = 0; i < 128; i++) {
    const int lane = i / 4, e = i % 4;
    const int row = (lane >> 2) + (e < 2 ? 0 : 8), column = (lane & 3) * 2 + (e & 1);
    double sum = f[lane].d[e];
    for (int k = 0; k < 16; k++) sum += A[row][k] * B[k][column];
    out[i] = bits_of((float)sum);
  }
}

static void mma_block(const unsigned *in, float (*widen)(unsigned half), unsigned *out) {
  struct fragments f[32];
  for (int lane = 0; lane < 32; lane++) {
    const unsigned *of_lane = in + 10 * lane;
    for (int e = 0; e < 8; e++) f[lane].a[e] = widen(of_lane[e / 2] >> 16 * (e & 1) & 0xffff);
    for (int e = 0; e < 4; e++) f[lane].b[e] = widen(of_lane[4 + e / 2] >> 16 * (e & 1) & 0xffff);
    for (int e = 0; e < 4; e++) f[lane].d[e] = float_of(of_lane[6 + e]);
  }
  multiply(f, out);
}

static void expect_mma_f32(const struct op *op, const unsigned *in, unsigned *out) {
  for (int b = 0; b < op->blocks; b++) {
    struct fragments f[32];
    for (int lane = 0; lane < 32; lane++) {
      const unsigned *of_lane = in + 512 * b + 16 * lane;
      for (int e = 0; e < 8; e++) f[lane].a[e] = float_of(of_lane[e]);
      for (int e = 0; e < 4; e++) f[lane].b[e] = float_of(of_lane[8 + e]);
      for (int e = 0; e < 4; e++) f[lane].d[e] = float_of(of_lane[12 + e]);
    }
    multiply(f, out + 128 * b);
  }
}

static float bf16_value(unsigned half) {
  return float_of(half << 16);
}

static void expect_mma_bf16(const struct op *op, const unsigned *in, unsigned *out) {
  for (int b = 0; b < op->blocks; b++) mma_block(in + 320 * b, bf16_value, out + 128 * b);
}

static void expect_mma_f16(const struct op *op, const unsigned *in, unsigned *out) {
  for (int b = 0; b < op->blocks; b++) mma_block(in + 320 * b, f16_value, out + 128 * b);
}

static void expect_clz(const struct op *op, const unsigned *in, unsigned *out) {
  for (int i = 0; i < 128 * op->blocks; i++) {
    const unsigned bits = (unsigned)i % 33, x = bits == 32 ? 0 : in[i] >> bits;
    for (out[i] = 0; out[i] < 32 && !(x >> (31 - out[i]) & 1);) out[i]++;
  }
}

static void expect_same(const struct op *op, const unsigned *in, unsigned *out) {
  for (int i = 0; i < 128 * op->blocks; i++) out[i] = in[i];
}

static void expect_nan(const struct op *op, const unsigned *in, unsigned *out) {
  (void)in;
  for (int i = 0; i < 128 * op->blocks; i++) out[i] = 0x7fffffffu;
}

/* ---- the table ---- */

#define POINTWISE(name, lo, hi, cpu, gpu)                                                       \
  {                                                                                             \
    "tile_" #name, "pointwise.k.c", "conform_tile_" #name, 512, 256, 2, 0, fill_floats, lo, hi, \
        expect_function, name##_of, COMPARE_ULP, cpu, gpu                                       \
  }
#define MOVE(name, file, kernel, in, out, blocks, smem, expect) \
  { name, file, kernel, in, out, blocks, smem, fill_bits, 0, 0, expect, NULL, COMPARE_BITS, 0, 0 }
#define MMA(type, what, words, fill, lo, hi, compare, cpu, gpu)                                  \
  {                                                                                              \
    "mma_m16n8k16_" #type ", " what, "matrix.k.c", "conform_mma_" #type, words, 256, 2, 0, fill, \
        lo, hi, expect_mma_##type, NULL, compare, cpu, gpu                                       \
  }
#define CONVERT(name, in, fill, lo, hi, expect)                                          \
  {                                                                                      \
#name, "pointwise.k.c", "conform_" #name, in, 256, 2, 0, fill, lo, hi, expect, NULL, \
        COMPARE_BITS, 0, 0                                                               \
  }

const struct op ops[] = {
    MOVE("tile_tid, _warp, _lane, _block", "threads.k.c", "conform_thread_ids", 4, 1024, 2, 0,
         expect_ids),
    MOVE("barrier_sync", "threads.k.c", "conform_reverse_block", 256, 256, 2, 512,
         expect_reverse_128),
    MOVE("barrier_named_sync", "threads.k.c", "conform_reverse_half", 256, 256, 2, 512,
         expect_reverse_64),
    MOVE("warp_sync", "threads.k.c", "conform_reverse_warp", 256, 256, 2, 512, expect_reverse_32),
    MOVE("warp_shuffle_xor_f32", "threads.k.c", "conform_shuffle_xor", 256, 1024, 2, 0, expect_xor),
    MOVE("warp_shuffle_up_f32", "threads.k.c", "conform_shuffle_up", 256, 1024, 2, 0, expect_up),
    MOVE("warp_shuffle_idx_f32", "threads.k.c", "conform_shuffle_idx", 256, 1024, 2, 0, expect_idx),
    MOVE("ld_u32, st_u32", "memory.k.c", "conform_ld_st_u32", 256, 256, 2, 4096, expect_swap_1),
    MOVE("ld_f32x2, st_f32x2", "memory.k.c", "conform_ld_st_f32x2", 512, 512, 2, 4096,
         expect_swap_2),
    MOVE("ld_f32x4, st_f32x4", "memory.k.c", "conform_ld_st_f32x4", 1024, 1024, 2, 4096,
         expect_swap_4),
    MOVE("ld_u32x4, st_u32x4", "memory.k.c", "conform_ld_st_u32x4", 1024, 1024, 2, 4096,
         expect_swap_4),
    MOVE("tile_prefetch", "memory.k.c", "conform_tile_prefetch", 256, 256, 2, 0, expect_same),
    MOVE("copy_16", "memory.k.c", "conform_copy_16", 1024, 1024, 2, 4096, expect_swap_4),
    MOVE("copy_8", "memory.k.c", "conform_copy_8", 512, 512, 2, 4096, expect_swap_2),
    MOVE("copy_4", "memory.k.c", "conform_copy_4", 256, 256, 2, 4096, expect_swap_1),
    MOVE("cp_async_16", "memory.k.c", "conform_cp_async_16", 1024, 1024, 2, 4096,
         expect_part_of_16),
    MOVE("cp_async_8", "memory.k.c", "conform_cp_async_8", 512, 512, 2, 4096, expect_part_of_8),
    MOVE("cp_async_4", "memory.k.c", "conform_cp_async_4", 256, 256, 2, 4096, expect_part_of_4),
    MOVE("cp_async_commit, _wait", "memory.k.c", "conform_cp_async_groups", 1024, 2048, 2, 4096,
         expect_groups),
    MOVE("ldmatrix_x4", "matrix.k.c", "conform_ldmatrix", 256, 256, 2, 512, expect_ldmatrix),
    MOVE("ldmatrix_x4_trans", "matrix.k.c", "conform_ldmatrix_trans", 256, 256, 2, 512,
         expect_ldmatrix_trans),
    MMA(bf16, "exact", 640, fill_mma_bf16, 0, 16, COMPARE_BITS, 0, 0),
    MMA(bf16, "rounded", 640, fill_mma_bf16, -1, 1, COMPARE_ABSOLUTE, 16, 64),
    MMA(f16, "exact", 640, fill_mma_f16, 0, 16, COMPARE_BITS, 0, 0),
    MMA(f16, "subnormal", 640, fill_mma_subnormal, -16, 16, COMPARE_BITS, 0, 0),
    MMA(f16, "rounded", 640, fill_mma_f16, -1, 1, COMPARE_ABSOLUTE, 16, 64),
    MMA(f32, "exact", 1024, fill_mma_f32, 0, 512, COMPARE_BITS, 0, 0),
    MMA(f32, "rounded", 1024, fill_mma_f32, -1, 1, COMPARE_ABSOLUTE, 16, 16),
    CONVERT(pack_bf16x2, 512, fill_floats, -100, 100, expect_pack_bf16),
    CONVERT(bf16lo_f32, 256, fill_bits, 0, 0, expect_low_bf16),
    CONVERT(bf16hi_f32, 256, fill_bits, 0, 0, expect_high_bf16),
    CONVERT(pack_f16x2, 512, fill_f16_rounding, -30, 18, expect_pack_f16),
    CONVERT(f16lo_f32, 256, fill_f16, 0, 0, expect_low_f16),
    CONVERT(f16hi_f32, 256, fill_f16, 0, 0, expect_high_f16),
    CONVERT(tile_clz, 256, fill_bits, 0, 0, expect_clz),
    CONVERT(tile_nan, 256, fill_bits, 0, 0, expect_nan),
    POINTWISE(exp2, -140, 120, 2, 4),
    POINTWISE(exp, -100, 80, 2, 4),
    POINTWISE(log, 0, 1000, 2, 4),
    POINTWISE(log1p, -1, 1000, 2, 4),
    POINTWISE(sqrt, 0, 1000, 0, 1),
    POINTWISE(rcp, -1000, 1000, 0, 1),
    POINTWISE(abs, -100, 100, 0, 0),
    POINTWISE(min, -100, 100, 0, 0),
    POINTWISE(max, -100, 100, 0, 0),
    POINTWISE(pow, 0.01, 20, 2, 10),
    POINTWISE(sigmoid, -80, 80, 4, 6),
    POINTWISE(softplus, -80, 80, 4, 6),
    POINTWISE(silu, -80, 80, 4, 6),
    POINTWISE(tanh, -10, 10, 2, 4),
    POINTWISE(elu, -2, 1, 8, 16),
    POINTWISE(elu1, -10, 5, 12, 16),
    POINTWISE(sin, -1000, 1000, 2, 4),
    POINTWISE(cos, -1000, 1000, 2, 4),
};

const int nops = sizeof ops / sizeof ops[0];
