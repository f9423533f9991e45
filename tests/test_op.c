/* SPDX-License-Identifier: MIT
 * The life of an op on a backend that only writes down what it is asked: create, prepare once,
 * launch, destroy in any order; and what wrong options are told.
 */
#define _GNU_SOURCE
#include "support.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "context.h"
#include "op.h"

/* ---- the backend ---- */

struct loaded {
  size_t args_bytes;
};

static struct record {
  atomic_int loads, unloads;
  int launches;
  int fail_load;
  int device;
  int64_t args[64];
  long long blocks;
  void *stream;
} record;

static mkc_status fake_load(mkc_context *ctx, const struct op_source *src, int device,
                            mkc_check check, struct loaded **ret, struct error *err) {
  (void)check;
  assert_non_null(ctx);
  record.loads++;
  record.device = device;
  if (record.fail_load) return error_set(err, MKC_E_COMPILE, "the fake compiler says no");
  *ret = malloc(sizeof **ret);
  (*ret)->args_bytes = op_args_bytes(src);
  return MKC_OK;
}

static mkc_status fake_launch(const struct loaded *op, const void *args, long long blocks,
                              void *stream, struct error *err) {
  (void)err;
  memcpy(record.args, args, op->args_bytes);
  record.blocks = blocks;
  record.stream = stream;
  record.launches++;
  return MKC_OK;
}

static void fake_unload(struct loaded *op) {
  if (!op) return;
  record.unloads++;
  free(op);
}

static const struct backend fake = {"fake", fake_load, fake_launch, fake_unload};

/* ---- an op of two arrays ---- */

static struct op_source make_source(void) {
  struct op_source s = {.name = "toy", .entry = "k", .arch = "sm_80", .dk = 8, .dv = 8};
  s.text = strdup("source");
  s.plan = strdup("plan");
  s.threads = 128;
  s.blocks_a_head = 1;
  s.narrays = 2;
  s.arrays[0] = (struct op_array){"v", "BTHv", MKC_F32, 0, 0, 16, 0};
  s.arrays[1] = (struct op_array){"o", "BTHv", MKC_F32, 1, 0, 16, 0};
  return s;
}

static _Alignas(16) float data[2][3 * 5 * 2 * 8];

static mkc_tensor tensor(int i) {
  return (mkc_tensor){data[i], MKC_F32, 4, {3, 5, 2, 8}, {80, 16, 8, 1}};
}

static mkc_context *new_context(void) {
  mkc_context_options options = MKC_CONTEXT_OPTIONS_INIT;
  mkc_context *ctx;
  options.no_cache = 1;
  assert_int_equal(mkc_context_create(&options, &ctx), MKC_OK);
  return ctx;
}

static mkc_op *new_op(mkc_context *ctx) {
  struct op_source source = make_source();
  struct error err = {0};
  mkc_op *op;
  assert_int_equal(op_create_from_source(ctx, &source, &fake, 3, MKC_CHECK_NONE, &op, &err),
                   MKC_OK);
  assert_null(source.text);
  return op;
}

static int setup(void **state) {
  (void)state;
  memset(&record, 0, sizeof record);
  return 0;
}

static void test_life(void **state) {
  (void)state;
  mkc_context *ctx = new_context();
  mkc_op *op = new_op(ctx);
  const mkc_tensor args[] = {tensor(0), tensor(1)};
  int stream;
  assert_int_equal(mkc_op_launch(op, args, 2, NULL, 0, NULL), MKC_E_NOT_PREPARED);
  assert_string_equal(mkc_last_error(), "toy: call mkc_op_prepare before mkc_op_launch");
  assert_int_equal(mkc_op_prepare(op), MKC_OK);
  assert_int_equal(mkc_op_prepare(op), MKC_OK);
  assert_int_equal(record.loads, 1);
  assert_int_equal(record.device, 3);
  size_t bytes = 1;
  assert_int_equal(mkc_op_workspace(op, args, 2, &bytes), MKC_OK);
  assert_int_equal(bytes, 0);
  assert_int_equal(mkc_op_launch(op, args, 2, NULL, 0, &stream), MKC_OK);
  assert_int_equal(record.launches, 1);
  assert_int_equal(record.blocks, 6);
  assert_ptr_equal(record.stream, &stream);
  const int64_t expected[] = {3,  5, 2, (int64_t)(uintptr_t)data[0], 80,
                              16, 8, 2, (int64_t)(uintptr_t)data[1], 80,
                              16, 8, 2};
  assert_memory_equal(record.args, expected, sizeof expected);
  mkc_context_destroy(ctx); /* first: the op holds it */
  assert_int_equal(mkc_op_launch(op, args, 2, NULL, 0, NULL), MKC_OK);
  mkc_op_destroy(op);
  assert_int_equal(record.unloads, 1);
}

