/* SPDX-License-Identifier: MIT
 * test_ref_state.c - variants with a state against recurrences written out by hand; every
 * engine that applies must give the same.
 */
#include "ref_world.h"

#include <math.h>
#include <string.h>

/* ---- flat variants ---- */

static void test_linear_attention(void **state) {
  (void)state;
  struct world *w = world_create();
  draw_all(w);
  const double *q = array(w, "q"), *k = array(w, "k"), *v = array(w, "v");
  double expected[23 * DV];
  struct hand s = {0};
  for (int t = 0; t < 23; t++) {
    write_state(&s, k + t * DK, v + t * DV, 1);
    read_state(&s, q + t * DK, 0.5, expected + t * DV);
  }
  assert_engines(w, expected, 4);
  world_destroy(w);
}

/* decay(1 - 2^(-5 - head)), several heads and sequences; k has 2 heads, v has 1 */
static void test_retnet_heads(void **state) {
  (void)state;
  struct world *w = world_create();
  const struct expr *exponent = binary(w, OP_SUB, number(w, -5), symbol(w, SYM_HEAD));
  const struct expr *power = binary(w, OP_POW, number(w, 2), exponent);
  add_decay(w, unary(w, OP_LOG1P, unary(w, OP_NEG, power)));
  w->call.B = 2;
  w->call.T = 9;
  w->call.H = 4;
  w->arrays[1].heads = 2;
  w->arrays[2].heads = 1;
  draw_all(w);
  const double *q = array(w, "q"), *k = array(w, "k"), *v = array(w, "v");
  double expected[2 * 9 * 4 * DV];
  for (int b = 0; b < 2; b++) {
    for (int h = 0; h < 4; h++) {
      struct hand s = {0};
      for (int t = 0; t < 9; t++) {
        const int row = b * 9 + t;
        scale_rows(&s, 1 - pow(2, -5 - h));
        write_state(&s, k + (row * 2 + h / 2) * DK, v + row * DV, 1);
        read_state(&s, q + (row * 4 + h) * DK, 0.5, expected + (row * 4 + h) * DV);
      }
    }
  }
  assert_engines(w, expected, 4);
  world_destroy(w);
}

/* Simple GLA with resets: -inf forgets what was before, even what was not finite. */
static void test_simple_gla_resets(void **state) {
  (void)state;
  struct world *w = world_create();
  add_decay(w, input(w, "g", AXIS_NONE));
  draw_all(w);
  double *g = array(w, "g"), expected[23 * DV];
  for (int t = 0; t < 23; t++) g[t] = -0.3 * fabs(g[t]);
  g[0] = g[5] = g[6] = g[16] = -INFINITY;
  g[9] = 0;
  g[12] = -1e4;
  g[19] = -30;
  const double *q = array(w, "q"), *k = array(w, "k"), *v = array(w, "v");
  struct hand s = {0};
  for (int t = 0; t < 23; t++) {
    scale_rows(&s, exp(g[t]));
    write_state(&s, k + t * DK, v + t * DV, 1);
    read_state(&s, q + t * DK, 0.5, expected + t * DV);
  }
  for (w->call.chunk = 1; w->call.chunk <= 64; w->call.chunk *= 2) assert_engines(w, expected, 4);
  w->call.chunk = 8;
  array(w, "v")[2] = INFINITY;
  array(w, "k")[1] = NAN;
  const size_t after_reset = 5 * DV, n = 23 * DV - after_reset;
  for (enum ref_engine e = REF_DENSE; e <= REF_CACHE; e++) {
    const double *o = run_engine(w, e);
    assert_false(isfinite(o[2 * DV + 2]));
    assert_true(ref_relative_l2(o + after_reset, expected + after_reset, n) <= REF_TOLERANCE);
  }
  world_destroy(w);
}

static void test_gla(void **state) {
  (void)state;
  struct world *w = world_create();
  add_decay(w, input(w, "g", AXIS_DK));
  draw_all(w);
  double *g = array(w, "g"), expected[23 * DV];
  for (int i = 0; i < 23 * DK; i++) g[i] = i % 11 ? -fabs(g[i]) : -INFINITY;
  const double *q = array(w, "q"), *k = array(w, "k"), *v = array(w, "v");
  struct hand s = {0};
  for (int t = 0; t < 23; t++) {
    for (int i = 0; i < DK; i++) {
      for (int j = 0; j < DV; j++) s.S[i][j] *= exp(g[t * DK + i]);
    }
    write_state(&s, k + t * DK, v + t * DV, 1);
    read_state(&s, q + t * DK, 0.5, expected + t * DV);
  }
  assert_engines(w, expected, 3);
  world_destroy(w);
}

