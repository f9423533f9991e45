/* SPDX-License-Identifier: MIT
 * test_ref_dense.c - normalisers, scores, masks and branches against plain sums over pairs of
 * tokens.
 */
#include "ref_world.h"

#include <math.h>
#include <string.h>

/* ---- normalisers, scores, masks ---- */

/* relu features: the first tokens see weights that are all zero, and their row is 0, not 0/0 */
static void test_normaliser_and_empty_rows(void **state) {
  (void)state;
  struct world *w = world_create();
  w->branch.k = unary(w, OP_RELU, w->branch.k);
  w->branch.q = unary(w, OP_RELU, w->branch.q);
  w->variant.normaliser = symbol(w, SYM_ROWSUM);
  draw_all(w);
  for (int i = 0; i < 3 * DK; i++) array(w, "k")[i] = -1;
  double expected[23 * DV] = {0};
  for (int t = 3; t < 23; t++) {
    double sum = 0, y[DV] = {0};
    for (int s = 0; s <= t; s++) {
      double a = 0;
      for (int i = 0; i < DK; i++) {
        a += fmax(0, array(w, "q")[t * DK + i]) * fmax(0, array(w, "k")[s * DK + i]);
      }
      sum += a;
      for (int j = 0; j < DV; j++) y[j] += a * array(w, "v")[s * DV + j];
    }
    for (int j = 0; j < DV; j++) expected[t * DV + j] = sum == 0 ? 0 : y[j] / sum;
  }
  assert_engines(w, expected, 4);
  world_destroy(w);
}

/* mLSTM with k = exp(i) k', normaliser max(|n|, 1), stabilised row by row */
static void mlstm_by_hand(struct world *w, double *expected) {
  const double *q = array(w, "q"), *k = array(w, "k"), *v = array(w, "v"), *gate = array(w, "i");
  for (int t = 0; t < w->call.T; t++) {
    double m = -INFINITY, log = 0, sum = 0, y[DV] = {0};
    for (int s = t; s >= 0; s--) {
      m = fmax(m, gate[s] + log);
      log -= log1p(exp(-array(w, "f")[s]));
    }
    log = 0;
    for (int s = t; s >= 0; s--) {
      const double a = 0.5 * dot(q + t * DK, k + s * DK) * exp(gate[s] + log - m);
      sum += a;
      for (int j = 0; j < DV; j++) y[j] += a * v[s * DV + j];
      log -= log1p(exp(-array(w, "f")[s]));
    }
    const double n = fmax(fabs(sum), exp(-m));
    for (int j = 0; j < DV; j++) expected[t * DV + j] = y[j] / n;
  }
}

static void test_exp_gate(void **state) {
  (void)state;
  struct world *w = mlstm_create();
  double expected[23 * DV];
  mlstm_by_hand(w, expected);
  assert_engines(w, expected, 3);
  for (int t = 0; t < 23; t++) array(w, "i")[t] *= 1000; /* exp overflows; the maximum saves it */
  mlstm_by_hand(w, expected);
  const double error = ref_relative_l2(run_engine(w, REF_STATE), expected, o_size(w));
  assert_true(error <= REF_TOLERANCE);
  for (int t = 0; t < 23; t++) { /* the maximum must follow the decay: new tokens count */
    array(w, "i")[t] = t == 0 ? 2000 : 0;
    array(w, "f")[t] = t == 3 ? -5000 : 1;
  }
  mlstm_by_hand(w, expected);
  assert_true(ref_relative_l2(run_engine(w, REF_STATE), expected, o_size(w)) <= REF_TOLERANCE);
  world_destroy(w);
}

/* An exp gate, read before the token: a reset in the mask leaves that token nothing to see. */
static void test_exp_gate_read_before(void **state) {
  (void)state;
  struct world *w = mlstm_create();
  add_weight(w, (struct weight){.kind = WEIGHT_DECAY, .log = input(w, "m", AXIS_NONE)});
  w->branch.read_before = true;
  draw_all(w);
  double *m = array(w, "m"), expected[23 * DV] = {0};
  for (int t = 0; t < 23; t++) m[t] = t == 9 ? -INFINITY : -fabs(m[t]);
  for (int t = 0; t < 23; t++) {
    double log = m[t], sum = 0, y[DV] = {0};
    for (int s = t - 1; s >= 0; s--) {
      const double *k = array(w, "k") + s * DK, *q = array(w, "q") + t * DK;
      const double a = 0.5 * dot(q, k) * exp(array(w, "i")[s] + log);
      sum += a;
      for (int j = 0; j < DV; j++) y[j] += a * array(w, "v")[s * DV + j];
      log += m[s] - log1p(exp(-array(w, "f")[s]));
    }
    for (int j = 0; j < DV; j++) expected[t * DV + j] = y[j] / fmax(fabs(sum), 1);
  }
  assert_engines(w, expected, 3);
  world_destroy(w);
}

/* 1 + x + x^2 / 2 */
static const struct expr *taylor(struct world *w, const struct expr *x) {
  const struct expr *half = binary(w, OP_DIV, binary(w, OP_POW, x, number(w, 2)), number(w, 2));
  return binary(w, OP_ADD, binary(w, OP_ADD, number(w, 1), x), half);
}