static void test_bad_arrays_do_not_launch(void **state) {
  (void)state;
  mkc_context *ctx = new_context();
  mkc_op *op = new_op(ctx);
  mkc_tensor args[] = {tensor(0), tensor(1)};
  assert_int_equal(mkc_op_prepare(op), MKC_OK);
  args[1].shape[1] = 4;
  size_t bytes;
  assert_int_equal(mkc_op_launch(op, args, 2, NULL, 0, NULL), MKC_E_ARGUMENT);
  assert_string_equal(mkc_last_error(), "toy: T is 4 in o, but 5 in v");
  assert_int_equal(mkc_op_workspace(op, args, 2, &bytes), MKC_E_ARGUMENT);
  assert_int_equal(mkc_op_launch(op, NULL, 2, NULL, 0, NULL), MKC_E_USAGE);
  assert_int_equal(mkc_op_launch(NULL, args, 2, NULL, 0, NULL), MKC_E_USAGE);
  assert_int_equal(record.launches, 0);
  mkc_op_destroy(op);
  mkc_context_destroy(ctx);
}

static void test_failed_prepare(void **state) {
  (void)state;
  mkc_context *ctx = new_context();
  mkc_op *op = new_op(ctx);
  record.fail_load = 1;
  assert_int_equal(mkc_op_prepare(op), MKC_E_COMPILE);
  assert_string_equal(mkc_last_error(), "the fake compiler says no");
  record.fail_load = 0;
  assert_int_equal(mkc_op_prepare(op), MKC_OK); /* it may be tried again */
  assert_int_equal(record.loads, 2);
  mkc_op_destroy(op);
  mkc_context_destroy(ctx);
}

static void *prepare_in_thread(void *op) {
  assert_int_equal(mkc_op_prepare(op), MKC_OK);
  return NULL;
}

static void test_threads_prepare_once(void **state) {
  (void)state;
  mkc_context *ctx = new_context();
  mkc_op *op = new_op(ctx);
  pthread_t threads[8];
  for (int i = 0; i < 8; i++)
    assert_int_equal(pthread_create(&threads[i], NULL, prepare_in_thread, op), 0);
  for (int i = 0; i < 8; i++) pthread_join(threads[i], NULL);
  assert_int_equal(record.loads, 1);
  mkc_op_destroy(op);
  mkc_context_destroy(ctx);
}

static void test_arg_info(void **state) {
  (void)state;
  mkc_context *ctx = new_context();
  mkc_op *op = new_op(ctx);
  mkc_arg_info info = MKC_ARG_INFO_INIT;
  assert_int_equal(mkc_op_arg_count(op), 2);
  assert_int_equal(mkc_op_arg_info(op, 1, &info), MKC_OK);
  assert_string_equal(info.name, "o");
  assert_string_equal(info.axes, "BTHv");
  assert_int_equal(info.output, 1);
  assert_int_equal(mkc_op_arg_info(op, 2, &info), MKC_E_USAGE);
  assert_int_equal(mkc_op_arg_info(op, -1, &info), MKC_E_USAGE);
  assert_int_equal(mkc_op_arg_index(op, "o"), 1);
  assert_int_equal(mkc_op_arg_index(op, "x"), -1);
  assert_string_equal(mkc_op_source(op), "source");
  assert_string_equal(mkc_op_plan(op), "plan");
  mkc_op_destroy(op);
  mkc_context_destroy(ctx);
}

