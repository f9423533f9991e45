/* SPDX-License-Identifier: MIT
 * expr_bounds.c - interval arithmetic: between which numbers a node's value lies.
 *
 * In: a node with its operation and arguments. Out: lo, hi and nan. Bounds of 0 and 1 come out
 * exact, since a decay must be proved to lie in [0,1]: nothing is widened for rounding. Bounds are
 * of the values that are numbers; whether there may be others (the root or logarithm of something
 * negative, a division by zero) is said apart, and stays said in all that is computed from them.
 */
#include "expr.h"

#include <float.h>
#include <math.h>

struct bounds {
  double lo, hi;
};

static const struct bounds anything = {-INFINITY, INFINITY};

static struct bounds hull4(double a, double b, double c, double d) {
  return (struct bounds){fmin(fmin(a, b), fmin(c, d)), fmax(fmax(a, b), fmax(c, d))};
}

/* 0 times an unbounded number is 0: the number itself is finite. */
static double times(double x, double y) {
  return x == 0 || y == 0 ? 0 : x * y;
}

static struct bounds multiply(struct bounds a, struct bounds b) {
  return hull4(times(a.lo, b.lo), times(a.lo, b.hi), times(a.hi, b.lo), times(a.hi, b.hi));
}

static double divide1(double x, double y) {
  return isinf(y) ? 0 : x / y;
}

static struct bounds divide(struct bounds a, struct bounds b) {
  if (b.lo > 0 || b.hi < 0) return multiply(a, (struct bounds){divide1(1, b.hi), divide1(1, b.lo)});
  if (b.lo == 0 && a.lo >= 0) return (struct bounds){divide1(a.lo, b.hi), INFINITY};
  if (b.lo == 0 && a.hi <= 0) return (struct bounds){-INFINITY, divide1(a.hi, b.hi)};
  return anything;
}

static bool even(double p) {
  return fmod(p, 2) == 0;
}

static struct bounds power(struct bounds a, double p) {
  if (p != floor(p)) a.lo = fmax(a.lo, 0); /* below, it is no number */
  if (p != floor(p)) a.hi = fmax(a.hi, 0);
  const bool through_zero = a.lo <= 0 && a.hi >= 0;
  const double l = pow(a.lo, p), h = pow(a.hi, p);
  if (p == 0) return (struct bounds){1, 1};
  if (p < 0 && through_zero) {
    if (even(p)) return (struct bounds){fmin(l, h), INFINITY};
    return a.lo == 0 ? (struct bounds){h, INFINITY} : anything;
  }
  if (even(p) && through_zero) return (struct bounds){0, fmax(l, h)};
  return (struct bounds){fmin(l, h), fmax(l, h)};
}

static struct bounds square(struct bounds a) {
  return power(a, 2);
}

static struct bounds absolute(struct bounds a) {
  const double l = fabs(a.lo), h = fabs(a.hi);
  return (struct bounds){a.lo <= 0 && a.hi >= 0 ? 0 : fmin(l, h), fmax(l, h)};
}

/* Falls to its only minimum, rises from there, and comes to 0 at -inf. */
static struct bounds silu(struct bounds a) {
  const double at_minimum = -1.2784645427610738, minimum = -0.27846454276107380;
  const double l = a.lo == -INFINITY ? 0 : op_value(OP_SILU, a.lo, 0);
  const double h = a.hi == -INFINITY ? 0 : op_value(OP_SILU, a.hi, 0);
  const bool inside = a.lo <= at_minimum && a.hi >= at_minimum;
  return (struct bounds){inside ? minimum : fmin(l, h), fmax(l, h)};
}

/* A function that rises, from the least argument that it takes. */
static struct bounds rising(enum op op, struct bounds a, double least) {
  return (struct bounds){op_value(op, fmax(a.lo, least), 0), op_value(op, fmax(a.hi, least), 0)};
}