static void test_polynomial_score(void **state) {
  (void)state;
  struct world *w = world_create();
  w->branch.score = taylor(w, symbol(w, SYM_QK));
  w->branch.linear = false;
  w->branch.degree = 2;
  draw_all(w);
  double expected[23 * DV] = {0};
  for (int t = 0; t < 23; t++) {
    for (int s = 0; s <= t; s++) {
      const double x = 0.5 * dot(array(w, "q") + t * DK, array(w, "k") + s * DK);
      for (int j = 0; j < DV; j++) {
        expected[t * DV + j] += (1 + x + x * x / 2) * array(w, "v")[s * DV + j];
      }
    }
  }
  assert_engines(w, expected, 3);
  world_destroy(w);
}

/* softmax over window(5) | first(2), with an output gate */
static void test_softmax_masks(void **state) {
  (void)state;
  struct world *w = world_create();
  struct weight *arg = arena_array(&w->arena, struct weight, 2);
  arg[0] = (struct weight){.kind = WEIGHT_WINDOW, .expr = number(w, 5)};
  arg[1] = (struct weight){.kind = WEIGHT_FIRST, .expr = number(w, 2)};
  add_weight(w, (struct weight){.kind = WEIGHT_OR, .arg = {&arg[0], &arg[1]}});
  w->branch.score = unary(w, OP_EXP, symbol(w, SYM_QK));
  w->branch.linear = false;
  w->branch.degree = -1;
  w->variant.normaliser = symbol(w, SYM_ROWSUM);
  w->variant.output = times(w, symbol(w, SYM_O), unary(w, OP_SILU, input(w, "z", AXIS_DV)));
  draw_all(w);
  double expected[23 * DV];
  for (int t = 0; t < 23; t++) {
    double sum = 0, y[DV] = {0};
    for (int s = 0; s <= t; s++) {
      if (t - s >= 5 && s >= 2) continue;
      const double a = exp(0.5 * dot(array(w, "q") + t * DK, array(w, "k") + s * DK));
      sum += a;
      for (int j = 0; j < DV; j++) y[j] += a * array(w, "v")[s * DV + j];
    }
    for (int j = 0; j < DV; j++) {
      const double z = array(w, "z")[t * DV + j];
      expected[t * DV + j] = y[j] / sum * z * logistic(z);
    }
  }
  assert_engines(w, expected, 2);
  const char *why = NULL;
  assert_false(ref_applies(&w->variant, REF_STATE, &why));
  assert_contains(why, "not a polynomial");
  world_destroy(w);
}

/* Two branches: a block of 4 with relu(qk)^2, the rest linear times taps, both ways at once */
static void test_branches(void **state) {
  (void)state;
  struct world *w = world_create();
  struct branch both[2] = {w->branch, w->branch};
  struct weight *block = arena_new(&w->arena, struct weight);
  *block = (struct weight){.kind = WEIGHT_BLOCK, .expr = number(w, 4)};
  struct weight others[2] = {{.kind = WEIGHT_NOT, .arg = {block, NULL}}, {.kind = WEIGHT_TOEPLITZ}};
  others[1].expr = leaf(w, "taps", AXIS_TAPS, true, false);
  const struct expr *relu = unary(w, OP_RELU, symbol(w, SYM_QK));
  both[0].score = times(w, relu, relu);
  both[0].linear = false;
  both[0].degree = -1;
  both[0].weights = block;
  both[0].nweights = 1;
  both[1].weights = others;
  both[1].nweights = 2;
  w->variant.branches = both;
  w->variant.nbranches = 2;
  draw_all(w);
  double expected[23 * DV] = {0};
  for (int t = 0; t < 23; t++) {
    for (int s = 0; s <= t; s++) {
      const double x = 0.5 * dot(array(w, "q") + t * DK, array(w, "k") + s * DK);
      const double tap = t - s < 6 ? array(w, "taps")[t - s] : 0;
      const double weight = t / 4 == s / 4 ? fmax(x, 0) * fmax(x, 0) : x * tap;
      for (int j = 0; j < DV; j++) expected[t * DV + j] += weight * array(w, "v")[s * DV + j];
    }
  }
  assert_engines(w, expected, 2);
  world_destroy(w);
}

static void test_bidirectional(void **state) {
  (void)state;
  struct world *w = world_create();
  add_weight(w, (struct weight){.kind = WEIGHT_BIDIRECTIONAL});
  w->branch.causal = false;
  draw_all(w);
  double expected[23 * DV];
  struct hand s = {0};
  for (int t = 0; t < 23; t++) write_state(&s, array(w, "k") + t * DK, array(w, "v") + t * DV, 1);
  for (int t = 0; t < 23; t++) {
    read_state(&s, array(w, "q") + t * DK, 0.5, expected + t * DV);
  }
  assert_engines(w, expected, 2);
  world_destroy(w);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_normaliser_and_empty_rows),
      cmocka_unit_test(test_exp_gate),
      cmocka_unit_test(test_exp_gate_read_before),
      cmocka_unit_test(test_polynomial_score),
      cmocka_unit_test(test_softmax_masks),
      cmocka_unit_test(test_branches),
      cmocka_unit_test(test_bidirectional),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
