/* SPDX-License-Identifier: MIT
 * test_expr.c - constructors, bounds, logarithms and text of expressions, by example and by random
 * expressions evaluated at random points.
 */
#include "support.h"

#include "expr.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CHANNELS = 4, MAX_WIDTH = 16, NLEAVES = 7 };

struct world {
  struct arena arena;
  jmp_buf out_of_memory;
  struct diag diag;
  struct expr_ctx c;
  struct leaf leaves[NLEAVES];
  double values[NLEAVES][CHANNELS]; /* of the leaves, at one token */
  uint64_t random;
};

static void world_init(struct world *w, uint64_t seed) {
  static const struct leaf leaves[NLEAVES] = {
      {.name = "a", .min = -INFINITY, .max = INFINITY},
      {.name = "b", .min = 0, .max = 1},
      {.name = "c", .min = -2, .max = 3, .param = true},
      {.name = "d", .min = -INFINITY, .max = 0},
      {.name = "x", .min = -INFINITY, .max = INFINITY, .axis = AXIS_DK},
      {.name = "y", .min = 0, .max = INFINITY, .axis = AXIS_DK},
      {.name = "z", .min = -1, .max = -0.25, .axis = AXIS_DK}};
  memset(w, 0, sizeof *w);
  arena_init(&w->arena, &w->out_of_memory);
  w->diag.arena = &w->arena;
  expr_ctx_init(&w->c, &w->arena, &w->diag);
  memcpy(w->leaves, leaves, sizeof leaves);
  for (int i = 0; i < NLEAVES; i++) w->leaves[i].index = i;
  w->random = seed;
}

static void world_finish(struct world *w) {
  expr_ctx_finish(&w->c);
  arena_finish(&w->arena);
}

static unsigned pick(struct world *w, unsigned n) {
  w->random = w->random * 6364136223846793005u + 1442695040888963407u;
  return (unsigned)(w->random >> 33) % n;
}

static double uniform(struct world *w) {
  return (pick(w, 1000001) - 500000.0) / 500000;
}

static const struct expr *leaf(struct world *w, int i) {
  return expr_leaf(&w->c, &w->leaves[i]);
}

static const struct expr *number(struct world *w, double x) {
  return expr_const(&w->c, x);
}

/* ---- random expressions ---- */

static const struct expr *random_leaf(struct world *w) {
  static const double numbers[] = {0, 1, -1, 2, 0.5, -0.25, 3, 10};
  switch (pick(w, 8)) {
  case 0: return number(w, numbers[pick(w, 8)]);
  case 1: return expr_symbol(&w->c, pick(w, 2) ? SYM_HEAD : SYM_DK);
  default: return leaf(w, (int)pick(w, NLEAVES));
  }
}

/* NULL where the operation refused its operands. */
static const struct expr *random_expr(struct world *w, int depth) {
  static const enum op unary[] = {OP_NEG,     OP_EXP,  OP_LOG,      OP_SQRT, OP_ABS,
                                  OP_SIGMOID, OP_TANH, OP_SOFTPLUS, OP_SILU, OP_RELU,
                                  OP_ELU,     OP_SIN,  OP_COS};
  static const enum op binary[] = {OP_ADD, OP_SUB, OP_MUL, OP_DIV, OP_MIN, OP_MAX};
  static const enum op row[] = {OP_SUM, OP_L2NORM, OP_RMSNORM, OP_SOFTMAX};
  static const double powers[] = {2, 3, -1, -2, 0.5, -0.5, 0, 1, 4, -3};
  if (depth == 0) return random_leaf(w);
  const struct expr *a = random_expr(w, depth - 1);
  switch (pick(w, 8)) {
  case 0:
  case 1: return expr_unary(&w->c, unary[pick(w, sizeof unary / sizeof *unary)], a);
  case 2: return expr_binary(&w->c, OP_POW, a, number(w, powers[pick(w, 10)]));
  case 3: return a && a->axis ? expr_row(&w->c, row[pick(w, 4)], a, 0) : a;
  case 4: return expr_binary(&w->c, OP_MUL, a, a);
  case 5: return expr_binary(&w->c, OP_POW, number(w, 2), a);
  default: {
    const struct expr *b = random_expr(w, (int)pick(w, (unsigned)depth));
    return expr_binary(&w->c, binary[pick(w, 6)], a, b);
  }
  }
}

