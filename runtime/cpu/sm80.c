/* SPDX-License-Identifier: MIT
 * sm80.c - the sm_80 class of operations: shuffles, ldmatrix, mma, asynchronous copies.
 *
 * A warp operation is done once, by the lane that arrives last, on what the 32 lanes have posted.
 * Fragment layouts are PTX's: lane l holds row l / 4 and columns 2 (l % 4) and the next.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "machine.h"
#include "race.h"

/* ---- shuffles ---- */

struct shuffle_post {
  float x, result;
  int kind, arg;
};

/* The lane that `lane` reads. */
static int shuffle_source(int lane, const struct shuffle_post *p) {
  const int arg = p->arg & (WARP - 1);
  switch (p->kind) {
  case TILE_SHUFFLE_XOR: return lane ^ arg;
  case TILE_SHUFFLE_UP: return lane >= arg ? lane - arg : lane;
  default: return arg;
  }
}

float host_shuffle(float x, int kind, int arg, const struct tile_site *at) {
  struct machine *m = machine_current();
  struct shuffle_post post = {x, x, kind, arg};
  if (!warp_gather(m, &post, at)) return post.result;
  for (int i = 0; i < WARP; i++) {
    struct shuffle_post *to = warp_lane(m, i)->post;
    const struct shuffle_post *from = warp_lane(m, shuffle_source(i, to))->post;
    to->result = from->x;
  }
  warp_release(m);
  return post.result;
}

/* ---- ldmatrix ---- */

struct ldmatrix_post {
  const void *row;
  struct tile_matrices result;
};

static void load_row(struct machine *m, int lane, unsigned short ret[8],
                     const struct tile_site *at) {
  const struct ldmatrix_post *p = warp_lane(m, lane)->post;
  if ((uintptr_t)p->row % 16)
    machine_fail(m, at, "lane %d's row is not 16-byte aligned (%p)", lane, p->row);
  if (!smem_holding(&m->block->smem, p->row, 16))
    machine_fail(m, at, "lane %d's row lies in no shared array", lane);
  memcpy(ret, p->row, 16);
}

/* Matrix i of the four: its rows are at the addresses of lanes 8i to 8i + 7. Inlined, so that trans
 * is known. */
static inline __attribute__((always_inline)) void load_matrix(struct machine *m, int i, bool trans,
                                                              const struct tile_site *at) {
  unsigned short x[8][8];
  for (int row = 0; row < 8; row++) load_row(m, i * 8 + row, x[row], at);
  for (int lane = 0; lane < WARP; lane++) {
    struct ldmatrix_post *p = warp_lane(m, lane)->post;
    const int r = lane / 4, c = lane % 4 * 2;
    p->result.r[i] =
        trans ? x[c][r] | (unsigned)x[c + 1][r] << 16 : x[r][c] | (unsigned)x[r][c + 1] << 16;
  }
}

struct tile_matrices host_ldmatrix(const void *row, int trans, const struct tile_site *at) {
  struct machine *m = machine_current();
  struct ldmatrix_post post = {.row = row};
  if (m->race) host_access(row, 16, 0, __builtin_return_address(0));
  if (!warp_gather(m, &post, at)) return post.result;
  for (int i = 0; i < 4; i++) {
    if (trans)
      load_matrix(m, i, true, at);
    else
      load_matrix(m, i, false, at);
  }
  warp_release(m);
  return post.result;
}

/* ---- mma ----
 * The pairs of 16-bit values stay together until they are multiplied: word p of a row of A, or of a
 * column of B, holds k = 2p and 2p + 1. */

typedef float row8 __attribute__((vector_size(32)));
typedef unsigned words8 __attribute__((vector_size(32)));

struct mma_tiles {
  _Alignas(32) float d[16][8];    /* [m][n] */
  _Alignas(32) unsigned b[8][8];  /* [p][n] */
  _Alignas(32) unsigned a[16][8]; /* [m][p] */
};

/* The low halves of 8 words, and the high ones. */
typedef void widen_fn(const unsigned x[8], row8 *ret_low, row8 *ret_high);

static inline __attribute__((always_inline)) void widen_bf16(const unsigned x[8], row8 *ret_low,
                                                             row8 *ret_high) {
  words8 words;
  memcpy(&words, x, sizeof words);
  *ret_low = (row8)(words << 16);
  *ret_high = (row8)(words & 0xffff0000u);
}

static inline __attribute__((always_inline)) void widen_f16(const unsigned x[8], row8 *ret_low,
                                                            row8 *ret_high) {
  for (int i = 0; i < 8; i++) {
    (*ret_low)[i] = tile_f16_f32(x[i]);
    (*ret_high)[i] = tile_f16_f32(x[i] >> 16);
  }
}

