/* SPDX-License-Identifier: MIT
 * expr_log.c - the logarithm of a factor, taken symbolically.
 *
 * In: an expression known to be >= 0. Out: its logarithm, in which exp, sigmoid, products,
 * quotients and powers are gone, so that a gate stays in the log domain from the spec to the
 * kernel: the factor exp(-A * dt) is never computed only to have its logarithm taken.
 */
#include "expr.h"

static bool is_one(const struct expr *e) {
  return e->op == OP_CONST && e->value == 1;
}

static const struct expr *log_sigmoid(struct expr_ctx *c, const struct expr *x) {
  const struct expr *minus = expr_unary(c, OP_NEG, x);
  return expr_unary(c, OP_NEG, expr_unary(c, OP_SOFTPLUS, minus));
}

/* log(1 - x): 1 - x rounds where x is small; log1p does not. */
static const struct expr *log_one_minus(struct expr_ctx *c, const struct expr *x) {
  if (x->op == OP_SIGMOID) return log_sigmoid(c, expr_unary(c, OP_NEG, x->arg[0]));
  return expr_unary(c, OP_LOG1P, expr_unary(c, OP_NEG, x));
}

static bool is_zero(const struct expr *e) {
  return e->op == OP_CONST && e->value == 0;
}

static const struct expr *log_binary(struct expr_ctx *c, const struct expr *e) {
  const struct expr *a = e->arg[0], *b = e->arg[1];
  const bool positive = a->lo >= 0 && b->lo >= 0 && !is_zero(a) && !is_zero(b);
  switch (e->op) {
  case OP_SUB: return is_one(a) ? log_one_minus(c, b) : NULL;
  case OP_ADD:
    if (is_one(a)) return expr_unary(c, OP_LOG1P, b);
    return is_one(b) ? expr_unary(c, OP_LOG1P, a) : NULL;
  case OP_MUL: return positive ? expr_binary(c, OP_ADD, expr_log(c, a), expr_log(c, b)) : NULL;
  case OP_DIV: return positive ? expr_binary(c, OP_SUB, expr_log(c, a), expr_log(c, b)) : NULL;
  case OP_MIN:
  case OP_MAX: return positive ? expr_binary(c, e->op, expr_log(c, a), expr_log(c, b)) : NULL;
  case OP_POW: /* 0 * log(0) would be NaN */
    return a->lo >= 0 && b->value != 0 ? expr_binary(c, OP_MUL, b, expr_log(c, a)) : NULL;
  default: return NULL;
  }
}

const struct expr *expr_log(struct expr_ctx *c, const struct expr *e) {
  if (!e) return NULL;
  if (e->op == OP_EXP) return e->arg[0];
  if (e->op == OP_SIGMOID) return log_sigmoid(c, e->arg[0]);
  if (e->op == OP_SQRT && e->arg[0]->lo >= 0)
    return expr_binary(c, OP_MUL, expr_const(c, 0.5), expr_log(c, e->arg[0]));
  const struct expr *l = e->arg[1] ? log_binary(c, e) : NULL;
  return l || c->diag->message ? l : expr_unary(c, OP_LOG, e);
}