/* ---- evaluation ---- */

struct vector {
  int n;
  double x[MAX_WIDTH];
  bool overflow; /* an intermediate was infinite */
};

static void draw(struct world *w) {
  static const double scales[] = {1, 0.1, 10, 100};
  for (int i = 0; i < NLEAVES; i++)
    for (int j = 0; j < CHANNELS; j++) {
      const struct leaf *l = &w->leaves[i];
      double x = pick(w, 10) == 0 ? 0 : uniform(w) * scales[pick(w, 4)];
      if (isfinite(l->min) && isfinite(l->max)) x = l->min + (l->max - l->min) * fabs(uniform(w));
      if (x < l->min) x = l->min == -1 ? -1 : fabs(x);
      if (x > l->max) x = l->max - fabs(x);
      w->values[i][j] = x;
    }
}

static void apply_row(const struct expr *e, struct vector *v) {
  double sum = 0, squares = 0, exps = 0, top = -INFINITY;
  for (int i = 0; i < v->n; i++) {
    sum += v->x[i];
    squares += v->x[i] * v->x[i];
    top = fmax(top, v->x[i]);
  }
  for (int i = 0; i < v->n; i++) exps += exp(v->x[i] - top);
  for (int i = 0; i < v->n; i++) {
    if (e->op == OP_L2NORM) v->x[i] /= sqrt(squares + e->value);
    if (e->op == OP_RMSNORM) v->x[i] /= sqrt(squares / v->n + e->value);
    if (e->op == OP_SOFTMAX) v->x[i] = exp(v->x[i] - top) / exps;
  }
  if (e->op != OP_SUM) return;
  v->n = 1;
  v->x[0] = sum;
}

static struct vector evaluate(const struct world *w, const struct expr *e) {
  struct vector v = {.n = e->axis ? CHANNELS : 1};
  if (e->leaf) {
    for (int i = 0; i < v.n; i++) v.x[i] = w->values[e->leaf->index][i];
  } else if (e->op == OP_SYMBOL) {
    v.x[0] = e->symbol == SYM_HEAD ? 3 : CHANNELS;
  } else if (!e->arg[0]) {
    v.x[0] = e->value;
  } else if (!op_is_pointwise(e->op)) {
    v = evaluate(w, e->arg[0]);
    apply_row(e, &v);
  } else {
    const struct vector a = evaluate(w, e->arg[0]);
    const struct vector b = e->arg[1] ? evaluate(w, e->arg[1]) : a;
    v.overflow = a.overflow || b.overflow;
    for (int i = 0; i < v.n; i++)
      v.x[i] = op_value(e->op, a.x[a.n > 1 ? i : 0], b.x[b.n > 1 ? i : 0]);
  }
  for (int i = 0; i < v.n; i++) v.overflow |= isinf(v.x[i]);
  return v;
}

/* ---- properties ---- */

static void fail_with(struct world *w, const struct expr *e, const char *what, double x) {
  fail_msg("%s: %s is %.17g; bounds [%.17g, %.17g]", what, expr_text(&w->c, e), x, e->lo, e->hi);
}

static void check_bounds(struct world *w, const struct expr *e) {
  const struct vector v = evaluate(w, e);
  if (!(e->lo <= e->hi) || e->lo == INFINITY || e->hi == -INFINITY)
    fail_with(w, e, "broken bounds", 0);
  if (v.overflow) return;
  for (int i = 0; i < v.n; i++) {
    const double slack = 1e-9 * (1 + fabs(v.x[i]));
    if (isnan(v.x[i]) && e->nan) continue;
    if (!(v.x[i] >= e->lo - slack && v.x[i] <= e->hi + slack))
      fail_with(w, e, "outside its bounds", v.x[i]);
  }
}

