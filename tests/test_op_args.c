/* SPDX-License-Identifier: MIT
 * Arrays to the argument block: the slots, and the message for each way in which an array can be
 * wrong.
 */
#include "support.h"

#include <stdlib.h>
#include <string.h>

#include "op.h"

enum { B = 2, T = 100, H = 4, DK = 64, DV = 32, Q = 0, K, V, G, A, H0, HT, O, NARRAYS };

static const struct op_source source = {
    .name = "toy",
    .dk = DK,
    .dv = DV,
    .blocks_a_head = 3,
    .narrays = NARRAYS,
    .arrays = {{"q", "BTHk", MKC_BF16, 0, 0, 16, 0},
               {"k", "BTHk", MKC_BF16, 0, 0, 16, 0},
               {"v", "BTHv", MKC_BF16, 0, 0, 16, 0},
               {"g", "BTH", MKC_F32, 0, 0, 4, 0},
               {"a", "H", MKC_F32, 0, 0, 4, 0},
               {"h0", "BHkv", MKC_F32, 0, 1, 16, 0},
               {"ht", "BHkv", MKC_F32, 1, 1, 16, 0},
               {"o", "BTHv", MKC_BF16, 1, 0, 16, 0}},
};

static mkc_tensor args[NARRAYS];

/* Any address will do: nothing is read. */
static void *address(int i) {
  return (void *)(uintptr_t)(0x100000u * (unsigned)(i + 1));
}

static void set(int i, int ndim, const int64_t *shape) {
  args[i] = (mkc_tensor){address(i), source.arrays[i].dtype, ndim, {0}, {0}};
  int64_t stride = 1;
  for (int d = ndim - 1; d >= 0; d--) {
    args[i].shape[d] = shape[d];
    args[i].stride[d] = stride;
    stride *= shape[d];
  }
}

#define SET(i, ...) \
  set(i, (int)(sizeof(int64_t[]){__VA_ARGS__} / sizeof(int64_t)), (int64_t[]){__VA_ARGS__})

static int setup(void **state) {
  (void)state;
  SET(Q, B, T, 2, DK);
  SET(K, B, T, 1, DK);
  SET(V, B, T, H, DV);
  SET(G, B, T, H);
  SET(A, H);
  SET(H0, B, H, DK, DV);
  SET(HT, B, H, DK, DV);
  SET(O, B, T, H, DV);
  return 0;
}

static int64_t block[ARGS_HEAD_SLOTS + ARRAY_SLOTS * OP_MAX_ARRAYS];
static long long blocks;

static void expect_slots(int i, int64_t batch, int64_t token, int64_t head, int64_t heads) {
  const int64_t *slots = block + ARGS_HEAD_SLOTS + ARRAY_SLOTS * i;
  assert_int_equal(slots[0], (int64_t)(uintptr_t)args[i].data);
  assert_int_equal(slots[1], batch);
  assert_int_equal(slots[2], token);
  assert_int_equal(slots[3], head);
  assert_int_equal(slots[4], heads);
}

static void pack(void) {
  struct error err = {0};
  memset(block, 0x5a, sizeof block);
  const mkc_status st = op_args_pack(&source, args, NARRAYS, block, &blocks, &err);
  if (st) print_error("%s\n", error_text(&err));
  assert_int_equal(st, MKC_OK);
}

/* An error of this text, and the block untouched. */
static void expect(const char *text) {
  struct error err = {0};
  memset(block, 0x5a, sizeof block);
  assert_int_equal(op_args_pack(&source, args, NARRAYS, block, &blocks, &err), MKC_E_ARGUMENT);
  assert_string_equal(error_text(&err), text);
  assert_int_equal(block[0], 0x5a5a5a5a5a5a5a5a);
  error_finish(&err);
  setup(NULL);
}

static void test_block(void **state) {
  (void)state;
  pack();
  assert_int_equal(block[0], B);
  assert_int_equal(block[1], T);
  assert_int_equal(block[2], H);
  assert_int_equal(blocks, B * H * 3);
  expect_slots(Q, T * 2 * DK, 2 * DK, DK, 2);
  expect_slots(K, T * DK, DK, 0, 1); /* one head: its stride is never used */
  expect_slots(V, T * H * DV, H * DV, DV, H);
  expect_slots(G, T * H, H, 1, H);
  expect_slots(A, 0, 0, 1, H);
  expect_slots(H0, H * DK * DV, DV, DK * DV, H); /* a state's row stride is in the token's slot */
  expect_slots(O, T * H * DV, H * DV, DV, H);
  assert_int_equal(block[ARGS_HEAD_SLOTS + ARRAY_SLOTS * NARRAYS], 0x5a5a5a5a5a5a5a5a);
}