/* Products of two bf16, or two fp16, are exact in fp32: a fused multiply-add changes no bit. */
static inline __attribute__((always_inline)) void multiply(struct mma_tiles *t, widen_fn *widen) {
  row8 b[16], a[2];
  for (int p = 0; p < 8; p++) widen(t->b[p], &b[2 * p], &b[2 * p + 1]);
  for (int i = 0; i < 16; i++) {
    row8 d;
    memcpy(&d, t->d[i], sizeof d);
    widen(t->a[i], &a[0], &a[1]);
    for (int k = 0; k < 16; k++) d += a[k % 2][k / 2] * b[k];
    memcpy(t->d[i], &d, sizeof d);
  }
}

typedef void multiply_fn(struct mma_tiles *t);

static void multiply_bf16(struct mma_tiles *t) {
  multiply(t, widen_bf16);
}
static void multiply_f16(struct mma_tiles *t) {
  multiply(t, widen_f16);
}

#if defined(__x86_64__)
__attribute__((target("avx2,fma"))) static void multiply_bf16_avx2(struct mma_tiles *t) {
  multiply(t, widen_bf16);
}
__attribute__((target("avx2,fma"))) static void multiply_f16_avx2(struct mma_tiles *t) {
  multiply(t, widen_f16);
}
static bool has_avx2(void) {
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}
#else
#define multiply_bf16_avx2 multiply_bf16
#define multiply_f16_avx2 multiply_f16
static bool has_avx2(void) {
  return false;
}
#endif

static void gather(const struct tile_mma *f, int lane, struct mma_tiles *t) {
  const int r = lane / 4, c = lane % 4;
  for (int i = 0; i < 4; i++) t->a[r + i % 2 * 8][c + i / 2 * 4] = f->a[i];
  for (int i = 0; i < 2; i++) t->b[c + i * 4][r] = f->b[i];
  for (int i = 0; i < 2; i++) memcpy(&t->d[r + i * 8][2 * c], f->d + 2 * i, 8);
}

static void scatter(const struct mma_tiles *t, int lane, struct tile_mma *f) {
  const int r = lane / 4, c = lane % 4;
  for (int i = 0; i < 2; i++) memcpy(f->d + 2 * i, &t->d[r + i * 8][2 * c], 8);
}

static struct tile_accumulator mma(struct tile_mma *fragments, multiply_fn *any, multiply_fn *avx2,
                                   const struct tile_site *at) {
  struct machine *m = machine_current();
  struct tile_accumulator sum;
  if (warp_gather(m, fragments, at)) {
    struct mma_tiles t;
    for (int lane = 0; lane < WARP; lane++) gather(warp_lane(m, lane)->post, lane, &t);
    (has_avx2() ? avx2 : any)(&t);
    for (int lane = 0; lane < WARP; lane++) scatter(&t, lane, warp_lane(m, lane)->post);
    warp_release(m);
  }
  memcpy(&sum, fragments->d, sizeof sum);
  return sum;
}

struct tile_accumulator host_mma_bf16(struct tile_mma fragments, const struct tile_site *at) {
  return mma(&fragments, multiply_bf16, multiply_bf16_avx2, at);
}

struct tile_accumulator host_mma_f16(struct tile_mma fragments, const struct tile_site *at) {
  return mma(&fragments, multiply_f16, multiply_f16_avx2, at);
}

/* ---- mma of floats ----
 * On a GPU the sum of the products has fp32's precision and is then added to d; so it is here. */

struct mma_tiles_f32 {
  _Alignas(32) float d[16][8]; /* [m][n] */
  _Alignas(32) float b[16][8]; /* [k][n] */
  float a[16][16];             /* [m][k] */
};

static inline __attribute__((always_inline)) void multiply_floats(struct mma_tiles_f32 *t) {
  for (int i = 0; i < 16; i++) {
    row8 d, b, sum = {0};
    for (int k = 0; k < 16; k++) {
      memcpy(&b, t->b[k], sizeof b);
      sum += t->a[i][k] * b;
    }
    memcpy(&d, t->d[i], sizeof d);
    d += sum;
    memcpy(t->d[i], &d, sizeof d);
  }
}

static void multiply_f32(struct mma_tiles_f32 *t) {
  multiply_floats(t);
}

#if defined(__x86_64__)
__attribute__((target("avx2,fma"))) static void multiply_f32_avx2(struct mma_tiles_f32 *t) {
  multiply_floats(t);
}
#else
#define multiply_f32_avx2 multiply_f32
#endif

static void gather_f32(const struct tile_mma_f32 *f, int lane, struct mma_tiles_f32 *t) {
  const int r = lane / 4, c = 2 * (lane % 4);
  for (int i = 0; i < 4; i++) memcpy(&t->a[r + i % 2 * 8][c + i / 2 * 8], f->a + 2 * i, 8);
  for (int i = 0; i < 4; i++) t->b[c + i % 2 + i / 2 * 8][r] = f->b[i];
  for (int i = 0; i < 2; i++) memcpy(&t->d[r + i * 8][c], f->d + 2 * i, 8);
}