static void values_lie_within_bounds(void **state) {
  (void)state;
  int checked = 0;
  for (uint64_t seed = 1; seed <= 6000; seed++) {
    struct world w;
    world_init(&w, seed);
    const struct expr *e = random_expr(&w, 1 + (int)(seed % 5));
    assert_true(e || w.diag.message);
    for (int i = 0; e && i < 20; i++, checked++) {
      draw(&w);
      check_bounds(&w, e);
    }
    world_finish(&w);
  }
  assert_true(checked > 60000);
}

/* log(e) where e is proved to be positive is the logarithm of its value. */
static void logarithms_are_logarithms(void **state) {
  (void)state;
  int checked = 0;
  for (uint64_t seed = 1; seed <= 20000; seed++) {
    struct world w;
    world_init(&w, seed);
    const struct expr *e = random_expr(&w, 1 + (int)(seed % 4));
    const struct expr *log_e = e && e->lo >= 0 ? expr_log(&w.c, e) : NULL;
    for (int i = 0; log_e && i < 5; i++) {
      draw(&w);
      const struct vector x = evaluate(&w, e), y = evaluate(&w, log_e);
      if (x.overflow || y.overflow) continue;
      for (int j = 0; j < x.n; j++) {
        const double want = x.x[j], got = exp(y.x[y.n > 1 ? j : 0]);
        if ((isnan(want) || isnan(got)) && e->nan) continue;
        if (want < 1e-280) continue; /* rounded to a few bits, or to nothing */
        if (!(fabs(got - want) <= 1e-6 * want + 1e-12))
          fail_with(&w, e, "its logarithm is off", got);
        checked++;
      }
    }
    world_finish(&w);
  }
  assert_true(checked > 5000);
}

/* What is printed, a spec reads back as the same expression. */
static void text_reads_back(void **state) {
  (void)state;
  int checked = 0;
  for (uint64_t seed = 1; seed <= 2000; seed++) {
    struct world w;
    world_init(&w, seed);
    const struct expr *e = random_expr(&w, 1 + (int)(seed % 5));
    if (e && !e->axis) e = expr_binary(&w.c, OP_MUL, e, leaf(&w, 4));
    struct buf spec = {0}, again = {0};
    buf_puts(&spec,
             "local a, b, d = input 'a', input { 'b', min = 0, max = 1 }, input { 'd', max = 0 }\n"
             "local c = param { 'c', min = -2, max = 3 }\n"
             "local x, y, z = input { 'x', dk }, input { 'y', dk, min = 0 },"
             " input { 'z', dk, min = -1, max = -0.25 }\n"
             "return variant { name = 'x', q = ");
    if (e) expr_print(&spec, e);
    buf_puts(&spec, " }");
    const struct variant *v;
    struct error err = {0};
    if (e && spec_load("text.lua", buf_text(&spec), spec.len, &w.arena, &v, &err)) {
      fail_msg("%s", error_text(&err));
    } else if (e) {
      expr_print(&again, v->branches[0].q);
      assert_string_equal(expr_text(&w.c, v->branches[0].q), expr_text(&w.c, e));
      assert_non_null(strstr(buf_text(&spec), buf_text(&again)));
      checked++;
    }
    buf_finish(&spec);
    buf_finish(&again);
    world_finish(&w);
  }
  assert_true(checked > 1000);
}

/* ---- examples ---- */

