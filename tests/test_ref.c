/* SPDX-License-Identifier: MIT
 * test_ref.c - the reference as its callers use it: states in and out, refused calls, errors.
 */
#include "ref_world.h"

#include <math.h>
#include <string.h>

/* ---- states in and out ---- */

/* A run of T1 tokens, its ht handed to a run of the rest, is one run; so is dense with h0. */
static void split_at(struct world *w, enum ref_engine engine, int64_t middle) {
  const int64_t T = w->call.T;
  double h0[DK * DV], ht[DK * DV], whole_ht[DK * DV], joined_ht[DK * DV], o[64 * DV];
  for (int i = 0; i < DK * DV; i++) h0[i] = sin(i + 1);
  w->call.h0 = h0;
  w->call.ht = whole_ht;
  const double *whole = run_engine(w, engine);
  struct ref_array arrays[MAX_LEAVES];
  struct ref_call part = w->call;
  struct error err = {0};
  part.o = o;
  part.ht = ht;
  part.T = middle;
  assert_int_equal(ref_run(&w->variant, engine, &part, &err), MKC_OK);
  for (int i = 0; i < w->nleaves; i++) {
    const int64_t row = width_of(w->leaves[i], &part);
    arrays[i] = (struct ref_array){w->arrays[i].data + middle * row, 1};
  }
  part.arrays = arrays;
  part.T = T - middle;
  part.o = o + middle * DV;
  part.h0 = ht;
  part.ht = joined_ht;
  assert_int_equal(ref_run(&w->variant, engine, &part, &err), MKC_OK);
  assert_true(ref_relative_l2(o, whole, (size_t)T * DV) <= REF_TOLERANCE);
  assert_true(ref_relative_l2(joined_ht, whole_ht, DK * DV) <= REF_TOLERANCE);
  w->call.ht = NULL;
  assert_true(ref_relative_l2(run_engine(w, REF_DENSE), whole, (size_t)T * DV) <= REF_TOLERANCE);
  w->call.h0 = NULL;
  assert_false(ref_relative_l2(run_engine(w, engine), whole, (size_t)T * DV) <= 1e-3);
}

static void test_state_in_and_out(void **state) {
  (void)state;
  struct world *w = world_create();
  add_decay(w, unary(w, OP_NEG, unary(w, OP_ABS, input(w, "g", AXIS_NONE))));
  draw_all(w);
  for (int64_t middle = 1; middle < 23; middle += 7) {
    split_at(w, REF_STATE, middle);
    split_at(w, REF_CHUNKED, middle);
  }
  world_destroy(w);
  w = world_create();
  w->branch.k = norm(w, w->branch.k);
  add_decay(w, unary(w, OP_NEG, unary(w, OP_ABS, input(w, "g", AXIS_DK))));
  add_delta(w, unary(w, OP_SIGMOID, input(w, "beta", AXIS_NONE)));
  draw_all(w);
  split_at(w, REF_STATE, 10);
  world_destroy(w);
}

/* ---- fenwick: a slot for each bit of the position ---- */

enum { LEVELS = 7, SLOTS = LEVELS - 1, TOKENS = 45 };

/* Tokens first ... end - 1 from a state to a state, which has zeros where no slot is live. */
static void run_piece(struct world *w, const struct ref_call *whole, int64_t first, int64_t end,
                      const double *h0, double *ht) {
  struct ref_array arrays[MAX_LEAVES];
  w->call = *whole;
  for (int i = 0; i < w->nleaves; i++) {
    arrays[i] = whole->arrays[i];
    arrays[i].data += first * arrays[i].heads * width_of(w->leaves[i], whole);
  }
  w->call.arrays = arrays;
  w->call.T = end - first;
  w->call.position = &first;
  w->call.h0 = h0;
  w->call.ht = ht;
  w->call.o = whole->o + first * whole->H * DV;
  struct error err = {0};
  assert_int_equal(ref_run(&w->variant, REF_STATE, &w->call, &err), MKC_OK);
  const int size = 2 * DK * DV;
  for (int i = 0; i < SLOTS; i++)
    for (int j = 0; j < size; j++)
      if (!(end >> i & 1)) assert_true(ht[i * size + j] == 0);
  w->call = *whole;
}

static void test_fenwick_pieces(void **state) {
  (void)state;
  struct world *w = world_create();
  add_weight(w, (struct weight){.kind = WEIGHT_FENWICK, .expr = input(w, "l", AXIS_LEVELS)});
  add_delta(w, input(w, "beta", AXIS_NONE));
  w->call.T = TOKENS;
  w->call.levels = LEVELS;
  w->call.H = 2;
  draw_all(w);
  double whole_ht[SLOTS * 2 * DK * DV], ht[2][SLOTS * 2 * DK * DV];
  const double *whole = run_engine(w, REF_DENSE);
  double *joined = arena_array(&w->arena, double, o_size(w));
  w->call.o = joined;
  const struct ref_call call = w->call;
  run_piece(w, &call, 0, TOKENS, NULL, whole_ht);
  assert_true(ref_relative_l2(joined, whole, o_size(w)) <= REF_TOLERANCE);
  static const int64_t ends[] = {1, 2, 9, 16, 19, 40, TOKENS};
  int64_t first = 0;
  for (size_t i = 0; i < sizeof ends / sizeof *ends; first = ends[i++])
    run_piece(w, &call, first, ends[i], i ? ht[i % 2] : NULL, ht[(i + 1) % 2]);
  assert_true(ref_relative_l2(joined, whole, o_size(w)) <= REF_TOLERANCE);
  const int last = sizeof ends / sizeof *ends % 2;
  assert_true(ref_relative_l2(ht[last], whole_ht, SLOTS * 2 * DK * DV) <= REF_TOLERANCE);
  world_destroy(w);
}

