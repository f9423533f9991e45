/* SPDX-License-Identifier: MIT
 * pack_only.c - the library as -Dgenerator=false builds it: a host runs a pack, by the public
 * API alone, and is told what the pack has where it lacks something. Linked without gen/ and Lua.
 */
#define _POSIX_C_SOURCE 200809L
#include "support.h"

#include <stdlib.h>
#include <string.h>

#include "maskc.h"

enum { T = 8, D = 16 };

static mkc_op_options gla_options(void) {
  mkc_op_options o = MKC_OP_OPTIONS_INIT;
  o.spec_path = "simple_gla";
  o.device = "cpu";
  o.dk = o.dv = D;
  return o;
}

static int setup(void **state) {
  char *path = build_path("tests/only.mkp");
  mkc_context *ctx;
  if (mkc_context_create(NULL, &ctx) || mkc_context_add_pack(ctx, path)) return -1;
  free(path);
  *state = ctx;
  return 0;
}

static int teardown(void **state) {
  mkc_context_destroy(*state);
  return 0;
}

static void expect_refused(mkc_context *ctx, const mkc_op_options *o, const char *part) {
  mkc_op *op = NULL;
  assert_int_equal(mkc_op_create(ctx, o, &op), MKC_E_NO_GENERATOR);
  assert_contains(mkc_last_error(), part);
  assert_null(op);
}

static void test_says_what_it_lacks(void **state) {
  mkc_op_options o = gla_options();
  o.dv = 32;
  expect_refused(*state, &o, "simple_gla: this build of the library has no generator");
  expect_refused(*state, &o, "only.mkp has simple_gla forward bf16 dk=16 dv=16, for cpu:sm_80");
  o = gla_options(), o.spec_path = "retnet";
  expect_refused(*state, &o, "retnet: this build of the library has no generator");
  o.spec_text = "return variant { }";
  expect_refused(*state, &o, "no generator");
  mkc_context *none;
  assert_int_equal(mkc_context_create(NULL, &none), MKC_OK);
  o = gla_options();
  expect_refused(none, &o, "none that was added has this op");
  mkc_context_destroy(none);
}

static mkc_tensor channels(uint16_t (*data)[D]) {
  return (mkc_tensor){data, MKC_BF16, 4, {1, T, 1, D}, {T * D, D, D, 1}};
}

/* All ones, no decay: o is (t + 1) * dk * dk^-0.5. */
static void test_runs(void **state) {
  static _Alignas(16) uint16_t ones[T][D], o[T][D];
  static float gate[T];
  mkc_op_options options = gla_options();
  mkc_op *op = NULL;
  mkc_tensor args[24] = {0};
  for (int t = 0; t < T; t++)
    for (int i = 0; i < D; i++) ones[t][i] = 0x3f80;
  if (mkc_op_create(*state, &options, &op)) fail_msg("%s", mkc_last_error());
  if (mkc_op_prepare(op)) fail_msg("%s", mkc_last_error());
  args[mkc_op_arg_index(op, "q")] = args[mkc_op_arg_index(op, "k")] =
      args[mkc_op_arg_index(op, "v")] = channels(ones);
  args[mkc_op_arg_index(op, "o")] = channels(o);
  args[mkc_op_arg_index(op, "g")] = (mkc_tensor){gate, MKC_F32, 3, {1, T, 1}, {T, 1, 1}};
  if (mkc_op_launch(op, args, mkc_op_arg_count(op), NULL, 0, NULL))
    fail_msg("%s", mkc_last_error());
  for (int t = 0; t < T; t++) {
    const uint32_t bits = (uint32_t)o[t][D - 1] << 16;
    float value;
    memcpy(&value, &bits, sizeof value);
    assert_close(value, 4.0 * (t + 1), 0, 0);
  }
  mkc_op_destroy(op);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_says_what_it_lacks),
      cmocka_unit_test(test_runs),
  };
  return cmocka_run_group_tests(tests, setup, teardown);
}
