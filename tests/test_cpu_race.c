/* SPDX-License-Identifier: MIT
 * test_cpu_race.c - runtime/cpu/race*.c: right kernels pass the race check, and each planted
 * mistake is reported with both places, whenever copies land.
 *
 * The kernels are in kernels/cpu_race.k.c and are compiled once.
 */
#define _GNU_SOURCE
#include "support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../runtime/cpu/watch.h"
#include "kernel_module.h"

struct io {
  const float *in;
  float *out;
  long long n;
};

enum { SMEM = 1024, BLOCKS = 3 };

static const struct launch_options all_options[] = {
    {.async = ASYNC_LATE},
    {.async = ASYNC_EARLY},
    {.async = ASYNC_RANDOM, .seed = 1},
    {.async = ASYNC_RANDOM, .seed = 2},
    {.async = ASYNC_RANDOM, .seed = 3},
    {.async = ASYNC_LATE, .resident = BLOCKS},
    {.async = ASYNC_RANDOM, .seed = 4, .resident = BLOCKS},
    {.async = ASYNC_RANDOM, .seed = 5, .resident = 2},
};

enum { NOPTIONS = sizeof all_options / sizeof *all_options, ONE_RESIDENT = 5 /* the first */ };

static int setup(void **state) {
  *state = kernel_module("cpu_race", MKC_CHECK_RACE);
  return *state ? 0 : -1;
}

static int teardown(void **state) {
  module_destroy(*state);
  return 0;
}

/* The report, "" for none. The caller frees. */
static char *run(void **state, const char *name, const struct launch_options *options) {
  static _Alignas(16) float in[256], out[256];
  const struct io io = {in, out, 0};
  const struct tile_kernel *k = module_kernel(*state, name);
  struct error err = {0};
  if (!k) fail_msg("there is no kernel %s", name);
  const mkc_status status = launch_run(k, &io, BLOCKS, SMEM, options, &err);
  if (status) assert_int_equal(status, MKC_E_CHECK);
  char *text = strdup(error_text(&err));
  error_finish(&err);
  return text;
}

static void passes(void **state, const char *name) {
  for (int i = 0; i < NOPTIONS; i++) {
    char *report = run(state, name, &all_options[i]);
    if (*report) fail_msg("%s: %s", name, report);
    free(report);
  }
}

static void caught_with(void **state, const char *name, int noptions, const char *part,
                        const char *other) {
  for (int i = 0; i < noptions; i++) {
    char *report = run(state, name, &all_options[i]);
    assert_contains(report, part);
    assert_contains(report, other);
    free(report);
  }
}

/* The report has both parts, whoever runs first; the threads' numbers depend on that. */
static void caught(void **state, const char *name, const char *part, const char *other) {
  caught_with(state, name, NOPTIONS, part, other);
}

/* The same where blocks run one after another, which fixes their numbers. */
static void caught_in_turn(void **state, const char *name, const char *part, const char *other) {
  caught_with(state, name, ONE_RESIDENT, part, other);
}

static void reported(void **state, const char *name, const char *expected) {
  char *report = run(state, name, &all_options[0]);
  assert_string_equal(report, expected);
  free(report);
}

/* ---- tests ---- */

static void test_right(void **state) {
  passes(state, "right_barriers");
  passes(state, "right_warps");
  passes(state, "right_chain");
  passes(state, "right_copies");
  passes(state, "right_global");
}

static void test_write_and_read(void **state) {
  caught(state, "write_then_read", "w_r.k.c:100", "w_r.k.c:110");
  caught(state, "read_then_write", "r_w.k.c:200", "r_w.k.c:210");
  caught(state, "write_then_write", "w_w.k.c:300: race", "at w_w.k.c:300");
  caught(state, "lanes", "lanes.k.c:390", "lanes.k.c:400");
  reported(state, "read_then_write",
           "r_w.k.c:200: race: thread 0 reads s[63], which thread 63 writes at r_w.k.c:210, and "
           "nothing orders the two (block 0)");
  reported(state, "readers",
           "readers.k.c:450: race: thread 30 writes s[5], which thread 29 reads at "
           "readers.k.c:440, and nothing orders the two (block 0)");
  caught(state, "readers_twice", "twice.k.c:480", "s[5]");
}

static void test_unwritten(void **state) {
  reported(
      state, "unwritten",
      "unwritten.k.c:500: uninitialised: thread 9 reads s[9], which nothing has written (block 0)");
  caught(state, "unwritten_block", "block.k.c:550: uninitialised", "reads s[");
  caught_in_turn(state, "unwritten_block", "block.k.c:550: uninitialised", "(block 1)");
}

static void test_stray(void **state) {
  reported(state, "shared_past",
           "past.k.c:570: stray access: thread 31 writes shared memory outside of every array "
           "(block 0)");
}

static void test_matrix(void **state) {
  caught(state, "matrix", "matrix.k.c:600", "matrix.k.c:610");
}

static void test_copies(void **state) {
  caught(state, "copy_read_early", "in_flight.k.c:710: race",
         "started at in_flight.k.c:700 is in flight");
  caught(state, "copy_overwritten", "overwritten.k.c:760: race",
         "started at overwritten.k.c:750 is in flight");
  caught(state, "copy_unmet", "unmet.k.c:810", "unmet.k.c:800");
  caught(state, "copy_too_soon", "too_soon.k.c:910", "too_soon.k.c:900");
}

static void test_global(void **state) {
  caught(state, "two_blocks", "blocks.k.c:1000: race", "nothing orders blocks (block ");
  caught_in_turn(state, "two_blocks", "blocks.k.c:1000: race",
                 "at blocks.k.c:1000 in block 0, and nothing orders blocks (block 1)");
  caught(state, "block_reads_other", "reads.k.c:1050: race",
         "at reads.k.c:1060 in block 1, and nothing orders blocks (block 2)");
  caught(state, "two_threads", "threads.k.c:1100: race", "at threads.k.c:1100");
  caught_in_turn(state, "two_threads", "threads.k.c:1100: race", "nothing orders the two");
}

static void test_places(void **state) {
  caught(state, "helper", "helper.k.c:1200 (from helper.k.c:1250)", "s[");
  caught(state, "zeroed", "zeroed.k.c:1310", "zeroed.k.c:1300");
}

static void test_no_end(void **state) {
  reported(state, "spins",
           "spins.k.c:1400: endless loop: thread 0 reads s[0] and has not waited for 100 million "
           "accesses (block 0)");
  caught(state, "stuck", "deadlock", "threads 0 to 31 wait in barrier_sync at stuck.k.c:1500");
  caught(state, "missed", "deadlock", "threads 32 to 63 wait in barrier_sync at missed.k.c:1610");
  caught(state, "missed", "missed.k.c:1600", "missed.k.c:1620");
}

static void test_watch(void **state) {
  watch_start(1);
  passes(state, "right_barriers");
  reported(state, "computes",
           "computes.k.c:1700: endless loop: thread 5 computes and does not wait (block 0)");
  watch_stop();
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_right),     cmocka_unit_test(test_write_and_read),
      cmocka_unit_test(test_unwritten), cmocka_unit_test(test_stray),
      cmocka_unit_test(test_matrix),    cmocka_unit_test(test_copies),
      cmocka_unit_test(test_global),    cmocka_unit_test(test_places),
      cmocka_unit_test(test_no_end),    cmocka_unit_test(test_watch),
  };
  return cmocka_run_group_tests(tests, setup, teardown);
}