static struct bounds of_leaf(const struct expr *e) {
  switch (e->op) {
  case OP_INPUT:
  case OP_PARAM: return (struct bounds){e->leaf->min, e->leaf->max};
  case OP_SYMBOL:
    if (e->symbol == SYM_HEAD) return (struct bounds){0, INFINITY};
    if (e->symbol == SYM_HEADS || e->symbol == SYM_DK || e->symbol == SYM_DV)
      return (struct bounds){1, INFINITY};
    return anything;
  default: return (struct bounds){e->value, e->value}; /* CONST, OPTION */
  }
}

static struct bounds of_unary(enum op op, struct bounds a) {
  switch (op) {
  case OP_NEG: return (struct bounds){-a.hi, -a.lo};
  case OP_ABS: return absolute(a);
  case OP_SILU: return silu(a);
  case OP_SIN:
  case OP_COS: return (struct bounds){-1, 1};
  case OP_LOG:
  case OP_SQRT: return rising(op, a, 0);
  case OP_LOG1P: return rising(op, a, -1);
  default: return rising(op, a, -INFINITY);
  }
}

static struct bounds of_row(enum op op, struct bounds a) {
  const bool positive = a.lo >= 0, negative = a.hi <= 0;
  switch (op) {
  case OP_SUM: /* of at least one channel */
    return (struct bounds){positive ? a.lo : -INFINITY, negative ? a.hi : INFINITY};
  case OP_L2NORM: return (struct bounds){positive ? 0 : -1, negative ? 0 : 1};
  case OP_SOFTMAX: return (struct bounds){0, 1};
  default: return (struct bounds){positive ? 0 : -INFINITY, negative ? 0 : INFINITY};
  }
}

static struct bounds of_binary(const struct expr *e, struct bounds a, struct bounds b) {
  switch (e->op) {
  case OP_ADD: return (struct bounds){a.lo + b.lo, a.hi + b.hi};
  case OP_SUB: return (struct bounds){a.lo - b.hi, a.hi - b.lo};
  case OP_MUL: return e->arg[0] == e->arg[1] ? square(a) : multiply(a, b);
  case OP_DIV: return divide(a, b);
  case OP_POW: return power(a, e->arg[1]->value);
  case OP_MIN: return (struct bounds){fmin(a.lo, b.lo), fmin(a.hi, b.hi)};
  case OP_MAX: return (struct bounds){fmax(a.lo, b.lo), fmax(a.hi, b.hi)};
  case OP_CONCAT: return (struct bounds){fmin(a.lo, b.lo), fmax(a.hi, b.hi)};
  default: return anything;
  }
}

/* Some arguments that are numbers give none. */
static bool may_leave_domain(const struct expr *e) {
  const struct expr *x = e->arg[0], *y = e->arg[1];
  switch (e->op) {
  case OP_LOG:
  case OP_SQRT: return x->lo < 0;
  case OP_LOG1P: return x->lo < -1;
  case OP_DIV: return y->lo <= 0 && y->hi >= 0;
  case OP_POW:
    return (x->lo < 0 && y->value != floor(y->value)) || (x->lo <= 0 && x->hi >= 0 && y->value < 0);
  default: return false;
  }
}

void expr_bounds(struct expr *e) {
  const struct expr *x = e->arg[0], *y = e->arg[1];
  struct bounds b = anything;
  if (!x)
    b = of_leaf(e);
  else if (y)
    b = of_binary(e, (struct bounds){x->lo, x->hi}, (struct bounds){y->lo, y->hi});
  else if (e->op == OP_SUM || e->op == OP_L2NORM || e->op == OP_RMSNORM || e->op == OP_SOFTMAX)
    b = of_row(e->op, (struct bounds){x->lo, x->hi});
  else
    b = of_unary(e->op, (struct bounds){x->lo, x->hi});
  if (isnan(b.lo) || isnan(b.hi)) b = anything;
  e->lo = fmin(b.lo, DBL_MAX); /* exp(1000) is a number, only not one that a double can hold */
  e->hi = fmax(b.hi, -DBL_MAX);
  e->nan = may_leave_domain(e) || (x && x->nan) || (y && y->nan);
}
