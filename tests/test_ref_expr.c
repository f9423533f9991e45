/* SPDX-License-Identifier: MIT
 * test_ref_expr.c - the values of expressions, through outputs and roles.
 */
#include "ref_world.h"

#include <math.h>
#include <string.h>

/* ---- expressions ---- */

/* Functions that lose digits or overflow when written naively. */
static void test_expressions_are_stable(void **state) {
  (void)state;
  static const struct {
    enum op op;
    double x, expected;
  } cases[] = {
      {OP_SIGMOID, -800, 0},    {OP_SIGMOID, 800, 1},
      {OP_SOFTPLUS, 800, 800},  {OP_SOFTPLUS, -40, 4.248354255291589e-18},
      {OP_LOG1P, 1e-20, 1e-20}, {OP_ELU, -1e-20, -1e-20},
      {OP_ELU, 3, 3},           {OP_SILU, -800, 0},
      {OP_RELU, -2, 0},         {OP_TANH, 800, 1},
      {OP_ABS, -3, 3},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    struct world *w = world_create();
    w->call.T = 1;
    w->variant.output = binary(w, OP_ADD, times(w, symbol(w, SYM_O), number(w, 0)),
                               unary(w, cases[i].op, number(w, cases[i].x)));
    draw_all(w);
    assert_close(run_engine(w, REF_STATE)[DV - 1], cases[i].expected, 1e-14, 0);
    world_destroy(w);
  }
}

/* output = rmsnorm(o) + softmax(o) * sum(o), with o = q.k v at T = 1; a DAG of 40 doublings */
static void test_row_operations_and_sharing(void **state) {
  (void)state;
  struct world *w = world_create();
  w->call.T = 1;
  const struct expr *o = symbol(w, SYM_O), *twice = o;
  struct expr *rms = node(w, OP_RMSNORM, o, NULL);
  rms->value = 1e-5;
  for (int i = 0; i < 40; i++) twice = binary(w, OP_ADD, twice, twice);
  const struct expr *mix = times(w, unary(w, OP_SOFTMAX, o), unary(w, OP_SUM, twice));
  w->variant.output = binary(w, OP_ADD, rms, mix);
  draw_all(w);
  const double a = 0.5 * dot(array(w, "q"), array(w, "k"));
  double squares = 0, sum = 0, exps = 0, expected[DV];
  for (int j = 0; j < DV; j++) {
    const double x = a * array(w, "v")[j];
    squares += x * x;
    sum += x;
    exps += exp(x);
  }
  for (int j = 0; j < DV; j++) {
    const double x = a * array(w, "v")[j];
    expected[j] = x / sqrt(squares / DV + 1e-5) + exp(x) / exps * sum * 0x1p40;
  }
  assert_engines(w, expected, 4);
  world_destroy(w);
}

/* q = concat(q, -q): the state is twice as wide as dk */
static void test_concat(void **state) {
  (void)state;
  struct world *w = world_create();
  struct expr *q = node(w, OP_CONCAT, w->branch.q, unary(w, OP_NEG, w->branch.q));
  struct expr *k = node(w, OP_CONCAT, w->branch.k, w->branch.q);
  q->width = k->width = 2;
  w->branch.q = q;
  w->branch.k = k;
  draw_all(w);
  double expected[23 * DV] = {0};
  for (int t = 0; t < 23; t++) {
    for (int s = 0; s <= t; s++) {
      const double *qt = array(w, "q") + t * DK;
      const double a = dot(qt, array(w, "k") + s * DK) - dot(qt, array(w, "q") + s * DK);
      for (int j = 0; j < DV; j++) expected[t * DV + j] += 0.5 * a * array(w, "v")[s * DV + j];
    }
  }
  assert_engines(w, expected, 4);
  double h0[2 * DK * DV] = {0};
  w->call.h0 = h0;
  assert_int_equal(run_status(w, REF_STATE, "the state has 10 rows"), MKC_E_ARGUMENT);
  world_destroy(w);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_expressions_are_stable),
      cmocka_unit_test(test_row_operations_and_sharing),
      cmocka_unit_test(test_concat),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
