/* SPDX-License-Identifier: MIT
 * test_cpu_blocks.c - runtime/cpu with several resident blocks: they interleave, share nothing but
 * global memory, give the results that they give one after another, and fail for themselves.
 *
 * The kernels are in kernels/cpu_blocks.k.c and are compiled once.
 */
#define _GNU_SOURCE
#include "support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../runtime/cpu/asan.h"
#include "kernel_module.h"

struct io {
  float *count, *out;
  long long n;
};

enum { SMEM = 1024 };

static int setup(void **state) {
  *state = kernel_module("cpu_blocks", MKC_CHECK_NONE);
  return *state ? 0 : -1;
}

static int teardown(void **state) {
  module_destroy(*state);
  return 0;
}

/* The report, "" for none. The caller frees. */
static char *report(void **state, const char *name, const struct io *io, long long blocks,
                    const struct launch_options *options) {
  struct error err = {0};
  const mkc_status status =
      launch_run(module_kernel(*state, name), io, blocks, SMEM, options, &err);
  if (status) assert_int_equal(status, MKC_E_CHECK);
  char *text = strdup(error_text(&err));
  error_finish(&err);
  return text;
}

static void run(void **state, const char *name, const struct io *io, long long blocks,
                const struct launch_options *options) {
  char *text = report(state, name, io, blocks, options);
  assert_string_equal(text, "");
  free(text);
}

/* ---- one beside the other ---- */

static void test_in_turn(void **state) {
  float count[1] = {0}, out[12];
  const struct launch_options options = {.async = ASYNC_LATE};
  run(state, "tickets", &(struct io){count, out, 4}, 3, &options);
  for (int i = 0; i < 12; i++) assert_true(out[i] == (float)i);
}

/* Two at once: each gets every second number. The third block begins when one of them has ended. */
static void test_interleaved(void **state) {
  float count[1] = {0}, out[12];
  const struct launch_options options = {.async = ASYNC_LATE, .resident = 2};
  run(state, "tickets", &(struct io){count, out, 4}, 3, &options);
  for (int i = 0; i < 8; i++) assert_true(out[i] == (float)(i % 4 * 2 + i / 4));
  for (int i = 8; i < 12; i++) assert_true(out[i] >= 7 && out[i] < 12);
}

/* Blocks that wait for each other. A place is free when both of a pair have ended, or one of two.
 */
static void test_pairs(void **state) {
  for (int resident = 1; resident <= 4; resident++) {
    for (unsigned long long seed = 0; seed < 4; seed++) {
      float count[8] = {0}, out[8];
      const struct launch_options options = {.seed = seed, .resident = resident};
      run(state, "pairs", &(struct io){count, out, 1000}, 8, &options);
      for (int i = 0; i < 8; i++) assert_true(out[i] == (resident > 1 || i % 2 ? 1.0f : 0.0f));
    }
  }
}

/* ---- what is a block's own ---- */

static void test_private(void **state) {
  enum { BLOCKS = 20, THREADS = 96, ROUNDS = 6 };
  static float out[BLOCKS * THREADS];
  static const int residents[] = {1, 2, 3, MAX_RESIDENT};
  for (size_t r = 0; r < 4; r++) {
    for (unsigned long long seed = 0; seed < 4; seed++) {
      const struct launch_options options = {.seed = seed, .resident = residents[r]};
      memset(out, 0, sizeof out);
      run(state, "private", &(struct io){NULL, out, ROUNDS}, BLOCKS, &options);
      for (int i = 0; i < BLOCKS * THREADS; i++) assert_true(out[i] == ROUNDS);
    }
  }
}

/* ---- a whole kernel ---- */

enum { HEADS = 5, T = 150, D = 64, ROWS = HEADS * T * D, STATES = HEADS * D * D };

struct gla {
  unsigned short *q, *k, *v;
  float *g;
  unsigned short *o;
  float *state;
  int T;
  float scale;
};

/* bf16 in [-1, 1) */
static void draw(unsigned short *x, unsigned seed) {
  for (int i = 0; i < ROWS; i++) {
    seed = seed * 1664525u + 1013904223u;
    const float value = (float)(int)(seed >> 25) / 64.0f - 1.0f;
    unsigned bits;
    memcpy(&bits, &value, 4);
    x[i] = (unsigned short)(bits >> 16);
  }
}