/* decay over dv: S <- S diag(w) */
static void test_value_decay(void **state) {
  (void)state;
  struct world *w = world_create();
  const struct expr *log = input(w, "g", AXIS_DV);
  add_factor(w, (struct factor){.kind = FACTOR_DECAY, .log = log, .right = true});
  draw_all(w);
  double *g = array(w, "g"), expected[23 * DV];
  for (int i = 0; i < 23 * DV; i++) g[i] = -fabs(g[i]);
  const double *q = array(w, "q"), *k = array(w, "k"), *v = array(w, "v");
  struct hand s = {0};
  for (int t = 0; t < 23; t++) {
    for (int i = 0; i < DK; i++) {
      for (int j = 0; j < DV; j++) s.S[i][j] *= exp(g[t * DV + j]);
    }
    write_state(&s, k + t * DK, v + t * DV, 1);
    read_state(&s, q + t * DK, 0.5, expected + t * DV);
  }
  assert_engines(w, expected, 3);
  world_destroy(w);
}

/* q and k are numbers: one row of state, like HGRN */
static void test_scalar_keys(void **state) {
  (void)state;
  struct world *w = world_create();
  w->branch.q = number(w, 1);
  w->branch.k = number(w, 1);
  const struct expr *f = input(w, "f", AXIS_DV);
  const struct expr *log = unary(w, OP_NEG, unary(w, OP_SOFTPLUS, unary(w, OP_NEG, f)));
  add_factor(w, (struct factor){.kind = FACTOR_DECAY, .log = log, .right = true});
  draw_all(w);
  const double *v = array(w, "v"), *gate = array(w, "f");
  double expected[23 * DV], s[DV] = {0};
  for (int t = 0; t < 23; t++) {
    for (int j = 0; j < DV; j++) {
      s[j] = logistic(gate[t * DV + j]) * s[j] + v[t * DV + j];
      expected[t * DV + j] = 0.5 * s[j];
    }
  }
  assert_engines(w, expected, 3);
  world_destroy(w);
}

/* ---- delta and low rank ---- */

static void delta_by_hand(struct world *w, bool gated, double *expected) {
  const double *q = array(w, "q"), *k = array(w, "k"), *v = array(w, "v"), *b = array(w, "beta");
  struct hand s = {0};
  double key[DK];
  for (int t = 0; t < w->call.T; t++) {
    if (gated) scale_rows(&s, exp(array(w, "g")[t]));
    normalised(k + t * DK, key);
    delta_step(&s, key, v + t * DV, logistic(b[t]));
    read_state(&s, q + t * DK, 0.5, expected + t * DV);
  }
}

static void test_deltanet(void **state) {
  (void)state;
  struct world *w = world_create();
  w->branch.k = norm(w, w->branch.k);
  add_delta(w, unary(w, OP_SIGMOID, input(w, "beta", AXIS_NONE)));
  draw_all(w);
  double expected[23 * DV];
  delta_by_hand(w, false, expected);
  assert_engines(w, expected, 4);
  world_destroy(w);
}

static void test_gated_deltanet(void **state) {
  (void)state;
  struct world *w = world_create();
  w->branch.k = norm(w, w->branch.k);
  add_decay(w, input(w, "g", AXIS_NONE));
  add_delta(w, unary(w, OP_SIGMOID, input(w, "beta", AXIS_NONE)));
  draw_all(w);
  double *g = array(w, "g"), expected[23 * DV];
  for (int t = 0; t < 23; t++) g[t] = t == 11 ? -INFINITY : -0.3 * fabs(g[t]);
  delta_by_hand(w, true, expected);
  assert_engines(w, expected, 4);
  world_destroy(w);
}

/* A delta factor whose low-rank term was left to the reader of the IR is the same. */
static void test_delta_without_low(void **state) {
  (void)state;
  struct world *w = world_create();
  const struct expr *beta = unary(w, OP_SIGMOID, input(w, "beta", AXIS_NONE));
  w->branch.k = norm(w, w->branch.k);
  w->branch.v = times(w, beta, w->branch.v);
  add_factor(w, (struct factor){.kind = FACTOR_DELTA, .beta = beta});
  draw_all(w);
  double expected[23 * DV];
  delta_by_hand(w, false, expected);
  assert_engines(w, expected, 4);
  world_destroy(w);
}