struct tile_accumulator host_mma_f32(struct tile_mma_f32 fragments, const struct tile_site *at) {
  struct machine *m = machine_current();
  struct tile_accumulator sum;
  if (warp_gather(m, &fragments, at)) {
    struct mma_tiles_f32 t;
    for (int lane = 0; lane < WARP; lane++) gather_f32(warp_lane(m, lane)->post, lane, &t);
    (has_avx2() ? multiply_f32_avx2 : multiply_f32)(&t);
    for (int lane = 0; lane < WARP; lane++) {
      struct tile_mma_f32 *to = warp_lane(m, lane)->post;
      for (int i = 0; i < 2; i++) memcpy(to->d + 2 * i, &t.d[lane / 4 + i * 8][2 * (lane % 4)], 8);
    }
    warp_release(m);
  }
  memcpy(&sum, fragments.d, sizeof sum);
  return sum;
}

/* ---- asynchronous copies ----
 * While a copy is in flight its destination holds NaN, so that a missing wait shows; with
 * ASYNC_EARLY it is there at once, so that a missing barrier before the issue shows. */

enum { IN_FLIGHT_BYTE = 0xFF };

static void land(struct copy *c) {
  if (c->landed) return;
  memcpy(c->dst, c->src, (size_t)c->src_bytes);
  memset((char *)c->dst + c->src_bytes, 0, (size_t)(c->bytes - c->src_bytes));
  c->landed = true;
}

static void check_copy(struct machine *m, const struct copy *c) {
  if (c->src_bytes < 0 || c->src_bytes > c->bytes)
    machine_fail(m, c->site, "%d source bytes of a copy of %d", c->src_bytes, c->bytes);
  if ((uintptr_t)c->dst % (unsigned)c->bytes || (uintptr_t)c->src % (unsigned)c->bytes)
    machine_fail(m, c->site, "misaligned: from %p to %p, %d bytes", c->src, c->dst, c->bytes);
  const struct smem *smem = &m->block->smem;
  if (!smem_holding(smem, c->dst, (size_t)c->bytes))
    machine_fail(m, c->site, "the destination lies in no shared array");
  if (smem_holding(smem, c->src, 1))
    machine_fail(m, c->site, "the source is shared memory; it must be global");
}

static struct copy *new_copy(struct machine *m, const struct tile_site *at) {
  struct thread *t = m->self;
  if (t->ncopies == t->copies_cap) {
    const int cap = t->copies_cap ? 2 * t->copies_cap : 32;
    struct copy *p = realloc(t->copies, (size_t)cap * sizeof *p);
    if (!p) machine_fail(m, at, "out of memory");
    t->copies = p;
    t->copies_cap = cap;
  }
  return &t->copies[t->ncopies++];
}

static bool lands_now(struct machine *m) {
  switch (m->options.async) {
  case ASYNC_EARLY: return true;
  case ASYNC_RANDOM: return machine_dice(m, 2);
  default: return false;
  }
}

void host_cp_async(void *dst, const void *src, int bytes, int src_bytes,
                   const struct tile_site *at) {
  struct machine *m = machine_current();
  struct copy c = {.dst = dst,
                   .src = src,
                   .bytes = bytes,
                   .src_bytes = src_bytes,
                   .group = m->self->group,
                   .site = at,
                   .pc = __builtin_return_address(0)};
  check_copy(m, &c);
  if (m->race) race_copy_begin(m, &c);
  if (lands_now(m))
    land(&c);
  else
    memset(dst, IN_FLIGHT_BYTE, (size_t)bytes);
  *new_copy(m, at) = c;
}

void host_cp_async_commit(void) {
  struct machine *m = machine_current();
  struct thread *t = m->self;
  t->group++;
  if (m->options.async != ASYNC_RANDOM) return;
  for (int i = 0; i < t->ncopies; i++)
    if (!machine_dice(m, 4)) land(&t->copies[i]);
}

void host_cp_async_wait(int groups, const struct tile_site *at) {
  struct machine *m = machine_current();
  struct thread *t = m->self;
  if (groups < 0) machine_fail(m, at, "%d groups", groups);
  int n = 0;
  for (; n < t->ncopies && t->copies[n].group < t->group - groups; n++) {
    land(&t->copies[n]);
    if (m->race) race_copy_end(m, &t->copies[n]);
  }
  t->ncopies -= n;
  if (n && t->ncopies) memmove(t->copies, t->copies + n, (size_t)t->ncopies * sizeof *t->copies);
}