/* ---- refused calls ---- */

static void test_refused_calls(void **state) {
  (void)state;
  struct world *w = world_create();
  const struct expr *lambda = input(w, "lambda", AXIS_LEVELS);
  add_weight(w, (struct weight){.kind = WEIGHT_FENWICK, .expr = lambda});
  w->call.T = 17;
  w->call.levels = 6;
  w->call.H = 2;
  draw_all(w);
  assert_int_equal(run_status(w, REF_STATE, ""), MKC_OK);
  w->call.levels = 5;
  assert_int_equal(run_status(w, REF_STATE, "17 tokens under fenwick need 6 levels"),
                   MKC_E_ARGUMENT);
  w->call.T = 16; /* bit_length(15) + 1 = 5 */
  assert_int_equal(run_status(w, REF_STATE, ""), MKC_OK);
  w->arrays[1].heads = 3;
  assert_int_equal(run_status(w, REF_STATE, "'k' has 3 heads, which does not divide H = 2"),
                   MKC_E_ARGUMENT);
  w->arrays[1].heads = 0;
  assert_int_equal(run_status(w, REF_STATE, "'k' has 0 heads"), MKC_E_ARGUMENT);
  w->arrays[1].heads = 1;
  const double *data = w->arrays[2].data;
  w->arrays[2].data = NULL;
  assert_int_equal(run_status(w, REF_STATE, "no array for 'v'"), MKC_E_ARGUMENT);
  w->arrays[2].data = data;
  w->call.T = 0;
  assert_int_equal(run_status(w, REF_STATE, "must be at least 1"), MKC_E_ARGUMENT);
  w->call.T = 16;
  assert_int_equal(run_status(w, REF_CHUNKED, "does not apply"), MKC_E_ARGUMENT);
  double h[4 * 2 * DK * DV] = {0}; /* 4 slots, 2 heads */
  w->call.h0 = h;
  assert_int_equal(run_status(w, REF_DENSE, "no such state"), MKC_E_ARGUMENT);
  w->call.ht = h; /* after 16 tokens slot 4 is live */
  assert_int_equal(run_status(w, REF_STATE, "16 tokens under fenwick and their state need 6"),
                   MKC_E_ARGUMENT);
  w->call.ht = NULL;
  int64_t position = 1;
  w->call.position = &position;
  assert_int_equal(run_status(w, REF_STATE, "17 tokens under fenwick need 6"), MKC_E_ARGUMENT);
  position = -1;
  assert_int_equal(run_status(w, REF_STATE, "position[0] is -1"), MKC_E_ARGUMENT);
  world_destroy(w);

  w = world_create();
  draw_all(w);
  w->call.n0 = h;
  assert_int_equal(run_status(w, REF_STATE, "n0 and nt are of a normaliser"), MKC_E_ARGUMENT);
  world_destroy(w);

  w = world_create();
  w->variant.normaliser = symbol(w, SYM_ROWSUM);
  add_weight(w, (struct weight){.kind = WEIGHT_FENWICK, .expr = input(w, "l", AXIS_LEVELS)});
  w->call.levels = 6;
  draw_all(w);
  w->call.h0 = h;
  assert_int_equal(run_status(w, REF_STATE, "h0 and ht need"), MKC_E_ARGUMENT);
  world_destroy(w);

  w = world_create();
  draw_all(w);
  w->call.chunk = 0;
  assert_int_equal(run_status(w, REF_CHUNKED, "chunk must be at least 1"), MKC_E_ARGUMENT);
  w->call.ht = h;
  assert_int_equal(run_status(w, REF_DENSE, "no such state"), MKC_E_ARGUMENT);
  w->call.ht = NULL;
  w->call.T = INT64_C(1) << 60;
  assert_int_equal(run_status(w, REF_STATE, "no memory"), MKC_E_OUT_OF_MEMORY);
  world_destroy(w);
}

/* Variants that no front end should let through are errors, not stray reads. */
static void test_refused_variants(void **state) {
  (void)state;
  struct world *w = world_create();
  add_decay(w, input(w, "g", AXIS_DV)); /* over dv, but not `right` */
  draw_all(w);
  assert_int_equal(run_status(w, REF_STATE, "wider than the state"), MKC_E_SPEC);
  world_destroy(w);
  w = world_create();
  w->branch.score = times(w, symbol(w, SYM_QK), input(w, "x", AXIS_NONE));
  draw_all(w);
  assert_int_equal(run_status(w, REF_DENSE, "something other than qk"), MKC_E_SPEC);
  world_destroy(w);
  w = world_create();
  w->branch.q = times(w, symbol(w, SYM_ROWSUM), w->branch.q);
  draw_all(w);
  assert_int_equal(run_status(w, REF_STATE, "where it is not known"), MKC_E_SPEC);
  world_destroy(w);
  w = world_create();
  w->branch.k = times(w, w->branch.k, input(w, "x", AXIS_DV));
  draw_all(w);
  assert_int_equal(run_status(w, REF_STATE, "do not fit"), MKC_E_SPEC);
  world_destroy(w);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_state_in_and_out),
      cmocka_unit_test(test_fenwick_pieces),
      cmocka_unit_test(test_refused_calls),
      cmocka_unit_test(test_refused_variants),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