/* RWKV-7: diag(w) - (a * kappa) kappa^T, a sum: the erase reads the state before the decay */
static void test_rwkv7(void **state) {
  (void)state;
  struct world *w = world_create();
  const struct expr *kappa = norm(w, input(w, "kappa", AXIS_DK));
  const struct expr *a = unary(w, OP_SIGMOID, input(w, "a", AXIS_DK));
  const struct expr *log = unary(w, OP_NEG, unary(w, OP_SIGMOID, input(w, "w", AXIS_DK)));
  add_outer(w, FACTOR_GENERAL, log, unary(w, OP_NEG, times(w, a, kappa)), kappa);
  draw_all(w);
  const double *q = array(w, "q"), *k = array(w, "k"), *v = array(w, "v");
  double expected[23 * DV], key[DK];
  struct hand s = {0};
  for (int t = 0; t < 23; t++) {
    normalised(array(w, "kappa") + t * DK, key);
    for (int j = 0; j < DV; j++) {
      double seen = 0;
      for (int i = 0; i < DK; i++) seen += key[i] * s.S[i][j];
      for (int i = 0; i < DK; i++) {
        const double decay = exp(-logistic(array(w, "w")[t * DK + i]));
        s.S[i][j] = decay * s.S[i][j] - logistic(array(w, "a")[t * DK + i]) * key[i] * seen;
      }
    }
    write_state(&s, k + t * DK, v + t * DV, 1);
    read_state(&s, q + t * DK, 0.5, expected + t * DV);
  }
  assert_engines(w, expected, 3);
  world_destroy(w);
}

/* Order: delta then decay differs from decay then delta under a channel decay. */
static void test_order_of_factors(void **state) {
  (void)state;
  double expected[23 * DV];
  struct world *w = world_create();
  w->branch.k = norm(w, w->branch.k);
  const struct expr *g = input(w, "g", AXIS_DK), *beta = input(w, "beta", AXIS_NONE);
  add_delta(w, unary(w, OP_SIGMOID, beta));
  add_decay(w, g);
  draw_all(w);
  const double *q = array(w, "q"), *k = array(w, "k"), *v = array(w, "v");
  for (int i = 0; i < 23 * DK; i++) array(w, "g")[i] = -fabs(array(w, "g")[i]);
  struct hand s = {0};
  double key[DK];
  for (int t = 0; t < 23; t++) {
    const double b = logistic(array(w, "beta")[t]), zero[DV] = {0};
    normalised(k + t * DK, key);
    delta_step(&s, key, zero, b);
    for (int i = 0; i < DK; i++) {
      for (int j = 0; j < DV; j++) s.S[i][j] *= exp(array(w, "g")[t * DK + i]);
    }
    write_state(&s, key, v + t * DV, b);
    read_state(&s, q + t * DK, 0.5, expected + t * DV);
  }
  assert_engines(w, expected, 3);
  world_destroy(w);
}

/* Gated DeltaProduct: three keys a token, one decay */
static void test_steps(void **state) {
  (void)state;
  struct world *w = world_create();
  w->variant.steps = number(w, 3);
  w->branch.k = norm(w, leaf(w, "ks", AXIS_DK, false, true));
  w->branch.v = leaf(w, "vs", AXIS_DV, false, true);
  add_decay(w, unary(w, OP_NEG, unary(w, OP_ABS, input(w, "g", AXIS_NONE))));
  add_delta(w, unary(w, OP_SIGMOID, leaf(w, "beta", AXIS_NONE, false, true)));
  draw_all(w);
  double expected[23 * DV], key[DK];
  struct hand s = {0};
  for (int t = 0; t < 23; t++) {
    scale_rows(&s, exp(-fabs(array(w, "g")[t])));
    for (int u = 3 * t; u < 3 * t + 3; u++) {
      normalised(array(w, "ks") + u * DK, key);
      delta_step(&s, key, array(w, "vs") + u * DV, logistic(array(w, "beta")[u]));
    }
    read_state(&s, array(w, "q") + t * DK, 0.5, expected + t * DV);
  }
  assert_engines(w, expected, 3);
  world_destroy(w);
}