static void equal_nodes_are_shared(void **state) {
  (void)state;
  struct world w;
  world_init(&w, 1);
  const struct expr *a = leaf(&w, 0), *b = leaf(&w, 1);
  const struct expr *x = expr_binary(&w.c, OP_ADD, a, expr_unary(&w.c, OP_EXP, b));
  assert_ptr_equal(x, expr_binary(&w.c, OP_ADD, leaf(&w, 0), expr_unary(&w.c, OP_EXP, b)));
  assert_ptr_not_equal(x, expr_binary(&w.c, OP_ADD, expr_unary(&w.c, OP_EXP, b), a));
  assert_ptr_equal(number(&w, 0.0), number(&w, -0.0));
  assert_ptr_not_equal(expr_row(&w.c, OP_L2NORM, leaf(&w, 4), 0),
                       expr_row(&w.c, OP_L2NORM, leaf(&w, 4), 1e-12));
  assert_true(x->id > a->id && x->id > b->id);
  for (int i = 0; i < 5000; i++) assert_non_null(number(&w, i)); /* the table grows */
  assert_ptr_equal(number(&w, 17), number(&w, 17));
  assert_ptr_equal(x, expr_binary(&w.c, OP_ADD, a, expr_unary(&w.c, OP_EXP, b)));
  world_finish(&w);
}

static void shapes(void **state) {
  (void)state;
  struct world w;
  world_init(&w, 1);
  const struct expr *x = leaf(&w, 4), *twice = expr_binary(&w.c, OP_CONCAT, x, leaf(&w, 5));
  assert_int_equal(twice->width, 2);
  assert_int_equal(twice->axis, AXIS_DK);
  assert_int_equal(expr_binary(&w.c, OP_MUL, leaf(&w, 0), twice)->width, 2);
  const struct expr *sum = expr_row(&w.c, OP_SUM, twice, 0);
  assert_int_equal(sum->axis, AXIS_NONE);
  assert_int_equal(sum->width, 1);
  assert_true(sum->token);
  assert_false(expr_unary(&w.c, OP_EXP, leaf(&w, 2))->token);
  assert_null(expr_binary(&w.c, OP_ADD, x, twice));
  assert_contains(w.diag.message, "a dk-vector (x) meets a vector of 2 dk (concat(x, y))");
  world_finish(&w);
}

static void log_in_fp32_is_accurate(void **state) {
  (void)state;
  struct world w;
  world_init(&w, 1);
  const struct expr *head = expr_symbol(&w.c, SYM_HEAD);
  const struct expr *exponent = expr_binary(&w.c, OP_SUB, number(&w, -5), head);
  const struct expr *gamma =
      expr_binary(&w.c, OP_SUB, number(&w, 1), expr_binary(&w.c, OP_POW, number(&w, 2), exponent));
  assert_true(gamma->lo >= 0 && gamma->hi <= 1);
  assert_string_equal(expr_text(&w.c, gamma), "1 - 2^(-5 - head)");
  assert_string_equal(expr_text(&w.c, expr_log(&w.c, gamma)), "log1p(-2^(-5 - head))");
  world_finish(&w);
}

static void texts(void **state) {
  (void)state;
  struct world w;
  world_init(&w, 1);
  struct expr_ctx *c = &w.c;
  const struct expr *a = leaf(&w, 0), *b = leaf(&w, 1), *x = leaf(&w, 4);
  const struct expr *sum = expr_binary(c, OP_ADD, a, b);
  assert_string_equal(expr_text(c, expr_binary(c, OP_SUB, a, sum)), "a - (a + b)");
  assert_string_equal(expr_text(c, expr_binary(c, OP_SUB, sum, a)), "a + b - a");
  assert_string_equal(expr_text(c, expr_binary(c, OP_DIV, a, expr_binary(c, OP_MUL, a, b))),
                      "a / (a * b)");
  assert_string_equal(expr_text(c, expr_unary(c, OP_NEG, expr_unary(c, OP_NEG, a))), "a");
  assert_string_equal(expr_text(c, expr_binary(c, OP_POW, expr_unary(c, OP_NEG, a), number(&w, 2))),
                      "(-a)^2");
  assert_string_equal(
      expr_text(c, expr_unary(c, OP_NEG, expr_binary(c, OP_POW, a, number(&w, -0.5)))), "-a^-0.5");
  assert_string_equal(expr_text(c, expr_row(c, OP_L2NORM, x, 1e-12)), "l2norm(x, 1e-12)");
  assert_string_equal(expr_text(c, number(&w, 0.1)), "0.1");
  assert_string_equal(expr_text(c, number(&w, 100)), "100");
  assert_string_equal(expr_text(c, number(&w, 1.0 / 3)), "0.3333333333333333");
  world_finish(&w);
}