static void test_whole_kernel(void **state) {
  (void)state;
  static _Alignas(16) unsigned short q[ROWS], k[ROWS], v[ROWS], o[ROWS], expected[ROWS];
  static _Alignas(16) float g[HEADS * T], ht[STATES], expected_ht[STATES];
  static const struct launch_options all[] = {
      {.async = ASYNC_LATE},
      {.async = ASYNC_LATE, .resident = 2},
      {.async = ASYNC_EARLY, .resident = 3},
      {.async = ASYNC_LATE, .resident = MAX_RESIDENT}, /* more than there are */
      {.async = ASYNC_RANDOM, .seed = 1, .resident = 2},
      {.async = ASYNC_RANDOM, .seed = 2, .resident = 3},
      {.async = ASYNC_RANDOM, .seed = 3, .resident = 5},
  };
  struct module *module = kernel_module("gla_fwd", MKC_CHECK_NONE);
  assert_non_null(module);
  draw(q, 1), draw(k, 2), draw(v, 3);
  for (int i = 0; i < HEADS * T; i++) g[i] = -0.01f * (float)(i % 40);
  const struct gla args = {q, k, v, g, o, ht, T, 0.125f};
  for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
    struct error err = {0};
    memset(o, 0xFF, sizeof o);
    memset(ht, 0xFF, sizeof ht);
    launch_run(module_kernel(module, "gla_fwd"), &args, HEADS, 57600, &all[i], &err);
    assert_string_equal(error_text(&err), "");
    if (!i) memcpy(expected, o, sizeof o);
    if (!i) memcpy(expected_ht, ht, sizeof ht);
    assert_memory_equal(o, expected, sizeof o);
    assert_memory_equal(ht, expected_ht, sizeof ht);
  }
  module_destroy(module);
}

/* ---- failures ---- */

/* The blocks that can go on do so to their ends, in the place that is left. */
static void test_one_deadlock(void **state) {
  for (unsigned long long seed = 0; seed < 4; seed++) {
    float out[5] = {0};
    const struct launch_options options = {.seed = seed, .resident = 2};
    char *text = report(state, "stuck", &(struct io){NULL, out, 1 << 1}, 5, &options);
    assert_string_equal(text, "deadlock: no thread of block 1 can go on\n"
                              "  threads 0 to 31 have ended\n"
                              "  threads 32 to 63 wait in barrier_sync at stuck.k.c:100");
    for (int i = 0; i < 5; i++) assert_true(out[i] == (i == 1 ? 0.0f : 1.0f));
    free(text);
  }
}

/* All that are resident are told; what had no place did not begin. */
static void test_two_deadlocks(void **state) {
  float out[5] = {0};
  const struct launch_options options = {.resident = 2};
  char *text = report(state, "stuck", &(struct io){NULL, out, 1 << 0 | 1 << 2}, 5, &options);
  assert_contains(text, "deadlock: no thread of block 0 can go on\n");
  assert_contains(text, "\ndeadlock: no thread of block 2 can go on\n");
  for (int i = 0; i < 5; i++) assert_true(out[i] == (i == 1 ? 1.0f : 0.0f));
  free(text);
}

static void test_overrun(void **state) {
  struct asan asan;
  if (asan_find(&asan)) skip(); /* there the red zones are the sanitizer's */
  for (int resident = 1; resident <= 3; resident++) {
    const struct launch_options options = {.resident = resident};
    char *text = report(state, "overrun", &(struct io){0}, 3, &options);
    assert_string_equal(text, "a write went past an end of shared array x (block 1)");
    free(text);
  }
}

static void test_too_many(void **state) {
  struct error err = {0};
  const struct launch_options options = {.resident = MAX_RESIDENT + 1};
  const mkc_status status =
      launch_run(module_kernel(*state, "tickets"), &(struct io){0}, 1, SMEM, &options, &err);
  assert_int_equal(status, MKC_E_INTERNAL);
  assert_contains(error_text(&err), "17 resident blocks");
  error_finish(&err);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_in_turn),       cmocka_unit_test(test_interleaved),
      cmocka_unit_test(test_pairs),         cmocka_unit_test(test_private),
      cmocka_unit_test(test_whole_kernel),  cmocka_unit_test(test_one_deadlock),
      cmocka_unit_test(test_two_deadlocks), cmocka_unit_test(test_overrun),
      cmocka_unit_test(test_too_many),
  };
  return cmocka_run_group_tests(tests, setup, teardown);
}