/* RWKV-6 reads before its own token; the mask's decay includes it all the same */
static void test_read_before(void **state) {
  (void)state;
  struct world *w = world_create();
  const struct expr *g = input(w, "g", AXIS_NONE), *m = input(w, "m", AXIS_NONE);
  add_decay(w, unary(w, OP_NEG, unary(w, OP_ABS, g)));
  add_weight(w,
             (struct weight){.kind = WEIGHT_DECAY, .log = unary(w, OP_NEG, unary(w, OP_ABS, m))});
  w->branch.read_before = true;
  draw_all(w);
  double expected[23 * DV];
  struct hand s = {0};
  for (int t = 0; t < 23; t++) {
    scale_rows(&s, exp(-fabs(array(w, "m")[t])));
    read_state(&s, array(w, "q") + t * DK, 0.5, expected + t * DV);
    scale_rows(&s, exp(-fabs(array(w, "g")[t])));
    write_state(&s, array(w, "k") + t * DK, array(w, "v") + t * DV, 1);
  }
  assert_engines(w, expected, 3);
  world_destroy(w);
}

/* ---- fenwick ---- */

static int levels_between(int t, int s) { /* bit_length(t xor s) */
  int n = 0;
  for (int x = t ^ s; x; x >>= 1) n++;
  return n;
}

/* o_t = sum_s lambda_t[level(t, s)] e^{g_t + ... + g_{s+1}} (q_t . k_s) v_s */
static void test_fenwick_mamba2(void **state) {
  (void)state;
  enum { T = 70 };
  struct world *w = world_create();
  w->call.T = T;
  w->call.levels = 8;
  add_decay(w, unary(w, OP_NEG, unary(w, OP_ABS, input(w, "g", AXIS_NONE))));
  add_weight(w, (struct weight){.kind = WEIGHT_FENWICK, .expr = input(w, "lambda", AXIS_LEVELS)});
  draw_all(w);
  const double *q = array(w, "q"), *k = array(w, "k"), *v = array(w, "v");
  double expected[T * DV] = {0};
  for (int t = 0; t < T; t++) {
    double log = 0;
    for (int s = t; s >= 0; s--) {
      const double weight = array(w, "lambda")[t * 8 + levels_between(t, s)] * exp(log);
      const double a = 0.5 * dot(q + t * DK, k + s * DK);
      for (int j = 0; j < DV; j++) expected[t * DV + j] += weight * a * v[s * DV + j];
      log -= fabs(array(w, "g")[s]);
    }
  }
  assert_engines(w, expected, 3);
  world_destroy(w);
}

/* Log-linear DeltaNet: one state for each distance, advanced by every later token */
static void test_fenwick_delta(void **state) {
  (void)state;
  enum { T = 19, LEVELS = 6 };
  struct world *w = world_create();
  w->call.T = T;
  w->branch.k = norm(w, w->branch.k);
  add_delta(w, unary(w, OP_SIGMOID, input(w, "beta", AXIS_NONE)));
  add_weight(w, (struct weight){.kind = WEIGHT_FENWICK, .expr = input(w, "lambda", AXIS_LEVELS)});
  draw_all(w);
  double expected[T * DV] = {0}, o[DV], key[DK];
  const double zero[DV] = {0};
  for (int s = 0; s < T; s++) { /* what token s writes, seen by every later token */
    struct hand one = {0};
    for (int t = s; t < T; t++) {
      normalised(array(w, "k") + t * DK, key);
      const double b = logistic(array(w, "beta")[t]);
      delta_step(&one, key, zero, b);
      if (t == s) write_state(&one, key, array(w, "v") + s * DV, b);
      read_state(&one, array(w, "q") + t * DK, 0.5, o);
      const double lambda = array(w, "lambda")[t * LEVELS + levels_between(t, s)];
      for (int j = 0; j < DV; j++) expected[t * DV + j] += lambda * o[j];
    }
  }
  assert_engines(w, expected, 3);
  world_destroy(w);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_linear_attention),  cmocka_unit_test(test_retnet_heads),
      cmocka_unit_test(test_simple_gla_resets), cmocka_unit_test(test_gla),
      cmocka_unit_test(test_value_decay),       cmocka_unit_test(test_scalar_keys),
      cmocka_unit_test(test_deltanet),          cmocka_unit_test(test_gated_deltanet),
      cmocka_unit_test(test_delta_without_low), cmocka_unit_test(test_rwkv7),
      cmocka_unit_test(test_order_of_factors),  cmocka_unit_test(test_steps),
      cmocka_unit_test(test_read_before),       cmocka_unit_test(test_fenwick_mamba2),
      cmocka_unit_test(test_fenwick_delta),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