static void test_absent_optional(void **state) {
  (void)state;
  args[H0].data = NULL;
  args[H0].ndim = 99; /* nothing of an absent array is looked at */
  pack();
  expect_slots(H0, 0, 0, 0, 0);
  setup(NULL);
}

static void test_strided(void **state) {
  (void)state;
  args[V].stride[0] = (int64_t)1 << 40;
  args[V].stride[1] = 1024;
  args[V].stride[2] = 40;
  args[G].stride[2] = -7;
  pack();
  expect_slots(V, (int64_t)1 << 40, 1024, 40, H);
  expect_slots(G, T * H, H, -7, H);
  setup(NULL);
}

/* Whatever a dimension of size 1 says of its stride, it is not stepped along. */
static void test_size_one(void **state) {
  (void)state;
  SET(Q, B, 1, 2, DK);
  SET(K, B, 1, 1, DK);
  SET(V, B, 1, H, DV);
  SET(G, B, 1, H);
  SET(O, B, 1, H, DV);
  args[V].stride[1] = 13;
  args[O].stride[1] = 0;
  pack();
  assert_int_equal(block[1], 1);
  expect_slots(V, H * DV, 0, DV, H);
  expect_slots(O, H * DV, 0, DV, H);
  setup(NULL);
}

static void test_counts(void **state) {
  (void)state;
  struct error err = {0};
  assert_int_equal(op_args_pack(&source, args, 3, block, &blocks, &err), MKC_E_ARGUMENT);
  assert_string_equal(error_text(&err), "toy takes 8 arrays (q, k, v, g, a, h0, ht, o), not 3");
  error_finish(&err);
  args[V].data = NULL;
  expect("toy: v is absent (its data is NULL), and the op needs it");
}

static void test_types_and_dimensions(void **state) {
  (void)state;
  args[V].dtype = MKC_F32;
  expect("toy: v is f32; it takes bf16");
  args[V].dtype = (mkc_dtype)77;
  expect("toy: v is of an unknown type; it takes bf16");
  args[V].ndim = 3;
  expect("toy: v has 3 dimensions; it takes 4 (B, T, H, dv)");
  args[H0].ndim = 5;
  expect("toy: h0 has 5 dimensions; it takes 4 (B, H, dk, dv)");
}

static void test_shapes(void **state) {
  (void)state;
  args[V].shape[1] = 99;
  expect("toy: T is 99 in v, but 100 in q");
  args[O].shape[0] = 3;
  expect("toy: B is 3 in o, but 2 in q");
  args[Q].shape[1] = 0;
  expect("toy: T is 0 in q; it must be at least 1");
  args[G].shape[2] = -4;
  expect("toy: H is -4 in g; it must be at least 1");
  args[K].shape[3] = 128;
  expect("toy: dk is 128 in k, but the op is made for 64");
  args[H0].shape[3] = 64;
  expect("toy: dv is 64 in h0, but the op is made for 32");
}

static void test_heads(void **state) {
  (void)state;
  args[Q].shape[2] = 3;
  expect("toy: q has 3 heads, which do not divide H = 4 (the largest count)");
  args[G].shape[2] = 8;
  expect("toy: ht has 4 heads, but H = 8 (the largest count): an output has H");
}

static void test_strides(void **state) {
  (void)state;
  args[V].stride[3] = 2;
  expect("toy: the stride of dv in v is 2; it must be 1 (the channels of a head lie side by side)");
  args[V].stride[1] = 132;
  expect("toy: the stride of T in v is 132 elements; it must be a multiple of 8 (16 bytes), "
         "or the op made with a smaller align");
  args[H0].stride[2] = 34;
  expect("toy: the stride of dk in h0 is 34 elements; it must be a multiple of 4 (16 bytes), "
         "or the op made with a smaller align");
  args[Q].data = (void *)(uintptr_t)0x100008;
  expect("toy: q begins at 0x100008; it must be aligned to 16 bytes, or the op made with a smaller "
         "align");
  args[V].stride[0] = INT64_MAX - 7;
  expect("toy: v reaches further than 2^63 bytes");
  args[G].stride[1] = INT64_MIN;
  expect("toy: g reaches further than 2^63 bytes");
}