/* An older caller's struct ends where it says; a newer one's further fields become zero. */
static void test_arg_info_sizes(void **state) {
  (void)state;
  mkc_context *ctx = new_context();
  mkc_op *op = new_op(ctx);
  mkc_arg_info info = MKC_ARG_INFO_INIT;
  info.struct_size = offsetof(mkc_arg_info, optional);
  info.optional = info.in_place = 77;
  assert_int_equal(mkc_op_arg_info(op, 1, &info), MKC_OK);
  assert_int_equal(info.struct_size, offsetof(mkc_arg_info, optional));
  assert_int_equal(info.output, 1);
  assert_int_equal(info.optional, 77);
  assert_int_equal(info.in_place, 77);
  struct {
    mkc_arg_info info;
    int64_t later;
  } newer = {MKC_ARG_INFO_INIT, 77};
  newer.info.struct_size = sizeof newer;
  assert_int_equal(mkc_op_arg_info(op, 1, &newer.info), MKC_OK);
  assert_string_equal(newer.info.name, "o");
  assert_int_equal(newer.later, 0);
  info.struct_size = 0;
  assert_int_equal(mkc_op_arg_info(op, 1, &info), MKC_E_USAGE);
  assert_contains(mkc_last_error(), "struct_size is 0: begin with MKC_ARG_INFO_INIT");
  mkc_op_destroy(op);
  mkc_context_destroy(ctx);
}

/* NULL where an object or a result belongs is said, and never a crash. */
static void test_null(void **state) {
  (void)state;
  mkc_context *ctx = new_context();
  mkc_op *op = new_op(ctx), *created;
  mkc_arg_info info = MKC_ARG_INFO_INIT;
  const mkc_op_options o = MKC_OP_OPTIONS_INIT;
  const mkc_tensor args[] = {tensor(0), tensor(1)};
  size_t bytes;
  const mkc_status results[] = {
      mkc_context_create(NULL, NULL),
      mkc_op_create(NULL, &o, &created),
      mkc_op_create(ctx, NULL, &created),
      mkc_op_create(ctx, &o, NULL),
      mkc_op_prepare(NULL),
      mkc_op_arg_info(NULL, 0, &info),
      mkc_op_arg_info(op, 0, NULL),
      mkc_op_workspace(NULL, args, 2, &bytes),
      mkc_op_workspace(op, NULL, 2, &bytes),
      mkc_op_workspace(op, args, 2, NULL),
      mkc_op_launch(NULL, args, 2, NULL, 0, NULL),
      mkc_op_launch(op, NULL, 2, NULL, 0, NULL),
  };
  for (size_t i = 0; i < sizeof results / sizeof *results; i++)
    assert_int_equal(results[i], MKC_E_USAGE);
  assert_int_equal(mkc_op_arg_count(NULL), 0);
  assert_int_equal(mkc_op_arg_index(NULL, "q"), -1);
  assert_int_equal(mkc_op_arg_index(op, NULL), -1);
  assert_string_equal(mkc_op_source(NULL), "");
  assert_string_equal(mkc_op_plan(NULL), "");
  mkc_op_destroy(NULL);
  mkc_context_destroy(NULL);
  mkc_op_destroy(op);
  mkc_context_destroy(ctx);
}

static void test_bad_source(void **state) {
  (void)state;
  mkc_context *ctx = new_context();
  struct op_source source = make_source();
  struct error err = {0};
  mkc_op *op;
  strcpy(source.arrays[1].axes, "TB");
  /* NOLINTNEXTLINE(clang-analyzer-unix.Malloc): the source is taken over */
  const mkc_status st = op_create_from_source(ctx, &source, &fake, 0, MKC_CHECK_NONE, &op, &err);
  assert_int_equal(st, MKC_E_INTERNAL);
  assert_null(op);
  assert_null(source.text); /* taken and freed all the same */
  op_source_finish(&source);
  error_finish(&err);
  mkc_context_destroy(ctx);
}

/* ---- options ---- */

static mkc_op_options good_options(void) {
  mkc_op_options o = MKC_OP_OPTIONS_INIT;
  o.spec_path = "simple_gla";
  o.device = "cpu";
  o.dk = o.dv = 64;
  return o;
}

static void expect_refused(const mkc_op_options *o, mkc_status status, const char *part) {
  mkc_context *ctx = new_context();
  mkc_op *op;
  assert_int_equal(mkc_op_create(ctx, o, &op), status);
  assert_contains(mkc_last_error(), part);
  assert_null(op);
  mkc_context_destroy(ctx);
}

