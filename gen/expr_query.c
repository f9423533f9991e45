/* SPDX-License-Identifier: MIT
 * expr_query.c - what the checker of a spec asks about an expression. All walk the tree, which has
 * at most EXPR_MAX_TERMS terms.
 */
#include "expr.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

bool expr_uses(const struct expr *e, enum symbol symbol) {
  if (!e) return false;
  if (e->op == OP_SYMBOL) return e->symbol == symbol;
  return expr_uses(e->arg[0], symbol) || expr_uses(e->arg[1], symbol);
}

bool expr_uses_input(const struct expr *e) {
  return e && (e->op == OP_INPUT || expr_uses_input(e->arg[0]) || expr_uses_input(e->arg[1]));
}

void expr_each_leaf(const struct expr *e, void (*visit)(void *data, const struct leaf *leaf),
                    void *data) {
  if (!e) return;
  if (e->leaf) visit(data, e->leaf);
  expr_each_leaf(e->arg[0], visit, data);
  expr_each_leaf(e->arg[1], visit, data);
}

/* ---- as a function of qk and of rowsum ---- */

static int degree_of_binary(const struct expr *e) {
  const int a = expr_degree(e->arg[0]), b = expr_degree(e->arg[1]);
  const double p = e->arg[1]->value;
  if (a < 0 || b < 0) return -1;
  switch (e->op) {
  case OP_ADD:
  case OP_SUB: return a > b ? a : b;
  case OP_MUL: return a + b;
  case OP_DIV: return b == 0 ? a : -1;
  case OP_POW: return p >= 0 && p <= 64 && p == floor(p) ? a * (int)p : -1;
  default: return -1;
  }
}

int expr_degree(const struct expr *e) {
  int degree = -1;
  if (!expr_uses(e, SYM_QK)) return 0;
  if (e->op == OP_SYMBOL) return 1;
  if (e->op == OP_NEG) return expr_degree(e->arg[0]);
  if (e->arg[1]) degree = degree_of_binary(e);
  return degree > 64 ? -1 : degree;
}

bool expr_homogeneous(const struct expr *e) {
  if (!expr_uses(e, SYM_ROWSUM) || e->op == OP_SYMBOL) return true;
  if (e->op == OP_ADD || e->op == OP_MAX || e->op == OP_MIN)
    return expr_homogeneous(e->arg[0]) && expr_homogeneous(e->arg[1]);
  return e->op == OP_ABS && expr_homogeneous(e->arg[0]);
}

bool expr_grows(const struct expr *e) {
  if (!e) return false;
  if (e->op == OP_EXP && e->hi == INFINITY && expr_uses(e, SYM_QK)) return true;
  return expr_grows(e->arg[0]) || expr_grows(e->arg[1]);
}

bool expr_split_exp(struct expr_ctx *c, const struct expr *e, const struct expr **ret_log,
                    const struct expr **ret_rest) {
  const struct expr *rest;
  if (e->op == OP_EXP && !e->axis && e->arg[0]->hi == INFINITY) {
    *ret_log = e->arg[0];
    *ret_rest = expr_const(c, 1);
    return true;
  }
  if (e->op == OP_NEG && expr_split_exp(c, e->arg[0], ret_log, &rest)) {
    *ret_rest = expr_unary(c, OP_NEG, rest);
    return true;
  }
  if (e->op != OP_MUL && e->op != OP_DIV) return false;
  if (expr_split_exp(c, e->arg[0], ret_log, &rest)) {
    const bool one = e->op == OP_MUL && rest->op == OP_CONST && rest->value == 1;
    *ret_rest = one ? e->arg[1] : expr_binary(c, e->op, rest, e->arg[1]);
    return true;
  }
  if (e->op == OP_MUL && expr_split_exp(c, e->arg[1], ret_log, &rest)) {
    const bool one = rest->op == OP_CONST && rest->value == 1;
    *ret_rest = one ? e->arg[0] : expr_binary(c, OP_MUL, e->arg[0], rest);
    return true;
  }
  return false;
}

/* ---- as a vector ---- */

/* The vectors that a product is made of; scalars and signs are dropped. */
struct product {
  int n;
  bool overflow;
  int key[32]; /* the node's id + 1, negative under a division bar */
};