static void test_output_overlap(void **state) {
  (void)state;
  args[O].stride[1] = 0;
  expect("toy: the stride of T in o is 0, so its elements overlap or interleave: an output must "
         "have each element to itself");
  args[O].stride[0] = args[O].stride[1];
  expect("toy: the stride of T in o is 128, so its elements overlap or interleave: an output must "
         "have each element to itself");
  args[V].stride[1] = 0;  /* an input may be broadcast */
  args[O].stride[1] = DV; /* and an output laid out [B, H, T, dv] */
  args[O].stride[2] = T * DV;
  pack();
  expect_slots(O, T * H * DV, DV, T * DV, H);
  setup(NULL);
}

static void test_grid(void **state) {
  (void)state;
  for (int i = Q; i <= O; i++)
    if (i != A) args[i].shape[0] = (int64_t)1 << 31;
  expect("toy: B = 2147483648 by H = 4 by 3 blocks a head is more than the 2147483647 blocks of a "
         "launch: split the batch");
}

/* ---- the arrays of a decode step ---- */

enum { POOL = 9, S_V = 0, S_STATE, S_INDEX, S_STATES, S_NARRAYS };

static const struct op_source step = {
    .name = "step",
    .dk = DK,
    .dv = DV,
    .blocks_a_head = 1,
    .narrays = S_NARRAYS,
    .arrays = {{"v", "BTHv", MKC_BF16, 0, 0, 2, 0},
               {"state", "NHkv", MKC_F32, 1, 0, 16, 1},
               {"state_index", "B", MKC_I32, 0, 1, 4, 0},
               {"states", "BTHkv", MKC_F32, 1, 1, 16, 0}},
};

static void set_step(void) {
  SET(S_V, B, T, H, DV);
  SET(S_STATE, POOL, H, DK, DV);
  SET(S_INDEX, B);
  SET(S_STATES, B, T, H, DK, DV);
  for (int i = 0; i < S_NARRAYS; i++) args[i].dtype = step.arrays[i].dtype;
}

static mkc_status pack_step(struct error *err) {
  return op_args_pack(&step, args, S_NARRAYS, block, &blocks, err);
}

static void expect_step(const char *text) {
  struct error err = {0};
  assert_int_equal(pack_step(&err), MKC_E_ARGUMENT);
  assert_string_equal(error_text(&err), text);
  error_finish(&err);
  set_step();
}

static void test_states(void **state) {
  (void)state;
  struct error err = {0};
  const int64_t one = DK * DV;
  set_step();
  args[S_STATE].stride[0] = H * one + 8; /* between slots there may be something else */
  args[S_INDEX].stride[0] = 2;
  assert_int_equal(pack_step(&err), MKC_OK);
  expect_slots(S_STATE, H * one + 8, 0, one, POOL);
  expect_slots(S_INDEX, 2, 0, 0, 0);
  expect_slots(S_STATES, T * H * one, H * one, one, H);
  set_step();
  args[S_STATE].stride[2] = DV + 4;
  expect_step(
      "step: the stride of dk in state is 36; it must be 32 (the rows of a state lie side by "
      "side)");
  args[S_STATES].stride[3] = DV + 4;
  expect_step("step: the stride of dk in states is 36; it must be 32 (the rows of a state lie side "
              "by side)");
  args[S_STATE].shape[1] = 2;
  expect_step("step: state has 2 heads, but H = 4 (the largest count): an output has H");
  args[S_STATE].stride[0] = 0;
  expect_step("step: the stride of N in state is 0, so its elements overlap or interleave: an "
              "output must have each element to itself");
  args[S_INDEX].data = NULL;
  expect_step("step: state has N = 9 states for B = 2 sequences; without state_index, which says "
              "whose is which, they must be as many");
  args[S_INDEX].data = NULL;
  args[S_STATE].shape[0] = B;
  assert_int_equal(pack_step(&err), MKC_OK);
  setup(NULL);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_block),   cmocka_unit_test(test_absent_optional),
      cmocka_unit_test(test_strided), cmocka_unit_test(test_size_one),
      cmocka_unit_test(test_counts),  cmocka_unit_test(test_types_and_dimensions),
      cmocka_unit_test(test_shapes),  cmocka_unit_test(test_heads),
      cmocka_unit_test(test_strides), cmocka_unit_test(test_output_overlap),
      cmocka_unit_test(test_grid),    cmocka_unit_test(test_states),
  };
  return cmocka_run_group_tests(tests, setup, NULL);
}