static void test_wrong_options(void **state) {
  (void)state;
  mkc_op_options o = good_options();
  o.device = "tpu";
  expect_refused(&o, MKC_E_ARGUMENT, "unknown device \"tpu\": write cpu or cuda:N");
  o = good_options(), o.dk = 0;
  expect_refused(&o, MKC_E_ARGUMENT, "dk = 0 and dv = 64: both must be given");
  o = good_options(), o.dtype = MKC_I32;
  expect_refused(&o, MKC_E_ARGUMENT, "dtype 3");
  o = good_options(), o.device = "cuda:0", o.check = MKC_CHECK_ADDRESS;
  expect_refused(&o, MKC_E_ARGUMENT, "checks are for the CPU device");
  o = good_options(), o.arch = "a very long architecture";
  expect_refused(&o, MKC_E_ARCHITECTURE, "unknown architecture");
  o = good_options(), o.nsettings = 1;
  expect_refused(&o, MKC_E_ARGUMENT, "nsettings = 1, and settings is NULL");
  const mkc_setting window = {"window", 4};
  o.settings = &window;
  expect_refused(&o, MKC_E_ARGUMENT, "specs/simple_gla.lua has no option \"window\"");
  o = good_options(), o.heads = -1;
  expect_refused(&o, MKC_E_ARGUMENT, "heads = -1");
  o = good_options(), o.struct_size = 0;
  expect_refused(&o, MKC_E_USAGE, "MKC_OP_OPTIONS_INIT");
  assert_int_equal(mkc_op_create(NULL, &o, NULL), MKC_E_USAGE);
}

static void test_wrong_specs(void **state) {
  (void)state;
  mkc_op_options o = good_options();
  o.spec_path = "no_such_spec";
  expect_refused(&o, MKC_E_FILE, "no spec named \"no_such_spec\" is shipped; there are ");
  o.spec_path = "/nonexistent/x.lua";
  expect_refused(&o, MKC_E_FILE, "/nonexistent/x.lua: No such file or directory");
  o.spec_path = "/tmp/";
  expect_refused(&o, MKC_E_FILE, "/tmp/: Is a directory");
  o.spec_path = "/dev/zero";
  expect_refused(&o, MKC_E_FILE, "larger than a spec may be");
  o.spec_path = NULL;
  expect_refused(&o, MKC_E_USAGE, "no spec is given");
}

/* A caller built against a later maskc.h has a longer struct. */
static void test_newer_caller(void **state) {
  (void)state;
  struct {
    mkc_op_options o;
    int64_t later;
  } newer = {good_options(), 0};
  newer.o.struct_size = sizeof newer;
  newer.o.device = "tpu";
  expect_refused(&newer.o, MKC_E_ARGUMENT, "unknown device"); /* the zero tail is accepted */
  newer.later = 1;
  expect_refused(&newer.o, MKC_E_USAGE, "built for a newer one");
}

/* A caller built before `settings` ends where it begins; what lies beyond is not read. */
static void test_older_caller(void **state) {
  (void)state;
  mkc_op_options o = good_options();
  o.struct_size = offsetof(mkc_op_options, settings);
  o.nsettings = 1; /* without settings it would be refused */
  o.spec_path = "no_such_spec";
  expect_refused(&o, MKC_E_FILE, "no spec named");
}

/* ---- what a launch costs on the host ---- */

static void test_launch_cost(void **state) {
  (void)state;
  enum { LAUNCHES = 100000 };
  mkc_context *ctx = new_context();
  mkc_op *op = new_op(ctx);
  const mkc_tensor args[] = {tensor(0), tensor(1)};
  struct timespec start, end;
  assert_int_equal(mkc_op_prepare(op), MKC_OK);
  clock_gettime(CLOCK_MONOTONIC, &start);
  for (int i = 0; i < LAUNCHES; i++) mkc_op_launch(op, args, 2, NULL, 0, NULL);
  clock_gettime(CLOCK_MONOTONIC, &end);
  const double ns =
      (double)(end.tv_sec - start.tv_sec) * 1e9 + (double)(end.tv_nsec - start.tv_nsec);
  print_message("%.0f ns a launch\n", ns / LAUNCHES);
  assert_true(ns / LAUNCHES < 20000); /* a lock, an allocation or a system call too many */
  mkc_op_destroy(op);
  mkc_context_destroy(ctx);
}

#define T(test) cmocka_unit_test_setup(test, setup)

int main(void) {
  const struct CMUnitTest tests[] = {
      T(test_life),           T(test_bad_arrays_do_not_launch),
      T(test_failed_prepare), T(test_threads_prepare_once),
      T(test_arg_info),       T(test_arg_info_sizes),
      T(test_null),           T(test_bad_source),
      T(test_wrong_options),  T(test_wrong_specs),
      T(test_newer_caller),   T(test_older_caller),
      T(test_launch_cost),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