static void add_factors(struct product *p, const struct expr *e, int sign) {
  if (!e->axis) return;
  if (e->op == OP_NEG) {
    add_factors(p, e->arg[0], sign);
  } else if (e->op == OP_MUL || e->op == OP_DIV) {
    add_factors(p, e->arg[0], sign);
    add_factors(p, e->arg[1], e->op == OP_DIV ? -sign : sign);
  } else if (p->n == (int)(sizeof p->key / sizeof *p->key)) {
    p->overflow = true;
  } else {
    p->key[p->n++] = sign * (int)(e->id + 1);
  }
}

static int by_key(const void *a, const void *b) {
  const int x = *(const int *)a, y = *(const int *)b;
  return (x > y) - (x < y);
}

bool expr_parallel(const struct expr *a, const struct expr *b) {
  struct product p = {0}, q = {0};
  add_factors(&p, a, 1);
  add_factors(&q, b, 1);
  if (p.overflow || q.overflow || p.n != q.n) return false;
  qsort(p.key, (size_t)p.n, sizeof *p.key, by_key);
  qsort(q.key, (size_t)q.n, sizeof *q.key, by_key);
  return memcmp(p.key, q.key, sizeof *p.key * (size_t)p.n) == 0;
}

int expr_scalar_sign(const struct expr *e) {
  if (!e->axis) return e->lo >= 0 ? 1 : e->hi <= 0 ? -1 : 0;
  if (e->op == OP_NEG) return -expr_scalar_sign(e->arg[0]);
  if (e->op != OP_MUL && e->op != OP_DIV) return 1;
  return expr_scalar_sign(e->arg[0]) * expr_scalar_sign(e->arg[1]);
}

double expr_magnitude(const struct expr *e) {
  return fmax(fabs(e->lo), fabs(e->hi));
}

static double times(double x, double y) {
  return x == 0 || y == 0 ? 0 : x * y;
}

/* e is a lower bound of the norm of x: sqrt(sum(x * x)), or the maximum of that and something. */
static bool is_norm_of(const struct expr *e, const struct expr *x) {
  if (e->op == OP_MAX) return is_norm_of(e->arg[0], x) || is_norm_of(e->arg[1], x);
  if (e->op != OP_SQRT) return false;
  e = e->arg[0];
  if (e->op == OP_ADD && e->arg[0]->lo >= 0 && e->arg[1]->lo >= 0)
    e = e->arg[0]->op == OP_SUM ? e->arg[0] : e->arg[1];
  if (e->op != OP_SUM) return false;
  e = e->arg[0];
  if (e->op == OP_MUL) return e->arg[0] == x && e->arg[1] == x;
  return e->op == OP_POW && e->arg[0] == x && e->arg[1]->value == 2;
}

static double norm_of_quotient(const struct expr *e) {
  const struct expr *a = e->arg[0], *b = e->arg[1];
  if (is_norm_of(b, a)) return 1;
  const double least = b->lo > 0 ? b->lo : b->hi < 0 ? -b->hi : 0;
  return least > 0 ? expr_norm(a) / least : INFINITY;
}

double expr_norm(const struct expr *e) {
  const struct expr *a = e->arg[0], *b = e->arg[1];
  if (!e->axis) return expr_magnitude(e);
  switch (e->op) {
  case OP_L2NORM:
  case OP_SOFTMAX: return 1;
  case OP_NEG: return expr_norm(a);
  case OP_MUL: /* |x y| <= max|x| |y|, either way round */
    if (!a->axis) return times(expr_magnitude(a), expr_norm(b));
    if (!b->axis) return times(expr_magnitude(b), expr_norm(a));
    return fmin(times(expr_magnitude(a), expr_norm(b)), times(expr_magnitude(b), expr_norm(a)));
  case OP_DIV: return norm_of_quotient(e);
  case OP_ADD:
  case OP_SUB: return a->axis && b->axis ? expr_norm(a) + expr_norm(b) : INFINITY;
  case OP_CONCAT: return hypot(expr_norm(a), expr_norm(b));
  default: return e->lo == 0 && e->hi == 0 ? 0 : INFINITY;
  }
}