static void questions(void **state) {
  (void)state;
  struct world w;
  world_init(&w, 1);
  struct expr_ctx *c = &w.c;
  const struct expr *a = leaf(&w, 0), *b = leaf(&w, 1), *x = leaf(&w, 4), *y = leaf(&w, 5);
  const struct expr *qk = expr_symbol(c, SYM_QK), *rowsum = expr_symbol(c, SYM_ROWSUM);
  const struct expr *square = expr_binary(c, OP_POW, qk, number(&w, 2));
  assert_int_equal(expr_degree(expr_binary(c, OP_ADD, number(&w, 1), square)), 2);
  assert_int_equal(
      expr_degree(expr_binary(c, OP_MUL, leaf(&w, 2), expr_binary(c, OP_MUL, square, qk))), 3);
  assert_int_equal(expr_degree(expr_binary(c, OP_DIV, qk, number(&w, 2))), 1);
  assert_int_equal(expr_degree(expr_binary(c, OP_DIV, number(&w, 2), qk)), -1);
  assert_int_equal(expr_degree(expr_unary(c, OP_EXP, qk)), -1);
  assert_int_equal(expr_degree(number(&w, 1)), 0);
  assert_true(
      expr_homogeneous(expr_binary(c, OP_MAX, expr_unary(c, OP_ABS, rowsum), number(&w, 1))));
  assert_false(expr_homogeneous(expr_binary(c, OP_MUL, rowsum, number(&w, 2))));
  /* scalars move across b a^T; vectors do not */
  const struct expr *ax = expr_binary(c, OP_MUL, a, x), *xy = expr_binary(c, OP_MUL, x, y);
  assert_true(expr_parallel(ax, x));
  assert_true(expr_parallel(expr_unary(c, OP_NEG, expr_binary(c, OP_DIV, x, b)), ax));
  assert_true(expr_parallel(expr_binary(c, OP_MUL, y, ax), xy));
  assert_false(expr_parallel(xy, x));
  assert_false(expr_parallel(expr_binary(c, OP_DIV, x, y), xy));
  assert_int_equal(expr_scalar_sign(expr_unary(c, OP_NEG, expr_binary(c, OP_MUL, b, x))), -1);
  assert_int_equal(expr_scalar_sign(ax), 0);
  const struct expr *unit = expr_row(c, OP_L2NORM, x, 0);
  assert_close(expr_norm(expr_binary(c, OP_MUL, b, unit)), 1, 0, 0);
  assert_close(expr_norm(expr_binary(c, OP_MUL, number(&w, -3), unit)), 3, 0, 0);
  assert_true(isinf(expr_norm(x)));
  const struct expr *root =
      expr_unary(c, OP_SQRT, expr_row(c, OP_SUM, expr_binary(c, OP_MUL, x, x), 0));
  assert_close(
      expr_norm(expr_binary(c, OP_DIV, x, expr_binary(c, OP_MAX, root, number(&w, 1e-12)))), 1, 0,
      0);
  const struct expr *log, *rest;
  const struct expr *gate = expr_binary(c, OP_MUL, expr_unary(c, OP_EXP, a), x);
  assert_true(expr_split_exp(c, gate, &log, &rest));
  assert_ptr_equal(log, a);
  assert_ptr_equal(rest, x);
  assert_false(expr_split_exp(c, expr_binary(c, OP_MUL, expr_unary(c, OP_EXP, leaf(&w, 3)), x),
                              &log, &rest));
  world_finish(&w);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(equal_nodes_are_shared),
      cmocka_unit_test(shapes),
      cmocka_unit_test(texts),
      cmocka_unit_test(questions),
      cmocka_unit_test(log_in_fp32_is_accurate),
      cmocka_unit_test(values_lie_within_bounds),
      cmocka_unit_test(logarithms_are_logarithms),
      cmocka_unit_test(text_reads_back),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
